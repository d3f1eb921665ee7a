//! The order inside a conversation. All that changes a lane's row stands here.
//!
//! A lane's `due` says when its head may be sent. It is NULL when nothing waits and while the head is in hand, so that one
//! small index answers both "what is due" and "when is something due", however much waits.

use rusqlite::{Connection, TransactionBehavior, params};

use super::rows::micros;
use crate::model::{Lane, Timestamp};

/// Gives the next position in a lane to something that may be sent from `due` on; makes the lane if it is new.
/// The lane's number and the position.
pub(super) fn append(db: &Connection, lane: &Lane, due: Timestamp) -> rusqlite::Result<(i64, i64)> {
    db.prepare_cached(
        "INSERT INTO lane (name, last_position, due) VALUES (?1, 1, ?2)
         ON CONFLICT (name) DO UPDATE SET
             last_position = last_position + 1,
             due = CASE WHEN in_hand IS NULL THEN coalesce(due, max(?2, coalesce(rests_until, ?2))) END
         RETURNING number, last_position",
    )?
    .query_row(params![lane.as_str(), micros(due)], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

/// The number of a lane, for something that holds no place in it yet; makes the lane if it is new.
pub(super) fn find_or_make(db: &Connection, lane: &Lane) -> rusqlite::Result<i64> {
    db.prepare_cached(
        "INSERT INTO lane (name, last_position) VALUES (?1, 0)
         ON CONFLICT (name) DO UPDATE SET last_position = last_position
         RETURNING number",
    )?
    .query_row([lane.as_str()], |row| row.get(0))
}

/// Takes the lane's head in hand: nobody else gets anything of this lane until [`release`].
pub(super) fn take(db: &Connection, lane: i64, delivery: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE lane SET in_hand = ?2, due = NULL, epoch = epoch + 1 WHERE number = ?1",
    )?
    .execute([lane, delivery])?;
    Ok(())
}

/// Lets go of the lane; its head, the same or the next, becomes due.
pub(super) fn release(
    db: &Connection,
    lane: i64,
    rests_until: Option<Timestamp>,
    waits_for: Option<&str>,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE lane SET in_hand = NULL, rests_until = coalesce(?2, rests_until), waits_for = ?3 WHERE number = ?1",
    )?
    .execute(params![lane, rests_until.map(micros), waits_for])?;
    set_due(db, lane)
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

fn set_due(db: &Connection, lane: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE lane SET due =
             (SELECT max(d.due, coalesce(lane.rests_until, d.due)) FROM delivery d
              WHERE d.lane = lane.number AND d.state IN ('waiting', 'sending')
              ORDER BY d.position LIMIT 1)
         WHERE number = ?1",
    )?
    .execute([lane])?;
    Ok(())
}

/// Lets go of every lane that a process which is gone had in hand. How many there were.
/// The attempts stay as they are: one without an end is ambiguous.
pub(super) fn recover(db: &mut Connection) -> rusqlite::Result<usize> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let in_hand: Vec<(i64, i64)> = tx
        .prepare("SELECT number, in_hand FROM lane WHERE in_hand IS NOT NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (lane, delivery) in &in_hand {
        tx.prepare_cached(
            "UPDATE delivery SET state = 'waiting' WHERE number = ?1 AND state = 'sending'",
        )?
        .execute([delivery])?;
        release(
            &tx,
            *lane,
            None,
            Some("the service stopped while this was being sent"),
        )?;
    }
    tx.commit()?;
    Ok(in_hand.len())
}
