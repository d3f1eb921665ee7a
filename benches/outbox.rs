//! How many events the outbox keeps per second, durable before the answer, with 1, 16 and 64 callers at once.
//!
//! `cargo bench --bench outbox [-- SECONDS]`. The folder is `TMPDIR`; a tmpfs there measures no disk.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops at the first mistake"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openim_bridge::model::*;
use openim_bridge::outbox::sqlite::{Options, SqliteOutbox};
use openim_bridge::outbox::{Decision, NewEvent, Outbox, Record};

/// A GitHub push is about as large.
const BODY: usize = 9 << 10;
/// Conversations that the deliveries go to.
const GROUPS: u64 = 100;

fn main() {
    let seconds = std::env::args().find_map(|arg| arg.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(5));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("callers  kept/s   p50 ms   p99 ms   max ms   with a courier");
    for courier in [false, true] {
        for callers in [1, 16, 64] {
            runtime.block_on(measure(callers, span, courier));
        }
    }
}

async fn measure(callers: u64, span: Duration, courier: bool) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outbox.db");
    let outbox = Arc::new(SqliteOutbox::open(file, Options::default(), Clock::system()).unwrap());
    let end = Instant::now() + span;

    let delivering = courier.then(|| tokio::spawn(deliver(outbox.clone())));
    let mut keeping = Vec::new();
    for caller in 0..callers {
        keeping.push(tokio::spawn(keep(outbox.clone(), caller, end)));
    }
    let mut times = Vec::new();
    for caller in keeping {
        times.extend(caller.await.unwrap());
    }
    if let Some(delivering) = delivering {
        delivering.abort();
    }

    times.sort();
    let at = |share: f64| {
        let place = (times.len() - 1) as f64 * share;
        times[place as usize].as_secs_f64() * 1e3
    };
    println!(
        "{callers:7} {:7.0} {:8.2} {:8.2} {:8.2}   {}",
        times.len() as f64 / span.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        if courier { "yes" } else { "no" },
    );
    outbox.close().await.unwrap();
}

async fn keep(outbox: Arc<SqliteOutbox>, caller: u64, end: Instant) -> Vec<Duration> {
    let clock = Clock::system();
    let mut times = Vec::new();
    for turn in 0.. {
        let new = push(caller, turn, clock.now());
        let began = Instant::now();
        if began >= end {
            break;
        }
        outbox.keep(new).await.unwrap();
        times.push(began.elapsed());
    }
    times
}

fn push(caller: u64, turn: u64, now: Timestamp) -> NewEvent {
    let delivery = NewDelivery {
        id: DeliveryId::new(now),
        destination: "group:ops".into(),
        conversation: Conversation::Group(format!("g{}", (caller * 31 + turn) % GROUPS)),
        rendered: Rendered::Ready(Message {
            content: Content::Text {
                markdown: Some("x".repeat(300)),
                plain: "x".repeat(200),
                preview: "x".repeat(50),
                mentions: vec![],
            },
            push: Push::Off,
            template: "github/push.md.hbs".into(),
        }),
        expires: None,
    };
    let event = Event {
        bridge: "github".into(),
        id: EventId::Sender(DeliveryId::new(now).to_string()),
        kind: "push".into(),
        time: now,
        received: now,
        title: "acme/api".into(),
        actor: "mia".into(),
        link: "https://git.example/acme/api".into(),
        severity: Severity::Info,
        state: Some(State::Changed),
        subject: "https://git.example/acme/api/tree/main".into(),
        header: BTreeMap::from([("user-agent".into(), "x".repeat(200))]),
        query: BTreeMap::new(),
        body: serde_json::Value::Null,
        raw: format!("{caller} {turn} {}", "x".repeat(BODY))
            .into_bytes()
            .into(),
    };
    NewEvent {
        event: Arc::new(event),
        routed: true,
        deliveries: vec![delivery],
    }
}

/// A courier whose server answers at once.
async fn deliver(outbox: Arc<SqliteOutbox>) {
    let clock = Clock::system();
    let bell = outbox.bell();
    loop {
        let claims = outbox.claim(32, clock.now()).await.unwrap();
        if claims.is_empty() {
            bell.notified().await;
        }
        let records = claims.into_iter().map(|claim| {
            let outbox = outbox.clone();
            let record = Record {
                delivery: claim.delivery,
                attempt: claim.attempt.number,
                ended: clock.now(),
                verdict: "accepted".into(),
                decision: Decision::Accepted(None),
                lane_rests_until: None,
            };
            tokio::spawn(async move { outbox.record(record).await })
        });
        for record in records.collect::<Vec<_>>() {
            record.await.unwrap().unwrap();
        }
    }
}
