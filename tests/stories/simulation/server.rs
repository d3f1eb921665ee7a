//! A model of OpenIM as far as a delivery meets it: it queues, stores later, drops, repeats, hides and forgets. It keeps the
//! only true record of what was said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openim_bridge::deliver::decide::readings::{Found, HOLE_IS_YOUNG, Span};
use openim_bridge::model::{Conversation, DeliveryId, Receipt, Timestamp};

use super::{Dice, ago, later};

/// A message of ours that OpenIM has taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub delivery: DeliveryId,
    /// When the attempt began that brought it, by the true clock.
    pub began: Timestamp,
    pub receipt: Receipt,
    /// When it could be found; `None`: it was dropped, or is still on its way.
    pub visible: Option<Timestamp>,
    /// When its seq was given.
    pub numbered: Option<Timestamp>,
    pub dropped: bool,
    /// The conversation was emptied after it stood there.
    pub wiped: bool,
}

/// One seq of a conversation.
struct Slot {
    /// The message, by its index among the taken ones; `None`: somebody else's.
    taken: Option<usize>,
    /// It has a message from this moment on; `None`: never.
    visible: Option<Timestamp>,
}

#[derive(Default)]
struct Chat {
    slots: Vec<Slot>,
    /// On their way into the history, in order: when, which, and whether it is a copy.
    queue: Vec<(Timestamp, usize)>,
    unreadable_until: Option<Timestamp>,
    /// It could not be read for a while.
    was_hidden: bool,
    /// It was so before it was emptied.
    began_with_a_hole: bool,
    /// The newest seq that was told since it was empty.
    told: usize,
    resets: Vec<Reset>,
}

impl Chat {
    fn begins_with_a_hole(&self) -> bool {
        let first = self.slots.first();
        first.is_some_and(|slot| slot.visible.is_none())
    }
}

/// A conversation was emptied.
struct Reset {
    at: Timestamp,
    /// How many seqs had been told of.
    seqs: usize,
    /// Whether it had fewer when somebody asked next; `None`: nobody has asked yet.
    noticed: Option<bool>,
}

/// How the server behaves in one story, in per mille of the occasions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moods {
    pub drops: u64,
    pub stalls: u64,
    pub early_seqs: u64,
    pub holes: u64,
    /// The seq is given away and the message never written.
    pub vanishes: u64,
    pub filled_late: u64,
    pub repeats: u64,
    pub others: u64,
    pub status_lost: u64,
}

pub struct Server {
    chats: BTreeMap<Conversation, Chat>,
    pub taken: Vec<Taken>,
    /// operationIDs whose status says that they were queued.
    status: BTreeSet<String>,
    pub moods: Moods,
    /// Its clock against the true one, in ms.
    pub clock_apart: i64,
    /// Nobody can reach it before this moment.
    pub down_until: Option<Timestamp>,
    /// When it was down.
    pub downs: Vec<(Timestamp, Timestamp)>,
}

impl Server {
    pub fn new(moods: Moods, clock_apart: i64) -> Server {
        Server {
            chats: BTreeMap::new(),
            taken: Vec::new(),
            status: BTreeSet::new(),
            moods,
            clock_apart,
            down_until: None,
            downs: Vec::new(),
        }
    }

    pub fn is_down(&self, now: Timestamp) -> bool {
        self.down_until.is_some_and(|until| until > now)
    }

    /// Queues a message; its receipt.
    pub fn take(
        &mut self,
        conversation: &Conversation,
        delivery: DeliveryId,
        operation_id: &str,
        began: Timestamp,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Receipt {
        let number = self.taken.len();
        let receipt = Receipt {
            server_msg_id: format!("s{number}"),
            client_msg_id: format!("c{number}"),
            send_time: now.as_millisecond() + self.clock_apart,
        };
        let dropped = dice.chance(self.moods.drops);
        self.taken.push(Taken {
            delivery,
            began,
            receipt: receipt.clone(),
            visible: None,
            numbered: None,
            dropped,
            wiped: false,
        });
        if !dice.chance(self.moods.status_lost) {
            self.status.insert(operation_id.to_owned());
        }
        let chat = self.chats.entry(conversation.clone()).or_default();
        if !dropped {
            let wait = match dice.chance(self.moods.stalls) {
                true => dice.span(1_000, 50_000),
                false => dice.span(30, 150),
            };
            let last = chat.queue.last().map_or(now, |(at, _)| *at);
            let at = later(now, wait).max(last); // one partition: order is kept
            chat.queue.push((at, number));
            if dice.chance(self.moods.repeats) {
                chat.queue.push((later(at, dice.span(0, 5_000)), number));
                chat.queue.sort_by_key(|(at, _)| *at);
            }
        }
        receipt
    }

    /// Stores what is due.
    pub fn advance(&mut self, now: Timestamp, dice: &mut Dice) {
        let moods = self.moods;
        for chat in self.chats.values_mut() {
            let due = chat.queue.iter().take_while(|(at, _)| *at <= now).count();
            for (at, number) in chat.queue.drain(..due).collect::<Vec<_>>() {
                if dice.chance(moods.others) {
                    for _ in 0..=dice.below(3) {
                        chat.slots.push(Slot {
                            taken: None,
                            visible: Some(at),
                        });
                    }
                }
                if dice.chance(moods.holes) {
                    chat.slots.push(Slot {
                        taken: None,
                        visible: None,
                    });
                }
                if dice.chance(moods.vanishes) {
                    chat.slots.push(Slot {
                        taken: None,
                        visible: None,
                    });
                    self.taken[number].dropped |= self.taken[number].visible.is_none();
                    continue;
                }
                let visible = if dice.chance(moods.early_seqs) {
                    later(at, dice.span(10, 20_000))
                } else if dice.chance(moods.filled_late) {
                    later(at, dice.span(60_000, 200_000))
                } else {
                    at
                };
                chat.slots.push(Slot {
                    taken: Some(number),
                    visible: Some(visible),
                });
                let taken = &mut self.taken[number];
                taken.numbered.get_or_insert(at);
                taken.visible = Some(taken.visible.map_or(visible, |first| first.min(visible)));
            }
        }
    }

    /// The queue of a conversation is thrown away, as a batch that is too large.
    pub fn drop_queue(&mut self, conversation: &Conversation) {
        if let Some(chat) = self.chats.get_mut(conversation) {
            for (_, number) in chat.queue.drain(..) {
                if self.taken[number].visible.is_none() {
                    self.taken[number].dropped = true;
                }
            }
        }
    }

    /// The conversation is emptied and counts from 1 again.
    pub fn reset(&mut self, conversation: &Conversation, now: Timestamp) {
        if let Some(chat) = self.chats.get_mut(conversation) {
            chat.began_with_a_hole |= chat.begins_with_a_hole();
            chat.resets.push(Reset {
                at: now,
                seqs: std::mem::take(&mut chat.told),
                noticed: None,
            });
            for slot in chat.slots.drain(..) {
                if let Some(number) = slot.taken {
                    self.taken[number].wiped = true;
                }
            }
        }
    }

    pub fn hide(&mut self, conversation: &Conversation, until: Timestamp) {
        let chat = self.chats.entry(conversation.clone()).or_default();
        chat.unreadable_until = Some(until);
        chat.was_hidden = true;
    }

    /// Whether it was emptied after that moment, or so that nobody could notice: it had grown again when it was asked about.
    pub fn was_reset(&self, conversation: &Conversation, after: Timestamp) -> bool {
        let chat = self.chats.get(conversation);
        let unnoticed = |reset: &Reset| reset.noticed == Some(false);
        chat.is_some_and(|chat| {
            let mut resets = chat.resets.iter();
            resets.any(|reset| reset.at >= after || unnoticed(reset))
        })
    }

    pub fn was_hidden(&self, conversation: &Conversation) -> bool {
        let chat = self.chats.get(conversation);
        chat.is_some_and(|chat| chat.was_hidden)
    }

    /// Whether its first seq never got a message: before another one came, nothing showed that anybody can read it.
    pub fn begins_with_a_hole(&self, conversation: &Conversation) -> bool {
        let chat = self.chats.get(conversation);
        chat.is_some_and(|chat| chat.began_with_a_hole || chat.begins_with_a_hole())
    }

    pub fn says_queued(&self, operation_id: &str) -> bool {
        self.status.contains(operation_id)
    }

    pub fn newest(&mut self, conversation: &Conversation) -> i64 {
        let Some(chat) = self.chats.get_mut(conversation) else {
            return 0;
        };
        let seqs = chat.slots.len();
        for reset in &mut chat.resets {
            reset.noticed.get_or_insert(seqs < reset.seqs);
        }
        chat.told = chat.told.max(seqs);
        i64::try_from(seqs).unwrap()
    }

    /// What stands there; nothing while it cannot be read.
    pub fn pull(&self, conversation: &Conversation, span: Span, now: Timestamp) -> Vec<Found> {
        let Some(chat) = self.chats.get(conversation) else {
            return Vec::new();
        };
        if chat.unreadable_until.is_some_and(|until| until > now) {
            return Vec::new();
        }
        let seqs = (1i64..).zip(&chat.slots);
        seqs.filter(|(seq, _)| (span.begin..=span.end).contains(seq))
            .filter(|(_, slot)| slot.visible.is_some_and(|visible| visible <= now))
            .map(|(seq, slot)| match slot.taken {
                Some(number) => Found {
                    seq,
                    delivery: Some(self.taken[number].delivery),
                    receipt: self.taken[number].receipt.clone(),
                },
                None => Found {
                    seq,
                    delivery: None,
                    receipt: Receipt {
                        server_msg_id: format!("other{seq}"),
                        client_msg_id: format!("other{seq}"),
                        send_time: now.as_millisecond() + self.clock_apart,
                    },
                },
            })
            .collect()
    }

    /// Ours as they stand in a conversation: the seq of each copy that is not OpenIM's own.
    pub fn said(&self, conversation: &Conversation) -> Vec<(i64, usize)> {
        let mut seen = BTreeSet::new();
        let Some(chat) = self.chats.get(conversation) else {
            return Vec::new();
        };
        let slots = (1i64..).zip(&chat.slots);
        slots
            .filter_map(|(seq, slot)| Some((seq, slot.taken?)))
            .filter(|(_, number)| seen.insert(*number))
            .collect()
    }

    /// Every message of this delivery that was really stored, wiped ones too.
    pub fn copies(&self, delivery: DeliveryId) -> Vec<&Taken> {
        let all = self.taken.iter().filter(|taken| taken.delivery == delivery);
        all.filter(|taken| taken.visible.is_some()).collect()
    }

    /// How long nobody could use it since that moment, and until when nobody can.
    pub fn outage(&self, from: Timestamp, now: Timestamp) -> (Duration, Option<Timestamp>) {
        let overlap =
            |(begin, end): &(Timestamp, Timestamp)| ago((*begin).max(from), (*end).min(now));
        let lasted = self.downs.iter().map(overlap).sum();
        (lasted, self.down_until.filter(|until| *until > now))
    }
}

impl Taken {
    /// It came into the history later than the protocol waits for an unclear one.
    pub fn came_late(&self, settle: Duration) -> bool {
        let slack = Duration::from_secs(10); // the clocks of the owners differ
        let seen = self.visible.or(self.numbered);
        seen.is_some_and(|seen| ago(self.began, seen) + slack >= settle)
    }

    /// Its seq had no message for longer than a hole counts as young.
    pub fn was_a_hole(&self) -> bool {
        match (self.numbered, self.visible) {
            (Some(numbered), Some(visible)) => {
                ago(numbered, visible) + Duration::from_secs(5) >= HOLE_IS_YOUNG
            }
            _ => false,
        }
    }
}
