//! Stories about the running program: real HTTP at the door, a real file for the outbox, a chat server to look into.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use openim_bridge::model::Clock;
use reqwest::StatusCode;
use sha2::Sha256;

use crate::stage::{GITHUB, JSON, SECRET, Service, Stage, eventually};

const ISSUE: &str = r#"{
  "action": "opened",
  "issue": {
    "number": 7, "title": "The till prints the wrong date", "state": "open",
    "html_url": "https://github.com/acme/shop/issues/7", "body": "Since Monday.",
    "user": { "login": "mei-lin" }, "labels": []
  },
  "repository": { "full_name": "acme/shop", "html_url": "https://github.com/acme/shop" },
  "sender": { "login": "mei-lin" }
}"#;

fn signature(body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

async fn post_issue(stage: &Stage, service: &Service, id: &str, secret: &str) -> reqwest::Response {
    let request = stage.client.post(service.hook("github")).body(ISSUE);
    let request = request
        .header("content-type", "application/json")
        .header("x-github-event", "issues")
        .header("x-github-delivery", id)
        .header("x-hub-signature-256", signature(ISSUE, secret));
    request.send().await.unwrap()
}

/// Posts `{"title"}` to the JSON bridge.
async fn post_title(stage: &Stage, service: &Service, title: &str) -> StatusCode {
    let body = serde_json::json!({ "title": title }).to_string();
    let request = stage.client.post(service.hook("json")).bearer_auth(SECRET);
    request.body(body).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_webhook_becomes_a_message_and_a_repeated_one_is_not_said_twice() {
    let stage = Stage::set(&[("github", GITHUB), ("json", JSON)]).await;
    let service = stage.serve().await;

    let first = post_issue(&stage, &service, "id-1", SECRET).await;
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    let texts = stage.texts_when("dev", 1).await;
    for fact in [
        "mei-lin",
        "acme/shop",
        "#7",
        "The till prints the wrong date",
    ] {
        assert!(
            texts[0].contains(fact),
            "{fact} is missing in:\n{}",
            texts[0]
        );
    }

    let again = post_issue(&stage, &service, "id-1", SECRET).await;
    assert_eq!(again.status(), StatusCode::OK);
    let answer: serde_json::Value = serde_json::from_slice(&again.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["repeat"], true);

    // A later webhook stands behind whatever the repeat might have caused.
    post_issue(&stage, &service, "id-2", SECRET).await;
    assert_eq!(stage.texts_when("dev", 2).await.len(), 2);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_an_unknown_bridge_and_a_bridge_without_secret_look_alike() {
    let stage = Stage::set(&[("github", GITHUB)]).await;
    let service = stage.serve().await;

    let wrong = post_issue(&stage, &service, "id-1", "guessed").await;
    let mut answers = vec![(wrong.status(), wrong.text().await.unwrap())];
    for bridge in ["nothing-here", "alertmanager"] {
        let answer = stage
            .client
            .post(service.hook(bridge))
            .body(ISSUE)
            .send()
            .await
            .unwrap();
        answers.push((answer.status(), answer.text().await.unwrap()));
    }

    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(stage.texts("dev"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_tokens_and_bodies_are_in_no_log_at_any_level() {
    let stage = Stage::set(&[("github", GITHUB), ("json", JSON)]).await;
    let service = stage.serve_with(&["--log-level", "trace"]).await;

    post_issue(&stage, &service, "id-1", SECRET).await;
    post_issue(&stage, &service, "id-2", "guessed").await;
    post_title(&stage, &service, "quite private").await;
    stage.texts_when("ops", 1).await;
    stage.texts_when("dev", 1).await;
    assert!(service.stop().await);

    eventually("the log is whole", || {
        stage
            .log()
            .contains("the service has stopped")
            .then_some(())
    })
    .await;
    let log = stage.log();
    assert!(log.contains("id-1"), "the event's id is in the log");
    for secret in [
        SECRET,
        "openIM123",
        "guessed",
        "Since Monday",
        "wrong date",
        "quite private",
        "eyJ",
    ] {
        assert!(!log.contains(secret), "`{secret}` is in the log:\n{log}");
    }
    let signed = signature(ISSUE, SECRET);
    assert!(!log.contains(&signed[7..]), "a signature is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_with_a_word_and_keeps_nothing() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;
    let post = |body: &'static [u8]| {
        let request = stage.client.post(service.hook("json")).bearer_auth(SECRET);
        request.body(body)
    };

    let broken = post(b"{\"title\":").send().await.unwrap();
    assert_eq!(broken.status(), StatusCode::BAD_REQUEST);
    let xml = post(b"<a/>")
        .header("content-type", "text/xml")
        .send()
        .await
        .unwrap();
    assert_eq!(xml.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let packed = post(b"{}")
        .header("content-encoding", "br")
        .send()
        .await
        .unwrap();
    assert_eq!(packed.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let get = stage.client.get(service.hook("json")).send().await.unwrap();
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
    let long = vec![b' '; 1_100_000];
    let request = stage
        .client
        .post(service.hook("json"))
        .bearer_auth(SECRET)
        .body(long);
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );

    let health = service.health().await;
    assert_eq!(health["ok"], true, "{health}");
    assert_eq!(stage.texts("ops"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_body_that_unpacks_to_a_large_one_is_refused() {
    use std::io::Write;
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;
    let pack = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let post = |body: Vec<u8>| {
        let request = stage.client.post(service.hook("json")).bearer_auth(SECRET);
        request.header("content-encoding", "gzip").body(body)
    };

    let bomb = post(pack(&vec![b' '; 50_000_000])).send().await.unwrap();
    let fair = post(pack(br#"{"title": "packed"}"#)).send().await.unwrap();

    assert_eq!(bomb.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(fair.status(), StatusCode::ACCEPTED);
    assert!(stage.texts_when("ops", 1).await[0].contains("packed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_rules_are_used_and_broken_ones_are_not() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;
    let first = service.health().await["rule_book"]["digest"].clone();

    stage.write("bridges/json.toml", &JSON.replace("group:ops", "group:dev"));
    let second = changed(&service, "/rule_book/digest", &first).await;
    post_title(&stage, &service, "to dev").await;
    stage.texts_when("dev", 1).await;

    stage.write(
        "bridges/json.toml",
        &JSON.replace("group:ops", "group:opps"),
    );
    changed(&service, "/ok", &true.into()).await;
    let health = service.health().await;
    assert_eq!(health["rule_book"]["digest"], second);
    assert!(
        health["troubles"][0]["what"]
            .as_str()
            .unwrap()
            .contains("opps"),
        "{health}"
    );
    assert_eq!(
        post_title(&stage, &service, "still to dev").await,
        StatusCode::ACCEPTED
    );
    stage.texts_when("dev", 2).await;

    stage.write("bridges/json.toml", JSON);
    changed(&service, "/ok", &false.into()).await;
    post_title(&stage, &service, "to ops again").await;
    stage.texts_when("ops", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_used_without_a_restart_and_check_says_which_one_still_is() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("hook");
    std::fs::write(&file, "the first one\n").unwrap();
    let secrets = format!("[\"file:{}\", \"env:HOOK_SECRET\"]", file.display());
    let both = JSON.replace("[\"env:HOOK_SECRET\"]", &secrets);
    let stage = Stage::set(&[("json", &both)]).await;
    let service = stage.serve().await;
    let post = async |secret: &str| {
        let request = stage.client.post(service.hook("json")).bearer_auth(secret);
        let body = serde_json::json!({ "title": "x", "id": secret });
        request.json(&body).send().await.unwrap().status()
    };
    assert_eq!(post("the first one").await, StatusCode::ACCEPTED);
    assert_eq!(post("the second one").await, StatusCode::UNAUTHORIZED);
    let digest = service.health().await["rule_book"]["digest"].clone();

    std::fs::write(&file, "the second one\n").unwrap();
    stage
        .until("the second one is taken", async || {
            post("the second one").await != StatusCode::UNAUTHORIZED
        })
        .await;
    assert_eq!(post("the first one").await, StatusCode::UNAUTHORIZED);

    // An empty file is a mistake that closes nothing, and is mended by its content alone.
    std::fs::write(&file, "").unwrap();
    changed(&service, "/ok", &true.into()).await;
    assert_eq!(post("the second one").await, StatusCode::OK);
    std::fs::write(&file, "the third one").unwrap();
    changed(&service, "/ok", &false.into()).await;
    assert_eq!(post("the third one").await, StatusCode::ACCEPTED);

    let health = service.health().await;
    assert_eq!(health["rule_book"]["digest"], digest);
    let told = &health["bridges"]["json"];
    assert_eq!(
        told["secrets"][0]["secret"],
        format!("file:{}", file.display())
    );
    assert_eq!(
        told["secrets"][0]["verified"], 1,
        "the third one alone counts"
    );
    assert!(told["secrets"][0]["last"].is_string());
    assert_eq!(told["secrets"][1]["secret"], "env:HOOK_SECRET");
    assert_eq!(told["secrets"][1]["verified"], 0);
    assert!(told["refused"]["mismatch"].as_u64() >= Some(2), "{told}");
    for secret in ["first one", "second one", "third one", SECRET] {
        assert!(!health.to_string().contains(secret), "{health}");
    }

    let console = service.console.to_string();
    let check = stage
        .program(&["check", "--online"])
        .env("OPENIM_BRIDGE__CONSOLE__LISTEN", &console)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    for words in [
        format!(
            "file:{} of json: last verified a webhook at ",
            file.display()
        ),
        "env:HOOK_SECRET of json: has verified nothing since the service started".to_owned(),
    ] {
        assert!(said.contains(&words), "`{words}` is missing in:\n{said}");
    }
    assert!(service.stop().await);
    let check = stage
        .program(&["check", "--online"])
        .env("OPENIM_BRIDGE__CONSOLE__LISTEN", &console)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(said.contains("service: not running at"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_a_broken_directory_runs_on_the_last_rules_that_passed() {
    let stage = Stage::set(&[("json", JSON)]).await;
    assert!(stage.serve().await.stop().await);
    stage.write("bridges/json.toml", "extends = \"json\"\nsecrets = [");

    let service = stage.serve().await;

    assert_eq!(
        post_title(&stage, &service, "on the old rules").await,
        StatusCode::ACCEPTED
    );
    stage.texts_when("ops", 1).await;
    let health = service.health().await;
    assert_eq!(health["ok"], false);
    assert_eq!(health["rule_book"]["from"], "last good");
    eventually("it is said loudly", || {
        let said = "running on the last rule-book that passed";
        stage.log().contains(said).then_some(())
    })
    .await;
    assert!(service.stop().await);
    let strict = stage
        .program(&["serve", "--strict"])
        .output()
        .await
        .unwrap();
    assert_eq!(strict.status.code(), Some(1));
    let said = String::from_utf8(strict.stderr).unwrap();
    assert!(said.contains("bridges/json.toml:2:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_fails_its_samples_is_not_used() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;

    stage.write(
        "templates/json/default.json.hbs",
        r#"{"contentType": 110, "content": {"data": {{event.title}}}}"#,
    );
    changed(&service, "/ok", &true.into()).await;
    let taken = post_title(&stage, &service, "said by the old template").await;

    assert_eq!(taken, StatusCode::ACCEPTED);
    assert!(stage.texts_when("ops", 1).await[0].contains("said by the old template"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bridges_that_vanish_all_at_once_stay_open() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;

    std::fs::rename(stage.path("bridges"), stage.path("moved-away")).unwrap();
    changed(&service, "/ok", &true.into()).await;

    let taken = post_title(&stage, &service, "still heard").await;
    assert_eq!(taken, StatusCode::ACCEPTED);
    stage.texts_when("ops", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_missing_secret_does_not_keep_the_other_bridges_from_running() {
    // Not every text would fit these ways, so nothing can stand in for what is missing.
    let other = "extends = \"json\"\nsecrets = [\"file:other.secret\"]\n[auth]\nscheme = \"basic\"\n[[route]]\nto = [\"group:ops\"]\n";
    let stage = Stage::set(&[("json", JSON), ("other", other)]).await;
    stage.write("other.secret", "user:password");
    assert!(stage.serve().await.stop().await);
    std::fs::remove_file(stage.path("other.secret")).unwrap();

    let service = stage.serve().await;

    let taken = post_title(&stage, &service, "the others run").await;
    assert_eq!(taken, StatusCode::ACCEPTED);
    stage.texts_when("ops", 1).await;
    let health = service.health().await;
    assert!(health.to_string().contains("other.secret"), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_directory_whose_link_is_swapped_is_seen() {
    let stage = Stage::set(&[]).await;
    let versions = stage.path("..versions");
    for (version, group) in [("1", "ops"), ("2", "dev")] {
        let folder = versions.join(version);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("json.toml"), JSON.replace("ops", group)).unwrap();
    }
    let link = stage.path("bridges");
    std::os::unix::fs::symlink("..versions/1", &link).unwrap();
    let service = stage.serve().await;
    let first = service.health().await["rule_book"]["digest"].clone();

    let beside = stage.path("..new");
    std::os::unix::fs::symlink("..versions/2", &beside).unwrap();
    std::fs::rename(&beside, &link).unwrap();
    changed(&service, "/rule_book/digest", &first).await;

    post_title(&stage, &service, "to dev").await;
    stage.texts_when("dev", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_came_while_the_chat_server_was_away_arrive_after_its_return() {
    let mut stage = Stage::set(&[("json", JSON)]).await;
    let address = stage.sandbox.address();
    let away = Stage::set(&[]).await.sandbox;
    std::mem::replace(&mut stage.sandbox, away).stop().await;
    let service = stage.serve().await;
    assert_eq!(
        post_title(&stage, &service, "kept meanwhile").await,
        StatusCode::ACCEPTED
    );
    eventually("the trouble is known", || {
        stage.log().contains("connect").then_some(())
    })
    .await;
    assert!(service.stop().await);

    let listener = std::net::TcpListener::bind(address).unwrap();
    stage.restart_sandbox(listener);
    let service = stage.serve().await;

    assert!(stage.texts_when("ops", 1).await[0].contains("kept meanwhile"));
    assert!(service.stop().await);
}

/// Waits until what health says at `pointer` is not `old` any more, and gives it.
async fn changed(service: &Service, pointer: &str, old: &serde_json::Value) -> serde_json::Value {
    let start = std::time::Instant::now();
    loop {
        let health = service.health().await;
        let now = health.pointer(pointer).cloned().unwrap_or_default();
        if now != *old {
            return now;
        }
        Clock::system().sleep(Duration::from_millis(20)).await;
        assert!(
            start.elapsed().as_secs() < 20,
            "{pointer} does not change: {health}"
        );
    }
}
