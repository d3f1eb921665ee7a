//! Looking for what was sent in OpenIM's history: what is to be looked for, and writing down what was found.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::Row;

use super::lanes::{self, DueFor, LaneRow, Terms};
use super::pool::{Failed, Task, Tx};
use super::rows::{
    get, get_conversation, get_id, get_moment, get_state, get_u32, micros, moment, stored, to_json,
    unreadable,
};
use crate::model::{
    Attempt, Clock, Conversation, DeliveryId, DeliveryState, Hold, Lane, Timestamp,
};
use crate::outbox::lane::{self, Fateful, Step};
use crate::outbox::{Baseline, Cursor, Fate, Hole, Look, Settled, Settling, Unsettled};

/// The lanes that we look at, each with the moment when that began. In memory, because it must not outlive us: whoever
/// takes a lane over may look at once.
#[derive(Clone, Default)]
pub(super) struct Looking(Arc<Mutex<HashMap<Lane, Timestamp>>>);

impl Looking {
    fn lanes(&self) -> MutexGuard<'_, HashMap<Lane, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which ones.
    pub fn list(&self) -> Vec<Lane> {
        self.lanes().keys().cloned().collect()
    }

    /// Begins to look.
    pub fn begin(&self, looks: &[Look], now: Timestamp) {
        let begun = looks.iter().map(|look| (look.lane.clone(), now));
        self.lanes().extend(begun);
    }

    /// Ends looks.
    pub fn end<'a>(&self, ended: impl IntoIterator<Item = &'a Lane>) {
        let mut lanes = self.lanes();
        for lane in ended {
            lanes.remove(lane);
        }
    }

    /// When each look began.
    pub fn begun(&self, settled: &[Settled]) -> Vec<Timestamp> {
        let lanes = self.lanes();
        let of = |one: &Settled| lanes.get(&one.lane).copied().unwrap_or(Timestamp::MAX);
        settled.iter().map(of).collect()
    }
}

/// Takes lanes that are due for a look, but none of those that are looked at.
pub(super) struct TakeLooks {
    pub most: usize,
    pub but: Vec<Lane>,
    pub terms: Terms,
    pub clock: Clock,
}

impl Task for TakeLooks {
    type Gives = Vec<Look>;

    async fn apply(&self, tx: &Tx) -> Result<Vec<Look>, Failed> {
        lanes::take_over(tx, &self.terms).await?;
        let ours_from = self.clock.uptime();
        let due = lanes::lease(tx, &self.terms, DueFor::Looking, self.most, &self.but).await?;
        let numbers: Vec<i64> = due.iter().map(|lane| lane.number).collect();
        let hold = Hold::Until(ours_from.saturating_add(self.terms.lease));
        let mut looks: Vec<Look> = due.iter().map(|lane| begin(lane, hold)).collect();
        let mut of_lane = |number: i64, then: &mut dyn FnMut(&mut Look)| {
            let place = due.iter().position(|lane| lane.number == number);
            if let Some(look) = place.and_then(|place| looks.get_mut(place)) {
                then(look);
            }
        };
        let (waits, cursors) = tx
            .both(
                "SELECT l.number FROM unnest($1::bigint[]) AS l (number)
                 WHERE EXISTS (SELECT 1 FROM delivery d WHERE d.lane = l.number AND d.state = 'waiting')",
                &[&numbers],
                "SELECT lane, conversation, seq, holes FROM cursor WHERE lane = ANY($1)",
                &[&numbers],
            )
            .await?;
        for row in &waits {
            of_lane(get(row, 0)?, &mut |look| look.more_waits = true);
        }
        for row in &cursors {
            let (conversation, cursor) = (get_conversation(row, 1)?, cursor(row)?);
            of_lane(get(row, 0)?, &mut |look| {
                look.cursors.insert(conversation.clone(), cursor.clone());
            });
        }
        let unsettled = tx
            .query(
                "SELECT d.lane, d.id, d.conversation, d.state, d.first_attempt, d.missing_since, d.held,
                        a.number, a.operation_id, a.began, a.ended, a.receipt
                 FROM delivery d JOIN attempt a ON a.delivery = d.number AND a.number = d.attempts
                 WHERE d.lane = ANY($1) AND d.unsettled_since IS NOT NULL ORDER BY a.began, d.position",
                &[&numbers],
            )
            .await?;
        for row in &unsettled {
            let one = self::unsettled(row)?;
            of_lane(get(row, 0)?, &mut |look| look.unsettled.push(one.clone()));
        }
        Ok(looks)
    }
}

fn begin(lane: &LaneRow, hold: Hold) -> Look {
    Look {
        lane: lane.name.clone(),
        epoch: lane.epoch,
        hold,
        stopped: lane.stopped,
        more_waits: false,
        cursors: BTreeMap::new(),
        unsettled: Vec::new(),
    }
}

fn cursor(row: &Row) -> Result<Cursor, Failed> {
    let holes: Vec<(i64, i64)> = serde_json::from_str(get(row, 3)?).map_err(unreadable)?;
    let hole = |(seq, since)| Hole {
        seq,
        since: moment(since),
    };
    Ok(Cursor {
        seq: get(row, 2)?,
        holes: holes.into_iter().map(hole).collect(),
    })
}

fn unsettled(row: &Row) -> Result<Unsettled, Failed> {
    let began = get_moment(row, 9)?.unwrap_or(Timestamp::MIN);
    let receipt: Option<&str> = get(row, 11)?;
    Ok(Unsettled {
        delivery: get_id(row, 1)?,
        conversation: get_conversation(row, 2)?,
        accepted: get::<&str>(row, 3)? == "accepted",
        first_attempt: get_moment(row, 4)?.unwrap_or(began),
        missing_since: get_moment(row, 5)?,
        held: get(row, 6)?,
        attempt: Attempt {
            number: get_u32(row, 7)?,
            operation_id: get(row, 8)?,
            began,
        },
        ended: get_moment(row, 10)?,
        receipt: receipt
            .map(serde_json::from_str)
            .transpose()
            .map_err(unreadable)?,
    })
}

/// Writes down where reading begins.
pub(super) struct BeginAt(pub Baseline);

impl Task for BeginAt {
    type Gives = ();

    async fn apply(&self, tx: &Tx) -> Result<(), Failed> {
        let Baseline {
            lane,
            conversation,
            seq,
        } = &self.0;
        let wanted = BTreeMap::from([(lane.clone(), 0)]);
        for lane in lanes::reserve(tx, &wanted).await? {
            tx.execute(
                "INSERT INTO cursor (lane, conversation, seq, holes) VALUES ($1, $2, $3, '[]') ON CONFLICT DO NOTHING",
                &[&lane.number, &stored(&conversation.to_string()), seq],
            )
            .await?;
        }
        Ok(())
    }
}

/// Writes down what looks have shown.
pub(super) struct Settle {
    pub settled: Vec<Settled>,
    /// When each look began.
    pub begun: Vec<Timestamp>,
    pub terms: Terms,
}

impl Task for Settle {
    type Gives = Vec<bool>;

    async fn apply(&self, tx: &Tx) -> Result<Vec<bool>, Failed> {
        let names: Vec<&Lane> = self.settled.iter().map(|one| &one.lane).collect();
        let mut lanes = lanes::lock(tx, &names).await?;
        let mut taken = Vec::with_capacity(self.settled.len());
        for (settled, begun) in self.settled.iter().zip(&self.begun) {
            let Some(lane) = lanes.iter_mut().find(|lane| lane.name == settled.lane) else {
                taken.push(false);
                continue;
            };
            let ours = lane.is_held(&self.terms, settled.epoch);
            let ids: Vec<DeliveryId> = settled.fates.iter().map(|one| one.delivery).collect();
            let mut known = Known::find(tx, &ids, lane).await?;
            let mut stored = StoredOnes::default();
            let mut others = Vec::new();
            for settling in &settled.fates {
                let Some(known) = known.get_mut(&settling.delivery) else {
                    continue;
                };
                let step = lane::settle(
                    known.fateful,
                    settling.attempt,
                    &settling.fate,
                    settling.at,
                    ours,
                );
                match (&step, &settling.fate) {
                    (Step::Stored, Fate::Stored { seq, receipt }) => {
                        stored.push(known, settling, *seq, to_json(receipt)?);
                    }
                    _ => others.push((known.number, known.attempt(settling), step, settling)),
                }
            }
            stored.write(tx).await?;
            for (delivery, attempt, step, settling) in others {
                take(tx, lane, delivery, attempt, &step, settling).await?;
            }
            if ours {
                write_cursors(tx, lane.number, &settled.cursors).await?;
            }
            let look = LookAgain {
                at: settled.look_again,
                begun: *begun,
                stop: settled.stop,
            };
            after(tx, lane, ours.then_some(look)).await?;
            taken.push(ours);
        }
        lanes::write(tx, &lanes, &self.terms).await?;
        Ok(taken)
    }
}

async fn write_cursors(
    tx: &Tx,
    lane: i64,
    cursors: &BTreeMap<Conversation, Cursor>,
) -> Result<(), Failed> {
    for (conversation, cursor) in cursors {
        let holes: Vec<(i64, i64)> = cursor
            .holes
            .iter()
            .map(|hole| (hole.seq, micros(hole.since)))
            .collect();
        tx.execute(
            "INSERT INTO cursor (lane, conversation, seq, holes) VALUES ($1, $2, $3, $4)
             ON CONFLICT (lane, conversation) DO UPDATE SET seq = EXCLUDED.seq, holes = EXCLUDED.holes",
            &[
                &lane,
                &stored(&conversation.to_string()),
                &cursor.seq,
                &to_json(&holes)?,
            ],
        )
        .await?;
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
async fn after(tx: &Tx, lane: &mut LaneRow, look: Option<LookAgain>) -> Result<(), Failed> {
    let row = tx
        .find(
            "SELECT count(*) > 0, coalesce(bool_or(held), false) FROM delivery
             WHERE lane = $1 AND unsettled_since IS NOT NULL",
            &[&lane.number],
        )
        .await?;
    let (left, held): (bool, bool) = match &row {
        Some(row) => (get(row, 0)?, get(row, 1)?),
        None => (false, false),
    };
    lane.stopped &= left;
    if !left {
        lane.look = None;
        lane.look_newest = None;
    }
    if lane.held_for_one && !held {
        lane.held = None;
        lane.held_for_one = false;
    }
    if let Some(look) = look {
        lane.look = lane::look_again(left, look.at, lane.look_newest, look.begun);
        lane.look_newest = None;
        lane.stopped = look.stop && left;
    }
    Ok(())
}

/// A delivery that something is known about.
struct Known {
    number: i64,
    fateful: Fateful,
}

impl Known {
    /// The attempt that a fate is about: the latest, where it is not known which (0).
    fn attempt(&self, settling: &Settling) -> i64 {
        i64::from(match settling.attempt {
            0 => self.fateful.attempts,
            known => known,
        })
    }

    /// Those of a lane.
    async fn find(
        tx: &Tx,
        ids: &[DeliveryId],
        lane: &LaneRow,
    ) -> Result<HashMap<DeliveryId, Known>, Failed> {
        let uuids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = tx
            .query(
                "SELECT number, state, unsettled_since IS NOT NULL, attempts, seq, id FROM delivery
                 WHERE id = ANY($1) AND lane = $2",
                &[&uuids, &lane.number],
            )
            .await?;
        let mut all = HashMap::with_capacity(rows.len());
        for row in &rows {
            let number: i64 = get(row, 0)?;
            let known = Known {
                number,
                fateful: Fateful {
                    state: get_state(row, 1)?,
                    in_hand: lane.in_hand == Some(number),
                    unsettled: get(row, 2)?,
                    attempts: get_u32(row, 3)?,
                    seq: get(row, 4)?,
                },
            };
            all.insert(get_id(row, 5)?, known);
        }
        Ok(all)
    }
}

/// What was found in the history: nearly all that is ever settled, so it is written in one go.
#[derive(Default)]
struct StoredOnes {
    deliveries: Vec<i64>,
    seqs: Vec<i64>,
    attempts: Vec<i64>,
    evidence: Vec<String>,
    receipts: Vec<String>,
}

impl StoredOnes {
    fn push(&mut self, known: &mut Known, settling: &Settling, seq: i64, receipt: String) {
        // It may stand there twice.
        known.fateful.state = DeliveryState::Stored;
        known.fateful.seq = Some(seq);
        self.deliveries.push(known.number);
        self.seqs.push(seq);
        self.attempts.push(known.attempt(settling));
        let evidence = lane::evidence(settling.at, &settling.evidence);
        self.evidence.push(stored(&evidence).into_owned());
        self.receipts.push(receipt);
    }

    async fn write(&self, tx: &Tx) -> Result<(), Failed> {
        if self.deliveries.is_empty() {
            return Ok(());
        }
        tx.both(
            "UPDATE delivery d SET state = 'stored', reason = NULL, unsettled_since = NULL, missing_since = NULL,
                                   held = false, seq = n.seq
             FROM unnest($1::bigint[], $2::bigint[]) AS n (number, seq) WHERE d.number = n.number",
            &[&self.deliveries, &self.seqs],
            "UPDATE attempt a SET evidence = concat_ws(E'\\n', a.evidence, n.evidence), receipt = coalesce(a.receipt, n.receipt)
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) AS n (delivery, number, evidence, receipt)
             WHERE a.delivery = n.delivery AND a.number = n.number",
            &[
                &self.deliveries,
                &self.attempts,
                &self.evidence,
                &self.receipts,
            ],
        )
        .await?;
        Ok(())
    }
}

/// Writes down a step with its evidence.
async fn take(
    tx: &Tx,
    lane: &mut LaneRow,
    delivery: i64,
    attempt: i64,
    step: &Step,
    settling: &Settling,
) -> Result<(), Failed> {
    match step {
        Step::Ignored => return Ok(()),
        Step::Witnessed | Step::Repeated => {}
        Step::Stored => {
            tx.execute(
                    "UPDATE delivery SET state = 'stored', reason = NULL, unsettled_since = NULL, missing_since = NULL,
                                         held = false
                     WHERE number = $1",
                    &[&delivery],
                )
                .await?;
        }
        Step::Accepted => {
            tx.execute(
                "UPDATE delivery SET state = 'accepted' WHERE number = $1",
                &[&delivery],
            )
            .await?;
        }
        Step::Again { due, anew, counts } => {
            tx.execute(
                    "UPDATE delivery SET state = 'waiting', due = $2, unsettled_since = NULL, missing_since = NULL,
                                         held = false, sends = sends + CASE WHEN $3 THEN 1 ELSE 0 END,
                                         first_attempt = CASE WHEN NOT $3 THEN first_attempt END
                     WHERE number = $1",
                    &[&delivery, &micros(*due), anew],
                )
                .await?;
            if let Some(counts) = counts {
                tx.execute(
                    "INSERT INTO tally (what, many) VALUES ($1, 1)",
                    &[&counts.word()],
                )
                .await?;
            }
        }
        Step::Missing => {
            tx.execute(
                "UPDATE delivery SET missing_since = coalesce(missing_since, $2) WHERE number = $1",
                &[&delivery, &micros(settling.at)],
            )
            .await?;
        }
        Step::Held => {
            tx.execute(
                "UPDATE delivery SET held = true WHERE number = $1",
                &[&delivery],
            )
            .await?;
            if lane.held.is_none() {
                lane.held = Some(settling.evidence.clone());
                lane.held_for_one = true;
            }
        }
        Step::Dead(reason) => {
            tx.execute(
                    "UPDATE delivery SET state = 'dead', reason = $2, unsettled_since = NULL, missing_since = NULL,
                                         held = false
                     WHERE number = $1",
                    &[&delivery, &stored(reason)],
                )
                .await?;
        }
    }
    let mut receipt = None;
    if let Fate::Stored { seq, receipt: ids } = &settling.fate
        && *step != Step::Repeated
    {
        tx.execute(
            "UPDATE delivery SET seq = $2 WHERE number = $1",
            &[&delivery, seq],
        )
        .await?;
        receipt = Some(to_json(ids)?);
    }
    tx.execute(
            "UPDATE attempt SET evidence = concat_ws(E'\\n', evidence, $3::text), receipt = coalesce(receipt, $4)
             WHERE delivery = $1 AND number = $2",
            &[
                &delivery,
                &attempt,
                &lane::evidence(settling.at, &settling.evidence),
                &receipt,
            ],
        )
        .await?;
    Ok(())
}
/// Ends the wait of what is held in a lane as unproven: it is sent again.
pub(super) async fn release_held(
    tx: &Tx,
    lane: &mut LaneRow,
    now: Timestamp,
) -> Result<(), Failed> {
    let rows = tx
        .query(
            "SELECT id, attempts FROM delivery WHERE lane = $1 AND unsettled_since IS NOT NULL AND held",
            &[&lane.number],
        )
        .await?;
    let mut held = Vec::with_capacity(rows.len());
    for row in &rows {
        held.push((get_id(row, 0)?, get_u32(row, 1)?));
    }
    let ids: Vec<DeliveryId> = held.iter().map(|(id, _)| *id).collect();
    let known = Known::find(tx, &ids, lane).await?;
    for (id, attempt) in held {
        let settling = Settling {
            delivery: id,
            attempt,
            at: now,
            fate: Fate::Unproven,
            evidence: lane::RELEASED.to_owned(),
        };
        if let Some(known) = known.get(&id) {
            let step = lane::settle(known.fateful, attempt, &settling.fate, now, true);
            let attempt = known.attempt(&settling);
            take(tx, lane, known.number, attempt, &step, &settling).await?;
        }
    }
    after(tx, lane, None).await
}
