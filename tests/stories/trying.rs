//! `try`, the program itself, over what GitHub and Alertmanager really send: it explains every request.

use std::path::{Path, PathBuf};
use std::process::Output;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::events::{cases, shared};
use crate::stage::Stage;

/// The keys of the report and of its parts: their shape is kept stable.
const REPORT: [&str; 7] = [
    "authentic",
    "bridge",
    "event",
    "messages",
    "problems",
    "routes",
    "silent",
];
const AUTHENTIC: [&str; 3] = ["by", "ok", "reason"];
const EVENT: [&str; 7] = [
    "id", "kind", "severity", "state", "subject", "time", "title",
];
const ROUTE: [&str; 4] = ["matched", "route", "to", "why"];
const MESSAGE: [&str; 6] = [
    "content",
    "content_type",
    "conversation",
    "destination",
    "template",
    "text",
];

/// Notes the keys that are missing; more may be there.
fn has(part: &Value, keys: &[&str], wrong: &mut Vec<String>) {
    for key in keys {
        if part.get(key).is_none() {
            wrong.push(format!("`{key}` is missing in {part}"));
        }
    }
}

/// The request as `try` reads it from a file, so that nothing but the corpus says what is in it.
fn as_text(case: &Value) -> Vec<u8> {
    let mut text = String::from("POST /hooks/it HTTP/1.1\r\n");
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        text.push_str(&format!(
            "{name}: {}\r\n",
            value.as_str().unwrap_or_default()
        ));
    }
    text.push_str("\r\n");
    match case["raw"].as_str() {
        Some(raw) => text.push_str(raw),
        None => text.push_str(&case["body"].to_string()),
    }
    text.into_bytes()
}

/// What is wrong with an answer, and how many messages it holds.
fn judge(bridge: &str, output: &Output) -> (Vec<String>, usize) {
    let mut wrong = Vec::new();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("panicked") {
        wrong.push(complaint.to_string());
    }
    let code = output.status.code();
    if !matches!(code, Some(0 | 1)) {
        wrong.push(format!("it ended with {:?}: {complaint}", output.status));
    }
    let report: Value = match serde_json::from_slice(&output.stdout) {
        Ok(report) => report,
        Err(error) => {
            wrong.push(format!("it printed no JSON ({error}): {complaint}"));
            return (wrong, 0);
        }
    };
    has(&report, &REPORT, &mut wrong);
    has(&report["authentic"], &AUTHENTIC, &mut wrong);
    if report["event"].is_object() {
        has(&report["event"], &EVENT, &mut wrong);
    } else {
        wrong.push(format!("it is no event: {report}"));
    }
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    for route in list("routes") {
        has(&route, &ROUTE, &mut wrong);
    }
    let messages = list("messages");
    for message in &messages {
        has(message, &MESSAGE, &mut wrong);
        let text = message["text"].as_str().unwrap_or_default();
        if text.trim().is_empty() || message["conversation"] != "group:#1" {
            wrong.push(format!(
                "an empty message, or one to somebody else: {message}"
            ));
        }
    }
    if report["bridge"] != bridge || report["authentic"]["ok"] != true {
        wrong.push(format!("bridge or proof are wrong: {report}"));
    }
    let problems = list("problems");
    if !problems.is_empty() {
        wrong.push(format!("it has problems: {problems:?}"));
    }
    let spoke = !messages.is_empty() || report["silent"].is_string();
    if (code == Some(0)) != (spoke && problems.is_empty()) {
        wrong.push(format!("{code:?} is not the exit code of {report}"));
    }
    (wrong, messages.len())
}

async fn explain(stage: &Stage, bridge: &str, file: PathBuf) -> Output {
    let file = file.to_str().unwrap();
    let arguments = [
        "try",
        bridge,
        file,
        "--skip-auth",
        "--to",
        "group:#1",
        "--json",
    ];
    stage.program(&arguments).output().await.unwrap()
}

async fn explains_all_of(bridge: &str, shared: &Path) {
    let stage = Stage::set(&[]).await;
    let cases = cases(shared, bridge);
    assert!(!cases.is_empty(), "the corpus has nothing of {bridge}");
    let (stage, total) = (&stage, cases.len());
    let mut answers = stream::iter(cases.into_iter().enumerate())
        .map(|(number, (name, case))| async move {
            let file = stage.path(&format!("{number}.http"));
            std::fs::write(&file, as_text(&case)).unwrap();
            (name, explain(stage, bridge, file).await)
        })
        .buffer_unordered(4);
    let (mut spoken, mut wrong) = (0, Vec::new());
    while let Some((name, output)) = answers.next().await {
        let (mistakes, messages) = judge(bridge, &output);
        spoken += usize::from(messages > 0);
        wrong.extend(
            mistakes
                .into_iter()
                .map(|mistake| format!("{name}: {mistake}")),
        );
    }
    eprintln!("try: {total} requests of {bridge} explained, {spoken} made a message");
    assert!(
        wrong.is_empty(),
        "{} mistakes:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(spoken > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn try_explains_every_request_that_github_sends() {
    if let Some(shared) = shared() {
        explains_all_of("github", &shared).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn try_explains_every_request_that_alertmanager_sends() {
    if let Some(shared) = shared() {
        explains_all_of("alertmanager", &shared).await;
    }
}
