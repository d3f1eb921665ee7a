//! When files change while the service runs: a secret that is replaced, and a service that is told to stop.

use std::path::Path;
use std::time::Duration;

use openim_bridge::app::{Rules, Start};
use openim_bridge::model::{Clock, Timestamp};
use openim_bridge::settings::Environment;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::stage::{JSON, SECRET, Stage};

/// The rules of a stage's directory, and a clock that stands still.
fn open(stage: &Stage) -> (Rules, Clock) {
    let directory = stage.directory.path().to_owned();
    let variables = [("OPENIM_SECRET", "openIM123"), ("HOOK_SECRET", SECRET)];
    let start = Start {
        environment: Environment::of(&directory, variables),
        directory,
        strict: true,
    };
    let (clock, _lever) = Clock::lever(Timestamp::UNIX_EPOCH);
    (Rules::open(&start, &clock).unwrap(), clock)
}

/// The secret that the JSON bridge goes by.
fn secret(rules: &Rules) -> String {
    let book = rules.book().load_full();
    let auth = book.bridges["json"].auth.as_ref().unwrap();
    auth.secret(1).unwrap().expose_text().unwrap().to_owned()
}

fn with_secret_in(file: &Path) -> String {
    JSON.replace("env:HOOK_SECRET", &format!("file:{}", file.display()))
}

#[tokio::test]
async fn a_secret_whose_file_is_taken_away_and_written_anew_is_in_use_at_the_next_look() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("hook");
    std::fs::write(&file, "the first one\n").unwrap();
    let stage = Stage::set(&[("json", &with_secret_in(&file))]).await;
    let (rules, clock) = open(&stage);
    assert_eq!(rules.look_within(), Duration::from_secs(5));

    // Between two looks nobody sees that it was gone.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "the second one\n").unwrap();
    rules.look_again(&clock);
    assert_eq!(secret(&rules), "the second one");

    // A look that falls into the gap is no mistake yet, and the next one comes soon.
    std::fs::remove_file(&file).unwrap();
    rules.look_again(&clock);
    assert!(rules.trouble().is_none());
    assert_eq!(rules.look_within(), Duration::from_secs(1));
    std::fs::write(&file, "the third one\n").unwrap();
    rules.look_again(&clock);
    assert_eq!(secret(&rules), "the third one");
    assert_eq!(rules.look_within(), Duration::from_secs(5));

    // So is one that comes back as it was.
    std::fs::remove_file(&file).unwrap();
    rules.look_again(&clock);
    std::fs::write(&file, "the third one\n").unwrap();
    rules.look_again(&clock);
    assert!(rules.trouble().is_none());
    assert_eq!(rules.look_within(), Duration::from_secs(5));
}

#[tokio::test]
async fn a_secret_that_stays_away_is_told_closes_nothing_and_is_looked_for_each_second() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("hook");
    std::fs::write(&file, "the first one\n").unwrap();
    let stage = Stage::set(&[("json", &with_secret_in(&file))]).await;
    let (rules, clock) = open(&stage);

    std::fs::write(&file, "\n").unwrap();
    rules.look_again(&clock);
    rules.look_again(&clock);

    let told = rules.trouble().unwrap().what;
    assert!(told.contains("hook` is empty"), "{told}");
    assert_eq!(secret(&rules), "the first one");
    assert_eq!(rules.look_within(), Duration::from_secs(1));
    std::fs::write(&file, "the second one\n").unwrap();
    rules.look_again(&clock);
    assert!(rules.trouble().is_none());
    assert_eq!(secret(&rules), "the second one");
}

#[tokio::test]
async fn who_is_told_to_stop_replaces_no_rules_and_complains_of_none() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let (rules, clock) = open(&stage);
    let digest = rules.in_use().digest;

    rules.freeze();
    stage.write("bridges/json.toml", &JSON.replace("group:ops", "group:dev"));
    rules.look_again(&clock);
    assert_eq!(rules.in_use().digest, digest);
    stage.write("bridges/json.toml", "extends = ");
    rules.look_again(&clock);
    assert!(rules.trouble().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reloaded_while_the_last_requests_are_finished() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;
    // A body that does not come holds the door open as long as it may.
    let mut slow = TcpStream::connect(service.door).await.unwrap();
    let head = format!(
        "POST /hooks/json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: 9\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // The door takes connections in the order in which they come.
    let after = stage.client.post(service.hook("json")).bearer_auth(SECRET);
    let answer = after.body("{\"title\":\"x\"}").send().await.unwrap();
    assert_eq!(answer.status(), 202);

    service.tell_to_stop();
    stage
        .until("it was told to stop", async || {
            stage.log().contains("the service was told to stop")
        })
        .await;
    stage.write("bridges/json.toml", &JSON.replace("group:ops", "group:dev"));

    assert!(service.ended().await);
    stage
        .until("its last word", async || {
            stage.log().contains("the service has stopped")
        })
        .await;
    assert!(!stage.log().contains("the rules were replaced"));
    drop(slow);
}
