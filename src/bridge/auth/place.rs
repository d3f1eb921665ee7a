//! Where a value stands in a request: `header:x-hub-signature-256`, `query:sign`, `form:payload`, `body:/token`, `path`.

use std::fmt;

use http::HeaderName;

use super::super::problem::{Flaw, nearest};

/// Where a value stands in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header, by its lower-case name.
    Header(HeaderName),
    /// A parameter of the query, by its name without percent-encoding.
    Query(String),
    /// A field of a urlencoded form, by its name without percent-encoding.
    Form(String),
    /// A string or an integer in a JSON body.
    Body(Pointer),
    /// What stands behind `/hooks/<bridge>/`.
    Path,
}

/// A JSON pointer (RFC 6901) with at least one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

const KINDS: [&str; 5] = ["header", "query", "form", "body", "path"];

impl Place {
    /// Reads a place as an operator writes it. The flaw's span counts inside `text`.
    pub fn parse(text: &str) -> Result<Place, Flaw> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let behind = kind.len() + 1;
        let flaw = |message: &str| Flaw::new(0..text.len(), message);
        match kind {
            "path" if text == "path" => Ok(Place::Path),
            "path" => Err(flaw(
                "`path` takes no name: it is all that stands behind `/hooks/<bridge>/`",
            )),
            "header" | "query" | "form" if name.is_empty() => Err(flaw(&format!(
                "the {kind} has no name: `{kind}:NAME` is expected"
            ))),
            "header" => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Ok(Place::Header(name)),
                Err(_) => Err(Flaw::new(
                    behind..text.len(),
                    format!("`{name}` cannot be the name of a header"),
                )),
            },
            "query" => Ok(Place::Query(name.to_owned())),
            "form" => Ok(Place::Form(name.to_owned())),
            "body" => Pointer::parse(name).map(Place::Body).ok_or_else(|| {
                flaw("a JSON pointer is expected behind `body:`, like `body:/header/token`")
            }),
            other => {
                let flaw = flaw(&format!("`{text}` is not a place in a request"));
                Err(match nearest(other, KINDS) {
                    Some(kind) => flaw.help(format!("did you mean `{kind}`?")),
                    None => flaw.help(
                        "`header:NAME`, `query:NAME`, `form:NAME`, `body:/json/pointer` or `path`",
                    ),
                })
            }
        }
    }

    /// As an operator writes it: `header:date`.
    pub fn as_written(&self) -> String {
        match self {
            Place::Header(name) => format!("header:{name}"),
            Place::Query(name) => format!("query:{name}"),
            Place::Form(name) => format!("form:{name}"),
            Place::Body(pointer) => format!("body:{}", pointer.text),
            Place::Path => "path".to_owned(),
        }
    }

    /// Whether `text` begins as a place does, so that a pattern can tell a place from its own names.
    pub(super) fn looks_like(text: &str) -> bool {
        text == "path"
            || text
                .split_once(':')
                .is_some_and(|(kind, _)| KINDS.contains(&kind))
    }
}

/// For people: `header x-hub-signature-256`, `query parameter sign`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header(name) => write!(f, "header {name}"),
            Place::Query(name) => write!(f, "query parameter {name}"),
            Place::Form(name) => write!(f, "form field {name}"),
            Place::Body(pointer) => write!(f, "body field {}", pointer.text),
            Place::Path => f.write_str("the path behind the bridge's name"),
        }
    }
}

impl Pointer {
    fn parse(text: &str) -> Option<Pointer> {
        let steps = text
            .strip_prefix('/')?
            .split('/')
            // RFC 6901, section 4: first `~1`, then `~0`.
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect();
        Some(Pointer {
            text: text.to_owned(),
            steps,
        })
    }

    /// The pointer as written: `/header/token`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of the steps, unescaped; at least one.
    pub fn steps(&self) -> &[String] {
        &self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_read_as_written() {
        let shown = |text: &str| Place::parse(text).unwrap().to_string();
        assert_eq!(shown("header:X-Hub-Signature"), "header x-hub-signature");
        assert_eq!(shown("query:sign"), "query parameter sign");
        assert_eq!(shown("form:payload"), "form field payload");
        assert_eq!(shown("body:/header/token"), "body field /header/token");
        assert_eq!(shown("path"), "the path behind the bridge's name");
    }

    #[test]
    fn a_pointer_undoes_its_own_escapes() {
        let Place::Body(pointer) = Place::parse("body:/a~1b/c~0d/").unwrap() else {
            panic!("a place in the body");
        };
        assert_eq!(pointer.steps(), ["a/b", "c~d", ""]);
    }

    #[test]
    fn a_wrong_place_is_named_with_the_nearest_right_one() {
        for (text, help) in [
            ("heder:x", Some("did you mean `header`?")),
            ("header:", None),
            ("header:a b", None),
            ("body:token", None),
            ("path:x", None),
        ] {
            let flaw = Place::parse(text).unwrap_err();
            assert!(flaw.span.end <= text.len(), "{text}");
            if let Some(help) = help {
                assert_eq!(flaw.help.as_deref(), Some(help), "{text}");
            }
        }
    }
}
