//! What was recorded at running servers, asked again at the sandbox: it must answer the same.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use openim_bridge::model::{Clock, Timestamp};
use openim_bridge::sandbox::{Family, SECRET, Sandbox, UNTIL_STORED};
use serde_json::{Value, json};

/// The calls that are promised to answer as recorded; what else was recorded is played too, for what it changes.
const PROMISED: [&str; 12] = [
    "auth.",
    "user.",
    "bot.",
    "group.",
    "send.",
    "bad.",
    "refuse.",
    "status.",
    "seq.",
    "find.",
    "newest_seq",
    "path.",
];

/// Not played: the sandbox has no search.
const NOT_THERE: &str = "search.";

/// What differs from one run to the next: ids, times, tokens, the order that a database gives, and how far other runs had
/// filled a conversation.
const VARYING: [&str; 17] = [
    "serverMsgID",
    "clientMsgID",
    "sendTime",
    "createTime",
    "joinTime",
    "muteEndTime",
    "token",
    "serverTime",
    "maxSeqTime",
    "maxSeq",
    "maxSeqs",
    "hasReadSeq",
    "content",
    "seq",
    "userIDs",
    "members",
    "isEnd",
];

#[tokio::test]
async fn every_recorded_call_is_answered_as_the_real_server_answered_it() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test that asks where the recordings are"
    )]
    let Some(shared) = std::env::var_os("OPENIM_BRIDGE_SHARED") else {
        println!("skipped: OPENIM_BRIDGE_SHARED does not say where the recordings are");
        return;
    };
    let path = Path::new(&shared).join("reference/openim-transcripts.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &Value| record["experiment"] != true)
        .collect();

    for (server, family) in [("main", Family::Main), ("3.8", Family::Release38)] {
        let start: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let (clock, lever) = Clock::lever(start);
        let sandbox = Sandbox::start_anywhere(family, clock.clone()).unwrap();
        let mut player = Player::new(&sandbox, clock);
        let mut promised = 0;
        let mut played = 0;
        let mut wrong = Vec::new();

        let records = records
            .iter()
            .filter(|record| text_of(record, "server").starts_with(server));
        for record in records {
            let name = text_of(record, "name");
            if name.starts_with(NOT_THERE) {
                continue;
            }
            player.catch_up(name, family).await;
            lever.advance(UNTIL_STORED * 2);
            let answer = player.play(record).await;
            if let Err(difference) = compare(&record["response"], &answer) {
                wrong.push(format!("{name}: {difference}\n  got {answer}"));
            }
            played += 1;
            if PROMISED.iter().any(|start| name.starts_with(start)) || name == "server_time" {
                promised += 1;
            }
        }

        println!("{family}: {played} recorded calls compared, {promised} of them promised");
        assert!(
            promised > 140,
            "only {promised} promised records were found"
        );
        assert!(
            wrong.is_empty(),
            "{family}: {} differ\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        sandbox.stop().await;
    }
}

fn text_of<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or("")
}

/// Asks the sandbox what was asked then.
struct Player {
    http: reqwest::Client,
    url: String,
    clock: Clock,
    admin_token: String,
    user_token: String,
}

impl Player {
    fn new(sandbox: &Sandbox, clock: Clock) -> Player {
        Player {
            http: reqwest::Client::new(),
            url: sandbox.url(),
            clock,
            admin_token: String::new(),
            user_token: String::new(),
        }
    }

    /// Does what happened at the servers between two recorded calls and was not recorded itself.
    async fn catch_up(&mut self, before: &str, family: Family) {
        if before == "bad.token_of_user" {
            let admin = self.admin_token.clone();
            self.call(
                "/auth/get_user_token",
                json!({"userID": "u1", "platformID": 1}),
            )
            .await;
            self.user_token = std::mem::replace(&mut self.admin_token, admin);
        }
        let group = |from: &str, name: &str, text: &str, ex: &str| {
            json!({
                "sendID": from, "groupID": "ops", "senderNickname": name, "senderPlatformID": 10,
                "content": {"content": text}, "contentType": 101, "sessionType": 3, "ex": ex,
            })
        };
        let sends = match (before, family) {
            ("seq.of_conversations", Family::Main) => vec![group(
                "bridge_bot",
                "Bridge",
                "confirm me",
                r#"{"delivery":"d-1"}"#,
            )],
            ("seq.of_conversations", Family::Release38) => {
                let users = ["xm1", "xm2", "xm3"]
                    .map(|id| json!({"userID": id, "nickname": id.to_uppercase()}));
                self.call("/user/user_register", json!({"users": users}))
                    .await;
                let to = |user: &str| {
                    json!({
                        "sendID": "bridge_bot", "recvID": user, "senderPlatformID": 10,
                        "content": {"content": "x"}, "contentType": 101, "sessionType": 1,
                    })
                };
                vec![
                    to("xm1"),
                    to("xm2"),
                    group(
                        "bridge_bot",
                        "Bridge",
                        "confirm me",
                        r#"{"delivery":"d-1"}"#,
                    ),
                ]
            }
            ("seq.pull_oa.u1.sn_bridge_bot_u1", _) => vec![json!({
                "sendID": "bridge_bot", "recvID": "u1", "senderNickname": "Bridge", "senderPlatformID": 10,
                "content": {"notificationName": "Alerts", "notificationType": 1, "text": "find me"},
                "contentType": 1400, "sessionType": 4, "ex": r#"{"delivery":"oa-1"}"#,
            })],
            ("seq.newest.u1", Family::Main) => (0..30)
                .map(|n| {
                    group(
                        "bridge_bot",
                        "A",
                        &format!("m{n}"),
                        &format!(r#"{{"delivery": "d{n}"}}"#),
                    )
                })
                .collect(),
            ("seq.max_for_non_member", _) => vec![group(
                "imAdmin",
                "Bridge",
                "hello",
                r#"{"delivery":"adm-1"}"#,
            )],
            _ => Vec::new(),
        };
        for send in sends {
            let answer = self.call("/msg/send_msg", send).await;
            assert_eq!(answer["body"]["errCode"], 0, "{answer}");
        }
    }

    async fn call(&mut self, path: &str, body: Value) -> Value {
        let headers = json!({"operationID": "op-between", "token": "<admin token>"});
        let request = json!({"method": "POST", "path": path, "headers": headers, "body": body});
        self.play(&json!({"request": request})).await
    }

    async fn play(&mut self, record: &Value) -> Value {
        let asked = &record["request"];
        let method = text_of(asked, "method").parse().unwrap();
        let mut request = self
            .http
            .request(method, format!("{}{}", self.url, text_of(asked, "path")));
        let mut token = String::new();
        for (name, value) in asked["headers"].as_object().unwrap() {
            let value = match name.as_str() {
                "token" => {
                    token = self.token(value.as_str().unwrap());
                    &token
                }
                _ => value.as_str().unwrap(),
            };
            request = request.header(name, value);
        }
        let body = match asked["raw"].as_str() {
            Some(raw) => raw.to_owned(),
            None => asked["body"].to_string(),
        };
        let response = request.body(body).send().await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let text = response.text().await.unwrap();
        let mut answer = json!({"status": status, "content_type": kind});
        match serde_json::from_str::<Value>(&text) {
            Ok(mut body) => {
                if let Some(given) = body["data"]["token"].as_str() {
                    given.clone_into(&mut self.admin_token);
                }
                if let Some(said) = body["errDlt"].as_str().filter(|_| token.len() > 10) {
                    body["errDlt"] = Value::from(said.replace(&token, "<token>"));
                }
                answer["body"] = body;
            }
            Err(_) => answer["text"] = Value::from(text),
        }
        answer
    }

    /// The token that a recording stands for.
    fn token(&self, recorded: &str) -> String {
        let now = self.clock.now().as_second();
        let (user, platform, made, secret) = match recorded {
            "<admin token>" => return self.admin_token.clone(),
            "<token with a wrong signature>" => ("imAdmin", 10, now, "another secret"),
            "<token of the admin past its exp>" => ("imAdmin", 10, now - 91 * 86_400, SECRET),
            "<rightly signed token that the server never gave out>" => {
                ("imAdmin", 10, now - 7, SECRET)
            }
            "<token with iat 600 s ahead>" => ("imAdmin", 10, now + 600, SECRET),
            "<user token of u1>" => return self.user_token.clone(),
            other => return other.to_owned(),
        };
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims =
            json!({"UserID": user, "PlatformID": platform, "exp": made + 90 * 86_400, "iat": made});
        let signed = format!(
            "{}.{}",
            part(json!({"alg": "HS256", "typ": "JWT"})),
            part(claims)
        );
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        )
    }
}

/// Compares status, type, envelope and data; what varies must have the same type.
fn compare(recorded: &Value, ours: &Value) -> Result<(), String> {
    for name in ["status", "content_type", "text"] {
        if recorded[name] != ours[name] {
            return Err(format!("{name}: {} was recorded", recorded[name]));
        }
    }
    for name in ["errCode", "errMsg", "errDlt"] {
        if recorded["body"][name] != ours["body"][name] {
            return Err(format!("{name}: {} was recorded", recorded["body"][name]));
        }
    }
    same(
        "data",
        &recorded["body"]["data"],
        &ours["body"]["data"],
        false,
    )
}

fn same(name: &str, recorded: &Value, ours: &Value, varies: bool) -> Result<(), String> {
    let differs = || Err(format!("{name}: {recorded} was recorded, not {ours}"));
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => {
            if !recorded.keys().eq(ours.keys()) {
                return differs();
            }
            recorded
                .iter()
                .zip(ours.values())
                .try_for_each(|((key, recorded), ours)| {
                    let varies = varies || VARYING.contains(&key.as_str());
                    same(&format!("{name}.{key}"), recorded, ours, varies)
                })
        }
        (Value::Array(recorded), Value::Array(ours)) => {
            // Running servers file what comes within one batch under one conversation; the sandbox does not.
            let mixed = name.ends_with("sn_bridge_bot_u1.Msgs");
            if recorded.len() != ours.len() && !mixed {
                return differs();
            }
            ours.iter().enumerate().try_for_each(|(i, ours)| {
                let name = format!("{name}[{i}]");
                if mixed {
                    let mut recorded = recorded.iter();
                    let found = recorded.any(|recorded| same(&name, recorded, ours, true).is_ok());
                    return if found { Ok(()) } else { differs() };
                }
                same(&name, &recorded[i], ours, varies)
            })
        }
        (recorded, ours) if varies => {
            if std::mem::discriminant(recorded) == std::mem::discriminant(ours) {
                Ok(())
            } else {
                differs()
            }
        }
        _ if recorded == ours => Ok(()),
        _ => differs(),
    }
}
