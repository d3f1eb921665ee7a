//! What the engine in a database promises beyond the suite: see `replicas`. Here is how the suite runs over it.

use std::sync::Arc;

use openim_bridge::model::Clock;
use openim_bridge::outbox::postgres::{Options, PostgresOutbox};
use openim_bridge::outbox::{Outbox, Window};

use super::Engine;
use crate::database::{Schema, shared};

/// A schema with an outbox in it.
pub struct Database(pub Schema<'static>);

impl Database {
    pub fn new() -> Database {
        Database(shared().schema())
    }

    /// Opens the outbox, as a replica or a command does.
    pub fn opened(&self, options: Options, clock: &Clock) -> Arc<PostgresOutbox> {
        let address = self.0.address();
        let open = PostgresOutbox::open(&address, options, clock.clone());
        let opened =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(open));
        Arc::new(opened.unwrap())
    }
}

impl Engine for Database {
    fn open_with(&self, window: Window, clock: &Clock) -> Arc<dyn Outbox> {
        // Whoever had it open is gone, for longer than the leases last.
        self.0.end_leases();
        let options = Options {
            window,
            ..Options::default()
        };
        self.opened(options, clock)
    }

    fn beside(&self, clock: &Clock) -> Arc<dyn Outbox> {
        self.opened(Options::default(), clock)
    }

    fn crash(&mut self) {
        self.0.break_connections();
    }
}
