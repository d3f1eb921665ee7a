//! What the bridge costs and what it gives, in one run on one machine: the real service (HMAC, parse, route, template, durable
//! commit, delivery, read-back) against a bare handler that checks the HMAC and parses the JSON, and against the naive relay,
//! which calls `send_msg` at once.
//!
//! `cargo bench --bench door [-- SECONDS]`. The outbox is in `TMPDIR`; a tmpfs there measures no disk. PostgreSQL is started
//! from its own binaries, as the tests do it.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "it is the tests' own, and stops at the first mistake"
)]
#[path = "../../tests/stories/database.rs"]
mod database;
mod load;
mod servers;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use load::{Signed, Until};
use openim_bridge::model::{Clock, Conversation, Family};
use openim_bridge::sandbox::{Plan, Sandbox};
use servers::{SECRET, Server, start_other, start_service};
use sha2::Sha256;

const BODY_BYTES: usize = 9 * 1024;
const SAMPLE: &str = include_str!("../../bridges/samples/github/034-workflow-failed.http");
const SQLITE: &str = "sqlite:outbox.db";

/// Conversations of the wide load.
const MANY: usize = 1000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, which @ ("bare" | "naive"), api_url] =
        arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        servers::be(which, api_url);
        return;
    }
    let seconds = arguments.iter().find_map(|argument| argument.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(5));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        latency().await;
        accepted(span).await;
        delivered().await;
        replicas(span).await;
    });
}

/// A chat server with groups, a directory that posts to them, and the requests for them in turn.
struct Ground {
    sandbox: Sandbox,
    directory: tempfile::TempDir,
    requests: Arc<Vec<Signed>>,
}

impl Ground {
    fn lay(groups: usize) -> Ground {
        let sandbox = Sandbox::start_anywhere(Family::Main, Clock::system()).expect("a sandbox");
        // What OpenIM does with more than 100 messages of one conversation in one batch of 100 ms.
        sandbox.play(Plan::of(1, &["drop"]).expect("a fault"));
        sandbox.add_bot("bridge_bot", "Bridge");
        sandbox.register("u1", "U1");
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = format!("[openim]\napi_url = \"{}\"\n[groups]\n", sandbox.url());
        for group in 0..groups {
            let name = format!("team{group}");
            sandbox.create_group(&name, &name, &["u1", "bridge_bot"]);
            settings.push_str(&format!("{name} = \"{name}\"\n"));
        }
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        write("openim-bridge.toml", &settings);
        write(
            "bridges/github.toml",
            "extends = \"github\"\nsecrets = [\"env:HOOK_SECRET\"]\n\
             [[route]]\non = [\"workflow_run.*\"]\nwhen = 'event.severity >= severity.error && body.repository.full_name.startsWith(\"acme/\")'\n\
             to = [{ group = \"body.team\" }]\n\
             [[route]]\nwhen = 'body.repository.private == \"never\"'\nto = [\"group:team0\"]\n",
        );
        let requests = (0..groups).map(|group| signed_request(&format!("team{group}")));
        Ground {
            requests: Arc::new(requests.collect()),
            sandbox,
            directory,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What the chat server has stored, and lost.
    fn account(&self) -> (usize, usize) {
        let account = self.sandbox.account();
        let ours = account
            .stored
            .values()
            .flatten()
            .filter(|it| !it.ex.is_empty());
        (ours.count(), account.lost.len())
    }

    /// Bytes on disk of its outbox.
    fn outbox_bytes(&self) -> u64 {
        let files =
            ["outbox.db", "outbox.db-wal"].map(|name| std::fs::metadata(self.path().join(name)));
        files
            .into_iter()
            .map(|file| file.map_or(0, |file| file.len()))
            .sum()
    }
}

/// A signed webhook of nine kilobytes for that group.
fn signed_request(team: &str) -> Signed {
    let (_, body) = SAMPLE.split_once("\n\n").expect("a sample has a body");
    let mut json: serde_json::Value = serde_json::from_str(body).expect("a sample is JSON");
    json["team"] = team.into();
    let short = BODY_BYTES.saturating_sub(json.to_string().len() + 40);
    let words: Vec<String> = (0..short / 20)
        .map(|n| format!("word number {n:05}"))
        .collect();
    json["more"] = words.into();
    let body = json.to_string().into_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key fits");
    mac.update(&body);
    let signature = hex::encode(mac.finalize().into_bytes());
    let headers = format!(
        "content-type: application/json\r\nx-github-event: workflow_run\r\nx-hub-signature-256: sha256={signature}\r\n"
    );
    (headers, body)
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// From the webhook to each step, one webhook after another, each into a conversation that has been written to before.
async fn latency() {
    let ground = Ground::lay(1);
    let (service, ready) = start_service(ground.path(), SQLITE);
    let (client, clock) = (reqwest::Client::new(), Clock::system());
    let team = Conversation::Group("team0".into());
    let idle = service.resident();
    let mut steps = [const { Vec::new() }; 3];
    for count in 1..=31 {
        let began = Instant::now();
        load::run(&[service.address], &ground.requests, 1, Until::Posted(1)).await;
        let answered = began.elapsed();
        ground.sandbox.wait_for(&team, count).await;
        let sent = began.elapsed();
        while service.state(&client, "stored").await < count {
            clock.sleep(Duration::from_millis(1)).await;
        }
        if count > 1 {
            for (step, took) in steps.iter_mut().zip([answered, sent, began.elapsed()]) {
                step.push(took);
            }
        }
    }
    let (_, body) = &ground.requests[0];
    println!(
        "payload {} bytes, signed\n\nlatency of one webhook, 30 one after another:\n",
        body.len()
    );
    println!("| from the webhook to | median ms | slowest ms |\n|---|---|---|");
    let names = [
        "its answer (on disk)",
        "OpenIM's acceptance",
        "`stored` in the outbox (OpenIM stores after 100 ms)",
    ];
    for (name, mut times) in names.into_iter().zip(steps) {
        times.sort();
        let slowest = times.last().copied().unwrap_or_default();
        println!(
            "| {name} | {:.1} | {:.1} |",
            ms(times[times.len() / 2]),
            ms(slowest)
        );
    }
    let binary =
        std::fs::metadata(env!("CARGO_BIN_EXE_openim-bridge")).map_or(0, |file| file.len());
    println!(
        "\nmemory: idle {idle}, after it {}; binary {:.1} MB; ready after {:.0} ms\n",
        service.resident(),
        binary as f64 / 1e6,
        ms(ready),
    );
}

/// What is answered per second, while it is delivered beside that.
async fn accepted(span: Duration) {
    println!(
        "accepted per second, {} s each, delivering beside it:\n",
        span.as_secs()
    );
    println!(
        "| conversations | connections | bare /s | naive /s | bridge /s | p50 ms | p99 ms | bare : bridge | naive : bridge | naive lost |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for groups in [1, MANY] {
        for connections in [1, 16, 64] {
            let post = async |ground: &Ground, server: &Server| {
                load::run(
                    &[server.address],
                    &ground.requests,
                    connections,
                    Until::Passed(span),
                )
                .await
            };
            let ground = Ground::lay(groups);
            let bare = post(&ground, &start_other("bare", "")).await;
            let ground = Ground::lay(groups);
            let naive = post(&ground, &start_other("naive", &ground.sandbox.url())).await;
            Clock::system().sleep(Duration::from_millis(300)).await;
            let (_, lost) = ground.account();
            let ground = Ground::lay(groups);
            let (service, _) = start_service(ground.path(), SQLITE);
            let bridge = post(&ground, &service).await;
            assert_eq!(bridge.others, 0, "every webhook is taken");
            println!(
                "| {groups} | {connections} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} | {lost} of {} |",
                bare.per_second,
                naive.per_second,
                bridge.per_second,
                ms(bridge.p50),
                ms(bridge.p99),
                bare.per_second / bridge.per_second,
                naive.per_second / bridge.per_second,
                naive.answers,
            );
        }
    }
}

/// How long a burst takes until it is stored, and what it takes on disk.
async fn delivered() {
    println!(
        "\ndelivered: a burst over 16 connections, from the first webhook to the last one stored:\n"
    );
    println!(
        "| webhooks | conversations | naive: stored, lost | bridge: accepted after s | stored after s | stored /s | lost | disk bytes per event |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (groups, count) in [(1, 2000), (MANY, 5000)] {
        let ground = Ground::lay(groups);
        let relay = start_other("naive", &ground.sandbox.url());
        load::run(&[relay.address], &ground.requests, 16, Until::Posted(count)).await;
        Clock::system().sleep(Duration::from_millis(300)).await;
        let (naive_stored, naive_lost) = ground.account();
        drop(relay);

        let ground = Ground::lay(groups);
        let (service, _) = start_service(ground.path(), SQLITE);
        let (client, clock) = (reqwest::Client::new(), Clock::system());
        let began = Instant::now();
        load::run(
            &[service.address],
            &ground.requests,
            16,
            Until::Posted(count),
        )
        .await;
        let accepted = began.elapsed().as_secs_f64();
        while service.state(&client, "stored").await < count {
            assert!(
                began.elapsed() < Duration::from_secs(600),
                "it is delivered"
            );
            clock.sleep(Duration::from_millis(20)).await;
        }
        let stored = began.elapsed().as_secs_f64();
        let (_, lost) = ground.account();
        println!(
            "| {count} | {groups} | {naive_stored}, {naive_lost} | {accepted:.1} | {stored:.1} | {:.0} | {lost} | {} |",
            count as f64 / stored,
            ground.outbox_bytes() / count as u64,
        );
    }
}

/// The same through a database, with one replica and with two.
async fn replicas(span: Duration) {
    let webhooks = 3000;
    println!("\nPostgreSQL (fsync on) against SQLite, {MANY} conversations, 64 connections:\n");
    println!(
        "| outbox | replicas | accepted /s | p50 ms | p99 ms | {webhooks} webhooks stored after s | stored /s |"
    );
    println!("|---|---|---|---|---|---|---|");
    let database = database::Server::start(true);
    for (name, count) in [("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL", 2)] {
        let storage = || match name {
            "SQLite" => SQLITE.to_owned(),
            _ => database.schema().url(),
        };
        let start = |ground: &Ground| {
            let storage = storage();
            let servers = (0..count).map(|_| start_service(ground.path(), &storage).0);
            servers.collect::<Vec<Server>>()
        };
        let addresses = |servers: &[Server]| {
            let addresses = servers.iter().map(|server| server.address);
            addresses.collect::<Vec<_>>()
        };
        let ground = Ground::lay(MANY);
        let servers = start(&ground);
        let until = Until::Passed(span);
        let accepted = load::run(&addresses(&servers), &ground.requests, 64, until).await;
        assert_eq!(accepted.others, 0, "every webhook is taken");
        drop(servers);

        let ground = Ground::lay(MANY);
        let servers = start(&ground);
        let (client, clock) = (reqwest::Client::new(), Clock::system());
        let began = Instant::now();
        let until = Until::Posted(webhooks);
        load::run(&addresses(&servers), &ground.requests, 16, until).await;
        while servers[0].state(&client, "stored").await < webhooks {
            assert!(
                began.elapsed() < Duration::from_secs(600),
                "it is delivered"
            );
            clock.sleep(Duration::from_millis(20)).await;
        }
        let stored = began.elapsed().as_secs_f64();
        println!(
            "| {name} | {count} | {:.0} | {:.2} | {:.2} | {stored:.1} | {:.0} |",
            accepted.per_second,
            ms(accepted.p50),
            ms(accepted.p99),
            webhooks as f64 / stored,
        );
    }
}
