//! Declarations and requests for the tests of authentication, which stand beside: one file for each kind of promise.

use http::{HeaderName, HeaderValue, Method};
use toml::de::DeTable;

use super::*;
use crate::bridge::auth::{Encoding, Mistake};
use crate::model::Secret;

mod challenges;
mod decided;
mod key_pair;
mod properties;
mod redacted;
mod rules;
mod taken_out;

const GITHUB: &str = r#"scheme = "hmac-sha256"
signature = "header:x-hub-signature-256"
format = "sha256={hex}""#;
const STRIPE: &str = r#"scheme = "hmac-sha256"
signature = "header:stripe-signature"
format = "t={timestamp},v1={hex}"
several = ","
signed = "{timestamp}.{body}"
timestamp = { within = "5m" }"#;
const SHOPIFY: &str = r#"scheme = "hmac-sha256"
signature = "header:x-hmac"
format = "{base64}""#;
const GITEE: &str = r#"scheme = "hmac-sha256"
signature = "header:x-gitee-token"
format = "{base64}"
signed = "{timestamp}\n{secret}"
timestamp = { from = "header:x-gitee-timestamp", unit = "ms", within = "1h" }"#;
const DINGTALK: &str = r#"scheme = "hmac-sha256"
signature = "query:sign"
format = "{base64}"
signed = "{timestamp}\n{secret}"
timestamp = { from = "query:timestamp", unit = "ms", within = "1h" }"#;
const STANDARD: &str = r#"scheme = "hmac-sha256"
signature = "header:webhook-signature"
format = "v1,{base64}"
several = " "
signed = "{header:webhook-id}.{timestamp}.{body}"
timestamp = { from = "header:webhook-timestamp", within = "5m" }
key = ["whsec_{base64}", "{base64}"]"#;
const GITEA: &str = r#"scheme = "hmac-sha256"
signature = ["header:x-forgejo-signature", "header:x-gitea-signature"]
format = "{hex}"
signed = ["{form:payload}", "{body}"]"#;
const GITLAB: &str = r#"scheme = "hmac-sha256"
signature = "header:webhook-signature"
format = "v1,{base64}"
several = " "
signed = "{header:webhook-id}.{timestamp}.{body}"
timestamp = { from = "header:webhook-timestamp", within = "5m" }
key = "whsec_{base64}"
otherwise = { scheme = "token", token = "header:x-gitlab-token" }"#;
const FEISHU: &str = r#"scheme = "hmac-sha256"
signature = "body:/sign"
format = "{base64}"
signed = ""
key = "{timestamp}\n{secret}"
timestamp = { from = "body:/timestamp", within = "1h" }"#;
const HOOK0: &str = r#"scheme = "hmac-sha256"
signature = "header:x-hook0-signature"
format = "t={timestamp},h={headers},v1={hex}"
several = ","
signed = "{timestamp}.{headers}.{header values}.{body}"
timestamp = { within = "5m" }"#;
const LEGACY: &str = r#"scheme = ["hmac-sha256", "hmac-sha1"]
signature = ["header:x-hub-signature-256", "header:x-hub-signature"]
format = "{algorithm}={hex}""#;
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

fn base64_sha256(secret: &str, message: &str) -> String {
    Encoding::Base64.encode(&mac::mac(Algorithm::Sha256, secret.as_bytes(), &[message]))
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
