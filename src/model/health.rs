//! How the service is, for people and machines that ask.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the health page answers.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// `true` when nothing is wrong.
    pub ok: bool,
    /// `false` when the outbox cannot keep anything: the door answers 503.
    pub takes_webhooks: bool,
    /// Which rules are in use.
    pub rule_book: RuleBookInUse,
    /// What is wrong, in words for the operator.
    pub troubles: Vec<Trouble>,
    /// Deliveries by state.
    pub deliveries: BTreeMap<&'static str, u64>,
    /// Events that no route took.
    pub unrouted: u64,
    /// When the service started, RFC 3339: what is said of senders is counted from there.
    pub since: String,
    /// What came to each bridge that takes webhooks.
    pub bridges: BTreeMap<String, SenderHealth>,
    /// Refused requests that name no bridge, by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

/// What came to one bridge.
#[derive(Clone, Debug, Serialize)]
pub struct SenderHealth {
    /// Its secrets, in the order they are tried.
    pub secrets: Vec<SecretInUse>,
    /// Refused requests, by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

/// A secret, and what it has verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInUse {
    /// Its reference, never itself: `env:NAME`, `file:/path`.
    pub secret: String,
    /// How many requests it has verified.
    pub verified: u64,
    /// When it last did, RFC 3339.
    pub last: Option<String>,
}

/// The rules that run now.
#[derive(Clone, Debug, Serialize)]
pub struct RuleBookInUse {
    /// The digest of its files: equal digests mean equal rules.
    pub digest: String,
    /// When they were loaded, RFC 3339.
    pub since: String,
    /// `directory`, or `last good` when the directory is broken.
    pub from: &'static str,
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Trouble {
    /// The part: `rules`, `openim`, `outbox`.
    pub part: &'static str,
    /// What is wrong with it.
    pub what: String,
}
