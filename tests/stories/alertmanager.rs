//! Debian's Alertmanager, configured as the README says, alerts a group through the running service.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::stage::{SECRET, Service, Stage};

const README: &str = include_str!("../../README.md");

/// The block of that language between two marks of the README.
fn block<'r>(text: &'r str, language: &str) -> &'r str {
    let fence = format!("```{language}\n");
    let (_, rest) = text.split_once(&fence).expect("the README has the block");
    rest.split_once("```").expect("the block ends").0
}

/// What the README gives to paste into `alertmanager.yml`, with the service's address and the test's token.
fn receiver(service: &Service) -> String {
    let (_, rest) = README
        .split_once("<!-- receiver -->")
        .expect("the README marks the receiver");
    let (marked, _) = rest
        .split_once("<!-- /receiver -->")
        .expect("the README marks the receiver's end");
    let mut receiver = block(marked, "yaml").to_owned();
    for (ours, theirs) in [
        (
            "http://127.0.0.1:8080/hooks/alertmanager",
            service.hook("alertmanager"),
        ),
        ("the-token-that-ALERTMANAGER_TOKEN-holds", SECRET.to_owned()),
    ] {
        assert!(receiver.contains(ours), "{ours} is not in:\n{receiver}");
        receiver = receiver.replace(ours, &theirs);
    }
    receiver
}

/// The bridge that the README gives to write.
fn bridge() -> &'static str {
    let (_, rest) = README
        .split_once("\n## Alertmanager\n")
        .expect("the README has a chapter about Alertmanager");
    block(rest, "toml")
}

/// A running Alertmanager; killed when it is dropped.
struct Alertmanager {
    _process: Child,
    address: String,
    client: reqwest::Client,
}

impl Alertmanager {
    /// Starts it with the README's receiver, in the stage's directory, and waits until it is ready.
    async fn start(stage: &Stage, service: &Service) -> Alertmanager {
        let route = "
route:
  receiver: openim
  group_by: [alertname]
  group_wait: 300ms
  group_interval: 500ms
  repeat_interval: 1h
";
        let configuration = stage.path("alertmanager.yml");
        std::fs::write(&configuration, receiver(service) + route).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let said = std::fs::File::create(stage.path("alertmanager.log")).unwrap();
        let process = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!(
                "--storage.path={}",
                stage.path("alertmanager").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(said)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("prometheus-alertmanager cannot be started ({error}): run tests/install.sh")
            });
        let alertmanager = Alertmanager {
            _process: process,
            address,
            client: stage.client.clone(),
        };
        let ready = format!("http://{}/-/ready", alertmanager.address);
        stage
            .until("Alertmanager is ready", async || {
                let answer = alertmanager.client.get(&ready).send().await;
                answer.is_ok_and(|answer| answer.status().is_success())
            })
            .await;
        alertmanager
    }

    async fn tell(&self, alerts: Value) {
        let address = format!("http://{}/api/v2/alerts", self.address);
        let answer = self.client.post(address).json(&alerts).send().await;
        let answer = answer.unwrap();
        let status = answer.status();
        let said = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {said}");
    }
}

/// An alert of Prometheus, as it posts it: `ends` far ahead while it fires.
fn alert(name: &str, instance: &str, summary: &str, ends: &str) -> Value {
    json!({
        "labels": { "alertname": name, "instance": instance, "severity": "critical" },
        "annotations": { "summary": summary },
        "startsAt": "2026-01-02T03:04:05Z",
        "endsAt": ends,
        "generatorURL": "http://prometheus.example.com/graph",
    })
}

/// So far ahead that it does not end while the test runs, and so long ago that it has ended.
const FIRING: &str = "2099-01-01T00:00:00Z";
const RESOLVED: &str = "2026-01-02T04:04:05Z";

fn shows(text: &str, facts: &[&str]) {
    for fact in facts {
        assert!(text.contains(fact), "`{fact}` is missing in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_with_the_readmes_receiver_speaks_in_the_group() {
    let stage = Stage::set(&[("alertmanager", bridge())]).await;
    let service = stage.serve().await;
    let alertmanager = Alertmanager::start(&stage, &service).await;

    let disks = |ends: [&str; 2]| {
        json!([
            alert("DiskFull", "db-1", "The disk of db-1 is at 96 %", ends[0]),
            alert("DiskFull", "db-2", "The disk of db-2 is at 91 %", ends[1]),
        ])
    };

    alertmanager.tell(disks([FIRING, FIRING])).await;
    let texts = stage.texts_when("ops", 1).await;
    shows(
        &texts[0],
        &[
            "Firing: DiskFull",
            "2 firing",
            "critical",
            "The disk of db-1 is at 96 %",
            "The disk of db-2 is at 91 %",
        ],
    );

    alertmanager.tell(disks([RESOLVED, FIRING])).await;
    let texts = stage.texts_when("ops", 2).await;
    shows(
        &texts[1],
        &[
            "Firing: DiskFull",
            "1 firing",
            "1 resolved",
            "The disk of db-1 is at 96 %",
        ],
    );

    alertmanager.tell(disks([RESOLVED, RESOLVED])).await;
    let texts = stage.texts_when("ops", 3).await;
    shows(&texts[2], &["Resolved: DiskFull", "db-2 is at 91 %"]);

    // Another group, of one alert: news of its own.
    let queue = alert("QueueStuck", "mq", "Nothing leaves the queue", FIRING);
    alertmanager.tell(json!([queue])).await;
    let texts = stage.texts_when("ops", 4).await;
    shows(
        &texts[3],
        &["Firing: QueueStuck", "Nothing leaves the queue"],
    );

    assert!(service.stop().await);
    let refused = stage.log().contains("a webhook was refused");
    assert!(!refused, "the door refused one:\n{}", stage.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_fire_while_the_service_is_away_come_after_its_return() {
    let stage = Stage::set(&[("alertmanager", bridge())]).await;
    // A fixed port, because the receiver must find the service again after its restart.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let door = free.local_addr().unwrap().to_string();
    drop(free);
    let settings = std::fs::read_to_string(stage.path("openim-bridge.toml")).unwrap();
    let settings = settings.replacen("127.0.0.1:0", &door, 1);
    stage.write("openim-bridge.toml", &settings);
    let service = stage.serve().await;
    let alertmanager = Alertmanager::start(&stage, &service).await;
    service.kill().await;

    let queue = alert("QueueStuck", "mq", "Nothing leaves the queue", FIRING);
    alertmanager.tell(json!([queue])).await;
    stage
        .until("Alertmanager finds nobody", async || {
            let said = std::fs::read_to_string(stage.path("alertmanager.log"));
            said.is_ok_and(|said| said.contains("connection refused"))
        })
        .await;
    let service = stage.serve().await;

    let texts = stage.texts_when("ops", 1).await;
    shows(
        &texts[0],
        &["Firing: QueueStuck", "Nothing leaves the queue"],
    );
    assert!(service.stop().await);
}
