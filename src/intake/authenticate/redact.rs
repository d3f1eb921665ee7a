//! A refused request as it may be kept for a look: its signatures stay, so that they can be explained, and what shows a secret
//! by itself keeps only its shape.

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use serde_json::Value;

use super::find::{query, undo};
use super::mac;
use super::take_out::TELLING;
use crate::bridge::auth::{Auth, Place, Scheme};
use crate::intake::{Request, form};

/// Names of things that are signatures. One fits only the text it was made for, and no secret follows from it.
const SIGNATURES: [&str; 2] = ["signature", "sign"];

/// More of a masked value says nothing. In characters.
const LONGEST_MASK: usize = 200;

/// A secret that is shorter stands in ordinary texts too. In bytes.
const SHORTEST_SECRET: usize = 6;

/// Masks the tokens, passwords and cookies of a request, the path behind the bridge's name, and every text that equals one of
/// the bridge's secrets. What is signed stays as it came, unless it holds such a secret.
pub fn redact(auth: &Auth, mut request: Request) -> Request {
    let signature_places: Vec<&Place> = places(auth, true);
    let token_places: Vec<&Place> = places(auth, false);
    let is_masked = |place: &Place, name: &str| {
        let words = || name.split(['-', '_']);
        let telling = words().any(|word| TELLING.contains(&word) || word == "key")
            && !words().any(|word| SIGNATURES.contains(&word));
        token_places.contains(&place) || (telling && !signature_places.contains(&place))
    };

    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let place = Place::Header(name.clone());
        let credentials = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name);
        let text = match is_masked(&place, name.as_str()) || credentials {
            true => masked_header(value.as_bytes(), *name == AUTHORIZATION),
            false => value.as_bytes().to_vec(),
        };
        let value = HeaderValue::from_bytes(&without_secrets(auth, text));
        headers.extend(value.ok().map(|value| (name.clone(), value)));
    }
    request.headers = headers;

    let (path, parameters) = match request.target.split_once('?') {
        Some((path, parameters)) => (path, Some(parameters)),
        None => (request.target.as_str(), None),
    };
    let rest = mask(request.rest.as_bytes());
    let path = path.strip_suffix(&request.rest).unwrap_or("/");
    let mut target = format!("{path}{rest}");
    if let Some(parameters) = parameters {
        let shown = parameters.split('&').map(|parameter| {
            let named = query(parameter.as_bytes()).next();
            let Some((name, value)) = named else {
                return parameter.to_owned();
            };
            let name = String::from_utf8_lossy(&undo(name)).into_owned();
            match is_masked(&Place::Query(name.clone()), &name) {
                true => format!("{name}={}", mask(value)),
                false => parameter.to_owned(),
            }
        });
        target = format!("{target}?{}", shown.collect::<Vec<_>>().join("&"));
    }
    request.target =
        String::from_utf8_lossy(&without_secrets(auth, target.into_bytes())).into_owned();
    request.rest = rest;

    for place in token_places {
        request.body = match place {
            Place::Form(name) => masked_field(request.body, name),
            Place::Body(pointer) => masked_value(request.body, pointer.as_str()),
            Place::Header(_) | Place::Query(_) | Place::Path => continue,
        };
    }
    request.body = Bytes::from(without_secrets(auth, request.body.to_vec()));
    request
}

/// Where signatures stand, or where secrets themselves do.
fn places(auth: &Auth, signatures: bool) -> Vec<&Place> {
    let ways = auth.ways().iter();
    let wanted = ways.filter(|way| match way.scheme {
        Scheme::Hmac(_) | Scheme::Ed25519(_) => signatures,
        Scheme::None | Scheme::Token(_) | Scheme::Basic | Scheme::Bearer => !signatures,
    });
    wanted.flat_map(|way| way.places()).collect()
}

/// The shape of a text: letters as `a` and `A`, digits as `0`, other signs as they are.
pub(super) fn mask(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let shape = text.chars().take(LONGEST_MASK).map(|sign| match sign {
        'a'..='z' => 'a',
        'A'..='Z' => 'A',
        '0'..='9' => '0',
        '!'..='~' | ' ' => sign,
        _ => '?',
    });
    shape.collect()
}

/// `Authorization` keeps the name of its scheme.
fn masked_header(value: &[u8], authorization: bool) -> Vec<u8> {
    let scheme = value.iter().position(|&byte| byte == b' ');
    let kept = scheme.filter(|_| authorization).unwrap_or(0);
    [&value[..kept], mask(&value[kept..]).as_bytes()].concat()
}

fn masked_field(body: Bytes, name: &str) -> Bytes {
    if form::fields(&body).is_none() {
        return body;
    }
    let fields = body
        .split(|&byte| byte == b'&')
        .map(|field| match query(field).next() {
            Some((key, value)) if form::decode(key).as_ref() == name.as_bytes() => {
                [key, b"=", mask(value).as_bytes()].concat()
            }
            _ => field.to_vec(),
        });
    Bytes::from(fields.collect::<Vec<_>>().join(&b'&'))
}

fn masked_value(body: Bytes, pointer: &str) -> Bytes {
    let Ok(mut json) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    let Some(value) = json.pointer_mut(pointer) else {
        return body;
    };
    let shape = match &*value {
        Value::String(text) => mask(text.as_bytes()),
        other => mask(other.to_string().as_bytes()),
    };
    *value = Value::String(shape);
    serde_json::to_vec(&json).map_or(body, Bytes::from)
}

/// The text with the bridge's own secrets masked, wherever they stand.
fn without_secrets(auth: &Auth, mut text: Vec<u8>) -> Vec<u8> {
    for key in auth.ways().iter().flat_map(|way| &way.keys) {
        let secret = key.secret.expose();
        if secret.len() < SHORTEST_SECRET {
            continue;
        }
        let mut from = 0;
        while let Some(at) = text[from..]
            .windows(secret.len())
            .position(|part| mac::equal(part, secret))
        {
            let (start, end) = (from + at, from + at + secret.len());
            let shape: Vec<u8> = text[start..end]
                .iter()
                .flat_map(|byte| mask(&[*byte]).into_bytes())
                .collect();
            from = start + shape.len();
            text.splice(start..end, shape);
        }
    }
    text
}
