//! Looking for what was sent in OpenIM's history: what is to be looked for, and writing down what was found.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::lanes;
use super::rows::{conversation, count, delivery_id, micros, moment, state, unreadable};
use super::task::{Task, Turn};
use crate::model::{Attempt, Conversation, DeliveryId, Hold, Lane, Timestamp};
use crate::outbox::lane::{self, Fateful, Step};
use crate::outbox::{
    Baseline, Cursor, Fate, Hole, Look, OutboxError, Settled, Settling, Unsettled,
};

/// The lanes that are being looked at, each with the moment when that began. In memory: nobody else looks.
#[derive(Clone, Default)]
pub(super) struct Looking(Arc<Mutex<HashMap<Lane, Timestamp>>>);

/// Ends looks when it is dropped, unless it is told to leave them.
pub(super) struct Ends {
    looking: Looking,
    lanes: Vec<Lane>,
}

impl Looking {
    fn lanes(&self) -> MutexGuard<'_, HashMap<Lane, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next lane is to be looked at that nobody looks at.
    pub fn next(&self, db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
        let looking = self.lanes();
        let mut lanes = db.prepare_cached(
            "SELECT name, look FROM lane WHERE look IS NOT NULL ORDER BY look LIMIT ?1",
        )?;
        let mut rows = lanes.query([i64::try_from(looking.len() + 1).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            if !looking.contains_key(&Lane::from(row.get::<_, String>(0)?)) {
                return Ok(Some(moment(row.get(1)?)));
            }
        }
        Ok(None)
    }

    /// Takes at most `most` lanes that are due for a look. Nobody else takes them until the [`Ends`] is dropped.
    pub fn take(
        &self,
        db: &Connection,
        epoch: u64,
        most: usize,
        now: Timestamp,
    ) -> rusqlite::Result<(Vec<Look>, Ends)> {
        let mut ends = Ends {
            looking: self.clone(),
            lanes: Vec::new(),
        };
        let mut taken = Vec::new();
        {
            // Held while the snapshot begins: a lane that was settled and let go before this is read as it is since.
            let mut looking = self.lanes();
            let due = find_due(db, looking.len().saturating_add(most), now)?;
            let free = due
                .into_iter()
                .filter(|(_, look)| !looking.contains_key(&look.lane));
            taken.extend(free.take(most));
            for (_, look) in &taken {
                ends.lanes.push(look.lane.clone());
            }
            looking.extend(ends.lanes.iter().map(|lane| (lane.clone(), now)));
        }
        let mut looks = Vec::new();
        for (number, mut look) in taken {
            look.epoch = epoch;
            look.more_waits = more_waits(db, number)?;
            look.cursors = find_cursors(db, number)?;
            look.unsettled = list_unsettled(db, number)?;
            looks.push(look);
        }
        Ok((looks, ends))
    }
}

impl Ends {
    /// Lets the looks go on.
    pub fn leave(mut self) {
        self.lanes.clear();
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if !self.lanes.is_empty() {
            let mut looking = self.looking.lanes();
            for lane in &self.lanes {
                looking.remove(lane);
            }
        }
    }
}

fn find_due(db: &Connection, most: usize, now: Timestamp) -> rusqlite::Result<Vec<(i64, Look)>> {
    db.prepare_cached(
        "SELECT number, name, stopped FROM lane WHERE look IS NOT NULL AND look <= ?1 ORDER BY look LIMIT ?2",
    )?
    .query_map(
        params![micros(now), i64::try_from(most).unwrap_or(i64::MAX)],
        |row| {
            let look = Look {
                lane: row.get::<_, String>(1)?.into(),
                epoch: 0,
                hold: Hold::Ever,
                stopped: row.get(2)?,
                more_waits: false,
                cursors: BTreeMap::new(),
                unsettled: Vec::new(),
            };
            Ok((row.get(0)?, look))
        },
    )?
    .collect()
}

fn more_waits(db: &Connection, lane: i64) -> rusqlite::Result<bool> {
    // Only the front may be in hand or unclear, so this reads two rows at most.
    db.prepare_cached(
        "SELECT 1 FROM delivery INDEXED BY delivery_open
         WHERE lane = ?1 AND state IN ('waiting', 'sending') AND +state = 'waiting' LIMIT 1",
    )?
    .exists([lane])
}

fn find_cursors(db: &Connection, lane: i64) -> rusqlite::Result<BTreeMap<Conversation, Cursor>> {
    db.prepare_cached("SELECT conversation, seq, holes FROM cursor WHERE lane = ?1")?
        .query_map([lane], |row| {
            let holes: Vec<(i64, i64)> = serde_json::from_str(row.get_ref(2)?.as_str()?)
                .map_err(|error| unreadable(2, error))?;
            let cursor = Cursor {
                seq: row.get(1)?,
                holes: holes
                    .into_iter()
                    .map(|(seq, since)| Hole {
                        seq,
                        since: moment(since),
                    })
                    .collect(),
            };
            Ok((conversation(0, row.get_ref(0)?.as_str()?)?, cursor))
        })?
        .collect()
}

fn list_unsettled(db: &Connection, lane: i64) -> rusqlite::Result<Vec<Unsettled>> {
    db.prepare_cached(
        "SELECT d.id, d.conversation, d.state, d.first_attempt, d.missing_since, d.held,
                a.number, a.operation_id, a.began, a.ended, a.receipt
         FROM delivery d JOIN attempt a ON a.delivery = d.number AND a.number = d.attempts
         WHERE d.lane = ?1 AND d.unsettled_since IS NOT NULL ORDER BY a.began, d.position",
    )?
    .query_map([lane], |row| {
        let began = moment(row.get(8)?);
        let receipt: Option<String> = row.get(10)?;
        Ok(Unsettled {
            delivery: delivery_id(row.get(0)?),
            conversation: conversation(1, row.get_ref(1)?.as_str()?)?,
            accepted: row.get_ref(2)?.as_str()? == "accepted",
            first_attempt: row.get::<_, Option<i64>>(3)?.map_or(began, moment),
            missing_since: row.get::<_, Option<i64>>(4)?.map(moment),
            held: row.get(5)?,
            attempt: Attempt {
                number: row.get(6)?,
                operation_id: row.get(7)?,
                began,
            },
            ended: row.get::<_, Option<i64>>(9)?.map(moment),
            receipt: receipt
                .map(|text| serde_json::from_str(&text).map_err(|error| unreadable(10, error)))
                .transpose()?,
        })
    })?
    .collect()
}

impl Task for Baseline {
    type Gives = ();

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<(), OutboxError>> {
        let lane = lanes::find_or_make(turn.db, &self.lane)?;
        turn.db
            .prepare_cached(
                "INSERT INTO cursor (lane, conversation, seq, holes) VALUES (?1, ?2, ?3, '[]')
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![lane, self.conversation.to_string(), self.seq])?;
        Ok(Ok(()))
    }

    fn outlives_its_caller(&self) -> bool {
        true
    }
}

/// What looks have shown. When it is done, the lanes may be looked at again.
pub(super) struct Settle {
    settled: Vec<(Settled, Timestamp)>,
    _ends: Ends,
}

impl Settle {
    /// Asks when each look began.
    pub fn prepare(settled: Vec<Settled>, looking: &Looking) -> Settle {
        let begun = looking.lanes();
        Settle {
            _ends: Ends {
                looking: looking.clone(),
                lanes: settled.iter().map(|one| one.lane.clone()).collect(),
            },
            settled: settled
                .into_iter()
                .map(|one| {
                    let begun = begun.get(&one.lane).copied();
                    (one, begun.unwrap_or(Timestamp::MAX))
                })
                .collect(),
        }
    }
}

impl Task for Settle {
    type Gives = Vec<bool>;

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<Vec<bool>, OutboxError>> {
        let taken = self.settled.iter();
        taken
            .map(|(settled, begun)| settle(turn, settled, *begun))
            .collect::<rusqlite::Result<_>>()
            .map(Ok)
    }

    fn outlives_its_caller(&self) -> bool {
        true
    }

    fn rings(&self, _given: &Vec<bool>) -> bool {
        true
    }
}

fn settle(turn: &Turn<'_>, settled: &Settled, begun: Timestamp) -> rusqlite::Result<bool> {
    let Some(lane) = lanes::find(turn.db, &settled.lane)? else {
        return Ok(false);
    };
    let ours = settled.epoch == turn.epoch;
    for settling in &settled.fates {
        let Some(known) = Known::find(turn.db, settling.delivery)?.filter(|it| it.lane == lane)
        else {
            continue;
        };
        let step = lane::settle(
            known.fateful,
            settling.attempt,
            &settling.fate,
            settling.at,
            ours,
        );
        known.take(turn, &step, settling)?;
    }
    if ours {
        write_cursors(turn.db, lane, &settled.cursors)?;
    }
    let look = LookAgain {
        at: settled.look_again,
        begun,
        stop: settled.stop,
    };
    after(turn, lane, ours.then_some(look))?;
    Ok(ours)
}

fn write_cursors(
    db: &Connection,
    lane: i64,
    cursors: &BTreeMap<Conversation, Cursor>,
) -> rusqlite::Result<()> {
    for (conversation, cursor) in cursors {
        let holes: Vec<(i64, i64)> = cursor
            .holes
            .iter()
            .map(|hole| (hole.seq, micros(hole.since)))
            .collect();
        let holes = serde_json::to_string(&holes)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        db.prepare_cached(
            "INSERT INTO cursor (lane, conversation, seq, holes) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET seq = excluded.seq, holes = excluded.holes",
        )?
        .execute(params![lane, conversation.to_string(), cursor.seq, holes])?;
    }
    Ok(())
}

/// What whoever holds the lane says about the next look.
struct LookAgain {
    at: Timestamp,
    begun: Timestamp,
    stop: bool,
}

/// What follows for the lane when something in it was settled.
fn after(turn: &Turn<'_>, lane: i64, look: Option<LookAgain>) -> rusqlite::Result<()> {
    let left = lanes::is_unsettled(turn.db, lane)?;
    let held: bool = turn
        .db
        .prepare_cached(
            "SELECT 1 FROM delivery WHERE lane = ?1 AND unsettled_since IS NOT NULL AND held = 1 LIMIT 1",
        )?
        .exists([lane])?;
    turn.db
        .prepare_cached(
            "UPDATE lane SET stopped = stopped AND ?2, look = iif(?2, look, NULL),
                             look_newest = iif(?2, look_newest, NULL),
                             held = iif(held_for_one AND NOT ?3, NULL, held),
                             held_for_one = held_for_one AND ?3
             WHERE number = ?1",
        )?
        .execute(params![lane, left, held])?;
    if let Some(look) = look {
        let newest: Option<i64> = turn
            .db
            .prepare_cached("SELECT look_newest FROM lane WHERE number = ?1")?
            .query_row([lane], |row| row.get(0))?;
        let again = lane::look_again(left, look.at, newest.map(moment), look.begun);
        turn.db
            .prepare_cached(
                "UPDATE lane SET stopped = ?2, look = ?3, look_newest = NULL WHERE number = ?1",
            )?
            .execute(params![lane, look.stop && left, again.map(micros)])?;
    }
    lanes::set_due(turn, lane)?;
    Ok(())
}

/// A delivery that something is known about.
struct Known {
    number: i64,
    lane: i64,
    fateful: Fateful,
}

impl Known {
    fn find(db: &Connection, id: DeliveryId) -> rusqlite::Result<Option<Known>> {
        db.prepare_cached(
            "SELECT d.number, d.lane, d.state, l.in_hand IS d.number, d.unsettled_since IS NOT NULL, d.attempts,
                    d.seq
             FROM delivery d JOIN lane l ON l.number = d.lane WHERE d.id = ?1",
        )?
        .query_row([id.0.as_bytes()], |row| {
            Ok(Known {
                number: row.get(0)?,
                lane: row.get(1)?,
                fateful: Fateful {
                    state: state(2, row.get_ref(2)?.as_str()?)?,
                    in_hand: row.get(3)?,
                    unsettled: row.get(4)?,
                    attempts: u32::try_from(count(row.get(5)?)).unwrap_or(u32::MAX),
                    seq: row.get(6)?,
                },
            })
        })
        .optional()
    }

    /// Writes down a step with its evidence.
    fn take(&self, turn: &Turn<'_>, step: &Step, settling: &Settling) -> rusqlite::Result<()> {
        let db = turn.db;
        match step {
            Step::Ignored => return Ok(()),
            Step::Witnessed | Step::Repeated => {}
            Step::Stored => {
                db.prepare_cached(
                    "UPDATE delivery SET state = 'stored', reason = NULL, unsettled_since = NULL, missing_since = NULL,
                                         held = 0
                     WHERE number = ?1",
                )?
                .execute([self.number])?;
            }
            Step::Accepted => {
                db.prepare_cached("UPDATE delivery SET state = 'accepted' WHERE number = ?1")?
                    .execute([self.number])?;
            }
            Step::Again { due, anew, counts } => {
                db.prepare_cached(
                    "UPDATE delivery SET state = 'waiting', due = ?2, unsettled_since = NULL, missing_since = NULL,
                                         held = 0, sends = sends + ?3, first_attempt = iif(?3, NULL, first_attempt)
                     WHERE number = ?1",
                )?
                .execute(params![self.number, micros(*due), anew])?;
                if let Some(counts) = counts {
                    db.prepare_cached("UPDATE tally SET many = many + 1 WHERE what = ?1")?
                        .execute([counts.word()])?;
                }
            }
            Step::Missing => {
                db.prepare_cached(
                    "UPDATE delivery SET missing_since = coalesce(missing_since, ?2) WHERE number = ?1",
                )?
                .execute([self.number, micros(settling.at)])?;
            }
            Step::Held => {
                db.prepare_cached("UPDATE delivery SET held = 1 WHERE number = ?1")?
                    .execute([self.number])?;
                db.prepare_cached(
                    "UPDATE lane SET held = ?2, held_for_one = 1 WHERE number = ?1 AND held IS NULL",
                )?
                .execute(params![self.lane, settling.evidence])?;
            }
            Step::Dead(reason) => {
                db.prepare_cached(
                    "UPDATE delivery SET state = 'dead', reason = ?2, unsettled_since = NULL, missing_since = NULL,
                                         held = 0
                     WHERE number = ?1",
                )?
                .execute(params![self.number, reason])?;
            }
        }
        let mut receipt = None;
        if let Fate::Stored { seq, receipt: ids } = &settling.fate
            && *step != Step::Repeated
        {
            db.prepare_cached("UPDATE delivery SET seq = ?2 WHERE number = ?1")?
                .execute([self.number, *seq])?;
            receipt = serde_json::to_string(ids).ok();
        }
        db.prepare_cached(
            "UPDATE attempt SET evidence = coalesce(evidence || char(10), '') || ?3, receipt = coalesce(receipt, ?4)
             WHERE delivery = ?1 AND number = ?2",
        )?
        .execute(params![
            self.number,
            match settling.attempt {
                0 => self.fateful.attempts, // a fact about the delivery, whichever attempt it was
                attempt => attempt,
            },
            lane::evidence(settling.at, &settling.evidence),
            receipt,
        ])?;
        Ok(())
    }
}

/// Ends the wait of what is held in a lane as unproven: it is sent again.
pub(super) fn release_held(turn: &Turn<'_>, lane: i64) -> rusqlite::Result<()> {
    let held: Vec<([u8; 16], u32)> = turn
        .db
        .prepare_cached(
            "SELECT id, attempts FROM delivery WHERE lane = ?1 AND unsettled_since IS NOT NULL AND held = 1",
        )?
        .query_map([lane], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, attempt) in held {
        let settling = Settling {
            delivery: delivery_id(id),
            attempt,
            at: turn.now,
            fate: Fate::Unproven,
            evidence: lane::RELEASED.to_owned(),
        };
        if let Some(known) = Known::find(turn.db, settling.delivery)? {
            let step = lane::settle(known.fateful, attempt, &settling.fate, turn.now, true);
            known.take(turn, &step, &settling)?;
        }
    }
    after(turn, lane, None)
}
