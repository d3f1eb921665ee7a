//! What the shipped bridges promise an operator: who is believed, what that is worth, and what the sender hears.

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderValue, StatusCode};
use openim_bridge::bridge::auth::Auth;
use openim_bridge::bridge::shipped;
use openim_bridge::intake::Request;
use openim_bridge::intake::authenticate::{Unsigned, authenticate, sign};
use openim_bridge::model::{Clock, Timestamp};
use sha2::Sha256;

use crate::shipped::{Shipped, bridges};
use crate::stage::{SECRET, Stage};

/// When the samples were sent. Linear signs the time inside of the body.
fn then(bridge: &str) -> Timestamp {
    match bridge {
        "linear" => "2026-03-12T09:00:00Z",
        _ => "2026-03-12T11:47:02Z",
    }
    .parse()
    .unwrap()
}

/// Another secret that fits a bridge.
pub fn other_secret(bridge: &str) -> &'static str {
    match bridge {
        "gitlab" | "standard-webhooks" | "svix" => "whsec_YW5vdGhlciBvZiB0d2VudHktZm91ciBieXRlcw==",
        "standard-webhooks-ed25519" => "whpk_E5j2LG0aRXxRumpLXz29L2n8qTIWIY3ImX5Ba9F9k8o=",
        _ => "other:other",
    }
}

fn auth<'s>(shipped: &'s Shipped, bridge: &str) -> &'s Auth {
    shipped.book.bridges[&format!("my-{bridge}")]
        .auth
        .as_ref()
        .unwrap()
}

/// Takes out the headers that tell when a sample was sent: who signs it anew sets them.
pub fn without_times(request: &mut Request) {
    let names = request.headers.keys().cloned();
    let times = names.filter(|name| name.as_str().contains("timestamp"));
    for name in times.collect::<Vec<_>>() {
        request.headers.remove(name);
    }
}

/// The sample as its sender signs it, its own made-up proof taken away.
fn signed(bridge: &str, auth: &Auth, mut request: Request) -> Request {
    request.rest = String::new();
    request.target = request.target.split('?').next().unwrap().to_owned();
    for name in ["webhook-signature", "svix-signature"] {
        request.headers.remove(name);
    }
    without_times(&mut request);
    // What a sender that signs adds, and one that shows a token does not.
    for name in ["webhook-id", "svix-id"] {
        let id = HeaderValue::from_static("msg_1");
        request.headers.entry(name).or_insert(id);
    }
    match sign(auth, request.clone(), then(bridge)) {
        Err(Unsigned::PublicKey) => signed_with_the_private_key(bridge, request),
        signed => signed.unwrap(),
    }
}

/// As the specification of Standard Webhooks says, by the pair whose public key the bridge has.
fn signed_with_the_private_key(bridge: &str, mut request: Request) -> Request {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let (id, time) = ("msg_1", then(bridge).as_second().to_string());
    let message = [format!("{id}.{time}.").as_bytes(), &request.body].concat();
    let signature = STANDARD.encode(pair.sign(&message).as_ref());
    for (name, value) in [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", time),
        ("webhook-signature", format!("v1a,{signature}")),
    ] {
        request.headers.insert(name, value.parse().unwrap());
    }
    request
}

#[test]
fn every_shipped_bridge_believes_what_is_signed_with_its_secret_and_nothing_else() {
    let shipped = Shipped::open();
    let others = Shipped::open_with(&other_secret);
    let mut covered = 0;
    for (bridge, name, request) in shipped.samples() {
        let place = format!("{bridge}/{name}");
        let own = auth(&shipped, &bridge);
        let signed = signed(&bridge, own, request);
        let believed = authenticate(own, signed.clone(), then(&bridge));
        assert!(believed.is_ok(), "{place}: {:?}", believed.err());
        let refused = authenticate(auth(&others, &bridge), signed.clone(), then(&bridge));
        assert!(refused.is_err(), "{place}: another secret");

        let mut changed = signed;
        let mut body = changed.body.to_vec();
        // A text stays a text and a JSON a JSON, so that only the signature can tell.
        let at = body.iter().position(u8::is_ascii_lowercase).unwrap();
        body[at] = if body[at] == b'x' { b'y' } else { b'x' };
        changed.body = body.into();
        let text = shipped::find(&format!("bridges/{bridge}.toml")).unwrap();
        let told = text.contains("not covered") || text.contains("does not sign");
        match authenticate(own, changed, then(&bridge)) {
            Err(_) => covered += 1,
            Ok(_) => assert!(told, "{place}: nobody is told that its body is not covered"),
        }
    }
    eprintln!("{covered} samples are covered by their signature");
    assert!(covered > 0);
}

#[test]
fn a_sender_that_can_only_set_the_address_is_known_by_the_token_in_it() {
    let shipped = Shipped::open();
    let others = Shipped::open_with(&other_secret);
    for (bridge, target, rest) in [
        ("aliyun", "", "s3cret:s3cret"),
        ("datadog", "", "s3cret:s3cret"),
        ("dingtalk", "?access_token=s3cret:s3cret", ""),
        ("feishu", "", "s3cret:s3cret"),
        ("newrelic", "", "s3cret:s3cret"),
        ("opsgenie", "", "s3cret:s3cret"),
        ("slack-webhook", "", "s3cret:s3cret"),
        ("tencent-cloud", "", "s3cret:s3cret"),
        ("uptime-kuma", "", "s3cret:s3cret"),
        ("uptimerobot", "", "s3cret:s3cret"),
        ("wecom", "?key=s3cret:s3cret", ""),
    ] {
        let mut request = Request::from_text(bridge, b"{}").unwrap();
        request.target = format!("/hooks/{bridge}{target}");
        request.rest = rest.to_owned();
        let believed = authenticate(auth(&shipped, bridge), request.clone(), then(bridge));
        assert!(believed.is_ok(), "{bridge}: {:?}", believed.err());
        // A proof that does not hold is not made good by the token.
        let mut both = request.clone();
        both.headers
            .insert("authorization", HeaderValue::from_static("Bearer wrong"));
        both.target
            .push_str(if target.is_empty() { "?" } else { "&" });
        both.target.push_str("sign=wrong&timestamp=1");
        both.body = r#"{"sign":"wrong","timestamp":"1"}"#.into();
        let falls_through = authenticate(auth(&shipped, bridge), both, then(bridge)).is_ok();
        // Tencent Cloud's other way is a password, and `Bearer` is none.
        let only_way = matches!(
            bridge,
            "aliyun" | "slack-webhook" | "tencent-cloud" | "wecom"
        );
        assert_eq!(falls_through, only_way, "{bridge}");
        let refused = authenticate(auth(&others, bridge), request, then(bridge));
        assert!(refused.is_err(), "{bridge}: another secret");
    }
}

#[test]
fn every_shipped_bridge_is_in_the_list_of_senders() {
    let list = include_str!("../../docs/senders.md");
    let missing: Vec<String> = bridges()
        .into_iter()
        .filter(|bridge| !list.contains(&format!("\n| `{bridge}` |")))
        .collect();
    assert!(missing.is_empty(), "not in docs/senders.md: {missing:?}");
}

#[test]
fn what_was_written_for_slack_has_a_title_of_plain_text() {
    let shipped = Shipped::open();
    let attachment = r#"{"attachments": [{"fallback": "*CPU* <https://x.example/1|alert 7> &gt; 90% \u001b[31m"}]}"#;
    let message = r#"{"type": "event_callback", "event": {"type": "message", "text": "see <https://x.example|_the_ page> <!here> &amp; <@U1|ann>"}}"#;
    for (bridge, body, title) in [
        (
            "slack-webhook",
            attachment,
            "CPU alert 7 > 90% \u{fffd}[31m",
        ),
        ("slack", message, "see the page @here & @ann"),
        (
            "wecom",
            r##"{"msgtype": "markdown", "markdown": {"content": "# Build <font color=\"warning\">482</font>\n[failed](https://x.example)"}}"##,
            "Build 482 failed",
        ),
    ] {
        let request = Request::from_text(bridge, body.as_bytes()).unwrap();
        let told = shipped.tell(bridge, request, then(bridge));
        assert_eq!(told.event.title, title);
    }
}

/// The robots' forms: the bridge, what stands behind its address, a message, and what the sender must hear.
const FORMS: [(&str, &str, &str, &str, &str); 4] = [
    (
        "slack-webhook",
        "/SECRET",
        r#"{"text": "from slack's sender <!channel>"}"#,
        "ok",
        "from slack's sender @channel",
    ),
    (
        "dingtalk",
        "?access_token=SECRET",
        r#"{"msgtype": "text", "text": {"content": "from dingtalk's sender"}, "at": {"isAtAll": true}}"#,
        r#"{"errcode":0,"errmsg":"ok"}"#,
        "from dingtalk's sender",
    ),
    (
        "feishu",
        "/SECRET",
        r#"{"msg_type": "text", "content": {"text": "from feishu's sender <at user_id=\"all\">all</at>"}}"#,
        r#"{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}"#,
        "from feishu's sender @all",
    ),
    (
        "wecom",
        "?key=SECRET",
        r#"{"msgtype": "text", "text": {"content": "from wecom's sender", "mentioned_list": ["@all"]}}"#,
        r#"{"errcode":0,"errmsg":"ok"}"#,
        "from wecom's sender",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_another_chats_form_hears_what_that_chat_would_say() {
    let bridge = |name: &str| {
        format!(
            "extends = \"{name}\"\nsecrets = [\"env:HOOK_SECRET\"]\n[[route]]\nto = [\"group:dev\"]\n"
        )
    };
    let texts = FORMS.map(|(name, ..)| bridge(name));
    let bridges: Vec<(&str, &str)> = FORMS
        .iter()
        .zip(&texts)
        .map(|((name, ..), text)| (*name, text.as_str()))
        .collect();
    let stage = Stage::set(&bridges).await;
    let service = stage.serve().await;
    let post = async |address: String, body: &'static str| {
        let answer = stage.client.post(address).body(body).send().await.unwrap();
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        (answer.status(), kind, answer.text().await.unwrap())
    };

    for (name, behind, body, heard, _) in FORMS {
        let address = format!("{}{}", service.hook(name), behind.replace("SECRET", SECRET));
        let json = heard.starts_with('{');
        let kind = if json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        let expected = (StatusCode::OK, kind.to_owned(), heard.to_owned());
        assert_eq!(post(address.clone(), body).await, expected, "{name}");
        // A repeat within the minute is taken, too.
        assert_eq!(post(address, body).await, expected, "{name} again");
        let wrong = format!(
            "{}{}",
            service.hook(name),
            behind.replace("SECRET", "wrong")
        );
        let (status, _, said) = post(wrong, body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}: {said}");
    }

    let texts = stage.texts_when("dev", FORMS.len()).await;
    for (name, .., shown) in FORMS {
        assert!(texts.iter().any(|text| text == shown), "{name}: {texts:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_is_answered_when_it_asks_the_address_and_only_when_it_signs() {
    let bridge =
        "extends = \"slack\"\nsecrets = [\"env:HOOK_SECRET\"]\n[[route]]\nto = [\"group:dev\"]\n";
    let stage = Stage::set(&[("slack", bridge)]).await;
    let service = stage.serve().await;
    let body = r#"{"token": "x", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", "type": "url_verification"}"#;
    let ask = async |secret: &str| {
        let time = Clock::system().now().as_second().to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("v0:{time}:{body}").as_bytes());
        let signature = format!("v0={}", hex::encode(mac.finalize().into_bytes()));
        let request = stage.client.post(service.hook("slack")).body(body);
        let request = request
            .header("x-slack-request-timestamp", time)
            .header("x-slack-signature", signature);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };

    let (status, said) = ask(SECRET).await;
    assert_eq!(
        (status, said.as_str()),
        (
            StatusCode::OK,
            "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
        )
    );
    let (status, said) = ask("wrong").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{said}");
    assert_eq!(stage.texts("dev"), Vec::<String>::new());
}
