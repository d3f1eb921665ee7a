//! Requests that come again.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_request_is_no_event_again_as_long_as_its_time_holds() {
    let mut door = Entrance::open(&[("timed", TIMED)], "");
    let body = r#"{"title":"the disk is full"}"#;
    assert_eq!(timed(&door, START, body).await, StatusCode::ACCEPTED);
    // The sender did not hear the answer, and signs anew.
    door.pull(20);
    assert_eq!(timed(&door, START + 20, body).await, StatusCode::OK);
    // Its reminder is news.
    door.pull(100);
    assert_eq!(timed(&door, START + 120, body).await, StatusCode::ACCEPTED);

    // A copy of the first is not, and neither is it after a restart.
    assert_eq!(timed(&door, START, body).await, StatusCode::OK);
    door.close().await;
    door.start();
    door.pull(180);
    assert_eq!(timed(&door, START, body).await, StatusCode::OK);
    assert_eq!(timed(&door, START + 120, body).await, StatusCode::OK);
    door.pull(1);
    assert_eq!(timed(&door, START, body).await, StatusCode::UNAUTHORIZED);
    assert_eq!(door.events().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_id_is_no_event_again_however_late() {
    let door = Entrance::open(&[("one", TOKEN)], "");
    let status = async || door.knock("one", "192.0.2.1", SECRET, "a").await.status();
    assert_eq!(status().await, StatusCode::ACCEPTED);
    door.pull(7 * 24 * 3600);
    assert_eq!(status().await, StatusCode::OK);
    assert_eq!(door.events().await, 1);
}

/// A bridge whose sender signs the time and the body, and not its id.
const OWN: &str = r#"
extends = "json"
secrets = ["env:SECRET"]

[auth]
scheme    = "hmac-sha256"
signature = "header:x-acme-signature"
format    = "t={timestamp},v1={hex}"
signed    = "{timestamp}.{body}"
timestamp = { within = "5m" }

[[route]]
to = ["group:ops"]
"#;

const SVIX: &str = r#"
extends = "svix"
secrets = ["env:WHSEC"]

[[route]]
to = ["group:ops"]
"#;

const LINEAR: &str = r#"
extends = "linear"
secrets = ["env:SECRET"]

[[route]]
to = ["group:ops"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_request_is_no_event_again_under_another_id_that_nobody_signed() {
    let bridges = [("own", OWN), ("svix", SVIX), ("linear", LINEAR)];
    let mut door = Entrance::open(&bridges, "");
    let time = START.to_string();

    let own = r#"{"title":"the disk is full"}"#;
    let own_proof = format!(
        "t={time},v1={}",
        hex::encode(hmac(&format!("{time}.{own}")))
    );
    let own_head = [("x-acme-signature", own_proof.as_str())];

    let svix = r#"{"type":"invoice.paid","data":{"id":"in_1"}}"#;
    let svix_proof = STANDARD.encode(hmac(&format!("msg_1.{time}.{svix}")));
    let svix_proof = format!("v1,{svix_proof}");
    let svix_head = [
        ("svix-id", "msg_1"),
        ("svix-timestamp", time.as_str()),
        ("svix-signature", svix_proof.as_str()),
    ];

    let linear = format!(
        r#"{{"type":"Issue","action":"create","webhookTimestamp":{START}000,"data":{{"id":"x","title":"t"}}}}"#
    );
    let linear_proof = hex::encode(hmac(&linear));
    let linear_head = [("linear-signature", linear_proof.as_str())];

    type Headers<'a> = &'a [(&'a str, &'a str)];
    let senders: [(&str, Headers<'_>, &str, &str); 3] = [
        ("/hooks/own", &own_head, own, "idempotency-key"),
        ("/hooks/svix", &svix_head, svix, "webhook-id"),
        ("/hooks/linear", &linear_head, &linear, "linear-delivery"),
    ];
    let post = async |door: &Entrance, number: usize, query: &str, id: Option<&str>| {
        let (path, head, body, unsigned) = senders[number];
        let mut head = head.to_vec();
        head.extend(id.map(|id| (unsigned, id)));
        let path = format!("{path}{query}");
        door.post(&path, "192.0.2.1", &head, body).await
    };
    for number in 0..senders.len() {
        let first = post(&door, number, "", Some("own")).await;
        assert_eq!(first.status(), StatusCode::ACCEPTED, "{number}");
        for (query, id) in [
            ("", Some("copied")),
            ("?title=Pay+now", None),
            ("", Some("")),
        ] {
            let copied = post(&door, number, query, id).await;
            assert_eq!(copied.status(), StatusCode::OK, "{number} {query} {id:?}");
            let answer = text(copied).await;
            assert!(answer.contains(r#""became":{"waiting":1}"#), "{answer}");
        }
    }

    door.close().await;
    door.start();
    door.pull(299);
    for number in 0..senders.len() {
        let copied = post(&door, number, "", Some("after a restart")).await;
        assert_eq!(copied.status(), StatusCode::OK, "{number}");
    }
    assert_eq!(door.events().await, 3);
    door.pull(2);
    for number in 0..senders.len() {
        let late = post(&door, number, "", Some("late")).await;
        assert_eq!(late.status(), StatusCode::UNAUTHORIZED, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_signed_anew_is_known_by_its_id_and_two_ids_that_are_signed_are_two_events()
{
    let door = Entrance::open(&[("own", OWN), ("svix", SVIX)], "");
    let own = async |time: i64, id: &str| {
        let proof = hex::encode(hmac(&format!("{time}.{{\"n\":1}}")));
        let proof = format!("t={time},v1={proof}");
        let head = [
            ("x-acme-signature", proof.as_str()),
            ("idempotency-key", id),
        ];
        let answer = door.post("/hooks/own", "192.0.2.1", &head, "{\"n\":1}");
        answer.await.status()
    };
    assert_eq!(own(START, "1").await, StatusCode::ACCEPTED);
    assert_eq!(own(START + 9, "1").await, StatusCode::OK);
    assert_eq!(own(START + 9, "a copy of the retry").await, StatusCode::OK);
    assert_eq!(own(START + 10, "2").await, StatusCode::ACCEPTED);

    let svix = async |id: &str| {
        let proof = STANDARD.encode(hmac(&format!("{id}.{START}.{{}}")));
        let (time, proof) = (START.to_string(), format!("v1,{proof}"));
        let head = [
            ("svix-id", id),
            ("svix-timestamp", time.as_str()),
            ("svix-signature", proof.as_str()),
        ];
        let answer = door.post("/hooks/svix", "192.0.2.1", &head, "{}");
        answer.await.status()
    };
    assert_eq!(svix("msg_1").await, StatusCode::ACCEPTED);
    assert_eq!(svix("msg_2").await, StatusCode::ACCEPTED);
    assert_eq!(svix("msg_1").await, StatusCode::OK);
}
