//! The reading rules.

use serde_json::json;

use super::*;

#[test]
fn what_is_missing_null_or_asked_of_something_without_fields_is_absent() {
    gives(&[
        ("body.missing", json!(null)),
        ("body.nothing", json!(null)),
        ("body.action.more.and.more", json!(null)),
        ("body.number[0]", json!(null)),
        ("body[\"missing\"][\"x\"]", json!(null)),
        ("body.numbers.x", json!(null)),
        ("body.numbers[\"0\"]", json!(null)),
        ("body.table[0]", json!(null)),
        ("header.missing", json!(null)),
        ("gone.title", json!(null)),
        ("body.user[\"in\"]", json!("side")),
        ("body.package", json!("left-pad")),
        ("header[\"X-GitHub-Event\"]", json!("push")),
        ("query.x", json!("1")),
        ("who", json!("octocat")),
    ]);
}

#[test]
fn a_negative_index_counts_from_the_end() {
    gives(&[
        ("body.numbers[0]", json!(1)),
        ("body.numbers[-1]", json!(3)),
        ("body.numbers[-3]", json!(1)),
        ("body.numbers[-4]", json!(null)),
        ("body.numbers[3]", json!(null)),
        ("[\"a\", \"b\"][-1]", json!("b")),
        ("body.numbers[-9223372036854775808]", json!(null)),
    ]);
}

#[test]
fn absent_spreads_through_plus_methods_and_look_ups() {
    gives(&[
        ("\"#\" + body.missing", json!(null)),
        ("body.missing + 1", json!(null)),
        ("body.missing.after(\"/\")", json!(null)),
        ("body.ref.after(body.missing)", json!(null)),
        ("body.missing.lower().startsWith(\"x\")", json!(null)),
        ("body.missing.matches(\"x\")", json!(null)),
        ("body.missing.join(\",\")", json!(null)),
        ("{\"a\": 1}[body.missing]", json!(null)),
        ("body.table[body.missing]", json!(null)),
        ("-body.missing", json!(null)),
        ("body.missing * 2 - 1", json!(null)),
    ]);
}

#[test]
fn absent_equals_null_the_empty_text_and_absent_only() {
    gives(&[
        ("body.missing == null", json!(true)),
        ("body.missing == \"\"", json!(true)),
        ("body.blank == null", json!(true)),
        ("body.missing == gone", json!(true)),
        ("body.missing != null", json!(false)),
        ("body.missing == 0", json!(false)),
        ("body.missing == false", json!(false)),
        ("body.missing == []", json!(false)),
        ("body.missing != true", json!(true)),
        ("body.draft != true", json!(true)),
    ]);
}

#[test]
fn absent_is_smaller_than_nothing_in_nothing_and_not_there() {
    gives(&[
        ("body.missing < 1", json!(false)),
        ("body.missing >= 1", json!(false)),
        ("1 <= body.missing", json!(false)),
        ("body.missing in [null]", json!(false)),
        ("1 in body.missing", json!(false)),
        ("has(body.missing)", json!(false)),
        ("has(body.missing.deeper)", json!(false)),
        ("has(body.nothing)", json!(false)),
        ("has(body.blank)", json!(true)),
        ("has(body.user.login)", json!(true)),
        ("size(body.missing)", json!(0)),
        ("body.missing.size()", json!(0)),
        ("body.missing.exists(x, true)", json!(false)),
        ("body.missing.all(x, false)", json!(true)),
        ("body.missing.map(x, x)", json!([])),
    ]);
}

#[test]
fn a_condition_holds_only_when_it_is_exactly_true() {
    gives(&[
        ("body.missing && true", json!(false)),
        ("body.missing || true", json!(true)),
        ("body.action || body.number", json!(false)),
        ("body.missing ? 1 : 2", json!(2)),
        ("body.action ? 1 : 2", json!(2)),
        ("!body.missing", json!(true)),
        ("!body.draft", json!(true)),
        ("!!body.missing", json!(false)),
        ("false && body.labels < 1", json!(false)),
        ("true || body.labels < 1", json!(true)),
    ]);
    assert!(!why("body.action").0);
    assert!(!why("body.missing").0);
}

#[test]
fn plus_with_a_text_writes_numbers_and_booleans() {
    gives(&[
        ("\"#\" + body.number", json!("#12")),
        ("body.number + \"\"", json!("12")),
        ("\"\" + body.draft + body.ratio", json!("false1.5")),
        ("\"\" + body.big", json!("18446744073709551615")),
        ("1 + 2 + \"x\"", json!("3x")),
        ("\"x\" + 1 + 2", json!("x12")),
        ("1 + 0.5", json!(1.5)),
        ("body.numbers + [4]", json!([1, 2, 3, 4])),
        ("7 - 2 * 3", json!(1)),
        ("7 / 2 + 7 % 4", json!(6)),
        ("-body.number", json!(-12)),
        ("body.big + 1 > body.big", json!(true)),
    ]);
    fails(&[
        (
            "\"x\" + body.numbers",
            "`\"x\" + body.numbers`: a list has no text of its own; use `list.join(\", \")`",
        ),
        (
            "\"x\" + body.user",
            "`\"x\" + body.user`: an object has no text of its own",
        ),
        (
            "1 + true",
            "`1 + true`: a number and true or false cannot be added",
        ),
        ("1 / 0", "`1 / 0`: a division by zero"),
        ("1.0 % 0", "`1.0 % 0`: a division by zero"),
    ]);
}

#[test]
fn values_compare_by_what_they_are() {
    gives(&[
        ("1 == 1.0", json!(true)),
        ("body.number == \"12\"", json!(false)),
        ("body.numbers == [1, 2.0, 3]", json!(true)),
        (
            "body.user == {\"login\": \"octocat\", \"in\": \"side\"}",
            json!(true),
        ),
        ("body.user == {\"login\": \"octocat\"}", json!(false)),
        ("\"a\" < \"b\"", json!(true)),
        ("2 <= 2.0", json!(true)),
        ("2 in body.numbers", json!(true)),
        ("\"login\" in body.user", json!(true)),
        ("\"x-github-event\" in header", json!(true)),
        ("!(\"b\" in {\"a\": 1})", json!(true)),
    ]);
    fails(&[
        (
            "body.title < 3",
            "`body.title < 3`: a text and a number have no order",
        ),
        (
            "\"a\" in body.title",
            "`\"a\" in body.title`: `in` asks a list; of a text ask `text.contains(…)`",
        ),
    ]);
}

#[test]
fn first_is_the_first_that_is_not_empty_and_looks_no_further() {
    gives(&[
        (
            "first(body.missing, body.blank, [], {}, body.empties, body.title)",
            json!("Fix: the Door"),
        ),
        ("first(body.zero, 1)", json!(0)),
        ("first(body.draft, true)", json!(false)),
        ("first(body.missing, [])", json!(null)),
        ("first(1, body.numbers < 3)", json!(1)),
    ]);
}

#[test]
fn texts_and_lists_have_their_functions() {
    gives(&[
        ("body.ref.after(\"refs/heads/\")", json!("main")),
        ("body.ref.after(\"refs/tags/\")", json!("refs/heads/main")),
        ("body.title.before(\":\")", json!("Fix")),
        ("body.title.before(\"\")", json!("Fix: the Door")),
        ("\"a/b/c\".after(\"/\")", json!("b/c")),
        ("body.title.lower()", json!("fix: the door")),
        ("\"ÄÖ\".lower().size()", json!(2)),
        (
            "\"*Run* <https://x.example|7> &lt;now&gt;\".words(\"slack\")",
            json!("Run 7 <now>"),
        ),
        (
            "\"**Run** [7](https://x.example) now\".words(\"markdown\")",
            json!("Run 7 now"),
        ),
        ("body.nothing.words(\"slack\")", json!(null)),
        (
            "[\"a\", null, 1, \"\", [], \"b\"].join(\", \")",
            json!("a, 1, b"),
        ),
        ("[\"a\", \"b\"].join()", json!("ab")),
        ("[].join(\",\")", json!("")),
        (
            "body.ref.startsWith(\"refs/\") && body.ref.endsWith(\"main\")",
            json!(true),
        ),
        ("body.title.contains(\"Door\")", json!(true)),
        ("body.title.matches(\"(?i)^fix:.*door$\")", json!(true)),
        ("matches(body.title, r\"\\d\")", json!(false)),
        ("body.number.after(\"1\")", json!("2")),
        ("size(body.labels) + body.action.size()", json!(9)),
        ("int(\" 12 \") + int(1.9)", json!(13)),
        ("double(\"95.5\") > 90", json!(true)),
        ("string(12) + \"!\"", json!("12!")),
        ("{\"1\": \"firing\", \"2\": \"ok\"}[\"1\"]", json!("firing")),
        ("{1: \"a\"}[1.0]", json!("a")),
        ("{\"a\": 1}.a", json!(1)),
    ]);
    fails(&[
        (
            "body.numbers.lower()",
            "`body.numbers.lower()`: a text is needed, not a list",
        ),
        (
            "body.title.words(\"html\")",
            "`body.title.words(\"html\")`: `words` reads the marks of `\"slack\"` or `\"markdown\"`",
        ),
        (
            "body.numbers.contains(\"1\")",
            "`body.numbers.contains(\"1\")`: `contains` asks a text; of a list ask `x in list`",
        ),
        (
            "body.title.join(\",\")",
            "`body.title.join(\",\")`: a text is no list to join",
        ),
        ("size(3)", "`size(3)`: a number has no size"),
        (
            "int(body.title)",
            "`int(body.title)`: a text that is no number",
        ),
        (
            "body.title.map(c, c)",
            "`body.title.map(c, c)`: a text has no elements to go through",
        ),
    ]);
}

#[test]
fn lists_and_objects_are_gone_through() {
    gives(&[
        ("body.labels.exists(l, l.name == \"bug\")", json!(true)),
        ("body.labels.all(l, l.name != \"x\")", json!(true)),
        ("body.labels.exists_one(l, l.name == \"bug\")", json!(true)),
        (
            "body.labels.filter(l, l.name != null).map(l, l.name)",
            json!(["bug", "urgent"]),
        ),
        ("body.labels.map(l, l.name)", json!(["bug", "urgent", null])),
        (
            "body.labels.map(l, has(l.name), l.name.lower())",
            json!(["bug", "urgent"]),
        ),
        (
            "body.table.map(k, k + \"=\" + body.table[k])",
            json!(["a=1", "b=two"]),
        ),
        (
            "[1, 2].map(a, [10, 20].map(b, a * b))",
            json!([[10, 20], [20, 40]]),
        ),
        ("{\"z\": 1, \"a\": 2}.map(k, k)", json!(["z", "a"])),
        ("body.numbers.filter(n, n > 1)[-1]", json!(3)),
    ]);
}

#[test]
fn severities_are_numbers_in_rules_and_words_in_fields() {
    gives(&[
        ("severity.critical", json!(4)),
        ("event.severity >= severity.warning", json!(true)),
        ("event.severity", json!(2)),
        ("event.state", json!("open")),
        (
            "event.kind + \" \" + event.bridge + \" \" + event.id",
            json!("pull_request.opened acme 42"),
        ),
        ("event.time", json!("2026-11-23T12:00:00Z")),
        ("event.link == null", json!(true)),
    ]);
    let rules = EventRules::compile(&[("let.s".into(), "severity.error".into())]).unwrap();
    let event = event(json!({}));
    let (scope, _) = rules.open(&event.body, &event.header, &event.query);
    assert_eq!(scope.lets[0].to_json(), json!("error"));
    assert_eq!(rules.scope(&event).0.lets[0].to_json(), json!(3));
}
