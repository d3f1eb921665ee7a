//! The outbox: one suite of promises, run over every engine.

mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openim_bridge::model::*;
use openim_bridge::outbox::*;

/// An engine under test. Only one outbox is open at a time.
pub trait Engine {
    /// Opens what this engine keeps.
    fn open(&self, clock: &Clock) -> Arc<dyn Outbox>;

    /// The machine stops now: whatever opens next finds the disk as it is at this moment.
    fn crash(&mut self);
}

/// Runs each promise over an engine.
macro_rules! promises {
    ($($promise:ident)*) => {
        mod over_sqlite {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(&mut super::sqlite::Folder::new()).await;
            })*
        }
    };
}

promises! {
    what_was_kept_is_there_after_the_next_start
    what_was_kept_is_there_after_a_crash
    order_in_a_lane_is_the_order_of_keeping
    a_person_and_the_notices_to_that_person_wait_for_each_other
    a_claimed_lane_gives_nothing_until_its_claim_is_recorded
    one_conversation_in_trouble_delays_no_other
    a_retry_waits_for_its_time_and_keeps_its_place_and_its_operation_id
    a_lane_rests_as_long_as_its_pace_says
    an_attempt_that_a_crash_left_open_stays_without_an_end
    a_claim_whose_caller_is_gone_is_given_back
    a_decision_about_an_attempt_that_is_not_in_hand_is_refused
    a_repeated_event_is_answered_but_not_kept_twice
    an_id_is_remembered_however_late_it_comes_again
    the_same_id_with_another_body_is_kept_as_well
    the_same_id_through_another_bridge_is_another_event
    without_ids_the_same_body_is_a_retry_within_a_minute_and_news_after_it
    a_reminder_has_retries_of_its_own
    what_ended_dead_or_refused_is_put_back_when_its_event_comes_again
    an_event_that_no_route_took_is_taken_when_it_comes_again_and_one_does
    an_event_that_is_silent_by_choice_stays_silent_when_it_comes_again
    an_unrendered_delivery_is_kept_and_holds_no_place
    an_acceptance_without_a_receipt_stands
    the_bell_rings_for_what_can_be_sent
    what_comes_out_is_what_went_in
    counts_follow_every_step
    deliveries_are_listed_in_the_order_they_were_kept
    after_closing_nothing_is_taken
}

const START: &str = "2026-11-23T12:00:00Z";

/// A clock that stands at [`START`].
pub fn clock() -> (Clock, Lever) {
    Clock::lever(START.parse().unwrap())
}

/// An event whose sender gave it an id; the body is `body`.
pub fn event(id: &str, body: &str, clock: &Clock) -> Event {
    Event {
        bridge: "github".into(),
        id: EventId::Sender(id.into()),
        kind: "push".into(),
        time: clock.now(),
        received: clock.now(),
        title: "acme/api".into(),
        actor: "mia".into(),
        link: "https://git.example/acme/api".into(),
        severity: Severity::Info,
        state: Some(State::Changed),
        subject: "https://git.example/acme/api/tree/main".into(),
        header: BTreeMap::from([("x-event".into(), "push".into())]),
        query: BTreeMap::new(),
        body: serde_json::Value::Null,
        raw: body.as_bytes().to_vec().into(),
    }
}

/// An event of a sender without ids.
fn nameless(body: &str, clock: &Clock) -> Event {
    Event {
        id: EventId::Body(format!("digest of {body}")),
        ..event("", body, clock)
    }
}

/// A message that says `text`.
pub fn message(text: &str) -> Message {
    Message {
        content: Content::Text {
            markdown: Some(format!("**{text}**")),
            plain: text.into(),
            preview: text.into(),
            mentions: vec![Mention::Everyone],
        },
        push: Push::Off,
        template: "github/push.md.hbs".into(),
    }
}

/// A delivery of `text` to a conversation.
pub fn delivery(to: &str, text: &str, clock: &Clock) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::new(clock.now()),
        destination: "group:ops".into(),
        conversation: to.parse().unwrap(),
        rendered: Rendered::Ready(message(text)),
        expires: None,
    }
}

/// An event with its deliveries; without any, no route took it.
pub fn new(event: Event, deliveries: Vec<NewDelivery>) -> NewEvent {
    NewEvent {
        routed: !deliveries.is_empty(),
        event: Arc::new(event),
        deliveries,
    }
}

/// Keeps an event with one delivery, both named `name`.
async fn keep_one(outbox: &dyn Outbox, to: &str, name: &str, clock: &Clock) -> DeliveryId {
    let delivery = delivery(to, name, clock);
    let id = delivery.id;
    let kept = outbox
        .keep(new(event(name, name, clock), vec![delivery]))
        .await;
    assert_eq!(kept.unwrap(), Kept::New { deliveries: 1 });
    id
}

/// Everything that is due now.
async fn claim_all(outbox: &dyn Outbox, clock: &Clock) -> Vec<Claim> {
    outbox.claim(1000, clock.now()).await.unwrap()
}

/// What the claims say, in order.
fn texts(claims: &[Claim]) -> Vec<&str> {
    claims
        .iter()
        .map(|claim| match &claim.message.content {
            Content::Text { plain, .. } => plain.as_str(),
            Content::Raw { .. } => "raw",
        })
        .collect()
}

/// A receipt of OpenIM.
pub fn receipt() -> Receipt {
    Receipt {
        server_msg_id: "srv-1".into(),
        client_msg_id: "cli-1".into(),
        send_time: 1_795_000_000_000,
    }
}

/// What the courier writes down about a claim.
pub fn record(claim: &Claim, clock: &Clock, decision: Decision) -> Record {
    Record {
        delivery: claim.delivery,
        attempt: claim.attempt.number,
        ended: clock.now(),
        verdict: "as the test says".into(),
        decision,
        lane_rests_until: None,
    }
}

async fn accept(outbox: &dyn Outbox, claim: &Claim, clock: &Clock) {
    let decision = Decision::Accepted(Some(receipt()));
    outbox.record(record(claim, clock, decision)).await.unwrap();
}

/// Sends everything that can be sent now, one after the other, and says what was sent.
async fn send_all(outbox: &dyn Outbox, clock: &Clock) -> Vec<String> {
    let mut sent = Vec::new();
    loop {
        let claims = claim_all(outbox, clock).await;
        if claims.is_empty() {
            return sent;
        }
        for claim in &claims {
            accept(outbox, claim, clock).await;
        }
        sent.extend(texts(&claims).into_iter().map(str::to_owned));
    }
}

async fn state_of(outbox: &dyn Outbox, id: DeliveryId) -> DeliveryState {
    outbox.find_delivery(id).await.unwrap().unwrap().state
}

async fn what_was_kept_is_there_after_the_next_start(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    outbox.close().await.unwrap();

    let outbox = engine.open(&clock);

    assert_eq!(send_all(&*outbox, &clock).await, ["one"]);
}

async fn what_was_kept_is_there_after_a_crash(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    engine.crash();
    let outbox = engine.open(&clock);

    assert_eq!(send_all(&*outbox, &clock).await, ["one"]);
}

async fn order_in_a_lane_is_the_order_of_keeping(engine: &mut dyn Engine) {
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

async fn a_person_and_the_notices_to_that_person_wait_for_each_other(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "person:#u", "chat", &clock).await;
    keep_one(&*outbox, "notice:#u", "notice", &clock).await;

    let first = claim_all(&*outbox, &clock).await;

    assert_eq!(texts(&first), ["chat"]);
    assert!(claim_all(&*outbox, &clock).await.is_empty());
}

async fn a_claimed_lane_gives_nothing_until_its_claim_is_recorded(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;

    let first = claim_all(&*outbox, &clock).await;
    lever.advance(Duration::from_secs(3600));
    keep_one(&*outbox, "group:#g", "three", &clock).await;
    assert_eq!(texts(&first), ["one"]);
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    assert_eq!(outbox.next_due().await.unwrap(), None);

    accept(&*outbox, &first[0], &clock).await;
    assert_eq!(send_all(&*outbox, &clock).await, ["two", "three"]);
}

async fn one_conversation_in_trouble_delays_no_other(engine: &mut dyn Engine) {
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
    let again = Decision::Again {
        at: later,
        ambiguous: false,
    };
    outbox
        .record(record(&claims[0], &clock, again))
        .await
        .unwrap();
    accept(&*outbox, &claims[1], &clock).await;

    assert_eq!(send_all(&*outbox, &clock).await, ["good 2"]);
    assert_eq!(outbox.next_due().await.unwrap(), Some(later));
}

async fn a_retry_waits_for_its_time_and_keeps_its_place_and_its_operation_id(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;

    let first = claim_all(&*outbox, &clock).await;
    let again = Decision::Again {
        at: clock.now() + Duration::from_secs(10),
        ambiguous: true,
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

async fn a_lane_rests_as_long_as_its_pace_says(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;

    let rested = clock.now() + Duration::from_millis(200);
    let first = claim_all(&*outbox, &clock).await;
    let mut one = record(&first[0], &clock, Decision::Accepted(None));
    one.lane_rests_until = Some(rested);
    outbox.record(one).await.unwrap();
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    assert_eq!(outbox.next_due().await.unwrap(), Some(rested));

    lever.advance(Duration::from_millis(200));
    assert_eq!(send_all(&*outbox, &clock).await, ["two"]);

    // The pace outlives an empty lane: what comes next rests as well.
    let resting = clock.now() + Duration::from_millis(200);
    keep_one(&*outbox, "group:#g", "three", &clock).await;
    let third = claim_all(&*outbox, &clock).await;
    let mut three = record(&third[0], &clock, Decision::Accepted(None));
    three.lane_rests_until = Some(resting);
    outbox.record(three).await.unwrap();
    keep_one(&*outbox, "group:#g", "four", &clock).await;
    assert_eq!(outbox.next_due().await.unwrap(), Some(resting));
}

async fn an_attempt_that_a_crash_left_open_stays_without_an_end(engine: &mut dyn Engine) {
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

async fn a_claim_whose_caller_is_gone_is_given_back(engine: &mut dyn Engine) {
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
            let again = Decision::Again {
                at: clock.now(),
                ambiguous: false,
            };
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

async fn a_decision_about_an_attempt_that_is_not_in_hand_is_refused(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;
    let first = claim_all(&*outbox, &clock).await;
    engine.crash();
    let outbox = engine.open(&clock);
    let second = claim_all(&*outbox, &clock).await;

    let late = record(&first[0], &clock, Decision::Accepted(Some(receipt())));
    let error = outbox.record(late).await.unwrap_err();

    assert!(
        matches!(error, OutboxError::NotInHand { attempt: 1, .. }),
        "{error}"
    );
    let found = outbox.find_delivery(id).await.unwrap().unwrap();
    assert_eq!(found.state, DeliveryState::Sending);
    assert_eq!(
        found.receipt,
        Some(receipt()),
        "a fact is kept, however late"
    );
    accept(&*outbox, &second[0], &clock).await;
    let twice = record(&second[0], &clock, Decision::Refused("no".into()));
    assert!(outbox.record(twice).await.is_err());
    assert_eq!(state_of(&*outbox, id).await, DeliveryState::Accepted);
}

async fn a_repeated_event_is_answered_but_not_kept_twice(engine: &mut dyn Engine) {
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
    assert_eq!(outbox.counts().await.unwrap().events, 1);
}

async fn an_id_is_remembered_however_late_it_comes_again(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    outbox.close().await.unwrap();

    lever.advance(Duration::from_secs(29 * 24 * 3600));
    let outbox = engine.open(&clock);
    let kept = outbox.keep(new(event("one", "one", &clock), vec![])).await;

    assert!(matches!(kept, Ok(Kept::Repeat { .. })));
}

async fn the_same_id_with_another_body_is_kept_as_well(engine: &mut dyn Engine) {
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

async fn the_same_id_through_another_bridge_is_another_event(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    let mut other = event("one", "one", &clock);
    other.bridge = "gitea".into();
    let kept = outbox.keep(new(other, vec![])).await.unwrap();

    assert_eq!(kept, Kept::New { deliveries: 0 });
}

async fn without_ids_the_same_body_is_a_retry_within_a_minute_and_news_after_it(
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

async fn a_reminder_has_retries_of_its_own(engine: &mut dyn Engine) {
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

async fn what_ended_dead_or_refused_is_put_back_when_its_event_comes_again(
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
        Decision::Accepted(None),
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

async fn an_event_that_no_route_took_is_taken_when_it_comes_again_and_one_does(
    engine: &mut dyn Engine,
) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    outbox
        .keep(new(event("one", "one", &clock), vec![]))
        .await
        .unwrap();
    assert_eq!(outbox.counts().await.unwrap().unrouted, 1);

    let routed = new(
        event("one", "one", &clock),
        vec![delivery("group:#g", "one", &clock)],
    );
    let kept = outbox.keep(routed).await.unwrap();

    assert_eq!(kept, Kept::New { deliveries: 1 });
    let counts = outbox.counts().await.unwrap();
    assert_eq!((counts.events, counts.unrouted), (1, 0));
    assert_eq!(send_all(&*outbox, &clock).await, ["one"]);
}

async fn an_event_that_is_silent_by_choice_stays_silent_when_it_comes_again(
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
    assert_eq!(outbox.counts().await.unwrap().unrouted, 0);
}

async fn an_unrendered_delivery_is_kept_and_holds_no_place(engine: &mut dyn Engine) {
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

async fn an_acceptance_without_a_receipt_stands(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;

    let claims = claim_all(&*outbox, &clock).await;
    let accepted = record(&claims[0], &clock, Decision::Accepted(None));
    outbox.record(accepted).await.unwrap();

    let found = outbox.find_delivery(id).await.unwrap().unwrap();
    assert_eq!(found.state, DeliveryState::Accepted);
    assert_eq!(found.receipt, None);
}

async fn the_bell_rings_for_what_can_be_sent(engine: &mut dyn Engine) {
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

async fn what_comes_out_is_what_went_in(engine: &mut dyn Engine) {
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

async fn counts_follow_every_step(engine: &mut dyn Engine) {
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

async fn deliveries_are_listed_in_the_order_they_were_kept(engine: &mut dyn Engine) {
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

async fn after_closing_nothing_is_taken(engine: &mut dyn Engine) {
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
