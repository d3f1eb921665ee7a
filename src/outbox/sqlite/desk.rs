//! What an operator does: changes, holds, replays, messages that are rendered at last.

use rusqlite::{OptionalExtension, params};

use super::keep::{Encoded, Origin, Written, encode, insert_delivery, put_back, set_routed};
use super::rows::{micros, state};
use super::settle::release_held;
use super::task::{Task, Turn};
use super::{FORM, lanes};
use crate::model::{DeliveryId, Lane, Message, NewDelivery, Rendered};
use crate::outbox::lane::{self, Wish};
use crate::outbox::{Change, Changed, OutboxError};

/// A change of deliveries.
pub(super) struct Changes {
    pub ids: Vec<DeliveryId>,
    pub change: Change,
}

impl Task for Changes {
    type Gives = Vec<Changed>;

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<Vec<Changed>, OutboxError>> {
        let ids = self.ids.iter();
        ids.map(|id| change(turn, *id, self.change))
            .collect::<rusqlite::Result<_>>()
            .map(Ok)
    }

    fn rings(&self, _changed: &Vec<Changed>) -> bool {
        true
    }
}

fn change(turn: &Turn<'_>, id: DeliveryId, change: Change) -> rusqlite::Result<Changed> {
    let found = turn
        .db
        .prepare_cached(
            "SELECT number, lane, state, message IS NOT NULL FROM delivery WHERE id = ?1",
        )?
        .query_row([id.0.as_bytes()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                state(2, row.get_ref(2)?.as_str()?)?,
                row.get::<_, bool>(3)?,
            ))
        })
        .optional()?;
    let Some((delivery, lane, state, has_message)) = found else {
        return Ok(Changed::Unknown);
    };
    match lane::change(change, state, has_message) {
        None => return Ok(Changed::Not(state)),
        Some(Wish::PutBack) => put_back(turn, delivery)?,
        Some(Wish::Hurried) => {
            turn.db
                .prepare_cached("UPDATE delivery SET due = ?2 WHERE number = ?1")?
                .execute([delivery, micros(turn.now)])?;
            lanes::set_due(turn, lane)?;
        }
        Some(Wish::Cancelled) => {
            turn.db
                .prepare_cached(
                    "UPDATE delivery SET state = 'cancelled', reason = ?2 WHERE number = ?1",
                )?
                .execute(params![delivery, lane::CANCELLED])?;
            lanes::set_due(turn, lane)?;
        }
    }
    Ok(Changed::Done)
}

/// A hold of a lane, or its end.
pub(super) struct Holding {
    pub lane: Lane,
    pub why: Option<String>,
}

impl Task for Holding {
    type Gives = bool;

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<bool, OutboxError>> {
        let Some(lane) = lanes::find(turn.db, &self.lane)? else {
            return Ok(Ok(false));
        };
        turn.db
            .prepare_cached("UPDATE lane SET held = ?2, held_for_one = 0 WHERE number = ?1")?
            .execute(params![lane, self.why])?;
        match self.why {
            Some(_) => drop(lanes::set_due(turn, lane)?),
            None => release_held(turn, lane)?,
        }
        Ok(Ok(true))
    }

    fn rings(&self, _known: &bool) -> bool {
        self.why.is_none()
    }
}

/// More deliveries of an event that was kept.
pub(super) struct Append {
    event: i64,
    deliveries: Vec<NewDelivery>,
    messages: Vec<Encoded>,
}

impl Append {
    /// Encodes, on the caller's time.
    ///
    /// # Errors
    /// When a message cannot be written as JSON.
    pub fn prepare(event: i64, deliveries: Vec<NewDelivery>) -> Result<Append, OutboxError> {
        Ok(Append {
            event,
            messages: encode(&deliveries)?,
            deliveries,
        })
    }
}

impl Task for Append {
    type Gives = bool;

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<bool, OutboxError>> {
        let event: Option<(String, String)> = turn
            .db
            .prepare_cached("SELECT bridge, kind FROM event WHERE number = ?1")?
            .query_row([self.event], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((bridge, kind)) = event else {
            return Ok(Ok(false));
        };
        set_routed(turn.db, self.event)?;
        let from = Origin {
            event: self.event,
            bridge: &bridge,
            kind: &kind,
        };
        for (delivery, message) in self.deliveries.iter().zip(&self.messages) {
            insert_delivery(turn, &from, delivery, message)?;
        }
        Ok(Ok(true))
    }

    fn grows(&self) -> bool {
        true
    }

    fn rings(&self, known: &bool) -> bool {
        *known && self.deliveries.iter().any(is_ready)
    }
}

fn is_ready(delivery: &NewDelivery) -> bool {
    matches!(delivery.rendered, Rendered::Ready(_))
}

/// The message of a delivery that was unrendered.
pub(super) struct RenderedNow {
    id: DeliveryId,
    message: Written,
}

impl RenderedNow {
    /// Encodes, on the caller's time.
    ///
    /// # Errors
    /// When the message cannot be written as JSON.
    pub fn prepare(id: DeliveryId, message: &Message) -> Result<RenderedNow, OutboxError> {
        Ok(RenderedNow {
            id,
            message: Written::of(message)?,
        })
    }
}

impl Task for RenderedNow {
    type Gives = bool;

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<bool, OutboxError>> {
        let found: Option<(i64, String)> = turn
            .db
            .prepare_cached(
                "SELECT d.number, l.name FROM delivery d JOIN lane l ON l.number = d.lane
                 WHERE d.id = ?1 AND d.state = 'unrendered'",
            )?
            .query_row([self.id.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((delivery, lane)) = found else {
            return Ok(Ok(false));
        };
        let place = lanes::append(turn.db, &lane.into())?;
        turn.db
            .prepare_cached(
                "UPDATE delivery SET state = 'waiting', position = ?2, due = ?3, reason = NULL, form = ?4, message = ?5,
                                     bytes = ?6
                 WHERE number = ?1",
            )?
            .execute(params![
                delivery,
                place.position,
                micros(turn.now),
                FORM,
                self.message.json,
                self.message.bytes
            ])?;
        if place.may_lead {
            lanes::set_due(turn, place.lane)?;
        }
        Ok(Ok(true))
    }

    fn grows(&self) -> bool {
        true
    }

    fn rings(&self, was_unrendered: &bool) -> bool {
        *was_unrendered
    }
}
