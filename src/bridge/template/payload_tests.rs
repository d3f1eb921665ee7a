//! What no payload and no source can do.

use std::sync::LazyLock;

use proptest::prelude::*;
use pulldown_cmark::{Event as Piece, Options, Parser, Tag};
use serde_json::json;

use super::tests::{compile, sound, speak_in};
use super::*;

fn payload() -> impl Strategy<Value = String> {
    let sign = prop_oneof![
        Just("\n"),
        Just(" "),
        Just("    "),
        Just("\t"),
        Just("#"),
        Just("-"),
        Just("+"),
        Just("."),
        Just("5"),
        Just("*"),
        Just("_"),
        Just("`"),
        Just("~"),
        Just("["),
        Just("]"),
        Just("("),
        Just(")"),
        Just("!"),
        Just("<"),
        Just(">"),
        Just("&"),
        Just("&amp;"),
        Just("|"),
        Just(":"),
        Just("="),
        Just("1."),
        Just("2)"),
        Just("\\"),
        Just("http://x"),
        Just("<b>"),
        Just("[a](http://b)"),
        Just("a"),
        Just("字"),
        Just("@all"),
        Just("\u{202e}"),
        Just("\u{2}"),
        Just("\u{3}"),
        Just("---"),
        Just("***"),
        Just("{{body.x}}"),
    ];
    prop_oneof![
        proptest::collection::vec(sign, 0..14).prop_map(|signs| signs.concat()),
        ".{0,40}",
    ]
}

fn one_line(text: &str) -> String {
    escape::harmless(text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// What chat clients may read beyond CommonMark.
fn extensions() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_WIKILINKS
        | Options::ENABLE_DEFINITION_LIST
}

static PLAIN_USE: LazyLock<Templates> = LazyLock::new(|| {
    sound(&[(
        "x.md.hbs",
        "{{body.a}}{{body.b}}\nlast {{body.b}} word {{body.a}}",
    )])
});
static IN_MARKUP: LazyLock<Templates> = LazyLock::new(|| {
    sound(&[(
        "x.md.hbs",
        "{{link body.t body.u}} - {{bold body.t}} - {{code body.t}}",
    )])
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_payload_in_markdown_is_only_text(a in payload(), b in payload()) {
        let body = json!({"a": a, "b": b});
        let text = speak_in(&PLAIN_USE, "x", body, "en", "UTC").unwrap().text;

        for piece in Parser::new_ext(&text, extensions()) {
            let only_text = match &piece {
                Piece::Text(_) | Piece::SoftBreak | Piece::HardBreak | Piece::Start(Tag::Paragraph) => true,
                Piece::End(end) => matches!(end, pulldown_cmark::TagEnd::Paragraph),
                _ => false,
            };
            prop_assert!(only_text, "{piece:?} in {text:?}");
        }
        let shown = plain_face(&text);
        let (a, b) = (one_line(&a), one_line(&b));
        let wanted = format!("{a}{b}\nlast {b} word {a}");
        prop_assert_eq!(one_line(&shown), one_line(&wanted));
    }

    #[test]
    fn a_payload_in_markup_cannot_leave_it(text in payload(), url in payload()) {
        let body = json!({"t": text, "u": format!("https://x/{url}")});
        let text = speak_in(&IN_MARKUP, "x", body, "en", "UTC").unwrap().text;
        let pieces: Vec<_> = Parser::new_ext(&text, extensions()).collect();
        let links = pieces.iter().filter(|piece| matches!(piece, Piece::Start(Tag::Link { .. }))).count();
        prop_assert_eq!(links, 1, "{}", text);
        let strange = pieces.iter().find(|piece| matches!(
            piece,
            Piece::Html(_) | Piece::InlineHtml(_) | Piece::FootnoteReference(_) | Piece::Rule
                | Piece::Start(Tag::Heading { .. } | Tag::List(_) | Tag::Image { .. } | Tag::BlockQuote(_) | Tag::CodeBlock(_))
        ));
        prop_assert!(strange.is_none(), "{:?} in {}", strange, text);
    }

    #[test]
    fn no_signs_make_the_compiler_panic(source in "[{}#/^>!&~*\"'()\\[\\]=|@. a-c\\\\\n]{0,60}") {
        let (templates, _) = compile(&[("x.md.hbs", &source)]);
        if templates.named("x").is_some() {
            let _ = speak_in(&templates, "x", json!({"a": [1, {"b": 2}]}), "en", "UTC");
        }
    }

    #[test]
    fn no_tags_make_a_render_panic(source in tags()) {
        let (templates, _) = compile(&[("x.md.hbs", &source), ("_p.md.hbs", "{{x}}{{../y}}{{@index}}{{#each this}}{{@key}}{{/each}}")]);
        if templates.named("x").is_some() {
            let body = json!({"a": [1, {"b": 2}, [3, [4]]], "b": {"c": {"d": []}}, "s": "x", "n": null});
            let _ = speak_in(&templates, "x", body, "en", "UTC");
        }
    }
}

/// Templates of every kind of tag, blocks closed.
fn tags() -> impl Strategy<Value = String> {
    let path = || {
        prop_oneof![
            Just("body.a"),
            Just("body.b"),
            Just("body.a.[1].b"),
            Just("this"),
            Just("this.b"),
            Just("./b"),
            Just("../b"),
            Just("../../a"),
            Just("@root.body"),
            Just("@index"),
            Just("@../key"),
            Just("@first"),
            Just("x"),
            Just("x.b"),
            Just("../x"),
            Just("y"),
            Just("body.s"),
            Just("body.none.c"),
            Just("[a b]"),
            Just("this/x"),
            Just("@root/body/a"),
            Just("."),
            Just("@x"),
            Just("null"),
            Just("-1"),
            Just("\"s\""),
        ]
    };
    let value = prop_oneof![
        3 => path().prop_map(str::to_owned),
        1 => (path(), path()).prop_map(|(a, b)| format!("(eq {a} {b})")),
        1 => (path(), path()).prop_map(|(a, b)| format!("(lookup {a} {b})")),
        1 => path().prop_map(|a| format!("(take {a} 2)")),
        1 => path().prop_map(|a| format!("(default {a} {a})")),
    ];
    let words: Vec<&str> = vocabulary::WORDS
        .iter()
        .filter(|card| card.stands == vocabulary::Stands::Inline)
        .map(|card| card.name)
        .collect();
    let leaf = prop_oneof![
        Just("text ".to_owned()),
        value.clone().prop_map(|a| format!("{{{{{a}}}}}")),
        value.clone().prop_map(|a| format!("{{{{{{{a}}}}}}}")),
        value.clone().prop_map(|a| format!("{{{{> _p {a}}}}}")),
        value.clone().prop_map(|a| format!("{{{{~> _p x={a}~}}}}")),
        (
            proptest::sample::select(words),
            value.clone(),
            value.clone(),
            value.clone(),
            1usize..4
        )
            .prop_map(|(word, a, b, c, count)| {
                format!("{{{{{word} {}}}}}", [a, b, c][..count].join(" "))
            }),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let inside = proptest::collection::vec(inner, 0..3).prop_map(|parts| parts.concat());
        prop_oneof![
            (value.clone(), inside.clone(), inside.clone()).prop_map(|(a, x, y)| format!(
                "{{{{#if {a}}}}}{x}{{{{else if {a}}}}}{y}{{{{else}}}}{x}{{{{/if}}}}"
            )),
            (value.clone(), inside.clone(), inside.clone())
                .prop_map(|(a, x, y)| format!("{{{{#each {a}}}}}{x}{{{{^}}}}{y}{{{{/each}}}}")),
            (value.clone(), inside.clone())
                .prop_map(|(a, x)| format!("{{{{#each {a} as |x y|}}}}{x}{{{{~/each}}}}")),
            (value.clone(), inside.clone())
                .prop_map(|(a, x)| format!("\n{{{{#with {a} as |x|}}}}\n{x}\n{{{{/with}}}}\n")),
            (value.clone(), inside)
                .prop_map(|(a, x)| format!("{{{{#unless {a}}}}}{x}{{{{/unless}}}}")),
        ]
    })
}
