//! Lists: which rows fit a filter, a page at a time, without reading the rest.
//!
//! Each list walks one index in the order of numbers: the one of the narrowest condition, in the order of [`Narrow`]. The other
//! conditions are only compared (a `+` before the column keeps SQLite from choosing for itself). A condition that
//! means several values walks once for each, and the newest of all make the page.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::read::{self, DELIVERY, EVENT};
use super::rows::{count, micros, moment};
use crate::model::{Lane, Timestamp};
use crate::outbox::{DeliveryRecord, EventRecord, Filter, LaneRecord, Page};

/// A clock that was set back by less than this hides nothing from `since` and `until`: numbers follow the clock but for its steps.
const CLOCK_STEPS: std::time::Duration = std::time::Duration::from_secs(3600);

/// A query that grows by conditions.
#[derive(Default)]
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds `left = ?` for one value, or for any of several.
    fn is(&mut self, left: &str, any: &[Value]) {
        self.text.push_str(if self.text.is_empty() {
            " WHERE "
        } else {
            " AND "
        });
        match any {
            [one] => {
                self.text.push_str(&format!("{left} = ?"));
                self.values.push(one.clone());
            }
            _ => {
                let marks = vec!["?"; any.len()].join(", ");
                self.text.push_str(&format!("{left} IN ({marks})"));
                self.values.extend(any.iter().cloned());
            }
        }
    }

    /// Adds a condition with one value.
    fn that(&mut self, condition: &str, value: impl Into<Value>) {
        self.text.push_str(if self.text.is_empty() {
            " WHERE "
        } else {
            " AND "
        });
        self.text.push_str(condition);
        self.values.push(value.into());
    }
}

/// A condition with an index of its own.
struct Narrow {
    column: &'static str,
    values: Vec<Value>,
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    values
        .into_iter()
        .map(|text| Value::Text(text.to_owned()))
        .collect()
}

/// The kinds that a filter means, of those that `table` holds: the index is read once for each kind, not for each row.
fn list_kinds(db: &Connection, table: &str, kind: &str) -> rusqlite::Result<Vec<Value>> {
    let Some(begins) = kind.strip_suffix('*') else {
        return Ok(texts([kind]));
    };
    let mut next = db.prepare_cached(&format!(
        "SELECT kind FROM {table} WHERE kind >= ?1 AND kind > ?2 ORDER BY kind LIMIT 1"
    ))?;
    let mut kinds = Vec::new();
    let mut last = String::new();
    loop {
        let mut rows = next.query([begins, &last])?;
        match rows.next()? {
            Some(row) => last = row.get(0)?,
            None => return Ok(kinds),
        }
        if !last.starts_with(begins) {
            return Ok(kinds);
        }
        kinds.push(Value::Text(last.clone()));
    }
}

/// The number from which on rows were kept at or after `at`, found by halving: numbers follow the clock.
fn number_at(db: &Connection, table: &str, at: Timestamp) -> rusqlite::Result<i64> {
    let (mut low, high): (i64, i64) = db.query_row(
        &format!("SELECT coalesce(min(number), 0), coalesce(max(number), 0) + 1 FROM {table}"),
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let mut high = high;
    let mut kept = db.prepare_cached(&format!(
        "SELECT number, kept FROM {table} WHERE number >= ?1 ORDER BY number LIMIT 1"
    ))?;
    while low < high {
        let middle = low + (high - low) / 2;
        let (number, kept): (i64, i64) =
            kept.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if kept < micros(at) {
            low = number + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// A list over one table.
struct List<'a> {
    db: &'a Connection,
    /// What is read, up to the conditions.
    select: String,
    /// The table, and its short name in `select`.
    table: &'static str,
    short: &'static str,
    page: Page,
    conditions: Conditions,
}

impl List<'_> {
    /// Adds the conditions of time.
    fn kept(&mut self, since: Option<Timestamp>, until: Option<Timestamp>) -> rusqlite::Result<()> {
        let short = self.short;
        if let Some(since) = since {
            let from = since.saturating_sub(CLOCK_STEPS).unwrap_or(since);
            let number = number_at(self.db, self.table, from)?;
            self.conditions
                .that(&format!("{short}.number >= ?"), number);
            self.conditions
                .that(&format!("{short}.kept >= ?"), micros(since));
        }
        if let Some(until) = until {
            let to = until.saturating_add(CLOCK_STEPS).unwrap_or(until);
            let number = number_at(self.db, self.table, to)?;
            self.conditions.that(&format!("{short}.number < ?"), number);
            self.conditions
                .that(&format!("{short}.kept < ?"), micros(until));
        }
        Ok(())
    }

    /// The page: the rows that fit, by their numbers.
    fn rows<T>(
        mut self,
        mut narrow: Vec<Narrow>,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        number: impl Fn(&T) -> i64,
    ) -> rusqlite::Result<Vec<T>> {
        let short = self.short;
        if narrow.iter().any(|one| one.values.is_empty()) {
            return Ok(Vec::new());
        }
        let walks = match narrow.is_empty() {
            true => vec![None],
            false => {
                let first = narrow.remove(0);
                first
                    .values
                    .into_iter()
                    .map(|value| Some((first.column, value)))
                    .collect()
            }
        };
        for one in narrow {
            self.conditions.is(&format!("+{}", one.column), &one.values);
        }
        let (beyond, order) = match self.page.oldest_first {
            true => (">", "ASC"),
            false => ("<", "DESC"),
        };
        if let Some(after) = self.page.after {
            self.conditions
                .that(&format!("{short}.number {beyond} ?"), after);
        }
        let most = i64::try_from(self.page.most).unwrap_or(i64::MAX);
        let mut found = Vec::new();
        for walk in walks {
            let mut conditions = Conditions {
                text: self.conditions.text.clone(),
                values: self.conditions.values.clone(),
            };
            if let Some((column, value)) = walk {
                conditions.is(column, &[value]);
            }
            conditions.values.push(Value::Integer(most));
            let sql = format!(
                "{}{} ORDER BY {short}.number {order} LIMIT ?",
                self.select, conditions.text
            );
            let mut statement = self.db.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(&conditions.values))?;
            while let Some(row) = rows.next()? {
                found.push(read(row)?);
            }
        }
        found.sort_by_key(|one| match self.page.oldest_first {
            true => number(one),
            false => -number(one),
        });
        found.truncate(self.page.most);
        Ok(found)
    }
}

/// Deliveries that fit, without messages and attempts.
pub(super) fn list_deliveries(
    db: &Connection,
    filter: &Filter,
    page: Page,
) -> rusqlite::Result<Vec<DeliveryRecord>> {
    let mut list = List {
        db,
        select: format!("SELECT {DELIVERY} FROM delivery d JOIN event e ON e.number = d.event"),
        table: "delivery",
        short: "d",
        page,
        conditions: Conditions::default(),
    };
    let mut narrow = Vec::new();
    if let Some(event) = &filter.event {
        let numbers = db
            .prepare_cached("SELECT number FROM event WHERE id = ?1")?
            .query_map([event], |row| row.get::<_, i64>(0).map(Value::Integer))?
            .collect::<rusqlite::Result<_>>()?;
        narrow.push(Narrow {
            column: "d.event",
            values: numbers,
        });
    }
    if !filter.states.is_empty() {
        let states: BTreeSet<_> = filter.states.iter().map(|state| state.word()).collect();
        narrow.push(Narrow {
            column: "d.state",
            values: texts(states),
        });
    }
    if let Some(to) = &filter.destination {
        narrow.push(Narrow {
            column: match to.contains(":#") {
                true => "d.conversation",
                false => "d.destination",
            },
            values: texts([to.as_str()]),
        });
    }
    if let Some(kind) = &filter.kind {
        narrow.push(Narrow {
            column: "d.kind",
            values: list_kinds(db, "delivery", kind)?,
        });
    }
    if let Some(bridge) = &filter.bridge {
        narrow.push(Narrow {
            column: "d.bridge",
            values: texts([bridge.as_str()]),
        });
    }
    if filter.unrouted {
        return Ok(Vec::new()); // what no route took has no deliveries
    }
    list.kept(filter.since, filter.until)?;
    let mut found = list.rows(narrow, read::delivery, |one| one.number)?;
    for one in &mut found {
        one.receipt = read::latest_receipt(db, one.number)?;
    }
    Ok(found)
}

/// Events that fit, without their bodies.
pub(super) fn list_events(
    db: &Connection,
    filter: &Filter,
    page: Page,
) -> rusqlite::Result<Vec<EventRecord>> {
    let mut list = List {
        db,
        select: format!("SELECT {EVENT} FROM event e"),
        table: "event",
        short: "e",
        page,
        conditions: Conditions::default(),
    };
    let mut narrow = Vec::new();
    if let Some(id) = &filter.event {
        narrow.push(Narrow {
            column: "e.id",
            values: texts([id.as_str()]),
        });
    }
    if filter.unrouted {
        narrow.push(Narrow {
            column: "e.routed",
            values: vec![Value::Integer(0)],
        });
    }
    if let Some(kind) = &filter.kind {
        narrow.push(Narrow {
            column: "e.kind",
            values: list_kinds(db, "event", kind)?,
        });
    }
    if let Some(bridge) = &filter.bridge {
        narrow.push(Narrow {
            column: "e.bridge",
            values: texts([bridge.as_str()]),
        });
    }
    list.kept(filter.since, filter.until)?;
    if filter.destination.is_some() || !filter.states.is_empty() {
        list.have_deliveries(filter);
    }
    let mut found = list.rows(narrow, |row| read::event(row, Vec::new()), |one| one.number)?;
    for one in &mut found {
        one.became = read::became(db, one.number)?;
    }
    Ok(found)
}

impl List<'_> {
    /// Adds the condition of events that one of their deliveries fits.
    fn have_deliveries(&mut self, filter: &Filter) {
        let mut fits = Conditions::default();
        if !filter.states.is_empty() {
            let states = filter.states.iter().map(|state| state.word());
            fits.is("+d.state", &texts(states));
        }
        if let Some(to) = &filter.destination {
            let column = match to.contains(":#") {
                true => "+d.conversation",
                false => "+d.destination",
            };
            fits.is(column, &texts([to.as_str()]));
        }
        let condition = format!(
            "EXISTS (SELECT 1 FROM delivery d{} AND d.event = e.number)",
            fits.text
        );
        let joint = if self.conditions.text.is_empty() {
            " WHERE "
        } else {
            " AND "
        };
        self.conditions.text.push_str(joint);
        self.conditions.text.push_str(&condition);
        self.conditions.values.extend(fits.values);
    }
}

/// One lane, or all in which something waits, is unsettled, stopped or held.
pub(super) fn list_lanes(
    db: &Connection,
    lane: Option<&Lane>,
    page: Page,
) -> rusqlite::Result<Vec<LaneRecord>> {
    let (beyond, order, start) = match page.oldest_first {
        true => (">", "ASC", i64::MIN),
        false => ("<", "DESC", i64::MAX),
    };
    // Where none of these is set, nothing waits: what waits is due, or something is in hand, unsettled, stopped or held.
    let which = match lane {
        Some(_) => "name = ?1",
        None => {
            "?1 IS NULL AND (due IS NOT NULL OR in_hand IS NOT NULL OR look IS NOT NULL OR stopped OR held IS NOT NULL)"
        }
    };
    db.prepare_cached(&format!(
        "SELECT number, name, due, waits_for, held, stopped, in_hand IS NOT NULL,
                (SELECT count(*) FROM delivery d INDEXED BY delivery_open
                 WHERE d.lane = l.number AND d.state IN ('waiting', 'sending')),
                (SELECT count(*) FROM delivery d INDEXED BY delivery_unsettled
                 WHERE d.lane = l.number AND d.unsettled_since IS NOT NULL AND d.state = 'accepted'),
                (SELECT count(*) FROM delivery d INDEXED BY delivery_unsettled
                 WHERE d.lane = l.number AND d.unsettled_since IS NOT NULL AND d.state = 'sending')
         FROM lane l WHERE {which} AND number {beyond} ?2 ORDER BY number {order} LIMIT ?3"
    ))?
    .query_map(
        (
            lane.map(Lane::as_str),
            page.after.unwrap_or(start),
            i64::try_from(page.most).unwrap_or(i64::MAX),
        ),
        lane_record,
    )?
    .collect()
}

fn lane_record(row: &Row<'_>) -> rusqlite::Result<LaneRecord> {
    let due: Option<i64> = row.get(2)?;
    let held: Option<String> = row.get(4)?;
    let (stopped, in_hand): (bool, bool) = (row.get(5)?, row.get(6)?);
    let open = count(row.get(7)?);
    let (accepted, unclear) = (count(row.get(8)?), count(row.get(9)?));
    let waiting = open
        .saturating_sub(unclear)
        .saturating_sub(u64::from(in_hand));
    let waits_for = match () {
        () if in_hand => None,
        () if held.is_some() => held.clone(),
        () if unclear > 0 => Some("it is not known whether OpenIM took the last one".to_owned()),
        () if stopped => {
            Some("a message was lost at OpenIM: the others are looked for first".to_owned())
        }
        () if due.is_none() && waiting > 0 => Some(format!(
            "{accepted} accepted by OpenIM and not found in its history yet"
        )),
        () => row.get(3)?,
    };
    Ok(LaneRecord {
        number: row.get(0)?,
        lane: row.get::<_, String>(1)?.into(),
        waiting,
        unsettled: accepted + unclear,
        due: due.map(moment),
        waits_for,
        held,
        owner: None,
    })
}
