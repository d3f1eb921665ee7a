//! Looking for what was sent: what is stored, what is sent again, what waits.

use openim_bridge::model::*;
use openim_bridge::outbox::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Keeps messages in one lane and lets OpenIM queue all of them.
async fn queued(outbox: &dyn Outbox, names: &[&str], clock: &Clock) -> Vec<DeliveryId> {
    let mut ids = Vec::new();
    for name in names {
        ids.push(keep_one(outbox, "group:#g", name, clock).await);
        let claims = claim_all(outbox, clock).await;
        assert_eq!(texts(&claims), [*name]);
        queue(outbox, &claims[0], clock).await;
    }
    ids
}

/// Keeps a message whose send ends unclear, and another one behind it.
async fn unclear(outbox: &dyn Outbox, clock: &Clock) -> (DeliveryId, Claim) {
    let id = keep_one(outbox, "group:#g", "one", clock).await;
    keep_one(outbox, "group:#g", "behind", clock).await;
    let claim = claim_all(outbox, clock).await.remove(0);
    let decision = Decision::Unclear {
        look: clock.now() + MINUTE,
    };
    let ended = record(&claim, clock, decision);
    outbox.record(ended).await.unwrap();
    (id, claim)
}

async fn find(outbox: &dyn Outbox, id: DeliveryId) -> DeliveryRecord {
    outbox.find_delivery(id).await.unwrap().unwrap()
}

async fn next_look(outbox: &dyn Outbox) -> Option<Timestamp> {
    outbox.next_due().await.unwrap().look
}

pub async fn what_is_found_is_stored_with_its_seq_and_the_evidence(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let began = clock.now();
    let ids = queued(&*outbox, &["one"], &clock).await;
    assert_eq!(state_of(&*outbox, ids[0]).await, DeliveryState::Accepted);
    assert_eq!(next_look(&*outbox).await, Some(began + SOON));
    assert!(outbox.looks(10, clock.now()).await.unwrap().is_empty());

    lever.advance(SOON);
    let look = look(&*outbox, &clock).await;
    assert_eq!(look.lane.as_str(), "group:#g");
    assert!(!look.stopped && !look.more_waits && look.cursors.is_empty());
    let one = &look.unsettled[0];
    assert_eq!(
        (one.delivery, one.accepted, one.held),
        (ids[0], true, false)
    );
    assert_eq!(one.conversation, Conversation::Group("g".into()));
    assert_eq!(one.receipt, Some(receipt()));
    assert_eq!(one.attempt.operation_id, format!("{}-1", ids[0]));
    assert_eq!((one.attempt.number, one.attempt.began), (1, began));
    assert_eq!((one.ended, one.first_attempt), (Some(began), began));
    settle(&*outbox, &look, &clock, &[stored(812)]).await;

    let found = find(&*outbox, ids[0]).await;
    assert_eq!((found.state, found.seq), (DeliveryState::Stored, Some(812)));
    let evidence = found.attempts[0].evidence.as_deref().unwrap();
    assert!(evidence.starts_with("2026-11-23T12:00:00Z "), "{evidence}");
    assert!(evidence.contains("812"), "{evidence}");
    assert_eq!(next_look(&*outbox).await, None);
    lever.advance(MINUTE);
    assert!(outbox.looks(10, clock.now()).await.unwrap().is_empty());
}

pub async fn a_lane_is_looked_at_by_one_at_a_time_until_it_is_settled(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    queued(&*outbox, &["one"], &clock).await;
    keep_one(&*outbox, "group:#h", "other", &clock).await;
    let other = claim_all(&*outbox, &clock).await.remove(0);
    queue(&*outbox, &other, &clock).await;
    lever.advance(MINUTE);

    let first = outbox.looks(1, clock.now()).await.unwrap();
    let second = outbox.looks(10, clock.now()).await.unwrap();

    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0].lane, second[0].lane);
    assert!(outbox.looks(10, clock.now()).await.unwrap().is_empty());
    assert_eq!(next_look(&*outbox).await, None);
    settle(&*outbox, &first[0], &clock, &[]).await;
    let again = clock.now() + Duration::from_secs(2);
    assert_eq!(next_look(&*outbox).await, Some(again));
    assert!(outbox.looks(10, clock.now()).await.unwrap().is_empty());
    lever.advance(Duration::from_secs(2));
    assert_eq!(look(&*outbox, &clock).await.lane, first[0].lane);
}

pub async fn a_look_whose_caller_is_gone_ends(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    queued(&*outbox, &["one"], &clock).await;
    lever.advance(MINUTE);

    for _ in 0..20 {
        let (asked, now) = (outbox.clone(), clock.now());
        let reader = tokio::spawn(async move { asked.looks(1, now).await });
        tokio::task::yield_now().await;
        reader.abort();
        if let Ok(Ok(looks)) = reader.await {
            for look in looks {
                let mut nothing = settled(&look, &clock);
                nothing.look_again = clock.now();
                outbox.settle(vec![nothing]).await.unwrap();
            }
        }
    }

    while outbox.looks(1, clock.now()).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

pub async fn sending_goes_on_beside_a_look(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    queued(&*outbox, &["one"], &clock).await;
    lever.advance(SOON);
    let look = look(&*outbox, &clock).await;

    queued(&*outbox, &["two", "three"], &clock).await;

    settle(&*outbox, &look, &clock, &[stored(1)]).await;
    let counts = outbox.counts(clock.now()).await.unwrap().deliveries;
    assert_eq!(counts[&DeliveryState::Accepted], 2);
    assert_eq!(counts[&DeliveryState::Stored], 1);
}

pub async fn what_is_accepted_during_a_look_is_looked_for_in_its_own_time(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    queued(&*outbox, &["one"], &clock).await;
    lever.advance(SOON);
    let first = look(&*outbox, &clock).await;
    lever.advance(Duration::from_millis(10));
    queued(&*outbox, &["two"], &clock).await;

    settle(&*outbox, &first, &clock, &[stored(1)]).await;

    assert_eq!(next_look(&*outbox).await, Some(clock.now() + SOON));
    lever.advance(SOON);
    let second = look(&*outbox, &clock).await;
    assert_eq!(second.unsettled.len(), 1);
    settle(&*outbox, &second, &clock, &[]).await;
    let again = clock.now() + Duration::from_secs(2);
    assert_eq!(next_look(&*outbox).await, Some(again));
}

pub async fn an_unclear_send_holds_its_lane_until_it_is_settled(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let (id, claim) = unclear(&*outbox, &clock).await;

    assert_eq!(state_of(&*outbox, id).await, DeliveryState::Sending);
    let due = outbox.next_due().await.unwrap();
    assert_eq!((due.send, due.look), (None, Some(clock.now() + MINUTE)));
    lever.advance(MINUTE);
    keep_one(&*outbox, "group:#g", "more", &clock).await;
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    let look = look(&*outbox, &clock).await;
    assert!(look.more_waits);
    assert!(!look.unsettled[0].accepted);
    assert_eq!(look.unsettled[0].receipt, None);
    settle(&*outbox, &look, &clock, &[]).await;
    lever.advance(MINUTE);
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    // It is not in hand any more: its attempt has come to an end.
    let twice = record(&claim, &clock, Decision::Refused("no".into()));
    assert!(outbox.record(twice).await.is_err());
}

pub async fn an_unclear_send_that_was_not_taken_is_the_same_send_again(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let (id, first) = unclear(&*outbox, &clock).await;
    lever.advance(MINUTE);
    let look = look(&*outbox, &clock).await;
    let again = clock.now() + Duration::from_secs(10);

    settle(&*outbox, &look, &clock, &[Fate::NotTaken { again }]).await;

    assert!(claim_all(&*outbox, &clock).await.is_empty());
    assert_eq!(find(&*outbox, id).await.due, Some(again));
    lever.advance(Duration::from_secs(10));
    let second = claim_all(&*outbox, &clock).await.remove(0);
    assert_eq!((second.delivery, second.attempt.number), (id, 2));
    assert_eq!(second.attempt.operation_id, first.attempt.operation_id);
    assert_eq!(second.first_attempt, first.first_attempt);
    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!((counts.dropped, counts.possible_repeats), (0, 0));
}

pub async fn an_unclear_send_that_was_taken_lets_the_lane_go_on(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let (id, _) = unclear(&*outbox, &clock).await;
    lever.advance(MINUTE);
    let first = look(&*outbox, &clock).await;

    settle(&*outbox, &first, &clock, &[Fate::Taken]).await;

    assert_eq!(state_of(&*outbox, id).await, DeliveryState::Accepted);
    assert_eq!(texts(&claim_all(&*outbox, &clock).await), ["behind"]);
    lever.advance(Duration::from_secs(2));
    let second = look(&*outbox, &clock).await;
    assert!(second.unsettled[0].accepted, "it is still looked for");
    let again = clock.now();
    settle(&*outbox, &second, &clock, &[Fate::NotTaken { again }]).await;
    assert_eq!(
        state_of(&*outbox, id).await,
        DeliveryState::Accepted,
        "that is for unclear ones"
    );
}

pub async fn what_is_dropped_is_sent_again_in_its_place_after_all_is_decided(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let ids = queued(&*outbox, &["one", "two", "three"], &clock).await;
    keep_one(&*outbox, "group:#g", "four", &clock).await;
    lever.advance(SOON);
    let seen = clock.now();
    let first = look(&*outbox, &clock).await;
    let mut missing = settled(&first, &clock);
    missing.stop = true;
    missing.fates = vec![settling(&first.unsettled[1], &clock, Fate::Missing)];
    outbox.settle(vec![missing]).await.unwrap();

    assert!(claim_all(&*outbox, &clock).await.is_empty());
    lever.advance(Duration::from_secs(2));
    let second = look(&*outbox, &clock).await;
    assert!(second.stopped);
    assert_eq!(second.unsettled[1].missing_since, Some(seen));
    assert_eq!(second.unsettled[0].missing_since, None);
    let fates = [stored(1), Fate::Dropped, stored(2)];
    settle(&*outbox, &second, &clock, &fates).await;

    let again = claim_all(&*outbox, &clock).await.remove(0);
    assert_eq!(again.delivery, ids[1]);
    assert_eq!(again.attempt.number, 2);
    assert_eq!(again.attempt.operation_id, format!("{}-2", ids[1]));
    assert_eq!(again.first_attempt, clock.now());
    let dropped = outbox.counts(clock.now()).await.unwrap().dropped;
    assert_eq!(dropped, 1);
    let lost = find(&*outbox, ids[1]).await;
    let evidence = lost.attempts[0].evidence.clone().unwrap();
    let lines: Vec<_> = evidence.lines().collect();
    assert!(lines[0].contains("Missing") && lines[1].contains("Dropped"));
    queue(&*outbox, &again, &clock).await;
    lever.advance(SOON);
    let third = look(&*outbox, &clock).await;
    assert_eq!(third.unsettled[0].missing_since, None);
    assert_eq!(texts(&claim_all(&*outbox, &clock).await), ["four"]);
}

pub async fn a_stop_ends_with_the_last_unsettled_one(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    queued(&*outbox, &["one"], &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    lever.advance(SOON);
    let first = look(&*outbox, &clock).await;
    let mut stop = settled(&first, &clock);
    stop.stop = true;
    outbox.settle(vec![stop]).await.unwrap();
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    lever.advance(Duration::from_secs(2));
    let second = look(&*outbox, &clock).await;

    // A fact that somebody brings who has not got the lane any more, and that settles the last one.
    let fact = Settled {
        epoch: second.epoch + 1,
        fates: vec![settling(&second.unsettled[0], &clock, stored(1))],
        stop: true,
        ..settled(&second, &clock)
    };
    assert_eq!(outbox.settle(vec![fact]).await.unwrap(), [false]);

    assert_eq!(texts(&claim_all(&*outbox, &clock).await), ["two"]);
}

pub async fn what_is_unproven_is_sent_again_as_a_possible_repeat(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let ids = queued(&*outbox, &["one", "two"], &clock).await;
    lever.advance(MINUTE * 10);
    let look = look(&*outbox, &clock).await;

    settle(&*outbox, &look, &clock, &[Fate::Unproven, stored(1)]).await;

    let again = claim_all(&*outbox, &clock).await.remove(0);
    assert_eq!(again.delivery, ids[0]);
    assert_eq!(again.attempt.operation_id, format!("{}-2", ids[0]));
    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!((counts.dropped, counts.possible_repeats), (0, 1));
}

pub async fn what_is_held_waits_for_an_operator_and_is_sent_again_when_the_lane_is_released(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let (id, _) = unclear(&*outbox, &clock).await;
    lever.advance(MINUTE);
    let first = look(&*outbox, &clock).await;

    settle(&*outbox, &first, &clock, &[Fate::Held]).await;

    assert!(claim_all(&*outbox, &clock).await.is_empty());
    assert_eq!(outbox.counts(clock.now()).await.unwrap().held, 1);
    let lanes = outbox.list_lanes(None, ALL).await.unwrap();
    assert_eq!(lanes[0].held.as_deref(), Some("Held"), "the evidence");
    lever.advance(Duration::from_secs(2));
    let second = look(&*outbox, &clock).await;
    assert!(second.unsettled[0].held, "it is still looked for");
    assert!(outbox.hold(second.lane.clone(), None).await.unwrap());
    let again = claim_all(&*outbox, &clock).await.remove(0);
    assert_eq!(again.delivery, id);
    assert_eq!(again.attempt.operation_id, format!("{id}-2"));
    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!((counts.held, counts.possible_repeats), (0, 1));
    let record = find(&*outbox, id).await;
    let evidence = record.attempts[0].evidence.clone().unwrap();
    assert!(evidence.contains("operator released"), "{evidence}");
    // What the look decides comes too late: it is about an attempt that is over.
    settle(&*outbox, &second, &clock, &[Fate::Dead("late".into())]).await;
    assert_eq!(state_of(&*outbox, id).await, DeliveryState::Sending);
}

pub async fn what_is_held_and_found_after_all_lets_the_lane_go_on(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    queued(&*outbox, &["one"], &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    lever.advance(MINUTE);
    let first = look(&*outbox, &clock).await;
    settle(&*outbox, &first, &clock, &[Fate::Held]).await;
    assert!(claim_all(&*outbox, &clock).await.is_empty());

    lever.advance(MINUTE);
    let second = look(&*outbox, &clock).await;
    settle(&*outbox, &second, &clock, &[stored(1)]).await;

    assert_eq!(texts(&claim_all(&*outbox, &clock).await), ["two"]);
    assert_eq!(outbox.counts(clock.now()).await.unwrap().held, 0);
}

pub async fn an_operators_hold_outlasts_what_is_found(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    queued(&*outbox, &["one"], &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    lever.advance(MINUTE);
    let look = look(&*outbox, &clock).await;
    let hold = outbox.hold(look.lane.clone(), Some("mine".into()));
    assert!(hold.await.unwrap());

    settle(&*outbox, &look, &clock, &[stored(1)]).await;

    assert!(claim_all(&*outbox, &clock).await.is_empty());
}

pub async fn what_is_given_up_while_it_is_unclear_lets_the_lane_go_on(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let (id, _) = unclear(&*outbox, &clock).await;
    lever.advance(MINUTE);
    let look = look(&*outbox, &clock).await;

    let dead = Fate::Dead("the horizon has passed".into());
    settle(&*outbox, &look, &clock, &[dead]).await;

    let found = find(&*outbox, id).await;
    assert_eq!(found.state, DeliveryState::Dead);
    assert_eq!(found.reason.as_deref(), Some("the horizon has passed"));
    assert_eq!(texts(&claim_all(&*outbox, &clock).await), ["behind"]);
    assert_eq!(next_look(&*outbox).await, None);
}

pub async fn a_decision_about_an_earlier_attempt_is_not_taken(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let ids = queued(&*outbox, &["one"], &clock).await;
    lever.advance(MINUTE);
    let first = look(&*outbox, &clock).await;
    settle(&*outbox, &first, &clock, &[Fate::Dropped]).await;
    let claims = claim_all(&*outbox, &clock).await;
    queue(&*outbox, &claims[0], &clock).await;
    lever.advance(MINUTE);
    let second = look(&*outbox, &clock).await;
    assert_eq!(second.unsettled[0].attempt.number, 2);

    for fate in [
        Fate::Missing,
        Fate::Dropped,
        Fate::Unproven,
        Fate::Held,
        Fate::Dead("no".into()),
    ] {
        let mut about_the_first = settled(&second, &clock);
        about_the_first.fates = vec![settling(&first.unsettled[0], &clock, fate)];
        outbox.settle(vec![about_the_first]).await.unwrap();
    }

    assert_eq!(state_of(&*outbox, ids[0]).await, DeliveryState::Accepted);
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    assert_eq!(outbox.counts(clock.now()).await.unwrap().dropped, 1);
}

pub async fn without_the_lanes_epoch_facts_are_taken_and_decisions_are_not(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let ids = queued(&*outbox, &["one", "two"], &clock).await;
    lever.advance(SOON);
    let look = look(&*outbox, &clock).await;
    engine.crash();
    let outbox = engine.open(&clock);

    let conversation = Conversation::Group("g".into());
    let late = Settled {
        cursors: BTreeMap::from([(conversation, Cursor::default())]),
        fates: vec![
            settling(&look.unsettled[0], &clock, stored(1)),
            settling(&look.unsettled[1], &clock, Fate::Dropped),
        ],
        stop: true,
        ..settled(&look, &clock)
    };
    assert_eq!(outbox.settle(vec![late]).await.unwrap(), [false]);

    assert_eq!(state_of(&*outbox, ids[0]).await, DeliveryState::Stored);
    assert_eq!(state_of(&*outbox, ids[1]).await, DeliveryState::Accepted);
    let again = super::look(&*outbox, &clock).await;
    assert!(again.cursors.is_empty() && !again.stopped);
    assert_eq!(again.unsettled.len(), 1);
    let unknown = Settled {
        lane: Conversation::Group("unknown".into()).lane(),
        ..settled(&again, &clock)
    };
    assert_eq!(outbox.settle(vec![unknown]).await.unwrap(), [false]);
}

pub async fn a_fact_is_believed_whatever_the_state(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let ids = queued(&*outbox, &["waits again", "given up"], &clock).await;
    keep_one(&*outbox, "group:#g", "next", &clock).await;
    lever.advance(MINUTE);
    let first = look(&*outbox, &clock).await;
    let decided = [Fate::Unproven, Fate::Dead("no".into())];
    settle(&*outbox, &first, &clock, &decided).await;

    // Facts may come for what is not unsettled; which attempt it was is not known then.
    let mut facts = settled(&first, &clock);
    facts.fates = first
        .unsettled
        .iter()
        .zip([stored(7), stored(8)])
        .map(|(unsettled, fate)| Settling {
            attempt: 0,
            ..settling(unsettled, &clock, fate)
        })
        .collect();
    outbox.settle(vec![facts]).await.unwrap();

    for (id, seq) in [(ids[0], 7), (ids[1], 8)] {
        let found = find(&*outbox, id).await;
        assert_eq!((found.state, found.seq), (DeliveryState::Stored, Some(seq)));
        assert_eq!(found.reason, None);
        let evidence = found.attempts[0].evidence.clone().unwrap();
        assert!(evidence.lines().count() == 2, "{evidence}");
    }
    assert_eq!(texts(&claim_all(&*outbox, &clock).await), ["next"]);
}

pub async fn what_is_found_while_it_is_sent_again_ends_as_stored(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    for (to, decision) in [
        ("group:#a", accepted(Some(receipt()))),
        ("group:#b", Decision::Again { at: clock.now() }),
        (
            "group:#c",
            Decision::Unclear {
                look: clock.now() + MINUTE,
            },
        ),
        ("group:#d", Decision::Refused("no".into())),
    ] {
        let id = keep_one(&*outbox, to, to, &clock).await;
        let claims = claim_all(&*outbox, &clock).await;
        queue(&*outbox, &claims[0], &clock).await;
        lever.advance(MINUTE);
        let look = look(&*outbox, &clock).await;
        settle(&*outbox, &look, &clock, &[Fate::Unproven]).await;
        let again = claim_all(&*outbox, &clock).await.remove(0);

        let mut fact = settled(&look, &clock);
        fact.fates = vec![settling(&look.unsettled[0], &clock, stored(9))];
        outbox.settle(vec![fact]).await.unwrap();

        let found = find(&*outbox, id).await;
        assert_eq!((found.state, found.seq), (DeliveryState::Sending, Some(9)));
        let ended = record(&again, &clock, decision);
        outbox.record(ended).await.unwrap();
        let found = find(&*outbox, id).await;
        assert_eq!((found.state, found.seq), (DeliveryState::Stored, Some(9)));
        assert_eq!(found.attempts.len(), 2);
        assert_eq!(outbox.next_due().await.unwrap(), NextDue::default());
    }
}

pub async fn what_is_found_at_another_place_too_is_noted(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let ids = queued(&*outbox, &["one"], &clock).await;
    lever.advance(SOON);
    let look = look(&*outbox, &clock).await;
    settle(&*outbox, &look, &clock, &[stored(1)]).await;

    settle(&*outbox, &look, &clock, &[stored(1)]).await;
    settle(&*outbox, &look, &clock, &[stored(5)]).await;

    let found = find(&*outbox, ids[0]).await;
    assert_eq!((found.state, found.seq), (DeliveryState::Stored, Some(1)));
    let evidence = found.attempts[0].evidence.clone().unwrap();
    assert_eq!(evidence.lines().count(), 2, "{evidence}");
    assert!(evidence.contains("seq: 5"), "{evidence}");
}

pub async fn how_far_a_conversation_was_read_is_remembered(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    let claim = claim_all(&*outbox, &clock).await.remove(0);
    assert!(!claim.has_baseline);
    let conversation = claim.conversation.clone();
    for seq in [40, 99] {
        let baseline = Baseline {
            lane: claim.conversation.lane(),
            conversation: conversation.clone(),
            seq,
        };
        outbox.baseline(baseline).await.unwrap();
    }
    queue(&*outbox, &claim, &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    let second = claim_all(&*outbox, &clock).await.remove(0);
    assert!(second.has_baseline);
    queue(&*outbox, &second, &clock).await;
    lever.advance(SOON);
    let first = look(&*outbox, &clock).await;
    assert_eq!(first.cursors[&conversation].seq, 40, "the first one stays");

    let cursor = Cursor {
        seq: 47,
        holes: vec![
            Hole {
                seq: 43,
                since: clock.now(),
            },
            Hole {
                seq: 45,
                since: clock.now() + SOON,
            },
        ],
    };
    let mut read = settled(&first, &clock);
    read.cursors = BTreeMap::from([(conversation.clone(), cursor.clone())]);
    outbox.settle(vec![read]).await.unwrap();
    outbox.close().await.unwrap();

    lever.advance(MINUTE);
    let outbox = engine.open(&clock);
    let again = look(&*outbox, &clock).await;
    assert_eq!(again.cursors, BTreeMap::from([(conversation, cursor)]));
    // The conversation was reset: reading begins anew.
    let mut reset = settled(&again, &clock);
    let begin = Cursor::default();
    reset.cursors = BTreeMap::from([(Conversation::Group("g".into()), begin)]);
    outbox.settle(vec![reset]).await.unwrap();
    lever.advance(MINUTE);
    let once_more = look(&*outbox, &clock).await;
    assert_eq!(once_more.cursors.values().next(), Some(&Cursor::default()));
}

pub async fn a_person_and_the_notices_to_that_person_are_read_apart(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let (person, notice) = (
        Conversation::Person("u".into()),
        Conversation::Notice("u".into()),
    );
    let baseline = Baseline {
        lane: person.lane(),
        conversation: person.clone(),
        seq: 3,
    };
    outbox.baseline(baseline).await.unwrap();
    keep_one(&*outbox, "person:#u", "chat", &clock).await;
    keep_one(&*outbox, "notice:#u", "notice", &clock).await;
    let chat = claim_all(&*outbox, &clock).await.remove(0);
    assert!(chat.has_baseline);
    queue(&*outbox, &chat, &clock).await;
    lever.advance(SOON);
    let look = look(&*outbox, &clock).await;
    settle(&*outbox, &look, &clock, &[stored(4)]).await;

    let other = claim_all(&*outbox, &clock).await.remove(0);

    assert_eq!(other.conversation, notice);
    assert!(!other.has_baseline);
    assert_eq!(look.cursors.len(), 1);
    assert_eq!(look.cursors[&person].seq, 3);
}

pub async fn unsettled_ones_come_in_the_order_of_sending(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let ids = queued(&*outbox, &["one", "two"], &clock).await;
    lever.advance(SOON);
    let first = look(&*outbox, &clock).await;
    settle(&*outbox, &first, &clock, &[Fate::Dropped]).await;
    lever.advance(SOON);
    let claims = claim_all(&*outbox, &clock).await;
    queue(&*outbox, &claims[0], &clock).await;
    lever.advance(MINUTE);

    let second = look(&*outbox, &clock).await;

    let order: Vec<_> = second.unsettled.iter().map(|one| one.delivery).collect();
    assert_eq!(order, [ids[1], ids[0]]);
}

pub async fn counts_tell_what_is_not_settled(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let nothing = outbox.counts(clock.now()).await.unwrap();
    assert_eq!((nothing.unclear, nothing.unproven), (0, 0));
    assert_eq!(nothing.oldest_unsettled, None);
    assert!(nothing.bytes > 0);

    let began = clock.now();
    keep_one(&*outbox, "group:#h", "other", &clock).await;
    let claims = claim_all(&*outbox, &clock).await;
    queue(&*outbox, &claims[0], &clock).await;
    lever.advance(MINUTE);
    unclear(&*outbox, &clock).await;

    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!((counts.unclear, counts.unproven), (1, 0));
    assert_eq!(counts.oldest_unsettled, Some(began));
    lever.advance(MINUTE * 9);
    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!((counts.unclear, counts.unproven), (1, 1));
    lever.advance(MINUTE);
    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!((counts.unclear, counts.unproven), (1, 2));
}
