//! JSON written anew, as the serialisers of other languages write it. The order of names is kept, which `Value` would not.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON text, its names in their order.
pub(super) enum Tree {
    Text(String),
    /// A number, `true`, `false` or `null`, as it is written.
    Word(String),
    List(Vec<Tree>),
    Table(Vec<(String, Tree)>),
}

/// Which characters of texts a serialiser escapes beyond those it must.
#[derive(Clone, Copy)]
pub(super) enum Escapes {
    None,
    /// Everything beyond ASCII: Python.
    Ascii,
    /// That, and slashes: PHP.
    AsciiAndSlash,
    /// Slashes alone: PHP with JSON_UNESCAPED_UNICODE.
    Slash,
    /// `<`, `>` and `&`: Go.
    Html,
}

/// How a serialiser lays out what it writes.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub name: &'static str,
    comma: &'static str,
    colon: &'static str,
    /// The step of one level; `None` writes one line.
    indent: Option<&'static str>,
}

pub(super) const LAYOUTS: [Layout; 6] = [
    Layout {
        name: "compact",
        comma: ",",
        colon: ":",
        indent: None,
    },
    Layout {
        name: "blanks behind comma and colon, as Python writes",
        comma: ", ",
        colon: ": ",
        indent: None,
    },
    Layout {
        name: "pretty, 2 blanks",
        comma: ",",
        colon: ": ",
        indent: Some("  "),
    },
    Layout {
        name: "pretty, 4 blanks",
        comma: ",",
        colon: ": ",
        indent: Some("    "),
    },
    Layout {
        name: "pretty, tabs",
        comma: ",",
        colon: ": ",
        indent: Some("\t"),
    },
    Layout {
        name: "pretty, as Java's Jackson writes",
        comma: ",",
        colon: " : ",
        indent: Some("  "),
    },
];

pub(super) const ESCAPES: [(Escapes, &str); 5] = [
    (Escapes::None, ""),
    (Escapes::Ascii, "letters beyond ASCII as \\u"),
    (Escapes::AsciiAndSlash, "as PHP escapes"),
    (Escapes::Slash, "slashes as \\/"),
    (Escapes::Html, "as Go escapes"),
];

impl Tree {
    /// Reads a whole JSON text; `None` when it is none.
    pub fn read(text: &[u8]) -> Option<Tree> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let tree = Tree::deserialize(&mut reader).ok()?;
        reader.end().is_ok().then_some(tree)
    }

    /// The same with the names of every table in order.
    pub fn sorted(self) -> Tree {
        match self {
            Tree::List(items) => Tree::List(items.into_iter().map(Tree::sorted).collect()),
            Tree::Table(fields) => {
                let fields = fields.into_iter().map(|(name, tree)| (name, tree.sorted()));
                let mut fields: Vec<_> = fields.collect();
                fields.sort_by(|(one, _), (other, _)| one.cmp(other));
                Tree::Table(fields)
            }
            word => word,
        }
    }

    pub fn write(&self, layout: Layout, escapes: Escapes) -> String {
        let mut out = String::new();
        self.write_to(&mut out, layout, escapes, 0);
        out
    }

    fn write_to(&self, out: &mut String, layout: Layout, escapes: Escapes, depth: usize) {
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = layout.indent {
                out.push('\n');
                out.push_str(&indent.repeat(depth));
            }
        };
        match self {
            Tree::Word(word) => out.push_str(word),
            Tree::Text(text) => quote(out, text, escapes),
            Tree::List(items) if items.is_empty() => out.push_str("[]"),
            Tree::Table(fields) if fields.is_empty() => out.push_str("{}"),
            Tree::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { layout.comma } else { "" });
                    line(out, depth + 1);
                    item.write_to(out, layout, escapes, depth + 1);
                }
                line(out, depth);
                out.push(']');
            }
            Tree::Table(fields) => {
                out.push('{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    out.push_str(if at > 0 { layout.comma } else { "" });
                    line(out, depth + 1);
                    quote(out, name, escapes);
                    out.push_str(layout.colon);
                    value.write_to(out, layout, escapes, depth + 1);
                }
                line(out, depth);
                out.push('}');
            }
        }
    }
}

fn quote(out: &mut String, text: &str, escapes: Escapes) {
    let ascii = matches!(escapes, Escapes::Ascii | Escapes::AsciiAndSlash);
    let slash = matches!(escapes, Escapes::Slash | Escapes::AsciiAndSlash);
    let html = matches!(escapes, Escapes::Html);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if slash => out.push_str("\\/"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if html => escape(out, c),
            c if c < ' ' => escape(out, c),
            c if ascii && !c.is_ascii() => escape(out, c),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn escape(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Word(value.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Word(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Word(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        let written = serde_json::Number::from_f64(number);
        Ok(Tree::Word(
            written.map_or_else(String::new, |n| n.to_string()),
        ))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Word("null".to_owned()))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Tree, S::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Tree, M::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Tree::Table(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_anew_reads_as_the_same() {
        let text = r#"{"b":[1,-2.5,"é\"\\\n\u0001/<🦀"],"a":{},"c":[],"d":null,"e":true}"#;
        let same: serde_json::Value = serde_json::from_str(text).unwrap();
        for layout in LAYOUTS {
            for (escapes, _) in ESCAPES {
                let tree = Tree::read(text.as_bytes()).unwrap().sorted();
                let written = tree.write(layout, escapes);
                assert_eq!(
                    serde_json::from_str::<serde_json::Value>(&written).unwrap(),
                    same
                );
            }
        }
        let kept = Tree::read(text.as_bytes())
            .unwrap()
            .write(LAYOUTS[0], Escapes::None);
        assert_eq!(kept, text);
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_not_read() {
        for text in ["", "{", "{} x", "a=b"] {
            assert!(Tree::read(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Tree::read("[".repeat(100_000).as_bytes()).is_none());
    }
}
