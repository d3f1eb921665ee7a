//! The tables and how an older database gets them: numbered SQL files, applied in order under a lock, each in one
//! transaction.

use super::WhyNot;
use super::pool::{Connections, Failed, Task, Tx};

/// The migrations in order; the first makes version 1. Only ever append: a change is additive, because programs of the
/// version before may be running on the same database.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_outbox.sql"),
    include_str!("migrations/0002_what_was_signed.sql"),
];

/// Two programs that start at once must not both make the tables. The number is ours: `OIMB`.
pub(super) const LOCK: i64 = 0x4f49_4d42;

/// The one row that says what this is. `arriving`: a `migrate` fills it and has not come to its end; `from_file` and
/// `journey` say which one.
const MARK: &str = "
    CREATE TABLE IF NOT EXISTS outbox (
        one       BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
        version   BIGINT  NOT NULL,
        arriving  BOOLEAN NOT NULL DEFAULT false,
        from_file TEXT,
        journey   TEXT
    )";

/// Makes the tables, or brings them to this program's version.
struct Migrate;

/// What was found.
enum Found {
    Ready {
        /// The version before, 0: it was empty.
        before: i64,
    },
    Newer(i64),
    Foreign,
    Arriving(String),
}

/// Brings the database to this program's version; one that a `migrate` fills is refused unless `arriving` is what is wanted.
///
/// # Errors
/// When the tables are another program's or a newer version's, or the database cannot be read or written.
pub(super) async fn migrate(connections: &Connections, arriving: bool) -> Result<(), WhyNot> {
    let known = version();
    match connections.transact(&Migrate).await? {
        Found::Ready { before } => {
            if before > 0 && before < known {
                tracing::info!(version = known, "the outbox was brought to a newer schema");
            }
            Ok(())
        }
        Found::Arriving(_) if arriving => Ok(()),
        Found::Arriving(from) => Err(WhyNot::Arriving(from)),
        Found::Newer(found) => Err(WhyNot::Newer { found, known }),
        Found::Foreign => Err(WhyNot::Foreign),
    }
}

/// The newest version that this program knows.
pub(super) fn version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

impl Task for Migrate {
    type Gives = Found;

    async fn apply(&self, tx: &Tx) -> Result<Found, Failed> {
        // Its wait is bounded by the session's time limits.
        tx.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
            .await?;
        let tables = "SELECT count(*) FILTER (WHERE table_name = 'outbox'), count(*) FILTER (WHERE table_name IN
                          ('event', 'delivery', 'lane', 'attempt', 'tally', 'cursor'))
                      FROM information_schema.tables WHERE table_schema = current_schema()";
        let (marked, others): (i64, i64) = match tx.find(tables, &[]).await? {
            Some(row) => (row.try_get(0)?, row.try_get(1)?),
            None => (0, 0),
        };
        if marked == 0 && others > 0 {
            return Ok(Found::Foreign);
        }
        tx.run(MARK).await?;
        let mark = "SELECT version, arriving, coalesce(from_file, '') FROM outbox";
        let (before, arriving, from): (i64, bool, String) = match tx.find(mark, &[]).await? {
            Some(row) => (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?),
            None => {
                tx.execute("INSERT INTO outbox (version) VALUES (0)", &[])
                    .await?;
                (0, false, String::new())
            }
        };
        if before > version() {
            return Ok(Found::Newer(before));
        }
        for (number, sql) in (1_i64..).zip(MIGRATIONS) {
            if number > before {
                tx.run(sql).await?;
            }
        }
        if before < version() {
            tx.execute("UPDATE outbox SET version = $1", &[&version()])
                .await?;
        }
        match arriving {
            true => Ok(Found::Arriving(from)),
            false => Ok(Found::Ready { before }),
        }
    }
}
