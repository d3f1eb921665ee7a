//! Every failure has a way back: stories about `events`, `deliveries` and the API beside a running service.

use serde_json::Value;

use crate::stage::{JSON, SECRET, Service, Stage};

/// Posts `{"title"}` to the JSON bridge; it must be kept.
async fn post(stage: &Stage, service: &Service, title: &str) {
    let body = serde_json::json!({ "title": title, "id": title }).to_string();
    let request = stage.client.post(service.hook("json")).bearer_auth(SECRET);
    let answer = request.body(body).send().await.unwrap();
    assert_eq!(answer.status(), 202, "{title}");
}

/// What a command prints, when it ends well.
async fn ask(stage: &Stage, arguments: &[&str]) -> String {
    let (well, out, error) = run(stage, arguments).await;
    assert!(well, "{arguments:?}: {error}");
    out
}

async fn run(stage: &Stage, arguments: &[&str]) -> (bool, String, String) {
    let ended = stage.program(arguments).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        ended.status.success(),
        text(ended.stdout),
        text(ended.stderr),
    )
}

async fn ask_json(stage: &Stage, arguments: &[&str]) -> Value {
    serde_json::from_str(&ask(stage, arguments).await).unwrap()
}

/// Waits until one delivery is in this state.
async fn until_state(stage: &Stage, state: &str) {
    stage
        .until(state, async || {
            let rows = ask_json(stage, &["deliveries", "--json", "--state", state]).await;
            rows.as_array().is_some_and(|rows| !rows.is_empty())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_openim_refused_is_found_and_sent_when_its_cause_is_mended() {
    let bridge = JSON.replace("group:ops", "group:#g_later");
    let stage = Stage::set(&[("json", &bridge)]).await;
    let service = stage.serve().await;
    post(&stage, &service, "first").await;
    post(&stage, &service, "second").await;
    stage
        .until("two refused", async || {
            let rows = ask_json(&stage, &["deliveries", "--json", "--state", "refused"]).await;
            rows.as_array().unwrap().len() == 2
        })
        .await;

    let listed = ask(&stage, &["deliveries", "--state", "refused"]).await;
    assert!(listed.contains("no such group"), "{listed}");
    let shown = ask(&stage, &["deliveries", "show", "1"]).await;
    assert!(shown.contains("attempt 1"), "{shown}");
    assert!(shown.contains("first"), "{shown}");

    stage
        .sandbox
        .create_group("g_later", "Later", &["u_li", "bridge_bot"]);
    let said = ask(
        &stage,
        &["deliveries", "retry", "--all", "--state", "refused"],
    )
    .await;
    assert_eq!(said.trim(), "2 put back");
    let texts = stage.texts_when("later", 2).await;
    assert!(
        texts[0].contains("first") && texts[1].contains("second"),
        "{texts:?}"
    );
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn retrying_everything_by_accident_is_not_possible() {
    let stage = Stage::set(&[("json", JSON)]).await;
    stage.serve().await.stop().await;
    for arguments in [
        &["deliveries", "retry"][..],
        &["deliveries", "retry", "--all"],
        &["deliveries", "cancel", "--all"],
    ] {
        let (well, _, error) = run(&stage, arguments).await;
        assert!(
            !well && error.contains("say which"),
            "{arguments:?}: {error}"
        );
    }
    let (well, _, error) = run(&stage, &["deliveries", "show", "77"]).await;
    assert!(
        !well && error.contains("there is no delivery 77"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_mean_nothing_end_with_2_and_name_the_right_ones() {
    let stage = Stage::set(&[("json", JSON)]).await;
    stage.serve().await.stop().await;
    for (arguments, said) in [
        (
            &["deliveries", "--state", "refusd"][..],
            "did you mean `refused`",
        ),
        (
            &["deliveries", "--state", "stored,gone"],
            "`gone` is no state; there are: waiting, ",
        ),
        (&["events", "--state", "bogus"], "`bogus` is no state"),
        (&["events", "--since", "never"], "`never` is no moment"),
        (
            &["events", "export", "--until", "5"],
            "write `2h`, `3d` or `2026-11-25T14:00:00Z`",
        ),
        (&["events", "-n", "0"], "0 is not in 1.."),
        (&["deliveries", "-n", "0"], "0 is not in 1.."),
        (
            &["deliveries", "conversations", "-n", "0"],
            "0 is not in 1..",
        ),
        (
            &["events", "prune", "--older-than", "old"],
            "`old` is no span of time",
        ),
        (
            &["events", "prune", "--max-size", "big"],
            "`big` is no size",
        ),
        (&["deliveries", "retry"], "say which"),
        (&["deliveries", "cancel", "--all"], "say which"),
        (
            &["deliveries", "retry", "1", "--bridge", "json"],
            "leave the other flags out",
        ),
        (
            &["deliveries", "show", "first"],
            "neither a number nor the id",
        ),
        (
            &["deliveries", "hold", "ops"],
            "`ops` is not a conversation",
        ),
    ] {
        let ended = stage.program(arguments).output().await.unwrap();
        let error = String::from_utf8(ended.stderr).unwrap();
        assert!(error.contains(said), "{arguments:?}: {error}");
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {error}");
        assert_eq!(ended.stdout, b"", "{arguments:?}");
    }
    // What is asked for rightly and is not there is a no.
    for arguments in [
        &["deliveries", "show", "77"][..],
        &["deliveries", "hold", "group:nosuch"],
    ] {
        let ended = stage.program(arguments).output().await.unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_bridge_that_is_none_is_told_and_what_one_kept_before_it_was_taken_out_is_listed()
 {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;
    post(&stage, &service, "kept").await;
    assert!(service.stop().await);

    for (arguments, printed) in [
        (&["events", "--bridge", "jsn"][..], "no event fits\n"),
        (&["deliveries", "--bridge", "jsn"], "no delivery fits\n"),
        (&["events", "--bridge", "jsn", "--json"], "[]\n"),
        (&["deliveries", "export", "--bridge", "jsn"], ""),
        (
            &["deliveries", "cancel", "--all", "--bridge", "jsn"],
            "no delivery fits\n",
        ),
    ] {
        let (well, out, error) = run(&stage, arguments).await;
        assert!(well, "{arguments:?}: {error}");
        assert_eq!(out, printed, "{arguments:?}");
        assert_eq!(
            error, "note: no bridge `jsn` is configured; did you mean `json`?\n",
            "{arguments:?}"
        );
    }
    // A shipped rule-book is no bridge that takes webhooks.
    let (_, _, error) = run(&stage, &["events", "--bridge", "gitlab"]).await;
    assert_eq!(
        error,
        "note: no bridge `gitlab` is configured; there are: json\n"
    );
    let (_, _, error) = run(&stage, &["events", "--bridge", "json", "--kind", "x"]).await;
    assert_eq!(error, "", "this one is there");

    std::fs::rename(
        stage.path("bridges/json.toml"),
        stage.path("bridges/other.toml"),
    )
    .unwrap();
    let (well, out, error) = run(&stage, &["events", "--bridge", "json"]).await;
    assert!(well && out.contains("kept"), "{out}");
    assert_eq!(error, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_conversation_waits_until_it_is_released_and_keeps_its_order() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;
    post(&stage, &service, "before").await;
    stage.texts_when("ops", 1).await;

    ask(
        &stage,
        &["deliveries", "hold", "group:ops", "--why", "a party"],
    )
    .await;
    post(&stage, &service, "one").await;
    post(&stage, &service, "two").await;
    let held = ask(&stage, &["deliveries", "conversations", "--held"]).await;
    assert!(
        held.contains("a party") && held.contains("group:#g_ops"),
        "{held}"
    );
    let waiting = ask_json(&stage, &["deliveries", "--json", "--state", "waiting"]).await;
    assert_eq!(waiting.as_array().unwrap().len(), 2);

    let said = ask(&stage, &["deliveries", "cancel", "3"]).await;
    assert_eq!(said.trim(), "1 cancelled");
    post(&stage, &service, "three").await;
    ask(&stage, &["deliveries", "release", "group:ops"]).await;
    let texts = stage.texts_when("ops", 3).await;
    for (text, word) in texts.iter().zip(["before", "one", "three"]) {
        assert!(text.contains(word), "{texts:?}");
    }
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_route_took_is_replayed_through_todays_rules() {
    let nowhere = JSON.replace("to = ", "on = [\"alarm\"]\nto = ");
    let stage = Stage::set(&[("json", &nowhere)]).await;
    let service = stage.serve().await;
    post(&stage, &service, "nobody hears").await;
    let listed = ask(&stage, &["events", "--unrouted"]).await;
    assert!(
        listed.contains("no route") && listed.contains("nobody hears"),
        "{listed}"
    );

    stage.write("bridges/json.toml", JSON);
    let would = ask(&stage, &["events", "replay", "1"]).await;
    assert!(
        would.contains("would be sent") && would.contains("nobody hears"),
        "{would}"
    );
    assert_eq!(stage.texts("ops").len(), 0);
    ask(&stage, &["events", "replay", "1", "--yes"]).await;
    let texts = stage.texts_when("ops", 1).await;
    assert!(texts[0].contains("nobody hears"), "{texts:?}");

    // Again it says that it is there, and says nothing twice.
    until_state(&stage, "stored").await;
    let again = ask(&stage, &["events", "replay", "1", "--yes"]).await;
    assert!(again.contains("has it"), "{again}");
    let exported = ask(&stage, &["events", "export"]).await;
    let line: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    assert_eq!(line["routed"], true);
    assert!(line["body"].as_str().unwrap().contains("nobody hears"));
    assert_eq!(stage.texts("ops").len(), 1);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_there_over_http() {
    let bridge = JSON.replace("group:ops", "group:#g_later");
    let stage = Stage::set(&[("json", &bridge)]).await;
    let service = stage.serve().await;
    post(&stage, &service, "over http").await;
    until_state(&stage, "refused").await;
    let api = format!("http://{}/api", service.console);
    let get = async |path: &str| -> Value {
        let answer = reqwest::get(format!("{api}{path}")).await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    };
    let post_to = async |path: &str| {
        let answer = stage.client.post(format!("{api}{path}")).send().await;
        let answer = answer.unwrap();
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        (status, body)
    };

    let events = get("/events?bridge=json").await;
    assert_eq!(events["events"][0]["became"]["refused"], 1);
    let number = events["events"][0]["number"].as_i64().unwrap();
    let event = get(&format!("/events/{number}")).await;
    assert!(event["body"].as_str().unwrap().contains("over http"));
    let listed = get("/deliveries?state=refused&since=1h").await;
    let id = listed["deliveries"][0]["id"].as_str().unwrap().to_owned();
    let delivery = get(&format!("/deliveries/{id}")).await;
    assert_eq!(delivery["attempts"][0]["number"], 1);

    let (status, _) = post_to("/deliveries/retry").await;
    assert_eq!(status, 400, "everything is not a filter");
    let (status, why) = post_to("/deliveries/retry?state=refusd").await;
    assert_eq!(status, 400);
    assert!(
        why["error"].as_str().unwrap().contains("`refused`"),
        "{why}"
    );
    let (status, _) = post_to("/deliveries/999/retry").await;
    assert_eq!(status, 404);

    stage
        .sandbox
        .create_group("g_later", "Later", &["u_li", "bridge_bot"]);
    let (status, tally) = post_to("/deliveries/retry?state=refused").await;
    assert_eq!((status, &tally["done"]), (200, &1.into()));
    stage.texts_when("later", 1).await;
    until_state(&stage, "stored").await;
    let (status, dry) = post_to(&format!("/events/{number}/replay?dry_run=true&again=true")).await;
    assert_eq!(status, 200);
    assert_eq!(dry["conversations"][0]["now"], "sent");
    assert_eq!(dry["made"], Value::Null);
    let (status, _) = post_to("/conversations/group:%23g_later/hold?why=tea").await;
    assert_eq!(status, 200);
    let lanes = get("/conversations").await;
    assert_eq!(lanes["conversations"][0]["held"], "tea");
    let (status, _) = post_to("/conversations/group:%23g_later/release").await;
    assert_eq!(status, 200);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_the_story_of_what_came_and_went() {
    let stage = Stage::set(&[("json", JSON)]).await;
    let service = stage.serve().await;
    post(&stage, &service, "counted").await;
    until_state(&stage, "stored").await;
    let refused = stage
        .client
        .post(service.hook("json"))
        .body("{}")
        .send()
        .await;
    assert_eq!(refused.unwrap().status(), 401);
    let stranger = stage
        .client
        .post(service.hook("nobody"))
        .body("{}")
        .send()
        .await;
    assert_eq!(stranger.unwrap().status(), 401);

    let address = format!("http://{}/metrics", service.console);
    let answer = reqwest::get(address).await.unwrap();
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = String::from_utf8(answer.bytes().await.unwrap().to_vec()).unwrap();
    for line in [
        r#"openim_bridge_webhooks_total{bridge="json",answer="kept"} 1"#,
        r#"openim_bridge_refused_total{bridge="json",reason="missing"} 1"#,
        r#"openim_bridge_refused_total{bridge="",reason="unknown_bridge"} 1"#,
        r#"openim_bridge_sends_total{verdict="accepted"} 1"#,
        r#"openim_bridge_deliveries{state="stored"} 1"#,
        r#"openim_bridge_step_seconds_count{step="keep"} 1"#,
        r#"openim_bridge_step_seconds_count{step="accept"} 1"#,
        r#"openim_bridge_step_seconds_count{step="store"} 1"#,
        "openim_bridge_openim_down 0",
    ] {
        assert!(text.lines().any(|has| has == line), "{line} in\n{text}");
    }
    assert!(service.stop().await);
}
