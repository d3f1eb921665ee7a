//! The rules of a lane, whatever the engine: when its head may be sent, what a fact or a decision makes of a delivery, what
//! is folded. Pure, so that every engine does the same and a simulation can drive the very code that runs.

use std::time::Duration;

use super::{Change, Decision, Fate, Prune, Window};
use crate::model::{Content, DeliveryState, Message, Timestamp};

/// Accepted or unclear for longer than this is called unproven.
pub const UNPROVEN_AFTER: Duration = Duration::from_secs(600);

/// Ids and hashes are remembered at least so long, whatever is asked: a sender may come again with an event of last month.
pub const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// At most so many deliveries of a lane are folded in one transaction; the next claim goes on from there.
pub const FOLDED_AT_ONCE: usize = 1000;

/// Why a delivery ended that another one speaks for.
pub const CAME_TOO_LATE: &str = "came too late; one line speaks for it";

/// Why a delivery ended that an operator cancelled.
pub const CANCELLED: &str = "cancelled by an operator";

/// The evidence of what was held and is sent again because an operator released its lane.
pub const RELEASED: &str = "not proven; an operator released the lane, so it is sent again";

/// What decides when the head of a lane may be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// A delivery of the lane is in hand, or it is unclear whether it was taken.
    pub in_flight: bool,
    /// A loss was proven and is not settled yet.
    pub stopped: bool,
    /// An operator holds it, or it waits for one.
    pub held: bool,
    /// Nothing before this moment: its pace.
    pub rests_until: Option<Timestamp>,
    /// The waiting delivery with the lowest position.
    pub head: Option<Head>,
    /// What is accepted in the lane and not found again yet.
    pub unconfirmed: Unconfirmed,
}

/// The head of a lane, as far as its turn depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Not before this moment.
    pub due: Timestamp,
    /// What it adds to the window.
    pub bytes: u64,
}

/// What is accepted in a lane and not found again yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Messages.
    pub messages: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Some of them went to the other conversation of the lane than the head goes to (a person's chat, and its notices).
    pub elsewhere: bool,
}

impl Standing {
    /// When the head may be sent; `None` while it may not, or nothing waits.
    pub fn due(&self, window: Window) -> Option<Timestamp> {
        let head = self.head.as_ref()?;
        let waits = self.in_flight
            || self.stopped
            || self.held
            || self.unconfirmed.elsewhere
            || is_full(self.unconfirmed, head.bytes, window);
        let due = self
            .rests_until
            .map_or(head.due, |rested| rested.max(head.due));
        (!waits).then_some(due)
    }
}

/// Whether a message of `bytes` has to wait for confirmations. One that is larger than the window goes alone.
fn is_full(unconfirmed: Unconfirmed, bytes: u64, window: Window) -> bool {
    if window.messages == 0 || unconfirmed.messages == 0 {
        return false;
    }
    unconfirmed.messages >= u64::from(window.messages)
        || unconfirmed.bytes.saturating_add(bytes) > window.bytes
}

/// What a message adds to the window: the longer of its faces, because which one is sent is known only at the server.
pub fn weight(message: &Message) -> u64 {
    let bytes = match &message.content {
        Content::Text {
            markdown, plain, ..
        } => plain.len().max(markdown.as_ref().map_or(0, String::len)),
        Content::Raw { content, .. } => content.to_string().len(),
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What an attempt that ended makes of its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Where it stands now.
    pub state: DeliveryState,
    /// Why, when it ended without success.
    pub reason: Option<String>,
    /// When it is tried again.
    pub due: Option<Timestamp>,
    /// When to look for it at OpenIM; it is unsettled then.
    pub look: Option<Timestamp>,
}

/// What a decision makes of the delivery in hand. `found` says that it was found in OpenIM's history meanwhile: then it is
/// stored, whatever the attempt came to.
pub fn end(decision: &Decision, found: bool) -> Ending {
    let ending = |state| Ending {
        state,
        reason: None,
        due: None,
        look: None,
    };
    match decision {
        _ if found => ending(DeliveryState::Stored),
        Decision::Accepted { look, .. } => Ending {
            look: *look,
            ..ending(DeliveryState::Accepted)
        },
        Decision::Refused(reason) => Ending {
            reason: Some(reason.clone()),
            ..ending(DeliveryState::Refused)
        },
        Decision::Dead(reason) => Ending {
            reason: Some(reason.clone()),
            ..ending(DeliveryState::Dead)
        },
        Decision::Again { at } => Ending {
            due: Some(*at),
            ..ending(DeliveryState::Waiting)
        },
        Decision::Unclear { look } => Ending {
            look: Some(*look),
            ..ending(DeliveryState::Sending)
        },
    }
}

/// The word for what an attempt came to.
pub fn outcome(decision: &Decision) -> &'static str {
    match decision {
        Decision::Accepted { .. } => "accepted",
        Decision::Refused(_) => "refused",
        Decision::Dead(_) => "dead",
        Decision::Again { .. } => "later",
        Decision::Unclear { .. } => "ambiguous",
    }
}

/// A delivery, as far as its fate depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fateful {
    /// Where it stands.
    pub state: DeliveryState,
    /// Its request is under way.
    pub in_hand: bool,
    /// It is accepted or unclear, and looked for.
    pub unsettled: bool,
    /// The number of its latest attempt.
    pub attempts: u32,
    /// Where it was found at OpenIM.
    pub seq: Option<i64>,
}

/// What a fate makes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is about an earlier attempt, or somebody else decides.
    Ignored,
    /// It is found while its next attempt is under way: its seq is noted, and the attempt comes to its end.
    Witnessed,
    /// It is stored and found at another place as well: that is noted.
    Repeated,
    /// It ends as stored.
    Stored,
    /// It becomes accepted, and is still looked for.
    Accepted,
    /// It waits in its old place.
    Again {
        /// Not before this moment.
        due: Timestamp,
        /// Whether it is a new send, with an operationID and a horizon of its own.
        anew: bool,
        /// What it counts as.
        counts: Option<Tally>,
    },
    /// It is missing; a second reading has to confirm that.
    Missing,
    /// It and its lane wait for an operator.
    Held,
    /// It ends as dead.
    Dead(String),
}

/// Something that happens to deliveries and is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Proven lost at OpenIM, and sent again.
    Dropped,
    /// Sent again without proof.
    PossibleRepeat,
}

impl Tally {
    /// The word it is counted under.
    pub fn word(self) -> &'static str {
        match self {
            Tally::Dropped => "dropped",
            Tally::PossibleRepeat => "possible repeats",
        }
    }
}

/// What a fate makes of a delivery. `about` is the attempt it is about, `at` when it was known, and `ours` says that the
/// lane is still in the hands of who brings it: facts are believed from anybody, decisions are not.
pub fn settle(delivery: Fateful, about: u32, fate: &Fate, at: Timestamp, ours: bool) -> Step {
    if let Fate::Stored { seq, .. } = fate {
        return match delivery.state {
            _ if delivery.in_hand => Step::Witnessed,
            DeliveryState::Stored if delivery.seq == Some(*seq) => Step::Ignored,
            DeliveryState::Stored => Step::Repeated,
            _ => Step::Stored,
        };
    }
    if !ours || !delivery.unsettled || delivery.attempts != about {
        return Step::Ignored;
    }
    let unclear = delivery.state == DeliveryState::Sending;
    let step = match fate {
        Fate::Taken if unclear => Step::Accepted,
        Fate::NotTaken { again } if unclear => Step::Again {
            due: *again,
            anew: false,
            counts: None,
        },
        Fate::Stored { .. } | Fate::Taken | Fate::NotTaken { .. } => Step::Ignored,
        Fate::Missing => Step::Missing,
        Fate::Dropped => Step::Again {
            due: at,
            anew: true,
            counts: Some(Tally::Dropped),
        },
        Fate::Unproven => Step::Again {
            due: at,
            anew: true,
            counts: Some(Tally::PossibleRepeat),
        },
        Fate::Held => Step::Held,
        Fate::Dead(reason) => Step::Dead(reason.clone()),
    };
    match step {
        // It stands in the history from an earlier attempt: nothing is sent again, and nobody has to decide.
        Step::Again { .. } | Step::Held | Step::Dead(_) if delivery.seq.is_some() => Step::Stored,
        step => step,
    }
}

/// When to look at a lane again after it was settled. `newest` is what the latest acceptance asked for; it came while the
/// lane was looked at (from `begun` on) if it is later than that.
pub fn look_again(
    unsettled_left: bool,
    look_again: Timestamp,
    newest: Option<Timestamp>,
    begun: Timestamp,
) -> Option<Timestamp> {
    let newest = newest.filter(|newest| *newest > begun);
    unsettled_left.then(|| newest.map_or(look_again, |newest| newest.min(look_again)))
}

/// A line of evidence as it stands in the record of an attempt.
pub fn evidence(at: Timestamp, words: &str) -> String {
    format!("{at:.0} {words}")
}

/// A waiting delivery at the front of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Not shown any more after this moment.
    pub expires: Option<Timestamp>,
    /// For how many it speaks; 0: only for itself.
    pub folds: u64,
}

/// How many at the front of a lane have come too late, and for how many messages the last of them speaks then.
pub fn fold(front: impl IntoIterator<Item = Waiting>, now: Timestamp) -> (usize, u64) {
    front
        .into_iter()
        .take_while(|waiting| waiting.expires.is_some_and(|expires| expires <= now))
        .fold((0, 0), |(rows, folds), waiting| {
            (rows + 1, folds + waiting.folds.max(1))
        })
}

/// What an operator's wish makes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It goes to the end of its lane, as a new send.
    PutBack,
    /// It is due at once.
    Hurried,
    /// It ends as cancelled.
    Cancelled,
}

/// What a change makes of a delivery in this state; `None` when it cannot be done. What has no message (it was never
/// rendered, or it was pruned) cannot be sent.
pub fn change(change: Change, state: DeliveryState, has_message: bool) -> Option<Wish> {
    use DeliveryState::{Cancelled, Dead, Refused, Unrendered, Waiting};
    match (change, state) {
        (Change::Retry, Waiting) => Some(Wish::Hurried),
        (Change::Retry, Refused | Dead | Cancelled) if has_message => Some(Wish::PutBack),
        (Change::Cancel, Waiting | Unrendered | Refused | Dead) => Some(Wish::Cancelled),
        _ => None,
    }
}

impl Prune {
    /// Before when ids are forgotten: never younger than [`REMEMBERED`].
    pub fn forgets_before(&self, now: Timestamp) -> Timestamp {
        let oldest = now.saturating_sub(REMEMBERED).unwrap_or(Timestamp::MIN);
        self.forget_before.min(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Receipt;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A lane whose head can be sent.
    fn free() -> Standing {
        Standing {
            head: Some(Head {
                due: at(10),
                bytes: 100,
            }),
            ..Standing::default()
        }
    }

    fn unconfirmed(messages: u64, bytes: u64) -> Unconfirmed {
        Unconfirmed {
            messages,
            bytes,
            elsewhere: false,
        }
    }

    #[test]
    fn a_head_is_due_in_its_time_and_after_the_rest_of_its_lane() {
        let window = Window::default();
        assert_eq!(free().due(window), Some(at(10)));
        let rests = |second| Standing {
            rests_until: Some(at(second)),
            ..free()
        };
        assert_eq!(rests(20).due(window), Some(at(20)));
        assert_eq!(rests(5).due(window), Some(at(10)));
        assert_eq!(Standing::default().due(window), None);
    }

    #[test]
    fn whatever_is_in_its_way_keeps_a_head_from_being_due() {
        let elsewhere = Unconfirmed {
            elsewhere: true,
            ..unconfirmed(1, 1)
        };
        for waits in [
            Standing {
                in_flight: true,
                ..free()
            },
            Standing {
                stopped: true,
                ..free()
            },
            Standing {
                held: true,
                ..free()
            },
            Standing {
                unconfirmed: elsewhere,
                ..free()
            },
        ] {
            assert_eq!(waits.due(Window::default()), None, "{waits:?}");
        }
    }

    #[test]
    fn a_window_holds_so_many_messages_and_bytes_and_one_larger_message() {
        let window = Window {
            messages: 2,
            bytes: 200,
        };
        let due = |unconfirmed| {
            let lane = Standing {
                unconfirmed,
                ..free()
            };
            lane.due(window).is_some()
        };
        assert!(due(unconfirmed(1, 100)));
        assert!(!due(unconfirmed(1, 101)));
        assert!(!due(unconfirmed(2, 2)));
        let large = Standing {
            head: Some(Head {
                due: at(0),
                bytes: 1000,
            }),
            ..free()
        };
        assert!(large.due(window).is_some(), "it goes alone");
        let none = Window {
            messages: 0,
            bytes: 0,
        };
        let full = Standing {
            unconfirmed: unconfirmed(99, 99),
            ..free()
        };
        assert!(full.due(none).is_some());
    }

    /// An accepted delivery at its second attempt.
    fn accepted() -> Fateful {
        Fateful {
            state: DeliveryState::Accepted,
            in_hand: false,
            unsettled: true,
            attempts: 2,
            seq: None,
        }
    }

    fn stored(seq: i64) -> Fate {
        Fate::Stored {
            seq,
            receipt: Receipt {
                server_msg_id: "s".into(),
                client_msg_id: "c".into(),
                send_time: 0,
            },
        }
    }

    #[test]
    fn a_fact_is_believed_from_anybody_about_any_attempt() {
        let all = DeliveryState::ALL.into_iter();
        for state in all.filter(|state| *state != DeliveryState::Stored) {
            let step = settle(
                Fateful {
                    state,
                    unsettled: false,
                    ..accepted()
                },
                0,
                &stored(7),
                at(0),
                false,
            );
            assert_eq!(step, Step::Stored, "{state:?}");
        }
        let in_hand = Fateful {
            in_hand: true,
            ..accepted()
        };
        assert_eq!(settle(in_hand, 2, &stored(7), at(0), true), Step::Witnessed);
        let found = |seq| Fateful {
            state: DeliveryState::Stored,
            unsettled: false,
            seq: Some(seq),
            ..accepted()
        };
        let again = |seq| settle(found(seq), 0, &stored(7), at(0), false);
        assert_eq!((again(7), again(6)), (Step::Ignored, Step::Repeated));
    }

    #[test]
    fn what_stands_in_the_history_is_never_sent_again() {
        let found = Fateful {
            seq: Some(7),
            ..accepted()
        };
        for fate in [
            Fate::Dropped,
            Fate::Unproven,
            Fate::Held,
            Fate::Dead("no".into()),
        ] {
            assert_eq!(settle(found, 2, &fate, at(0), true), Step::Stored);
        }
        for decision in [
            Decision::Again { at: at(0) },
            Decision::Unclear { look: at(0) },
            Decision::Dead("no".into()),
        ] {
            assert_eq!(end(&decision, true).state, DeliveryState::Stored);
        }
    }

    #[test]
    fn what_is_accepted_during_a_look_keeps_its_time() {
        let again = |newest| look_again(true, at(100), newest, at(50));
        assert_eq!(again(None), Some(at(100)));
        assert_eq!(again(Some(at(50))), Some(at(100)), "it was looked for");
        assert_eq!(again(Some(at(60))), Some(at(60)));
        assert_eq!(again(Some(at(200))), Some(at(100)));
        assert_eq!(look_again(false, at(100), Some(at(60)), at(50)), None);
    }

    #[test]
    fn evidence_names_the_second() {
        let line = evidence(
            "2026-11-23T12:00:00.5Z".parse().unwrap(),
            "found at seq 812",
        );
        assert_eq!(line, "2026-11-23T12:00:00Z found at seq 812");
    }
}
