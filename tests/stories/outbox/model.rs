//! Random lives of an outbox beside a model small enough to be believed.

use std::collections::{BTreeMap, BTreeSet};

use openim_bridge::model::*;
use openim_bridge::outbox::*;
use proptest::prelude::*;

use super::postgres::Database;
use super::sqlite::Folder;
use super::*;

/// Two messages at a time, so that windows fill.
const WINDOW: Window = Window {
    messages: 2,
    bytes: 1 << 20,
};

/// What expires does so after this.
const SHOWN: Duration = Duration::from_secs(3);

/// Something that happens to an outbox.
#[derive(Clone, Debug)]
enum Step {
    /// The event with this number comes, with these deliveries.
    Keep(u8, Vec<Made>),
    /// More deliveries of the event with this number.
    Append(u8, Vec<Made>),
    /// The courier takes at most so many.
    Claim(usize),
    /// One of the claims in hand comes back.
    Record(usize, Ending),
    /// At most so many lanes are looked at.
    Look(usize),
    /// One of the looks comes back: what it says of each unsettled one, whether the lane stops, and what a look that was
    /// lost says of the first one, as a fact.
    Settle(usize, Vec<Seen>, bool),
    /// A look that was over long ago brings a fact about any delivery.
    Fact(usize),
    /// An operator holds a lane, or releases it.
    Hold(u8, bool),
    /// An operator changes a delivery.
    Change(usize, Change),
    /// A template works at last.
    Rendered(usize),
    /// Time passes.
    Pass(u8),
    /// It is closed and opened.
    Restart,
    /// The machine stops, and starts again.
    Crash,
}

/// A delivery to be made: its lane, whether it goes as a notice, whether its template is broken, whether it expires.
#[derive(Clone, Copy, Debug)]
struct Made {
    lane: u8,
    notice: bool,
    broken: bool,
    expires: bool,
}

#[derive(Clone, Debug)]
enum Ending {
    Accepted,
    /// Accepted, and looked for after so many seconds.
    Queued(u8),
    /// Unclear, and looked for after so many seconds.
    Unclear(u8),
    Refused,
    Dead,
    /// Again after so many seconds.
    Again(u8),
    /// Accepted, and the lane rests so many seconds.
    Rests(u8),
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    Stored,
    Taken,
    NotTaken(u8),
    Missing,
    Dropped,
    Unproven,
    Held,
    Dead,
}

fn a_delivery() -> impl Strategy<Value = Made> {
    let rarely = || proptest::bool::weighted(0.1);
    (
        0..3_u8,
        proptest::bool::weighted(0.3),
        rarely(),
        proptest::bool::weighted(0.3),
    )
        .prop_map(|(lane, notice, broken, expires)| Made {
            lane,
            notice,
            broken,
            expires,
        })
}

fn a_step() -> impl Strategy<Value = Step> {
    let made = || proptest::collection::vec(a_delivery(), 0..3);
    let ending = prop_oneof![
        2 => Just(Ending::Accepted),
        6 => (0..3_u8).prop_map(Ending::Queued),
        3 => (0..3_u8).prop_map(Ending::Unclear),
        1 => Just(Ending::Refused),
        1 => Just(Ending::Dead),
        2 => (0..5_u8).prop_map(Ending::Again),
        1 => (0..5_u8).prop_map(Ending::Rests),
    ];
    let seen = prop_oneof![
        3 => Just(Seen::Nothing),
        4 => Just(Seen::Stored),
        1 => Just(Seen::Taken),
        2 => (0..3_u8).prop_map(Seen::NotTaken),
        1 => Just(Seen::Missing),
        1 => Just(Seen::Dropped),
        1 => Just(Seen::Unproven),
        1 => Just(Seen::Held),
        1 => Just(Seen::Dead),
    ];
    let seen = proptest::collection::vec(seen, 4);
    let change = prop_oneof![Just(Change::Retry), Just(Change::Cancel)];
    prop_oneof![
        8 => (0..12_u8, made()).prop_map(|(event, made)| Step::Keep(event, made)),
        1 => (0..12_u8, made()).prop_map(|(event, made)| Step::Append(event, made)),
        7 => (0..4_usize).prop_map(Step::Claim),
        8 => (any::<usize>(), ending).prop_map(|(which, ending)| Step::Record(which, ending)),
        5 => (0..4_usize).prop_map(Step::Look),
        6 => (any::<usize>(), seen, proptest::bool::weighted(0.2))
            .prop_map(|(which, seen, stop)| Step::Settle(which, seen, stop)),
        1 => any::<usize>().prop_map(Step::Fact),
        2 => (0..3_u8, any::<bool>()).prop_map(|(lane, hold)| Step::Hold(lane, hold)),
        2 => (any::<usize>(), change).prop_map(|(which, change)| Step::Change(which, change)),
        1 => any::<usize>().prop_map(Step::Rendered),
        3 => (0..4_u8).prop_map(Step::Pass),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

/// What should be so.
#[derive(Default)]
struct Model {
    events: BTreeMap<u8, Known>,
    lanes: BTreeMap<Lane, Row>,
    deliveries: BTreeMap<DeliveryId, Owed>,
    /// In the order of their making.
    order: Vec<DeliveryId>,
    dropped: u64,
    possible_repeats: u64,
}

/// An event that was kept.
#[derive(Default)]
struct Known {
    routed: bool,
    deliveries: Vec<DeliveryId>,
}

/// A lane.
#[derive(Default)]
struct Row {
    last_position: u64,
    in_hand: Option<DeliveryId>,
    rests_until: Option<Timestamp>,
    stopped: bool,
    /// Held; the flag says that it is by an operator.
    held: Option<bool>,
    look: Option<Timestamp>,
    newest: Option<Timestamp>,
    /// It is being looked at since then.
    looking: Option<Timestamp>,
}

/// A delivery.
struct Owed {
    state: DeliveryState,
    position: u64,
    due: Timestamp,
    attempts: u32,
    sends: u32,
    to: Conversation,
    expires: Option<Timestamp>,
    folds: u64,
    has_message: bool,
    unsettled: bool,
    held: bool,
    missing: bool,
    seq: Option<i64>,
}

impl Model {
    fn keep(&mut self, number: u8, routed: bool, made: &[NewDelivery], now: Timestamp) -> Kept {
        if self
            .events
            .get(&number)
            .is_some_and(|event| event.routed || !routed)
        {
            return self.repeat(number, now);
        }
        self.events.entry(number).or_default().routed = routed;
        self.make(number, made, now);
        Kept::New {
            deliveries: made.len(),
        }
    }

    fn append(&mut self, number: u8, made: &[NewDelivery], now: Timestamp) -> bool {
        let Some(event) = self.events.get_mut(&number) else {
            return false;
        };
        event.routed = true;
        self.make(number, made, now);
        true
    }

    fn make(&mut self, number: u8, made: &[NewDelivery], now: Timestamp) {
        for one in made {
            let event = self.events.get_mut(&number).unwrap();
            event.deliveries.push(one.id);
            self.order.push(one.id);
            let ready = matches!(one.rendered, Rendered::Ready(_));
            let owed = Owed {
                state: match ready {
                    true => DeliveryState::Waiting,
                    false => DeliveryState::Unrendered,
                },
                position: 0,
                due: now,
                attempts: 0,
                sends: 1,
                to: one.conversation.clone(),
                expires: one.expires.as_ref().map(|expires| expires.at),
                folds: 0,
                has_message: ready,
                unsettled: false,
                held: false,
                missing: false,
                seq: None,
            };
            self.deliveries.insert(one.id, owed);
            self.lanes.entry(one.conversation.lane()).or_default();
            if ready {
                self.place(one.id);
            }
        }
    }

    /// Gives it the next position in its lane.
    fn place(&mut self, id: DeliveryId) {
        let owed = self.deliveries.get_mut(&id).unwrap();
        let row = self.lanes.get_mut(&owed.to.lane()).unwrap();
        row.last_position += 1;
        owed.position = row.last_position;
    }

    fn put_back(&mut self, id: DeliveryId, now: Timestamp) {
        self.place(id);
        let owed = self.deliveries.get_mut(&id).unwrap();
        owed.state = DeliveryState::Waiting;
        owed.due = now;
        owed.sends += 1;
        if owed.folds <= 1 {
            (owed.folds, owed.expires) = (0, None);
        }
    }

    fn repeat(&mut self, number: u8, now: Timestamp) -> Kept {
        let mut became = BTreeMap::new();
        let mut put_back = 0;
        for id in self.events[&number].deliveries.clone() {
            let state = self.deliveries[&id].state;
            *became.entry(state).or_default() += 1;
            if matches!(state, DeliveryState::Dead | DeliveryState::Refused) {
                self.put_back(id, now);
                put_back += 1;
            }
        }
        Kept::Repeat { became, put_back }
    }

    /// What of a lane fits.
    fn of<'a>(
        &'a self,
        lane: &'a Lane,
        fits: impl Fn(&Owed) -> bool + 'a,
    ) -> impl Iterator<Item = (DeliveryId, &'a Owed)> {
        let all = self.deliveries.iter().map(|(id, owed)| (*id, owed));
        all.filter(move |(_, owed)| owed.to.lane() == *lane && fits(owed))
    }

    /// What waits in a lane, the head first.
    fn waiting(&self, lane: &Lane) -> Vec<DeliveryId> {
        let waits = |owed: &Owed| owed.state == DeliveryState::Waiting;
        let mut waiting: Vec<_> = self.of(lane, waits).collect();
        waiting.sort_by_key(|(_, owed)| owed.position);
        waiting.into_iter().map(|(id, _)| id).collect()
    }

    /// When the head of a lane may be sent.
    fn due(&self, lane: &Lane) -> Option<Timestamp> {
        let row = &self.lanes[lane];
        let head = &self.deliveries[self.waiting(lane).first()?];
        let unconfirmed: Vec<_> = self
            .of(lane, |owed| {
                owed.unsettled && owed.state == DeliveryState::Accepted
            })
            .collect();
        let unclear = self
            .of(lane, |owed| owed.state == DeliveryState::Sending)
            .next()
            .is_some();
        let elsewhere = unconfirmed.iter().any(|(_, owed)| owed.to != head.to);
        if unclear || elsewhere || row.stopped || row.held.is_some() || unconfirmed.len() >= 2 {
            return None;
        }
        Some(
            row.rests_until
                .map_or(head.due, |rested| rested.max(head.due)),
        )
    }

    fn next_due(&self) -> NextDue {
        let looks = self.lanes.values().filter(|row| row.looking.is_none());
        NextDue {
            send: self.lanes.keys().filter_map(|lane| self.due(lane)).min(),
            look: looks.filter_map(|row| row.look).min(),
        }
    }

    /// How many lanes have something to send.
    fn ready(&self, now: Timestamp) -> usize {
        let ready = |lane: &&Lane| self.due(lane).is_some_and(|due| due <= now);
        self.lanes.keys().filter(ready).count()
    }

    /// Folds what came too late at the head of a lane; for how many its head speaks then.
    fn fold(&mut self, lane: &Lane, now: Timestamp) -> Option<u64> {
        let mut late = self.waiting(lane);
        let is_late = |id: &DeliveryId| self.deliveries[id].expires.is_some_and(|at| at <= now);
        let to = late.first().map(|id| self.deliveries[id].to.clone());
        let here = |id: &DeliveryId| Some(&self.deliveries[id].to) == to.as_ref();
        let many = late.iter().take_while(|id| is_late(id) && here(id)).count();
        late.truncate(many);
        let (speaker, silent) = late.split_last()?;
        let folds = late.iter().map(|id| self.deliveries[id].folds.max(1)).sum();
        for id in silent {
            let owed = self.deliveries.get_mut(id).unwrap();
            (owed.state, owed.folds) = (DeliveryState::Dead, 0);
        }
        let speaker = self.deliveries.get_mut(speaker).unwrap();
        (speaker.folds, speaker.due) = (folds, speaker.due.min(now));
        Some(folds)
    }

    fn claim(&mut self, claim: &Claim, now: Timestamp) {
        let lane = claim.conversation.lane();
        assert!(self.due(&lane).is_some_and(|due| due <= now), "not due");
        let folds = self.fold(&lane, now);
        assert_eq!(claim.folded.as_ref().map(|folded| folded.count), folds);
        assert_eq!(self.waiting(&lane).first(), Some(&claim.delivery));
        self.lanes.get_mut(&lane).unwrap().in_hand = Some(claim.delivery);
        let owed = self.deliveries.get_mut(&claim.delivery).unwrap();
        owed.state = DeliveryState::Sending;
        owed.attempts += 1;
        assert_eq!(claim.attempt.number, owed.attempts);
        let operation_id = format!("{}-{}", claim.delivery, owed.sends);
        assert_eq!(claim.attempt.operation_id, operation_id);
    }

    fn record(&mut self, record: &Record) {
        let owed = self.deliveries.get_mut(&record.delivery).unwrap();
        let row = self.lanes.get_mut(&owed.to.lane()).unwrap();
        row.in_hand = None;
        row.rests_until = record.lane_rests_until.or(row.rests_until);
        let mut look = None;
        owed.state = match record.decision {
            _ if owed.seq.is_some() => DeliveryState::Stored,
            Decision::Accepted { look: when, .. } => {
                look = when;
                DeliveryState::Accepted
            }
            Decision::Refused(_) => DeliveryState::Refused,
            Decision::Dead(_) => DeliveryState::Dead,
            Decision::Again { at } => {
                owed.due = at;
                DeliveryState::Waiting
            }
            Decision::Unclear { look: when } => {
                look = Some(when);
                DeliveryState::Sending
            }
        };
        owed.unsettled = look.is_some();
        if let Some(look) = look {
            row.look = Some(row.look.map_or(look, |old| old.min(look)));
            row.newest = Some(row.newest.map_or(look, |old| old.max(look)));
        }
    }

    fn settle(&mut self, settled: &Settled, ours: bool) {
        for settling in &settled.fates {
            self.take(settling, &settled.lane, ours);
        }
        self.after(&settled.lane);
        if ours {
            let left = self.is_unsettled(&settled.lane);
            let row = self.lanes.get_mut(&settled.lane).unwrap();
            row.stopped = settled.stop && left;
            let begun = row.looking.take().unwrap_or(Timestamp::MAX);
            let newest = row.newest.take().filter(|newest| *newest > begun);
            let again = newest.map_or(settled.look_again, |it| it.min(settled.look_again));
            row.look = left.then_some(again);
        }
    }

    fn is_unsettled(&self, lane: &Lane) -> bool {
        self.of(lane, |owed| owed.unsettled).next().is_some()
    }

    fn after(&mut self, lane: &Lane) {
        let left = self.is_unsettled(lane);
        let held = self.of(lane, |owed| owed.held).next().is_some();
        let row = self.lanes.get_mut(lane).unwrap();
        if !left {
            (row.stopped, row.look, row.newest) = (false, None, None);
        }
        if row.held == Some(false) && !held {
            row.held = None;
        }
    }

    fn take(&mut self, settling: &Settling, lane: &Lane, ours: bool) {
        let owed = self.deliveries.get_mut(&settling.delivery).unwrap();
        let row = self.lanes.get_mut(lane).unwrap();
        if let Fate::Stored { seq, .. } = settling.fate {
            if owed.state == DeliveryState::Stored {
                return;
            }
            owed.seq = Some(seq);
            if row.in_hand != Some(settling.delivery) {
                owed.state = DeliveryState::Stored;
                (owed.unsettled, owed.held, owed.missing) = (false, false, false);
            }
            return;
        }
        if !ours || !owed.unsettled || owed.attempts != settling.attempt {
            return;
        }
        let unclear = owed.state == DeliveryState::Sending;
        let sends_again = match settling.fate {
            Fate::NotTaken { .. } => unclear,
            Fate::Dropped | Fate::Unproven | Fate::Held | Fate::Dead(_) => true,
            Fate::Stored { .. } | Fate::Taken | Fate::Missing => false,
        };
        if sends_again && owed.seq.is_some() {
            // It was found while a later attempt was in hand, and nobody wrote down how that ended: it is there.
            owed.state = DeliveryState::Stored;
            (owed.unsettled, owed.held, owed.missing) = (false, false, false);
            return;
        }
        let again = |owed: &mut Owed, due, anew| {
            owed.state = DeliveryState::Waiting;
            owed.due = due;
            owed.sends += u32::from(anew);
            (owed.unsettled, owed.held, owed.missing) = (false, false, false);
        };
        match &settling.fate {
            Fate::Taken if unclear => owed.state = DeliveryState::Accepted,
            Fate::NotTaken { again: due } if unclear => again(owed, *due, false),
            Fate::Stored { .. } | Fate::Taken | Fate::NotTaken { .. } => {}
            Fate::Missing => owed.missing = true,
            Fate::Dropped => {
                again(owed, settling.at, true);
                self.dropped += 1;
            }
            Fate::Unproven => {
                again(owed, settling.at, true);
                self.possible_repeats += 1;
            }
            Fate::Held => {
                owed.held = true;
                row.held = row.held.or(Some(false));
            }
            Fate::Dead(_) => {
                owed.state = DeliveryState::Dead;
                (owed.unsettled, owed.held, owed.missing) = (false, false, false);
            }
        }
    }

    fn hold(&mut self, lane: &Lane, hold: bool, now: Timestamp) -> bool {
        let Some(row) = self.lanes.get_mut(lane) else {
            return false;
        };
        row.held = hold.then_some(true);
        if !hold {
            let held: Vec<_> = self.of(lane, |owed| owed.held).map(|(id, _)| id).collect();
            for id in held {
                let owed = self.deliveries.get_mut(&id).unwrap();
                (owed.unsettled, owed.held, owed.missing) = (false, false, false);
                (owed.state, owed.due) = (DeliveryState::Waiting, now);
                owed.sends += 1;
                self.possible_repeats += 1;
            }
            self.after(lane);
        }
        true
    }

    fn change(&mut self, id: DeliveryId, change: Change, now: Timestamp) -> Changed {
        use DeliveryState::{Cancelled, Dead, Refused, Unrendered, Waiting};
        let owed = self.deliveries.get_mut(&id).unwrap();
        match (change, owed.state) {
            (Change::Retry, Waiting) => owed.due = now,
            (Change::Retry, Refused | Dead | Cancelled) if owed.has_message => {
                self.put_back(id, now);
            }
            (Change::Cancel, Waiting | Unrendered | Refused | Dead) => owed.state = Cancelled,
            (_, state) => return Changed::Not(state),
        }
        Changed::Done
    }

    fn rendered(&mut self, id: DeliveryId, now: Timestamp) -> bool {
        let owed = self.deliveries.get_mut(&id).unwrap();
        if owed.state != DeliveryState::Unrendered {
            return false;
        }
        (owed.state, owed.due, owed.has_message) = (DeliveryState::Waiting, now, true);
        self.place(id);
        true
    }

    fn recover(&mut self, now: Timestamp) {
        for row in self.lanes.values_mut() {
            row.looking = None;
            if let Some(id) = row.in_hand.take() {
                self.deliveries.get_mut(&id).unwrap().unsettled = true;
                row.look = Some(row.look.map_or(now, |look| look.min(now)));
                row.newest = Some(row.newest.map_or(now, |newest| newest.max(now)));
            }
        }
    }

    /// What a look should show of a lane: each delivery with whether it is accepted, missing, held.
    fn unsettled(&self, lane: &Lane) -> BTreeSet<(DeliveryId, bool, bool, bool)> {
        self.of(lane, |owed| owed.unsettled)
            .map(|(id, owed)| {
                let accepted = owed.state == DeliveryState::Accepted;
                (id, accepted, owed.missing, owed.held)
            })
            .collect()
    }

    fn look(&mut self, look: &Look, now: Timestamp) {
        let unsettled = look.unsettled.iter();
        let shown: BTreeSet<_> = unsettled
            .map(|it| {
                (
                    it.delivery,
                    it.accepted,
                    it.missing_since.is_some(),
                    it.held,
                )
            })
            .collect();
        assert_eq!(shown, self.unsettled(&look.lane));
        assert_eq!(look.more_waits, !self.waiting(&look.lane).is_empty());
        let row = self.lanes.get_mut(&look.lane).unwrap();
        assert!(row.looking.is_none() && row.look.is_some_and(|at| at <= now));
        assert_eq!(look.stopped, row.stopped);
        row.looking = Some(now);
    }

    fn lookable(&self, now: Timestamp) -> usize {
        let due = |row: &&Row| row.looking.is_none() && row.look.is_some_and(|at| at <= now);
        self.lanes.values().filter(due).count()
    }

    fn counts(&self) -> BTreeMap<DeliveryState, u64> {
        let mut counts = BTreeMap::from(DeliveryState::ALL.map(|state| (state, 0)));
        for owed in self.deliveries.values() {
            *counts.get_mut(&owed.state).unwrap() += 1;
        }
        counts
    }
}

/// An outbox and its model, on their way together.
struct Life {
    engine: Box<dyn Engine>,
    clock: Clock,
    lever: Lever,
    outbox: Arc<dyn Outbox>,
    model: Model,
    in_hand: Vec<Claim>,
    looks: Vec<Look>,
    /// Looks that are over.
    old: Vec<Look>,
    /// The numbers of the events, as the outbox gave them.
    numbers: BTreeMap<u8, i64>,
    next_seq: i64,
}

impl Life {
    fn begin(engine: Box<dyn Engine>) -> Life {
        let (clock, lever) = clock();
        Life {
            outbox: engine.open_with(WINDOW, &clock),
            engine,
            clock,
            lever,
            model: Model::default(),
            in_hand: Vec::new(),
            looks: Vec::new(),
            old: Vec::new(),
            numbers: BTreeMap::new(),
            next_seq: 1,
        }
    }

    async fn step(&mut self, step: Step) {
        self.lever.advance(Duration::from_millis(1));
        let now = self.clock.now();
        match step {
            Step::Keep(number, made) => {
                let made = self.make(&made);
                let name = format!("event {number}");
                let one = new(event(&name, &name, &self.clock), made.clone());
                let expected = self.model.keep(number, one.routed, &made, now);
                assert_eq!(self.outbox.keep(one).await.unwrap(), expected);
                let next = i64::try_from(self.numbers.len()).unwrap() + 1;
                self.numbers.entry(number).or_insert(next);
            }
            Step::Append(number, made) => {
                let made = self.make(&made);
                let known = self.numbers.get(&number).copied().unwrap_or(9000);
                let expected = self.model.append(number, &made, now);
                assert_eq!(self.outbox.append(known, made).await.unwrap(), expected);
            }
            Step::Claim(most) => {
                let ready = self.model.ready(now);
                let claims = self.outbox.claim(most, now).await.unwrap();
                assert_eq!(claims.len(), most.min(ready));
                for claim in claims {
                    self.model.claim(&claim, now);
                    self.in_hand.push(claim);
                }
            }
            Step::Record(_, _) if self.in_hand.is_empty() => {}
            Step::Record(which, ending) => {
                let claim = self.in_hand.swap_remove(which % self.in_hand.len());
                let ended = end(&claim, &ending, &self.clock);
                self.model.record(&ended);
                self.outbox.record(ended).await.unwrap();
            }
            Step::Look(most) => {
                let due = self.model.lookable(now);
                let looks = self.outbox.looks(most, now).await.unwrap();
                assert_eq!(looks.len(), most.min(due));
                for look in looks {
                    self.model.look(&look, now);
                    self.looks.push(look);
                }
            }
            Step::Settle(_, _, _) if self.looks.is_empty() => {}
            Step::Settle(which, seen, stop) => {
                let look = self.looks.swap_remove(which % self.looks.len());
                let settled = self.settled(&look, &seen, stop);
                self.model.settle(&settled, true);
                assert_eq!(self.outbox.settle(vec![settled]).await.unwrap(), [true]);
                self.old.push(look);
            }
            Step::Fact(_) if self.old.is_empty() => {}
            Step::Fact(which) => {
                let look = self.old[which % self.old.len()].clone();
                let mut settled = self.settled(&look, &[Seen::Stored, Seen::Dropped], true);
                settled.epoch = look.epoch + 1000;
                self.model.settle(&settled, false);
                assert_eq!(self.outbox.settle(vec![settled]).await.unwrap(), [false]);
                // Whoever brings it ends the look; the next one sees what it left.
                if let Some(row) = self.model.lanes.get_mut(&look.lane) {
                    row.looking = None;
                    self.looks.retain(|other| other.lane != look.lane);
                }
            }
            Step::Hold(lane, hold) => {
                let lane = Conversation::Person(lane.to_string()).lane();
                let expected = self.model.hold(&lane, hold, now);
                let why = hold.then(|| "the model".to_owned());
                assert_eq!(self.outbox.hold(lane, why).await.unwrap(), expected);
            }
            Step::Change(_, _) | Step::Rendered(_) if self.model.order.is_empty() => {}
            Step::Change(which, change) => {
                let id = self.model.order[which % self.model.order.len()];
                let expected = self.model.change(id, change, now);
                let changed = self.outbox.change(vec![id], change).await.unwrap();
                assert_eq!(changed, [expected]);
            }
            Step::Rendered(which) => {
                let id = self.model.order[which % self.model.order.len()];
                let expected = self.model.rendered(id, now);
                let rendered = self.outbox.rendered(id, message("mended"));
                assert_eq!(rendered.await.unwrap(), expected);
            }
            Step::Pass(seconds) => self.lever.advance(Duration::from_secs(seconds.into())),
            Step::Restart => {
                self.outbox.close().await.unwrap();
                self.begin_again(now);
            }
            Step::Crash => {
                self.engine.crash();
                self.begin_again(now);
            }
        }
        self.check().await;
    }

    fn begin_again(&mut self, now: Timestamp) {
        self.outbox = self.engine.open_with(WINDOW, &self.clock);
        self.model.recover(now);
        self.in_hand.clear();
        self.looks.clear();
    }

    fn make(&self, made: &[Made]) -> Vec<NewDelivery> {
        let one = |made: &Made| {
            let to = match made.notice {
                true => format!("notice:#{}", made.lane),
                false => format!("person:#{}", made.lane),
            };
            let mut new = delivery(&to, "text", &self.clock);
            if made.broken {
                new.rendered = Rendered::Broken("line 1".into());
            }
            new.expires = made.expires.then(|| Expires {
                at: self.clock.now() + SHOWN,
                folded: "{} older".into(),
            });
            new
        };
        made.iter().map(one).collect()
    }

    fn settled(&mut self, look: &Look, seen: &[Seen], stop: bool) -> Settled {
        let clock = &self.clock;
        let mut all = settled(look, clock);
        all.stop = stop;
        for (unsettled, seen) in look.unsettled.iter().zip(seen) {
            let fate = match seen {
                Seen::Nothing => continue,
                Seen::Stored => stored(self.next_seq),
                Seen::Taken => Fate::Taken,
                Seen::NotTaken(seconds) => Fate::NotTaken {
                    again: clock.now() + Duration::from_secs((*seconds).into()),
                },
                Seen::Missing => Fate::Missing,
                Seen::Dropped => Fate::Dropped,
                Seen::Unproven => Fate::Unproven,
                Seen::Held => Fate::Held,
                Seen::Dead => Fate::Dead("too late".into()),
            };
            self.next_seq += 1;
            all.fates.push(settling(unsettled, clock, fate));
        }
        all
    }

    async fn check(&self) {
        let (outbox, model) = (&self.outbox, &self.model);
        assert_eq!(outbox.next_due().await.unwrap(), model.next_due());
        let counts = outbox.counts(self.clock.now()).await.unwrap();
        assert_eq!(counts.deliveries, model.counts());
        assert_eq!(counts.events, model.events.len() as u64);
        let unrouted = model.events.values().filter(|event| !event.routed);
        assert_eq!(counts.unrouted, unrouted.count() as u64);
        let held = model.lanes.values().filter(|row| row.held.is_some());
        assert_eq!(counts.held, held.count() as u64);
        let tallies = (counts.dropped, counts.possible_repeats);
        assert_eq!(tallies, (model.dropped, model.possible_repeats));
    }
}

fn end(claim: &Claim, ending: &Ending, clock: &Clock) -> Record {
    let after = |seconds: u8| clock.now() + Duration::from_secs(seconds.into());
    let decision = match ending {
        Ending::Accepted | Ending::Rests(_) => accepted(None),
        Ending::Queued(seconds) => Decision::Accepted {
            receipt: Some(receipt()),
            look: Some(after(*seconds)),
        },
        Ending::Unclear(seconds) => Decision::Unclear {
            look: after(*seconds),
        },
        Ending::Refused => Decision::Refused("no".into()),
        Ending::Dead => Decision::Dead("too late".into()),
        Ending::Again(seconds) => Decision::Again {
            at: after(*seconds),
        },
    };
    let mut ended = record(claim, clock, decision);
    if let Ending::Rests(seconds) = ending {
        ended.lane_rests_until = Some(after(*seconds));
    }
    ended
}

/// Leads a life from its first step to its last.
async fn live(engine: Box<dyn Engine>, steps: Vec<Step>) {
    let mut life = Life::begin(engine);
    for step in steps {
        life.step(step).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_does_as_the_model_does(steps in proptest::collection::vec(a_step(), 1..100)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(Box::new(Folder::quick()), steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_over_postgres_it_does_as_the_model_does(steps in proptest::collection::vec(a_step(), 1..100)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(live(Box::new(Database::new()), steps));
    }
}
