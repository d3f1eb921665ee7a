//! Keeping an event with its deliveries, and knowing one that comes again.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::rows::{count, micros, moment, state};
use super::task::{Task, Turn};
use super::{FORM, lanes};
use crate::model::{DeliveryState, EventId, Message, NewDelivery, Rendered, State, Timestamp};
use crate::outbox::lane::weight;
use crate::outbox::{Kept, NewEvent, OutboxError};

/// A sender without ids repeats itself within this time (its retry); the same body later is news (its reminder).
const RETRY_WINDOW: Duration = Duration::from_secs(60);

/// An event with everything that can be made ready before the writer has its turn.
pub(super) struct Keep {
    new: NewEvent,
    body_hash: [u8; 32],
    header: String,
    query: String,
    /// One for each delivery.
    messages: Vec<Encoded>,
}

/// A message as it is kept; `None` where it was not rendered.
pub(super) type Encoded = Option<Written>;

/// A message, ready for its row.
pub(super) struct Written {
    /// As JSON.
    pub json: String,
    /// What it adds to the window.
    pub bytes: i64,
}

impl Written {
    /// A message as it is kept.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn of(message: &Message) -> Result<Written, OutboxError> {
        Ok(Written {
            json: serde_json::to_string(message)
                .map_err(|error| OutboxError::Broken(error.to_string()))?,
            bytes: i64::try_from(weight(message)).unwrap_or(i64::MAX),
        })
    }
}

/// The messages of deliveries as they are kept.
pub(super) fn encode(deliveries: &[NewDelivery]) -> Result<Vec<Encoded>, OutboxError> {
    deliveries
        .iter()
        .map(|delivery| match &delivery.rendered {
            Rendered::Ready(message) => Written::of(message).map(Some),
            Rendered::Broken(_) => Ok(None),
        })
        .collect()
}

/// An event that was kept before.
struct First {
    number: i64,
    routed: bool,
}

impl First {
    /// From a row that begins with its number and `routed`.
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<First> {
        Ok(First {
            number: row.get(0)?,
            routed: row.get(1)?,
        })
    }
}

impl Keep {
    /// Hashes and encodes, on the caller's time.
    ///
    /// # Errors
    /// When a message cannot be written as JSON.
    pub fn prepare(new: NewEvent) -> Result<Keep, OutboxError> {
        let json = |error: serde_json::Error| OutboxError::Broken(error.to_string());
        Ok(Keep {
            body_hash: Sha256::digest(&new.event.raw).into(),
            header: serde_json::to_string(&new.event.header).map_err(json)?,
            query: serde_json::to_string(&new.event.query).map_err(json)?,
            messages: encode(&new.deliveries)?,
            new,
        })
    }

    /// The event that this one repeats.
    fn find_first(&self, db: &Connection) -> rusqlite::Result<Option<First>> {
        match self.find_copied(db)? {
            None => self.find_by_id(db),
            copied => Ok(copied),
        }
    }

    /// The event that was signed with the same time: what was not signed, an id among it, makes no difference.
    fn find_copied(&self, db: &Connection) -> rusqlite::Result<Option<First>> {
        let event = &self.new.event;
        let Some(digest) = event.signed else {
            return Ok(None);
        };
        db.prepare_cached(
            "SELECT e.number, e.routed FROM signed s JOIN event e ON e.number = s.event
             WHERE s.bridge = ?1 AND s.digest = ?2",
        )?
        .query_row(params![event.bridge, digest], First::read)
        .optional()
    }

    /// The event with the same id and body. The latest counts: a reminder is the first of its own retries.
    fn find_by_id(&self, db: &Connection) -> rusqlite::Result<Option<First>> {
        let event = &self.new.event;
        let same = db
            .prepare_cached(
                "SELECT number, routed, received FROM event WHERE bridge = ?1 AND id = ?2 AND body_hash = ?3
                 ORDER BY number DESC LIMIT 1",
            )?
            .query_row(
                params![event.bridge, event.id.as_str(), self.body_hash],
                |row| Ok((First::read(row)?, moment(row.get(2)?))),
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

    /// Remembers what was signed, also when it was signed anew for an event that is there.
    fn remember_signed(&self, db: &Connection, number: i64) -> rusqlite::Result<()> {
        let event = &self.new.event;
        if let Some(digest) = event.signed {
            db.prepare_cached(
                "INSERT INTO signed (bridge, digest, event) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?
            .execute(params![event.bridge, digest, number])?;
        }
        Ok(())
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

    fn insert_deliveries(&self, turn: &Turn<'_>, event: i64) -> rusqlite::Result<Kept> {
        let to = Origin {
            event,
            bridge: &self.new.event.bridge,
            kind: &self.new.event.kind,
        };
        for (delivery, message) in self.new.deliveries.iter().zip(&self.messages) {
            insert_delivery(turn, &to, delivery, message)?;
        }
        Ok(Kept::New {
            deliveries: self.new.deliveries.len(),
        })
    }
}

impl Task for Keep {
    type Gives = Kept;

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<Kept, OutboxError>> {
        let Some(first) = self.find_first(turn.db)? else {
            self.warn_of_another_body(turn.db)?;
            let event = self.insert_event(turn.db, turn.now)?;
            self.remember_signed(turn.db, event)?;
            return self.insert_deliveries(turn, event).map(Ok);
        };
        self.remember_signed(turn.db, first.number)?;
        if !first.routed && self.new.routed {
            // No route took the first one, and one does now: nothing was said yet, so this is no repetition. It is what
            // people hope for who mend a route and press "redeliver".
            set_routed(turn.db, first.number)?;
            return self.insert_deliveries(turn, first.number).map(Ok);
        }
        let became = became(turn.db, first.number)?;
        let put_back = put_back_ended(turn, first.number)?;
        Ok(Ok(Kept::Repeat { became, put_back }))
    }

    fn bytes(&self) -> usize {
        let messages = self.messages.iter().flatten();
        let messages: usize = messages.map(|message| message.json.len()).sum();
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

/// Where a delivery comes from.
pub(super) struct Origin<'a> {
    pub event: i64,
    pub bridge: &'a str,
    pub kind: &'a str,
}

/// Marks an event as taken by a route.
pub(super) fn set_routed(db: &Connection, event: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE event SET routed = 1 WHERE number = ?1")?
        .execute([event])?;
    Ok(())
}

/// Keeps a delivery, at the end of its lane.
pub(super) fn insert_delivery(
    turn: &Turn<'_>,
    from: &Origin<'_>,
    delivery: &NewDelivery,
    message: &Encoded,
) -> rusqlite::Result<()> {
    let name = delivery.conversation.lane();
    let (place, state, reason) = match &delivery.rendered {
        Rendered::Ready(_) => {
            let place = lanes::append(turn.db, &name)?;
            (Some(place), DeliveryState::Waiting, None)
        }
        // It holds no place: a template's mistake must not stop what stands behind it.
        Rendered::Broken(reason) => (None, DeliveryState::Unrendered, Some(reason)),
    };
    let lane = match &place {
        Some(place) => place.lane,
        None => lanes::find_or_make(turn.db, &name)?,
    };
    let expires = delivery.expires.as_ref();
    turn.db
        .prepare_cached(
            "INSERT INTO delivery (id, event, lane, position, state, due, kept, expires, destination, conversation, form,
                                   message, reason, bridge, kind, bytes, folded)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            delivery.id.0.as_bytes(),
            from.event,
            lane,
            place.as_ref().map(|place| place.position),
            state.word(),
            micros(turn.now),
            expires.map(|expires| micros(expires.at)),
            delivery.destination,
            delivery.conversation.to_string(),
            FORM,
            message.as_ref().map(|message| &message.json),
            reason,
            from.bridge,
            from.kind,
            message.as_ref().map_or(0, |message| message.bytes),
            expires.map(|expires| &expires.folded),
        ])?;
    if place.is_some_and(|place| place.may_lead) {
        lanes::set_due(turn, lane)?;
    }
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

/// Puts what ended dead or refused back at the end of its lane: people press "redeliver" to have it tried again. How many
/// there were.
fn put_back_ended(turn: &Turn<'_>, event: i64) -> rusqlite::Result<usize> {
    let ended: Vec<i64> = turn
        .db
        .prepare_cached(
            "SELECT number FROM delivery WHERE event = ?1 AND state IN ('dead', 'refused') AND message IS NOT NULL
             ORDER BY number",
        )?
        .query_map([event], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for delivery in &ended {
        put_back(turn, *delivery)?;
    }
    Ok(ended.len())
}

/// Puts what has ended back at the end of its lane. It is a new send with a time of its own to try. Somebody wants to see
/// it, so it does not come too late any more, unless it speaks for others.
pub(super) fn put_back(turn: &Turn<'_>, delivery: i64) -> rusqlite::Result<()> {
    let lane: String = turn
        .db
        .prepare_cached(
            "SELECT l.name FROM delivery d JOIN lane l ON l.number = d.lane WHERE d.number = ?1",
        )?
        .query_row([delivery], |row| row.get(0))?;
    let place = lanes::append(turn.db, &lane.into())?;
    turn.db
        .prepare_cached(
            "UPDATE delivery SET state = 'waiting', position = ?2, due = ?3, reason = NULL, first_attempt = NULL,
                                 sends = sends + 1, expires = iif(folds > 1, expires, NULL), folds = iif(folds > 1, folds, 0)
             WHERE number = ?1",
        )?
        .execute(params![delivery, place.position, micros(turn.now)])?;
    if place.may_lead {
        lanes::set_due(turn, place.lane)?;
    }
    Ok(())
}
