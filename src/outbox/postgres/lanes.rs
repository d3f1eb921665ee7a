//! The order inside a conversation, and who may work on it. All that changes a lane's row stands here.
//!
//! Who changes anything in a lane holds the lock of its row. Several are locked in the order of their names, so that two
//! replicas cannot wait for each other in a circle; a claim takes only what is free and waits for nothing.

use std::borrow::Cow;
use std::time::Duration;

use tokio_postgres::Row;

use super::bell::RING;
use super::pool::{Failed, Task, Tx};
use super::rows::{get, get_count, get_moment, get_some_text, get_text, micros, signed, stored};
use crate::model::{DeliveryId, Lane, Timestamp};
use crate::outbox::Window;
use crate::outbox::lane::{Head, Standing, Unconfirmed};

/// What a lane's row holds, as [`read`] expects it.
pub(super) const COLUMNS: &str =
    "l.number, l.name, l.last_position, l.epoch, l.owner, l.in_hand, l.look, l.look_newest,
    l.stopped, l.held, l.held_for_one, l.rests_until, l.waits_for";

/// A lane whose row is locked by us. Changes become real in [`write()`].
#[derive(Clone, Debug)]
pub(super) struct LaneRow {
    pub number: i64,
    pub name: Lane,
    pub last_position: i64,
    pub epoch: u64,
    pub owner: Option<String>,
    pub in_hand: Option<i64>,
    pub look: Option<Timestamp>,
    pub look_newest: Option<Timestamp>,
    pub stopped: bool,
    pub held: Option<String>,
    pub held_for_one: bool,
    pub rests_until: Option<Timestamp>,
    pub waits_for: Option<String>,
}

impl LaneRow {
    /// Whether nobody else has had it in hand since we did, in this epoch. We may have given it back.
    pub fn is_held(&self, terms: &Terms, epoch: u64) -> bool {
        let of_others = self.owner.as_ref().is_some_and(|it| *it != terms.owner);
        self.epoch == epoch && !of_others
    }
}

/// Who asks, when, and what holds for all lanes.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// Us.
    pub owner: String,
    /// How much may be unconfirmed.
    pub window: Window,
    /// How long a lane is ours when we take it.
    pub lease: Duration,
    /// Now, by the service's clock.
    pub now: Timestamp,
}

/// A lane out of [`COLUMNS`].
pub(super) fn read(row: &Row) -> Result<LaneRow, Failed> {
    Ok(LaneRow {
        number: get(row, 0)?,
        name: Lane::from(get_text(row, 1)?),
        last_position: get(row, 2)?,
        epoch: get_count(row, 3)?,
        owner: get(row, 4)?,
        in_hand: get(row, 5)?,
        look: get_moment(row, 6)?,
        look_newest: get_moment(row, 7)?,
        stopped: get(row, 8)?,
        held: get_some_text(row, 9)?,
        held_for_one: get(row, 10)?,
        rests_until: get_moment(row, 11)?,
        waits_for: get_some_text(row, 12)?,
    })
}

/// Locks lanes and gives each so many positions at its end; makes those that are new. In the order of their names.
pub(super) async fn reserve(
    tx: &Tx,
    wanted: &std::collections::BTreeMap<Lane, i64>,
) -> Result<Vec<LaneRow>, Failed> {
    let names: Vec<Cow<'_, str>> = wanted.keys().map(|lane| stored(lane.as_str())).collect();
    let places: Vec<i64> = wanted.values().copied().collect();
    let sql = format!(
        "INSERT INTO lane AS l (name, last_position) SELECT * FROM unnest($1::text[], $2::bigint[])
         ON CONFLICT (name) DO UPDATE SET last_position = l.last_position + EXCLUDED.last_position
         RETURNING {COLUMNS}"
    );
    let rows = tx.query(&sql, &[&names, &places]).await?;
    rows.iter().map(read).collect()
}

/// Locks the lanes of these deliveries.
pub(super) async fn lock_of(tx: &Tx, deliveries: &[DeliveryId]) -> Result<Vec<LaneRow>, Failed> {
    let ids: Vec<uuid::Uuid> = deliveries.iter().map(|id| id.0).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM lane l
         WHERE l.number IN (SELECT d.lane FROM delivery d WHERE d.id = ANY($1))
         ORDER BY l.name FOR NO KEY UPDATE"
    );
    let rows = tx.query(&sql, &[&ids]).await?;
    rows.iter().map(read).collect()
}

/// Locks these lanes, as far as they are there.
pub(super) async fn lock(tx: &Tx, names: &[&Lane]) -> Result<Vec<LaneRow>, Failed> {
    let names: Vec<Cow<'_, str>> = names.iter().map(|lane| stored(lane.as_str())).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM lane l WHERE l.name = ANY($1) ORDER BY l.name FOR NO KEY UPDATE"
    );
    let rows = tx.query(&sql, &[&names]).await?;
    rows.iter().map(read).collect()
}

/// The heads of lanes and what is unsettled in them.
const STANDINGS: &str =
    "SELECT l.number, h.due, h.bytes, u.accepted, u.bytes, u.elsewhere, u.unsettled > u.accepted, u.unsettled > 0
     FROM unnest($1::bigint[]) WITH ORDINALITY AS l (number, place)
     LEFT JOIN LATERAL (SELECT d.due, d.bytes, d.conversation FROM delivery d
                        WHERE d.lane = l.number AND d.state = 'waiting' ORDER BY d.position LIMIT 1) h ON true
     CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE d.state = 'accepted') AS accepted,
                                coalesce(sum(d.bytes) FILTER (WHERE d.state = 'accepted'), 0)::bigint AS bytes,
                                coalesce(bool_or(d.conversation <> h.conversation) FILTER (WHERE d.state = 'accepted'), false)
                                    AS elsewhere,
                                count(*) AS unsettled
                         FROM delivery d WHERE d.lane = l.number AND d.unsettled_since IS NOT NULL) u
     ORDER BY l.place";

/// Writes changed lanes down, each with its new due moment. A lane in which nothing is due and nothing is unsettled is
/// given back: another replica may be the next to have something for it.
/// The new due moments.
pub(super) async fn write(
    tx: &Tx,
    lanes: &[LaneRow],
    terms: &Terms,
) -> Result<Vec<Option<Timestamp>>, Failed> {
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<i64> = lanes.iter().map(|lane| lane.number).collect();
    let standings = tx.query(STANDINGS, &[&numbers]).await?;
    let mut dues = Vec::with_capacity(lanes.len());
    let mut idle = Vec::with_capacity(lanes.len());
    for (lane, row) in lanes.iter().zip(&standings) {
        let head = match get_moment(row, 1)? {
            Some(due) => Some(Head {
                due,
                bytes: get_count(row, 2)?,
            }),
            None => None,
        };
        let standing = Standing {
            in_flight: lane.in_hand.is_some() || get::<bool>(row, 6)?,
            stopped: lane.stopped,
            held: lane.held.is_some(),
            rests_until: lane.rests_until,
            head,
            unconfirmed: Unconfirmed {
                messages: get_count(row, 3)?,
                bytes: get_count(row, 4)?,
                elsewhere: get(row, 5)?,
            },
        };
        let due = standing.due(terms.window);
        let unsettled: bool = get(row, 7)?;
        dues.push(due);
        idle.push(lane.in_hand.is_none() && !unsettled && due.is_none_or(|due| due > terms.now));
    }
    tx.execute(
        "UPDATE lane l SET
             due = n.due, in_hand = n.in_hand, look = n.look, look_newest = n.look_newest,
             stopped = n.stopped, held = n.held, held_for_one = n.held_for_one, rests_until = n.rests_until,
             waits_for = n.waits_for,
             owner = CASE WHEN NOT (n.idle AND l.owner = $1) THEN l.owner END,
             leased_until = CASE WHEN NOT (n.idle AND l.owner = $1) THEN l.leased_until END
         FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[], $8::text[],
                     $9::boolean[], $10::bigint[], $11::text[], $12::boolean[])
             AS n (number, due, in_hand, look, look_newest, stopped, held, held_for_one, rests_until, waits_for, idle)
         WHERE l.number = n.number",
        &[
            &terms.owner,
            &numbers,
            &dues.iter().map(|due| due.map(micros)).collect::<Vec<_>>(),
            &column(lanes, |lane| lane.in_hand),
            &column(lanes, |lane| lane.look.map(micros)),
            &column(lanes, |lane| lane.look_newest.map(micros)),
            &column(lanes, |lane| lane.stopped),
            &column(lanes, |lane| lane.held.as_deref().map(stored).map(Cow::into_owned)),
            &column(lanes, |lane| lane.held_for_one),
            &column(lanes, |lane| lane.rests_until.map(micros)),
            &column(lanes, |lane| lane.waits_for.as_deref().map(stored).map(Cow::into_owned)),
            &idle,
        ],
    )
    .await?;
    Ok(dues)
}

fn column<T>(lanes: &[LaneRow], of: impl Fn(&LaneRow) -> T) -> Vec<T> {
    lanes.iter().map(of).collect()
}

/// Attempts that are open in lanes whose lease ran out: their owner is gone, or has stood still for too long. Nobody knows
/// whether OpenIM took them, so they are unclear and looked for now. The lanes are nobody's then, with a new epoch: what
/// the owner still decides is refused.
pub(super) async fn take_over(tx: &Tx, terms: &Terms) -> Result<u64, Failed> {
    tx.execute(
        "WITH gone AS (
             SELECT number, in_hand FROM lane
             WHERE in_hand IS NOT NULL AND leased_until < clock_timestamp() AND owner IS DISTINCT FROM $1
             ORDER BY leased_until LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
         ), taken AS (
             UPDATE lane l SET in_hand = NULL, due = NULL, epoch = l.epoch + 1,
                               look = least(l.look, $2), look_newest = greatest(l.look_newest, $2),
                               owner = NULL, leased_until = NULL,
                               waits_for = 'the service stopped while this was being sent'
             FROM gone WHERE l.number = gone.number RETURNING gone.in_hand
         )
         UPDATE delivery SET unsettled_since = $2 WHERE number IN (SELECT in_hand FROM taken) AND state = 'sending'",
        &[&terms.owner, &micros(terms.now), &TAKEN_AT_ONCE],
    )
    .await
}

/// At most so many open attempts are taken over in one transaction.
const TAKEN_AT_ONCE: i64 = 256;

/// What a lane can be due for: the column of its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DueFor {
    /// Its head can be sent.
    Sending,
    /// Something in it is to be looked for.
    Looking,
}

/// Leases at most `most` lanes that are due and free or ours, but not `but`; those that are due longest first.
pub(super) async fn lease(
    tx: &Tx,
    terms: &Terms,
    what: DueFor,
    most: usize,
    but: &[Lane],
) -> Result<Vec<LaneRow>, Failed> {
    let column = match what {
        DueFor::Sending => "due",
        DueFor::Looking => "look",
    };
    let but: Vec<Cow<'_, str>> = but.iter().map(|lane| stored(lane.as_str())).collect();
    let sql = format!(
        "WITH free AS (
             SELECT number FROM lane
             WHERE {column} IS NOT NULL AND {column} <= $2
               AND (owner IS NULL OR owner = $1 OR leased_until < clock_timestamp())
               AND name <> ALL($5)
             ORDER BY {column}, number LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED
         )
         UPDATE lane l SET
             epoch = l.epoch + CASE WHEN l.owner = $1 THEN 0 ELSE 1 END,
             owner = $1, leased_until = clock_timestamp() + $3 * interval '1 second'
         FROM free WHERE l.number = free.number
         RETURNING {COLUMNS}, l.{column}"
    );
    let rows = tx
        .query(
            &sql,
            &[
                &terms.owner,
                &micros(terms.now),
                &terms.lease.as_secs_f64(),
                &signed(most as u64),
                &but,
            ],
        )
        .await?;
    let mut leased = Vec::with_capacity(rows.len());
    for row in &rows {
        leased.push((get::<i64>(row, 13)?, read(row)?));
    }
    leased.sort_by_key(|(at, lane)| (*at, lane.number));
    Ok(leased.into_iter().map(|(_, lane)| lane).collect())
}

/// Gives back every lane of ours that has no request in flight, and rings for them.
pub(super) struct Leave {
    pub owner: String,
}

impl Task for Leave {
    type Gives = ();

    async fn apply(&self, tx: &Tx) -> Result<(), Failed> {
        let left = tx
            .execute(
                "UPDATE lane SET owner = NULL, leased_until = NULL WHERE number IN
                     (SELECT number FROM lane WHERE owner = $1 AND in_hand IS NULL ORDER BY name FOR NO KEY UPDATE)",
                &[&self.owner],
            )
            .await?;
        if left > 0 {
            tx.execute(RING, &[]).await?;
        }
        Ok(())
    }
}

/// What opening the outbox does: takes over what somebody who is gone had in hand, and reckons anew with our window, which
/// may be another one than before.
pub(super) struct Reckon {
    pub terms: Terms,
}

impl Task for Reckon {
    type Gives = u64;

    async fn apply(&self, tx: &Tx) -> Result<u64, Failed> {
        let open = take_over(tx, &self.terms).await?;
        // Whoever has one locked now writes it himself; a replica that stands still must not keep us from starting.
        let sql = format!(
            "SELECT {COLUMNS} FROM lane l
             WHERE l.number IN (SELECT lane FROM delivery WHERE unsettled_since IS NOT NULL)
             ORDER BY l.name FOR NO KEY UPDATE SKIP LOCKED"
        );
        let rows = tx.query(&sql, &[]).await?;
        let lanes: Vec<LaneRow> = rows.iter().map(read).collect::<Result<_, _>>()?;
        write(tx, &lanes, &self.terms).await?;
        Ok(open)
    }
}
