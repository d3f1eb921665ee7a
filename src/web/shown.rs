//! Events, deliveries and conversations as JSON: the shapes of the API and of `--json` at the command line, kept stable.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::desk::{ReplayTo, Replayed, Tally};
use crate::bridge::measure::parse_time;
use crate::bridge::problem::nearest;
use crate::model::{Content, DeliveryState, Timestamp};
use crate::outbox::{AttemptRecord, DeliveryRecord, EventRecord, Filter, LaneRecord};

/// What somebody asks for, in words: the query of the API, the flags of the commands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// A bridge.
    pub bridge: Option<String>,
    /// The event's id as its sender gave it.
    pub event: Option<String>,
    /// A kind, or the beginning of one: `alert.*`.
    pub kind: Option<String>,
    /// A destination (`group:ops`) or a conversation (`group:#2839678182`).
    pub to: Option<String>,
    /// States, separated by commas.
    pub state: Option<String>,
    /// A moment (RFC 3339), or how long ago: `2h`.
    pub since: Option<String>,
    /// The same.
    pub until: Option<String>,
    /// Only events that no route took.
    pub unrouted: Option<bool>,
    /// Behind the row of this number.
    pub after: Option<i64>,
    /// At most so many rows.
    pub limit: Option<usize>,
}

/// The most rows that one answer holds.
pub const MOST_ROWS: usize = 1000;

impl Asked {
    /// What is meant. The error names the word that is wrong.
    pub fn filter(&self, now: Timestamp) -> Result<Filter, String> {
        let states = self
            .state
            .iter()
            .flat_map(|words| words.split(','))
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(state_named)
            .collect::<Result<_, _>>()?;
        Ok(Filter {
            bridge: self.bridge.clone(),
            event: self.event.clone(),
            kind: self.kind.clone(),
            destination: self.to.clone(),
            states,
            since: self
                .since
                .as_deref()
                .map(|since| moment(since, now))
                .transpose()?,
            until: self
                .until
                .as_deref()
                .map(|until| moment(until, now))
                .transpose()?,
            unrouted: self.unrouted.unwrap_or(false),
        })
    }
}

/// A state by its word. The error names those that there are.
pub fn state_named(word: &str) -> Result<DeliveryState, String> {
    let known = DeliveryState::ALL.into_iter();
    known
        .clone()
        .find(|state| state.word() == word)
        .ok_or_else(|| {
            let words: Vec<&str> = known.map(DeliveryState::word).collect();
            match nearest(word, words.iter().copied()) {
                Some(near) => format!("`{word}` is no state; did you mean `{near}`?"),
                None => format!("`{word}` is no state; there are: {}", words.join(", ")),
            }
        })
}

/// A moment as somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The moment itself, RFC 3339.
    At(Timestamp),
    /// How long ago: `2h`.
    Ago(Duration),
}

impl When {
    /// The moment that is meant.
    pub fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            When::At(moment) => moment,
            When::Ago(span) => now.saturating_sub(span).unwrap_or(Timestamp::MIN),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        let moment = text.parse().map(When::At).ok();
        let found = moment.or_else(|| parse_time(text).map(When::Ago).ok());
        found.ok_or_else(|| {
            format!("`{text}` is no moment; write `2h`, `3d` or `2026-11-25T14:00:00Z`")
        })
    }
}

fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    Ok(text.parse::<When>()?.seen_from(now))
}

/// An event.
#[derive(Debug, Serialize)]
pub struct EventShown {
    /// Its number in the outbox.
    pub number: i64,
    /// The bridge.
    pub bridge: String,
    /// Its id.
    pub id: String,
    /// What happened.
    pub kind: String,
    /// When, by the sender's word.
    pub time: String,
    /// When it was kept.
    pub kept: String,
    /// One line.
    pub title: String,
    /// Who did it.
    pub actor: String,
    /// Where to read more.
    pub link: String,
    /// How bad it is.
    pub severity: &'static str,
    /// `open`, `changed`, `closed`.
    pub state: Option<&'static str>,
    /// What it is about.
    pub subject: String,
    /// Whether a route took it.
    pub routed: bool,
    /// Its deliveries by state.
    pub became: BTreeMap<&'static str, usize>,
    /// The headers; only of a single event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<BTreeMap<String, String>>,
    /// The body; only of a single event whose body was not pruned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body in base64, when it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl EventShown {
    /// A row of a list.
    pub fn row(record: &EventRecord) -> EventShown {
        let event = &record.event;
        EventShown {
            number: record.number,
            bridge: event.bridge.clone(),
            id: event.id.to_string(),
            kind: event.kind.clone(),
            time: event.time.to_string(),
            kept: record.kept.to_string(),
            title: event.title.clone(),
            actor: event.actor.clone(),
            link: event.link.clone(),
            severity: event.severity.word(),
            state: event.state.map(crate::model::State::word),
            subject: event.subject.clone(),
            routed: record.routed,
            became: record
                .became
                .iter()
                .map(|(state, many)| (state.word(), *many))
                .collect(),
            header: None,
            body: None,
            body_base64: None,
        }
    }

    /// The whole, with headers and body.
    pub fn whole(record: &EventRecord) -> EventShown {
        let mut shown = EventShown::row(record);
        shown.header = Some(record.event.header.clone());
        if record.has_body {
            match std::str::from_utf8(&record.event.raw) {
                Ok(text) => shown.body = Some(text.to_owned()),
                Err(_) => shown.body_base64 = Some(STANDARD.encode(&record.event.raw)),
            }
        }
        shown
    }
}

/// A delivery.
#[derive(Debug, Serialize)]
pub struct DeliveryShown {
    /// Its number in the outbox.
    pub number: i64,
    /// Its id; the same stands in the message's `ex` at OpenIM.
    pub id: String,
    /// The bridge.
    pub bridge: String,
    /// The event's id.
    pub event: String,
    /// The event's number.
    pub event_number: i64,
    /// The event's kind.
    pub kind: String,
    /// As the route said it.
    pub destination: String,
    /// Where that is at OpenIM.
    pub conversation: String,
    /// Where it stands.
    pub state: &'static str,
    /// Why, when it ended without success, or what it waits for.
    pub reason: Option<String>,
    /// When it was kept.
    pub kept: String,
    /// When it is tried next.
    pub due: Option<String>,
    /// Not shown any more after this moment.
    pub expires: Option<String>,
    /// Messages that came too late and that it speaks for; 0: it speaks for itself.
    pub folds: u64,
    /// Its place in OpenIM's conversation.
    pub seq: Option<i64>,
    /// OpenIM's id of the message.
    pub server_msg_id: Option<String>,
    /// What is said; only of a single delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What was tried; only of a single delivery.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptShown>,
}

/// An attempt.
#[derive(Debug, Serialize)]
pub struct AttemptShown {
    /// 1 for the first.
    pub number: u32,
    /// Names the send at OpenIM.
    pub operation_id: String,
    /// When it began.
    pub began: String,
    /// When it ended; `null`: nobody knows how.
    pub ended: Option<String>,
    /// What was seen.
    pub verdict: Option<String>,
    /// What settled it, one line each.
    pub evidence: Option<String>,
}

impl DeliveryShown {
    /// A delivery, with its message and attempts where the record has them.
    pub fn of(record: &DeliveryRecord) -> DeliveryShown {
        DeliveryShown {
            number: record.number,
            id: record.id.to_string(),
            bridge: record.bridge.clone(),
            event: record.event.clone(),
            event_number: record.event_number,
            kind: record.kind.clone(),
            destination: record.destination.clone(),
            conversation: record.conversation.to_string(),
            state: record.state.word(),
            reason: record.reason.clone(),
            kept: record.kept.to_string(),
            due: record.due.map(|at| at.to_string()),
            expires: record.expires.map(|at| at.to_string()),
            folds: record.folds,
            seq: record.seq,
            server_msg_id: record
                .receipt
                .as_ref()
                .map(|receipt| receipt.server_msg_id.clone()),
            text: record
                .message
                .as_ref()
                .map(|message| match &message.content {
                    Content::Text { plain, .. } => plain.clone(),
                    Content::Raw { content, .. } => content.to_string(),
                }),
            attempts: record.attempts.iter().map(AttemptShown::of).collect(),
        }
    }
}

impl AttemptShown {
    fn of(record: &AttemptRecord) -> AttemptShown {
        AttemptShown {
            number: record.attempt.number,
            operation_id: record.attempt.operation_id.clone(),
            began: record.attempt.began.to_string(),
            ended: record.ended.map(|at| at.to_string()),
            verdict: record.verdict.clone(),
            evidence: record.evidence.clone(),
        }
    }
}

/// A conversation: its lane in the outbox.
#[derive(Debug, Serialize)]
pub struct ConversationShown {
    /// Its number.
    pub number: i64,
    /// The conversation by OpenIM's id.
    pub conversation: String,
    /// How many wait in it.
    pub waiting: u64,
    /// How many are accepted and not found yet, or unclear.
    pub unsettled: u64,
    /// When its next message can be sent.
    pub due: Option<String>,
    /// Why it waits.
    pub waits_for: Option<String>,
    /// Why it is held.
    pub held: Option<String>,
    /// Which replica delivers it.
    pub owner: Option<String>,
}

impl ConversationShown {
    /// A lane.
    pub fn of(record: &LaneRecord) -> ConversationShown {
        ConversationShown {
            number: record.number,
            conversation: record.lane.as_str().to_owned(),
            waiting: record.waiting,
            unsettled: record.unsettled,
            due: record.due.map(|at| at.to_string()),
            waits_for: record.waits_for.clone(),
            held: record.held.clone(),
            owner: record.owner.clone(),
        }
    }
}

/// What became of many changes.
#[derive(Debug, Serialize)]
pub struct TallyShown {
    /// So many were changed.
    pub done: u64,
    /// So many were not, by the state that does not allow it.
    pub not: BTreeMap<&'static str, u64>,
    /// Whether it was stopped before the end.
    pub stopped: bool,
}

impl TallyShown {
    /// A tally.
    pub fn of(tally: &Tally) -> TallyShown {
        TallyShown {
            done: tally.done,
            not: tally
                .not
                .iter()
                .map(|(state, many)| (state.word(), *many))
                .collect(),
            stopped: tally.stopped,
        }
    }
}

/// What a replay changes.
#[derive(Debug, Serialize)]
pub struct ReplayShown {
    /// The event's number.
    pub event: i64,
    /// Why it makes nothing.
    pub silent: Option<String>,
    /// Each conversation.
    pub conversations: Vec<ReplayLineShown>,
    /// How many deliveries were made; `null` when it was only looked at.
    pub made: Option<usize>,
}

/// One conversation of a replay.
#[derive(Debug, Serialize)]
pub struct ReplayLineShown {
    /// As the route says it.
    pub destination: String,
    /// Where that is at OpenIM.
    pub conversation: String,
    /// What became of the first delivery.
    pub was: Option<&'static str>,
    /// `sent`, `has`, `not any more`, `broken`.
    pub now: &'static str,
    /// What is said.
    pub text: String,
}

impl ReplayShown {
    /// A replay that was looked at, or kept with `made` deliveries.
    pub fn of(replayed: &Replayed, made: Option<usize>) -> ReplayShown {
        ReplayShown {
            event: replayed.event,
            silent: replayed.silent.clone(),
            conversations: replayed
                .lines
                .iter()
                .map(|line| ReplayLineShown {
                    destination: line.destination.clone(),
                    conversation: line.conversation.to_string(),
                    was: line.was.map(DeliveryState::word),
                    now: match line.now {
                        ReplayTo::Sent => "sent",
                        ReplayTo::Has => "has",
                        ReplayTo::NotAnyMore => "not any more",
                        ReplayTo::Broken => "broken",
                    },
                    text: line.text.clone(),
                })
                .collect(),
            made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(state: &str, since: &str) -> Result<Filter, String> {
        let now = "2026-11-25T14:00:00Z".parse().unwrap();
        Asked {
            state: Some(state.to_owned()),
            since: Some(since.to_owned()),
            ..Asked::default()
        }
        .filter(now)
    }

    #[test]
    fn states_and_moments_are_read_as_people_write_them() {
        let filter = asked("refused, dead", "2h").unwrap();
        assert_eq!(filter.states, [DeliveryState::Refused, DeliveryState::Dead]);
        assert_eq!(filter.since, "2026-11-25T12:00:00Z".parse().ok());
        let filter = asked("", "2026-11-01T00:00:00Z").unwrap();
        assert_eq!(filter.states, []);
        assert_eq!(filter.since, "2026-11-01T00:00:00Z".parse().ok());
    }

    #[test]
    fn a_wrong_word_is_named_with_the_nearest_right_one() {
        let error = asked("refusd", "2h").unwrap_err();
        assert!(error.contains("`refused`"), "{error}");
        let error = asked("", "yesterday").unwrap_err();
        assert!(error.contains("`yesterday`"), "{error}");
    }
}
