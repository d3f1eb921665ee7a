//! `sign` and `verify`, the programs themselves: what they print works when it is pasted, and tells no secret.

use std::process::{Output, Stdio};

use serde_json::Value;

use crate::stage::{GITHUB, SECRET, Service, Stage};

const BODY: &str =
    "{\"title\":\"it's `here` $HOME \\\\ \\\"now\\\" – 打印机\",\n\t\"level\":\"error\"}\n";

/// A bridge with a token where `place` says.
fn token_at(place: &str) -> String {
    format!(
        "extends = \"json\"\nsecrets = [\"env:TOKEN\"]\n[auth]\nscheme = \"token\"\ntoken = \"{place}\"\n[[route]]\nto = [\"group:ops\"]\n"
    )
}

const BASIC: &str = "extends = \"json\"\nsecrets = [\"env:TOKEN\"]\n[auth]\nscheme = \"basic\"\n[[route]]\nto = [\"group:ops\"]\n";
const BEARER: &str = "extends = \"json\"\nsecrets = [\"env:TOKEN\"]\n[auth]\nscheme = \"bearer\"\n[[route]]\nto = [\"group:ops\"]\n";
const TIMED: &str = "extends = \"json\"\nsecrets = [\"env:NEW\", \"file:old.secret\"]\n[auth]\nscheme = \"hmac-sha256\"\nsignature = \"header:x-sign\"\nformat = \"{base64}\"\nsigned = \"{timestamp}.{body}{method}{url}\"\ntimestamp = { from = \"header:x-time\", unit = \"ms\", within = \"5m\" }\n[[route]]\nto = [\"group:ops\"]\n";

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

async fn run(stage: &Stage, arguments: &[&str]) -> Output {
    let mut program = stage.program(arguments);
    let program = program
        .env("TOKEN", "user:t0ken-1")
        .env("NEW", "new-secret");
    program.output().await.unwrap()
}

/// Pastes a line into a shell that knows the bridges' secrets; the answer's status.
async fn paste(stage: &Stage, line: &str) -> String {
    let output = tokio::process::Command::new("sh")
        .args(["-c", line])
        .current_dir(stage.directory.path())
        .env("TOKEN", "user:t0ken-1")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = text(&output.stdout);
    let answer = said.lines().find(|line| line.starts_with("HTTP/"));
    let complaint = text(&output.stderr);
    answer
        .unwrap_or_else(|| panic!("{line}\n{said}\n{complaint}"))
        .to_owned()
}

async fn stage() -> (Stage, Service) {
    let header = token_at("header:x-token");
    let bridges = [
        ("github", GITHUB),
        ("header", header.as_str()),
        ("basic", BASIC),
        ("bearer", BEARER),
    ];
    let stage = Stage::set(&bridges).await;
    stage.write("payload.json", BODY);
    let service = serve(&stage).await;
    (stage, service)
}

/// The service with its door at the address that `sign` prints.
async fn serve(stage: &Stage) -> Service {
    stage
        .serve_with_variables(&[("TOKEN", "user:t0ken-1"), ("NEW", "new-secret")])
        .await
}

/// The door's port is free to choose, so a printed line is sent there.
fn to_door(line: &str, service: &Service) -> String {
    assert!(line.contains("http://127.0.0.1:0/hooks/"), "{line}");
    line.replace("127.0.0.1:0", &service.door.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printed_line_is_taken_by_the_door_and_holds_no_secret() {
    let (stage, service) = stage().await;

    for bridge in ["github", "header", "basic", "bearer"] {
        let event = "X-GitHub-Event: ping";
        let signed = run(
            &stage,
            &[
                "sign",
                bridge,
                stage.path("payload.json").to_str().unwrap(),
                "--curl",
                "-H",
                event,
            ],
        )
        .await;
        let line = text(&signed.stdout);
        assert!(
            signed.status.success(),
            "{bridge}: {}",
            text(&signed.stderr)
        );
        assert!(
            !line.contains("t0ken") && !line.contains(SECRET),
            "{bridge}: {line}"
        );
        let answer = paste(&stage, &to_door(&line, &service)).await;
        assert!(answer.contains("202"), "{bridge}: {answer}\n{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_verifies_and_a_changed_one_names_what_was_changed() {
    let stage = Stage::set(&[("timed", TIMED), ("github", GITHUB)]).await;
    stage.write("old.secret", "old-secret\n");
    stage.write("payload.json", BODY);
    let payload = stage.path("payload.json");
    let at = ["--now", "2026-01-02T03:04:05Z"];

    for (secret, by) in [("1", "secret 1 of 2"), ("file:old.secret", "secret 2 of 2")] {
        let signed = run(
            &stage,
            &[
                "sign",
                "timed",
                payload.to_str().unwrap(),
                "--secret",
                secret,
                at[0],
                at[1],
            ],
        )
        .await;
        assert!(signed.status.success(), "{}", text(&signed.stderr));
        let file = stage.path("signed.http");
        std::fs::write(&file, &signed.stdout).unwrap();
        let file = file.to_str().unwrap();

        let holds = run(&stage, &["verify", "timed", file, "--json", at[0], at[1]]).await;
        assert_eq!(holds.status.code(), Some(0), "{}", text(&holds.stdout));
        let report: Value = serde_json::from_slice(&holds.stdout).unwrap();
        assert!(report["by"].as_str().unwrap().ends_with(by), "{report}");
        assert_eq!(
            (&report["holds"], &report["causes"]),
            (&Value::Bool(true), &Value::Array(vec![]))
        );

        // Signed again an hour later it holds again: what it showed before is taken out.
        let later = ["--now", "2026-01-02T04:04:05Z"];
        let again = run(&stage, &["sign", "timed", file, later[0], later[1]]).await;
        std::fs::write(stage.path("again.http"), &again.stdout).unwrap();
        let again = stage.path("again.http");
        let again = run(
            &stage,
            &[
                "verify",
                "timed",
                again.to_str().unwrap(),
                later[0],
                later[1],
            ],
        )
        .await;
        assert_eq!(again.status.code(), Some(0), "{}", text(&again.stdout));

        let late = run(
            &stage,
            &[
                "verify",
                "timed",
                file,
                "--json",
                "--now",
                "2026-01-02T03:11:17Z",
            ],
        )
        .await;
        assert_eq!(late.status.code(), Some(1));
        let report: Value = serde_json::from_slice(&late.stdout).unwrap();
        assert_eq!(report["causes"][0]["id"], "clock", "{report}");
        assert_eq!(report["reason"], "timestamp is 7 m 12 s old, 5 m allowed");

        let mut changed = signed.stdout.clone();
        changed.push(b'\n');
        std::fs::write(file, &changed).unwrap();
        let told = run(&stage, &["verify", "timed", file, at[0], at[1]]).await;
        assert_eq!(told.status.code(), Some(1));
        let told = text(&told.stdout);
        assert!(
            told.contains("the body has one that was not signed"),
            "{told}"
        );
        assert!(told.contains("Proven:"), "{told}");
        // A pipe gets no colours.
        assert!(!told.contains('\u{1b}'), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_right_signature_is_ever_printed() {
    let stage = Stage::set(&[("github", GITHUB)]).await;
    stage.write("payload.json", BODY);
    let payload = stage.path("payload.json");
    let signed = run(&stage, &["sign", "github", payload.to_str().unwrap()]).await;
    let signed = text(&signed.stdout);
    let (_, signature) = signed.split_once("sha256=").unwrap();
    let signature = &signature[..64];
    std::fs::write(
        stage.path("wrong.http"),
        signed.replace(signature, &"ab".repeat(32)),
    )
    .unwrap();

    let wrong = stage.path("wrong.http");
    for json in [&[][..], &["--json"]] {
        let arguments = [&["verify", "github", wrong.to_str().unwrap()][..], json].concat();
        let told = run(&stage, &arguments).await;
        let told = text(&told.stdout) + &text(&told.stderr);
        assert!(
            told.contains("no-cause-found") || told.contains("no known mistake"),
            "{told}"
        );
        for part in [&signature[..8], SECRET] {
            assert!(!told.contains(part), "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shipped_bridge_is_given_a_secret_and_wrong_usage_is_2() {
    let with_id = TIMED.replace("{timestamp}.", "{header:webhook-id}.{timestamp}.");
    let stage = Stage::set(&[("timed", &with_id)]).await;
    stage.write("old.secret", "old-secret");
    stage.write("payload.json", BODY);
    let payload = stage.path("payload.json");
    let payload = payload.to_str().unwrap();

    let incomplete = run(&stage, &["sign", "timed", payload]).await;
    assert_eq!(incomplete.status.code(), Some(1));
    let said = text(&incomplete.stderr);
    assert!(said.contains("header webhook-id is missing"), "{said}");

    let signed = run(&stage, &["sign", "github", payload, "--secret", "env:NEW"]).await;
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    std::fs::write(stage.path("signed.http"), &signed.stdout).unwrap();
    let file = stage.path("signed.http");
    let holds = run(
        &stage,
        &[
            "verify",
            "github",
            file.to_str().unwrap(),
            "--secret",
            "env:NEW",
        ],
    )
    .await;
    assert_eq!(holds.status.code(), Some(0), "{}", text(&holds.stdout));

    for (arguments, complaint) in [
        (vec!["verify", "github", payload], "has no secrets"),
        (
            vec!["sign", "github", payload, "--secret", "hunter2"],
            "is written as a reference",
        ),
        (
            vec!["sign", "github", payload, "--secret", "env:NOWHERE"],
            "no variable `NOWHERE`",
        ),
        (
            vec!["verify", "timed", payload, "--secret", "2"],
            "all of them are tried",
        ),
        (
            vec!["sign", "timed", payload, "--secret", "3"],
            "none of the secrets of `timed`",
        ),
        (
            vec!["sign", "nobody", payload],
            "there is no bridge `nobody`",
        ),
        (
            vec!["verify", "github", "nowhere.http", "--secret", "env:NEW"],
            "cannot be read",
        ),
    ] {
        let ended = run(&stage, &arguments).await;
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        let said = text(&ended.stderr);
        assert!(said.contains(complaint), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_service_refused_and_kept_is_explained() {
    let keep = "keep_refused = 5\n";
    let github = format!("{keep}{GITHUB}");
    let bearer = format!("{keep}{BEARER}");
    let stage = Stage::set(&[("github", &github), ("bearer", &bearer)]).await;
    let service = serve(&stage).await;
    let hub = "sha256=2d1b0a1b3c4d5e6f708192a3b4c5d6e7f8091a2b";

    for (bridge, name, value, cause) in [
        ("github", "x-hub-signature-256", hub, "no-cause-found"),
        (
            "bearer",
            "authorization",
            "Bearer \"user:t0ken-1\"",
            "secret-quotes",
        ),
    ] {
        let request = stage.client.post(service.hook(bridge));
        let request = request.body("{\"title\":\"x\"}").header(name, value);
        let request = request.header("content-type", "application/json");
        assert_eq!(request.send().await.unwrap().status(), 401);

        let folder = stage.path("openim-bridge.db.refused").join(bridge);
        let file = crate::stage::eventually("the refused request", || {
            let mut kept = std::fs::read_dir(&folder).ok()?;
            kept.next()?.ok().map(|entry| entry.path())
        });
        let file = file.await;
        let arguments = ["verify", bridge, file.to_str().unwrap(), "--json"];
        let told = run(&stage, &arguments).await;

        assert_eq!(told.status.code(), Some(1), "{}", text(&told.stderr));
        let report: Value = serde_json::from_slice(&told.stdout).unwrap();
        let causes = report["causes"].as_array().unwrap();
        assert!(
            causes.iter().any(|found| found["id"] == cause),
            "{report:#}"
        );
        assert!(
            causes.iter().all(|found| found["proven"] == false),
            "{report:#}"
        );
    }
}
