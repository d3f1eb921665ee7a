//! The outbox: one suite of promises, run over every engine.

mod lanes;
mod lasting;
mod model;
mod repeats;
mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;

use openim_bridge::model::*;
use openim_bridge::outbox::*;

/// An engine under test. Only one outbox is open at a time.
pub trait Engine {
    /// Opens what this engine keeps.
    fn open(&self, clock: &Clock) -> Arc<dyn Outbox>;

    /// The machine stops now: whatever opens next finds the disk as it is at this moment.
    fn crash(&mut self);
}

/// Runs each promise over each engine.
macro_rules! promises {
    ($($file:ident { $($promise:ident)* })*) => {
        mod over_sqlite {
            $($(#[tokio::test]
            async fn $promise() {
                super::$file::$promise(&mut super::sqlite::Folder::new()).await;
            })*)*
        }
    };
}

promises! {
    lasting {
        what_was_kept_is_there_after_the_next_start
        what_was_kept_is_there_after_a_crash
        an_attempt_that_a_crash_left_open_stays_without_an_end
        what_comes_out_is_what_went_in
        counts_follow_every_step
        deliveries_are_listed_in_the_order_they_were_kept
        after_closing_nothing_is_taken
        the_bell_rings_for_what_can_be_sent
    }
    lanes {
        order_in_a_lane_is_the_order_of_keeping
        a_person_and_the_notices_to_that_person_wait_for_each_other
        a_claimed_lane_gives_nothing_until_its_claim_is_recorded
        one_conversation_in_trouble_delays_no_other
        a_retry_waits_for_its_time_and_keeps_its_place_and_its_operation_id
        a_lane_rests_as_long_as_its_pace_says
        a_claim_whose_caller_is_gone_is_given_back
        a_decision_about_an_attempt_that_is_not_in_hand_is_refused
        an_unrendered_delivery_is_kept_and_holds_no_place
        an_acceptance_without_a_receipt_stands
    }
    repeats {
        a_repeated_event_is_answered_but_not_kept_twice
        an_id_is_remembered_however_late_it_comes_again
        the_same_id_with_another_body_is_kept_as_well
        the_same_id_through_another_bridge_is_another_event
        without_ids_the_same_body_is_a_retry_within_a_minute_and_news_after_it
        the_same_body_signed_at_the_same_time_is_one_event_and_signed_anew_it_may_be_news
        a_reminder_has_retries_of_its_own
        what_ended_dead_or_refused_is_put_back_when_its_event_comes_again
        an_event_that_no_route_took_is_taken_when_it_comes_again_and_one_does
        an_event_that_is_silent_by_choice_stays_silent_when_it_comes_again
    }
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
