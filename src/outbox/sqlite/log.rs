//! The write-ahead log: it is copied into the database by a thread of its own, so that the writer need not stand still.
//!
//! The thread copies what is there while the writer goes on writing. When little is left, the writer copies the rest itself;
//! only then, with nothing left to copy, the log begins anew. Both use passive checkpoints, which wait for nobody. An
//! error is not swallowed, as SQLite's own checkpoints at a commit would: after a failed fsync nothing is known.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::{WhyNot, files};

/// The log is copied when it holds so many pages (4 KiB each): 32 MiB.
const COPIED_AT: i64 = 8192;

/// From here on the writer waits for the copy, so that the log does not grow for ever: 64 MiB.
const LONGEST: i64 = 16_384;

/// So few pages are left to the writer: 1 MiB.
const A_REST: i64 = 256;

/// So often the thread tries to get near the end of a log that grows meanwhile.
const ROUNDS: usize = 8;

/// The log, as the writer sees it.
pub(super) struct Log {
    pages: Arc<AtomicI64>,
    /// Its length at the last look: a shorter one has begun anew.
    last: i64,
    /// The length at which it is copied next.
    next: i64,
    copying: bool,
    wake: Option<Sender<()>>,
    copied: Receiver<rusqlite::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Starts the thread. `nudge` is called when it is done with something while the writer may be idle.
    ///
    /// # Errors
    /// When the file cannot be opened once more, or no thread can be started.
    pub fn start(
        file: &Path,
        writer: &mut Connection,
        nudge: impl Fn() + Send + 'static,
    ) -> Result<Log, WhyNot> {
        let pages = Arc::new(AtomicI64::new(0));
        let hooked = pages.clone();
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, now: i32| {
            hooked.store(i64::from(now), Ordering::Relaxed);
            Ok(())
        }))?;
        let db = files::open_copier(file)?;
        let (wake, woken) = channel();
        let (done, copied) = channel();
        let seen = pages.clone();
        let thread = std::thread::Builder::new()
            .name("outbox log".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    if done.send(copy_most(&db, &seen)).is_err() {
                        return;
                    }
                    nudge();
                }
            })
            .map_err(|error| WhyNot::Unusable(format!("cannot start its thread: {error}")))?;
        Ok(Log {
            pages,
            last: 0,
            next: COPIED_AT,
            copying: false,
            wake: Some(wake),
            copied,
            thread: Some(thread),
        })
    }

    /// Has the log copied when it is long, and copies the rest; to be called between two commits.
    ///
    /// # Errors
    /// When copying failed.
    pub fn care(&mut self, writer: &Connection) -> rusqlite::Result<()> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.last {
            self.next = COPIED_AT;
        }
        self.last = pages;
        if !self.copying {
            if pages >= self.next {
                self.copying = self.wake.as_ref().is_some_and(|wake| wake.send(()).is_ok());
            }
            return Ok(());
        }
        let copied = match pages >= self.next + LONGEST - COPIED_AT {
            true => self.copied.recv().map_err(RecvTimeoutError::from),
            false => self.copied.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            }),
        };
        match copied {
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => {}
            Ok(copied) => {
                // Somebody may still read what the log holds; then it goes on growing, and is copied again a while later.
                self.next = pages + COPIED_AT;
                self.copying = false;
                copied?;
                copy(writer)?;
            }
        }
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Copies until little is left.
fn copy_most(db: &Connection, pages: &AtomicI64) -> rusqlite::Result<()> {
    for _ in 0..ROUNDS {
        let copied = copy(db)?;
        if pages.load(Ordering::Relaxed) - copied < A_REST {
            break;
        }
    }
    Ok(())
}

/// Copies what can be copied now; up to which page of the log that is.
fn copy(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a megabyte.
    fn write(db: &Connection) {
        db.execute("INSERT INTO t VALUES (zeroblob(1048576))", [])
            .unwrap();
    }

    #[test]
    fn the_log_begins_anew_while_the_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outbox.db");
        let mut db = files::open_writer(&file, files::Copies::Apart).unwrap();
        db.execute_batch("CREATE TABLE t (a)").unwrap();
        let mut log = Log::start(&file, &mut db, || {}).unwrap();

        let mut begun_anew = 0;
        for _ in 0..200 {
            let before = log.pages.load(Ordering::Relaxed);
            write(&db);
            log.care(&db).unwrap();
            let after = log.pages.load(Ordering::Relaxed);
            begun_anew += i32::from(after < before);
            assert!(after < LONGEST + 2 * 256, "{after}");
        }

        assert!(begun_anew >= 2, "{begun_anew}");
    }

    #[test]
    fn a_copy_that_failed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outbox.db");
        let mut db = files::open_writer(&file, files::Copies::Apart).unwrap();
        db.execute_batch("CREATE TABLE t (a)").unwrap();
        let mut log = Log::start(&file, &mut db, || {}).unwrap();
        let (done, copied) = channel();
        log.copied = copied;
        log.copying = true;

        done.send(Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC),
            None,
        )))
        .unwrap();

        assert!(log.care(&db).is_err());
    }
}
