//! A model of the outbox: its rows in memory, moved by the very rules of a lane that the engines use.

use std::collections::BTreeMap;
use std::time::Duration;

use openim_bridge::deliver::decide::Policy;
use openim_bridge::model::{
    Attempt, Conversation, DeliveryId, DeliveryState, Lane, Receipt, Timestamp,
};
use openim_bridge::outbox::lane::{self, Fateful, Head, Standing, Step, Tally, Unconfirmed};
use openim_bridge::outbox::{Cursor, Decision, Fate, Look, Settled, Unsettled};

use super::later;

pub const LEASE: Duration = Duration::from_secs(30);

/// A delivery.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: DeliveryId,
    pub conversation: Conversation,
    pub state: DeliveryState,
    pub due: Timestamp,
    pub attempts: u32,
    pub sends: u32,
    pub first_attempt: Option<Timestamp>,
    pub began: Timestamp,
    pub ended: Option<Timestamp>,
    pub receipt: Option<Receipt>,
    pub unsettled: bool,
    pub missing_since: Option<Timestamp>,
    pub held: bool,
    pub seq: Option<i64>,
    /// What it was sent again for.
    pub tallies: Vec<Tally>,
    pub reason: Option<String>,
}

/// A lane.
#[derive(Clone, Debug)]
pub struct LaneRow {
    pub name: Lane,
    pub epoch: u64,
    pub owner: Option<usize>,
    pub lease_until: Timestamp,
    pub in_hand: Option<usize>,
    pub stopped: bool,
    pub held: bool,
    pub look: Option<Timestamp>,
    pub newest_look: Option<Timestamp>,
    pub looking: Option<Timestamp>,
    pub cursors: BTreeMap<Conversation, Cursor>,
    pub rows: Vec<Row>,
}

/// What a claim hands out.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub lane: usize,
    pub row: usize,
    pub delivery: DeliveryId,
    pub conversation: Conversation,
    pub attempt: Attempt,
    pub first_attempt: Timestamp,
    pub epoch: u64,
    pub hold_until: Option<Timestamp>,
    pub has_baseline: bool,
}

pub struct Rows {
    pub lanes: Vec<LaneRow>,
    /// Several owners share it, by leases; otherwise there is one, for as long as it lives.
    pub leased: bool,
}

impl LaneRow {
    fn standing(&self) -> Standing {
        let head = self.head();
        let unclear = |row: &Row| row.unsettled && row.state == DeliveryState::Sending;
        let accepted = || {
            let rows = self.rows.iter();
            rows.filter(|row| row.unsettled && row.state == DeliveryState::Accepted)
        };
        Standing {
            in_flight: self.in_hand.is_some() || self.rows.iter().any(unclear),
            stopped: self.stopped,
            held: self.held || self.rows.iter().any(|row| row.held),
            rests_until: None,
            head: head.map(|head| Head {
                due: self.rows[head].due,
                bytes: 1,
            }),
            unconfirmed: Unconfirmed {
                messages: u64::try_from(accepted().count()).unwrap(),
                bytes: 0,
                elsewhere: head.is_some_and(|head| {
                    accepted().any(|row| row.conversation != self.rows[head].conversation)
                }),
            },
        }
    }

    fn head(&self) -> Option<usize> {
        let mut rows = self.rows.iter();
        rows.position(|row| row.state == DeliveryState::Waiting)
    }

    fn is_unsettled(&self) -> bool {
        self.rows.iter().any(|row| row.unsettled)
    }

    fn in_hand_becomes_unclear(&mut self, now: Timestamp) {
        if let Some(row) = self.in_hand.take() {
            self.rows[row].unsettled = true;
            self.look = Some(now);
        }
    }
}

impl Rows {
    /// The lane is this owner's from now on, if nobody else has it.
    fn lease(&mut self, lane: usize, owner: usize, now: Timestamp) -> bool {
        let leased = self.leased;
        let lane = &mut self.lanes[lane];
        if !leased {
            return true;
        }
        if lane.owner != Some(owner) {
            if lane.owner.is_some() && lane.lease_until > now {
                return false;
            }
            lane.owner = Some(owner);
            lane.epoch += 1;
            lane.looking = None;
            lane.in_hand_becomes_unclear(now);
        }
        lane.lease_until = later(now, LEASE);
        true
    }

    /// The one process was started again.
    pub fn recover(&mut self, now: Timestamp) {
        for lane in &mut self.lanes {
            lane.epoch += 1;
            lane.looking = None;
            lane.in_hand_becomes_unclear(now);
        }
    }

    pub fn claim(&mut self, owner: usize, policy: &Policy, now: Timestamp) -> Vec<Claimed> {
        let mut claims = Vec::new();
        for number in 0..self.lanes.len() {
            let due = self.lanes[number].standing().due(policy.window);
            let wanted = due.is_some_and(|due| due <= now) || self.is_orphan(number, owner, now);
            if !wanted || !self.lease(number, owner, now) {
                continue;
            }
            let hold_until = self.leased.then(|| later(now, LEASE));
            let lane = &mut self.lanes[number];
            // A lease that changed hands may have brought an unclear one to light.
            if lane
                .standing()
                .due(policy.window)
                .is_none_or(|due| due > now)
            {
                continue;
            }
            let Some(head) = lane.head() else { continue };
            lane.in_hand = Some(head);
            let row = &mut lane.rows[head];
            row.state = DeliveryState::Sending;
            row.attempts += 1;
            row.began = now;
            row.ended = None;
            row.receipt = None;
            row.first_attempt.get_or_insert(now);
            claims.push(Claimed {
                lane: number,
                row: head,
                delivery: row.id,
                conversation: row.conversation.clone(),
                attempt: row.attempt(),
                first_attempt: row.first_attempt.unwrap(),
                epoch: lane.epoch,
                hold_until,
                has_baseline: lane.cursors.contains_key(&row.conversation),
            });
        }
        claims
    }

    /// A lane whose owner is gone with a request in flight.
    fn is_orphan(&self, lane: usize, owner: usize, now: Timestamp) -> bool {
        let lane = &self.lanes[lane];
        self.leased
            && lane.in_hand.is_some()
            && lane.owner != Some(owner)
            && lane.lease_until <= now
    }

    pub fn baseline(&mut self, lane: usize, conversation: &Conversation, seq: i64) {
        let cursors = &mut self.lanes[lane].cursors;
        let holes = Vec::new();
        cursors
            .entry(conversation.clone())
            .or_insert(Cursor { seq, holes });
    }

    /// Whether the decision was taken.
    pub fn record(&mut self, claim: &Claimed, ended: Timestamp, decision: &Decision) -> bool {
        let lane = &mut self.lanes[claim.lane];
        let row = &mut lane.rows[claim.row];
        let same = row.attempts == claim.attempt.number;
        if same && row.ended.is_none() {
            row.ended = Some(ended);
            if let Decision::Accepted { receipt, .. } = decision {
                row.receipt = receipt.clone();
            }
        }
        if !same || lane.in_hand != Some(claim.row) || lane.epoch != claim.epoch {
            return false;
        }
        lane.in_hand = None;
        let ending = lane::end(decision, row.seq.is_some());
        row.state = ending.state;
        row.reason = ending.reason;
        row.due = ending.due.unwrap_or(row.due);
        row.unsettled = ending.look.is_some();
        if let Some(look) = ending.look {
            lane.look = Some(lane.look.map_or(look, |present| present.min(look)));
            lane.newest_look = Some(look);
        }
        true
    }

    pub fn looks(&mut self, owner: usize, now: Timestamp) -> Vec<(usize, Look)> {
        let mut looks = Vec::new();
        for number in 0..self.lanes.len() {
            let lane = &self.lanes[number];
            let due = lane.look.is_some_and(|look| look <= now);
            let mine = lane.owner == Some(owner) || !self.leased;
            let wanted = due || self.is_orphan(number, owner, now);
            if !wanted || (mine && lane.looking.is_some()) || !self.lease(number, owner, now) {
                continue;
            }
            let lane = &mut self.lanes[number];
            if lane.look.is_none_or(|look| look > now) {
                continue;
            }
            lane.looking = Some(now);
            let mut unsettled: Vec<&Row> = lane.rows.iter().filter(|row| row.unsettled).collect();
            unsettled.sort_by_key(|row| row.began);
            looks.push((
                number,
                Look {
                    lane: lane.name.clone(),
                    epoch: lane.epoch,
                    hold: openim_bridge::model::Hold::Ever,
                    stopped: lane.stopped,
                    more_waits: lane.head().is_some(),
                    cursors: lane.cursors.clone(),
                    unsettled: unsettled.into_iter().map(Row::unsettled).collect(),
                },
            ));
        }
        looks
    }

    pub fn settle(&mut self, lane: usize, settled: &Settled) -> bool {
        let lane = &mut self.lanes[lane];
        let ours = settled.epoch == lane.epoch;
        for settling in &settled.fates {
            let Some(place) = lane.rows.iter().position(|row| row.id == settling.delivery) else {
                continue;
            };
            let in_hand = lane.in_hand == Some(place);
            let row = &mut lane.rows[place];
            let fateful = Fateful {
                state: row.state,
                in_hand,
                unsettled: row.unsettled,
                attempts: row.attempts,
                seq: row.seq,
            };
            let step = lane::settle(fateful, settling.attempt, &settling.fate, settling.at, ours);
            if let Fate::Stored { seq, .. } = &settling.fate {
                row.seq.get_or_insert(*seq);
            }
            row.take(&step, settling.at);
        }
        if ours {
            lane.cursors.extend(settled.cursors.clone());
        }
        let left = lane.is_unsettled();
        lane.stopped &= left;
        if !left {
            lane.look = None;
        }
        if ours {
            let begun = lane.looking.take().unwrap_or(settled.look_again);
            lane.look = lane::look_again(left, settled.look_again, lane.newest_look.take(), begun);
            lane.stopped = settled.stop && left;
        }
        ours
    }

    /// An operator says that what is held may be sent again.
    pub fn release(&mut self, lane: usize, now: Timestamp) {
        for row in &mut self.lanes[lane].rows {
            if row.held {
                let again = Step::Again {
                    due: now,
                    anew: true,
                    counts: Some(Tally::PossibleRepeat),
                };
                row.take(&again, now);
            }
        }
        if !self.lanes[lane].is_unsettled() {
            self.lanes[lane].look = None;
            self.lanes[lane].stopped = false;
        }
    }

    /// When something is due for this owner.
    pub fn next_due(
        &self,
        owner: usize,
        policy: &Policy,
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        let mut send = None;
        let mut look = None;
        let sooner = |known: &mut Option<Timestamp>, due: Timestamp| {
            *known = Some(known.map_or(due, |known| known.min(due)));
        };
        for lane in &self.lanes {
            let others = self.leased && lane.owner.is_some() && lane.owner != Some(owner);
            let from = match others {
                true => lane.lease_until,
                false => Timestamp::MIN,
            };
            if let Some(due) = lane.standing().due(policy.window) {
                sooner(&mut send, due.max(from));
            }
            if others && lane.in_hand.is_some() {
                sooner(&mut look, from);
            }
            if let Some(due) = lane.look
                && (others || lane.looking.is_none())
            {
                sooner(&mut look, due.max(from));
            }
        }
        (send, look)
    }
}

impl Row {
    pub fn new(id: DeliveryId, conversation: Conversation, now: Timestamp) -> Row {
        Row {
            id,
            conversation,
            state: DeliveryState::Waiting,
            due: now,
            attempts: 0,
            sends: 1,
            first_attempt: None,
            began: now,
            ended: None,
            receipt: None,
            unsettled: false,
            missing_since: None,
            held: false,
            seq: None,
            tallies: Vec::new(),
            reason: None,
        }
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            number: self.attempts,
            operation_id: format!("{}-{}", self.id, self.sends),
            began: self.began,
        }
    }

    fn unsettled(&self) -> Unsettled {
        Unsettled {
            delivery: self.id,
            conversation: self.conversation.clone(),
            attempt: self.attempt(),
            ended: self.ended,
            first_attempt: self.first_attempt.unwrap_or(self.began),
            accepted: self.state == DeliveryState::Accepted,
            receipt: self.receipt.clone(),
            missing_since: self.missing_since,
            held: self.held,
        }
    }

    fn take(&mut self, step: &Step, at: Timestamp) {
        match step {
            Step::Ignored | Step::Witnessed | Step::Repeated => {}
            Step::Stored => self.end(DeliveryState::Stored, None),
            Step::Accepted => self.state = DeliveryState::Accepted,
            Step::Again { due, anew, counts } => {
                self.end(DeliveryState::Waiting, None);
                self.due = *due;
                self.tallies.extend(*counts);
                if *anew {
                    self.sends += 1;
                    self.first_attempt = None;
                }
            }
            Step::Missing => {
                self.missing_since.get_or_insert(at);
            }
            Step::Held => self.held = true,
            Step::Dead(reason) => self.end(DeliveryState::Dead, Some(reason.clone())),
        }
    }

    fn end(&mut self, state: DeliveryState, reason: Option<String>) {
        self.state = state;
        self.reason = reason;
        self.unsettled = false;
        self.missing_since = None;
        self.held = false;
    }
}
