//! The operator hears in their chat of what is wrong, and that it is over.

use crate::stage::{JSON, SECRET, Service, Stage};

const NOTICES: &str = r#"
extends = "notices"

[[route]]
to = ["group:ops"]
"#;

async fn post(stage: &Stage, service: &Service, title: &str, token: &str) -> u16 {
    let body = serde_json::json!({ "title": title, "id": title }).to_string();
    let request = stage.client.post(service.hook("json")).bearer_auth(token);
    let answer = request.body(body).send().await.unwrap();
    answer.status().as_u16()
}

/// Waits until the operator's chat holds a text with these words; how many texts it holds then.
async fn heard(stage: &Stage, words: &str) -> usize {
    stage
        .until(words, async || {
            stage.texts("ops").iter().any(|text| text.contains(words))
        })
        .await;
    stage.texts("ops").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_templates_mistake_loses_nothing_and_the_operator_hears_of_it_and_of_its_end() {
    let to_dev = JSON.replace("group:ops", "group:dev");
    let stage = Stage::set(&[("json", &to_dev), ("notices", NOTICES)]).await;
    let service = stage.serve().await;
    // A mistake that no sample shows: the directory passes, the event does not.
    stage.write(
        "templates/json/default.md.hbs",
        "{{#if (eq body.title \"wrong\")}}{{truncate body.nothing \"x\"}}{{/if}}{{body.title}}\n",
    );
    stage
        .until("the template is in use", async || {
            stage.log().contains("the rules were replaced")
        })
        .await;

    assert_eq!(post(&stage, &service, "wrong", SECRET).await, 202);
    heard(&stage, "A template of").await;
    assert_eq!(stage.texts("dev").len(), 0);

    stage.write("templates/json/default.md.hbs", "mended: {{body.title}}\n");
    let texts = stage.texts_when("dev", 1).await;
    assert!(texts[0].contains("mended: wrong"), "{texts:?}");
    let many = heard(&stage, "work again").await;
    assert_eq!(many, 2, "{:?}", stage.texts("ops"));
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_at_the_sender_is_told_once() {
    let stage = Stage::set(&[("json", JSON), ("notices", NOTICES)]).await;
    let service = stage.serve().await;
    // The first look counts from zero.
    for number in 0..5 {
        let status = post(&stage, &service, &format!("no {number}"), "wrong").await;
        assert!(status == 401 || status == 429 || status == 503, "{status}");
    }
    heard(&stage, "are not authentic").await;
    let texts = stage.texts("ops");
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("json"), "{texts:?}");

    // A restart does not tell it again: what was told is known from the outbox.
    assert!(service.stop().await);
    let service = stage.serve().await;
    assert_eq!(post(&stage, &service, "yes", SECRET).await, 202);
    stage.texts_when("ops", 2).await;
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_is_told_and_so_is_its_recovery() {
    let lost = JSON.replace("group:ops", "group:#g_lost");
    let stage = Stage::set(&[("json", &lost), ("notices", NOTICES)]).await;
    let service = stage.serve().await;
    assert_eq!(post(&stage, &service, "one", SECRET).await, 202);
    heard(&stage, "OpenIM refuses messages").await;

    stage
        .sandbox
        .create_group("g_lost", "Lost", &["u_li", "bridge_bot"]);
    assert_eq!(post(&stage, &service, "two", SECRET).await, 202);
    heard(&stage, "takes messages").await;
    assert_eq!(stage.texts("ops").len(), 2);
    assert!(service.stop().await);
}
