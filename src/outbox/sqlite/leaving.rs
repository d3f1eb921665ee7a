//! An outbox that moves to another engine: its rows as they stand, and the mark that it has moved. No service has it open
//! meanwhile.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params_from_iter};

use super::files::{self, Copies, Lock};
use super::rows::count;
use super::task::Turn;
use super::{OpenError, WhyNot, lanes, schema};
use crate::model::Clock;
use crate::outbox::moving::{Cell, MovedRow, Table};
use crate::outbox::{OutboxError, Window};

/// So many bytes are read at once, or one row.
const AT_ONCE_BYTES: usize = 4 << 20;

/// So many rows are read at once.
const AT_ONCE_ROWS: usize = 2000;

/// An outbox on the move.
pub struct Leaving {
    db: Connection,
    _lock: Lock,
}

impl Leaving {
    /// Opens the outbox in `file`, also when it has moved already. What a crash left open becomes unclear, as at every start.
    ///
    /// # Errors
    /// When a service has it open, there is none, or it cannot be read and written.
    pub fn open(file: &Path, clock: &Clock) -> Result<Leaving, OpenError> {
        let open = || {
            if !file.exists() {
                return Err(WhyNot::NotThere);
            }
            let lock = Lock::take(file)?;
            let mut db = files::open_writer(file, Copies::AtCommit)?;
            schema::migrate(&mut db)?;
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            lanes::recover(&Turn {
                db: &tx,
                now: clock.now(),
                window: Window::default(),
                epoch: 0,
            })?;
            tx.commit()?;
            Ok(Leaving { db, _lock: lock })
        };
        open().map_err(files::in_file(file))
    }

    /// Names this move, the same however often it is begun.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn journey(&self) -> Result<String, OutboxError> {
        let new = uuid::Uuid::new_v4().to_string();
        self.db
            .execute(
                "INSERT INTO mark (what, value) VALUES ('journey', ?1) ON CONFLICT DO NOTHING",
                [new],
            )
            .and_then(|_| find_mark(&self.db, "journey"))
            .map(Option::unwrap_or_default)
            .map_err(broken)
    }

    /// Where it has moved to, if it has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn moved_to(&self) -> Result<Option<String>, OutboxError> {
        find_mark(&self.db, MOVED_TO).map_err(broken)
    }

    /// Marks it as moved: no service opens it any more.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn mark_moved(&self, to: &str) -> Result<(), OutboxError> {
        self.db
            .execute(
                "INSERT INTO mark (what, value) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET value = excluded.value",
                [MOVED_TO, to],
            )
            .map(drop)
            .map_err(broken)
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn count(&self, table: &Table) -> Result<u64, OutboxError> {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        self.db
            .query_row(&sql, [], |row| row.get(0).map(count))
            .map_err(broken)
    }

    /// How often something has happened.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn tally(&self, what: &str) -> Result<u64, OutboxError> {
        self.db
            .query_row("SELECT many FROM tally WHERE what = ?1", [what], |row| {
                row.get(0).map(count)
            })
            .optional()
            .map(Option::unwrap_or_default)
            .map_err(broken)
    }

    /// The next rows of a table behind `after`; none when that was the last.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn rows(
        &self,
        table: &Table,
        after: Option<&MovedRow>,
    ) -> Result<Vec<MovedRow>, OutboxError> {
        self.read(table, after).map_err(broken)
    }

    fn read(&self, table: &Table, after: Option<&MovedRow>) -> rusqlite::Result<Vec<MovedRow>> {
        let columns: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        let key = table.key.join(", ");
        let marks = vec!["?"; table.key.len()].join(", ");
        let behind = match after {
            Some(_) => format!("WHERE ({key}) > ({marks})"),
            None => String::new(),
        };
        let place = |name: &&str| columns.iter().position(|column| column == name);
        let after: Vec<Value> = after
            .into_iter()
            .flat_map(|row| table.key.iter().filter_map(place).map(|at| value(&row[at])))
            .collect();
        let mut rows = self.db.prepare_cached(&format!(
            "SELECT {} FROM {} {behind} ORDER BY {key} LIMIT {AT_ONCE_ROWS}",
            columns.join(", "),
            table.name
        ))?;
        let mut rows = rows.query(params_from_iter(after))?;
        let mut read = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let row = (0..columns.len())
                .map(|at| row.get::<_, Value>(at).map(cell))
                .collect::<rusqlite::Result<MovedRow>>()?;
            bytes += row.iter().map(size).sum::<usize>();
            read.push(row);
            if bytes >= AT_ONCE_BYTES {
                break;
            }
        }
        Ok(read)
    }
}

/// Refuses an outbox that has moved.
///
/// # Errors
/// [`WhyNot::Moved`].
pub(super) fn refuse_moved(db: &Connection) -> Result<(), WhyNot> {
    match find_mark(db, MOVED_TO)? {
        Some(to) => Err(WhyNot::Moved { to }),
        None => Ok(()),
    }
}

const MOVED_TO: &str = "moved to";

fn find_mark(db: &Connection, what: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT value FROM mark WHERE what = ?1", [what], |row| {
        row.get(0)
    })
    .optional()
}

fn broken(error: rusqlite::Error) -> OutboxError {
    OutboxError::Broken(error.to_string())
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Nothing => Value::Null,
        Cell::Number(number) => Value::Integer(*number),
        Cell::Text(text) => Value::Text(text.clone()),
        Cell::Bytes(bytes) => Value::Blob(bytes.clone()),
    }
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Nothing,
        Value::Integer(number) => Cell::Number(number),
        Value::Real(number) => Cell::Text(number.to_string()), // no table has one
        Value::Text(text) => Cell::Text(text),
        Value::Blob(bytes) => Cell::Bytes(bytes),
    }
}

fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Nothing | Cell::Number(_) => 8,
        Cell::Text(text) => text.len(),
        Cell::Bytes(bytes) => bytes.len(),
    }
}
