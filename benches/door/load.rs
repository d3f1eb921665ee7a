//! A load generator: keep-alive connections that post one request after another and time the answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A signed request: its headers and its body.
pub type Signed = (String, Vec<u8>);

/// What a run gave.
pub struct Figures {
    /// Answers with 200 or 202.
    pub answers: usize,
    /// The same per second.
    pub per_second: f64,
    /// The median time of an answer.
    pub p50: Duration,
    /// 99 of 100 were answered within this time.
    pub p99: Duration,
    /// Answers with another status.
    pub others: usize,
}

/// When a run ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// After this time.
    Passed(Duration),
    /// After so many requests in all.
    Posted(usize),
}

/// Posts these requests in turn to `/hooks/github`, each with an id of its own in `x-github-delivery`, over so many connections.
/// Several addresses share the connections.
pub async fn run(
    addresses: &[SocketAddr],
    requests: &Arc<Vec<Signed>>,
    connections: usize,
    until: Until,
) -> Figures {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let process = std::process::id();
    let begun = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let (requests, begun) = (requests.clone(), begun.clone());
        let address = addresses[connection % addresses.len()];
        tasks.push(tokio::spawn(async move {
            let stream = TcpStream::connect(address).await;
            let mut stream = stream.expect("the server listens");
            stream.set_nodelay(true).expect("a TCP socket takes it");
            let (mut times, mut others) = (Vec::new(), 0);
            let mut answer = vec![0; 4096];
            loop {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                let goes_on = match until {
                    Until::Passed(span) => start.elapsed() < span,
                    Until::Posted(count) => number < count,
                };
                if !goes_on {
                    return (times, others);
                }
                let (headers, body) = &requests[number % requests.len()];
                let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
                let head = format!(
                    "POST /hooks/github HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n{headers}\
                     x-github-delivery: {process}-{serial}\r\n\r\n",
                    body.len()
                );
                let wire = [head.as_bytes(), body].concat();
                let began = Instant::now();
                stream.write_all(&wire).await.expect("the server reads");
                match read_status(&mut stream, &mut answer).await {
                    200 | 202 => times.push(began.elapsed()),
                    _ => others += 1,
                }
            }
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
        answers: times.len(),
        per_second: times.len() as f64 / elapsed,
        p50: at(0.5),
        p99: at(0.99),
        others,
    }
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
