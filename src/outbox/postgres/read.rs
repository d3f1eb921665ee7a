//! Questions about the whole and about one thing. Each sees one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::Row;

use super::pool::{Failed, LOOK, Task, Tx};
use super::rows::{
    get, get_conversation, get_count, get_id, get_moment, get_some_text, get_state, get_text,
    get_u32, micros, state, stored, unreadable,
};
use crate::model::{
    Attempt, DeliveryId, DeliveryState, Event, EventId, Lane, Receipt, Severity, State, Timestamp,
};
use crate::outbox::lane::{Tally, UNPROVEN_AFTER};
use crate::outbox::{AttemptRecord, Counts, DeliveryRecord, EventRecord, NextDue};

/// When there is something to do next for `owner`, in lanes that are free or its own.
pub(super) struct Next {
    pub owner: String,
    pub looking: Vec<Lane>,
    pub now: Timestamp,
}

impl Task for Next {
    type Gives = NextDue;
    const BEGIN: &'static str = LOOK;

    async fn apply(&self, tx: &Tx) -> Result<NextDue, Failed> {
        let looking: Vec<_> = self
            .looking
            .iter()
            .map(|lane| stored(lane.as_str()))
            .collect();
        let row = tx
            .find(
                "SELECT
                     (SELECT due FROM lane WHERE due IS NOT NULL
                        AND (owner IS NULL OR owner = $1 OR leased_until < clock_timestamp())
                      ORDER BY due LIMIT 1),
                     (SELECT look FROM lane WHERE look IS NOT NULL AND name <> ALL($2)
                        AND (owner IS NULL OR owner = $1 OR leased_until < clock_timestamp())
                      ORDER BY look LIMIT 1),
                     EXISTS (SELECT 1 FROM lane WHERE in_hand IS NOT NULL AND leased_until < clock_timestamp()
                             AND owner IS DISTINCT FROM $1)",
                &[&self.owner, &looking],
            )
            .await?;
        Ok(match row {
            Some(row) => {
                // What somebody who is gone left open is taken over by whoever looks next.
                let orphaned = get::<bool>(&row, 2)?.then_some(self.now);
                NextDue {
                    send: get_moment(&row, 0)?,
                    look: get_moment(&row, 1)?.into_iter().chain(orphaned).min(),
                }
            }
            None => NextDue::default(),
        })
    }
}

/// What the tally says, and what indexes know.
pub(super) struct Count {
    pub now: Timestamp,
}

impl Task for Count {
    type Gives = Counts;
    const BEGIN: &'static str = LOOK;

    async fn apply(&self, tx: &Tx) -> Result<Counts, Failed> {
        let mut counts = Counts {
            deliveries: DeliveryState::ALL.into_iter().map(|it| (it, 0)).collect(),
            ..Counts::default()
        };
        let sums = "SELECT what, sum(many)::bigint FROM tally GROUP BY what";
        for row in &tx.query(sums, &[]).await? {
            let many = get_count(row, 1)?;
            match get::<&str>(row, 0)? {
                "events" => counts.events = many,
                "unrouted" => counts.unrouted = many,
                "bytes" => {}
                word if word == Tally::Dropped.word() => counts.dropped = many,
                word if word == Tally::PossibleRepeat.word() => counts.possible_repeats = many,
                word => {
                    counts.deliveries.insert(state(word)?, many);
                }
            }
        }
        let unproven = self
            .now
            .saturating_sub(UNPROVEN_AFTER)
            .unwrap_or(Timestamp::MIN);
        let row = tx
            .find(
                "SELECT (SELECT min(kept) FROM delivery WHERE state IN ('waiting', 'sending')),
                        min(unsettled_since), count(*) FILTER (WHERE state = 'sending'),
                        count(*) FILTER (WHERE unsettled_since <= $1),
                        (SELECT count(*) FROM lane WHERE held IS NOT NULL)
                 FROM delivery WHERE unsettled_since IS NOT NULL",
                &[&micros(unproven)],
            )
            .await?;
        if let Some(row) = row {
            counts.oldest_waiting = get_moment(&row, 0)?;
            counts.oldest_unsettled = get_moment(&row, 1)?;
            counts.unclear = get_count(&row, 2)?;
            counts.unproven = get_count(&row, 3)?;
            counts.held = get_count(&row, 4)?;
        }
        let size = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
                    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
                      AND c.relname IN ('event', 'delivery', 'attempt', 'lane', 'cursor', 'tally')";
        if let Some(row) = tx.find(size, &[]).await? {
            counts.bytes = get_count(&row, 0)?;
        }
        Ok(counts)
    }
}

/// Whether the tables can be written.
pub(super) struct Probe;

impl Task for Probe {
    type Gives = ();

    async fn apply(&self, tx: &Tx) -> Result<(), Failed> {
        // The session was opened where writing is allowed; a failover may have changed that since.
        tx.query("SELECT version FROM outbox FOR SHARE", &[])
            .await?;
        Ok(())
    }
}

/// Sums up the tally, so that counting stays cheap. Nobody waits for it, and it waits for nobody.
pub(super) struct SumUp;

impl Task for SumUp {
    type Gives = ();

    async fn apply(&self, tx: &Tx) -> Result<(), Failed> {
        tx.execute(
            "WITH gone AS (DELETE FROM tally WHERE pg_try_advisory_xact_lock($1) RETURNING what, many)
             INSERT INTO tally (what, many) SELECT what, sum(many) FROM gone GROUP BY what HAVING sum(many) <> 0",
            &[&SUMMING],
        )
        .await?;
        Ok(())
    }
}

/// One replica sums up at a time. The number is ours: `OIMT`.
const SUMMING: i64 = 0x4f49_4d54;

/// What a delivery's row holds, without its attempts; see [`delivery`].
pub(super) const DELIVERY: &str = "d.number, d.id, d.bridge, e.id, d.event, d.kind, d.destination, d.conversation, d.state,
    d.reason, d.kept, d.due, d.expires, d.folds, d.seq,
    (SELECT a.receipt FROM attempt a WHERE a.delivery = d.number AND a.receipt IS NOT NULL ORDER BY a.number DESC LIMIT 1)";

/// A delivery from a row of [`DELIVERY`].
pub(super) fn delivery(row: &Row) -> Result<DeliveryRecord, Failed> {
    let conversation = get_conversation(row, 7)?;
    let state = get_state(row, 8)?;
    let receipt: Option<&str> = get(row, 15)?;
    let receipt: Option<Receipt> = receipt
        .map(serde_json::from_str)
        .transpose()
        .map_err(unreadable)?;
    Ok(DeliveryRecord {
        number: get(row, 0)?,
        id: get_id(row, 1)?,
        bridge: get(row, 2)?,
        event: get_text(row, 3)?,
        event_number: get(row, 4)?,
        kind: get_text(row, 5)?,
        destination: get_text(row, 6)?,
        lane: conversation.lane(),
        conversation,
        state,
        reason: get_some_text(row, 9)?,
        kept: get_moment(row, 10)?.unwrap_or(Timestamp::MIN),
        due: match state {
            DeliveryState::Waiting => get_moment(row, 11)?,
            _ => None,
        },
        expires: get_moment(row, 12)?,
        folds: get_count(row, 13)?,
        seq: get(row, 14)?,
        message: None,
        receipt,
        attempts: Vec::new(),
    })
}

/// One delivery with its message and its attempts.
pub(super) struct FindDelivery(pub DeliveryId);

impl Task for FindDelivery {
    type Gives = Option<DeliveryRecord>;
    const BEGIN: &'static str = LOOK;

    async fn apply(&self, tx: &Tx) -> Result<Option<DeliveryRecord>, Failed> {
        let sql = format!(
            "SELECT {DELIVERY}, d.message FROM delivery d JOIN event e ON e.number = d.event WHERE d.id = $1"
        );
        let Some(row) = tx.find(&sql, &[&self.0.0]).await? else {
            return Ok(None);
        };
        let mut found = delivery(&row)?;
        let message: Option<&str> = get(&row, 16)?;
        found.message = message
            .map(serde_json::from_str)
            .transpose()
            .map_err(unreadable)?;
        let attempts = tx
            .query(
                "SELECT number, operation_id, began, ended, verdict, evidence FROM attempt
                 WHERE delivery = $1 ORDER BY number",
                &[&found.number],
            )
            .await?;
        for row in &attempts {
            found.attempts.push(AttemptRecord {
                attempt: Attempt {
                    number: get_u32(row, 0)?,
                    operation_id: get(row, 1)?,
                    began: get_moment(row, 2)?.unwrap_or(Timestamp::MIN),
                },
                ended: get_moment(row, 3)?,
                verdict: get_some_text(row, 4)?,
                evidence: get_some_text(row, 5)?,
            });
        }
        Ok(Some(found))
    }
}

/// What an event's row holds but its body; see [`event`].
pub(super) const EVENT: &str =
    "e.number, e.bridge, e.id, e.id_is, e.kind, e.happened, e.received, e.kept, e.routed, e.title,
    e.actor, e.link, e.severity, e.state, e.subject, e.header, e.query, e.body IS NOT NULL";

/// An event from a row of [`EVENT`], with `raw` as its body.
pub(super) fn event(row: &Row, raw: Vec<u8>) -> Result<EventRecord, Failed> {
    let map = |column: usize| -> Result<BTreeMap<String, String>, Failed> {
        serde_json::from_str(get(row, column)?).map_err(unreadable)
    };
    let time = |column: usize| -> Result<Timestamp, Failed> {
        Ok(get_moment(row, column)?.unwrap_or(Timestamp::MIN))
    };
    let id = match get::<&str>(row, 3)? {
        "sender" => EventId::Sender(get_text(row, 2)?),
        _ => EventId::Body(get_text(row, 2)?),
    };
    let severity: &str = get(row, 12)?;
    let severity = Severity::ALL
        .into_iter()
        .find(|one| one.word() == severity)
        .ok_or_else(|| unreadable(format_args!("`{severity}` is no severity")))?;
    let state = match get::<Option<&str>>(row, 13)? {
        None => None,
        Some("open") => Some(State::Open),
        Some("changed") => Some(State::Changed),
        Some("closed") => Some(State::Closed),
        Some(other) => return Err(unreadable(format_args!("`{other}` is no state"))),
    };
    Ok(EventRecord {
        number: get(row, 0)?,
        kept: time(7)?,
        routed: get(row, 8)?,
        has_body: get(row, 17)?,
        event: Arc::new(Event {
            bridge: get(row, 1)?,
            id,
            signed: None,
            kind: get_text(row, 4)?,
            time: time(5)?,
            received: time(6)?,
            title: get_text(row, 9)?,
            actor: get_text(row, 10)?,
            link: get_text(row, 11)?,
            severity,
            state,
            subject: get_text(row, 14)?,
            header: map(15)?,
            query: map(16)?,
            body: serde_json::Value::Null,
            raw: raw.into(),
        }),
        became: BTreeMap::new(),
    })
}

/// One event with its body.
pub(super) struct FindEvent(pub i64);

impl Task for FindEvent {
    type Gives = Option<EventRecord>;
    const BEGIN: &'static str = LOOK;

    async fn apply(&self, tx: &Tx) -> Result<Option<EventRecord>, Failed> {
        let sql = format!("SELECT {EVENT}, e.body FROM event e WHERE e.number = $1");
        let Some(row) = tx.find(&sql, &[&self.0]).await? else {
            return Ok(None);
        };
        let raw: Option<Vec<u8>> = get(&row, 18)?;
        let mut found = vec![event(&row, raw.unwrap_or_default())?];
        say_what_became(tx, &mut found).await?;
        Ok(found.pop())
    }
}

/// Adds to events what became of their deliveries.
pub(super) async fn say_what_became(tx: &Tx, events: &mut [EventRecord]) -> Result<(), Failed> {
    let numbers: Vec<i64> = events.iter().map(|event| event.number).collect();
    let rows = tx
        .query(
            "SELECT event, state, count(*) FROM delivery WHERE event = ANY($1) GROUP BY event, state",
            &[&numbers],
        )
        .await?;
    for row in &rows {
        let number: i64 = get(row, 0)?;
        if let Some(event) = events.iter_mut().find(|event| event.number == number) {
            let many = usize::try_from(get_count(row, 2)?).unwrap_or(usize::MAX);
            event.became.insert(get_state(row, 1)?, many);
        }
    }
    Ok(())
}
