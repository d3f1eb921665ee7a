//! The shipped templates over what senders really send, and over the samples.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use openim_bridge::intake::Request;
use openim_bridge::model::Timestamp;
use regex::Regex;
use serde_json::{Value, json};

use crate::expectations::{Expectations, shows};
use crate::shipped::{LOCALES, Shipped, Spoken, Told, bridges, corpus_of};

/// A message stays shorter than this, in characters.
const LONGEST: usize = 4_000;
/// The bridges whose samples tell one story together.
const IN_THE_DEMO: [&str; 3] = ["alertmanager", "github", "json"];
/// How many characters beside a word tell whose it is.
const AROUND: usize = 3;

/// The least share of what the peer shows of a sender's requests that our messages show too.
fn least(bridge: &str) -> f64 {
    match bridge {
        // The peer shows log-in names, ours the people's own.
        "bitbucket-server" => 0.65,
        // The peer shows the repository's display name, ours the one of its address.
        "bitbucket" => 0.7,
        // The peer shows an internal number of each pull request, and what an issue said again when it is closed.
        "forgejo" | "gitea" => 0.8,
        "github" => 0.8,
        // The peer lists every job and artifact of a pipeline that passed.
        "gitlab" => 0.85,
        // Times as computers write them, and titles that only put a state before the rule's name.
        "grafana" => 0.8,
        // The peer says `AddNote` and `PROBLEM` as they stand in the body; we say them in words.
        "opsgenie" | "zabbix" => 0.8,
        // The peer prints the code around the line that failed; we show that line.
        "sentry" => 0.65,
        // One case: the peer links the comparison instead of the commit.
        "travis" => 0.6,
        _ => 0.9,
    }
}

/// What no reader wants to see: internal numbers, the page of each person and of each commit.
static NOISE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$|^https?://.*/(users/[^/]+|commits?/[0-9a-f]{40})$")
        .unwrap()
});

/// The folder with the corpus; tests that need it are skipped without it.
#[expect(
    clippy::disallowed_methods,
    reason = "tests find the corpus by the environment"
)]
fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("OPENIM_BRIDGE_SHARED").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: OPENIM_BRIDGE_SHARED is not set");
    }
    folder
}

struct Case {
    name: String,
    request: Request,
    body: Value,
    facts: Vec<String>,
}

/// What the sender of a bridge sends.
fn cases(folder: &Path, bridge: &str) -> Vec<Case> {
    let folders = corpus_of(bridge).into_iter();
    let files = folders.flat_map(|name| {
        let files = std::fs::read_dir(folder.join("corpus/cases").join(name));
        files.into_iter().flatten()
    });
    let mut cases: Vec<Case> = files
        .map(|file| {
            let path = file.unwrap().path();
            let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            read(path.file_stem().unwrap().display().to_string(), &case)
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn read(name: String, case: &Value) -> Case {
    let mut headers = HeaderMap::new();
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_str(value.as_str().unwrap_or_default()).unwrap();
        headers.insert(name, value);
    }
    let body = match case["raw"].as_str() {
        Some(raw) => raw.to_owned(),
        None => case["body"].to_string(),
    };
    let facts = case["expect"]["facts"].as_array().into_iter().flatten();
    Case {
        name,
        request: Request {
            method: Method::POST,
            target: case["path"].as_str().unwrap_or("/hooks/it").to_owned(),
            rest: String::new(),
            headers,
            body: Bytes::from(body),
            peer: None,
        },
        body: case["body"].clone(),
        facts: facts
            .filter_map(|fact| fact.as_str().map(str::to_owned))
            .filter(|fact| !NOISE.is_match(fact))
            .collect(),
    }
}

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

#[test]
fn every_template_says_what_a_reader_needs_of_what_senders_send() {
    let Some(folder) = shared() else { return };
    let shipped = Shipped::open();
    let expectations = Expectations::read();
    let mut failures = Vec::new();
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    let mut silent: BTreeMap<String, usize> = BTreeMap::new();
    // A JSON that nobody described may say anything: what its message needs cannot be written down.
    for bridge in bridges().iter().filter(|bridge| *bridge != "json") {
        let (mut shown, mut facts, mut lacking) = (0, 0, Vec::new());
        for case in cases(&folder, bridge) {
            let Told {
                event, messages, ..
            } = shipped.tell(bridge, case.request, now());
            let kind = format!("{bridge}/{}", event.kind);
            if messages.is_empty() {
                *silent.entry(kind).or_default() += 1;
                continue;
            }
            *told.entry(kind.clone()).or_default() += 1;
            for said in &messages {
                let mut wrong = unfit(said, &case.body);
                let missing = expectations.missing(bridge, &event.kind, &event.body, &said.plain);
                wrong.extend(missing);
                wrong.extend(said.absent.iter().cloned());
                let place = format!("{} ({})", case.name, said.locale);
                failures.extend(wrong.iter().map(|wrong| format!("{place}: {wrong}")));
            }
            let lacks = case.facts.iter();
            let lacks = lacks.filter(|fact| !shows(&messages[0].plain, fact));
            let lacks: Vec<_> = lacks.map(|fact| format!("{kind}: {fact}")).collect();
            facts += count(&case.facts);
            shown += count(&case.facts) - count(&lacks);
            lacking.extend(lacks);
        }
        if facts > 0 {
            let share = f64::from(shown) / f64::from(facts);
            eprintln!("{bridge}: facts shown: {shown} of {facts} ({share:.3}); not: {lacking:#?}");
            if share < least(bridge) {
                failures.push(format!("{bridge}: {share:.3} of the facts are shown"));
            }
        }
    }

    eprintln!("{} kinds with a message: {told:?}", told.len());
    eprintln!("{} kinds silent by choice: {silent:?}", silent.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap()
}

/// What no message may be or hold, whatever its payload.
fn unfit(said: &Spoken, body: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if said.preview.is_empty() || said.preview.lines().count() > 1 {
        wrong.push("its preview is not one line".to_owned());
    }
    for (face, text) in [("markdown", &said.markdown), ("plain", &said.plain)] {
        if text.trim().is_empty() {
            wrong.push(format!("its {face} face is empty"));
        }
        let length = text.chars().count();
        if length >= LONGEST {
            wrong.push(format!("its {face} face has {length} characters"));
        }
        wrong.extend(stray_words(text, body).map(|word| format!("its {face} face says {word}")));
    }
    wrong
}

static STRAY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\[object\]|\bnull\b|\bundefined\b|\d{4}-\d\d-\d\dT\d\d:\d\d\S*").unwrap()
});

/// What a template says that forgot to ask whether there is a value, or how to say it. Such words may stand in a sender's own
/// sentence: where they do, with the same letters before or behind them, they are not ours; nor are they where a JSON is
/// shown as it came.
fn stray_words<'a>(text: &'a str, body: &'a Value) -> impl Iterator<Item = &'a str> {
    let found: Vec<_> = STRAY.find_iter(text).collect();
    found.into_iter().filter_map(move |found| {
        let before = text[..found.start()].char_indices().rev().nth(AROUND - 1);
        let before = text[before.map_or(0, |(at, _)| at)..found.end()].trim();
        let behind = text[found.end()..].char_indices().nth(AROUND);
        let behind = behind.map_or(text.len(), |(at, _)| found.end() + at);
        let behind = text[found.start()..behind].trim();
        let mut sides = [before, behind].into_iter();
        let quoted = sides.any(|side| {
            side.len() > found.len() && (holds(body, side) || body.to_string().contains(side))
        });
        (!quoted).then_some(found.as_str())
    })
}

fn holds(value: &Value, words: &str) -> bool {
    match value {
        Value::String(text) => text.contains(words),
        Value::Array(items) => items.iter().any(|item| holds(item, words)),
        Value::Object(fields) => fields.values().any(|field| holds(field, words)),
        _ => false,
    }
}

#[test]
fn a_word_of_the_sender_is_told_from_a_slip_of_the_template() {
    let body = json!({"title": "a null pointer here", "at": "2026-03-12T01:00:00Z"});
    let stray = |text| stray_words(text, &body).collect::<Vec<_>>();
    assert_eq!(stray("x: a null pointer here"), Vec::<&str>::new());
    assert_eq!(stray("by null on main"), ["null"]);
    assert_eq!(
        stray("since 2026-03-12T01:00:00Z."),
        ["2026-03-12T01:00:00Z."]
    );
}

#[test]
fn every_template_has_a_sample_and_a_list_of_what_it_must_say() {
    let shipped = Shipped::open();
    let expectations = Expectations::read();
    let templates = &shipped.book.templates;
    let mut spoken = BTreeSet::new();
    for (bridge, name, request) in shipped.samples() {
        let kind = shipped.tell(&bridge, request, now()).event.kind;
        if let Some(template) = templates.find(&shipped.folders(&bridge), &kind) {
            spoken.insert(template.name);
            let listed = expectations.knows(&bridge, &kind);
            assert!(listed, "no list for {bridge}/{kind} of {name}");
        }
    }

    // What the service itself says has a story of its own, in `notices`.
    let of_senders = |name: &String| !name.starts_with("notices/");
    let names = templates.names().into_iter().map(|template| template.name);
    let names = names.filter(of_senders);
    let unspoken: Vec<_> = names.filter(|name| !spoken.contains(name)).collect();
    assert!(unspoken.is_empty(), "no sample for {unspoken:?}");
    for (bridge, kind) in expectations.kinds() {
        let template = templates.find(&shipped.folders(bridge), kind);
        assert!(template.is_some(), "no template for {bridge}/{kind}");
    }
}

#[test]
fn every_sample_says_what_a_reader_needs() {
    let shipped = Shipped::open();
    let expectations = Expectations::read();
    let mut failures = Vec::new();
    for (bridge, name, request) in shipped.samples() {
        let Told {
            event, messages, ..
        } = shipped.tell(&bridge, request, now());
        for said in messages {
            let mut wrong = unfit(&said, &event.body);
            wrong.extend(expectations.missing(&bridge, &event.kind, &event.body, &said.plain));
            wrong.extend(said.absent);
            let place = format!("{name} ({})", said.locale);
            failures.extend(wrong.iter().map(|wrong| format!("{place}: {wrong}")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_field_that_is_missing_or_strange_breaks_no_message() {
    let shipped = Shipped::open();
    let mut failures = Vec::new();
    let mut tried = BTreeSet::new();
    for (bridge, name, request) in shipped.samples() {
        // A form has no places.
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            continue;
        };
        // Of the many senders one sample for each template, less deep: more takes minutes.
        let kind = shipped.tell(&bridge, request.clone(), now()).event.kind;
        let template = (shipped.book.templates).find(&shipped.folders(&bridge), &kind);
        let depth = match IN_THE_DEMO.contains(&bridge.as_str()) {
            true => 3,
            false if tried.insert(template) => 2,
            false => continue,
        };
        for place in places(&body, "", depth) {
            for strange in [Value::Null, 7.into()] {
                let mut body = body.clone();
                *body.pointer_mut(&place).unwrap() = strange.clone();
                let mut request = request.clone();
                request.body = Bytes::from(body.to_string());
                for said in shipped.tell_anyway(&bridge, request, now()).messages {
                    let wrong = unfit(&said, &body).into_iter();
                    let wrong = wrong.map(|wrong| format!("{name}: {place} is {strange}: {wrong}"));
                    failures.extend(wrong);
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The pointers to all fields down to a depth; of a list only to its first item.
fn places(value: &Value, here: &str, depth: usize) -> Vec<String> {
    let inside: Vec<(String, &Value)> = match value {
        _ if depth == 0 => Vec::new(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (format!("{here}/{name}"), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .take(1)
            .map(|value| (format!("{here}/0"), value))
            .collect(),
        _ => Vec::new(),
    };
    inside
        .into_iter()
        .flat_map(|(place, value)| {
            let deeper = places(value, &place, depth - 1);
            std::iter::once(place).chain(deeper)
        })
        .collect()
}

/// What people read, one after the other: a change of a template or a word is seen as what it changes for a reader.
#[test]
fn the_samples_tell_a_story_that_people_read() {
    let shipped = Shipped::open();
    let evening = "2026-03-12T18:00:00Z".parse().unwrap();
    let mut stories: BTreeMap<String, String> = BTreeMap::new();
    for (bridge, name, request) in shipped.samples() {
        let Told {
            event, messages, ..
        } = shipped.tell(&bridge, request, evening);
        for (number, locale) in LOCALES.iter().enumerate() {
            let said = messages
                .get(number)
                .map_or("(silent by choice)".to_owned(), |said| {
                    format!("{}\n‹{}›", said.plain, said.preview)
                });
            let story = match IN_THE_DEMO.contains(&bridge.as_str()) {
                true => format!("story_{locale}"),
                false => format!("{bridge}_{locale}"),
            };
            let story = stories.entry(story).or_default();
            writeln!(story, "── {bridge}/{name}: {}\n{said}\n", event.kind).unwrap();
        }
    }
    for (name, story) in stories {
        insta::assert_snapshot!(name, story);
    }
}

/// What a body makes a reader of English see; `None` when it makes no message.
fn seen(shipped: &Shipped, bridge: &str, kind: &str, query: &str, body: &str) -> Option<Spoken> {
    let text = format!("POST /hooks/x{query} HTTP/1.1\nX-GitHub-Event: {kind}\n\n{body}");
    let request = Request::from_text(bridge, text.as_bytes()).unwrap();
    let told = shipped.tell_anyway(bridge, request, now());
    told.messages.into_iter().find(|said| said.locale == "en")
}

#[test]
fn a_json_that_tells_nothing_makes_no_message_and_little_reads_well() {
    let shipped = Shipped::open();
    let plain =
        |query: &str, body: &str| seen(&shipped, "json", "x", query, body).map(|it| it.plain);
    for nothing in ["null", "{}", "[]", "\"\""] {
        assert_eq!(plain("", nothing), None, "{nothing}");
        let asked = plain("?title=hi&text=all+*well*", nothing);
        assert_eq!(asked.as_deref(), Some("hi\nall *well*"), "{nothing}");
    }
    assert_eq!(plain("", "5").as_deref(), Some("5"));
    assert_eq!(plain("", "\"disk full\"").as_deref(), Some("disk full"));
    assert_eq!(plain("", "[1, 2]").as_deref(), Some("[1,2]"));
    let both = plain("?title=no&text=no", r#"{"title": "a", "text": "b"}"#);
    assert_eq!(both.as_deref(), Some("a\nb"));
}

#[test]
fn a_huge_title_leaves_room_for_the_rest() {
    let shipped = Shipped::open();
    let title = "long ".repeat(4_000);
    let json = json!({"title": title, "text": "the end"}).to_string();
    let pull = json!({"action": "opened", "sender": {"login": "octocat"}, "pull_request": {"title": title, "body": "the end"}});
    let alert = json!({"status": "firing", "alerts": [{"status": "firing", "labels": {"alertname": title}, "annotations": {"description": "the end"}}]});
    for (bridge, kind, body) in [
        ("json", "", json),
        ("github", "pull_request", pull.to_string()),
        ("alertmanager", "", alert.to_string()),
    ] {
        let said = seen(&shipped, bridge, kind, "", &body).unwrap();
        let cut = said.plain.contains("long…") && said.plain.contains("the end");
        assert!(cut, "{}", said.plain);
        assert_eq!(said.markdown.matches("**").count() % 2, 0, "{bridge}");
    }
}

#[test]
fn an_almost_empty_pull_request_shows_no_signs_of_what_it_lacks() {
    let shipped = Shipped::open();
    let body = r#"{"action": "opened", "pull_request": {"id": 1}}"#;
    let said = seen(&shipped, "github", "pull_request", "", body).unwrap();
    let words = said.plain.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words, "📥 opened PR");
}
