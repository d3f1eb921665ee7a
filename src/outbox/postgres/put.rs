//! Putting deliveries into their lanes: their messages as they are stored, their places, their rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::lanes::{LaneRow, Terms};
use super::pool::{Failed, Tx};
use super::rows::{get, micros, signed, stored};
use crate::model::{DeliveryState, Event, Lane, Message, NewDelivery, Rendered};
use crate::outbox::OutboxError;
use crate::outbox::lane::weight;

/// How this program writes a message. A lane whose head has a higher number is left to the program that wrote it.
pub(super) const FORM: i64 = 1;

/// A message as it is stored.
#[derive(Debug)]
pub(super) struct Encoded {
    pub json: String,
    pub bytes: u64,
}

/// The messages of deliveries as they are stored; `None` where one was not rendered.
///
/// # Errors
/// When a message cannot be written as JSON.
pub(super) fn encode(deliveries: &[NewDelivery]) -> Result<Vec<Option<Encoded>>, OutboxError> {
    let one = |delivery: &NewDelivery| match &delivery.rendered {
        Rendered::Ready(message) => encode_one(message).map(Some),
        Rendered::Broken(_) => Ok(None),
    };
    deliveries.iter().map(one).collect()
}

/// One message as it is stored.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn encode_one(message: &Message) -> Result<Encoded, OutboxError> {
    Ok(Encoded {
        json: serde_json::to_string(message).map_err(|e| OutboxError::Broken(e.to_string()))?,
        bytes: weight(message),
    })
}

/// Where deliveries come from.
pub(super) struct Origin<'a> {
    pub event: i64,
    pub bridge: &'a str,
    pub kind: &'a str,
}

impl<'a> Origin<'a> {
    pub fn of(event: &'a Event, number: i64) -> Origin<'a> {
        Origin {
            event: number,
            bridge: &event.bridge,
            kind: &event.kind,
        }
    }
}

/// The positions that were reserved, given out in order.
pub(super) struct Places(BTreeMap<Lane, Place>);

struct Place {
    lane: i64,
    next: i64,
}

impl Places {
    /// Of lanes that were reserved.
    pub fn new(lanes: &[LaneRow], wanted: &BTreeMap<Lane, i64>) -> Places {
        let place = |lane: &LaneRow| {
            let reserved = wanted.get(&lane.name).copied().unwrap_or(0);
            let place = Place {
                lane: lane.number,
                next: lane.last_position - reserved + 1,
            };
            (lane.name.clone(), place)
        };
        Places(lanes.iter().map(place).collect())
    }

    fn lane(&self, name: &Lane) -> i64 {
        self.0.get(name).map_or(0, |place| place.lane)
    }

    pub fn take(&mut self, name: &Lane) -> i64 {
        match self.0.get_mut(name) {
            Some(place) => {
                place.next += 1;
                place.next - 1
            }
            None => 0,
        }
    }
}

/// New deliveries, by column.
#[derive(Default)]
pub(super) struct Rows<'a> {
    ids: Vec<Uuid>,
    events: Vec<i64>,
    lanes: Vec<i64>,
    positions: Vec<Option<i64>>,
    states: Vec<&'static str>,
    expires: Vec<Option<i64>>,
    folded: Vec<Option<Cow<'a, str>>>,
    bridges: Vec<&'a str>,
    kinds: Vec<Cow<'a, str>>,
    destinations: Vec<Cow<'a, str>>,
    conversations: Vec<String>,
    messages: Vec<Option<&'a str>>,
    bytes: Vec<i64>,
    reasons: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Rows<'a> {
    /// One more, at the end of its lane. One that was not rendered holds no place: a template's mistake must not stop what
    /// stands behind it.
    pub fn push(
        &mut self,
        from: &Origin<'a>,
        delivery: &'a NewDelivery,
        message: Option<&'a Encoded>,
        places: &mut Places,
    ) {
        let lane = delivery.conversation.lane();
        self.ids.push(delivery.id.0);
        self.events.push(from.event);
        self.lanes.push(places.lane(&lane));
        self.positions.push(message.map(|_| places.take(&lane)));
        let (state, reason) = match &delivery.rendered {
            Rendered::Ready(_) => (DeliveryState::Waiting, None),
            Rendered::Broken(reason) => (DeliveryState::Unrendered, Some(reason.as_str())),
        };
        self.states.push(state.word());
        let expires = delivery.expires.as_ref();
        self.expires.push(expires.map(|expires| micros(expires.at)));
        self.folded
            .push(expires.map(|expires| stored(&expires.folded)));
        self.bridges.push(from.bridge);
        self.kinds.push(stored(from.kind));
        self.destinations.push(stored(&delivery.destination));
        self.conversations
            .push(stored(&delivery.conversation.to_string()).into_owned());
        self.messages.push(message.map(|message| &*message.json));
        self.bytes
            .push(message.map_or(0, |message| signed(message.bytes)));
        self.reasons.push(reason.map(stored));
    }

    /// Writes them down, in their order.
    pub async fn insert(&self, tx: &Tx, terms: &Terms) -> Result<(), Failed> {
        if self.ids.is_empty() {
            return Ok(());
        }
        tx.execute(
            "INSERT INTO delivery (id, event, lane, position, state, due, kept, expires, folded, bridge, kind, destination,
                                   conversation, form, message, bytes, reason)
             SELECT n.id, n.event, n.lane, n.position, n.state, $15, $15, n.expires, n.folded, n.bridge, n.kind,
                    n.destination, n.conversation, $16, n.message, n.bytes, n.reason
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[],
                         $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::text[])
                 AS n (id, event, lane, position, state, expires, folded, bridge, kind, destination, conversation, message,
                       bytes, reason)",
            &[
                &self.ids,
                &self.events,
                &self.lanes,
                &self.positions,
                &self.states,
                &self.expires,
                &self.folded,
                &self.bridges,
                &self.kinds,
                &self.destinations,
                &self.conversations,
                &self.messages,
                &self.bytes,
                &self.reasons,
                &micros(terms.now),
                &FORM,
            ],
        )
        .await?;
        Ok(())
    }
}

/// Puts what has ended at these positions in their lanes; which ones. It is a new send with a time of its own to try.
/// Somebody wants to see it, so it does not come too late any more, unless it speaks for others.
pub(super) async fn put_back(
    tx: &Tx,
    deliveries: &[i64],
    positions: &[i64],
    terms: &Terms,
) -> Result<BTreeSet<i64>, Failed> {
    if deliveries.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = tx
        .query(
            "UPDATE delivery d SET state = 'waiting', position = n.position, due = $3, reason = NULL, first_attempt = NULL,
                                   sends = sends + 1, expires = CASE WHEN folds > 1 THEN expires END
             FROM unnest($1::bigint[], $2::bigint[]) AS n (number, position)
             WHERE d.number = n.number AND d.state IN ('dead', 'refused', 'cancelled') AND d.message IS NOT NULL
             RETURNING d.number",
            &[&deliveries, &positions, &micros(terms.now)],
        )
        .await?;
    rows.iter().map(|row| get(row, 0)).collect()
}
