//! Taking deliveries in hand, and writing down what became of them.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{conversation, delivery_id, micros, moment};
use super::task::{Asked, Task, Work};
use super::{FORM, lanes};
use crate::model::{Attempt, Claim, DeliveryId, Hold, Timestamp};
use crate::outbox::{Decision, OutboxError, Record};

/// A lane whose head this program cannot read is looked at again after this time: a newer program may have sent it by then.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Takes the due heads of lanes that nobody holds.
pub(super) struct Take {
    pub most: usize,
    pub now: Timestamp,
}

/// Gives back claims that nobody heard of. Their requests were never written.
pub(super) struct GiveBack(Vec<(DeliveryId, u32)>);

/// The head of a lane.
struct Head {
    lane: i64,
    delivery: i64,
    form: i64,
    claim: Result<Claim, String>,
}

impl Task for Take {
    type Gives = Vec<Claim>;

    fn apply(
        &self,
        tx: &Connection,
        _now: Timestamp,
    ) -> rusqlite::Result<Result<Vec<Claim>, OutboxError>> {
        let mut claims = Vec::new();
        for head in find_heads(tx, self.most, self.now)? {
            match head.claim {
                Ok(claim) if head.form <= FORM => {
                    take(tx, head.lane, head.delivery, &claim)?;
                    claims.push(claim);
                }
                // Not ours to judge: it keeps its place, and is never called dead.
                Ok(_) | Err(_) => {
                    let why = match head.claim {
                        Ok(_) => format!(
                            "its message has form {}, a newer openim-bridge's",
                            head.form
                        ),
                        Err(error) => format!("its message cannot be read: {error}"),
                    };
                    tracing::error!(lane = head.lane, why, "a lane waits");
                    let later = self
                        .now
                        .saturating_add(LOOK_AGAIN)
                        .unwrap_or(Timestamp::MAX);
                    lanes::put_off(tx, head.lane, later, &why)?;
                }
            }
        }
        Ok(Ok(claims))
    }

    fn undo(given: Vec<Claim>) -> Option<Box<dyn Work>> {
        if given.is_empty() {
            return None;
        }
        let taken = given
            .into_iter()
            .map(|claim| (claim.delivery, claim.attempt.number))
            .collect();
        Some(Asked::by_nobody(GiveBack(taken)))
    }
}

fn find_heads(db: &Connection, most: usize, now: Timestamp) -> rusqlite::Result<Vec<Head>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    db.prepare_cached(
        "SELECT l.number, d.number, d.form, d.sends, d.id, d.conversation, d.message, d.attempts, d.first_attempt,
                e.bridge, e.id
         FROM lane l
         JOIN delivery d ON d.number =
             (SELECT h.number FROM delivery h WHERE h.lane = l.number AND h.state IN ('waiting', 'sending')
              ORDER BY h.position LIMIT 1)
         JOIN event e ON e.number = d.event
         WHERE l.due IS NOT NULL AND l.due <= ?1
         ORDER BY l.due LIMIT ?2",
    )?
    .query_map(params![micros(now), most], |row| {
        let sends: i64 = row.get(3)?;
        let id = delivery_id(row.get(4)?);
        let number = u32::try_from(row.get::<_, i64>(7)?.saturating_add(1)).unwrap_or(u32::MAX);
        let first: Option<i64> = row.get(8)?;
        let message: Option<String> = row.get(6)?;
        let conversation = conversation(5, &row.get::<_, String>(5)?);
        let message = serde_json::from_str(message.as_deref().unwrap_or_default());
        let claim = match (conversation, message) {
            (Ok(conversation), Ok(message)) => Ok(Claim {
                delivery: id,
                bridge: row.get(9)?,
                event: row.get(10)?,
                conversation,
                message,
                attempt: Attempt {
                    number,
                    operation_id: operation_id(id, sends),
                    began: now,
                },
                first_attempt: first.map_or(now, moment),
                epoch: 0,
                hold: Hold::Ever,
                has_baseline: false,
                folded: None,
            }),
            (Err(error), _) => Err(error.to_string()),
            (_, Err(error)) => Err(error.to_string()),
        };
        Ok(Head {
            lane: row.get(0)?,
            delivery: row.get(1)?,
            form: row.get(2)?,
            claim,
        })
    })?
    .collect()
}

/// Names one send: the same over its retries, another one after it was decided to send anew.
fn operation_id(delivery: DeliveryId, sends: i64) -> String {
    format!("{delivery}-{sends}")
}

fn take(db: &Connection, lane: i64, delivery: i64, claim: &Claim) -> rusqlite::Result<()> {
    let attempt = &claim.attempt;
    db.prepare_cached(
        "INSERT INTO attempt (delivery, number, operation_id, began) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        delivery,
        attempt.number,
        attempt.operation_id,
        micros(attempt.began)
    ])?;
    db.prepare_cached(
        "UPDATE delivery SET state = 'sending', attempts = ?2, first_attempt = ?3 WHERE number = ?1",
    )?
    .execute(params![
        delivery,
        attempt.number,
        micros(claim.first_attempt)
    ])?;
    lanes::take(db, lane, delivery)
}

/// The delivery and the lane of an attempt, if it is the one in hand.
fn find_in_hand(
    db: &Connection,
    id: DeliveryId,
    attempt: u32,
) -> rusqlite::Result<Option<(i64, i64)>> {
    db.prepare_cached(
        "SELECT d.number, l.number FROM delivery d JOIN lane l ON l.number = d.lane
         WHERE d.id = ?1 AND d.attempts = ?2 AND l.in_hand = d.number",
    )?
    .query_row(params![id.0.as_bytes(), attempt], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
    .optional()
}

impl Task for Record {
    type Gives = ();

    fn apply(&self, tx: &Connection, _now: Timestamp) -> rusqlite::Result<Result<(), OutboxError>> {
        let (outcome, state, reason, receipt) = match &self.decision {
            Decision::Accepted { receipt, .. } => ("accepted", "accepted", None, receipt.as_ref()),
            Decision::Refused(reason) => ("refused", "refused", Some(reason), None),
            Decision::Dead(reason) => ("dead", "dead", Some(reason), None),
            Decision::Again { .. } => ("later", "waiting", None, None),
            Decision::Unclear { .. } => ("ambiguous", "sending", None, None),
        };
        let receipt = receipt
            .map(serde_json::to_string)
            .transpose()
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;

        // What was seen is a fact, whoever brings it and however late.
        tx.prepare_cached(
            "UPDATE attempt SET ended = ?3, outcome = ?4, verdict = ?5, receipt = ?6
             WHERE delivery = (SELECT number FROM delivery WHERE id = ?1) AND number = ?2 AND ended IS NULL",
        )?
        .execute(params![
            self.delivery.0.as_bytes(),
            self.attempt,
            micros(self.ended),
            outcome,
            self.verdict,
            receipt,
        ])?;

        // What follows from it is decided only by who has it in hand.
        let Some((delivery, lane)) = find_in_hand(tx, self.delivery, self.attempt)? else {
            return Ok(Err(OutboxError::NotInHand {
                delivery: self.delivery,
                attempt: self.attempt,
            }));
        };
        let again = match self.decision {
            Decision::Again { at } => Some(micros(at)),
            _ => None,
        };
        tx.prepare_cached(
            "UPDATE delivery SET state = ?2, reason = ?3, due = coalesce(?4, due) WHERE number = ?1",
        )?
        .execute(params![delivery, state, reason, again])?;
        let waits_for = again.map(|_| self.verdict.as_str());
        lanes::release(tx, lane, self.lane_rests_until, waits_for)?;
        Ok(Ok(()))
    }

    fn outlives_its_caller(&self) -> bool {
        true
    }
}

impl Task for GiveBack {
    type Gives = ();

    fn apply(&self, tx: &Connection, now: Timestamp) -> rusqlite::Result<Result<(), OutboxError>> {
        for (id, attempt) in &self.0 {
            let Some((delivery, lane)) = find_in_hand(tx, *id, *attempt)? else {
                continue;
            };
            tx.prepare_cached(
                "UPDATE attempt SET ended = ?3, outcome = 'later', verdict = 'not sent: the courier stopped'
                 WHERE delivery = ?1 AND number = ?2",
            )?
            .execute(params![delivery, attempt, micros(now)])?;
            tx.prepare_cached("UPDATE delivery SET state = 'waiting' WHERE number = ?1")?
                .execute([delivery])?;
            lanes::release(tx, lane, None, None)?;
        }
        Ok(Ok(()))
    }

    fn rings(&self, _given: &()) -> bool {
        true
    }
}
