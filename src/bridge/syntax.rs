//! Mistakes in the syntax of a TOML text, each told once: the parser goes on after one and stumbles again over what is only
//! read wrongly because of it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::problem::Flaw;

/// A mistake, and the part of the text that is a guess because of it: nothing more can be said about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slip {
    /// What is wrong, and where.
    pub flaw: Flaw,
    /// The bytes whose meaning is not known.
    pub guessed: Range<usize>,
}

/// The mistakes of a text that was read as `table`, by their place.
pub fn slips(text: &str, table: &DeTable<'_>, errors: &[Error]) -> Vec<Slip> {
    let mut errors: Vec<(Range<usize>, &str)> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message()))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    let is_open = |(_, message): &(Range<usize>, &str)| {
        let mut begins = ["unclosed array,", "unclosed inline table"].into_iter();
        begins.any(|begin| message.starts_with(begin))
    };
    let open = match errors.iter().any(is_open) {
        true => open_to_the_end(text, table),
        false => None,
    };
    let mut slips: Vec<Slip> = Vec::new();
    for (span, message) in errors {
        if slips.iter().any(|slip| slip.guessed.contains(&span.start)) {
            continue;
        }
        slips.push(match open {
            // What stands behind the bracket was read as a part of what it opens.
            Some(bracket) if bracket < span.start => Slip {
                flaw: never_closed(text, bracket),
                guessed: line_start(text, bracket)..text.len() + 1,
            },
            _ => Slip {
                guessed: guessed(text, span.start),
                flaw: Flaw::new(span, message),
            },
        });
    }
    slips
}

fn never_closed(text: &str, bracket: usize) -> Flaw {
    let (sign, end) = match text.as_bytes().get(bracket) {
        Some(b'{') => ('{', '}'),
        _ => ('[', ']'),
    };
    Flaw::new(
        bracket..bracket + 1,
        format!("this `{sign}` is never closed"),
    )
    .help(format!("a `{end}` is missing, here or further down"))
}

/// The line of a mistake; behind a broken heading also the keys that stand below it.
fn guessed(text: &str, at: usize) -> Range<usize> {
    let start = line_start(text, at);
    let rest = text.get(start..).unwrap_or_default();
    let heading = |line: &str| line.trim_start().starts_with('[');
    let mut lines = rest.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    let more: usize = match heading(first) {
        true => lines.take_while(|line| !heading(line)).map(str::len).sum(),
        false => 0,
    };
    // A mistake may stand at the end of the text, behind its last byte.
    start..start + first.len() + more + usize::from(!first.ends_with('\n'))
}

fn line_start(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    let newline = before.iter().rposition(|byte| *byte == b'\n');
    newline.map_or(0, |newline| newline + 1)
}

/// Where the first bracket of a list or an inline table stands that was read up to the end of the text.
fn open_to_the_end(text: &str, table: &DeTable<'_>) -> Option<usize> {
    let mut first: Option<usize> = None;
    let mut left: Vec<&Spanned<DeValue<'_>>> = table.values().collect();
    while let Some(value) = left.pop() {
        match value.get_ref() {
            DeValue::Array(items) => left.extend(items.iter()),
            DeValue::Table(table) => left.extend(table.values()),
            _ => continue,
        }
        let span = value.span();
        let is_bracket = matches!(text.as_bytes().get(span.start), Some(b'[' | b'{'));
        let is_last = text
            .get(span.end..)
            .is_some_and(|rest| rest.trim().is_empty());
        if is_bracket && is_last {
            first = Some(first.map_or(span.start, |first| first.min(span.start)));
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each mistake as `line: message`, and the lines that are a guess.
    fn told(text: &str) -> Vec<(String, String)> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let slips = slips(text, table.get_ref(), &errors).into_iter();
        slips
            .map(|slip| {
                let last = slip.guessed.end.min(text.len()).saturating_sub(1);
                (
                    format!("{}: {}", line(slip.flaw.span.start), slip.flaw.message),
                    format!("{} to {}", line(slip.guessed.start), line(last)),
                )
            })
            .collect()
    }

    fn one(message: &str, guessed: &str) -> Vec<(String, String)> {
        vec![(message.to_owned(), guessed.to_owned())]
    }

    #[test]
    fn a_bracket_that_is_never_closed_is_one_mistake() {
        let list = "a = 1\nsecrets = [\"env:A\"\n\n[auth]\nscheme = \"token\"\n\n[[route]]\nto = [\"group:ops\"]\n";
        assert_eq!(told(list), one("2: this `[` is never closed", "2 to 8"));
        let lines = "to = [\n  \"a\",\n  \"b\",\non = [\"x\"]\n";
        assert_eq!(told(lines), one("1: this `[` is never closed", "1 to 4"));
        let table = "[auth]\ntimestamp = { from = \"header:x\"\nformat = \"{hex}\"\n[event]\n";
        assert_eq!(told(table), one("2: this `{` is never closed", "2 to 4"));
        assert_eq!(told("a = ["), one("1: this `[` is never closed", "1 to 1"));
    }

    #[test]
    fn a_heading_that_is_not_closed_says_nothing_about_its_keys() {
        let text = "a = 1\n[[route]\non = \"x\"\n\nto = \"y\"\n[event]\nkind = \n";
        assert_eq!(
            told(text),
            [
                (
                    "2: unclosed array table, expected `]`".to_owned(),
                    "2 to 5".to_owned()
                ),
                (
                    "7: string values must be quoted, expected literal string".to_owned(),
                    "7 to 7".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn mistakes_that_have_nothing_to_do_with_each_other_are_all_told() {
        let text = "a = [1 2]\nb = x\nc = \"open\nd = [3\ne = 4\n";
        let told = told(text);
        let lines: Vec<&str> = told
            .iter()
            .filter_map(|(message, _)| message.split(':').next())
            .collect();
        assert_eq!(lines, ["1", "2", "3", "4"], "{told:?}");
        assert_eq!(told[3].0, "4: this `[` is never closed");
    }
}
