//! What `check` says about conditions that can never hold, and that it says nothing where they may.

use super::*;

fn of_condition(source: &str) -> Vec<Flaw> {
    Expression::compile_condition(source, rules().names())
        .err()
        .unwrap_or_default()
}

/// The part, and the message, of the only flaw of a condition.
#[track_caller]
fn never(source: &str) -> (String, String) {
    match of_condition(source).as_slice() {
        [flaw] => (source[flaw.span.clone()].to_owned(), flaw.message.clone()),
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn a_condition_that_is_certainly_something_else_is_told() {
    for (source, part, sort) in [
        ("1+1", "1+1", "a number"),
        ("-1", "-1", "a number"),
        ("event.title", "event.title", "a text"),
        ("event[\"title\"]", "event[\"title\"]", "a text"),
        ("\"true\"", "\"true\"", "a text"),
        ("severity.error", "severity.error", "a number"),
        ("event.severity", "event.severity", "a number"),
        (
            "header[\"x-github-event\"]",
            "header[\"x-github-event\"]",
            "a text",
        ),
        ("query.x", "query.x", "a text"),
        ("header", "header", "an object"),
        ("event", "event", "an object"),
        ("[true]", "[true]", "a list"),
        ("{\"a\": true}", "{\"a\": true}", "an object"),
        ("size(body.labels)", "size(body.labels)", "a number"),
        ("int(body.x)", "int(body.x)", "a number"),
        ("body.x.lower()", "body.x.lower()", "a text"),
        ("\"#\" + body.x", "\"#\" + body.x", "a text"),
        ("body.x * 2", "body.x * 2", "a number"),
        ("body.x.filter(y, y.z)", "body.x.filter(y, y.z)", "a list"),
        (
            "body.x ? event.kind : \"b\"",
            "body.x ? event.kind : \"b\"",
            "a text",
        ),
        (
            "first(event.title, event.kind)",
            "first(event.title, event.kind)",
            "a text",
        ),
        // A part of a condition is one itself.
        (
            "event.state == \"open\" || \"closed\"",
            "\"closed\"",
            "a text",
        ),
        ("body.x && event.title", "event.title", "a text"),
        ("!event.title", "event.title", "a text"),
        ("event.title ? true : false", "event.title", "a text"),
        ("body.x.exists(y, size(y))", "size(y)", "a number"),
    ] {
        let message = format!("this can never hold: it is {sort}, a condition is needed");
        assert_eq!(never(source), (part.to_owned(), message), "{source}");
    }
}

#[test]
fn a_condition_that_is_no_condition_is_told_with_what_to_write() {
    let help = |source: &str| of_condition(source).remove(0).help.unwrap_or_default();
    assert_eq!(
        help("severity.error"),
        "write `event.severity >= severity.error`"
    );
    assert_eq!(
        help("event.title"),
        "compare it: `text == \"…\"`, `text != \"\"`"
    );
    assert_eq!(
        help("event.kind == 3"),
        "a text stands in quotes; `int(text)` makes a number of it"
    );
}

#[test]
fn a_value_that_is_no_condition_is_fine_where_none_is_needed() {
    for source in ["1+1", "event.title", "severity.error", "[event.kind]"] {
        assert!(flaws(source).is_empty(), "{source}");
    }
}

#[test]
fn a_comparison_of_two_certain_sorts_is_told_wherever_it_stands() {
    for (source, part, message) in [
        (
            "event.title == 5",
            "event.title == 5",
            "this can never hold: a text and a number are never equal",
        ),
        (
            "event.state > severity.error",
            "event.state > severity.error",
            "this can never hold: a text and a number have no order",
        ),
        (
            "event.kind > 3",
            "event.kind > 3",
            "this can never hold: a text and a number have no order",
        ),
        (
            "event.kind != 3",
            "event.kind != 3",
            "this always holds: a text and a number are never equal",
        ),
        (
            "body.x && (query.page >= 2)",
            "query.page >= 2",
            "this can never hold: a text and a number have no order",
        ),
        (
            "event.kind == [\"push\"]",
            "event.kind == [\"push\"]",
            "this can never hold: a text and a list are never equal",
        ),
        (
            "event.title == true",
            "event.title == true",
            "this can never hold: a text and true or false are never equal",
        ),
        (
            "event.severity == event.title",
            "event.severity == event.title",
            "this can never hold: a number and a text are never equal",
        ),
        (
            "body.x.exists(y, size(y) == \"3\")",
            "size(y) == \"3\"",
            "this can never hold: a number and a text are never equal",
        ),
        (
            "int(body.x) == \"5\"",
            "int(body.x) == \"5\"",
            "this can never hold: a number and a text are never equal",
        ),
    ] {
        assert_eq!(
            never(source),
            (part.to_owned(), message.to_owned()),
            "{source}"
        );
        assert_eq!(flaws(source), of_condition(source), "{source}");
    }
}

#[test]
fn what_may_hold_is_left_alone() {
    for source in [
        "true",
        "null",
        "who",
        "body",
        "body.draft",
        "body[event.kind]",
        "header.x.y",
        "'a' + 1 == 'a1'",
        "event.state == null",
        "event.state == \"\"",
        "event.actor == \"\"",
        "event.actor != null",
        "header.x == null",
        "query.page == \"2\" && int(query.page) >= 2",
        "event.severity >= severity.error",
        "event.severity == 3",
        "event.severity + 0.5 > severity.info",
        "event.state == \"open\" && event.kind.startsWith(\"push\")",
        "event.kind in [\"push\", 3]",
        "body.x == 5 || body.x == \"5\" || body.x == [\"5\"] || who == 5",
        "body.x.exists(y, y == 5 || y == \"5\" || y)",
        "body.x.map(y, y.name) == []",
        "first(body.x, 5) == \"5\"",
        "(body.x ? 1 : \"a\") == \"a\"",
        "{\"1\": \"firing\"}[body.type] == 5",
        "[1, \"a\"][0] == \"a\"",
        // Absent equals the empty text, whatever it might have been.
        "int(body.x) == \"\"",
        "int(body.x) == event.title",
        "body.x.contains(\"a\") == event.title",
        "event.title == -body.x",
        "body.x * 2 == event.title + event.kind",
    ] {
        assert_eq!(of_condition(source), [], "{source}");
    }
}

#[test]
fn the_words_of_severity_are_texts_while_an_event_is_made() {
    let compile =
        |source: &str| EventRules::compile(&[("severity".to_owned(), source.to_owned())]).err();
    assert_eq!(
        compile("body.level == severity.error || severity.error != severity.info ? \"a\" : \"b\""),
        None
    );
    assert!(compile("severity.error == 3 ? \"a\" : \"b\"").is_some());
}
