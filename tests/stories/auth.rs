//! The language of signatures over what others computed: signature vectors, captures and forty declared senders.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use openim_bridge::bridge::auth::{Auth, Mistake, Place, Scheme};
use openim_bridge::intake::Request;
use openim_bridge::intake::authenticate::{authenticate, sign};
use openim_bridge::model::{Secret, Timestamp};
use serde_json::Value;
use toml::de::DeTable;

use crate::events::shared;

const NOW: i64 = 1_700_000_000;

/// The declarations of the document, each as the text of one `[auth]`. Challenges come later and are left out.
fn declarations(shared: &Path) -> BTreeMap<String, String> {
    let document = std::fs::read_to_string(shared.join("design/AUTH.md")).unwrap();
    let block = document
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let declarations: toml::Table = block.parse().unwrap();
    declarations
        .into_iter()
        .map(|(sender, auth)| {
            let mut auth = auth.as_table().unwrap().clone();
            auth.remove("challenge");
            (sender, toml::to_string(&auth).unwrap())
        })
        .collect()
}

fn compiled(declared: &str, secret: &str) -> Result<Auth, Vec<Mistake>> {
    let table = DeTable::parse(declared).unwrap();
    Auth::compile(table.get_ref(), &[Secret::new(secret)])
}

fn post(body: &[u8]) -> Request {
    Request {
        method: Method::POST,
        target: "/hooks/sender".to_owned(),
        rest: String::new(),
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body),
        peer: None,
    }
}

fn put(request: &mut Request, name: &str, value: &str) {
    let name: HeaderName = name.parse().unwrap();
    request
        .headers
        .append(name, HeaderValue::from_str(value).unwrap());
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Everything but letters and digits as percent-escapes, as a client writes a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn text<'v>(vector: &'v Value, name: &str) -> Option<&'v str> {
    vector[name].as_str()
}

/// Which declaration a vector is for.
fn declaration(scheme: &str, signature: Option<&str>) -> String {
    match scheme {
        "github-sha256" => "github".to_owned(),
        "github-sha1" => "github-legacy".to_owned(),
        "scalr-sha1" => "scalr".to_owned(),
        "dingtalk-timestamp" => "dingtalk-login".to_owned(),
        "dingtalk-robot" => "dingtalk".to_owned(),
        "feishu-bot" => "feishu".to_owned(),
        // A list of signatures is another declaration than a single one.
        "hmac-sha1-hex" | "hmac-sha256-hex" if signature.is_some_and(|text| text.contains(',')) => {
            format!("{scheme}-multi")
        }
        other => other.to_owned(),
    }
}

/// The request that a vector stands for, its secret and the clock to verify at.
fn vector(shared: &Path, vector: &Value) -> (Request, String, Timestamp) {
    let body = if let Some(case) = text(vector, "body_case") {
        let case = std::fs::read(shared.join("corpus").join(case)).unwrap();
        let case: Value = serde_json::from_slice(&case).unwrap();
        text(&case, "raw").unwrap().as_bytes().to_vec()
    } else if let Some(hex) = text(vector, "body_hex") {
        hex::decode(hex).unwrap()
    } else if vector["body_repeat"].is_object() {
        let count = vector["body_repeat"]["count"].as_u64().unwrap();
        text(&vector["body_repeat"], "char")
            .unwrap()
            .repeat(count as usize)
            .into_bytes()
    } else {
        text(vector, "body").unwrap_or("").as_bytes().to_vec()
    };
    let mut request = post(&body);
    for (name, value) in vector["headers"].as_object().into_iter().flatten() {
        put(&mut request, name, value.as_str().unwrap());
    }
    let time = text(vector, "timestamp").unwrap_or("");
    let signature = text(vector, "signature").unwrap_or("");
    let mut clock = vector["now"].as_i64();
    match text(vector, "scheme").unwrap() {
        "dingtalk-timestamp" => {
            request.target = format!("/hooks/x?timestamp={time}&signature={}", escaped(signature));
            clock = clock.or(time.parse().ok().map(|ms: i64| ms / 1000));
        }
        "dingtalk-robot" => {
            request.target = format!("/hooks/x?timestamp={time}&sign={}", escaped(signature));
            clock = clock.or(time.parse().ok().map(|ms: i64| ms / 1000));
        }
        "feishu-bot" => {
            let body = serde_json::json!({"timestamp": time, "sign": signature});
            request.body = body.to_string().into();
            clock = clock.or(time.parse().ok());
        }
        scheme if scheme.ends_with("-raw") => {
            put(&mut request, "x-mac", text(vector, "mac_hex").unwrap())
        }
        _ => {}
    }
    let secret = text(vector, "secret").or(text(vector, "key_hex")).unwrap();
    (request, secret.to_owned(), at(clock.unwrap_or(NOW)))
}

#[test]
fn every_vector_that_others_computed_gets_its_verdict() {
    let Some(shared) = shared() else { return };
    let declarations = declarations(&shared);
    let vectors = std::fs::read(shared.join("corpus/signature_vectors.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_slice(&vectors).unwrap();

    let (mut believed, mut refused, mut skipped) = (0, 0, 0);
    for one in &vectors {
        let id = text(one, "id").unwrap();
        let signature = one["headers"]
            .as_object()
            .and_then(|headers| headers.values().next()?.as_str());
        let name = declaration(text(one, "scheme").unwrap(), signature);
        let declared = declarations
            .get(&name)
            .unwrap_or_else(|| panic!("{id}: no {name}"));
        if declared.contains("ed25519") {
            skipped += 1;
            continue;
        }
        let (request, secret, now) = vector(&shared, one);
        let auth = compiled(declared, &secret).unwrap_or_else(|flaws| panic!("{id}: {flaws:?}"));
        let verdict = authenticate(&auth, request, now);
        let valid = one["valid"].as_bool().unwrap();
        assert_eq!(
            verdict.is_ok(),
            valid,
            "{id} by {name}: {:?}",
            verdict.err()
        );
        if valid { believed += 1 } else { refused += 1 }
    }
    eprintln!("{believed} believed, {refused} refused, {skipped} skipped (ed25519)");
    assert_eq!(believed + refused + skipped, vectors.len());
    assert_eq!(skipped, 0, "no open vector is signed with ed25519");
}

#[test]
fn every_signed_capture_is_believed_and_one_changed_byte_is_not() {
    let Some(shared) = shared() else { return };
    let declarations = declarations(&shared);
    let index = std::fs::read_to_string(shared.join("corpus/index.jsonl")).unwrap();

    let mut believed: BTreeMap<String, usize> = BTreeMap::new();
    for line in index.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let path = text(&entry, "path").unwrap();
        let case = std::fs::read(shared.join("corpus").join(path)).unwrap();
        let case: Value = serde_json::from_slice(&case).unwrap();
        let Some(secret) = text(&case, "secret") else {
            continue;
        };
        let signed_with = text(&case, "signed_with").unwrap_or("");
        let source = match (text(&case, "source").unwrap(), signed_with) {
            ("standard-webhooks", "svix-signature") => "svix",
            (source, _) => source,
        };

        let body = match text(&case, "raw") {
            Some(raw) => raw.to_owned(),
            None => case["body"].to_string(),
        };
        let mut request = post(body.as_bytes());
        for (name, value) in case["headers"].as_object().unwrap() {
            put(&mut request, name, value.as_str().unwrap());
        }
        if let Some(path) = text(&case, "path") {
            request.target = path.to_owned();
        }
        // The clock stands where the sender's stood.
        let now = ["webhook-timestamp", "svix-timestamp", "stripe-signature"]
            .iter()
            .find_map(|name| request.headers.get(*name)?.to_str().ok())
            .or_else(|| request.query().split("timestamp=").nth(1))
            .map_or(NOW, |found| {
                let digits: String = found
                    .chars()
                    .skip_while(|c| !c.is_ascii_digit())
                    .take_while(char::is_ascii_digit)
                    .take(10)
                    .collect();
                digits.parse().unwrap()
            });

        let auth = compiled(&declarations[source], secret)
            .unwrap_or_else(|flaws| panic!("{path}: {flaws:?}"));
        let verdict = authenticate(&auth, request.clone(), at(now));
        // One client library escapes its signature twice, which DingTalk refuses too.
        if request.target.contains("%25") {
            assert!(verdict.is_err(), "{path}");
            continue;
        }
        assert!(verdict.is_ok(), "{path}: {:?}", verdict.err());
        *believed.entry(source.to_owned()).or_default() += 1;

        if !signed_with.is_empty() && !signed_with.starts_with("query:") {
            let mut body = request.body.to_vec();
            let middle = body.len() / 2;
            body[middle] ^= 1;
            request.body = body.into();
            assert!(
                authenticate(&auth, request, at(now)).is_err(),
                "{path}: a changed byte"
            );
        }
    }
    eprintln!("believed: {believed:?}");
    for source in [
        "gogs",
        "gitea",
        "bitbucket-server",
        "gitlab",
        "stripe",
        "svix",
        "dingtalk",
    ] {
        assert!(believed.contains_key(source), "no capture of {source}");
    }
}

/// A secret that the declaration can use.
fn fitting(declared: &str) -> (String, Auth) {
    let key = STANDARD.encode("twenty-four bytes of key");
    let candidates = [
        "user:pepper".to_owned(),
        format!("whsec_{key}"),
        "0afF".to_owned(),
    ];
    candidates
        .into_iter()
        .find_map(|secret| Some((secret.clone(), compiled(declared, &secret).ok()?)))
        .unwrap_or_else(|| panic!("{declared}: {:?}", compiled(declared, "user:pepper").err()))
}

#[test]
fn every_declared_sender_is_believed_by_round_trip_and_refused_with_another_secret() {
    let Some(shared) = shared() else { return };
    let (mut known, mut later) = (0, Vec::new());
    for (sender, declared) in declarations(&shared) {
        if declared.contains("ed25519") {
            let flaws = compiled(&declared, "x").unwrap_err();
            assert!(
                flaws
                    .iter()
                    .any(|mistake| mistake.flaw.message.contains("not supported yet"))
            );
            later.push(sender);
            continue;
        }
        let (secret, auth) = fitting(&declared);
        let mut request = post(b"{\"hello\":\"world\"}");
        request.peer = Some([47, 74, 206, 1].into());
        for name in ["webhook-id", "svix-id", "date", "x-event-id"] {
            put(&mut request, name, "one");
        }
        let signed =
            sign(&auth, request.clone(), at(NOW)).unwrap_or_else(|why| panic!("{sender}: {why}"));
        let authentic = authenticate(&auth, signed.clone(), at(NOW));
        let authentic = authentic.unwrap_or_else(|refusal| panic!("{sender}: {refusal}"));
        assert!(
            !format!("{:?}", authentic.request).contains(&secret),
            "{sender}"
        );
        assert!(
            authenticate(&auth, request, at(NOW)).is_err(),
            "{sender}: unsigned"
        );

        let other = secret.replace("pepper", "salt").replace("0afF", "0afE");
        let other = other.replace(
            &STANDARD.encode("twenty-four bytes of key"),
            &STANDARD.encode("another"),
        );
        let refusing = compiled(&declared, &other).unwrap();
        assert!(
            authenticate(&refusing, signed, at(NOW)).is_err(),
            "{sender}: another secret"
        );
        known += 1;
    }
    eprintln!("{known} senders; later: {later:?}");
    assert!(known >= 45);
}

#[test]
fn values_computed_elsewhere_come_out_of_signing() {
    let Some(shared) = shared() else { return };
    let facts = std::fs::read_to_string(shared.join("reference/senders.md")).unwrap();
    let declarations = declarations(&shared);
    let body = "{\"hello\":\"world\"}";
    for (sender, secret) in [
        ("slack", "8f742231b10e8888abcd99yyyzzz85a5"),
        ("stripe", "whsec_test"),
        ("shopify", "hush"),
        ("pagerduty", "pd-secret"),
        ("sentry", "client-secret"),
        ("gitea", "gitea-secret"),
        ("grafana", "grafana-secret"),
        ("grafana-with-timestamp", "grafana-secret"),
        ("gitee", "SECtestsecret"),
        ("dingtalk", "SECtestsecret"),
        ("feishu", "testsecret"),
    ] {
        let auth = compiled(&declarations[sender], secret).unwrap();
        let signed = sign(&auth, post(body.as_bytes()), at(NOW)).unwrap();
        let Scheme::Hmac(hmac) = &auth.ways()[0].scheme else {
            panic!("{sender} is signed")
        };
        let value = match &hmac.signature.places[0] {
            Place::Header(name) => signed.headers[name].to_str().unwrap().to_owned(),
            Place::Query(_) => signed.target.rsplit("sign=").next().unwrap().to_owned(),
            _ => {
                let body: Value = serde_json::from_slice(&signed.body).unwrap();
                text(&body, "sign").unwrap().to_owned()
            }
        };
        // Stripe's value has the time in front.
        let value = value.rsplit("1700000000,").next().unwrap();
        assert!(facts.contains(&format!("`{value}`")), "{sender}: {value}");
    }
}
