//! What `check` says about an expression.

use super::*;

#[test]
fn an_unknown_name_is_told_with_the_nearest_right_one() {
    for (source, part, message, help) in [
        (
            "bdy.action == 1",
            "bdy",
            "`bdy` is not known",
            "did you mean `body`?",
        ),
        ("whoo", "whoo", "`whoo` is not known", "did you mean `who`?"),
        (
            "a + critical",
            "a",
            "`a` is not known",
            "fields of the payload are read as `body.a`; a text stands in quotes: `\"a\"`",
        ),
        (
            "event.sevrity > 1",
            "sevrity",
            "events have no field `sevrity`",
            "did you mean `event.severity`?",
        ),
        (
            "event[\"titel\"]",
            "\"titel\"",
            "events have no field `titel`",
            "did you mean `event.title`?",
        ),
        (
            "severity.crtical",
            "crtical",
            "`severity.crtical` is no level",
            "did you mean `severity.critical`?",
        ),
        (
            "severity.unknown",
            "unknown",
            "`severity.unknown` is no level",
            "the levels are debug, info, warning, error, critical",
        ),
        (
            "severity > 1",
            "severity",
            "`severity` alone has no value",
            "`severity.critical` is a level; the event's own is `event.severity`",
        ),
        (
            "body.x.startWith(\"a\")",
            "startWith",
            "there is no function `startWith`",
            "did you mean `text.startsWith(\"…\")`?",
        ),
        (
            "frist(1, 2)",
            "frist",
            "there is no function `frist`",
            "did you mean `first(a, b, …)`?",
        ),
        (
            "len(body.x)",
            "len",
            "there is no function `len`",
            "did you mean `size(list)`?",
        ),
        (
            "body.x.lower(1)",
            "body.x.lower(1)",
            "`lower` does not take this number of arguments",
            "it is written `text.lower()`",
        ),
        (
            "first()",
            "first()",
            "`first` does not take this number of arguments",
            "it is written `first(a, b, …)`",
        ),
        (
            "lower(body.x)",
            "lower",
            "`lower` is not called like this",
            "it is written `text.lower()`",
        ),
        (
            "body.x.exists(y)",
            "body.x.exists(y)",
            "`exists` does not take this number of arguments",
            "it is written `list.exists(x, x.name == \"…\")`",
        ),
        (
            "body.x.exists(y.z, true)",
            "y.z",
            "`exists` needs a name for the element first",
            "`list.exists(x, x.name == \"…\")`",
        ),
        (
            "body.x.map(body, body)",
            "body",
            "`body` already means something here",
            "choose another name for the element",
        ),
        (
            "has(who)",
            "who",
            "`has` asks whether a field is there",
            "`has(body.field)`",
        ),
        (
            "body.t.matches(\"(a\")",
            "\"(a\"",
            "this pattern cannot be used: unclosed group",
            "",
        ),
        (
            "body.t.matches(who)",
            "who",
            "the pattern of `matches` must be a text that is written here",
            "",
        ),
    ] {
        assert_eq!(
            flaw(source),
            (part.into(), message.into(), help.into()),
            "{source}"
        );
    }
}

#[test]
fn comparing_a_severity_or_a_state_with_a_wrong_word_is_told() {
    let never = "a severity is a level, not a text: this never holds";
    for (source, part, help) in [
        (
            "event.severity == \"critical\"",
            "\"critical\"",
            "write `severity.critical`",
        ),
        (
            "\"Eror\" != event.severity",
            "\"Eror\"",
            "write `severity.error`",
        ),
        (
            "event.severity in [\"error\", severity.info]",
            "\"error\"",
            "write `severity.error`",
        ),
        (
            "event.severity >= \"high\"",
            "\"high\"",
            "write `severity.critical`",
        ),
    ] {
        assert_eq!(
            flaw(source),
            (part.into(), never.into(), help.into()),
            "{source}"
        );
    }
    assert_eq!(
        flaw("event.state == \"opened\"").1,
        "`event.state` is never \"opened\""
    );
    assert!(flaws("event.state in [\"open\", \"closed\"] || event.state == \"\"").is_empty());
}

#[test]
fn what_is_written_wrongly_is_told_in_clear_words_with_its_place() {
    for (source, part, message, help) in [
        ("", "", "the expression is empty", ""),
        ("body.a ==", "", "a value is missing after the `==`", ""),
        ("== 1", "==", "a value is missing before the `==`", ""),
        ("body.a && ", "", "a value is missing after the `&&`", ""),
        ("body.a = 1", "=", "`=` means nothing here", "`==` compares"),
        (
            "body.a and body.b",
            "and",
            "`and` was not expected here",
            "and is written `&&`",
        ),
        ("body.a body.b", "body", "`body` was not expected here", ""),
        (
            "body.a \"b\"",
            "\"b\"",
            "a text was not expected here",
            "texts are put together with `+`",
        ),
        ("(body.a", "", "a `)` is missing", ""),
        ("body.a)", ")", "this `)` closes nothing", ""),
        (
            "first(body.a,)",
            ")",
            "a value is missing before the `)`",
            "",
        ),
        (
            "first(body.a body.b)",
            "body",
            "`body` was not expected here",
            "a `)`, a `,` or a sign such as `+` may be missing before it",
        ),
        (
            "body.",
            "",
            "a field's name is missing after the `.`",
            "a name with other signs is read as `[\"x-y\"]`, an element of a list as `[0]`",
        ),
        (
            "body.in",
            "in",
            "`.in` cannot follow a dot",
            "write `[\"in\"]`",
        ),
        (
            "body.a ? 1",
            "",
            "the other half of `? :` is missing",
            "`condition ? value : other value`",
        ),
        (
            "package",
            "package",
            "`package` is a reserved word and cannot stand alone",
            "as a field it is `body.package`",
        ),
        (
            "\"abc",
            "\"",
            "this text is not closed: its `\"` is missing",
            "",
        ),
        (
            "{\"a\" 1}",
            "1",
            "a `:` is missing between a key and its value",
            "a table is written `{\"key\": value, \"other\": value}`",
        ),
    ] {
        assert_eq!(
            flaw(source),
            (part.into(), message.into(), help.into()),
            "{source}"
        );
    }
}

#[test]
fn all_flaws_of_an_expression_are_told_at_once() {
    let found = flaws("bdy.a == 1 && event.kin == \"x\" && body.x.foo()");
    let parts: Vec<_> = found.iter().map(|flaw| flaw.span.start).collect();
    assert_eq!(parts, [0, 20, 41]);
}

#[test]
fn a_helper_may_use_those_above_it_and_no_others() {
    let compile = |written: &[(&str, &str)]| {
        let written: Vec<_> = written
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        EventRules::compile(&written)
    };
    assert!(compile(&[("title", "b"), ("let.a", "body.x"), ("let.b", "a.y")]).is_ok());
    let message = |written: &[(&str, &str)]| {
        let (key, flaw) = compile(written).unwrap_err().remove(0);
        format!("{key}: {}", flaw.message)
    };
    assert_eq!(
        message(&[("let.b", "a.y"), ("let.a", "body.x")]),
        "let.b: `a` is not known"
    );
    assert_eq!(message(&[("let.a", "a")]), "let.a: `a` is not known");
    assert_eq!(
        message(&[("let.package", "1")]),
        "let.package: `package` cannot be the name of a helper"
    );
    assert_eq!(
        message(&[("let.x-y", "1")]),
        "let.x-y: `x-y` cannot be the name of a helper"
    );
    assert_eq!(
        message(&[("let.body", "1")]),
        "let.body: `body` already means something"
    );
    assert_eq!(
        message(&[("titel", "1")]),
        "titel: events have no field `titel`"
    );
    assert_eq!(
        message(&[("title", "event.kind")]),
        "title: `event` is not there yet while its fields are being filled"
    );
}
