//! One fault as somebody asks for it: `slow:by=2s,probability=0.3`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use super::kind::{CALLS, Described, FAULTS, Kind, Message};

/// A fault: what breaks, for which calls and conversations, when, and how often.
///
/// Written `name` or `name:key=value,key=value`; in JSON also as an object, `{"fault": "slow", "by": "2s"}`.
/// `openim-bridge sandbox --list-faults` tells all names and keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub(in crate::sandbox) kind: Kind,
    pub(super) calls: Vec<String>,
    pub(super) conversations: Conversations,
    pub(super) probability: f64,
    /// From when on, counted from the moment the plan begins.
    pub(super) after: Duration,
    /// How long; `None`: until the plan is changed.
    pub(super) lasts: Option<Duration>,
    /// So many occasions pass by before the first that it hits.
    pub(super) skip: u64,
    pub(super) times: Option<u64>,
    /// How long it takes; from, to. `None` where nothing was said and the kind has no time of its own.
    pub(super) by: Option<(Duration, Duration)>,
    pub(super) message: Message,
    pub(super) code: Option<u16>,
    pub(super) retry_after: u64,
    pub(super) over: usize,
    pub(super) part: Option<f64>,
    pub(super) lost: bool,
    pub(super) mark: bool,
    text: String,
}

/// Which conversations; none named means all. A name may end with `*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::sandbox) struct Conversations(Vec<String>);

impl Conversations {
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these is meant.
    pub fn fits<T: AsRef<str>>(&self, ids: impl IntoIterator<Item = T>) -> bool {
        self.0.is_empty()
            || ids.into_iter().any(|id| {
                self.0.iter().any(|wanted| match wanted.strip_suffix('*') {
                    Some(start) => id.as_ref().starts_with(start),
                    None => id.as_ref() == wanted,
                })
            })
    }
}

/// Why a text is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Flaw(String);

impl FromStr for Fault {
    type Err = Flaw;

    fn from_str(text: &str) -> Result<Fault, Flaw> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let settings = settings.split(',').filter(|setting| !setting.is_empty());
        let settings = settings.map(|setting| match setting.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Flaw(format!("`{setting}` is not `key=value`"))),
        });
        Fault::read(name, settings.collect::<Result<_, Flaw>>()?)
    }
}

impl Fault {
    fn read(name: &str, settings: Vec<(String, String)>) -> Result<Fault, Flaw> {
        let known = FAULTS.iter().find(|known| known.name == name);
        let known = known.ok_or_else(|| {
            let names: Vec<&str> = FAULTS.iter().map(|known| known.name).collect();
            Flaw(format!(
                "there is no fault `{name}`; there are {}",
                names.join(", ")
            ))
        })?;
        let mut fault = Fault::plain(known);
        if settings.iter().any(|(key, _)| key == "call") {
            fault.calls.clear();
        }
        for (key, value) in settings {
            if !known.keys().any(|allowed| allowed == key) {
                let keys: Vec<&str> = known.keys().collect();
                return Err(Flaw(format!(
                    "`{name}` has no `{key}`; it has {}",
                    keys.join(", ")
                )));
            }
            fault
                .set(known, &key, &value)
                .map_err(|why| Flaw(format!("`{name}`: `{key}={value}`: {why}")))?;
            let before = if fault.text == name { ':' } else { ',' };
            fault.text.push_str(&format!("{before}{key}={value}"));
        }
        Ok(fault)
    }

    fn plain(known: &Described) -> Fault {
        let (from, to) = known.by;
        Fault {
            kind: known.kind,
            calls: known.calls.iter().map(|&path| path.to_owned()).collect(),
            conversations: Conversations::default(),
            probability: 1.0,
            after: Duration::ZERO,
            lasts: None,
            skip: 0,
            times: None,
            by: (to > 0).then(|| (Duration::from_millis(from), Duration::from_millis(to))),
            message: known.message.first().copied().unwrap_or(Message::NotTaken),
            code: None,
            retry_after: 1,
            over: 100,
            part: None,
            lost: false,
            mark: false,
            text: known.name.to_owned(),
        }
    }

    /// Whether a call of this path can meet it.
    pub(super) fn meets(&self, path: &str) -> bool {
        self.calls.is_empty() || self.calls.iter().any(|call| call == path)
    }

    fn set(&mut self, known: &Described, key: &str, value: &str) -> Result<(), String> {
        match key {
            "call" => self.calls.push(call(value)?),
            "conversation" => self.conversations.0.push(value.to_owned()),
            "probability" => self.probability = share(value)?,
            "after" => self.after = time(value)?,
            "for" => self.lasts = Some(time(value)?),
            "skip" => self.skip = number(value)?,
            "times" => self.times = Some(number(value)?),
            "by" => {
                let (from, to) = value.split_once("..").unwrap_or((value, value));
                let (from, to) = (time(from)?, time(to)?);
                if to < from {
                    return Err("it ends before it begins".to_owned());
                }
                self.by = Some((from, to));
            }
            "message" => self.message = message(known, value)?,
            "code" => self.code = Some(code(known.kind, value)?),
            "retry-after" => self.retry_after = time(value)?.as_secs(),
            "over" => self.over = number(value)?.try_into().unwrap_or(usize::MAX),
            "part" => self.part = Some(share(value)?),
            "lost" => self.lost = yes(value)?,
            "mark" => self.mark = yes(value)?,
            _ => return Err("it is not known".to_owned()),
        }
        Ok(())
    }
}

fn time(value: &str) -> Result<Duration, String> {
    let span = value.parse::<jiff::SignedDuration>().ok();
    let span = span.and_then(|span| Duration::try_from(span).ok());
    span.ok_or_else(|| "a time is written 250ms, 2s or 5m".to_owned())
}

fn number(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| "it must be a number".to_owned())
}

fn share(value: &str) -> Result<f64, String> {
    let share = value.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}

fn yes(value: &str) -> Result<bool, String> {
    match value {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("it must be yes or no".to_owned()),
    }
}

fn call(value: &str) -> Result<String, String> {
    if value.starts_with('/') {
        return Ok(value.to_owned());
    }
    let known = CALLS.iter().find(|(name, _)| *name == value);
    known.map(|(_, path)| (*path).to_owned()).ok_or_else(|| {
        let names: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
        format!("a call is a path of the API, or {}", names.join(", "))
    })
}

fn message(known: &Described, value: &str) -> Result<Message, String> {
    let word = |message: &Message| match message {
        Message::Taken => "taken",
        Message::NotTaken => "not-taken",
        Message::Later => "later",
        Message::Lost => "lost",
    };
    let found = known.message.iter().find(|message| word(message) == value);
    found.copied().ok_or_else(|| {
        let words: Vec<&str> = known.message.iter().map(word).collect();
        format!("it must be {}", words.join(" or "))
    })
}

fn code(kind: Kind, value: &str) -> Result<u16, String> {
    let number = value.parse().ok();
    let fits = |code: &u16| match kind {
        Kind::Status => (400..600).contains(code),
        _ => [1501, 1503, 1505, 1506, 1507].contains(code),
    };
    number.filter(fits).ok_or_else(|| match kind {
        Kind::Status => "it must be an HTTP status from 400 to 599".to_owned(),
        _ => "it must be 1501, 1503, 1505, 1506 or 1507".to_owned(),
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fault, D::Error> {
        let fields = match Value::deserialize(deserializer)? {
            Value::String(text) => return text.parse().map_err(D::Error::custom),
            Value::Object(fields) => fields,
            _ => return Err(D::Error::custom("a fault is a text or an object")),
        };
        let name = fields.get("fault").and_then(Value::as_str);
        let name = name.ok_or_else(|| D::Error::custom("`fault` must name it"))?;
        let mut settings = Vec::new();
        for (key, value) in fields.iter().filter(|(key, _)| *key != "fault") {
            let values = match value {
                Value::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            for value in values {
                let text = match value {
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                settings.push((key.clone(), text));
            }
        }
        Fault::read(name, settings).map_err(D::Error::custom)
    }
}

/// All faults for people: name, what it does, what can be set.
pub fn listed() -> String {
    let mut text = String::new();
    let section = |kind: Kind| match kind {
        _ if kind.is_at_the_door() => "what a call meets",
        _ if kind.is_event() => "what happens once",
        _ => "what happens to messages",
    };
    for title in [
        "what a call meets",
        "what happens to messages",
        "what happens once",
    ] {
        text.push_str(&format!("{title}\n"));
        for known in FAULTS.iter().filter(|known| section(known.kind) == title) {
            text.push_str(&format!("  {:<17} {}\n", known.name, known.says));
        }
        text.push('\n');
    }
    let calls: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
    text.push_str(&format!(
        "what can be set\n  \
           after, for        when it begins, and how long it lasts: 250ms, 2s, 5m; without: at once, for ever\n  \
           conversation      OpenIM's id of one, sg_ops or si_alice_bot, or its beginning: sn_*; can be repeated\n  \
           probability       from 0 to 1, the same for the same seed\n  \
           skip, times       lets so many pass first; hits so many\n  \
           call              {}, or a path of the API; can be repeated\n  \
           by                how long it takes, or a range: by=100ms..2s\n",
        calls.join(", ")
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(text: &str) -> String {
        text.parse::<Fault>().unwrap_err().to_string()
    }

    #[test]
    fn a_fault_is_written_in_one_word_or_with_settings() {
        let plain: Fault = "reset".parse().unwrap();
        let full: Fault =
            "slow:by=100ms..2s,call=send,call=/msg/revoke_msg,conversation=sg_*,probability=0.5,after=1s,for=2m,skip=1,times=3"
                .parse()
                .unwrap();

        assert_eq!((plain.probability, plain.times), (1.0, None));
        assert_eq!(full.calls, ["/msg/send_msg", "/msg/revoke_msg"]);
        assert_eq!(
            full.by,
            Some((Duration::from_millis(100), Duration::from_secs(2)))
        );
        assert_eq!(full.lasts, Some(Duration::from_secs(120)));
        assert!(full.conversations.fits(["sg_ops"]) && !full.conversations.fits(["si_a_b"]));
        assert_eq!(full.to_string().parse::<Fault>().unwrap(), full);
    }

    #[test]
    fn the_same_fault_can_be_written_as_json() {
        let text: Fault = "http:code=503,times=2,call=send,call=pull".parse().unwrap();
        let object: Fault = serde_json::from_str(
            r#"{"fault": "http", "code": 503, "times": 2, "call": ["send", "pull"]}"#,
        )
        .unwrap();

        assert_eq!((object.code, object.times), (text.code, text.times));
        assert_eq!(object.calls, text.calls);
    }

    #[test]
    fn a_mistake_is_told_with_what_would_be_right() {
        for (wrong, says) in [
            ("sloow", "there is no fault `sloow`; there are slow, hang"),
            ("slow:over=3", "`slow` has no `over`; it has after, for"),
            ("slow:by", "`by` is not `key=value`"),
            ("slow:by=soon", "a time is written 250ms, 2s or 5m"),
            ("slow:by=2s..1s", "it ends before it begins"),
            ("slow:probability=2", "a number from 0 to 1"),
            ("slow:times=often", "it must be a number"),
            ("slow:call=sends", "a path of the API, or send, status"),
            (
                "hang:message=maybe",
                "it must be not-taken or taken or later",
            ),
            ("http:code=200", "an HTTP status from 400 to 599"),
            ("token:code=7", "it must be 1501"),
            ("hole:mark=perhaps", "it must be yes or no"),
        ] {
            assert!(flaw(wrong).contains(says), "{wrong}: {}", flaw(wrong));
        }
    }

    #[test]
    fn every_listed_fault_can_be_asked_for_by_its_name() {
        for known in &FAULTS {
            let fault: Fault = known.name.parse().unwrap();
            assert_eq!(fault.kind, known.kind);
            assert!(!known.says.is_empty());
        }
        let mut names: Vec<&str> = FAULTS.iter().map(|known| known.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAULTS.len());
    }
}
