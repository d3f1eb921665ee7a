//! What the service tells its operator, in the chat that `bridges/notices.toml` names: at most once an hour each, and once
//! more when it is over. What was told is known from the outbox, so a restart or another replica does not tell it again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use super::Rules;
use crate::bridge::{NOTICES, RuleBook};
use crate::deliver::{Courier, ServerTrouble};
use crate::intake::{self, Passed};
use crate::model::{Clock, DeliveryState, State, Timestamp};
use crate::outbox::{Counts, Filter, LaneRecord, NewEvent, Outbox, OutboxError, Page};
use crate::web::Seen;

/// How often it is looked whether there is something to tell.
const ROUND: Duration = Duration::from_secs(5);

/// The same thing is told no more often.
const AT_MOST_EVERY: Duration = Duration::from_secs(60 * 60);

/// Requests that are not authentic count for this long.
const REFUSED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// So many of them within that time are worth a notice: one is somebody's slip.
const REFUSED_MANY: u64 = 3;

/// A conversation whose oldest message has waited for less is not worth a notice.
const SHORT_WAIT: Duration = Duration::from_secs(5 * 60);

/// An outage that was shorter is not worth a notice.
const SHORT_OUTAGE: Duration = Duration::from_secs(60);

/// So many rows are looked at to find what is to be told, and what was told.
const ROWS: usize = 500;

/// Looks, and tells.
pub(super) struct Notices {
    pub outbox: Arc<dyn Outbox>,
    pub rules: Arc<Rules>,
    pub book: Arc<ArcSwap<RuleBook>>,
    pub courier: Courier,
    pub seen: Arc<Seen>,
    pub clock: Clock,
    /// Requests that were not authentic so far, by bridge, at each look.
    pub refused: BTreeMap<String, VecDeque<(Timestamp, u64)>>,
    /// The outage that is not over.
    pub outage: Option<ServerTrouble>,
    /// When the last one was: what still waits from it is no destination's fault.
    pub outage_ended: Option<Timestamp>,
    /// Whether nobody else works on the outbox: then what this process does not see is not there.
    pub alone: bool,
    /// What this process was the last to tell, with its mark.
    pub told_here: BTreeMap<(String, String), i64>,
}

/// Something that is wrong now.
#[derive(Debug)]
struct Trouble {
    /// What it is about: `template`, `destination`.
    about: &'static str,
    /// Which one: a bridge, a conversation; empty where there is only one.
    name: String,
    /// Grows when there is news about it; the same is not told again.
    mark: i64,
    facts: Value,
}

/// What was told last about one thing.
#[derive(Debug)]
struct Told {
    about: String,
    name: String,
    open: bool,
    mark: i64,
    /// When it was last told that something is wrong.
    began: Option<Timestamp>,
}

impl Told {
    fn key(&self) -> (String, String) {
        (self.about.clone(), self.name.clone())
    }

    /// Whether news of this mark is to be told: once an hour, also where it was over in between.
    fn wants_more(&self, mark: i64, now: Timestamp) -> bool {
        let rested = |began| now.duration_since(began).unsigned_abs() >= AT_MOST_EVERY;
        self.mark < mark && self.began.is_none_or(rested)
    }
}

/// How long after it was told a matter that this process does not see may still last. Requests and rules are each process's
/// own: what another replica has told lasts there until it would have told it again; before a restart it was our own.
fn lasts_at_least(about: &str, told_here: bool, alone: bool) -> Duration {
    match about {
        "requests" | "rules" if !told_here && !alone => AT_MOST_EVERY + REFUSED_WITHIN,
        "requests" if !told_here => REFUSED_WITHIN,
        _ => Duration::ZERO,
    }
}

/// The kinds of one matter: while it lasts, and when it is over.
const KINDS: [(&str, &str, &str); 5] = [
    ("template", "template.broken", "template.mended"),
    ("requests", "requests.refused", "requests.quiet"),
    ("destination", "destination.refuses", "destination.takes"),
    ("messages", "messages.unproven", "messages.settled"),
    ("rules", "rules.broken", "rules.mended"),
];

impl Notices {
    /// Looks and tells for ever; whoever drops it ends it.
    pub async fn run(mut self) {
        loop {
            self.clock.sleep(ROUND).await;
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "the operator's notices could not be looked after");
            }
        }
    }

    /// One look.
    async fn round(&mut self) -> Result<(), OutboxError> {
        let now = self.clock.now();
        if self.book.load().notices().is_none() {
            return Ok(());
        }
        self.tell_of_the_outage(now).await?;
        let troubles = self.troubles(now).await?;
        let told = self.told().await?;
        for trouble in &troubles {
            let last = told
                .iter()
                .find(|told| told.about == trouble.about && told.name == trouble.name);
            if last.is_none_or(|last| last.wants_more(trouble.mark, now)) {
                let (about, name) = (trouble.about, &trouble.name);
                self.tell(about, name, true, trouble.mark, &trouble.facts)
                    .await?;
                let key = (about.to_owned(), name.clone());
                self.told_here.insert(key, trouble.mark);
            }
        }
        for last in told.iter().filter(|last| last.open) {
            let lasts = troubles
                .iter()
                .any(|trouble| trouble.about == last.about && trouble.name == last.name);
            if !lasts
                && self.may_say_over(last, now)
                && self.is_over(&last.about, &last.name, last.mark).await?
            {
                self.tell(&last.about, &last.name, false, last.mark, &json!({}))
                    .await?;
                self.told_here.remove(&last.key());
            }
        }
        Ok(())
    }

    fn may_say_over(&self, last: &Told, now: Timestamp) -> bool {
        let here = self.told_here.get(&last.key()) == Some(&last.mark);
        let wait = lasts_at_least(&last.about, here, self.alone);
        let since = |began| now.duration_since(began).unsigned_abs();
        last.began.is_none_or(|began| since(began) >= wait)
    }

    /// Everything that is wrong now and that a notice is for.
    async fn troubles(&mut self, now: Timestamp) -> Result<Vec<Trouble>, OutboxError> {
        let counts = self.outbox.counts(now).await?;
        let mut troubles = self.refused_requests(now);
        troubles.extend(self.broken_templates(&counts).await?);
        troubles.extend(self.refusing_destinations(&counts).await?);
        troubles.extend(self.waiting_destinations(&counts, now, &troubles).await?);
        if counts.unproven > 0 {
            troubles.push(Trouble {
                about: "messages",
                name: String::new(),
                mark: now.as_second(),
                facts: json!({ "count": counts.unproven, "since": counts.oldest_unsettled }),
            });
        }
        if let Some(trouble) = self.rules.trouble() {
            troubles.push(Trouble {
                about: "rules",
                name: String::new(),
                mark: self.rules.broken_since().map_or(0, Timestamp::as_second),
                facts: json!({ "reason": trouble.what }),
            });
        }
        Ok(troubles)
    }

    fn refused_requests(&mut self, now: Timestamp) -> Vec<Trouble> {
        let book = self.book.load();
        let mut troubles = Vec::new();
        for bridge in book.doors() {
            // A bridge that was not there at the last look had refused nothing.
            let looks = self
                .refused
                .entry(bridge.name.clone())
                .or_insert_with(|| [(now, 0)].into());
            looks.push_back((now, self.seen.not_authentic(&bridge.name)));
            while let Some((at, _)) = looks.get(1)
                && now.duration_since(*at).unsigned_abs() >= REFUSED_WITHIN
            {
                looks.pop_front();
            }
            let (Some((since, before)), Some((_, after))) = (looks.front(), looks.back()) else {
                continue;
            };
            let count = after.saturating_sub(*before);
            if count >= REFUSED_MANY {
                troubles.push(Trouble {
                    about: "requests",
                    name: bridge.name.clone(),
                    mark: now.as_second(),
                    facts: json!({ "count": count, "since": since }),
                });
            }
        }
        troubles
    }

    async fn broken_templates(&self, counts: &Counts) -> Result<Vec<Trouble>, OutboxError> {
        self.by_name(counts, "template", &[DeliveryState::Unrendered], |row| {
            row.bridge.clone()
        })
        .await
    }

    async fn refusing_destinations(&self, counts: &Counts) -> Result<Vec<Trouble>, OutboxError> {
        let states = [DeliveryState::Refused, DeliveryState::Dead];
        let mut troubles = self
            .by_name(counts, "destination", &states, |row| {
                row.conversation.to_string()
            })
            .await?;
        // What was refused stays refused; the destination is in trouble only until it has taken something after that.
        let mut still = Vec::new();
        for trouble in troubles.drain(..) {
            if !self
                .is_over("destination", &trouble.name, trouble.mark)
                .await?
            {
                still.push(trouble);
            }
        }
        Ok(still)
    }

    /// Conversations that have let their oldest message wait, while the others go on: muted, dismissed, unknown.
    async fn waiting_destinations(
        &self,
        counts: &Counts,
        now: Timestamp,
        known: &[Trouble],
    ) -> Result<Vec<Trouble>, OutboxError> {
        let short = |moment: Timestamp| now.duration_since(moment).unsigned_abs() < SHORT_WAIT;
        let nobodys_fault = self.outage.is_some() || self.outage_ended.is_some_and(short);
        let waiting = counts.deliveries.get(&DeliveryState::Waiting);
        if nobodys_fault || waiting.is_none_or(|many| *many == 0) {
            return Ok(Vec::new());
        }
        let mut troubles = Vec::new();
        let lanes = self.outbox.list_lanes(None, newest(ROWS)).await?;
        let stuck = |lane: &LaneRecord| lane.waiting > 0 && lane.held.is_none();
        for lane in lanes.into_iter().filter(stuck) {
            // Whatever else it waits for is no word of OpenIM.
            let reason = lane.waits_for.as_deref();
            let Some(reason) = reason.and_then(|reason| reason.strip_prefix("later: ")) else {
                continue;
            };
            let filter = Filter {
                destination: Some(lane.lane.to_string()),
                states: vec![DeliveryState::Waiting],
                ..Filter::default()
            };
            let heads = self.outbox.list_deliveries(filter, oldest(1)).await?;
            let Some(head) = heads.first().filter(|head| !short(head.kept)) else {
                continue;
            };
            let name = head.conversation.to_string();
            if head.bridge == NOTICES || known.iter().any(|it| it.name == name) {
                continue;
            }
            troubles.push(Trouble {
                about: "destination",
                name,
                // It is over when this one is taken.
                mark: head.number - 1,
                facts: json!({ "count": lane.waiting, "reason": reason, "waits": true }),
            });
        }
        Ok(troubles)
    }

    /// The newest deliveries in these states, counted by a name.
    async fn by_name(
        &self,
        counts: &Counts,
        about: &'static str,
        states: &[DeliveryState],
        name: impl Fn(&crate::outbox::DeliveryRecord) -> String,
    ) -> Result<Vec<Trouble>, OutboxError> {
        if states
            .iter()
            .all(|state| counts.deliveries.get(state).is_none_or(|many| *many == 0))
        {
            return Ok(Vec::new());
        }
        let filter = Filter {
            states: states.to_vec(),
            ..Filter::default()
        };
        let rows = self.outbox.list_deliveries(filter, newest(ROWS)).await?;
        let mut found: BTreeMap<String, (i64, u64, Option<String>)> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.bridge != NOTICES) {
            // The newest comes first: its number marks the news, its reason is told.
            let entry = found
                .entry(name(row))
                .or_insert_with(|| (row.number, 0, row.reason.clone()));
            entry.1 += 1;
        }
        let troubles = found
            .into_iter()
            .map(|(name, (mark, count, reason))| Trouble {
                about,
                name,
                mark,
                facts: json!({ "count": count, "reason": reason }),
            });
        Ok(troubles.collect())
    }

    /// Whether a matter that is not found any more is over. A destination is when it has taken something since.
    async fn is_over(&self, about: &str, name: &str, mark: i64) -> Result<bool, OutboxError> {
        if about != "destination" {
            return Ok(true);
        }
        let filter = Filter {
            destination: Some(name.to_owned()),
            states: vec![DeliveryState::Accepted, DeliveryState::Stored],
            ..Filter::default()
        };
        let rows = self.outbox.list_deliveries(filter, newest(1)).await?;
        Ok(rows.first().is_some_and(|row| row.number > mark))
    }

    async fn tell_of_the_outage(&mut self, now: Timestamp) -> Result<(), OutboxError> {
        let present = self.courier.server_trouble();
        if present.is_some() {
            self.outage = present;
            return Ok(());
        }
        let Some(outage) = self.outage.take() else {
            return Ok(());
        };
        self.outage_ended = Some(now);
        let lasted: Duration = now
            .duration_since(outage.since)
            .try_into()
            .unwrap_or_default();
        if lasted < SHORT_OUTAGE {
            return Ok(());
        }
        let facts = json!({ "since": outage.since, "reason": outage.why });
        self.keep(
            "openim.back",
            "openim",
            "",
            false,
            outage.since.as_second(),
            &facts,
        )
        .await
    }

    /// What was told last about each thing.
    async fn told(&self) -> Result<Vec<Told>, OutboxError> {
        let filter = Filter {
            bridge: Some(NOTICES.to_owned()),
            ..Filter::default()
        };
        let mut told: Vec<Told> = Vec::new();
        for record in self.outbox.list_events(filter, newest(ROWS)).await? {
            let subject = record.event.subject.as_str();
            let (about, name) = subject.split_once(' ').unwrap_or((subject, ""));
            let open = record.event.state == Some(State::Open);
            let began = open.then_some(record.kept);
            let mut known = told.iter_mut();
            if let Some(known) = known.find(|known| known.about == about && known.name == name) {
                known.began = known.began.or(began);
                continue;
            }
            let mark = record.event.id.as_str().rsplit(' ').next();
            told.push(Told {
                about: about.to_owned(),
                name: name.to_owned(),
                open,
                mark: mark.and_then(|mark| mark.parse().ok()).unwrap_or(0),
                began,
            });
        }
        Ok(told)
    }

    async fn tell(
        &self,
        about: &str,
        name: &str,
        open: bool,
        mark: i64,
        facts: &Value,
    ) -> Result<(), OutboxError> {
        let Some((_, begins, ends)) = KINDS.iter().find(|(known, _, _)| *known == about) else {
            return Ok(());
        };
        let kind = if open { begins } else { ends };
        self.keep(kind, about, name, open, mark, facts).await
    }

    async fn keep(
        &self,
        kind: &str,
        about: &str,
        name: &str,
        open: bool,
        mark: i64,
        facts: &Value,
    ) -> Result<(), OutboxError> {
        let now = self.clock.now();
        let mut told = json!({
            "kind": kind,
            "about": about,
            "name": name,
            "state": if open { "open" } else { "closed" },
            "severity": if open { "warning" } else { "info" },
            "id": format!("{kind} {name} {} {mark}", now.as_second()),
            "time": now,
        });
        if let (Some(told), Some(facts)) = (told.as_object_mut(), facts.as_object()) {
            told.extend(facts.clone());
        }
        let passed = intake::announce(&self.book.load(), &told, now);
        let Some(Ok(Passed::Event {
            event,
            routed,
            deliveries,
        })) = passed
        else {
            return Ok(());
        };
        tracing::info!(event.kind = kind, name, "the operator is told");
        let new = NewEvent {
            event: Arc::new(*event),
            routed,
            deliveries,
        };
        self.outbox.keep(new).await.map(|_| ())
    }
}

fn newest(most: usize) -> Page {
    Page {
        after: None,
        most,
        oldest_first: false,
    }
}

fn oldest(most: usize) -> Page {
    Page {
        oldest_first: true,
        ..newest(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_replica_has_told_is_not_over_because_we_do_not_see_it() {
        let an_hour = AT_MOST_EVERY + REFUSED_WITHIN;
        for about in ["requests", "rules"] {
            assert_eq!(lasts_at_least(about, false, false), an_hour);
            assert_eq!(lasts_at_least(about, true, false), Duration::ZERO);
        }
        assert_eq!(lasts_at_least("requests", false, true), REFUSED_WITHIN);
        assert_eq!(lasts_at_least("rules", false, true), Duration::ZERO);
        assert_eq!(lasts_at_least("destination", false, false), Duration::ZERO);
    }

    #[test]
    fn what_comes_and_goes_is_told_once_an_hour() {
        let now: Timestamp = "2026-07-02T10:00:00Z".parse().unwrap();
        let told = |open, began| Told {
            about: "rules".to_owned(),
            name: String::new(),
            open,
            mark: 7,
            began,
        };
        let after = |minutes: i64| now + jiff::SignedDuration::from_mins(minutes);
        for open in [true, false] {
            let told = told(open, Some(now));
            assert!(!told.wants_more(8, after(59)));
            assert!(told.wants_more(8, after(60)));
            assert!(!told.wants_more(7, after(60)), "it is the same");
        }
        assert!(told(false, None).wants_more(8, now));
    }
}
