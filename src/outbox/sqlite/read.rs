//! Questions. Each runs on a connection of its own and sees what was committed.

use rusqlite::{Connection, OptionalExtension, Row};

use super::rows::{conversation, count, delivery_id, moment, state, unreadable};
use crate::model::{Attempt, DeliveryId, Receipt};
use crate::outbox::{AttemptRecord, Counts, DeliveryRecord, NextDue};

/// When the first lane that nobody holds becomes due.
pub(super) fn next_due(db: &Connection) -> rusqlite::Result<NextDue> {
    db.prepare_cached("SELECT min(due) FROM lane WHERE due IS NOT NULL")?
        .query_row([], |row| {
            Ok(NextDue {
                send: row.get::<_, Option<i64>>(0)?.map(moment),
                look: None,
            })
        })
}

/// What the tally says, and the one moment that an index knows.
pub(super) fn counts(db: &Connection) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let mut tally = db.prepare_cached("SELECT what, many FROM tally")?;
    let mut rows = tally.query([])?;
    while let Some(row) = rows.next()? {
        let many = count(row.get(1)?);
        match row.get_ref(0)?.as_str()? {
            "events" => counts.events = many,
            "unrouted" => counts.unrouted = many,
            word => {
                let _none = counts.deliveries.insert(state(0, word)?, many);
            }
        }
    }
    counts.oldest_waiting = db
        .prepare_cached("SELECT min(kept) FROM delivery WHERE state IN ('waiting', 'sending')")?
        .query_row([], |row| Ok(row.get::<_, Option<i64>>(0)?.map(moment)))?;
    Ok(counts)
}

/// What a delivery's row holds, without its attempts; its number first.
const DELIVERY: &str = "SELECT d.number, d.id, e.bridge, e.id, d.destination, d.conversation, d.state, d.reason, d.kept, d.message, e.number, e.kind, d.seq
     FROM delivery d JOIN event e ON e.number = d.event";

/// One delivery with its attempts.
pub(super) fn find_delivery(
    db: &Connection,
    id: DeliveryId,
) -> rusqlite::Result<Option<DeliveryRecord>> {
    let found = db
        .prepare_cached(&format!("{DELIVERY} WHERE d.id = ?1"))?
        .query_row([id.0.as_bytes()], delivery)
        .optional()?;
    found.map(|found| with_attempts(db, found)).transpose()
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<(i64, DeliveryRecord)> {
    let conversation = conversation(5, &row.get::<_, String>(5)?)?;
    let message: Option<String> = row.get(9)?;
    let record = DeliveryRecord {
        number: row.get(0)?,
        event_number: row.get(10)?,
        kind: row.get(11)?,
        due: None,
        expires: None,
        folds: 0,
        seq: row.get(12)?,
        id: delivery_id(row.get(1)?),
        bridge: row.get(2)?,
        event: row.get(3)?,
        destination: row.get(4)?,
        lane: conversation.lane(),
        conversation,
        state: state(6, &row.get::<_, String>(6)?)?,
        reason: row.get(7)?,
        kept: moment(row.get(8)?),
        message: message
            .map(|text| serde_json::from_str(&text).map_err(|error| unreadable(9, error)))
            .transpose()?,
        receipt: None,
        attempts: Vec::new(),
    };
    Ok((row.get(0)?, record))
}

fn with_attempts(
    db: &Connection,
    (number, mut record): (i64, DeliveryRecord),
) -> rusqlite::Result<DeliveryRecord> {
    let mut attempts = db.prepare_cached(
        "SELECT number, operation_id, began, ended, verdict, receipt FROM attempt WHERE delivery = ?1 ORDER BY number",
    )?;
    let mut rows = attempts.query([number])?;
    while let Some(row) = rows.next()? {
        record.attempts.push(AttemptRecord {
            attempt: Attempt {
                number: row.get(0)?,
                operation_id: row.get(1)?,
                began: moment(row.get(2)?),
            },
            ended: row.get::<_, Option<i64>>(3)?.map(moment),
            verdict: row.get(4)?,
            evidence: None,
        });
        if let Some(text) = row.get::<_, Option<String>>(5)? {
            let receipt: Receipt =
                serde_json::from_str(&text).map_err(|error| unreadable(5, error))?;
            record.receipt = Some(receipt);
        }
    }
    Ok(record)
}
