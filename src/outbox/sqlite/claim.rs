//! Taking deliveries in hand, and writing down what became of them.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{conversation, count, delivery_id, micros, moment};
use super::task::{Asked, Task, Turn, Work};
use super::{FORM, lanes};
use crate::model::{Attempt, Claim, DeliveryId, Folded, Hold, Timestamp};
use crate::outbox::lane::{self, FOLDED_AT_ONCE, Waiting};
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
    delivery: i64,
    form: i64,
    claim: Result<Claim, String>,
}

impl Task for Take {
    type Gives = Vec<Claim>;

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<Vec<Claim>, OutboxError>> {
        let mut claims = Vec::new();
        for lane in list_due(turn.db, self.most, self.now)? {
            let folded = match fold(turn, lane, self.now)? {
                Folding::None => None,
                Folding::Ready(folded) => Some(folded),
                Folding::NotYet => continue,
            };
            let Some(head) = find_head(turn, lane, self.now)? else {
                lanes::set_due(turn, lane)?;
                continue;
            };
            match head.claim {
                Ok(mut claim) if head.form <= FORM => {
                    claim.folded = folded;
                    take(turn.db, lane, head.delivery, &claim)?;
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
                    tracing::error!(lane, why, "a lane waits");
                    let later = self.now.saturating_add(LOOK_AGAIN);
                    lanes::put_off(turn.db, lane, later.unwrap_or(Timestamp::MAX), &why)?;
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

fn list_due(db: &Connection, most: usize, now: Timestamp) -> rusqlite::Result<Vec<i64>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    db.prepare_cached(
        "SELECT number FROM lane WHERE due IS NOT NULL AND due <= ?1 ORDER BY due LIMIT ?2",
    )?
    .query_map(params![micros(now), most], |row| row.get(0))?
    .collect()
}

/// What folding has left at the head of a lane.
enum Folding {
    /// A head that speaks for itself.
    None,
    /// A head that speaks for what came too late.
    Ready(Folded),
    /// More has come too late than is folded at once, or the new head does not fit into the window.
    NotYet,
}

/// Folds what has come too late at the front of a lane into the last of it.
fn fold(turn: &Turn<'_>, lane: i64, now: Timestamp) -> rusqlite::Result<Folding> {
    // Without a line nothing is folded: nothing goes silently.
    let mut front = turn.db.prepare_cached(
        "SELECT number, iif(folded IS NULL, NULL, expires), folds, conversation FROM delivery INDEXED BY delivery_open
         WHERE lane = ?1 AND state IN ('waiting', 'sending') ORDER BY position",
    )?;
    let mut late: Vec<(i64, Waiting)> = Vec::new();
    let mut rows = front.query([lane])?;
    let mut more = false;
    let mut to: Option<String> = None;
    while let Some(row) = rows.next()? {
        let waiting = Waiting {
            expires: row.get::<_, Option<i64>>(1)?.map(moment),
            folds: count(row.get(2)?),
        };
        // A person's chat does not speak for what should have come as a notice.
        let elsewhere = to.get_or_insert(row.get(3)?) != row.get_ref(3)?.as_str()?;
        if elsewhere || lane::fold([waiting], now).0 == 0 {
            break;
        }
        if late.len() == FOLDED_AT_ONCE {
            more = true;
            break;
        }
        late.push((row.get(0)?, waiting));
    }
    drop(rows);
    let Some(((speaker, _), silent)) = late.split_last() else {
        return Ok(Folding::None);
    };
    let (_, many) = lane::fold(late.iter().map(|(_, waiting)| *waiting), now);
    for (number, _) in silent {
        turn.db
            .prepare_cached(
                "UPDATE delivery SET state = 'dead', reason = ?2, folds = 0 WHERE number = ?1",
            )?
            .execute(params![number, lane::CAME_TOO_LATE])?;
    }
    let line = turn
        .db
        .prepare_cached(
            "UPDATE delivery SET folds = ?2, due = min(due, ?3) WHERE number = ?1 RETURNING coalesce(folded, '')",
        )?
        .query_row(
            params![
                speaker,
                i64::try_from(many).unwrap_or(i64::MAX),
                micros(now)
            ],
            |row| row.get(0),
        )?;
    let waits = lanes::set_due(turn, lane)?.is_none_or(|due| due > now);
    Ok(match waits || more {
        true => Folding::NotYet,
        false => Folding::Ready(Folded { count: many, line }),
    })
}

/// The head of a lane that is due, ready to be taken.
fn find_head(turn: &Turn<'_>, lane: i64, now: Timestamp) -> rusqlite::Result<Option<Head>> {
    turn.db
        .prepare_cached(
            "SELECT d.number, d.form, d.sends, d.id, d.conversation, d.message, d.attempts, d.first_attempt, d.bridge, e.id,
                    EXISTS (SELECT 1 FROM cursor c WHERE c.lane = d.lane AND c.conversation = d.conversation)
             FROM delivery d JOIN event e ON e.number = d.event
             WHERE d.number = (SELECT h.number FROM delivery h INDEXED BY delivery_open
                               WHERE h.lane = ?1 AND h.state IN ('waiting', 'sending') ORDER BY h.position LIMIT 1)",
        )?
        .query_row([lane], |row| {
            let sends: i64 = row.get(2)?;
            let id = delivery_id(row.get(3)?);
            let number = u32::try_from(row.get::<_, i64>(6)?.saturating_add(1)).unwrap_or(u32::MAX);
            let first: Option<i64> = row.get(7)?;
            let message: Option<String> = row.get(5)?;
            let conversation = conversation(4, row.get_ref(4)?.as_str()?);
            let message = message
                .ok_or_else(|| "there is none".to_owned())
                .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
            let claim = match (conversation, message) {
                (Ok(conversation), Ok(message)) => Ok(Claim {
                    delivery: id,
                    bridge: row.get(8)?,
                    event: row.get(9)?,
                    conversation,
                    message,
                    attempt: Attempt {
                        number,
                        operation_id: operation_id(id, sends),
                        began: now,
                    },
                    first_attempt: first.map_or(now, moment),
                    epoch: turn.epoch,
                    hold: Hold::Ever,
                    has_baseline: row.get(10)?,
                    folded: None,
                }),
                (Err(error), _) => Err(error.to_string()),
                (_, Err(error)) => Err(error),
            };
            Ok(Head {
                delivery: row.get(0)?,
                form: row.get(1)?,
                claim,
            })
        })
        .optional()
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

/// A delivery in hand.
struct InHand {
    number: i64,
    lane: i64,
    found: bool,
}

impl InHand {
    /// What an attempt is about, if it is the one in hand.
    fn find(db: &Connection, id: DeliveryId, attempt: u32) -> rusqlite::Result<Option<InHand>> {
        db.prepare_cached(
            "SELECT d.number, l.number, d.seq IS NOT NULL FROM delivery d JOIN lane l ON l.number = d.lane
             WHERE d.id = ?1 AND d.attempts = ?2 AND l.in_hand = d.number",
        )?
        .query_row(params![id.0.as_bytes(), attempt], |row| {
            Ok(InHand {
                number: row.get(0)?,
                lane: row.get(1)?,
                found: row.get(2)?,
            })
        })
        .optional()
    }
}

impl Task for Record {
    type Gives = ();

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<(), OutboxError>> {
        let receipt = match &self.decision {
            Decision::Accepted { receipt, .. } => receipt.as_ref(),
            _ => None,
        };
        let receipt = receipt
            .map(serde_json::to_string)
            .transpose()
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;

        // What was seen is a fact, whoever brings it and however late.
        turn.db
            .prepare_cached(
                "UPDATE attempt SET ended = ?3, outcome = ?4, verdict = ?5, receipt = coalesce(?6, receipt)
                 WHERE delivery = (SELECT number FROM delivery WHERE id = ?1) AND number = ?2 AND ended IS NULL",
            )?
            .execute(params![
                self.delivery.0.as_bytes(),
                self.attempt,
                micros(self.ended),
                lane::outcome(&self.decision),
                self.verdict,
                receipt,
            ])?;

        // What follows from it is decided only by who has it in hand.
        let in_hand = InHand::find(turn.db, self.delivery, self.attempt)?;
        let Some(delivery) = in_hand.filter(|_| self.epoch == turn.epoch) else {
            return Ok(Err(OutboxError::NotInHand {
                delivery: self.delivery,
                attempt: self.attempt,
            }));
        };
        let ending = lane::end(&self.decision, delivery.found);
        turn.db
            .prepare_cached(
                "UPDATE delivery SET state = ?2, reason = ?3, due = coalesce(?4, due), unsettled_since = ?5,
                                     missing_since = NULL
                 WHERE number = ?1",
            )?
            .execute(params![
                delivery.number,
                ending.state.word(),
                ending.reason,
                ending.due.map(micros),
                ending.look.map(|_| micros(self.ended)),
            ])?;
        let waits_for = ending.due.map(|_| self.verdict.as_str());
        lanes::release(
            turn,
            delivery.lane,
            self.lane_rests_until,
            ending.look,
            waits_for,
        )?;
        Ok(Ok(()))
    }

    fn outlives_its_caller(&self) -> bool {
        true
    }
}

impl Task for GiveBack {
    type Gives = ();

    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<(), OutboxError>> {
        for (id, attempt) in &self.0 {
            let Some(delivery) = InHand::find(turn.db, *id, *attempt)? else {
                continue;
            };
            turn.db
                .prepare_cached(
                    "UPDATE attempt SET ended = ?3, outcome = 'later', verdict = 'not sent: the courier stopped'
                     WHERE delivery = ?1 AND number = ?2",
                )?
                .execute(params![delivery.number, attempt, micros(turn.now)])?;
            turn.db
                .prepare_cached("UPDATE delivery SET state = 'waiting' WHERE number = ?1")?
                .execute([delivery.number])?;
            lanes::release(turn, delivery.lane, None, None, None)?;
        }
        Ok(Ok(()))
    }

    fn rings(&self, _given: &()) -> bool {
        true
    }
}
