//! What an operator does.

use openim_bridge::model::*;
use openim_bridge::outbox::*;

use super::*;

/// Keeps one message and lets it end so.
async fn ended(
    outbox: &dyn Outbox,
    to: &str,
    name: &str,
    decision: Decision,
    clock: &Clock,
) -> DeliveryId {
    let id = keep_one(outbox, to, name, clock).await;
    let claims = claim_all(outbox, clock).await;
    assert_eq!(texts(&claims), [name]);
    outbox
        .record(record(&claims[0], clock, decision))
        .await
        .unwrap();
    id
}

async fn change(outbox: &dyn Outbox, id: DeliveryId, change: Change) -> Changed {
    outbox.change(vec![id], change).await.unwrap().remove(0)
}

fn refused() -> Decision {
    Decision::Refused("1203 NotInGroupYetError".into())
}

pub async fn what_ended_goes_back_to_the_end_of_its_lane(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let dead = Decision::Dead("too late".into());
    let one = ended(&*outbox, "group:#g", "refused", refused(), &clock).await;
    let two = ended(&*outbox, "group:#g", "dead", dead, &clock).await;
    let three = keep_one(&*outbox, "group:#g", "cancelled", &clock).await;
    assert_eq!(change(&*outbox, three, Change::Cancel).await, Changed::Done);
    keep_one(&*outbox, "group:#g", "new", &clock).await;
    lever.advance(Duration::from_secs(3600));
    let bell = outbox.bell();
    tokio::select! { biased; () = bell.notified() => {}, () = std::future::ready(()) => {} }

    let unknown = DeliveryId::new(clock.now());
    let changed = outbox.change(vec![one, two, three, unknown], Change::Retry);

    let done = Changed::Done;
    assert_eq!(changed.await.unwrap(), [done, done, done, Changed::Unknown]);
    bell.notified().await;
    let found = outbox.find_delivery(one).await.unwrap().unwrap();
    assert_eq!((found.state, found.reason), (DeliveryState::Waiting, None));
    let claims = claim_all(&*outbox, &clock).await;
    assert_eq!(texts(&claims), ["new"]);
    accept(&*outbox, &claims[0], &clock).await;
    let again = claim_all(&*outbox, &clock).await;
    assert_eq!(texts(&again), ["refused"]);
    assert_eq!(again[0].attempt.number, 2);
    assert_eq!(again[0].attempt.operation_id, format!("{one}-2"));
    assert_eq!(again[0].first_attempt, clock.now());
    accept(&*outbox, &again[0], &clock).await;
    assert_eq!(send_all(&*outbox, &clock).await, ["dead", "cancelled"]);
}

pub async fn what_waits_becomes_due_at_once(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let again = Decision::Again {
        at: clock.now() + Duration::from_secs(1800),
    };
    let id = ended(&*outbox, "group:#g", "one", again, &clock).await;
    assert!(claim_all(&*outbox, &clock).await.is_empty());

    assert_eq!(change(&*outbox, id, Change::Retry).await, Changed::Done);

    let claims = claim_all(&*outbox, &clock).await;
    assert_eq!(texts(&claims), ["one"]);
    assert_eq!(
        claims[0].attempt.operation_id,
        format!("{id}-1"),
        "the same send"
    );
}

pub async fn what_is_cancelled_is_not_sent(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let gone = ended(&*outbox, "group:#h", "refused", refused(), &clock).await;
    let one = keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    let mut broken = delivery("group:#g", "", &clock);
    broken.rendered = Rendered::Broken("line 3".into());
    let unrendered = broken.id;
    outbox
        .keep(new(event("broken", "", &clock), vec![broken]))
        .await
        .unwrap();

    let all = vec![gone, one, unrendered];
    let changed = outbox.change(all.clone(), Change::Cancel).await.unwrap();

    assert_eq!(changed, [Changed::Done; 3]);
    for id in all {
        assert_eq!(state_of(&*outbox, id).await, DeliveryState::Cancelled);
    }
    assert_eq!(send_all(&*outbox, &clock).await, ["two"]);
    let again = change(&*outbox, one, Change::Cancel).await;
    assert_eq!(again, Changed::Not(DeliveryState::Cancelled));
    let never = change(&*outbox, unrendered, Change::Retry).await;
    assert_eq!(
        never,
        Changed::Not(DeliveryState::Cancelled),
        "there never was a message"
    );
}

pub async fn what_is_in_hand_or_accepted_cannot_be_called_back(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;
    let claims = claim_all(&*outbox, &clock).await;
    for wish in [Change::Cancel, Change::Retry] {
        let changed = change(&*outbox, id, wish).await;
        assert_eq!(changed, Changed::Not(DeliveryState::Sending));
    }
    queue(&*outbox, &claims[0], &clock).await;
    for wish in [Change::Cancel, Change::Retry] {
        let changed = change(&*outbox, id, wish).await;
        assert_eq!(changed, Changed::Not(DeliveryState::Accepted));
    }
    lever.advance(SOON);
    let look = look(&*outbox, &clock).await;
    settle(&*outbox, &look, &clock, &[stored(1)]).await;
    let changed = change(&*outbox, id, Change::Retry).await;
    assert_eq!(changed, Changed::Not(DeliveryState::Stored));
}

pub async fn a_held_lane_sends_nothing_until_it_is_released(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let one = keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    keep_one(&*outbox, "group:#h", "other", &clock).await;
    let claims = outbox.claim(1, clock.now()).await.unwrap();
    assert_eq!(texts(&claims), ["one"]);
    let lane: Lane = claims[0].conversation.lane();

    let why = Some("maintenance".to_owned());
    assert!(outbox.hold(lane.clone(), why).await.unwrap());

    accept(&*outbox, &claims[0], &clock).await;
    assert_eq!(state_of(&*outbox, one).await, DeliveryState::Accepted);
    keep_one(&*outbox, "group:#g", "three", &clock).await;
    assert_eq!(send_all(&*outbox, &clock).await, ["other"]);
    assert_eq!(outbox.next_due().await.unwrap().send, None);
    assert_eq!(outbox.counts(clock.now()).await.unwrap().held, 1);
    let found = outbox.list_lanes(Some(lane.clone()), ALL).await.unwrap();
    assert_eq!(found[0].held.as_deref(), Some("maintenance"));
    assert_eq!(found[0].waits_for.as_deref(), Some("maintenance"));
    assert!(outbox.hold(lane, None).await.unwrap());
    assert_eq!(send_all(&*outbox, &clock).await, ["two", "three"]);
    assert_eq!(outbox.counts(clock.now()).await.unwrap().held, 0);
    let unknown = Conversation::Group("unknown".into()).lane();
    assert!(!outbox.hold(unknown, None).await.unwrap());
}

pub async fn more_deliveries_of_an_event_come_at_the_end_of_their_lanes(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    outbox
        .keep(new(event("unrouted", "", &clock), vec![]))
        .await
        .unwrap();
    keep_one(&*outbox, "group:#g", "before", &clock).await;
    let unrouted = Filter {
        unrouted: true,
        ..Filter::default()
    };
    let found = outbox.list_events(unrouted, ALL).await.unwrap().remove(0);

    let more = vec![delivery("group:#g", "replayed", &clock)];
    assert!(outbox.append(found.number, more.clone()).await.unwrap());

    assert_eq!(send_all(&*outbox, &clock).await, ["before", "replayed"]);
    let found = outbox.find_event(found.number).await.unwrap().unwrap();
    assert!(found.routed);
    assert_eq!(found.became, BTreeMap::from([(DeliveryState::Accepted, 1)]));
    assert_eq!(outbox.counts(clock.now()).await.unwrap().unrouted, 0);
    assert!(!outbox.append(9000, more).await.unwrap());
}

pub async fn an_unrendered_one_is_appended_when_its_template_works(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let kept = clock.now();
    let mut broken = delivery("group:#g", "", &clock);
    broken.rendered = Rendered::Broken("line 3".into());
    let id = broken.id;
    outbox
        .keep(new(event("broken", "", &clock), vec![broken]))
        .await
        .unwrap();
    keep_one(&*outbox, "group:#g", "before", &clock).await;
    lever.advance(Duration::from_secs(60));

    assert!(outbox.rendered(id, message("mended")).await.unwrap());

    let found = outbox.find_delivery(id).await.unwrap().unwrap();
    assert_eq!((found.state, found.reason), (DeliveryState::Waiting, None));
    assert_eq!(found.kept, kept, "it keeps its time for the reader");
    assert!(!outbox.rendered(id, message("twice")).await.unwrap());
    assert_eq!(send_all(&*outbox, &clock).await, ["before", "mended"]);
}

pub async fn a_command_beside_the_service_is_seen_by_it(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let one = ended(&*outbox, "group:#g", "one", refused(), &clock).await;
    let two = keep_one(&*outbox, "group:#g", "two", &clock).await;
    keep_one(&*outbox, "group:#h", "three", &clock).await;
    let in_hand = outbox.claim(1, clock.now()).await.unwrap();
    assert_eq!(texts(&in_hand), ["two"]);

    let beside = engine.beside(&clock);

    assert_eq!(state_of(&*beside, two).await, DeliveryState::Sending);
    let changed = change(&*beside, two, Change::Cancel).await;
    assert_eq!(changed, Changed::Not(DeliveryState::Sending));
    assert_eq!(change(&*beside, one, Change::Retry).await, Changed::Done);
    let held = Conversation::Group("h".into()).lane();
    assert!(beside.hold(held, Some("later".into())).await.unwrap());
    beside.close().await.unwrap();
    accept(&*outbox, &in_hand[0], &clock).await;
    assert_eq!(send_all(&*outbox, &clock).await, ["one"]);
}
