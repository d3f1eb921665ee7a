//! What an operator does: changes, holds, replays, messages that are rendered at last.

use std::collections::BTreeMap;

use super::lanes::{self, Terms};
use super::pool::{Failed, Task, Tx};
use super::put::{Encoded, FORM, Origin, Places, Rows, encode, encode_one, put_back};
use super::rows::{get, get_id, get_state, get_text, micros, signed};
use super::settle::release_held;
use crate::model::{DeliveryId, DeliveryState, Lane, Message, NewDelivery};
use crate::outbox::lane::{self, Wish};
use crate::outbox::{Change, Changed, OutboxError};

/// A change of deliveries.
pub(super) struct Changes {
    pub ids: Vec<DeliveryId>,
    pub change: Change,
    pub terms: Terms,
}

/// A delivery that is to be changed.
struct Changing {
    number: i64,
    lane: Lane,
    state: DeliveryState,
    has_message: bool,
}

impl Task for Changes {
    type Gives = Vec<Changed>;

    async fn apply(&self, tx: &Tx) -> Result<Vec<Changed>, Failed> {
        lanes::lock_of(tx, &self.ids).await?;
        let uuids: Vec<uuid::Uuid> = self.ids.iter().map(|id| id.0).collect();
        let rows = tx
            .query(
                "SELECT d.id, d.number, l.name, d.state, d.message IS NOT NULL
                 FROM delivery d JOIN lane l ON l.number = d.lane WHERE d.id = ANY($1)",
                &[&uuids],
            )
            .await?;
        let mut known = BTreeMap::new();
        for row in &rows {
            let changing = Changing {
                number: get(row, 1)?,
                lane: get_text(row, 2)?.into(),
                state: get_state(row, 3)?,
                has_message: get(row, 4)?,
            };
            known.insert(get_id(row, 0)?, changing);
        }
        let mut changed = Vec::with_capacity(self.ids.len());
        let mut back: Vec<&Changing> = Vec::new();
        let (mut hurried, mut cancelled) = (Vec::new(), Vec::new());
        let mut wanted: BTreeMap<Lane, i64> = BTreeMap::new();
        for id in &self.ids {
            let Some(it) = known.get(id) else {
                changed.push(Changed::Unknown);
                continue;
            };
            let places = wanted.entry(it.lane.clone()).or_default();
            match lane::change(self.change, it.state, it.has_message) {
                None => {
                    changed.push(Changed::Not(it.state));
                    continue;
                }
                Some(Wish::PutBack) => {
                    *places += 1;
                    back.push(it);
                }
                Some(Wish::Hurried) => hurried.push(it.number),
                Some(Wish::Cancelled) => cancelled.push(it.number),
            }
            changed.push(Changed::Done);
        }
        // In the order in which they were kept, whatever the order of asking.
        back.sort_by_key(|it| it.number);
        back.dedup_by_key(|it| it.number);
        let lanes = lanes::reserve(tx, &wanted).await?;
        let mut places = Places::new(&lanes, &wanted);
        let numbers: Vec<i64> = back.iter().map(|it| it.number).collect();
        let positions: Vec<i64> = back.iter().map(|it| places.take(&it.lane)).collect();
        put_back(tx, &numbers, &positions, &self.terms).await?;
        tx.execute(
            "UPDATE delivery SET due = $2 WHERE number = ANY($1)",
            &[&hurried, &micros(self.terms.now)],
        )
        .await?;
        tx.execute(
            "UPDATE delivery SET state = 'cancelled', reason = $2 WHERE number = ANY($1)",
            &[&cancelled, &lane::CANCELLED],
        )
        .await?;
        lanes::write(tx, &lanes, &self.terms).await?;
        Ok(changed)
    }
}

/// A hold of a lane, or its end.
pub(super) struct Holding {
    pub lane: Lane,
    pub why: Option<String>,
    pub terms: Terms,
}

impl Task for Holding {
    type Gives = bool;

    async fn apply(&self, tx: &Tx) -> Result<bool, Failed> {
        let mut lanes = lanes::lock(tx, &[&self.lane]).await?;
        let Some(lane) = lanes.first_mut() else {
            return Ok(false);
        };
        lane.held = self.why.clone();
        lane.held_for_one = false;
        if self.why.is_none() {
            release_held(tx, lane, self.terms.now).await?;
        }
        lanes::write(tx, &lanes, &self.terms).await?;
        Ok(true)
    }
}

/// More deliveries of an event that was kept.
pub(super) struct Append {
    event: i64,
    deliveries: Vec<NewDelivery>,
    messages: Vec<Option<Encoded>>,
    terms: Terms,
}

impl Append {
    /// Encodes, on the caller's time.
    ///
    /// # Errors
    /// When a message cannot be written as JSON.
    pub fn prepare(
        event: i64,
        deliveries: Vec<NewDelivery>,
        terms: Terms,
    ) -> Result<Append, OutboxError> {
        Ok(Append {
            event,
            messages: encode(&deliveries)?,
            deliveries,
            terms,
        })
    }
}

impl Task for Append {
    type Gives = bool;

    async fn apply(&self, tx: &Tx) -> Result<bool, Failed> {
        let event = tx
            .find(
                "UPDATE event SET routed = true WHERE number = $1 RETURNING bridge, kind",
                &[&self.event],
            )
            .await?;
        let Some(event) = event else {
            return Ok(false);
        };
        let from = Origin {
            event: self.event,
            bridge: get(&event, 0)?,
            kind: &get_text(&event, 1)?,
        };
        let mut wanted: BTreeMap<Lane, i64> = BTreeMap::new();
        for (delivery, message) in self.deliveries.iter().zip(&self.messages) {
            let places = wanted.entry(delivery.conversation.lane()).or_default();
            *places += i64::from(message.is_some());
        }
        let lanes = lanes::reserve(tx, &wanted).await?;
        let mut places = Places::new(&lanes, &wanted);
        let mut rows = Rows::default();
        for (delivery, message) in self.deliveries.iter().zip(&self.messages) {
            rows.push(&from, delivery, message.as_ref(), &mut places);
        }
        rows.insert(tx, &self.terms).await?;
        lanes::write(tx, &lanes, &self.terms).await?;
        Ok(true)
    }
}

/// The message of a delivery that was unrendered.
pub(super) struct RenderedNow {
    id: DeliveryId,
    message: Encoded,
    terms: Terms,
}

impl RenderedNow {
    /// Encodes, on the caller's time.
    ///
    /// # Errors
    /// When the message cannot be written as JSON.
    pub fn prepare(
        id: DeliveryId,
        message: &Message,
        terms: Terms,
    ) -> Result<RenderedNow, OutboxError> {
        Ok(RenderedNow {
            id,
            message: encode_one(message)?,
            terms,
        })
    }
}

impl Task for RenderedNow {
    type Gives = bool;

    async fn apply(&self, tx: &Tx) -> Result<bool, Failed> {
        let lanes = lanes::lock_of(tx, &[self.id]).await?;
        let Some(lane) = lanes.first() else {
            return Ok(false);
        };
        let wanted = BTreeMap::from([(lane.name.clone(), 1)]);
        let lanes = lanes::reserve(tx, &wanted).await?;
        let position = Places::new(&lanes, &wanted).take(&lane.name);
        let rendered = tx
            .execute(
                "UPDATE delivery SET state = 'waiting', position = $2, due = $3, reason = NULL, form = $4, message = $5,
                                     bytes = $6
                 WHERE id = $1 AND state = 'unrendered'",
                &[
                    &self.id.0,
                    &position,
                    &micros(self.terms.now),
                    &FORM,
                    &self.message.json,
                    &signed(self.message.bytes),
                ],
            )
            .await?;
        lanes::write(tx, &lanes, &self.terms).await?;
        Ok(rendered > 0)
    }
}
