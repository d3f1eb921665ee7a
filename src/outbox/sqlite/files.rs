//! The files on disk: who may open them, and the connections to them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{OpenError, WhyNot, schema};

/// Only the owner reads and writes: bodies of webhooks are nobody else's business. SQLite gives its own files (`-wal`,
/// `-shm`) the same mode.
const OWNER_ONLY: u32 = 0o600;

/// SQLite before 3.51.3 can lose commits when one connection writes and another checkpoints (its WAL-reset bug).
const OLDEST_SQLITE: i32 = 3_051_003;

/// How often and how far apart the lock is tried: half a second in all.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// How long a statement waits for another program that has the file locked (`sqlite3`, a backup).
const BUSY: Duration = Duration::from_secs(5);

/// Without a thread for it, the log is copied into the database at a commit when it holds so many pages (4 KiB each).
const COPIED_AT_COMMIT: i64 = 16_384;

/// A log that grew beyond this (one large group does it) is cut back to it after it was copied.
const LOG_BYTES: i64 = 64 << 20;

/// How much of the file one connection keeps in memory, in KiB.
const WRITER_CACHE_KIB: i64 = 8 << 10;
const READER_CACHE_KIB: i64 = 1 << 10;

/// The lock of the one process that may open the outbox. Held as long as this lives, and no longer than the process.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock beside the outbox in `file`, and writes our process id into it.
    ///
    /// # Errors
    /// [`WhyNot::InUse`] when another process holds it.
    pub fn take(file: &Path) -> Result<Lock, WhyNot> {
        let path = lock_path(file);
        let cannot = |what: &str, error: std::io::Error| {
            WhyNot::Unusable(format!("{what} {}: {error}", path.display()))
        };
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(OWNER_ONLY)
            .open(&path)
            .map_err(|error| cannot("cannot open the lock file", error))?;
        match try_for_a_moment(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _unknown = lock.take(32).read_to_string(&mut pid);
                let pid = pid.trim().parse().ok();
                return Err(WhyNot::InUse { lock: path, pid });
            }
            Err(TryLockError::Error(error)) => return Err(cannot("cannot lock", error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(lock, "{}", std::process::id()))
            .map_err(|error| cannot("cannot write", error))?;
        Ok(Lock { _file: lock })
    }
}

/// Locks the file; a process that is just ending may hold it a moment longer, and so may a program that a test has
/// started and that has not closed its copy yet.
fn try_for_a_moment(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_PAUSE),
            other => return other,
        }
    }
    lock.try_lock()
}

/// `outbox.db` is locked by `outbox.db.lock`.
fn lock_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Who copies the log into the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    /// Somebody else, see `log`.
    Apart,
    /// Whoever commits.
    AtCommit,
}

/// Opens the connection that writes, and makes the file if there is none.
pub(super) fn open_writer(file: &Path, copies: Copies) -> Result<Connection, WhyNot> {
    let sqlite = rusqlite::version_number();
    if sqlite < OLDEST_SQLITE {
        return Err(WhyNot::OldSqlite(rusqlite::version()));
    }
    // Made here and not by SQLite, so that it never stands open for others, not even for an instant.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(file)
        .map_err(|error| WhyNot::Unusable(format!("cannot open or make the file: {error}")))?;

    let db = open(file)?;
    schema::is_current(&db)?; // before anything is changed: it may be another program's
    db.pragma_update(None, "auto_vacuum", "incremental")?; // only while the file is empty; before it becomes one with a log
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(WhyNot::Unusable(format!(
            "its file system does not allow a write-ahead log (journal mode `{mode}`)"
        )));
    }
    sync_fully(&db)?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "temp_store", "memory")?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    db.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    let copied_at = match copies {
        Copies::Apart => 0,
        Copies::AtCommit => COPIED_AT_COMMIT,
    };
    db.pragma_update(None, "wal_autocheckpoint", copied_at)?;
    db.set_prepared_statement_cache_capacity(128);
    Ok(db)
}

/// Opens the connection that copies the log of a file that [`open_writer`] has opened.
pub(super) fn open_copier(file: &Path) -> Result<Connection, WhyNot> {
    let db = open(file)?;
    sync_fully(&db)?;
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(db)
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    db.busy_timeout(BUSY)?;
    Ok(db)
}

fn sync_fully(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "synchronous", "full")?; // a commit is on disk before it returns
    db.pragma_update(None, "fullfsync", true)?; // on macOS fsync alone does not reach the disk
    db.pragma_update(None, "checkpoint_fullfsync", true)
}

/// Opens a connection that only reads, of a file that [`open_writer`] has opened.
pub(super) fn open_reader(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    db.pragma_update(None, "temp_store", "memory")?;
    Ok(db)
}

/// The error with the file's name.
pub(super) fn in_file(file: &Path) -> impl Fn(WhyNot) -> OpenError + '_ {
    |why| OpenError {
        file: file.to_owned(),
        why,
    }
}
