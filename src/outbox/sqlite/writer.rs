//! The one thread that writes. Whatever queued during the last commit is the next group: no timer is needed.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::files::Lock;
use super::log::Log;
use super::room::Room;
use super::task::{Turn, Work};
use crate::model::Clock;
use crate::outbox::{OutboxError, Window};

/// At most so many rows of work in one commit: larger groups only add latency (measured: 64 gives 90 % of what 256 gives).
const GROUP_ROWS: usize = 64;

/// At most so many bytes of bodies in one commit, so that a few 25 MB bodies do not make everybody wait for all of them.
const GROUP_BYTES: usize = 4 << 20;

/// What comes through the writer's queue.
pub(super) enum Order {
    /// Something to write.
    Work(Box<dyn Work>),
    /// Look after the log.
    Nudge,
    /// Commit what stands before this, close the file, and say so.
    Close(oneshot::Sender<()>),
}

/// Whether the outbox can be used.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// It can.
    Open,
    /// It was closed.
    Closed,
    /// What is on disk is not known any more.
    Failed(String),
}

/// The writer, before its thread runs.
pub(super) struct Writer {
    /// `None`: the log is copied at commits.
    pub log: Option<Log>,
    pub db: Connection,
    pub file: PathBuf,
    pub orders: mpsc::Receiver<Order>,
    pub standing: watch::Sender<Standing>,
    pub bell: Arc<Notify>,
    pub room: Room,
    pub clock: Clock,
    /// `None`: another process owns the outbox, and this one only writes rows beside it.
    pub lock: Option<Lock>,
    pub window: Window,
    pub epoch: u64,
}

/// The database is not to be trusted any more.
struct Fatal(rusqlite::Error);

impl Writer {
    /// Writes until it is told to close, nobody can ask any more, or the disk cannot be trusted.
    pub fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.orders.blocking_recv() else {
                break;
            };
            let group;
            (group, closing) = self.gather(first);
            if let Err(Fatal(error)) = self.write(group).and_then(|()| self.care_for_log()) {
                self.fail(&error);
                return;
            }
        }
        self.close(closing);
    }

    fn care_for_log(&mut self) -> Result<(), Fatal> {
        match self.log.as_mut().map(|log| log.care(&self.db)) {
            Some(Err(error)) if is_fatal(&error) => Err(Fatal(error)),
            Some(Err(error)) => {
                tracing::warn!(error = %error, "the outbox's log was not copied; it is tried again");
                Ok(())
            }
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// What queued up since the last commit, as far as it fits into one group.
    fn gather(&mut self, first: Order) -> (Vec<Box<dyn Work>>, Option<oneshot::Sender<()>>) {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Close(done) => return (group, Some(done)),
                Order::Nudge => {}
                Order::Work(work) => {
                    bytes += work.bytes();
                    group.push(work);
                }
            }
            if group.len() >= GROUP_ROWS || bytes >= GROUP_BYTES {
                break;
            }
            next = self.orders.try_recv().ok();
        }
        (group, None)
    }

    /// Commits a group and answers each caller; what callers who went away left behind is undone in the next commit.
    fn write(&mut self, mut group: Vec<Box<dyn Work>>) -> Result<(), Fatal> {
        while !group.is_empty() {
            let ready = self.admit(group);
            group = self.commit(ready)?;
        }
        Ok(())
    }

    /// Leaves out who is gone, and refuses what would grow when there is no room.
    fn admit(&self, mut group: Vec<Box<dyn Work>>) -> Vec<Box<dyn Work>> {
        group.retain(|work| work.wanted());
        if group.iter().any(|work| work.grows())
            && let Err(error) = self.room.look()
        {
            let (refused, ready) = group.into_iter().partition(|work| work.grows());
            group = ready;
            for work in refused {
                work.refuse(error.clone());
            }
        }
        group
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Work>>) -> Result<Vec<Box<dyn Work>>, Fatal> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        match self.transaction(&mut group) {
            Ok(()) => {
                if group.iter().any(|work| work.rings()) {
                    self.bell.notify_one();
                }
                Ok(group.into_iter().filter_map(Work::answer).collect())
            }
            Err(error) if is_fatal(&error) => {
                for work in group {
                    work.refuse(broken(&error));
                }
                Err(Fatal(error))
            }
            Err(error) if group.len() == 1 => {
                for work in group {
                    tracing::warn!(error = %error, "the outbox could not write a row");
                    work.refuse(broken(&error));
                }
                Ok(Vec::new())
            }
            // One of them is the reason; the others shall not suffer for it.
            Err(_) => {
                let mut left_behind = Vec::new();
                for work in group {
                    left_behind.extend(self.commit(vec![work])?);
                }
                Ok(left_behind)
            }
        }
    }

    fn transaction(&mut self, group: &mut [Box<dyn Work>]) -> rusqlite::Result<()> {
        let now = self.clock.now();
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let turn = Turn {
            db: &tx,
            now,
            window: self.window,
            epoch: self.epoch,
        };
        for work in group {
            work.apply(&turn)?;
        }
        tx.commit()
    }

    /// Says that nothing can be promised any more, and lets go of everything.
    fn fail(mut self, error: &rusqlite::Error) {
        let reason = format!(
            "{} cannot be written safely any more: {error}",
            self.file.display()
        );
        tracing::error!(
            file = %self.file.display(), error = %error,
            "the outbox cannot be written safely any more; the process has to end, the next start recovers what was kept"
        );
        let _nobody_listens = self.standing.send(Standing::Failed(reason.clone()));
        // Closing would copy the log into the database: no more writing, the next start reads the log as it is.
        let _closes_anyhow = self
            .db
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Work(work) = order {
                work.refuse(OutboxError::Broken(reason.clone()));
            }
        }
    }

    fn close(mut self, closing: Option<oneshot::Sender<()>>) {
        let _nobody_listens = self.standing.send(Standing::Closed);
        self.orders.close();
        drop(self.log.take()); // the last connection to close empties the log: let that be the writer
        let mut waiting: Vec<_> = closing.into_iter().collect();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Work(work) => work.refuse(OutboxError::Closed),
                Order::Nudge => {}
                Order::Close(done) => waiting.push(done),
            }
        }
        if let Err((_, error)) = self.db.close() {
            tracing::warn!(file = %self.file.display(), error = %error, "the outbox was not closed cleanly; nothing is lost by that");
        }
        drop(self.lock); // only now may the next process open it
        for done in waiting {
            let _gone = done.send(());
        }
    }
}

/// Whether it is unknown what the file holds after this error.
fn is_fatal(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
        )
    )
}

/// The error for who asked.
pub(super) fn broken(error: &rusqlite::Error) -> OutboxError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => OutboxError::NoRoom("the disk is full".to_owned()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OutboxError::Broken("another process holds the database locked".to_owned())
        }
        _ => OutboxError::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::outbox::sqlite::files;
    use crate::outbox::sqlite::task::{Asked, Task};

    const ORDERS: usize = 1024;

    /// Writes one line into a table of the test.
    struct Line {
        text: &'static str,
        fails_with: Option<i32>,
    }

    impl Task for Line {
        type Gives = ();

        fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<(), OutboxError>> {
            turn.db
                .execute("INSERT INTO line VALUES (?1)", [self.text])?;
            match self.fails_with {
                Some(code) => Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(code),
                    None,
                )),
                None => Ok(Ok(())),
            }
        }
    }

    /// What a caller holds.
    type Answer = oneshot::Receiver<Result<(), OutboxError>>;

    /// A writer whose thread does not run yet, so that a test decides what stands in the queue when it begins.
    struct Bench {
        folder: tempfile::TempDir,
        orders: mpsc::Sender<Order>,
        standing: watch::Receiver<Standing>,
        writer: Writer,
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("outbox.db");
            let db = files::open_writer(&file, files::Copies::AtCommit).unwrap();
            db.execute_batch("CREATE TABLE line (text)").unwrap();
            let (orders, queue) = mpsc::channel(ORDERS);
            let (standing, watched) = watch::channel(Standing::Open);
            let (clock, _lever) = Clock::lever(Timestamp::UNIX_EPOCH);
            let writer = Writer {
                log: None,
                db,
                orders: queue,
                standing,
                bell: Arc::new(Notify::new()),
                room: Room::new(folder.path().into(), 0),
                clock,
                lock: Some(Lock::take(&file).unwrap()),
                window: Window::default(),
                epoch: 1,
                file,
            };
            Bench {
                folder,
                orders,
                standing: watched,
                writer,
            }
        }

        fn ask(&self, text: &'static str, fails_with: Option<i32>) -> Answer {
            let (caller, answer) = oneshot::channel();
            let work = Asked::by(caller, Line { text, fails_with }, None);
            assert!(self.orders.try_send(Order::Work(work)).is_ok());
            answer
        }

        /// Lets the writer do all that was asked, and gives the lines that stand in the file.
        fn run(self) -> (Vec<String>, Standing) {
            drop(self.orders);
            self.writer.run();
            let db = Connection::open(self.folder.path().join("outbox.db")).unwrap();
            let lines = db
                .prepare("SELECT text FROM line ORDER BY rowid")
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            (lines, self.standing.borrow().clone())
        }
    }

    #[test]
    fn who_is_gone_before_the_group_begins_leaves_no_trace() {
        let bench = Bench::new();
        let mut here = bench.ask("here", None);
        drop(bench.ask("gone", None));

        let (lines, _) = bench.run();

        assert_eq!(lines, ["here"]);
        assert!(matches!(here.try_recv(), Ok(Ok(()))));
    }

    #[test]
    fn a_row_that_fails_does_not_take_its_group_along() {
        let bench = Bench::new();
        let mut one = bench.ask("one", None);
        let mut bad = bench.ask("bad", Some(rusqlite::ffi::SQLITE_CONSTRAINT));
        let mut two = bench.ask("two", None);

        let (lines, standing) = bench.run();

        assert_eq!(lines, ["one", "two"]);
        assert!(matches!(one.try_recv(), Ok(Ok(()))));
        assert!(matches!(bad.try_recv(), Ok(Err(OutboxError::Broken(_)))));
        assert!(matches!(two.try_recv(), Ok(Ok(()))));
        assert!(matches!(standing, Standing::Closed));
    }

    #[test]
    fn after_a_failed_fsync_nothing_is_written_and_nobody_is_told_it_was_kept() {
        let bench = Bench::new();
        let mut one = bench.ask("one", None);
        let mut bad = bench.ask("bad", Some(rusqlite::ffi::SQLITE_IOERR_FSYNC));
        let mut later: Vec<_> = (0..GROUP_ROWS).map(|_| bench.ask("later", None)).collect();

        let (lines, standing) = bench.run();

        assert!(lines.is_empty());
        for answer in [&mut one, &mut bad].into_iter().chain(&mut later) {
            assert!(matches!(answer.try_recv(), Ok(Err(OutboxError::Broken(_)))));
        }
        assert!(matches!(standing, Standing::Failed(why) if why.contains("outbox.db")));
    }

    #[test]
    fn a_full_disk_is_no_room_and_no_reason_to_stop() {
        let bench = Bench::new();
        let mut full = bench.ask("full", Some(rusqlite::ffi::SQLITE_FULL));
        let mut next = bench.ask("next", None);

        let (lines, _) = bench.run();

        assert!(matches!(full.try_recv(), Ok(Err(OutboxError::NoRoom(_)))));
        assert!(matches!(next.try_recv(), Ok(Ok(()))));
        assert_eq!(lines, ["next"]);
    }
}
