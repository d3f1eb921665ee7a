//! Challenges: what is answered to whom, and what is not.

use super::*;

const SLACK: &str = r#"scheme = "hmac-sha256"
signature = "header:x-slack-signature"
format = "v0={hex}"
signed = "v0:{timestamp}:{body}"
timestamp = { from = "header:x-slack-request-timestamp", within = "5m" }
challenge = { from = "body:/challenge", answer = "{challenge}" }"#;
const TWITTER: &str = r#"scheme = "hmac-sha256"
signature = "header:x-twitter-webhooks-signature"
format = "sha256={base64}"
challenge = { from = "query:crc_token", answer = '{"response_token":"sha256={base64}"}' }"#;
const FEISHU_EVENTS: &str = r#"scheme = "token"
token = ["body:/header/token", "body:/token"]
challenge = { from = "body:/challenge", answer = '{"challenge":"{challenge}"}' }"#;

fn get(target: &str) -> Request {
    let mut request = at(post(""), target);
    request.method = Method::GET;
    request
}

fn slack(body: &str, secret: &str) -> Request {
    let signature = format!(
        "v0={}",
        hex_sha256(secret, &format!("v0:1700000000:{body}"))
    );
    let headers = [
        ("x-slack-request-timestamp", "1700000000"),
        ("x-slack-signature", &signature),
    ];
    with(post(body), &headers)
}

#[test]
fn a_get_is_answered_with_the_challenges_mac() {
    let auth = auth(TWITTER, &["pepper"]);
    let answer = answer_anybody(&auth, &get("/hooks/acme?crc_token=abc-1_2.3~4")).unwrap();
    let mac = base64_sha256("pepper", "abc-1_2.3~4");
    assert!(answer.json);
    assert_eq!(
        answer.text,
        format!("{{\"response_token\":\"sha256={mac}\"}}")
    );
}

#[test]
fn a_get_answers_only_short_and_plain_challenges() {
    let echo = "scheme = \"none\"\nchallenge = { from = \"query:c\", answer = \"{challenge}\" }";
    let (echo, twitter) = (auth(echo, &[]), auth(TWITTER, &["pepper"]));
    let ask = |auth: &Auth, name: &str, value: &str| {
        answer_anybody(auth, &get(&format!("/hooks/acme?{name}={value}")))
    };
    for good in ["a", "Z9._~-", "%61", &"x".repeat(256)] {
        assert!(ask(&echo, "c", good).is_ok(), "{good}");
        assert!(ask(&twitter, "crc_token", good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "a+b",
        "a%20b",
        "%3Cscript%3E",
        "<b>",
        "a:b",
        "%7B%22a%22:1%7D",
        "a,b",
        "a%0Ab",
        "%00",
        "a/b",
        "é",
        &"x".repeat(257),
    ] {
        assert!(ask(&echo, "c", bad).is_err(), "{bad}");
        assert!(ask(&twitter, "crc_token", bad).is_err(), "{bad}");
    }
    let twice = get("/hooks/acme?c=a&c=a");
    assert!(matches!(
        answer_anybody(&echo, &twice),
        Err(Refusal::Repeated(_))
    ));
    assert!(matches!(
        answer_anybody(&echo, &get("/hooks/acme")),
        Err(Refusal::Absent(_))
    ));
    // Without a declaration nothing is answered.
    assert!(answer_anybody(&super::auth(GITHUB, &["x"]), &get("/hooks/acme?c=a")).is_err());
}

#[test]
fn every_other_challenge_authenticates_first() {
    let auth = auth(SLACK, &["pepper"]);
    let body = "{\"type\":\"url_verification\",\"challenge\":\"3eZbrw 1aB<i>\"}";
    let authentic = accepted(&auth, slack(body, "pepper"));
    let answer = authentic.challenge.unwrap();
    assert_eq!(
        (answer.json, answer.text.as_str()),
        (false, "3eZbrw 1aB<i>")
    );
    refused(&auth, slack(body, "salt"));
    refused(&auth, post(body));
    // A GET has no body to find it in.
    assert!(answer_anybody(&auth, &get("/hooks/acme?challenge=a")).is_err());
}

#[test]
fn a_token_in_the_body_is_asked_for_before_the_answer_and_taken_out() {
    let auth = auth(FEISHU_EVENTS, &["sesame"]);
    let body = "{\"challenge\":\"ajls384k\",\"token\":\"sesame\",\"type\":\"url_verification\"}";
    let authentic = accepted(&auth, post(body));
    assert_eq!(
        authentic.challenge.unwrap().text,
        "{\"challenge\":\"ajls384k\"}"
    );
    assert!(!format!("{:?}", authentic.request).contains("sesame"));
    refused(&auth, post(&body.replace("sesame", "guess")));
}

#[test]
fn a_challenge_cannot_leave_its_text_in_a_json_answer() {
    let auth = auth(FEISHU_EVENTS, &["sesame"]);
    let evil = "a\",\"admin\":true,\"x\":\"\n\u{0}";
    let body = serde_json::json!({ "token": "sesame", "challenge": evil }).to_string();
    let answer = accepted(&auth, post(&body)).challenge.unwrap();
    let read: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(read, serde_json::json!({ "challenge": evil }));
}

#[test]
fn what_is_no_text_there_is_an_event() {
    let auth = auth(FEISHU_EVENTS, &["sesame"]);
    for challenge in [
        "",
        ",\"challenge\":{}",
        ",\"challenge\":null",
        ",\"challenge\":\"\"",
    ] {
        let body = format!("{{\"token\":\"sesame\"{challenge}}}");
        assert_eq!(accepted(&auth, post(&body)).challenge, None, "{body}");
    }
}

#[test]
fn what_anybody_may_have_signed_is_believed_from_nobody() {
    let auth = auth(TWITTER, &["pepper"]);
    let shown = |body: &str| {
        let mac = format!("sha256={}", base64_sha256("pepper", body));
        with(post(body), &[("x-twitter-webhooks-signature", &mac)])
    };
    accepted(&auth, shown("{\"a\":1}"));
    accepted(&auth, shown(&"1".repeat(257)));
    for body in ["12", "true", &"1".repeat(256)] {
        let of_challenge = answer_anybody(&auth, &get(&format!("/hooks/acme?crc_token={body}")));
        assert!(of_challenge.is_ok(), "{body}");
        assert_eq!(
            refused(&auth, shown(body)),
            "what is signed could be the answer to a challenge"
        );
    }
    // Where no challenge is signed, such a body is as good as any.
    let mac = format!("sha256={}", hex_sha256("pepper", "12"));
    accepted(
        &super::auth(GITHUB, &["pepper"]),
        with(post("12"), &[("x-hub-signature-256", &mac)]),
    );
}

#[test]
fn the_first_secret_signs_the_answer() {
    let auth = auth(TWITTER, &["new", "old"]);
    let answer = answer_anybody(&auth, &get("/hooks/acme?crc_token=a")).unwrap();
    assert!(answer.text.contains(&base64_sha256("new", "a")));
}

#[test]
fn addresses_hold_for_challenges_too() {
    let auth = auth(
        &format!("{TWITTER}\naddresses = \"192.0.2.0/24\""),
        &["pepper"],
    );
    let mut request = get("/hooks/acme?crc_token=a");
    assert!(matches!(
        answer_anybody(&auth, &request),
        Err(Refusal::Address)
    ));
    request.peer = Some("192.0.2.1".parse().unwrap());
    assert!(answer_anybody(&auth, &request).is_ok());
}
