//! Connections to the database, and transactions on them. Every call has an end: below the lease, so that whoever holds a
//! lane knows in time that it does not any more.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use futures_util::SinkExt;
use futures_util::future::join;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::address::{Address, chain};
use crate::outbox::OutboxError;

/// How long a statement and a wait for a lock may take at the server, and how long a connection may sit in a transaction: a
/// replica that stands still in the middle of one holds up the others for that long, and they have more patience.
/// `synchronous_commit` is asserted: an answer of COMMIT means that it is on disk (a stronger setting stays). Every question
/// has its index; a plan that reads whole tables because the statistics are old would be a mistake.
const SESSION: &str = "
    SET statement_timeout = '10s';
    SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '3s';
    SET client_min_messages = 'warning';
    SET enable_seqscan = off;
    SET jit = off;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')";

/// How long a transaction may take as the caller sees it, whatever the network and the server do. Below the lease.
const TRANSACTION_WITHIN: Duration = Duration::from_secs(15);

/// How long a caller waits for a free connection, and for a new one.
const CONNECTION_WITHIN: Duration = Duration::from_secs(5);

/// The connections.
#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool,
    /// How long a transaction may take as the caller sees it, whatever the network and the server do.
    within: Duration,
}

/// A statement, a row or the way to the server failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The database, or the way to it.
    Database(tokio_postgres::Error),
    /// A row holds what nobody wrote.
    Unreadable(String),
    /// It took too long.
    Slow,
    /// No connection could be had.
    NoConnection(String),
}

/// What is asked of the database in one transaction. May run twice: nothing of the first run is left then.
pub(super) trait Task: Send + Sync + 'static {
    /// What the caller gets once it is durable.
    type Gives: Send + 'static;

    /// How the transaction begins.
    const BEGIN: &'static str = "BEGIN";

    /// Does it.
    fn apply(&self, tx: &Tx) -> impl Future<Output = Result<Self::Gives, Failed>> + Send;
}

/// How a transaction that asks questions begins: it sees one moment.
pub(super) const LOOK: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A transaction under way.
pub(super) struct Tx {
    client: Object,
    begin: &'static str,
    begun: AtomicBool,
}

/// A parameter of a statement.
pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

impl Tx {
    /// Sends a statement, the first one together with the beginning: that saves a journey to the server and back. The
    /// driver sends in the order in which it is asked, and asks for both before it waits for either.
    async fn send<T>(
        &self,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failed> {
        if self.begun.swap(true, Ordering::Relaxed) {
            return Ok(statement.await?);
        }
        let begin = self.client.batch_execute(self.begin);
        let (begun, done) = join(begin, statement).await;
        begun?;
        Ok(done?)
    }

    /// Rows.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failed> {
        let statement = self.client.prepare_cached(sql).await?;
        self.send(self.client.query(&statement, params)).await
    }

    /// One row or none.
    pub async fn find(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>, Failed> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// How many rows were touched.
    pub async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failed> {
        let statement = self.client.prepare_cached(sql).await?;
        self.send(self.client.execute(&statement, params)).await
    }

    /// The rows of two statements that are sent at once; the second sees what the first did.
    pub async fn both(
        &self,
        first: &str,
        of_first: &[Param<'_>],
        second: &str,
        of_second: &[Param<'_>],
    ) -> Result<(Vec<Row>, Vec<Row>), Failed> {
        let (one, two) = (
            self.client.prepare_cached(first).await?,
            self.client.prepare_cached(second).await?,
        );
        let both = join(
            self.client.query(&one, of_first),
            self.client.query(&two, of_second),
        );
        let (one, two) = self.send(async { Ok(both.await) }).await?;
        Ok((one?, two?))
    }

    /// Rows in the format of COPY.
    pub async fn copy(&self, sql: &str, text: String) -> Result<(), Failed> {
        let sink = self.client.copy_in(sql).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(text)).await?;
        sink.finish().await?;
        Ok(())
    }

    /// Statements without parameters.
    pub async fn run(&self, sql: &str) -> Result<(), Failed> {
        self.send(self.client.batch_execute(sql)).await
    }
}

impl Connections {
    /// At most `most` connections; none is opened yet.
    ///
    /// # Errors
    /// When encryption is asked for and cannot be had.
    pub fn new(address: &Address, most: usize) -> Result<Connections, String> {
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager =
            Manager::from_config(address.config().clone(), address.connector()?, recycling);
        let session = Hook::async_fn(|client: &mut _, _| {
            let client: &mut deadpool_postgres::ClientWrapper = client;
            Box::pin(async move {
                client
                    .batch_execute(SESSION)
                    .await
                    .map_err(HookError::Backend)
            })
        });
        let pool = Pool::builder(manager)
            .max_size(most)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECTION_WITHIN))
            .create_timeout(Some(CONNECTION_WITHIN))
            .recycle_timeout(Some(CONNECTION_WITHIN))
            .post_create(session)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Connections {
            pool,
            within: TRANSACTION_WITHIN,
        })
    }

    /// One connection for a move, whose transactions take as long as they take.
    ///
    /// # Errors
    /// As [`Connections::new`].
    pub fn patient(address: &Address) -> Result<Connections, String> {
        let mut patient = Connections::new(address, 1)?;
        patient.within = Duration::from_secs(3600);
        Ok(patient)
    }

    /// One transaction. Where the connection was lost before the commit was asked for, it is tried once more on another:
    /// nothing of it can have been done. An error afterwards means that it is not known.
    pub async fn transact<T: Task>(&self, task: &T) -> Result<T::Gives, Failed> {
        match self.try_to(task).await {
            Err((error, Reached::Work)) if error.is_a_lost_connection() => {
                self.try_to(task).await.map_err(|(error, _)| error)
            }
            other => other.map_err(|(error, _)| error),
        }
    }

    async fn try_to<T: Task>(&self, task: &T) -> Result<T::Gives, (Failed, Reached)> {
        let client = self.pool.get().await;
        let tx = Tx {
            client: client.map_err(|error| (no_connection(error), Reached::Nothing))?,
            begin: T::BEGIN,
            begun: AtomicBool::new(false),
        };
        let mut reached = Reached::Work;
        let work = async {
            let gives = task.apply(&tx).await?;
            reached = Reached::Commit;
            tx.run("COMMIT").await?;
            Ok(gives)
        };
        let outcome = tokio::time::timeout(self.within, work).await;
        match outcome.unwrap_or(Err(Failed::Slow)) {
            Ok(gives) => Ok(gives),
            Err(error) => {
                // The server undoes what a closed connection left open; nothing else is as sure.
                drop(Object::take(tx.client));
                Err((error, reached))
            }
        }
    }

    /// Says loudly what weakens the promise that a commit is on disk.
    pub async fn warn_of_weak_promises(&self) -> Result<(), Failed> {
        let settings = self.transact(&Settings).await?;
        for (name, value) in settings {
            tracing::error!(
                setting = name,
                value,
                "the database's own settings let it lose what it has promised; set it to `on`"
            );
        }
        Ok(())
    }

    /// Closes all.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// Settings of the server that must be on, and are not.
struct Settings;

impl Task for Settings {
    type Gives = Vec<(String, String)>;
    const BEGIN: &'static str = LOOK;

    async fn apply(&self, tx: &Tx) -> Result<Self::Gives, Failed> {
        let rows = tx
            .query(
                "SELECT name, setting FROM pg_settings
                 WHERE name IN ('fsync', 'full_page_writes') AND setting <> 'on'
                    OR name = 'synchronous_commit' AND setting NOT IN ('on', 'remote_apply')",
                &[],
            )
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect()
    }
}

/// How far a transaction came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Nothing,
    Work,
    Commit,
}

fn no_connection(error: PoolError) -> Failed {
    Failed::NoConnection(match &error {
        PoolError::Timeout(_) => "no connection to it is free or can be opened in time".to_owned(),
        PoolError::Backend(error) => chain(error),
        other => chain(other),
    })
}

impl Failed {
    /// Whether the database itself refused what it was given, before a commit was asked for: then one row may be the
    /// reason. Everything else hits all alike.
    pub fn is_about_rows(&self) -> bool {
        match self {
            Failed::Database(error) => error.code().is_some_and(|code| {
                // Data exceptions, broken constraints, limits of the program, deadlocks and waits that were too long.
                ["22", "23", "54", "40", "55"].contains(&code.code().get(..2).unwrap_or_default())
            }),
            Failed::Unreadable(_) => true,
            Failed::Slow | Failed::NoConnection(_) => false,
        }
    }

    fn is_a_lost_connection(&self) -> bool {
        match self {
            Failed::Database(error) => {
                error.is_closed()
                    || error.code().is_none()
                    || error.code().is_some_and(|code| {
                        *code == SqlState::ADMIN_SHUTDOWN || *code == SqlState::CRASH_SHUTDOWN
                    })
            }
            _ => false,
        }
    }
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Failed {
        Failed::Database(error)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // The server's message only: its detail shows the values of a row.
            Failed::Database(error) => match error.as_db_error() {
                Some(said) => write!(f, "{} ({})", said.message(), said.code().code()),
                None => f.write_str(&chain(error)),
            },
            Failed::Unreadable(what) => f.write_str(what),
            Failed::Slow => write!(
                f,
                "the database did not answer within {} s",
                TRANSACTION_WITHIN.as_secs()
            ),
            Failed::NoConnection(why) => write!(f, "cannot connect to the database: {why}"),
        }
    }
}

/// The error for who asked.
impl From<Failed> for OutboxError {
    fn from(failed: Failed) -> OutboxError {
        match &failed {
            Failed::Database(error) if error.code() == Some(&SqlState::DISK_FULL) => {
                OutboxError::NoRoom("the disk of the database is full".to_owned())
            }
            _ => OutboxError::Broken(failed.to_string()),
        }
    }
}
