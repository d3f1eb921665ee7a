//! Keeps events in groups: whatever queued during the last commit is the next group, so no timer is needed.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Store;
use super::keep::{Group, Identity, Keep};
use super::pool::Failed;
use crate::outbox::{Kept, OutboxError};

/// At most so many events in one commit: larger groups only add latency.
const GROUP: usize = 64;

/// At most so many bytes in one commit, so that a few large bodies do not make everybody wait for all of them.
const GROUP_BYTES: usize = 4 << 20;

/// An event that waits to be kept.
pub(super) struct Waiting {
    pub keep: Keep,
    pub caller: oneshot::Sender<Result<Kept, OutboxError>>,
    /// Its place among the bytes that may wait.
    pub place: OwnedSemaphorePermit,
}

/// What comes through the keeper's queue.
pub(super) enum Order {
    /// Something to keep.
    Keep(Box<Waiting>),
    /// Keep what stands before this, and say so.
    Close(oneshot::Sender<()>),
}

/// Keeps until it is told to close, or nobody can ask any more.
pub(super) async fn run(store: Arc<Store>, mut orders: mpsc::Receiver<Order>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(order) => order,
            None => match orders.recv().await {
                Some(order) => order,
                None => return,
            },
        };
        let (group, left) = gather(first, &mut orders);
        keep(&store, group).await;
        match left {
            Some(Order::Close(done)) => {
                orders.close();
                while let Ok(order) = orders.try_recv() {
                    match order {
                        Order::Keep(waiting) => answer(*waiting, Err(OutboxError::Closed)),
                        Order::Close(done) => drop(done.send(())),
                    }
                }
                let _gone = done.send(());
                return;
            }
            left => next = left,
        }
    }
}

/// What queued up since the last commit, as far as it fits into one group, and what came after it. Who is gone by now is
/// left out. Two that share an identity are not kept in one group: the second is a repeat of the first.
fn gather(first: Order, orders: &mut mpsc::Receiver<Order>) -> (Vec<Waiting>, Option<Order>) {
    let mut group: Vec<Waiting> = Vec::new();
    let mut identities = BTreeSet::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(order) = next {
        match order {
            Order::Close(_) => return (group, Some(order)),
            Order::Keep(waiting) if waiting.caller.is_closed() => {}
            Order::Keep(waiting) => {
                let full = group.len() >= GROUP || bytes >= GROUP_BYTES;
                let its: Vec<Identity> = waiting.keep.identities().collect();
                if full || its.iter().any(|identity| identities.contains(identity)) {
                    return (group, Some(Order::Keep(waiting)));
                }
                identities.extend(its);
                bytes += waiting.keep.bytes();
                group.push(*waiting);
            }
        }
        next = orders.try_recv().ok();
    }
    (group, None)
}

/// Keeps a group, and answers each caller. Where it fails, each is tried alone: one of them may be the reason, and the
/// others shall not suffer for it. An error of the commit itself ends there: nobody knows, so nothing is promised.
async fn keep(store: &Arc<Store>, group: Vec<Waiting>) {
    if group.is_empty() {
        return;
    }
    let mut callers = Vec::with_capacity(group.len());
    let mut keeps = Vec::with_capacity(group.len());
    for waiting in group {
        callers.push((waiting.caller, waiting.place));
        keeps.push(waiting.keep);
    }
    let keeps = Arc::new(keeps);
    match try_to_keep(store, keeps.clone()).await {
        Ok(kept) => {
            for ((caller, place), kept) in callers.into_iter().zip(kept) {
                drop(place); // before the answer: who asks again after it finds the place free
                let _gone = caller.send(Ok(kept));
            }
        }
        Err(failed) if keeps.len() > 1 && failed.is_about_rows() => {
            let Ok(keeps) = Arc::try_unwrap(keeps) else {
                return; // nobody else holds it any more: its transaction has ended
            };
            for ((caller, place), keep) in callers.into_iter().zip(keeps) {
                let alone = try_to_keep(store, Arc::new(vec![keep])).await;
                drop(place);
                let kept = alone.map_err(|failed| {
                    tracing::warn!(error = %failed, "the outbox could not keep an event");
                    OutboxError::from(failed)
                });
                let kept = kept.and_then(|kept| {
                    let none = || OutboxError::Broken("nothing was kept".to_owned());
                    kept.into_iter().next().ok_or_else(none)
                });
                let _gone = caller.send(kept);
            }
        }
        Err(failed) => {
            tracing::warn!(error = %failed, events = callers.len(), "the outbox could not keep events");
            let error = OutboxError::from(failed);
            for (caller, place) in callers {
                drop(place);
                let _gone = caller.send(Err(error.clone()));
            }
        }
    }
}

async fn try_to_keep(store: &Arc<Store>, keeps: Arc<Vec<Keep>>) -> Result<Vec<Kept>, Failed> {
    let group = Group {
        keeps: keeps.clone(),
        terms: store.terms(store.clock.now()),
    };
    let done = store.connections.transact(&group).await?;
    store.wrote();
    if keeps
        .iter()
        .zip(&done.kept)
        .any(|(keep, kept)| keep.rings(kept))
    {
        store.bell.notify_one();
        if done.for_others {
            store.ring_others.notify_one();
        }
    }
    Ok(done.kept)
}

fn answer(waiting: Waiting, kept: Result<Kept, OutboxError>) {
    drop(waiting.place);
    let _gone = waiting.caller.send(kept);
}
