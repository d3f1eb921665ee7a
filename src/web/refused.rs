//! The last refused requests of a bridge, kept as files for a look where the bridge wishes it.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::sync::Semaphore;

use super::limits::Limiter;
use crate::bridge::Bridge;
use crate::intake::Request;
use crate::intake::authenticate::diagnose::{BODY_HIDDEN, FROM, KEPT, RECEIVED, as_sent};
use crate::intake::authenticate::{Refusal, redact};
use crate::model::Timestamp;

/// A longer body is not kept, in bytes. Signatures of whole bodies only can be explained.
pub(super) const LONGEST_BODY: usize = 256 * 1024;

/// So many of a bridge are written in a minute: whoever is refused must not wear out the disk.
const A_MINUTE: u32 = 60;

/// So many of a bridge wait to be written, each with at most [`LONGEST_BODY`].
const MOST_WAITING: usize = 16;

/// Keeps refused requests in `<folder>/<bridge>/`. Nothing is kept of a bridge that does not say `keep_refused`.
#[derive(Debug)]
pub struct RefusedRequests {
    folder: PathBuf,
    pace: Limiter<String>,
    words: Limiter<String>,
    desks: Mutex<HashMap<String, Arc<Desk>>>,
}

/// Where the requests of one bridge are written, one after the other: those of another bridge never wait for them.
#[derive(Debug)]
struct Desk {
    places: Arc<Semaphore>,
    writer: tokio::sync::Mutex<()>,
    left_out: AtomicU64,
}

impl Default for Desk {
    fn default() -> Desk {
        Desk {
            places: Arc::new(Semaphore::new(MOST_WAITING)),
            writer: tokio::sync::Mutex::default(),
            left_out: AtomicU64::new(0),
        }
    }
}

impl RefusedRequests {
    /// Beside the outbox, under its name.
    pub fn beside(outbox: &Path) -> RefusedRequests {
        let mut folder = outbox.as_os_str().to_owned();
        folder.push(".refused");
        RefusedRequests {
            folder: folder.into(),
            pace: Limiter::new(Duration::from_secs(60)),
            words: Limiter::new(Duration::from_secs(60)),
            desks: Mutex::default(),
        }
    }

    /// A copy of a request, before it is known whether it will be refused; `None` when the bridge does not want it.
    pub(super) fn copy(&self, bridge: &Bridge, request: &Request) -> Option<Request> {
        let wanted = bridge.keep_refused > 0 && request.body.len() <= LONGEST_BODY;
        wanted.then(|| request.clone())
    }

    /// Writes a refused request in its own time. When many wait, or there were many, it is left out, and that is said once a
    /// minute.
    pub(super) fn keep(
        &self,
        bridge: &Arc<Bridge>,
        request: Request,
        refusal: &Refusal,
        now: Timestamp,
    ) {
        let desk = self.desk(&bridge.name);
        let place = desk.places.clone().try_acquire_owned().ok();
        let in_pace = || self.pace.take(bridge.name.clone(), A_MINUTE, now).is_ok();
        let Some(place) = place.filter(|_| in_pace()) else {
            desk.left_out.fetch_add(1, Ordering::Relaxed);
            if self.words.take(bridge.name.clone(), 1, now).is_ok() {
                tracing::warn!(
                    bridge.name = bridge.name,
                    left_out = desk.left_out.swap(0, Ordering::Relaxed),
                    "more webhooks are refused than are kept for a look"
                );
            }
            return;
        };
        let folder = self.folder.join(&bridge.name);
        let name = format!(
            "{}-{}.http",
            now.strftime("%Y%m%dT%H%M%S%.6fZ"),
            refusal.word()
        );
        let (bridge, refusal) = (bridge.clone(), refusal.clone());
        let written = move || {
            let Some(auth) = &bridge.auth else { return };
            let body = request.body.clone();
            let redacted = redact(auth, request);
            let is_hidden = redacted.body != body;
            let text = told(redacted, &refusal, is_hidden, now).to_text();
            if let Err(error) = write(&folder, &name, &text, bridge.keep_refused) {
                tracing::warn!(%error, "a refused webhook could not be kept for a look");
            }
        };
        // Nobody waits for it, so nobody can tell how long it takes.
        tokio::spawn(async move {
            let turn = desk.writer.lock().await;
            let _ = tokio::task::spawn_blocking(written).await;
            drop((turn, place));
        });
    }

    fn desk(&self, bridge: &str) -> Arc<Desk> {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.entry(bridge.to_owned()).or_default().clone()
    }
}

/// The request with what is known about it as headers, which no sender signs.
fn told(mut request: Request, refusal: &Refusal, is_hidden: bool, now: Timestamp) -> Request {
    request = as_sent(request);
    let peer = request.peer;
    let mut tell = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            request.headers.insert(HeaderName::from_static(name), value);
        }
    };
    tell(KEPT, refusal.to_string());
    if let Some(peer) = peer {
        tell(FROM, peer.to_canonical().to_string());
    }
    tell(RECEIVED, now.to_string());
    if is_hidden {
        tell(BODY_HIDDEN, "in the body".to_owned());
    }
    request
}

/// Writes one file, only for the service's own account, and takes the oldest away when there are too many.
fn write(folder: &Path, name: &str, text: &[u8], most: usize) -> std::io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(folder.join(name))?;
    file.write_all(text)?;
    let mut kept: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "http")
        })
        .collect();
    // Their names begin with their times.
    kept.sort();
    let oldest = kept.len().saturating_sub(most);
    for path in &kept[..oldest] {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
