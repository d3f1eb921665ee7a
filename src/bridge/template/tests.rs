//! What templates give, and what is said about wrong ones.

use serde_json::{Value, json};

use super::*;
use crate::model::{Event, EventId, Mention, Severity, State};

fn event(body: Value) -> Event {
    Event {
        bridge: "acme".into(),
        id: EventId::Sender("d-1".into()),
        signed: None,
        kind: "push".into(),
        time: "2026-11-23T14:05:00Z".parse().unwrap(),
        received: "2026-11-23T14:10:00Z".parse().unwrap(),
        title: "acme/app main".into(),
        actor: "octocat".into(),
        link: "https://example.com/a_b".into(),
        severity: Severity::Error,
        state: Some(State::Open),
        subject: "s".into(),
        header: [("x-kind".to_owned(), "push".to_owned())].into(),
        query: Default::default(),
        body,
        raw: Default::default(),
    }
}

pub(super) fn compile(files: &[(&str, &str)]) -> (Templates, Vec<Problem>) {
    let sources = files
        .iter()
        .map(|(name, text)| (format!("templates/{name}"), (*text).to_owned()))
        .collect();
    Templates::compile(&sources)
}

/// The templates of files that have no error.
pub(super) fn sound(files: &[(&str, &str)]) -> Templates {
    let (templates, problems) = compile(files);
    let errors: Vec<_> = problems
        .iter()
        .filter(|p| p.level == Level::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    templates
}

pub(super) fn speak_in(
    templates: &Templates,
    name: &str,
    body: Value,
    locale: &str,
    zone: &str,
) -> Result<Speech, Mistake> {
    let name = templates.named(name).unwrap();
    let zone = jiff::tz::TimeZone::get(zone).unwrap();
    let audience = Audience {
        locale,
        time_zone: &zone,
        people: &|key| (key == "github:octocat").then(|| "u_1001".to_owned()),
    };
    templates.speak(&name, &Material::new(&event(body)), audience, true)
}

fn said(source: &str, body: Value) -> String {
    let templates = sound(&[("a/b.md.hbs", source)]);
    speak_in(&templates, "a/b", body, "en", "UTC").unwrap().text
}

fn said_as_text(source: &str, body: Value) -> String {
    let templates = sound(&[("a/b.txt.hbs", source)]);
    speak_in(&templates, "a/b", body, "en", "UTC").unwrap().text
}

/// Every problem as `level file:«bytes» message (help)`.
fn complaints(files: &[(&str, &str)]) -> Vec<String> {
    let texts: BTreeMap<String, &str> = files
        .iter()
        .map(|(n, t)| (format!("templates/{n}"), *t))
        .collect();
    compile(files)
        .1
        .into_iter()
        .map(|p| {
            let place = p
                .span
                .map(|span| format!("«{}» ", &texts[&p.file][span]))
                .unwrap_or_default();
            let help = p.help.map(|help| format!(" ({help})")).unwrap_or_default();
            format!("{place}{}{help}", p.message)
        })
        .collect()
}

#[test]
fn functions_give_what_the_table_says() {
    let body = json!({
        "text": "One\nTwo\n\nThree", "sha": "0123456789ab", "n": 3, "f": 0.93847, "big": 1234567,
        "list": ["a", "", "b"], "names": [{"name": "x", "s": "up"}, {"name": "y", "s": "down"}],
        "ref": "refs/heads/main", "md": "<!-- no -->Fixes **[it](http://x)** `now`",
    });
    for (template, text) in [
        (
            "{{upper body.ref}} {{lower \"ABC\"}}",
            "REFS/HEADS/MAIN abc",
        ),
        ("{{truncate body.ref 6}}", "refs/…"),
        ("{{first_line body.text}}", "One"),
        ("{{excerpt body.md}}", "Fixes it now"),
        ("{{excerpt body.md 9}}", "Fixes it…"),
        ("{{shortsha body.sha}}", "0123456"),
        ("{{replace body.ref \"/\" \".\"}}", "refs.heads.main"),
        (
            "{{after body.ref \"refs/heads/\"}} {{before body.ref \"/\"}}",
            "main refs",
        ),
        ("{{concat body.n \"-\" body.sha}}", "3-0123456789ab"),
        (
            "{{join body.list}} {{join body.names \"+\" field=\"name\"}}",
            "a, b x+y",
        ),
        ("{{default body.none \"\" body.n}}", "3"),
        (
            "{{#if (starts_with body.ref \"refs/tags/\")}}t{{else}}h{{/if}}",
            "h",
        ),
        (
            "{{#if (contains [\"x\",\"a\"] (lookup body.list 0))}}in{{/if}}",
            "in",
        ),
        ("{{#each (take body.list 1)}}{{this}};{{/each}}", "a;"),
        (
            "{{#each (where body.names \"s\" \"down\")}}{{this.name}}{{/each}}",
            "y",
        ),
        ("{{minus (len body.list) 1}}", "2"),
        (
            "{{plural body.n \"commit\" \"commits\"}} {{plural 1 \"commit\" \"commits\"}}",
            "3 commits 1 commit",
        ),
        (
            "{{number body.big}} {{number body.f}} {{number body.f digits=3}}",
            "1,234,567 0.94 0.938",
        ),
        ("{{json body.names.[0]}}", r#"{"name":"x","s":"up"}"#),
        ("{{url_encode \"a b/ü\"}}", "a%20b%2F%C3%BC"),
        ("{{url_decode \"a%20b%2F%C3%BC%%02\"}}", "a b/ü%�"),
        ("{{money 123456 \"usd\"}}", "1,234.56 USD"),
        (
            "{{money 1205 \"kwd\"}}, {{money 1000 \"jpy\"}}, {{money -5 \"eur\"}}",
            "1.205 KWD, 1,000 JPY, -0.05 EUR",
        ),
        ("{{money \"x\" \"usd\"}}{{money 5 \"\"}}", ""),
        (
            "{{link \"run\" event.link}} {{link \"x\" \"ftp://y\"}}",
            "run: https://example.com/a_b x",
        ),
        ("{{bold body.n}} {{code body.sha}}", "3 0123456789ab"),
        ("{{quote body.text 2}}", "> One\n> Two\n> …"),
        ("{{lines body.text}}", "One\nTwo\nThree"),
        (
            "{{time event.time}} {{time \"2026-01-02T03:04:05Z\"}} {{date \"2025-01-02T03:04:05Z\"}}",
            "14:05 2 Jan 03:04 2 Jan 2025",
        ),
        (
            "{{ago event.time}} {{ago \"2026-11-20T14:05:00Z\"}}",
            "5 minutes ago 3 days ago",
        ),
        (
            "{{duration event.time event.received}} {{duration 7265}} {{duration 90061}}",
            "5 min 2 h 1 min 1 d 1 h",
        ),
        (
            "{{mention \"github:octocat\"}} {{mention \"github:nobody\" \"No Body\"}}",
            "@octocat @No Body",
        ),
        (
            "{{header.x-kind}} {{event.severity}} {{event.level}}",
            "push error 3",
        ),
    ] {
        assert_eq!(said_as_text(template, body.clone()), text, "{template}");
    }
}

#[test]
fn markup_is_made_by_functions_and_stays_markup_inside_of_others() {
    let body = json!({"t": "a *b* `c`\nd", "u": "https://x/(1)?a=1&lt;", "e": ""});
    for (template, text) in [
        ("{{body.t}}", "a \\*b\\* \\`c\\` d"),
        (
            "{{link body.t body.u}}",
            "[a \\*b\\* \\`c\\` d](https://x/%281%29?a=1&lt%3B)",
        ),
        (
            "{{bold body.t}}|{{bold body.e}}|",
            "**a \\*b\\* \\`c\\` d**||",
        ),
        ("{{code body.t}}", "``a *b* `c` d``"),
        ("{{code_block body.t}}", "```\na *b* `c`\nd\n```"),
        ("{{quote body.t}}", "> a \\*b\\* \\`c\\`  \n> d"),
        (
            "{{concat (bold \"x\") \" *y* \" (link (bold \"z\") body.u)}}",
            "**x** \\*y\\* [**z**](https://x/%281%29?a=1&lt%3B)",
        ),
        ("{{upper (bold \"x\")}}", "\\*\\*X\\*\\*"),
        ("{{default body.none (bold \"x\")}}", "**x**"),
    ] {
        assert_eq!(said(template, body.clone()), text, "{template}");
    }
}

proptest::proptest! {
    #[test]
    fn no_link_hides_another_address_than_its_name(
        before in "([a-z!?*_`<>\\[\\]()]{0,6} )?",
        scheme in "(https?://|www\\.|HTTPS://)",
        good in "[a-z0-9]{1,8}\\.(example|com|io|cn)",
        path in "(/[a-zA-Z0-9_()*\\[\\]]{0,8})?",
        evil in "https?://([a-z.]{1,8}@)?[a-z0-9]{1,8}\\.(test|org)(:80)?(/[a-z_()]{0,8})?",
    ) {
        let name = format!("{before}{scheme}{good}{path}");
        let body = json!({"t": name, "u": evil});
        for template in ["{{link body.t body.u}}", "{{bold (link (truncate body.t 200) body.u)}}"] {
            let said = said(template, body.clone());
            // The only link has its own address as its name.
            let from = said.find("[http").map(|at| at + 1).unwrap_or(said.len());
            let (shown, target) = said[from..].split_once("](").unwrap_or_default();
            let target = target.split(')').next().unwrap_or_default();
            proptest::prop_assert!(!target.is_empty(), "{}", said);
            proptest::prop_assert_eq!(shown.replace('\\', ""), target, "{}", said);
        }
    }
}

#[test]
fn words_come_from_the_locale_and_times_from_the_zone() {
    let templates = sound(&[
        (
            "locales/en.toml",
            "pushed.one = \"{who} pushed a commit\"\npushed.other = \"{who} pushed {count} commits\"",
        ),
        (
            "locales/zh-CN.toml",
            "pushed.other = \"{who} 推送了 {count} 个提交\"",
        ),
        (
            "a/b.md.hbs",
            "{{t \"pushed\" who=(bold event.actor) count=body.n}} {{time event.time}} {{time \"2026-01-02T03:04:05Z\"}}",
        ),
    ]);
    let say = |n: u64, locale: &str, zone: &str| {
        speak_in(&templates, "a/b", json!({"n": n}), locale, zone)
            .unwrap()
            .text
    };
    assert_eq!(
        say(1, "en", "UTC"),
        "**octocat** pushed a commit 14:05 2 Jan 03:04"
    );
    assert_eq!(
        say(2000, "zh-CN", "Asia/Shanghai"),
        "**octocat** 推送了 2,000 个提交 22:05 1月2日 11:04"
    );
}

#[test]
fn only_the_template_calls_people() {
    let templates = sound(&[(
        "a/b.md.hbs",
        "{{mention \"github:octocat\"}} {{mention (concat \"github:\" body.who)}} {{mention body.all}} {{mention \"everyone\"}} {{body.text}}",
    )]);
    let body =
        json!({"who": "octo_cat", "all": "everyone", "text": "@everyone {{mention \"everyone\"}}"});
    let speech = speak_in(&templates, "a/b", body, "en", "UTC").unwrap();
    assert_eq!(
        speech.mentions,
        [
            Mention::Person {
                user_id: "u_1001".into(),
                name: "octocat".into()
            },
            Mention::Everyone,
        ]
    );
    let strangers: Vec<_> = speech
        .notes
        .iter()
        .map(|note| note.message.as_str())
        .collect();
    assert_eq!(
        strangers,
        [
            "`github:octo_cat` is mentioned but stands for nobody",
            "`everyone` is mentioned but stands for nobody",
        ]
    );

    let templates = sound(&[("a/b.md.hbs", "{{mention body.all}}")]);
    let speech = speak_in(&templates, "a/b", json!({"all": "everyone"}), "en", "UTC").unwrap();
    assert_eq!(speech.mentions, []);
}

#[test]
fn a_json_template_stays_json_whatever_the_payload_says() {
    let source = r#"{"contentType": 110, "content": {"data": "{{body.t}} {{link "x" event.link}}", "all": {{json body.o}}}}"#;
    let templates = sound(&[("a/b.json.hbs", source)]);
    let body = json!({"t": "\"},\n\\{", "o": {"a": [1, "\u{202e}"]}});
    let text = speak_in(&templates, "a/b", body, "en", "UTC").unwrap().text;
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value["content"]["data"],
        "\"},\n\\{ x: https://example.com/a_b"
    );
    assert_eq!(value["content"]["all"], json!({"a": [1, "\u{fffd}"]}));
}

#[test]
fn control_signs_never_come_through_not_even_unescaped() {
    let text = said(
        "{{{body.t}}}|{{body.t}}|\u{202e}",
        json!({"t": "a\u{1b}[1m\u{202e}\u{2}*b*\u{3}"}),
    );
    assert_eq!(
        text,
        "a\u{fffd}[1m\u{fffd}\u{fffd}*b*\u{fffd}|a\u{fffd}\\[1m\u{fffd}\u{fffd}\\*b\\*\u{fffd}|\u{fffd}"
    );
}

#[test]
fn the_nearest_template_is_found_kinds_before_defaults_own_before_parents() {
    let templates = sound(&[
        ("github/pull_request.md.hbs", "x"),
        ("github/pull_request.opened.md.hbs", "x"),
        ("github/default.md.hbs", "x"),
        ("github/_part.md.hbs", "x"),
        ("acme/default.txt.hbs", "x"),
        ("acme/push.txt.hbs", "x"),
        ("acme/push.md.hbs", "x"),
    ]);
    let find =
        |folders: &[&str], kind: &str| templates.find(folders, kind).map(|name| name.to_string());
    let both = ["acme", "github"];
    assert_eq!(
        find(&both, "pull_request.opened").as_deref(),
        Some("github/pull_request.opened.md.hbs")
    );
    assert_eq!(
        find(&both, "pull_request.closed").as_deref(),
        Some("github/pull_request.md.hbs")
    );
    assert_eq!(find(&both, "push").as_deref(), Some("acme/push.txt.hbs"));
    assert_eq!(find(&both, "star").as_deref(), Some("acme/default.txt.hbs"));
    assert_eq!(
        find(&["github"], "_part").as_deref(),
        Some("github/default.md.hbs")
    );
    assert_eq!(find(&["gitlab"], "push"), None);
    assert_eq!(
        templates.named("acme/push.md.hbs").unwrap().to_string(),
        "acme/push.md.hbs"
    );
    assert_eq!(templates.named("acme/pull"), None);
    assert_eq!(templates.names().len(), 6);
}

#[test]
fn mistakes_are_named_with_their_place_and_the_nearest_right_word() {
    let complain = |source: &str| complaints(&[("a/b.md.hbs", source)]).join("; ");
    for (source, complaint) in [
        (
            "{{trunkate event.title 5}}",
            "«trunkate» there is no function `trunkate` (did you mean `truncate`?)",
        ),
        (
            "é\n{{evnt.title}}",
            "«evnt.title» there is no `evnt` here (did you mean `event`?)",
        ),
        (
            "{{event.titel}}",
            "«event.titel» an event has no `titel` (did you mean `event.title`?)",
        ),
        (
            "{{title}}",
            "«title» there is no `title` here (there are event, body, header, query; a field of the payload is `body.title`)",
        ),
        (
            "{{#with body.issue}}{{number}}{{/with}}",
            "«number» `number` is a function and lacks its arguments (for a field of that name write `this.number`)",
        ),
        (
            "{{#forech body.x}}{{/forech}}",
            "«forech» there is no block `forech` (blocks are `if`, `unless`, `each` and `with`)",
        ),
        (
            "{{#if (upper body.x 2)}}{{/if}}",
            "«upper» `upper` takes 1 arguments, here are 2",
        ),
        (
            "{{number body.x digit=2}}",
            "«digit» `number` has no argument `digit` (`number` knows digits)",
        ),
        (
            "{{#each body.x}}{{event.title}}{{/each}}",
            "«event.title» inside of `each` and `with`, `event.title` is a field of the item (write `@root.event.title`)",
        ),
        (
            "[x]({{body.url}})",
            "«body.url» `body.url` stands as the address of a link and is not checked (write `{{link text address}}`: it takes only http and https)",
        ),
        (
            "{{{body.x}}}",
            "«body.x» `body.x` is put in without escaping; who sends it can write markup (two braces are enough: `{{body.x}}`)",
        ),
        (
            "{{t \"duration.day\"}}",
            "«duration.day» there are no words `duration.day` (did you mean `duration.days`?)",
        ),
        (
            "{{t \"duration.days\"}}",
            "«duration.days» the words `duration.days` lack `count` (its text is `{count} d`: give it `count=…`)",
        ),
        (
            "{{t \"ago.days\"}}",
            "«ago.days» the words `ago.days` lack `count` (its text is `{count} days ago`: give it `count=…`)",
        ),
        (
            "{{> a/c}}",
            "«a/c» there is no template `a/c` of this kind (did you mean `a/b`?)",
        ),
        (
            "{{> (concat \"a\" body.x)}}",
            "«{{> (concat \"a\" body.x)}}» a template must be named as itself, not computed (its name must be known before the first event comes)",
        ),
        (
            "{{#> a/b}}{{/a/b}}",
            "«{{#> a/b}}» blocks for other templates (`{{#> …}}`) are not supported (call it with values: `{{> name value=…}}`)",
        ),
        (
            "{{#*inline \"x\"}}{{/inline}}",
            "«{{#*inline \"x\"}}» templates inside of templates (`{{#*inline …}}`) are not supported (put it into a file of its own, with a name that begins with `_`)",
        ),
        ("{{log event.title}}", "«log» there is no function `log`"),
        (
            "a\n{{#if body.x}}",
            "«{{#if body.x}}» the block `if` is not closed (it needs a `{{/if}}`)",
        ),
        ("é {{body..x}}", "«.x» this is not how a tag is written"),
        (
            "{{if body.x}}",
            "«if» `if` opens a block (write `{{#if …}} … {{/if}}`)",
        ),
        (
            "{{#upper body.x}}{{/upper}}",
            "«upper» `upper` opens no block (write `{{upper …}}`, or `{{#if (upper …)}}`)",
        ),
    ] {
        assert_eq!(complain(source), complaint, "{source}");
    }
    assert_eq!(
        complaints(&[("a/b.hbs", "")]),
        ["a template's name ends with .md.hbs, .txt.hbs or .json.hbs"]
    );
}

#[test]
fn templates_in_a_circle_are_refused_and_left_out() {
    let files = [
        ("a/one.md.hbs", "{{> a/two}}"),
        ("a/two.md.hbs", "{{#if body.x}}{{> a/one}}{{/if}}"),
        ("a/self.md.hbs", "{{> a/self}}"),
        ("a/fine.md.hbs", "{{> a/_part x=1}}"),
        ("a/_part.md.hbs", "{{x}}"),
    ];
    assert_eq!(
        complaints(&files),
        [
            "«a/two» templates call each other in a circle: a/one → a/two → a/one",
            "«a/self» templates call each other in a circle: a/self → a/self",
            "«a/one» templates call each other in a circle: a/two → a/one → a/two",
        ]
    );
    let (templates, _) = compile(&files);
    assert_eq!(templates.names().len(), 1);
    assert_eq!(
        speak_in(&templates, "a/fine", json!({}), "en", "UTC")
            .unwrap()
            .text,
        "1"
    );
}

#[test]
fn templates_that_multiply_are_refused() {
    let loops = "{{#each body.a}}{{> b}}{{/each}}";
    let inner = "{{#each this}}{{#each this}}{{#each this}}x{{/each}}{{/each}}{{/each}}";
    assert_eq!(
        complaints(&[("a.md.hbs", loops), ("b.md.hbs", inner)]),
        ["«» `each` is nested 4 deep; 3 is the most",]
    );
    let twice: Vec<(String, String)> = (0..20)
        .map(|n| {
            (
                format!("t{n}.md.hbs"),
                format!("{{{{> t{}}}}}{{{{> t{}}}}}", n + 1, n + 1),
            )
        })
        .chain([("t20.md.hbs".to_owned(), String::new())])
        .collect();
    let twice: Vec<(&str, &str)> = twice
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    assert!(complaints(&twice)[0].ends_with("it is put together from more than 1000 templates"));
}

#[test]
fn an_absent_field_is_empty_and_told_with_what_is_there() {
    let templates = sound(&[(
        "a/b.md.hbs",
        "{{body.pr.titel}}{{body.nope.x}}{{truncate body.pr.txt 5}}{{#if body.gone}}{{/if}}{{default body.gone \"\"}}{{#each body.list}}{{this.x}}{{/each}}{{body.nul}}",
    )]);
    let body =
        json!({"pr": {"title": "t", "body": "b"}, "list": [{"y": 1}, {"y": 2}], "nul": null});
    let speech = speak_in(&templates, "a/b", body, "en", "UTC").unwrap();
    assert_eq!(speech.text, "");
    let notes: Vec<String> = speech
        .notes
        .iter()
        .map(|note| {
            format!(
                "{:?} {}: {}",
                note.span,
                note.message,
                note.help.as_deref().unwrap()
            )
        })
        .collect();
    assert_eq!(
        notes,
        [
            "Some(2..15) `body.pr.titel` is absent here: did you mean `title`? there are: body, title",
            "Some(19..30) `body.nope.x` is absent here: there are: list, nul, pr",
            "Some(43..54) `body.pr.txt` is absent here: there are: body, title",
            "Some(127..133) `this.x` is absent here: did you mean `y`? there are: y",
        ]
    );
}

#[test]
fn a_mistake_while_rendering_names_its_place_and_no_value() {
    let templates = sound(&[("a/b.md.hbs", "one\n  {{body.list.name}}")]);
    let mistake =
        speak_in(&templates, "a/b", json!({"list": ["secret"]}), "en", "UTC").unwrap_err();
    assert_eq!(
        mistake.to_string(),
        "templates/a/b.md.hbs:2:3: a list is asked for its field `name`; use `each`, or a number from 0"
    );
}

#[test]
fn a_template_writes_no_more_than_it_may() {
    let templates = sound(&[
        (
            "a/b.md.hbs",
            "{{#each body.list}}{{@root.body.long}}{{/each}}",
        ),
        (
            "a/c.json.hbs",
            "{{#each body.list}}{{@root.body.long}}{{/each}}",
        ),
    ]);
    let body = json!({"list": vec![0; 100], "long": "好".repeat(10_000)});
    let speech = speak_in(&templates, "a/b", body.clone(), "en", "UTC").unwrap();
    assert!(speech.cut && speech.text.len() <= 64 * 1024);
    let mistake = speak_in(&templates, "a/c", body, "en", "UTC").unwrap_err();
    assert_eq!(mistake.reason, "it makes more than 65536 bytes");
}

#[test]
fn every_function_stands_in_the_table_of_the_documentation() {
    let table = include_str!("mod.rs");
    for card in vocabulary::WORDS {
        let named = [
            format!("`{} ", card.name),
            format!("`{{{{#{} ", card.name),
            format!("`{}`", card.name),
        ];
        assert!(
            named.iter().any(|name| table.contains(name)),
            "{}",
            card.name
        );
    }
}

#[test]
fn a_moment_that_nobody_made_readable_is_told() {
    let advice = |file| {
        let (_, problems) = compile(&[(
            file,
            "{{event.time}} {{time event.time}} {{@root.event.received}}",
        )]);
        let told = problems.iter().map(|it| (it.level, it.help.as_deref()));
        told.map(|(level, help)| format!("{level:?}: {}", help.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    let told = [
        "Advice: write `{{time event.time}}`",
        "Advice: write `{{time @root.event.received}}`",
    ];
    assert_eq!(advice("templates/a/x.md.hbs"), told);
    assert_eq!(advice("templates/a/x.json.hbs"), Vec::<String>::new());
}

#[test]
fn a_sign_before_an_absent_value_is_left_out_with_it() {
    let source = r##"{{concat body.repo "#" body.number " " body.title}}"##;
    assert_eq!(
        said_as_text(source, json!({"repo": "a", "number": 1, "title": "b"})),
        "a#1 b"
    );
    assert_eq!(
        said_as_text(source, json!({"repo": "a", "title": "b"})),
        "a b"
    );
    assert_eq!(said_as_text(source, json!({})), "");
}
