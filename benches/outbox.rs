//! How many events the outbox keeps per second, durable before the answer, with 1, 16 and 64 callers at once; what a
//! backlog does to keeping, claiming and asking; and what an event takes on disk.
//!
//! `cargo bench --bench outbox [-- SECONDS [BACKLOG]]`. The folder is `TMPDIR`; a tmpfs there measures no disk.

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
use openim_bridge::outbox::{
    Decision, Fate, Filter, NewEvent, Outbox, Page, Record, Settled, Settling,
};

/// A GitHub push is about as large.
const BODY: usize = 9 << 10;
/// Conversations that the deliveries go to.
const GROUPS: u64 = 100;

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse().ok());
    let span = Duration::from_secs(numbers.next().unwrap_or(5));
    let backlog = numbers.next().unwrap_or(1_000_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("callers  kept/s   p50 ms   p99 ms   max ms   with a courier");
    for courier in [false, true] {
        for callers in [1, 16, 64] {
            runtime.block_on(measure(callers, span, courier));
        }
    }
    println!("\nafter its whole life an event of 9 KiB with one delivery takes");
    runtime.block_on(weigh(10_000));
    println!(
        "\n  waiting    lanes  kept/s (16)  claim 32 ms  worst ms  record ms  next due ms  counts ms  list ms"
    );
    for lanes in [1, 1000] {
        runtime.block_on(pile_up(lanes, backlog));
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

/// What an event takes on disk when it is delivered, found again, and the outbox closed.
async fn weigh(events: u64) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outbox.db");
    let outbox = SqliteOutbox::open(&file, Options::default(), Clock::system()).unwrap();
    let clock = Clock::system();
    for turn in 0..events {
        outbox.keep(push(0, turn, clock.now())).await.unwrap();
        if turn % 50 == 0 {
            live(&outbox, &clock).await;
        }
    }
    live(&outbox, &clock).await;
    outbox.close().await.unwrap();
    let bytes = std::fs::metadata(&file).unwrap().len();
    let bodies = events * BODY as u64;
    println!(
        "{} bytes on disk, {} of them beside its body",
        bytes / events,
        (bytes - bodies) / events
    );
}

/// Everything that waits is sent and found again.
async fn live(outbox: &SqliteOutbox, clock: &Clock) {
    loop {
        let claims = outbox.claim(64, clock.now()).await.unwrap();
        if claims.is_empty() {
            break;
        }
        for claim in &claims {
            outbox
                .record(accepted(claim, clock, Some(clock.now())))
                .await
                .unwrap();
        }
        let looks = outbox.looks(1000, clock.now()).await.unwrap();
        let settled = looks.iter().map(|look| Settled {
            lane: look.lane.clone(),
            epoch: look.epoch,
            cursors: BTreeMap::new(),
            fates: look
                .unsettled
                .iter()
                .map(|one| Settling {
                    delivery: one.delivery,
                    attempt: one.attempt.number,
                    at: clock.now(),
                    fate: Fate::Stored {
                        seq: 1,
                        receipt: receipt(),
                    },
                    evidence: "found at seq 1".into(),
                })
                .collect(),
            stop: false,
            look_again: clock.now(),
        });
        outbox.settle(settled.collect()).await.unwrap();
    }
}

/// Lets deliveries pile up in so many lanes, and measures on the way.
async fn pile_up(lanes: u64, backlog: u64) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outbox.db");
    let outbox = Arc::new(SqliteOutbox::open(file, Options::default(), Clock::system()).unwrap());
    let clock = Clock::system();
    let (mut waiting, mut goal) = (0, 1000);
    while goal <= backlog {
        while waiting < goal {
            let mut new = push(0, waiting, clock.now());
            let many = 1000.min(goal - waiting);
            new.deliveries = (0..many)
                .map(|one| delivery((waiting + one) % lanes, clock.now()))
                .collect();
            outbox.keep(new).await.unwrap();
            waiting += many;
        }
        point(&outbox, &clock, waiting, lanes).await;
        goal *= 10;
    }
    outbox.close().await.unwrap();
}

/// One line of the curve.
async fn point(outbox: &Arc<SqliteOutbox>, clock: &Clock, waiting: u64, lanes: u64) {
    const SPAN: Duration = Duration::from_secs(3);
    let end = Instant::now() + SPAN;
    let mut keeping = Vec::new();
    for caller in 0..16 {
        keeping.push(tokio::spawn(keep(outbox.clone(), caller, end)));
    }
    let mut kept = 0;
    for caller in keeping {
        kept += caller.await.unwrap().len();
    }

    let (mut claiming, mut recording, mut worst) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut rounds, mut records) = (0, 0);
    for _ in 0..100 {
        let began = Instant::now();
        let claims = outbox.claim(32, clock.now()).await.unwrap();
        let took = began.elapsed();
        (claiming, worst, rounds) = (claiming + took, worst.max(took), rounds + 1);
        for claim in &claims {
            let began = Instant::now();
            outbox.record(accepted(claim, clock, None)).await.unwrap();
            (recording, records) = (recording + began.elapsed(), records + 1);
        }
    }
    let ms = |all: Duration, many: u32| all.as_secs_f64() * 1e3 / f64::from(many.max(1));
    let began = Instant::now();
    outbox.next_due().await.unwrap();
    let due = began.elapsed();
    let began = Instant::now();
    outbox.counts(clock.now()).await.unwrap();
    let counts = began.elapsed();
    let page = Page {
        after: None,
        most: 100,
        oldest_first: false,
    };
    let filter = Filter {
        states: vec![DeliveryState::Refused, DeliveryState::Accepted],
        ..Filter::default()
    };
    let began = Instant::now();
    outbox.list_deliveries(filter, page).await.unwrap();
    let list = began.elapsed();
    println!(
        "{waiting:9} {lanes:8} {:12.0} {:12.2} {:9.2} {:10.2} {:12.2} {:10.2} {:8.2}",
        kept as f64 / SPAN.as_secs_f64(),
        ms(claiming, rounds),
        ms(worst, 1),
        ms(recording, records),
        ms(due, 1),
        ms(counts, 1),
        ms(list, 1),
    );
}

fn receipt() -> Receipt {
    Receipt {
        server_msg_id: "a".repeat(32),
        client_msg_id: "b".repeat(32),
        send_time: 1_795_000_000_000,
    }
}

fn accepted(claim: &Claim, clock: &Clock, look: Option<Timestamp>) -> Record {
    Record {
        delivery: claim.delivery,
        attempt: claim.attempt.number,
        epoch: claim.epoch,
        ended: clock.now(),
        verdict: "accepted".into(),
        decision: Decision::Accepted {
            receipt: Some(receipt()),
            look,
        },
        lane_rests_until: None,
    }
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

fn delivery(group: u64, now: Timestamp) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::new(now),
        destination: "group:ops".into(),
        conversation: Conversation::Group(format!("g{group}")),
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
    }
}

fn push(caller: u64, turn: u64, now: Timestamp) -> NewEvent {
    let event = Event {
        bridge: "github".into(),
        id: EventId::Sender(DeliveryId::new(now).to_string()),
        signed: None,
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
        deliveries: vec![delivery((caller * 31 + turn) % GROUPS, now)],
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
            let record = accepted(&claim, &clock, None);
            tokio::spawn(async move { outbox.record(record).await })
        });
        for record in records.collect::<Vec<_>>() {
            record.await.unwrap().unwrap();
        }
    }
}
