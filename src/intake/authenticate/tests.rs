//! The matching rules of `[auth]`, each with the promise it makes.

use http::{HeaderName, HeaderValue, Method};
use toml::de::DeTable;

use super::*;
use crate::bridge::auth::Mistake;
use crate::model::Secret;

const GITHUB: &str = r#"scheme = "hmac-sha256"
signature = "header:x-hub-signature-256"
format = "sha256={hex}""#;
const ALERTMANAGER: &str = r#"scheme = "bearer"
otherwise = [{ scheme = "basic" }, { scheme = "token", token = "path" }]"#;

fn auth(declared: &str, secrets: &[&str]) -> Auth {
    compiled(declared, secrets).unwrap_or_else(|mistakes| panic!("{declared}: {mistakes:?}"))
}

fn compiled(declared: &str, secrets: &[&str]) -> Result<Auth, Vec<Mistake>> {
    let table = DeTable::parse(declared).unwrap_or_else(|error| panic!("{declared}: {error}"));
    let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
    Auth::compile(table.get_ref(), &secrets)
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn post(body: &str) -> Request {
    Request {
        method: Method::POST,
        target: "/hooks/acme".to_owned(),
        rest: String::new(),
        headers: http::HeaderMap::new(),
        body: body.to_owned().into(),
        peer: None,
    }
}

fn with(mut request: Request, headers: &[(&str, &str)]) -> Request {
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request
            .headers
            .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request
}

fn at(mut request: Request, target: &str) -> Request {
    request.target = target.to_owned();
    let path = target.split('?').next().unwrap();
    request.rest = path.strip_prefix("/hooks/acme/").unwrap_or("").to_owned();
    request
}

/// The MAC that a sender makes, written here by other means than the code under test reads it.
fn hex_mac(algorithm: Algorithm, secret: &str, message: &str) -> String {
    hex::encode(mac::mac(algorithm, secret.as_bytes(), &[message]))
}

fn hex_sha256(secret: &str, message: &str) -> String {
    hex_mac(Algorithm::Sha256, secret, message)
}

#[track_caller]
fn accepted(auth: &Auth, request: Request) -> Authentic {
    authenticate(auth, request, now()).unwrap_or_else(|refusal| panic!("refused: {refusal}"))
}

#[track_caller]
fn refused(auth: &Auth, request: Request) -> String {
    match authenticate(auth, request, now()) {
        Ok(authentic) => panic!("believed: {}", authentic.by),
        Err(refusal) => refusal.to_string(),
    }
}

// -- the schemes ------------------------------------------------------------------------------------------------------

#[test]
fn a_hex_signature_with_a_prefix_over_the_raw_body_is_believed() {
    let auth = auth(GITHUB, &["It's a Secret to Everybody"]);
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let request = with(post("Hello, World!"), &[("x-hub-signature-256", signature)]);
    let authentic = accepted(&auth, request);
    assert_eq!(
        authentic.by,
        "hmac-sha256 in header x-hub-signature-256, secret 1 of 1"
    );
}

#[test]
fn any_of_several_secrets_is_believed_while_one_is_being_replaced() {
    let auth = auth(GITHUB, &["new", "old"]);
    for (secret, by) in [("new", "secret 1 of 2"), ("old", "secret 2 of 2")] {
        let signature = format!("sha256={}", hex_sha256(secret, "{}"));
        let request = with(post("{}"), &[("x-hub-signature-256", &signature)]);
        assert!(accepted(&auth, request).by.ends_with(by));
    }
    let signature = format!("sha256={}", hex_sha256("else", "{}"));
    let request = with(post("{}"), &[("x-hub-signature-256", &signature)]);
    assert_eq!(
        refused(&auth, request),
        "signature does not match any of 2 secrets"
    );
    assert_eq!(
        refused(&auth, post("{}")),
        "header x-hub-signature-256 is missing"
    );
}

#[test]
fn bearer_basic_and_a_token_in_the_path_are_three_ways_into_one_bridge() {
    let auth = auth(ALERTMANAGER, &["sesame", "ada:love:lace"]);
    let authorized = |value: &str| with(post("{}"), &[("authorization", value)]);
    assert_eq!(
        accepted(&auth, authorized("Bearer sesame")).by,
        "bearer, secret 1 of 2"
    );
    assert_eq!(
        accepted(&auth, authorized("bearer  sesame")).by,
        "bearer, secret 1 of 2"
    );
    assert_eq!(
        accepted(&auth, authorized("Basic YWRhOmxvdmU6bGFjZQ==")).by,
        "basic, secret 2 of 2"
    );
    assert_eq!(
        accepted(&auth, at(post("{}"), "/hooks/acme/sesame")).by,
        "token in the path behind the bridge's name, secret 1 of 2"
    );
    assert_eq!(
        refused(&auth, authorized("Basic YWRhOndyb25n")),
        "basic credential does not match the secret"
    );
    assert_eq!(
        refused(&auth, post("{}")),
        "header authorization (bearer), header authorization (basic) and the path behind the bridge's name are missing"
    );
}
