//! Who comes in at the door, how often, and who has to wait: challenges, limits, floods, repeats, and what is kept of the refused.
//! A door in this process, with a clock that a lever moves.

mod challenges;
mod limits;
mod refused;
mod repeats;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use openim_bridge::bridge::problem::Sources;
use openim_bridge::model::{Clock, Lever, Timestamp};
use openim_bridge::outbox::Outbox;
use openim_bridge::outbox::sqlite::{Options, SqliteOutbox};
use openim_bridge::settings::{Environment, Loaded};
use openim_bridge::web::{Door, Listener, Patience, RefusedRequests, Seen};
use reqwest::{Response, StatusCode};
use serde_json::json;
use sha2::Sha256;

/// The secret of all bridges.
const SECRET: &str = "It's a Secret to Everybody";

/// When the clock starts.
const START: i64 = 1_700_000_000;

/// A bridge that takes any JSON with a token.
const TOKEN: &str = r#"
secrets = ["env:SECRET"]

[auth]
scheme = "bearer"

[event]
id    = "body.id"
title = "body.title"

[[route]]
to = ["group:ops"]
"#;

/// A bridge whose sender gives no ids and signs the time with the body.
const TIMED: &str = r#"
secrets = ["env:SECRET"]

[auth]
scheme    = "hmac-sha256"
signature = "header:x-sign"
format    = "{hex}"
signed    = "{timestamp}:{body}"
timestamp = { from = "header:x-time", within = "5m" }

[event]
title = "body.title"

[[route]]
to = ["group:ops"]
"#;

struct Entrance {
    folder: tempfile::TempDir,
    client: reqwest::Client,
    lever: Lever,
    clock: Clock,
    book: Arc<ArcSwap<openim_bridge::bridge::RuleBook>>,
    opened: Option<Opened>,
    limits: openim_bridge::web::Limits,
}

struct Opened {
    listener: Listener,
    outbox: Arc<dyn Outbox>,
    seen: Arc<Seen>,
}

impl Entrance {
    fn open(bridges: &[(&str, &str)], limits: &str) -> Entrance {
        let mut sources = Sources::from([(
            "openim-bridge.toml".to_owned(),
            format!("[door]\n{limits}\n[groups]\nops = \"1\"\n"),
        )]);
        for (name, text) in bridges {
            sources.insert(format!("bridges/{name}.toml"), (*text).to_owned());
        }
        let folder = tempfile::tempdir().unwrap();
        let secret = STANDARD.encode(SECRET);
        let written = format!("whsec_{secret}");
        let variables = [
            ("OPENIM_SECRET", "s"),
            ("SECRET", SECRET),
            ("WHSEC", &*written),
        ];
        let loaded = Loaded::compile(sources, &Environment::of(folder.path(), variables));
        let book = loaded
            .book
            .unwrap_or_else(|| panic!("{:#?}", loaded.problems));
        let (clock, lever) = Clock::lever(Timestamp::from_second(START).unwrap());
        let mut entrance = Entrance {
            folder,
            client: reqwest::Client::new(),
            lever,
            clock,
            book: Arc::new(ArcSwap::from_pointee(book)),
            opened: None,
            limits: loaded.settings.unwrap().door.limits,
        };
        entrance.start();
        entrance
    }

    fn start(&mut self) {
        let file = self.folder.path().join("outbox.db");
        let outbox = SqliteOutbox::open(&file, Options::default(), self.clock.clone());
        let outbox: Arc<dyn Outbox> = Arc::new(outbox.unwrap());
        let seen = Arc::new(Seen::default());
        let door = Door {
            book: self.book.clone(),
            outbox: outbox.clone(),
            clock: self.clock.clone(),
            patience: Patience::default(),
            trusted_proxies: Arc::new(["127.0.0.0/8".parse().unwrap()]),
            limits: self.limits,
            meters: Arc::default(),
            seen: seen.clone(),
            refused: Arc::new(RefusedRequests::beside(&file)),
        };
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener::start(socket, door.router(), Patience::default()).unwrap();
        self.opened = Some(Opened {
            listener,
            outbox,
            seen,
        });
    }

    fn here(&self) -> &Opened {
        self.opened.as_ref().unwrap()
    }

    async fn close(&mut self) {
        let opened = self.opened.take().unwrap();
        opened.listener.stop(Duration::from_secs(1)).await;
        opened.outbox.close().await.unwrap();
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.here().listener.address)
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.at(path)).send().await.unwrap()
    }

    /// Posts a body with headers, from an address as a trusted proxy tells it.
    async fn post(&self, path: &str, from: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut request = self.client.post(self.at(path)).body(body.to_owned());
        request = request.header("x-forwarded-for", from);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// Posts a webhook with a token to a bridge like [`TOKEN`].
    async fn knock(&self, bridge: &str, from: &str, token: &str, id: &str) -> Response {
        let token = format!("Bearer {token}");
        let body = json!({ "id": id, "title": id }).to_string();
        let headers = [("authorization", token.as_str())];
        self.post(&format!("/hooks/{bridge}"), from, &headers, &body)
            .await
    }

    fn pull(&self, seconds: u64) {
        self.lever.advance(Duration::from_secs(seconds));
    }

    async fn events(&self) -> u64 {
        self.here()
            .outbox
            .counts(Clock::system().now())
            .await
            .unwrap()
            .events
    }
}

fn hmac(message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap()
}

/// Posts to a bridge like [`TIMED`] what was signed at a time.
async fn timed(door: &Entrance, time: i64, body: &str) -> StatusCode {
    let signature = hex::encode(hmac(&format!("{time}:{body}")));
    let time = time.to_string();
    let headers = [("x-time", time.as_str()), ("x-sign", signature.as_str())];
    let answer = door.post("/hooks/timed", "192.0.2.1", &headers, body).await;
    answer.status()
}
