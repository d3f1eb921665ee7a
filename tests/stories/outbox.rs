//! The outbox: one suite of promises, run over every engine.

mod desk;
mod folding;
mod lanes;
mod lasting;
mod lists;
mod model;
mod postgres;
mod power;
mod pruning;
mod repeats;
mod replicas;
mod settling;
mod sqlite;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openim_bridge::model::*;
use openim_bridge::outbox::*;

/// An engine under test. Only one outbox is open at a time.
pub trait Engine: Send {
    /// Opens what this engine keeps, with this window.
    fn open_with(&self, window: Window, clock: &Clock) -> Arc<dyn Outbox>;

    /// Opens what this engine keeps.
    fn open(&self, clock: &Clock) -> Arc<dyn Outbox> {
        self.open_with(Window::default(), clock)
    }

    /// Opens it for a command, while the service has it open.
    fn beside(&self, clock: &Clock) -> Arc<dyn Outbox>;

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

        mod over_postgres {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$file::$promise(&mut super::postgres::Database::new()).await;
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
        what_is_seen_too_late_is_written_down_and_decides_nothing
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
    settling {
        what_is_found_is_stored_with_its_seq_and_the_evidence
        a_lane_is_looked_at_by_one_at_a_time_until_it_is_settled
        a_look_whose_caller_is_gone_ends
        sending_goes_on_beside_a_look
        what_is_accepted_during_a_look_is_looked_for_in_its_own_time
        an_unclear_send_holds_its_lane_until_it_is_settled
        an_unclear_send_that_was_not_taken_is_the_same_send_again
        an_unclear_send_that_was_taken_lets_the_lane_go_on
        what_is_dropped_is_sent_again_in_its_place_after_all_is_decided
        a_stop_ends_with_the_last_unsettled_one
        what_is_unproven_is_sent_again_as_a_possible_repeat
        what_is_held_waits_for_an_operator_and_is_sent_again_when_the_lane_is_released
        what_is_held_and_found_after_all_lets_the_lane_go_on
        an_operators_hold_outlasts_what_is_found
        what_is_given_up_while_it_is_unclear_lets_the_lane_go_on
        a_decision_about_an_earlier_attempt_is_not_taken
        without_the_lanes_epoch_facts_are_taken_and_decisions_are_not
        a_fact_is_believed_whatever_the_state
        what_is_found_while_it_is_sent_again_ends_as_stored
        what_is_found_at_another_place_too_is_noted
        how_far_a_conversation_was_read_is_remembered
        a_person_and_the_notices_to_that_person_are_read_apart
        unsettled_ones_come_in_the_order_of_sending
        counts_tell_what_is_not_settled
    }
    window {
        so_many_messages_may_be_unconfirmed
        so_many_bytes_may_be_unconfirmed_and_a_larger_message_goes_alone
        without_a_window_nothing_waits
        a_persons_chat_and_notices_wait_for_each_others_confirmations
        the_window_is_counted_anew_after_a_start
    }
    folding {
        what_came_too_late_at_the_head_of_a_lane_is_one_line
        only_what_stands_at_the_front_is_folded
        a_line_that_was_not_taken_speaks_for_more_the_next_time
        a_line_does_not_wait_because_the_last_it_speaks_for_would
        a_persons_chat_and_the_notices_to_that_person_are_folded_apart
        however_many_came_too_late_no_one_is_forgotten
        what_somebody_puts_back_is_shown
        without_a_line_nothing_is_folded
    }
    desk {
        what_ended_goes_back_to_the_end_of_its_lane
        what_waits_becomes_due_at_once
        what_is_cancelled_is_not_sent
        what_is_in_hand_or_accepted_cannot_be_called_back
        a_held_lane_sends_nothing_until_it_is_released
        more_deliveries_of_an_event_come_at_the_end_of_their_lanes
        an_unrendered_one_is_appended_when_its_template_works
        a_command_beside_the_service_is_seen_by_it
    }
    lists {
        deliveries_are_found_by_what_is_known_of_them
        events_are_found_by_what_is_known_of_them
        lists_go_on_behind_a_number
        a_list_brings_no_messages_and_no_bodies
        lanes_tell_why_they_wait
    }
    pruning {
        contents_go_first_and_ids_much_later
        what_is_not_delivered_stays_however_old
        ids_are_remembered_thirty_days_whatever_is_asked
        pruning_goes_on_where_it_stopped
        what_was_pruned_cannot_be_sent_again
        what_was_signed_is_remembered_as_long_as_its_id
    }
    repeats {
        a_repeated_event_is_answered_but_not_kept_twice
        an_id_is_remembered_however_late_it_comes_again
        the_same_id_with_another_body_is_kept_as_well
        the_same_id_through_another_bridge_is_another_event
        without_ids_the_same_body_is_a_retry_within_a_minute_and_news_after_it
        the_same_body_signed_at_the_same_time_is_one_event_and_signed_anew_it_may_be_news
        what_was_signed_with_its_time_is_one_event_whatever_its_id_says
        what_was_signed_anew_for_a_known_id_is_no_event_under_another
        what_was_signed_is_one_event_when_it_comes_twice_at_once
        what_was_signed_for_an_event_that_no_route_took_is_taken_when_one_does
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
        signed: None,
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

/// An event that was signed with its time; `digest` tells what was signed.
pub fn signed(id: &str, digest: u8, clock: &Clock) -> Event {
    Event {
        signed: Some([digest; 16]),
        ..event(id, "signed", clock)
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
        epoch: claim.epoch,
        ended: clock.now(),
        verdict: "as the test says".into(),
        decision,
        lane_rests_until: None,
    }
}

/// OpenIM has queued it, and nothing is read back.
fn accepted(receipt: Option<Receipt>) -> Decision {
    Decision::Accepted {
        receipt,
        look: None,
    }
}

async fn accept(outbox: &dyn Outbox, claim: &Claim, clock: &Clock) {
    let decision = accepted(Some(receipt()));
    outbox.record(record(claim, clock, decision)).await.unwrap();
}

/// OpenIM has queued it, and it is looked for 100 ms later.
async fn queue(outbox: &dyn Outbox, claim: &Claim, clock: &Clock) {
    let decision = Decision::Accepted {
        receipt: Some(receipt()),
        look: Some(clock.now() + SOON),
    };
    outbox.record(record(claim, clock, decision)).await.unwrap();
}

/// When an accepted message is looked for.
const SOON: Duration = Duration::from_millis(100);

/// The only lane that is due for a look.
async fn look(outbox: &dyn Outbox, clock: &Clock) -> Look {
    let mut looks = outbox.looks(10, clock.now()).await.unwrap();
    assert_eq!(looks.len(), 1);
    looks.remove(0)
}

/// What a look has shown: nothing yet.
fn settled(look: &Look, clock: &Clock) -> Settled {
    Settled {
        lane: look.lane.clone(),
        epoch: look.epoch,
        cursors: BTreeMap::new(),
        fates: Vec::new(),
        stop: false,
        look_again: clock.now() + Duration::from_secs(2),
    }
}

/// A fate of a delivery.
fn settling(unsettled: &Unsettled, clock: &Clock, fate: Fate) -> Settling {
    Settling {
        delivery: unsettled.delivery,
        attempt: unsettled.attempt.number,
        at: clock.now(),
        evidence: format!("{fate:?}"),
        fate,
    }
}

/// It stands in the history.
fn stored(seq: i64) -> Fate {
    Fate::Stored {
        seq,
        receipt: receipt(),
    }
}

/// Writes down one fate each for what a look has shown.
async fn settle(outbox: &dyn Outbox, look: &Look, clock: &Clock, fates: &[Fate]) {
    let mut settled = settled(look, clock);
    settled.fates = look
        .unsettled
        .iter()
        .zip(fates)
        .map(|(unsettled, fate)| settling(unsettled, clock, fate.clone()))
        .collect();
    assert_eq!(outbox.settle(vec![settled]).await.unwrap(), [true]);
}

/// All of a list, the oldest first.
const ALL: Page = Page {
    after: None,
    most: 1000,
    oldest_first: true,
};

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
