//! From an authentic request to an event: the body is read, then the bridge's rules fill the fields.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Authentic, fields, form};
use crate::bridge::event_rules::{EventRules, Field};
use crate::bridge::expression::{Note, Val};
use crate::bridge::problem::Level;
use crate::model::{Event, EventId, SignedDigest, Timestamp};

/// Ids and subjects are keys of the outbox; longer ones are cut and told apart by a digest. In bytes.
const KEY: usize = 500;

/// What became of a request.
#[derive(Clone, Debug)]
pub enum Taken {
    /// An event, with notes on what could not be read as its rules say.
    Event(Box<Event>, Vec<Note>),
    /// No event, by choice: why.
    Silent(String),
}

/// The body cannot be read. Its words name what is wrong, never what the body says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Neither JSON nor a form.
    #[error("the body is neither JSON nor a form")]
    Neither,
    /// Begins as JSON does, but is none.
    #[error("the body is not JSON: {what}, at line {line}, column {column}")]
    NotJson {
        /// What is wrong.
        what: String,
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
    },
    /// Objects and lists inside each other, more than any sender means.
    #[error("the JSON is nested deeper than 127 levels")]
    TooDeep,
    /// Text must be UTF-8.
    #[error("the body is not UTF-8: byte {at} does not belong to a character")]
    NotUtf8 {
        /// From 0.
        at: usize,
    },
}

/// Reads an authentic request as the event that its bridge's `rules` make of it. `now` is the time of arrival.
pub fn parse(
    bridge: &str,
    rules: &EventRules,
    authentic: Authentic,
    now: Timestamp,
) -> Result<Taken, Unreadable> {
    let Authentic {
        request,
        signed,
        signed_parameters,
        ..
    } = authentic;
    let mut query = texts(request.query().as_bytes());
    // What a signature over the body leaves open must not write what the event says. Routes may still read the rest.
    if let Some(covered) = signed_parameters {
        query.retain(|name, _| covered.contains(name) || !rules.parameters().has(name));
    }
    let parts = Parts {
        header: header(&request.headers),
        query,
        raw: request.body.clone(),
        signed,
    };
    let unnamed = || EventId::Body(digest(&request.body, request.query()));
    read(bridge, rules, parts, unnamed, now)
}

/// Reads what an event was made of once more, by the rules of now. What had no id of its sender's keeps the one it has.
pub fn parse_again(rules: &EventRules, event: &Event, now: Timestamp) -> Result<Taken, Unreadable> {
    let parts = Parts {
        header: event.header.clone(),
        query: event.query.clone(),
        raw: event.raw.clone(),
        signed: event.signed,
    };
    let unnamed = || match &event.id {
        EventId::Sender(_) => EventId::Body(digest(&event.raw, "")),
        own => own.clone(),
    };
    read(&event.bridge, rules, parts, unnamed, now)
}

/// What an event is made of.
struct Parts {
    header: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    raw: Bytes,
    signed: Option<SignedDigest>,
}

/// `unnamed` gives an id where the rules find none.
fn read(
    bridge: &str,
    rules: &EventRules,
    parts: Parts,
    unnamed: impl FnOnce() -> EventId,
    now: Timestamp,
) -> Result<Taken, Unreadable> {
    let Parts {
        header,
        query,
        raw,
        signed,
    } = parts;
    let text = std::str::from_utf8(&raw).map_err(|error| Unreadable::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let body = body(text)?;
    if text.trim().is_empty() && query.is_empty() {
        return Ok(Taken::Silent("neither a body nor a query".to_owned()));
    }

    let (scope, mut notes) = rules.open(&body, &header, &query);
    let mut read = |field: Field| match rules.field(field) {
        None => Val::Absent,
        Some(expression) => {
            let (value, found) = expression.evaluate(&scope);
            notes.extend(found.into_iter().map(|note| note.about(field.key())));
            value
        }
    };
    let id = match key(fields::line(&read(Field::Id))) {
        id if id.is_empty() => unnamed(),
        id => EventId::Sender(id),
    };
    let kind = fields::kind(&read(Field::Kind));
    let subject = key(fields::line(&read(Field::Subject)));
    let title = fields::title(&read(Field::Title));
    let actor = fields::title(&read(Field::Actor));
    let link = fields::link(&read(Field::Link));
    let (severity, refused) = fields::severity(&read(Field::Severity));
    let state = fields::state(&read(Field::State));
    let time = read(Field::Time);
    let at = fields::time(&time);
    let mut unread = |field: Field, what: &str| {
        notes.push(Note {
            level: Level::Advice,
            about: field.key().to_owned(),
            what: what.to_owned(),
        });
    };
    if let Some(refused) = refused {
        unread(Field::Severity, refused);
    }
    if at.is_none() && !time.is_empty() {
        unread(Field::Time, "this is no time; the time of arrival is taken");
    }
    drop(time);
    drop(scope);
    let event = Event {
        bridge: bridge.to_owned(),
        id,
        signed,
        kind,
        time: at.unwrap_or(now),
        received: now,
        title,
        actor,
        link,
        severity,
        state,
        subject,
        header,
        query,
        body,
        raw,
    };
    Ok(Taken::Event(Box::new(event), notes))
}

/// By lower-case name; repeated ones are joined by `, ` as RFC 9110 5.3 says.
fn header(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match texts.get_mut(name.as_str()) {
            Some(text) => {
                text.push_str(", ");
                text.push_str(&value);
            }
            None => drop(texts.insert(name.as_str().to_owned(), value.into_owned())),
        }
    }
    texts
}

/// The body as JSON. The bytes alone decide what it is: the Content-Type is signed by nobody, so a signed JSON body must
/// not become a form because somebody changed it.
fn body(whole: &str) -> Result<Value, Unreadable> {
    let text = whole.strip_prefix('\u{feff}').unwrap_or(whole).trim();
    if text.is_empty() {
        return Ok(Value::Null);
    }
    if text.starts_with(['{', '[', '"']) {
        return json(text);
    }
    // Asked of the whole body, as the signature check asks it: both must see the same form.
    if !is_form(whole) {
        return json(text).map_err(|_| Unreadable::Neither);
    }
    let fields = texts(whole.as_bytes());
    // GitHub, Gitea and Travis can send their JSON as this field of a form.
    match fields.get("payload").map(|payload| payload.trim()) {
        Some(payload) if payload.starts_with('{') => json(payload),
        _ => Ok(fields
            .into_iter()
            .map(|(name, text)| (name, Value::String(text)))
            .collect()),
    }
}

/// A form begins with the encoded name of a field and its `=`; prose and multipart bodies do not.
fn is_form(whole: &str) -> bool {
    let first = whole.split_once('=').map(|(name, _)| name);
    let is_encoded = |name: &str| !name.contains(|c: char| c.is_whitespace() || c.is_control());
    form::fields(whole.as_bytes()).is_some() && first.is_some_and(is_encoded)
}

fn json(text: &str) -> Result<Value, Unreadable> {
    super::json::read(text).map_err(|error| {
        let said = error.to_string();
        if said.starts_with("recursion limit") {
            return Unreadable::TooDeep;
        }
        let at = byte_at(text, error.line(), error.column());
        let what = match said.split(" at line ").next().unwrap_or_default() {
            _ if error.is_eof() => "it ends too early",
            what if what.starts_with("control character") => match at {
                Some(0) => "a NUL byte inside a text",
                _ => "a raw control character inside a text",
            },
            what if what.starts_with("invalid escape") => "an unknown escape in a text",
            what if what.starts_with("trailing characters") => "something stands behind its end",
            what if what.starts_with("trailing comma") => {
                "a comma before the end of a list or object"
            }
            what if what.starts_with("number out of range") => "a number that is too large",
            what if what.starts_with("invalid number") => "a number that is none",
            what if what.starts_with("key must be") => "a key that is no text",
            _ => match at {
                Some(0) => "a NUL byte",
                _ => "a sign that does not belong here",
            },
        };
        Unreadable::NotJson {
            what: what.to_owned(),
            line: error.line(),
            column: error.column(),
        }
    })
}

/// The byte at a place as serde_json counts: lines and columns from 1.
fn byte_at(text: &str, line: usize, column: usize) -> Option<u8> {
    let line = text.split('\n').nth(line.checked_sub(1)?)?;
    line.as_bytes().get(column.checked_sub(1)?).copied()
}

/// The fields of a form or a query; of several with one name the first counts.
fn texts(encoded: &[u8]) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let read = |bytes| String::from_utf8_lossy(&form::decode(bytes)).into_owned();
    for (name, value) in form::fields(encoded).into_iter().flatten() {
        texts.entry(read(name)).or_insert_with(|| read(value));
    }
    texts
}

/// The text itself while it is short, else its beginning and a digest of it all.
fn key(text: String) -> String {
    if text.len() <= KEY {
        return text;
    }
    let cut = (0..=KEY).rev().find(|at| text.is_char_boundary(*at));
    let digest = hex::encode(&Sha256::digest(text.as_bytes())[..8]);
    format!("{}… {digest}", &text[..cut.unwrap_or(0)])
}

/// What stands for an event without an id: 128 bits of SHA-256 over the body, and over the query where all is said there.
fn digest(body: &Bytes, query: &str) -> String {
    let mut sum = Sha256::new();
    sum.update(body);
    if body.is_empty() {
        sum.update(query);
    }
    hex::encode(&sum.finalize()[..16])
}

#[cfg(test)]
mod tests;
