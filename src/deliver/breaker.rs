//! When the chat server itself is in trouble it is not hammered: all lanes pause, and one delivery at a time tries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::decide::{Outage, plus, since};
use super::openim::Sign;
use crate::model::{Lane, Timestamp};

/// Hears what every answer says about the server. Open means: only one try at a time.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Lanes that met trouble since the last good answer, and when.
    troubled: BTreeMap<Lane, Timestamp>,
    open: Option<Open>,
    /// Outages that are over.
    over: VecDeque<(Timestamp, Timestamp)>,
    /// The server asked everybody to wait until then.
    busy_until: Option<Timestamp>,
    /// After an outage: so many requests at once, one more with each good answer; `None`: no limit.
    ramp: Option<usize>,
}

#[derive(Debug)]
struct Open {
    since: Timestamp,
    why: String,
    /// Nobody could be reached at all, or nobody gave a token.
    down: bool,
    tries: u32,
    next_try: Timestamp,
}

/// A change of the breaker, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened(String),
    Closed(Duration),
}

/// How many new requests are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// As many as there is room for.
    Any,
    /// At most so many.
    Most(usize),
    /// None before this moment; `None` while a try is under way.
    NoneBefore(Option<Timestamp>),
}

/// How the server is, for health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTrouble {
    /// Since when it cannot be used.
    pub since: Timestamp,
    /// What it said, or what the network said.
    pub why: String,
}

/// So many lanes in trouble mean that it is the server's: a single one may carry poison.
const SEVERAL_LANES: usize = 2;

/// Troubles further apart than this have nothing to do with each other.
const TOGETHER: Duration = Duration::from_secs(120);

/// The wait before the first try; it doubles.
const FIRST_TRY: Duration = Duration::from_secs(1);

/// The longest wait between two tries: so long at most a server that works again stays unused.
const LONGEST_TRY: Duration = Duration::from_secs(30);

/// The longest wait that one answer can impose on everybody.
const LONGEST_BUSY: Duration = Duration::from_secs(60);

/// Requests at once, right after an outage: the backlog must not knock down a server that has just come back.
const FIRST_RAMP: usize = 2;

/// With so many at once the ramp ends.
const LAST_RAMP: usize = 32;

/// Outages that are remembered, to leave them out of a message's horizon.
const REMEMBERED: usize = 64;

impl Breaker {
    /// Takes in what an answer said. `random` is at least 0 and below 1.
    pub(super) fn hear(
        &self,
        lane: &Lane,
        sign: &Sign,
        now: Timestamp,
        random: f64,
    ) -> Option<Change> {
        let mut heard = self.lock();
        match sign {
            Sign::Well => heard.well(now),
            Sign::None => None,
            Sign::Busy(wait) => {
                let until = plus(now, (*wait).min(LONGEST_BUSY));
                heard.busy_until = heard.busy_until.max(Some(until));
                heard.well(now)
            }
            Sign::Down(why) => heard.trouble(lane, why, true, now, random),
            Sign::Doubtful(why) => heard.trouble(lane, why, false, now, random),
        }
    }

    /// How many requests may begin now, with so many under way.
    pub(super) fn allowance(&self, under_way: usize, now: Timestamp) -> Allowance {
        let heard = self.lock();
        if let Some(until) = heard.busy_until.filter(|until| *until > now) {
            return Allowance::NoneBefore(Some(until));
        }
        match &heard.open {
            None => match heard.ramp {
                None => Allowance::Any,
                Some(ramp) if under_way >= ramp => Allowance::NoneBefore(None),
                Some(ramp) => Allowance::Most(ramp - under_way),
            },
            Some(_) if under_way > 0 => Allowance::NoneBefore(None),
            Some(open) if open.next_try > now => Allowance::NoneBefore(Some(open.next_try)),
            Some(_) => Allowance::Most(1),
        }
    }

    /// Before when the history must not be asked: while the server asks for a wait, and while nobody can be reached, as
    /// long as a delivery could try in its place.
    pub(super) fn no_reading_before(&self, now: Timestamp) -> Option<Timestamp> {
        let heard = self.lock();
        let down = heard.open.as_ref().filter(|open| open.down);
        let after_a_try = down.map(|open| plus(open.next_try, FIRST_TRY));
        let until = heard.busy_until.max(after_a_try);
        until.filter(|until| *until > now)
    }

    /// Takes in what the answer to a question about the history said. That one was answered proves that the server can be
    /// reached, not that it takes messages.
    pub(super) fn hear_history(
        &self,
        lane: &Lane,
        sign: &Sign,
        now: Timestamp,
        random: f64,
    ) -> Option<Change> {
        if !matches!(sign, Sign::Well) {
            return self.hear(lane, sign, now, random);
        }
        let mut heard = self.lock();
        match heard.open.as_ref().is_some_and(|open| open.down) {
            true => heard.well(now),
            false => None,
        }
    }

    /// What of the time since `first_attempt` was outage.
    pub(super) fn outage(&self, first_attempt: Timestamp, now: Timestamp) -> Outage {
        let heard = self.lock();
        let over = heard.over.iter().copied();
        let present = heard.open.iter().map(|open| (open.since, now));
        Outage {
            lasted: over
                .chain(present)
                .map(|(from, to)| since(from.max(first_attempt), to))
                .sum(),
            next_try: heard.open.as_ref().map(|open| open.next_try),
        }
    }

    /// What is wrong with the server; `None` while it can be used.
    pub fn trouble(&self) -> Option<ServerTrouble> {
        self.lock().open.as_ref().map(|open| ServerTrouble {
            since: open.since,
            why: open.why.clone(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    fn well(&mut self, now: Timestamp) -> Option<Change> {
        self.troubled.clear();
        self.ramp = self
            .ramp
            .map(|ramp| ramp + 1)
            .filter(|ramp| *ramp < LAST_RAMP);
        let open = self.open.take()?;
        self.ramp = Some(FIRST_RAMP);
        self.over.push_back((open.since, now));
        if self.over.len() > REMEMBERED {
            self.over.pop_front();
        }
        Some(Change::Closed(since(open.since, now)))
    }

    fn trouble(
        &mut self,
        lane: &Lane,
        why: &str,
        sure: bool,
        now: Timestamp,
        random: f64,
    ) -> Option<Change> {
        if let Some(open) = &mut self.open {
            // What began before it opened says nothing new.
            open.down |= sure;
            if now >= open.next_try {
                open.tries += 1;
                open.next_try = plus(now, try_after(open.tries, random));
                open.why = why.to_owned();
            }
            return None;
        }
        self.troubled.insert(lane.clone(), now);
        self.troubled.retain(|_, at| since(*at, now) <= TOGETHER);
        if !sure && self.troubled.len() < SEVERAL_LANES {
            return None;
        }
        self.open = Some(Open {
            since: now,
            why: why.to_owned(),
            down: sure,
            tries: 0,
            next_try: plus(now, try_after(0, random)),
        });
        Some(Change::Opened(why.to_owned()))
    }
}

/// From half of the wait to all of it, so that several bridges do not try in step.
fn try_after(tries: u32, random: f64) -> Duration {
    let wait = FIRST_TRY
        .saturating_mul(1 << tries.min(10))
        .min(LONGEST_TRY);
    wait.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        let start: Timestamp = "2026-07-02T10:00:00Z".parse().unwrap();
        plus(start, SECOND * u32::try_from(seconds).unwrap())
    }

    fn lane(name: &str) -> Lane {
        Lane::from(name.to_owned())
    }

    fn doubtful() -> Sign {
        Sign::Doubtful("500".into())
    }

    fn down() -> Sign {
        Sign::Down("not connected".into())
    }

    #[test]
    fn one_poison_lane_does_not_stop_the_others() {
        let breaker = Breaker::default();
        for second in 0..100 {
            breaker.hear(&lane("a"), &doubtful(), at(second), 0.0);
        }
        assert_eq!(breaker.allowance(3, at(100)), Allowance::Any);
        assert_eq!(breaker.trouble(), None);
    }

    #[test]
    fn trouble_in_several_lanes_pauses_all_but_one_try_at_a_time() {
        let breaker = Breaker::default();
        breaker.hear(&lane("a"), &doubtful(), at(0), 0.999);
        let change = breaker.hear(&lane("b"), &doubtful(), at(0), 0.999);
        assert_eq!(change, Some(Change::Opened("500".into())));
        assert!(matches!(
            breaker.allowance(0, at(0)),
            Allowance::NoneBefore(Some(_))
        ));
        assert_eq!(breaker.allowance(0, at(1)), Allowance::Most(1));
        assert_eq!(breaker.allowance(1, at(1)), Allowance::NoneBefore(None));
    }

    #[test]
    fn a_good_answer_between_two_troubles_clears_the_suspicion() {
        let breaker = Breaker::default();
        breaker.hear(&lane("a"), &doubtful(), at(0), 0.0);
        breaker.hear(&lane("c"), &Sign::Well, at(1), 0.0);
        breaker.hear(&lane("b"), &doubtful(), at(2), 0.0);
        assert_eq!(breaker.trouble(), None);
        breaker.hear(&lane("a"), &doubtful(), at(200), 0.0);
        assert_eq!(breaker.trouble(), None, "200 s apart");
    }

    #[test]
    fn no_connection_is_everybodys_trouble_and_tries_grow_to_30_s() {
        let breaker = Breaker::default();
        breaker.hear(&lane("a"), &down(), at(0), 1.0);
        assert_eq!(breaker.trouble().unwrap().since, at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let next_try = breaker.outage(now, now).next_try.unwrap();
            waits.push(since(now, next_try).as_secs());
            now = next_try;
            breaker.hear(&lane("a"), &down(), now, 1.0);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn late_answers_of_older_requests_do_not_put_the_next_try_off() {
        let breaker = Breaker::default();
        breaker.hear(&lane("a"), &down(), at(0), 1.0);
        for _ in 0..30 {
            breaker.hear(&lane("b"), &down(), at(0), 1.0);
        }
        assert_eq!(breaker.allowance(0, at(1)), Allowance::Most(1));
    }

    #[test]
    fn after_an_outage_requests_grow_with_the_good_answers() {
        let breaker = Breaker::default();
        breaker.hear(&lane("a"), &down(), at(0), 1.0);
        breaker.hear(&lane("a"), &Sign::Well, at(1), 0.0);
        assert_eq!(breaker.allowance(0, at(1)), Allowance::Most(2));
        assert_eq!(breaker.allowance(2, at(1)), Allowance::NoneBefore(None));
        for _ in 0..5 {
            breaker.hear(&lane("a"), &Sign::Well, at(2), 0.0);
        }
        assert_eq!(breaker.allowance(2, at(2)), Allowance::Most(5));
        for _ in 0..25 {
            breaker.hear(&lane("a"), &Sign::Well, at(3), 0.0);
        }
        assert_eq!(breaker.allowance(31, at(3)), Allowance::Any);
    }

    #[test]
    fn a_history_that_answers_ends_an_outage_of_the_network_only() {
        let breaker = Breaker::default();
        breaker.hear(&lane("a"), &down(), at(0), 1.0);
        assert_eq!(breaker.no_reading_before(at(1)), Some(at(2)));
        assert_eq!(breaker.no_reading_before(at(2)), None);
        breaker.hear_history(&lane("a"), &Sign::Well, at(2), 1.0);
        assert_eq!(breaker.trouble(), None);

        breaker.hear(&lane("a"), &doubtful(), at(3), 1.0);
        breaker.hear(&lane("b"), &doubtful(), at(3), 1.0);
        assert_eq!(breaker.no_reading_before(at(3)), None);
        breaker.hear_history(&lane("a"), &Sign::Well, at(4), 1.0);
        assert!(breaker.trouble().is_some());
    }

    #[test]
    fn what_was_not_sent_says_nothing_about_the_server() {
        let breaker = Breaker::default();
        breaker.hear(&lane("a"), &down(), at(0), 1.0);
        breaker.hear(&lane("a"), &Sign::None, at(1), 1.0);
        assert!(breaker.trouble().is_some());
    }

    #[test]
    fn the_time_of_outages_is_known_afterwards() {
        let breaker = Breaker::default();
        breaker.hear(&lane("a"), &down(), at(100), 0.0);
        let change = breaker.hear(&lane("a"), &Sign::Well, at(160), 0.0);
        assert_eq!(change, Some(Change::Closed(SECOND * 60)));
        breaker.hear(&lane("a"), &down(), at(200), 0.0);
        assert_eq!(breaker.outage(at(0), at(210)).lasted, SECOND * 70);
        assert_eq!(breaker.outage(at(130), at(210)).lasted, SECOND * 40);
        assert_eq!(breaker.outage(at(205), at(210)).lasted, SECOND * 5);
    }

    #[test]
    fn a_server_that_is_busy_is_left_alone_for_as_long_as_it_asks_within_reason() {
        let breaker = Breaker::default();
        breaker.hear(&lane("a"), &Sign::Busy(SECOND * 3), at(0), 0.0);
        assert_eq!(
            breaker.allowance(0, at(1)),
            Allowance::NoneBefore(Some(at(3)))
        );
        assert_eq!(breaker.allowance(0, at(3)), Allowance::Any);
        breaker.hear(&lane("a"), &Sign::Busy(SECOND * 9999), at(10), 0.0);
        assert_eq!(breaker.allowance(0, at(70)), Allowance::Any);
    }
}
