//! The faults beside the recordings that they were made from: the same words, in the same time.

use std::path::Path;
use std::time::Duration;

use openim_bridge::sandbox::Family;
use serde_json::{Value, json};

use super::{Chat, to_ops};

/// Below this a recorded time is only that of a working server, in which the sandbox has no part.
const SHORT: Duration = Duration::from_millis(500);

/// A record and the fault that plays it.
const PLAYED: [(&str, &str); 21] = [
    ("fault.rpc_msg_sigterm.at_once", "rpc-stopped"),
    ("fault.rpc_msg_stopped", "rpc-stopped"),
    ("fault.rpc_msg_stopped.status", "rpc-stopped"),
    ("fault.rpc_auth_stopped", "rpc-stopped"),
    ("fault.rpc_auth_stopped.token", "rpc-stopped:call=token"),
    ("fault.kafka_stopped", "kafka-stopped"),
    ("fault.kafka_stopped.again", "kafka-stopped"),
    ("fault.kafka_stopped.breaker", "kafka-breaker"),
    ("fault.kafka_stopped.breaker_after_restart", "kafka-breaker"),
    ("fault.redis_stopped", "redis-stopped"),
    ("fault.redis_stopped.status", "redis-stopped"),
    ("fault.redis_stopped.admin_sender", "redis-stopped"),
    ("fault.redis_stopped.token", "redis-stopped"),
    ("fault.redis_hangs", "redis-hangs"),
    ("fault.redis_lost_after_queueing", "redis-lost"),
    ("fault.mongo_hangs", "mongo-hangs"),
    ("fault.rpc_msg_killed.later", "rpc-refused"),
    ("fault.rpc_msg_killed", "rpc-cut"),
    ("webhook.refused", "webhook-down"),
    ("webhook.slow", "webhook-silent"),
    ("webhook.html", "webhook-nonsense"),
];

#[tokio::test]
async fn every_fault_that_was_recorded_answers_with_the_recorded_words_in_about_the_recorded_time()
{
    #[expect(
        clippy::disallowed_methods,
        reason = "a test that asks where the recordings are"
    )]
    let Some(shared) = std::env::var_os("OPENIM_BRIDGE_SHARED") else {
        println!("skipped: OPENIM_BRIDGE_SHARED does not say where the recordings are");
        return;
    };
    let path = Path::new(&shared).join("reference/openim-transcripts.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let records: Vec<Value> = records
        .filter(|record: &Value| record["experiment"] == true)
        .collect();

    for (name, fault) in PLAYED {
        let record = records.iter().find(|record| record["name"] == name);
        let record = record.unwrap_or_else(|| panic!("{name} was not recorded"));
        let chat = Chat::with(Family::Release38, &[fault]).await;
        let (path, body): (&'static str, Value) = match record["request"]["path"].as_str().unwrap()
        {
            "/msg/send_msg" => ("/msg/send_msg", to_ops("hello")),
            "/auth/get_admin_token" => ("/auth/get_admin_token", json!({})),
            _ => ("/msg/check_msg_is_send_success", json!({})),
        };

        let asked = chat.begin("op", path, body).await;
        let took = time(record["note"].as_str().unwrap());
        // Recorded several times, it took a little more or less each time. What takes milliseconds is not looked at.
        let is_long = took > SHORT;
        let soon = if is_long {
            took.mul_f64(0.4)
        } else {
            Duration::ZERO
        };
        chat.lever.advance(soon);
        let early = answered(&asked).await;
        chat.lever.advance((took * 2).max(SHORT) - soon);
        let answer = asked.await.unwrap().unwrap();

        let said = &record["response"]["body"];
        for field in ["errCode", "errMsg", "errDlt"] {
            assert_eq!(answer[field], said[field], "{name}: {field}");
        }
        assert!(!early, "{name} took {took:?}");
    }
}

/// "answered after 0.873 s"
fn time(note: &str) -> Duration {
    let (_, rest) = note.rsplit_once("answered after ").unwrap();
    let seconds = rest.split(' ').next().unwrap().parse().unwrap();
    Duration::from_secs_f64(seconds)
}

/// Whether the call has an answer, after the others had their turn.
async fn answered<T>(call: &tokio::task::JoinHandle<T>) -> bool {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    call.is_finished()
}
