//! The language of events over what senders really send.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use openim_bridge::bridge::event_rules::{EventRules, Field};
use openim_bridge::bridge::problem::Level;
use openim_bridge::intake::{Authentic, Request, Taken, parse};
use openim_bridge::model::{Event, Timestamp};
use serde_json::Value;

/// The folder with the corpus and the blocks; tests that need it are skipped without it.
#[expect(
    clippy::disallowed_methods,
    reason = "tests find the corpus by the environment"
)]
pub fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("OPENIM_BRIDGE_SHARED").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: OPENIM_BRIDGE_SHARED is not set");
    }
    folder
}

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// The `[event]` blocks of a document, by the sender in the comment above each.
fn blocks(document: &str) -> BTreeMap<String, Vec<(String, String)>> {
    document
        .split("\n# ")
        .filter(|block| block.contains("\n[event]"))
        .map(|block| {
            let (sender, rest) = block.split_once('\n').unwrap();
            (sender.to_owned(), block_of(rest))
        })
        .collect()
}

/// The keys of `[event]` with their expressions, in the order of the file.
fn block_of(text: &str) -> Vec<(String, String)> {
    let mut written = Vec::new();
    let mut lines = text
        .lines()
        .skip_while(|line| *line != "[event]")
        .skip(1)
        .take_while(|line| !line.starts_with("[["));
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let mut value = value.trim().to_owned();
        while value.starts_with("'''") && !value[3..].contains("'''") {
            value.push('\n');
            value.push_str(lines.next().unwrap());
        }
        let quotes = if value.starts_with("'''") { "'''" } else { "'" };
        let value = value.strip_prefix(quotes).unwrap();
        let value = &value[..value.find(quotes).unwrap()];
        written.push((key.trim().to_owned(), value.to_owned()));
    }
    written
}

/// The same of a shipped bridge.
fn shipped(bridge: &str) -> EventRules {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("bridges/{bridge}.toml"));
    compiled(bridge, &block_of(&std::fs::read_to_string(path).unwrap()))
}

fn compiled(sender: &str, written: &[(String, String)]) -> EventRules {
    EventRules::compile(written).unwrap_or_else(|flaws| panic!("{sender}: {flaws:#?}"))
}

/// The request of a case, as it came.
fn request(case: &Value) -> Authentic {
    let mut headers = HeaderMap::new();
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = value.as_str().unwrap_or_default();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let body = match (case["raw"].as_str(), &case["body"]) {
        (Some(raw), _) => raw.to_owned(),
        (None, Value::Null) => String::new(),
        (None, body) => body.to_string(),
    };
    let target = case["path"].as_str().unwrap_or("/hooks/it").to_owned();
    let request = Request {
        method: Method::POST,
        target,
        rest: String::new(),
        headers,
        body: Bytes::from(body),
        peer: None,
    };
    Authentic::unproven(request, "not asked")
}

pub fn cases(folder: &Path, sender: &str) -> Vec<(String, Value)> {
    let Ok(files) = std::fs::read_dir(folder.join("corpus/cases").join(sender)) else {
        return Vec::new();
    };
    let mut cases: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            let case = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            (path.display().to_string(), case)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    cases
}

fn is_filled(event: &Event, field: Field) -> bool {
    match field {
        Field::Subject => !event.subject.is_empty(),
        Field::Title => !event.title.is_empty(),
        Field::Actor => !event.actor.is_empty(),
        Field::Link => !event.link.is_empty(),
        Field::State => event.state.is_some(),
        Field::Kind => event.kind != "other",
        Field::Id | Field::Severity | Field::Time => true,
    }
}

/// How many requests of a sender fill each field at least, of how many.
type Least = (usize, [(Field, usize); 5]);

const GITHUB: Least = (
    290,
    [
        (Field::Subject, 281),
        (Field::Title, 283),
        (Field::Actor, 285),
        (Field::Link, 268),
        (Field::State, 156),
    ],
);
const GITLAB: Least = (
    85,
    [
        (Field::Subject, 78),
        (Field::Title, 83),
        (Field::Actor, 72),
        (Field::Link, 74),
        (Field::State, 55),
    ],
);

/// Reads every request of `folders` by `rules`, prints how many fill each field, and returns what failed.
fn read_all(
    sender: &str,
    rules: &EventRules,
    folder: &Path,
    folders: &[&str],
    least: Option<&Least>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut filled: BTreeMap<Field, usize> = BTreeMap::new();
    let cases: Vec<_> = folders
        .iter()
        .flat_map(|name| cases(folder, name))
        .collect();
    for (path, case) in &cases {
        match parse(sender, rules, request(case), now()) {
            Ok(Taken::Event(event, notes)) => {
                let failed = notes.iter().filter(|note| note.level == Level::Warning);
                failures.extend(failed.map(|note| format!("{path}: {note}")));
                for field in Field::ALL {
                    *filled.entry(field).or_default() += usize::from(is_filled(&event, field));
                }
            }
            Ok(Taken::Silent(why)) => eprintln!("{path}: {why}"),
            Err(error) => eprintln!("{path}: {error}"),
        }
    }
    let shown =
        Field::ALL.map(|field| format!("{} {}", field.key(), filled.get(&field).unwrap_or(&0)));
    eprintln!("{sender} ({}): {}", cases.len(), shown.join(", "));
    if let Some((count, fields)) = least {
        assert_eq!(cases.len(), *count, "{sender}");
        for (field, least) in fields {
            let filled = filled[field];
            assert!(
                filled >= *least,
                "{sender}: {field:?} is filled {filled} times of {least}"
            );
        }
    }
    failures
}

#[test]
fn every_block_reads_every_request_of_its_sender_without_a_failure() {
    let Some(folder) = shared() else { return };
    let document = std::fs::read_to_string(folder.join("design/EVENTS.md")).unwrap();
    let blocks = blocks(&document);
    assert!(blocks.len() >= 25, "{:?}", blocks.keys());
    let mut failures = Vec::new();
    for (sender, written) in &blocks {
        let folders: &[&str] = match sender.as_str() {
            "gitea" => &["gitea", "gogs"],
            "generic" => &["generic", "json"],
            sender => &[sender],
        };
        let least = match sender.as_str() {
            "github" => Some(&GITHUB),
            "gitlab" => Some(&GITLAB),
            _ => None,
        };
        let rules = compiled(sender, written);
        failures.extend(read_all(sender, &rules, &folder, folders, least));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn the_shipped_bridges_read_what_their_senders_send() {
    let Some(folder) = shared() else { return };
    let all = |bridge, folders: &[&str], least| {
        read_all(bridge, &shipped(bridge), &folder, folders, least)
    };
    let failures = [
        all("github", &["github"], Some(&GITHUB)),
        all("alertmanager", &["alertmanager"], None),
        all("json", &["generic", "json"], None),
    ]
    .concat();
    assert!(failures.is_empty(), "{failures:#?}");
}
