//! The tables and how an older file gets them: numbered SQL files, applied in order, each in one transaction.

use rusqlite::{Connection, TransactionBehavior};

use super::WhyNot;

/// The migrations in order; the first makes version 1. Only ever append: a change is additive, so that the program
/// before it can be told why it must not open the file, and nothing else breaks.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_events_and_lanes.sql"),
    include_str!("migrations/0002_settling_and_the_desk.sql"),
    include_str!("migrations/0003_what_was_signed.sql"),
];

/// Marks a SQLite file as an outbox of ours in its header: `OIMB`.
const APPLICATION_ID: i32 = 0x4f49_4d42;

/// Brings the file to this program's version.
///
/// # Errors
/// When the file belongs to another program or to a newer version of this one, or cannot be read or written.
pub(super) fn migrate(db: &mut Connection) -> Result<(), WhyNot> {
    apply(db, MIGRATIONS)
}

/// Whether the file is of this program's version.
///
/// # Errors
/// As [`migrate`].
pub(super) fn is_current(db: &Connection) -> Result<bool, WhyNot> {
    Ok(find_version(db, MIGRATIONS)? == last(MIGRATIONS))
}

fn last(migrations: &[&str]) -> i64 {
    i64::try_from(migrations.len()).unwrap_or(i64::MAX)
}

fn find_version(db: &Connection, migrations: &[&str]) -> Result<i64, WhyNot> {
    let known = last(migrations);
    let number =
        |name: &str| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let found = number("user_version")?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let ours = number("application_id")? == i64::from(APPLICATION_ID);
    if !ours && (found > 0 || tables > 0) {
        return Err(WhyNot::Foreign);
    }
    if found > known {
        return Err(WhyNot::Newer { found, known });
    }
    Ok(found)
}

fn apply(db: &mut Connection, migrations: &[&str]) -> Result<(), WhyNot> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = find_version(&tx, migrations)?;
    drop(tx);

    for (version, sql) in (1_i64..)
        .zip(migrations)
        .filter(|(version, _)| *version > found)
    {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
        if found > 0 {
            tracing::info!(version, "the outbox was brought to a newer schema");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_gets_what_is_missing_and_keeps_its_rows() {
        let mut db = Connection::open_in_memory().unwrap();
        let first = "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);";
        apply(&mut db, &[first]).unwrap();

        apply(&mut db, &[first, "ALTER TABLE t ADD COLUMN b DEFAULT 7;"]).unwrap();
        apply(&mut db, &[first, "ALTER TABLE t ADD COLUMN b DEFAULT 7;"]).unwrap();

        let sum: i64 = db
            .query_row("SELECT sum(a) + sum(b) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, 17);
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before_it() {
        let mut db = Connection::open_in_memory().unwrap();
        let bad = "CREATE TABLE u (a); CREATE TABLE u (a);";
        assert!(apply(&mut db, &["CREATE TABLE t (a);", bad]).is_err());

        apply(&mut db, &["CREATE TABLE t (a);", "CREATE TABLE u (a);"]).unwrap();
    }

    #[test]
    fn a_newer_file_is_refused_with_both_versions() {
        let mut db = Connection::open_in_memory().unwrap();
        apply(&mut db, &["CREATE TABLE t (a);", "CREATE TABLE u (a);"]).unwrap();

        let error = apply(&mut db, &["CREATE TABLE t (a);"]).unwrap_err();

        assert!(matches!(error, WhyNot::Newer { found: 2, known: 1 }));
    }

    #[test]
    fn a_database_of_another_program_is_left_alone() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE theirs (a)").unwrap();

        assert!(matches!(migrate(&mut db), Err(WhyNot::Foreign)));
    }

    #[test]
    fn the_tally_is_right_whoever_writes() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        db.execute_batch(
            "INSERT INTO lane (number, name, last_position) VALUES (1, 'group:#g', 2);
             INSERT INTO event (number, bridge, id, id_is, body_hash, kind, happened, received, kept, routed, title, actor,
                                link, severity, subject, header, query)
                 VALUES (1, 'b', 'i', 'sender', x'00', 'k', 0, 0, 0, 0, '', '', '', 'info', '', '{}', '{}'),
                        (2, 'b', 'j', 'sender', x'00', 'k', 0, 0, 0, 1, '', '', '', 'info', '', '{}', '{}');
             INSERT INTO delivery (number, id, event, lane, position, state, due, kept, destination, conversation, form)
                 VALUES (1, x'01', 1, 1, 1, 'waiting', 0, 0, '', '', 1), (2, x'02', 1, 1, 2, 'waiting', 0, 0, '', '', 1);
             UPDATE delivery SET state = 'accepted' WHERE number = 1;
             UPDATE event SET routed = 1;
             DELETE FROM delivery WHERE number = 2;
             DELETE FROM event WHERE number = 2;",
        )
        .unwrap();

        let tally = |what: &str| -> i64 {
            db.query_row("SELECT many FROM tally WHERE what = ?", [what], |row| {
                row.get(0)
            })
            .unwrap()
        };
        assert_eq!(
            ["events", "unrouted", "waiting", "accepted"].map(tally),
            [1, 0, 0, 1]
        );
    }
}
