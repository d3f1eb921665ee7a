//! The bell between replicas: LISTEN and NOTIFY. What it brings is only speed. Nothing relies on it: the courier looks by
//! itself every second.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;

use super::Store;
use super::address::Address;
use super::pool::Failed;
use crate::model::Clock;

/// The wait before a lost connection is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Rings all replicas.
pub(super) const RING: &str = "SELECT pg_notify('openim_bridge_' || current_schema(), '')";

/// Held by every service, shared, for as long as it listens: a move into the database wants it alone. The number is ours.
pub(super) const PRESENCE: &str = "hashtext('openim_bridge_' || current_schema()), 1";

/// Others are rung at most this often: many events in a row are one ring.
const SHORTEST: Duration = Duration::from_millis(20);

/// Hears the others and rings them, until the outbox is dropped.
pub(super) async fn run(address: Address, store: Weak<Store>) {
    let clock = Clock::system(); // a lever must not silence it
    while let Some(there) = store.upgrade() {
        let (bell, ring_others) = (there.bell.clone(), there.ring_others.clone());
        let closing = there.closing.clone();
        if there.closed.load(Ordering::Acquire) {
            return;
        }
        drop(there);
        tokio::select! {
            heard = hear(&address, &bell, &ring_others, &clock) => {
                if let Err(error) = heard {
                    tracing::debug!(%error, "the bell between replicas is silent");
                }
            }
            () = closing.notified() => return,
        }
        bell.notify_one(); // something may have been missed
        tokio::select! {
            () = clock.sleep(TRY_AGAIN) => {}
            () = closing.notified() => return,
        }
    }
}

async fn hear(
    address: &Address,
    bell: &Arc<Notify>,
    ring_others: &Arc<Notify>,
    clock: &Clock,
) -> Result<(), Failed> {
    let connector = address.connector().map_err(Failed::NoConnection)?;
    let (client, mut connection) = address.config().connect(connector).await?;
    let rung = bell.clone();
    // Our own rings come back as well, once it is known which those are they are not heard.
    let own = Arc::new(AtomicI32::new(0));
    let ours = own.clone();
    let mut hearing = tokio::spawn(async move {
        loop {
            match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(note)))
                    if note.process_id() != ours.load(Ordering::Relaxed) =>
                {
                    rung.notify_one();
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    });
    // Each outbox of a database has a channel of its own. A ring needs no disk.
    client
        .batch_execute(&format!(
            "SET synchronous_commit = off; SET statement_timeout = '10s';
             SELECT pg_advisory_lock_shared({PRESENCE});
             DO $$ BEGIN EXECUTE format('LISTEN %I', 'openim_bridge_' || current_schema()); END $$"
        ))
        .await?;
    let number = client.query_one("SELECT pg_backend_pid()", &[]).await?;
    own.store(number.try_get(0)?, Ordering::Relaxed);
    loop {
        tokio::select! {
            _ended = &mut hearing => return Ok(()),
            () = ring_others.notified() => {
                client.execute(RING, &[]).await?;
                clock.sleep(SHORTEST).await;
            }
        }
    }
}
