//! Senders that ask whether somebody listens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::*;

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

#[tokio::test(flavor = "multi_thread")]
async fn refused_questions_are_counted_and_slowed_as_refused_webhooks_are() {
    let bridges = [("twitter", TWITTER), ("token", TOKEN)];
    let door = Entrance::open(&bridges, "limits = { refusals = 2 }");
    for path in ["/hooks/twitter?crc_token=%22", "/hooks/token"] {
        assert_eq!(
            door.get(path).await.status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
    let all = door.here().seen.all_refusals();
    assert_eq!(all["twitter"], [("challenge", 1)].into());
    assert_eq!(all[""], [("challenge", 1)].into());

    // The third waits for the lever, and a question that is answered does not.
    let slowed = door.get("/hooks/twitter?crc_token=%22");
    let answered = async {
        while door.here().seen.refusals("twitter")["challenge"] < 2 {
            tokio::task::yield_now().await;
        }
        door.get("/hooks/twitter?crc_token=abc").await.status()
    };
    tokio::pin!(slowed);
    let answered = tokio::select! {
        biased;
        _ = &mut slowed => panic!("it did not wait"),
        answered = answered => answered,
    };
    assert_eq!(answered, StatusCode::OK);
    let pulling = door.keep_pulling();
    assert_eq!(slowed.await.status(), StatusCode::METHOD_NOT_ALLOWED);
    pulling.abort();
}
