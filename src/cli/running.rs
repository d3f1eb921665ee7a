//! What the running service says about secrets: which of them are in use. A part of `check --online`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::online::{Finding, Level};
use crate::model::{Secret, SecretInUse};
use crate::settings::Settings;

/// The service is on this machine or near it.
const PATIENCE: Duration = Duration::from_secs(3);

/// A longer answer is not the one that was asked for, in bytes.
const LONGEST_ANSWER: u64 = 16 << 20;

/// The part of the health page that is needed here.
#[derive(Deserialize)]
struct Heard {
    since: String,
    bridges: BTreeMap<String, Bridge>,
}

#[derive(Deserialize)]
struct Bridge {
    secrets: Vec<SecretInUse>,
}

/// One finding for each secret of each bridge; one alone when the service cannot be asked.
pub async fn ask_service(settings: &Settings) -> Vec<Finding> {
    let address = reachable(settings.console.listen);
    let asked = tokio::time::timeout(PATIENCE, ask(address, settings.console.token.as_ref()));
    let heard = match asked.await {
        Ok(Ok(heard)) => heard,
        Ok(Err(why)) => return vec![unheard(address, &format!("{why:#}"))],
        Err(_) => return vec![unheard(address, "no answer in time")],
    };
    let mut findings = Vec::new();
    for (name, bridge) in &heard.bridges {
        for secret in &bridge.secrets {
            let says = match &secret.last {
                Some(last) => format!(
                    "last verified a webhook at {last}; {} since {}",
                    secret.verified, heard.since
                ),
                None => format!(
                    "has verified nothing since the service started, {}",
                    heard.since
                ),
            };
            findings.push(Finding {
                level: Level::Ok,
                about: format!("{} of {name}", secret.secret),
                says,
            });
        }
    }
    findings
}

fn unheard(address: SocketAddr, why: &str) -> Finding {
    Finding {
        level: Level::Warning,
        about: "service".to_owned(),
        says: format!("not running at {address} ({why}): which secrets are in use is not known"),
    }
}

/// Where a listener can be spoken to that listens everywhere.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Asks in HTTP/1.0, which has no pieces to put together.
async fn ask(address: SocketAddr, token: Option<&Secret>) -> anyhow::Result<Heard> {
    let mut connection = TcpStream::connect(address).await?;
    let token = token.and_then(Secret::expose_text);
    let token = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!("GET /health HTTP/1.0\r\nHost: {address}\r\n{token}\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut answered = connection.take(LONGEST_ANSWER);
    answered.read_to_end(&mut answer).await?;
    let head = answer
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .context("something else answers there")?;
    if answer.get(9..12) == Some(b"401") {
        bail!("it wants another token");
    }
    serde_json::from_slice(&answer[head..]).context("something else answers there")
}
