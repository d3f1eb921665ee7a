//! One authentic webhook, read: the fields that every sender's events have, and the body behind them.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Timestamp;

/// One authentic webhook as its bridge reads it. The values that authenticated it are no longer in it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The bridge it came through.
    pub bridge: String,
    /// What makes it the same event when it comes again.
    pub id: EventId,
    /// What was signed, where a time was signed with the body: whatever its id says, it is the same event when it comes
    /// again. An event that comes out of the outbox does not tell it.
    pub signed: Option<SignedDigest>,
    /// What happened, in dotted words: `pull_request.opened`. Safe as a file's name.
    pub kind: String,
    /// When it happened, by the sender's word; the time of arrival where it says nothing.
    pub time: Timestamp,
    /// When it arrived at the door.
    pub received: Timestamp,
    /// One line of at most 200 characters.
    pub title: String,
    /// Who did it; empty when the sender does not say.
    pub actor: String,
    /// An http or https address, or empty.
    pub link: String,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it opens, changes or closes its subject; `None` when the sender does not say.
    pub state: Option<State>,
    /// What it is about; events with the same subject belong together.
    pub subject: String,
    /// The request's headers by lower-case name.
    pub header: BTreeMap<String, String>,
    /// The request's query by name.
    pub query: BTreeMap<String, String>,
    /// The body as parsed (JSON, or a form as an object of texts).
    pub body: Value,
    /// The body as bytes.
    pub raw: Bytes,
}

/// 16 bytes that tell what was signed from anything else: made of the proof, so that the body is not read twice for it.
pub type SignedDigest = [u8; 16];

/// What makes an event the same event when it comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventId {
    /// The sender's own id: the same id and the same body are one event, however late.
    Sender(String),
    /// The sender gives none: a digest of the body. The same body within 60 s is a retry, later it is news.
    Body(String),
}

impl EventId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        match self {
            EventId::Sender(id) | EventId::Body(id) => id,
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad an event is. The number is the one that `when` compares with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// 0: of interest to who looks for it.
    Debug = 0,
    /// 1: also every success, and whatever names no severity.
    #[default]
    Info = 1,
    /// 2
    Warning = 2,
    /// 3
    Error = 3,
    /// 4: somebody should get up.
    Critical = 4,
}

impl Severity {
    /// All, the mildest first.
    pub const ALL: [Severity; 5] = [
        Severity::Debug,
        Severity::Info,
        Severity::Warning,
        Severity::Error,
        Severity::Critical,
    ];

    /// The word: `debug`, `info`, `warning`, `error`, `critical`.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Debug => "debug",
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What an event does to its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It began.
    Open,
    /// Something about it is new.
    Changed,
    /// It ended.
    Closed,
}

impl State {
    /// The word: `open`, `changed`, `closed`.
    pub fn word(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Changed => "changed",
            State::Closed => "closed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
