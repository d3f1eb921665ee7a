//! Opens the outbox that the settings name.

use std::path::Path;
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
    match place {
        Place::Sqlite(file) => {
            let opened = SqliteOutbox::open(directory.join(file), of_file(window), clock);
            opened.map_err(|error| error.to_string()).map(shared)
        }
        Place::Postgres(address) => {
            let opened = PostgresOutbox::open(address, of_database(window), clock).await;
            opened.map_err(|error| error.to_string()).map(shared)
        }
    }
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
    match place {
        Place::Sqlite(file) => {
            let opened = SqliteOutbox::open_beside(directory.join(file), of_file(window), clock);
            opened.map_err(|error| error.to_string()).map(shared)
        }
        Place::Postgres(address) => {
            let opened = PostgresOutbox::open_beside(address, of_database(window), clock).await;
            opened.map_err(|error| error.to_string()).map(shared)
        }
    }
}

fn of_file(window: Window) -> sqlite::Options {
    sqlite::Options {
        window,
        ..sqlite::Options::default()
    }
}

fn of_database(window: Window) -> postgres::Options {
    postgres::Options {
        window,
        ..postgres::Options::default()
    }
}

fn shared(outbox: impl Outbox + 'static) -> Arc<dyn Outbox> {
    Arc::new(outbox)
}
