//! Lists: which rows fit a filter, a page at a time, without reading the rest.
//!
//! Each list walks one index in the order of numbers: the one of the narrowest condition, in the order of [`Narrow`]. The other
//! conditions are only compared (a `+` before the column keeps SQLite from choosing for itself). A condition that
//! means several values walks once for each, and the newest of all make the page.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};

use super::read::{self, DELIVERY, EVENT};
use super::rows::count;
use super::walk::{Conditions, Narrow, Walk, Walks, read_page};
use crate::outbox::{DeliveryRecord, EventRecord, Filter, Page};

/// Up to so many deliveries are read first to find their events.
const A_FEW: u64 = 20_000;

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

/// The page of a table as `walks` begins it, with the conditions that deliveries and events both have: `event` is the column of an
/// event's number. `own` adds those of the table itself, which are narrower than a kind or a bridge.
fn narrowed<'a>(
    mut walks: Walks<'a>,
    filter: &Filter,
    event: &'static str,
    [kind, bridge]: [&'static str; 2],
    own: impl FnOnce(&mut Walks<'a>) -> rusqlite::Result<()>,
) -> rusqlite::Result<Vec<Walk>> {
    if let Some(id) = &filter.event {
        walks.narrow.push(Narrow {
            column: event,
            values: find_events(walks.db, id)?,
        });
    }
    own(&mut walks)?;
    if let Some(name) = &filter.kind {
        walks.narrow.push(Narrow {
            column: kind,
            values: list_kinds(walks.db, walks.table, name)?,
        });
    }
    if let Some(name) = &filter.bridge {
        walks.narrow.push(Narrow {
            column: bridge,
            values: texts([name.as_str()]),
        });
    }
    walks.kept(filter.since, filter.until)?;
    Ok(walks.all())
}

fn deliveries(db: &Connection, filter: &Filter, page: Page) -> rusqlite::Result<Vec<Walk>> {
    if filter.unrouted {
        return Ok(Vec::new()); // what no route took has no deliveries
    }
    let select = format!("SELECT {DELIVERY} FROM delivery d JOIN event e ON e.number = d.event");
    let walks = Walks::over(db, ("delivery", "d"), select, page);
    narrowed(walks, filter, "d.event", ["d.kind", "d.bridge"], |walks| {
        if !filter.states.is_empty() {
            let states: BTreeSet<_> = filter.states.iter().map(|state| state.word()).collect();
            walks.narrow.push(Narrow {
                column: "d.state",
                values: texts(states),
            });
        }
        if let Some(to) = &filter.destination {
            walks.narrow.push(Narrow {
                column: match to.contains(":#") {
                    true => "d.conversation",
                    false => "d.destination",
                },
                values: texts([to.as_str()]),
            });
        }
        Ok(())
    })
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

fn events(db: &Connection, filter: &Filter, page: Page) -> rusqlite::Result<Vec<Walk>> {
    let select = format!("SELECT {EVENT} FROM event e");
    let walks = Walks::over(db, ("event", "e"), select, page);
    narrowed(walks, filter, "e.number", ["e.kind", "e.bridge"], |walks| {
        if filter.unrouted {
            walks.conditions.plain("e.routed = 0");
            if filter.event.is_none() {
                walks.select.push_str(" INDEXED BY event_unrouted");
                walks.has_index = true;
            }
        }
        match filter.destination.is_some() || !filter.states.is_empty() {
            true => have_deliveries(walks, filter),
            false => Ok(()),
        }
    })
}

/// Adds the condition of events that one of their deliveries fits: asked of each event on the way, or, where few
/// deliveries are in these states, of those.
fn have_deliveries(walks: &mut Walks<'_>, filter: &Filter) -> rusqlite::Result<()> {
    let states = texts(filter.states.iter().map(|state| state.word()));
    let few = !states.is_empty() && count_in(walks.db, filter)? <= A_FEW;
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
    walks.conditions.plain(&match few {
        true => format!(
            "e.number IN (SELECT d.event FROM delivery d INDEXED BY delivery_state{})",
            fits.text
        ),
        false => format!(
            "EXISTS (SELECT 1 FROM delivery d INDEXED BY delivery_event{} AND d.event = e.number)",
            fits.text
        ),
    });
    walks.conditions.values.extend(fits.values);
    Ok(())
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

#[cfg(test)]
mod tests {
    use rusqlite::params_from_iter;

    use super::*;
    use crate::model::{DeliveryState, Timestamp};
    use crate::outbox::sqlite::schema;

    /// What SQLite says about each walk.
    fn plans(db: &Connection, walks: Vec<Walk>) -> Vec<String> {
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
