//! Trouble on purpose: a plan of faults, seeded, so that the same calls meet the same faults again.
//!
//! Faults act in three places: at the door (a call is slow, cut, refused), on the way into history (a message is lost, late,
//! stored twice), and at the reading side. Their texts and times were recorded at servers that were broken on purpose.

mod chance;
mod control;
mod door;
mod fault;
mod kind;
mod line;
mod recorded;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::transfer::later;
use crate::model::Timestamp;
use chance::roll;

pub use fault::{Fault, Flaw, listed};

pub(super) use control::router;
pub(super) use door::{Asked, play, token_refused};
pub(super) use fault::Conversations;
pub(super) use kind::Kind;
pub(super) use line::{Line, Lines};

/// Which faults a sandbox plays. A call meets the first fault of the list that hits it; what happens to messages on their
/// way into history adds up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What chance begins with: the same seed and the same calls in the same order meet the same faults.
    #[serde(default)]
    pub seed: u64,
    /// The faults.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// A plan of faults as they are written: `Plan::of(7, &["drop", "late:for=5s"])`. Fails where one is no fault.
    pub fn of(seed: u64, faults: &[&str]) -> Result<Plan, Flaw> {
        let faults = faults.iter().map(|fault| fault.parse());
        Ok(Plan {
            seed,
            faults: faults.collect::<Result<_, Flaw>>()?,
        })
    }
}

/// A fault of the plan, and how often it came to pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Met {
    /// The fault.
    pub fault: Fault,
    /// How often it could have hit.
    pub seen: u64,
    /// How often it did.
    pub met: u64,
}

/// The plan that is played, and how far.
pub(super) struct Faults {
    seed: u64,
    since: Timestamp,
    met: Vec<Met>,
    /// Grows when the plan is changed.
    pub changes: watch::Sender<u64>,
}

/// What happens by itself when its time has come.
pub(super) enum Event {
    QueueLost,
    SeqsAnew(Conversations),
    TokensDisplaced(i32),
}

/// Until when nothing is stored.
#[derive(Clone, Copy)]
pub(super) enum Hold {
    Until(Timestamp),
    /// Until the plan is changed.
    Unknown,
}

impl Hold {
    pub fn until(self) -> Option<Timestamp> {
        match self {
            Hold::Until(until) => Some(until),
            Hold::Unknown => None,
        }
    }
}

/// A fault that has hit.
#[derive(Clone, Debug)]
pub(super) struct Struck {
    fault: Fault,
    seed: u64,
    stream: u64,
    count: u64,
}

impl Struck {
    /// How long it takes; zero where nothing is said.
    pub fn by(&self) -> Duration {
        self.time().unwrap_or(Duration::ZERO)
    }

    fn time(&self) -> Option<Duration> {
        let (from, to) = self.fault.by?;
        let share = roll(self.seed, self.stream.wrapping_add(1 << 32), self.count);
        Some(from + (to - from).mul_f64(share))
    }

    /// Whether the hole can be seen.
    pub fn is_marked(&self) -> bool {
        self.fault.mark
    }

    /// Whether the message is gone with it.
    pub fn loses(&self) -> bool {
        self.fault.lost
    }

    /// Whether the message of this seq cannot be read.
    pub fn hides(&self, seq: i64) -> bool {
        let count = self.count.wrapping_mul(1 << 20);
        let count = count.wrapping_add(seq.unsigned_abs());
        let part = self.fault.part;
        part.is_none_or(|part| roll(self.seed, self.stream.wrapping_add(2 << 32), count) < part)
    }
}

impl Fault {
    /// The time in which it is there: from, and up to.
    fn window(&self, since: Timestamp) -> (Timestamp, Option<Timestamp>) {
        let from = later(since, self.after);
        (from, self.lasts.map(|lasts| later(from, lasts)))
    }

    fn is_there(&self, since: Timestamp, at: Timestamp) -> bool {
        let (from, until) = self.window(since);
        from <= at && until.is_none_or(|until| at < until)
    }
}

impl Faults {
    pub fn none(now: Timestamp) -> Faults {
        Faults {
            seed: 0,
            since: now,
            met: Vec::new(),
            changes: watch::Sender::new(0),
        }
    }

    /// Plays another plan from now on.
    pub fn put(&mut self, plan: Plan, now: Timestamp) {
        self.seed = plan.seed;
        self.since = now;
        let faults = plan.faults.into_iter();
        self.met = faults
            .map(|fault| Met {
                fault,
                seen: 0,
                met: 0,
            })
            .collect();
        self.changes.send_modify(|count| *count += 1);
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn met(&self) -> &[Met] {
        &self.met
    }

    /// The first fault that fits and hits.
    fn strike(&mut self, at: Timestamp, fits: impl Fn(&Fault) -> bool) -> Option<Struck> {
        for (stream, met) in (0..).zip(&mut self.met) {
            if !met.fault.is_there(self.since, at) || !fits(&met.fault) {
                continue;
            }
            let count = met.seen;
            met.seen += 1;
            let used_up = met.fault.times.is_some_and(|times| met.met >= times);
            let is_early = count < met.fault.skip;
            if is_early || used_up || roll(self.seed, stream, count) >= met.fault.probability {
                continue;
            }
            met.met += 1;
            return Some(Struck {
                fault: met.fault.clone(),
                seed: self.seed,
                stream,
                count,
            });
        }
        None
    }

    /// Whether a fault of this kind hits a message of this conversation.
    pub fn strikes(&mut self, kind: Kind, conversation: &str, at: Timestamp) -> Option<Struck> {
        self.strike(at, |fault| {
            fault.kind == kind && fault.conversations.fits([conversation])
        })
    }

    /// Whether a batch with so many messages of one conversation is lost; the limit that it is above.
    pub fn drops(&mut self, conversation: &str, count: usize, at: Timestamp) -> Option<usize> {
        let struck = self.strike(at, |fault| {
            fault.kind == Kind::Drop
                && count > fault.over
                && fault.conversations.fits([conversation])
        });
        struck.map(|struck| struck.fault.over)
    }

    /// Which messages of a conversation a pull does not find.
    pub fn hides(&mut self, conversation: &str, now: Timestamp) -> Option<Struck> {
        self.strikes(Kind::Unreadable, conversation, now)
    }

    /// Whether nothing is stored just now: of one conversation, or (`None`) of all.
    pub fn holds(&self, conversation: Option<&str>, at: Timestamp) -> Option<Hold> {
        let mut faults = self.met.iter().map(|met| &met.fault);
        let found = faults.find(|fault| {
            let stops = match (fault.kind, conversation) {
                (Kind::Late, Some(id)) => {
                    !fault.conversations.is_all() && fault.conversations.fits([id])
                }
                (Kind::Late, None) => fault.conversations.is_all(),
                (Kind::Restart, None) => fault.lasts.is_some(),
                _ => false,
            };
            stops && fault.is_there(self.since, at)
        })?;
        let (_, until) = found.window(self.since);
        Some(until.map_or(Hold::Unknown, Hold::Until))
    }

    /// What happens next by itself: when, and which fault of the plan it is.
    pub fn next_event(&self) -> Option<(Timestamp, usize)> {
        let pending = self
            .met
            .iter()
            .enumerate()
            .filter(|(_, met)| met.fault.kind.is_event() && met.met == 0);
        pending
            .map(|(index, met)| (later(self.since, met.fault.after), index))
            .min()
    }

    /// Lets that one happen.
    pub fn take_event(&mut self, index: usize) -> Event {
        let met = &mut self.met[index];
        met.seen += 1;
        met.met += 1;
        match met.fault.kind {
            Kind::SeqsAnew => Event::SeqsAnew(met.fault.conversations.clone()),
            Kind::Displaced => Event::TokensDisplaced(i32::from(met.fault.code.unwrap_or(1507))),
            _ => Event::QueueLost,
        }
    }
}
