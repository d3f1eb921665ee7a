//! What lasts: over the next start, over a crash, until it is closed.

use std::time::Duration;

use openim_bridge::model::*;
use openim_bridge::outbox::*;

use super::*;

pub async fn what_was_kept_is_there_after_the_next_start(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    outbox.close().await.unwrap();

    let outbox = engine.open(&clock);

    assert_eq!(send_all(&*outbox, &clock).await, ["one"]);
}

pub async fn what_was_kept_is_there_after_a_crash(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    engine.crash();
    let outbox = engine.open(&clock);

    assert_eq!(send_all(&*outbox, &clock).await, ["one"]);
}

pub async fn an_attempt_that_a_crash_left_open_stays_without_an_end(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    let first = claim_all(&*outbox, &clock).await;

    engine.crash();
    lever.advance(Duration::from_secs(60));
    let outbox = engine.open(&clock);

    // It is unclear whether it was taken, so it is settled first; it is never simply due.
    assert_eq!(state_of(&*outbox, id).await, DeliveryState::Sending);
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    let due = outbox.next_due().await.unwrap();
    assert_eq!((due.send, due.look), (None, Some(clock.now())));
    let look = look(&*outbox, &clock).await;
    assert!(look.more_waits);
    assert_eq!(look.unsettled.len(), 1);
    assert_eq!(look.unsettled[0].delivery, id);
    assert_eq!(look.unsettled[0].ended, None);
    assert!(!look.unsettled[0].accepted);
    assert_eq!(
        look.unsettled[0].attempt.operation_id,
        first[0].attempt.operation_id
    );
    let again = clock.now();
    settle(&*outbox, &look, &clock, &[Fate::NotTaken { again }]).await;
    let second = claim_all(&*outbox, &clock).await;
    assert_eq!(texts(&second), ["one"]);
    accept(&*outbox, &second[0], &clock).await;
    let attempts = outbox.find_delivery(id).await.unwrap().unwrap().attempts;
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].ended, None);
    assert_eq!(attempts[1].ended, Some(clock.now()));
}

pub async fn what_is_seen_too_late_is_written_down_and_decides_nothing(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;
    let first = claim_all(&*outbox, &clock).await.remove(0);
    engine.crash();
    let outbox = engine.open(&clock);

    let late = record(&first, &clock, accepted(Some(receipt())));
    let error = outbox.record(late.clone()).await.unwrap_err();

    assert!(
        matches!(error, OutboxError::NotInHand { attempt: 1, .. }),
        "{error}"
    );
    let found = outbox.find_delivery(id).await.unwrap().unwrap();
    assert_eq!(found.state, DeliveryState::Sending);
    assert_eq!(found.receipt, Some(receipt()));
    assert_eq!(found.attempts[0].ended, Some(clock.now()));
    let look = look(&*outbox, &clock).await;
    assert_eq!(look.unsettled[0].receipt, Some(receipt()));
    assert!(look.epoch > first.epoch, "the lane has changed hands");
    settle(
        &*outbox,
        &look,
        &clock,
        &[Fate::NotTaken { again: clock.now() }],
    )
    .await;

    // The same number in other hands: a decision needs the epoch as well.
    let second = claim_all(&*outbox, &clock).await.remove(0);
    let stale = Record {
        epoch: first.epoch,
        decision: Decision::Refused("no".into()),
        ..record(&second, &clock, accepted(None))
    };
    assert!(outbox.record(stale).await.is_err());
    assert_eq!(state_of(&*outbox, id).await, DeliveryState::Sending);
}

pub async fn the_bell_rings_for_what_can_be_sent(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let bell = outbox.bell();
    let rang = || {
        let bell = bell.clone();
        async move {
            tokio::select! {
                biased;
                () = bell.notified() => true,
                () = std::future::ready(()) => false,
            }
        }
    };

    outbox
        .keep(new(event("unrouted", "", &clock), vec![]))
        .await
        .unwrap();
    assert!(!rang().await);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    assert!(rang().await);
    let claims = claim_all(&*outbox, &clock).await;
    let refused = record(&claims[0], &clock, Decision::Refused("no".into()));
    outbox.record(refused).await.unwrap();
    assert!(!rang().await);
    outbox
        .keep(new(event("one", "one", &clock), vec![]))
        .await
        .unwrap();
    assert!(rang().await, "it was put back");
}

pub async fn what_comes_out_is_what_went_in(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let mut strange = delivery("person:#u 1's \"id\"", "", &clock);
    let content = serde_json::json!({ "text": "é 🎉 \u{0} ' \" \\", "n": 0.1 });
    strange.rendered = Rendered::Ready(Message {
        content: Content::Raw {
            content_type: 110,
            content,
        },
        push: Push::On {
            title: "t".into(),
            text: "x".into(),
            sound: true,
        },
        template: "x.json.hbs".into(),
    });
    let id = strange.id;
    let mut odd = event("an id with ' and \u{0}", "", &clock);
    odd.raw = vec![0, 255, 0, 128].into();
    outbox
        .keep(new(odd.clone(), vec![strange.clone()]))
        .await
        .unwrap();

    let claim = claim_all(&*outbox, &clock).await.remove(0);
    assert_eq!(Rendered::Ready(claim.message.clone()), strange.rendered);
    assert_eq!(claim.conversation, strange.conversation);
    assert_eq!((claim.delivery, claim.bridge.as_str()), (id, "github"));
    assert_eq!(claim.event, odd.id.as_str());
    accept(&*outbox, &claim, &clock).await;

    let found = outbox.find_delivery(id).await.unwrap().unwrap();
    assert_eq!(found.message.map(Rendered::Ready), Some(strange.rendered));
    assert_eq!(found.kept, clock.now());
    assert_eq!(found.destination, "group:ops");
    assert_eq!(found.lane, strange.conversation.lane());
    assert_eq!(found.receipt, Some(receipt()));
    assert_eq!(
        found.attempts[0].verdict.as_deref(),
        Some("as the test says")
    );
    let unknown = DeliveryId::new(clock.now());
    assert!(outbox.find_delivery(unknown).await.unwrap().is_none());
}

pub async fn counts_follow_every_step(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let count = async |state| outbox.counts(clock.now()).await.unwrap().deliveries[&state];
    assert_eq!(count(DeliveryState::Waiting).await, 0);
    assert_eq!(
        outbox.counts(clock.now()).await.unwrap().oldest_waiting,
        None
    );

    let first = clock.now();
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    lever.advance(Duration::from_secs(5));
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    assert_eq!(count(DeliveryState::Waiting).await, 2);

    let claims = claim_all(&*outbox, &clock).await;
    assert_eq!(count(DeliveryState::Waiting).await, 1);
    assert_eq!(count(DeliveryState::Sending).await, 1);
    assert_eq!(
        outbox.counts(clock.now()).await.unwrap().oldest_waiting,
        Some(first)
    );

    accept(&*outbox, &claims[0], &clock).await;
    assert_eq!(count(DeliveryState::Sending).await, 0);
    assert_eq!(count(DeliveryState::Accepted).await, 1);
    assert_eq!(
        outbox.counts(clock.now()).await.unwrap().oldest_waiting,
        Some(clock.now())
    );
    assert_eq!(outbox.counts(clock.now()).await.unwrap().events, 2);
}

pub async fn deliveries_are_listed_in_the_order_they_were_kept(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let mut ids = Vec::new();
    for name in ["one", "two", "three", "four", "five"] {
        ids.push(keep_one(&*outbox, "group:#g", name, &clock).await);
    }

    let listed = outbox.list_deliveries(Filter::default(), ALL).await;
    let listed = listed.unwrap().into_iter().map(|found| found.id);

    assert_eq!(listed.collect::<Vec<_>>(), ids);
}

pub async fn after_closing_nothing_is_taken(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    outbox.probe().await.unwrap();
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    outbox.close().await.unwrap();
    outbox.close().await.unwrap();

    let kept = outbox.keep(new(event("two", "two", &clock), vec![])).await;
    assert!(matches!(kept, Err(OutboxError::Closed)));
    assert!(matches!(
        outbox.claim(1, clock.now()).await,
        Err(OutboxError::Closed)
    ));
    assert!(matches!(
        outbox.counts(clock.now()).await,
        Err(OutboxError::Closed)
    ));
    assert!(matches!(outbox.probe().await, Err(OutboxError::Closed)));
}
