//! What is wrong in a directory, with the place and the line shown. All of them are collected; none stops the search.

use std::collections::BTreeMap;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level as Title, Renderer, Snippet};

/// The files of a rule-book by their path in the directory (`bridges/acme.toml`), as text.
pub type Sources = BTreeMap<String, String>;

/// One mistake, or something worth knowing, in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// The file's path in the directory: `bridges/acme.toml`.
    pub file: String,
    /// The bytes of the file that are meant; `None` when it is about the whole file.
    pub span: Option<Range<usize>>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The directory cannot be used.
    Error,
    /// It can be used, but probably not as meant.
    Warning,
    /// Worth knowing.
    Advice,
}

/// A mistake inside a small text (an expression, a template, a pattern), before it is known where that text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The bytes of the text that are meant.
    pub span: Range<usize>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Flaw {
    /// A flaw at `span`.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Flaw {
        Flaw {
            span,
            message: message.into(),
            help: None,
        }
    }

    /// The same with advice.
    pub fn help(mut self, help: impl Into<String>) -> Flaw {
        self.help = Some(help.into());
        self
    }
}

/// `; did you mean ...`-style advice: the known word that is nearest to `wrong`, if one is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(wrong, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(wrong.len()) / 4)
        .min()
        .map(|(_, word)| word)
}

impl Problem {
    /// An error about a whole file.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            level: Level::Error,
            file: file.into(),
            span: None,
            message: message.into(),
            help: None,
        }
    }

    /// Line and column of its place, both counted from 1, the column in characters; `None` when it has no place.
    pub fn position(&self, sources: &Sources) -> Option<(usize, usize)> {
        let span = self.span.as_ref()?;
        let text = find_text(sources, &self.file)?;
        let before = text.get(..span.start.min(text.len()))?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.get(line_start..)?.chars().count() + 1;
        Some((line, column))
    }
}

impl Level {
    /// The word: `error`, `warning`, `advice`.
    pub fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Advice => "advice",
        }
    }
}

/// The problems for a person: file, line and column, the line itself, what to do. With `colour` for a terminal.
/// What looks like a secret in the lines is shown as stars.
pub fn show(problems: &[Problem], sources: &Sources, colour: bool) -> String {
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut shown = String::new();
    for problem in problems {
        let title = match problem.level {
            Level::Error => Title::ERROR,
            Level::Warning => Title::WARNING,
            Level::Advice => Title::NOTE.with_name("advice"),
        };
        let text = find_text(sources, &problem.file).map(|text| {
            if problem.file.ends_with(".toml") {
                hide_secrets(text)
            } else {
                text.to_owned()
            }
        });
        let mut group = title.primary_title(&problem.message).elements(
            text.as_deref()
                .zip(problem.span.clone())
                .map(|(text, span)| {
                    Snippet::source(text)
                        .path(&problem.file)
                        .annotation(AnnotationKind::Primary.span(on_one_line(text, span)))
                }),
        );
        if text.is_none() || problem.span.is_none() {
            group = group.element(annotate_snippets::Origin::path(&problem.file));
        }
        if let Some(help) = &problem.help {
            group = group.element(Title::HELP.message(help));
        }
        shown.push_str(&renderer.render(&[group]));
        shown.push_str("\n\n");
    }
    shown
}

fn find_text<'a>(sources: &'a Sources, file: &str) -> Option<&'a str> {
    let text = sources.get(file).map(String::as_str);
    text.or_else(|| super::shipped::find(file.strip_prefix(super::shipped::MARK).unwrap_or(file)))
}

/// The part of the span that stands on its first line, on whole characters.
fn on_one_line(text: &str, span: Range<usize>) -> Range<usize> {
    let start = floor_boundary(text, span.start);
    let end = floor_boundary(text, span.end).max(start);
    let line = text
        .get(start..end)
        .and_then(|shown| shown.find(['\r', '\n']));
    start..line.map_or(end, |length| start + length)
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// The TOML text with stars in place of what is, or may be meant as, a secret written out; lengths in bytes stay.
fn hide_secrets(text: &str) -> String {
    let mut hidden = Vec::from(text);
    let (table, mistakes) = toml::de::DeTable::parse_recoverable(text);
    let mut spans = Vec::new();
    find_secrets(
        &toml::de::DeValue::Table(table.into_inner()),
        None,
        0,
        &mut spans,
    );
    // Where the syntax is broken the tree is not whole: lines that speak of secrets are searched as text too, and those behind
    // them up to the next key or heading.
    let mut at = 0;
    let mut kind = None;
    for line in text.split_inclusive('\n').filter(|_| !mistakes.is_empty()) {
        let (key, value) = line.split_once('=').unwrap_or(("", line));
        let is_heading = || {
            let inside = line.trim_start().trim_start_matches('[');
            line.trim_start().starts_with('[') && inside.starts_with(char::is_alphabetic)
        };
        // A line of base64 ends in `=` and has no key.
        let has_value = !value.trim().is_empty() && !value.starts_with('=');
        let of_key = kind_of(key.trim());
        if value.len() < line.len() && (has_value || of_key.is_some()) {
            kind = of_key;
        } else if is_heading() {
            kind = None;
        }
        if let Some(kind) = kind {
            let mut start = at + line.len() - value.len();
            for word in value.split_inclusive(['"', '\'', '[', ']', '{', '=', ',', ' ']) {
                if !kind.is_public(word.trim_end_matches(['"', '\'', ']', ',', ' ', '\r', '\n'])) {
                    spans.push(start..start + word.len());
                }
                start += word.len();
            }
        }
        at += line.len();
    }
    spans.extend(find_passwords(text));
    for span in spans {
        for byte in hidden.get_mut(span).into_iter().flatten() {
            if !b"\"'[]{}=, \r\n".contains(byte) {
                *byte = b'*';
            }
        }
    }
    String::from_utf8(hidden).unwrap_or_default()
}

/// `kind` is that of the key around the value: what stands anywhere in a `secrets` is one.
fn find_secrets(
    value: &toml::de::DeValue<'_>,
    kind: Option<SecretKind>,
    depth: usize,
    spans: &mut Vec<Range<usize>>,
) {
    match value {
        toml::de::DeValue::Table(table) if depth < MOST_NESTED => {
            for (key, value) in table {
                find_in(value, kind.max(kind_of(key.get_ref())), depth, spans);
            }
        }
        toml::de::DeValue::Array(items) if depth < MOST_NESTED => {
            for item in items.iter() {
                find_in(item, kind, depth, spans);
            }
        }
        _ => {}
    }
}

fn find_in(
    value: &toml::Spanned<toml::de::DeValue<'_>>,
    kind: Option<SecretKind>,
    depth: usize,
    spans: &mut Vec<Range<usize>>,
) {
    use toml::de::DeValue::{Array, String, Table};
    match (value.get_ref(), kind) {
        (String(text), Some(kind)) if kind.is_public(text) => {}
        (Table(_) | Array(_), _) => find_secrets(value.get_ref(), kind, depth + 1, spans),
        (_, Some(_)) => spans.push(value.span()),
        (_, None) => {}
    }
}

/// Deeper tables hold no secret that anybody would look for there; it bounds the recursion.
const MOST_NESTED: usize = 32;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SecretKind {
    /// `token` and `key`: a secret, or the place or the pattern of one.
    Place,
    /// `secret` and the like: a secret, or a reference to one.
    Secret,
}

/// `secret`, `token` and the like, also misspelt.
fn kind_of(key: &str) -> Option<SecretKind> {
    const SECRETS: [&str; 4] = ["secret", "secrets", "password", "passwd"];
    const PLACES: [&str; 2] = ["token", "key"];
    let key = key.to_ascii_lowercase();
    let speaks = |words: &[&str]| {
        words.iter().any(|word| key.contains(word))
            || nearest(&key, words.iter().copied()).is_some()
    };
    match (speaks(&SECRETS), speaks(&PLACES)) {
        (true, _) => Some(SecretKind::Secret),
        (_, true) => Some(SecretKind::Place),
        _ => None,
    }
}

impl SecretKind {
    /// References and places say where a secret stands, patterns how it reads: they may be shown.
    fn is_public(self, text: &str) -> bool {
        const REFERENCES: [&str; 2] = ["env:", "file:"];
        const PLACES: [&str; 4] = ["header:", "query:", "form:", "body:"];
        let starts = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
        let is_place =
            || starts(&PLACES) || text == "path" || (text.contains('{') && text.contains('}'));
        starts(&REFERENCES) || (self == SecretKind::Place && is_place())
    }
}

/// The user and the password in addresses: `http://user:password@host`.
fn find_passwords(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, mark)| {
        let start = at + mark.len();
        let rest = text.get(start..)?;
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        let last = rest.get(..end.unwrap_or(rest.len()))?.rfind('@')?;
        Some(start..start + last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        let sources = Sources::from([("x.toml".to_owned(), text.to_owned())]);
        let problem = Problem {
            span: Some(span),
            ..Problem::of_file("x.toml", "wrong")
        };
        show(&[problem], &sources, false)
    }

    #[test]
    fn a_column_counts_characters() {
        let text = "a = 1\n中文 = x\n";
        let sources = Sources::from([("x.toml".to_owned(), text.to_owned())]);
        let at = text.find('x').unwrap();
        let problem = Problem {
            span: Some(at..at + 1),
            ..Problem::of_file("x.toml", "wrong")
        };
        assert_eq!(problem.position(&sources), Some((2, 6)));
    }

    #[test]
    fn what_may_be_a_secret_is_shown_as_stars_and_what_names_its_place_is_not() {
        for line in [
            "secret = \"hunter2\"",
            "secrets = [\"env:X\", \"hunter2\"]",
            "secert = 'hunter2'",
            "x = { console_token = \"hunter2\", a = 1 }",
            "[openim]\nsecret = \"\"\"\nhunter2\"\"\"",
            "secret = \"hunter2",
            "secrets = [\"hunter2\", \"file:/x\"",
            "password = hunter2",
            "secrets = { a = \"hunter2\" }",
            "secrets = { a = [{ b = \"{hunter2}\" }] }",
            "secrets = { a = \"hunter2\"",
            "secrets = [\"env:X\", \"hunter2\"",
            "secrets = [5, \"hunter2\"]",
            "secrets = [\n\"env:X\",\n\"hunter2\"\n[auth]\nscheme = \"token\"\n",
            "secret = \"\"\"\nhunter2",
            "secret = \"\"\"\nhunter2==",
            "secrets =\n\"hunter2\"",
            "secret = '''\na\nhunter2\n[auth]\n",
            "secrets = [\"env:X\nhunter2\"]",
            "secret = \"pathhunter2\"",
            "[secret]\nx = \"header:hunter2\"",
            "api_url = \"http://admin:hunter2@host\"",
            "api_url = \"http://admin:p@hunter2/@host",
        ] {
            for at in [0, line.len() / 2, line.len()] {
                let shown = shown(line, at..at + 1);
                assert!(!shown.contains("hunter2"), "{shown}");
            }
        }
        for line in [
            "secrets = [\"env:X\"]",
            "signature = \"header:x-token\"\ntoken = \"query:key\"",
            "key = [\"whsec_{base64}\"]",
        ] {
            assert!(!shown(line, 0..1).contains('*'), "{line}");
        }
    }

    #[test]
    fn a_place_that_is_no_place_is_still_shown() {
        for span in [0..0, 3..1000, 1000..2000, 1..2, 5..5] {
            let shown = shown("中文\n", span);
            assert!(shown.contains("wrong"), "{shown}");
        }
    }
}
