//! How the service is, for people and machines that ask.

use std::collections::BTreeMap;

use serde::Serialize;

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
