//! The courier between a real outbox and a chat server that is told to misbehave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openim_bridge::deliver::{Courier, Home, OpenIm, Policy, SendAs, Server};
use openim_bridge::model::*;
use openim_bridge::outbox::sqlite::{Options, SqliteOutbox};
use openim_bridge::outbox::*;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::faulty::{Fault, Faulty};

const SECOND: Duration = Duration::from_secs(1);
const MUTED: Fault = Fault::Say(200, r#"{"errCode":1403,"errMsg":"MutedGroup","errDlt":""}"#);
const NOT_IN_GROUP: Fault = Fault::Say(
    200,
    r#"{"errCode":1203,"errMsg":"NotInGroupYetError","errDlt":""}"#,
);
const PART_DOWN: Fault = Fault::Say(
    200,
    r#"{"errCode":14,"errMsg":"no children to pick from","errDlt":""}"#,
);

/// An outbox and a courier between it and a chat server.
pub struct Service {
    pub outbox: Arc<dyn Outbox>,
    pub courier: Courier,
    pub clock: Clock,
    pub lever: Lever,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<Home>,
    _folder: tempfile::TempDir,
}

impl Service {
    /// On a clock that stands until its lever is pulled.
    fn start(address: &str) -> Service {
        Service::start_by(address, Policy::default())
    }

    /// By another policy.
    fn start_by(address: &str, policy: Policy) -> Service {
        let start = "2026-07-02T10:00:00Z".parse().unwrap();
        let (clock, lever) = Clock::lever(start);
        Service::start_with(address, clock, lever, policy)
    }

    /// On the system's clock.
    fn start_in_real_time(address: &str) -> Service {
        let (_, lever) = Clock::lever(Timestamp::UNIX_EPOCH);
        Service::start_with(address, Clock::system(), lever, Policy::default())
    }

    pub fn start_with(address: &str, clock: Clock, lever: Lever, policy: Policy) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outbox.db");
        let outbox = SqliteOutbox::open(
            file,
            Options {
                window: policy.window,
                ..Options::default()
            },
            clock.clone(),
        )
        .unwrap();
        let outbox: Arc<dyn Outbox> = Arc::new(outbox);
        let send_as = SendAs {
            id: "bridge_bot".into(),
            nickname: "Bridge".into(),
            face_url: String::new(),
        };
        let server = Server::new(address, "imAdmin", Secret::new("openIM123"), send_as);
        let openim = OpenIm::new(server, clock.clone()).unwrap();
        let courier = Courier::new(
            outbox.clone(),
            openim,
            policy,
            Arc::new(Meters::new()),
            clock.clone(),
        );
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(courier.clone().run(async {
            stopped.await.unwrap_or(());
        }));
        Service {
            outbox,
            courier,
            clock,
            lever,
            stop: Some(stop),
            run,
            _folder: folder,
        }
    }

    /// Keeps one message for a group, as an event of its own.
    pub async fn keep(&self, group: &str, words: &str) -> DeliveryId {
        self.keep_for(Conversation::Group(group.into()), words)
            .await
    }

    pub async fn keep_for(&self, conversation: Conversation, words: &str) -> DeliveryId {
        self.keep_until(conversation, words, None).await
    }

    /// One that is not shown any more after a while.
    pub async fn keep_until(
        &self,
        conversation: Conversation,
        words: &str,
        expires: Option<Expires>,
    ) -> DeliveryId {
        let now = self.clock.now();
        let id = DeliveryId::new(now);
        let event = Event {
            bridge: "github".into(),
            id: EventId::Sender(format!("event-of-{id}")),
            signed: None,
            kind: "push".into(),
            time: now,
            received: now,
            title: words.into(),
            actor: String::new(),
            link: String::new(),
            severity: Severity::Info,
            state: None,
            subject: String::new(),
            header: Default::default(),
            query: Default::default(),
            body: Value::Null,
            raw: words.to_owned().into(),
        };
        let delivery = NewDelivery {
            id,
            destination: conversation.to_string(),
            conversation,
            rendered: Rendered::Ready(Message {
                content: Content::Text {
                    markdown: None,
                    plain: words.into(),
                    preview: words.into(),
                    mentions: vec![],
                },
                push: Push::Off,
                template: "github/push.txt.hbs".into(),
            }),
            expires,
        };
        let new = NewEvent {
            event: Arc::new(event),
            routed: true,
            deliveries: vec![delivery],
        };
        self.outbox.keep(new).await.unwrap();
        id
    }

    pub async fn find(&self, id: DeliveryId) -> DeliveryRecord {
        self.outbox.find_delivery(id).await.unwrap().unwrap()
    }

    /// Waits until that delivery has so many attempts with an end, and gives it.
    pub async fn tried(&self, id: DeliveryId, times: usize) -> DeliveryRecord {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        for _ in 0..5000 {
            let found = self.find(id).await;
            let ended = found.attempts.iter().filter(|a| a.ended.is_some());
            if ended.count() >= times {
                return found;
            }
            looks.tick().await;
        }
        panic!("not tried {times} times: {:?}", self.find(id).await);
    }

    /// Waits until so many are in that state.
    pub async fn count(&self, state: DeliveryState, many: u64) {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        for _ in 0..5000 {
            let counts = self.outbox.counts(self.clock.now()).await.unwrap();
            if counts.deliveries.get(&state) == Some(&many) {
                return;
            }
            looks.tick().await;
        }
        panic!("{:?}", self.outbox.counts(self.clock.now()).await);
    }

    /// Waits until OpenIM has taken so many, found again or not.
    pub async fn taken(&self, many: u64) {
        let mut looks = tokio::time::interval(Duration::from_millis(2));
        for _ in 0..5000 {
            let accepted = self.state(DeliveryState::Accepted).await;
            if accepted + self.state(DeliveryState::Stored).await >= many {
                return;
            }
            looks.tick().await;
        }
        panic!("{:?}", self.outbox.counts(self.clock.now()).await);
    }

    /// How many are in that state.
    pub async fn state(&self, state: DeliveryState) -> u64 {
        let counts = self.outbox.counts(self.clock.now()).await.unwrap();
        counts.deliveries.get(&state).copied().unwrap_or(0)
    }

    /// Lets time pass in small steps, as long as what it brings needs.
    pub async fn passes(&self, span: Duration) {
        let step = Duration::from_millis(100).max(span / 500);
        let mut steps = tokio::time::interval(Duration::from_millis(3));
        let end = self.clock.now().saturating_add(span).unwrap();
        while self.clock.now() < end {
            self.lever.advance(step);
            steps.tick().await;
        }
    }

    fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

fn sends(faulty: &Faulty) -> usize {
    faulty.heard("/msg/send_msg").len()
}

#[tokio::test]
async fn messages_of_a_conversation_go_one_at_a_time_in_order_and_conversations_in_parallel() {
    let faulty = Faulty::start().await;
    let service = Service::start(&faulty.address);
    faulty.meet([Fault::Hold, Fault::Hold, Fault::Hold]);
    for round in 1..=3 {
        for group in ["a", "b", "c"] {
            service.keep(group, &format!("{group}{round}")).await;
        }
    }

    faulty.until("three are under way", |f| sends(f) == 3).await;
    faulty.let_go(3);
    service.count(DeliveryState::Accepted, 9).await;

    assert_eq!(faulty.most_at_once(), 3);
    let said = faulty.said();
    for group in ["a", "b", "c"] {
        let of_group: Vec<&String> = said.iter().filter(|w| w.starts_with(group)).collect();
        assert_eq!(
            of_group,
            [
                &format!("{group}1"),
                &format!("{group}2"),
                &format!("{group}3")
            ]
        );
    }
}

#[tokio::test]
async fn a_conversation_in_trouble_delays_no_other() {
    let faulty = Faulty::start().await;
    let service = Service::start(&faulty.address);
    faulty.poison(Some(("a", Fault::Hold)));
    service.keep("a", "a1").await;
    service.keep("a", "a2").await;

    let id = service.keep("b", "b1").await;

    assert_eq!(service.tried(id, 1).await.state, DeliveryState::Accepted);
    assert_eq!(faulty.said(), ["b1"]);
}

#[tokio::test]
async fn a_refused_message_ends_with_its_reason_and_the_lane_goes_on() {
    let faulty = Faulty::start().await;
    let service = Service::start(&faulty.address);
    faulty.meet([NOT_IN_GROUP]);

    let refused = service.keep("a", "a1").await;
    let accepted = service.keep("a", "a2").await;

    let refused = service.tried(refused, 1).await;
    assert_eq!(refused.state, DeliveryState::Refused);
    let reason = refused.reason.unwrap();
    assert_eq!(
        reason,
        "1203 NotInGroupYetError: the bot is not in the group"
    );
    let accepted = service.tried(accepted, 1).await;
    assert_eq!(accepted.receipt.unwrap().server_msg_id, "s1");
}

#[tokio::test]
async fn a_message_to_a_muted_group_waits_and_keeps_its_place() {
    let faulty = Faulty::start().await;
    let service = Service::start(&faulty.address);
    faulty.meet([MUTED, MUTED]);
    let first = service.keep("a", "a1").await;
    let second = service.keep("a", "a2").await;
    assert_eq!(service.tried(first, 1).await.state, DeliveryState::Waiting);

    service.lever.advance(SECOND * 10);
    service.tried(first, 2).await;
    assert!(faulty.said().is_empty());
    service.lever.advance(SECOND * 20);
    service.tried(second, 1).await;

    assert_eq!(faulty.said(), ["a1", "a2"]);
    let attempts = service.find(first).await.attempts;
    let operations: Vec<&str> = attempts
        .iter()
        .map(|a| a.attempt.operation_id.as_str())
        .collect();
    assert_eq!(operations.len(), 3);
    assert!(operations.iter().all(|id| *id == operations[0]));
}

#[tokio::test]
async fn a_message_that_was_taken_without_an_answer_is_not_said_twice() {
    let faulty = Faulty::start().await;
    let service = Service::start(&faulty.address);
    faulty.meet([Fault::TakeAndHangUp]);

    let id = service.keep("a", "a1").await;
    let found = service.tried(id, 1).await;

    assert_eq!(found.state, DeliveryState::Accepted);
    assert_eq!(found.receipt, None);
    assert_eq!(faulty.said(), ["a1"]);
    assert_eq!(sends(&faulty), 1);
}

#[tokio::test]
async fn an_ambiguous_send_is_repeated_after_2_min_and_only_when_the_history_does_not_have_it() {
    let faulty = Faulty::start().await;
    let service = Service::start(&faulty.address);
    faulty.meet([Fault::HangUp]);
    let id = service.keep("a", "a1").await;
    let behind = service.keep("a", "a2").await;
    let first = service.tried(id, 1).await;
    assert_eq!(first.state, DeliveryState::Sending);
    let verdict = first.attempts[0].verdict.as_ref().unwrap();
    assert!(verdict.starts_with("ambiguous"), "{verdict}");

    service.lever.advance(SECOND * 119);
    let other = service.keep("b", "b1").await;
    service.tried(other, 1).await;
    assert_eq!(faulty.said(), ["b1"], "too early for a1, and a2 waits");
    service.passes(SECOND * 12).await;
    let found = service.tried(id, 2).await;
    service.tried(behind, 1).await;

    let evidence = found.attempts[0].evidence.as_ref().unwrap();
    assert!(evidence.contains("not in the history 12"), "{evidence}");
    assert_eq!(faulty.said(), ["b1", "a1", "a2"]);
    let sent = faulty.heard("/msg/send_msg");
    assert_eq!(sent[0].operation_id, sent[2].operation_id);
}

#[tokio::test]
async fn a_message_that_nobody_takes_is_dead_after_a_day_and_the_lane_goes_on() {
    let faulty = Faulty::start().await;
    let service = Service::start(&faulty.address);
    faulty.poison(Some(("a", MUTED)));
    let id = service.keep("a", "a1").await;
    let behind = service.keep("a", "a2").await;

    let mut tries = 1;
    let mut found = service.tried(id, tries).await;
    while found.state == DeliveryState::Waiting {
        service.lever.advance(SECOND * 1800);
        tries += 1;
        found = service.tried(id, tries).await;
    }

    assert_eq!(found.state, DeliveryState::Dead);
    assert_eq!(
        found.reason.as_deref(),
        Some("1403 MutedGroup: the group is muted")
    );
    assert!((48..=49).contains(&tries), "{tries}");
    faulty.poison(None);
    let behind = service.tried(behind, 1).await;
    assert_ne!(
        behind.state,
        DeliveryState::Dead,
        "a blocked head kills nobody behind it"
    );
}

/// Waits until no request is under way.
async fn nothing_is_under_way(service: &Service) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    loop {
        let counts = service.outbox.counts(service.clock.now()).await.unwrap();
        if counts.deliveries.get(&DeliveryState::Sending) <= Some(&0) {
            return;
        }
        looks.tick().await;
    }
}

#[tokio::test]
async fn a_server_in_trouble_is_tried_by_one_delivery_at_a_time() {
    let faulty = Faulty::start().await;
    let service = Service::start(&faulty.address);
    service.keep("warm", "up").await;
    service.count(DeliveryState::Accepted, 1).await;
    faulty.meet(vec![PART_DOWN; 6]);
    let mut ids = Vec::new();
    for group in ["a", "b", "c", "d", "e"] {
        ids.push(service.keep(group, group).await);
    }
    faulty
        .until("two lanes are in trouble", |f| sends(f) >= 3)
        .await;
    service.tried(ids[1], 1).await;
    let trouble = service.courier.server_trouble().unwrap();
    assert!(trouble.why.contains("no children to pick from"));

    // What set out before anybody knew comes home first.
    nothing_is_under_way(&service).await;
    // Each pull of the lever is long enough for one more try; the sixth fault is the last.
    while service.courier.server_trouble().is_some() {
        let before = sends(&faulty);
        service.lever.advance(SECOND * 30);
        faulty.until("one more try", |f| sends(f) > before).await;
        if sends(&faulty) <= 7 {
            assert_eq!(sends(&faulty), before + 1);
        }
        nothing_is_under_way(&service).await;
    }
    service.lever.advance(SECOND * 30);

    service.taken(6).await;
    assert_eq!(sends(&faulty), 1 + 6 + 5);
}

#[tokio::test]
async fn a_server_that_is_away_is_found_again_when_it_comes_back() {
    let faulty = Faulty::start().await;
    let address = faulty.address.clone();
    drop(faulty);
    let service = Service::start(&address);
    let mut ids = Vec::new();
    for group in ["a", "b", "c"] {
        ids.push(service.keep(group, group).await);
    }
    service.tried(ids[0], 1).await;
    assert!(service.courier.server_trouble().is_some());

    let faulty = Faulty::start_at(address.trim_start_matches("http://")).await;
    service.lever.advance(SECOND * 30);
    service.taken(3).await;

    assert_eq!(service.courier.server_trouble(), None);
    assert_eq!(faulty.said().len(), 3);
}

#[tokio::test]
async fn where_nothing_is_read_back_a_conversation_gets_20_at_once_and_then_5_per_second() {
    let faulty = Faulty::start().await;
    let mut policy = Policy::default();
    policy.window.messages = 0;
    let service = Service::start_by(&faulty.address, policy);
    for number in 1..=22 {
        service.keep("a", &format!("{number}")).await;
    }
    service.count(DeliveryState::Accepted, 20).await;
    let other = service.keep("b", "other").await;
    service.tried(other, 1).await;
    assert_eq!(sends(&faulty), 21);

    service.lever.advance(Duration::from_millis(200));
    service.count(DeliveryState::Accepted, 22).await;
    service.lever.advance(Duration::from_millis(200));
    service.count(DeliveryState::Accepted, 23).await;
}

#[tokio::test]
async fn a_stop_waits_for_the_request_under_way() {
    let faulty = Faulty::start().await;
    let mut service = Service::start(&faulty.address);
    faulty.meet([Fault::Hold]);
    let id = service.keep("a", "a1").await;
    let behind = service.keep("a", "a2").await;
    faulty.until("it is under way", |f| sends(f) == 1).await;

    service.tell_to_stop();
    faulty.let_go(1);

    let home = (&mut service.run).await.unwrap();
    assert!(matches!(home, Home::Stopped { given_up: 0 }), "{home:?}");
    assert_eq!(service.find(id).await.state, DeliveryState::Accepted);
    assert_eq!(service.find(behind).await.state, DeliveryState::Waiting);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let faulty = Faulty::start().await;
    let mut service = Service::start(&faulty.address);
    faulty.meet([Fault::Hold]);
    let id = service.keep("a", "a1").await;
    faulty.until("it is under way", |f| sends(f) == 1).await;

    service.tell_to_stop();
    // The courier may not have reached its last wait yet, so the lever is pulled until it is home.
    let home = loop {
        service.lever.advance(SECOND * 21);
        tokio::select! {
            home = &mut service.run => break home.unwrap(),
            () = tokio::task::yield_now() => {}
        }
    };

    assert!(matches!(home, Home::Stopped { given_up: 1 }), "{home:?}");
    let found = service.find(id).await;
    assert_eq!(
        found.attempts[0].ended, None,
        "an attempt without an end is ambiguous"
    );
}

#[tokio::test]
async fn from_keeping_to_the_request_it_takes_milliseconds() {
    let faulty = Faulty::start().await;
    let service = Service::start_in_real_time(&faulty.address);
    service.keep("warm", "up").await;
    service.count(DeliveryState::Accepted, 1).await;
    let mut took = Vec::new();
    for number in 0..15 {
        let before = sends(&faulty);
        service
            .keep(&format!("g{number}"), &format!("{number}"))
            .await;
        let kept = Instant::now();
        faulty
            .until("the request is out", |f| sends(f) > before)
            .await;
        took.push(kept.elapsed());
    }
    took.sort();
    eprintln!(
        "from keeping to the request: median {:?}, worst {:?}",
        took[7], took[14]
    );
    assert!(took[7] < Duration::from_millis(200));
}

/// What was logged, as text.
#[derive(Clone, Default)]
struct Logged(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_log_names_event_and_delivery_and_never_a_body_a_token_or_a_secret() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // With one subscriber alone, a place that another test's thread reaches first would be taken for silent for ever.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _logging = tracing::subscriber::set_default(subscriber);
    let faulty = Faulty::start().await;
    let service = Service::start(&faulty.address);
    service.keep("warm", "quiet please").await;
    service.count(DeliveryState::Accepted, 1).await;
    service.lever.advance(SECOND * 60);
    faulty.displace_tokens();
    faulty.meet([NOT_IN_GROUP, MUTED, Fault::Say(502, "quiet please")]);

    let mut ids = Vec::new();
    for group in ["a", "b", "c", "d"] {
        let id = service.keep(group, "quiet please").await;
        service.tried(id, 1).await;
        ids.push(id);
    }

    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    for id in ids {
        let line = text
            .lines()
            .find(|line| line.contains(&format!("delivery.id={id}")));
        let line = line.unwrap_or_else(|| panic!("no line for {id}: {text}"));
        assert!(line.contains(&format!("event.id=event-of-{id}")), "{line}");
        assert!(line.contains("bridge.name=github"), "{line}");
    }
    for secret in ["quiet please", "token-1", "token-2", "openIM123"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}
