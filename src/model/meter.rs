//! What the service counts and times, for whoever graphs it: the numbers behind `GET /metrics`.
//!
//! Counters and histograms grow where something happens; gauges are read from the outbox and the breaker when somebody
//! asks. No label ever holds a value of a payload: bridges, reasons, verdicts and states are words of ours.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{DeliveryState, Timestamp};

/// Counts and times what happens. Shared by all rooms; every call is a few atomic steps.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    webhooks: Family<OfBridge, Counter>,
    refused: Family<Reason, Counter>,
    unrouted: Family<Bridge, Counter>,
    sends: Family<Verdict, Counter>,
    doubled: Counter,
    steps: Family<OfStep, Histogram, fn() -> Histogram>,
}

/// What a sender was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answered {
    /// 202: it is on disk.
    Kept,
    /// 200: it was kept before.
    Repeat,
    /// 200: it makes no event, by choice.
    Silent,
    /// 200: the answer to a challenge.
    Challenge,
    /// 401.
    NotAuthentic,
    /// 400, 405, 408, 413, 415: it was not read.
    NotRead,
    /// 429 or 503 before anything was looked at: too many.
    Flood,
    /// 503: it could not be kept, and is not promised.
    NotKept,
}

/// A step of a webhook's way, as it is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// From the head of the request to the last byte of its body.
    Read,
    /// Authenticate, parse, route, render.
    Intake,
    /// Until it is on disk.
    Keep,
    /// One request to OpenIM, from its first byte to its answer.
    Send,
    /// From the arrival of the webhook to OpenIM's receipt.
    Accept,
    /// From the receipt until the message was found in OpenIM's history.
    Store,
}

/// What is read when somebody asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Deliveries by state.
    pub deliveries: BTreeMap<DeliveryState, u64>,
    /// Events in the outbox.
    pub events: u64,
    /// Events in the outbox that no route took.
    pub unrouted: u64,
    /// How long the oldest delivery has waited to be accepted.
    pub oldest_waiting: Duration,
    /// How long the oldest accepted or unclear delivery has not been found.
    pub oldest_unsettled: Duration,
    /// Sends whose answer was lost and which are not settled.
    pub unclear: u64,
    /// Unsettled for longer than ten minutes.
    pub unproven: u64,
    /// Conversations that wait for an operator.
    pub held: u64,
    /// Messages that OpenIM lost after its success and that were sent again, since the outbox was made.
    pub dropped: u64,
    /// Messages that were sent again without proof, since the outbox was made.
    pub possible_repeats: u64,
    /// Bytes of the outbox on disk.
    pub bytes: u64,
    /// Since when OpenIM cannot be used; `None` while it can.
    pub openim_down_since: Option<Timestamp>,
    /// The digest of the rules in use, and whether they are the directory's.
    pub rule_book: (String, bool),
}

impl Default for Meters {
    fn default() -> Meters {
        Meters::new()
    }
}

impl Meters {
    /// All at zero.
    pub fn new() -> Meters {
        let mut registry = Registry::with_prefix("openim_bridge");
        let webhooks = Family::default();
        registry.register(
            "webhooks",
            "Webhooks by what their sender was answered",
            webhooks.clone(),
        );
        let refused = Family::default();
        registry.register(
            "refused",
            "Webhooks that were not authentic, by reason",
            refused.clone(),
        );
        let unrouted = Family::default();
        registry.register(
            "unrouted",
            "Events that no route took, as they came",
            unrouted.clone(),
        );
        let sends = Family::default();
        registry.register(
            "sends",
            "Requests to OpenIM that should send a message, by what became of them",
            sends.clone(),
        );
        let doubled = Counter::default();
        registry.register(
            "doubled_by_openim",
            "Messages that OpenIM stored more than once by itself",
            doubled.clone(),
        );
        let steps: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BOUNDS));
        registry.register_with_unit(
            "step",
            "How long the steps of a webhook's way take",
            Unit::Seconds,
            steps.clone(),
        );
        Meters {
            registry,
            webhooks,
            refused,
            unrouted,
            sends,
            doubled,
            steps,
        }
    }

    /// A webhook was answered. `bridge` is empty where there is none of that name: a stranger makes no label.
    pub fn answered(&self, bridge: &str, answer: Answered) {
        self.webhooks
            .get_or_create(&OfBridge {
                bridge: bridge.to_owned(),
                answer,
            })
            .inc();
    }

    /// A webhook of this bridge was not authentic, for this reason (a word of ours).
    pub fn refused(&self, bridge: &str, reason: &'static str) {
        self.refused
            .get_or_create(&Reason {
                bridge: bridge.to_owned(),
                reason,
            })
            .inc();
    }

    /// No route took an event of this bridge.
    pub fn unrouted(&self, bridge: &str) {
        self.unrouted
            .get_or_create(&Bridge {
                bridge: bridge.to_owned(),
            })
            .inc();
    }

    /// A send ended so: `accepted`, `refused`, `later`, `ambiguous`.
    pub fn sent(&self, verdict: &'static str) {
        self.sends.get_or_create(&Verdict { verdict }).inc();
    }

    /// OpenIM stored a message of ours more than once by itself.
    pub fn doubled(&self) {
        self.doubled.inc();
    }

    /// A step took so long.
    pub fn took(&self, step: Step, span: Duration) {
        self.steps
            .get_or_create(&OfStep { step })
            .observe(span.as_secs_f64());
    }

    /// How many webhooks of each bridge were not authentic so far.
    pub fn not_authentic(&self, bridge: &str) -> u64 {
        let label = OfBridge {
            bridge: bridge.to_owned(),
            answer: Answered::NotAuthentic,
        };
        self.webhooks.get(&label).map_or(0, |count| count.get())
    }

    /// Everything in Prometheus' text format (OpenMetrics 1.0).
    pub fn text(&self, gauges: &Gauges, now: Timestamp) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _never = encode(&mut text, &gauges.registry(now));
        text.truncate(text.len().saturating_sub(END.len()));
        let _never = encode(&mut text, &self.registry);
        text
    }
}

/// How an OpenMetrics text ends.
const END: &str = "# EOF\n";

/// Upper bounds of the histograms, in seconds: from a commit of half a millisecond to an outage of an hour.
const BOUNDS: [f64; 18] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
    300.0, 1200.0, 3600.0,
];

impl Gauges {
    fn registry(&self, now: Timestamp) -> Registry {
        let mut registry = Registry::with_prefix("openim_bridge");
        let deliveries = Family::<InState, Gauge>::default();
        for state in DeliveryState::ALL {
            let many = self.deliveries.get(&state).copied().unwrap_or(0);
            deliveries
                .get_or_create(&InState { state })
                .set(signed(many));
        }
        registry.register(
            "deliveries",
            "Deliveries in the outbox by state",
            deliveries,
        );
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(signed(value));
            registry.register(name, help, gauge);
        };
        gauge("events", "Events in the outbox", self.events);
        gauge(
            "unrouted_events",
            "Events in the outbox that no route took",
            self.unrouted,
        );
        gauge(
            "unclear",
            "Sends whose answer was lost and which are not settled yet",
            self.unclear,
        );
        gauge(
            "unproven",
            "Deliveries that were not found in OpenIM's history for more than ten minutes",
            self.unproven,
        );
        gauge(
            "held_conversations",
            "Conversations that wait for an operator",
            self.held,
        );
        gauge(
            "openim_down",
            "1 while OpenIM cannot be used and one delivery at a time tries",
            u64::from(self.openim_down_since.is_some()),
        );
        gauge(
            "rules_from_last_good",
            "1 while the directory is broken and older rules are used",
            u64::from(!self.rule_book.1),
        );
        let mut seconds = |name: &str, help: &str, span: Duration| {
            let gauge = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
            gauge.set(span.as_secs_f64());
            registry.register_with_unit(name, help, Unit::Seconds, gauge);
        };
        seconds(
            "oldest_waiting",
            "How long the oldest delivery that OpenIM has not accepted has waited",
            self.oldest_waiting,
        );
        seconds(
            "oldest_unsettled",
            "How long the oldest accepted or unclear delivery was not found in OpenIM's history",
            self.oldest_unsettled,
        );
        seconds(
            "openim_down_for",
            "How long OpenIM cannot be used; 0 while it can",
            self.openim_down_since.map_or(Duration::ZERO, |since| {
                now.duration_since(since).try_into().unwrap_or_default()
            }),
        );
        let bytes: Gauge = Gauge::default();
        bytes.set(signed(self.bytes));
        registry.register_with_unit("outbox", "Bytes of the outbox on disk", Unit::Bytes, bytes);
        let mut counter = |name: &str, help: &str, value: u64| {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        };
        counter(
            "dropped_by_openim",
            "Messages that OpenIM lost after it had answered success, and that were sent again",
            self.dropped,
        );
        counter(
            "possible_repeats",
            "Messages that were sent again although nothing proved that they were lost",
            self.possible_repeats,
        );
        let book = Family::<Book, Gauge>::default();
        let digest = self.rule_book.0.clone();
        book.get_or_create(&Book { digest }).set(1);
        registry.register(
            "rule_book",
            "The rules in use: equal digests, equal rules",
            book,
        );
        registry
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bridge {
    bridge: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBridge {
    bridge: String,
    answer: Answered,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    bridge: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: DeliveryState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Book {
    digest: String,
}

impl EncodeLabelValue for Answered {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Answered::Kept => "kept",
            Answered::Repeat => "repeat",
            Answered::Silent => "silent",
            Answered::Challenge => "challenge",
            Answered::NotAuthentic => "not_authentic",
            Answered::NotRead => "not_read",
            Answered::Flood => "flood",
            Answered::NotKept => "not_kept",
        }
        .encode(encoder)
    }
}

impl EncodeLabelValue for Step {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Step::Read => "read",
            Step::Intake => "intake",
            Step::Keep => "keep",
            Step::Send => "send",
            Step::Accept => "accept",
            Step::Store => "store",
        }
        .encode(encoder)
    }
}

impl EncodeLabelValue for DeliveryState {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.word().encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_one_page_with_every_state_and_what_was_counted() {
        let meters = Meters::new();
        meters.answered("github", Answered::Kept);
        meters.answered("github", Answered::Kept);
        meters.refused("github", "wrong signature");
        meters.took(Step::Keep, Duration::from_micros(1500));
        let gauges = Gauges {
            deliveries: BTreeMap::from([(DeliveryState::Waiting, 3)]),
            oldest_waiting: Duration::from_millis(2500),
            dropped: 7,
            rule_book: ("0e21".into(), true),
            ..Gauges::default()
        };

        let text = meters.text(&gauges, Timestamp::UNIX_EPOCH);

        for line in [
            r#"openim_bridge_webhooks_total{bridge="github",answer="kept"} 2"#,
            r#"openim_bridge_refused_total{bridge="github",reason="wrong signature"} 1"#,
            r#"openim_bridge_step_seconds_bucket{le="0.0025",step="keep"} 1"#,
            r#"openim_bridge_deliveries{state="waiting"} 3"#,
            r#"openim_bridge_deliveries{state="stored"} 0"#,
            "openim_bridge_oldest_waiting_seconds 2.5",
            "openim_bridge_dropped_by_openim_total 7",
            r#"openim_bridge_rule_book{digest="0e21"} 1"#,
        ] {
            assert!(text.lines().any(|has| has == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches(END).count(), 1);
        assert!(text.ends_with(END));
    }

    #[test]
    fn outages_and_broken_rules_stand_in_the_text_while_they_last() {
        let gauges = Gauges {
            openim_down_since: Some(Timestamp::UNIX_EPOCH),
            rule_book: (String::new(), false),
            ..Gauges::default()
        };
        let later = Timestamp::from_second(90).unwrap();
        let text = Meters::new().text(&gauges, later);
        for line in [
            "openim_bridge_openim_down 1",
            "openim_bridge_openim_down_for_seconds 90.0",
            "openim_bridge_rules_from_last_good 1",
        ] {
            assert!(text.lines().any(|has| has == line), "{line} in\n{text}");
        }
    }
}
