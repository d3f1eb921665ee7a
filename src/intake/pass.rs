//! The steps in a row, as the door takes them: from an authentic request to what the outbox keeps.

use super::parse::{Taken, Unreadable, parse};
use super::render::render;
use super::request::{Answer, Authentic};
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
