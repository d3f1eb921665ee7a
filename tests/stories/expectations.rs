//! The list of what each message must show (`tests/expectations.toml`), and how it is held against a message.

use std::collections::BTreeMap;

use openim_bridge::bridge::template::only_words;
use serde_json::Value;

/// By bridge and kind: the name of each thing that must be shown (`who`, `link`), and where the body has it.
pub struct Expectations(BTreeMap<String, BTreeMap<String, toml::Table>>);

impl Expectations {
    /// Reads the list beside the tests.
    pub fn read() -> Expectations {
        let list = toml::from_str(include_str!("../expectations.toml"));
        Expectations(list.expect("the list of expectations is TOML"))
    }

    /// Whether there is a list for that kind.
    pub fn knows(&self, bridge: &str, kind: &str) -> bool {
        self.of(bridge, kind).is_some()
    }

    /// All kinds of the list.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(bridge, kinds)| {
            kinds
                .keys()
                .map(move |kind| (bridge.as_str(), kind.as_str()))
        })
    }

    /// What the message (its plain face) of a body should show and does not: `who: octocat`.
    pub fn missing(&self, bridge: &str, kind: &str, body: &Value, plain: &str) -> Vec<String> {
        let Some(list) = self.of(bridge, kind) else {
            return vec![format!("no list for {bridge}/{kind}")];
        };
        let mut missing = Vec::new();
        for (name, wanted) in list {
            for wanted in one_or_many(wanted) {
                let lacks = match wanted {
                    toml::Value::String(path) => lacking_value(path, body, plain),
                    toml::Value::Table(outcome) => lacking_word(outcome, body, plain),
                    other => Some(format!("{other} is neither a pointer nor an outcome")),
                };
                missing.extend(lacks.map(|lacks| format!("{name}: {lacks}")));
            }
        }
        missing
    }

    /// The list of a kind, else of a shorter one, else `default`: as a template is found.
    fn of(&self, bridge: &str, kind: &str) -> Option<&toml::Table> {
        let lists = self.0.get(bridge)?;
        let shorter = std::iter::successors(Some(kind), |kind| {
            kind.rsplit_once('.').map(|(kind, _)| kind)
        });
        let mut kinds = shorter.chain(["default"]);
        kinds.find_map(|kind| lists.get(kind))
    }
}

fn one_or_many(value: &toml::Value) -> Vec<&toml::Value> {
    match value {
        toml::Value::Array(many) => many.iter().collect(),
        one => vec![one],
    }
}

/// `/a or /b | sha`
fn lacking_value(path: &str, body: &Value, plain: &str) -> Option<String> {
    let (pointers, form) = path.split_once(" | ").unwrap_or((path, ""));
    let value = pointers
        .split(" or ")
        .filter_map(|pointer| body.pointer(pointer))
        .map(said)
        .find(|said| !said.is_empty())?;
    let value = match form {
        "" => value,
        "sha" => value.chars().take(7).collect(),
        "line" => beginning(&value),
        "ref" => value
            .trim_start_matches("refs/heads/")
            .trim_start_matches("refs/tags/")
            .to_owned(),
        other => panic!("`{other}` in the list of expectations is no form"),
    };
    (!shows(plain, &value)).then(|| format!("{path} = {value:?}"))
}

/// `{ at = "/a", success = ["passed", "通过"] }`
fn lacking_word(outcome: &toml::Table, body: &Value, plain: &str) -> Option<String> {
    let at = outcome.get("at")?.as_str()?;
    let value = said(body.pointer(at)?);
    let words = outcome.get(&value)?.as_array()?;
    let said = words
        .iter()
        .filter_map(toml::Value::as_str)
        .any(|word| plain.to_lowercase().contains(word));
    (!said).then(|| format!("{at} is {value}, and none of {words:?} is said"))
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The beginning of the first line, without the marks of Markdown: an excerpt may end there, but not before.
fn beginning(text: &str) -> String {
    let words = only_words(text);
    let line = words.trim_start().lines().next().unwrap_or_default();
    line.chars().take(40).collect()
}

/// Whether a text shows a value, whatever blanks stand between its words.
pub fn shows(text: &str, value: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    squeeze(text).contains(&squeeze(value))
}
