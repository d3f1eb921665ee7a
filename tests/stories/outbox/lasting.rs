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
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    let first = claim_all(&*outbox, &clock).await;

    engine.crash();
    let outbox = engine.open(&clock);

    assert_eq!(state_of(&*outbox, id).await, DeliveryState::Waiting);
    let second = claim_all(&*outbox, &clock).await;
    assert_eq!(texts(&second), ["one"]);
    assert_eq!(
        second[0].attempt.operation_id,
        first[0].attempt.operation_id
    );
    accept(&*outbox, &second[0], &clock).await;
    let attempts = outbox.find_delivery(id).await.unwrap().unwrap().attempts;
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].ended, None);
    assert_eq!(attempts[1].ended, Some(clock.now()));
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
    let count = async |state| outbox.counts().await.unwrap().deliveries[&state];
    assert_eq!(count(DeliveryState::Waiting).await, 0);
    assert_eq!(outbox.counts().await.unwrap().oldest_waiting, None);

    let first = clock.now();
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    lever.advance(Duration::from_secs(5));
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    assert_eq!(count(DeliveryState::Waiting).await, 2);

    let claims = claim_all(&*outbox, &clock).await;
    assert_eq!(count(DeliveryState::Waiting).await, 1);
    assert_eq!(count(DeliveryState::Sending).await, 1);
    assert_eq!(outbox.counts().await.unwrap().oldest_waiting, Some(first));

    accept(&*outbox, &claims[0], &clock).await;
    assert_eq!(count(DeliveryState::Sending).await, 0);
    assert_eq!(count(DeliveryState::Accepted).await, 1);
    assert_eq!(
        outbox.counts().await.unwrap().oldest_waiting,
        Some(clock.now())
    );
    assert_eq!(outbox.counts().await.unwrap().events, 2);
}

pub async fn deliveries_are_listed_in_the_order_they_were_kept(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let mut ids = Vec::new();
    for name in ["one", "two", "three", "four", "five"] {
        ids.push(keep_one(&*outbox, "group:#g", name, &clock).await);
    }

    let listed = async |skip, most| -> Vec<DeliveryId> {
        let found = outbox.list_deliveries(skip, most).await.unwrap();
        found.into_iter().map(|found| found.id).collect()
    };

    assert_eq!(listed(0, 100).await, ids);
    assert_eq!(listed(1, 2).await, ids[1..3]);
    assert!(listed(5, 2).await.is_empty());
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
    assert!(matches!(outbox.counts().await, Err(OutboxError::Closed)));
    assert!(matches!(outbox.probe().await, Err(OutboxError::Closed)));
}
