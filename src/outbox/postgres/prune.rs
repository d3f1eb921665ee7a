//! Removing what is old, a chunk at a time: first the contents of events, much later what is left of them. What is freed is
//! used again for new events (autovacuum).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::pool::{Failed, Task, Tx};
use super::rows::{get, micros, signed};
use crate::model::Timestamp;
use crate::outbox::{Prune, Pruned};

/// Per event that may go, so many are looked at: at the old end may stand many that are not delivered yet.
const LOOKED_AT: u64 = 20;

/// Rows beside bodies and messages, and their indexes: so many bytes are added for each event to what its contents take.
const PER_EVENT: i64 = 2 << 10;

/// Where the last chunks ended: the moment and the number of the event. What stands before it was looked at and stays.
#[derive(Clone, Default)]
pub(super) struct PrunedTo(Arc<Mutex<Places>>);

#[derive(Clone, Copy, Debug, Default)]
struct Places {
    full: Option<(i64, i64)>,
    emptied: Option<(i64, i64)>,
}

/// A chunk of pruning.
pub(super) struct Pruning {
    pub prune: Prune,
    pub most: usize,
    pub now: Timestamp,
    pub place: PrunedTo,
}

impl Task for Pruning {
    type Gives = Pruned;

    async fn apply(&self, tx: &Tx) -> Result<Pruned, Failed> {
        let mut places = *self.place.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match self.prune.max_bytes {
            // Freed space stays in PostgreSQL's files, so the files say nothing: what is kept is counted.
            Some(most) if kept_bytes(tx).await? > signed(most) => Timestamp::MAX,
            _ => self.prune.before,
        };
        let old = Old::find(tx, "NOT NULL", places.full, before, self.most).await?;
        let old_ones = only_settled(tx, &old.events).await?;
        empty(tx, &old_ones).await?;
        places.full = old.next;
        let before = self.prune.forgets_before(self.now);
        let gone = Old::find(tx, "NULL", places.emptied, before, self.most).await?;
        let gone_ones = only_settled(tx, &gone.events).await?;
        forget(tx, &gone_ones).await?;
        places.emptied = gone.next;
        *self.place.0.lock().unwrap_or_else(PoisonError::into_inner) = places;
        Ok(Pruned {
            emptied: old_ones.len() as u64,
            forgotten: gone_ones.len() as u64,
            more: old.next.is_some() || gone.next.is_some(),
        })
    }
}

async fn kept_bytes(tx: &Tx) -> Result<i64, Failed> {
    let sum = "SELECT coalesce(sum(CASE what WHEN 'bytes' THEN many ELSE many * $1 END), 0)::bigint FROM tally
               WHERE what IN ('bytes', 'events')";
    match tx.find(sum, &[&PER_EVENT]).await? {
        Some(row) => get(&row, 0),
        None => Ok(0),
    }
}

/// What is old enough and may go.
struct Old {
    events: Vec<i64>,
    /// Where to go on; `None` when nothing older is left.
    next: Option<(i64, i64)>,
}

impl Old {
    /// At most `most` events that were kept before `before` and owe nothing any more, of those whose body `IS` so, from
    /// `from` on. An event that is being repeated at this moment is passed over.
    async fn find(
        tx: &Tx,
        is: &str,
        from: Option<(i64, i64)>,
        before: Timestamp,
        most: usize,
    ) -> Result<Old, Failed> {
        let (kept, number) = from.unwrap_or((i64::MIN, i64::MIN));
        let looked_at = (most as u64).saturating_mul(LOOKED_AT);
        let sql = format!(
            "SELECT e.kept, e.number,
                    EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.number
                            AND (d.state IN ('waiting', 'sending', 'unrendered') OR d.unsettled_since IS NOT NULL))
             FROM event e
             WHERE e.body IS {is} AND (e.kept, e.number) > ($1, $2) AND e.kept < $3
             ORDER BY e.kept, e.number LIMIT $4 FOR UPDATE SKIP LOCKED"
        );
        let rows = tx
            .query(&sql, &[&kept, &number, &micros(before), &signed(looked_at)])
            .await?;
        let mut found = Old {
            events: Vec::new(),
            next: None,
        };
        for (looked, row) in (1_u64..).zip(&rows) {
            let owes: bool = get(row, 2)?;
            if !owes {
                found.events.push(get(row, 1)?);
            }
            if found.events.len() == most || looked == looked_at {
                found.next = Some((get(row, 0)?, get(row, 1)?));
                break;
            }
        }
        Ok(found)
    }
}

/// Those of the events whose deliveries are all ended, and stay so until we are done: what somebody puts back or looks for
/// at this moment is left alone.
async fn only_settled(tx: &Tx, events: &[i64]) -> Result<Vec<i64>, Failed> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let (locked, all) = tx
        .both(
            "SELECT event, state IN ('waiting', 'sending', 'unrendered') OR unsettled_since IS NOT NULL
             FROM delivery WHERE event = ANY($1) FOR UPDATE SKIP LOCKED",
            &[&events],
            "SELECT event, count(*) FROM delivery WHERE event = ANY($1) GROUP BY event",
            &[&events],
        )
        .await?;
    let mut left: BTreeMap<i64, i64> = events.iter().map(|event| (*event, 0)).collect();
    for row in &all {
        left.insert(get(row, 0)?, get(row, 1)?);
    }
    for row in &locked {
        if !get::<bool>(row, 1)? {
            *left.entry(get(row, 0)?).or_default() -= 1;
        }
    }
    left.retain(|_, left| *left == 0);
    Ok(left.into_keys().collect())
}

/// Removes the contents of events and what was made of them; what became of them stays.
async fn empty(tx: &Tx, events: &[i64]) -> Result<(), Failed> {
    if events.is_empty() {
        return Ok(());
    }
    tx.execute(
        "UPDATE event SET body = NULL, header = '{}', query = '{}' WHERE number = ANY($1)",
        &[&events],
    )
    .await?;
    forget_attempts(tx, events).await?;
    tx.execute(
        "UPDATE delivery SET message = NULL WHERE event = ANY($1)",
        &[&events],
    )
    .await?;
    Ok(())
}

/// Removes events with all that belongs to them.
async fn forget(tx: &Tx, events: &[i64]) -> Result<(), Failed> {
    if events.is_empty() {
        return Ok(());
    }
    forget_attempts(tx, events).await?;
    tx.execute("DELETE FROM delivery WHERE event = ANY($1)", &[&events])
        .await?;
    tx.execute("DELETE FROM event WHERE number = ANY($1)", &[&events])
        .await?;
    Ok(())
}

async fn forget_attempts(tx: &Tx, events: &[i64]) -> Result<(), Failed> {
    tx.execute(
        "DELETE FROM attempt WHERE delivery IN (SELECT number FROM delivery WHERE event = ANY($1))",
        &[&events],
    )
    .await?;
    Ok(())
}
