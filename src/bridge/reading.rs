//! The TOML files of one reading, laid end to end: a position names its file too, so that tables of several files can be
//! merged and every mistake is still shown where it was written.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Flaw, Level, Problem};
use super::quoted::span_in_file;
use super::syntax::slips;
use super::table::Table;

/// Collects the files as they are opened and the problems as they are found. A position (`span`) that it takes or that its
/// tables carry counts from the start of the first file.
#[derive(Debug, Default)]
pub struct Reading<'a> {
    files: RefCell<Vec<Opened<'a>>>,
    problems: RefCell<Vec<Problem>>,
    /// Parts whose syntax is wrong: what was made of them is a guess, and nothing more is said about them.
    guessed: RefCell<Vec<Range<usize>>>,
}

#[derive(Debug)]
struct Opened<'a> {
    start: usize,
    path: &'a str,
    text: &'a str,
}

/// A text of a file, and where it stands, quotes included.
#[derive(Clone, Debug)]
pub struct Text {
    /// The text itself.
    pub value: String,
    /// Its place in the reading.
    pub span: Range<usize>,
}

impl<'a> Reading<'a> {
    /// Opens a TOML file. Mistakes in its syntax are noted; what can still be read of it is in the table.
    pub fn open(&self, path: &'a str, text: &'a str) -> Table<'_, 'a> {
        let start = {
            let mut files = self.files.borrow_mut();
            // One byte between two files: the end of one is not the start of the next.
            let start = files
                .last()
                .map_or(0, |last| last.start + last.text.len() + 1);
            files.push(Opened { start, path, text });
            start
        };
        let (table, mistakes) = DeTable::parse_recoverable(text);
        for slip in slips(text, table.get_ref(), &mistakes) {
            let span = moved(slip.flaw.span.clone(), start);
            self.error(Flaw { span, ..slip.flaw });
            self.guessed.borrow_mut().push(moved(slip.guessed, start));
        }
        let span = moved(table.span(), start);
        Table::new(
            self,
            "",
            Spanned::new(span, shifted_table(table.into_inner(), start)),
        )
        .damaged(!mistakes.is_empty())
    }

    /// Notes an error.
    pub fn error(&self, flaw: Flaw) {
        self.note(Level::Error, flaw);
    }

    /// Notes a problem at a place of the reading.
    pub fn note(&self, level: Level, flaw: Flaw) {
        let guessed = |part: &Range<usize>| part.contains(&flaw.span.start);
        if self.guessed.borrow().iter().any(guessed) {
            return;
        }
        let files = self.files.borrow();
        let Some(opened) = files
            .iter()
            .rev()
            .find(|opened| opened.start <= flaw.span.start)
        else {
            return; // no file was opened, so nothing can be wrong in one
        };
        let start = flaw.span.start - opened.start;
        let end = flaw.span.end.saturating_sub(opened.start).max(start);
        self.problems.borrow_mut().push(Problem {
            level,
            file: opened.path.to_owned(),
            span: Some(start.min(opened.text.len())..end.min(opened.text.len())),
            message: flaw.message,
            help: flaw.help,
        });
    }

    /// Notes an error inside a text; the flaw's span counts within the text's value.
    pub fn error_in(&self, text: &Text, flaw: Flaw) {
        self.error(Flaw {
            span: self.place_in(text, flaw.span),
            ..flaw
        });
    }

    /// The place in the reading of the bytes `inner` of a text's value.
    pub fn place_in(&self, text: &Text, inner: Range<usize>) -> Range<usize> {
        let files = self.files.borrow();
        let raw = files
            .iter()
            .rev()
            .find(|opened| opened.start <= text.span.start)
            .and_then(|opened| {
                opened
                    .text
                    .get(text.span.start - opened.start..text.span.end.checked_sub(opened.start)?)
            });
        match raw {
            Some(raw) => moved(span_in_file(raw, &text.value, inner), text.span.start),
            None => text.span.clone(),
        }
    }

    /// Adds problems that another room found.
    pub fn extend(&self, problems: impl IntoIterator<Item = Problem>) {
        self.problems.borrow_mut().extend(problems);
    }

    /// Whether an error was noted so far.
    pub fn has_errors(&self) -> bool {
        let problems = self.problems.borrow();
        problems.iter().any(|problem| problem.level == Level::Error)
    }

    /// How many problems were noted so far.
    pub fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// The path of the file that holds a place of the reading.
    pub fn path_of(&self, span: &Range<usize>) -> &'a str {
        let files = self.files.borrow();
        let opened = files.iter().rev().find(|opened| opened.start <= span.start);
        opened.map_or("", |opened| opened.path)
    }

    /// All problems that were noted, by file and place.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| {
            (
                problem.file.clone(),
                problem.span.clone().map(|span| span.start),
            )
        });
        problems.dedup();
        problems
    }
}

fn moved(span: Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

fn shifted_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    table
        .into_iter()
        .map(|(key, value)| {
            let span = moved(key.span(), by);
            (Spanned::new(span, key.into_inner()), shifted(value, by))
        })
        .collect()
}

fn shifted(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = moved(value.span(), by);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shifted_table(table, by)),
        DeValue::Array(array) => {
            let mut items = DeArray::new();
            for item in array {
                items.push(shifted(item, by));
            }
            DeValue::Array(items)
        }
        other => other,
    };
    Spanned::new(span, value)
}
