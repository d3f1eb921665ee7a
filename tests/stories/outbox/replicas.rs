//! Several replicas on one database: whose a lane is, what happens when one is gone, and what a database that crashes keeps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openim_bridge::model::*;
use openim_bridge::outbox::postgres::{Address, Options, PostgresOutbox, WhyNot};
use openim_bridge::outbox::*;

use super::postgres::Database;
use super::{
    ALL, accepted, claim_all, clock, delivery, event, keep_one, look, new, queue, receipt, record,
    send_all, settled, settling, signed, state_of, stored, texts,
};
use crate::database::{Server, shared};

/// How long a story waits for what another process does in its own time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two replicas on one database.
fn two(clock: &Clock) -> (Database, Arc<PostgresOutbox>, Arc<PostgresOutbox>) {
    let database = Database::new();
    let one = database.opened(Options::default(), clock);
    let other = database.opened(Options::default(), clock);
    (database, one, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_belongs_to_one_replica_until_nothing_in_it_is_due_or_unsettled() {
    let (clock, _lever) = clock();
    let (_database, here, there) = two(&clock);
    keep_one(&*here, "group:#g", "one", &clock).await;
    keep_one(&*there, "group:#g", "two", &clock).await;

    let one = claim_all(&*here, &clock).await;
    assert_eq!(texts(&one), ["one"]);
    assert!(claim_all(&*there, &clock).await.is_empty());
    assert_eq!(there.next_due().await.unwrap(), NextDue::default());

    let done = record(&one[0], &clock, accepted(None));
    here.record(done).await.unwrap();
    assert_eq!(send_all(&*here, &clock).await, ["two"]);
    keep_one(&*here, "group:#g", "three", &clock).await;
    assert_eq!(send_all(&*there, &clock).await, ["three"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_surely_ours_for_the_lease_from_before_it_was_asked_for() {
    let (clock, _lever) = clock();
    let (_database, here, _there) = two(&clock);
    keep_one(&*here, "group:#g", "one", &clock).await;

    let hold = claim_all(&*here, &clock).await[0].hold;

    assert_eq!(hold, Hold::Until(clock.uptime() + Duration::from_secs(30)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_over_a_lane_with_an_open_attempt_settles_it_first() {
    let (clock, _lever) = clock();
    let (database, gone, heir) = two(&clock);
    let id = keep_one(&*gone, "group:#g", "one", &clock).await;
    keep_one(&*gone, "group:#g", "two", &clock).await;
    let open = claim_all(&*gone, &clock).await;
    assert!(heir.looks(10, clock.now()).await.unwrap().is_empty());

    database.0.end_leases();
    assert_eq!(heir.next_due().await.unwrap().look, Some(clock.now()));
    assert!(claim_all(&*heir, &clock).await.is_empty());
    let look = look(&*heir, &clock).await;
    let late = gone.record(record(&open[0], &clock, accepted(Some(receipt()))));

    let error = late.await.unwrap_err();
    assert!(matches!(error, OutboxError::NotInHand { .. }), "{error}");
    let unsettled = &look.unsettled[0];
    assert_eq!((unsettled.delivery, unsettled.ended), (id, None));
    assert!(!unsettled.accepted);
    assert!(look.epoch > open[0].epoch);
    let found = heir.find_delivery(id).await.unwrap().unwrap();
    assert_eq!(found.receipt, Some(receipt()), "a fact, however late");
    assert_eq!(found.state, DeliveryState::Sending);

    let mut all = settled(&look, &clock);
    all.fates = vec![settling(unsettled, &clock, stored(7))];
    assert_eq!(heir.settle(vec![all]).await.unwrap(), [true]);
    assert_eq!(send_all(&*heir, &clock).await, ["two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_lease_has_ended_decides_nothing_but_what_was_seen_is_written() {
    let (clock, lever) = clock();
    let (database, gone, heir) = two(&clock);
    let ids = [
        keep_one(&*gone, "group:#g", "one", &clock).await,
        keep_one(&*gone, "group:#g", "two", &clock).await,
    ];
    for _ in 0..2 {
        let claim = claim_all(&*gone, &clock).await.remove(0);
        queue(&*gone, &claim, &clock).await;
    }
    lever.advance(Duration::from_secs(1));
    let before = look(&*gone, &clock).await;
    assert!(heir.looks(10, clock.now()).await.unwrap().is_empty());

    database.0.end_leases();
    let after = look(&*heir, &clock).await;
    assert!(after.epoch > before.epoch);
    let mut late = settled(&before, &clock);
    late.fates = vec![
        settling(&before.unsettled[0], &clock, stored(1)),
        settling(&before.unsettled[1], &clock, Fate::Dropped),
    ];

    assert_eq!(gone.settle(vec![late]).await.unwrap(), [false]);
    assert_eq!(state_of(&*heir, ids[0]).await, DeliveryState::Stored);
    assert_eq!(state_of(&*heir, ids[1]).await, DeliveryState::Accepted);
    assert_eq!(heir.counts(clock.now()).await.unwrap().dropped, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_gives_back_every_lane_without_a_request_in_flight() {
    let (clock, lever) = clock();
    let (_database, leaving, staying) = two(&clock);
    keep_one(&*leaving, "group:#unsettled", "one", &clock).await;
    let claim = claim_all(&*leaving, &clock).await.remove(0);
    queue(&*leaving, &claim, &clock).await;
    keep_one(&*leaving, "group:#in_flight", "two", &clock).await;
    claim_all(&*leaving, &clock).await;
    lever.advance(Duration::from_secs(1));
    assert!(staying.looks(10, clock.now()).await.unwrap().is_empty());

    leaving.close().await.unwrap();

    let look = look(&*staying, &clock).await;
    assert_eq!(look.lane.as_str(), "group:#unsettled");
    let lanes = staying.list_lanes(None, ALL).await.unwrap();
    let owners: Vec<_> = lanes.iter().map(|lane| lane.owner.is_some()).collect();
    assert_eq!(owners, [true, true]);
    assert_ne!(lanes[0].owner, lanes[1].owner);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_in_at_two_replicas_at_once_is_kept_once() {
    let (clock, _lever) = clock();
    let (_database, here, there) = two(&clock);
    for round in 0..20 {
        let name = format!("event {round}");
        let keep = |outbox: &Arc<PostgresOutbox>| {
            let one = delivery("group:#g", &name, &clock);
            let (outbox, one) = (outbox.clone(), new(event(&name, &name, &clock), vec![one]));
            tokio::spawn(async move { outbox.keep(one).await.unwrap() })
        };
        let (one, two) = (keep(&here), keep(&there));
        let kept = [one.await.unwrap(), two.await.unwrap()];
        let new = kept.iter().filter(|one| matches!(one, Kept::New { .. }));
        assert_eq!(new.count(), 1, "{kept:?}");
    }
    assert_eq!(here.counts(clock.now()).await.unwrap().events, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_signed_and_comes_in_at_two_replicas_at_once_under_two_ids_is_kept_once() {
    let (clock, _lever) = clock();
    let (_database, here, there) = two(&clock);
    for round in 0..20 {
        let keep = |outbox: &Arc<PostgresOutbox>, id: &str| {
            let event = signed(&format!("{id} {round}"), round, &clock);
            let one = new(event, vec![delivery("group:#g", id, &clock)]);
            let outbox = outbox.clone();
            tokio::spawn(async move { outbox.keep(one).await.unwrap() })
        };
        let (one, two) = (keep(&here, "own"), keep(&there, "copied"));
        let kept = [one.await.unwrap(), two.await.unwrap()];
        let new = kept.iter().filter(|one| matches!(one, Kept::New { .. }));
        assert_eq!(new.count(), 1, "{kept:?}");
    }
    assert_eq!(here.counts(clock.now()).await.unwrap().events, 20);
}

/// A replica of the program before goes on beside one that has brought the tables up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_the_program_before_is_brought_up_and_serves_both() {
    let (clock, _lever) = clock();
    let database = Database::new();
    let here = database.opened(Options::default(), &clock);
    keep_one(&*here, "group:#g", "one", &clock).await;
    here.close().await.unwrap();
    database
        .0
        .psql("DROP TABLE signed; UPDATE outbox SET version = 1");

    let here = database.opened(Options::default(), &clock);

    let again = here.keep(new(event("one", "one", &clock), vec![])).await;
    assert!(matches!(again, Ok(Kept::Repeat { .. })));
    let mut one = new(signed("own", 1, &clock), vec![]);
    assert!(matches!(here.keep(one).await, Ok(Kept::New { .. })));
    one = new(signed("copied", 1, &clock), vec![]);
    assert!(matches!(here.keep(one).await, Ok(Kept::Repeat { .. })));
    // The program before knows nothing of what was signed when it removes an old event.
    database.0.psql("DELETE FROM event WHERE id = 'own'");
    assert_eq!(database.0.psql("SELECT count(*) FROM signed"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_order_is_commit_order_through_whichever_replica() {
    let (clock, _lever) = clock();
    let (_database, here, there) = two(&clock);
    let mut names = Vec::new();
    for round in 0..10 {
        names.push(format!("message {round}"));
        let outbox = if round % 3 == 0 { &here } else { &there };
        keep_one(&**outbox, "group:#g", &names[round], &clock).await;
    }

    assert_eq!(send_all(&*there, &clock).await, names);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_keep_into_the_same_lanes_in_opposite_order_do_not_wait_in_a_circle() {
    let (clock, _lever) = clock();
    let (database, here, there) = two(&clock);
    let lanes: Vec<String> = (0..12).map(|lane| format!("group:#{lane}")).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..16 {
        let outbox = if sender % 2 == 0 { &here } else { &there }.clone();
        let mut lanes = lanes.clone();
        if sender % 2 == 0 {
            lanes.reverse();
        }
        let clock = clock.clone();
        tasks.spawn(async move {
            for round in 0..8 {
                let name = format!("{sender}-{round}");
                let all = lanes.iter().map(|to| delivery(to, &name, &clock));
                let one = new(event(&name, &name, &clock), all.collect());
                outbox.keep(one).await.unwrap();
                for claim in outbox.claim(3, clock.now()).await.unwrap() {
                    let done = record(&claim, &clock, accepted(None));
                    outbox.record(done).await.unwrap();
                }
            }
        });
    }
    let all = tokio::time::timeout(6 * PATIENCE, tasks.join_all());
    all.await.expect("nobody waits for ever");

    let twice = "SELECT count(*) FROM (SELECT 1 FROM delivery GROUP BY lane, position HAVING count(*) > 1) AS it";
    assert_eq!(database.0.psql(twice), "0");
    assert_eq!(database.0.psql("SELECT count(*) FROM delivery"), "1536");
    let counts = here.counts(clock.now()).await.unwrap();
    let real = database
        .0
        .psql("SELECT count(*) FROM delivery WHERE state = 'waiting'");
    assert_eq!(counts.deliveries[&DeliveryState::Waiting].to_string(), real);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_lane_another_replica_keeps_into_hears_the_bell() {
    let (clock, _lever) = clock();
    let (_database, owner, other) = two(&clock);
    keep_one(&*owner, "group:#g", "one", &clock).await;
    let claim = claim_all(&*owner, &clock).await.remove(0);
    queue(&*owner, &claim, &clock).await;

    // Until the listening connection is there, nothing is heard; ring until it is.
    let bell = owner.bell();
    let mut rung = 0;
    for round in 0.. {
        while tokio::time::timeout(Duration::ZERO, bell.notified())
            .await
            .is_ok()
        {}
        keep_one(&*other, "group:#g", &format!("more {round}"), &clock).await;
        let heard = tokio::time::timeout(Duration::from_secs(1), bell.notified());
        rung += u32::from(heard.await.is_ok());
        if rung > 1 {
            break;
        }
        assert!(round < 20, "the bell is never heard");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_fails_does_not_take_its_group_along() {
    let (clock, _lever) = clock();
    let (_database, here, _there) = two(&clock);
    let taken = delivery("group:#g", "taken", &clock);
    let keep = |name: &str, one: NewDelivery| {
        let (outbox, one) = (here.clone(), new(event(name, name, &clock), vec![one]));
        tokio::spawn(async move { outbox.keep(one).await })
    };
    let first = keep("first", taken.clone()).await.unwrap();
    assert_eq!(first.unwrap(), Kept::New { deliveries: 1 });

    // All that comes while the first one is on its way is one group.
    let mut good = Vec::new();
    good.push(keep("on its way", delivery("group:#g", "text", &clock)));
    let bad = keep("bad", taken);
    for name in ["one", "two", "three"] {
        good.push(keep(name, delivery("group:#g", name, &clock)));
    }

    assert!(matches!(bad.await.unwrap(), Err(OutboxError::Broken(_))));
    for kept in good {
        assert_eq!(kept.await.unwrap().unwrap(), Kept::New { deliveries: 1 });
    }
    assert_eq!(here.counts(clock.now()).await.unwrap().events, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_make_the_tables_once() {
    let (clock, _lever) = clock();
    let schema = shared().schema();
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (address, clock) = (schema.address(), clock.clone());
        starting.spawn(async move {
            let opened = PostgresOutbox::open(&address, Options::default(), clock).await;
            opened.unwrap().probe().await.unwrap();
        });
    }
    starting.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_outbox_of_ours_is_refused_in_clear_words() {
    let (clock, _lever) = clock();
    let open = async |address: &Address| {
        let opened = PostgresOutbox::open(address, Options::default(), clock.clone()).await;
        opened.err().expect("it opened")
    };
    let newer = Database::new();
    newer.opened(Options::default(), &clock);
    newer.0.psql("UPDATE outbox SET version = 9000");
    let foreign = shared().schema();
    foreign.psql("CREATE TABLE event (theirs text)");

    let error = open(&newer.0.address()).await;
    assert!(matches!(error.why, WhyNot::Newer { found: 9000, .. }));
    assert!(error.to_string().contains("newer openim-bridge"), "{error}");
    let error = open(&foreign.address()).await;
    assert!(matches!(error.why, WhyNot::Foreign), "{error}");
    assert_eq!(foreign.psql("SELECT count(*) FROM event"), "0");

    let nowhere = Address::parse("postgres://bridge:hunter2@127.0.0.1:1/bridge").unwrap();
    let error = open(&nowhere).await.to_string();
    assert!(
        error.contains("postgres://bridge@127.0.0.1:1/bridge"),
        "{error}"
    );
    assert!(
        error.contains("refused") && !error.contains("hunter2"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promised_is_there_after_the_database_crashed_and_the_rest_can_be_sent_again() {
    let (clock, _lever) = clock();
    let mut server = Server::start(true);
    let address = server.schema().address();
    let open = PostgresOutbox::open(&address, Options::default(), clock.clone());
    let outbox = Arc::new(open.await.unwrap());
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..4 {
        let (outbox, clock) = (outbox.clone(), clock.clone());
        senders.spawn(async move {
            let (mut promised, mut refused) = (BTreeSet::new(), BTreeSet::new());
            for round in 0..200 {
                let name = format!("{sender}-{round}");
                let one = delivery(&format!("group:#{sender}"), &name, &clock);
                match outbox
                    .keep(new(event(&name, &name, &clock), vec![one]))
                    .await
                {
                    Ok(_) => promised.insert(name),
                    Err(_) => refused.insert(name),
                };
                if refused.len() > 2 {
                    break; // it is down
                }
            }
            (promised, refused)
        });
    }
    let begun = std::time::Instant::now();
    while outbox.counts(clock.now()).await.unwrap().events < 40 {
        assert!(begun.elapsed() < PATIENCE);
    }
    server.down();
    let ended = senders.join_all().await;
    assert!(matches!(outbox.probe().await, Err(OutboxError::Broken(_))));
    server.up();

    let mut promised: BTreeSet<String> = BTreeSet::new();
    for (kept, refused) in ended {
        promised.extend(kept);
        // Their senders try again, through the same outbox: whatever of them was kept is known again.
        for name in refused {
            let one = delivery("group:#again", &name, &clock);
            let again = new(event(&name, &name, &clock), vec![one]);
            outbox.keep(again).await.unwrap();
            promised.insert(name);
        }
    }
    let events = outbox.list_events(Filter::default(), ALL).await.unwrap();
    let kept: Vec<&str> = events.iter().map(|one| one.event.id.as_str()).collect();
    assert_eq!(kept.len(), promised.len(), "each is kept once");
    assert!(kept.iter().all(|name| promised.contains(*name)));
    outbox.close().await.unwrap();
}
