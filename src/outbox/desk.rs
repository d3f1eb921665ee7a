//! What people ask of the outbox and do to it: lists, records, retries, pruning.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Attempt, Conversation, DeliveryId, DeliveryState, Event, Lane, Message, Receipt, Timestamp,
};

/// Which events or deliveries are meant. Every part that is given must fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// The bridge.
    pub bridge: Option<String>,
    /// The event's id as its sender gave it.
    pub event: Option<String>,
    /// The event's kind, or the beginning of it before a `*`: `alert.*`.
    pub kind: Option<String>,
    /// A destination as the route says it (`group:ops`), or a conversation by OpenIM's id (`group:#2839678182`).
    pub destination: Option<String>,
    /// The state of a delivery; several: any of them.
    pub states: Vec<DeliveryState>,
    /// Kept at or after this moment.
    pub since: Option<Timestamp>,
    /// Kept before this moment.
    pub until: Option<Timestamp>,
    /// Events that no route took.
    pub unrouted: bool,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Goes on behind the row of this number (a delivery's, an event's or a lane's); `None`: from the beginning.
    pub after: Option<i64>,
    /// At most so many.
    pub most: usize,
    /// The oldest first.
    pub oldest_first: bool,
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Deliveries by state, each state named.
    pub deliveries: BTreeMap<DeliveryState, u64>,
    /// All events.
    pub events: u64,
    /// Events that no route took.
    pub unrouted: u64,
    /// When the oldest delivery that is waiting or being sent was kept.
    pub oldest_waiting: Option<Timestamp>,
    /// Sends whose answer was lost and which are not settled yet.
    pub unclear: u64,
    /// When the oldest delivery that is accepted or unclear began to be so.
    pub oldest_unsettled: Option<Timestamp>,
    /// Accepted or unclear for longer than ten minutes.
    pub unproven: u64,
    /// Lanes that an operator holds, or that wait for one.
    pub held: u64,
    /// So many times a message was proven lost at OpenIM and sent again.
    pub dropped: u64,
    /// So many times a message was sent again without proof: possible repeats.
    pub possible_repeats: u64,
    /// Bytes that the outbox takes on disk.
    pub bytes: u64,
}

/// An event as it stands in the outbox.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// Its number: the order in which it was kept.
    pub number: i64,
    /// When it was kept.
    pub kept: Timestamp,
    /// Whether a route took it.
    pub routed: bool,
    /// Whether its body is still there.
    pub has_body: bool,
    /// The event. Its `body` is not parsed ([`serde_json::Value::Null`]); `raw` is empty in lists and where it was pruned.
    pub event: Arc<Event>,
    /// Its deliveries by state.
    pub became: BTreeMap<DeliveryState, usize>,
}

/// A delivery as it stands in the outbox.
#[derive(Clone, Debug)]
pub struct DeliveryRecord {
    /// Its number: the order in which it was kept.
    pub number: i64,
    /// Its id.
    pub id: DeliveryId,
    /// The bridge of its event.
    pub bridge: String,
    /// Its event's id.
    pub event: String,
    /// Its event's number.
    pub event_number: i64,
    /// Its event's kind.
    pub kind: String,
    /// As the route said it.
    pub destination: String,
    /// Where that is at OpenIM.
    pub conversation: Conversation,
    /// Its lane.
    pub lane: Lane,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why, when it ended without success; what it waits for.
    pub reason: Option<String>,
    /// When it was kept.
    pub kept: Timestamp,
    /// When it is tried next, while it waits.
    pub due: Option<Timestamp>,
    /// Not shown any more after this moment.
    pub expires: Option<Timestamp>,
    /// Expired ones that this one speaks for, itself included; 0: it speaks for itself.
    pub folds: u64,
    /// The message; `None` while it is unrendered, and in lists.
    pub message: Option<Message>,
    /// OpenIM's answer, once there is one.
    pub receipt: Option<Receipt>,
    /// Where OpenIM stored it.
    pub seq: Option<i64>,
    /// What was tried; empty in lists.
    pub attempts: Vec<AttemptRecord>,
}

/// An attempt as it stands in the outbox. One without an end is ambiguous.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The attempt.
    pub attempt: Attempt,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What was seen.
    pub verdict: Option<String>,
    /// What settled it, when its outcome was not known: in words, with the time, one line each.
    pub evidence: Option<String>,
}

/// A lane as it stands in the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneRecord {
    /// Its number.
    pub number: i64,
    /// The lane.
    pub lane: Lane,
    /// How many wait in it.
    pub waiting: u64,
    /// How many are accepted or unclear.
    pub unsettled: u64,
    /// When its head can be sent; `None` while it is in hand, unclear, stopped, held, or nothing waits.
    pub due: Option<Timestamp>,
    /// Why it waits, in words.
    pub waits_for: Option<String>,
    /// Why an operator holds it.
    pub held: Option<String>,
    /// Who has leased it, where several processes may.
    pub owner: Option<String>,
}

/// What a lane's row and its deliveries say of why nothing is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standstill {
    /// A request is under way.
    pub in_hand: bool,
    /// A message was lost.
    pub stopped: bool,
    /// So many sends are unclear.
    pub unclear: u64,
    /// So many are accepted, and nothing else is there to wait for.
    pub only_unfound: Option<u64>,
}

impl LaneRecord {
    /// Why a lane waits, in words; `last` is what its latest attempt came to.
    pub(super) fn waits_for(
        held: Option<&str>,
        still: Standstill,
        last: Option<String>,
    ) -> Option<String> {
        match (held, still.only_unfound) {
            _ if still.in_hand => None,
            (Some(why), _) => Some(why.to_owned()),
            _ if still.unclear > 0 => {
                Some("it is not known whether OpenIM took the last one".to_owned())
            }
            _ if still.stopped => {
                Some("a message was lost at OpenIM: the others are looked for first".to_owned())
            }
            (None, Some(accepted)) => Some(format!(
                "{accepted} accepted by OpenIM and not found in its history yet"
            )),
            (None, None) => last,
        }
    }
}

/// What an operator does to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Back to the end of its lane: what was refused, is dead or cancelled. A waiting one becomes due at once.
    Retry,
    /// Not any more: what waits, is unrendered, refused or dead. What is in hand or accepted cannot be called back.
    Cancel,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Done.
    Done,
    /// Its state does not allow it: this one.
    Not(DeliveryState),
    /// There is no such delivery.
    Unknown,
}

/// What is old enough to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    /// Bodies, messages and attempts of events kept before this moment.
    pub before: Timestamp,
    /// Ids and hashes of events kept before this moment: at least 30 days back, so that a repeat is known.
    pub forget_before: Timestamp,
    /// Beyond so many bytes on disk the oldest go first, however young.
    pub max_bytes: Option<u64>,
}

/// Ids and hashes are remembered at least so long, so that a repeat is known however short contents are kept.
const REMEMBER_IDS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Prune {
    /// The rule for contents that are kept for `age`, at that moment.
    pub fn of(now: Timestamp, age: Duration, max_bytes: Option<u64>) -> Prune {
        let ago = |span: Duration| now.saturating_sub(span).unwrap_or(Timestamp::MIN);
        Prune {
            before: ago(age),
            forget_before: ago(age.max(REMEMBER_IDS)),
            max_bytes,
        }
    }
}

/// What a chunk of pruning did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events whose contents went.
    pub emptied: u64,
    /// Events that are forgotten.
    pub forgotten: u64,
    /// Whether there is more.
    pub more: bool,
}
