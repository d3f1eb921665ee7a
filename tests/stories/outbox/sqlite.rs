//! What only the engine in a file promises: one process, its files, its start, its limits.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use openim_bridge::model::Clock;
use openim_bridge::outbox::sqlite::{Options, SqliteOutbox, WhyNot};
use openim_bridge::outbox::{Kept, Outbox, OutboxError, Window};
use tempfile::TempDir;

use super::{Engine, accepted, claim_all, clock, delivery, event, keep_one, new, record, send_all};

/// A folder with an outbox in it.
pub struct Folder {
    now: TempDir,
    /// Where the machine was before it stopped: still there, so that what still runs there breaks nothing.
    before: Vec<TempDir>,
}

impl Folder {
    pub fn new() -> Folder {
        Folder {
            now: tempfile::tempdir().unwrap(),
            before: Vec::new(),
        }
    }

    fn file(&self) -> PathBuf {
        self.now.path().join("outbox.db")
    }

    fn opened(&self, options: Options, clock: &Clock) -> SqliteOutbox {
        SqliteOutbox::open(self.file(), options, clock.clone()).unwrap()
    }

    fn why_not(&self) -> WhyNot {
        let (clock, _lever) = clock();
        match SqliteOutbox::open(self.file(), Options::default(), clock) {
            Ok(_) => panic!("it opened"),
            Err(error) => {
                assert!(error.to_string().contains("outbox.db"), "{error}");
                error.why
            }
        }
    }

    /// A connection past the outbox, as `sqlite3` on the command line has one.
    fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.file()).unwrap()
    }
}

impl Engine for Folder {
    fn open_with(&self, window: Window, clock: &Clock) -> Arc<dyn Outbox> {
        let options = Options {
            window,
            ..Options::default()
        };
        Arc::new(self.opened(options, clock))
    }

    fn beside(&self, clock: &Clock) -> Arc<dyn Outbox> {
        let beside =
            SqliteOutbox::open_beside(self.file(), Options::default(), clock.clone()).unwrap();
        Arc::new(beside)
    }

    fn crash(&mut self) {
        let after = tempfile::tempdir().unwrap();
        for name in ["outbox.db", "outbox.db-wal"] {
            let from = self.now.path().join(name);
            if from.exists() {
                std::fs::copy(from, after.path().join(name)).unwrap();
            }
        }
        self.before.push(std::mem::replace(&mut self.now, after));
    }
}

#[tokio::test]
async fn only_one_process_opens_it_and_the_other_hears_who_has_it() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let outbox = folder.open(&clock);

    match folder.why_not() {
        WhyNot::InUse { lock, pid } => {
            assert!(lock.ends_with("outbox.db.lock"));
            assert_eq!(pid, Some(std::process::id()));
        }
        other => panic!("{other}"),
    }

    outbox.close().await.unwrap();
    folder.open(&clock);
}

#[tokio::test]
async fn its_files_belong_to_their_owner_alone() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let outbox = folder.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    let mut seen = 0;
    for entry in std::fs::read_dir(folder.now.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert_eq!(seen, 4, "database, log, index of the log, lock");
}

#[tokio::test]
async fn a_newer_file_is_refused_in_clear_words() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    folder.open(&clock).close().await.unwrap();
    let db = folder.connection();
    db.pragma_update(None, "user_version", 9000).unwrap();
    drop(db);

    let why = folder.why_not();

    assert!(matches!(why, WhyNot::Newer { found: 9000, .. }));
    assert!(why.to_string().contains("newer openim-bridge"), "{why}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_in_clear_words_and_left_alone() {
    let folder = Folder::new();
    let text = "these are my notes\n".repeat(1000);
    std::fs::write(folder.file(), &text).unwrap();

    let why = folder.why_not();

    assert!(matches!(why, WhyNot::Damaged(_)), "{why}");
    assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_database_is_refused_in_clear_words() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let outbox = folder.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    outbox.close().await.unwrap();
    let mut bytes = std::fs::read(folder.file()).unwrap();
    bytes[4096..].fill(0xff); // the first page, with the schema, stays
    std::fs::write(folder.file(), bytes).unwrap();

    let why = folder.why_not();

    assert!(matches!(why, WhyNot::Damaged(_)), "{why}");
    assert!(why.to_string().contains("restore it from a copy"), "{why}");
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_left_alone() {
    let folder = Folder::new();
    let db = folder.connection();
    db.execute_batch("CREATE TABLE theirs (a); PRAGMA user_version = 1;")
        .unwrap();
    drop(db);

    assert!(matches!(folder.why_not(), WhyNot::Foreign));
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let (clock, _lever) = clock();
    let file = "/nowhere/at/all/outbox.db";
    let error = SqliteOutbox::open(file, Options::default(), clock)
        .err()
        .unwrap();

    assert!(error.to_string().contains(file), "{error}");
}

#[tokio::test]
async fn below_the_floor_of_free_space_nothing_is_kept_but_what_is_under_way_goes_on() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let outbox = folder.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    outbox.close().await.unwrap();

    let full = Options {
        free_floor: u64::MAX,
        ..Options::default()
    };
    let outbox = folder.opened(full, &clock);
    let kept = outbox.keep(new(event("two", "two", &clock), vec![])).await;

    assert!(matches!(kept, Err(OutboxError::NoRoom(_))));
    assert!(matches!(outbox.probe().await, Err(OutboxError::NoRoom(_))));
    assert_eq!(send_all(&outbox, &clock).await, ["one"]);
}

#[tokio::test]
async fn what_cannot_wait_any_more_is_refused_as_overload_and_reads_and_records_go_on() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let small = Options {
        queue: 2,
        ..Options::default()
    };
    let outbox = Arc::new(folder.opened(small, &clock));
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    let claims = claim_all(&*outbox, &clock).await;
    let stop = folder.connection();
    stop.execute_batch("BEGIN IMMEDIATE").unwrap(); // the writer waits for this

    let mut waiting = Vec::new();
    loop {
        let name = format!("more {}", waiting.len());
        let one = new(event(&name, &name, &clock), vec![]);
        let kept = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.keep(one).await }
        });
        tokio::task::yield_now().await;
        let probe = outbox.probe().await;
        if !kept.is_finished() {
            waiting.push(kept);
            assert!(waiting.len() < 100, "the queue has no end");
            continue;
        }
        assert!(matches!(kept.await, Ok(Err(OutboxError::Overloaded))));
        // The writer may have made room in between; then it is not full for long.
        if matches!(probe, Err(OutboxError::Overloaded)) {
            break;
        }
    }
    assert_eq!(outbox.counts(clock.now()).await.unwrap().events, 1);
    let recorded = tokio::spawn({
        let outbox = outbox.clone();
        let accepted = record(&claims[0], &clock, accepted(None));
        async move { outbox.record(accepted).await }
    });

    stop.execute_batch("ROLLBACK").unwrap();
    for kept in waiting {
        assert_eq!(kept.await.unwrap().unwrap(), Kept::New { deliveries: 0 });
    }
    recorded.await.unwrap().unwrap();
}

#[tokio::test]
async fn more_bytes_than_may_wait_are_refused_as_overload() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let small = Options {
        queue_bytes: 64 << 10,
        ..Options::default()
    };
    let outbox = folder.opened(small, &clock);

    let large = "x".repeat(65 << 10);
    let kept = outbox.keep(new(event("one", &large, &clock), vec![])).await;
    assert!(matches!(kept, Err(OutboxError::Overloaded)));

    for round in 0..10 {
        let name = format!("round {round}");
        let body = "x".repeat(50 << 10);
        outbox
            .keep(new(event(&name, &body, &clock), vec![]))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_log_does_not_grow_for_ever() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let outbox = folder.open(&clock);
    let body = "x".repeat(1 << 20);
    for round in 0..100 {
        let name = format!("round {round}");
        outbox
            .keep(new(event(&name, &body, &clock), vec![]))
            .await
            .unwrap();
    }

    let log = folder.now.path().join("outbox.db-wal");
    let bytes = std::fs::metadata(log).unwrap().len();
    assert!(bytes < 72 << 20, "{bytes}");

    outbox.close().await.unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.now.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "closed: the database and its lock: {left:?}");
}

#[tokio::test]
async fn a_lane_whose_head_a_newer_program_wrote_is_left_alone_and_never_dead() {
    let folder = Folder::new();
    let (clock, lever) = clock();
    let outbox = folder.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;
    keep_one(&*outbox, "group:#g", "two", &clock).await;
    keep_one(&*outbox, "group:#h", "other", &clock).await;
    let newer = folder.connection();
    newer
        .execute(
            "UPDATE delivery SET form = 2 WHERE id = ?1",
            [id.0.as_bytes()],
        )
        .unwrap();

    assert_eq!(send_all(&*outbox, &clock).await, ["other"]);
    let why: String = newer
        .query_row(
            "SELECT waits_for FROM lane WHERE name = 'group:#g'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(why.contains("form 2"), "{why}");

    newer.execute("UPDATE delivery SET form = 1", []).unwrap();
    lever.advance(std::time::Duration::from_secs(600));
    assert_eq!(send_all(&*outbox, &clock).await, ["one", "two"]);
}

#[tokio::test]
async fn nothing_fatal_is_said_while_all_is_well() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let outbox = folder.open(&clock);
    let mut fatal = outbox.fatal();
    keep_one(&*outbox, "group:#g", "one", &clock).await;

    let one = delivery("group:#g", "two", &clock);
    tokio::select! {
        biased;
        error = &mut fatal => panic!("{error}"),
        kept = outbox.keep(new(event("two", "two", &clock), vec![one])) => { kept.unwrap(); }
    }
    drop(fatal);
    outbox.close().await.unwrap();
    tokio::select! {
        biased;
        error = outbox.fatal() => panic!("{error}"),
        () = std::future::ready(()) => {}
    }
}
