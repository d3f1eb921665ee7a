//! The four steps in a row, as the door takes them: from a request to what the outbox keeps.

use std::collections::BTreeMap;

use super::authenticate::{Refusal, authenticate};
use super::parse::{Taken, Unreadable, parse};
use super::render::render;
use super::request::{Authentic, Request};
use super::route::route;
use crate::bridge::{Bridge, NOTICES, RuleBook};
use crate::model::{DeliveryId, Event, NewDelivery, Timestamp};

/// What a request came to.
#[derive(Debug)]
pub enum Passed {
    /// An event and its deliveries, ready to be kept.
    Event {
        /// The event.
        event: Box<Event>,
        /// Whether a route took it.
        routed: bool,
        /// Its deliveries; none when its templates are silent by choice.
        deliveries: Vec<NewDelivery>,
    },
    /// No event, by choice: why.
    Silent(String),
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The bridge has no secret: it is a rule-book for others, not a door.
    #[error("the bridge has no secret")]
    NoDoor,
    /// Its sender is not known.
    #[error(transparent)]
    NotAuthentic(#[from] Refusal),
    /// Its body cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Takes a request that came to a bridge's door at `now` through all steps.
pub fn pass(
    book: &RuleBook,
    bridge: &Bridge,
    request: Request,
    now: Timestamp,
) -> Result<Passed, Rejection> {
    let auth = bridge.auth.as_ref().ok_or(Rejection::NoDoor)?;
    let authentic = authenticate(auth, request, now)?;
    Ok(go_on(book, bridge, authentic, now)?)
}

/// Takes what the service itself has to say (a JSON object as `bridges/notices.toml` reads it) through the steps behind
/// the door. `None` when no operator has named a chat for it.
pub fn announce(
    book: &RuleBook,
    facts: &serde_json::Value,
    now: Timestamp,
) -> Option<Result<Passed, Unreadable>> {
    let bridge = book.bridges.get(NOTICES)?;
    if bridge.routes.is_empty() {
        return None;
    }
    let request = Request {
        method: http::Method::POST,
        target: format!("/hooks/{NOTICES}"),
        rest: String::new(),
        headers: http::HeaderMap::new(),
        body: facts.to_string().into(),
        peer: None,
    };
    let by = "the service itself".to_owned();
    Some(go_on(book, bridge, Authentic { request, by }, now))
}

/// Takes an event that was kept through today's steps again: as it came, by the rules of now. `None` when no bridge has its
/// name any more.
pub fn replay(
    book: &RuleBook,
    event: &Event,
    now: Timestamp,
) -> Option<Result<Passed, Unreadable>> {
    let bridge = book.bridges.get(&event.bridge)?;
    let headers = event
        .header
        .iter()
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
        .collect();
    let query = form_urlencoded(&event.query);
    let request = Request {
        method: http::Method::POST,
        target: format!("/hooks/{}{query}", event.bridge),
        rest: String::new(),
        headers,
        body: event.raw.clone(),
        peer: None,
    };
    let by = "the outbox".to_owned();
    Some(go_on(book, bridge, Authentic { request, by }, now))
}

/// `?a=b&c=d`, or nothing.
fn form_urlencoded(query: &BTreeMap<String, String>) -> String {
    let encode = |text: &str| {
        let mut encoded = String::new();
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    encoded.push(char::from(byte));
                }
                _ => encoded.push_str(&format!("%{byte:02X}")),
            }
        }
        encoded
    };
    let mut text = String::new();
    for (name, value) in query {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(&encode(name));
        text.push('=');
        text.push_str(&encode(value));
    }
    text
}

/// The steps behind the door: parse, route, render.
fn go_on(
    book: &RuleBook,
    bridge: &Bridge,
    authentic: Authentic,
    now: Timestamp,
) -> Result<Passed, Unreadable> {
    let event = match parse(&bridge.name, &bridge.rules, authentic, now)? {
        Taken::Event(event, _) => event,
        Taken::Silent(why) => return Ok(Passed::Silent(why)),
    };
    let routing = route(bridge, book, &event);
    let spoken = render(book, &event, &routing.addressed);
    let deliveries = spoken
        .into_iter()
        .filter_map(|spoken| {
            Some(NewDelivery {
                id: DeliveryId::new(now),
                rendered: spoken.said.rendered()?,
                destination: spoken.destination,
                conversation: spoken.conversation,
                expires: spoken.expires,
            })
        })
        .collect();
    Ok(Passed::Event {
        routed: routing.taken,
        event,
        deliveries,
    })
}
