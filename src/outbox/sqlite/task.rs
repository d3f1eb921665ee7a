//! What the writer is asked to do, and who waits for it.

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::model::Timestamp;
use crate::outbox::{OutboxError, Window};

/// What a task works with inside its group's transaction.
pub(super) struct Turn<'a> {
    /// The connection that writes.
    pub db: &'a Connection,
    /// When the group began.
    pub now: Timestamp,
    /// How much of a conversation may be unconfirmed.
    pub window: Window,
    /// The epoch of all lanes: it grows whenever the outbox is opened to be used.
    pub epoch: u64,
}

/// Something to write.
pub(super) trait Task: Send + 'static {
    /// What the caller gets once it is durable.
    type Gives: Send + 'static;

    /// Writes it down inside the group's transaction. May run twice: once in a group that failed, once alone.
    /// A decision against it that is not the database's is the inner error; what was written before it is kept.
    fn apply(&self, turn: &Turn<'_>) -> rusqlite::Result<Result<Self::Gives, OutboxError>>;

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
    fn apply(&mut self, turn: &Turn<'_>) -> rusqlite::Result<()>;
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
    fn apply(&mut self, turn: &Turn<'_>) -> rusqlite::Result<()> {
        self.given = Some(self.task.apply(turn)?);
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
        // Before the answer: who asks again after it finds the place free, and what the task held let go.
        drop(self.place);
        drop(self.task);
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
        drop(self.task);
        if let Some(caller) = self.caller {
            let _gone = caller.send(Err(error));
        }
    }
}
