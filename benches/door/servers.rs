//! What is measured, each in a process of its own: a bare handler, the relay that most people write first, and the service.

use std::io::BufRead;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

pub const SECRET: &str = "a secret of the benchmark";

/// A child that is killed when the run ends.
pub struct Server {
    child: Child,
    /// Where webhooks go.
    pub address: SocketAddr,
    /// Where health is asked, at a service.
    console: Option<SocketAddr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks the HMAC and parses the JSON.
fn authentic(headers: &HeaderMap, body: &Bytes) -> Result<Value, StatusCode> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key fits");
    mac.update(body);
    let given = headers
        .get("x-hub-signature-256")
        .and_then(|value| value.to_str().ok()?.strip_prefix("sha256="))
        .and_then(|hex| hex::decode(hex).ok())
        .unwrap_or_default();
    if mac.verify_slice(&given).is_err() {
        return Err(StatusCode::UNAUTHORIZED);
    }
    serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)
}

/// The bare handler: takes what is authentic and JSON, and does nothing with it.
async fn bare(headers: HeaderMap, body: Bytes) -> StatusCode {
    match authentic(&headers, &body) {
        Ok(_) => StatusCode::ACCEPTED,
        Err(status) => status,
    }
}

#[derive(Clone)]
struct Relay {
    http: reqwest::Client,
    api_url: String,
    token: String,
}

/// The naive relay: sends at once, and answers when that is done. It keeps nothing and tries nothing again.
async fn relay(State(relay): State<Relay>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let hook = match authentic(&headers, &body) {
        Ok(hook) => hook,
        Err(status) => return status,
    };
    let text = format!(
        "{} {}",
        hook["repository"]["full_name"], hook["workflow_run"]["name"]
    );
    let message = json!({
        "sendID": "bridge_bot", "groupID": hook["team"], "senderPlatformID": 10, "senderNickname": "Bridge",
        "content": {"content": text}, "contentType": 101, "sessionType": 3,
        "ex": headers.get("x-github-delivery").and_then(|id| id.to_str().ok()),
    });
    let sent = relay.http.post(format!("{}/msg/send_msg", relay.api_url));
    let sent = sent
        .header("operationID", "relay")
        .header("token", &relay.token);
    let Ok(answer) = sent.json(&message).send().await else {
        return StatusCode::BAD_GATEWAY;
    };
    match answer.json::<Value>().await {
        Ok(answer) if answer["errCode"] == 0 => StatusCode::ACCEPTED,
        _ => StatusCode::BAD_GATEWAY,
    }
}

async fn token(http: &reqwest::Client, api_url: &str) -> String {
    let asked = http.post(format!("{api_url}/auth/get_admin_token"));
    let who = json!({"secret": "openIM123", "userID": "imAdmin"});
    let answer = asked.header("operationID", "relay").json(&who).send().await;
    let answer: Value = answer.expect("it answers").json().await.expect("JSON");
    answer["data"]["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

/// Runs as one of the two, in a process of its own, for ever.
pub fn be(which: &str, api_url: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let router = match which {
            "bare" => Router::new().route("/hooks/github", post(bare)),
            _ => {
                let http = reqwest::Client::new();
                let token = token(&http, api_url).await;
                let relay_to = Relay {
                    http,
                    api_url: api_url.to_owned(),
                    token,
                };
                Router::new()
                    .route("/hooks/github", post(relay))
                    .with_state(relay_to)
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        println!("{}", listener.local_addr().expect("it is bound"));
        axum::serve(listener, router).await.expect("it serves");
    });
}

/// Starts one of the two.
pub fn start_other(which: &str, api_url: &str) -> Server {
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
        .args([which, api_url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("it is piped");
    std::io::BufReader::new(out)
        .read_line(&mut line)
        .expect("it says its address");
    Server {
        child,
        address: line.trim().parse().expect("an address"),
        console: None,
    }
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    free.local_addr().expect("it is bound")
}

/// Starts the service in `directory` with its outbox at `storage`; gives it with the time until it answered.
pub fn start_service(directory: &Path, storage: &str) -> (Server, Duration) {
    let (address, console) = (free_address(), free_address());
    let began = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_openim-bridge"))
        .args(["--log-level", "warn", "--config"])
        .arg(directory)
        .arg("serve")
        .env("OPENIM_SECRET", "openIM123")
        .env("HOOK_SECRET", SECRET)
        .env("OPENIM_BRIDGE__DOOR__LISTEN", address.to_string())
        .env("OPENIM_BRIDGE__CONSOLE__LISTEN", console.to_string())
        .env("OPENIM_BRIDGE__STORAGE__URL", storage)
        .spawn()
        .expect("the service starts");
    while std::net::TcpStream::connect(address).is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the service does not listen"
        );
        std::thread::yield_now();
    }
    let server = Server {
        child,
        address,
        console: Some(console),
    };
    (server, began.elapsed())
}

impl Server {
    /// How many deliveries are in that state, as a service's health page says.
    pub async fn state(&self, client: &reqwest::Client, state: &str) -> usize {
        let console = self.console.expect("it is a service");
        let answer = client.get(format!("http://{console}/health")).send().await;
        let health: Value = answer.expect("it answers").json().await.expect("JSON");
        let count = health["deliveries"][state].as_u64().unwrap_or_default();
        usize::try_from(count).unwrap_or_default()
    }

    /// Its memory.
    pub fn resident(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or_default();
        format!("{:.1} MB", kib / 1024.0)
    }
}
