//! Bodies of strangers: what they may cost, and what their answers tell.

use std::io::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A bridge whose sender signs the body, which may be long.
const SIGNED: &str = r#"
secrets  = ["env:SECRET"]
max_body = "3MB"

[auth]
scheme    = "hmac-sha256"
signature = "header:x-sign"
format    = "{hex}"

[event]
title = "body.title"

[[route]]
to = ["group:ops"]
"#;

const FALSE: (&str, &str) = (
    "x-sign",
    "0000000000000000000000000000000000000000000000000000000000000000",
);

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// What a stranger hears: the status, the headers without the date, the text.
async fn heard(
    door: &Entrance,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (StatusCode, String, String) {
    let mut request = door.client.post(door.at(path)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let headers = answer.headers().iter();
    let headers: Vec<_> = headers
        .filter(|(name, _)| !["date", "connection"].contains(&name.as_str()))
        .map(|named| format!("{named:?}"))
        .collect();
    (status, headers.join("\n"), text(answer).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_hears_the_same_of_a_bridge_that_exists_and_of_none_whatever_its_body() {
    let door = Entrance::open(&[("signed", SIGNED), ("token", TOKEN)], "");
    let gzip = ("content-encoding", "gzip");
    let guess = ("authorization", "Bearer guess");
    type Case<'c> = (&'c [(&'c str, &'c str)], Vec<u8>);
    let cases: [Case<'_>; 9] = [
        (&[], b"{}".to_vec()),
        (&[FALSE, guess], b"{}".to_vec()),
        (&[], vec![b'a'; 1_500_000]),
        (&[FALSE, guess], vec![b'a'; 5_000_000]),
        (&[gzip], b"no gzip".to_vec()),
        (&[gzip, FALSE, guess], b"no gzip".to_vec()),
        (&[gzip, FALSE, guess], packed(&vec![b'a'; 5_000_000])),
        (&[("content-encoding", "br"), FALSE, guess], b"{}".to_vec()),
        (&[("content-type", "text/xml")], b"<a/>".to_vec()),
    ];
    for (headers, body) in cases {
        let unknown = heard(&door, "/hooks/unknown", headers, body.clone()).await;
        assert_eq!(unknown.0, StatusCode::UNAUTHORIZED);
        for path in ["/hooks/signed", "/hooks/token"] {
            let known = heard(&door, path, headers, body.clone()).await;
            assert_eq!(known, unknown, "{path} {headers:?} {}", body.len());
        }
    }
    // The operator hears what it was.
    let all = door.here().seen.all_refusals();
    assert_eq!(all["token"], [("missing", 4), ("mismatch", 5)].into());
    let signed = [
        ("missing", 4),
        ("mismatch", 1),
        ("body_too_large", 2),
        ("body_encoding", 2),
    ];
    assert_eq!(all["signed"], signed.into());

    // Who has shown the token hears it too.
    let bearer = format!("Bearer {SECRET}");
    let known = [("authorization", bearer.as_str())];
    let long = heard(&door, "/hooks/token", &known, vec![b'a'; 1_500_000]).await;
    assert_eq!(long.0, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Begins a webhook to a bridge and leaves its last byte away.
async fn begun(door: &Entrance, bridge: &str, sign: &str, body: usize) -> TcpStream {
    let mut connection = TcpStream::connect(door.here().listener.address)
        .await
        .unwrap();
    let head = format!(
        "POST /hooks/{bridge} HTTP/1.1\r\nHost: door\r\n{sign}Content-Length: {}\r\n\r\n",
        body + 1
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let _ = connection.write_all(&vec![b'a'; body]).await;
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_together_have_one_room_and_what_finds_none_may_come_again() {
    let door = Entrance::open(
        &[("signed", SIGNED), ("token", TOKEN)],
        r#"limits = { bodies = "8MB" }"#,
    );
    let body = format!(r#"{{"title":"long","text":"{}"}}"#, "x".repeat(2_500_000));
    let sign = hex::encode(hmac(&body));
    let long = async || {
        let headers = [("x-sign", sign.as_str())];
        let answer = door.post("/hooks/signed", "192.0.2.1", &headers, &body);
        let answer = answer.await;
        let again = answer.headers().contains_key("retry-after");
        (answer.status(), again)
    };
    // Without a proof nothing is held.
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(begun(&door, "signed", "", 900_000).await);
    }
    assert_eq!(long().await, (StatusCode::ACCEPTED, false));

    let sign_of_none = format!("{}: {}\r\n", FALSE.0, FALSE.1);
    let mut holding = Vec::new();
    for _ in 0..12 {
        holding.push(begun(&door, "signed", &sign_of_none, 2_900_000).await);
    }
    // Some of them hold all the room for long bodies, for the others there is none; no short one suffers.
    let mut answers = Vec::new();
    while answers.last() != Some(&(StatusCode::SERVICE_UNAVAILABLE, true)) {
        answers.push(long().await);
        assert!(answers.len() < 500, "{answers:?}");
    }
    assert!(door.here().seen.refusals("signed")["too_many"] > 0);
    let short = door.knock("token", "192.0.2.1", SECRET, "short").await;
    assert_eq!(short.status(), StatusCode::ACCEPTED);

    // They go, and the long one that comes again is taken.
    drop(holding);
    let mut again = format!(r#"{{"title":"again","text":"{}"}}"#, "x".repeat(2_500_000));
    again.push('\n');
    let sign = hex::encode(hmac(&again));
    let mut taken = false;
    for _ in 0..500 {
        let headers = [("x-sign", sign.as_str())];
        let answer = door.post("/hooks/signed", "192.0.2.1", &headers, &again);
        if answer.await.status() == StatusCode::ACCEPTED {
            taken = true;
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(taken);
    assert_eq!(door.events().await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_floods_of_strangers_leave_the_door_awake() {
    let door = Entrance::open(&[("signed", SIGNED)], "limits = { refusals = 1000000 }");
    let bomb = packed(&vec![b'a'; 2_900_000]);
    let mut flood = tokio::task::JoinSet::new();
    for connection in 0..16 {
        let (client, address, bomb) = (door.client.clone(), door.at("/hooks/signed"), bomb.clone());
        flood.spawn(async move {
            for _ in 0..4 {
                let mut request = client.post(&address).body(bomb.clone());
                request = request.header("content-encoding", "gzip");
                if connection % 2 == 0 {
                    request = request.header(FALSE.0, FALSE.1);
                }
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            }
        });
    }
    // It answers all the while; how fast is a matter of the machine, so nothing is timed but a stop of seconds.
    let mut asked = 0;
    while !flood.is_empty() {
        while flood.try_join_next().is_some() {}
        let live = door.client.get(door.at("/live")).send();
        let live = tokio::time::timeout(Duration::from_secs(5), live).await;
        assert_eq!(live.expect("it is alive").unwrap().status(), StatusCode::OK);
        asked += 1;
    }
    assert!(asked > 1);
    let all = door.here().seen.all_refusals();
    assert_eq!(all["signed"], [("missing", 32), ("mismatch", 32)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_more_than_any_sender_sends_is_refused_at_once() {
    let door = Entrance::open(&[("signed", SIGNED)], "");
    let mut connection = TcpStream::connect(door.here().listener.address)
        .await
        .unwrap();
    let head = "POST /hooks/signed HTTP/1.1\r\nHost: door\r\nConnection: close\r\nContent-Length: 40000000\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let closed = connection.read_to_end(&mut said);
    let closed = tokio::time::timeout(Duration::from_secs(15), closed).await;
    closed.expect("nobody waits for the body").unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
}
