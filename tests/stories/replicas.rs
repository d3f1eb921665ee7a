//! Two processes of the service on one PostgreSQL database: any takes a webhook, any delivers, and one is killed.

use openim_bridge::model::DeliveryState;
use openim_bridge::sandbox::Plan;
use serde_json::json;

use crate::database::{Schema, shared};
use crate::stage::{JSON, SECRET, Service, Stage};

/// A stage whose services share a database.
async fn set(schema: &Schema<'_>) -> Stage {
    let stage = Stage::set(&[("json", JSON)]).await;
    let settings = std::fs::read_to_string(stage.path("openim-bridge.toml")).unwrap();
    let shared = settings.replace("sqlite:openim-bridge.db", &schema.url());
    assert_ne!(settings, shared);
    stage.write("openim-bridge.toml", &shared);
    stage
}

/// Posts a webhook and gives the status of the answer.
async fn post(stage: &Stage, service: &Service, title: &str) -> u16 {
    let body = json!({ "id": title, "title": title });
    let request = stage.client.post(service.hook("json")).bearer_auth(SECRET);
    let answer = request.json(&body).send().await.unwrap();
    answer.status().as_u16()
}

/// The titles that stand in the chat, oldest first.
fn titles(texts: &[String]) -> Vec<String> {
    let title = |text: &String| {
        let at = text.find("message ").expect("it says its title");
        text[at..]
            .chars()
            .take("message 10".len())
            .collect::<String>()
    };
    texts.iter().map(title).collect()
}

#[tokio::test]
async fn any_replica_takes_a_webhook_and_when_one_is_killed_the_others_go_on_with_its_conversations()
 {
    let schema = shared().schema();
    let stage = set(&schema).await;
    let one = stage.serve().await;
    let other = stage.serve().await;

    let expected: Vec<String> = (10..22).map(|number| format!("message {number}")).collect();
    for (place, title) in expected[..6].iter().enumerate() {
        let service = if place % 2 == 0 { &one } else { &other };
        assert_eq!(post(&stage, service, title).await, 202);
    }
    assert_eq!(
        post(&stage, &other, &expected[0]).await,
        200,
        "a repeat, through the other one"
    );
    stage.texts_when("ops", 6).await;
    let waiting = "SELECT count(*) FROM lane WHERE in_hand IS NOT NULL";
    stage
        .until("no request is in flight", async || {
            schema.psql(waiting) == "0"
        })
        .await;
    one.kill().await;
    schema.end_leases(); // 30 s have passed
    for title in &expected[6..] {
        assert_eq!(post(&stage, &other, title).await, 202);
    }

    let texts = stage.texts_when("ops", 12).await;
    assert_eq!(titles(&texts), expected);
    assert!(other.stop().await);
    let owned =
        schema.psql("SELECT count(*) FROM lane WHERE owner IS NOT NULL AND leased_until > now()");
    assert_eq!(owned, "0", "who stops gives everything back");
    let states = schema.psql("SELECT DISTINCT state FROM delivery");
    let ended = [DeliveryState::Accepted.word(), DeliveryState::Stored.word()];
    assert!(
        states.lines().all(|state| ended.contains(&state)),
        "{states}"
    );
}

#[tokio::test]
async fn a_replica_starts_while_another_stands_still_in_the_middle_of_its_work() {
    let schema = shared().schema();
    let stage = set(&schema).await;
    stage.sandbox.play(Plan::of(1, &["late:for=10m"]).unwrap());
    let one = stage.serve().await;
    assert_eq!(post(&stage, &one, "message 10").await, 202);
    let accepted = "SELECT count(*) FROM delivery WHERE state = 'accepted'";
    stage
        .until("it is accepted", async || schema.psql(accepted) == "1")
        .await;

    let frozen = schema.freeze("SELECT 1 FROM lane FOR UPDATE");
    let other = stage.serve().await;
    assert_eq!(other.health().await["ok"], true);

    drop(frozen);
    one.kill().await;
    assert!(other.stop().await);
}

#[tokio::test]
async fn a_service_without_its_database_says_so_and_shows_no_password() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let mut program = stage.program(&["serve"]);
    program.env(
        "OPENIM_BRIDGE__STORAGE__URL",
        "postgres://bridge:hunter2@127.0.0.1:1/bridge",
    );

    let ended = program.output().await.unwrap();

    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        said.contains("postgres://bridge@127.0.0.1:1/bridge"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}
