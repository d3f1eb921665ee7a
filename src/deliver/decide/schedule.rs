//! When a message is tried again, and for how long: pauses that double, up to a longest, within a horizon.

use std::time::Duration;

use super::{Outage, plus, since};
use crate::model::Timestamp;

/// The schedule of the retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The longest wait before the second attempt; it doubles with each further one.
    pub first: Duration,
    /// The longest wait ever.
    pub longest: Duration,
    /// How long a message is tried, from its own first attempt on. Time in which the server could not be used by anybody
    /// does not count.
    pub horizon: Duration,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            first: Duration::from_secs(10),
            longest: Duration::from_secs(30 * 60),
            horizon: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Schedule {
    /// The longest pause after the attempt of that number.
    pub fn pause(&self, number: u32) -> Duration {
        let doublings = number.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// The moment of the attempt after that one. `random` is at least 0 and below 1: it spreads the retries of many lanes
    /// over the whole pause ("full jitter").
    pub fn again(&self, number: u32, outage: &Outage, now: Timestamp, random: f64) -> Timestamp {
        match outage.next_try {
            Some(next_try) => next_try.max(now),
            None => plus(now, self.pause(number).mul_f64(random)),
        }
    }

    /// Whether the time to try has passed.
    pub fn is_over(&self, first_attempt: Timestamp, outage: &Outage, now: Timestamp) -> bool {
        since(first_attempt, now).saturating_sub(outage.lasted) >= self.horizon
    }

    /// How many attempts one message gets, on the average: a pause is half of its longest then.
    pub fn attempts(&self) -> u64 {
        let (mut spent, mut attempts, mut pause) = (Duration::ZERO, 1, self.first / 2);
        let longest = (self.longest / 2).max(Duration::from_nanos(1));
        loop {
            if pause >= longest {
                // From here on all pauses are alike.
                let left = self.horizon.saturating_sub(spent).as_nanos();
                let more = left.div_ceil(longest.as_nanos());
                return u64::try_from(more).map_or(u64::MAX, |more| more.saturating_add(attempts));
            }
            if spent >= self.horizon {
                return attempts;
            }
            spent = spent.saturating_add(pause);
            attempts += 1;
            pause = pause.saturating_mul(2).max(Duration::from_nanos(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_pause_is_10_s_doubling_to_30_min() {
        let schedule = Schedule::default();
        for (number, longest) in [(1, 10), (2, 20), (3, 40), (8, 1280), (9, 1800), (400, 1800)] {
            assert_eq!(schedule.pause(number), SECOND * longest, "{number}");
        }
    }

    #[test]
    fn the_attempts_of_a_schedule_are_counted_as_they_come_on_the_average() {
        let schedule = |first, longest, horizon| Schedule {
            first: SECOND * first,
            longest: SECOND * longest,
            horizon: SECOND * horizon,
        };
        // 5 + 10 + 20 s fill half a minute and 5 s; the fourth pause leads beyond it.
        assert_eq!(schedule(10, 3600, 35).attempts(), 4);
        assert_eq!(schedule(60, 60, 3600).attempts(), 121);
        assert_eq!(schedule(1, 1, 0).attempts(), 1);
        assert_eq!(Schedule::default().attempts(), 104);
    }

    #[test]
    fn the_counted_attempts_are_those_that_the_schedule_makes() {
        let start: Timestamp = "2026-07-02T10:00:00Z".parse().unwrap();
        let schedule = Schedule::default();
        let outage = Outage::default();
        let (mut now, mut number) = (start, 1);
        while !schedule.is_over(start, &outage, now) {
            now = schedule.again(number, &outage, now, 0.5);
            number += 1;
        }
        assert_eq!(u64::from(number), schedule.attempts());
    }
}
