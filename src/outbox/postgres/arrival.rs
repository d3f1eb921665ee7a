//! An outbox that arrives from another engine. Until all of it is here the database is marked as inactive, and no service
//! opens it.

use std::fmt::Write;

use super::bell::PRESENCE;
use super::pool::{Connections, Failed, Task, Tx};
use super::rows::{get, stored};
use super::{Address, OpenError, WhyNot, schema};
use crate::outbox::OutboxError;
use crate::outbox::moving::{Cell, Kind, MovedRow, TABLES, Table};

/// An outbox on its way into a database.
pub struct Arrival {
    connections: Connections,
    journey: String,
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing of it is here.
    Nothing,
    /// It was begun before: what is here may be old, or not all.
    Begun,
    /// All of it is here, and services may use it.
    Done,
}

/// Keeps the statements of a move from being cut off by the limits of everyday work, and services from coming in.
const PATIENT: &str =
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

impl Arrival {
    /// Comes to the database at `address`, and says how far this journey has come before.
    ///
    /// # Errors
    /// When it cannot be used, or another outbox is there or on its way.
    pub async fn at(address: &Address, journey: &str) -> Result<(Arrival, Progress), OpenError> {
        let come = async {
            let connections = Connections::patient(address).map_err(WhyNot::Unusable)?;
            schema::migrate(&connections, true).await?;
            let look = LookAround {
                journey: journey.to_owned(),
            };
            let progress = connections.transact(&look).await??;
            let arrival = Arrival {
                connections,
                journey: journey.to_owned(),
            };
            Ok((arrival, progress))
        };
        come.await.map_err(|why| OpenError {
            address: address.to_string(),
            why,
        })
    }

    /// Begins, from the beginning: marks the database as inactive, and empties it of what came before.
    ///
    /// # Errors
    /// When services are working on it, or it cannot be written.
    pub async fn begin(&self, from: &str) -> Result<(), OutboxError> {
        let begin = Begin {
            from: from.to_owned(),
            journey: self.journey.clone(),
        };
        self.connections.transact(&begin).await?
    }

    /// Takes rows of a table in.
    ///
    /// # Errors
    /// When they cannot be written; then none of them is.
    pub async fn take(&self, table: &'static Table, rows: &[MovedRow]) -> Result<(), OutboxError> {
        let take = Take {
            table,
            text: as_text(table, rows),
        };
        Ok(self.connections.transact(&take).await?)
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn count(&self, table: &'static Table) -> Result<u64, OutboxError> {
        Ok(self.connections.transact(&CountRows(table)).await?)
    }

    /// Adds what has happened so often before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn tally(&self, what: &str, many: u64) -> Result<(), OutboxError> {
        let tally = TallyUp {
            what: what.to_owned(),
            many: super::rows::signed(many),
        };
        Ok(self.connections.transact(&tally).await?)
    }

    /// All is here: services may use it from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn finish(&self) -> Result<(), OutboxError> {
        self.connections.transact(&Finish).await?;
        self.connections.close();
        Ok(())
    }
}

/// Finds out what is there.
struct LookAround {
    journey: String,
}

impl Task for LookAround {
    type Gives = Result<Progress, WhyNot>;

    async fn apply(&self, tx: &Tx) -> Result<Self::Gives, Failed> {
        let row = tx
            .find(
                "SELECT arriving, coalesce(journey, ''), coalesce(from_file, ''),
                        EXISTS (SELECT 1 FROM event) OR EXISTS (SELECT 1 FROM lane) FROM outbox",
                &[],
            )
            .await?;
        let Some(row) = row else {
            return Ok(Ok(Progress::Nothing));
        };
        let (arriving, journey): (bool, &str) = (get(&row, 0)?, get(&row, 1)?);
        let (from, used): (String, bool) = (get(&row, 2)?, get(&row, 3)?);
        Ok(match (arriving, journey == self.journey) {
            (true, true) => Ok(Progress::Begun),
            (true, false) => Err(WhyNot::Arriving(from)),
            (false, true) => Ok(Progress::Done),
            (false, false) if used => Err(WhyNot::NotEmpty),
            (false, false) => Ok(Progress::Nothing),
        })
    }
}

struct Begin {
    from: String,
    journey: String,
}

impl Task for Begin {
    type Gives = Result<(), OutboxError>;

    async fn apply(&self, tx: &Tx) -> Result<Self::Gives, Failed> {
        tx.run(PATIENT).await?;
        // Whoever starts now waits for this, and is refused afterwards.
        tx.execute("SELECT pg_advisory_xact_lock($1)", &[&schema::LOCK])
            .await?;
        let free = format!("SELECT pg_try_advisory_xact_lock({PRESENCE})");
        let free = match tx.find(&free, &[]).await? {
            Some(row) => get(&row, 0)?,
            None => false,
        };
        if !free {
            return Ok(Err(OutboxError::Broken(
                "a service is working on it; stop all of them first".to_owned(),
            )));
        }
        let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        tx.run(&format!("TRUNCATE {}, tally", names.join(", ")))
            .await?;
        tx.execute(
            "UPDATE outbox SET arriving = true, from_file = $1, journey = $2",
            &[&self.from, &self.journey],
        )
        .await?;
        Ok(Ok(()))
    }
}

struct Take {
    table: &'static Table,
    text: String,
}

impl Task for Take {
    type Gives = ();

    async fn apply(&self, tx: &Tx) -> Result<(), Failed> {
        tx.run(PATIENT).await?;
        let columns: Vec<&str> = self.table.columns.iter().map(|(name, _)| *name).collect();
        let copy = format!(
            "COPY {} ({}) FROM STDIN",
            self.table.name,
            columns.join(", ")
        );
        tx.copy(&copy, self.text.clone()).await
    }
}

struct CountRows(&'static Table);

impl Task for CountRows {
    type Gives = u64;

    async fn apply(&self, tx: &Tx) -> Result<u64, Failed> {
        tx.run(PATIENT).await?;
        let sql = format!("SELECT count(*) FROM {}", self.0.name);
        match tx.find(&sql, &[]).await? {
            Some(row) => super::rows::get_count(&row, 0),
            None => Ok(0),
        }
    }
}

struct TallyUp {
    what: String,
    many: i64,
}

impl Task for TallyUp {
    type Gives = ();

    async fn apply(&self, tx: &Tx) -> Result<(), Failed> {
        tx.execute(
            "INSERT INTO tally (what, many) VALUES ($1, $2)",
            &[&self.what, &self.many],
        )
        .await?;
        Ok(())
    }
}

struct Finish;

impl Task for Finish {
    type Gives = ();

    async fn apply(&self, tx: &Tx) -> Result<(), Failed> {
        tx.run(PATIENT).await?;
        for table in ["event", "lane", "delivery"] {
            tx.run(&format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'number'), coalesce(max(number), 0) + 1, false) FROM {table}"
            ))
            .await?;
        }
        tx.run("ANALYZE event, signed, lane, cursor, delivery, attempt")
            .await?;
        tx.execute("UPDATE outbox SET arriving = false", &[])
            .await?;
        Ok(())
    }
}

/// Rows as COPY reads them: columns between tabs, one row a line.
fn as_text(table: &Table, rows: &[MovedRow]) -> String {
    let mut text = String::new();
    for row in rows {
        for (place, (cell, (_, kind))) in row.iter().zip(table.columns).enumerate() {
            if place > 0 {
                text.push('\t');
            }
            match (cell, kind) {
                (Cell::Nothing, _) => text.push_str("\\N"),
                (Cell::Bytes(bytes), Kind::Id) => text.push_str(&hex::encode(bytes)),
                (Cell::Bytes(bytes), _) => {
                    text.push_str("\\\\x");
                    text.push_str(&hex::encode(bytes));
                }
                (Cell::Number(number), _) => {
                    let _never_fails = write!(text, "{number}");
                }
                (Cell::Text(it), _) => push_escaped(&mut text, &stored(it)),
            }
        }
        text.push('\n');
    }
    text
}

fn push_escaped(text: &mut String, it: &str) {
    for character in it.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            other => text.push(other),
        }
    }
}
