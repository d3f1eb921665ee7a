//! What was accepted is found again, or proven lost and sent again: the courier between a real outbox and the sandbox, which
//! breaks as running servers were seen to break.

use std::time::{Duration, Instant};

use openim_bridge::deliver::{Policy, Unproven};
use openim_bridge::model::*;
use openim_bridge::outbox::DeliveryRecord;
use openim_bridge::sandbox::{Plan, Sandbox};

use crate::deliver::Service;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A sandbox with one group and one person, and a service before it. Both live by the same lever.
struct Chat {
    sandbox: Sandbox,
    service: Service,
}

impl Chat {
    fn open(faults: &[&str], policy: Policy) -> Chat {
        let start = "2026-07-02T10:00:00Z".parse().unwrap();
        let (clock, lever) = Clock::lever(start);
        Chat::open_with(faults, policy, clock, lever)
    }

    fn open_with(faults: &[&str], policy: Policy, clock: Clock, lever: Lever) -> Chat {
        let sandbox = Sandbox::start_anywhere(Family::Main, clock.clone()).unwrap();
        sandbox.register("u_li", "Li");
        sandbox.add_bot("bridge_bot", "Bridge");
        sandbox.create_group("g_ops", "Operations", &["u_li", "bridge_bot"]);
        sandbox.play(Plan::of(7, faults).unwrap());
        let service = Service::start_with(&sandbox.url(), clock, lever, policy);
        Chat { sandbox, service }
    }

    async fn keep(&self, words: &str) -> DeliveryId {
        self.service.keep_for(ops(), words).await
    }

    /// Lets time pass until that delivery stands where it should.
    async fn becomes(&self, id: DeliveryId, state: DeliveryState) -> DeliveryRecord {
        for _ in 0..400 {
            let found = self.service.find(id).await;
            if found.state == state {
                return found;
            }
            self.service.passes(SECOND * 2).await;
        }
        panic!("{:#?}", self.service.find(id).await);
    }

    /// The texts of the group as its members see them.
    fn said(&self) -> Vec<String> {
        texts(&self.sandbox, &ops())
    }
}

fn ops() -> Conversation {
    Conversation::Group("g_ops".into())
}

fn texts(sandbox: &Sandbox, conversation: &Conversation) -> Vec<String> {
    let said = sandbox.messages(conversation);
    let text = |content: &serde_json::Value| {
        let found = content["content"].as_str().or(content["text"].as_str());
        found.map_or_else(|| content.to_string(), str::to_owned)
    };
    said.iter().map(|sent| text(&sent.content)).collect()
}

fn evidence(record: &DeliveryRecord) -> String {
    let lines = record.attempts.iter().filter_map(|it| it.evidence.clone());
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn what_is_accepted_is_found_again_with_its_seq() {
    let chat = Chat::open(&[], Policy::default());
    let id = chat.keep("hello").await;

    let found = chat.becomes(id, DeliveryState::Stored).await;

    let seq = found.seq.unwrap();
    assert!(seq > 0);
    assert!(
        evidence(&found).contains(&format!("found at seq {seq}")),
        "{found:#?}"
    );
    assert_eq!(chat.said(), ["hello"]);
}

#[tokio::test]
async fn a_burst_of_1000_into_one_group_arrives_whole_and_in_order() {
    let (_, lever) = Clock::lever(Timestamp::UNIX_EPOCH);
    // The sandbox loses what OpenIM loses: more than 100 messages in one batch.
    let chat = Chat::open_with(&["drop"], Policy::default(), Clock::system(), lever);
    let began = Instant::now();
    for number in 0..1000 {
        chat.keep(&format!("m{number}")).await;
    }
    let kept = began.elapsed();

    let mut looks = tokio::time::interval(Duration::from_millis(50));
    while chat.service.state(DeliveryState::Stored).await < 1000 {
        assert!(began.elapsed() < MINUTE, "{} of 1000", chat.said().len());
        looks.tick().await;
    }
    let took = began.elapsed();

    eprintln!(
        "1000 messages into one conversation: kept after {kept:?}, stored after {took:?}, {:.0} a second",
        1000.0 / took.as_secs_f64()
    );
    let expected: Vec<String> = (0..1000).map(|number| format!("m{number}")).collect();
    assert_eq!(chat.said(), expected);
    assert_eq!(chat.sandbox.account().lost, []);
}

#[tokio::test]
async fn what_openim_loses_after_its_success_is_sent_again() {
    let chat = Chat::open(&["drop:over=0,times=1"], Policy::default());
    let lost = chat.keep("lost").await;
    chat.service.count(DeliveryState::Accepted, 1).await;
    chat.service.passes(SECOND).await;
    let kept = chat.keep("kept").await;

    let found = chat.becomes(lost, DeliveryState::Stored).await;

    chat.becomes(kept, DeliveryState::Stored).await;
    let lost = chat.sandbox.account().lost;
    let ours = lost.iter().filter(|lost| lost.ex.contains("bridge"));
    assert_eq!(ours.count(), 1);
    let evidence = evidence(&found);
    assert!(
        evidence.contains("a later one is stored and this one is not there, in two readings"),
        "{evidence}"
    );
    // The named exception to the order: what was proven lost comes after what was kept.
    assert_eq!(chat.said(), ["kept", "lost"]);
    let operations: Vec<&str> = found
        .attempts
        .iter()
        .map(|it| it.attempt.operation_id.as_str())
        .collect();
    assert_ne!(operations[0], operations[1], "a new send");
    let counts = chat
        .service
        .outbox
        .counts(chat.service.clock.now())
        .await
        .unwrap();
    assert_eq!((counts.dropped, counts.possible_repeats), (1, 0));
}

#[tokio::test]
async fn a_send_without_an_answer_is_settled_by_the_history() {
    let faults = ["reset:message=taken,call=send,times=1", "status-lost"];
    let chat = Chat::open(&faults, Policy::default());
    let id = chat.keep("once").await;
    let behind = chat.keep("behind").await;

    let found = chat.becomes(id, DeliveryState::Stored).await;

    chat.becomes(behind, DeliveryState::Stored).await;
    assert_eq!(found.attempts.len(), 1);
    let verdict = found.attempts[0].verdict.as_ref().unwrap();
    assert!(verdict.starts_with("ambiguous"), "{verdict}");
    assert_eq!(chat.said(), ["once", "behind"]);
}

#[tokio::test]
async fn a_send_that_hangs_in_openims_queue_is_not_repeated() {
    let faults = ["hang:message=later,by=60s,call=send,times=1", "status-lost"];
    let chat = Chat::open(&faults, Policy::default());
    let id = chat.keep("late").await;
    // Our patience is real time, OpenIM's is the lever's: the request is given up by a stop of the connection.
    chat.service.passes(SECOND * 70).await;

    let found = chat.becomes(id, DeliveryState::Stored).await;

    assert_eq!(found.attempts.len(), 1);
    assert_eq!(chat.said(), ["late"]);
}

#[tokio::test]
async fn what_nothing_proves_is_sent_again_after_10_min_as_a_possible_repeat() {
    let chat = Chat::open(&["drop:over=0,times=1"], Policy::default());
    let id = chat.keep("alone").await;
    chat.service.count(DeliveryState::Accepted, 1).await;
    chat.service.passes(MINUTE * 9).await;
    assert_eq!(chat.said(), [""; 0]);

    let found = chat.becomes(id, DeliveryState::Stored).await;

    assert!(
        evidence(&found).contains("nothing later of ours to prove its loss by"),
        "{found:#?}"
    );
    assert_eq!(chat.said(), ["alone"]);
    let counts = chat
        .service
        .outbox
        .counts(chat.service.clock.now())
        .await
        .unwrap();
    assert_eq!((counts.dropped, counts.possible_repeats), (0, 1));
}

#[tokio::test]
async fn what_nothing_proves_waits_for_an_operator_where_the_settings_say_so() {
    let policy = Policy {
        unproven: Unproven::Hold,
        ..Policy::default()
    };
    let chat = Chat::open(&["drop:over=0,times=1"], policy);
    let id = chat.keep("alone").await;
    chat.service.count(DeliveryState::Accepted, 1).await;
    chat.service.passes(MINUTE * 12).await;
    let behind = chat.keep("behind").await;
    chat.service.passes(MINUTE).await;
    assert_eq!(
        chat.service.find(behind).await.state,
        DeliveryState::Waiting
    );
    assert_eq!(chat.said(), [""; 0]);

    assert!(chat.service.outbox.hold(ops().lane(), None).await.unwrap());

    chat.becomes(id, DeliveryState::Stored).await;
    chat.becomes(behind, DeliveryState::Stored).await;
    assert_eq!(chat.said(), ["alone", "behind"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_called_lost() {
    let chat = Chat::open(&["unreadable:for=5m"], Policy::default());
    let first = chat.keep("first").await;
    let second = chat.keep("second").await;
    chat.service.count(DeliveryState::Accepted, 2).await;

    chat.service.passes(MINUTE * 4).await;

    assert_eq!(
        chat.service.find(first).await.state,
        DeliveryState::Accepted
    );
    chat.becomes(first, DeliveryState::Stored).await;
    chat.becomes(second, DeliveryState::Stored).await;
    assert_eq!(chat.said(), ["first", "second"]);
}

#[tokio::test]
async fn early_seqs_late_messages_holes_and_copies_disturb_nobody() {
    let faults = [
        "early-seq:by=3s,probability=0.3",
        "late:after=2s,for=5s",
        "hole:probability=0.2",
        "repeat:probability=0.3",
    ];
    let chat = Chat::open(&faults, Policy::default());
    let mut ids = Vec::new();
    for number in 0..60 {
        ids.push(chat.keep(&format!("m{number}")).await);
        chat.service.passes(Duration::from_millis(100)).await;
    }

    for id in ids {
        chat.becomes(id, DeliveryState::Stored).await;
    }

    let expected: Vec<String> = (0..60).map(|number| format!("m{number}")).collect();
    assert_eq!(chat.said(), expected);
    assert_eq!(chat.sandbox.account().lost, []);
}

#[tokio::test]
async fn a_persons_chat_and_notices_do_not_mix() {
    let chat = Chat::open(&["mixed"], Policy::default());
    let person = Conversation::Person("u_li".into());
    let notice = Conversation::Notice("u_li".into());
    let mut ids = Vec::new();
    for number in 0..6 {
        let to = if number % 2 == 0 { &person } else { &notice };
        ids.push(
            chat.service
                .keep_for(to.clone(), &format!("m{number}"))
                .await,
        );
    }

    for id in ids {
        chat.becomes(id, DeliveryState::Stored).await;
    }

    assert_eq!(texts(&chat.sandbox, &person), ["m0", "m2", "m4"]);
    assert_eq!(texts(&chat.sandbox, &notice).len(), 3);
}

#[tokio::test]
async fn what_comes_too_late_is_one_line() {
    let chat = Chat::open(&["http:call=send,for=1h"], Policy::default());
    let mut ids = Vec::new();
    for number in 0..5 {
        let expires = Expires {
            at: chat
                .service
                .clock
                .now()
                .saturating_add(MINUTE * 30)
                .unwrap(),
            folded: "{} older message not shown\n{} older messages not shown".into(),
        };
        let words = format!("m{number}");
        ids.push(chat.service.keep_until(ops(), &words, Some(expires)).await);
    }
    let fresh = chat.keep("fresh").await;

    chat.service.passes(MINUTE * 70).await;
    chat.becomes(fresh, DeliveryState::Stored).await;

    let said = chat.said();
    assert_eq!(said.last().unwrap(), "fresh");
    assert!(said[0].ends_with("older messages not shown"), "{said:?}");
    assert_eq!(said.len(), 2, "{said:?}");
}

#[tokio::test]
async fn a_poison_message_ends_with_its_reason_and_others_go_on() {
    let chat = Chat::open(&["http:code=500,call=send,times=1"], Policy::default());
    let poison = chat
        .service
        .keep_for(Conversation::Group("g_nowhere".into()), "poison")
        .await;
    let other = chat.keep("other").await;

    let refused = chat.becomes(poison, DeliveryState::Refused).await;

    chat.becomes(other, DeliveryState::Stored).await;
    assert!(refused.reason.is_some());
}
