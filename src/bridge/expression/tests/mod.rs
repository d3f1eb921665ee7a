//! The promises of the language.

mod bounds;
mod cel;
mod flaws;
mod never;
mod reading;
mod why;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::bridge::event_rules::EventRules;
use crate::model::{EventId, Severity, State};

/// A payload with a bit of everything.
fn payload() -> Value {
    json!({
        "action": "opened",
        "number": 12,
        "ratio": 1.5,
        "big": u64::MAX,
        "draft": false,
        "nothing": null,
        "blank": "",
        "zero": 0,
        "package": "left-pad",
        "title": "Fix: the Door",
        "ref": "refs/heads/main",
        "user": { "login": "octocat", "in": "side" },
        "labels": [{ "name": "bug" }, { "name": "urgent" }, { "other": 1 }],
        "numbers": [1, 2, 3],
        "empties": [null, "", [], {}, [null, [""]]],
        "table": { "a": 1, "b": "two" },
    })
}

fn header() -> BTreeMap<String, String> {
    BTreeMap::from([("x-github-event".to_owned(), "push".to_owned())])
}

fn event(body: Value) -> Event {
    let time = "2026-11-23T12:00:00Z".parse().unwrap();
    Event {
        bridge: "acme".to_owned(),
        id: EventId::Sender("42".to_owned()),
        signed: None,
        kind: "pull_request.opened".to_owned(),
        time,
        received: time,
        title: "acme/web #12".to_owned(),
        actor: "octocat".to_owned(),
        link: String::new(),
        severity: Severity::Warning,
        state: Some(State::Open),
        subject: "s".to_owned(),
        header: header(),
        query: BTreeMap::from([("x".to_owned(), "1".to_owned())]),
        body,
        raw: bytes::Bytes::new(),
    }
}

fn rules() -> EventRules {
    let lets = [
        ("let.it", "first(body.pull_request, body.user)"),
        ("let.who", "it.login"),
        ("let.gone", "body.pull_request"),
    ];
    EventRules::compile(&lets.map(|(key, source)| (key.to_owned(), source.to_owned()))).unwrap()
}

fn value(source: &str) -> Result<Value, String> {
    let rules = rules();
    let event = event(payload());
    let (scope, _) = rules.scope(&event);
    let expression = Expression::compile(source, rules.names())
        .unwrap_or_else(|flaws| panic!("{source}: {flaws:?}"));
    let (value, notes) = expression.evaluate(&scope);
    match notes.first() {
        None => Ok(value.to_json()),
        Some(note) => Err(note.to_string()),
    }
}

#[track_caller]
fn gives(cases: &[(&str, Value)]) {
    for (source, expected) in cases {
        assert_eq!(value(source).as_ref(), Ok(expected), "{source}");
    }
}

#[track_caller]
fn fails(cases: &[(&str, &str)]) {
    for (source, why) in cases {
        assert_eq!(value(source).unwrap_err(), *why, "{source}");
    }
}

fn flaws(source: &str) -> Vec<Flaw> {
    Expression::compile(source, rules().names())
        .err()
        .unwrap_or_default()
}

/// The part of the source that is meant, the message, and the help.
fn flaw(source: &str) -> (String, String, String) {
    let flaw = flaws(source)
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("{source} has no flaw"));
    (
        source[flaw.span].to_owned(),
        flaw.message,
        flaw.help.unwrap_or_default(),
    )
}

fn why(source: &str) -> (bool, String) {
    let rules = rules();
    let event = event(payload());
    let (scope, _) = rules.scope(&event);
    let expression = Expression::compile(source, rules.names())
        .unwrap_or_else(|flaws| panic!("{source}: {flaws:?}"));
    let holds = expression.holds(&scope);
    assert_eq!(holds.yes, expression.is_true(&scope), "{source}");
    (holds.yes, holds.why)
}
