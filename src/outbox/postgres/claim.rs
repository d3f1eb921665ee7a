//! Taking deliveries in hand, and writing down what became of them.

use std::collections::HashSet;
use std::time::Duration;

use tokio_postgres::Row;

use super::lanes::{self, DueFor, LaneRow, Terms};
use super::pool::{Failed, Task, Tx};
use super::put::FORM;
use super::rows::{
    get, get_conversation, get_count, get_id, get_moment, get_text, get_u32, micros, signed,
    stored, to_json,
};
use crate::model::{Attempt, Claim, Clock, DeliveryId, Folded, Hold, Timestamp};
use crate::outbox::lane::{self, CAME_TOO_LATE, FOLDED_AT_ONCE, Waiting};
use crate::outbox::{Decision, OutboxError, Record};

/// A lane whose head this program cannot read is looked at again after this time: a newer program may have sent it by then.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Takes the due heads of lanes that nobody else holds.
pub(super) struct Take {
    pub most: usize,
    pub terms: Terms,
    pub clock: Clock,
    /// What we have in hand, when it is not sure whether something is in our hands that we do not know of (the answer to a
    /// commit was lost). That is given back first: its request was never written.
    pub known: Option<HashSet<DeliveryId>>,
}

/// Gives back claims that nobody heard of. Their requests were never written.
pub(super) struct GiveBack {
    pub claims: Vec<(DeliveryId, u32)>,
    pub terms: Terms,
}

/// The head of a lane.
struct Head {
    lane: i64,
    delivery: i64,
    form: i64,
    claim: Result<Claim, String>,
}

impl Task for Take {
    type Gives = Vec<Claim>;

    async fn apply(&self, tx: &Tx) -> Result<Vec<Claim>, Failed> {
        lanes::take_over(tx, &self.terms).await?;
        if let Some(known) = &self.known {
            self.give_back_unknown(tx, known).await?;
        }
        let ours_from = self.clock.uptime();
        let mut due = lanes::lease(tx, &self.terms, DueFor::Sending, self.most, &[]).await?;
        let folded = self.fold(tx, &mut due).await?;
        let numbers: Vec<i64> = due.iter().map(|lane| lane.number).collect();
        let heads = tx.query(HEADS, &[&numbers]).await?;

        let mut claims = Vec::new();
        let mut taken = Vec::new();
        let mut left = Vec::new();
        for row in &heads {
            let head = self.head(row)?;
            let Some(place) = due.iter().position(|lane| lane.number == head.lane) else {
                continue;
            };
            let mut lane = due.remove(place);
            match head.claim {
                Ok(mut claim) if head.form <= FORM => {
                    let of_lane = folded.iter().find(|(number, _)| *number == lane.number);
                    claim.folded = of_lane.map(|(_, folded)| folded.clone());
                    claim.epoch = lane.epoch;
                    claim.hold = Hold::Until(ours_from.saturating_add(self.terms.lease));
                    lane.in_hand = Some(head.delivery);
                    taken.push(lane);
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
                    tracing::error!(lane = %lane.name, why, "a lane waits");
                    put_off(tx, lane.number, self.terms.now, &why).await?;
                }
            }
        }
        left.append(&mut due); // leased, but nothing in them could be sent after all
        write_attempts(tx, &taken, &claims).await?;
        let mut changed = taken;
        changed.append(&mut left);
        lanes::write(tx, &changed, &self.terms).await?;
        Ok(claims)
    }
}

/// The heads of lanes, the lanes in the order that is asked for.
const HEADS: &str = "
    SELECT l.number, d.number, d.form, d.sends, d.id, d.conversation, d.message, d.attempts, d.first_attempt, d.bridge, e.id,
           EXISTS (SELECT 1 FROM cursor c WHERE c.lane = d.lane AND c.conversation = d.conversation)
    FROM unnest($1::bigint[]) WITH ORDINALITY AS l (number, place)
    CROSS JOIN LATERAL (SELECT d.* FROM delivery d WHERE d.lane = l.number AND d.state = 'waiting'
                        ORDER BY d.position LIMIT 1) d
    JOIN event e ON e.number = d.event
    ORDER BY l.place";

impl Take {
    fn head(&self, row: &Row) -> Result<Head, Failed> {
        let id = get_id(row, 4)?;
        let sends: i64 = get(row, 3)?;
        let message: Option<&str> = get(row, 6)?;
        let message = message
            .ok_or_else(|| "there is none".to_owned())
            .and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()));
        let claim = match (get_conversation(row, 5), message) {
            (Ok(conversation), Ok(message)) => Ok(Claim {
                delivery: id,
                bridge: get(row, 9)?,
                event: get_text(row, 10)?,
                conversation,
                message,
                attempt: Attempt {
                    number: get_u32(row, 7)?.saturating_add(1),
                    operation_id: format!("{id}-{sends}"),
                    began: self.terms.now,
                },
                first_attempt: get_moment(row, 8)?.unwrap_or(self.terms.now),
                epoch: 0,
                hold: Hold::Until(Duration::ZERO),
                has_baseline: get(row, 11)?,
                folded: None,
            }),
            (Err(error), _) => Err(error.to_string()),
            (_, Err(error)) => Err(error),
        };
        Ok(Head {
            lane: get(row, 0)?,
            delivery: get(row, 1)?,
            form: get(row, 2)?,
            claim,
        })
    }

    /// Folds what has come too late at the front of lanes into the last of it. A lane in which more is to be folded, or
    /// whose new head has to wait, is left out of `due`.
    async fn fold(&self, tx: &Tx, due: &mut Vec<LaneRow>) -> Result<Vec<(i64, Folded)>, Failed> {
        let numbers: Vec<i64> = due.iter().map(|lane| lane.number).collect();
        // Without a line nothing is folded: nothing goes silently.
        let late = tx
            .query(
                "SELECT l.number FROM unnest($1::bigint[]) AS l (number)
                 CROSS JOIN LATERAL (SELECT d.expires, d.folded FROM delivery d
                                     WHERE d.lane = l.number AND d.state = 'waiting' ORDER BY d.position LIMIT 1) d
                 WHERE d.folded IS NOT NULL AND d.expires <= $2",
                &[&numbers, &micros(self.terms.now)],
            )
            .await?;
        let mut ready = Vec::new();
        for row in &late {
            let number: i64 = get(row, 0)?;
            let (folded, more) = fold_lane(tx, number, self.terms.now).await?;
            let Some(place) = due.iter().position(|lane| lane.number == number) else {
                continue;
            };
            let dues = lanes::write(tx, &due[place..=place], &self.terms).await?;
            let waits = dues
                .first()
                .is_none_or(|due| due.is_none_or(|due| due > self.terms.now));
            if more || waits {
                due.remove(place);
            } else {
                ready.push((number, folded));
            }
        }
        Ok(ready)
    }

    async fn give_back_unknown(&self, tx: &Tx, known: &HashSet<DeliveryId>) -> Result<(), Failed> {
        let rows = tx
            .query(
                "SELECT d.id, d.attempts FROM lane l JOIN delivery d ON d.number = l.in_hand WHERE l.owner = $1",
                &[&self.terms.owner],
            )
            .await?;
        let mut unknown = Vec::new();
        for row in &rows {
            let id = get_id(row, 0)?;
            if !known.contains(&id) {
                unknown.push((id, get_u32(row, 1)?));
            }
        }
        give_back(tx, &unknown, &self.terms).await
    }
}

/// Folds the front of one lane, as far as is done at once: what speaks for it, and whether there is more.
async fn fold_lane(tx: &Tx, lane: i64, now: Timestamp) -> Result<(Folded, bool), Failed> {
    let rows = tx
        .query(
            "SELECT number, CASE WHEN folded IS NOT NULL THEN expires END, folds, coalesce(folded, ''), conversation
             FROM delivery WHERE lane = $1 AND state = 'waiting' ORDER BY position LIMIT $2",
            &[&lane, &signed(FOLDED_AT_ONCE as u64 + 1)],
        )
        .await?;
    let mut front = Vec::with_capacity(rows.len());
    let mut to = None;
    for row in &rows {
        // A person's chat does not speak for what should have come as a notice.
        let conversation: &str = get(row, 4)?;
        if *to.get_or_insert(conversation) != conversation {
            break;
        }
        front.push(Waiting {
            expires: get_moment(row, 1)?,
            folds: get_count(row, 2)?,
        });
    }
    let (late, _) = lane::fold(front.iter().copied(), now);
    let more = late > FOLDED_AT_ONCE;
    let late = late.min(FOLDED_AT_ONCE);
    let (_, count) = lane::fold(front.iter().take(late).copied(), now);
    let Some((speaker, silent)) = rows[..late].split_last() else {
        return Err(Failed::Unreadable("nothing is to be folded".to_owned()));
    };
    let silent: Vec<i64> = silent
        .iter()
        .map(|row| get(row, 0))
        .collect::<Result<_, _>>()?;
    tx.execute(
        "UPDATE delivery SET state = 'dead', reason = $2, folds = 0 WHERE number = ANY($1)",
        &[&silent, &CAME_TOO_LATE],
    )
    .await?;
    let number: i64 = get(speaker, 0)?;
    tx.execute(
        "UPDATE delivery SET folds = $2, due = least(due, $3) WHERE number = $1",
        &[&number, &signed(count), &micros(now)],
    )
    .await?;
    let line = get_text(speaker, 3)?;
    Ok((Folded { count, line }, more))
}

/// Leaves a lane alone for a while, and says why. Its head keeps its place.
async fn put_off(tx: &Tx, lane: i64, now: Timestamp, why: &str) -> Result<(), Failed> {
    let later = now.saturating_add(LOOK_AGAIN).unwrap_or(Timestamp::MAX);
    tx.execute(
        "UPDATE lane SET due = $2, waits_for = $3, owner = NULL, leased_until = NULL WHERE number = $1",
        &[&lane, &micros(later), &stored(why)],
    )
    .await?;
    Ok(())
}

async fn write_attempts(tx: &Tx, lanes: &[LaneRow], claims: &[Claim]) -> Result<(), Failed> {
    if claims.is_empty() {
        return Ok(());
    }
    let deliveries: Vec<i64> = lanes.iter().filter_map(|lane| lane.in_hand).collect();
    let numbers: Vec<i64> = claims.iter().map(|c| i64::from(c.attempt.number)).collect();
    let operations: Vec<&str> = claims.iter().map(|c| &*c.attempt.operation_id).collect();
    let began: Vec<i64> = claims.iter().map(|c| micros(c.attempt.began)).collect();
    let first: Vec<i64> = claims.iter().map(|c| micros(c.first_attempt)).collect();
    tx.both(
        "INSERT INTO attempt (delivery, number, operation_id, began)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[])",
        &[&deliveries, &numbers, &operations, &began],
        "UPDATE delivery d SET state = 'sending', attempts = n.attempts, first_attempt = n.first_attempt
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (number, attempts, first_attempt)
         WHERE d.number = n.number",
        &[&deliveries, &numbers, &first],
    )
    .await?;
    Ok(())
}

/// Writes down how an attempt ended.
pub(super) struct WriteDown {
    pub record: Record,
    pub terms: Terms,
}

impl Task for WriteDown {
    type Gives = Result<(), OutboxError>;

    async fn apply(&self, tx: &Tx) -> Result<Self::Gives, Failed> {
        let record = &self.record;
        let receipt = match &record.decision {
            Decision::Accepted {
                receipt: Some(receipt),
                ..
            } => Some(to_json(receipt)?),
            _ => None,
        };
        let outcome = lane::outcome(&record.decision);
        let number = i64::from(record.attempt);
        let mut lanes = lanes::lock_of(tx, &[record.delivery]).await?;
        // What was seen is a fact, whoever brings it and however late.
        let (_, found) = tx
            .both(
                "UPDATE attempt SET ended = $3, outcome = $4, verdict = $5, receipt = coalesce($6, receipt)
                 WHERE delivery = (SELECT number FROM delivery WHERE id = $1) AND number = $2 AND ended IS NULL",
                &[
                    &record.delivery.0,
                    &number,
                    &micros(record.ended),
                    &outcome,
                    &stored(&record.verdict),
                    &receipt,
                ],
                "SELECT d.number, d.attempts, d.seq IS NOT NULL, a.outcome, a.ended FROM delivery d
                 LEFT JOIN attempt a ON a.delivery = d.number AND a.number = $2 WHERE d.id = $1",
                &[&record.delivery.0, &number],
            )
            .await?;
        let not_in_hand = Ok(Err(OutboxError::NotInHand {
            delivery: record.delivery,
            attempt: record.attempt,
        }));
        let (Some(lane), Some(row)) = (lanes.first_mut(), found.first()) else {
            return not_in_hand;
        };
        let delivery: i64 = get(row, 0)?;
        let is_latest = get_u32(row, 1)? == record.attempt;
        if lane.in_hand != Some(delivery) || !is_latest || !lane.is_held(&self.terms, record.epoch)
        {
            // The answer to the first writing was lost: this is the same once more.
            let written = get::<Option<&str>>(row, 3)? == Some(outcome)
                && get::<Option<i64>>(row, 4)? == Some(micros(record.ended));
            let decided = written && is_latest && lane.epoch == record.epoch;
            return if decided { Ok(Ok(())) } else { not_in_hand };
        }
        let ending = lane::end(&record.decision, get(row, 2)?);
        tx.execute(
            "UPDATE delivery SET state = $2, reason = $3, due = coalesce($4, due), unsettled_since = $5, missing_since = NULL
             WHERE number = $1",
            &[
                &delivery,
                &ending.state.word(),
                &ending.reason.as_deref().map(stored),
                &ending.due.map(micros),
                &ending.look.map(|_| micros(record.ended)),
            ],
        )
        .await?;
        lane.in_hand = None;
        lane.rests_until = record.lane_rests_until.or(lane.rests_until);
        lane.waits_for = ending.due.map(|_| record.verdict.clone());
        if let Some(look) = ending.look {
            lane.look = Some(lane.look.map_or(look, |present| present.min(look)));
            lane.look_newest = Some(lane.look_newest.map_or(look, |newest| newest.max(look)));
        }
        lanes::write(tx, &lanes, &self.terms).await?;
        Ok(Ok(()))
    }
}

impl Task for GiveBack {
    type Gives = ();

    async fn apply(&self, tx: &Tx) -> Result<(), Failed> {
        give_back(tx, &self.claims, &self.terms).await
    }
}

async fn give_back(tx: &Tx, claims: &[(DeliveryId, u32)], terms: &Terms) -> Result<(), Failed> {
    let ids: Vec<DeliveryId> = claims.iter().map(|(id, _)| *id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let mut lanes = lanes::lock_of(tx, &ids).await?;
    lanes.retain(|lane| lane.owner.as_deref() == Some(&*terms.owner));
    let in_hand: Vec<i64> = lanes.iter().filter_map(|lane| lane.in_hand).collect();
    let uuids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
    let numbers: Vec<i64> = claims
        .iter()
        .map(|(_, number)| i64::from(*number))
        .collect();
    let back = tx
        .query(
            "UPDATE delivery d SET state = 'waiting'
             FROM unnest($1::uuid[], $2::bigint[]) AS n (id, attempt)
             WHERE d.id = n.id AND d.attempts = n.attempt AND d.number = ANY($3) AND d.state = 'sending'
             RETURNING d.number",
            &[&uuids, &numbers, &in_hand],
        )
        .await?;
    let back: Vec<i64> = back
        .iter()
        .map(|row| get(row, 0))
        .collect::<Result<_, _>>()?;
    tx.execute(
        "UPDATE attempt a SET ended = $2, outcome = 'later', verdict = 'not sent: the courier stopped'
         FROM delivery d WHERE d.number = ANY($1) AND a.delivery = d.number AND a.number = d.attempts",
        &[&back, &micros(terms.now)],
    )
    .await?;
    lanes.retain(|lane| lane.in_hand.is_some_and(|number| back.contains(&number)));
    for lane in &mut lanes {
        lane.in_hand = None;
        lane.waits_for = None;
    }
    lanes::write(tx, &lanes, terms).await?;
    Ok(())
}
