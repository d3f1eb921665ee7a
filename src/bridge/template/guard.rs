//! What is looked at before handlebars reads a template, because its parser goes as deep as the text does: size, nesting,
//! and whether every block is closed by its own name.

use std::ops::Range;

use crate::bridge::problem::Flaw;

/// The longest template, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;
/// The deepest nesting of blocks or brackets. handlebars overflowed a stack of 8 MiB between 3,000 and 10,000.
pub(super) const DEEPEST: usize = 64;

/// A tag that opens a block, until its end is found.
struct Open<'a> {
    name: &'a str,
    span: Range<usize>,
}

/// Finds what must not reach handlebars' parser.
pub(super) fn examine(source: &str) -> Result<(), Flaw> {
    if source.len() > LONGEST {
        return Err(Flaw::new(
            0..0,
            format!(
                "a template has at most {LONGEST} bytes, this one has {}",
                source.len()
            ),
        ));
    }

    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(start) = source[at..].find("{{").map(|found| at + found) {
        // A backslash takes the tag's meaning away, two give it back.
        let backslashes = source[..start]
            .bytes()
            .rev()
            .take_while(|byte| *byte == b'\\')
            .count();
        if backslashes == 1 {
            at = start + 2;
            continue;
        }
        let Some(tag) = tag(source, start) else {
            return Err(Flaw::new(start..start + 2, "this tag is not closed")
                .help("a tag ends with as many `}` as it begins with `{`"));
        };
        at = tag.span.end;
        if let Some(deep) = deepest_bracket(tag.inside) {
            return Err(Flaw::new(
                tag.span.clone(),
                format!("brackets are nested {deep} deep; {DEEPEST} is the most"),
            ));
        }
        match tag.kind {
            Kind::Opens => {
                open.push(Open {
                    name: tag.name,
                    span: tag.span.clone(),
                });
                if open.len() > DEEPEST {
                    return Err(Flaw::new(
                        tag.span,
                        format!("blocks are nested more than {DEEPEST} deep"),
                    ));
                }
            }
            Kind::Closes => match open.pop() {
                None => {
                    return Err(Flaw::new(
                        tag.span,
                        format!("`{{{{/{}}}}}` closes a block that was not opened", tag.name),
                    ));
                }
                Some(opened) if opened.name != tag.name => {
                    return Err(Flaw::new(
                        tag.span,
                        format!(
                            "`{{{{/{}}}}}` stands where `{{{{/{}}}}}` is expected",
                            tag.name, opened.name
                        ),
                    )
                    .help(format!(
                        "the block was opened in line {}",
                        line_of(source, opened.span.start)
                    )));
                }
                Some(_) => {}
            },
            Kind::Else if open.is_empty() => {
                return Err(Flaw::new(tag.span, "`else` stands outside of a block"));
            }
            Kind::Raw => {
                return Err(
                    Flaw::new(tag.span, "raw blocks (`{{{{…}}}}`) are not supported")
                        .help("write `\\{{` for two braces that are only text"),
                );
            }
            Kind::Else | Kind::Plain => {}
        }
    }

    match open.pop() {
        Some(opened) => Err(Flaw::new(
            opened.span,
            format!("the block `{}` is not closed", opened.name),
        )
        .help(format!("it needs a `{{{{/{}}}}}`", opened.name))),
        None => Ok(()),
    }
}

#[derive(Debug, PartialEq)]
enum Kind {
    Opens,
    Closes,
    Else,
    Raw,
    Plain,
}

struct Tag<'a> {
    span: Range<usize>,
    inside: &'a str,
    name: &'a str,
    kind: Kind,
}

/// The tag whose `{{` stands at `start`; `None` when it has no end.
fn tag(source: &str, start: usize) -> Option<Tag<'_>> {
    let rest = &source[start..];
    if rest.starts_with("{{!") {
        // A comment with dashes may hold braces.
        let end = if rest.starts_with("{{!--") {
            "--}}"
        } else {
            "}}"
        };
        let length = rest.find(end)? + end.len();
        return Some(Tag {
            span: start..start + length,
            inside: "",
            name: "",
            kind: Kind::Plain,
        });
    }
    if rest.starts_with("{{{{") {
        return Some(Tag {
            span: start..start + 4,
            inside: "",
            name: "",
            kind: Kind::Raw,
        });
    }
    let open = if rest.starts_with("{{{") { 3 } else { 2 };
    let close = find_close(&rest[open..], if open == 3 { "}}}" } else { "}}" })? + open;
    let span = start..start + close + open;
    let inside = rest[open..close].trim_matches('~').trim();
    let (kind, name) = match inside.as_bytes().first() {
        Some(b'#') => (Kind::Opens, word(&inside[1..])),
        Some(b'/') => (Kind::Closes, word(&inside[1..])),
        Some(b'^') => (Kind::Else, ""),
        _ if word(inside) == "else" => (Kind::Else, ""),
        _ => (Kind::Plain, ""),
    };
    Some(Tag {
        span,
        inside,
        name,
        kind,
    })
}

/// Where `close` stands outside of quoted texts.
fn find_close(inside: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, sign) in inside.char_indices() {
        match (quote, sign) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), sign) if sign == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(sign),
            (None, '}') if inside[at..].starts_with(close) => return Some(at),
            (None, _) => {}
        }
    }
    None
}

/// The name behind `#`, `/`, with the signs of partials and decorators left out.
fn word(text: &str) -> &str {
    text.trim_start_matches(['#', '>', '*', '~', ' ', '\t', '\n', '\r'])
        .split(|sign: char| sign.is_whitespace() || sign == '~' || sign == '(')
        .next()
        .unwrap_or_default()
}

fn deepest_bracket(inside: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut deepest = 0;
    for byte in inside.bytes() {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (deepest > DEEPEST).then_some(deepest)
}

/// The line of a byte, counted from 1.
pub(super) fn line_of(source: &str, at: usize) -> usize {
    source.as_bytes()[..at.min(source.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// The byte at a line and column as handlebars counts them: from 1, columns in characters.
pub(super) fn byte_at(source: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for _ in 1..line {
        match source[start..].find('\n') {
            Some(end) => start += end + 1,
            None => return source.len(),
        }
    }
    source[start..]
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(source.len(), |(at, _)| start + at)
}

/// The whole tag that begins at `start`; a single place where there is none.
pub(super) fn tag_span(source: &str, start: usize) -> Range<usize> {
    let start = start.min(source.len());
    if source.is_char_boundary(start)
        && source[start..].starts_with("{{")
        && let Some(tag) = tag(source, start)
    {
        return tag.span;
    }
    start..start
}

/// What stands at a byte, to the next blank or the end of the tag; at least one character where there is one.
pub(super) fn word_span(source: &str, start: usize) -> Range<usize> {
    let rest = source.get(start..).unwrap_or_default();
    let word = rest
        .find(|sign: char| sign.is_whitespace() || sign == '}')
        .unwrap_or(rest.len());
    let first = rest.chars().next().map_or(0, char::len_utf8);
    start..start + word.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(source: &str) -> String {
        let flaw = examine(source).unwrap_err();
        format!("{} «{}»", flaw.message, &source[flaw.span])
    }

    #[test]
    fn blocks_must_fit() {
        assert!(examine("{{#if a}}x{{else if b}}y{{/if}}{{! }}").is_ok());
        assert!(examine("{{!-- {{#if a}} --}} \\{{#if}} {{eq a \"}}\"}}").is_ok());
        assert_eq!(
            flaw("a {{#if x}} b"),
            "the block `if` is not closed «{{#if x}}»"
        );
        assert_eq!(
            flaw("{{#if x}}{{/each}}"),
            "`{{/each}}` stands where `{{/if}}` is expected «{{/each}}»"
        );
        assert_eq!(
            flaw("{{/if}}"),
            "`{{/if}}` closes a block that was not opened «{{/if}}»"
        );
        assert_eq!(
            flaw("{{else}}"),
            "`else` stands outside of a block «{{else}}»"
        );
        assert_eq!(flaw("é {{a"), "this tag is not closed «{{»");
        assert!(flaw("{{{{raw}}}}").starts_with("raw blocks"));
    }

    #[test]
    fn what_would_overflow_the_stack_is_refused() {
        let blocks = "{{#if a}}".repeat(70) + &"{{/if}}".repeat(70);
        assert!(flaw(&blocks).starts_with("blocks are nested"));
        let brackets = format!("{{{{a {}}}}}", "(a ".repeat(70));
        assert!(flaw(&brackets).starts_with("brackets are nested"));
        assert!(examine(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn a_place_is_found_by_line_and_column() {
        let source = "é\nab{{x}}";
        assert_eq!(byte_at(source, 2, 3), 5);
        assert_eq!(tag_span(source, 5), 5..10);
        assert_eq!(byte_at(source, 9, 9), source.len());
    }
}
