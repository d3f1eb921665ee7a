//! Lists: which rows fit a filter, a page at a time, without reading the rest.
//!
//! Each list walks one index in the order of numbers: the one of the narrowest condition, in the order of [`Narrow`]. The other
//! conditions are only compared (a `+` before the column keeps SQLite from choosing for itself). A condition that
//! means several values walks once for each, and the newest of all make the page.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::read::{self, DELIVERY, EVENT};
use super::rows::{count, micros, moment};
use crate::model::{Lane, Timestamp};
use crate::outbox::{DeliveryRecord, EventRecord, Filter, LaneRecord, Page};

/// A clock that was set back by less than this hides nothing from `since` and `until`: numbers follow the clock but for its steps.
const CLOCK_STEPS: std::time::Duration = std::time::Duration::from_secs(3600);

/// Up to so many deliveries are read first to find their events.
const A_FEW: u64 = 20_000;

/// A query that grows by conditions.
#[derive(Default)]
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds `left = ?` for one value, or for any of several.
    fn is(&mut self, left: &str, any: &[Value]) {
        let marks = vec!["?"; any.len()].join(", ");
        match any {
            [_] => self.plain(&format!("{left} = ?")),
            _ => self.plain(&format!("{left} IN ({marks})")),
        }
        self.values.extend(any.iter().cloned());
    }

    /// Adds a condition with one value.
    fn that(&mut self, condition: &str, value: impl Into<Value>) {
        self.plain(condition);
        self.values.push(value.into());
    }

    /// Adds a condition.
    fn plain(&mut self, condition: &str) {
        self.text.push_str(match self.text.is_empty() {
            true => " WHERE ",
            false => " AND ",
        });
        self.text.push_str(condition);
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

/// The kinds that a filter means, of those that `table` holds.
fn list_kinds(db: &Connection, table: &str, kind: &str) -> rusqlite::Result<Vec<Value>> {
    match kind.strip_suffix('*') {
        None => Ok(texts([kind])),
        Some(begins) => Ok(texts(
            list_words(db, table, "kind", begins)?
                .iter()
                .map(String::as_str),
        )),
    }
}

/// The different words of a column that begin so. Its index is read once for each word, not for each row.
fn list_words(
    db: &Connection,
    table: &str,
    column: &str,
    begins: &str,
) -> rusqlite::Result<Vec<String>> {
    let mut next = db.prepare_cached(&format!(
        "SELECT {column} FROM {table} WHERE {column} >= ?1 AND {column} > ?2 ORDER BY {column} LIMIT 1"
    ))?;
    let mut words: Vec<String> = Vec::new();
    loop {
        let last = words.last().map_or("", String::as_str);
        let word: Option<String> = next
            .query_row([begins, last], |row| row.get(0))
            .optional()?;
        match word {
            Some(word) if word.starts_with(begins) => words.push(word),
            _ => return Ok(words),
        }
    }
}

/// The numbers of the events that their senders gave this id.
fn find_events(db: &Connection, id: &str) -> rusqlite::Result<Vec<Value>> {
    let mut of_bridge = db.prepare_cached(
        "SELECT number FROM event INDEXED BY event_identity WHERE bridge = ?1 AND id = ?2",
    )?;
    let mut numbers = Vec::new();
    for bridge in list_words(db, "event", "bridge", "")? {
        let mut rows = of_bridge.query([bridge.as_str(), id])?;
        while let Some(row) = rows.next()? {
            numbers.push(Value::Integer(row.get(0)?));
        }
    }
    Ok(numbers)
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
        let found: Option<(i64, i64)> = kept
            .query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((number, kept)) if kept < micros(at) => low = number + 1,
            _ => high = middle,
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
    /// `select` names its index already.
    has_index: bool,
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

    /// The walks along an index that give the page together.
    fn walks(mut self, mut narrow: Vec<Narrow>) -> Vec<(String, Vec<Value>)> {
        let short = self.short;
        if narrow.iter().any(|one| one.values.is_empty()) {
            return Vec::new();
        }
        let walks = match narrow.is_empty() || self.has_index {
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
        walks
            .into_iter()
            .map(|walk| {
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
                (sql, conditions.values)
            })
            .collect()
    }
}

/// Reads the page that walks give together.
fn read_page<T>(
    db: &Connection,
    walks: Vec<(String, Vec<Value>)>,
    page: Page,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    number: impl Fn(&T) -> i64,
) -> rusqlite::Result<Vec<T>> {
    let mut found = Vec::new();
    for (sql, values) in walks {
        let mut statement = db.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(&values))?;
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
    }
    found.sort_by_key(|one| match page.oldest_first {
        true => number(one),
        false => -number(one),
    });
    found.truncate(page.most);
    Ok(found)
}

/// Deliveries that fit, without messages and attempts.
pub(super) fn list_deliveries(
    db: &Connection,
    filter: &Filter,
    page: Page,
) -> rusqlite::Result<Vec<DeliveryRecord>> {
    let walks = deliveries(db, filter, page)?;
    let mut found = read_page(db, walks, page, read::delivery, |one| one.number)?;
    for one in &mut found {
        one.receipt = read::latest_receipt(db, one.number)?;
    }
    Ok(found)
}

fn deliveries(
    db: &Connection,
    filter: &Filter,
    page: Page,
) -> rusqlite::Result<Vec<(String, Vec<Value>)>> {
    let mut list = List {
        db,
        select: format!("SELECT {DELIVERY} FROM delivery d JOIN event e ON e.number = d.event"),
        table: "delivery",
        short: "d",
        page,
        conditions: Conditions::default(),
        has_index: false,
    };
    let mut narrow = Vec::new();
    if let Some(event) = &filter.event {
        narrow.push(Narrow {
            column: "d.event",
            values: find_events(db, event)?,
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
    Ok(list.walks(narrow))
}

/// Events that fit, without their bodies.
pub(super) fn list_events(
    db: &Connection,
    filter: &Filter,
    page: Page,
) -> rusqlite::Result<Vec<EventRecord>> {
    let walks = events(db, filter, page)?;
    let read = |row: &Row<'_>| read::event(row, Vec::new());
    let mut found = read_page(db, walks, page, read, |one| one.number)?;
    for one in &mut found {
        one.became = read::became(db, one.number)?;
    }
    Ok(found)
}

fn events(
    db: &Connection,
    filter: &Filter,
    page: Page,
) -> rusqlite::Result<Vec<(String, Vec<Value>)>> {
    let mut list = List {
        db,
        select: format!("SELECT {EVENT} FROM event e"),
        table: "event",
        short: "e",
        page,
        conditions: Conditions::default(),
        has_index: false,
    };
    let mut narrow = Vec::new();
    if let Some(id) = &filter.event {
        narrow.push(Narrow {
            column: "e.number",
            values: find_events(db, id)?,
        });
    }
    if filter.unrouted {
        list.conditions.plain("e.routed = 0");
        if filter.event.is_none() {
            list.select.push_str(" INDEXED BY event_unrouted");
            list.has_index = true;
        }
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
        list.have_deliveries(filter)?;
    }
    Ok(list.walks(narrow))
}

impl List<'_> {
    /// Adds the condition of events that one of their deliveries fits: asked of each event on the way, or, where few
    /// deliveries are in these states, of those.
    fn have_deliveries(&mut self, filter: &Filter) -> rusqlite::Result<()> {
        let states = texts(filter.states.iter().map(|state| state.word()));
        let few = !states.is_empty() && count_in(self.db, filter)? <= A_FEW;
        let mut fits = Conditions::default();
        if !states.is_empty() {
            fits.is(if few { "d.state" } else { "+d.state" }, &states);
        }
        if let Some(to) = &filter.destination {
            let column = match to.contains(":#") {
                true => "+d.conversation",
                false => "+d.destination",
            };
            fits.is(column, &texts([to.as_str()]));
        }
        self.conditions.plain(&match few {
            true => format!(
                "e.number IN (SELECT d.event FROM delivery d INDEXED BY delivery_state{})",
                fits.text
            ),
            false => format!(
                "EXISTS (SELECT 1 FROM delivery d INDEXED BY delivery_event{} AND d.event = e.number)",
                fits.text
            ),
        });
        self.conditions.values.extend(fits.values);
        Ok(())
    }
}

/// How many deliveries are in the states of a filter.
fn count_in(db: &Connection, filter: &Filter) -> rusqlite::Result<u64> {
    let mut many = db.prepare_cached("SELECT many FROM tally WHERE what = ?1")?;
    let states: BTreeSet<_> = filter.states.iter().map(|state| state.word()).collect();
    states
        .into_iter()
        .map(|state| many.query_row([state], |row| Ok(count(row.get(0)?))))
        .sum()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeliveryState;
    use crate::outbox::sqlite::schema;

    /// What SQLite says about each walk.
    fn plans(db: &Connection, walks: Vec<(String, Vec<Value>)>) -> Vec<String> {
        walks
            .into_iter()
            .map(|(sql, values)| {
                let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let lines =
                    plan.query_map(params_from_iter(&values), |row| row.get::<_, String>(3));
                lines
                    .unwrap()
                    .map(Result::unwrap)
                    .collect::<Vec<_>>()
                    .join("; ")
            })
            .collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn no_list_reads_more_than_its_index_needs() {
        let mut db = Connection::open_in_memory().unwrap();
        schema::migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO event (bridge, id, id_is, body_hash, kind, happened, received, kept, routed, title, actor, link,
                                severity, subject, header, query)
                 VALUES ('b', 'i', 'sender', x'00', 'k', 0, 0, 0, 0, '', '', '', 'info', '', '{}', '{}')",
        )
        .unwrap();
        let any = Filter::default;
        let since = Some(Timestamp::UNIX_EPOCH);
        let page = Page {
            after: Some(1000),
            most: 100,
            oldest_first: false,
        };
        let narrow = Filter {
            bridge: some("b"),
            kind: some("k"),
            destination: some("group:ops"),
            states: vec![DeliveryState::Dead, DeliveryState::Refused],
            since,
            ..any()
        };
        for (filter, by) in [
            (any(), "SEARCH d USING INTEGER PRIMARY KEY"),
            (
                Filter { since, ..any() },
                "SEARCH d USING INTEGER PRIMARY KEY",
            ),
            (
                Filter {
                    event: some("i"),
                    ..any()
                },
                "SEARCH d USING INDEX delivery_event",
            ),
            (
                Filter {
                    bridge: some("b"),
                    ..any()
                },
                "SEARCH d USING INDEX delivery_bridge",
            ),
            (
                Filter {
                    kind: some("k"),
                    ..any()
                },
                "SEARCH d USING INDEX delivery_kind",
            ),
            (
                Filter {
                    destination: some("group:ops"),
                    ..any()
                },
                "SEARCH d USING INDEX delivery_destination",
            ),
            (
                Filter {
                    destination: some("group:#1"),
                    ..any()
                },
                "SEARCH d USING INDEX delivery_conversation",
            ),
            (narrow, "SEARCH d USING INDEX delivery_state"),
        ] {
            let plans = plans(&db, deliveries(&db, &filter, page).unwrap());
            assert!(!plans.is_empty());
            for plan in plans {
                assert!(plan.contains(by), "{filter:?}: {plan}");
                assert!(!plan.contains("SCAN") && !plan.contains("TEMP"), "{plan}");
            }
        }
        for (filter, by) in [
            (any(), "SEARCH e USING INTEGER PRIMARY KEY"),
            (
                Filter { since, ..any() },
                "SEARCH e USING INTEGER PRIMARY KEY",
            ),
            (
                Filter {
                    event: some("i"),
                    ..any()
                },
                "SEARCH e USING INTEGER PRIMARY KEY",
            ),
            (
                Filter {
                    bridge: some("b"),
                    ..any()
                },
                "SEARCH e USING INDEX event_bridge",
            ),
            (
                Filter {
                    kind: some("k*"),
                    ..any()
                },
                "SEARCH e USING INDEX event_kind",
            ),
            (
                Filter {
                    unrouted: true,
                    ..any()
                },
                "SEARCH e USING INDEX event_unrouted",
            ),
        ] {
            let plans = plans(&db, events(&db, &filter, page).unwrap());
            assert!(!plans.is_empty());
            for plan in plans {
                assert!(plan.contains(by), "{filter:?}: {plan}");
                assert!(!plan.contains("SCAN") && !plan.contains("TEMP"), "{plan}");
            }
        }
    }
}
