//! The `[auth]` table as written: typed readings of its keys, and every flaw with the place it stands at.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::problem::{Flaw, nearest};

/// A mistake in an `[auth]` table or in the secrets that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What it is about, so that the caller knows the file (with `extends`, keys come from two).
    pub at: At,
    /// What is wrong. Its span counts in the file that holds the key; it is empty (`0..0`) unless `at` is a key.
    pub flaw: Flaw,
}

/// What a mistake is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The table as a whole: something is missing.
    Table,
    /// A key of the table, or something inside its value.
    Key(String),
    /// One of the bridge's secrets, counted from 0.
    Secret(usize),
}

/// A text value and where it stands in its file.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub text: String,
    pub span: Range<usize>,
}

impl Text {
    /// Moves a flaw inside the text to its place in the file. Where escapes or long quotes make that place uncertain,
    /// the whole value is meant.
    pub fn place(&self, flaw: Flaw) -> Flaw {
        let plain = self.span.len() == self.text.len() + 2;
        let span = if plain && flaw.span.end <= self.text.len() {
            let start = self.span.start + 1;
            start + flaw.span.start..start + flaw.span.end
        } else {
            self.span.clone()
        };
        Flaw { span, ..flaw }
    }

    /// A flaw about the whole value.
    pub fn flaw(&self, message: impl Into<String>) -> Flaw {
        Flaw::new(self.span.clone(), message)
    }
}

/// Reads one table and collects what is wrong with it.
pub(super) struct Reader<'a> {
    table: &'a DeTable<'a>,
    /// The outermost key and where the table stands, for a table inside a key.
    inside: Option<(&'a str, Range<usize>)>,
    /// Keys that somebody meant to write, by the nearest names of those that are unknown.
    meant: Vec<String>,
    pub mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub fn new(table: &'a DeTable<'a>) -> Reader<'a> {
        Reader {
            table,
            inside: None,
            meant: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// A reader of a table that stands inside `key`. Mistakes in it are filed under the outermost key.
    pub fn inner(&self, key: &'a str, table: &'a DeTable<'a>, span: Range<usize>) -> Reader<'a> {
        let key = self.inside.as_ref().map_or(key, |(outer, _)| outer);
        Reader {
            table,
            inside: Some((key, span)),
            meant: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// Notes a flaw in the value of `key`.
    pub fn wrong(&mut self, key: &str, flaw: Flaw) {
        let key = self.inside.as_ref().map_or(key, |(key, _)| key);
        self.mistakes.push(Mistake {
            at: At::Key(key.to_owned()),
            flaw,
        });
    }

    /// Notes that something is missing.
    pub fn missing(&mut self, message: impl Into<String>, help: &str) {
        let (at, span) = match &self.inside {
            Some((key, span)) => (At::Key((*key).to_owned()), span.clone()),
            None => (At::Table, 0..0),
        };
        self.mistakes.push(Mistake {
            at,
            flaw: Flaw::new(span, message).help(help),
        });
    }

    /// Whether a key is there, or was meant to be: one typing mistake is reported once.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key) || self.meant.iter().any(|meant| meant == key)
    }

    /// Where a key's value stands.
    pub fn span(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or(0..0, |value| value.span())
    }

    /// Notes every key that is not in `known`; the nearest of `known` is named.
    pub fn only(&mut self, known: &[&str], whose: &str) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let flaw = if ALL_KEYS.contains(&name) {
                Flaw::new(key.span(), format!("`{name}` does not belong to {whose}"))
                    .help(format!("known here: `{}`", known.join("`, `")))
            } else {
                let flaw = Flaw::new(key.span(), format!("unknown key `{name}`"));
                match nearest(name, known.iter().copied()) {
                    Some(near) => {
                        self.meant.push(near.to_owned());
                        flaw.help(format!("did you mean `{near}`?"))
                    }
                    None => flaw.help(format!("known here: `{}`", known.join("`, `"))),
                }
            };
            self.wrong(name, flaw);
        }
    }

    /// A text; `None` when the key is absent or wrong.
    pub fn text(&mut self, key: &str) -> Option<Text> {
        let value = self.table.get(key)?;
        let read = text_of(value);
        if read.is_none() {
            self.wrong(key, Flaw::new(value.span(), format!("`{key}` is a text")));
        }
        read
    }

    /// A text or a list of texts; empty when the key is absent or wrong.
    pub fn texts(&mut self, key: &str) -> Vec<Text> {
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let read = match value.get_ref() {
            DeValue::Array(list) if list.is_empty() => {
                self.names_nothing(key, value.span());
                return Vec::new();
            }
            DeValue::Array(list) => list.iter().map(text_of).collect(),
            _ => text_of(value).map(|text| vec![text]),
        };
        read.unwrap_or_else(|| {
            let message = format!("`{key}` is a text or a list of texts");
            self.wrong(key, Flaw::new(value.span(), message));
            Vec::new()
        })
    }

    /// A table or a list of tables; empty when the key is absent or wrong.
    pub fn tables(&mut self, key: &str) -> Vec<(&'a DeTable<'a>, Range<usize>)> {
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let read = match value.get_ref() {
            DeValue::Array(list) if list.is_empty() => {
                self.names_nothing(key, value.span());
                return Vec::new();
            }
            DeValue::Array(list) => list.iter().map(table_of).collect(),
            _ => table_of(value).map(|table| vec![table]),
        };
        read.unwrap_or_else(|| {
            let message = format!("`{key}` is a table or a list of tables");
            self.wrong(key, Flaw::new(value.span(), message));
            Vec::new()
        })
    }

    fn names_nothing(&mut self, key: &str, span: Range<usize>) {
        let flaw = Flaw::new(
            span,
            format!("`{key}` is an empty list, which means nothing"),
        );
        let help = match key {
            "addresses" => {
                "name the sender's networks, or leave it out: then a request may come from everywhere"
            }
            "otherwise" | "repeats" | "format" | "signed" | "key" => {
                "name something in it, or leave it out"
            }
            _ => "name at least one",
        };
        self.wrong(key, flaw.help(help));
    }

    /// A table; `None` when the key is absent or wrong.
    pub fn table(&mut self, key: &str) -> Option<(&'a DeTable<'a>, Range<usize>)> {
        let value = self.table.get(key)?;
        let read = table_of(value);
        if read.is_none() {
            self.wrong(key, Flaw::new(value.span(), format!("`{key}` is a table")));
        }
        read
    }
}

/// Every key of the language, so that one in the wrong company is not called unknown.
pub(super) const ALL_KEYS: [&str; 12] = [
    "scheme",
    "signature",
    "token",
    "format",
    "several",
    "signed",
    "key",
    "timestamp",
    "otherwise",
    "challenge",
    "addresses",
    "repeats",
];

fn text_of(value: &Spanned<DeValue<'_>>) -> Option<Text> {
    match value.get_ref() {
        DeValue::String(text) => Some(Text {
            text: text.clone().into_owned(),
            span: value.span(),
        }),
        _ => None,
    }
}

fn table_of<'a>(value: &'a Spanned<DeValue<'a>>) -> Option<(&'a DeTable<'a>, Range<usize>)> {
    match value.get_ref() {
        DeValue::Table(table) => Some((table, value.span())),
        _ => None,
    }
}
