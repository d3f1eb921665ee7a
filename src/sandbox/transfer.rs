//! The way of a message from "accepted" into history: a queue, and batches that are taken from it. What was accepted can be lost
//! here, as on running servers.

use std::collections::VecDeque;
use std::time::Duration;

use super::account::{Accepted, Fate};
use super::faults::{Event, Hold, Kind};
use super::history::{Hole, Kept, Place, Post, message_id};
use super::world::World;
use crate::model::{Family, Timestamp};

/// The longest time until a message that was accepted stands in history, while nothing is broken. Measured on main.
pub const UNTIL_STORED: Duration = Duration::from_millis(100);

/// The same on released servers.
const UNTIL_STORED_38: Duration = Duration::from_millis(40);

/// The most messages of one batch; it is taken as soon as it is full.
const BATCH: usize = 500;

/// How long a batch is open: it is taken so long after its first message came.
fn interval(family: Family) -> Duration {
    match family {
        Family::Main => UNTIL_STORED,
        Family::Release38 => UNTIL_STORED_38,
    }
}

/// What was accepted and is not stored yet.
#[derive(Default)]
pub(super) struct Transfer {
    queue: VecDeque<Waiting>,
    /// When the next batch is taken; `None` while there is nothing to take, or nobody to take it.
    next: Option<Timestamp>,
    /// How many came since the last batch was taken.
    fresh: usize,
}

/// One message in the queue.
#[derive(Clone)]
pub(super) struct Waiting {
    pub kept: Kept,
    /// Its place in the log of what was accepted.
    entry: usize,
    /// Not taken before.
    from: Timestamp,
}

impl Transfer {
    pub fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.queue.iter()
    }
}

impl World {
    /// Takes a message into the queue, and gives its serverMsgID.
    pub fn accept(
        &mut self,
        post: Post,
        client_msg_id: String,
        operation: &str,
        now: Timestamp,
    ) -> String {
        let server_msg_id = message_id();
        self.log.push(Accepted {
            conversation: post.place.id(),
            operation: operation.to_owned(),
            client_msg_id: client_msg_id.clone(),
            ex: post.ex.clone(),
            at: now,
            fate: Fate::Waiting,
        });
        let kept = Kept {
            conversation: post.place.id(),
            post,
            seq: 0,
            server_msg_id: server_msg_id.clone(),
            client_msg_id,
            created: now,
            stored: now,
            readable_from: now,
            revoked: false,
            is_copy: false,
            is_gone: false,
        };
        self.transfer.queue.push_back(Waiting {
            kept,
            entry: self.log.len() - 1,
            from: now,
        });
        self.transfer.fresh += 1;
        if self.transfer.fresh >= BATCH {
            self.transfer.next = Some(now);
        } else {
            self.wake_transfer(now);
        }
        self.changed();
        server_msg_id
    }

    /// When something happens next by itself.
    pub fn due(&self) -> Option<Timestamp> {
        let event = self.faults.next_event().map(|(at, _)| at);
        [event, self.transfer.next].into_iter().flatten().min()
    }

    /// Lets everything happen that is due by now, in its order.
    pub fn settle(&mut self, now: Timestamp) {
        while let Some(due) = self.due().filter(|due| *due <= now) {
            match self.faults.next_event() {
                Some((at, index)) if at <= due => {
                    let event = self.faults.take_event(index);
                    self.happen(event, at);
                }
                _ => self.take_batches(due),
            }
        }
    }

    /// Looks at the queue anew, after a message or faults came or went.
    pub fn wake_transfer(&mut self, now: Timestamp) {
        let soon = later(now, interval(self.family));
        self.transfer.next = match self.transfer.queue.is_empty() {
            true => None,
            false => Some(self.transfer.next.map_or(soon, |next| next.min(soon))),
        };
    }

    fn happen(&mut self, event: Event, at: Timestamp) {
        match event {
            Event::QueueLost => {
                for waiting in std::mem::take(&mut self.transfer.queue) {
                    self.lose(&waiting, "the server was restarted and its queue lost", at);
                }
                self.transfer.next = None;
            }
            Event::SeqsAnew(conversations) => {
                let all = self.history.conversations().map(|(id, _)| id.clone());
                let matching: Vec<String> = all.filter(|id| conversations.fits([id])).collect();
                for id in matching {
                    self.history.begin_anew(&id);
                }
            }
            Event::TokensDisplaced(code) => self.displace_tokens(code),
        }
        self.changed();
    }

    /// Loses what one operation has put into the queue.
    pub fn lose_operation(&mut self, operation: &str, why: &str, now: Timestamp) {
        let queue = std::mem::take(&mut self.transfer.queue);
        let (lost, left): (Vec<_>, Vec<_>) = queue
            .into_iter()
            .partition(|waiting| self.log[waiting.entry].operation == operation);
        self.transfer.queue = left.into();
        for waiting in lost {
            self.lose(&waiting, why, now);
        }
    }

    fn lose(&mut self, waiting: &Waiting, why: &str, at: Timestamp) {
        // A copy is lost too, but the message stands where it was stored first.
        if !waiting.kept.is_copy {
            let why = why.to_owned();
            self.log[waiting.entry].fate = Fate::Lost { why, at };
        }
    }

    /// Takes what waits, batch by batch, and files each batch conversation by conversation.
    fn take_batches(&mut self, at: Timestamp) {
        self.transfer.fresh = 0;
        if let Some(hold) = self.faults.holds(None, at) {
            self.transfer.next = hold.until();
            return;
        }
        let (mut ready, mut left, mut earliest) = (Vec::new(), VecDeque::new(), None);
        for waiting in std::mem::take(&mut self.transfer.queue) {
            let hold = match waiting.from > at {
                true => Some(Hold::Until(waiting.from)),
                false => self.faults.holds(Some(&waiting.kept.conversation), at),
            };
            match hold {
                None => ready.push(waiting),
                Some(hold) => {
                    earliest = [earliest, hold.until()].into_iter().flatten().min();
                    left.push_back(waiting);
                }
            }
        }
        self.transfer.queue = left;
        self.transfer.next = earliest;
        let mut ready = ready.into_iter().peekable();
        while ready.peek().is_some() {
            let batch = ready.by_ref().take(BATCH).collect();
            for (place, messages) in self.sorted(batch, at) {
                self.file(&place, messages, at);
            }
        }
        self.changed();
    }

    /// A batch by conversation, in the order of first appearance.
    fn sorted(&mut self, batch: Vec<Waiting>, at: Timestamp) -> Vec<(Place, Vec<Waiting>)> {
        let mut files: Vec<(Place, Vec<Waiting>)> = Vec::new();
        for waiting in batch {
            let place = &waiting.kept.post.place;
            let known = files.iter().position(|(filed, _)| filed.id() == place.id());
            // Running servers sort a batch by the pair, and file all of it under the conversation of the pair's first message.
            let known = known.or_else(|| {
                let found = files
                    .iter()
                    .position(|(filed, _)| filed.pair().is_some() && filed.pair() == place.pair());
                let conversation = waiting.kept.conversation.as_str();
                found.filter(|_| self.faults.strikes(Kind::Mixed, conversation, at).is_some())
            });
            match known {
                Some(known) => files[known].1.push(waiting),
                None => files.push((place.clone(), vec![waiting])),
            }
        }
        files
    }

    /// Stores the messages of one batch and conversation, or loses them all.
    fn file(&mut self, place: &Place, messages: Vec<Waiting>, at: Timestamp) {
        let id = place.id();
        let count = messages.len();
        if let Some(limit) = self.faults.drops(&id, count, at) {
            let why = format!(
                "{count} messages of the conversation were in one batch; above {limit} all are dropped"
            );
            for waiting in &messages {
                self.lose(waiting, &why, at);
            }
            return;
        }
        for waiting in messages {
            self.store(place, waiting, at);
        }
    }

    fn store(&mut self, place: &Place, waiting: Waiting, at: Timestamp) {
        let id = place.id();
        if let Some(hole) = self.faults.strikes(Kind::Hole, &id, at) {
            let mark = if hole.is_marked() {
                Hole::Mark
            } else {
                Hole::Nothing
            };
            self.history.leave_hole(place, mark);
            if hole.loses() {
                self.lose(
                    &waiting,
                    "its seq was published, the message never written",
                    at,
                );
                return;
            }
        }
        let copied = (!waiting.kept.is_copy)
            .then(|| self.faults.strikes(Kind::Repeat, &id, at))
            .flatten();
        let mut kept = waiting.kept.clone();
        kept.stored = at;
        kept.readable_from = match self.faults.strikes(Kind::EarlySeq, &id, at) {
            Some(early) => later(at, early.by()),
            None => at,
        };
        let is_copy = kept.is_copy;
        self.history.keep(kept, place);
        if !is_copy {
            self.log[waiting.entry].fate = Fate::Stored;
        }
        let Some(copied) = copied else { return };
        let mut copy = waiting;
        copy.kept.is_copy = true;
        copy.from = later(at, copied.by());
        if copy.from <= at {
            self.store(place, copy, at);
            return;
        }
        let next = [self.transfer.next, Some(copy.from)];
        self.transfer.next = next.into_iter().flatten().min();
        self.transfer.queue.push_back(copy);
    }
}

pub(super) fn later(at: Timestamp, span: Duration) -> Timestamp {
    at.saturating_add(span).unwrap_or(Timestamp::MAX)
}
