//! Opens the outbox that the settings name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::Clock;
use crate::outbox::postgres::{self, PostgresOutbox};
use crate::outbox::sqlite::{self, SqliteOutbox};
use crate::outbox::{Outbox, Window};
use crate::settings::Place;

/// Opens the outbox at `place` for a service; a relative file begins in `directory`.
///
/// # Errors
/// Says why it cannot be opened.
pub async fn open(
    place: &Place,
    directory: &Path,
    window: Window,
    clock: Clock,
) -> Result<Arc<dyn Outbox>, String> {
    open_as(SqliteOutbox::open, place, directory, window, clock).await
}

/// Opens the outbox at `place` beside the services that work on it: to ask, and to change rows. It must not claim or look.
///
/// # Errors
/// Says why it cannot be opened.
pub async fn open_beside(
    place: &Place,
    directory: &Path,
    window: Window,
    clock: Clock,
) -> Result<Arc<dyn Outbox>, String> {
    open_as(SqliteOutbox::open_beside, place, directory, window, clock).await
}

/// How a file is opened; in PostgreSQL every process is one beside others.
type OpenFile = fn(PathBuf, sqlite::Options, Clock) -> Result<SqliteOutbox, sqlite::OpenError>;

async fn open_as(
    open_file: OpenFile,
    place: &Place,
    directory: &Path,
    window: Window,
    clock: Clock,
) -> Result<Arc<dyn Outbox>, String> {
    match place {
        Place::Sqlite(file) => {
            let options = sqlite::Options {
                window,
                ..sqlite::Options::default()
            };
            let outbox = open_file(directory.join(file), options, clock);
            Ok(Arc::new(outbox.map_err(|error| error.to_string())?))
        }
        Place::Postgres(address) => {
            let options = postgres::Options {
                window,
                ..postgres::Options::default()
            };
            let outbox = PostgresOutbox::open(address, options, clock).await;
            Ok(Arc::new(outbox.map_err(|error| error.to_string())?))
        }
    }
}
