//! What only the engine in a file promises: one process, its files, its start, its limits.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use openim_bridge::model::Clock;
use openim_bridge::outbox::sqlite::{Options, SqliteOutbox, WhyNot};
use openim_bridge::outbox::{Filter, Kept, Outbox, OutboxError, Prune, Window};
use sha2::Digest;
use tempfile::TempDir;

use super::{
    ALL, Engine, accepted, claim_all, clock, delivery, event, keep_one, message, new, record,
    send_all,
};

/// A folder with an outbox in it.
pub struct Folder {
    base: PathBuf,
    now: TempDir,
    /// Where the machine was before it stopped: still there, so that what still runs there breaks nothing.
    before: Vec<TempDir>,
}

impl Folder {
    pub fn new() -> Folder {
        Folder::below(std::env::temp_dir())
    }

    /// A folder in memory where there is one, for stories that are not about the disk and commit thousands of times.
    pub fn quick() -> Folder {
        let memory = PathBuf::from("/dev/shm");
        match tempfile::tempdir_in(&memory) {
            Ok(_) => Folder::below(memory),
            Err(_) => Folder::new(),
        }
    }

    fn below(base: PathBuf) -> Folder {
        Folder {
            now: tempfile::tempdir_in(&base).unwrap(),
            base,
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
            free_floor: 0, // a folder in memory may be small
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
        let after = tempfile::tempdir_in(&self.base).unwrap();
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

    let before = std::fs::read(folder.file()).unwrap();

    assert!(matches!(folder.why_not(), WhyNot::Foreign));

    assert!(std::fs::read(folder.file()).unwrap() == before);
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

/// A file as the program before settling wrote it, with a delivery in every state it knew.
fn write_older_file(folder: &Folder) {
    let db = folder.connection();
    db.execute_batch(include_str!(
        "../../../src/outbox/sqlite/migrations/0001_events_and_lanes.sql"
    ))
    .unwrap();
    db.execute_batch("PRAGMA application_id = 0x4f494d42; PRAGMA user_version = 1;")
        .unwrap();
    let body = sha2::Sha256::digest(b"e").to_vec();
    let states = [
        ("waiting", "group:#waits", None),
        ("waiting", "group:#again", Some("later")),
        ("waiting", "group:#ambiguous", Some("ambiguous")),
        ("waiting", "group:#crashed", Some("open")),
        ("sending", "group:#hand", Some("open")),
        ("accepted", "group:#accepted", Some("accepted")),
        ("refused", "group:#refused", Some("refused")),
        ("dead", "group:#dead", Some("dead")),
        ("unrendered", "group:#broken", None),
    ];
    for (number, (state, to, outcome)) in (1_i64..).zip(states) {
        let message = serde_json::to_string(&message(to)).unwrap();
        let message = (state != "unrendered").then_some(message);
        let position = message.as_ref().map(|_| 1);
        db.execute(
            "INSERT INTO event (number, bridge, id, id_is, body_hash, kind, happened, received, kept, routed, title, actor,
                                link, severity, state, subject, header, query, body)
             VALUES (?1, 'github', ?2, 'sender', ?3, 'push', 0, 0, 0, 1, 't', 'a', 'l', 'info', 'open', 's', '{}', '{}', x'65')",
            (number, to, &body),
        )
        .unwrap();
        let due = (state == "waiting").then_some(0);
        let in_hand = (state == "sending").then_some(number);
        db.execute(
            "INSERT INTO lane (number, name, last_position, due, in_hand) VALUES (?1, ?2, 1, ?3, ?4)",
            (number, to, due, in_hand),
        )
        .unwrap();
        db.execute(
            "INSERT INTO delivery (number, id, event, lane, position, state, due, kept, destination, conversation, form,
                                   message, attempts, first_attempt)
             VALUES (?1, ?2, ?1, ?1, ?3, ?4, 0, 0, 'group:ops', ?5, 1, ?6, ?7, ?8)",
            rusqlite::params![
                number,
                uuid::Uuid::from_u128(u128::from(number.unsigned_abs())).as_bytes(),
                position,
                state,
                to,
                message,
                i64::from(outcome.is_some()),
                outcome.map(|_| 0),
            ],
        )
        .unwrap();
        if let Some(outcome) = outcome {
            let ended = (outcome != "open").then_some(0);
            let word = ended.map(|_| outcome);
            db.execute(
                "INSERT INTO attempt (delivery, number, operation_id, began, ended, outcome, verdict)
                 VALUES (?1, 1, 'operation', 0, ?2, ?3, ?3)",
                (number, ended, word),
            )
            .unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_of_the_program_before_is_brought_up_and_keeps_its_promises() {
    let folder = Folder::new();
    write_older_file(&folder);
    let (clock, lever) = clock();

    let outbox = folder.open(&clock);

    let claims = claim_all(&*outbox, &clock).await;
    let sent: Vec<_> = claims.iter().map(|it| it.conversation.id()).collect();
    assert_eq!(sent, ["waits", "again"], "what was surely not taken");
    assert_eq!(claims[1].attempt.number, 2);
    assert_eq!(claims[1].first_attempt.as_second(), 0);
    // What may have been taken is settled first. What it called accepted has ended.
    let looks = outbox.looks(10, clock.now()).await.unwrap();
    let mut unclear: Vec<_> = looks.iter().map(|it| it.lane.as_str()).collect();
    unclear.sort_unstable();
    assert_eq!(
        unclear,
        ["group:#ambiguous", "group:#crashed", "group:#hand"]
    );
    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!(counts.unclear, 3);
    let listed = Filter {
        bridge: Some("github".into()),
        kind: Some("pu*".into()),
        ..Filter::default()
    };
    let listed = outbox.list_deliveries(listed, ALL).await.unwrap();
    let states: Vec<_> = listed.iter().map(|it| it.state.word()).collect();
    assert_eq!(
        states,
        [
            "sending",
            "sending",
            "sending",
            "sending",
            "sending",
            "accepted",
            "refused",
            "dead",
            "unrendered"
        ]
    );
    // Its ids are known, and what ended badly is put back as ever.
    let mut refused = event("group:#refused", "e", &clock);
    refused.bridge = "github".into();
    let repeat = outbox.keep(new(refused, vec![])).await.unwrap();
    assert!(matches!(repeat, Kept::Repeat { put_back: 1, .. }));
    let mended = listed.last().unwrap().id;
    assert!(outbox.rendered(mended, message("mended")).await.unwrap());
    assert_eq!(
        send_all(&*outbox, &clock).await,
        ["group:#refused", "mended"]
    );
    lever.advance(std::time::Duration::from_secs(60 * 24 * 3600));
    let prune = Prune {
        before: clock.now(),
        forget_before: clock.now(),
        max_bytes: None,
    };
    outbox.prune(prune, 100).await.unwrap();
    outbox.prune(prune, 100).await.unwrap();
    let left = outbox.list_events(Filter::default(), ALL).await.unwrap();
    assert_eq!(left.len(), 5, "what is waiting or unclear");
    outbox.close().await.unwrap();
    folder.open(&clock);
}

#[tokio::test]
async fn beside_the_service_nothing_is_made_and_nothing_is_recovered() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let beside = || SqliteOutbox::open_beside(folder.file(), Options::default(), clock.clone());
    let error = beside().err().unwrap();
    assert!(matches!(error.why, WhyNot::NotThere), "{error}");
    assert!(!folder.file().exists());

    let outbox = folder.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    let claims = claim_all(&*outbox, &clock).await;
    let other = beside().unwrap();
    drop(other);
    let accepted = record(&claims[0], &clock, accepted(None));
    outbox.record(accepted).await.unwrap();

    // An older program has it open: its rows must not change under it.
    let db = folder.connection();
    db.pragma_update(None, "user_version", 1).unwrap();
    let error = beside().err().unwrap();
    assert!(matches!(error.why, WhyNot::Older), "{error}");
}

#[tokio::test]
async fn beside_no_service_an_older_file_is_brought_up() {
    let folder = Folder::new();
    write_older_file(&folder);
    let (clock, _lever) = clock();

    let outbox = folder.beside(&clock);

    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!(counts.events, 9);
    outbox.close().await.unwrap();
    folder.open(&clock);
}

#[tokio::test]
async fn beyond_its_size_the_oldest_go_first_and_the_file_shrinks() {
    let folder = Folder::new();
    let (clock, _lever) = clock();
    let outbox = folder.open(&clock);
    let body = "x".repeat(1 << 20);
    for round in 0..60 {
        let name = format!("round {round}");
        outbox
            .keep(new(event(&name, &body, &clock), vec![]))
            .await
            .unwrap();
    }
    let most = 20 << 20;
    let prune = Prune {
        before: clock.now(),
        forget_before: clock.now(),
        max_bytes: Some(most),
    };

    let mut chunks = 0;
    while outbox.prune(prune, 5).await.unwrap().more {
        chunks += 1;
        assert!(chunks < 100, "pruning has no end");
    }

    let kept = outbox.list_events(Filter::default(), ALL).await.unwrap();
    let full: Vec<_> = kept.iter().map(|it| it.has_body).collect();
    assert!(full.is_sorted(), "the oldest have gone: {full:?}");
    let left = full.iter().filter(|has_body| **has_body).count();
    assert!((10..20).contains(&left), "{left}");
    outbox.close().await.unwrap();
    let bytes = std::fs::metadata(folder.file()).unwrap().len();
    assert!(
        bytes < most + (20 << 20),
        "{bytes}: what is free was given back"
    );
}
