//! Looks for accepted messages in OpenIM's own history, beside the sending: many conversations in one question, in step
//! with how fast OpenIM stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use super::courier::{Desk, OUTBOX_PAUSE, random, tell_change};
use super::decide::readings::{Found, Part, Reading, Sight, Span, reaches_back, settle, spans};
use super::decide::{Outage, plus, since};
use super::openim::{NoHistory, Sign};
use crate::model::{Conversation, DeliveryId, Lane, Step, Timestamp};
use crate::outbox::{Cursor, Fate, Look, OutboxError, Settled, Unsettled};

/// Lanes of one round.
const MOST_LANES: usize = 256;

/// The most seqs of a conversation in one question. Halved while questions fail, because messages of others may be large.
const STRIDE: i64 = 200;

/// The most seqs of all conversations in one question.
const MOST_SEQS: i64 = 1000;

/// Questions under way at once.
const AT_ONCE: usize = 4;

/// How long one question may take; the sending does not wait for it, but its windows do.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The outbox is looked at this often at least: other processes write into it, too.
pub(super) const AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// After something was accepted nothing is there to be found sooner.
const NOT_SOONER: Duration = Duration::from_millis(50);

/// The waits after a question that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Messages that are remembered to notice those that stand twice.
const REMEMBERED: usize = 10_000;

/// Reads back what was sent.
pub(super) struct Reader {
    desk: Desk,
    /// Since when this process can ask. What is older was sent by one before it, and nobody may have asked since.
    began: Timestamp,
    stride: i64,
    failures: u32,
    pause_until: Option<Timestamp>,
    /// Where a delivery was found: OpenIM's id for its clients, and the seq.
    seen: HashMap<DeliveryId, (String, i64)>,
}

impl Reader {
    pub(super) fn new(desk: Desk) -> Reader {
        Reader {
            began: desk.clock.now(),
            desk,
            stride: STRIDE,
            failures: 0,
            pause_until: None,
            seen: HashMap::new(),
        }
    }

    /// Reads until `stop` comes; a round that has begun is brought to its end.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        let clock = self.desk.clock.clone();
        loop {
            let accepted = self.desk.accepted.clone();
            let rung = accepted.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let next = match self.round().await {
                Ok(next) => next,
                Err(OutboxError::Closed) => return,
                Err(error) => {
                    warn!(%error, "the outbox does not say what is to be looked for");
                    Some(plus(clock.now(), OUTBOX_PAUSE))
                }
            };
            let now = clock.now();
            let latest = plus(now, AT_LEAST_EVERY);
            let next = next.map_or(latest, |next| next.min(latest));
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = clock.sleep_until(next) => {}
                () = rung => {
                    tokio::select! {
                        biased;
                        () = &mut stop => return,
                        () = clock.sleep_until(next.min(plus(now, NOT_SOONER))) => {}
                    }
                }
            }
        }
    }

    /// One round: the lanes that are due, their history, what follows. Says when the next one is due.
    async fn round(&mut self) -> Result<Option<Timestamp>, OutboxError> {
        let now = self.desk.clock.now();
        let wait = self.desk.breaker.no_reading_before(now);
        if let Some(until) = wait.max(self.pause_until.filter(|until| *until > now)) {
            return Ok(Some(until));
        }
        match self.desk.outbox.next_due().await?.look {
            Some(due) if due <= now => {}
            due => return Ok(due),
        }
        let looks = self.desk.outbox.looks(MOST_LANES, now).await?;
        if looks.is_empty() {
            return Ok(Some(plus(now, NOT_SOONER))); // somebody else has them
        }
        let sights = self.see(&looks, now).await;
        let settled: Vec<Settled> = looks
            .iter()
            .zip(&sights)
            .map(|(look, sight)| {
                let outage = |since| self.outage(since, now);
                settle(look, sight, outage, &self.desk.policy, random())
            })
            .collect();
        for (look, settled) in looks.iter().zip(&settled) {
            self.tell(look, settled);
        }
        self.settle(settled).await?;
        self.desk.freed.notify_one();
        Ok(Some(self.desk.clock.now()))
    }

    /// The time in which nobody could ask: while the server could not be used, and before this process began. After a long
    /// standstill one bad answer must not be all that a message is called unproven for.
    fn outage(&self, since_when: Timestamp, now: Timestamp) -> Outage {
        let outage = self.desk.breaker.outage(since_when, now);
        Outage {
            lasted: outage.lasted + since(since_when, self.began.min(now)),
            ..outage
        }
    }

    /// Writes it down, however often that has to be tried: the lanes are not looked at again before.
    async fn settle(&self, settled: Vec<Settled>) -> Result<(), OutboxError> {
        loop {
            match self.desk.outbox.settle(settled.clone()).await {
                Ok(taken) => {
                    let lost = taken.iter().filter(|taken| !**taken).count();
                    if lost > 0 {
                        info!(lanes = lost, "somebody else has the lanes now and decides");
                    }
                    return Ok(());
                }
                Err(OutboxError::Closed) => return Err(OutboxError::Closed),
                Err(error) => {
                    error!(%error, "what was found is not recorded yet");
                    self.desk.clock.sleep(OUTBOX_PAUSE).await;
                }
            }
        }
    }

    /// What OpenIM shows of these lanes, in their order.
    async fn see(&mut self, looks: &[Look], now: Timestamp) -> Vec<Sight> {
        let queued = self.ask_status(looks).await;
        let mut readings = match self.desk.policy.reads_back() {
            true => self.read(looks).await,
            false => BTreeMap::new(),
        };
        let sight = |look: &Look| Sight {
            readings: conversations(look)
                .into_iter()
                .filter_map(|conversation| {
                    let reading = readings.remove(&conversation)?;
                    Some((conversation, reading))
                })
                .collect(),
            queued: look
                .unsettled
                .iter()
                .map(|unsettled| unsettled.delivery)
                .filter(|delivery| queued.contains(delivery))
                .collect(),
            at: now,
        };
        looks.iter().map(sight).collect()
    }

    /// Which of the unclear ones OpenIM says that it has queued.
    async fn ask_status(&self, looks: &[Look]) -> BTreeSet<DeliveryId> {
        let unclear = looks.iter().flat_map(|look| &look.unsettled);
        let mut waiting: Vec<&Unsettled> = unclear.filter(|one| !one.accepted).collect();
        let mut asking = JoinSet::new();
        let mut queued = BTreeSet::new();
        loop {
            while asking.len() < AT_ONCE
                && let Some(unsettled) = waiting.pop()
            {
                let desk = self.desk.clone();
                let (delivery, operation) =
                    (unsettled.delivery, unsettled.attempt.operation_id.clone());
                asking.spawn(async move {
                    let was_sent = desk.was_sent(&operation).await;
                    was_sent.then_some(delivery)
                });
            }
            match asking.join_next().await {
                Some(answer) => queued.extend(answer.ok().flatten()),
                None => return queued,
            }
        }
    }

    /// How far each conversation has come, and what is new there.
    async fn read(&mut self, looks: &[Look]) -> BTreeMap<Conversation, Reading> {
        let wanted: BTreeMap<Conversation, &Look> = looks
            .iter()
            .flat_map(|look| conversations(look).into_iter().map(move |one| (one, look)))
            .collect();
        let names: Vec<Conversation> = wanted.keys().cloned().collect();
        let newest = self.desk.openim.newest_seqs(&names);
        let newest = match within(&self.desk, newest).await {
            Ok(newest) => newest,
            Err(why) => {
                self.failed(&why);
                return BTreeMap::new();
            }
        };
        let cursor = |conversation: &Conversation| -> Cursor {
            let written = wanted[conversation].cursors.get(conversation);
            written.cloned().unwrap_or_default()
        };
        let mut first = Vec::new();
        let mut second = Vec::new();
        for (conversation, newest) in &newest {
            let asked = spans(&cursor(conversation), *newest, self.stride, false);
            let mut asked = asked.into_iter().map(|span| (conversation.clone(), span));
            first.extend(asked.next());
            second.extend(asked);
        }
        let mut parts = self.pull(first).await;
        // What begins beyond the cursor and does not reach back far enough is read through after all.
        for (conversation, part) in &parts {
            let cursor = cursor(conversation);
            let unsettled = &wanted[conversation].unsettled;
            let left_out = part.span.begin > cursor.seq + 1 && cursor.seq <= newest[conversation];
            if left_out && !reaches_back(part, unsettled, conversation) {
                let through = spans(&cursor, newest[conversation], self.stride, true);
                second.retain(|(other, _)| other != conversation);
                second.extend(through.first().map(|span| (conversation.clone(), *span)));
            }
        }
        let more = self.pull(second).await;
        parts.extend(more);
        let mut readings: BTreeMap<Conversation, Reading> = newest
            .into_iter()
            .map(|(conversation, newest)| {
                let parts = Vec::new();
                (conversation, Reading { newest, parts })
            })
            .collect();
        for (conversation, part) in parts {
            self.notice_repeats(&part.found);
            if let Some(reading) = readings.get_mut(&conversation) {
                reading.parts.push(part);
            }
        }
        readings
    }

    /// Pulls in several questions, a few at once. What failed is not among the answers.
    async fn pull(&mut self, spans: Vec<(Conversation, Span)>) -> Vec<(Conversation, Part)> {
        let mut questions = questions(spans).into_iter();
        let mut asking = JoinSet::new();
        let mut parts = Vec::new();
        loop {
            while asking.len() < AT_ONCE
                && let Some(question) = questions.next()
            {
                let desk = self.desk.clone();
                asking.spawn(async move { within(&desk, desk.openim.pull(&question)).await });
            }
            match asking.join_next().await {
                None => return parts,
                Some(Ok(Ok(answer))) => {
                    self.well();
                    parts.extend(answer);
                }
                Some(Ok(Err(why))) => self.failed(&why),
                Some(Err(error)) => error!(%error, "a question about the history broke off"),
            }
        }
    }

    fn well(&mut self) {
        self.failures = 0;
        self.pause_until = None;
        self.stride = (self.stride * 2).min(STRIDE);
        self.hear(&Sign::Well);
    }

    fn failed(&mut self, why: &NoHistory) {
        let now = self.desk.clock.now();
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        self.failures += 1;
        let pause = pause.min(LONGEST_PAUSE).mul_f64(0.5 + random() / 2.0);
        self.pause_until = Some(plus(now, pause));
        self.stride = (self.stride / 2).max(1);
        match self.failures {
            1 => warn!(%why, "OpenIM's history cannot be read"),
            _ => debug!(%why, "OpenIM's history cannot be read"),
        }
        self.hear(&why.sign);
    }

    fn hear(&self, sign: &Sign) {
        let lane = Lane::from("the history".to_owned());
        let now = self.desk.clock.now();
        let change = self.desk.breaker.hear_history(&lane, sign, now, random());
        tell_change(change);
    }

    /// OpenIM stores a message again by itself now and then, with the same id for its clients, which hide it. Another id is
    /// a repeat of ours.
    fn notice_repeats(&mut self, found: &[Found]) {
        if self.seen.len() > REMEMBERED {
            self.seen.clear();
        }
        for found in found {
            let Some(delivery) = found.delivery else {
                continue;
            };
            let place = (found.receipt.client_msg_id.clone(), found.seq);
            let Some((client, seq)) = self.seen.get(&delivery) else {
                self.seen.insert(delivery, place);
                continue;
            };
            if *seq == found.seq {
                continue;
            }
            match *client == place.0 {
                true => {
                    self.desk.meters.doubled();
                    debug!(delivery.id = %delivery, seq = found.seq, "OpenIM stored it again by itself");
                }
                false => {
                    warn!(delivery.id = %delivery, first = seq, second = found.seq, "it stands twice in the conversation");
                }
            }
            self.seen.insert(delivery, place);
        }
    }

    /// One line for each thing that was decided.
    fn tell(&self, look: &Look, settled: &Settled) {
        for settling in &settled.fates {
            let (delivery, evidence) = (settling.delivery, &settling.evidence);
            let attempt = settling.attempt;
            let of_ours = |one: &&Unsettled| one.delivery == delivery;
            let unsettled = look.unsettled.iter().find(of_ours);
            macro_rules! log {
                ($level:ident, $says:literal) => {
                    $level!(delivery.id = %delivery, lane = %look.lane.as_str(), attempt, %evidence, $says)
                };
            }
            match &settling.fate {
                Fate::Stored { .. } => {
                    if let Some(ended) = unsettled.and_then(|one| one.ended) {
                        self.desk
                            .meters
                            .took(Step::Store, since(ended, settling.at));
                    }
                    log!(info, "stored by OpenIM");
                }
                Fate::Taken => log!(info, "accepted by OpenIM, as its send status says"),
                Fate::NotTaken { .. } => log!(info, "not taken by OpenIM; it is sent again"),
                Fate::Missing => log!(debug, "missing; it is looked for once more"),
                Fate::Dropped => log!(warn, "OpenIM lost it after its success; it is sent again"),
                Fate::Unproven => {
                    log!(
                        warn,
                        "not known whether OpenIM has it; it is sent again and may stand twice"
                    );
                }
                Fate::Held => {
                    log!(
                        error,
                        "not known whether OpenIM has it; its conversation waits for you"
                    );
                }
                Fate::Dead(_) => log!(error, "given up"),
            }
        }
    }
}

/// The conversations of what is unsettled in a lane.
fn conversations(look: &Look) -> BTreeSet<Conversation> {
    let unsettled = look.unsettled.iter();
    unsettled.map(|one| one.conversation.clone()).collect()
}

/// Spans in portions that one question can carry.
fn questions(spans: Vec<(Conversation, Span)>) -> Vec<Vec<(Conversation, Span)>> {
    let mut questions: Vec<Vec<(Conversation, Span)>> = Vec::new();
    let mut seqs = 0;
    for (conversation, span) in spans {
        let more = span.end - span.begin + 1;
        if questions.is_empty() || seqs + more > MOST_SEQS {
            questions.push(Vec::new());
            seqs = 0;
        }
        seqs += more;
        if let Some(question) = questions.last_mut() {
            question.push((conversation, span));
        }
    }
    questions
}

/// An answer of the history within its time limit.
async fn within<T>(
    desk: &Desk,
    asked: impl Future<Output = Result<T, NoHistory>>,
) -> Result<T, NoHistory> {
    tokio::select! {
        answer = asked => answer,
        () = desk.clock.sleep(ANSWER_WITHIN) => {
            let why = format!("no answer within {} s", ANSWER_WITHIN.as_secs());
            Err(NoHistory { sign: Sign::Doubtful(why.clone()), why })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_conversations_are_asked_for_in_few_questions() {
        let group = |number: i64| Conversation::Group(number.to_string());
        let few = (0..500).map(|number| (group(number), Span { begin: 7, end: 8 }));
        assert_eq!(questions(few.collect()).len(), 1);
        let much = (0..10).map(|number| (group(number), Span { begin: 1, end: 200 }));
        let much = questions(much.collect());
        assert_eq!(much.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
        assert!(questions(Vec::new()).is_empty());
    }
}
