//! The order inside a conversation. All that changes a lane's row stands here.
//!
//! A lane's `due` says when its head may be sent, by the rules of [`Standing`]; it is NULL while it may not, so that
//! one small index answers both "what is due" and "when is something due", however much waits. Every change of a lane ends
//! in [`set_due`].

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{count, micros, moment};
use super::task::Turn;
use crate::model::{Lane, Timestamp};
use crate::outbox::lane::{Head, Standing, Unconfirmed};

/// A place in a lane.
pub(super) struct Place {
    /// The lane's number.
    pub lane: i64,
    /// The position.
    pub position: i64,
    /// Nothing in the lane can be sent now: what takes this place may be its head. Then [`set_due`] has to follow.
    pub may_lead: bool,
}

/// Gives the next position in a lane; makes the lane if it is new.
pub(super) fn append(db: &Connection, lane: &Lane) -> rusqlite::Result<Place> {
    db.prepare_cached(
        "INSERT INTO lane (name, last_position) VALUES (?1, 1)
         ON CONFLICT (name) DO UPDATE SET last_position = last_position + 1
         RETURNING number, last_position, due IS NULL AND in_hand IS NULL",
    )?
    .query_row([lane.as_str()], |row| {
        Ok(Place {
            lane: row.get(0)?,
            position: row.get(1)?,
            may_lead: row.get(2)?,
        })
    })
}

/// The number of a lane; makes the lane if it is new.
pub(super) fn find_or_make(db: &Connection, lane: &Lane) -> rusqlite::Result<i64> {
    db.prepare_cached(
        "INSERT INTO lane (name, last_position) VALUES (?1, 0)
         ON CONFLICT (name) DO UPDATE SET last_position = last_position
         RETURNING number",
    )?
    .query_row([lane.as_str()], |row| row.get(0))
}

/// The number of a lane, if there is one of that name.
pub(super) fn find(db: &Connection, lane: &Lane) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT number FROM lane WHERE name = ?1")?
        .query_row([lane.as_str()], |row| row.get(0))
        .optional()
}

/// Takes the lane's head in hand: nobody else gets anything of this lane until [`release`].
pub(super) fn take(db: &Connection, lane: i64, delivery: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE lane SET in_hand = ?2, due = NULL WHERE number = ?1")?
        .execute([lane, delivery])?;
    Ok(())
}

/// Lets go of the lane; its head, the same or the next, becomes due as the rules say. With `look` there is something to
/// look for.
pub(super) fn release(
    turn: &Turn<'_>,
    lane: i64,
    rests_until: Option<Timestamp>,
    look: Option<Timestamp>,
    waits_for: Option<&str>,
) -> rusqlite::Result<()> {
    turn.db
        .prepare_cached(
            "UPDATE lane SET in_hand = NULL, rests_until = coalesce(?2, rests_until), waits_for = ?4,
                             look = coalesce(min(look, ?3), ?3, look),
                             look_newest = coalesce(max(look_newest, ?3), ?3, look_newest)
             WHERE number = ?1",
        )?
        .execute(params![
            lane,
            rests_until.map(micros),
            look.map(micros),
            waits_for
        ])?;
    set_due(turn, lane)?;
    Ok(())
}

/// Leaves a lane alone until `due`, and says why. Its head keeps its place.
pub(super) fn put_off(
    db: &Connection,
    lane: i64,
    due: Timestamp,
    waits_for: &str,
) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE lane SET due = ?2, waits_for = ?3 WHERE number = ?1")?
        .execute(params![lane, micros(due), waits_for])?;
    Ok(())
}

/// Writes down when the lane's head may be sent, by the rules.
pub(super) fn set_due(turn: &Turn<'_>, lane: i64) -> rusqlite::Result<Option<Timestamp>> {
    let due = standing(turn.db, lane)?.due(turn.window);
    turn.db
        .prepare_cached("UPDATE lane SET due = ?2 WHERE number = ?1")?
        .execute(params![lane, due.map(micros)])?;
    Ok(due)
}

/// What decides when the head of a lane may be sent.
pub(super) fn standing(db: &Connection, lane: i64) -> rusqlite::Result<Standing> {
    let mut standing = db
        .prepare_cached(
            "SELECT in_hand IS NOT NULL, stopped, held IS NOT NULL, rests_until FROM lane WHERE number = ?1",
        )?
        .query_row([lane], |row| {
            Ok(Standing {
                in_flight: row.get(0)?,
                stopped: row.get(1)?,
                held: row.get(2)?,
                rests_until: row.get::<_, Option<i64>>(3)?.map(moment),
                ..Standing::default()
            })
        })?;
    let head = db
        .prepare_cached(
            "SELECT due, bytes, conversation FROM delivery INDEXED BY delivery_open
             WHERE lane = ?1 AND state IN ('waiting', 'sending') ORDER BY position LIMIT 1",
        )?
        .query_row([lane], |row| {
            let head = Head {
                due: moment(row.get(0)?),
                bytes: count(row.get(1)?),
            };
            Ok((head, row.get::<_, String>(2)?))
        })
        .optional()?;
    let Some((head, conversation)) = head else {
        return Ok(standing);
    };
    let (unclear, unconfirmed) = db
        .prepare_cached(
            "SELECT total(state = 'sending'), total(state = 'accepted'),
                    coalesce(sum(iif(state = 'accepted', bytes, 0)), 0),
                    total(state = 'accepted' AND conversation <> ?2)
             FROM delivery INDEXED BY delivery_unsettled
             WHERE lane = ?1 AND unsettled_since IS NOT NULL",
        )?
        .query_row(params![lane, conversation], |row| {
            let unconfirmed = Unconfirmed {
                messages: row.get::<_, f64>(1)? as u64,
                bytes: count(row.get(2)?),
                elsewhere: row.get::<_, f64>(3)? > 0.0,
            };
            Ok((row.get::<_, f64>(0)? > 0.0, unconfirmed))
        })?;
    standing.in_flight |= unclear;
    standing.head = Some(head);
    standing.unconfirmed = unconfirmed;
    Ok(standing)
}

/// Whether something in the lane is not settled.
pub(super) fn is_unsettled(db: &Connection, lane: i64) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM delivery INDEXED BY delivery_unsettled
         WHERE lane = ?1 AND unsettled_since IS NOT NULL LIMIT 1",
    )?
    .exists([lane])
}

/// What opening the outbox finds: lets go of every lane that a process which is gone had in hand. The attempts stay as they
/// are, without an end, so it is unclear whether these messages were taken. How many there were.
pub(super) fn recover(turn: &Turn<'_>) -> rusqlite::Result<usize> {
    let in_hand: Vec<(i64, i64)> = turn
        .db
        .prepare("SELECT number, in_hand FROM lane WHERE in_hand IS NOT NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (lane, delivery) in &in_hand {
        turn.db
            .prepare_cached(
                "UPDATE delivery SET unsettled_since = ?2 WHERE number = ?1 AND state = 'sending'",
            )?
            .execute([*delivery, micros(turn.now)])?;
        release(
            turn,
            *lane,
            None,
            Some(turn.now),
            Some("the service stopped while this was being sent"),
        )?;
    }
    // The window may be another one since the last time.
    let windowed: Vec<i64> = turn
        .db
        .prepare("SELECT DISTINCT lane FROM delivery WHERE unsettled_since IS NOT NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for lane in windowed {
        set_due(turn, lane)?;
    }
    Ok(in_hand.len())
}
