//! How often somebody may come in, and who waits.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_authentic_flood_is_told_to_come_again_and_other_bridges_do_not_feel_it() {
    let own = format!("max_per_second = 5\n{TOKEN}");
    let bridges = [("one", TOKEN), ("two", TOKEN), ("own", &own)];
    let door = Entrance::open(&bridges, "limits = { bridge = 2 }");
    let status = async |bridge: &str, id: &str| {
        let answer = door.knock(bridge, "192.0.2.1", SECRET, id).await;
        (
            answer.status(),
            answer.headers().contains_key("retry-after"),
        )
    };

    assert_eq!(status("one", "a").await, (StatusCode::ACCEPTED, false));
    assert_eq!(status("one", "b").await, (StatusCode::ACCEPTED, false));
    // A 4xx would be taken for a no: Alertmanager would drop the alert.
    assert_eq!(
        status("one", "c").await,
        (StatusCode::SERVICE_UNAVAILABLE, true)
    );
    assert_eq!(status("two", "a").await, (StatusCode::ACCEPTED, false));
    for id in ["a", "b", "c", "d", "e"] {
        assert_eq!(status("own", id).await, (StatusCode::ACCEPTED, false));
    }
    assert_eq!(status("own", "f").await.0, StatusCode::SERVICE_UNAVAILABLE);

    door.pull(1);
    assert_eq!(status("one", "c").await, (StatusCode::ACCEPTED, false));
    assert_eq!(door.here().seen.refusals("one")["too_many"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_use_up_nothing_of_a_bridges_room() {
    let door = Entrance::open(&[("one", TOKEN)], "limits = { bridge = 2 }");
    for _ in 0..20 {
        let answer = door.knock("one", "192.0.2.9", "guess", "x").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    let answer = door.knock("one", "192.0.2.9", SECRET, "a").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_a_limit_and_the_believed_one_counts() {
    let door = Entrance::open(&[("one", TOKEN)], "limits = { address = 3 }");
    for id in ["a", "b", "c"] {
        let answer = door.knock("one", "192.0.2.1", SECRET, id).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    let answer = door.knock("one", "192.0.2.1", SECRET, "d").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(retry_after(&answer), 1);
    // What stands before a proxy's own word is anybody's.
    let answer = door
        .knock("one", "203.0.113.7, 192.0.2.1", SECRET, "d")
        .await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let answer = door.knock("one", "192.0.2.2", SECRET, "d").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    door.pull(1);
    let answer = door.knock("one", "192.0.2.1", SECRET, "e").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_refusals_from_one_address_are_slowed_and_no_right_proof_waits_for_them() {
    let door = Entrance::open(&[("one", TOKEN)], "limits = { refusals = 3 }");
    for _ in 0..3 {
        let answer = door.knock("one", "192.0.2.1", "guess", "x").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }

    // The fourth guess waits; what is said of an unknown bridge waits as well, so that the two look alike.
    let guess = door.knock("one", "192.0.2.1", "guess", "x");
    let unknown = door.knock("unknown", "192.0.2.1", "guess", "x");
    let right = async {
        // By now both others are on their way; nothing but the lever ends their wait.
        let right = door.knock("one", "192.0.2.1", SECRET, "a").await;
        let other = door.knock("one", "192.0.2.2", "guess", "x").await;
        while door.here().seen.refusals("").is_empty()
            || door.here().seen.refusals("one")["mismatch"] < 5
        {
            tokio::task::yield_now().await;
        }
        (right.status(), other.status())
    };
    tokio::pin!(guess, unknown);
    let passed = tokio::select! {
        biased;
        _ = &mut guess => panic!("a guess did not wait"),
        _ = &mut unknown => panic!("a guess at an unknown bridge did not wait"),
        passed = right => passed,
    };
    assert_eq!(passed, (StatusCode::ACCEPTED, StatusCode::UNAUTHORIZED));
    // The waits began at most now.
    let pulling = door.keep_pulling();
    assert_eq!(guess.await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.await.status(), StatusCode::UNAUTHORIZED);
    pulling.abort();
    let all = door.here().seen.all_refusals();
    assert_eq!(all["one"], [("mismatch", 5)].into());
    assert_eq!(all[""], [("unknown_bridge", 1)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_by_bridge_and_reason() {
    let small = format!("max_body = \"100B\"\n{TIMED}");
    let door = Entrance::open(&[("one", TOKEN), ("timed", &small)], "");
    let timed = |time: i64| {
        let signature = hex::encode(hmac(&format!("{time}:{{}}")));
        (time.to_string(), signature)
    };
    door.post("/hooks/one", "192.0.2.1", &[], "{}").await;
    let bearer = format!("Bearer {SECRET}");
    let right = [("authorization", bearer.as_str())];
    door.post("/hooks/one", "192.0.2.1", &right, "{broken")
        .await;
    door.post("/hooks/one", "192.0.2.1", &right, "neither")
        .await;
    let (time, signature) = timed(START - 301);
    let late = [("x-time", time.as_str()), ("x-sign", signature.as_str())];
    door.post("/hooks/timed", "192.0.2.1", &late, "{}").await;
    let (time, _) = timed(START);
    let short = [("x-time", time.as_str()), ("x-sign", "00")];
    door.post("/hooks/timed", "192.0.2.1", &short, "{}").await;
    let odd = [("x-time", time.as_str()), ("x-sign", "zz")];
    door.post("/hooks/timed", "192.0.2.1", &odd, "{}").await;
    let twice = [
        ("x-time", time.as_str()),
        ("x-sign", "00"),
        ("x-sign", "00"),
    ];
    door.post("/hooks/timed", "192.0.2.1", &twice, "{}").await;
    door.post("/hooks/timed", "192.0.2.1", &short, &"x".repeat(101))
        .await;

    let all = door.here().seen.all_refusals();
    assert_eq!(all["one"], [("missing", 1), ("body_unreadable", 2)].into());
    let timed = [
        ("time", 1),
        ("mismatch", 1),
        ("unreadable", 1),
        ("repeated", 1),
        ("body_too_large", 1),
    ];
    assert_eq!(all["timed"], timed.into());
}

fn retry_after(response: &Response) -> u64 {
    let value = response.headers().get("retry-after").expect("it says when");
    value.to_str().unwrap().parse().unwrap()
}
