//! Patterns: literal text with names in braces. A [`Pattern`] reads a value (`sha256={hex}`), a [`Template`] builds one
//! (`{timestamp}.{body}`).

use std::fmt;
use std::ops::Range;

use super::super::problem::{Flaw, nearest};
use super::encoding::Encoding;
use super::place::Place;

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<N> {
    /// Exactly this text.
    Text(String),
    /// What the name stands for.
    Name(N),
}

/// A name in `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// `{hex}`, `{base64}`, `{base64url}`: the signature.
    Signature(Encoding),
    /// `{token}`: the secret itself.
    Token,
    /// `{timestamp}`
    Timestamp,
    /// `{algorithm}`: `sha256`.
    Algorithm,
    /// `{headers}`: the names of the signed headers.
    Headers,
}

/// A name in `signed` or `key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// `{body}`: the body as received.
    Body,
    /// `{secret}`: the secret as configured.
    Secret,
    /// `{timestamp}`: as received.
    Timestamp,
    /// `{method}`: `POST`.
    Method,
    /// `{url}`: the request target as received, path and query. A sender that signs the whole address is written with
    /// its own beginning as literal text: `https://hook.example.com{url}`.
    Url,
    /// `{headers}`: the list of header names as received in the signature.
    Headers,
    /// `{header values}`: the values of those headers.
    HeaderValues,
    /// `{header:date}`: the value at a place.
    At(Place),
}

/// What a value reads like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Piece<Reads>>);

/// How bytes are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece<Holds>>);

const READ_NAMES: [(&str, Reads); 7] = [
    ("hex", Reads::Signature(Encoding::Hex)),
    ("base64", Reads::Signature(Encoding::Base64)),
    ("base64url", Reads::Signature(Encoding::Base64Url)),
    ("token", Reads::Token),
    ("timestamp", Reads::Timestamp),
    ("algorithm", Reads::Algorithm),
    ("headers", Reads::Headers),
];

const HELD_NAMES: [(&str, Holds); 7] = [
    ("body", Holds::Body),
    ("secret", Holds::Secret),
    ("timestamp", Holds::Timestamp),
    ("method", Holds::Method),
    ("url", Holds::Url),
    ("headers", Holds::Headers),
    ("header values", Holds::HeaderValues),
];

/// A part and the bytes it takes.
pub(super) type Placed<'t> = (Range<usize>, Piece<&'t str>);

/// Cuts a text at its names. A `{` before anything but a letter is text.
pub(super) fn cut(text: &str) -> Result<Vec<Placed<'_>>, Flaw> {
    let mut pieces: Vec<Placed<'_>> = Vec::new();
    let mut from = 0;
    let mut seen = 0;
    while let Some(open) = text[seen..].find('{').map(|at| seen + at) {
        seen = open + 1;
        if !text[seen..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let Some(close) = text[seen..].find('}').map(|at| seen + at) else {
            return Err(Flaw::new(open..text.len(), "this `{` is never closed"));
        };
        if from < open {
            pieces.push((from..open, Piece::Text(text[from..open].to_owned())));
        }
        pieces.push((open..close + 1, Piece::Name(&text[seen..close])));
        from = close + 1;
        seen = from;
    }
    if from < text.len() {
        pieces.push((from..text.len(), Piece::Text(text[from..].to_owned())));
    }
    Ok(pieces)
}

pub(super) fn unknown<'a>(
    span: Range<usize>,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Flaw {
    let known: Vec<&str> = known.collect();
    let flaw = Flaw::new(span, format!("unknown name `{{{name}}}`"));
    match nearest(name, known.iter().copied()) {
        Some(near) => flaw.help(format!("did you mean `{{{near}}}`?")),
        None => flaw.help(format!("known here: `{{{}}}`", known.join("}`, `{"))),
    }
}

impl Pattern {
    /// Compiles a pattern that reads. The flaw's span counts inside `text`.
    pub fn compile(text: &str, may_read: impl Fn(Reads) -> bool) -> Result<Pattern, Flaw> {
        let known = || READ_NAMES.iter().filter(|(_, name)| may_read(*name));
        let mut pieces = Vec::new();
        for (span, piece) in cut(text)? {
            let piece = match piece {
                Piece::Text(text) => Piece::Text(text),
                Piece::Name(name) => match known().find(|(known, _)| *known == name) {
                    Some((_, name)) => Piece::Name(*name),
                    None => return Err(unknown(span, name, known().map(|(known, _)| *known))),
                },
            };
            if let (Some(Piece::Name(_)), Piece::Name(_)) = (pieces.last(), &piece) {
                let message = "two names side by side: nobody can tell where the first one ends";
                return Err(Flaw::new(span, message));
            }
            pieces.push(piece);
        }
        Ok(Pattern(pieces))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = Reads> + '_ {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(*name),
            Piece::Text(_) => None,
        })
    }

    /// The parts, in order.
    pub fn pieces(&self) -> &[Piece<Reads>] {
        &self.0
    }

    /// What stands at each name when the whole value reads like this pattern. A name ends where the text behind it
    /// first occurs, the last one as late as the value allows.
    pub fn fit<'v>(&self, value: &'v [u8]) -> Option<Vec<(Reads, &'v [u8])>> {
        let mut rest = value;
        let mut found = Vec::new();
        let mut pieces = self.0.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_bytes())?,
                Piece::Name(name) => {
                    let end = match pieces.next() {
                        None => rest.len(),
                        Some(Piece::Name(_)) => return None,
                        Some(Piece::Text(next)) => {
                            let next = next.as_bytes();
                            let last = pieces.peek().is_none();
                            let end = if last {
                                rest.ends_with(next).then(|| rest.len() - next.len())?
                            } else {
                                rest.windows(next.len()).position(|part| part == next)?
                            };
                            found.push((*name, &rest[..end]));
                            rest = &rest[end + next.len()..];
                            continue;
                        }
                    };
                    found.push((*name, &rest[..end]));
                    rest = &[];
                }
            }
        }
        rest.is_empty().then_some(found)
    }
}

/// As written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Name(name) => {
                    let written = READ_NAMES.iter().find(|(_, known)| known == name);
                    write!(f, "{{{}}}", written.map_or("", |(written, _)| written))?;
                }
            }
        }
        Ok(())
    }
}

impl Template {
    /// Compiles a pattern that builds. The flaw's span counts inside `text`.
    pub fn compile(text: &str) -> Result<Template, Flaw> {
        let mut pieces = Vec::new();
        for (span, piece) in cut(text)? {
            pieces.push(match piece {
                Piece::Text(text) => Piece::Text(text),
                Piece::Name(name) if Place::looks_like(name) => {
                    let place = Place::parse(name).map_err(|flaw| Flaw { span, ..flaw })?;
                    Piece::Name(Holds::At(place))
                }
                Piece::Name(name) => match HELD_NAMES.iter().find(|(known, _)| *known == name) {
                    Some((_, name)) => Piece::Name(name.clone()),
                    None => {
                        let known = HELD_NAMES.iter().map(|(known, _)| *known);
                        return Err(unknown(span, name, known));
                    }
                },
            });
        }
        Ok(Template(pieces))
    }

    /// The template of one name.
    pub fn of(name: Holds) -> Template {
        Template(vec![Piece::Name(name)])
    }

    /// The parts, in order.
    pub fn pieces(&self) -> &[Piece<Holds>] {
        &self.0
    }

    /// Whether the name stands in it.
    pub fn holds(&self, name: &Holds) -> bool {
        self.0
            .iter()
            .any(|piece| matches!(piece, Piece::Name(held) if held == name))
    }
}

/// As written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(text)?,
                Piece::Name(Holds::At(place)) => write!(f, "{{{}}}", place.as_written())?,
                Piece::Name(name) => {
                    let written = HELD_NAMES.iter().find(|(_, known)| known == name);
                    write!(f, "{{{}}}", written.map_or("", |(written, _)| written))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::compile(text, |_| true).unwrap()
    }

    #[test]
    fn literals_are_exact_and_the_whole_value_must_fit() {
        let pattern = pattern("sha256={hex}");
        let fit = |value: &str| {
            pattern
                .fit(value.as_bytes())
                .map(|found| found[0].1.to_vec())
        };
        assert_eq!(fit("sha256=0aff"), Some(b"0aff".to_vec()));
        assert_eq!(fit("sha256="), Some(b"".to_vec()));
        for value in ["SHA256=0aff", " sha256=0aff", "sha1=0aff", "0aff", ""] {
            assert_eq!(fit(value), None, "{value}");
        }
    }

    #[test]
    fn a_pattern_without_names_is_the_whole_value() {
        assert_eq!(pattern("v1").fit(b"v1"), Some(Vec::new()));
        assert_eq!(pattern("v1").fit(b"v1x"), None);
    }

    #[test]
    fn a_base64_value_is_never_split_at_its_equals_signs() {
        let found = pattern("v1={base64}")
            .fit(b"v1=YQ==")
            .map(|found| found[0].1.to_vec());
        assert_eq!(found, Some(b"YQ==".to_vec()));
    }

    #[test]
    fn text_behind_a_name_ends_it() {
        let pattern = pattern("t={timestamp};s={hex}!");
        let found = pattern.fit(b"t=12;s=aa!").unwrap();
        assert_eq!(found[0], (Reads::Timestamp, &b"12"[..]));
        assert_eq!(found[1], (Reads::Signature(Encoding::Hex), &b"aa"[..]));
        assert_eq!(pattern.fit(b"t=12;s=aa"), None);
        assert_eq!(pattern.fit(b"t=12;s=aa!x"), None);
        assert_eq!(pattern.fit(b"t=12s=aa!"), None);
    }

    #[test]
    fn a_brace_before_anything_but_a_letter_is_text() {
        let template = Template::compile("{\"a\":{body}} {} {").unwrap();
        assert_eq!(
            template.pieces(),
            [
                Piece::Text("{\"a\":".into()),
                Piece::Name(Holds::Body),
                Piece::Text("} {} {".into()),
            ]
        );
    }

    #[test]
    fn mistakes_in_a_pattern_are_shown_where_they_are() {
        let flaw = Pattern::compile("v1={hexx}", |_| true).unwrap_err();
        assert_eq!(
            (flaw.span, flaw.help),
            (3..9, Some("did you mean `{hex}`?".into()))
        );
        let flaw = Pattern::compile("{timestamp}{hex}", |_| true).unwrap_err();
        assert_eq!(flaw.span, 11..16);
        let flaw = Template::compile("a{body").unwrap_err();
        assert_eq!(flaw.span, 1..6);
        let flaw = Template::compile("{boddy}").unwrap_err();
        assert_eq!(flaw.help, Some("did you mean `{body}`?".into()));
        let flaw = Template::compile("{header:}").unwrap_err();
        assert_eq!(flaw.span, 0..9);
    }

    #[test]
    fn a_template_is_shown_as_it_is_written() {
        let text = "v0:{timestamp}.{header values}{header:date}{body:/a~1b}{path}{form:p}{query:q}";
        assert_eq!(Template::compile(text).unwrap().to_string(), text);
    }

    #[test]
    fn names_side_by_side_may_be_built() {
        assert!(Template::compile("{timestamp}{body}{header:date}{path}").is_ok());
    }
}
