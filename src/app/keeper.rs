//! Looks after the outbox: renders again what a template could not say when the rules have changed, and removes what is old.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::bridge::RuleBook;
use crate::model::Clock;
use crate::outbox::{Outbox, OutboxError, Prune};
use crate::settings::StorageSettings;
use crate::web::desk::render_again;

/// How often it is looked whether the rules have changed.
const ROUND: Duration = Duration::from_secs(2);

/// How often old events are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

/// So many events are removed at once: the door waits no longer than for so many.
const CHUNK: usize = 200;

/// A breath between two chunks, so that webhooks come between them.
const BETWEEN: Duration = Duration::from_millis(50);

/// Looks after the outbox.
pub(super) struct Keeper {
    pub outbox: Arc<dyn Outbox>,
    pub book: Arc<ArcSwap<RuleBook>>,
    pub storage: StorageSettings,
    pub clock: Clock,
}

impl Keeper {
    /// Looks for ever; whoever drops it ends it.
    pub async fn run(self) {
        let mut rendered_with = String::new();
        let mut prune_next = self.clock.now();
        loop {
            let book = self.book.load_full();
            if book.digest != rendered_with {
                match render_again(&*self.outbox, &book, self.clock.now()).await {
                    Ok(mended) => {
                        rendered_with.clone_from(&book.digest);
                        if mended > 0 {
                            tracing::info!(
                                messages = mended,
                                "what a template could not say goes out now"
                            );
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "messages could not be rendered again yet");
                    }
                }
            }
            let now = self.clock.now();
            if now >= prune_next {
                prune_next = now.saturating_add(PRUNE_EVERY).unwrap_or(now);
                if let Err(error) = self.prune().await {
                    tracing::warn!(%error, "old events could not be removed");
                }
            }
            self.clock.sleep(ROUND).await;
        }
    }

    async fn prune(&self) -> Result<(), OutboxError> {
        let rule = Prune::of(self.clock.now(), self.storage.keep, self.storage.max_size);
        let (mut emptied, mut forgotten) = (0, 0);
        loop {
            let chunk = self.outbox.prune(rule, CHUNK).await?;
            emptied += chunk.emptied;
            forgotten += chunk.forgotten;
            if !chunk.more {
                break;
            }
            self.clock.sleep(BETWEEN).await;
        }
        if emptied + forgotten > 0 {
            tracing::info!(emptied, forgotten, "old events were removed");
        }
        Ok(())
    }
}
