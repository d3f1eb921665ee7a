//! The floor of free space: below it nothing new is kept, so that the courier can still write down what it does.

use std::path::PathBuf;

use crate::outbox::OutboxError;

/// How much space the outbox leaves free where it lives.
#[derive(Clone, Debug)]
pub(super) struct Room {
    folder: PathBuf,
    floor: u64,
}

impl Room {
    /// The room in the file system of `folder`; at least `floor` bytes of it stay free.
    pub fn new(folder: PathBuf, floor: u64) -> Room {
        Room { folder, floor }
    }

    /// Whether there is room to keep something new.
    ///
    /// # Errors
    /// [`OutboxError::NoRoom`] below the floor. A file system that cannot be asked is no reason to refuse: the write will tell.
    pub fn look(&self) -> Result<(), OutboxError> {
        let free = match rustix::fs::statvfs(&self.folder) {
            Ok(it) => it.f_bavail.saturating_mul(it.f_frsize),
            Err(_) => return Ok(()),
        };
        if free >= self.floor {
            return Ok(());
        }
        Err(OutboxError::NoRoom(format!(
            "{} has {} MiB free, and {} MiB stay free for the deliveries under way",
            self.folder.display(),
            free >> 20,
            self.floor >> 20
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_floor_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();

        assert!(Room::new(folder.path().into(), 0).look().is_ok());
        let error = Room::new(folder.path().into(), u64::MAX)
            .look()
            .unwrap_err();

        assert!(matches!(error, OutboxError::NoRoom(text) if text.contains("MiB free")));
    }
}
