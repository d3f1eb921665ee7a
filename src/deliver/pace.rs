//! How fast one conversation is written to. OpenIM throws away a batch of more than 100 messages of one conversation after
//! it has answered each with success, so a lane must not pour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::decide::plus;
use crate::model::{Lane, Timestamp};

/// So many at once, and then so many per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Messages per second and conversation in the long run; 0 for no limit.
    pub per_second: u32,
    /// Messages that a conversation gets at once after a silence.
    pub burst: u32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            per_second: 5,
            burst: 20,
        }
    }
}

/// When each lane's allowance is whole again. Kept in memory: a restart is a pause of its own.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<HashMap<Lane, Timestamp>>);

/// Lanes that are remembered before those are forgotten whose allowance is whole again.
const MANY_LANES: usize = 4096;

impl Paces {
    /// Counts one message for the lane; the moment before which it must send nothing more, where there is one.
    pub(super) fn spend(&self, pace: Pace, lane: &Lane, now: Timestamp) -> Option<Timestamp> {
        if pace.per_second == 0 {
            return None;
        }
        let mut whole_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if whole_at.len() > MANY_LANES {
            whole_at.retain(|_, whole| *whole > now);
        }
        let one = Duration::from_secs(1) / pace.per_second;
        let whole = whole_at.get(lane).copied().unwrap_or(now).max(now);
        let whole = plus(whole, one);
        whole_at.insert(lane.clone(), whole);
        let spare = one.saturating_mul(pace.burst.saturating_sub(1));
        let rests_until = whole.saturating_sub(spare).unwrap_or(Timestamp::MIN);
        (rests_until > now).then_some(rests_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        "2026-07-02T10:00:00Z".parse().unwrap()
    }

    /// The moments, in ms, at which a lane that always has something sends.
    fn moments(pace: Pace, many: usize) -> Vec<i64> {
        let paces = Paces::default();
        let lane = Lane::from("group:#1".to_owned());
        let mut now = start();
        let mut moments = Vec::new();
        for _ in 0..many {
            moments.push(now.as_millisecond() - start().as_millisecond());
            now = paces.spend(pace, &lane, now).unwrap_or(now);
        }
        moments
    }

    #[test]
    fn a_conversation_gets_20_at_once_and_then_5_per_second() {
        let moments = moments(Pace::default(), 25);
        assert!(moments[..20].iter().all(|at| *at == 0), "{moments:?}");
        assert_eq!(moments[20..], [200, 400, 600, 800, 1000]);
    }

    #[test]
    fn no_limit_means_no_rest() {
        let free = Pace {
            per_second: 0,
            burst: 0,
        };
        assert_eq!(moments(free, 100).pop(), Some(0));
    }

    #[test]
    fn one_lane_does_not_slow_another() {
        let paces = Paces::default();
        let busy = Lane::from("group:#1".to_owned());
        for _ in 0..100 {
            paces.spend(Pace::default(), &busy, start());
        }
        let other = Lane::from("group:#2".to_owned());
        assert_eq!(paces.spend(Pace::default(), &other, start()), None);
    }
}
