//! What requests become, and what is said of those that cannot be read.

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
    EventRules::compile(&written.map(|(key, source)| (key.to_owned(), source.to_owned()))).unwrap()
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
    let body = json!({ "level": 4, "time": "teatime", "title": { "secret": "xyz" }, "number": [] });
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
