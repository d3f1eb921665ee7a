//! A load generator: keep-alive connections that post one request after another and time the answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a run gave.
pub struct Figures {
    /// Answers with 200 or 202, per second.
    pub per_second: f64,
    /// The median time of an answer.
    pub p50: Duration,
    /// 99 of 100 were answered within this time.
    pub p99: Duration,
    /// Answers with another status.
    pub others: u64,
}

/// Posts `body` with `headers`, each request with an id of its own in `x-github-delivery`, over `connections`
/// connections for `span`.
pub async fn run(
    address: SocketAddr,
    path: &str,
    headers: &str,
    body: &[u8],
    connections: usize,
    span: Duration,
) -> Figures {
    run_for(
        address,
        path,
        headers,
        body,
        connections,
        Until::Passed(span),
    )
    .await
}

#[derive(Clone, Copy)]
enum Until {
    Passed(Duration),
    Answers(usize),
}

async fn run_for(
    address: SocketAddr,
    path: &str,
    headers: &str,
    body: &[u8],
    connections: usize,
    until: Until,
) -> Figures {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let length = body.len();
    let head: Arc<str> =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n{headers}")
            .into();
    let body: Arc<[u8]> = body.into();
    let process = std::process::id();
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (head, body) = (head.clone(), body.clone());
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address)
                .await
                .expect("the server listens");
            stream.set_nodelay(true).expect("a TCP socket takes it");
            let (mut times, mut others) = (Vec::new(), 0_u64);
            let mut answer = vec![0; 4096];
            let goes_on = |done: usize| match until {
                Until::Passed(span) => start.elapsed() < span,
                Until::Answers(count) => done < count,
            };
            while goes_on(times.len() + others as usize) {
                let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
                let id = format!("x-github-delivery: {process}-{serial}\r\n\r\n");
                let wire = [head.as_bytes(), id.as_bytes(), &body].concat();
                let began = Instant::now();
                stream.write_all(&wire).await.expect("the server reads");
                match read_status(&mut stream, &mut answer).await {
                    200 | 202 => times.push(began.elapsed()),
                    _ => others += 1,
                }
            }
            (times, others)
        }));
    }
    let (mut times, mut others) = (Vec::new(), 0);
    for task in tasks {
        let (some, other) = task.await.expect("no connection panics");
        times.extend(some);
        others += other;
    }
    let elapsed = start.elapsed().as_secs_f64();
    times.sort();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times.get(place).copied().unwrap_or_default()
    };
    Figures {
        per_second: times.len() as f64 / elapsed,
        p50: at(0.5),
        p99: at(0.99),
        others,
    }
}

/// Posts one request over a connection of its own.
pub async fn one(address: SocketAddr, path: &str, headers: &str, body: &[u8]) {
    let figures = run_for(address, path, headers, body, 1, Until::Answers(1)).await;
    assert_eq!(figures.others, 0, "the webhook is taken");
}

/// Reads one answer with a `content-length`; gives its status.
async fn read_status(stream: &mut TcpStream, buffer: &mut [u8]) -> u16 {
    let mut filled = 0;
    loop {
        let read = stream
            .read(&mut buffer[filled..])
            .await
            .expect("the server answers");
        assert!(read > 0, "the server hung up");
        filled += read;
        let text = std::str::from_utf8(&buffer[..filled]).expect("an answer is text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length: usize = head
            .to_ascii_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
            .expect("an answer says its length");
        if body.len() >= length {
            return head[9..12].parse().expect("an answer has a status");
        }
    }
}
