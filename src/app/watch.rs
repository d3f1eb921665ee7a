//! Notices that files of the directory changed: by the system's notices, and by a look every few seconds where those do
//! not come (network file systems, some mounts).
//!
//! Directories are watched, never files: an editor that replaces a file, and a mounted directory whose link is swapped,
//! are seen only so.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify_debouncer_full::notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{
    DebounceEventResult, DebouncedEvent, Debouncer, RecommendedCache, new_debouncer,
};
use tokio::sync::Notify;

use crate::model::Clock;

/// How long the files must be quiet before they are read: an editor writes several at once.
const QUIET: Duration = Duration::from_millis(300);

/// Rings when files may have changed. What it rings for is only worth a look: contents decide.
pub struct Watch {
    rung: Arc<Notify>,
    _watcher: Option<Debouncer<RecommendedWatcher, RecommendedCache>>,
}

impl Watch {
    /// Watches `directory` and everything below it, except files that begin with `outbox`: its database is written all
    /// the time.
    pub fn start(directory: &Path, outbox: &Path) -> Watch {
        let rung = Arc::new(Notify::new());
        let bell = rung.clone();
        let outbox = outbox
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let ring = move |seen: DebounceEventResult| {
            let matters = match seen {
                Ok(events) => events.iter().any(|event| matters(event, outbox.as_deref())),
                Err(_) => true,
            };
            if matters {
                bell.notify_one();
            }
        };
        let watcher = new_debouncer(QUIET, None, ring).and_then(|mut watcher| {
            watcher.watch(directory, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watcher = match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "the system gives no notice of changed files; they are looked at every 5 s");
                None
            }
        };
        Watch {
            rung,
            _watcher: watcher,
        }
    }

    /// Returns when files may have changed, after `longest` at the latest.
    pub async fn rung(&self, longest: Duration, clock: &Clock) {
        tokio::select! {
            () = self.rung.notified() => {}
            () = clock.sleep(longest) => {}
        }
    }
}

/// Whether an event may have changed what the files say. Reading them is an event too, and must not ring.
fn matters(event: &DebouncedEvent, outbox: Option<&str>) -> bool {
    let is_outbox = |path: &std::path::PathBuf| {
        let Some(outbox) = outbox else { return false };
        let name = path.file_name().map(|name| name.to_string_lossy());
        // Beside the outbox stands a folder of refused requests.
        let refused = format!("{outbox}.refused");
        name.is_some_and(|name| name.starts_with(outbox))
            || path.iter().any(|name| *name == *refused)
    };
    !event.kind.is_access() && !event.paths.iter().all(is_outbox)
}
