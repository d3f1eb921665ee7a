//! What passes between the courier and the outbox when it looks for messages in OpenIM's own history.

use std::collections::BTreeMap;

use crate::model::{Attempt, Conversation, DeliveryId, Hold, Lane, Receipt, Timestamp};

/// A lane with deliveries whose fate at OpenIM is not known, in the courier's hands for a look.
#[derive(Clone, Debug)]
pub struct Look {
    /// The lane.
    pub lane: Lane,
    /// Its epoch: decisions need it.
    pub epoch: u64,
    /// How long the lane is surely ours.
    pub hold: Hold,
    /// A loss was proven: nothing new is sent until all that is unsettled is decided.
    pub stopped: bool,
    /// Whether something waits in the lane behind what is unsettled.
    pub more_waits: bool,
    /// How far each conversation of the lane was read. Missing: it has no baseline.
    pub cursors: BTreeMap<Conversation, Cursor>,
    /// What is to be settled, in the order of sending.
    pub unsettled: Vec<Unsettled>,
}

/// How far a conversation was read. Durable, so that no reading begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// All seqs up to this one were read, but for the holes.
    pub seq: i64,
    /// Seqs below the newest that did not come back yet. The cursor stands before the first that is young.
    pub holes: Vec<Hole>,
}

/// A seq that was published and had no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The seq.
    pub seq: i64,
    /// When it was first seen without one.
    pub since: Timestamp,
}

/// A delivery whose fate at OpenIM is not known.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Where it was sent to.
    pub conversation: Conversation,
    /// Its latest attempt.
    pub attempt: Attempt,
    /// When that attempt ended; `None` when nobody wrote it down (a crash).
    pub ended: Option<Timestamp>,
    /// When the first attempt of this round began: the horizon counts from here.
    pub first_attempt: Timestamp,
    /// Whether OpenIM has said that it queued it. Otherwise the attempt is unclear, and it is the head of its lane.
    pub accepted: bool,
    /// OpenIM's answer, where it came.
    pub receipt: Option<Receipt>,
    /// When it was first proven to be missing: a later one of ours was there and this one was not.
    pub missing_since: Option<Timestamp>,
    /// An unclear one that an operator has to decide about.
    pub held: bool,
}

/// What a look has shown and what is decided. Afterwards the lane may be looked at again.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The lane.
    pub lane: Lane,
    /// Its epoch at the look.
    pub epoch: u64,
    /// How far was read, by conversation; those that are not named stay.
    pub cursors: BTreeMap<Conversation, Cursor>,
    /// What is known or decided about each; the others stay unsettled.
    pub fates: Vec<Settling>,
    /// A loss was proven: nothing new is sent until all that is unsettled is decided. `false` lets the lane go on.
    pub stop: bool,
    /// When to look again if something is still unsettled.
    pub look_again: Timestamp,
}

/// What is known or decided about one delivery.
#[derive(Clone, Debug)]
pub struct Settling {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The attempt that it is about.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// What.
    pub fate: Fate,
    /// The evidence, in words for the delivery's record: `found at seq 812`.
    pub evidence: String,
}

/// What became of a message at OpenIM, or what is done about not knowing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A fact: it stands in the history at this seq. It ends as `stored`, also when it was about to be sent again.
    Stored {
        /// Its place in the conversation.
        seq: i64,
        /// OpenIM's ids as the history shows them.
        receipt: Receipt,
    },
    /// A fact: the server's send status says that it was queued. It becomes `accepted`.
    Taken,
    /// An unclear one was not taken: the same send again, not before this moment.
    NotTaken {
        /// The earliest moment.
        again: Timestamp,
    },
    /// A later one of ours is stored and this one is not: seen once, to be confirmed by a second reading.
    Missing,
    /// An accepted one is proven lost: it is sent again in its place, as a new send. It counts as dropped by OpenIM.
    Dropped,
    /// Neither proof could be had in time: sent again, as a new send, and recorded as a possible repeat.
    Unproven,
    /// Neither proof could be had in time: the lane waits for an operator.
    Held,
    /// The time to try has passed, with the last reason.
    Dead(String),
}
