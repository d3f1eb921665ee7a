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

pub async fn the_same_body_signed_at_the_same_time_is_one_event_and_signed_anew_it_may_be_news(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let signed = |time: u8| {
        let mut signed = nameless("body", &clock);
        signed.signed = Some([time; 16]);
        new(signed, vec![])
    };
    let is_new = |kept: Result<Kept, OutboxError>| matches!(kept, Ok(Kept::New { .. }));

    assert!(is_new(outbox.keep(signed(1)).await));
    lever.advance(Duration::from_secs(59));
    assert!(!is_new(outbox.keep(signed(60)).await), "a retry");
    lever.advance(Duration::from_secs(2));
    assert!(is_new(outbox.keep(signed(62)).await), "a reminder");

    outbox.close().await.unwrap();
    lever.advance(Duration::from_secs(240));
    let outbox = engine.open(&clock);
    for time in [1, 60, 62] {
        assert!(!is_new(outbox.keep(signed(time)).await), "a copy of {time}");
    }
    assert!(is_new(outbox.keep(signed(240)).await));
}

fn is_new(kept: &Kept) -> bool {
    matches!(kept, Kept::New { .. })
}

pub async fn what_was_signed_with_its_time_is_one_event_whatever_its_id_says(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let one = |id: &str, digest| {
        let deliveries = vec![delivery("group:#g", id, &clock)];
        new(signed(id, digest, &clock), deliveries)
    };
    assert!(is_new(&outbox.keep(one("own", 1)).await.unwrap()));
    assert_eq!(send_all(&*outbox, &clock).await, ["own"]);

    let copied = outbox.keep(one("copied", 1)).await.unwrap();
    let repeat = Kept::Repeat {
        became: BTreeMap::from([(DeliveryState::Accepted, 1)]),
        put_back: 0,
    };
    assert_eq!(copied, repeat, "what became of the first");
    let mut changed = one("copied", 1);
    let event = Arc::get_mut(&mut changed.event).unwrap();
    event.raw = "what another reading makes of it".into();
    event.id = EventId::Body("digest".into());
    assert_eq!(outbox.keep(changed).await.unwrap(), repeat);

    drop(outbox);
    engine.crash();
    lever.advance(Duration::from_secs(299));
    let outbox = engine.open(&clock);
    assert_eq!(outbox.keep(one("after a crash", 1)).await.unwrap(), repeat);
    assert_eq!(outbox.counts(clock.now()).await.unwrap().events, 1);

    // Another time or another id was signed, or it is for another bridge.
    assert!(is_new(&outbox.keep(one("other", 2)).await.unwrap()));
    let mut elsewhere = one("own", 1);
    Arc::get_mut(&mut elsewhere.event).unwrap().bridge = "gitea".into();
    assert!(is_new(&outbox.keep(elsewhere).await.unwrap()));
}

pub async fn what_was_signed_anew_for_a_known_id_is_no_event_under_another(
    engine: &mut dyn Engine,
) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let keep = async |id: &str, digest| {
        let kept = outbox.keep(new(signed(id, digest, &clock), vec![])).await;
        is_new(&kept.unwrap())
    };
    assert!(keep("own", 1).await);
    assert!(!keep("own", 2).await, "a retry");
    assert!(!keep("own", 2).await, "a copy of the retry");
    assert!(!keep("another", 2).await, "and under another id");
    assert!(!keep("another", 1).await, "a copy of the first");
    assert!(keep("another", 3).await, "its sender says so");
}

pub async fn what_was_signed_is_one_event_when_it_comes_twice_at_once(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    for round in 0..20 {
        let keep = |id: &str| {
            let id = format!("{id} {round}");
            let deliveries = vec![delivery("group:#g", &id, &clock)];
            outbox.keep(new(signed(&id, round, &clock), deliveries))
        };
        let kept = tokio::join!(keep("own"), keep("copied"), keep("again"));
        let kept = [kept.0.unwrap(), kept.1.unwrap(), kept.2.unwrap()];
        let new = kept.iter().filter(|kept| is_new(kept));
        assert_eq!(new.count(), 1, "{kept:?}");
    }
    assert_eq!(send_all(&*outbox, &clock).await.len(), 20);
}

pub async fn what_was_signed_for_an_event_that_no_route_took_is_taken_when_one_does(
    engine: &mut dyn Engine,
) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let unrouted = new(signed("own", 1, &clock), vec![]);
    outbox.keep(unrouted).await.unwrap();

    let deliveries = vec![delivery("group:#g", "one", &clock)];
    let kept = outbox.keep(new(signed("own", 2, &clock), deliveries)).await;

    assert_eq!(kept.unwrap(), Kept::New { deliveries: 1 });
    let again = outbox.keep(new(signed("copied", 2, &clock), vec![])).await;
    assert!(!is_new(&again.unwrap()));
    assert_eq!(outbox.counts(clock.now()).await.unwrap().events, 1);
}
