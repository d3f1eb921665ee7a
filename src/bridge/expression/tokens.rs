//! The smallest pieces of an expression: names, texts, numbers, signs, each with its place.

use std::ops::Range;

use crate::bridge::problem::Flaw;

/// One piece of the source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Name(String),
    Text(String),
    Int(i128),
    Float(f64),
    Sign(&'static str),
    End,
}

/// Longer signs stand before their beginnings.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "!", "-",
    "+", "*", "/", "%", "<", ">",
];

/// What people write who come from another language, and what it is here.
const FOREIGN: [(&str, &str); 4] = [
    ("=", "`==` compares"),
    ("&", "`&&` means and"),
    ("|", "`||` means or"),
    (";", "an expression is one value, without a `;`"),
];

/// Cuts `source` into tokens; the last one is [`Kind::End`].
pub(super) fn cut(source: &str) -> Result<Vec<Token>, Flaw> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at += blank(&source[at..]);
        let rest = &source[at..];
        let Some(first) = rest.chars().next() else {
            break;
        };
        let (kind, length) = if let Some(text) = Quoted::begin(rest) {
            text.read(at)?
        } else if first.is_ascii_digit() || is_fraction(rest) {
            number(rest, at)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            (Kind::Name(rest[..length].to_owned()), length)
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            (Kind::Sign(sign), sign.len())
        } else {
            return Err(stranger(rest, first, at));
        };
        tokens.push(Token {
            kind,
            span: at..at + length,
        });
        at += length;
    }
    tokens.push(Token {
        kind: Kind::End,
        span: at..at,
    });
    Ok(tokens)
}

/// The length of the white space and the `//` comments that `rest` begins with.
fn blank(rest: &str) -> usize {
    let mut at = 0;
    loop {
        let tail = rest[at..].trim_start_matches([' ', '\t', '\r', '\n', '\u{c}', '\u{b}']);
        at = rest.len() - tail.len();
        if !tail.starts_with("//") {
            return at;
        }
        at += tail.find('\n').unwrap_or(tail.len());
    }
}

fn is_fraction(rest: &str) -> bool {
    let bytes = rest.as_bytes();
    bytes.first() == Some(&b'.') && bytes.get(1).is_some_and(u8::is_ascii_digit)
}

fn stranger(rest: &str, first: char, at: usize) -> Flaw {
    let span = at..at + first.len_utf8();
    let flaw = Flaw::new(span, format!("`{first}` means nothing here"));
    match FOREIGN.into_iter().find(|(sign, _)| rest.starts_with(sign)) {
        Some((_, help)) => flaw.help(help),
        None if first.is_alphabetic() => {
            flaw.help("names are of a-z, 0-9 and `_`; any other field is read as `body[\"…\"]`")
        }
        None => flaw,
    }
}

fn number(rest: &str, at: usize) -> Result<(Kind, usize), Flaw> {
    if let Some(hex) = rest.strip_prefix("0x").or(rest.strip_prefix("0X")) {
        let digits = hex
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(hex.len());
        let length = 2 + digits + unsigned(&hex[digits..]);
        return match u64::from_str_radix(&hex[..digits], 16) {
            Ok(n) => Ok((Kind::Int(n.into()), length)),
            Err(_) => Err(Flaw::new(at..at + length, "this is not a number")),
        };
    }
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let mut length = digits(rest);
    let mut whole = true;
    if is_fraction(&rest[length..]) {
        whole = false;
        length += 1 + digits(&rest[length + 1..]);
    }
    if let Some(tail) = rest[length..].strip_prefix(['e', 'E']) {
        let sign = usize::from(tail.starts_with(['+', '-']));
        let power = digits(&tail[sign..]);
        if power > 0 {
            whole = false;
            length += 1 + sign + power;
        }
    }
    let text = &rest[..length];
    let kind = if whole {
        text.parse::<u64>().ok().map(|n| Kind::Int(n.into()))
    } else {
        let float = text.parse::<f64>().ok();
        float.filter(|f| f.is_finite()).map(Kind::Float)
    };
    let length = length + if whole { unsigned(&rest[length..]) } else { 0 };
    match kind {
        Some(kind) => Ok((kind, length)),
        None => Err(Flaw::new(at..at + length, "this number is too large")),
    }
}

/// CEL's mark for unsigned numbers; here all whole numbers are of one type.
fn unsigned(rest: &str) -> usize {
    usize::from(rest.starts_with(['u', 'U']))
}

/// A text between quotes, seen by its beginning.
struct Quoted<'s> {
    source: &'s str,
    /// How long prefix and opening quotes are.
    opening: usize,
    quotes: &'static str,
    raw: bool,
    bytes: bool,
}

impl<'s> Quoted<'s> {
    fn begin(source: &'s str) -> Option<Quoted<'s>> {
        let prefix = source
            .bytes()
            .take(3)
            .position(|byte| matches!(byte, b'"' | b'\''))?;
        let (raw, bytes) = match &source[..prefix] {
            "" => (false, false),
            "r" | "R" => (true, false),
            "b" | "B" => (false, true),
            "rb" | "rB" | "Rb" | "RB" | "br" | "bR" | "Br" | "BR" => (true, true),
            _ => return None,
        };
        let quotes = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quotes| source[prefix..].starts_with(quotes))?;
        Some(Quoted {
            source,
            opening: prefix + quotes.len(),
            quotes,
            raw,
            bytes,
        })
    }

    fn read(self, at: usize) -> Result<(Kind, usize), Flaw> {
        if self.bytes {
            return Err(Flaw::new(
                at..at + self.opening,
                "texts of bytes (`b\"…\"`) are not part of this language",
            ));
        }
        let mut text = String::new();
        let mut here = self.opening;
        loop {
            let rest = &self.source[here..];
            if rest.starts_with(self.quotes) {
                return Ok((Kind::Text(text), here + self.quotes.len()));
            }
            let Some(c) = rest.chars().next() else {
                return Err(self.unclosed(at));
            };
            if c == '\n' && self.quotes.len() == 1 {
                return Err(self.unclosed(at));
            }
            if c == '\\' && !self.raw {
                let (c, length) = escape(rest).ok_or_else(|| bad_escape(rest, at + here))?;
                text.push(c);
                here += length;
            } else {
                text.push(c);
                here += c.len_utf8();
            }
        }
    }

    fn unclosed(&self, at: usize) -> Flaw {
        let quotes = self.quotes;
        Flaw::new(
            at..at + self.opening,
            format!("this text is not closed: its `{quotes}` is missing"),
        )
    }
}

/// The character that an escape stands for and the escape's length.
fn escape(rest: &str) -> Option<(char, usize)> {
    let coded = |digits: usize, radix: u32, from: usize| {
        let code = rest.get(from..from + digits)?;
        if !code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let c = char::from_u32(u32::from_str_radix(code, radix).ok()?)?;
        Some((c, from + digits))
    };
    let simple = match *rest.as_bytes().get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'a' => '\u{7}',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'v' => '\u{b}',
        b'\\' => '\\',
        b'"' => '"',
        b'\'' => '\'',
        b'`' => '`',
        b'?' => '?',
        b'x' | b'X' => return coded(2, 16, 2),
        b'u' => return coded(4, 16, 2),
        b'U' => return coded(8, 16, 2),
        b'0'..=b'3' => return coded(3, 8, 1),
        _ => return None,
    };
    Some((simple, 2))
}

fn bad_escape(rest: &str, at: usize) -> Flaw {
    let length: usize = rest.chars().take(2).map(char::len_utf8).sum();
    Flaw::new(at..at + length, "this escape is not known")
        .help("a backslash itself is written `\\\\`; in a raw text, r\"…\", it needs no escape")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<Kind> {
        cut(source)
            .unwrap()
            .into_iter()
            .map(|token| token.kind)
            .collect()
    }

    #[test]
    fn texts_are_read_as_cel_writes_them() {
        for (source, text) in [
            (r#""a\n\"b\"""#, "a\n\"b\""),
            ("'it''s'", "it"),
            (r"r'\d+'", r"\d+"),
            ("'''a\n'b' '''", "a\n'b' "),
            (r"'\u4e2d\x41\101\U0001F600'", "中AA😀"),
            ("\"中文\"", "中文"),
        ] {
            assert_eq!(kinds(source)[0], Kind::Text(text.into()), "{source}");
        }
    }

    #[test]
    fn numbers_keep_their_kind() {
        assert_eq!(kinds("18446744073709551615")[0], Kind::Int(u64::MAX.into()));
        assert_eq!(kinds("0x1F")[0], Kind::Int(31));
        assert_eq!(kinds("7u")[0], Kind::Int(7));
        assert_eq!(kinds("1.5e3")[0], Kind::Float(1500.0));
        assert_eq!(
            kinds("1.a"),
            [
                Kind::Int(1),
                Kind::Sign("."),
                Kind::Name("a".into()),
                Kind::End
            ]
        );
        assert!(cut("18446744073709551616").is_err());
    }

    #[test]
    fn a_comment_is_no_part_of_it() {
        assert_eq!(
            kinds("// why\n a // because"),
            [Kind::Name("a".into()), Kind::End]
        );
    }

    #[test]
    fn what_means_nothing_is_named_with_its_place() {
        let flaw = cut("a = 1").unwrap_err();
        assert_eq!(
            (flaw.span, flaw.help.as_deref()),
            (2..3, Some("`==` compares"))
        );
        let flaw = cut("body.标题").unwrap_err();
        assert_eq!(
            (flaw.span, flaw.message.as_str()),
            (5..8, "`标` means nothing here")
        );
        assert_eq!(cut("a + \"b").unwrap_err().span, 4..5);
        assert_eq!(cut(r#""\d""#).unwrap_err().span, 1..3);
        assert_eq!(cut("'\\").unwrap_err().span, 1..2);
    }
}
