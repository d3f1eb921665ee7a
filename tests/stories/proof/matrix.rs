//! The fault matrix: every fault of the sandbox, over single messages, bursts and backlogs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use super::books::{Counts, Exception};
use super::ground::{Ground, Store};
use super::is_long;
use super::trials::{Met, Trial, trials};
use crate::database::shared;

/// How webhooks come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    Single,
    /// All into one conversation, as fast as the door takes them.
    Burst,
    /// Kept while OpenIM was down, over several conversations; then the service is started anew.
    Backlog,
}

/// How much one cell sends.
struct Size {
    burst: usize,
    backlog: usize,
    groups: usize,
}

/// What one cell of the table came to.
struct Cell {
    counts: Counts,
    /// How often the fault was met.
    met: u64,
}

async fn run(trial: &Trial, traffic: Traffic, store: Store, size: &Size, seed: u64) -> Cell {
    let (many, groups) = match traffic {
        Traffic::Single => (1, 1),
        Traffic::Burst => (size.burst, 1),
        Traffic::Backlog => (size.backlog, size.groups),
    };
    let groups: Vec<String> = (0..groups).map(|group| format!("team{group}")).collect();
    let ground = Ground::lay(store, &groups);
    let faults = match traffic {
        Traffic::Single => trial.one,
        Traffic::Burst | Traffic::Backlog => trial.many,
    };
    let mut accepted = vec![Vec::new(); groups.len().max(2)];
    let webhooks: Vec<(&str, &str, String)> = (0..many)
        .map(|number| {
            let group = number % groups.len();
            let (to, lane) = match (trial.pair, number % 2) {
                (false, _) => ("group", group),
                (true, 0) => ("person", 0),
                (true, _) => ("notice", 1),
            };
            let id = format!("{lane}/{number}");
            accepted[lane].push(id.clone());
            (to, groups[group].as_str(), id)
        })
        .collect();

    let mut up = match traffic {
        Traffic::Backlog => ground.start_before_nobody().await,
        Traffic::Single | Traffic::Burst => {
            ground.play(seed, faults);
            ground.start().await
        }
    };
    let post_all = async |up| {
        for (to, team, id) in &webhooks {
            ground.post(up, to, team, id).await;
        }
    };
    let ended = if traffic == Traffic::Backlog {
        post_all(&up).await;
        ground.stop(up).await;
        ground.play(seed, faults);
        up = ground.start().await;
        ground.until_all_ended(many as u64).await
    } else {
        tokio::join!(post_all(&up), ground.until_all_ended(many as u64)).1
    };
    ground.stop(up).await;

    let mut counts = ground.books().await.count(&accepted);
    counts.broken.extend(ended.err());
    let allowed: BTreeSet<Exception> = trial.may.iter().copied().collect();
    for exception in counts.exceptions.difference(&allowed) {
        let text = format!(
            "{exception:?} is no exception that this fault may lead to; what ended: {:?}",
            counts.reasons
        );
        counts.broken.push(text);
    }
    let met = ground.sandbox.faults();
    let met = met
        .iter()
        .filter(|met| met.fault.to_string().starts_with(trial.fault));
    Cell {
        counts,
        met: met.map(|met| met.met).sum(),
    }
}

/// Where the outbox is.
#[derive(Clone, Copy, Debug)]
enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    fn store(self) -> Store {
        match self {
            Engine::Sqlite => Store::Sqlite,
            Engine::Postgres => Store::Postgres(shared().schema()),
        }
    }
}

/// Runs the whole table and gives it as Markdown, with what is wrong.
async fn table(engine: Engine, size: Size, seed: u64, at_once: usize) -> (String, Vec<String>) {
    let traffics = [Traffic::Single, Traffic::Burst, Traffic::Backlog];
    let trials = trials(is_long());
    let size = Arc::new(size);
    let cells = trials
        .iter()
        .copied()
        .flat_map(|trial| traffics.map(|traffic| (trial, traffic)));
    let cells = cells.map(|(trial, traffic)| {
        let size = size.clone();
        tokio::spawn(async move { run(trial, traffic, engine.store(), &size, seed).await })
    });
    let cells: Vec<Cell> = stream::iter(cells)
        .buffered(at_once)
        .map(|cell| cell.unwrap())
        .collect()
        .await;
    let mut wrong = Vec::new();
    let mut text = format!(
        "| fault ({engine:?}) | single | burst of {} | backlog of {} |\n|---|---|---|---|\n",
        size.burst, size.backlog
    );
    for (trial, row) in trials.iter().zip(cells.chunks(3)) {
        let way = match trial.way {
            "" => String::new(),
            way => format!(" ({way})"),
        };
        text.push_str(&format!("| `{}`{way} ", trial.fault));
        for (cell, traffic) in row.iter().zip(traffics) {
            text.push_str(&format!("| {} ", cell.counts));
            let place = format!("{engine:?}, seed {seed}, {}{way}, {traffic:?}", trial.fault);
            wrong.extend(
                cell.counts
                    .broken
                    .iter()
                    .map(|broken| format!("{place}: {broken}")),
            );
            let as_it_should = match trial.met {
                Met::Counted => cell.met > 0,
                Met::Uncounted => true,
                Met::Never => cell.met == 0,
            };
            // On a busy machine a single message may come by a fault that lasts some seconds; the long form has the time.
            if !as_it_should && is_long() {
                wrong.push(format!("{place}: the fault was met {} times", cell.met));
            }
        }
        text.push_str("|\n");
    }
    (text, wrong)
}

async fn matrix(engine: Engine) {
    let size = match is_long() {
        true => Size {
            burst: 200,
            backlog: 400,
            groups: 8,
        },
        false => Size {
            burst: 12,
            backlog: 12,
            groups: 3,
        },
    };
    let at_once = if is_long() { 16 } else { 4 };
    let (text, wrong) = table(engine, size, 7, at_once).await;
    eprintln!("lost / twice / out of order\n\n{text}");
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} broken:\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long and wants a quiet machine: tests/proof.sh runs it"]
async fn over_sqlite_nothing_is_lost_said_twice_or_out_of_order_but_as_the_record_says() {
    matrix(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes long and wants a quiet machine: tests/proof.sh runs it"]
async fn over_postgres_nothing_is_lost_said_twice_or_out_of_order_but_as_the_record_says() {
    matrix(Engine::Postgres).await;
}

#[test]
fn every_fault_that_the_sandbox_knows_is_in_the_matrix() {
    let listed = openim_bridge::sandbox::list_faults();
    let names = listed.lines().filter_map(|line| line.strip_prefix("  "));
    let names: BTreeSet<&str> = names.map(|line| line.split(' ').next().unwrap()).collect();
    let tried: BTreeSet<&str> = trials(false).iter().map(|trial| trial.fault).collect();
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| {
            name.parse::<openim_bridge::sandbox::Fault>().is_ok() && !tried.contains(**name)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(tried.len(), 33);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_long_standstill_one_bad_answer_is_no_reason_to_repeat_anything() {
    let team = ["team".to_owned()];
    let ground = Ground::lay(Store::Sqlite, &team);
    ground.play(7, &["unreadable"]);
    let up = ground.start().await;
    ground.post(&up, "group", "team", "accepted").await;
    ground.passes(Duration::from_secs(5)).await;
    ground.stop(up).await;

    // Longer than what nobody has proven is waited for; and the history cannot be read at once.
    ground.lever.advance(Duration::from_secs(20 * 60));
    ground.play(7, &["unreadable:for=30s"]);
    let up = ground.start().await;
    ground.until_all_ended(1).await.unwrap();
    ground.stop(up).await;

    let counts = ground.books().await.count(&[vec!["accepted".to_owned()]]);
    assert_eq!(counts.to_string(), "0 / 0 / 0");
}
