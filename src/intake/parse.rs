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
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::intake::Request;
    use crate::model::{Severity, State};

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn authentic(body: impl Into<Bytes>) -> Authentic {
        let mut headers = HeaderMap::new();
        headers.insert("X-Kind", "Push".parse().unwrap());
        headers.append("x-many", "a".parse().unwrap());
        headers.append("x-many", "b".parse().unwrap());
        let request = Request {
            method: http::Method::POST,
            target: "/hooks/acme".to_owned(),
            rest: String::new(),
            headers,
            body: body.into(),
            peer: None,
        };
        Authentic::unproven(request, "not asked")
    }

    fn rules() -> EventRules {
        let written = [
            ("let.it", "first(body.issue, body)"),
            ("id", "it.id"),
            ("kind", "[header[\"x-kind\"], body.action]"),
            ("subject", "it.subject"),
            ("title", "[it.title, \"#\" + it.number]"),
            ("actor", "body.user.name"),
            ("link", "it.url"),
            ("severity", "[body.level, it.priority]"),
            ("state", "body.action"),
            ("time", "body.time"),
        ];
        EventRules::compile(&written.map(|(key, source)| (key.to_owned(), source.to_owned())))
            .unwrap()
    }

    fn taken(authentic: Authentic) -> (Event, Vec<String>) {
        match parse("acme", &rules(), authentic, now()) {
            Ok(Taken::Event(event, notes)) => (*event, notes.iter().map(Note::to_string).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn unreadable(body: &[u8]) -> String {
        match parse("acme", &rules(), authentic(body.to_vec()), now()) {
            Err(error) => error.to_string(),
            Ok(taken) => panic!("{taken:?}"),
        }
    }

    #[test]
    fn an_emoji_that_was_cut_in_two_costs_one_sign_and_not_the_event() {
        let came = br#"{"id":"e1","title":"done \ud83d"}"#;
        let (event, _) = taken(authentic(came.to_vec()));
        assert_eq!(event.body["title"], "done \u{fffd}");
        assert_eq!(event.raw, came.as_slice(), "it is kept as it came");
    }

    #[test]
    fn a_webhook_becomes_an_event_with_the_fields_of_its_rules() {
        let body = json!({
            "action": "Closed",
            "level": "warn",
            "time": "2026-11-23 11:59:00",
            "user": { "name": "Ann\nLee" },
            "issue": { "id": 7, "number": 12, "title": "Door", "subject": "door", "url": "https://x.example/12", "priority": "P1" },
        });
        let (event, notes) = taken(authentic(body.to_string()));
        assert_eq!(notes, [""; 0]);
        assert_eq!(event.bridge, "acme");
        assert_eq!(event.id, EventId::Sender("7".to_owned()));
        assert_eq!(event.kind, "push.closed");
        assert_eq!(event.subject, "door");
        assert_eq!(event.title, "Door #12");
        assert_eq!(event.actor, "Ann Lee");
        assert_eq!(event.link, "https://x.example/12");
        assert_eq!(event.severity, Severity::Critical);
        assert_eq!(event.state, Some(State::Closed));
        assert_eq!(event.time.to_string(), "2026-11-23T11:59:00Z");
        assert_eq!(event.received, now());
        assert_eq!(event.header["x-many"], "a, b");
        assert_eq!(event.body, body);
        assert_eq!(event.raw, body.to_string());
    }

    #[test]
    fn an_event_with_nothing_in_it_is_still_an_event() {
        let (event, notes) = taken(authentic("{}"));
        assert_eq!(notes, [""; 0]);
        assert_eq!(
            (
                event.kind.as_str(),
                event.title.as_str(),
                event.link.as_str()
            ),
            ("push", "", "")
        );
        assert_eq!(
            (event.severity, event.state, event.time),
            (Severity::Info, None, now())
        );
    }

    #[test]
    fn without_an_id_the_body_is_its_own_id() {
        let id = |authentic| taken(authentic).0.id;
        assert_eq!(id(authentic("{\"a\":1}")), id(authentic("{\"a\":1}")));
        assert_ne!(id(authentic("{\"a\":1}")), id(authentic("{\"a\":2}")));
        assert!(matches!(id(authentic("{}")), EventId::Body(digest) if digest.len() == 32));
        let query = |query: &str| {
            let mut authentic = authentic("");
            authentic.request.target = format!("/hooks/acme?{query}");
            id(authentic)
        };
        assert_ne!(query("monitor=1"), query("monitor=2"));
    }

    #[test]
    fn a_long_id_stays_its_own() {
        let id = |end: &str| {
            taken(authentic(
                json!({ "id": "é".repeat(1000) + end }).to_string(),
            ))
            .0
            .id
        };
        assert_ne!(id("1"), id("2"));
        assert!(id("1").as_str().len() < KEY + 40);
    }

    #[test]
    fn what_cannot_be_read_leaves_a_note_and_no_value_of_the_payload() {
        let body =
            json!({ "level": 4, "time": "teatime", "title": { "secret": "xyz" }, "number": [] });
        let (event, notes) = taken(authentic(body.to_string()));
        assert_eq!(
            notes,
            [
                "title: `\"#\" + it.number`: a list has no text of its own; use `list.join(\", \")`",
                "severity: only words are severities: one sender's 4 is another's 1",
                "time: this is no time; the time of arrival is taken",
            ]
        );
        assert_eq!((event.time, event.title.as_str()), (now(), ""));
    }

    #[test]
    fn try_is_told_which_fields_are_absent() {
        let (event, _) = taken(authentic(json!({ "issue": { "titel": "x" } }).to_string()));
        let notes: Vec<_> = rules().absent(&event).iter().map(Note::to_string).collect();
        assert!(
            notes.contains(&"title: `it.title` is absent, there is `titel`".to_owned()),
            "{notes:?}"
        );
        assert!(
            notes.contains(&"actor: `body.user` is absent".to_owned()),
            "{notes:?}"
        );
    }

    #[test]
    fn a_form_is_an_object_of_texts_and_its_payload_may_be_the_body() {
        let (event, _) = taken(authentic("title=a+b%21&n=1&n=2&empty"));
        assert_eq!(
            event.body,
            json!({ "title": "a b!", "n": "1", "empty": "" })
        );
        let (event, _) = taken(authentic("payload=%7B%22title%22%3A%22x%22%7D&other=1"));
        assert_eq!(event.body, json!({ "title": "x" }));
        let (event, _) = taken(authentic("payload=plain"));
        assert_eq!(event.body, json!({ "payload": "plain" }));
        assert!(unreadable(b"payload=%7Bx").starts_with("the body is not JSON"));
    }

    #[test]
    fn what_was_signed_with_its_time_stays_with_the_event_beside_its_id() {
        let signed = |body: &str, digest| {
            let mut authentic = authentic(body.to_owned());
            authentic.signed = digest;
            let event = taken(authentic).0;
            (event.id, event.signed)
        };
        let (body, none) = signed("{}", None);
        assert_eq!(none, None);
        // Signed anew, it may be a retry.
        assert_eq!(signed("{}", Some([1; 16])), (body, Some([1; 16])));
        let own = signed("{\"id\":\"7\"}", Some([2; 16]));
        assert_eq!(own, (EventId::Sender("7".to_owned()), Some([2; 16])));
    }

    #[test]
    fn a_body_that_begins_as_json_is_never_read_as_a_form() {
        let mut request = authentic("{\"m\":\"&payload=%7B%7D\"}");
        request.request.headers.insert(
            "content-type",
            "application/x-www-form-urlencoded".parse().unwrap(),
        );
        assert_eq!(taken(request).0.body, json!({ "m": "&payload=%7B%7D" }));
        assert!(unreadable(b"[1&payload={}").starts_with("the body is not JSON"));
        assert!(unreadable(b" {a=1").starts_with("the body is not JSON"));
    }

    #[test]
    fn other_json_than_objects_is_read_too() {
        assert_eq!(taken(authentic("[1]")).0.body, json!([1]));
        assert_eq!(taken(authentic("\u{feff} \"x\" ")).0.body, json!("x"));
        assert_eq!(taken(authentic("12")).0.body, json!(12));
    }

    #[test]
    fn a_request_without_body_and_query_is_silent() {
        for body in ["", " \n"] {
            let taken = parse("acme", &rules(), authentic(body), now());
            assert!(matches!(taken, Ok(Taken::Silent(why)) if why == "neither a body nor a query"));
        }
    }

    #[test]
    fn an_unreadable_body_is_told_what_is_wrong_with_it() {
        for (body, expected) in [
            (
                &b"{\"a\":1"[..],
                "the body is not JSON: it ends too early, at line 1, column 6",
            ),
            (
                b"{\"a\":\n x}",
                "the body is not JSON: a sign that does not belong here, at line 2, column 2",
            ),
            (
                b"{\"a\":\"x\0\"}",
                "the body is not JSON: a NUL byte inside a text, at line 1, column 8",
            ),
            (
                b"{\"a\":\0}",
                "the body is not JSON: a NUL byte, at line 1, column 6",
            ),
            (
                b"{\"a\":\"x\n\"}",
                "the body is not JSON: a raw control character inside a text, at line 2, column 0",
            ),
            (
                b"{} x",
                "the body is not JSON: something stands behind its end, at line 1, column 4",
            ),
            (
                b"{\"a\":1,}",
                "the body is not JSON: a comma before the end of a list or object, at line 1, column 8",
            ),
            (
                b"{\"a\":\"\\x\"}",
                "the body is not JSON: an unknown escape in a text, at line 1, column 8",
            ),
            (
                b"{\"a\":1e999}",
                "the body is not JSON: a number that is too large, at line 1, column 10",
            ),
            (
                b"{a:1}",
                "the body is not JSON: a key that is no text, at line 1, column 2",
            ),
            (
                b"{\"a\":\"\xff\"}",
                "the body is not UTF-8: byte 6 does not belong to a character",
            ),
            (b"hello", "the body is neither JSON nor a form"),
            (b"hello a=1", "the body is neither JSON nor a form"),
            (b" a=1", "the body is neither JSON nor a form"),
            (b"<a b=\"1\"/>", "the body is neither JSON nor a form"),
            (
                b"------x\r\nContent-Disposition: form-data; name=\"x\"\r\n",
                "the body is neither JSON nor a form",
            ),
        ] {
            assert_eq!(
                unreadable(body),
                expected,
                "{}",
                String::from_utf8_lossy(body)
            );
        }
        assert_eq!(
            unreadable("[".repeat(100_000).as_bytes()),
            "the JSON is nested deeper than 127 levels"
        );
        assert_eq!(
            unreadable("{\"a\":".repeat(200).as_bytes()),
            "the JSON is nested deeper than 127 levels"
        );
        let deepest = format!("{}{}", "[".repeat(127), "]".repeat(127));
        taken(authentic(deepest));
    }

    #[test]
    fn a_nul_that_json_may_hold_does_not_reach_the_fields() {
        let (event, _) = taken(authentic("{\"title\":\"a\\u0000b\",\"id\":\"\\u0000\"}"));
        assert_eq!(event.title, "a\u{fffd}b");
        assert_eq!(event.id, EventId::Sender("\u{fffd}".into()));
    }

    #[test]
    fn what_was_kept_is_read_again_as_it_came() {
        let mut authentic = authentic("{\"action\":\"opened\"}");
        authentic.request.target = "/hooks/acme?a%26b=c%3D+%E4%B8%AD&empty".to_owned();
        let kind = http::HeaderValue::from_bytes("Plän".as_bytes()).unwrap();
        authentic.request.headers.insert("x-kind", kind);
        authentic.signed = Some([7; 16]);
        let (event, _) = taken(authentic);
        assert_eq!(event.query["a&b"], "c= 中");
        assert_eq!(event.kind, "plän.opened");

        let later = now() + jiff::SignedDuration::from_hours(1);
        let again = match parse_again(&rules(), &event, later) {
            Ok(Taken::Event(again, _)) => *again,
            other => panic!("{other:?}"),
        };

        let came = Event {
            time: later,
            received: later,
            ..event
        };
        assert_eq!(format!("{again:?}"), format!("{came:?}"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_bytes_make_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..64), query in "\\PC{0,20}") {
            let mut authentic = authentic(body);
            authentic.request.target = format!("/hooks/acme?{query}");
            let _ = parse("acme", &rules(), authentic, now());
        }

        #[test]
        fn no_json_makes_the_fields_panic(text in "\\PC{0,300}", number in any::<f64>(), n in any::<i64>()) {
            for value in [json!(text), json!(number), json!(n), json!([text, number, [n]]), json!({ "a": text })] {
                let body = json!({ "id": value, "action": value, "subject": value, "title": value, "number": value,
                    "user": { "name": value }, "url": value, "level": value, "time": value });
                let (event, _) = taken(authentic(body.to_string()));
                prop_assert!(event.title.chars().count() <= 200);
                prop_assert!(!event.title.contains('\n'));
                prop_assert!(!event.kind.is_empty() && !event.kind.contains(['/', '\\', '\0']) && !event.kind.contains(".."));
            }
        }
    }
}
