//! The language of signatures over what others computed: signature vectors, captures and forty declared senders.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use openim_bridge::bridge::auth::{Auth, Mistake, Place, Scheme};
use openim_bridge::intake::Request;
use openim_bridge::intake::authenticate::{authenticate, sign};
use openim_bridge::model::{Secret, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use toml::de::DeTable;

use crate::events::shared;

const NOW: i64 = 1_700_000_000;

/// The declarations of the document, each as the text of one `[auth]`.
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
        .map(|(sender, auth)| (sender, toml::to_string(auth.as_table().unwrap()).unwrap()))
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

    let (mut believed, mut refused) = (0, 0);
    for one in &vectors {
        let id = text(one, "id").unwrap();
        let signature = one["headers"]
            .as_object()
            .and_then(|headers| headers.values().next()?.as_str());
        let name = declaration(text(one, "scheme").unwrap(), signature);
        let declared = declarations
            .get(&name)
            .unwrap_or_else(|| panic!("{id}: no {name}"));
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
    eprintln!("{believed} believed, {refused} refused");
    assert_eq!(believed + refused, 85);
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

/// The sender's key pair, where the declaration asks for one.
fn key_pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// A secret that the declaration can use, made of `key`; with Ed25519 the public key of a pair.
fn fitting(declared: &str, key: &[u8]) -> (String, Auth) {
    let pair = key_pair(key[0]);
    let public = pair.public_key().as_ref();
    let token = format!("user:{}", hex::encode(key));
    let candidates = match declared.contains("ed25519") {
        true => vec![
            hex::encode(public),
            format!("whpk_{}", STANDARD.encode(public)),
        ],
        false => vec![
            token,
            format!("whsec_{}", STANDARD.encode(key)),
            hex::encode(key),
        ],
    };
    candidates
        .into_iter()
        .find_map(|secret| Some((secret.clone(), compiled(declared, &secret).ok()?)))
        .unwrap_or_else(|| panic!("{declared}: {:?}", compiled(declared, "user:pepper").err()))
}

/// A request with everything that some sender signs besides its body, from an address that a bridge wants.
fn unsigned(body: &[u8]) -> Request {
    let mut request = post(body);
    request.peer = Some([47, 74, 206, 1].into());
    for name in ["webhook-id", "svix-id", "date", "x-event-id"] {
        put(&mut request, name, "one");
    }
    request
}

/// The request as its sender signs it.
fn signed(declared: &str, auth: &Auth, key: &[u8], request: Request) -> Request {
    if !declared.contains("ed25519") {
        return sign(auth, request, at(NOW)).unwrap_or_else(|why| panic!("{declared}: {why}"));
    }
    // Nobody but the sender can sign, so here is one: Discord and Standard Webhooks.
    let mut request = request;
    let sign = |begin: String, body: &[u8]| {
        let message = [begin.as_bytes(), body].concat();
        key_pair(key[0]).sign(&message).as_ref().to_vec()
    };
    let body = request.body.clone();
    let (time, name, signature) = if declared.contains("v1a") {
        let signature = STANDARD.encode(sign(format!("one.{NOW}."), &body));
        let signature = format!("v1a,{signature}");
        ("webhook-timestamp", "webhook-signature", signature)
    } else {
        let signature = hex::encode(sign(NOW.to_string(), &body));
        ("x-signature-timestamp", "x-signature-ed25519", signature)
    };
    put(&mut request, time, &NOW.to_string());
    put(&mut request, name, &signature);
    request
}

#[test]
fn every_declared_sender_is_believed_by_round_trip_and_refused_with_another_secret() {
    let Some(shared) = shared() else { return };
    let mut known = 0;
    for (sender, declared) in declarations(&shared) {
        let (secret, auth) = fitting(&declared, b"twenty-four bytes of key");
        let request = unsigned(b"{\"hello\":\"world\"}");
        let signed = signed(
            &declared,
            &auth,
            b"twenty-four bytes of key",
            request.clone(),
        );
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
        let (_, refusing) = fitting(&declared, b"another");
        assert!(
            authenticate(&refusing, signed, at(NOW)).is_err(),
            "{sender}: another secret"
        );
        known += 1;
    }
    eprintln!("{known} senders");
    assert!(known >= 50);
}

/// The signature of a request, taken out, and how to put another one in its place.
fn signature_of(auth: &Auth, request: &Request) -> Option<(String, HeaderName)> {
    let signing = auth.ways()[0].scheme.signing()?;
    let Place::Header(name) = &signing.signature.places[0] else {
        return None;
    };
    let value = request.headers[name].to_str().unwrap().to_owned();
    Some((value, name.clone()))
}

#[test]
fn every_declared_sender_is_believed_whatever_it_says_and_any_change_of_it_is_refused() {
    let Some(shared) = shared() else { return };
    let declarations: Vec<(String, String)> = declarations(&shared).into_iter().collect();
    let mut changed = std::collections::BTreeSet::new();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(24));
    for (sender, declared) in &declarations {
        let json = declared.contains("body:/");
        let any = (
            proptest::collection::vec(any::<u8>(), 1..200),
            proptest::collection::vec(any::<u8>(), 1..40),
            any::<usize>(),
            0u8..8,
        );
        // The first way decides, and it is the same for every secret.
        let (_, auth) = fitting(declared, b"any");
        let covered = auth.ways()[0].scheme.covers_body();
        if covered {
            changed.insert(sender);
        }
        let told = runner.run(&any, |(body, key, at_byte, bit)| {
            // A token inside the body wants a body that can hold it, and a form's payload stands in it once.
            let body = match json {
                true => serde_json::json!({ "x": hex::encode(&body) })
                    .to_string()
                    .into_bytes(),
                false => body,
            };
            prop_assume!(!body.starts_with(b"payload"));
            let (_, auth) = fitting(declared, &key);
            let signed = signed(declared, &auth, &key, unsigned(&body));
            let verdict = authenticate(&auth, signed.clone(), at(NOW));
            prop_assert!(verdict.is_ok(), "{sender}: {:?}", verdict.err());

            if covered {
                let mut flipped = signed.body.to_vec();
                let index = at_byte % flipped.len();
                flipped[index] ^= 1 << bit;
                let mut request = signed.clone();
                request.body = flipped.into();
                prop_assert!(authenticate(&auth, request, at(NOW)).is_err(), "{sender}");
            }
            if let Some((value, name)) = signature_of(&auth, &signed) {
                // A letter of the signature itself, the last one but the padding: another one is another signature.
                let end = value.trim_end_matches('=').len() - 2;
                let mut other = value.clone();
                let letter = if value.as_bytes()[end] == b'a' {
                    "b"
                } else {
                    "a"
                };
                other.replace_range(end..=end, letter);
                let mut request = signed.clone();
                request
                    .headers
                    .insert(name, HeaderValue::from_str(&other).unwrap());
                let fits = authenticate(&auth, request, at(NOW)).is_ok();
                prop_assert!(
                    !fits || other.eq_ignore_ascii_case(&value),
                    "{sender}: {other}"
                );
            }
            Ok(())
        });
        told.unwrap_or_else(|flaw| panic!("{sender}: {flaw}"));
    }
    assert!(changed.len() >= 30, "{changed:?}");
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
