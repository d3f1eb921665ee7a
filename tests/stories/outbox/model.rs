//! Random lives of an outbox beside a model small enough to be believed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use openim_bridge::model::*;
use openim_bridge::outbox::*;
use proptest::prelude::*;

use super::sqlite::Folder;
use super::{Engine, clock, delivery, event, new, record};

/// Something that happens to an outbox.
#[derive(Clone, Debug)]
enum Step {
    /// The event with this number comes, for these lanes; the flag says that its template is broken.
    Keep(u8, Vec<(u8, bool)>),
    /// The courier takes at most so many.
    Claim(usize),
    /// One of the claims in hand comes back.
    Record(usize, Ending),
    /// Time passes.
    Pass(u8),
    /// It is closed and opened.
    Restart,
    /// The machine stops, and starts again.
    Crash,
}

#[derive(Clone, Debug)]
enum Ending {
    Accepted,
    Refused,
    Dead,
    /// Again after so many seconds.
    Again(u8),
    /// Accepted, and the lane rests so many seconds.
    Rests(u8),
}

fn a_step() -> impl Strategy<Value = Step> {
    let lanes = proptest::collection::vec((0..3_u8, proptest::bool::weighted(0.1)), 0..3);
    let ending = prop_oneof![
        4 => Just(Ending::Accepted),
        1 => Just(Ending::Refused),
        1 => Just(Ending::Dead),
        2 => (0..5_u8).prop_map(Ending::Again),
        1 => (0..5_u8).prop_map(Ending::Rests),
    ];
    prop_oneof![
        6 => (0..12_u8, lanes).prop_map(|(event, lanes)| Step::Keep(event, lanes)),
        5 => (0..4_usize).prop_map(Step::Claim),
        5 => (any::<usize>(), ending).prop_map(|(which, ending)| Step::Record(which, ending)),
        2 => (0..4_u8).prop_map(Step::Pass),
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
}

/// An event that was kept.
#[derive(Default)]
struct Known {
    routed: bool,
    deliveries: Vec<DeliveryId>,
}

/// A lane: what waits in it, the head first.
#[derive(Default)]
struct Row {
    waiting: VecDeque<DeliveryId>,
    in_hand: bool,
    rests_until: Option<Timestamp>,
}

/// A delivery.
struct Owed {
    state: DeliveryState,
    due: Timestamp,
    attempts: u32,
    sends: u32,
    lane: Lane,
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
        let event = self.events.entry(number).or_default();
        event.routed = routed;
        for one in made {
            event.deliveries.push(one.id);
            let ready = matches!(one.rendered, Rendered::Ready(_));
            let lane = one.conversation.lane();
            if ready {
                self.lanes
                    .entry(lane.clone())
                    .or_default()
                    .waiting
                    .push_back(one.id);
            }
            let owed = Owed {
                state: if ready {
                    DeliveryState::Waiting
                } else {
                    DeliveryState::Unrendered
                },
                due: now,
                attempts: 0,
                sends: 1,
                lane,
            };
            self.deliveries.insert(one.id, owed);
        }
        Kept::New {
            deliveries: made.len(),
        }
    }

    fn repeat(&mut self, number: u8, now: Timestamp) -> Kept {
        let mut became = BTreeMap::new();
        let mut put_back = 0;
        for id in &self.events[&number].deliveries {
            let owed = self.deliveries.get_mut(id).unwrap();
            *became.entry(owed.state).or_default() += 1;
            if matches!(owed.state, DeliveryState::Dead | DeliveryState::Refused) {
                owed.state = DeliveryState::Waiting;
                owed.due = now;
                owed.sends += 1;
                self.lanes
                    .get_mut(&owed.lane)
                    .unwrap()
                    .waiting
                    .push_back(*id);
                put_back += 1;
            }
        }
        Kept::Repeat { became, put_back }
    }

    /// When the head of a lane may be sent; `None` when nothing waits or it is in hand.
    fn due(&self, row: &Row) -> Option<Timestamp> {
        let head = row.waiting.front().filter(|_| !row.in_hand)?;
        let due = self.deliveries[head].due;
        Some(row.rests_until.map_or(due, |rested| due.max(rested)))
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.lanes.values().filter_map(|row| self.due(row)).min()
    }

    /// How many lanes have something to send.
    fn ready(&self, now: Timestamp) -> usize {
        let ready = |row: &&Row| self.due(row).is_some_and(|due| due <= now);
        self.lanes.values().filter(ready).count()
    }

    fn claim(&mut self, claim: &Claim, now: Timestamp) {
        let row = &self.lanes[&claim.conversation.lane()];
        assert!(self.due(row).is_some_and(|due| due <= now), "it is not due");
        assert_eq!(row.waiting.front(), Some(&claim.delivery), "not the head");
        self.lanes
            .get_mut(&claim.conversation.lane())
            .unwrap()
            .in_hand = true;
        let owed = self.deliveries.get_mut(&claim.delivery).unwrap();
        owed.state = DeliveryState::Sending;
        owed.attempts += 1;
        assert_eq!(claim.attempt.number, owed.attempts);
        let operation_id = format!("{}-{}", claim.delivery, owed.sends);
        assert_eq!(claim.attempt.operation_id, operation_id);
    }

    fn record(&mut self, record: &Record) {
        let owed = self.deliveries.get_mut(&record.delivery).unwrap();
        let row = self.lanes.get_mut(&owed.lane).unwrap();
        row.in_hand = false;
        row.rests_until = record.lane_rests_until.or(row.rests_until);
        owed.state = match record.decision {
            Decision::Accepted(_) => DeliveryState::Accepted,
            Decision::Refused(_) => DeliveryState::Refused,
            Decision::Dead(_) => DeliveryState::Dead,
            Decision::Again { at, .. } => {
                owed.due = at;
                DeliveryState::Waiting
            }
        };
        if owed.state != DeliveryState::Waiting {
            row.waiting.pop_front();
        }
    }

    fn recover(&mut self) {
        for row in self.lanes.values_mut().filter(|row| row.in_hand) {
            row.in_hand = false;
            let head = row.waiting.front().unwrap();
            self.deliveries.get_mut(head).unwrap().state = DeliveryState::Waiting;
        }
    }

    fn counts(&self) -> BTreeMap<DeliveryState, u64> {
        let mut counts = BTreeMap::from(DeliveryState::ALL.map(|state| (state, 0)));
        for owed in self.deliveries.values() {
            *counts.get_mut(&owed.state).unwrap() += 1;
        }
        counts
    }
}

async fn live(steps: Vec<Step>) {
    let mut engine = Folder::new();
    let (clock, lever) = clock();
    let mut outbox = engine.open(&clock);
    let mut model = Model::default();
    let mut in_hand: Vec<Claim> = Vec::new();

    for step in steps {
        lever.advance(Duration::from_millis(1));
        let now = clock.now();
        match step {
            Step::Keep(number, lanes) => {
                let made = make(&lanes, &clock);
                let name = format!("event {number}");
                let one = new(event(&name, &name, &clock), made.clone());
                let expected = model.keep(number, one.routed, &made, now);
                assert_eq!(outbox.keep(one).await.unwrap(), expected);
            }
            Step::Claim(most) => {
                let ready = model.ready(now);
                let claims = outbox.claim(most, now).await.unwrap();
                assert_eq!(claims.len(), most.min(ready));
                for claim in claims {
                    model.claim(&claim, now);
                    in_hand.push(claim);
                }
            }
            Step::Record(_, _) if in_hand.is_empty() => {}
            Step::Record(which, ending) => {
                let claim = in_hand.swap_remove(which % in_hand.len());
                let ended = end(&claim, &ending, &clock);
                model.record(&ended);
                outbox.record(ended).await.unwrap();
            }
            Step::Pass(seconds) => lever.advance(Duration::from_secs(seconds.into())),
            Step::Restart => {
                outbox.close().await.unwrap();
                outbox = engine.open(&clock);
                model.recover();
                in_hand.clear();
            }
            Step::Crash => {
                engine.crash();
                outbox = engine.open(&clock);
                model.recover();
                in_hand.clear();
            }
        }
        check(&*outbox, &model).await;
    }
}

fn make(lanes: &[(u8, bool)], clock: &Clock) -> Vec<NewDelivery> {
    let one = |(lane, broken): &(u8, bool)| {
        let mut made = delivery(&format!("group:#{lane}"), "text", clock);
        if *broken {
            made.rendered = Rendered::Broken("line 1".into());
        }
        made
    };
    lanes.iter().map(one).collect()
}

fn end(claim: &Claim, ending: &Ending, clock: &Clock) -> Record {
    let after = |seconds: u8| clock.now() + Duration::from_secs(seconds.into());
    let decision = match ending {
        Ending::Accepted | Ending::Rests(_) => Decision::Accepted(None),
        Ending::Refused => Decision::Refused("no".into()),
        Ending::Dead => Decision::Dead("too late".into()),
        Ending::Again(seconds) => Decision::Again {
            at: after(*seconds),
            ambiguous: false,
        },
    };
    let mut ended = record(claim, clock, decision);
    if let Ending::Rests(seconds) = ending {
        ended.lane_rests_until = Some(after(*seconds));
    }
    ended
}

async fn check(outbox: &dyn Outbox, model: &Model) {
    assert_eq!(outbox.next_due().await.unwrap(), model.next_due());
    let counts = outbox.counts().await.unwrap();
    assert_eq!(counts.deliveries, model.counts());
    assert_eq!(counts.events, model.events.len() as u64);
    let unrouted = model.events.values().filter(|event| !event.routed).count();
    assert_eq!(counts.unrouted, unrouted as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_does_as_the_model_does(steps in proptest::collection::vec(a_step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(steps));
    }
}
