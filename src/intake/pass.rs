//! The steps in a row, as the door takes them: from an authentic request to what the outbox keeps.

use super::parse::{Taken, Unreadable, parse, parse_again};
use super::render::render;
use super::request::{Answer, Authentic, Request};
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
    /// No event: the sender asks whether somebody listens, and gets this.
    Challenge(Answer),
}

/// Takes an authentic request through the steps that follow. Whether it is one is asked before, apart: what is refused must
/// not cost a look at its body.
pub fn pass(
    book: &RuleBook,
    bridge: &Bridge,
    authentic: Authentic,
    now: Timestamp,
) -> Result<Passed, Unreadable> {
    if let Some(answer) = authentic.challenge {
        return Ok(Passed::Challenge(answer));
    }
    let taken = parse(&bridge.name, &bridge.rules, authentic, now)?;
    Ok(go_on(book, bridge, taken, now))
}

fn go_on(book: &RuleBook, bridge: &Bridge, taken: Taken, now: Timestamp) -> Passed {
    let event = match taken {
        Taken::Event(event, _) => event,
        Taken::Silent(why) => return Passed::Silent(why),
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
    Passed::Event {
        routed: routing.taken,
        event,
        deliveries,
    }
}

/// Takes what the service itself has to say (a JSON object as `bridges/notices.toml` reads it) through the same
/// steps. `None` when no operator has named a chat for it.
pub fn announce(
    book: &RuleBook,
    facts: &serde_json::Value,
    now: Timestamp,
) -> Option<Result<Passed, Unreadable>> {
    let bridge = book.notices()?;
    let request = Request {
        method: http::Method::POST,
        target: format!("/hooks/{NOTICES}"),
        rest: String::new(),
        headers: http::HeaderMap::new(),
        body: facts.to_string().into(),
        peer: None,
    };
    let by = "the service itself".to_owned();
    Some(pass(book, bridge, Authentic::unproven(request, by), now))
}

/// Takes an event that was kept through today's steps again: as it came, by the rules of now. `None` when no bridge has its
/// name any more.
pub fn replay(
    book: &RuleBook,
    event: &Event,
    now: Timestamp,
) -> Option<Result<Passed, Unreadable>> {
    let bridge = book.bridges.get(&event.bridge)?;
    let taken = parse_again(&bridge.rules, event, now);
    Some(taken.map(|taken| go_on(book, bridge, taken, now)))
}
