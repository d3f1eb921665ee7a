//! The operator hears in their chat of what is wrong, and that it is over.

use jiff::tz::TimeZone;
use openim_bridge::bridge::group::Group;
use openim_bridge::bridge::problem::Sources;
use openim_bridge::bridge::{RuleBook, Surroundings, shipped};
use openim_bridge::intake::{Passed, announce};
use openim_bridge::model::{Content, Conversation, Rendered, Timestamp};
use openim_bridge::sandbox::Sandbox;
use serde_json::{Value, json};
use std::time::Duration;

use crate::proof::ground::{Ground, Store};
use crate::shipped::LOCALES;
use crate::stage::{JSON, SECRET, Service, Stage, text_of};

const NOTICES: &str = r#"
extends = "notices"

[[route]]
to = ["group:ops"]
"#;

async fn post(stage: &Stage, service: &Service, title: &str, token: &str) -> u16 {
    let body = serde_json::json!({ "title": title, "id": title, "tags": ["x"] }).to_string();
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
        "{{body.tags.name}}{{body.title}}\n",
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

/// What OpenIM's administrator asks of it.
async fn administer(sandbox: &Sandbox, path: &str, body: Value) -> Value {
    let post = async |path: &str, token: &str, body: &Value| -> Value {
        let request = reqwest::Client::new().post(format!("{}{path}", sandbox.url()));
        let request = request.header("operationID", "1").header("token", token);
        request
            .json(body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    let who = json!({ "secret": "openIM123", "userID": "imAdmin" });
    let admin = post("/auth/get_admin_token", "", &who).await;
    post(path, admin["data"]["token"].as_str().unwrap(), &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_whose_messages_wait_is_told_after_five_minutes_and_so_is_its_end() {
    let ground = Ground::lay(Store::Sqlite, &["quiet".to_owned(), "ops".to_owned()]);
    ground.tell_the_operator_in("ops");
    let quiet = json!({ "groupID": "g_quiet" });
    let muted = administer(&ground.sandbox, "/group/mute_group", quiet.clone()).await;
    assert_eq!(muted["errCode"], 0, "{muted}");
    let up = ground.start().await;
    ground.post(&up, "group", "quiet", "one").await;
    let told = || {
        let said = ground
            .sandbox
            .messages(&Conversation::Group("g_ops".into()));
        said.iter().map(text_of).collect::<Vec<String>>()
    };
    let pass = async |minutes: u64| {
        let (step, span) = (Duration::from_secs(1), Duration::from_secs(60 * minutes));
        ground.passes_by(step, span).await;
    };

    pass(4).await;
    assert_eq!(told(), [""; 0], "a short wait is nobody's business");
    pass(2).await;
    let texts = told();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(
        texts[0].contains("group:#g_quiet") && texts[0].contains("A message waits"),
        "{texts:?}"
    );

    let open = administer(&ground.sandbox, "/group/cancel_mute_group", quiet).await;
    assert_eq!(open["errCode"], 0, "{open}");
    pass(20).await;
    let texts = told();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[1].contains("takes messages"), "{texts:?}");
    ground.stop(up).await;
}

#[test]
fn every_notice_is_said_in_every_language() {
    let bridge = "extends = \"notices\"\n[[route]]\nto = [\"group:en\", \"group:zh-CN\"]\n";
    let sources = Sources::from([("bridges/notices.toml".to_owned(), bridge.to_owned())]);
    let group = |locale: &&str| {
        let group = Group {
            id: (*locale).to_owned(),
            locale: Some((*locale).to_owned()),
            time_zone: None,
        };
        ((*locale).to_owned(), group)
    };
    let surroundings = Surroundings {
        groups: LOCALES.iter().map(group).collect(),
        locale: "en".to_owned(),
        time_zone: TimeZone::UTC,
    };
    let no_secret = |_: &_| Err("none is asked for".to_owned());
    let (book, problems) = RuleBook::compile(&sources, &surroundings, &no_secret);
    assert!(problems.is_empty(), "{problems:#?}");
    let (book, now) = (book.unwrap(), Timestamp::UNIX_EPOCH);

    let mut story = String::new();
    for (path, text) in shipped::sources() {
        if !path.starts_with("bridges/samples/notices/") {
            continue;
        }
        let facts = text.split_once("\n\n").unwrap().1;
        let facts = serde_json::from_str(facts).unwrap();
        let passed = announce(&book, &facts, now).expect("a chat is named");
        let Ok(Passed::Event { deliveries, .. }) = passed else {
            panic!("{path}: {passed:?}");
        };
        assert_eq!(deliveries.len(), LOCALES.len(), "{path}");
        for delivery in deliveries {
            let Rendered::Ready(message) = delivery.rendered else {
                panic!("{path}: {:?}", delivery.rendered);
            };
            let Content::Text { plain, .. } = message.content else {
                panic!("{path}: no text");
            };
            story.push_str(&format!("{plain}\n\n"));
        }
    }
    insta::assert_snapshot!(story);
}

#[test]
fn nobody_can_post_a_notice() {
    let bridge = "extends = \"notices\"\nsecrets = [\"env:X\"]\n[[route]]\nto = [\"group:#1\"]\n";
    let sources = Sources::from([("bridges/notices.toml".to_owned(), bridge.to_owned())]);
    let surroundings = Surroundings {
        groups: [].into_iter().collect(),
        locale: "en".to_owned(),
        time_zone: TimeZone::UTC,
    };
    let a_secret = |_: &_| Ok(openim_bridge::model::Secret::new("s3cret"));
    let (book, problems) = RuleBook::compile(&sources, &surroundings, &a_secret);
    assert!(book.is_none());
    let said = &problems[0].message;
    assert!(said.contains("nobody can post to `notices`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_online_check_asks_about_the_operators_chat_too() {
    let nowhere = NOTICES.replace("group:ops", "group:#g_nowhere");
    let stage = Stage::set(&[("json", JSON), ("notices", &nowhere)]).await;

    let check = stage
        .program(&["check", "--online"])
        .output()
        .await
        .unwrap();

    let said = String::from_utf8(check.stdout).unwrap();
    let is_told = |line: &str| line.starts_with("problem ") && line.contains("g_nowhere");
    assert!(said.lines().any(is_told), "{said}");
    assert_eq!(check.status.code(), Some(1));
}
