//! Looking messages up again: who gets what, and what can be missing.

use openim_bridge::sandbox::{Family, UNTIL_STORED};
use serde_json::{Value, json};

use super::{Chat, notice, to_ops, to_person};

async fn pull(chat: &Chat, user: &str, ranges: Value) -> Value {
    let asked = json!({"userID": user, "seqRanges": ranges, "order": 0});
    let answer = chat.ask("/msg/pull_msg_by_seq", asked).await;
    assert_eq!(answer["errCode"], 0, "{answer}");
    answer["data"].clone()
}

#[tokio::test]
async fn one_call_reads_several_conversations_of_every_kind() {
    let chat = Chat::open(Family::Main).await;
    chat.send(to_ops("group")).await;
    chat.send(to_person("alice", "chat")).await;
    chat.send(notice("alice", "notice")).await;
    chat.lever.advance(UNTIL_STORED);
    let ids = ["sg_ops", "si_alice_herald", "sn_alice_herald"];

    let asked =
        json!({"userID": "nobody", "conversationIDs": [ids[0], ids[1], ids[2], "sg_unknown"]});
    let path = "/msg/get_conversations_has_read_and_max_seq";
    let seqs = chat.ask(path, asked).await["data"]["seqs"].clone();
    let ranges = ids.map(|id| json!({"conversationID": id, "begin": 1, "end": 9, "num": 9}));
    let found = pull(&chat, "alice", json!(ranges)).await;

    assert_eq!(seqs["sg_ops"]["maxSeq"], 2);
    assert_eq!(seqs["si_alice_herald"]["maxSeq"], 1);
    assert_eq!(seqs["sn_alice_herald"]["maxSeq"], 1);
    assert_eq!(seqs["sg_unknown"]["maxSeq"], 0);
    assert_eq!(found["msgs"][ids[0]]["Msgs"][1]["ex"], "group");
    assert_eq!(found["msgs"][ids[1]]["Msgs"][0]["ex"], "chat");
    assert_eq!(found["msgs"][ids[2]]["Msgs"][0]["ex"], "notice");
}

#[tokio::test]
async fn who_may_not_read_gets_nothing_and_no_error() {
    for (family, nothing) in [
        (Family::Main, json!({})),
        (
            Family::Release38,
            json!({"msgs": null, "notificationMsgs": null}),
        ),
    ] {
        let chat = Chat::open(family).await;
        chat.send(to_ops("group")).await;
        chat.send(to_person("alice", "chat")).await;
        chat.send(notice("alice", "notice")).await;
        chat.lever.advance(UNTIL_STORED);

        for (user, conversation, may) in [
            ("imAdmin", "sg_ops", false),
            ("herald", "sg_ops", true),
            ("bob", "sg_ops", true),
            ("herald", "si_alice_herald", true),
            ("alice", "si_alice_herald", true),
            ("bob", "si_alice_herald", false),
            ("herald", "sn_alice_herald", false),
            ("alice", "sn_alice_herald", true),
            ("alice", "sg_unknown", false),
        ] {
            let range = json!([{"conversationID": conversation, "begin": 1, "end": 5, "num": 5}]);
            let found = pull(&chat, user, range).await;
            assert_eq!(found != nothing, may, "{user} in {conversation}: {found}");
        }
        let groups = json!({"groupIDs": ["ops"]});
        let groups = chat.ask("/group/get_groups_info", groups).await;
        assert_eq!(groups["data"]["groupInfos"][0]["ownerUserID"], "alice");
    }
}

#[tokio::test]
async fn a_revoked_message_keeps_its_seq_and_its_ex() {
    let chat = Chat::open(Family::Main).await;
    chat.send(to_ops("oops")).await;
    chat.lever.advance(UNTIL_STORED);

    let asked = json!({"userID": "imAdmin", "conversationID": "sg_ops", "seq": 2});
    chat.ask("/msg/revoke_msg", asked).await;
    chat.lever.advance(UNTIL_STORED);

    let range = json!([
        {"conversationID": "sg_ops", "begin": 2, "end": 2, "num": 1},
        {"conversationID": "n_ops", "begin": 1, "end": 1, "num": 1},
    ]);
    let found = pull(&chat, "alice", range).await;
    let message = &found["msgs"]["sg_ops"]["Msgs"][0];
    assert_eq!(
        (&message["contentType"], &message["ex"]),
        (&json!(2101), &json!("oops"))
    );
    assert_eq!(
        found["notificationMsgs"]["n_ops"]["Msgs"][0]["contentType"],
        2101
    );
}

#[tokio::test]
async fn history_can_be_unreadable_without_an_error() {
    let chat = Chat::open(Family::Main).await;
    chat.send(to_ops("there")).await;
    chat.send(to_person("alice", "readable")).await;
    chat.lever.advance(UNTIL_STORED);

    chat.play(&["unreadable:conversation=sg_ops"]);
    let hidden = chat.read("sg_ops").await;
    let other = chat.read("si_alice_herald").await;
    chat.sandbox.be_well();

    assert_eq!(hidden, (2, vec![]));
    assert_eq!(other.1.len(), 1);
    assert_eq!(chat.read("sg_ops").await.1.len(), 2);
}

#[tokio::test]
async fn a_part_of_the_history_can_be_missing_from_an_answer() {
    let chat = Chat::open(Family::Main).await;
    chat.send_texts(100, UNTIL_STORED).await;

    chat.play(&["unreadable:part=0.4"]);
    let (newest, first) = chat.read("sg_ops").await;
    let (_, second) = chat.read("sg_ops").await;

    assert_eq!(newest, 101);
    assert!((40..80).contains(&first.len()), "{}", first.len());
    assert_ne!(first, second);
    let seqs: Vec<i64> = first.iter().map(|(seq, _)| *seq).collect();
    assert!(seqs.is_sorted());
}
