//! The last refused requests of a bridge, kept as files for a look where the bridge wishes it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
const LONGEST_BODY: usize = 256 * 1024;

/// So many of a bridge are written in a minute: whoever is refused must not wear out the disk.
const A_MINUTE: u32 = 60;

/// Keeps refused requests in `<folder>/<bridge>/`. Nothing is kept of a bridge that does not say `keep_refused`.
#[derive(Debug)]
pub struct RefusedRequests {
    folder: PathBuf,
    pace: Limiter<String>,
    writer: Arc<Semaphore>,
}

impl RefusedRequests {
    /// Beside the outbox, under its name.
    pub fn beside(outbox: &Path) -> RefusedRequests {
        let mut folder = outbox.as_os_str().to_owned();
        folder.push(".refused");
        RefusedRequests {
            folder: folder.into(),
            pace: Limiter::new(Duration::from_secs(60)),
            writer: Arc::new(Semaphore::new(1)),
        }
    }

    /// A copy of a request, before it is known whether it will be refused; `None` when the bridge does not want it.
    pub(super) fn copy(&self, bridge: &Bridge, request: &Request) -> Option<Request> {
        let wanted = bridge.keep_refused > 0 && request.body.len() <= LONGEST_BODY;
        wanted.then(|| request.clone())
    }

    /// Writes a refused request in its own time. When the writer is busy, or there were many, it is left out.
    pub(super) fn keep(
        &self,
        bridge: &Arc<Bridge>,
        request: Request,
        refusal: &Refusal,
        now: Timestamp,
    ) {
        if self.pace.take(bridge.name.clone(), A_MINUTE, now).is_err() {
            return;
        }
        let Ok(turn) = self.writer.clone().try_acquire_owned() else {
            return;
        };
        let folder = self.folder.join(&bridge.name);
        let name = format!(
            "{}-{}.http",
            now.strftime("%Y%m%dT%H%M%S%.6fZ"),
            refusal.word()
        );
        let (bridge, refusal) = (bridge.clone(), refusal.clone());
        // Nobody waits for it, so nobody can tell how long it takes.
        tokio::task::spawn_blocking(move || {
            let Some(auth) = &bridge.auth else { return };
            let body = request.body.clone();
            let redacted = redact(auth, request);
            let is_hidden = redacted.body != body;
            let text = told(redacted, &refusal, is_hidden, now).to_text();
            if let Err(error) = write(&folder, &name, &text, bridge.keep_refused) {
                tracing::warn!(%error, "a refused webhook could not be kept for a look");
            }
            drop(turn);
        });
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
