//! The outbox in a PostgreSQL database that several replicas share: any of them takes a webhook, any delivers.
//!
//! `keeper` commits what came in, in groups that `keep` writes; `lanes` holds the order and the leases; `claim`, `settle` and
//! `desk` do as their namesakes over SQLite do, by the same rules; `bell` tells the other replicas. Every call is one
//! transaction on a connection of the `pool`, in a task of its own: a caller who hangs up breaks nothing.

mod address;
mod arrival;
mod bell;
mod claim;
mod desk;
mod keep;
mod keeper;
mod lanes;
mod list;
mod pool;
mod prune;
mod put;
mod read;
mod rows;
mod schema;
mod settle;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub use self::address::Address;
pub use self::arrival::{Arrival, Progress};
use self::claim::{GiveBack, Take, WriteDown};
use self::desk::{Append, Changes, Holding, RenderedNow};
use self::keep::Keep;
use self::keeper::{Order, Waiting};
use self::lanes::Terms;
use self::list::{ListDeliveries, ListEvents, ListLanes};
use self::pool::{Connections, Failed, Task};
use self::prune::{PrunedTo, Pruning};
use self::read::{Count, FindDelivery, FindEvent, Next, SumUp};
use self::settle::{BeginAt, Looking, Settle, TakeLooks};
use super::*;
use crate::model::{Claim, Clock, DeliveryId, Lane, Message, NewDelivery, Timestamp};

/// How much the outbox takes on.
#[derive(Clone, Debug)]
pub struct Options {
    /// So many events may wait for their commit; one more is refused as overload. Default 1,024.
    pub queue: usize,
    /// So many bytes of bodies may wait for their commit; more is refused as overload. Default 128 MiB.
    pub queue_bytes: usize,
    /// At most so many connections, besides one for the bell. Default 12.
    pub connections: usize,
    /// How long a lane is ours when we take it. Default 30 s: requests (15 s), transactions and the network are tuned to it.
    pub lease: Duration,
    /// How much of a conversation may be accepted and not yet found again.
    pub window: Window,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            queue: 1024,
            queue_bytes: 128 << 20,
            connections: 12,
            lease: Duration::from_secs(30),
            window: Window::default(),
        }
    }
}

/// The outbox did not open.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the outbox {address}: {why}")]
pub struct OpenError {
    /// Where it is, without its password.
    pub address: String,
    /// Why it did not.
    pub why: WhyNot,
}

/// Why an outbox did not open.
#[derive(Debug, thiserror::Error)]
pub enum WhyNot {
    /// A newer program wrote it.
    #[error(
        "it was written by a newer openim-bridge: its schema is {found}, this program knows up to {known}; \
         use the newer program"
    )]
    Newer {
        /// The database's version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// There are tables of the same names that no outbox made.
    #[error(
        "its schema holds the tables of another program; give the outbox a database of its own"
    )]
    Foreign,
    /// A move into it has not come to its end.
    #[error(
        "an outbox is being moved into it from {0}, and that has not come to its end; run `openim-bridge migrate` again"
    )]
    Arriving(String),
    /// An outbox was to be moved into it, and one is there.
    #[error("it holds an outbox already; an outbox moves into an empty database")]
    NotEmpty,
    /// It cannot be used for another reason.
    #[error("{0}")]
    Unusable(String),
}

impl From<Failed> for WhyNot {
    fn from(failed: Failed) -> WhyNot {
        WhyNot::Unusable(failed.to_string())
    }
}

/// The outbox in a PostgreSQL database. [`Outbox::close`] gives its lanes to the other replicas; without it they wait for the
/// end of the leases.
pub struct PostgresOutbox {
    store: Arc<Store>,
    orders: mpsc::Sender<Order>,
    places: Arc<Semaphore>,
}

/// What all calls share.
struct Store {
    connections: Connections,
    clock: Clock,
    options: Options,
    /// Names this opening of the outbox, on this machine, for people and for leases.
    owner: String,
    bell: Arc<Notify>,
    /// Asks for the other replicas' bells to be rung.
    ring_others: Arc<Notify>,
    closing: Arc<Notify>,
    closed: AtomicBool,
    looking: Looking,
    pruned_to: PrunedTo,
    in_hand: Mutex<HashMap<DeliveryId, u32>>,
    /// One claim at a time; whether the answer to a commit of one was lost.
    claiming: tokio::sync::Mutex<bool>,
    /// Writings since the tally was summed up.
    writings: AtomicU32,
}

/// Bodies are counted in pieces of this size, because a permit counts to 2^32.
const PLACE: usize = 1 << 10;

/// After so many writings the tally is summed up.
const SUM_UP_AFTER: u32 = 256;

impl PostgresOutbox {
    /// Opens the outbox at `address`, or makes an empty one.
    ///
    /// # Errors
    /// When the database cannot be reached or used, or holds something else.
    pub async fn open(
        address: &Address,
        options: Options,
        clock: Clock,
    ) -> Result<PostgresOutbox, OpenError> {
        let open = async {
            let opened = PostgresOutbox::reach(address, options, clock).await?;
            opened.store.connections.warn_of_weak_promises().await?;
            let terms = opened.store.now();
            let reckon = lanes::Reckon { terms };
            let open = opened.store.connections.transact(&reckon).await?;
            if open > 0 {
                tracing::warn!(
                    attempts = open,
                    "another replica stopped while it was sending; it is settled first whether these messages were taken"
                );
            }
            Ok(opened)
        };
        open.await.map_err(|why| OpenError {
            address: address.to_string(),
            why,
        })
    }

    /// Opens the outbox beside the services that work on it: to ask, and to change rows. What they have in hand stays theirs.
    ///
    /// # Errors
    /// As [`open`](PostgresOutbox::open).
    pub async fn open_beside(
        address: &Address,
        options: Options,
        clock: Clock,
    ) -> Result<PostgresOutbox, OpenError> {
        let reached = PostgresOutbox::reach(address, options, clock).await;
        reached.map_err(|why| OpenError {
            address: address.to_string(),
            why,
        })
    }

    async fn reach(
        address: &Address,
        options: Options,
        clock: Clock,
    ) -> Result<PostgresOutbox, WhyNot> {
        let connections =
            Connections::new(address, options.connections).map_err(WhyNot::Unusable)?;
        schema::migrate(&connections, false).await?;
        Ok(PostgresOutbox::start(address, connections, options, clock))
    }

    fn start(
        address: &Address,
        connections: Connections,
        options: Options,
        clock: Clock,
    ) -> PostgresOutbox {
        let places = (options.queue_bytes / PLACE).min(Semaphore::MAX_PERMITS);
        let (orders, queue) = mpsc::channel(options.queue.max(1));
        let store = Arc::new(Store {
            connections,
            clock,
            options,
            owner: name_of_us(),
            bell: Arc::default(),
            ring_others: Arc::default(),
            closing: Arc::default(),
            closed: AtomicBool::new(false),
            looking: Looking::default(),
            pruned_to: PrunedTo::default(),
            in_hand: Mutex::default(),
            claiming: tokio::sync::Mutex::new(false),
            writings: AtomicU32::new(0),
        });
        tokio::spawn(keeper::run(store.clone(), queue));
        tokio::spawn(bell::run(address.clone(), Arc::downgrade(&store)));
        PostgresOutbox {
            store,
            orders,
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// A place for so many bytes in the queue.
    fn place(&self, bytes: usize) -> Result<OwnedSemaphorePermit, OutboxError> {
        let pieces = u32::try_from(bytes.div_ceil(PLACE)).unwrap_or(u32::MAX);
        let place = self.places.clone().try_acquire_many_owned(pieces);
        place.map_err(|_| OutboxError::Overloaded)
    }

    /// Does it in a task of its own, which goes on when the caller hangs up.
    async fn ask<T: Task>(&self, task: T) -> Result<T::Gives, OutboxError> {
        let store = self.store.clone();
        done(tokio::spawn(async move { store.transact(&task).await })).await
    }
}

async fn done<T>(task: tokio::task::JoinHandle<Result<T, OutboxError>>) -> Result<T, OutboxError> {
    task.await
        .unwrap_or_else(|stopped| Err(OutboxError::Broken(stopped.to_string())))
}

/// Machine and process, and a part that no other opening has.
fn name_of_us() -> String {
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy().into_owned();
    let chance = uuid::Uuid::new_v4().simple().to_string();
    format!("{machine}/{}/{}", std::process::id(), &chance[..8])
}

impl Store {
    fn terms(&self, now: Timestamp) -> Terms {
        Terms {
            owner: self.owner.clone(),
            window: self.options.window,
            lease: self.options.lease,
            now,
        }
    }

    fn now(&self) -> Terms {
        self.terms(self.clock.now())
    }

    fn in_hand(&self) -> MutexGuard<'_, HashMap<DeliveryId, u32>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self) -> Result<(), OutboxError> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(OutboxError::Closed),
            false => Ok(()),
        }
    }

    async fn transact<T: Task>(self: &Arc<Self>, task: &T) -> Result<T::Gives, OutboxError> {
        self.check_open()?;
        let gives = self.connections.transact(task).await?;
        if T::BEGIN != pool::LOOK {
            self.wrote();
        }
        Ok(gives)
    }

    /// Something was written; now and then the tally is summed up, beside everything else.
    fn wrote(self: &Arc<Self>) {
        let writings = self.writings.fetch_add(1, Ordering::Relaxed) + 1;
        if writings < SUM_UP_AFTER {
            return;
        }
        self.writings.store(0, Ordering::Relaxed);
        let store = self.clone();
        tokio::spawn(async move {
            if let Err(error) = store.connections.transact(&SumUp).await {
                tracing::debug!(%error, "the tally is not summed up yet");
            }
        });
    }

    /// Takes heads in hand and remembers which. One at a time, so that what is in our hands is known when it is compared.
    async fn claim(
        self: &Arc<Self>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Claim>, OutboxError> {
        let mut lost = self.claiming.lock().await;
        let known = lost.then(|| self.in_hand().keys().copied().collect::<HashSet<_>>());
        let take = Take {
            most,
            terms: self.terms(now),
            clock: self.clock.clone(),
            known,
        };
        match self.transact(&take).await {
            Ok(claims) => {
                *lost = false;
                let taken = claims.iter().map(|it| (it.delivery, it.attempt.number));
                self.in_hand().extend(taken);
                Ok(claims)
            }
            Err(error) => {
                *lost = true;
                Err(error)
            }
        }
    }

    /// Gives back what nobody heard of, however often that has to be tried: until then its lanes stand still.
    async fn give_back(self: Arc<Self>, claims: Vec<Claim>) {
        let claims: Vec<(DeliveryId, u32)> = claims
            .into_iter()
            .map(|claim| (claim.delivery, claim.attempt.number))
            .collect();
        let task = GiveBack {
            terms: self.now(),
            claims,
        };
        for _ in 0..GIVE_BACK_TRIES {
            match self.connections.transact(&task).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, "claims that nobody needs are not given back yet")
                }
            }
            Clock::system().sleep(GIVE_BACK_PAUSE).await;
        }
        let mut in_hand = self.in_hand();
        for (delivery, _) in &task.claims {
            in_hand.remove(delivery);
        }
        drop(in_hand);
        self.wrote();
        self.bell.notify_one();
    }
}

/// For as long as a lease lasts.
const GIVE_BACK_TRIES: u32 = 30;
const GIVE_BACK_PAUSE: Duration = Duration::from_secs(1);

/// A caller who waits for claims or looks. When it goes away with the answer unheard, what was given goes back.
struct Hearing<T> {
    answer: oneshot::Receiver<Result<T, OutboxError>>,
    back: Option<Box<dyn FnOnce(T) + Send>>,
}

impl<T: Send + 'static> Hearing<T> {
    /// Does `work` in a task of its own; what it gives goes to `back` if nobody hears of it.
    async fn of(
        work: impl Future<Output = Result<T, OutboxError>> + Send + 'static,
        back: impl FnOnce(T) + Clone + Send + 'static,
    ) -> Result<T, OutboxError> {
        let (caller, answer) = oneshot::channel();
        let unheard = back.clone();
        tokio::spawn(async move {
            if let Err(Ok(given)) = caller.send(work.await) {
                unheard(given);
            }
        });
        let mut hearing = Hearing {
            answer,
            back: Some(Box::new(back)),
        };
        let answer = (&mut hearing.answer).await;
        hearing.back = None;
        answer.unwrap_or_else(|_| Err(OutboxError::Broken("it stopped without a word".to_owned())))
    }
}

impl<T> Drop for Hearing<T> {
    fn drop(&mut self) {
        self.answer.close(); // from here on the task sees by itself that nobody listens
        if let Some(back) = self.back.take()
            && let Ok(Ok(given)) = self.answer.try_recv()
        {
            back(given);
        }
    }
}

impl Outbox for PostgresOutbox {
    fn keep(&self, new: NewEvent) -> Reply<'_, Kept> {
        Box::pin(async move {
            self.store.check_open()?;
            let keep = Keep::prepare(new)?;
            let place = self.place(keep.bytes())?;
            let (caller, answer) = oneshot::channel();
            let waiting = Waiting {
                keep,
                caller,
                place,
            };
            let order = Order::Keep(Box::new(waiting));
            self.orders.try_send(order).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => OutboxError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => OutboxError::Closed,
            })?;
            answer.await.unwrap_or(Err(OutboxError::Closed))
        })
    }

    fn claim(&self, most: usize, now: Timestamp) -> Reply<'_, Vec<Claim>> {
        let (store, giving) = (self.store.clone(), self.store.clone());
        let back = move |claims: Vec<Claim>| {
            if !claims.is_empty() && tokio::runtime::Handle::try_current().is_ok() {
                tokio::spawn(giving.give_back(claims));
            }
        };
        Box::pin(Hearing::of(
            async move { store.claim(most, now).await },
            back,
        ))
    }

    fn baseline(&self, look: Baseline) -> Reply<'_, ()> {
        Box::pin(self.ask(BeginAt(look)))
    }

    fn record(&self, record: Record) -> Reply<'_, ()> {
        Box::pin(async move {
            let (delivery, attempt) = (record.delivery, record.attempt);
            let terms = self.store.terms(record.ended);
            let recorded = self.ask(WriteDown { record, terms }).await?;
            let mut in_hand = self.store.in_hand();
            if in_hand.get(&delivery) == Some(&attempt) {
                in_hand.remove(&delivery);
            }
            recorded
        })
    }

    fn looks(&self, most: usize, now: Timestamp) -> Reply<'_, Vec<Look>> {
        let (store, ending) = (self.store.clone(), self.store.clone());
        let back = move |looks: Vec<Look>| {
            ending.looking.end(looks.iter().map(|look| &look.lane));
        };
        let work = async move {
            let _one_at_a_time = store.claiming.lock().await;
            let take = TakeLooks {
                most,
                but: store.looking.list(),
                terms: store.terms(now),
                clock: store.clock.clone(),
            };
            let looks = store.transact(&take).await?;
            store.looking.begin(&looks, now);
            Ok(looks)
        };
        Box::pin(Hearing::of(work, back))
    }

    fn settle(&self, settled: Vec<Settled>) -> Reply<'_, Vec<bool>> {
        Box::pin(async move {
            let lanes: Vec<Lane> = settled.iter().map(|one| one.lane.clone()).collect();
            let settle = Settle {
                begun: self.store.looking.begun(&settled),
                settled,
                terms: self.store.now(),
            };
            let store = self.store.clone();
            let settled = tokio::spawn(async move {
                let settled = store.transact(&settle).await;
                // Also when it failed: then it is looked for once more.
                store.looking.end(&lanes);
                store.bell.notify_one();
                settled
            });
            done(settled).await
        })
    }

    fn next_due(&self) -> Reply<'_, NextDue> {
        Box::pin(self.ask(Next {
            owner: self.store.owner.clone(),
            looking: self.store.looking.list(),
            now: self.store.clock.now(),
        }))
    }

    fn bell(&self) -> Arc<Notify> {
        self.store.bell.clone()
    }

    fn counts(&self, now: Timestamp) -> Reply<'_, Counts> {
        Box::pin(self.ask(Count { now }))
    }

    fn find_event(&self, number: i64) -> Reply<'_, Option<EventRecord>> {
        Box::pin(self.ask(FindEvent(number)))
    }

    fn list_events(&self, filter: Filter, page: Page) -> Reply<'_, Vec<EventRecord>> {
        Box::pin(self.ask(ListEvents { filter, page }))
    }

    fn find_delivery(&self, id: DeliveryId) -> Reply<'_, Option<DeliveryRecord>> {
        Box::pin(self.ask(FindDelivery(id)))
    }

    fn list_deliveries(&self, filter: Filter, page: Page) -> Reply<'_, Vec<DeliveryRecord>> {
        Box::pin(self.ask(ListDeliveries { filter, page }))
    }

    fn list_lanes(&self, lane: Option<Lane>, page: Page) -> Reply<'_, Vec<LaneRecord>> {
        Box::pin(self.ask(ListLanes { lane, page }))
    }

    fn change(&self, ids: Vec<DeliveryId>, change: Change) -> Reply<'_, Vec<Changed>> {
        let terms = self.store.now();
        self.ask_and_ring(Changes { ids, change, terms }, |_| true)
    }

    fn hold(&self, lane: Lane, why: Option<String>) -> Reply<'_, bool> {
        let terms = self.store.now();
        self.ask_and_ring(Holding { lane, why, terms }, |_| true)
    }

    fn append(&self, event: i64, deliveries: Vec<NewDelivery>) -> Reply<'_, bool> {
        Box::pin(async move {
            let append = Append::prepare(event, deliveries, self.store.now())?;
            self.ask_and_ring(append, |known| *known).await
        })
    }

    fn rendered(&self, id: DeliveryId, message: Message) -> Reply<'_, bool> {
        Box::pin(async move {
            let rendered = RenderedNow::prepare(id, &message, self.store.now())?;
            self.ask_and_ring(rendered, |was_unrendered| *was_unrendered)
                .await
        })
    }

    fn prune(&self, prune: Prune, most: usize) -> Reply<'_, Pruned> {
        Box::pin(self.ask(Pruning {
            prune,
            most,
            now: self.store.clock.now(),
            place: self.store.pruned_to.clone(),
        }))
    }

    fn probe(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            if self.orders.capacity() == 0 || self.places.available_permits() == 0 {
                return Err(OutboxError::Overloaded);
            }
            self.ask(read::Probe).await
        })
    }

    fn fatal(&self) -> Fatal<'_> {
        // What is on the database's disk is the database's to know: an error of a commit is told to who asked for it.
        Box::pin(std::future::pending())
    }

    fn close(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            let (kept, all_kept) = oneshot::channel();
            drop(self.orders.send(Order::Close(kept)).await);
            drop(all_kept.await);
            if self.store.closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            let leave = lanes::Leave {
                owner: self.store.owner.clone(),
            };
            let left = self.store.connections.transact(&leave).await;
            self.store.closing.notify_waiters();
            self.store.connections.close();
            left.map_err(OutboxError::from)
        })
    }
}

impl PostgresOutbox {
    fn ask_and_ring<T: Task>(
        &self,
        task: T,
        rings: impl Fn(&T::Gives) -> bool + Send + 'static,
    ) -> Reply<'_, T::Gives> {
        Box::pin(async move {
            let gives = self.ask(task).await?;
            if rings(&gives) {
                self.store.bell.notify_one();
                self.store.ring_others.notify_one();
            }
            Ok(gives)
        })
    }
}
