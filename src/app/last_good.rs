//! The last rule-book that passed, kept beside the outbox: a restart with a broken directory runs on it.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::bridge::problem::Sources;

/// The file that holds the sources of the last rule-book that passed.
#[derive(Clone, Debug)]
pub struct LastGood(PathBuf);

impl LastGood {
    /// Beside the outbox's file: `openim-bridge.db` → `openim-bridge.db.rules`.
    pub fn beside(outbox: &Path) -> LastGood {
        let mut name = outbox.as_os_str().to_owned();
        name.push(".rules");
        LastGood(name.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was kept; `None` when nothing was, or it cannot be read.
    pub fn find(&self) -> Option<Sources> {
        let text = std::fs::read(&self.0).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps these sources in place of the ones before: a crash in between leaves the old ones whole.
    pub fn keep(&self, sources: &Sources) -> std::io::Result<()> {
        let mut beside = self.0.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file = owner_only(&beside)?;
        file.write_all(&serde_json::to_vec(sources)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.0)
    }
}

#[cfg(unix)]
fn owner_only(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
fn owner_only(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::File::create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_nothing_is_found_in_a_torn_file() {
        let place = tempfile::tempdir().unwrap();
        let last = LastGood::beside(&place.path().join("x.db"));
        assert_eq!(last.find(), None);

        let sources = Sources::from([("bridges/a.toml".to_owned(), "x = 1".to_owned())]);
        last.keep(&sources).unwrap();
        assert_eq!(last.find(), Some(sources));

        std::fs::write(last.path(), b"{\"bridges/a").unwrap();
        assert_eq!(last.find(), None);
    }
}
