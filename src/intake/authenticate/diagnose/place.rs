//! Mistakes about where a proof stands: another header, twice, encoded once too often.

use bytes::Bytes;

use super::words::Cause;
use super::{Attempt, Surroundings, Tried, reading, shown_value};
use crate::bridge::auth::{Place, Scheme, Signing, undo_percent};
use crate::intake::Request;
use crate::intake::authenticate::find::{query, undo};
use crate::intake::authenticate::{sign, take_out};

/// The request with the proof where the bridge looks for it.
pub(super) fn tries(attempt: &Attempt, _: &Surroundings<'_>) -> Vec<Tried> {
    let mut tried = Vec::new();
    if let Some((place, values)) = shown_value(attempt) {
        let mut with = |id, value: Vec<u8>| {
            let request = replace(&attempt.request, &place, &value);
            tried.extend(request.map(|request| {
                Tried::of(
                    id,
                    "",
                    Attempt {
                        request,
                        ..attempt.clone()
                    },
                )
            }));
        };
        for value in &values {
            if values.len() > 1 {
                with("repeated", value.clone().into_bytes());
            }
            if value.contains('%') {
                with("percent-twice", undo_percent(value.as_bytes()));
            }
            if value.contains(' ') {
                with("plus-for-blank", value.replace(' ', "+").into_bytes());
            }
        }
    }
    tried.extend(elsewhere(attempt));
    tried
}

/// Puts a value at a place, in place of what stands there.
pub(super) fn replace(request: &Request, place: &Place, value: &[u8]) -> Option<Request> {
    let mut request = request.clone();
    match place {
        Place::Query(name) => {
            let named = |other: &[u8]| other == name.as_bytes();
            request.target = take_out::without_parameters(&request.target, named);
        }
        Place::Form(name) => {
            let body = std::mem::take(&mut request.body);
            request.body = take_out::without_field(body, name);
        }
        Place::Header(_) | Place::Body(_) | Place::Path => {}
    }
    sign::put(request, place, value).ok()
}

/// Everything in the head of the request that may be a proof, moved to where the bridge looks.
fn elsewhere(attempt: &Attempt) -> Vec<Tried> {
    let mut tried = Vec::new();
    for (place, value) in all_values(&attempt.request) {
        if attempt.way.places().contains(&place) {
            continue;
        }
        if let Some(signing) = attempt.way.scheme.signing() {
            let found = reading::find(&value, signing.signature);
            tried.extend(
                found
                    .iter()
                    .filter_map(|found| signed(attempt, signing, &place, found)),
            );
        }
        match &attempt.way.scheme {
            Scheme::Token(shown) => {
                let token = value.rsplit(' ').next().unwrap_or_default();
                let text = reading::as_token(shown, token);
                let request =
                    text.and_then(|text| replace(&attempt.request, shown.places.first()?, &text));
                tried.extend(moved(attempt, &place, request));
            }
            Scheme::Bearer => {
                let authorization = Place::Header(http::header::AUTHORIZATION);
                if place != authorization {
                    let text = format!("Bearer {}", value.rsplit(' ').next().unwrap_or_default());
                    let request = replace(&attempt.request, &authorization, text.as_bytes());
                    tried.extend(moved(attempt, &place, request));
                }
            }
            _ => {}
        }
    }
    tried
}

/// A signature from another place, with the hash that its length tells.
fn signed(
    attempt: &Attempt,
    signing: Signing<'_>,
    place: &Place,
    found: &reading::Found,
) -> Option<Tried> {
    let text = reading::as_declared(signing, found)?;
    let algorithm = reading::algorithm_of(&found.bytes)?;
    let request = replace(&attempt.request, signing.signature.places.first()?, &text)?;
    let mut attempt = Attempt {
        request,
        ..attempt.clone()
    };
    let mut detail = place.to_string();
    if let (Scheme::Hmac(hmac), false) = (
        &mut attempt.way.scheme,
        signing.algorithms.contains(&algorithm),
    ) {
        hmac.algorithms = vec![algorithm];
        detail = format!("{detail}, made with {}", algorithm.word());
    }
    Some(Tried::of("other-place", detail, attempt))
}

fn moved(attempt: &Attempt, place: &Place, request: Option<Request>) -> Option<Tried> {
    let attempt = Attempt {
        request: request?,
        ..attempt.clone()
    };
    Some(Tried {
        causes: vec![Cause::proven("other-place", place.to_string())],
        attempt,
    })
}

/// What stands in headers and parameters, with its place.
fn all_values(request: &Request) -> Vec<(Place, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (Place::Header(name.clone()), text(value.as_bytes())));
    let parameters = query(request.query().as_bytes())
        .map(|(name, value)| (Place::Query(text(&undo(name))), text(&undo(value))));
    let rest = Bytes::copy_from_slice(&undo(request.rest.as_bytes()));
    let path = (!rest.is_empty()).then(|| (Place::Path, text(&rest)));
    headers.chain(parameters).chain(path).collect()
}
