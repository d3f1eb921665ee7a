//! What is old goes.

use openim_bridge::model::*;
use openim_bridge::outbox::*;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Contents of events older than `days`, and ids twice as old.
fn older_than(days: u32, clock: &Clock) -> Prune {
    Prune {
        before: clock.now() - DAY * days,
        forget_before: clock.now() - DAY * days * 2,
        max_bytes: None,
    }
}

/// Prunes until there is no more; what went, and in how many chunks.
async fn prune_all(outbox: &dyn Outbox, prune: Prune, most: usize) -> (u64, u64, u32) {
    let (mut emptied, mut forgotten, mut chunks) = (0, 0, 0);
    loop {
        let pruned = outbox.prune(prune, most).await.unwrap();
        assert!(pruned.emptied + pruned.forgotten <= 2 * most as u64);
        emptied += pruned.emptied;
        forgotten += pruned.forgotten;
        chunks += 1;
        if !pruned.more {
            return (emptied, forgotten, chunks);
        }
        assert!(chunks < 1000, "pruning has no end");
    }
}

async fn all_events(outbox: &dyn Outbox) -> Vec<EventRecord> {
    outbox.list_events(Filter::default(), ALL).await.unwrap()
}

pub async fn contents_go_first_and_ids_much_later(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let old = keep_one(&*outbox, "group:#g", "old", &clock).await;
    outbox
        .keep(new(event("unrouted", "secret", &clock), vec![]))
        .await
        .unwrap();
    lever.advance(DAY * 10);
    let young = keep_one(&*outbox, "group:#g", "young", &clock).await;
    assert_eq!(send_all(&*outbox, &clock).await, ["old", "young"]);
    lever.advance(DAY * 25);

    let went = prune_all(&*outbox, older_than(30, &clock), 100).await;

    assert_eq!((went.0, went.1), (2, 0));
    let events = all_events(&*outbox).await;
    let has_body: Vec<_> = events.iter().map(|one| one.has_body).collect();
    assert_eq!(has_body, [false, false, true]);
    let emptied = outbox.find_event(events[0].number).await.unwrap().unwrap();
    assert!(emptied.event.raw.is_empty() && emptied.event.header.is_empty());
    assert_eq!(
        emptied.became[&DeliveryState::Accepted],
        1,
        "what became of it stays"
    );
    let record = outbox.find_delivery(old).await.unwrap().unwrap();
    assert_eq!((record.message, record.attempts.len()), (None, 0));
    let kept = outbox.find_delivery(young).await.unwrap().unwrap();
    assert!(kept.message.is_some() && kept.attempts.len() == 1);
    let again = outbox.keep(new(event("old", "old", &clock), vec![])).await;
    assert!(matches!(again, Ok(Kept::Repeat { put_back: 0, .. })));

    lever.advance(DAY * 30);
    let went = prune_all(&*outbox, older_than(30, &clock), 100).await;
    assert_eq!((went.0, went.1), (1, 2));
    assert!(outbox.find_delivery(old).await.unwrap().is_none());
    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!((counts.events, counts.unrouted), (1, 0));
    assert_eq!(counts.deliveries[&DeliveryState::Accepted], 1);
    let news = outbox.keep(new(event("old", "old", &clock), vec![])).await;
    assert!(matches!(news, Ok(Kept::New { .. })));
}

pub async fn what_is_not_delivered_stays_however_old(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let mut broken = delivery("group:#x", "", &clock);
    broken.rendered = Rendered::Broken("line 3".into());
    outbox
        .keep(new(event("broken", "b", &clock), vec![broken]))
        .await
        .unwrap();
    for (to, decision) in [
        ("group:#1", Some(Decision::Unclear { look: clock.now() })),
        (
            "group:#2",
            Some(Decision::Accepted {
                receipt: None,
                look: Some(clock.now()),
            }),
        ),
        (
            "group:#3",
            Some(Decision::Again {
                at: clock.now() + DAY,
            }),
        ),
        ("group:#4", None),
        ("group:#5", Some(Decision::Refused("no".into()))),
    ] {
        keep_one(&*outbox, to, to, &clock).await;
        let claim = claim_all(&*outbox, &clock).await.remove(0);
        if let Some(decision) = decision {
            let ended = record(&claim, &clock, decision);
            outbox.record(ended).await.unwrap();
        }
    }
    lever.advance(DAY * 365);

    let went = prune_all(&*outbox, older_than(1, &clock), 2).await;

    assert_eq!((went.0, went.1), (1, 1), "only the refused one");
    let left = all_events(&*outbox).await;
    assert_eq!(left.len(), 5);
    assert!(left.iter().all(|one| one.has_body));
    assert_eq!(texts(&claim_all(&*outbox, &clock).await), ["group:#3"]);
}

pub async fn ids_are_remembered_thirty_days_whatever_is_asked(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "one", &clock).await;
    send_all(&*outbox, &clock).await;
    lever.advance(DAY * 30);
    let all = Prune {
        before: clock.now(),
        forget_before: clock.now(),
        max_bytes: Some(0),
    };

    let went = prune_all(&*outbox, all, 10).await;
    assert_eq!((went.0, went.1), (1, 0));
    let kept = outbox.keep(new(event("one", "one", &clock), vec![])).await;
    assert!(matches!(kept, Ok(Kept::Repeat { .. })));

    lever.advance(Duration::from_secs(1));
    let went = prune_all(&*outbox, all, 10).await;
    assert_eq!((went.0, went.1), (0, 1));
}

pub async fn pruning_goes_on_where_it_stopped(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    // At the old end stands much that is not delivered yet.
    let stuck = "group:#stuck";
    for number in 0..60 {
        keep_one(&*outbox, stuck, &format!("stuck {number}"), &clock).await;
    }
    for number in 0..7 {
        keep_one(&*outbox, "group:#g", &format!("{number}"), &clock).await;
    }
    let held = stuck.parse::<Conversation>().unwrap().lane();
    outbox.hold(held, Some("hold".into())).await.unwrap();
    assert_eq!(send_all(&*outbox, &clock).await.len(), 7);
    lever.advance(DAY * 40);

    let (emptied, forgotten, chunks) = prune_all(&*outbox, older_than(1, &clock), 2).await;

    assert_eq!((emptied, forgotten), (7, 7));
    assert!(chunks >= 4);
    assert_eq!(all_events(&*outbox).await.len(), 60);
    assert_eq!(prune_all(&*outbox, older_than(1, &clock), 2).await.0, 0);
}

pub async fn what_was_pruned_cannot_be_sent_again(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let id = keep_one(&*outbox, "group:#g", "one", &clock).await;
    let claims = claim_all(&*outbox, &clock).await;
    let refused = record(&claims[0], &clock, Decision::Refused("no".into()));
    outbox.record(refused).await.unwrap();
    lever.advance(DAY * 2);
    prune_all(&*outbox, older_than(1, &clock), 10).await;

    let changed = outbox.change(vec![id], Change::Retry).await.unwrap();
    let repeat = outbox.keep(new(event("one", "one", &clock), vec![])).await;

    assert_eq!(changed, [Changed::Not(DeliveryState::Refused)]);
    assert!(matches!(repeat, Ok(Kept::Repeat { put_back: 0, .. })));
    assert!(claim_all(&*outbox, &clock).await.is_empty());
}

pub async fn what_was_signed_is_remembered_as_long_as_its_id(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let keep = async |id: &str, digest| {
        let kept = outbox.keep(new(signed(id, digest, &clock), vec![])).await;
        matches!(kept.unwrap(), Kept::New { .. })
    };
    assert!(keep("one", 1).await && !keep("one", 2).await);

    lever.advance(DAY * 35);
    assert_eq!(prune_all(&*outbox, older_than(30, &clock), 100).await.0, 1);
    assert!(!keep("copied", 1).await && !keep("copied", 2).await);

    lever.advance(DAY * 30);
    assert_eq!(prune_all(&*outbox, older_than(30, &clock), 100).await.1, 1);
    assert!(keep("copied", 1).await && !keep("another", 1).await);
    assert!(keep("later", 2).await);
}
