//! The durable promise: events and their deliveries are kept in one transaction before the sender gets its answer, and
//! every attempt is written down before its request is.
//!
//! [`Outbox`] is the one contract; [`sqlite`] meets it.

pub mod sqlite;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::model::{
    Attempt, Claim, Conversation, DeliveryId, DeliveryState, Event, Lane, Message, NewDelivery,
    Receipt, Timestamp,
};

/// What a call to the outbox gives once it is durable.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, OutboxError>> + Send + 'a>>;

/// What never comes while the outbox is well.
pub type Fatal<'a> = Pin<Box<dyn Future<Output = OutboxError> + Send + 'a>>;

/// Where events and deliveries are kept. All answers come after the commit.
pub trait Outbox: Send + Sync + 'static {
    /// Keeps an event and its deliveries in one transaction, or says what became of the first one if it is a repeat.
    /// Positions in a lane are given here: accepted order is commit order. Once its group has begun it goes on although
    /// the caller hangs up; before that a caller who is gone leaves no trace. An error means "not promised".
    fn keep(&self, new: NewEvent) -> Reply<'_, Kept>;

    /// Takes the due heads of at most `most` lanes that nobody holds, and writes down the attempt of each.
    /// A claimed lane gives nothing more until its claim is recorded. A caller who goes away before the answer gives
    /// all of them back.
    fn claim(&self, most: usize, now: Timestamp) -> Reply<'_, Vec<Claim>>;

    /// Writes down how an attempt ended and what is decided; frees the lane. When that attempt is not in hand (any more),
    /// what was seen is still appended to it, nothing is decided, and the error is [`OutboxError::NotInHand`].
    fn record(&self, record: Record) -> Reply<'_, ()>;

    /// When the next waiting head that nobody holds becomes due; `None` when nothing waits.
    fn next_due(&self) -> Reply<'_, Option<Timestamp>>;

    /// Rings when new deliveries were kept or put back.
    fn bell(&self) -> Arc<Notify>;

    /// Deliveries by state, and events that no route took.
    fn counts(&self) -> Reply<'_, Counts>;

    /// One delivery with its attempts; `None` when there is none of that id.
    fn find_delivery(&self, id: DeliveryId) -> Reply<'_, Option<DeliveryRecord>>;

    /// All deliveries in the order they were kept, at most `most` after the first `skip`.
    fn list_deliveries(&self, skip: u64, most: usize) -> Reply<'_, Vec<DeliveryRecord>>;

    /// Whether it can keep things now.
    fn probe(&self) -> Reply<'_, ()>;

    /// Returns when what is on disk is not known any more (a failed fsync, a damaged file). Nothing is written after that;
    /// the process has to end, because only a recovery at the next start tells what was kept.
    fn fatal(&self) -> Fatal<'_>;

    /// Commits what is under way and closes. Later calls fail with [`OutboxError::Closed`].
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

/// How an attempt ended and what follows.
#[derive(Clone, Debug)]
pub struct Record {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The number of the attempt.
    pub attempt: u32,
    /// When it ended.
    pub ended: Timestamp,
    /// What was seen, in words: `accepted`, `1203 NotInGroupYetError`.
    pub verdict: String,
    /// What is decided.
    pub decision: Decision,
    /// The lane sends nothing before this moment (its pace).
    pub lane_rests_until: Option<Timestamp>,
}

/// What follows an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// OpenIM has queued it; the lane goes on. Without a receipt when the answer was lost and the server's send status,
    /// which holds no ids, says that it was taken.
    Accepted(Option<Receipt>),
    /// OpenIM said no for good, with the reason; the lane goes on.
    Refused(String),
    /// The time to try has passed, with the last reason; the lane goes on.
    Dead(String),
    /// The same delivery again, not before this moment; the lane waits for it.
    Again {
        /// The earliest moment.
        at: Timestamp,
        /// Whether the attempt may have reached the server.
        ambiguous: bool,
    },
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Deliveries by state, each state named.
    pub deliveries: BTreeMap<DeliveryState, u64>,
    /// All events.
    pub events: u64,
    /// Events that no route took.
    pub unrouted: u64,
    /// When the oldest delivery that is waiting or being sent was kept.
    pub oldest_waiting: Option<Timestamp>,
}

/// A delivery as it stands in the outbox.
#[derive(Clone, Debug)]
pub struct DeliveryRecord {
    /// Its id.
    pub id: DeliveryId,
    /// The bridge of its event.
    pub bridge: String,
    /// Its event's id.
    pub event: String,
    /// As the route said it.
    pub destination: String,
    /// Where that is at OpenIM.
    pub conversation: Conversation,
    /// Its lane.
    pub lane: Lane,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why, when it ended without success.
    pub reason: Option<String>,
    /// When it was kept.
    pub kept: Timestamp,
    /// The message; `None` while it is unrendered.
    pub message: Option<Message>,
    /// OpenIM's answer, once there is one.
    pub receipt: Option<Receipt>,
    /// What was tried.
    pub attempts: Vec<AttemptRecord>,
}

/// An attempt as it stands in the outbox. One without an end is ambiguous.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The attempt.
    pub attempt: Attempt,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What was seen.
    pub verdict: Option<String>,
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
