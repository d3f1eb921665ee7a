//! How many requests the door takes: for each bridge and from each address. Its memory is bounded, whatever comes.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::{Clock, Timestamp};

/// The limits of the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Authentic webhooks a second for one bridge, unless the bridge says otherwise.
    pub bridge: u32,
    /// Requests a second from one address.
    pub address: u32,
    /// Refusals a minute of requests from one address; the answers to more of them are slowed.
    pub refusals: u32,
    /// Bytes of all bodies that are in memory at once, packed and unpacked.
    pub bodies: usize,
}

/// How long the answer to a refused request waits when there are many of them: a guess a second and connection.
pub(super) const SLOWED: Duration = Duration::from_secs(1);

/// So many refusals wait at once; more are answered without a wait, and their connection is closed. Each holds a connection
/// and a few kilobytes, its body is gone.
const MOST_WAITING: usize = 1_000;

/// So many addresses are told apart, about 1 MB of them; those beyond share one room.
const MOST_KEYS: usize = 10_000;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Who may come in now.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    bridges: Limiter<String>,
    addresses: Limiter<IpAddr>,
    refusals: Limiter<IpAddr>,
    words: Limiter<String>,
    waiting: Semaphore,
}

/// Whether the answer to a refused request waits.
pub(super) enum Slow<'g> {
    /// It is answered as fast as it can be.
    No,
    /// It waits, and counts among those who do until this is dropped.
    Waits(SemaphorePermit<'g>),
    /// Too many wait already: it is answered, and its connection is closed.
    Closes,
}

impl Gate {
    pub fn new(limits: Limits) -> Gate {
        Gate {
            limits,
            bridges: Limiter::new(SECOND),
            addresses: Limiter::new(SECOND),
            refusals: Limiter::new(MINUTE),
            words: Limiter::new(MINUTE),
            waiting: Semaphore::new(MOST_WAITING),
        }
    }

    /// Whether one more request from there may come in; otherwise how long to wait.
    pub fn enter(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.addresses
            .take(network(address), self.limits.address, now)
    }

    /// Whether one more authentic webhook may come in for a bridge with a limit of its own or without; otherwise how long
    /// to wait.
    pub fn pass(&self, bridge: &str, own: Option<u32>, now: Timestamp) -> Result<(), Duration> {
        let limit = own.unwrap_or(self.limits.bridge);
        self.bridges.take(bridge.to_owned(), limit, now)
    }

    /// Whether the answer to a refused request from there waits.
    pub fn refuse(&self, address: IpAddr, now: Timestamp) -> Slow<'_> {
        let few = self
            .refusals
            .take(network(address), self.limits.refusals, now);
        match (few, self.waiting.try_acquire()) {
            (Ok(()), _) => Slow::No,
            (Err(_), Ok(place)) => Slow::Waits(place),
            (Err(_), Err(_)) => Slow::Closes,
        }
    }

    /// Whether something about `what` may be logged: once a minute, so that a flood of requests is none of lines.
    pub fn may_say(&self, what: &str, now: Timestamp) -> bool {
        self.words.take(what.to_owned(), 1, now).is_ok()
    }
}

impl Slow<'_> {
    /// Waits if it has to; `true` when the connection shall be closed.
    pub async fn wait(self, clock: &Clock) -> bool {
        match self {
            Slow::No => false,
            Slow::Waits(place) => {
                clock.sleep(SLOWED).await;
                drop(place);
                false
            }
            Slow::Closes => true,
        }
    }
}

/// Who is one sender among addresses: an IPv6 host has a whole /64 to choose from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// So many in a span of time for each key, all of them at once if need be (the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct Limiter<K> {
    span: i64,
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    /// When each key would have used up what it took, in microseconds since 1970. One that lies behind is as good as none.
    until: HashMap<K, i64>,
    /// The same for all keys that there was no room for.
    others: i64,
    /// When it was last looked for keys to forget.
    swept: i64,
}

impl<K: Eq + Hash> Limiter<K> {
    /// For counts in a span of time.
    pub fn new(span: Duration) -> Limiter<K> {
        Limiter {
            span: i64::try_from(span.as_micros()).unwrap_or(i64::MAX),
            known: Mutex::new(Known {
                until: HashMap::new(),
                others: 0,
                swept: 0,
            }),
        }
    }

    /// Takes one of `most` in the span; the error is how long there is none.
    pub fn take(&self, key: K, most: u32, now: Timestamp) -> Result<(), Duration> {
        let now = now.as_microsecond();
        let each = self.span / i64::from(most.max(1));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let until = known.of(key, self.span, now);
        let used = (*until).max(now);
        let over = used + each - (now + self.span);
        if over > 0 {
            return Err(Duration::from_micros(over.unsigned_abs()));
        }
        *until = used + each;
        Ok(())
    }
}

impl<K: Eq + Hash> Known<K> {
    fn of(&mut self, key: K, span: i64, now: i64) -> &mut i64 {
        let full = self.until.len() >= MOST_KEYS && !self.until.contains_key(&key);
        if full && now - self.swept >= span {
            self.until.retain(|_, until| *until > now);
            self.swept = now;
        }
        if full && self.until.len() >= MOST_KEYS {
            return &mut self.others;
        }
        self.until.entry(key).or_insert(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    #[test]
    fn so_many_at_once_and_then_as_many_as_time_gives() {
        let limiter = Limiter::new(SECOND);
        for _ in 0..4 {
            assert_eq!(limiter.take("a", 4, at(0)), Ok(()));
        }
        assert_eq!(limiter.take("a", 4, at(0)), Err(Duration::from_millis(250)));
        assert_eq!(limiter.take("a", 4, at(249)), Err(Duration::from_millis(1)));
        assert_eq!(limiter.take("a", 4, at(250)), Ok(()));
        assert!(limiter.take("a", 4, at(250)).is_err());
        assert_eq!(limiter.take("b", 4, at(250)), Ok(()), "another key");
        // Who was away for long has no more than one span's worth.
        for _ in 0..4 {
            assert_eq!(limiter.take("a", 4, at(60_000)), Ok(()));
        }
        assert!(limiter.take("a", 4, at(60_000)).is_err());
    }

    #[test]
    fn a_refused_try_costs_nothing_more() {
        let limiter = Limiter::new(SECOND);
        assert!(limiter.take("a", 1, at(0)).is_ok());
        for _ in 0..100 {
            assert_eq!(limiter.take("a", 1, at(0)), Err(SECOND));
        }
        assert!(limiter.take("a", 1, at(1_000)).is_ok());
    }

    #[test]
    fn the_memory_of_keys_is_bounded_and_forgets_who_is_quiet() {
        let limiter = Limiter::new(SECOND);
        for key in 0..3 * MOST_KEYS {
            let _ = limiter.take(key, 1, at(0));
        }
        let count = || limiter.known.lock().unwrap().until.len();
        assert_eq!(count(), MOST_KEYS);
        assert!(
            limiter.take(usize::MAX, 1, at(500)).is_err(),
            "they share one room"
        );
        assert!(limiter.take(usize::MAX, 1, at(1_500)).is_ok());
        assert_eq!(count(), 1);
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out_for_longer_than_it_went() {
        let limiter = Limiter::new(SECOND);
        assert!(limiter.take("a", 1, at(10_000)).is_ok());
        assert!(limiter.take("a", 1, at(0)).is_err());
        assert!(limiter.take("a", 1, at(11_000)).is_ok());
    }

    #[test]
    fn an_ipv6_host_is_its_network() {
        let network = |address: &str| super::network(address.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
    }
}
