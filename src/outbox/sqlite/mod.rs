//! The outbox in one SQLite file: one writer thread with group commit (WAL, `synchronous = FULL`), reads beside it.
//!
//! `keep` writes what came in, `lanes` holds the order, `claim` takes from it and writes down what became of it, `settle` what
//! OpenIM's history shows, `desk` what an operator does; `read` and `list` (by `walk`s along an index) answer questions, `prune` removes what is old.
//! One process at a time owns it: a lock file beside the database says so. Others write rows beside it.

mod claim;
mod desk;
mod files;
mod keep;
mod lanes;
mod leaving;
mod list;
mod log;
mod prune;
mod read;
mod room;
mod rows;
mod schema;
mod settle;
mod task;
mod walk;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use self::claim::Take;
use self::desk::{Append, Changes, Holding, RenderedNow};
use self::files::{Copies, Lock};
use self::keep::Keep;
pub use self::leaving::Leaving;
use self::log::Log;
use self::prune::Pruning;
use self::room::Room;
use self::settle::{Looking, Settle};
use self::task::{Asked, Task, Turn};
use self::writer::{Order, Standing, Writer, broken};
use super::*;
use crate::model::{Claim, Clock, DeliveryId, Lane, Message, NewDelivery, Timestamp};

/// How much the outbox takes on.
#[derive(Clone, Debug)]
pub struct Options {
    /// So many events may wait for their commit; one more is refused as overload. Default 1,024.
    pub queue: usize,
    /// So many bytes of bodies may wait for their commit; more is refused as overload. Default 128 MiB.
    pub queue_bytes: usize,
    /// So many bytes stay free on the disk: below it nothing new is kept, what is under way goes on. Default 64 MiB.
    pub free_floor: u64,
    /// How much of a conversation may be accepted and not yet found again.
    pub window: Window,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            queue: 1024,
            queue_bytes: 128 << 20,
            free_floor: 64 << 20,
            window: Window::default(),
        }
    }
}

/// The outbox did not open.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the outbox {}: {why}", file.display())]
pub struct OpenError {
    /// The database file.
    pub file: PathBuf,
    /// Why it did not.
    pub why: WhyNot,
}

/// Why an outbox did not open.
#[derive(Debug, thiserror::Error)]
pub enum WhyNot {
    /// Another process has it open.
    #[error("{} has it open (the lock file is {})",
        pid.map_or("another process".to_owned(), |pid| format!("process {pid}")), lock.display())]
    InUse {
        /// The lock file.
        lock: PathBuf,
        /// The process, where it wrote its id.
        pid: Option<u32>,
    },
    /// A newer program wrote it.
    #[error(
        "it was written by a newer openim-bridge: its schema is {found}, this program knows up to {known}; \
         use the newer program, or restore the copy from before the update"
    )]
    Newer {
        /// The file's version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// It is a SQLite file, but not an outbox.
    #[error("it is the database of another program")]
    Foreign,
    /// It is no SQLite file, or a damaged one.
    #[error(
        "it is not a SQLite database, or it is damaged ({0}); restore it from a copy, or move it away to start with an empty outbox"
    )]
    Damaged(rusqlite::Error),
    /// The SQLite that was linked is too old to be trusted.
    #[error("SQLite {0} can lose commits (its WAL-reset bug); 3.51.3 or newer is needed")]
    OldSqlite(&'static str),
    /// There is none, and nobody but its service makes one.
    #[error("there is none yet: the service makes it when it starts for the first time")]
    NotThere,
    /// An older program has it open.
    #[error("an older openim-bridge has it open: stop it, or use its own commands")]
    Older,
    /// It has moved to another database.
    #[error("it has moved to {to}; write that into `url` of [storage]")]
    Moved {
        /// Where it is now, without a password.
        to: String,
    },
    /// It cannot be used for another reason.
    #[error("{0}")]
    Unusable(String),
}

impl From<rusqlite::Error> for WhyNot {
    fn from(error: rusqlite::Error) -> WhyNot {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => WhyNot::Damaged(error),
            _ => WhyNot::Unusable(error.to_string()),
        }
    }
}

/// The outbox in a SQLite file. Dropping it commits what was asked and closes it, a little later; [`Outbox::close`] waits.
pub struct SqliteOutbox {
    orders: mpsc::Sender<Order>,
    places: Arc<Semaphore>,
    standing: watch::Receiver<Standing>,
    bell: Arc<Notify>,
    room: Room,
    readers: Arc<Readers>,
    looking: Looking,
    pruned_to: prune::Place,
    epoch: u64,
}

/// Idle connections that read.
struct Readers {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// So many reading connections are kept open while idle.
const IDLE_READERS: usize = 2;

/// Bodies are counted in pieces of this size, because a semaphore counts to 2^61 at most and a permit to 2^32.
const PLACE: usize = 1 << 10;

impl SqliteOutbox {
    /// Opens the outbox in `file`, or makes an empty one. Attempts that a crash left open stay without an end
    /// (ambiguous); what became of them is settled before anything else of their lanes is sent. Blocks for a few fsyncs.
    ///
    /// # Errors
    /// When another process has it open, a newer program wrote it, or it cannot be read and written.
    pub fn open(
        file: impl AsRef<Path>,
        options: Options,
        clock: Clock,
    ) -> Result<SqliteOutbox, OpenError> {
        let file = file.as_ref();
        SqliteOutbox::open_locked(file, options, clock).map_err(files::in_file(file))
    }

    /// Opens the outbox in `file` beside the service that owns it, or while none does: to ask, and to write rows. Nothing is
    /// recovered, and it must not claim or look. The service sees at its next look what was written here.
    ///
    /// # Errors
    /// When there is none, an older program has it open, a newer one wrote it, or it cannot be read and written.
    pub fn open_beside(
        file: impl AsRef<Path>,
        options: Options,
        clock: Clock,
    ) -> Result<SqliteOutbox, OpenError> {
        let file = file.as_ref();
        let open = || {
            if !file.exists() {
                return Err(WhyNot::NotThere);
            }
            let mut db = files::open_writer(file, Copies::AtCommit)?;
            if !schema::is_current(&db)? {
                let _lock = Lock::take(file).map_err(|why| match why {
                    WhyNot::InUse { .. } => WhyNot::Older,
                    other => other,
                })?;
                schema::migrate(&mut db)?;
            }
            leaving::refuse_moved(&db)?;
            let epoch = epoch(&db)?;
            SqliteOutbox::start(file, db, None, epoch, options, clock)
        };
        open().map_err(files::in_file(file))
    }

    fn open_locked(file: &Path, options: Options, clock: Clock) -> Result<SqliteOutbox, WhyNot> {
        let lock = Lock::take(file)?;
        let mut db = files::open_writer(file, Copies::Apart)?;
        schema::migrate(&mut db)?;
        leaving::refuse_moved(&db)?;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute("UPDATE mark SET value = value + 1 WHERE what = 'epoch'", [])?;
        let epoch = epoch(&tx)?;
        let open = lanes::recover(&Turn {
            db: &tx,
            now: clock.now(),
            window: options.window,
            epoch,
        })?;
        tx.commit()?;
        if open > 0 {
            tracing::warn!(
                attempts = open,
                "the service stopped while it was sending; it is settled first whether these messages were taken"
            );
        }
        SqliteOutbox::start(file, db, Some(lock), epoch, options, clock)
    }

    /// Starts the writer.
    fn start(
        file: &Path,
        mut db: Connection,
        lock: Option<Lock>,
        epoch: u64,
        options: Options,
        clock: Clock,
    ) -> Result<SqliteOutbox, WhyNot> {
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let room = Room::new(folder, options.free_floor);
        let (orders, queue) = mpsc::channel(options.queue.max(1));
        let (standing, watched) = watch::channel(Standing::Open);
        let bell = Arc::new(Notify::new());
        let log = match lock {
            None => None,
            Some(_) => {
                let nudge = orders.downgrade();
                Some(Log::start(file, &mut db, move || {
                    if let Some(orders) = nudge.upgrade() {
                        let _busy_anyhow = orders.try_send(Order::Nudge);
                    }
                })?)
            }
        };
        let writer = Writer {
            db,
            log,
            file: file.to_owned(),
            orders: queue,
            standing,
            bell: bell.clone(),
            room: room.clone(),
            clock,
            lock,
            window: options.window,
            epoch,
        };
        std::thread::Builder::new()
            .name("outbox writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| WhyNot::Unusable(format!("cannot start its thread: {error}")))?;

        Ok(SqliteOutbox {
            orders,
            places: Arc::new(Semaphore::new(
                (options.queue_bytes / PLACE).min(Semaphore::MAX_PERMITS),
            )),
            standing: watched,
            bell,
            room,
            readers: Arc::new(Readers {
                file: file.to_owned(),
                idle: Mutex::new(Vec::new()),
            }),
            looking: Looking::default(),
            pruned_to: prune::Place::default(),
            epoch,
        })
    }

    /// Why nothing can be asked, when the writer is gone.
    fn gone(&self) -> OutboxError {
        match &*self.standing.borrow() {
            Standing::Failed(reason) => OutboxError::Broken(reason.clone()),
            Standing::Closed => OutboxError::Closed,
            Standing::Open => OutboxError::Broken(WRITER_GONE.to_owned()),
        }
    }

    /// Asks for something that must wait for a place when the queue is full.
    async fn ask<T: Task>(&self, task: T) -> Result<T::Gives, OutboxError> {
        let (caller, answer) = oneshot::channel();
        let order = Order::Work(Asked::by(caller, task, None));
        self.orders.send(order).await.map_err(|_| self.gone())?;
        self.hear::<T>(answer).await
    }

    async fn hear<T: Task>(
        &self,
        answer: oneshot::Receiver<Result<T::Gives, OutboxError>>,
    ) -> Result<T::Gives, OutboxError> {
        let mut answer = Hearing::<T> {
            answer,
            orders: &self.orders,
        };
        (&mut answer.answer)
            .await
            .unwrap_or_else(|_| Err(self.gone()))
    }

    /// A place for so many bytes in the queue.
    fn place(&self, bytes: usize) -> Result<OwnedSemaphorePermit, OutboxError> {
        let pieces = u32::try_from(bytes.div_ceil(PLACE)).unwrap_or(u32::MAX);
        self.places
            .clone()
            .try_acquire_many_owned(pieces)
            .map_err(|_| OutboxError::Overloaded)
    }

    /// Asks a question on a connection of its own, so that it never waits for the writer.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        if !matches!(&*self.standing.borrow(), Standing::Open) {
            return Err(self.gone());
        }
        let readers = self.readers.clone();
        let answer = tokio::task::spawn_blocking(move || readers.ask(question));
        match answer.await {
            Ok(answer) => answer.map_err(|error| broken(&error)),
            Err(stopped) => Err(OutboxError::Broken(stopped.to_string())),
        }
    }
}

/// How this program writes a message. A lane whose head has a higher number is left to the program that wrote it.
const FORM: i64 = 1;

/// The epoch of all lanes.
fn epoch(db: &Connection) -> rusqlite::Result<u64> {
    let epoch = db.query_row("SELECT value FROM mark WHERE what = 'epoch'", [], |row| {
        row.get(0)
    })?;
    Ok(rows::count(epoch))
}

const WRITER_GONE: &str = "its writer stopped without a word";

/// A caller who listens. When it goes away with the answer unheard, what was given is handed back to the writer.
struct Hearing<'a, T: Task> {
    answer: oneshot::Receiver<Result<T::Gives, OutboxError>>,
    orders: &'a mpsc::Sender<Order>,
}

impl<T: Task> Drop for Hearing<'_, T> {
    fn drop(&mut self) {
        self.answer.close(); // from here on the writer sees by itself that nobody listens
        if let Ok(Ok(given)) = self.answer.try_recv()
            && let Some(work) = T::undo(given)
            && let Err(mpsc::error::TrySendError::Full(order)) =
                self.orders.try_send(Order::Work(work))
        {
            // The queue is full: wait for a place beside whoever dropped us. Without a runtime the process is ending,
            // and the next start recovers it.
            let orders = self.orders.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    let _closed = orders.send(order).await;
                });
            }
        }
    }
}

impl Readers {
    fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = self.idle().pop();
        let db = match idle {
            Some(db) => db,
            None => files::open_reader(&self.file)?,
        };
        // One snapshot: with a commit between two statements a delivery and its attempts would be of different moments.
        let snapshot = db.unchecked_transaction();
        let answer = snapshot.and_then(|snapshot| question(&snapshot));
        let mut idle = self.idle();
        if idle.len() < IDLE_READERS {
            idle.push(db);
        }
        answer
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox for SqliteOutbox {
    fn keep(&self, new: NewEvent) -> Reply<'_, Kept> {
        Box::pin(async move {
            let task = Keep::prepare(new)?;
            let place = self.place(task.bytes())?;
            let (caller, answer) = oneshot::channel();
            let order = Order::Work(Asked::by(caller, task, Some(place)));
            self.orders.try_send(order).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => OutboxError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => self.gone(),
            })?;
            self.hear::<Keep>(answer).await
        })
    }

    fn claim(&self, most: usize, now: Timestamp) -> Reply<'_, Vec<Claim>> {
        Box::pin(self.ask(Take { most, now }))
    }

    fn record(&self, record: Record) -> Reply<'_, ()> {
        Box::pin(self.ask(record))
    }

    fn baseline(&self, look: Baseline) -> Reply<'_, ()> {
        Box::pin(self.ask(look))
    }

    fn looks(&self, most: usize, now: Timestamp) -> Reply<'_, Vec<Look>> {
        Box::pin(async move {
            let (looking, epoch) = (self.looking.clone(), self.epoch);
            // A caller who is gone before the answer drops what it was given, and the looks end.
            let taken = self.read(move |db| looking.take(db, epoch, most, now));
            let (looks, ends) = taken.await?;
            ends.leave();
            Ok(looks)
        })
    }

    fn settle(&self, settled: Vec<Settled>) -> Reply<'_, Vec<bool>> {
        Box::pin(self.ask(Settle::prepare(settled, &self.looking)))
    }

    fn find_event(&self, number: i64) -> Reply<'_, Option<EventRecord>> {
        Box::pin(self.read(move |db| read::find_event(db, number)))
    }

    fn list_events(&self, filter: Filter, page: Page) -> Reply<'_, Vec<EventRecord>> {
        Box::pin(self.read(move |db| list::list_events(db, &filter, page)))
    }

    fn list_lanes(&self, lane: Option<Lane>, page: Page) -> Reply<'_, Vec<LaneRecord>> {
        Box::pin(self.read(move |db| read::list_lanes(db, lane.as_ref(), page)))
    }

    fn change(&self, ids: Vec<DeliveryId>, change: Change) -> Reply<'_, Vec<Changed>> {
        Box::pin(self.ask(Changes { ids, change }))
    }

    fn hold(&self, lane: Lane, why: Option<String>) -> Reply<'_, bool> {
        Box::pin(self.ask(Holding { lane, why }))
    }

    fn append(&self, event: i64, deliveries: Vec<NewDelivery>) -> Reply<'_, bool> {
        Box::pin(async move { self.ask(Append::prepare(event, deliveries)?).await })
    }

    fn rendered(&self, id: DeliveryId, message: Message) -> Reply<'_, bool> {
        Box::pin(async move { self.ask(RenderedNow::prepare(id, &message)?).await })
    }

    fn prune(&self, prune: Prune, most: usize) -> Reply<'_, Pruned> {
        let place = self.pruned_to.clone();
        Box::pin(self.ask(Pruning { prune, most, place }))
    }

    fn next_due(&self) -> Reply<'_, NextDue> {
        let looking = self.looking.clone();
        Box::pin(self.read(move |db| read::next_due(db, &looking)))
    }

    fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    fn counts(&self, now: Timestamp) -> Reply<'_, Counts> {
        let file = self.readers.file.clone();
        Box::pin(self.read(move |db| read::counts(db, &file, now)))
    }

    fn find_delivery(&self, id: DeliveryId) -> Reply<'_, Option<DeliveryRecord>> {
        Box::pin(self.read(move |db| read::find_delivery(db, id)))
    }

    fn list_deliveries(&self, filter: Filter, page: Page) -> Reply<'_, Vec<DeliveryRecord>> {
        Box::pin(self.read(move |db| list::list_deliveries(db, &filter, page)))
    }

    fn probe(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            self.read(|db| db.query_row("SELECT 1 FROM tally LIMIT 1", [], |_| Ok(())))
                .await?;
            self.room.look()?;
            if self.orders.capacity() == 0 || self.places.available_permits() == 0 {
                return Err(OutboxError::Overloaded);
            }
            Ok(())
        })
    }

    fn fatal(&self) -> Fatal<'_> {
        let mut standing = self.standing.clone();
        Box::pin(async move {
            let changed = standing
                .wait_for(|standing| !matches!(standing, Standing::Open))
                .await
                .map(|standing| standing.clone());
            match changed {
                Ok(Standing::Failed(reason)) => OutboxError::Broken(reason),
                Err(_) => OutboxError::Broken(WRITER_GONE.to_owned()),
                Ok(Standing::Closed | Standing::Open) => std::future::pending().await,
            }
        })
    }

    fn close(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            let (done, closed) = oneshot::channel();
            self.readers.idle().clear(); // the last connection to close empties the log: let that be the writer
            // Where the writer is gone already, both fail at once.
            drop(self.orders.send(Order::Close(done)).await);
            drop(closed.await);
            match self.gone() {
                OutboxError::Closed => Ok(()),
                error => Err(error),
            }
        })
    }
}
