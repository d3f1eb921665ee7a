//! What passes between the courier and the outbox while a message is on its way.

use crate::model::{DeliveryId, Receipt, Timestamp};

/// How much of one conversation may be accepted by OpenIM and not yet found again. OpenIM throws away a batch of more than
/// 100 messages of one conversation after it has answered each with success; a rate cannot exclude that (a stall piles up
/// any rate), this can. Counted from rows, so it holds over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Messages. 1 waits for each. 0: no window, because nothing is read back; a delivery ends at `accepted`.
    pub messages: u32,
    /// Bytes of their contents.
    pub bytes: u64,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            messages: 32,
            bytes: 256 << 10,
        }
    }
}

/// How an attempt ended and what follows.
#[derive(Clone, Debug)]
pub struct Record {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The number of the attempt.
    pub attempt: u32,
    /// The epoch of the lane when it was claimed.
    pub epoch: u64,
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
    /// OpenIM has queued it; the lane goes on, and the message is looked for from `look` on (`None`: nothing is read back,
    /// it ends here). Without a receipt when the answer was lost and the server's send status, which holds no ids, says
    /// that it was taken.
    Accepted {
        /// OpenIM's answer.
        receipt: Option<Receipt>,
        /// When it may be found.
        look: Option<Timestamp>,
    },
    /// OpenIM said no for good, with the reason; the lane goes on.
    Refused(String),
    /// The time to try has passed, with the last reason; the lane goes on.
    Dead(String),
    /// Surely not taken: the same delivery again, not before this moment; the lane waits for it.
    Again {
        /// The earliest moment.
        at: Timestamp,
    },
    /// It may have been taken. It is settled before anything else of this lane is sent: see [`super::Look`].
    Unclear {
        /// When to look for it.
        look: Timestamp,
    },
}
