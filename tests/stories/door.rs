//! The door under senders that are slow, large, hasty or gone, and the stop while they are at it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use openim_bridge::bridge::problem::Sources;
use openim_bridge::model::Clock;
use openim_bridge::outbox::Outbox;
use openim_bridge::outbox::sqlite::{Options, SqliteOutbox};
use openim_bridge::settings::{Environment, Loaded};
use openim_bridge::web::{Door, Listener, Patience, RefusedRequests};
use reqwest::StatusCode;
use serde_json::json;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{GITHUB, JSON, SECRET, Service, Stage};

/// What a test can wait for.
const SHORT: Duration = Duration::from_millis(200);

/// When a test gives up.
const LONG: Duration = Duration::from_secs(15);

/// A door in this process, with a JSON bridge and an outbox in `folder`.
struct Here {
    listener: Listener,
    outbox: Arc<dyn Outbox>,
}

impl Here {
    fn open(folder: &Path, options: Options) -> Here {
        let sources = Sources::from([
            (
                "openim-bridge.toml".to_owned(),
                "[groups]\nops = \"1\"\n".to_owned(),
            ),
            ("bridges/json.toml".to_owned(), JSON.to_owned()),
        ]);
        let variables = [("OPENIM_SECRET", "s"), ("HOOK_SECRET", SECRET)];
        let loaded = Loaded::compile(sources, &Environment::of(folder, variables));
        let clock = Clock::system();
        let outbox = SqliteOutbox::open(folder.join("outbox.db"), options, clock.clone());
        let outbox: Arc<dyn Outbox> = Arc::new(outbox.unwrap());
        let patience = Patience {
            head: SHORT,
            body: SHORT,
        };
        let door = Door {
            book: Arc::new(ArcSwap::from_pointee(loaded.book.unwrap())),
            outbox: outbox.clone(),
            clock,
            patience,
            trusted_proxies: Arc::new([]),
            limits: loaded.settings.unwrap().door.limits,
            meters: Arc::default(),
            seen: Arc::default(),
            refused: Arc::new(RefusedRequests::beside(&folder.join("outbox.db"))),
        };
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener::start(socket, door.router(), patience).unwrap();
        Here { listener, outbox }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.listener.address).await.unwrap()
    }

    async fn close(self) {
        self.listener.stop(SHORT).await;
        self.outbox.close().await.unwrap();
    }
}

/// The head of a webhook to the JSON bridge, for a body of that length.
fn head(length: usize) -> String {
    format!(
        "POST /hooks/json HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {SECRET}\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// A webhook to the JSON bridge with that id, whole.
fn webhook(id: &str) -> String {
    let body = json!({ "id": id, "title": id }).to_string();
    head(body.len()) + &body
}

/// What comes until the other side closes; empty when it just closes or breaks.
async fn answer(connection: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let closed = tokio::time::timeout(LONG, connection.read_to_end(&mut heard)).await;
    let _ = closed.expect("the door closes the connection");
    String::from_utf8(heard).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_whose_head_does_not_come_to_an_end_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let here = Here::open(folder.path(), Options::default());
    let start = Instant::now();

    let mut silent = here.connect().await;
    assert_eq!(answer(&mut silent).await, "");

    // It is always about to send more: a letter of a header each time.
    let mut dripping = here.connect().await;
    let beginning = "POST /hooks/json HTTP/1.1\r\nHost: door\r\nX-Long: ";
    dripping.write_all(beginning.as_bytes()).await.unwrap();
    let mut said = [0; 1024];
    loop {
        let heard = tokio::time::timeout(SHORT / 10, dripping.read(&mut said)).await;
        match heard {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(some)) => {
                let said = String::from_utf8_lossy(&said[..some]);
                assert!(said.contains(" 408 "), "{said}");
            }
            Err(_) if dripping.write_all(b"x").await.is_err() => break,
            Err(_) => {}
        }
        assert!(start.elapsed() < LONG, "it is still heard");
    }
    here.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_answered_408_and_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = Here::open(folder.path(), Options::default());
    let mut slow = here.connect().await;

    let beginning = head(100) + "{\"title\":";
    slow.write_all(beginning.as_bytes()).await.unwrap();

    let said = answer(&mut slow).await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.contains("too slowly"), "{said}");
    assert_eq!(
        here.outbox
            .counts(Clock::system().now())
            .await
            .unwrap()
            .events,
        0
    );
    here.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_answered_503_and_kept_when_it_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let full = Options {
        free_floor: u64::MAX,
        ..Options::default()
    };
    let close = |id| webhook(id).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let here = Here::open(folder.path(), full);
    let mut sender = here.connect().await;
    sender.write_all(close("w1").as_bytes()).await.unwrap();
    let said = answer(&mut sender).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    let retry = said.to_lowercase().contains("\r\nretry-after: 5\r\n");
    assert!(retry && said.contains("not kept"), "{said}");
    assert_eq!(
        here.outbox
            .counts(Clock::system().now())
            .await
            .unwrap()
            .events,
        0
    );
    here.close().await;

    let here = Here::open(folder.path(), Options::default());
    let mut sender = here.connect().await;
    sender.write_all(close("w1").as_bytes()).await.unwrap();
    let said = answer(&mut sender).await;
    assert!(said.starts_with("HTTP/1.1 202 "), "{said}");
    assert_eq!(
        here.outbox
            .counts(Clock::system().now())
            .await
            .unwrap()
            .events,
        1
    );
    here.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn github_may_send_24_mb_and_not_26() {
    let stage = Stage::set(&[("github", GITHUB)]).await;
    let service = stage.serve().await;
    let post = async |megabytes: usize| {
        let body = json!({
            "action": "opened",
            "issue": {
                "number": 9, "title": "A long story", "html_url": "https://github.com/acme/shop/issues/9",
                "body": "x".repeat(megabytes * 1_000_000), "user": { "login": "mei-lin" },
            },
            "repository": { "full_name": "acme/shop", "html_url": "https://github.com/acme/shop" },
            "sender": { "login": "mei-lin" },
        })
        .to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        let request = stage.client.post(service.hook("github")).body(body);
        let request = request
            .header("content-type", "application/json")
            .header("x-github-event", "issues")
            .header("x-github-delivery", format!("long-{megabytes}"))
            .header("x-hub-signature-256", signature);
        request.send().await.map(|answer| answer.status())
    };

    assert_eq!(post(24).await.unwrap(), StatusCode::ACCEPTED);
    assert!(stage.texts_when("dev", 1).await[0].contains("A long story"));
    // Whether it is signed is not known without reading it, so it hears no more than a stranger; the log says why.
    assert_eq!(post(26).await.unwrap(), StatusCode::UNAUTHORIZED);
    let why = "its body is longer than `max_body` of the bridge allows";
    stage
        .until("the log says why", async || stage.log().contains(why))
        .await;
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_on_the_same_outbox_says_who_has_it() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let first = stage.serve().await;

    let second = stage.program(&["serve"]).output().await.unwrap();

    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    for words in ["openim-bridge.db", "has it open"] {
        assert!(said.contains(words), "`{words}` is missing in:\n{said}");
    }
    assert_eq!(first.health().await["ok"], true);
    assert!(first.stop().await);
}

/// Posts one webhook after the other until the door is closed; the ids that were answered with 202.
async fn post_until_closed(client: reqwest::Client, hook: String, name: usize) -> Vec<String> {
    let mut accepted = Vec::new();
    for number in 0.. {
        let id = format!("{name}-{number}");
        let body = json!({ "id": id, "title": id });
        let request = client.post(&hook).bearer_auth(SECRET).json(&body);
        match request.send().await {
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => accepted.push(id),
            Ok(answer) => panic!("{}", answer.status()),
            Err(_) => break,
        }
    }
    accepted
}

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.door).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_no_request_in_flight() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;
    // Half of its body has come when the stop does.
    let late = webhook("late");
    let (early, rest) = late.split_at(late.len() - 10);
    let mut in_flight = connect(&service).await;
    in_flight.write_all(early.as_bytes()).await.unwrap();
    let senders: tokio::task::JoinSet<_> = (0..8)
        .map(|name| post_until_closed(stage.client.clone(), service.hook("json"), name))
        .collect();
    stage.texts_when("ops", 5).await;

    service.tell_to_stop();
    stage
        .until("it was told to stop", async || {
            stage.log().contains("was told to stop")
        })
        .await;
    in_flight.write_all(rest.as_bytes()).await.unwrap();

    let said = answer(&mut in_flight).await;
    assert!(said.starts_with("HTTP/1.1 202 "), "{said}");
    assert!(service.ended().await);
    let mut accepted = senders.join_all().await.concat();
    accepted.push("late".to_owned());
    let kept = stage.kept().await;
    let lost: Vec<_> = accepted
        .iter()
        .filter(|id| !kept.contains_key(*id))
        .collect();
    assert!(lost.is_empty(), "accepted and not kept: {lost:?}");
    eprintln!(
        "stop: {} webhooks accepted, {} kept, none lost",
        accepted.len(),
        kept.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_hangs_up_before_its_answer_leaves_all_or_nothing() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;

    for number in 0..20 {
        let mut hasty = connect(&service).await;
        let whole = webhook(&format!("hasty-{number}"));
        hasty.write_all(whole.as_bytes()).await.unwrap();
        drop(hasty);
        let mut broken = connect(&service).await;
        let half = webhook(&format!("broken-{number}"));
        let half = &half[..half.len() - 5];
        broken.write_all(half.as_bytes()).await.unwrap();
        drop(broken);
    }
    let last = json!({ "id": "last", "title": "last" });
    let request = stage.client.post(service.hook("json")).bearer_auth(SECRET);
    let answer = request.json(&last).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert!(service.stop().await);

    let kept = stage.kept().await;
    assert!(kept.contains_key("last"));
    assert!(!kept.keys().any(|id| id.starts_with("broken")), "{kept:?}");
    let hasty = kept.keys().filter(|id| id.starts_with("hasty")).count();
    eprintln!("hang-up: {hasty} of 20 that hung up after their body are kept");
}
