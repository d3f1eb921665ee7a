//! The durable promise to bring one message to one conversation, and what became of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Conversation, Hold, Message, Timestamp};

/// The id of a delivery. It goes with the message (`ex`) and through the logs (`delivery.id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(pub Uuid);

impl DeliveryId {
    /// A new id; ids sort by the time they were made.
    pub fn new(now: Timestamp) -> DeliveryId {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        DeliveryId(Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::NoContext,
            seconds,
            nanos,
        )))
    }

    /// When it was made; `None` for an id that does not say it.
    pub fn made(self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        let nanos = i32::try_from(nanos).ok()?;
        Timestamp::new(i64::try_from(seconds).ok()?, nanos).ok()
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DeliveryId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<DeliveryId, uuid::Error> {
        text.parse().map(DeliveryId)
    }
}

/// A delivery as intake hands it to the outbox.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// Made by the caller, so that logs can name it before it is kept.
    pub id: DeliveryId,
    /// As the route says it: `group:ops`.
    pub destination: String,
    /// Where that is at OpenIM.
    pub conversation: Conversation,
    /// The message, or why there is none yet.
    pub rendered: Rendered,
    /// When it is not worth showing any more.
    pub expires: Option<Expires>,
}

/// When a message is too late to be shown, and what stands in its place then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expires {
    /// Not shown any more after this moment.
    pub at: Timestamp,
    /// What speaks for all that came too late, in the reader's language: a line for one alone, and a line for several with
    /// `{}` for their number.
    pub folded: String,
}

/// What rendering gave. A mistake in a template loses nothing: the delivery is kept as unrendered.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    /// A message.
    Ready(Message),
    /// The template's mistake, for the operator.
    Broken(String),
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// In its lane, to be sent when its turn and its time come.
    Waiting,
    /// A request is under way, or its outcome is not known.
    Sending,
    /// OpenIM has queued it (a receipt).
    Accepted,
    /// Found again in OpenIM's history.
    Stored,
    /// OpenIM said no for good.
    Refused,
    /// The time to try has passed.
    Dead,
    /// The template made no message.
    Unrendered,
    /// An operator said so.
    Cancelled,
}

impl DeliveryState {
    /// All, in the order of a delivery's life.
    pub const ALL: [DeliveryState; 8] = [
        DeliveryState::Waiting,
        DeliveryState::Sending,
        DeliveryState::Accepted,
        DeliveryState::Stored,
        DeliveryState::Refused,
        DeliveryState::Dead,
        DeliveryState::Unrendered,
        DeliveryState::Cancelled,
    ];

    /// The word, as it is stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            DeliveryState::Waiting => "waiting",
            DeliveryState::Sending => "sending",
            DeliveryState::Accepted => "accepted",
            DeliveryState::Stored => "stored",
            DeliveryState::Refused => "refused",
            DeliveryState::Dead => "dead",
            DeliveryState::Unrendered => "unrendered",
            DeliveryState::Cancelled => "cancelled",
        }
    }
}

/// One delivery in the courier's hands, its attempt already on record.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The bridge it came through, for the logs.
    pub bridge: String,
    /// The event it belongs to, for the logs.
    pub event: String,
    /// Where it goes.
    pub conversation: Conversation,
    /// What is said.
    pub message: Message,
    /// This attempt.
    pub attempt: Attempt,
    /// When the message's first attempt began; the horizon is counted from here.
    pub first_attempt: Timestamp,
    /// The epoch of its lane: decisions need it.
    pub epoch: u64,
    /// How long the lane is surely ours. No request is written that may outlast it.
    pub hold: Hold,
    /// Whether it is known where reading begins in this conversation. If not, that is found out before it is sent.
    pub has_baseline: bool,
    /// Set when it came too late: what is said in its place, for itself and others.
    pub folded: Option<Folded>,
}

/// Messages that came too late, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// How many, the one that carries the line included.
    pub count: u64,
    /// The lines of [`Expires::folded`].
    pub line: String,
}

impl Folded {
    /// The one line that is shown.
    pub fn words(&self) -> String {
        let (alone, several) = self.line.split_once('\n').unwrap_or(("", &self.line));
        match (self.count, alone) {
            (1, alone) if !alone.is_empty() => alone.replace("{}", "1"),
            _ => several.replace("{}", &self.count.to_string()),
        }
    }
}

/// One attempt to send, written down before the request is.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// Names one send at OpenIM; stays over retries of it.
    pub operation_id: String,
    /// When it began.
    pub began: Timestamp,
}

/// OpenIM's answer to a send that it queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The server's id of the message; never empty.
    pub server_msg_id: String,
    /// The id that OpenIM's clients tell repeats by.
    pub client_msg_id: String,
    /// The server's send time in ms since 1970.
    pub send_time: i64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// OpenIM queued it. Without a receipt when its answer was lost, but its send status says so.
    Accepted(Option<Receipt>),
    /// OpenIM says no for good; the lane goes on.
    Refused(String),
    /// Not taken now; worth trying again, not before `after` where the server named a time.
    Later {
        /// What OpenIM or the network said.
        reason: String,
        /// The wait that the server asked for.
        after: Option<std::time::Duration>,
    },
    /// It may or may not have been taken.
    Ambiguous {
        /// What OpenIM or the network said.
        reason: String,
        /// The wait that the server asked for.
        after: Option<std::time::Duration>,
    },
}
