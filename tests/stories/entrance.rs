//! Who comes in at the door, how often, and who has to wait: challenges, limits, floods, repeats, and what is kept of the refused.
//! A door in this process, with a clock that a lever moves.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use openim_bridge::bridge::problem::Sources;
use openim_bridge::intake::Request;
use openim_bridge::intake::authenticate::authenticate;
use openim_bridge::model::{Clock, Lever, Timestamp};
use openim_bridge::outbox::Outbox;
use openim_bridge::outbox::sqlite::{Options, SqliteOutbox};
use openim_bridge::settings::{Environment, Loaded};
use openim_bridge::web::{Door, Listener, Patience, RefusedRequests, Seen};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
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
        let variables = [("OPENIM_SECRET", "s"), ("SECRET", SECRET)];
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
        self.here().outbox.counts().await.unwrap().events
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

fn retry_after(response: &Response) -> u64 {
    let value = response.headers().get("retry-after").expect("it says when");
    value.to_str().unwrap().parse().unwrap()
}

// -- challenges -------------------------------------------------------------------------------------------------------

const SLACK: &str = r#"
secrets = ["env:SECRET"]

[auth]
scheme    = "hmac-sha256"
signature = "header:x-slack-signature"
format    = "v0={hex}"
signed    = "v0:{timestamp}:{body}"
timestamp = { from = "header:x-slack-request-timestamp", within = "5m" }
challenge = { from = "body:/challenge", answer = "{challenge}" }

[[route]]
to = ["group:ops"]
"#;
const TWITTER: &str = r#"
secrets = ["env:SECRET"]

[auth]
scheme    = "hmac-sha256"
signature = "header:x-twitter-webhooks-signature"
format    = "sha256={base64}"
challenge = { from = "query:crc_token", answer = '{"response_token":"sha256={base64}"}' }

[[route]]
to = ["group:ops"]
"#;
const FEISHU_EVENTS: &str = r#"
secrets = ["env:SECRET"]

[auth]
scheme    = "token"
token     = ["body:/header/token", "body:/token"]
challenge = { from = "body:/challenge", answer = '{"challenge":"{challenge}"}' }

[[route]]
to = ["group:ops"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_answered_at_the_door_and_make_no_event() {
    let bridges = [
        ("slack", SLACK),
        ("twitter", TWITTER),
        ("feishu", FEISHU_EVENTS),
    ];
    let door = Entrance::open(&bridges, "");

    let body = r#"{"token":"x","challenge":"3eZbrw1aB","type":"url_verification"}"#;
    let signature = hmac(&format!("v0:{START}:{body}"));
    let signature = format!("v0={}", hex::encode(signature));
    let time = START.to_string();
    let headers = [
        ("x-slack-request-timestamp", time.as_str()),
        ("x-slack-signature", signature.as_str()),
    ];
    let slack = door.post("/hooks/slack", "192.0.2.1", &headers, body).await;
    assert_eq!(slack.status(), StatusCode::OK);
    assert_eq!(slack.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(slack.headers()["x-content-type-options"], "nosniff");
    assert_eq!(text(slack).await, "3eZbrw1aB");
    let unsigned = door.post("/hooks/slack", "192.0.2.1", &headers[..1], body);
    assert_eq!(unsigned.await.status(), StatusCode::UNAUTHORIZED);

    let twitter = door.get("/hooks/twitter?crc_token=abc_1.2").await;
    assert_eq!(twitter.status(), StatusCode::OK);
    assert_eq!(twitter.headers()["content-type"], "application/json");
    let mac = STANDARD.encode(hmac("abc_1.2"));
    let wanted = json!({ "response_token": format!("sha256={mac}") });
    assert_eq!(text(twitter).await, wanted.to_string());

    let body = json!({ "challenge": "a\"b", "token": SECRET, "type": "url_verification" });
    let body = body.to_string();
    let feishu = door.post("/hooks/feishu", "192.0.2.1", &[], &body);
    let feishu: Value = serde_json::from_str(&text(feishu.await).await).unwrap();
    assert_eq!(feishu, json!({ "challenge": "a\"b" }));
    assert_eq!(door.events().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_is_no_challenge_learns_only_that_webhooks_are_posted() {
    let bridges = [("slack", SLACK), ("twitter", TWITTER), ("token", TOKEN)];
    let door = Entrance::open(&bridges, "");
    for path in [
        "/hooks/twitter",
        "/hooks/twitter?crc_token=",
        "/hooks/twitter?crc_token=%3Cscript%3Ealert(1)%3C/script%3E",
        "/hooks/twitter?crc_token=%7B%22a%22:1%7D",
        "/hooks/twitter?crc_token=a&crc_token=a",
        "/hooks/slack?challenge=abc",
        "/hooks/token?challenge=abc",
        "/hooks/unknown?crc_token=abc",
        "/hooks/token/x",
    ] {
        let answer = door.get(path).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.headers()["allow"], "POST", "{path}");
        let said = text(answer).await;
        assert!(
            !said.contains("script") && !said.contains("sha256"),
            "{said}"
        );
    }
}

// -- limits -----------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn an_authentic_flood_is_told_to_come_again_and_other_bridges_do_not_feel_it() {
    let own = format!("max_per_second = 5\n{TOKEN}");
    let bridges = [("one", TOKEN), ("two", TOKEN), ("own", &own)];
    let door = Entrance::open(&bridges, "limits = { bridge = 2 }");
    let status = async |bridge: &str, id: &str| {
        let answer = door.knock(bridge, "192.0.2.1", SECRET, id).await;
        (
            answer.status(),
            answer.headers().contains_key("retry-after"),
        )
    };

    assert_eq!(status("one", "a").await, (StatusCode::ACCEPTED, false));
    assert_eq!(status("one", "b").await, (StatusCode::ACCEPTED, false));
    // A 4xx would be taken for a no: Alertmanager would drop the alert.
    assert_eq!(
        status("one", "c").await,
        (StatusCode::SERVICE_UNAVAILABLE, true)
    );
    assert_eq!(status("two", "a").await, (StatusCode::ACCEPTED, false));
    for id in ["a", "b", "c", "d", "e"] {
        assert_eq!(status("own", id).await, (StatusCode::ACCEPTED, false));
    }
    assert_eq!(status("own", "f").await.0, StatusCode::SERVICE_UNAVAILABLE);

    door.pull(1);
    assert_eq!(status("one", "c").await, (StatusCode::ACCEPTED, false));
    assert_eq!(door.here().seen.refusals("one")["too_many"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_use_up_nothing_of_a_bridges_room() {
    let door = Entrance::open(&[("one", TOKEN)], "limits = { bridge = 2 }");
    for _ in 0..20 {
        let answer = door.knock("one", "192.0.2.9", "guess", "x").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    let answer = door.knock("one", "192.0.2.9", SECRET, "a").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_a_limit_and_the_believed_one_counts() {
    let door = Entrance::open(&[("one", TOKEN)], "limits = { address = 3 }");
    for id in ["a", "b", "c"] {
        let answer = door.knock("one", "192.0.2.1", SECRET, id).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    let answer = door.knock("one", "192.0.2.1", SECRET, "d").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(retry_after(&answer), 1);
    // What stands before a proxy's own word is anybody's.
    let answer = door
        .knock("one", "203.0.113.7, 192.0.2.1", SECRET, "d")
        .await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let answer = door.knock("one", "192.0.2.2", SECRET, "d").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    door.pull(1);
    let answer = door.knock("one", "192.0.2.1", SECRET, "e").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_refusals_from_one_address_are_slowed_and_no_right_proof_waits_for_them() {
    let door = Entrance::open(&[("one", TOKEN)], "limits = { refusals = 3 }");
    for _ in 0..3 {
        let answer = door.knock("one", "192.0.2.1", "guess", "x").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }

    // The fourth guess waits; what is said of an unknown bridge waits as well, so that the two look alike.
    let guess = door.knock("one", "192.0.2.1", "guess", "x");
    let unknown = door.knock("unknown", "192.0.2.1", "guess", "x");
    let right = async {
        // By now both others are on their way; nothing but the lever ends their wait.
        let right = door.knock("one", "192.0.2.1", SECRET, "a").await;
        let other = door.knock("one", "192.0.2.2", "guess", "x").await;
        while door.here().seen.refusals("").is_empty()
            || door.here().seen.refusals("one")["mismatch"] < 5
        {
            tokio::task::yield_now().await;
        }
        (right.status(), other.status())
    };
    tokio::pin!(guess, unknown);
    let passed = tokio::select! {
        biased;
        _ = &mut guess => panic!("a guess did not wait"),
        _ = &mut unknown => panic!("a guess at an unknown bridge did not wait"),
        passed = right => passed,
    };
    assert_eq!(passed, (StatusCode::ACCEPTED, StatusCode::UNAUTHORIZED));
    // The waits began at most now.
    let slowed = tokio::spawn({
        let lever = door.lever.clone();
        async move {
            loop {
                lever.advance(Duration::from_millis(100));
                tokio::task::yield_now().await;
            }
        }
    });
    assert_eq!(guess.await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.await.status(), StatusCode::UNAUTHORIZED);
    slowed.abort();
    let all = door.here().seen.all_refusals();
    assert_eq!(all["one"], [("mismatch", 5)].into());
    assert_eq!(all[""], [("unknown_bridge", 1)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_by_bridge_and_reason() {
    let small = format!("max_body = \"100B\"\n{TIMED}");
    let door = Entrance::open(&[("one", TOKEN), ("timed", &small)], "");
    let timed = |time: i64| {
        let signature = hex::encode(hmac(&format!("{time}:{{}}")));
        (time.to_string(), signature)
    };
    door.post("/hooks/one", "192.0.2.1", &[], "{}").await;
    let bearer = format!("Bearer {SECRET}");
    let right = [("authorization", bearer.as_str())];
    door.post("/hooks/one", "192.0.2.1", &right, "{broken")
        .await;
    door.post("/hooks/one", "192.0.2.1", &right, "neither")
        .await;
    let (time, signature) = timed(START - 301);
    let late = [("x-time", time.as_str()), ("x-sign", signature.as_str())];
    door.post("/hooks/timed", "192.0.2.1", &late, "{}").await;
    let (time, _) = timed(START);
    let short = [("x-time", time.as_str()), ("x-sign", "00")];
    door.post("/hooks/timed", "192.0.2.1", &short, "{}").await;
    let odd = [("x-time", time.as_str()), ("x-sign", "zz")];
    door.post("/hooks/timed", "192.0.2.1", &odd, "{}").await;
    let twice = [
        ("x-time", time.as_str()),
        ("x-sign", "00"),
        ("x-sign", "00"),
    ];
    door.post("/hooks/timed", "192.0.2.1", &twice, "{}").await;
    door.post("/hooks/timed", "192.0.2.1", &short, &"x".repeat(101))
        .await;

    let all = door.here().seen.all_refusals();
    assert_eq!(all["one"], [("missing", 1), ("body_unreadable", 2)].into());
    let timed = [
        ("time", 1),
        ("mismatch", 1),
        ("unreadable", 1),
        ("repeated", 1),
        ("body_too_large", 1),
    ];
    assert_eq!(all["timed"], timed.into());
}

// -- repeats ----------------------------------------------------------------------------------------------------------

async fn timed(door: &Entrance, time: i64, body: &str) -> StatusCode {
    let signature = hex::encode(hmac(&format!("{time}:{body}")));
    let time = time.to_string();
    let headers = [("x-time", time.as_str()), ("x-sign", signature.as_str())];
    let answer = door.post("/hooks/timed", "192.0.2.1", &headers, body).await;
    answer.status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_request_is_no_event_again_as_long_as_its_time_holds() {
    let mut door = Entrance::open(&[("timed", TIMED)], "");
    let body = r#"{"title":"the disk is full"}"#;
    assert_eq!(timed(&door, START, body).await, StatusCode::ACCEPTED);
    // The sender did not hear the answer, and signs anew.
    door.pull(20);
    assert_eq!(timed(&door, START + 20, body).await, StatusCode::OK);
    // Its reminder is news.
    door.pull(100);
    assert_eq!(timed(&door, START + 120, body).await, StatusCode::ACCEPTED);

    // A copy of the first is not, and neither is it after a restart.
    assert_eq!(timed(&door, START, body).await, StatusCode::OK);
    door.close().await;
    door.start();
    door.pull(180);
    assert_eq!(timed(&door, START, body).await, StatusCode::OK);
    assert_eq!(timed(&door, START + 120, body).await, StatusCode::OK);
    door.pull(1);
    assert_eq!(timed(&door, START, body).await, StatusCode::UNAUTHORIZED);
    assert_eq!(door.events().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_id_is_no_event_again_however_late() {
    let door = Entrance::open(&[("one", TOKEN)], "");
    let status = async || door.knock("one", "192.0.2.1", SECRET, "a").await.status();
    assert_eq!(status().await, StatusCode::ACCEPTED);
    door.pull(7 * 24 * 3600);
    assert_eq!(status().await, StatusCode::OK);
    assert_eq!(door.events().await, 1);
}

// -- what is kept of the refused --------------------------------------------------------------------------------------

fn kept(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map(|files| files.map(|file| file.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_refused_requests_are_kept_on_request_and_explain_themselves() {
    let keeping = format!("keep_refused = 2\n{TIMED}");
    let keeping_token = format!("keep_refused = 1\n{TOKEN}");
    let bridges = [
        ("timed", keeping.as_str()),
        ("token", &keeping_token),
        ("one", TOKEN),
    ];
    let door = Entrance::open(&bridges, "");
    let folder = door.folder.path().join("outbox.db.refused");
    let until = async |bridge: &str, what: &dyn Fn(&[std::path::PathBuf]) -> bool| {
        crate::stage::eventually("the refused request is kept", || {
            what(&kept(&folder.join(bridge))).then_some(())
        })
        .await;
    };

    // Four requests that are 7 minutes late, each a second after the other.
    for number in 0..4 {
        let body = format!("{{ \"number\": {number} }}");
        let late = START - 420;
        assert_eq!(timed(&door, late, &body).await, StatusCode::UNAUTHORIZED);
        let newest = move |files: &[std::path::PathBuf]| {
            let text = files
                .last()
                .and_then(|file| std::fs::read_to_string(file).ok());
            text.is_some_and(|text| text.ends_with(&body))
        };
        until("timed", &newest).await;
        door.pull(1);
    }
    until("timed", &|files| files.len() == 2).await;
    let file = kept(&folder.join("timed")).pop().unwrap();
    assert!(file.to_str().unwrap().ends_with("-time.http"), "{file:?}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&folder.join("timed"))), (0o600, 0o700));

    let text = std::fs::read(&file).unwrap();
    let request = Request::from_text("timed", &text).unwrap();
    let book = door.book.load();
    let auth = book.bridges["timed"].auth.as_ref().unwrap();
    let received = request.headers["openim-bridge-received"].to_str().unwrap();
    let refusal = authenticate(auth, request.clone(), received.parse().unwrap()).unwrap_err();
    assert_eq!(
        request.headers["openim-bridge-refused"].to_str().unwrap(),
        refusal.to_string()
    );
    let then = Timestamp::from_second(START - 420).unwrap();
    assert!(
        authenticate(auth, request, then).is_ok(),
        "its signature stayed"
    );

    // A token is not kept, a long body neither, and nothing of who does not ask for it.
    door.knock("token", "192.0.2.1", "Guess-1", "x").await;
    door.knock("one", "192.0.2.1", "Guess-1", "x").await;
    until("token", &|files| files.len() == 1).await;
    let text = std::fs::read_to_string(&kept(&folder.join("token"))[0]).unwrap();
    assert!(text.contains("Authorization: Bearer Aaaaa-0\n"), "{text}");
    assert!(!folder.join("one").exists());
}

// -- what a bridge takes over from its parent -------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_child_changes_its_parents_auth_key_by_key_and_one_that_names_a_scheme_starts_afresh() {
    let parent = "[auth]\nscheme = \"token\"\ntoken = \"header:x-one\"\naddresses = [\"192.0.2.0/24\"]\notherwise = { scheme = \"bearer\" }\n";
    let route = "[[route]]\nto = [\"group:ops\"]\n";
    let child = format!(
        "extends = \"parent\"\nsecrets = [\"env:SECRET\"]\n[auth]\ntoken = \"header:x-two\"\n{route}"
    );
    let afresh = format!(
        "extends = \"parent\"\nsecrets = [\"env:SECRET\"]\n[auth]\nscheme = \"token\"\ntoken = \"header:x-two\"\n{route}"
    );
    let bridges = [
        ("parent", parent),
        ("child", child.as_str()),
        ("afresh", &afresh),
    ];
    let door = Entrance::open(&bridges, "");
    let bearer = format!("Bearer {SECRET}");
    let status = async |bridge: &str, from: &str, name: &str, value: &str| {
        let body = format!("{{\"title\":\"{bridge} {name}\"}}");
        let path = format!("/hooks/{bridge}");
        let answer = door.post(&path, from, &[(name, value)], &body).await;
        answer.status() == StatusCode::ACCEPTED
    };
    assert!(status("child", "192.0.2.1", "x-two", SECRET).await);
    assert!(status("child", "192.0.2.1", "authorization", &bearer).await);
    assert!(!status("child", "192.0.2.1", "x-one", SECRET).await);
    assert!(!status("child", "203.0.113.1", "x-two", SECRET).await);
    assert!(status("afresh", "203.0.113.1", "x-two", SECRET).await);
    assert!(!status("afresh", "192.0.2.1", "authorization", &bearer).await);
    assert!(!status("afresh", "192.0.2.1", "x-one", SECRET).await);
}

// -- which secret -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn each_secret_is_seen_by_its_reference_with_what_it_verified() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    std::fs::write(&old, "the old one\n").unwrap();
    let both = TOKEN.replace(
        "\"env:SECRET\"",
        &format!("\"env:SECRET\", \"file:{}\"", old.display()),
    );
    let door = Entrance::open(&[("one", &both)], "");
    let seen = || {
        let book = door.book.load();
        let secrets = door.here().seen.secrets(&book.bridges["one"]);
        let told = secrets.into_iter();
        told.map(|secret| {
            (
                secret.secret,
                secret.verified,
                secret.last.unwrap_or_default(),
            )
        })
        .collect::<Vec<_>>()
    };
    let file = format!("file:{}", old.display());
    let env = "env:SECRET".to_owned();
    assert_eq!(
        seen(),
        [
            (env.clone(), 0, String::new()),
            (file.clone(), 0, String::new())
        ]
    );
    door.knock("one", "192.0.2.1", "the old one", "a").await;
    door.pull(60);
    door.knock("one", "192.0.2.1", SECRET, "b").await;
    door.knock("one", "192.0.2.1", SECRET, "c").await;
    door.knock("one", "192.0.2.1", "guess", "c").await;
    assert_eq!(
        seen(),
        [
            (env, 2, "2023-11-14T22:14:20Z".to_owned()),
            (file, 1, "2023-11-14T22:13:20Z".to_owned()),
        ]
    );
}
