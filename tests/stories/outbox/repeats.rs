//! Events that come again.

use std::collections::BTreeMap;
use std::time::Duration;

use openim_bridge::model::*;
use openim_bridge::outbox::*;

use super::*;

pub async fn a_repeated_event_is_answered_but_not_kept_twice(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    let again = || {
        new(
            event("one", "one", &clock),
            vec![delivery("group:#g", "one", &clock)],
        )
    };
    let waiting = outbox.keep(again()).await.unwrap();
    assert_eq!(send_all(&*outbox, &clock).await, ["one"]);
    let accepted = outbox.keep(again()).await.unwrap();

    let repeat = |state| Kept::Repeat {
        became: BTreeMap::from([(state, 1)]),
        put_back: 0,
    };
    assert_eq!(waiting, repeat(DeliveryState::Waiting));
    assert_eq!(accepted, repeat(DeliveryState::Accepted));
    assert!(send_all(&*outbox, &clock).await.is_empty());
    assert_eq!(outbox.counts(clock.now()).await.unwrap().events, 1);
}

pub async fn an_id_is_remembered_however_late_it_comes_again(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    outbox.close().await.unwrap();

    lever.advance(Duration::from_secs(29 * 24 * 3600));
    let outbox = engine.open(&clock);
    let kept = outbox.keep(new(event("one", "one", &clock), vec![])).await;

    assert!(matches!(kept, Ok(Kept::Repeat { .. })));
}

pub async fn the_same_id_with_another_body_is_kept_as_well(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    let other = new(
        event("one", "another body", &clock),
        vec![delivery("group:#g", "two", &clock)],
    );
    let kept = outbox.keep(other).await.unwrap();

    assert_eq!(kept, Kept::New { deliveries: 1 });
    assert_eq!(send_all(&*outbox, &clock).await, ["one", "two"]);
}

pub async fn the_same_id_through_another_bridge_is_another_event(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    let mut other = event("one", "one", &clock);
    other.bridge = "gitea".into();
    let kept = outbox.keep(new(other, vec![])).await.unwrap();

    assert_eq!(kept, Kept::New { deliveries: 0 });
}

pub async fn without_ids_the_same_body_is_a_retry_within_a_minute_and_news_after_it(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let firing = || {
        new(
            nameless("firing", &clock),
            vec![delivery("group:#g", "firing", &clock)],
        )
    };
    outbox.keep(firing()).await.unwrap();

    lever.advance(Duration::from_millis(59_999));
    assert!(matches!(
        outbox.keep(firing()).await,
        Ok(Kept::Repeat { .. })
    ));
    lever.advance(Duration::from_millis(1));
    let reminder = outbox.keep(firing()).await.unwrap();

    assert_eq!(reminder, Kept::New { deliveries: 1 });
    assert_eq!(send_all(&*outbox, &clock).await, ["firing", "firing"]);
}

pub async fn a_reminder_has_retries_of_its_own(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    outbox
        .keep(new(nameless("firing", &clock), vec![]))
        .await
        .unwrap();
    lever.advance(Duration::from_secs(300));
    outbox
        .keep(new(nameless("firing", &clock), vec![]))
        .await
        .unwrap();

    lever.advance(Duration::from_secs(30));
    let kept = outbox.keep(new(nameless("firing", &clock), vec![])).await;

    assert!(matches!(kept, Ok(Kept::Repeat { .. })));
}

pub async fn what_ended_dead_or_refused_is_put_back_when_its_event_comes_again(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let three = || {
        new(
            event("one", "one", &clock),
            vec![
                delivery("group:#a", "a", &clock),
                delivery("group:#b", "b", &clock),
                delivery("group:#c", "c", &clock),
            ],
        )
    };
    outbox.keep(three()).await.unwrap();
    let claims = claim_all(&*outbox, &clock).await;
    for (claim, decision) in claims.iter().zip([
        Decision::Dead("horizon".into()),
        Decision::Refused("1203 NotInGroupYetError".into()),
        accepted(None),
    ]) {
        outbox
            .record(record(claim, &clock, decision))
            .await
            .unwrap();
    }
    let dead = outbox.find_delivery(claims[0].delivery).await.unwrap();
    assert_eq!(dead.unwrap().reason.as_deref(), Some("horizon"));
    keep_one(&*outbox, "group:#a", "later", &clock).await;

    lever.advance(Duration::from_secs(24 * 3600));
    let kept = outbox.keep(three()).await.unwrap();

    assert_eq!(
        kept,
        Kept::Repeat {
            became: BTreeMap::from([
                (DeliveryState::Dead, 1),
                (DeliveryState::Refused, 1),
                (DeliveryState::Accepted, 1)
            ]),
            put_back: 2
        }
    );
    let again = claim_all(&*outbox, &clock).await;
    assert_eq!(
        texts(&again),
        ["later", "b"],
        "it is put back behind what came meanwhile"
    );
    assert_eq!(again[1].attempt.number, 2);
    assert_eq!(
        again[1].first_attempt,
        clock.now(),
        "it has a time of its own to try"
    );
    assert_ne!(
        again[1].attempt.operation_id,
        claims[1].attempt.operation_id
    );
}

pub async fn an_event_that_no_route_took_is_taken_when_it_comes_again_and_one_does(
    engine: &mut dyn Engine,
) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    outbox
        .keep(new(event("one", "one", &clock), vec![]))
        .await
        .unwrap();
    assert_eq!(outbox.counts(clock.now()).await.unwrap().unrouted, 1);

    let routed = new(
        event("one", "one", &clock),
        vec![delivery("group:#g", "one", &clock)],
    );
    let kept = outbox.keep(routed).await.unwrap();

    assert_eq!(kept, Kept::New { deliveries: 1 });
    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!((counts.events, counts.unrouted), (1, 0));
    assert_eq!(send_all(&*outbox, &clock).await, ["one"]);
}

pub async fn an_event_that_is_silent_by_choice_stays_silent_when_it_comes_again(
    engine: &mut dyn Engine,
) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let silent = NewEvent {
        routed: true,
        ..new(event("one", "one", &clock), vec![])
    };
    outbox.keep(silent).await.unwrap();

    let again = new(
        event("one", "one", &clock),
        vec![delivery("group:#g", "one", &clock)],
    );
    let kept = outbox.keep(again).await.unwrap();

    let nothing = Kept::Repeat {
        became: BTreeMap::new(),
        put_back: 0,
    };
    assert_eq!(kept, nothing);
    assert_eq!(outbox.counts(clock.now()).await.unwrap().unrouted, 0);
}
