//! Time as a parameter: the system's clock in production, a lever in tests.

use std::sync::Arc;
use std::time::Duration;

pub use jiff::Timestamp;
use tokio::sync::watch;

/// Tells the time and waits for it. Everything that needs "now" takes a `Clock` or a [`Timestamp`].
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System,
    Lever(watch::Receiver<Timestamp>),
}

/// The hand that moves a [`Clock`] made by [`Clock::lever`].
#[derive(Clone, Debug)]
pub struct Lever(Arc<watch::Sender<Timestamp>>);

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Clock {
        Clock(Kind::System)
    }

    /// A clock that stands at `start` until its lever is pulled.
    pub fn lever(start: Timestamp) -> (Clock, Lever) {
        let (sender, receiver) = watch::channel(start);
        (Clock(Kind::Lever(receiver)), Lever(Arc::new(sender)))
    }

    /// The present moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clock"
    )]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System => Timestamp::now(),
            Kind::Lever(now) => *now.borrow(),
        }
    }

    /// Time since some moment in the past, that nobody can set and that goes on while the machine sleeps.
    pub fn uptime(&self) -> Duration {
        match &self.0 {
            Kind::System => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
                let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
                Duration::new(seconds, nanos)
            }
            Kind::Lever(now) => now
                .borrow()
                .duration_since(Timestamp::UNIX_EPOCH)
                .unsigned_abs(),
        }
    }

    /// Returns once the clock shows `due` or later.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that sleeps by the system's clock"
    )]
    pub async fn sleep_until(&self, due: Timestamp) {
        match &self.0 {
            Kind::System => loop {
                let now = Timestamp::now();
                if now >= due {
                    return;
                }
                // A step of the wall clock must not make us oversleep, so no nap is longer than a minute.
                let nap = due.duration_since(now).unsigned_abs();
                tokio::time::sleep(nap.min(Duration::from_secs(60))).await;
            },
            Kind::Lever(now) => {
                let mut now = now.clone();
                let gone = now.wait_for(|now| *now >= due).await.is_err();
                if gone {
                    std::future::pending::<()>().await; // the lever is gone: time stands still for ever
                }
            }
        }
    }

    /// Returns once `span` has passed by this clock.
    pub async fn sleep(&self, span: Duration) {
        let due = self.now().saturating_add(span).unwrap_or(Timestamp::MAX);
        self.sleep_until(due).await;
    }
}

/// How long something is surely ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// As long as this process lives: nobody else may hold it.
    Ever,
    /// Until [`Clock::uptime`] shows this.
    Until(Duration),
}

impl Hold {
    /// Whether it is surely ours for `span` from now on.
    pub fn outlasts(self, span: Duration, clock: &Clock) -> bool {
        match self {
            Hold::Ever => true,
            Hold::Until(end) => clock.uptime().saturating_add(span) <= end,
        }
    }
}

impl Lever {
    /// Moves the clock forward by `span` and wakes who waited for it.
    pub fn advance(&self, span: Duration) {
        self.0
            .send_modify(|now| *now = now.saturating_add(span).unwrap_or(Timestamp::MAX));
    }
}
