//! What follows what was seen: pure functions of the lane's rows, a fact, the time and a random number.
//!
//! [`answers`] decides what follows an attempt, [`readings`] what follows a look into OpenIM's history, [`schedule`] when
//! something is tried again. The seeded simulation drives these very functions.

pub mod answers;
pub mod readings;
pub mod schedule;

use std::time::Duration;

pub use self::schedule::Schedule;
use super::pace::Pace;
use crate::model::{Attempt, Timestamp};
use crate::outbox::Window;

/// How the courier behaves. The numbers of the defaults are those of the delivery protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// When something is tried again, and for how long.
    pub schedule: Schedule,
    /// How long after an unclear request began nothing is believed that speaks against it: a server whose queue hangs may
    /// still take it (30 to 90 s were seen).
    pub settle: Duration,
    /// How long a proof is waited for before a message counts as unproven.
    pub prove: Duration,
    /// What is done with a message whose fate cannot be proven.
    pub unproven: Unproven,
    /// How much of a conversation may be accepted and not yet found again; the outbox keeps to it. Without a window
    /// nothing is read back.
    pub window: Window,
    /// How fast one conversation is written to where nothing is read back.
    pub pace: Pace,
    /// How many requests are under way at once.
    pub parallel: usize,
    /// How long a stop waits for the requests under way.
    pub stop_within: Duration,
}

/// What is done with a message that was neither found nor proven lost in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// It is sent again, and recorded as a possible repeat.
    Repeat,
    /// Its conversation waits for an operator.
    Hold,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            schedule: Schedule::default(),
            settle: Duration::from_secs(120),
            prove: Duration::from_secs(10 * 60),
            unproven: Unproven::Repeat,
            window: Window::default(),
            pace: Pace::default(),
            parallel: 32,
            stop_within: Duration::from_secs(20),
        }
    }
}

impl Policy {
    /// Whether messages are looked for in OpenIM's history.
    pub fn reads_back(&self) -> bool {
        self.window.messages > 0
    }
}

/// What the breaker knows about a delivery's time: it counts for neither the pauses nor the horizon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// How long the server could not be used since the delivery's first attempt.
    pub lasted: Duration,
    /// The moment of the next try, while it cannot be used now.
    pub next_try: Option<Timestamp>,
}

/// The time from `earlier` to `later`; none where the clock went back.
pub(super) fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}

/// `span` after `moment`.
pub(super) fn plus(moment: Timestamp, span: Duration) -> Timestamp {
    moment.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// Which send of its delivery an attempt belongs to, as its operationID says: 1 for the first.
fn send_number(attempt: &Attempt) -> u32 {
    let (_, number) = attempt
        .operation_id
        .rsplit_once('-')
        .unwrap_or(("", &attempt.operation_id));
    number.parse().unwrap_or(1)
}
