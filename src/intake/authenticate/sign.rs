//! A request as its sender would sign it: for samples, for the demo's player and for `sign`.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use serde_json::Value;

use super::build::{self, Facts};
use super::find::find;
use super::{key_bytes, mac, take_out};
use crate::bridge::auth::{
    Algorithm, Auth, Encoding, Hmac, Holds, Key, Piece, Place, Reads, Scheme, Shown, SignedTime,
    Unit, Way,
};
use crate::intake::{Request, json};
use crate::model::Timestamp;

/// Why a request cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// No secret is made for any way of the bridge.
    #[error("the bridge has no secret to sign with")]
    NoSecret,
    /// Only the sender has the private key.
    #[error("only the sender can sign: the bridge has its public key")]
    PublicKey,
    /// Something that is signed is not in the request.
    #[error("cannot sign: {0}; it is signed too, so give it as the sender would: {1}")]
    Incomplete(String, String),
    /// The place takes no such value.
    #[error("cannot put the value in {0}")]
    Unfit(String),
}

/// Signs a request by the first way that a secret is made for, with the first such secret, at the first place and in the
/// first format. A timestamp that the request does not bring is `now`.
pub fn sign(auth: &Auth, request: Request, now: Timestamp) -> Result<Request, Unsigned> {
    sign_with(auth, request, now, None)
}

/// The same with one of the bridge's secrets, by its number from 1.
pub fn sign_with(
    auth: &Auth,
    request: Request,
    now: Timestamp,
    number: Option<usize>,
) -> Result<Request, Unsigned> {
    let open = |scheme: &Scheme| matches!(scheme, Scheme::None);
    if auth.ways().iter().all(|way| open(&way.scheme)) {
        return Ok(request);
    }
    let (way, key) = chosen(auth, number).ok_or(Unsigned::NoSecret)?;
    let secret = key.secret.expose();
    match &way.scheme {
        Scheme::None => Ok(request),
        Scheme::Basic => authorize(request, "Basic", Encoding::Base64.encode(secret).as_bytes()),
        Scheme::Bearer => authorize(request, "Bearer", secret),
        Scheme::Token(shown) => {
            let token = written(shown, |_| Ok(secret.to_vec()))?;
            put(request, &shown.places[0], &token)
        }
        Scheme::Hmac(hmac) => signed(hmac, key, request, now),
        Scheme::Ed25519(_) => Err(Unsigned::PublicKey),
    }
}

/// The first way that the secret is made for; without a number, that any secret is made for.
pub fn chosen(auth: &Auth, number: Option<usize>) -> Option<(&Way, &Key)> {
    let wanted = |key: &&Key| number.is_none_or(|number| key.number == number);
    let mut ways = auth.ways().iter();
    ways.find_map(|way| Some((way, way.keys.iter().find(wanted)?)))
}

/// A request that may have been signed before, without what it showed and when that was.
pub fn prepare(auth: &Auth, request: Request) -> Request {
    let mut request = take_out::take_out(auth, request);
    for way in auth.ways() {
        let signing = way.scheme.signing();
        let rule = signing.and_then(|signing| signing.timestamp);
        match rule.and_then(|rule| rule.from.as_ref()) {
            Some(Place::Header(name)) => {
                request.headers.remove(name);
            }
            Some(Place::Query(name)) => {
                let named = |other: &[u8]| other == name.as_bytes();
                request.target = take_out::without_parameters(&request.target, named);
            }
            Some(Place::Form(name)) => {
                request.body = take_out::without_field(request.body, name);
            }
            Some(Place::Body(pointer)) => {
                request.body = take_out::without_value(request.body, pointer.steps());
            }
            Some(Place::Path) | None => {}
        }
    }
    request
}

fn signed(
    hmac: &Hmac,
    key: &Key,
    mut request: Request,
    now: Timestamp,
) -> Result<Request, Unsigned> {
    let place = &hmac.signature.places[0];
    let timestamp = match &hmac.timestamp {
        Some(rule) => Some(timestamp(rule, &mut request, now)?),
        None => None,
    };
    let headers = signed_headers(&request);
    let facts = Facts {
        request: &request,
        timestamp: timestamp.as_deref(),
        headers: Some(headers.as_bytes()),
        secret: key.secret.expose(),
    };
    let incomplete = |refusal: super::Refusal| {
        let hint = how_to_give(hmac, &request);
        Unsigned::Incomplete(refusal.to_string(), hint)
    };
    let message = build::first_whole(&hmac.signed, &facts).map_err(incomplete)?;
    let keyed = key_bytes(key, &facts).map_err(incomplete)?;
    let algorithm: Algorithm = hmac.algorithms[0];
    let mac = mac::mac(algorithm, &keyed, &message);
    let value = written(&hmac.signature, |name| {
        Ok(match name {
            Reads::Signature(encoding) => encoding.encode(&mac).into_bytes(),
            Reads::Algorithm => algorithm.word().as_bytes().to_vec(),
            Reads::Headers => headers.as_bytes().to_vec(),
            Reads::Timestamp | Reads::Token => timestamp.clone().unwrap_or_default(),
        })
    })?;
    put(request, place, &value)
}

/// How the headers that are signed and not there are given to `sign`.
fn how_to_give(hmac: &Hmac, request: &Request) -> String {
    let pieces = hmac
        .signed
        .iter()
        .take(1)
        .flat_map(|signed| signed.pieces());
    let headers = pieces.filter_map(|piece| match piece {
        Piece::Name(Holds::At(Place::Header(name))) if !request.headers.contains_key(name) => {
            let example = if name.as_str().ends_with("-id") {
                "msg_1"
            } else {
                "…"
            };
            Some(format!("-H '{name}: {example}'"))
        }
        _ => None,
    });
    match Vec::from_iter(headers).join(" ") {
        none if none.is_empty() => "in FILE".to_owned(),
        headers => headers,
    }
}

/// The timestamp's text; put at its place where the request has none.
fn timestamp(
    rule: &SignedTime,
    request: &mut Request,
    now: Timestamp,
) -> Result<Vec<u8>, Unsigned> {
    let text = match rule.unit {
        Unit::Seconds => now.as_second().to_string(),
        Unit::Milliseconds => now.as_millisecond().to_string(),
        Unit::Rfc3339 => now.to_string(),
    };
    let Some(place) = &rule.from else {
        return Ok(text.into_bytes());
    };
    let found = find(request, place).map_err(|_| Unsigned::Unfit(place.to_string()))?;
    if let Some(brought) = found.first() {
        return Ok(brought.clone().into_owned());
    }
    *request = put(request.clone(), place, text.as_bytes())?;
    Ok(text.into_bytes())
}

/// The headers that a sender chose to sign: its own.
fn signed_headers(request: &Request) -> String {
    let mut names: Vec<&str> = request
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    names.retain(|name| {
        name.starts_with("x-") && request.headers.get_all(*name).iter().count() == 1
    });
    names.sort_unstable();
    names.join(" ")
}

/// The first format with its names filled in.
pub(super) fn written(
    shown: &Shown,
    fill: impl Fn(Reads) -> Result<Vec<u8>, Unsigned>,
) -> Result<Vec<u8>, Unsigned> {
    let mut items = Vec::new();
    for pattern in &shown.formats[0] {
        let mut item = Vec::new();
        for piece in pattern.pieces() {
            match piece {
                Piece::Text(text) => item.extend_from_slice(text.as_bytes()),
                Piece::Name(name) => item.extend(fill(*name)?),
            }
        }
        items.push(item);
    }
    Ok(items.join(shown.separator.as_deref().unwrap_or("").as_bytes()))
}

fn authorize(mut request: Request, scheme: &str, credentials: &[u8]) -> Result<Request, Unsigned> {
    let value = [scheme.as_bytes(), b" ", credentials].concat();
    let value = HeaderValue::from_bytes(&value);
    let value = value.map_err(|_| Unsigned::Unfit(Place::Header(AUTHORIZATION).to_string()))?;
    request.headers.insert(AUTHORIZATION, value);
    Ok(request)
}

/// Puts a value at a place, in place of what stands there.
pub(super) fn put(mut request: Request, place: &Place, value: &[u8]) -> Result<Request, Unsigned> {
    let unfit = || Unsigned::Unfit(place.to_string());
    match place {
        Place::Header(name) => {
            let value = HeaderValue::from_bytes(value).map_err(|_| unfit())?;
            request.headers.insert(name, value);
        }
        Place::Query(name) => {
            let mark = if request.target.contains('?') {
                '&'
            } else {
                '?'
            };
            let parameter = format!("{mark}{}={}", escape(name.as_bytes()), escape(value));
            request.target.push_str(&parameter);
        }
        Place::Form(name) => {
            let mut body = request.body.to_vec();
            if !body.is_empty() {
                body.push(b'&');
            }
            body.extend(format!("{}={}", escape(name.as_bytes()), escape(value)).into_bytes());
            request.body = Bytes::from(body);
        }
        Place::Body(pointer) => {
            let value = String::from_utf8(value.to_vec()).map_err(|_| unfit())?;
            let text = std::str::from_utf8(&request.body).map_err(|_| unfit())?;
            let mut json: Value = json::read(text).map_err(|_| unfit())?;
            let (last, parents) = pointer.steps().split_last().ok_or_else(unfit)?;
            let parent = parents.iter().try_fold(&mut json, |json, step| match json {
                Value::Object(fields) => Some(
                    fields
                        .entry(step.clone())
                        .or_insert(Value::Object(serde_json::Map::new())),
                ),
                _ => None,
            });
            let fields = parent.and_then(Value::as_object_mut).ok_or_else(unfit)?;
            fields.insert(last.clone(), Value::String(value));
            request.body = serde_json::to_vec(&json)
                .map(Bytes::from)
                .map_err(|_| unfit())?;
        }
        Place::Path => {
            let (path, query) = match request.target.split_once('?') {
                Some((path, query)) => (path, Cow::Owned(format!("?{query}"))),
                None => (request.target.as_str(), Cow::Borrowed("")),
            };
            let path = path.strip_suffix(&request.rest).unwrap_or(path);
            let rest = escape(value);
            request.target = format!("{}/{rest}{query}", path.trim_end_matches('/'));
            request.rest = rest;
        }
    }
    Ok(request)
}

/// Percent-encodes everything that a query, a form or a path could misread.
fn escape(text: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
