//! Order in a lane, and who has it in hand.

use std::time::Duration;

use openim_bridge::model::*;
use openim_bridge::outbox::*;

use super::*;

pub async fn order_in_a_lane_is_the_order_of_keeping(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    for name in ["one", "two", "three", "four"] {
        keep_one(&*outbox, "group:#g", name, &clock).await;
    }

    assert_eq!(
        send_all(&*outbox, &clock).await,
        ["one", "two", "three", "four"]
    );
}

pub async fn a_person_and_the_notices_to_that_person_wait_for_each_other(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "person:#u", "chat", &clock).await;
    keep_one(&*outbox, "notice:#u", "notice", &clock).await;

    let first = claim_all(&*outbox, &clock).await;

    assert_eq!(texts(&first), ["chat"]);
    assert!(claim_all(&*outbox, &clock).await.is_empty());
}

pub async fn a_claimed_lane_gives_nothing_until_its_claim_is_recorded(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;

    let first = claim_all(&*outbox, &clock).await;
    lever.advance(Duration::from_secs(3600));
    keep_one(&*outbox, "group:#g", "three", &clock).await;
    assert_eq!(texts(&first), ["one"]);
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    assert_eq!(outbox.next_due().await.unwrap().send, None);

    accept(&*outbox, &first[0], &clock).await;
    assert_eq!(send_all(&*outbox, &clock).await, ["two", "three"]);
}

pub async fn one_conversation_in_trouble_delays_no_other(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    for name in ["bad 1", "bad 2"] {
        keep_one(&*outbox, "group:#bad", name, &clock).await;
    }
    for name in ["good 1", "good 2"] {
        keep_one(&*outbox, "group:#good", name, &clock).await;
    }

    let claims = claim_all(&*outbox, &clock).await;
    assert_eq!(texts(&claims), ["bad 1", "good 1"]);
    let later = clock.now() + Duration::from_secs(600);
    let again = Decision::Again { at: later };
    outbox
        .record(record(&claims[0], &clock, again))
        .await
        .unwrap();
    accept(&*outbox, &claims[1], &clock).await;

    assert_eq!(send_all(&*outbox, &clock).await, ["good 2"]);
    assert_eq!(outbox.next_due().await.unwrap().send, Some(later));
}

pub async fn a_retry_waits_for_its_time_and_keeps_its_place_and_its_operation_id(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;

    let first = claim_all(&*outbox, &clock).await;
    let again = Decision::Again {
        at: clock.now() + Duration::from_secs(10),
    };
    outbox
        .record(record(&first[0], &clock, again))
        .await
        .unwrap();
    lever.advance(Duration::from_millis(9_999));
    assert!(claim_all(&*outbox, &clock).await.is_empty());

    lever.advance(Duration::from_millis(1));
    let second = claim_all(&*outbox, &clock).await;

    assert_eq!(texts(&second), ["one"]);
    assert_eq!(second[0].attempt.number, 2);
    assert_eq!(
        second[0].attempt.operation_id,
        first[0].attempt.operation_id
    );
    assert_eq!(second[0].first_attempt, first[0].attempt.began);
    accept(&*outbox, &second[0], &clock).await;
    let next = claim_all(&*outbox, &clock).await;
    assert_eq!(texts(&next), ["two"]);
    assert_ne!(next[0].attempt.operation_id, first[0].attempt.operation_id);
}

pub async fn a_lane_rests_as_long_as_its_pace_says(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;

    let rested = clock.now() + Duration::from_millis(200);
    let first = claim_all(&*outbox, &clock).await;
    let mut one = record(&first[0], &clock, accepted(None));
    one.lane_rests_until = Some(rested);
    outbox.record(one).await.unwrap();
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    assert_eq!(outbox.next_due().await.unwrap().send, Some(rested));

    lever.advance(Duration::from_millis(200));
    assert_eq!(send_all(&*outbox, &clock).await, ["two"]);

    // The pace outlives an empty lane: what comes next rests as well.
    let resting = clock.now() + Duration::from_millis(200);
    keep_one(&*outbox, "group:#g", "three", &clock).await;
    let third = claim_all(&*outbox, &clock).await;
    let mut three = record(&third[0], &clock, accepted(None));
    three.lane_rests_until = Some(resting);
    outbox.record(three).await.unwrap();
    keep_one(&*outbox, "group:#g", "four", &clock).await;
    assert_eq!(outbox.next_due().await.unwrap().send, Some(resting));
}

pub async fn a_claim_whose_caller_is_gone_is_given_back(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    for _ in 0..20 {
        let asked = outbox.clone();
        let now = clock.now();
        let courier = tokio::spawn(async move { asked.claim(1, now).await });
        tokio::task::yield_now().await;
        courier.abort();
        if let Ok(Ok(claims)) = courier.await {
            let again = Decision::Again { at: clock.now() };
            for claim in claims {
                outbox
                    .record(record(&claim, &clock, again.clone()))
                    .await
                    .unwrap();
            }
        }
    }

    while claim_all(&*outbox, &clock).await.is_empty() {
        tokio::task::yield_now().await;
    }
}

pub async fn a_decision_about_an_attempt_that_is_not_in_hand_is_refused(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;
    let claims = claim_all(&*outbox, &clock).await;
    accept(&*outbox, &claims[0], &clock).await;

    let twice = record(&claims[0], &clock, Decision::Refused("no".into()));
    let error = outbox.record(twice).await.unwrap_err();

    assert!(
        matches!(error, OutboxError::NotInHand { attempt: 1, .. }),
        "{error}"
    );
    let found = outbox.find_delivery(id).await.unwrap().unwrap();
    assert_eq!(found.state, DeliveryState::Accepted);
    assert_eq!(
        found.attempts[0].verdict.as_deref(),
        Some("as the test says")
    );
    assert_eq!(found.receipt, Some(receipt()));
}

pub async fn an_unrendered_delivery_is_kept_and_holds_no_place(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let mut broken = delivery("group:#g", "", &clock);
    broken.rendered = Rendered::Broken("push.md.hbs: line 3: no such helper".into());
    let id = broken.id;
    outbox
        .keep(new(event("one", "one", &clock), vec![broken]))
        .await
        .unwrap();
    keep_one(&*outbox, "group:#g", "two", &clock).await;

    assert_eq!(send_all(&*outbox, &clock).await, ["two"]);
    let found = outbox.find_delivery(id).await.unwrap().unwrap();
    assert_eq!(found.state, DeliveryState::Unrendered);
    assert_eq!(found.message, None);
    assert_eq!(
        found.reason.as_deref(),
        Some("push.md.hbs: line 3: no such helper")
    );
}

pub async fn an_acceptance_without_a_receipt_stands(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;

    let claims = claim_all(&*outbox, &clock).await;
    let accepted = record(&claims[0], &clock, accepted(None));
    outbox.record(accepted).await.unwrap();

    let found = outbox.find_delivery(id).await.unwrap().unwrap();
    assert_eq!(found.state, DeliveryState::Accepted);
    assert_eq!(found.receipt, None);
}
