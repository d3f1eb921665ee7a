//! The one thread that writes. Whatever queued during the last commit is the next group: no timer is needed.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::files::Lock;
use super::room::Room;
use crate::model::{Clock, Timestamp};
use crate::outbox::OutboxError;

/// At most so many rows of work in one commit: larger groups only add latency (measured: 64 gives 90 % of what 256 gives).
const GROUP_ROWS: usize = 64;

/// At most so many bytes of bodies in one commit, so that a few 25 MB bodies do not make everybody wait for all of them.
const GROUP_BYTES: usize = 4 << 20;

/// Something to write.
pub(super) trait Task: Send + 'static {
    /// What the caller gets once it is durable.
    type Gives: Send + 'static;

    /// Writes it down inside the group's transaction. May run twice: once in a group that failed, once alone.
    /// A decision against it that is not the database's is the inner error; what was written before it is kept.
    fn apply(
        &self,
        tx: &Connection,
        now: Timestamp,
    ) -> rusqlite::Result<Result<Self::Gives, OutboxError>>;

    /// How many bytes it brings to disk beyond a few rows.
    fn bytes(&self) -> usize {
        0
    }

    /// Whether it adds to the outbox, so that it must stop at the floor of free space.
    fn grows(&self) -> bool {
        false
    }

    /// Whether it is done although its caller is gone.
    fn outlives_its_caller(&self) -> bool {
        false
    }

    /// Whether it made something that the courier should hear of.
    fn rings(&self, _given: &Self::Gives) -> bool {
        false
    }

    /// What undoes it when its caller was gone before the answer.
    fn undo(_given: Self::Gives) -> Option<Box<dyn Work>> {
        None
    }
}

/// A task with its caller, whatever the task is.
pub(super) trait Work: Send {
    /// Does it, and remembers what it gives.
    fn apply(&mut self, tx: &Connection, now: Timestamp) -> rusqlite::Result<()>;
    /// Whether it should still be done.
    fn wanted(&self) -> bool;
    /// As [`Task::bytes`].
    fn bytes(&self) -> usize;
    /// As [`Task::grows`].
    fn grows(&self) -> bool;
    /// As [`Task::rings`], after it was done.
    fn rings(&self) -> bool;
    /// Answers the caller: it is durable. What comes back is to be done because the caller is gone.
    fn answer(self: Box<Self>) -> Option<Box<dyn Work>>;
    /// Answers the caller: it was not done.
    fn refuse(self: Box<Self>, error: OutboxError);
}

/// A task, its caller, and its place among the bytes that may wait.
pub(super) struct Asked<T: Task> {
    task: T,
    given: Option<Result<T::Gives, OutboxError>>,
    caller: Option<oneshot::Sender<Result<T::Gives, OutboxError>>>,
    place: Option<OwnedSemaphorePermit>,
}

impl<T: Task> Asked<T> {
    /// A task whose caller waits for the answer.
    pub fn by(
        caller: oneshot::Sender<Result<T::Gives, OutboxError>>,
        task: T,
        place: Option<OwnedSemaphorePermit>,
    ) -> Box<dyn Work> {
        Box::new(Asked {
            task,
            given: None,
            caller: Some(caller),
            place,
        })
    }

    /// A task that nobody waits for.
    pub fn by_nobody(task: T) -> Box<dyn Work> {
        Box::new(Asked {
            task,
            given: None,
            caller: None,
            place: None,
        })
    }
}

impl<T: Task> Work for Asked<T> {
    fn apply(&mut self, tx: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        self.given = Some(self.task.apply(tx, now)?);
        Ok(())
    }

    fn wanted(&self) -> bool {
        self.task.outlives_its_caller()
            || self
                .caller
                .as_ref()
                .is_none_or(|caller| !caller.is_closed())
    }

    fn bytes(&self) -> usize {
        self.task.bytes()
    }

    fn grows(&self) -> bool {
        self.task.grows()
    }

    fn rings(&self) -> bool {
        matches!(&self.given, Some(Ok(given)) if self.task.rings(given))
    }

    fn answer(self: Box<Self>) -> Option<Box<dyn Work>> {
        let given = self.given?;
        drop(self.place); // before the answer: who asks again after it finds the place free
        match self.caller {
            None => None,
            Some(caller) => match caller.send(given) {
                Err(Ok(given)) => T::undo(given),
                Ok(()) | Err(Err(_)) => None,
            },
        }
    }

    fn refuse(self: Box<Self>, error: OutboxError) {
        drop(self.place);
        if let Some(caller) = self.caller {
            let _gone = caller.send(Err(error));
        }
    }
}

/// What comes through the writer's queue.
pub(super) enum Order {
    /// Something to write.
    Work(Box<dyn Work>),
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
    pub db: Connection,
    pub file: PathBuf,
    pub orders: mpsc::Receiver<Order>,
    pub standing: watch::Sender<Standing>,
    pub bell: Arc<Notify>,
    pub room: Room,
    pub clock: Clock,
    pub lock: Lock,
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
            if let Err(Fatal(error)) = self.write(group) {
                self.fail(&error);
                return;
            }
        }
        self.close(closing);
    }

    /// What queued up since the last commit, as far as it fits into one group.
    fn gather(&mut self, first: Order) -> (Vec<Box<dyn Work>>, Option<oneshot::Sender<()>>) {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Close(done) => return (group, Some(done)),
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
        for work in group {
            work.apply(&tx, now)?;
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
        let mut waiting: Vec<_> = closing.into_iter().collect();
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Work(work) => work.refuse(OutboxError::Closed),
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
