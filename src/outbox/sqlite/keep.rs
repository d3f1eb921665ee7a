//! Keeping an event with its deliveries, and knowing one that comes again.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::rows::{count, micros, moment, state};
use super::task::Task;
use super::{FORM, lanes};
use crate::model::{DeliveryState, EventId, NewDelivery, Rendered, State, Timestamp};
use crate::outbox::{Kept, NewEvent, OutboxError};

/// A sender without ids repeats itself within this time (its retry); the same body later is news (its reminder).
const RETRY_WINDOW: Duration = Duration::from_secs(60);

/// An event with everything that can be made ready before the writer has its turn.
pub(super) struct Keep {
    new: NewEvent,
    body_hash: [u8; 32],
    header: String,
    query: String,
    /// One for each delivery; `None` where it was not rendered.
    messages: Vec<Option<String>>,
}

/// An event that was kept before.
struct First {
    number: i64,
    routed: bool,
}

impl Keep {
    /// Hashes and encodes, on the caller's time.
    ///
    /// # Errors
    /// When a message cannot be written as JSON.
    pub fn prepare(new: NewEvent) -> Result<Keep, OutboxError> {
        let json = |error: serde_json::Error| OutboxError::Broken(error.to_string());
        let messages = new
            .deliveries
            .iter()
            .map(|delivery| match &delivery.rendered {
                Rendered::Ready(message) => serde_json::to_string(message).map(Some),
                Rendered::Broken(_) => Ok(None),
            })
            .collect::<Result<_, _>>()
            .map_err(json)?;
        Ok(Keep {
            body_hash: Sha256::digest(&new.event.raw).into(),
            header: serde_json::to_string(&new.event.header).map_err(json)?,
            query: serde_json::to_string(&new.event.query).map_err(json)?,
            messages,
            new,
        })
    }

    /// The event that this one repeats. The latest counts: a reminder is the first of its own retries.
    fn find_first(&self, db: &Connection) -> rusqlite::Result<Option<First>> {
        let event = &self.new.event;
        let same = db
            .prepare_cached(
                "SELECT number, routed, received FROM event WHERE bridge = ?1 AND id = ?2 AND body_hash = ?3
                 ORDER BY number DESC LIMIT 1",
            )?
            .query_row(
                params![event.bridge, event.id.as_str(), self.body_hash],
                |row| {
                    let first = First {
                        number: row.get(0)?,
                        routed: row.get(1)?,
                    };
                    Ok((first, moment(row.get(2)?)))
                },
            )
            .optional()?;
        Ok(match (&event.id, same) {
            (_, None) => None,
            (EventId::Sender(_), Some((first, _))) => Some(first),
            // Two that came at nearly the same time may be kept in the other order.
            (EventId::Body(_), Some((first, received))) => {
                let between = event.received.duration_since(received).unsigned_abs();
                (between < RETRY_WINDOW).then_some(first)
            }
        })
    }

    fn warn_of_another_body(&self, db: &Connection) -> rusqlite::Result<()> {
        let event = &self.new.event;
        let EventId::Sender(id) = &event.id else {
            return Ok(());
        };
        let known = db
            .prepare_cached("SELECT 1 FROM event WHERE bridge = ?1 AND id = ?2 LIMIT 1")?
            .exists([&event.bridge, id])?;
        if known {
            tracing::warn!(
                bridge.name = event.bridge,
                event.id = id,
                "an event came with the id of another one and another body; both are kept"
            );
        }
        Ok(())
    }

    fn insert_event(&self, db: &Connection, now: Timestamp) -> rusqlite::Result<i64> {
        let event = &self.new.event;
        db.prepare_cached(
            "INSERT INTO event (bridge, id, id_is, body_hash, kind, happened, received, kept, routed, title, actor, link,
                                severity, state, subject, header, query, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?
        .insert(params![
            event.bridge,
            event.id.as_str(),
            match event.id {
                EventId::Sender(_) => "sender",
                EventId::Body(_) => "body",
            },
            self.body_hash,
            event.kind,
            micros(event.time),
            micros(event.received),
            micros(now),
            self.new.routed,
            event.title,
            event.actor,
            event.link,
            event.severity.word(),
            event.state.map(State::word),
            event.subject,
            self.header,
            self.query,
            &event.raw[..],
        ])
    }

    fn insert_deliveries(
        &self,
        db: &Connection,
        event: i64,
        now: Timestamp,
    ) -> rusqlite::Result<Kept> {
        for (delivery, message) in self.new.deliveries.iter().zip(&self.messages) {
            insert_delivery(db, event, delivery, message.as_deref(), now)?;
        }
        Ok(Kept::New {
            deliveries: self.new.deliveries.len(),
        })
    }
}

impl Task for Keep {
    type Gives = Kept;

    fn apply(
        &self,
        tx: &Connection,
        now: Timestamp,
    ) -> rusqlite::Result<Result<Kept, OutboxError>> {
        let Some(first) = self.find_first(tx)? else {
            self.warn_of_another_body(tx)?;
            let event = self.insert_event(tx, now)?;
            return self.insert_deliveries(tx, event, now).map(Ok);
        };
        if !first.routed && self.new.routed {
            // No route took the first one, and one does now: nothing was said yet, so this is no repetition. It is what
            // people hope for who mend a route and press "redeliver".
            tx.prepare_cached("UPDATE event SET routed = 1 WHERE number = ?1")?
                .execute([first.number])?;
            return self.insert_deliveries(tx, first.number, now).map(Ok);
        }
        let became = became(tx, first.number)?;
        let put_back = put_back(tx, first.number, now)?;
        Ok(Ok(Kept::Repeat { became, put_back }))
    }

    fn bytes(&self) -> usize {
        let messages: usize = self.messages.iter().flatten().map(String::len).sum();
        self.new.event.raw.len() + self.header.len() + self.query.len() + messages
    }

    fn grows(&self) -> bool {
        true
    }

    fn rings(&self, kept: &Kept) -> bool {
        match kept {
            Kept::New { .. } => self.messages.iter().any(Option::is_some),
            Kept::Repeat { put_back, .. } => *put_back > 0,
        }
    }
}

fn insert_delivery(
    db: &Connection,
    event: i64,
    delivery: &NewDelivery,
    message: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let name = delivery.conversation.lane();
    let (lane, position, state, reason) = match &delivery.rendered {
        Rendered::Ready(_) => {
            let (lane, position) = lanes::append(db, &name, now)?;
            (lane, Some(position), DeliveryState::Waiting, None)
        }
        // It holds no place: a template's mistake must not stop what stands behind it.
        Rendered::Broken(reason) => (
            lanes::find_or_make(db, &name)?,
            None,
            DeliveryState::Unrendered,
            Some(reason),
        ),
    };
    db.prepare_cached(
        "INSERT INTO delivery (id, event, lane, position, state, due, kept, expires, destination, conversation, form,
                               message, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        delivery.id.0.as_bytes(),
        event,
        lane,
        position,
        state.word(),
        micros(now),
        delivery.expires.as_ref().map(|expires| micros(expires.at)),
        delivery.destination,
        delivery.conversation.to_string(),
        FORM,
        message,
        reason,
    ])?;
    Ok(())
}

fn became(db: &Connection, event: i64) -> rusqlite::Result<BTreeMap<DeliveryState, usize>> {
    db.prepare_cached("SELECT state, count(*) FROM delivery WHERE event = ?1 GROUP BY state")?
        .query_map([event], |row| {
            let many = count(row.get(1)?);
            Ok((
                state(0, &row.get::<_, String>(0)?)?,
                usize::try_from(many).unwrap_or(usize::MAX),
            ))
        })?
        .collect()
}

/// Puts what ended dead or refused back at the end of its lane: people press "redeliver" to have it tried again.
/// It is a new send with a time of its own to try.
fn put_back(db: &Connection, event: i64, now: Timestamp) -> rusqlite::Result<usize> {
    let ended: Vec<(i64, String)> = db
        .prepare_cached(
            "SELECT d.number, l.name FROM delivery d JOIN lane l ON l.number = d.lane
             WHERE d.event = ?1 AND d.state IN ('dead', 'refused') ORDER BY d.number",
        )?
        .query_map([event], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (delivery, lane) in &ended {
        let (_, position) = lanes::append(db, &lane.clone().into(), now)?;
        db.prepare_cached(
            "UPDATE delivery SET state = 'waiting', position = ?2, due = ?3, reason = NULL, first_attempt = NULL,
                                 sends = sends + 1
             WHERE number = ?1",
        )?
        .execute(params![delivery, position, micros(now)])?;
    }
    Ok(ended.len())
}
