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

/// Pastes a line into a shell that knows the bridges' variables, somewhere else; the answer's status.
async fn paste(line: &str) -> String {
    let output = tokio::process::Command::new("sh")
        .args(["-c", line])
        .current_dir("/")
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
    let filed = header.replace("env:TOKEN", "file:sec ret/it's");
    let signs = |place| token_at(place).replace("env:TOKEN", "file:sec ret/signs");
    let (behind, asked) = (signs("path"), signs("query:key"));
    let bridges = [
        ("behind", behind.as_str()),
        ("asked", asked.as_str()),
        ("github", GITHUB),
        ("header", header.as_str()),
        ("basic", BASIC),
        ("bearer", BEARER),
        ("filed", filed.as_str()),
    ];
    let stage = Stage::set(&bridges).await;
    std::fs::create_dir(stage.path("sec ret")).unwrap();
    stage.write("sec ret/it's", "user:t0ken-2\n");
    stage.write("sec ret/signs", "t0ken & 50%/ü?#+\n");
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

    for bridge in [
        "github", "header", "basic", "bearer", "filed", "behind", "asked",
    ] {
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
        let answer = paste(&to_door(&line, &service)).await;
        assert!(answer.contains("202"), "{bridge}: {answer}\n{line}");
    }

    let checked = text(&run(&stage, &["check"]).await.stdout);
    for bridge in ["filed", "behind", "asked"] {
        let mut lines = checked.lines().filter_map(|line| line.split_once("curl "));
        let of_bridge = lines.find(|(_, line)| line.contains(&format!("/hooks/{bridge}")));
        let (line, _) = of_bridge.unwrap().1.split_once("  # 202").unwrap();
        let answer = paste(&to_door(&format!("curl {line}"), &service)).await;
        assert!(answer.contains("202"), "{answer}\n{line}");
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
        let steps = report["steps"].as_array().unwrap();
        let time = steps.iter().find(|step| step["step"] == "time").unwrap();
        assert_eq!(
            time["says"],
            "1767323045000 (2026-01-02T03:04:05Z, counted in milliseconds): timestamp is 7 m 12 s old, 5 m allowed; it came at 2026-01-02T03:11:17Z"
        );

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
    assert!(said.contains("-H 'webhook-id: msg_1'"), "{said}");
    let complete = ["sign", "timed", payload, "-H", "webhook-id: msg_1"];
    let complete = run(&stage, &complete).await;
    assert!(complete.status.success(), "{}", text(&complete.stderr));

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
            vec!["sign", "timed", payload, "--secret", "hunter2"],
            "is written as a reference",
        ),
        (
            vec!["sign", "TIMED", payload],
            "there is no bridge `TIMED`; did you mean `timed`?",
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
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_there_is_said_to_be_so_and_is_the_matter_of_its_bridge_alone() {
    let gone = token_at("header:x-token").replace("env:TOKEN", "file:sec/gone");
    let whsec = TIMED.replace("format = ", "key = \"whsec_{base64}\"\nformat = ");
    let whsec = whsec.replace("[\"env:NEW\", \"file:old.secret\"]", "[\"file:sec/gone\"]");
    let bridges = [
        ("github", GITHUB),
        ("gone", gone.as_str()),
        ("whsec", &whsec),
        ("half", TIMED),
    ];
    let stage = Stage::set(&bridges).await;
    stage.write("bridges/broken.toml", "secrets = nonsense\n");
    stage.write("payload.json", BODY);
    let payload = stage.path("payload.json");
    let payload = payload.to_str().unwrap();

    for bridge in ["github", "half"] {
        let signed = run(&stage, &["sign", bridge, payload]).await;
        assert!(
            signed.status.success(),
            "{bridge}: {}",
            text(&signed.stderr)
        );
    }
    for bridge in ["gone", "whsec"] {
        for (file, complaint) in [
            (payload, "is not there: `sec/gone` cannot be read"),
            ("nowhere.http", "`nowhere.http` cannot be read"),
        ] {
            let signed = run(&stage, &["sign", bridge, file]).await;
            let said = text(&signed.stderr);
            assert_eq!(signed.status.code(), Some(2), "{said}");
            assert!(
                said.contains(complaint) && said.lines().count() == 1,
                "{said}"
            );
        }
    }

    let token = ["-H", "X-Token: t0ken-1"];
    let told = run(&stage, &[&["verify", "gone", payload][..], &token].concat()).await;
    assert_eq!(told.status.code(), Some(1));
    let told = text(&told.stdout);
    for part in [
        "secret 1 of 1 (file:sec/gone) is not there: `sec/gone` cannot be read",
        "A running service goes on with the secret that it has read",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        !told.contains("16 bytes") && !told.contains("masked"),
        "{told}"
    );

    // The other secret of two is compared, and what is not there is said too.
    let late = ["--now", "2026-01-02T03:04:05Z"];
    let signed = run(&stage, &[&["sign", "half", payload][..], &late].concat()).await;
    std::fs::write(
        stage.path("half.http"),
        [&signed.stdout[..], b"\n"].concat(),
    )
    .unwrap();
    let half = stage.path("half.http");
    let told = run(
        &stage,
        &[&["verify", "half", half.to_str().unwrap()][..], &late].concat(),
    )
    .await;
    let told = text(&told.stdout);
    assert!(
        told.contains("secret 2 of 2 (file:old.secret) is not there"),
        "{told}"
    );
    assert!(
        told.contains("the body has one that was not signed"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_whole_request_is_told_what_it_lacks() {
    let stage = Stage::set(&[("github", GITHUB)]).await;
    for (written, complaint) in [
        (&b""[..], "is empty"),
        (b" \n", "is empty"),
        (b"\x1f\x8b\x08\x00\xff", "is no text but binary"),
        (b"{\"a\": 1}\n", "is only a body"),
        (
            b"> POST /hooks/github HTTP/1.1\n> X-Hub-Signature-256: x\n",
            "looks like what `curl -v` prints",
        ),
        (
            b"HTTP/1.1 401 Unauthorized\n\n",
            "is an answer and no request",
        ),
        (
            b"Request URL: https://hook.example.com\nX-Hub-Signature-256: sha256=00\n\n{}",
            "has headers but no request line",
        ),
        (
            b"X-Hub-Signature-256: sha256=00\n\n{}",
            "has headers but no request line",
        ),
    ] {
        std::fs::write(stage.path("file"), written).unwrap();
        let file = stage.path("file");
        let file = file.to_str().unwrap();
        let told = run(&stage, &["verify", "github", file]).await;
        let said = text(&told.stderr);
        assert_eq!(told.status.code(), Some(2), "{said}");
        let example = "\n  POST /hooks/github HTTP/1.1\n";
        let by_hand = "-H 'X-Hub-Signature-256: …'";
        for part in [complaint, example, by_hand] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }

    // With its headers at hand, a body is a request.
    stage.write("file", BODY);
    let file = stage.path("file");
    let file = file.to_str().unwrap();
    let header = "X-Hub-Signature-256: sha256=0011";
    let told = run(&stage, &["verify", "github", file, "-H", header]).await;
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stderr));

    for header in [
        "X: s3cret\r\nY: b",
        "Authorization s3cret",
        "X: s3cret\u{7}",
    ] {
        let told = run(&stage, &["verify", "github", file, "-H", header]).await;
        let said = text(&told.stderr);
        assert_eq!(
            (told.status.code(), said.lines().count()),
            (Some(2), 1),
            "{said}"
        );
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_service_refused_and_kept_is_explained() {
    let keep = "keep_refused = 5\n";
    let github = format!("{keep}{GITHUB}");
    let bearer = format!("{keep}{BEARER}");
    let basic = format!("{keep}{BASIC}");
    let elsewhere = bearer.replace("[auth]\n", "[auth]\naddresses = [\"192.0.2.0/24\"]\n");
    let bridges = [
        ("github", github.as_str()),
        ("pasted", &github),
        ("body", &github),
        ("bearer", &bearer),
        ("basic", &basic),
        ("elsewhere", &elsewhere),
    ];
    let stage = Stage::set(&bridges).await;
    let service = serve(&stage).await;
    let hub = "sha256=2d1b0a1b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7";
    let quiet = "{\"title\":\"x\"}".to_owned();
    let talking = format!("{{\"config\":\"{SECRET}\"}}");
    let pasted = format!("sha256={SECRET}");
    // `other:t0ken-1`
    let user = "Basic b3RoZXI6dDBrZW4tMQ==";

    for (bridge, name, value, body, cause) in [
        (
            "github",
            "x-hub-signature-256",
            hub,
            &quiet,
            "no-cause-found",
        ),
        (
            "pasted",
            "x-hub-signature-256",
            &pasted,
            &quiet,
            "secret-as-signature",
        ),
        ("body", "x-hub-signature-256", hub, &talking, "body-hidden"),
        (
            "bearer",
            "authorization",
            "Bearer \"user:t0ken-1\"",
            &quiet,
            "secret-quotes",
        ),
        ("basic", "authorization", user, &quiet, "basic-user"),
        (
            "elsewhere",
            "authorization",
            "Bearer user:t0ken-1",
            &quiet,
            "address",
        ),
    ] {
        let request = stage.client.post(service.hook(bridge));
        let request = request.body(body.clone()).header(name, value);
        let request = request.header("content-type", "application/json");
        assert_eq!(request.send().await.unwrap().status(), 401);

        let folder = stage.path("openim-bridge.db.refused").join(bridge);
        let file = crate::stage::eventually("the refused request", || {
            let mut kept = std::fs::read_dir(&folder).ok()?;
            kept.next()?.ok().map(|entry| entry.path())
        });
        let file = file.await;
        let written = std::fs::read_to_string(&file).unwrap();
        for secret in [SECRET, "t0ken-1", "dDBrZW4"] {
            assert!(!written.contains(secret), "{secret} in {written}");
        }
        // Signed anew it is as its sender would send it now.
        let signed = run(&stage, &["sign", bridge, file.to_str().unwrap()]).await;
        let signed = text(&signed.stdout);
        assert!(
            !signed.to_lowercase().contains("openim-bridge-"),
            "{signed}"
        );

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
