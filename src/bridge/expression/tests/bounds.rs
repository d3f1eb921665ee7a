//! No expression runs, grows or nests without end, and none panics.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn an_expression_ends_after_a_limit_of_steps() {
    let rules = EventRules::compile(&[]).unwrap();
    let list: Vec<u32> = (0..1000).collect();
    let event = event(json!({ "list": list, "text": "x".repeat(1 << 20) }));
    let (scope, _) = rules.scope(&event);
    for source in [
        "body.list.all(a, body.list.all(b, a + b >= 0))",
        "body.list.map(a, body.text.contains(\"y\"))",
        "body.list.map(a, body.list)  == body.list.map(a, body.list)",
    ] {
        let expression = Expression::compile(source, rules.names()).unwrap();
        let (value, notes) = expression.evaluate(&scope);
        assert!(value.is_empty(), "{source}");
        assert!(
            notes[0].what.ends_with("it takes too many steps"),
            "{source}: {notes:?}"
        );
    }
}

#[test]
fn a_text_cannot_grow_without_bound() {
    let mut written = vec![("let.a0".to_owned(), "body.text".to_owned())];
    for n in 1..30 {
        written.push((format!("let.a{n}"), format!("a{0} + a{0}", n - 1)));
    }
    let rules = EventRules::compile(&written).unwrap();
    let event = event(json!({ "text": "x".repeat(100_000) }));
    let (_, notes) = rules.scope(&event);
    assert_eq!(
        notes[0].to_string(),
        "let.a4: `a3 + a3`: the text grows over 1 MiB"
    );
}

#[test]
fn a_list_that_doubles_again_and_again_is_not_walked_for_ever() {
    let mut written = vec![("let.a0".to_owned(), "[[], []]".to_owned())];
    for n in 1..32 {
        written.push((format!("let.a{n}"), format!("[a{0}, a{0}]", n - 1)));
    }
    let rules = EventRules::compile(&written).unwrap();
    let event = event(json!({}));
    let (scope, _) = rules.scope(&event);
    for source in ["first(a31, 1)", "a31 == a31", "a31.join(\",\")", "a31"] {
        let expression = Expression::compile(source, rules.names()).unwrap();
        expression.evaluate(&scope).0.to_texts();
    }
}

#[test]
fn size_depth_and_loops_are_bounded() {
    let long = format!("\"{}\"", "x".repeat(SOURCE));
    assert_eq!(flaw(&long).1, "an expression may have 4096 bytes, not 4098");
    assert!(flaws(&format!("\"{}\"", "x".repeat(SOURCE - 2))).is_empty());
    let nested = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
    assert!(flaws(&nested(40)).is_empty());
    assert_eq!(flaw(&nested(2000)).1, "nested deeper than 48");
    assert_eq!(
        flaw(&format!("body{}", ".a".repeat(2000))).1,
        "nested deeper than 48"
    );
    assert_eq!(flaw(&"[".repeat(4000)).1, "nested deeper than 48");
    assert_eq!(flaw(&"1-".repeat(2000)).1, "nested deeper than 48");
    assert!(flaws(&format!("{}true", "true&&".repeat(600))).is_empty());
    assert!(flaws(&format!("1{}", "+1".repeat(2000))).is_empty());
    assert!(flaws(&format!("{}true", "!".repeat(4000))).is_empty());
    let wide = |n: usize| format!("[{}]", vec!["1"; n].join(","));
    assert!(flaws(&wide(256)).is_empty());
    assert_eq!(
        flaw(&wide(257)).1,
        "a list or table may hold 256 values, not 257"
    );
    assert!(flaws("body.a.all(x, body.b.all(y, x == y))").is_empty());
    assert_eq!(
        flaw("body.a.all(x, body.b.all(y, body.c.all(z, true)))").1,
        "more than two loops inside each other"
    );
}

/// Pieces from which expressions are made, right and wrong ones.
const PIECES: &[&str] = &[
    "body",
    "event",
    "header",
    "query",
    "severity",
    "it",
    "who",
    ".",
    "a",
    "critical",
    "first",
    "size",
    "has",
    "map",
    "exists",
    "matches",
    "join",
    "lower",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    "in",
    "\"x\"",
    "'(a'",
    "r'\\'",
    "\"\\",
    "1",
    "-1",
    "0",
    "9223372036854775807",
    "1e308",
    "0x",
    "null",
    "true",
    "for",
    "中",
    "\n",
    "//",
    " ",
    "\u{0}",
];

fn never_panics(source: &str) {
    let rules = rules();
    match Expression::compile(source, rules.names()) {
        Ok(expression) => {
            let event = event(payload());
            let (scope, _) = rules.scope(&event);
            let (value, _) = expression.evaluate(&scope);
            value.to_json();
            value.to_texts();
            expression.holds(&scope);
            expression.absent(&scope);
        }
        Err(flaws) => {
            for flaw in flaws {
                assert!(
                    source.get(flaw.span.clone()).is_some(),
                    "{source:?}: {flaw:?}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_the_language_panic(source in "\\PC{0,60}") {
        never_panics(&source);
    }

    #[test]
    fn no_mixture_of_its_own_pieces_makes_the_language_panic(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24)
    ) {
        never_panics(&pieces.concat());
        never_panics(&pieces.join(" "));
    }
}
