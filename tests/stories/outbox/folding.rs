//! What came too late to be shown.

use openim_bridge::model::*;
use openim_bridge::outbox::*;

use super::*;

const LINE: &str = "{} older messages not shown";
const MINUTE: Duration = Duration::from_secs(60);

/// Keeps a message that is shown for a minute.
async fn keep_briefly(outbox: &dyn Outbox, name: &str, clock: &Clock) -> DeliveryId {
    let mut delivery = delivery("group:#g", name, clock);
    delivery.expires = Some(Expires {
        at: clock.now() + MINUTE,
        folded: LINE.into(),
    });
    let id = delivery.id;
    let kept = outbox.keep(new(event(name, name, clock), vec![delivery]));
    kept.await.unwrap();
    id
}

fn folded(count: u64) -> Option<Folded> {
    Some(Folded {
        count,
        line: LINE.into(),
    })
}

pub async fn what_came_too_late_at_the_head_of_a_lane_is_one_line(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let mut late = Vec::new();
    for name in ["one", "two", "three"] {
        late.push(keep_briefly(&*outbox, name, &clock).await);
    }
    lever.advance(MINUTE - Duration::from_millis(1));
    keep_briefly(&*outbox, "fresh", &clock).await;
    lever.advance(Duration::from_millis(1));

    let claims = claim_all(&*outbox, &clock).await;

    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].delivery, late[2]);
    assert_eq!(claims[0].folded, folded(3));
    assert_eq!(texts(&claims), ["three"], "its own message stays");
    for id in &late[..2] {
        let found = outbox.find_delivery(*id).await.unwrap().unwrap();
        assert_eq!(found.state, DeliveryState::Dead);
        let reason = "came too late; one line speaks for it";
        assert_eq!(found.reason.as_deref(), Some(reason));
        assert!(found.message.is_some());
    }
    let speaker = outbox.find_delivery(late[2]).await.unwrap().unwrap();
    assert_eq!(speaker.folds, 3);
    accept(&*outbox, &claims[0], &clock).await;
    let next = claim_all(&*outbox, &clock).await;
    assert_eq!(
        (texts(&next), next[0].folded.clone()),
        (vec!["fresh"], None)
    );
}

pub async fn only_what_stands_at_the_front_is_folded(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_briefly(&*outbox, "late", &clock).await;
    keep_one(&*outbox, "group:#g", "always", &clock).await;
    keep_briefly(&*outbox, "behind", &clock).await;
    lever.advance(MINUTE);

    let first = claim_all(&*outbox, &clock).await;
    assert_eq!(
        (texts(&first), first[0].folded.clone()),
        (vec!["late"], folded(1))
    );
    accept(&*outbox, &first[0], &clock).await;
    let second = claim_all(&*outbox, &clock).await;
    assert_eq!(
        (texts(&second), second[0].folded.clone()),
        (vec!["always"], None)
    );
    accept(&*outbox, &second[0], &clock).await;
    let third = claim_all(&*outbox, &clock).await;
    assert_eq!(third[0].folded, folded(1));
}

pub async fn a_line_that_was_not_taken_speaks_for_more_the_next_time(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_briefly(&*outbox, "one", &clock).await;
    keep_briefly(&*outbox, "two", &clock).await;
    lever.advance(MINUTE);
    let first = claim_all(&*outbox, &clock).await;
    assert_eq!(first[0].folded, folded(2));
    keep_briefly(&*outbox, "three", &clock).await;
    let again = Decision::Again {
        at: clock.now() + MINUTE,
    };
    let ended = record(&first[0], &clock, again);
    outbox.record(ended).await.unwrap();

    lever.advance(MINUTE);
    let second = claim_all(&*outbox, &clock).await;

    assert_eq!(texts(&second), ["three"]);
    assert_eq!(second[0].folded, folded(3));
    accept(&*outbox, &second[0], &clock).await;
    assert!(claim_all(&*outbox, &clock).await.is_empty());
}

pub async fn a_line_does_not_wait_because_the_last_it_speaks_for_would(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    // The first one is lost at OpenIM and comes back in front of the second, which waits for a retry.
    keep_briefly(&*outbox, "one", &clock).await;
    let one = claim_all(&*outbox, &clock).await.remove(0);
    queue(&*outbox, &one, &clock).await;
    keep_briefly(&*outbox, "two", &clock).await;
    let two = claim_all(&*outbox, &clock).await.remove(0);
    let again = Decision::Again {
        at: clock.now() + MINUTE * 60,
    };
    let ended = record(&two, &clock, again);
    outbox.record(ended).await.unwrap();
    lever.advance(MINUTE);
    let look = look(&*outbox, &clock).await;
    settle(&*outbox, &look, &clock, &[Fate::Dropped]).await;

    let claims = claim_all(&*outbox, &clock).await;

    assert_eq!(texts(&claims), ["two"]);
    assert_eq!(claims[0].folded, folded(2));
}

pub async fn a_persons_chat_and_the_notices_to_that_person_are_folded_apart(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    for to in ["person:#u", "person:#u", "notice:#u"] {
        let mut one = delivery(to, to, &clock);
        one.expires = Some(Expires {
            at: clock.now() + MINUTE,
            folded: LINE.into(),
        });
        let name = one.id.to_string();
        let kept = outbox.keep(new(event(&name, "", &clock), vec![one]));
        kept.await.unwrap();
    }
    lever.advance(MINUTE);

    let chat = claim_all(&*outbox, &clock).await;
    accept(&*outbox, &chat[0], &clock).await;
    let notice = claim_all(&*outbox, &clock).await;

    assert_eq!(
        (texts(&chat), chat[0].folded.clone()),
        (vec!["person:#u"], folded(2))
    );
    assert_eq!(
        (texts(&notice), notice[0].folded.clone()),
        (vec!["notice:#u"], folded(1))
    );
}

pub async fn however_many_came_too_late_no_one_is_forgotten(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let many = 2 * lane::FOLDED_AT_ONCE + 7;
    let one = || NewDelivery {
        expires: Some(Expires {
            at: clock.now() + MINUTE,
            folded: LINE.into(),
        }),
        ..delivery("group:#g", "late", &clock)
    };
    let all = (0..many).map(|_| one()).collect();
    outbox
        .keep(new(event("flood", "", &clock), all))
        .await
        .unwrap();
    lever.advance(MINUTE);

    let mut claims = Vec::new();
    for _ in 0..10 {
        claims.extend(claim_all(&*outbox, &clock).await);
    }

    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].folded, folded(many as u64));
    let counts = outbox.counts(clock.now()).await.unwrap();
    assert_eq!(counts.deliveries[&DeliveryState::Dead], many as u64 - 1);
    assert_eq!(counts.deliveries[&DeliveryState::Waiting], 0);
}

pub async fn what_somebody_puts_back_is_shown(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    let one = keep_briefly(&*outbox, "one", &clock).await;
    keep_briefly(&*outbox, "two", &clock).await;
    lever.advance(MINUTE);
    let line = claim_all(&*outbox, &clock).await;
    accept(&*outbox, &line[0], &clock).await;

    let changed = outbox.change(vec![one], Change::Retry).await.unwrap();

    assert_eq!(changed, [Changed::Done]);
    let again = claim_all(&*outbox, &clock).await;
    assert_eq!(
        (texts(&again), again[0].folded.clone()),
        (vec!["one"], None)
    );
}

pub async fn without_a_line_nothing_is_folded(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_one(&*outbox, "group:#g", "always", &clock).await;
    lever.advance(Duration::from_secs(365 * 24 * 3600));

    let claims = claim_all(&*outbox, &clock).await;

    assert_eq!(claims[0].folded, None);
}
