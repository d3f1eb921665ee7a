//! An outbox moves from SQLite to PostgreSQL: nothing is lost, nothing is said twice, and it can be broken off anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use openim_bridge::cli::migrate::migrate;
use openim_bridge::model::*;
use openim_bridge::outbox::moving::TABLES;
use openim_bridge::outbox::postgres::{self, Arrival, PostgresOutbox};
use openim_bridge::outbox::sqlite::{self, Leaving, SqliteOutbox};
use openim_bridge::outbox::*;

use crate::database::{Schema, shared};
use crate::outbox::{clock, delivery, event, message, new, receipt, record, signed};

const ALL: Page = Page {
    after: None,
    most: 1000,
    oldest_first: true,
};

/// An outbox in a file, with rows in every state, and a database to move into.
struct Move {
    folder: tempfile::TempDir,
    schema: Schema<'static>,
    clock: Clock,
    lever: Lever,
}

impl Move {
    async fn set() -> Move {
        let (clock, lever) = clock();
        let set = Move {
            folder: tempfile::tempdir().unwrap(),
            schema: shared().schema(),
            clock,
            lever,
        };
        let outbox = set.sqlite();
        fill(&outbox, &set.clock, &set.lever).await;
        outbox.close().await.unwrap();
        // As the next start finds it.
        let outbox = set.sqlite();
        outbox.close().await.unwrap();
        set
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("outbox.db")
    }

    fn sqlite(&self) -> SqliteOutbox {
        self.try_sqlite().unwrap()
    }

    fn try_sqlite(&self) -> Result<SqliteOutbox, sqlite::OpenError> {
        SqliteOutbox::open(self.file(), sqlite::Options::default(), self.clock.clone())
    }

    async fn postgres(&self) -> Result<PostgresOutbox, postgres::OpenError> {
        let options = postgres::Options::default();
        PostgresOutbox::open(&self.schema.address(), options, self.clock.clone()).await
    }

    async fn migrate(&self) -> anyhow::Result<()> {
        migrate(&self.file(), &self.schema.address(), &self.clock).await
    }
}

/// Makes a delivery in every state, and whatever else may stand in an outbox.
async fn fill(outbox: &dyn Outbox, clock: &Clock, lever: &Lever) {
    let mut ids = BTreeMap::new();
    for name in [
        "stored", "accepted", "unclear", "held", "refused", "dead", "again", "in hand", "waiting",
    ] {
        let one = delivery(&format!("group:#{name}"), name, clock);
        ids.insert(name, one.id);
        let mut event = event(&format!("the {name} \t\\N one\0"), name, clock);
        event.raw = vec![0, 255, b'\\', b'\n'].into();
        event.title = format!("{name}: tab\t, line\n, back\\slash, nul\0, \u{e000}0");
        outbox.keep(new(event, vec![one])).await.unwrap();
        lever.advance(Duration::from_secs(1));
    }
    let later = clock.now() + Duration::from_secs(600);
    for claim in outbox.claim(8, clock.now()).await.unwrap() {
        let lane = claim.conversation.lane();
        let baseline = Baseline {
            lane,
            conversation: claim.conversation.clone(),
            seq: 40,
        };
        outbox.baseline(baseline).await.unwrap();
        let look = clock.now();
        let decision = match claim.conversation.id() {
            "stored" | "accepted" => Decision::Accepted {
                receipt: Some(receipt()),
                look: Some(look),
            },
            "unclear" | "held" => Decision::Unclear { look },
            "refused" => Decision::Refused("1203".into()),
            "dead" => Decision::Dead("too long".into()),
            "again" => Decision::Again { at: later },
            _ => continue, // the crash
        };
        outbox
            .record(record(&claim, clock, decision))
            .await
            .unwrap();
    }
    for look in outbox.looks(10, clock.now()).await.unwrap() {
        let one = &look.unsettled[0];
        let fate = match one.conversation.id() {
            "stored" => Fate::Stored {
                seq: 41,
                receipt: receipt(),
            },
            "held" => Fate::Held,
            _ => Fate::Missing,
        };
        let hole = Hole {
            seq: 44,
            since: clock.now(),
        };
        let cursor = Cursor {
            seq: 43,
            holes: vec![hole],
        };
        let settled = Settled {
            lane: look.lane.clone(),
            epoch: look.epoch,
            cursors: BTreeMap::from([(one.conversation.clone(), cursor)]),
            fates: vec![Settling {
                delivery: one.delivery,
                attempt: one.attempt.number,
                at: clock.now(),
                fate,
                evidence: "evidence\nof two lines".into(),
            }],
            stop: one.conversation.id() == "accepted",
            look_again: later,
        };
        outbox.settle(vec![settled]).await.unwrap();
    }
    let mut broken = delivery("group:#waiting", "", clock);
    broken.rendered = Rendered::Broken("line 3".into());
    let mut expiring = delivery("notice:#u_li", "expires", clock);
    expiring.expires = Some(Expires {
        at: later,
        folded: "{} older".into(),
    });
    let cancelled = delivery("group:#waiting", "cancelled", clock);
    let id = cancelled.id;
    let more = vec![broken, expiring, cancelled];
    outbox
        .keep(new(event("more", "more", clock), more))
        .await
        .unwrap();
    outbox.change(vec![id], Change::Cancel).await.unwrap();
    outbox
        .keep(new(event("unrouted", "", clock), vec![]))
        .await
        .unwrap();
    for digest in [92, 0] {
        outbox
            .keep(new(signed("signed", digest, clock), vec![]))
            .await
            .unwrap();
    }
    let group: Conversation = "group:#again".parse().unwrap();
    outbox
        .hold(group.lane(), Some("an operator".into()))
        .await
        .unwrap();
}

/// All that an outbox tells of itself, in words, but for what belongs to its engine.
async fn told(outbox: &dyn Outbox, clock: &Clock) -> Vec<String> {
    let mut told = Vec::new();
    for event in outbox.list_events(Filter::default(), ALL).await.unwrap() {
        let event = outbox.find_event(event.number).await.unwrap();
        told.push(format!("{event:?}"));
    }
    let mut states = BTreeSet::new();
    for one in outbox
        .list_deliveries(Filter::default(), ALL)
        .await
        .unwrap()
    {
        states.insert(one.state);
        let one = outbox.find_delivery(one.id).await.unwrap();
        told.push(format!("{one:?}"));
    }
    assert_eq!(states.len(), DeliveryState::ALL.len(), "{states:?}");
    for lane in outbox.list_lanes(None, ALL).await.unwrap() {
        told.push(format!("{lane:?}"));
    }
    let mut counts = outbox.counts(clock.now()).await.unwrap();
    counts.bytes = 0;
    told.push(format!("{counts:?}"));
    told.push(format!("{:?}", outbox.next_due().await.unwrap()));
    told
}

/// What the looks show, without what belongs to an engine.
async fn looked(outbox: &dyn Outbox, clock: &Clock) -> Vec<String> {
    let mut looks = outbox.looks(100, clock.now()).await.unwrap();
    looks.sort_by(|one, other| one.lane.cmp(&other.lane));
    let words = looks.iter().map(|look| {
        format!(
            "{:?} {} {} {:?} {:?}",
            look.lane, look.stopped, look.more_waits, look.cursors, look.unsettled
        )
    });
    words.collect()
}

#[tokio::test]
async fn all_that_counts_moves_and_nothing_is_said_twice() {
    let set = Move::set().await;
    let before = set.sqlite();
    let told_before = told(&before, &set.clock).await;
    before.close().await.unwrap();

    set.migrate().await.unwrap();

    let after = set.postgres().await.unwrap();
    assert_eq!(told(&after, &set.clock).await, told_before);
    let why = set.try_sqlite().err().unwrap().to_string();
    assert!(why.contains("has moved to postgres://bridge@"), "{why}");

    // A repeat is known, what waits is sent once and in order, what is unsettled is looked for from where reading was.
    let again = new(event("more", "more", &set.clock), vec![]);
    let kept = after.keep(again).await.unwrap();
    assert!(matches!(kept, Kept::Repeat { .. }), "{kept:?}");
    for digest in [92, 0] {
        let copied = new(signed("copied", digest, &set.clock), vec![]);
        let kept = after.keep(copied).await.unwrap();
        assert!(matches!(kept, Kept::Repeat { .. }), "{kept:?}");
    }
    let claims = after.claim(100, set.clock.now()).await.unwrap();
    let to: Vec<String> = claims
        .iter()
        .map(|one| one.conversation.to_string())
        .collect();
    assert_eq!(to, ["group:#waiting", "notice:#u_li"]);
    set.lever.advance(Duration::from_secs(600));
    let looked = looked(&after, &set.clock).await;
    assert_eq!(
        looked.len(),
        4,
        "accepted, unclear, held, in hand: {looked:#?}"
    );
    assert!(looked[0].contains("seq: 43") && looked[0].contains("seq: 44"));

    // What comes now takes no number that is taken.
    let one = delivery("group:#waiting", "new", &set.clock);
    let kept = after
        .keep(new(event("new", "new", &set.clock), vec![one]))
        .await;
    assert_eq!(kept.unwrap(), Kept::New { deliveries: 1 });
}

#[tokio::test]
async fn a_move_that_was_broken_off_is_begun_anew_and_loses_nothing_that_came_meanwhile() {
    let set = Move::set().await;
    copy_some(&set, 2).await;
    let why = set.postgres().await.err().unwrap().to_string();
    assert!(why.contains("run `openim-bridge migrate` again"), "{why}");

    let meanwhile = set.sqlite();
    let one = delivery("group:#waiting", "meanwhile", &set.clock);
    let id = one.id;
    meanwhile
        .keep(new(event("meanwhile", "m", &set.clock), vec![one]))
        .await
        .unwrap();
    let told_before = told(&meanwhile, &set.clock).await;
    meanwhile.close().await.unwrap();
    set.migrate().await.unwrap();

    let after = set.postgres().await.unwrap();
    assert_eq!(told(&after, &set.clock).await, told_before);
    let found = after.find_delivery(id).await.unwrap().unwrap();
    assert_eq!(found.message, Some(message("meanwhile")));
}

#[tokio::test]
async fn a_move_that_was_broken_off_before_its_last_step_is_finished() {
    let set = Move::set().await;
    copy_some(&set, TABLES.len()).await;
    let source = Leaving::open(&set.file(), &set.clock).unwrap();
    source
        .mark_moved(&set.schema.address().to_string())
        .unwrap();
    drop(source);
    assert!(set.try_sqlite().is_err() && set.postgres().await.is_err());

    set.migrate().await.unwrap();

    set.postgres().await.unwrap();
    set.migrate()
        .await
        .expect("it has moved already, and says so");
    let elsewhere = shared().schema().address();
    let error = migrate(&set.file(), &elsewhere, &set.clock).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("has moved to"), "{error}");
}

/// The beginning of a move, up to so many tables.
async fn copy_some(set: &Move, tables: usize) {
    let source = Leaving::open(&set.file(), &set.clock).unwrap();
    let journey = source.journey().unwrap();
    let (arrival, _) = Arrival::at(&set.schema.address(), &journey).await.unwrap();
    arrival.begin("outbox.db").await.unwrap();
    for table in &TABLES[..tables] {
        let rows = source.rows(table, None).unwrap();
        arrival.take(table, &rows).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_moves_while_a_service_runs_on_either_side_or_into_another_outbox() {
    let set = Move::set().await;
    let running = set.sqlite();
    let error = set.migrate().await.unwrap_err().to_string();
    assert!(error.contains("has it open"), "{error}");
    running.close().await.unwrap();

    let there = set.postgres().await.unwrap();
    let patience = std::time::Instant::now();
    // From the moment on when it listens.
    let listens = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND objsubid = 2
                   AND classid::bigint = hashtext('openim_bridge_' || current_schema())::bigint & 4294967295";
    while set.schema.psql(listens) == "0" {
        assert!(patience.elapsed() < Duration::from_secs(20));
        Clock::system().sleep(Duration::from_millis(20)).await;
    }
    let error = set.migrate().await.unwrap_err().to_string();
    assert!(error.contains("a service is working on it"), "{error}");
    there
        .keep(new(event("theirs", "theirs", &set.clock), vec![]))
        .await
        .unwrap();
    there.close().await.unwrap();
    drop(there);

    let error = set.migrate().await.unwrap_err().to_string();
    assert!(error.contains("holds an outbox already"), "{error}");
    set.sqlite();
    assert!(Path::new(&set.file()).exists());
}
