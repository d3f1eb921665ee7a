//! What the door costs: the real service (HMAC, parse, two routes with conditions, template, durable commit) against a
//! bare handler that checks the HMAC and parses the JSON, in one run on the same machine.
//!
//! `cargo bench --bench door`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod load;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use openim_bridge::model::{Clock, Conversation, Family};
use openim_bridge::sandbox::Sandbox;
use sha2::Sha256;

const SECRET: &str = "a secret of the benchmark";
const BODY_BYTES: usize = 9 * 1024;
/// Between two webhooks whose way is timed: slower than the pace of a conversation, 5 per second.
const PAUSE: Duration = Duration::from_millis(230);
const SPAN: Duration = Duration::from_secs(5);
const SAMPLE: &str = include_str!("../../bridges/samples/github/034-workflow-failed.http");

fn main() {
    if std::env::args().nth(1).as_deref() == Some("bare") {
        bare();
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(compare());
}

/// The bare handler, in a process of its own as the service is.
fn bare() {
    async fn check(headers: HeaderMap, body: Bytes) -> StatusCode {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key fits");
        mac.update(&body);
        let given = headers
            .get("x-hub-signature-256")
            .and_then(|value| value.to_str().ok()?.strip_prefix("sha256="))
            .and_then(|hex| hex::decode(hex).ok())
            .unwrap_or_default();
        if mac.verify_slice(&given).is_err() {
            return StatusCode::UNAUTHORIZED;
        }
        match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(_) => StatusCode::ACCEPTED,
            Err(_) => StatusCode::BAD_REQUEST,
        }
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        println!("{address}");
        let router = Router::new().route("/hooks/github", post(check));
        axum::serve(listener, router).await.expect("it serves");
    });
}

/// A child that is killed when the run ends.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_bare() -> Server {
    use std::io::BufRead;
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
        .arg("bare")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the bare handler starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("it is piped");
    std::io::BufReader::new(out)
        .read_line(&mut line)
        .expect("it says its address");
    Server {
        child,
        address: line.trim().parse().expect("an address"),
    }
}

/// Starts the service in `directory`; gives it with the time until it answered.
fn start_service(directory: &Path) -> (Server, Duration) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let began = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_openim-bridge"))
        .args(["--log-level", "warn", "--config"])
        .arg(directory)
        .arg("serve")
        .env("OPENIM_SECRET", "openIM123")
        .env("HOOK_SECRET", SECRET)
        .env("OPENIM_BRIDGE__DOOR__LISTEN", address.to_string())
        .spawn()
        .expect("the service starts");
    while std::net::TcpStream::connect(address).is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the service does not listen"
        );
        std::hint::spin_loop();
    }
    (Server { child, address }, began.elapsed())
}

fn write_directory(directory: &Path, api_url: &str) {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write(
        "openim-bridge.toml",
        &format!(
            "[openim]\napi_url = \"{api_url}\"\n[console]\nlisten = \"127.0.0.1:0\"\n\
             [groups]\nops = \"ops\"\ndev = \"dev\"\n"
        ),
    );
    write(
        "bridges/github.toml",
        "extends = \"github\"\nsecrets = [\"env:HOOK_SECRET\"]\n\
         [[route]]\non = [\"workflow_run.*\"]\nwhen = 'event.severity >= severity.error && body.repository.full_name.startsWith(\"acme/\")'\nto = [\"group:ops\"]\n\
         [[route]]\nwhen = 'body.repository.private == \"never\"'\nto = [\"group:dev\"]\n",
    );
}

/// A signed request of nine kilobytes: its headers and its body.
fn signed_request() -> (String, Vec<u8>) {
    let (_, body) = SAMPLE.split_once("\n\n").expect("a sample has a body");
    let mut json: serde_json::Value = serde_json::from_str(body).expect("a sample is JSON");
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

fn resident(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default();
    format!("{:.1} MB", kib / 1024.0)
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

async fn compare() {
    let clock = Clock::system();
    let sandbox = Sandbox::start_anywhere(Family::Main, clock.clone()).expect("a sandbox");
    sandbox.add_bot("bridge_bot", "Bridge");
    for group in ["ops", "dev"] {
        sandbox.register("u1", "U1");
        sandbox.create_group(group, group, &["u1", "bridge_bot"]);
    }
    let place = tempfile::tempdir().expect("a directory");
    write_directory(place.path(), &sandbox.url());
    let (headers, body) = signed_request();
    println!(
        "payload {} bytes, signed; {} s each\n",
        body.len(),
        SPAN.as_secs()
    );

    let (service, ready) = start_service(place.path());
    clock.sleep(Duration::from_millis(500)).await;
    let idle = resident(service.child.id());

    println!("webhook to chat server, one after another:");
    let ops = Conversation::Group("ops".into());
    let mut times = Vec::new();
    for count in 1..=15 {
        let began = Instant::now();
        load::one(service.address, "/hooks/github", &headers, &body).await;
        sandbox.wait_for(&ops, count).await;
        times.push(began.elapsed());
        clock.sleep(PAUSE).await;
    }
    times.sort();
    println!(
        "  median {:.1} ms, slowest {:.1} ms\n",
        ms(times[times.len() / 2]),
        ms(times[times.len() - 1])
    );

    let bare = start_bare();
    println!(
        "| connections | bare /s | p50 ms | p99 ms | door /s | p50 ms | p99 ms | door : bare |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for connections in [1, 16, 64] {
        let run = |address| load::run(address, "/hooks/github", &headers, &body, connections, SPAN);
        let without = run(bare.address).await;
        let with = run(service.address).await;
        println!(
            "| {connections} | {:.0} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | 1 : {:.1} |",
            without.per_second,
            ms(without.p50),
            ms(without.p99),
            with.per_second,
            ms(with.p50),
            ms(with.p99),
            without.per_second / with.per_second,
        );
        assert_eq!(
            (without.others, with.others),
            (0, 0),
            "every webhook is taken"
        );
    }
    let binary =
        std::fs::metadata(env!("CARGO_BIN_EXE_openim-bridge")).map_or(0, |file| file.len());
    println!(
        "\nmemory: idle {idle}, after the load {}; binary {:.1} MB; ready after {:.0} ms",
        resident(service.child.id()),
        binary as f64 / 1e6,
        ms(ready),
    );
}
