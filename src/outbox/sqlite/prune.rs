//! Removing what is old, a chunk at a time: first the contents of events, much later what is left of them.
//!
//! What is freed is used again for new events. Where much of the file is free it is given back to the disk (incremental
//! auto-vacuum), so the file shrinks after a flood.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, params};

use super::rows::{count, micros};
use super::task::{Task, Turn};
use crate::model::Timestamp;
use crate::outbox::{OutboxError, Prune, Pruned};

/// Per event that may go, so many are looked at: at the old end may stand many that are not delivered yet.
const LOOKED_AT: usize = 20;

/// Free pages (4 KiB each) that stay in the file for what comes next: 16 MiB.
const SPARE_PAGES: u64 = 4096;

/// So many free pages are given back in one transaction.
const GIVEN_BACK: u64 = 1024;

/// Where the last chunk ended: the moment and the number of the event. What stands before it was looked at and stays.
pub(super) type Place = Arc<Mutex<Places>>;

/// Where the last chunks ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    full: Option<(i64, i64)>,
    emptied: Option<(i64, i64)>,
}

/// A chunk of pruning.
pub(super) struct Pruning {
    pub prune: Prune,
    pub most: usize,
    pub place: Place,
}

impl Task for Pruning {
    type Gives = Pruned;

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<Pruned, OutboxError>> {
        let mut places = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pruned = Pruned::default();
        let size = Size::of(turn.db)?;
        let is_large = self
            .prune
            .max_bytes
            .is_some_and(|most| size.used_bytes() > most);
        let before = match is_large {
            true => Timestamp::MAX,
            false => self.prune.before,
        };
        let old = Old::find(
            turn.db,
            "event_full",
            "NOT NULL",
            places.full,
            before,
            self.most,
        )?;
        for event in &old.events {
            empty(turn.db, *event)?;
            pruned.emptied += 1;
        }
        places.full = old.next;
        let before = self.prune.forgets_before(turn.now);
        let gone = Old::find(
            turn.db,
            "event_emptied",
            "NULL",
            places.emptied,
            before,
            self.most,
        )?;
        for event in &gone.events {
            forget(turn.db, *event)?;
            pruned.forgotten += 1;
        }
        places.emptied = gone.next;
        let shrinks = give_back(turn.db)?;
        pruned.more = old.next.is_some() || gone.next.is_some() || shrinks;
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = places;
        Ok(Ok(pruned))
    }
}

/// What is old enough and may go.
struct Old {
    events: Vec<i64>,
    /// Where to go on; `None` when nothing older is left.
    next: Option<(i64, i64)>,
}

impl Old {
    /// At most `most` events that were kept before `before` and owe nothing any more, by the index that holds those whose
    /// body `IS` so, from `from` on.
    fn find(
        db: &Connection,
        index: &str,
        is: &str,
        from: Option<(i64, i64)>,
        before: Timestamp,
        most: usize,
    ) -> rusqlite::Result<Old> {
        let (kept, number) = from.unwrap_or((i64::MIN, i64::MIN));
        let mut old = db.prepare_cached(&format!(
            "SELECT e.kept, e.number,
                    EXISTS (SELECT 1 FROM delivery d INDEXED BY delivery_event WHERE d.event = e.number
                            AND (d.state IN ('waiting', 'sending', 'unrendered') OR d.unsettled_since IS NOT NULL))
             FROM event e INDEXED BY {index}
             WHERE e.body IS {is} AND (e.kept, e.number) > (?1, ?2) AND e.kept < ?3 ORDER BY e.kept, e.number LIMIT ?4"
        ))?;
        let looked_at = most.saturating_mul(LOOKED_AT);
        let mut rows = old.query(params![
            kept,
            number,
            micros(before),
            i64::try_from(looked_at).unwrap_or(i64::MAX)
        ])?;
        let mut found = Old {
            events: Vec::new(),
            next: None,
        };
        let mut looked = 0;
        while let Some(row) = rows.next()? {
            looked += 1;
            let owes: bool = row.get(2)?;
            if !owes {
                found.events.push(row.get(1)?);
            }
            if found.events.len() == most || looked == looked_at {
                found.next = Some((row.get(0)?, row.get(1)?));
                break;
            }
        }
        Ok(found)
    }
}

/// Removes the contents of an event and what was made of it; what became of it stays.
fn empty(db: &Connection, event: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE event SET body = NULL, header = '{}', query = '{}' WHERE number = ?1",
    )?
    .execute([event])?;
    forget_attempts(db, event)?;
    db.prepare_cached("UPDATE delivery SET message = NULL WHERE event = ?1")?
        .execute([event])?;
    Ok(())
}

/// Removes an event with all that belongs to it.
fn forget(db: &Connection, event: i64) -> rusqlite::Result<()> {
    forget_attempts(db, event)?;
    db.prepare_cached("DELETE FROM delivery WHERE event = ?1")?
        .execute([event])?;
    db.prepare_cached("DELETE FROM event WHERE number = ?1")?
        .execute([event])?;
    Ok(())
}

fn forget_attempts(db: &Connection, event: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM attempt WHERE delivery IN (SELECT number FROM delivery WHERE event = ?1)",
    )?
    .execute([event])?;
    Ok(())
}

/// How large the file is, in pages.
struct Size {
    pages: u64,
    free: u64,
    page: u64,
}

impl Size {
    fn of(db: &Connection) -> rusqlite::Result<Size> {
        let number =
            |name: &str| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0).map(count));
        Ok(Size {
            pages: number("page_count")?,
            free: number("freelist_count")?,
            page: number("page_size")?,
        })
    }

    /// Without what is free: that is used again, so pruning need not go on because of it.
    fn used_bytes(&self) -> u64 {
        self.pages.saturating_sub(self.free) * self.page
    }
}

/// Gives free pages back to the disk where they are more than a quarter of the file. Whether there are still too many.
fn give_back(db: &Connection) -> rusqlite::Result<bool> {
    let size = Size::of(db)?;
    let kept = SPARE_PAGES.max(size.pages / 4);
    let too_many = size.free.saturating_sub(kept);
    if too_many == 0 {
        return Ok(false);
    }
    // One step gives back one page.
    let mut vacuum = db.prepare(&format!(
        "PRAGMA incremental_vacuum({})",
        too_many.min(GIVEN_BACK)
    ))?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    // A file that was made without auto-vacuum keeps its pages, for what comes next.
    let left = Size::of(db)?.free;
    Ok(left < size.free && left > kept)
}
