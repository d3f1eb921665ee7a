//! What `try` says about a rule, and what becomes of its values.

use super::*;

#[test]
fn a_failure_names_the_part_and_never_a_value() {
    let failure = value("\"a\" + (body.title < 3)").unwrap_err();
    assert_eq!(
        failure,
        "`body.title < 3`: a text and a number have no order"
    );
    assert!(!failure.contains("Door"));
}

#[test]
fn why_a_rule_says_yes_or_no_can_be_read() {
    for (source, yes, expected) in [
        (
            "body.action == \"opened\"",
            true,
            "`body.action` is \"opened\"",
        ),
        (
            "body.action == \"closed\"",
            false,
            "`body.action` is \"opened\", not \"closed\"",
        ),
        (
            "body.action != \"closed\"",
            true,
            "`body.action` is \"opened\", not \"closed\"",
        ),
        (
            "\"closed\" == body.action",
            false,
            "`body.action` is \"opened\", not \"closed\"",
        ),
        ("body.merged == true", false, "`body.merged` is absent"),
        ("body.merged != true", true, "`body.merged` is absent"),
        ("gone.title == \"x\"", false, "`gone` is absent"),
        (
            "body.pull_request.title == \"x\"",
            false,
            "`body.pull_request` is absent",
        ),
        (
            "body.titel == \"x\"",
            false,
            "`body.titel` is absent, there is `title`",
        ),
        (
            "event.severity >= severity.error",
            false,
            "`event.severity` is 2, not >= severity.error",
        ),
        (
            "event.severity >= severity.warning",
            true,
            "`event.severity` is 2, >= severity.warning",
        ),
        (
            "severity.warning <= event.severity",
            true,
            "`event.severity` is 2, >= severity.warning",
        ),
        (
            "body.action == body.title",
            false,
            "`body.action` is \"opened\", not \"Fix: the Door\" (`body.title`)",
        ),
        ("body.draft", false, "`body.draft` is false"),
        (
            "body.action",
            false,
            "`body.action` is \"opened\", not true",
        ),
        ("!body.draft", true, "`body.draft` is false"),
        (
            "body.number > 10 && body.action == \"closed\"",
            false,
            "`body.action` is \"opened\", not \"closed\"",
        ),
        (
            "body.number > 10 && body.action == \"opened\"",
            true,
            "`body.number` is 12, > 10, `body.action` is \"opened\"",
        ),
        (
            "body.x == 1 || body.y == 1",
            false,
            "`body.x` is absent, `body.y` is absent",
        ),
        (
            "body.x == 1 || body.number == 12",
            true,
            "`body.number` is 12",
        ),
        (
            "body.action in [\"closed\", \"merged\"]",
            false,
            "`body.action` is \"opened\", not in `[\"closed\", \"merged\"]`",
        ),
        (
            "body.ref.startsWith(\"refs/tags/\")",
            false,
            "`body.ref.startsWith(\"refs/tags/\")` does not hold: `body.ref` is \"refs/heads/main\"",
        ),
        (
            "body.branch.startsWith(\"x\")",
            false,
            "`body.branch` is absent",
        ),
        (
            "body.title.matches(\"^Feat\")",
            false,
            "`body.title.matches(\"^Feat\")` does not hold: `body.title` is \"Fix: the Door\"",
        ),
        (
            "body.labels.exists(l, l.name == \"bug\")",
            true,
            "`body.labels.exists(l, l.name == \"bug\")` holds",
        ),
        (
            "body.labels.exists(l, l.name == \"x\")",
            false,
            "`body.labels.exists(l, l.name == \"x\")` does not hold",
        ),
        (
            "body.tags.exists(l, l.name == \"x\")",
            false,
            "`body.tags` is absent",
        ),
        ("has(body.user)", true, "`body.user` is there"),
        (
            "has(body.usr)",
            false,
            "`body.usr` is absent, there is `user`",
        ),
        (
            "body.title < 3",
            false,
            "`body.title < 3`: a text and a number have no order",
        ),
        (
            "body.draft ? true : body.number == 1",
            false,
            "`body.draft` is false, so: `body.number` is 12, not 1",
        ),
    ] {
        assert_eq!(why(source), (yes, expected.to_owned()), "{source}");
    }
}

#[test]
fn values_become_texts_for_destinations_and_mentions() {
    let rules = rules();
    let event = event(payload());
    let (scope, _) = rules.scope(&event);
    let texts = |source: &str| {
        let expression = Expression::compile(source, rules.names()).unwrap();
        expression.evaluate(&scope).0.to_texts()
    };
    assert_eq!(texts("\"github:\" + body.user.login"), ["github:octocat"]);
    assert_eq!(texts("body.labels.map(l, l.name)"), ["bug", "urgent"]);
    assert_eq!(
        texts("[body.number, [body.title, null]]"),
        ["12", "Fix: the Door"]
    );
    assert!(texts("body.missing").is_empty());
    assert!(texts("body.user").is_empty());
}
