//! Questions about the whole, about one thing, and about the lanes. Each runs on a connection of its own and sees what was committed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use super::rows::{conversation, count, delivery_id, micros, moment, state, unreadable};
use super::settle::Looking;
use crate::model::{
    Attempt, DeliveryId, DeliveryState, Event, EventId, Lane, Receipt, Severity, State, Timestamp,
};
use crate::outbox::desk::Standstill;
use crate::outbox::lane::{Tally, UNPROVEN_AFTER};
use crate::outbox::{
    AttemptRecord, Counts, DeliveryRecord, EventRecord, LaneRecord, NextDue, Page,
};

/// When the first lane that nobody holds becomes due, for sending and for a look.
pub(super) fn next_due(db: &Connection, looking: &Looking) -> rusqlite::Result<NextDue> {
    let send = db
        .prepare_cached("SELECT min(due) FROM lane WHERE due IS NOT NULL")?
        .query_row([], |row| Ok(row.get::<_, Option<i64>>(0)?.map(moment)))?;
    Ok(NextDue {
        send,
        look: looking.next(db)?,
    })
}

/// What the tally says, and what indexes know.
pub(super) fn counts(db: &Connection, file: &Path, now: Timestamp) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let mut tally = db.prepare_cached("SELECT what, many FROM tally")?;
    let mut rows = tally.query([])?;
    while let Some(row) = rows.next()? {
        let many = count(row.get(1)?);
        match row.get_ref(0)?.as_str()? {
            "events" => counts.events = many,
            "unrouted" => counts.unrouted = many,
            word if word == Tally::Dropped.word() => counts.dropped = many,
            word if word == Tally::PossibleRepeat.word() => counts.possible_repeats = many,
            word => {
                let _none = counts.deliveries.insert(state(0, word)?, many);
            }
        }
    }
    // Numbers are given in the order of keeping: the first one is the oldest.
    let mut oldest = db.prepare_cached(
        "SELECT kept FROM delivery INDEXED BY delivery_state WHERE state = ?1 ORDER BY number LIMIT 1",
    )?;
    for state in [DeliveryState::Waiting, DeliveryState::Sending] {
        let kept = oldest
            .query_row([state.word()], |row| Ok(moment(row.get(0)?)))
            .optional()?;
        counts.oldest_waiting = counts.oldest_waiting.into_iter().chain(kept).min();
    }
    let unproven = now.saturating_sub(UNPROVEN_AFTER).unwrap_or(Timestamp::MIN);
    db.prepare_cached(
        "SELECT min(unsettled_since), total(state = 'sending'), total(unsettled_since <= ?1)
         FROM delivery INDEXED BY delivery_unsettled_since WHERE unsettled_since IS NOT NULL",
    )?
    .query_row([micros(unproven)], |row| {
        counts.oldest_unsettled = row.get::<_, Option<i64>>(0)?.map(moment);
        counts.unclear = row.get::<_, f64>(1)? as u64;
        counts.unproven = row.get::<_, f64>(2)? as u64;
        Ok(())
    })?;
    counts.held = db
        .prepare_cached("SELECT count(*) FROM lane WHERE held IS NOT NULL")?
        .query_row([], |row| Ok(count(row.get(0)?)))?;
    counts.bytes = bytes_on_disk(file);
    Ok(counts)
}

/// What the database and its log take on disk.
fn bytes_on_disk(file: &Path) -> u64 {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    [file, Path::new(&log)]
        .into_iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|it| it.len())
        .sum()
}

/// What a delivery's row holds, without its attempts; see [`delivery`].
pub(super) const DELIVERY: &str =
    "d.number, d.id, d.bridge, e.id, d.event, d.kind, d.destination, d.conversation, d.state,
    d.reason, d.kept, d.due, d.expires, d.folds, d.seq";

/// A delivery from a row of [`DELIVERY`].
pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRecord> {
    let conversation = conversation(7, row.get_ref(7)?.as_str()?)?;
    let state = state(8, row.get_ref(8)?.as_str()?)?;
    Ok(DeliveryRecord {
        number: row.get(0)?,
        id: delivery_id(row.get(1)?),
        bridge: row.get(2)?,
        event: row.get(3)?,
        event_number: row.get(4)?,
        kind: row.get(5)?,
        destination: row.get(6)?,
        lane: conversation.lane(),
        conversation,
        state,
        reason: row.get(9)?,
        kept: moment(row.get(10)?),
        due: match state {
            DeliveryState::Waiting => Some(moment(row.get(11)?)),
            _ => None,
        },
        expires: row.get::<_, Option<i64>>(12)?.map(moment),
        folds: count(row.get(13)?),
        seq: row.get(14)?,
        message: None,
        receipt: None,
        attempts: Vec::new(),
    })
}

/// One delivery with its message and its attempts.
pub(super) fn find_delivery(
    db: &Connection,
    id: DeliveryId,
) -> rusqlite::Result<Option<DeliveryRecord>> {
    let found = db
        .prepare_cached(&format!(
            "SELECT {DELIVERY}, d.message FROM delivery d JOIN event e ON e.number = d.event WHERE d.id = ?1"
        ))?
        .query_row([id.0.as_bytes()], |row| {
            let mut found = delivery(row)?;
            let message: Option<String> = row.get(15)?;
            found.message = message
                .map(|text| serde_json::from_str(&text).map_err(|error| unreadable(15, error)))
                .transpose()?;
            Ok(found)
        })
        .optional()?;
    let Some(mut found) = found else {
        return Ok(None);
    };
    found.attempts = list_attempts(db, found.number)?;
    found.receipt = latest_receipt(db, found.number)?;
    Ok(Some(found))
}

/// OpenIM's answer to the latest attempt that has one.
pub(super) fn latest_receipt(db: &Connection, delivery: i64) -> rusqlite::Result<Option<Receipt>> {
    db.prepare_cached(
        "SELECT receipt FROM attempt WHERE delivery = ?1 AND receipt IS NOT NULL ORDER BY number DESC LIMIT 1",
    )?
    .query_row([delivery], |row| {
        serde_json::from_str(row.get_ref(0)?.as_str()?).map_err(|error| unreadable(0, error))
    })
    .optional()
}

fn list_attempts(db: &Connection, delivery: i64) -> rusqlite::Result<Vec<AttemptRecord>> {
    db.prepare_cached(
        "SELECT number, operation_id, began, ended, verdict, evidence FROM attempt WHERE delivery = ?1 ORDER BY number",
    )?
    .query_map([delivery], |row| {
        Ok(AttemptRecord {
            attempt: Attempt {
                number: row.get(0)?,
                operation_id: row.get(1)?,
                began: moment(row.get(2)?),
            },
            ended: row.get::<_, Option<i64>>(3)?.map(moment),
            verdict: row.get(4)?,
            evidence: row.get(5)?,
        })
    })?
    .collect()
}

/// What an event's row holds but its body; see [`event`].
pub(super) const EVENT: &str =
    "e.number, e.bridge, e.id, e.id_is, e.kind, e.happened, e.received, e.kept, e.routed, e.title,
    e.actor, e.link, e.severity, e.state, e.subject, e.header, e.query, e.body IS NOT NULL";

/// An event from a row of [`EVENT`], with `raw` as its body.
pub(super) fn event(row: &Row<'_>, raw: Vec<u8>) -> rusqlite::Result<EventRecord> {
    let text = |column: usize| row.get::<_, String>(column);
    let map = |column: usize| -> rusqlite::Result<BTreeMap<String, String>> {
        serde_json::from_str(row.get_ref(column)?.as_str()?)
            .map_err(|error| unreadable(column, error))
    };
    let id = match row.get_ref(3)?.as_str()? {
        "sender" => EventId::Sender(text(2)?),
        _ => EventId::Body(text(2)?),
    };
    let severity = text(12)?;
    let severity = Severity::ALL
        .into_iter()
        .find(|one| one.word() == severity)
        .ok_or_else(|| unreadable(12, format!("`{severity}` is no severity")))?;
    let state = match row.get::<_, Option<String>>(13)?.as_deref() {
        None => None,
        Some("open") => Some(State::Open),
        Some("changed") => Some(State::Changed),
        Some("closed") => Some(State::Closed),
        Some(other) => return Err(unreadable(13, format!("`{other}` is no state"))),
    };
    Ok(EventRecord {
        number: row.get(0)?,
        kept: moment(row.get(7)?),
        routed: row.get(8)?,
        has_body: row.get(17)?,
        event: Arc::new(Event {
            bridge: text(1)?,
            id,
            signed: None,
            kind: text(4)?,
            time: moment(row.get(5)?),
            received: moment(row.get(6)?),
            title: text(9)?,
            actor: text(10)?,
            link: text(11)?,
            severity,
            state,
            subject: text(14)?,
            header: map(15)?,
            query: map(16)?,
            body: serde_json::Value::Null,
            raw: raw.into(),
        }),
        became: BTreeMap::new(),
    })
}

/// One event with its body.
pub(super) fn find_event(db: &Connection, number: i64) -> rusqlite::Result<Option<EventRecord>> {
    let found = db
        .prepare_cached(&format!(
            "SELECT {EVENT}, e.body FROM event e WHERE e.number = ?1"
        ))?
        .query_row([number], |row| {
            let raw: Option<Vec<u8>> = row.get(18)?;
            event(row, raw.unwrap_or_default())
        })
        .optional()?;
    let Some(mut found) = found else {
        return Ok(None);
    };
    found.became = became(db, number)?;
    Ok(Some(found))
}

/// An event's deliveries by state.
pub(super) fn became(
    db: &Connection,
    event: i64,
) -> rusqlite::Result<BTreeMap<DeliveryState, usize>> {
    let mut became = BTreeMap::new();
    let mut states =
        db.prepare_cached("SELECT state FROM delivery INDEXED BY delivery_event WHERE event = ?1")?;
    let mut rows = states.query([event])?;
    while let Some(row) = rows.next()? {
        *became
            .entry(state(0, row.get_ref(0)?.as_str()?)?)
            .or_default() += 1;
    }
    Ok(became)
}

/// One lane, or all in which something waits, is unsettled, stopped or held.
pub(super) fn list_lanes(
    db: &Connection,
    lane: Option<&Lane>,
    page: Page,
) -> rusqlite::Result<Vec<LaneRecord>> {
    let (beyond, order, start) = match page.oldest_first {
        true => (">", "ASC", i64::MIN),
        false => ("<", "DESC", i64::MAX),
    };
    // Where none of these is set, nothing waits: what waits is due, or something is in hand, unsettled, stopped or held.
    let which = match lane {
        Some(_) => "name = ?1",
        None => {
            "?1 IS NULL AND (due IS NOT NULL OR in_hand IS NOT NULL OR look IS NOT NULL OR stopped OR held IS NOT NULL)"
        }
    };
    db.prepare_cached(&format!(
        "SELECT number, name, due, waits_for, held, stopped, in_hand IS NOT NULL,
                (SELECT count(*) FROM delivery d INDEXED BY delivery_open
                 WHERE d.lane = l.number AND d.state IN ('waiting', 'sending')),
                (SELECT count(*) FROM delivery d INDEXED BY delivery_unsettled
                 WHERE d.lane = l.number AND d.unsettled_since IS NOT NULL AND d.state = 'accepted'),
                (SELECT count(*) FROM delivery d INDEXED BY delivery_unsettled
                 WHERE d.lane = l.number AND d.unsettled_since IS NOT NULL AND d.state = 'sending')
         FROM lane l WHERE {which} AND number {beyond} ?2 ORDER BY number {order} LIMIT ?3"
    ))?
    .query_map(
        (
            lane.map(Lane::as_str),
            page.after.unwrap_or(start),
            i64::try_from(page.most).unwrap_or(i64::MAX),
        ),
        lane_record,
    )?
    .collect()
}

fn lane_record(row: &Row<'_>) -> rusqlite::Result<LaneRecord> {
    let due: Option<i64> = row.get(2)?;
    let held: Option<String> = row.get(4)?;
    let (stopped, in_hand): (bool, bool) = (row.get(5)?, row.get(6)?);
    let open = count(row.get(7)?);
    let (accepted, unclear) = (count(row.get(8)?), count(row.get(9)?));
    let waiting = open
        .saturating_sub(unclear)
        .saturating_sub(u64::from(in_hand));
    let waits_for = LaneRecord::waits_for(
        held.as_deref(),
        Standstill {
            in_hand,
            stopped,
            unclear,
            only_unfound: (due.is_none() && waiting > 0).then_some(accepted),
        },
        row.get(3)?,
    );
    Ok(LaneRecord {
        number: row.get(0)?,
        lane: row.get::<_, String>(1)?.into(),
        waiting,
        unsettled: accepted + unclear,
        due: due.map(moment),
        waits_for,
        held,
        owner: None,
    })
}
