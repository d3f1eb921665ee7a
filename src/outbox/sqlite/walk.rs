//! Walks: a page of one table, read along one index in the order of numbers.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::rows::micros;
use crate::model::Timestamp;
use crate::outbox::Page;

/// A clock that was set back by less than this hides nothing from `since` and `until`: numbers follow the clock but for its steps.
const CLOCK_STEPS: std::time::Duration = std::time::Duration::from_secs(3600);

/// A query that grows by conditions.
#[derive(Clone, Default)]
pub(super) struct Conditions {
    pub text: String,
    pub values: Vec<Value>,
}

impl Conditions {
    /// Adds `left = ?` for one value, or for any of several.
    pub fn is(&mut self, left: &str, any: &[Value]) {
        let marks = vec!["?"; any.len()].join(", ");
        match any {
            [_] => self.plain(&format!("{left} = ?")),
            _ => self.plain(&format!("{left} IN ({marks})")),
        }
        self.values.extend(any.iter().cloned());
    }

    /// Adds a condition with one value.
    pub fn that(&mut self, condition: &str, value: impl Into<Value>) {
        self.plain(condition);
        self.values.push(value.into());
    }

    /// Adds a condition.
    pub fn plain(&mut self, condition: &str) {
        self.text.push_str(match self.text.is_empty() {
            true => " WHERE ",
            false => " AND ",
        });
        self.text.push_str(condition);
    }
}

/// A condition with an index of its own.
pub(super) struct Narrow {
    pub column: &'static str,
    pub values: Vec<Value>,
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

/// A page of one table before it is walked: what is read, and which rows.
pub(super) struct Walks<'a> {
    pub db: &'a Connection,
    /// What is read, up to the conditions.
    pub select: String,
    /// The table, and its short name in `select`.
    pub table: &'static str,
    pub short: &'static str,
    pub page: Page,
    pub conditions: Conditions,
    /// Conditions with an index of their own, the narrowest first: it is the one that is walked along.
    pub narrow: Vec<Narrow>,
    /// `select` names its index already.
    pub has_index: bool,
}

/// One statement and its values.
pub(super) type Walk = (String, Vec<Value>);

impl<'a> Walks<'a> {
    /// All rows of a table that `select` reads under its short name.
    pub fn over(
        db: &'a Connection,
        (table, short): (&'static str, &'static str),
        select: String,
        page: Page,
    ) -> Walks<'a> {
        Walks {
            db,
            select,
            table,
            short,
            page,
            conditions: Conditions::default(),
            narrow: Vec::new(),
            has_index: false,
        }
    }

    /// Adds the conditions of time.
    pub fn kept(
        &mut self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> rusqlite::Result<()> {
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
    pub fn all(mut self) -> Vec<Walk> {
        let short = self.short;
        let mut narrow = std::mem::take(&mut self.narrow);
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
                let mut conditions = self.conditions.clone();
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
pub(super) fn read_page<T>(
    db: &Connection,
    walks: Vec<Walk>,
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
