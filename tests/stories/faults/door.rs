//! What a caller meets: silence, cut connections, proxies, and the answers of a server whose parts are broken.

use std::time::Duration;

use openim_bridge::sandbox::{Family, UNTIL_STORED};
use serde_json::{Value, json};

use super::{Chat, SECOND, numbers, to_ops, to_person, token};

const SEND: &str = "/msg/send_msg";

/// A failed call, as the caller sees it.
async fn failure(chat: &Chat, operation: &str) -> reqwest::Error {
    let answer = chat.asker.say(operation, SEND, &to_ops(operation)).await;
    answer.unwrap_err()
}

#[tokio::test]
async fn a_slow_send_is_taken_when_it_is_answered_also_when_nobody_waits_any_more() {
    let chat = Chat::with(Family::Main, &["slow:by=8s"]).await;
    let patient = chat.begin("patient", SEND, to_ops("patient")).await;
    let gone = chat.begin("gone", SEND, to_ops("gone")).await;

    // One caller gives up. At that moment the status call knows nothing of its message.
    gone.abort();
    chat.lever.advance(3 * SECOND);
    assert_eq!(
        (chat.status("patient").await, chat.status("gone").await),
        (0, 0)
    );
    assert_eq!(chat.words(), [""; 0]);
    chat.lever.advance(5 * SECOND);

    assert_eq!(patient.await.unwrap().unwrap()["errCode"], 0);
    let both = chat.sandbox.wait_for(&ops(), 2).await;
    assert_eq!(both.len(), 2);
    assert_eq!(
        (chat.status("patient").await, chat.status("gone").await),
        (2, 2)
    );
}

fn ops() -> openim_bridge::model::Conversation {
    openim_bridge::model::Conversation::Group("ops".into())
}

#[tokio::test]
async fn a_slow_answer_can_follow_a_message_that_was_taken_at_once() {
    let chat = Chat::with(Family::Main, &["slow:by=2s,message=taken"]).await;

    let slow = chat.begin("slow", SEND, to_ops("taken")).await;
    chat.sandbox.wait_for(&ops(), 1).await;
    assert_eq!(chat.status("slow").await, 2);
    chat.lever.advance(2 * SECOND);

    assert_eq!(slow.await.unwrap().unwrap()["errCode"], 0);
}

#[tokio::test]
async fn a_hanging_send_is_never_answered_whatever_becomes_of_its_message() {
    for (fault, taken_at_once, taken_after_5s, taken_at_last) in [
        ("hang", 0, 0, 0),
        ("hang:message=taken", 1, 1, 1),
        ("hang:message=later,by=5s", 0, 1, 1),
        ("hang:message=later", 0, 0, 1),
    ] {
        let chat = Chat::with(Family::Main, &[fault]).await;
        let hanging = chat.begin("hanging", SEND, to_ops("hanging")).await;

        chat.sandbox.wait_for(&ops(), taken_at_once).await;
        assert_eq!(chat.words().len(), taken_at_once, "{fault}");
        chat.lever.advance(5 * SECOND);
        chat.sandbox.wait_for(&ops(), taken_after_5s).await;
        assert_eq!(chat.words().len(), taken_after_5s, "{fault}");
        chat.sandbox.be_well();
        chat.sandbox.wait_for(&ops(), taken_at_last).await;
        assert_eq!(chat.words().len(), taken_at_last, "{fault}");
        assert!(!hanging.is_finished(), "{fault}");

        // Nor does it hold up the end of the sandbox.
        chat.sandbox.stop().await;
        assert!(hanging.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_reset_comes_before_or_after_the_message_is_taken() {
    for (fault, status) in [("reset", 0), ("reset:message=taken", 2)] {
        let chat = Chat::with(Family::Main, &[fault]).await;

        let failed = failure(&chat, "cut").await;

        assert!(failed.is_request() && !failed.is_connect() && !failed.is_timeout());
        let causes = format!("{failed:?}");
        assert!(
            causes.contains("ConnectionReset") || causes.contains("IncompleteMessage"),
            "{causes}"
        );
        assert_eq!(chat.status("cut").await, status);
        assert_eq!(chat.words().len(), usize::from(status == 2));
    }
}

#[tokio::test]
async fn a_proxy_in_front_answers_with_its_own_status_and_page() {
    for (fault, status, page, taken) in [
        ("http", 502, "502 Bad Gateway", 0),
        (
            "http:code=504,message=taken",
            504,
            "504 Gateway Time-out",
            1,
        ),
        ("http:code=500", 500, "", 0),
        ("html", 200, "nginx", 0),
        ("html:message=taken", 200, "nginx", 1),
    ] {
        let chat = Chat::with(Family::Main, &[fault]).await;

        let request = chat.asker.http.post(format!("{}{SEND}", chat.asker.url));
        let request = request
            .header("operationID", "op")
            .header("token", &chat.asker.token);
        let answer = request.json(&to_ops("hello")).send().await.unwrap();

        assert_eq!(answer.status(), status, "{fault}");
        let text = answer.text().await.unwrap();
        assert!(
            text.contains(page) && text.is_empty() == page.is_empty(),
            "{fault}: {text}"
        );
        assert_eq!(chat.words().len(), taken, "{fault}");
    }
}

#[tokio::test]
async fn too_many_requests_come_with_the_time_to_wait() {
    let chat = Chat::with(Family::Main, &["rate-limited:retry-after=7s,times=1"]).await;

    let request = chat.asker.http.post(format!("{}{SEND}", chat.asker.url));
    let request = request
        .header("operationID", "op")
        .header("token", &chat.asker.token);
    let answer = request.json(&to_ops("hello")).send().await.unwrap();

    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["errCode"], 429);
    assert_eq!(chat.send(to_ops("again")).await["errCode"], 0);
}

#[tokio::test]
async fn a_broken_part_of_the_server_answers_as_it_was_recorded_and_in_its_time() {
    let refused = "connection refused";
    for (fault, code, words, after) in [
        ("rpc-stopped", 14, "no children to pick from", 4),
        ("rpc-refused", 14, refused, 3),
        ("rpc-cut", 14, "connection reset by peer", 3),
        ("rpc-deadline", 4, "context deadline exceeded", 0),
        (
            "kafka-stopped",
            500,
            "kafka: client has run out of available brokers",
            1_600,
        ),
        ("kafka-breaker", 500, "circuit breaker is open", 100),
        ("redis-stopped", 500, refused, 2_540),
        ("redis-hangs", 500, "i/o timeout", 3_026),
        (
            "mongo-hangs",
            500,
            "use of closed network connection",
            52_319,
        ),
        ("webhook-down", 90004, "NetworkError", 12),
        ("webhook-silent", 90004, "NetworkError", 5_011),
        ("webhook-nonsense", 90007, "DataError", 6),
    ] {
        let chat = Chat::with(Family::Release38, &[fault]).await;

        let asked = chat.begin("asked", SEND, to_ops("lost")).await;
        chat.lever.advance(Duration::from_millis(after));
        let answer = asked.await.unwrap().unwrap();

        assert_eq!(answer["errCode"], code, "{fault}");
        let said = answer["errMsg"].as_str().unwrap();
        assert!(said.contains(words), "{fault}: {said}");
        chat.sandbox.be_well();
        assert_eq!(chat.status("asked").await, 0, "{fault}");
        assert_eq!(chat.words(), [""; 0], "{fault}");
    }
}

#[tokio::test]
async fn kafka_stops_then_its_breaker_opens_and_stays_open_a_while() {
    let faults = [
        "kafka-stopped:by=0s,times=3,for=10s",
        "kafka-breaker:by=0s,for=15s",
    ];
    let chat = Chat::with(Family::Release38, &faults).await;
    let mut said = Vec::new();

    for _ in 0..8 {
        let answer = chat.send(to_ops("hello")).await;
        let text = answer["errMsg"].as_str().unwrap();
        said.push(text.split([':', ' ']).next().unwrap().to_owned());
        chat.lever.advance(2 * SECOND + Duration::from_millis(1));
    }

    assert_eq!(said[..3], ["kafka"; 3]);
    assert_eq!(
        said[3..],
        ["circuit", "circuit", "circuit", "circuit", "circuit"]
    );
    assert_eq!(chat.send(to_ops("at last")).await["errCode"], 0);
}

#[tokio::test]
async fn what_the_server_refuses_itself_it_refuses_also_while_its_queue_is_broken() {
    let chat = Chat::with(Family::Main, &["kafka-breaker:by=0s"]).await;

    let mut unknown = to_ops("hello");
    unknown["groupID"] = json!("nowhere");

    assert_eq!(chat.send(unknown).await["errCode"], 1004);
    assert_eq!(chat.send(to_ops("hello")).await["errCode"], 500);
}

#[tokio::test]
async fn redis_lost_after_queueing_leaves_status_0_for_ever_although_it_was_sent() {
    for (fault, stored) in [("redis-lost", 1), ("redis-lost:message=lost", 0)] {
        let chat = Chat::with(Family::Release38, &[fault]).await;

        let asked = chat.begin("asked", SEND, to_ops("queued")).await;
        chat.lever.advance(5 * SECOND);
        let answer = asked.await.unwrap().unwrap();
        chat.lever.advance(UNTIL_STORED);

        assert_eq!(answer["errCode"], 500);
        assert!(
            answer["errMsg"]
                .as_str()
                .unwrap()
                .ends_with("(Go stack text)")
        );
        assert_eq!(chat.status("asked").await, 0);
        assert_eq!(chat.stored("sg_ops").len(), stored);
        assert_eq!(chat.sandbox.account().lost.len(), 1 - stored);
    }
}

#[tokio::test]
async fn a_refused_token_is_said_in_the_answer_by_released_servers() {
    for code in [1501, 1503, 1505, 1506, 1507] {
        for family in [Family::Main, Family::Release38] {
            let chat = Chat::with(family, &[&format!("token:code={code},times=1")]).await;

            let answer = chat.send(to_ops("hello")).await;

            assert_eq!(answer["errCode"], code);
            let said = answer["errDlt"].as_str().unwrap();
            let tells = family == Family::Release38 && code <= 1505;
            assert_eq!(said.contains(&chat.asker.token), tells, "{code}: {said}");
            assert_eq!(chat.send(to_ops("hello")).await["errCode"], 0);
        }
    }
}

#[tokio::test]
async fn displaced_tokens_are_refused_until_a_new_one_is_asked_for() {
    let mut chat = Chat::with(Family::Release38, &["displaced:after=1s,code=1505"]).await;
    assert_eq!(chat.send(to_ops("before")).await["errCode"], 0);

    chat.lever.advance(SECOND);
    assert_eq!(chat.send(to_ops("refused")).await["errCode"], 1505);
    let newer = token(&chat.asker).await;
    std::sync::Arc::get_mut(&mut chat.asker).unwrap().token = newer;

    assert_eq!(chat.send(to_ops("after")).await["errCode"], 0);
    assert_eq!(chat.words(), ["before", "after"]);
}

#[tokio::test]
async fn success_with_an_empty_id_means_that_nothing_was_taken() {
    let chat = Chat::with(Family::Release38, &["empty-id"]).await;

    let answer = chat.send(to_ops("hello")).await;

    let data = json!({"serverMsgID": "", "clientMsgID": "", "sendTime": 0, "modify": null});
    assert_eq!((&answer["errCode"], &answer["data"]), (&json!(0), &data));
    assert_eq!(chat.words(), [""; 0]);
}

#[tokio::test]
async fn the_status_call_can_forget_a_send() {
    let chat = Chat::with(Family::Main, &["status-lost:times=1"]).await;
    chat.asker
        .say("sent", SEND, &to_ops("hello"))
        .await
        .unwrap();

    assert_eq!(chat.status("sent").await, 0);
    assert_eq!(chat.status("sent").await, 2);
}

#[tokio::test]
async fn a_fault_meets_only_the_calls_and_conversations_that_it_names() {
    let faults = [
        "rpc-stopped:by=0s,call=pull",
        "rpc-deadline:by=0s,conversation=si_*",
    ];
    let chat = Chat::with(Family::Main, &faults).await;

    assert_eq!(chat.send(to_ops("hello")).await["errCode"], 0);
    assert_eq!(chat.send(to_person("alice", "hello")).await["errCode"], 4);
    let range = json!({"conversationID": "sg_ops", "begin": 1, "end": 2, "num": 2});
    let asked = json!({"userID": "alice", "seqRanges": [range], "order": 0});
    assert_eq!(chat.ask("/msg/pull_msg_by_seq", asked).await["errCode"], 14);
    let counts: Vec<(u64, u64)> = chat
        .sandbox
        .faults()
        .iter()
        .map(|m| (m.seen, m.met))
        .collect();
    assert_eq!(counts, [(1, 1), (1, 1)]);
}

#[tokio::test]
async fn a_fault_can_let_some_pass_hit_some_and_end() {
    let faults = ["rpc-deadline:skip=2,times=2,after=1s,for=10s"];
    let chat = Chat::with(Family::Main, &faults).await;
    let mut codes = Vec::new();

    for n in 0..8 {
        codes.push(
            chat.send(to_ops(&n.to_string())).await["errCode"]
                .as_i64()
                .unwrap(),
        );
        chat.lever.advance(SECOND);
    }

    assert_eq!(codes, [0, 0, 0, 4, 4, 0, 0, 0]);
}

#[tokio::test]
async fn chance_hits_the_same_calls_for_the_same_seed() {
    let hits = async |seed: u64| {
        let chat = Chat::open(Family::Main).await;
        let plan = format!(r#"{{"seed": {seed}, "faults": ["reset:probability=0.4"]}}"#);
        chat.sandbox.play(serde_json::from_str(&plan).unwrap());
        for n in numbers(0..40) {
            let _hit_or_not = chat.asker.say(&n, SEND, &to_ops(&n)).await;
        }
        chat.words()
    };

    let first = hits(3).await;

    assert!((12..36).contains(&first.len()), "{}", first.len());
    assert_eq!(first, hits(3).await);
    assert_ne!(first, hits(4).await);
}
