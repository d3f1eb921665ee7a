//! How the service is, from all rooms: for health and for the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Rules;
use crate::deliver::Courier;
use crate::model::{
    Clock, DeliveryState, Gauges, Health, Meters, SenderHealth, Timestamp, Trouble,
};
use crate::outbox::Outbox;
use crate::web::Seen;

/// The rooms that are asked.
pub(super) struct Report {
    pub rules: Arc<Rules>,
    pub outbox: Arc<dyn Outbox>,
    pub courier: Courier,
    pub seen: Arc<Seen>,
    pub meters: Arc<Meters>,
    pub clock: Clock,
    pub started: Timestamp,
}

impl Report {
    /// How the service is.
    pub async fn health(&self) -> Health {
        let mut troubles: Vec<Trouble> = self.rules.trouble().into_iter().collect();
        if let Some(trouble) = self.courier.server_trouble() {
            troubles.push(Trouble {
                part: "openim",
                what: format!("{} (since {:.0})", trouble.why, trouble.since),
            });
        }
        let probe = self.outbox.probe().await;
        let takes_webhooks = probe.is_ok();
        if let Err(error) = probe {
            troubles.push(Trouble {
                part: "outbox",
                what: error.to_string(),
            });
        }
        let counts = self
            .outbox
            .counts(self.clock.now())
            .await
            .unwrap_or_default();
        let unrendered = counts.deliveries.get(&DeliveryState::Unrendered);
        if let Some(count) = unrendered.filter(|count| **count > 0) {
            troubles.push(Trouble {
                part: "templates",
                what: format!("messages that a template could not render, kept: {count}"),
            });
        }
        let deliveries: BTreeMap<&'static str, u64> = counts
            .deliveries
            .iter()
            .map(|(state, count)| (state.word(), *count))
            .collect();
        Health {
            ok: troubles.is_empty(),
            takes_webhooks,
            rule_book: self.rules.in_use(),
            troubles,
            deliveries,
            unrouted: counts.unrouted,
            since: format!("{:.0}", self.started),
            bridges: self
                .rules
                .book()
                .load()
                .doors()
                .map(|door| {
                    let sender = SenderHealth {
                        secrets: self.seen.secrets(door),
                        refused: self.seen.refusals(&door.name),
                    };
                    (door.name.clone(), sender)
                })
                .collect(),
            refused: self.seen.refusals(""),
        }
    }

    /// What it counts and times, in Prometheus' text format.
    pub async fn metrics(&self) -> String {
        let now = self.clock.now();
        let counts = self.outbox.counts(now).await.unwrap_or_default();
        let ago = |moment: Option<Timestamp>| {
            moment.map_or(Duration::ZERO, |moment| {
                now.duration_since(moment).try_into().unwrap_or_default()
            })
        };
        let rule_book = self.rules.in_use();
        let gauges = Gauges {
            refused: self.seen.all_refusals(),
            oldest_waiting: ago(counts.oldest_waiting),
            deliveries: counts.deliveries,
            events: counts.events,
            unrouted: counts.unrouted,
            oldest_unsettled: ago(counts.oldest_unsettled),
            unclear: counts.unclear,
            unproven: counts.unproven,
            held: counts.held,
            dropped: counts.dropped,
            possible_repeats: counts.possible_repeats,
            bytes: counts.bytes,
            openim_down_since: self.courier.server_trouble().map(|trouble| trouble.since),
            rule_book: (rule_book.digest, rule_book.from == "directory"),
        };
        self.meters.text(&gauges, now)
    }
}
