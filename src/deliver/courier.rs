//! The courier: claims what is due, one request per lane and lanes in parallel, and writes down what happened. The reader
//! looks for it beside that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::breaker::{Allowance, Breaker, Change, ServerTrouble};
use super::decide::answers::decide;
use super::decide::{Policy, plus, since};
use super::openim::{OpenIm, Sign, Verdict};
use super::pace::Paces;
use super::reader::{AT_LEAST_EVERY, Reader};
use crate::model::{
    Claim, Clock, Content, Conversation, Folded, Message, Meters, Outcome, Push, Step, Timestamp,
};
use crate::outbox::{Baseline, Decision, Outbox, OutboxError, Record};

/// Takes deliveries from the outbox to OpenIM. Cheap to clone; clones are the same courier.
#[derive(Clone)]
pub struct Courier {
    desk: Desk,
    paces: Arc<Paces>,
}

/// What sending and reading share.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) openim: OpenIm,
    pub(super) policy: Arc<Policy>,
    pub(super) clock: Clock,
    pub(super) breaker: Arc<Breaker>,
    pub(super) meters: Arc<Meters>,
    /// Rings when something was sent that is to be looked for.
    pub(super) accepted: Arc<Notify>,
    /// Rings when something was settled: a window may be open again.
    pub(super) freed: Arc<Notify>,
}

/// Why the courier came home.
#[derive(Clone, Debug)]
pub enum Home {
    /// It was told to stop; so many requests were given up under way (their attempts stay open, which is ambiguous).
    Stopped {
        /// How many were given up.
        given_up: usize,
    },
    /// The outbox takes nothing any more.
    OutboxGone(OutboxError),
}

/// The wait after the outbox has failed, before it is asked again.
pub(super) const OUTBOX_PAUSE: Duration = Duration::from_secs(1);

/// The shortest wait for a head that is due but was not given: somebody else holds it for a moment.
const SHORTEST_NAP: Duration = Duration::from_millis(20);

/// How long the question may take whether an unclear send was taken after all.
const STATUS_WITHIN: Duration = Duration::from_secs(3);

impl Courier {
    /// A courier that has not set out yet.
    pub fn new(
        outbox: Arc<dyn Outbox>,
        openim: OpenIm,
        policy: Policy,
        meters: Arc<Meters>,
        clock: Clock,
    ) -> Courier {
        let desk = Desk {
            outbox,
            openim,
            policy: Arc::new(policy),
            clock,
            breaker: Arc::default(),
            meters,
            accepted: Arc::default(),
            freed: Arc::default(),
        };
        Courier {
            desk,
            paces: Arc::default(),
        }
    }

    /// What is wrong with the chat server; `None` while it can be used, as far as anybody has tried.
    pub fn server_trouble(&self) -> Option<ServerTrouble> {
        self.desk.breaker.trouble()
    }

    /// Works until `stop` comes. Then it claims no more, waits for the requests under way (as long as the policy says), and
    /// records what became of them.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Home {
        tokio::pin!(stop);
        let bell = self.desk.outbox.bell();
        let freed = self.desk.freed.clone();
        let (tell_reader, mut told) = watch::channel(());
        let reader = Reader::new(self.desk.clone());
        let reader = tokio::spawn(reader.run(async move {
            // An error means that the courier is gone, which is an end, too.
            let _ = told.changed().await;
        }));
        let mut under_way = JoinSet::new();
        loop {
            // Listening begins before the look into the outbox, so that nothing kept between the two is missed.
            let rung = bell.notified();
            let settled = freed.notified();
            tokio::pin!(rung, settled);
            rung.as_mut().enable();
            settled.as_mut().enable();
            while let Some(ended) = under_way.try_join_next() {
                came_back(ended);
            }
            let look_again = match self.set_out(&mut under_way).await {
                Ok(look_again) => look_again,
                Err(OutboxError::Closed) => return Home::OutboxGone(OutboxError::Closed),
                Err(error) => {
                    warn!(%error, "the outbox gives no deliveries");
                    Some(plus(self.desk.clock.now(), OUTBOX_PAUSE))
                }
            };
            let latest = plus(self.desk.clock.now(), AT_LEAST_EVERY);
            let look_again = look_again.map_or(latest, |moment| moment.min(latest));
            tokio::select! {
                biased;
                () = &mut stop => break,
                error = self.desk.outbox.fatal() => return Home::OutboxGone(error),
                Some(ended) = under_way.join_next() => came_back(ended),
                () = rung => {}
                () = settled => {}
                () = self.desk.clock.sleep_until(look_again) => {}
            }
        }
        drop(tell_reader);
        self.come_home(under_way, reader).await
    }

    /// Claims as many as there is room for and sends them on their way; says when to look again even if nothing happens.
    async fn set_out(&self, under_way: &mut JoinSet<()>) -> Result<Option<Timestamp>, OutboxError> {
        let now = self.desk.clock.now();
        // A claim waits for the writer, a look does not: while webhooks pour into lanes that rest, it is only looked.
        match self.desk.outbox.next_due().await?.send {
            Some(due) if due <= now => {}
            due => return Ok(due.map(|due| due.max(plus(now, SHORTEST_NAP)))),
        }
        let room = self.desk.policy.parallel.saturating_sub(under_way.len());
        let most = match self.desk.breaker.allowance(under_way.len(), now) {
            Allowance::Any => room,
            Allowance::Most(most) => room.min(most),
            Allowance::NoneBefore(moment) => return Ok(moment),
        };
        if most == 0 {
            return Ok(None); // the next that comes back makes room
        }
        let claims = self.desk.outbox.claim(most, now).await?;
        let claimed = claims.len();
        for claim in claims {
            under_way.spawn(self.clone().bring(claim));
        }
        if claimed == most {
            return Ok(None);
        }
        let due = self.desk.outbox.next_due().await?.send;
        Ok(due.map(|due| due.max(plus(now, SHORTEST_NAP))))
    }

    async fn come_home(&self, mut under_way: JoinSet<()>, reader: JoinHandle<()>) -> Home {
        let all_back = async {
            while let Some(ended) = under_way.join_next().await {
                came_back(ended);
            }
            came_back(reader.await);
        };
        tokio::select! {
            () = all_back => {}
            () = self.desk.clock.sleep(self.desk.policy.stop_within) => {}
        }
        let given_up = under_way.len();
        if given_up > 0 {
            warn!(
                given_up,
                "stopped with requests under way; they are settled at the next start"
            );
        }
        Home::Stopped { given_up }
    }

    /// One attempt, from the claim to its record.
    async fn bring(self, claim: Claim) {
        let Verdict { outcome, sign } = self.attempt(&claim).await;
        let desk = &self.desk;
        let now = desk.clock.now();
        let lane = claim.conversation.lane();
        tell_change(desk.breaker.hear(&lane, &sign, now, random()));
        let outage = desk.breaker.outage(claim.first_attempt, now);
        let decision = decide(&claim, &outcome, &outage, &desk.policy, now, random());
        tell(&claim, &outcome, &decision, now);
        self.measure(&claim, &outcome, now);
        let pace = match desk.policy.reads_back() {
            true => None, // the window sees to it
            false => self.paces.spend(desk.policy.pace, &lane, now),
        };
        self.record(Record {
            delivery: claim.delivery,
            attempt: claim.attempt.number,
            epoch: claim.epoch,
            ended: now,
            verdict: in_words(&outcome),
            decision,
            lane_rests_until: pace,
        })
        .await;
        desk.accepted.notify_one();
    }

    fn measure(&self, claim: &Claim, outcome: &Outcome, now: Timestamp) {
        let meters = &self.desk.meters;
        meters.sent(match outcome {
            Outcome::Accepted(_) => "accepted",
            Outcome::Refused(_) => "refused",
            Outcome::Later { .. } => "later",
            Outcome::Ambiguous { .. } => "ambiguous",
        });
        if let (Outcome::Accepted(_), Some(made)) = (outcome, claim.delivery.made()) {
            meters.took(Step::Accept, since(made, now));
        }
    }

    /// Sends, unless an earlier attempt of the same send is known to have been taken. Only a yes is believed.
    async fn attempt(&self, claim: &Claim) -> Verdict {
        let desk = &self.desk;
        let operation_id = &claim.attempt.operation_id;
        if claim.attempt.number > 1 && desk.was_sent(operation_id).await {
            return taken_after_all();
        }
        if desk.policy.reads_back()
            && !claim.has_baseline
            && let Err(verdict) = self.baseline(&claim.conversation).await
        {
            return verdict;
        }
        let folded = claim
            .folded
            .as_ref()
            .map(|folded| in_one_line(folded, claim));
        let message = folded.as_ref().unwrap_or(&claim.message);
        let began = desk.clock.uptime();
        let verdict = desk
            .openim
            .send(
                message,
                &claim.conversation,
                claim.delivery,
                operation_id,
                claim.hold,
            )
            .await;
        let took = desk.clock.uptime().saturating_sub(began);
        desk.meters.took(Step::Send, took);
        let unclear = matches!(verdict.outcome, Outcome::Ambiguous { .. });
        if unclear && desk.was_sent(operation_id).await {
            return taken_after_all();
        }
        verdict
    }

    /// Finds out and keeps where a conversation ends before anything of ours is in it. Without that nothing is sent: its
    /// message could not be told apart from one that was there before.
    async fn baseline(&self, conversation: &Conversation) -> Result<(), Verdict> {
        let asked = std::slice::from_ref(conversation);
        let newest = self.desk.openim.newest_seqs(asked).await;
        let later = |reason, sign| Verdict {
            outcome: Outcome::Later {
                reason,
                after: None,
            },
            sign,
        };
        let newest = newest.map_err(|no| later(no.why, no.sign))?;
        let baseline = Baseline {
            lane: conversation.lane(),
            conversation: conversation.clone(),
            seq: newest.get(conversation).copied().unwrap_or_default(),
        };
        let kept = self.desk.outbox.baseline(baseline).await;
        kept.map_err(|error| later(error.to_string(), Sign::None))
    }

    /// Writes it down, however often that has to be tried: the lane is held until it is.
    async fn record(&self, record: Record) {
        loop {
            match self.desk.outbox.record(record.clone()).await {
                Ok(()) => return,
                Err(OutboxError::NotInHand { .. }) => {
                    warn!(delivery.id = %record.delivery, "its answer came late: somebody else decides about it now");
                    return;
                }
                Err(error @ OutboxError::Closed) => {
                    error!(delivery.id = %record.delivery, %error, "the outcome is not recorded");
                    return;
                }
                Err(error) => {
                    error!(delivery.id = %record.delivery, %error, "the outcome is not recorded yet");
                    self.desk.clock.sleep(OUTBOX_PAUSE).await;
                }
            }
        }
    }
}

impl Desk {
    /// Whether OpenIM says that it has queued a send; `false` proves nothing.
    pub(super) async fn was_sent(&self, operation_id: &str) -> bool {
        tokio::select! {
            was_sent = self.openim.was_sent(operation_id) => was_sent,
            () = self.clock.sleep(STATUS_WITHIN) => false,
        }
    }
}

/// The line that speaks for messages that came too late. It disturbs nobody.
fn in_one_line(folded: &Folded, claim: &Claim) -> Message {
    let line = folded.words();
    Message {
        content: Content::Text {
            markdown: None,
            plain: line.clone(),
            preview: line,
            mentions: Vec::new(),
        },
        push: Push::Off,
        template: claim.message.template.clone(),
    }
}

pub(super) fn tell_change(change: Option<Change>) {
    match change {
        Some(Change::Opened(why)) => {
            error!(openim.trouble = %why, "OpenIM cannot be used; one delivery at a time tries");
        }
        Some(Change::Closed(lasted)) => {
            info!(
                openim.outage_s = lasted.as_secs(),
                "OpenIM can be used again"
            );
        }
        None => {}
    }
}

fn taken_after_all() -> Verdict {
    Verdict {
        outcome: Outcome::Accepted(None),
        sign: Sign::Well,
    }
}

/// The outcome as the outbox keeps it.
fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(Some(_)) => "accepted".to_owned(),
        Outcome::Accepted(None) => "accepted, by its send status".to_owned(),
        Outcome::Refused(reason) => format!("refused: {reason}"),
        Outcome::Later { reason, .. } => format!("later: {reason}"),
        Outcome::Ambiguous { reason, .. } => format!("ambiguous: {reason}"),
    }
}

/// One line per attempt.
fn tell(claim: &Claim, outcome: &Outcome, decision: &Decision, now: Timestamp) {
    let attempt = claim.attempt.number;
    // As u64: a wider number stands in JSON as a text.
    let took = since(claim.attempt.began, now).as_millis();
    let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
    macro_rules! log {
        ($level:ident, $says:literal $(, $field:ident = $value:expr)*) => {
            $level!(
                event.id = %claim.event,
                delivery.id = %claim.delivery,
                bridge.name = %claim.bridge,
                conversation = %claim.conversation,
                attempt,
                took_ms,
                $($field = %$value,)*
                $says
            )
        };
    }
    match decision {
        Decision::Accepted {
            receipt: Some(receipt),
            ..
        } => {
            log!(
                info,
                "accepted by OpenIM",
                server_msg_id = receipt.server_msg_id
            );
        }
        Decision::Accepted { receipt: None, .. } => {
            log!(info, "accepted by OpenIM, as its send status says")
        }
        Decision::Refused(reason) => log!(warn, "refused by OpenIM", reason = reason),
        Decision::Dead(reason) => log!(error, "given up, its time has passed", reason = reason),
        Decision::Unclear { look } => log!(
            warn,
            "not known whether OpenIM took it",
            reason = in_words(outcome),
            look_at = look
        ),
        Decision::Again { at } => log!(
            info,
            "not taken by OpenIM now",
            reason = in_words(outcome),
            again_at = at
        ),
    }
}

/// A task that broke left its lane held until the next start; that is a mistake of ours and must be seen.
fn came_back(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a delivery broke off");
    }
}

/// A number from 0 up to 1, from the source that already makes our ids.
pub(super) fn random() -> f64 {
    let bits = u32::try_from(Uuid::new_v4().as_u128() & 0xffff_ffff).unwrap_or_default();
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
