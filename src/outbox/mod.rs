//! The durable promise: events and their deliveries are kept in one transaction before the sender gets its answer, and
//! every attempt is written down before its request is.
//!
//! [`Outbox`] is the one contract; [`sqlite`] meets it for one process, [`postgres`] for several replicas. What passes
//! between the courier and the outbox stands in `sending` (the head of a lane, on its way) and `settling` (what became of
//! it at OpenIM); what people ask and do stands in `desk`. The rules that every engine follows stand in [`lane`].

mod desk;
pub mod lane;
pub mod moving;
pub mod postgres;
mod sending;
mod settling;
pub mod sqlite;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;

pub use desk::{
    AttemptRecord, Change, Changed, Counts, DeliveryRecord, EventRecord, Filter, LaneRecord, Page,
    Prune, Pruned,
};
pub use sending::{Decision, Record, Window};
pub use settling::{Cursor, Fate, Hole, Look, Settled, Settling, Unsettled};

use crate::model::{
    Claim, DeliveryId, DeliveryState, Event, Lane, Message, NewDelivery, Timestamp,
};

/// What a call to the outbox gives once it is durable.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, OutboxError>> + Send + 'a>>;

/// What never comes while the outbox is well.
pub type Fatal<'a> = Pin<Box<dyn Future<Output = OutboxError> + Send + 'a>>;

/// Where events and deliveries are kept. All answers come after the commit.
///
/// A lane belongs to one courier at a time. Where several processes share an outbox it is leased, and its epoch grows
/// whenever it changes hands: *facts* (a receipt, a seq) are written down whoever brings them and however late, *decisions*
/// (send, send again, refuse, give up) only with the lane's present epoch.
pub trait Outbox: Send + Sync + 'static {
    /// Keeps an event and its deliveries in one transaction, or says what became of the first one if it is a repeat.
    /// Positions in a lane are given here: accepted order is commit order. Once its group has begun it goes on although
    /// the caller hangs up; before that a caller who is gone leaves no trace. An error means "not promised".
    fn keep(&self, new: NewEvent) -> Reply<'_, Kept>;

    /// Takes the due heads of at most `most` lanes that nobody else holds, and writes down the attempt of each. A lane
    /// gives nothing while its head is in hand or unclear, while its window is full, while it is stopped or held, and
    /// while what is unconfirmed in it is of the other kind of conversation (a person's chat and its notices).
    /// What expired at the head of a lane is folded into one delivery on the way ([`Claim::folded`]).
    /// A caller who goes away before the answer gives all of them back.
    fn claim(&self, most: usize, now: Timestamp) -> Reply<'_, Vec<Claim>>;

    /// Writes down up to which seq a conversation was read before the first message into it is sent. A cursor that is
    /// there already stays.
    fn baseline(&self, look: Baseline) -> Reply<'_, ()>;

    /// Writes down how an attempt ended and what is decided; frees the lane. When that attempt is not in hand (any more),
    /// what was seen is still appended to it, nothing is decided, and the error is [`OutboxError::NotInHand`].
    fn record(&self, record: Record) -> Reply<'_, ()>;

    /// Takes at most `most` lanes whose unsettled deliveries are due for a look at OpenIM. A lane is looked at by one
    /// caller at a time, until it is settled; sending goes on beside it.
    fn looks(&self, most: usize, now: Timestamp) -> Reply<'_, Vec<Look>>;

    /// Writes down what looks have shown, each lane for itself; for each whether its decisions were taken (`false`:
    /// somebody else holds the lane now, only the facts were).
    fn settle(&self, settled: Vec<Settled>) -> Reply<'_, Vec<bool>>;

    /// When the next head can be claimed, and when the next look is due.
    fn next_due(&self) -> Reply<'_, NextDue>;

    /// Rings when new deliveries were kept or put back. By this process: what others write is seen at the next look.
    fn bell(&self) -> Arc<Notify>;

    /// Deliveries by state, and what else the metrics tell.
    fn counts(&self, now: Timestamp) -> Reply<'_, Counts>;

    /// One event, without its body where that was pruned; `None` when there is none of that number.
    fn find_event(&self, number: i64) -> Reply<'_, Option<EventRecord>>;

    /// Events that fit the filter, the newest first.
    fn list_events(&self, filter: Filter, page: Page) -> Reply<'_, Vec<EventRecord>>;

    /// One delivery with its attempts; `None` when there is none of that id.
    fn find_delivery(&self, id: DeliveryId) -> Reply<'_, Option<DeliveryRecord>>;

    /// Deliveries that fit the filter, the newest first, or the oldest where the page says so.
    fn list_deliveries(&self, filter: Filter, page: Page) -> Reply<'_, Vec<DeliveryRecord>>;

    /// Lanes that fit: by name, or all in which something waits, is unsettled, stopped or held.
    fn list_lanes(&self, lane: Option<Lane>, page: Page) -> Reply<'_, Vec<LaneRecord>>;

    /// What an operator does to deliveries, one chunk at a time; what became of each.
    fn change(&self, ids: Vec<DeliveryId>, change: Change) -> Reply<'_, Vec<Changed>>;

    /// Keeps a lane from sending until it is released, and says why; what is in hand comes to its end. Releasing also ends
    /// the wait of what was held as unproven: it is sent again. `false` when there is no such lane.
    fn hold(&self, lane: Lane, why: Option<String>) -> Reply<'_, bool>;

    /// More deliveries of an event that was kept (a replay through today's rules), at the end of their lanes; the event
    /// counts as routed from then on. `false` when there is no such event.
    fn append(&self, event: i64, deliveries: Vec<NewDelivery>) -> Reply<'_, bool>;

    /// The message of an unrendered delivery, now that its template works: it is appended to its lane. `false` when it
    /// is not unrendered any more.
    fn rendered(&self, id: DeliveryId, message: Message) -> Reply<'_, bool>;

    /// Removes what is old enough, in one chunk of at most `most` events. Undelivered ones stay, and ids are remembered
    /// longer than bodies. Call it again while it says that there is more.
    fn prune(&self, prune: Prune, most: usize) -> Reply<'_, Pruned>;

    /// Whether it can keep things now.
    fn probe(&self) -> Reply<'_, ()>;

    /// Returns when what is on disk is not known any more (a failed fsync, a damaged file). Nothing is written after that;
    /// the process has to end, because only a recovery at the next start tells what was kept.
    fn fatal(&self) -> Fatal<'_>;

    /// Commits what is under way, gives back every lane that has no request in flight, and closes. Later calls fail with
    /// [`OutboxError::Closed`].
    fn close(&self) -> Reply<'_, ()>;
}

/// An event with everything it makes, as intake hands it over.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event.
    pub event: Arc<Event>,
    /// Whether a route took it. One that was taken may still make no delivery: its template is silent by choice.
    pub routed: bool,
    /// Its deliveries.
    pub deliveries: Vec<NewDelivery>,
}

/// What became of an event that was handed to the outbox.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// It is kept; so many deliveries were made.
    New {
        /// How many deliveries it made.
        deliveries: usize,
    },
    /// The same event was kept before and is not kept twice.
    Repeat {
        /// What had become of the first one's deliveries, before any was put back.
        became: BTreeMap<DeliveryState, usize>,
        /// How many dead or refused ones were put back into their lanes.
        put_back: usize,
    },
}

/// Where reading begins in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// The lane.
    pub lane: Lane,
    /// The conversation: a person's lane has two.
    pub conversation: crate::model::Conversation,
    /// The newest seq before our first message.
    pub seq: i64,
}

/// When there is something to do next; `None` where nothing waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextDue {
    /// The next head that can be claimed.
    pub send: Option<Timestamp>,
    /// The next lane to look at.
    pub look: Option<Timestamp>,
}

/// Why the outbox did not do it. Nothing is half kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboxError {
    /// The disk is full, or below the floor of free space.
    #[error("the outbox has no room: {0}")]
    NoRoom(String),
    /// Too many wait to be kept.
    #[error("the outbox is overloaded")]
    Overloaded,
    /// It was closed.
    #[error("the outbox is closed")]
    Closed,
    /// The attempt is not under way any more: somebody else decides about this delivery.
    #[error("attempt {attempt} of delivery {delivery} is not in hand")]
    NotInHand {
        /// The delivery.
        delivery: DeliveryId,
        /// The number of the attempt.
        attempt: u32,
    },
    /// The database says no.
    #[error("the outbox cannot be used: {0}")]
    Broken(String),
}
