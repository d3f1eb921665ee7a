//! How much of a conversation may be accepted and not yet found again.

use openim_bridge::model::*;
use openim_bridge::outbox::*;

use super::*;

const TWO: Window = Window {
    messages: 2,
    bytes: 1 << 20,
};

async fn keep_all(outbox: &dyn Outbox, to: &str, names: &[&str], clock: &Clock) {
    for name in names {
        keep_one(outbox, to, name, clock).await;
    }
}

/// Sends what may be sent, and looks for all of it.
async fn queue_all(outbox: &dyn Outbox, clock: &Clock) -> Vec<String> {
    let mut sent = Vec::new();
    loop {
        let claims = claim_all(outbox, clock).await;
        if claims.is_empty() {
            return sent;
        }
        for claim in &claims {
            queue(outbox, claim, clock).await;
        }
        sent.extend(texts(&claims).into_iter().map(str::to_owned));
    }
}

pub async fn so_many_messages_may_be_unconfirmed(engine: &mut dyn Engine) {
    let (clock, lever) = clock();
    let outbox = engine.open_with(TWO, &clock);
    let names = ["one", "two", "three", "four"];
    keep_all(&*outbox, "group:#g", &names, &clock).await;
    keep_one(&*outbox, "group:#h", "other", &clock).await;

    assert_eq!(queue_all(&*outbox, &clock).await, ["one", "other", "two"]);
    assert_eq!(outbox.next_due().await.unwrap().send, None);
    keep_one(&*outbox, "group:#g", "five", &clock).await;
    assert!(claim_all(&*outbox, &clock).await.is_empty());

    lever.advance(SOON);
    for look in outbox.looks(10, clock.now()).await.unwrap() {
        settle(&*outbox, &look, &clock, &[stored(1)]).await;
    }
    assert_eq!(queue_all(&*outbox, &clock).await, ["three"]);
}

pub async fn so_many_bytes_may_be_unconfirmed_and_a_larger_message_goes_alone(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let window = Window {
        messages: 32,
        bytes: 1000,
    };
    let outbox = engine.open_with(window, &clock);
    let names = ["a".repeat(400), "b".repeat(400), "c".repeat(2000)];
    for name in &names {
        keep_one(&*outbox, "group:#g", name, &clock).await;
    }

    assert_eq!(queue_all(&*outbox, &clock).await, names[..2]);
    lever.advance(SOON);
    let first = look(&*outbox, &clock).await;
    settle(&*outbox, &first, &clock, &[stored(1)]).await;
    assert!(queue_all(&*outbox, &clock).await.is_empty());
    lever.advance(Duration::from_secs(2));
    let second = look(&*outbox, &clock).await;
    settle(&*outbox, &second, &clock, &[stored(2)]).await;

    assert_eq!(queue_all(&*outbox, &clock).await, names[2..]);
}

pub async fn without_a_window_nothing_waits(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let none = Window {
        messages: 0,
        bytes: 0,
    };
    let outbox = engine.open_with(none, &clock);
    let names = ["one", "two", "three"];
    keep_all(&*outbox, "group:#g", &names, &clock).await;

    assert_eq!(queue_all(&*outbox, &clock).await, names);
}

pub async fn a_persons_chat_and_notices_wait_for_each_others_confirmations(
    engine: &mut dyn Engine,
) {
    let (clock, lever) = clock();
    let outbox = engine.open(&clock);
    keep_all(&*outbox, "person:#u", &["chat", "more"], &clock).await;
    keep_one(&*outbox, "notice:#u", "notice", &clock).await;
    keep_one(&*outbox, "person:#u", "last", &clock).await;

    assert_eq!(queue_all(&*outbox, &clock).await, ["chat", "more"]);
    assert_eq!(outbox.next_due().await.unwrap().send, None);
    lever.advance(SOON);
    let look = look(&*outbox, &clock).await;
    settle(&*outbox, &look, &clock, &[stored(1), stored(2)]).await;

    assert_eq!(queue_all(&*outbox, &clock).await, ["notice"]);
}

pub async fn the_window_is_counted_anew_after_a_start(engine: &mut dyn Engine) {
    let (clock, _lever) = clock();
    let outbox = engine.open_with(TWO, &clock);
    let names = ["one", "two", "three", "four"];
    keep_all(&*outbox, "group:#g", &names, &clock).await;
    assert_eq!(queue_all(&*outbox, &clock).await, ["one", "two"]);
    engine.crash();

    let three = Window { messages: 3, ..TWO };
    let outbox = engine.open_with(three, &clock);

    assert_eq!(queue_all(&*outbox, &clock).await, ["three"]);
    outbox.close().await.unwrap();
    let one = Window { messages: 1, ..TWO };
    let outbox = engine.open_with(one, &clock);
    assert!(claim_all(&*outbox, &clock).await.is_empty());
    assert_eq!(outbox.next_due().await.unwrap().send, None);
}
