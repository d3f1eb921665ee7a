//! The same faults over HTTP and on the command line, and the books for another process.

use std::process::Stdio;
use std::time::Duration;

use openim_bridge::sandbox::{Account, Family, Met, UNTIL_STORED, list_faults};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{Chat, SECOND, exes, numbers, to_ops};

#[tokio::test]
async fn faults_are_put_shown_and_taken_away_over_http() {
    let chat = Chat::open(Family::Main).await;
    let url = format!("{}/sandbox/faults", chat.asker.url);
    let http = &chat.asker.http;
    let plan = json!({"seed": 9, "faults": [
        "drop:over=5",
        {"fault": "token", "code": 1501, "times": 1, "call": ["send", "status"]},
    ]});

    let put: Value = http
        .post(&url)
        .json(&plan)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let refused = chat.send(to_ops("hello")).await;
    let shown: Value = http.get(&url).send().await.unwrap().json().await.unwrap();
    let left: Value = http
        .delete(&url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();

    assert_eq!(put["seed"], 9);
    assert_eq!(refused["errCode"], 1501);
    let met: Vec<Met> = serde_json::from_value(shown["faults"].clone()).unwrap();
    assert_eq!(met[0].fault.to_string(), "drop:over=5");
    assert_eq!((met[1].seen, met[1].met), (1, 1));
    assert_eq!(left, json!({"seed": 0, "faults": []}));
    assert_eq!(chat.send(to_ops("hello")).await["errCode"], 0);
}

#[tokio::test]
async fn a_wrong_plan_is_refused_with_its_mistake_and_changes_nothing() {
    let chat = Chat::with(Family::Main, &["drop"]).await;
    let url = format!("{}/sandbox/faults", chat.asker.url);

    for (plan, says) in [
        (
            r#"{"faults": ["slow:by=soon"]}"#,
            "a time is written 250ms, 2s or 5m",
        ),
        (r#"{"faults": ["sloow"]}"#, "there is no fault `sloow`"),
        (r#"{"faults": [3]}"#, "a fault is a text or an object"),
        (r#"{"fault": []}"#, "unknown field `fault`"),
        ("nonsense", "expected"),
    ] {
        let answer = chat.asker.http.post(&url).body(plan).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let error: Value = answer.json().await.unwrap();
        assert!(
            error["error"].as_str().unwrap().contains(says),
            "{plan}: {error}"
        );
    }
    assert_eq!(chat.sandbox.faults()[0].fault.to_string(), "drop");
}

#[tokio::test]
async fn the_books_can_be_read_from_another_process() {
    let chat = Chat::with(Family::Main, &["drop:over=2", "late:after=1s,for=1s"]).await;
    chat.send_texts(2, Duration::ZERO).await;
    chat.lever.advance(SECOND);
    chat.send_texts(3, Duration::ZERO).await;
    chat.lever.advance(SECOND);
    chat.send(to_ops("under way")).await;

    let url = format!("{}/sandbox/account", chat.asker.url);
    let answer = chat.asker.http.get(url).send().await.unwrap();
    let account: Account = answer.json().await.unwrap();

    assert_eq!(account, chat.sandbox.account());
    assert_eq!(exes(&account, "sg_ops"), numbers(0..2));
    let lost: Vec<&str> = account.lost.iter().map(|lost| lost.ex.as_str()).collect();
    assert_eq!(lost, numbers(0..3));
    assert!(
        account.lost[0]
            .why
            .starts_with("3 messages of the conversation were in one batch")
    );
    let times: Vec<_> = account.stored["sg_ops"]
        .iter()
        .map(|s| s.stored.duration_since(s.accepted))
        .collect();
    assert!(times.iter().all(|time| time.unsigned_abs() == UNTIL_STORED));
    assert_eq!(account.waiting[0].ex, "under way");
}

#[tokio::test]
async fn the_command_plays_the_faults_that_it_is_told() {
    let faults = [
        "--fault",
        "rpc-stopped:times=1,call=groups",
        "--fault",
        "drop",
        "--seed",
        "5",
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_openim-bridge"))
        .args(["sandbox", "--listen", "127.0.0.1:0", "--furnished"])
        .args(faults)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        let is_last = line.contains("Ctrl-C");
        said.push(line);
        if is_last {
            break;
        }
    }

    let url = said.iter().find_map(|line| line.trim().strip_prefix("API"));
    let url = format!("{}/sandbox/faults", url.unwrap().trim());
    let shown: Value = reqwest::get(url).await.unwrap().json().await.unwrap();

    assert!(said.contains(&"  fault  drop".to_owned()), "{said:?}");
    assert_eq!(shown["seed"], 5);
    assert_eq!(
        shown["faults"][0]["fault"],
        "rpc-stopped:times=1,call=groups"
    );
    child.kill().await.unwrap();
}

#[tokio::test]
async fn all_faults_are_listed_and_a_wrong_one_is_wrong_usage() {
    let run = async |arguments: &[&str]| {
        let command = Command::new(env!("CARGO_BIN_EXE_openim-bridge"))
            .args(arguments)
            .output();
        let output = command.await.unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };

    let (code, listed) = run(&["sandbox", "--list-faults"]).await;
    let (wrong_code, wrong) = run(&["sandbox", "--fault", "slow:over=3"]).await;

    assert_eq!(code, 0);
    for name in ["slow", "kafka-breaker", "seqs-anew", "early-seq"] {
        assert!(listed.contains(&format!("\n  {name} ")), "{name}: {listed}");
    }
    assert_eq!(wrong_code, 2);
    assert!(wrong.contains("`slow` has no `over`"), "{wrong}");
}

#[test]
fn every_fault_is_in_the_documents() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/operating.md")).unwrap();
    let listed = list_faults();
    let (faults, _) = listed.split_once("what can be set").unwrap();
    let names = faults.lines().filter(|line| line.starts_with("  "));
    let names: Vec<&str> = names
        .filter_map(|line| line.split_whitespace().next())
        .collect();

    let missing: Vec<_> = names
        .iter()
        .filter(|name| !text.contains(&format!("`{name}`")))
        .collect();

    assert!(names.len() > 30, "{names:?}");
    assert!(missing.is_empty(), "{missing:?}");
}
