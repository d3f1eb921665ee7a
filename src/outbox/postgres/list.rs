//! Lists: which rows fit a filter, a page at a time.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::pool::{Failed, LOOK, Param, Task, Tx};
use super::read::{self, DELIVERY, EVENT};
use super::rows::{get, get_count, get_moment, get_some_text, get_text, micros, signed, stored};
use crate::model::Lane;
use crate::outbox::desk::Standstill;
use crate::outbox::{DeliveryRecord, EventRecord, Filter, LaneRecord, Page};

/// A query that grows by conditions.
#[derive(Default)]
struct Conditions {
    text: String,
    values: Vec<Box<dyn ToSql + Send + Sync>>,
}

impl Conditions {
    /// Adds a condition; `?` in it stands for the value.
    fn with(&mut self, condition: &str, value: impl ToSql + Send + Sync + 'static) {
        self.values.push(Box::new(value));
        let place = format!("${}", self.values.len());
        self.plain(&condition.replace('?', &place));
    }

    /// Adds a condition without a value.
    fn plain(&mut self, condition: &str) {
        self.text.push_str(match self.text.is_empty() {
            true => " WHERE ",
            false => " AND ",
        });
        self.text.push_str(condition);
    }

    /// Adds what all lists have in common: the time of keeping, for rows of `short`.
    fn kept(&mut self, short: &str, filter: &Filter) {
        if let Some(since) = filter.since {
            self.with(&format!("{short}.kept >= ?"), micros(since));
        }
        if let Some(until) = filter.until {
            self.with(&format!("{short}.kept < ?"), micros(until));
        }
    }

    /// Adds the condition of a kind, or of what it begins with before a `*`.
    fn kind(&mut self, column: &str, kind: &str) {
        match kind.strip_suffix('*') {
            None => self.with(&format!("{column} = ?"), stored(kind).into_owned()),
            Some(begins) => self.with(
                &format!("starts_with({column}, ?)"),
                stored(begins).into_owned(),
            ),
        }
    }

    /// Asks for one page of it.
    async fn page(
        mut self,
        tx: &Tx,
        select: &str,
        number: &str,
        page: Page,
    ) -> Result<Vec<Row>, Failed> {
        let (beyond, order) = match page.oldest_first {
            true => (">", "ASC"),
            false => ("<", "DESC"),
        };
        if let Some(after) = page.after {
            self.with(&format!("{number} {beyond} ?"), after);
        }
        self.values.push(Box::new(signed(page.most as u64)));
        let sql = format!(
            "{select}{} ORDER BY {number} {order} LIMIT ${}",
            self.text,
            self.values.len()
        );
        let values: Vec<Param<'_>> = self
            .values
            .iter()
            .map(|value| -> Param<'_> { &**value })
            .collect();
        tx.query(&sql, &values).await
    }
}

/// Where a destination is looked for: an id of OpenIM's, or a name of the rules.
fn column_of(destination: &str) -> &'static str {
    match destination.contains(":#") {
        true => "d.conversation = ?",
        false => "d.destination = ?",
    }
}

fn words(filter: &Filter) -> Vec<String> {
    let word = |state: &crate::model::DeliveryState| state.word().to_owned();
    filter.states.iter().map(word).collect()
}

/// Deliveries that fit, without messages and attempts.
pub(super) struct ListDeliveries {
    pub filter: Filter,
    pub page: Page,
}

impl Task for ListDeliveries {
    type Gives = Vec<DeliveryRecord>;
    const BEGIN: &'static str = LOOK;

    async fn apply(&self, tx: &Tx) -> Result<Vec<DeliveryRecord>, Failed> {
        let filter = &self.filter;
        if filter.unrouted {
            return Ok(Vec::new()); // what no route took has no deliveries
        }
        let mut conditions = Conditions::default();
        if let Some(event) = &filter.event {
            conditions.with(
                "d.event IN (SELECT number FROM event WHERE id = ?)",
                stored(event).into_owned(),
            );
        }
        if !filter.states.is_empty() {
            conditions.with("d.state = ANY(?)", words(filter));
        }
        if let Some(to) = &filter.destination {
            conditions.with(column_of(to), stored(to).into_owned());
        }
        if let Some(kind) = &filter.kind {
            conditions.kind("d.kind", kind);
        }
        if let Some(bridge) = &filter.bridge {
            conditions.with("d.bridge = ?", bridge.clone());
        }
        conditions.kept("d", filter);
        let select =
            format!("SELECT {DELIVERY} FROM delivery d JOIN event e ON e.number = d.event");
        let rows = conditions.page(tx, &select, "d.number", self.page).await?;
        rows.iter().map(read::delivery).collect()
    }
}

/// Events that fit, without their bodies.
pub(super) struct ListEvents {
    pub filter: Filter,
    pub page: Page,
}

impl Task for ListEvents {
    type Gives = Vec<EventRecord>;
    const BEGIN: &'static str = LOOK;

    async fn apply(&self, tx: &Tx) -> Result<Vec<EventRecord>, Failed> {
        let filter = &self.filter;
        let mut conditions = Conditions::default();
        if let Some(id) = &filter.event {
            conditions.with("e.id = ?", stored(id).into_owned());
        }
        if filter.unrouted {
            conditions.plain("NOT e.routed");
        }
        if let Some(kind) = &filter.kind {
            conditions.kind("e.kind", kind);
        }
        if let Some(bridge) = &filter.bridge {
            conditions.with("e.bridge = ?", bridge.clone());
        }
        let exists = |fits: &str| {
            format!("EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.number AND {fits}")
        };
        match (&filter.destination, filter.states.is_empty()) {
            (None, true) => {}
            (Some(to), true) => {
                conditions.with(&(exists(column_of(to)) + ")"), stored(to).into_owned());
            }
            (None, false) => {
                conditions.with(&(exists("d.state = ANY(?)") + ")"), words(filter));
            }
            // One delivery has to fit both.
            (Some(to), false) => {
                conditions.with(&exists("d.state = ANY(?)"), words(filter));
                conditions.with(&format!("{})", column_of(to)), stored(to).into_owned());
            }
        }
        conditions.kept("e", filter);
        let select = format!("SELECT {EVENT} FROM event e");
        let rows = conditions.page(tx, &select, "e.number", self.page).await?;
        let mut found = rows
            .iter()
            .map(|row| read::event(row, Vec::new()))
            .collect::<Result<Vec<_>, _>>()?;
        read::say_what_became(tx, &mut found).await?;
        Ok(found)
    }
}

/// One lane, or all in which something waits, is unsettled, stopped or held.
pub(super) struct ListLanes {
    pub lane: Option<Lane>,
    pub page: Page,
}

impl Task for ListLanes {
    type Gives = Vec<LaneRecord>;
    const BEGIN: &'static str = LOOK;

    async fn apply(&self, tx: &Tx) -> Result<Vec<LaneRecord>, Failed> {
        let mut conditions = Conditions::default();
        match &self.lane {
            Some(lane) => conditions.with("l.name = ?", stored(lane.as_str()).into_owned()),
            // Where none of these is set, nothing waits: what waits is due, or something is in hand, unsettled or held.
            None => conditions.plain(
                "(l.due IS NOT NULL OR l.in_hand IS NOT NULL OR l.look IS NOT NULL OR l.stopped OR l.held IS NOT NULL)",
            ),
        }
        let select = "SELECT l.number, l.name, l.due, l.waits_for, l.held, l.stopped, l.in_hand IS NOT NULL,
                (SELECT count(*) FROM delivery d WHERE d.lane = l.number AND d.state = 'waiting'),
                (SELECT count(*) FROM delivery d WHERE d.lane = l.number AND d.unsettled_since IS NOT NULL
                                                   AND d.state = 'accepted'),
                (SELECT count(*) FROM delivery d WHERE d.lane = l.number AND d.unsettled_since IS NOT NULL
                                                   AND d.state = 'sending'),
                CASE WHEN l.leased_until >= clock_timestamp() THEN l.owner END
             FROM lane l";
        let rows = conditions.page(tx, select, "l.number", self.page).await?;
        rows.iter().map(lane_record).collect()
    }
}

fn lane_record(row: &Row) -> Result<LaneRecord, Failed> {
    let due = get_moment(row, 2)?;
    let held = get_some_text(row, 4)?;
    let (stopped, in_hand): (bool, bool) = (get(row, 5)?, get(row, 6)?);
    let (waiting, accepted, unclear) = (get_count(row, 7)?, get_count(row, 8)?, get_count(row, 9)?);
    let waits_for = LaneRecord::waits_for(
        held.as_deref(),
        Standstill {
            in_hand,
            stopped,
            unclear,
            only_unfound: (due.is_none() && waiting > 0).then_some(accepted),
        },
        get_some_text(row, 3)?,
    );
    Ok(LaneRecord {
        number: get(row, 0)?,
        lane: get_text(row, 1)?.into(),
        waiting,
        unsettled: accepted + unclear,
        due,
        waits_for,
        held,
        owner: get(row, 10)?,
    })
}
