//! One TOML table while it is being read: what is asked of it is taken, what is left at the end is an unknown key.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use super::measure::{parse_size, parse_time};
use super::problem::{Flaw, nearest};
use super::reading::{Reading, Text};

/// A table, taken apart key by key. Each getter gives `None` where the key is missing or wrong; what is wrong is noted.
#[derive(Debug)]
pub struct Table<'r, 'a> {
    reading: &'r Reading<'a>,
    name: &'static str,
    span: Range<usize>,
    left: DeTable<'a>,
    asked: Vec<&'static str>,
    damaged: bool,
}

/// A value that is not a table of the expected kind.
type Value<'a> = Spanned<DeValue<'a>>;

impl<'r, 'a> Table<'r, 'a> {
    /// A table; `name` is what it is called in problems, empty for a whole file.
    pub fn new(
        reading: &'r Reading<'a>,
        name: &'static str,
        table: Spanned<DeTable<'a>>,
    ) -> Table<'r, 'a> {
        Table {
            reading,
            name,
            span: table.span(),
            left: table.into_inner(),
            asked: Vec::new(),
            damaged: false,
        }
    }

    /// Says whether the file's syntax is broken: then nothing in it can be called missing.
    pub fn damaged(self, damaged: bool) -> Table<'r, 'a> {
        Table { damaged, ..self }
    }

    /// Whether the file's syntax is broken.
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Where the table stands: its header, or the whole of an inline table.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The reading that problems of this table are noted in.
    pub fn reading(&self) -> &'r Reading<'a> {
        self.reading
    }

    /// Where the value of a key stands that is not taken yet.
    pub fn place_of(&self, key: &str) -> Option<Range<usize>> {
        self.left.get(key).map(Spanned::span)
    }

    /// Takes a value as it is.
    pub fn take(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.take_with_key(key).map(|(_, value)| value)
    }

    fn take_with_key(&mut self, key: &'static str) -> Option<(Spanned<DeString<'a>>, Value<'a>)> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.left.remove_entry(key)
    }

    /// Takes a text.
    pub fn text(&mut self, key: &'static str) -> Option<Text> {
        let value = self.take(key)?;
        as_text(self.reading, value, "a text")
    }

    /// Takes a text or a list of texts; `None` when the key is missing.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<Text>> {
        let items = self.items(key)?;
        let texts = items
            .into_iter()
            .filter_map(|item| as_text(self.reading, item, "a text"));
        Some(texts.collect())
    }

    /// Takes one value or a list of values; `None` when the key is missing.
    pub fn items(&mut self, key: &'static str) -> Option<Vec<Value<'a>>> {
        let value = self.take(key)?;
        let span = value.span();
        Some(match value.into_inner() {
            DeValue::Array(items) => items.into_iter().collect(),
            other => vec![Spanned::new(span, other)],
        })
    }

    /// Takes `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Boolean(yes) => Some(*yes),
            other => self.wrong(value.span(), "`true` or `false`", other),
        }
    }

    /// Takes a whole number that is not negative.
    pub fn number(&mut self, key: &'static str) -> Option<Spanned<u64>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Integer(number) => match whole(number) {
                Some(number) => Some(Spanned::new(value.span(), number)),
                None => self.refuse(value.span(), format!("{number} is out of range")),
            },
            other => self.wrong(value.span(), "a whole number", other),
        }
    }

    /// Takes a span of time: `30d`, `1h30m`.
    pub fn time(&mut self, key: &'static str) -> Option<Spanned<Duration>> {
        let text = self.text(key)?;
        match parse_time(&text.value) {
            Ok(span) => Some(Spanned::new(text.span, span)),
            Err(why) => self.refuse(text.span, why),
        }
    }

    /// Takes a size in bytes: `25MB`.
    pub fn size(&mut self, key: &'static str) -> Option<Spanned<u64>> {
        let text = self.text(key)?;
        match parse_size(&text.value) {
            Ok(size) => Some(Spanned::new(text.span, size)),
            Err(why) => self.refuse(text.span, why),
        }
    }

    /// Takes a table inside this one.
    pub fn table(&mut self, key: &'static str) -> Option<Table<'r, 'a>> {
        let (written, value) = self.take_with_key(key)?;
        // `[openim]` and `a.b = 1` have no braces to point at: their key is their place.
        let place = written.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(
                Table::new(self.reading, key, Spanned::new(place, table)).damaged(self.damaged),
            ),
            other => self.wrong(place, &format!("a table, `[{key}]`"), &other),
        }
    }

    /// Takes a table inside this one as it is, for a room that reads it itself.
    pub fn raw_table(&mut self, key: &'static str) -> Option<Spanned<DeTable<'a>>> {
        let table = self.table(key)?;
        Some(Spanned::new(table.span, table.left))
    }

    /// Takes a list of tables, `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table<'r, 'a>> {
        let Some((written, value)) = self.take_with_key(key) else {
            return Vec::new();
        };
        let items = match value.into_inner() {
            DeValue::Array(items) => items,
            other => {
                let place = written.span();
                let found = kind_word(&other);
                let flaw = Flaw::new(
                    place,
                    format!("expected tables, `[[{key}]]`, found {found}"),
                );
                self.reading.error(match other {
                    DeValue::Table(_) => flaw.help(format!(
                        "write `[[{key}]]` in place of `[{key}]`: there may be several"
                    )),
                    _ => flaw,
                });
                return Vec::new();
            }
        };
        let mut tables = Vec::new();
        for item in items {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => tables.push(
                    Table::new(self.reading, key, Spanned::new(span, table)).damaged(self.damaged),
                ),
                other => {
                    self.wrong::<()>(span, "a table", &other);
                }
            }
        }
        tables
    }

    /// Takes everything that is left, in the order of the file, for tables whose keys are names of the operator's.
    pub fn rest(&mut self) -> Vec<(Text, Value<'a>)> {
        let mut rest: Vec<_> = std::mem::take(&mut self.left)
            .into_iter()
            .map(|(key, value)| {
                let span = key.span();
                let value_of_key = key.into_inner().into_owned();
                (
                    Text {
                        value: value_of_key,
                        span,
                    },
                    value,
                )
            })
            .collect();
        rest.sort_by_key(|(key, _)| key.span.start);
        rest
    }

    /// Notes every key that nobody asked for, with the nearest right one.
    pub fn finish(self) {
        for key in self.left.keys() {
            let name = key.get_ref().as_ref();
            let place = match self.name {
                "" => String::new(),
                name => format!(" in `{name}`"),
            };
            let flaw = Flaw::new(key.span(), format!("unknown key `{name}`{place}"));
            self.reading
                .error(match nearest(name, self.asked.iter().copied()) {
                    Some(right) => flaw.help(format!("did you mean `{right}`?")),
                    None => flaw.help(format!("known here: {}", self.asked.join(", "))),
                });
        }
    }

    fn wrong<T>(&self, span: Range<usize>, expected: &str, found: &DeValue<'_>) -> Option<T> {
        note_wrong(self.reading, span, expected, found);
        None
    }

    fn refuse<T>(&self, span: Range<usize>, why: String) -> Option<T> {
        self.reading.error(Flaw::new(span, why));
        None
    }
}

/// The value as a text; notes that it is none.
pub fn as_text(reading: &Reading<'_>, value: Value<'_>, expected: &str) -> Option<Text> {
    let span = value.span();
    match value.into_inner() {
        DeValue::String(text) => Some(Text {
            value: text.into_owned(),
            span,
        }),
        other => {
            note_wrong(reading, span, expected, &other);
            None
        }
    }
}

/// Notes that a value is not what belongs there. The value itself is not repeated: it may be a secret.
pub fn note_wrong(reading: &Reading<'_>, span: Range<usize>, expected: &str, found: &DeValue<'_>) {
    let found = kind_word(found);
    reading.error(Flaw::new(
        span,
        format!("expected {expected}, found {found}"),
    ));
}

fn kind_word(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn whole(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}
