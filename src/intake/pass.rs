//! The four steps in a row, as the door takes them: from a request to what the outbox keeps.

use super::authenticate::{Refusal, authenticate};
use super::parse::{Taken, Unreadable, parse};
use super::render::render;
use super::request::Request;
use super::route::route;
use crate::bridge::{Bridge, RuleBook};
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
