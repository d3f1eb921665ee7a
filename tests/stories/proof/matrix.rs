//! The fault matrix: every fault of the sandbox, over single messages, bursts and backlogs.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::books::{Counts, Exception};
use super::ground::{Ground, Store};
use super::is_long;
use crate::database::shared;

/// A fault, as one message meets it and as many do.
struct Trial {
    /// The fault's name.
    fault: &'static str,
    /// What becomes of the message, where the fault can be played in several ways.
    way: &'static str,
    one: &'static [&'static str],
    many: &'static [&'static str],
    /// The exceptions that this fault may lead to.
    may: &'static [Exception],
    /// Whether the sandbox counts that it was met.
    met: Met,
    /// Chat and notices of one pair in turn, instead of groups.
    pair: bool,
}

/// What shows that a fault was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Counted,
    /// The sandbox does not count it.
    Uncounted,
    /// The way in which we send never lets it happen.
    Never,
}

/// How webhooks come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    Single,
    /// All into one conversation, as fast as the door takes them.
    Burst,
    /// Kept while OpenIM was down, over several conversations; then the service is started anew.
    Backlog,
}

const fn trial(
    fault: &'static str,
    way: &'static str,
    one: &'static [&'static str],
    many: &'static [&'static str],
) -> Trial {
    Trial {
        fault,
        way,
        one,
        many,
        may: &[],
        met: Met::Counted,
        pair: false,
    }
}

impl Trial {
    const fn may(self, may: &'static [Exception]) -> Trial {
        Trial { may, ..self }
    }

    const fn met(self, met: Met) -> Trial {
        Trial { met, ..self }
    }
}

use Exception::{Emptied, GivenUp, ProvenLost, Unproven};

/// What happens at the door hits every tenth or twentieth send of many; an outage lasts for a while.
const TRIALS: &[Trial] = &[
    trial(
        "slow",
        "",
        &["slow:by=3s"],
        &["slow:by=100ms..3s,probability=0.3"],
    ),
    trial(
        "slow",
        "taken at once",
        &["slow:by=3s,message=taken"],
        &["slow:by=100ms..3s,probability=0.3,message=taken"],
    ),
    trial(
        "hang",
        "not taken",
        &["hang:times=1"],
        &["hang:probability=0.05"],
    ),
    trial(
        "hang",
        "taken",
        &["hang:message=taken,times=1"],
        &["hang:message=taken,probability=0.05"],
    ),
    trial(
        "hang",
        "taken 60 s later",
        &["hang:message=later,by=60s,times=1"],
        &["hang:message=later,by=60s,probability=0.05"],
    ),
    trial(
        "reset",
        "not taken",
        &["reset:times=1"],
        &["reset:probability=0.1"],
    ),
    trial(
        "reset",
        "taken",
        &["reset:message=taken,times=1"],
        &["reset:message=taken,probability=0.1"],
    ),
    trial("http", "502", &["http:times=1"], &["http:probability=0.1"]),
    trial(
        "http",
        "500, taken",
        &["http:code=500,message=taken,times=1"],
        &["http:code=500,message=taken,probability=0.1"],
    ),
    trial(
        "http",
        "503 from every call for 20 s",
        &["http:code=503,call=send,call=pull,call=seqs,call=status,call=token,for=20s"],
        &["http:code=503,call=send,call=pull,call=seqs,call=status,call=token,after=1s,for=20s"],
    ),
    trial(
        "html",
        "not taken",
        &["html:times=1"],
        &["html:probability=0.1"],
    ),
    trial(
        "html",
        "taken",
        &["html:message=taken,times=1"],
        &["html:message=taken,probability=0.1"],
    ),
    trial(
        "rate-limited",
        "",
        &["rate-limited:retry-after=5s,times=3"],
        &["rate-limited:retry-after=2s,probability=0.2"],
    ),
    trial(
        "rpc-stopped",
        "",
        &["rpc-stopped:for=20s"],
        &["rpc-stopped:after=1s,for=20s"],
    ),
    trial(
        "rpc-refused",
        "",
        &["rpc-refused:for=20s"],
        &["rpc-refused:after=1s,for=20s"],
    ),
    trial(
        "rpc-cut",
        "",
        &["rpc-cut:times=1"],
        &["rpc-cut:probability=0.1"],
    ),
    trial(
        "rpc-deadline",
        "not taken",
        &["rpc-deadline:times=1"],
        &["rpc-deadline:probability=0.1"],
    ),
    trial(
        "rpc-deadline",
        "taken",
        &["rpc-deadline:message=taken,times=1"],
        &["rpc-deadline:message=taken,probability=0.1"],
    ),
    trial(
        "kafka-stopped",
        "",
        &["kafka-stopped:for=20s"],
        &["kafka-stopped:probability=0.1"],
    ),
    trial(
        "kafka-hangs",
        "",
        &["kafka-hangs:times=1"],
        &["kafka-hangs:probability=0.1"],
    ),
    trial(
        "kafka-breaker",
        "",
        &["kafka-breaker:for=20s"],
        &["kafka-breaker:after=1s,for=20s"],
    ),
    trial(
        "redis-stopped",
        "",
        &["redis-stopped:for=20s"],
        &["redis-stopped:after=1s,for=20s"],
    ),
    trial(
        "redis-hangs",
        "",
        &["redis-hangs:for=20s"],
        &["redis-hangs:after=1s,for=20s"],
    ),
    trial(
        "redis-lost",
        "taken",
        &["redis-lost:times=1"],
        &["redis-lost:probability=0.1"],
    ),
    trial(
        "redis-lost",
        "lost",
        &["redis-lost:message=lost,times=1"],
        &["redis-lost:message=lost,probability=0.05"],
    ),
    trial(
        "mongo-hangs",
        "",
        &["mongo-hangs:times=1"],
        &["mongo-hangs:probability=0.05"],
    ),
    trial(
        "webhook-down",
        "",
        &["webhook-down:for=20s"],
        &["webhook-down:after=1s,for=20s"],
    ),
    trial(
        "webhook-silent",
        "",
        &["webhook-silent:for=20s"],
        &["webhook-silent:after=1s,for=20s"],
    ),
    trial(
        "webhook-nonsense",
        "",
        &["webhook-nonsense:for=20s"],
        &["webhook-nonsense:after=1s,for=20s"],
    ),
    trial("token", "", &["token:times=2"], &["token:probability=0.1"]),
    trial(
        "token",
        "for 20 s",
        &["token:code=1501,for=20s"],
        &["token:code=1501,after=1s,for=20s"],
    ),
    trial(
        "displaced",
        "",
        &["displaced"],
        &["displaced:after=1s", "displaced:after=3s"],
    ),
    trial(
        "empty-id",
        "",
        &["empty-id:times=1"],
        &["empty-id:probability=0.1"],
    )
    .may(&[GivenUp]),
    trial(
        "status-lost",
        "with reset, taken",
        &["reset:message=taken,times=1", "status-lost"],
        &["reset:message=taken,probability=0.1", "status-lost"],
    ),
    trial(
        "status-lost",
        "with reset, not taken",
        &["reset:times=1", "status-lost"],
        &["reset:probability=0.05", "status-lost"],
    ),
    trial(
        "unreadable",
        "for 5 min",
        &["unreadable:for=5m"],
        &["unreadable:for=5m"],
    ),
    trial(
        "unreadable",
        "in parts, for 5 min",
        &["unreadable:part=0.5,for=5m"],
        &["unreadable:part=0.5,for=5m"],
    ),
    trial(
        "unreadable",
        "for 15 min",
        &["unreadable:for=15m"],
        &["unreadable:for=15m"],
    )
    .may(&[Unproven]),
    trial(
        "drop",
        "each batch of more than 100",
        &["drop"],
        &["drop", "late:after=1s,for=5s"],
    )
    .met(Met::Never),
    trial(
        "drop",
        "single batches",
        &["drop:over=0,times=1"],
        &["drop:over=0,probability=0.2"],
    )
    .may(&[ProvenLost, Unproven]),
    trial("late", "5 s", &["late:for=5s"], &["late:after=1s,for=5s"]).met(Met::Uncounted),
    trial("late", "5 min", &["late:for=5m"], &["late:after=1s,for=5m"]).met(Met::Uncounted),
    trial(
        "early-seq",
        "",
        &["early-seq:by=3s"],
        &["early-seq:by=3s,probability=0.3"],
    ),
    trial(
        "early-seq",
        "40 s",
        &["early-seq:by=40s"],
        &["early-seq:by=40s,probability=0.1"],
    ),
    trial("hole", "", &["hole"], &["hole:probability=0.3"]),
    trial(
        "hole",
        "marked",
        &["hole:mark=yes"],
        &["hole:probability=0.3,mark=yes"],
    ),
    trial(
        "hole",
        "in its place",
        &["hole:lost=yes,times=1"],
        &["hole:lost=yes,probability=0.1"],
    )
    .may(&[ProvenLost, Unproven]),
    trial("repeat", "", &["repeat"], &["repeat:probability=0.3"]),
    trial(
        "repeat",
        "2 s later",
        &["repeat:by=2s"],
        &["repeat:by=2s,probability=0.3"],
    ),
    Trial {
        pair: true,
        ..trial("mixed", "", &["mixed"], &["mixed"]).met(Met::Never)
    },
    trial(
        "restart",
        "with a full queue",
        &["late:for=2s", "restart:after=1s"],
        &["late:after=1s,for=2s", "restart:after=2s"],
    )
    .may(&[ProvenLost, Unproven]),
    trial(
        "restart",
        "down for 10 s",
        &["late:for=2s", "restart:after=1s,for=10s"],
        &["late:after=1s,for=2s", "restart:after=2s,for=10s"],
    )
    .may(&[ProvenLost, Unproven]),
    trial(
        "seqs-anew",
        "",
        &["seqs-anew:after=50ms"],
        &["seqs-anew:after=2s"],
    )
    .may(&[Emptied]),
    trial(
        "seqs-anew",
        "before it was found",
        &["unreadable:for=4s", "seqs-anew:after=3s"],
        &["unreadable:after=1s,for=4s", "seqs-anew:after=4s"],
    )
    .may(&[Emptied]),
];

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
        let text = format!("{exception:?} is no exception that this fault may lead to");
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
    let size = Arc::new(size);
    let cells = TRIALS
        .iter()
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
    for (trial, row) in TRIALS.iter().zip(cells.chunks(3)) {
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
            if !as_it_should {
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
    let (text, wrong) = table(engine, size, 7, 12).await;
    eprintln!("lost / twice / out of order\n\n{text}");
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} broken:\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sqlite_nothing_is_lost_said_twice_or_out_of_order_but_as_the_record_says() {
    matrix(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_postgres_nothing_is_lost_said_twice_or_out_of_order_but_as_the_record_says() {
    matrix(Engine::Postgres).await;
}

#[test]
fn every_fault_that_the_sandbox_knows_is_in_the_matrix() {
    let listed = openim_bridge::sandbox::list_faults();
    let names = listed.lines().filter_map(|line| line.strip_prefix("  "));
    let names: BTreeSet<&str> = names.map(|line| line.split(' ').next().unwrap()).collect();
    let tried: BTreeSet<&str> = TRIALS.iter().map(|trial| trial.fault).collect();
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| {
            name.parse::<openim_bridge::sandbox::Fault>().is_ok() && !tried.contains(**name)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(tried.len(), 33);
}
