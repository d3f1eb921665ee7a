//! The values of the language: borrowed from the payload wherever possible.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::model::Event;

/// A value while an expression is evaluated. `'v` is the life of the event and of the expression.
#[derive(Clone, Debug)]
pub enum Val<'v> {
    /// Missing, null, or asked of something without fields.
    Absent,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; wide enough for all that JSON holds.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A text of the payload or of the expression.
    Text(&'v str),
    /// A text that the expression put together.
    Made(Arc<str>),
    /// A list of the payload.
    Array(&'v [Value]),
    /// An object of the payload.
    Object(&'v Map<String, Value>),
    /// A list that the expression made.
    List(Arc<[Val<'v>]>),
    /// A table that the expression made, in its order.
    Table(Arc<[(Val<'v>, Val<'v>)]>),
    /// The request's headers; names are asked in any case.
    Header(&'v BTreeMap<String, String>),
    /// The request's query.
    Query(&'v BTreeMap<String, String>),
    /// The event itself.
    Event(&'v Event),
}

impl<'v> From<&'v Value> for Val<'v> {
    fn from(value: &'v Value) -> Val<'v> {
        match value {
            Value::Null => Val::Absent,
            Value::Bool(b) => Val::Bool(*b),
            Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(n), _) => Val::Int(n.into()),
                (None, Some(n)) => Val::Int(n.into()),
                (None, None) => n.as_f64().map_or(Val::Absent, Val::Float),
            },
            Value::String(text) => Val::Text(text),
            Value::Array(list) => Val::Array(list),
            Value::Object(map) => Val::Object(map),
        }
    }
}

impl<'v> Val<'v> {
    /// A text that did not stand anywhere before.
    pub(super) fn made(text: impl Into<Arc<str>>) -> Val<'v> {
        Val::Made(text.into())
    }

    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Val::Text(text) => Some(text),
            Val::Made(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a text, a number or a boolean; `None` for everything else.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Val::Bool(b) => Some(b.to_string()),
            Val::Int(n) => Some(n.to_string()),
            Val::Float(n) => Some(n.to_string()),
            _ => self.as_text().map(str::to_owned),
        }
    }

    /// The texts of a text, or of a list and the lists in it, without the empty ones; what has no text is left out.
    /// For destinations and mentions that may name one or several.
    pub fn to_texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        self.each_leaf(&mut |leaf| texts.extend(leaf.to_text().filter(|text| !text.is_empty())));
        texts
    }

    /// Hands over each value that is no list, lists opened, in order; stops after `PARTS`.
    pub fn each_leaf(&self, take: &mut dyn FnMut(&Val<'v>)) {
        self.some_leaves(&mut PARTS.clone(), take);
    }

    fn some_leaves(&self, left: &mut usize, take: &mut dyn FnMut(&Val<'v>)) {
        *left = left.saturating_sub(1);
        if *left == 0 {
            return;
        }
        match self {
            Val::Array(list) => {
                for value in *list {
                    Val::from(value).some_leaves(left, take);
                }
            }
            Val::List(list) => {
                for value in list.iter() {
                    value.some_leaves(left, take);
                }
            }
            leaf => take(leaf),
        }
    }

    /// The value as JSON; absent is null.
    pub fn to_json(&self) -> Value {
        match self {
            Val::Absent => Value::Null,
            Val::Bool(b) => Value::from(*b),
            Val::Int(n) => match (i64::try_from(*n), u64::try_from(*n)) {
                (Ok(n), _) => Value::from(n),
                (_, Ok(n)) => Value::from(n),
                #[expect(clippy::cast_precision_loss, reason = "beyond JSON's whole numbers")]
                _ => Value::from(*n as f64),
            },
            Val::Float(n) => Value::from(*n),
            Val::Text(text) => Value::from(*text),
            Val::Made(text) => Value::from(&**text),
            Val::Array(list) => Value::from(*list),
            Val::Object(map) => Value::from((*map).clone()),
            Val::List(list) => list.iter().map(Val::to_json).collect(),
            Val::Table(entries) => entries
                .iter()
                .filter_map(|(key, value)| Some((key.to_text()?, value.to_json())))
                .collect(),
            Val::Header(texts) | Val::Query(texts) => texts
                .iter()
                .map(|(name, text)| (name.clone(), Value::from(text.as_str())))
                .collect(),
            Val::Event(event) => EVENT_FIELDS
                .into_iter()
                .map(|name| (name.to_owned(), event_field(event, name).to_json()))
                .collect(),
        }
    }

    /// What kind of value it is, for people.
    pub(super) fn sort(&self) -> &'static str {
        match self {
            Val::Absent => "nothing",
            Val::Bool(_) => "true or false",
            Val::Int(_) | Val::Float(_) => "a number",
            Val::Text(_) | Val::Made(_) => "a text",
            Val::Array(_) | Val::List(_) => "a list",
            Val::Object(_) | Val::Table(_) | Val::Header(_) | Val::Query(_) | Val::Event(_) => {
                "an object"
            }
        }
    }

    /// Absent, `""`, `[]`, `{}`, or a list of such. Zero and false are not empty.
    pub fn is_empty(&self) -> bool {
        self.is_empty_within(&mut PARTS.clone())
    }

    fn is_empty_within(&self, left: &mut usize) -> bool {
        *left = left.saturating_sub(1);
        if *left == 0 {
            return false;
        }
        match self {
            Val::Absent => true,
            Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Event(_) => false,
            Val::Text(text) => text.is_empty(),
            Val::Made(text) => text.is_empty(),
            Val::Array(list) => list
                .iter()
                .all(|value| Val::from(value).is_empty_within(left)),
            Val::List(list) => list.iter().all(|value| value.is_empty_within(left)),
            Val::Object(map) => map.is_empty(),
            Val::Table(entries) => entries.is_empty(),
            Val::Header(texts) | Val::Query(texts) => texts.is_empty(),
        }
    }

    /// How many elements a list, keys an object, or characters a text has.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Val::Absent => Some(0),
            Val::Text(text) => Some(text.chars().count()),
            Val::Made(text) => Some(text.chars().count()),
            Val::Array(list) => Some(list.len()),
            Val::List(list) => Some(list.len()),
            Val::Object(map) => Some(map.len()),
            Val::Table(entries) => Some(entries.len()),
            Val::Header(texts) | Val::Query(texts) => Some(texts.len()),
            Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Event(_) => None,
        }
    }

    /// The field of that name; absent where there is none, or where there are no fields at all.
    pub(super) fn field(&self, name: &str) -> Val<'v> {
        match self {
            Val::Object(map) => map.get(name).map_or(Val::Absent, Val::from),
            Val::Header(texts) => texts
                .get(name)
                .or_else(|| texts.get(&name.to_ascii_lowercase()))
                .map_or(Val::Absent, |text| Val::Text(text)),
            Val::Query(texts) => texts.get(name).map_or(Val::Absent, |text| Val::Text(text)),
            Val::Event(event) => event_field(event, name),
            Val::Table(entries) => entries
                .iter()
                .find(|(key, _)| key.as_text() == Some(name))
                .map_or(Val::Absent, |(_, value)| value.clone()),
            _ => Val::Absent,
        }
    }

    /// The element at `at`; a negative one counts from the end.
    pub(super) fn element(&self, at: i128) -> Val<'v> {
        let Some(length) = (match self {
            Val::Array(list) => Some(list.len()),
            Val::List(list) => Some(list.len()),
            _ => None,
        }) else {
            return Val::Absent;
        };
        let length = i128::try_from(length).unwrap_or(i128::MAX);
        let at = if at < 0 {
            length.saturating_add(at)
        } else {
            at
        };
        let Ok(at) = usize::try_from(at) else {
            return Val::Absent;
        };
        match self {
            Val::Array(list) => list.get(at).map_or(Val::Absent, Val::from),
            Val::List(list) => list.get(at).cloned().unwrap_or(Val::Absent),
            _ => Val::Absent,
        }
    }
}

/// How many parts of nested lists are looked at; only an expression that doubles a list again and again has more.
const PARTS: usize = 100_000;

/// The fields of `event` in `when`, in computed destinations and mentions.
pub(super) const EVENT_FIELDS: [&str; 11] = [
    "bridge", "id", "kind", "time", "received", "title", "actor", "link", "severity", "state",
    "subject",
];

/// Times are RFC 3339 in UTC, the severity is its number, the state its word.
fn event_field<'v>(event: &'v Event, name: &str) -> Val<'v> {
    match name {
        "bridge" => Val::Text(&event.bridge),
        "id" => Val::Text(event.id.as_str()),
        "kind" => Val::Text(&event.kind),
        "time" => Val::made(event.time.to_string()),
        "received" => Val::made(event.received.to_string()),
        "title" => Val::Text(&event.title),
        "actor" => Val::Text(&event.actor),
        "link" => Val::Text(&event.link),
        "severity" => Val::Int(event.severity as i128),
        "state" => event
            .state
            .map_or(Val::Absent, |state| Val::Text(state.word())),
        "subject" => Val::Text(&event.subject),
        _ => Val::Absent,
    }
}

/// The value as an explanation shows it: short, one line.
impl fmt::Display for Val<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More characters than this say no more to a reader.
        const SHOWN: usize = 40;
        let short = |f: &mut fmt::Formatter<'_>, text: &str| {
            let mut shown: String = text.chars().take(SHOWN).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            write!(f, "{shown:?}")
        };
        match self {
            Val::Absent => f.write_str("absent"),
            Val::Bool(b) => b.fmt(f),
            Val::Int(n) => n.fmt(f),
            Val::Float(n) => n.fmt(f),
            Val::Text(text) => short(f, text),
            Val::Made(text) => short(f, text),
            _ => match self.size() {
                Some(size) => write!(f, "{} of {size}", self.sort()),
                None => f.write_str(self.sort()),
            },
        }
    }
}
