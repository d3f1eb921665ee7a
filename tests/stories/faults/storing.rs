//! Between "accepted" and "stored": what is lost, late, doubled or misfiled there.

use std::time::Duration;

use openim_bridge::model::Conversation;
use openim_bridge::sandbox::{Family, UNTIL_STORED};
use serde_json::{Value, json};

use super::{Chat, SECOND, notice, numbers, to_ops, to_person};

/// What one send took on the running servers, when nothing else was asked of them.
const ONE_SEND: Duration = Duration::from_millis(5);

#[tokio::test]
async fn one_connection_loses_nothing_to_the_batch_limit() {
    let chat = Chat::with(Family::Main, &["drop"]).await;

    chat.send_texts(300, ONE_SEND).await;
    chat.lever.advance(UNTIL_STORED);

    assert_eq!(chat.stored("sg_ops"), numbers(0..300));
    assert_eq!(chat.sandbox.account().lost, []);
}

#[tokio::test]
async fn many_connections_lose_whole_batches_and_the_status_call_says_success() {
    let chat = Chat::with(Family::Main, &["drop"]).await;

    // As 32 connections do it: 32 sends are answered in the time of one.
    for n in 0..640 {
        let operation = format!("op-{n}");
        let body = to_ops(&n.to_string());
        let answer = chat.asker.say(&operation, "/msg/send_msg", &body).await;
        assert_eq!(answer.unwrap()["errCode"], 0);
        if n % 32 == 31 {
            chat.lever.advance(ONE_SEND);
        }
    }
    chat.lever.advance(UNTIL_STORED);

    let account = chat.sandbox.account();
    let lost = &account.lost;
    assert_eq!(lost.len() + chat.stored("sg_ops").len(), 640);
    assert!(lost.len() >= 320, "{}", lost.len());
    assert!(
        lost[0]
            .why
            .contains("in one batch; above 100 all are dropped"),
        "{}",
        lost[0].why
    );
    assert_eq!(chat.status(&lost[0].operation).await, 2);
}

#[tokio::test]
async fn what_piles_up_above_a_hundred_while_nothing_is_stored_is_all_lost() {
    for (sent, stored) in [(150, 0), (80, 80), (100, 100), (101, 0)] {
        let chat = Chat::with(Family::Release38, &["drop", "late:for=60s"]).await;

        chat.send_texts(sent, ONE_SEND).await;
        assert_eq!(chat.stored("sg_ops").len(), 0);
        assert_eq!(chat.sandbox.account().waiting.len(), sent);
        chat.lever.advance(60 * SECOND);

        assert_eq!(chat.stored("sg_ops"), numbers(0..stored), "of {sent}");
    }
}

#[tokio::test]
async fn a_window_of_32_unconfirmed_loses_nothing_although_the_transfer_stops_in_the_middle() {
    let chat = Chat::with(Family::Main, &["drop", "late:after=300ms,for=5s"]).await;
    let (mut sent, mut confirmed) = (0, 0);
    let first = chat.newest("sg_ops").await;

    while confirmed < 600 {
        while sent < 600 && sent - confirmed < 32 {
            chat.send(to_ops(&sent.to_string())).await;
            sent += 1;
        }
        chat.lever.advance(Duration::from_millis(50));
        confirmed = usize::try_from(chat.newest("sg_ops").await - first).unwrap();
    }

    assert_eq!(chat.stored("sg_ops"), numbers(0..600));
    assert_eq!(chat.sandbox.faults()[0].met, 0);
}

#[tokio::test]
async fn the_limit_counts_everybodys_messages_of_the_conversation_and_no_others() {
    let chat = Chat::with(Family::Main, &["drop:over=3"]).await;
    for n in 0..3 {
        chat.send(to_person("alice", &n.to_string())).await;
        let mut from_bob = to_ops(&format!("bob {n}"));
        from_bob["sendID"] = json!("bob");
        chat.send(from_bob).await;
        chat.send(to_ops(&n.to_string())).await;
    }
    chat.lever.advance(UNTIL_STORED);

    assert_eq!(chat.stored("si_alice_herald"), numbers(0..3));
    assert_eq!(chat.stored("sg_ops").len(), 0);
    assert_eq!(chat.sandbox.account().lost.len(), 6);
}

#[tokio::test]
async fn without_a_fault_nothing_is_lost_however_fast_it_comes() {
    let chat = Chat::open(Family::Main).await;

    chat.send_texts(600, Duration::ZERO).await;
    chat.lever.advance(UNTIL_STORED * 2);

    assert_eq!(chat.stored("sg_ops"), numbers(0..600));
}

#[tokio::test]
async fn a_batch_is_taken_as_soon_as_it_holds_500_messages() {
    let chat = Chat::with(Family::Main, &["drop"]).await;
    for n in 0..500 {
        let to = ["alice", "bob"][n % 2];
        let body = if n % 5 == 4 {
            to_ops("x")
        } else {
            to_person(to, "x")
        };
        chat.send(body).await;
    }

    // 100 to the group are stored, 200 to each person are not; and no time has passed.
    assert_eq!(chat.newest("sg_ops").await, 101);
    assert_eq!(chat.sandbox.account().lost.len(), 400);
}

#[tokio::test]
async fn released_servers_store_after_40_ms_and_main_after_100() {
    for (family, wait) in [(Family::Main, 100), (Family::Release38, 40)] {
        let chat = Chat::open(family).await;
        chat.send(to_ops("soon")).await;

        chat.lever.advance(Duration::from_millis(wait - 1));
        assert_eq!(chat.stored("sg_ops").len(), 0);
        chat.lever.advance(Duration::from_millis(1));

        assert_eq!(chat.stored("sg_ops"), ["soon"]);
    }
}

#[tokio::test]
async fn one_conversation_can_be_stored_late_while_the_others_go_on() {
    let chat = Chat::with(Family::Main, &["late:conversation=sg_ops,for=5s"]).await;
    chat.send(to_ops("held")).await;
    chat.send(to_person("alice", "free")).await;

    chat.lever.advance(SECOND);
    assert_eq!(chat.stored("si_alice_herald"), ["free"]);
    assert_eq!(chat.read("sg_ops").await.0, 1);
    assert_eq!(chat.words(), ["held"]);
    chat.lever.advance(4 * SECOND);

    assert_eq!(
        chat.read("sg_ops").await,
        (2, vec![(1, String::new()), (2, "held".into())])
    );
}

#[tokio::test]
async fn a_transfer_that_is_stopped_without_an_end_goes_on_when_the_faults_are_taken_away() {
    let chat = Chat::with(Family::Main, &["late"]).await;
    chat.send(to_ops("patient")).await;

    chat.lever.advance(90 * 86_400 * SECOND);
    assert_eq!(chat.stored("sg_ops").len(), 0);
    chat.sandbox.be_well();
    chat.lever.advance(UNTIL_STORED);

    assert_eq!(chat.stored("sg_ops"), ["patient"]);
}

#[tokio::test]
async fn a_seq_can_be_published_before_its_message_can_be_read() {
    let chat = Chat::with(Family::Main, &["early-seq:by=2s"]).await;
    chat.send(to_ops("not yet")).await;

    chat.lever.advance(UNTIL_STORED);
    let early = chat.read("sg_ops").await;
    chat.lever.advance(2 * SECOND);
    let later = chat.read("sg_ops").await;

    assert_eq!((early.0, early.1.len()), (2, 1));
    assert_eq!(later.1[1], (2, "not yet".into()));
}

#[tokio::test]
async fn a_hole_is_a_seq_without_a_message() {
    let chat = Chat::with(Family::Main, &["hole:times=1"]).await;

    chat.send(to_ops("after the hole")).await;
    chat.lever.advance(UNTIL_STORED);

    let (newest, found) = chat.read("sg_ops").await;
    assert_eq!(newest, 3);
    assert_eq!(found[1], (3, "after the hole".into()));
}

#[tokio::test]
async fn a_marked_hole_comes_back_with_status_4_and_nothing_else() {
    let chat = Chat::with(Family::Release38, &["hole:mark=yes,times=1"]).await;
    chat.send(to_ops("after the hole")).await;
    chat.lever.advance(UNTIL_STORED);

    let range = json!({"conversationID": "sg_ops", "begin": 2, "end": 3, "num": 2});
    let asked = json!({"userID": "alice", "seqRanges": [range], "order": 0});
    let pulled = chat.ask("/msg/pull_msg_by_seq", asked).await;

    let found = &pulled["data"]["msgs"]["sg_ops"]["Msgs"];
    assert_eq!(
        (&found[0]["seq"], &found[0]["status"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(
        (&found[0]["clientMsgID"], &found[0]["ex"]),
        (&json!(""), &json!(""))
    );
    assert_eq!(
        (&found[1]["seq"], &found[1]["status"]),
        (&json!(3), &json!(0))
    );
}

#[tokio::test]
async fn a_message_can_be_lost_with_its_seq_left_behind() {
    let chat = Chat::with(Family::Main, &["hole:lost=yes,times=1"]).await;
    chat.send(to_ops("gone")).await;
    chat.send(to_ops("there")).await;
    chat.lever.advance(UNTIL_STORED);

    let (newest, found) = chat.read("sg_ops").await;

    assert_eq!(newest, 3);
    assert_eq!(found[1..], [(3, "there".to_owned())]);
    assert_eq!(chat.sandbox.account().lost[0].ex, "gone");
}

#[tokio::test]
async fn the_server_stores_a_message_twice_under_one_client_msg_id() {
    let chat = Chat::with(Family::Main, &["repeat:times=1"]).await;
    chat.send(to_ops("echo")).await;
    chat.send(to_ops("next")).await;

    chat.lever.advance(UNTIL_STORED);

    assert_eq!(chat.stored("sg_ops"), ["echo", "echo", "next"]);
    let account = chat.sandbox.account();
    let [_, first, copy, _] = account.stored["sg_ops"].as_slice() else {
        panic!("{account:?}");
    };
    assert_eq!(
        (first.seq, first.copy, copy.seq, copy.copy),
        (2, false, 3, true)
    );
    assert_eq!(first.client_msg_id, copy.client_msg_id);
    // Clients hide it.
    assert_eq!(chat.words(), ["echo", "next"]);
}

#[tokio::test]
async fn the_copy_of_a_message_can_come_behind_others_as_after_a_restart() {
    let chat = Chat::with(Family::Main, &["repeat:times=1,by=2s"]).await;
    chat.send(to_ops("echo")).await;
    chat.lever.advance(SECOND);
    chat.send(to_ops("next")).await;
    chat.lever.advance(SECOND);

    assert_eq!(chat.stored("sg_ops"), ["echo", "next"]);
    chat.lever.advance(SECOND);

    assert_eq!(chat.stored("sg_ops"), ["echo", "next", "echo"]);
}

#[tokio::test]
async fn a_restart_loses_what_was_accepted_and_not_stored_and_cuts_every_call() {
    let chat = Chat::open(Family::Main).await;
    chat.send(to_ops("stored")).await;
    chat.lever.advance(UNTIL_STORED);
    chat.play(&["restart:after=10ms,for=3s"]);
    chat.send(to_ops("only accepted")).await;

    chat.lever.advance(Duration::from_millis(10));
    let during = chat.asker.say("op", "/msg/send_msg", &to_ops("cut")).await;
    chat.lever.advance(3 * SECOND);
    chat.send(to_ops("after")).await;
    chat.lever.advance(UNTIL_STORED);

    assert!(during.unwrap_err().is_request());
    assert_eq!(chat.stored("sg_ops"), ["stored", "after"]);
    let lost = chat.sandbox.account().lost;
    assert_eq!((lost.len(), lost[0].ex.as_str()), (1, "only accepted"));
    assert_eq!(lost[0].why, "the server was restarted and its queue lost");
}

#[tokio::test]
async fn notifications_and_chat_of_a_pair_in_one_batch_are_filed_under_the_first() {
    for (faults, chats, notices) in [(&["mixed"][..], 9, 1), (&[], 5, 5)] {
        let chat = Chat::with(Family::Release38, faults).await;

        // As it was recorded: the first one had a batch of its own.
        chat.send(notice("alice", "n 0")).await;
        chat.lever.advance(UNTIL_STORED);
        for n in 0..5 {
            chat.send(to_person("alice", &format!("t {n}"))).await;
            if n < 4 {
                chat.send(notice("alice", &format!("n {}", n + 1))).await;
            }
        }
        chat.lever.advance(UNTIL_STORED);

        let asked = json!({"userID": "alice"});
        let seqs = chat.ask("/msg/newest_seq", asked).await;
        let seqs = &seqs["data"]["maxSeqs"];
        assert_eq!(seqs["si_alice_herald"], chats);
        assert_eq!(seqs["sn_alice_herald"], notices);
        let to_alice = Conversation::Notice("alice".into());
        assert_eq!(chat.sandbox.messages(&to_alice).len(), 5);
    }
}

#[tokio::test]
async fn the_seqs_of_a_conversation_can_begin_anew() {
    let chat = Chat::open(Family::Main).await;
    chat.send_texts(3, UNTIL_STORED).await;
    chat.send(to_person("alice", "other")).await;
    chat.lever.advance(UNTIL_STORED);
    assert_eq!(chat.read("sg_ops").await.0, 4);

    chat.play(&["seqs-anew:conversation=sg_ops"]);
    let emptied = chat.read("sg_ops").await;
    chat.send(to_ops("first again")).await;
    chat.lever.advance(UNTIL_STORED);

    assert_eq!(emptied, (0, vec![]));
    assert_eq!(
        chat.read("sg_ops").await,
        (1, vec![(1, "first again".into())])
    );
    assert_eq!(chat.read("si_alice_herald").await.0, 1);
    // The books remember what was stored before.
    let account = chat.sandbox.account();
    let gone: Vec<bool> = account.stored["sg_ops"]
        .iter()
        .map(|stored| stored.gone)
        .collect();
    assert_eq!(gone, [true, true, true, true, false]);
}

#[tokio::test]
async fn the_same_seed_breaks_the_same_messages() {
    let outcome = async |seed: u64| {
        let chat = Chat::open(Family::Main).await;
        let plan = r#"{"seed": SEED, "faults": ["hole:lost=yes,probability=0.3", "repeat:probability=0.3"]}"#;
        let plan = plan.replace("SEED", &seed.to_string());
        chat.sandbox.play(serde_json::from_str(&plan).unwrap());
        chat.send_texts(60, ONE_SEND).await;
        chat.lever.advance(UNTIL_STORED);
        chat.stored("sg_ops")
    };

    let first = outcome(7).await;

    assert_eq!(first, outcome(7).await);
    assert_ne!(first, outcome(8).await);
    assert_ne!(first, numbers(0..60));
}

#[tokio::test]
async fn every_accepted_message_is_in_the_books_once() {
    let faults = [
        "drop:over=4,probability=0.5",
        "hole:lost=yes,probability=0.2",
        "repeat:probability=0.2,by=1s",
        "late:after=200ms,for=1s",
        "restart:after=2s",
    ];
    let chat = Chat::with(Family::Main, &faults).await;

    chat.send_texts(203, 4 * ONE_SEND).await;

    let account = chat.sandbox.account();
    let stored = account.stored["sg_ops"].iter();
    let stored = stored.filter(|stored| !stored.copy && !stored.ex.is_empty());
    let mut all: Vec<String> = stored.map(|stored| stored.ex.clone()).collect();
    assert!(!all.is_empty() && !account.lost.is_empty() && !account.waiting.is_empty());
    all.extend(account.lost.iter().map(|lost| lost.ex.clone()));
    all.extend(account.waiting.iter().map(|waiting| waiting.ex.clone()));
    all.sort_by_key(|ex| ex.parse::<usize>().unwrap());
    assert_eq!(all, numbers(0..203));
}

#[tokio::test]
async fn the_page_shows_what_is_stored_not_what_is_lost() {
    let chat = Chat::with(Family::Main, &["hole:lost=yes,times=1"]).await;
    chat.send(to_ops("never seen")).await;
    chat.send(to_ops("seen by all")).await;
    chat.lever.advance(UNTIL_STORED);

    let page = chat
        .asker
        .http
        .get(chat.sandbox.url())
        .send()
        .await
        .unwrap();
    let page = page.text().await.unwrap();

    assert!(page.contains("seen by all") && !page.contains("never seen"));
    let words: Vec<Value> = chat.words().into_iter().map(Value::from).collect();
    assert_eq!(words, ["seen by all"]);
}
