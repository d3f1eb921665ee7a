//! Takes out of a request whatever shows its sender's secret, before an event exists that could be kept, shown or logged.

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::find::{query, undo};
use crate::bridge::auth::{Auth, Place};
use crate::intake::{Request, form, json};

/// Words in the name of a header or a parameter that shows a secret. Senders show them also where the bridge does not look:
/// GitHub adds SHA-1 beside SHA-256, Gitea signs under five names, robots' addresses carry an `access_token`.
pub(super) const TELLING: [&str; 5] = ["signature", "sign", "token", "secret", "password"];

/// Empties the places of all the bridge's ways, not only of the one that decided: a sender may show its token beside the
/// signature.
pub(super) fn take_out(auth: &Auth, mut request: Request) -> Request {
    let headers: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| tells(name))
        .cloned()
        .collect();
    for name in headers {
        remove(&mut request.headers, &name);
    }
    request.target = without_parameters(&request.target, |name| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        name.split(['-', '_']).any(|word| TELLING.contains(&word))
    });
    let ways = auth.ways().iter().flat_map(|way| way.places());
    for place in ways.chain(auth.repeats()) {
        match place {
            Place::Header(name) => remove(&mut request.headers, name),
            Place::Query(name) => {
                let named = |other: &[u8]| other == name.as_bytes();
                request.target = without_parameters(&request.target, named);
            }
            Place::Form(name) => request.body = without_field(request.body, name),
            Place::Body(pointer) => request.body = without_value(request.body, pointer.steps()),
            Place::Path => {
                request.target = without_rest(&request.target, &request.rest);
                request.rest.clear();
            }
        }
    }
    request
}

pub(super) fn tells(name: &HeaderName) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name)
        || name.as_str().split('-').any(|word| TELLING.contains(&word))
}

fn remove(headers: &mut HeaderMap, name: &HeaderName) {
    while headers.remove(name).is_some() {}
}

pub(super) fn without_parameters(target: &str, shows: impl Fn(&[u8]) -> bool) -> String {
    let Some((path, parameters)) = target.split_once('?') else {
        return target.to_owned();
    };
    let kept: Vec<&str> = parameters
        .split('&')
        .filter(|parameter| !query(parameter.as_bytes()).any(|(key, _)| shows(&undo(key))))
        .collect();
    if kept.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", kept.join("&"))
    }
}

pub(super) fn without_field(body: Bytes, name: &str) -> Bytes {
    let named = |key: &[u8]| form::decode(key).as_ref() == name.as_bytes();
    let present = form::fields(&body).is_some_and(|mut fields| fields.any(|(key, _)| named(key)));
    if !present {
        return body;
    }
    let kept: Vec<&[u8]> = body
        .split(|&byte| byte == b'&')
        .filter(|field| !query(field).any(|(key, _)| named(key)))
        .collect();
    Bytes::from(kept.join(&b'&'))
}

/// A body that holds its own token is written anew without it.
pub(super) fn without_value(body: Bytes, steps: &[String]) -> Bytes {
    let Some((last, parents)) = steps.split_last() else {
        return body;
    };
    let read = std::str::from_utf8(&body)
        .ok()
        .and_then(|text| json::read(text).ok());
    let Some(mut json) = read else {
        return body;
    };
    let parent = parents
        .iter()
        .try_fold(&mut json, |value, step| match value {
            Value::Object(fields) => fields.get_mut(step),
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
            _ => None,
        });
    let removed = match parent {
        Some(Value::Object(fields)) => fields.remove(last).is_some(),
        Some(Value::Array(items)) => last
            .parse()
            .ok()
            .and_then(|at: usize| items.get_mut(at))
            .map(|item| *item = Value::Null)
            .is_some(),
        _ => false,
    };
    if removed {
        serde_json::to_vec(&json).map_or(body, Bytes::from)
    } else {
        body
    }
}

fn without_rest(target: &str, rest: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    // A target that does not end as it should is not worth the risk of keeping the token in it.
    let path = path.strip_suffix(rest).unwrap_or("/");
    let path = path
        .strip_suffix('/')
        .filter(|path| !path.is_empty())
        .unwrap_or(path);
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}
