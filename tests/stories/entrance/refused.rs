//! What is kept of the refused, and what is known of the others.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use openim_bridge::intake::Request;
use openim_bridge::intake::authenticate::authenticate;

use super::*;

fn kept(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map(|files| files.map(|file| file.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_refused_requests_are_kept_on_request_and_explain_themselves() {
    let keeping = format!("keep_refused = 2\n{TIMED}");
    let keeping_token = format!("keep_refused = 1\n{TOKEN}");
    let bridges = [
        ("timed", keeping.as_str()),
        ("token", &keeping_token),
        ("one", TOKEN),
    ];
    let door = Entrance::open(&bridges, "");
    let folder = door.folder.path().join("outbox.db.refused");
    let until = async |bridge: &str, what: &dyn Fn(&[std::path::PathBuf]) -> bool| {
        crate::stage::eventually("the refused request is kept", || {
            what(&kept(&folder.join(bridge))).then_some(())
        })
        .await;
    };

    // Four requests that are 7 minutes late, each a second after the other.
    for number in 0..4 {
        let body = format!("{{ \"number\": {number} }}");
        let late = START - 420;
        assert_eq!(timed(&door, late, &body).await, StatusCode::UNAUTHORIZED);
        let newest = move |files: &[std::path::PathBuf]| {
            let text = files
                .last()
                .and_then(|file| std::fs::read_to_string(file).ok());
            text.is_some_and(|text| text.ends_with(&body))
        };
        until("timed", &newest).await;
        door.pull(1);
    }
    until("timed", &|files| files.len() == 2).await;
    let file = kept(&folder.join("timed")).pop().unwrap();
    assert!(file.to_str().unwrap().ends_with("-time.http"), "{file:?}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&folder.join("timed"))), (0o600, 0o700));

    let text = std::fs::read(&file).unwrap();
    let request = Request::from_text("timed", &text).unwrap();
    let book = door.book.load();
    let auth = book.bridges["timed"].auth.as_ref().unwrap();
    let received = request.headers["openim-bridge-received"].to_str().unwrap();
    let refusal = authenticate(auth, request.clone(), received.parse().unwrap()).unwrap_err();
    assert_eq!(
        request.headers["openim-bridge-refused"].to_str().unwrap(),
        refusal.to_string()
    );
    let then = Timestamp::from_second(START - 420).unwrap();
    assert!(
        authenticate(auth, request, then).is_ok(),
        "its signature stayed"
    );

    // A token is not kept, a long body neither, and nothing of who does not ask for it.
    door.knock("token", "192.0.2.1", "Guess-1", "x").await;
    door.knock("one", "192.0.2.1", "Guess-1", "x").await;
    until("token", &|files| files.len() == 1).await;
    let text = std::fs::read_to_string(&kept(&folder.join("token"))[0]).unwrap();
    assert!(text.contains("Authorization: Bearer *******\n"), "{text}");
    assert!(!folder.join("one").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_one_bridge_takes_no_look_from_another() {
    let keeping = format!("keep_refused = 5\n{TIMED}");
    let door = Entrance::open(&[("timed", &keeping), ("other", &keeping)], "");
    let folder = door.folder.path().join("outbox.db.refused");
    // Each is long to write, and there are more than wait.
    let long = "x".repeat(250_000);
    let time = START.to_string();
    let headers = [("x-time", time.as_str()), ("x-sign", "00")];
    for _ in 0..20 {
        let answer = door.post("/hooks/timed", "192.0.2.1", &headers, &long);
        assert_eq!(answer.await.status(), StatusCode::UNAUTHORIZED);
    }
    let one = door.post("/hooks/other", "192.0.2.2", &headers, "{\"look\":1}");
    let one = one.await;
    assert_eq!(one.status(), StatusCode::UNAUTHORIZED);
    crate::stage::eventually("the other one is kept", || {
        let files = kept(&folder.join("other"));
        let text = std::fs::read_to_string(files.first()?).ok()?;
        text.ends_with("{\"look\":1}").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_head_alone_refuses_is_kept_with_its_body_where_that_is_wished() {
    let keeping = format!("keep_refused = 5\n{TOKEN}");
    let door = Entrance::open(&[("one", &keeping)], "");
    let folder = door.folder.path().join("outbox.db.refused/one");
    let guess = [("authorization", "Bearer guess")];
    let status = async |body: &str| {
        let answer = door.post("/hooks/one", "192.0.2.1", &guess, body).await;
        answer.status()
    };
    // Too long to be kept, and refused as all are.
    assert_eq!(status(&"x".repeat(300_000)).await, StatusCode::UNAUTHORIZED);
    door.pull(1);
    assert_eq!(status("{\"look\":1}").await, StatusCode::UNAUTHORIZED);
    crate::stage::eventually("it is kept", || {
        let files = kept(&folder);
        let text = std::fs::read_to_string(files.first()?).ok()?;
        text.ends_with("{\"look\":1}").then_some(())
    })
    .await;
    assert_eq!(kept(&folder).len(), 1);
    let all = door.here().seen.all_refusals();
    assert_eq!(all["one"], [("mismatch", 2)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_changes_its_parents_auth_key_by_key_and_one_that_names_a_scheme_starts_afresh() {
    let parent = "[auth]\nscheme = \"token\"\ntoken = \"header:x-one\"\naddresses = [\"192.0.2.0/24\"]\notherwise = { scheme = \"bearer\" }\n";
    let route = "[[route]]\nto = [\"group:ops\"]\n";
    let child = format!(
        "extends = \"parent\"\nsecrets = [\"env:SECRET\"]\n[auth]\ntoken = \"header:x-two\"\n{route}"
    );
    let afresh = format!(
        "extends = \"parent\"\nsecrets = [\"env:SECRET\"]\n[auth]\nscheme = \"token\"\ntoken = \"header:x-two\"\n{route}"
    );
    let bridges = [
        ("parent", parent),
        ("child", child.as_str()),
        ("afresh", &afresh),
    ];
    let door = Entrance::open(&bridges, "");
    let bearer = format!("Bearer {SECRET}");
    let status = async |bridge: &str, from: &str, name: &str, value: &str| {
        let body = format!("{{\"title\":\"{bridge} {name}\"}}");
        let path = format!("/hooks/{bridge}");
        let answer = door.post(&path, from, &[(name, value)], &body).await;
        answer.status() == StatusCode::ACCEPTED
    };
    assert!(status("child", "192.0.2.1", "x-two", SECRET).await);
    assert!(status("child", "192.0.2.1", "authorization", &bearer).await);
    assert!(!status("child", "192.0.2.1", "x-one", SECRET).await);
    assert!(!status("child", "203.0.113.1", "x-two", SECRET).await);
    assert!(status("afresh", "203.0.113.1", "x-two", SECRET).await);
    assert!(!status("afresh", "192.0.2.1", "authorization", &bearer).await);
    assert!(!status("afresh", "192.0.2.1", "x-one", SECRET).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_secret_is_seen_by_its_reference_with_what_it_verified() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    std::fs::write(&old, "the old one\n").unwrap();
    let both = TOKEN.replace(
        "\"env:SECRET\"",
        &format!("\"env:SECRET\", \"file:{}\"", old.display()),
    );
    let door = Entrance::open(&[("one", &both)], "");
    let seen = || {
        let book = door.book.load();
        let secrets = door.here().seen.secrets(&book.bridges["one"]);
        let told = secrets.into_iter();
        told.map(|secret| {
            (
                secret.secret,
                secret.verified,
                secret.last.unwrap_or_default(),
            )
        })
        .collect::<Vec<_>>()
    };
    let file = format!("file:{}", old.display());
    let env = "env:SECRET".to_owned();
    assert_eq!(
        seen(),
        [
            (env.clone(), 0, String::new()),
            (file.clone(), 0, String::new())
        ]
    );
    door.knock("one", "192.0.2.1", "the old one", "a").await;
    door.pull(60);
    door.knock("one", "192.0.2.1", SECRET, "b").await;
    door.knock("one", "192.0.2.1", SECRET, "c").await;
    door.knock("one", "192.0.2.1", "guess", "c").await;
    assert_eq!(
        seen(),
        [
            (env, 2, "2023-11-14T22:14:20Z".to_owned()),
            (file, 1, "2023-11-14T22:13:20Z".to_owned()),
        ]
    );
}
