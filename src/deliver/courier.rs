//! The courier: claims what is due, one request per lane and lanes in parallel, and writes down what happened.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::breaker::{Allowance, Breaker, Change, ServerTrouble};
use super::decide::{Policy, decide, plus, since};
use super::openim::{OpenIm, Sign, Verdict};
use super::pace::Paces;
use crate::model::{Claim, Clock, Outcome, Timestamp};
use crate::outbox::{Decision, Outbox, OutboxError, Record};

/// Takes deliveries from the outbox to OpenIM. Cheap to clone; clones are the same courier.
#[derive(Clone)]
pub struct Courier {
    outbox: Arc<dyn Outbox>,
    openim: OpenIm,
    policy: Arc<Policy>,
    clock: Clock,
    breaker: Arc<Breaker>,
    paces: Arc<Paces>,
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
const OUTBOX_PAUSE: Duration = Duration::from_secs(1);

/// The shortest wait for a head that is due but was not given: somebody else holds it for a moment.
const SHORTEST_NAP: Duration = Duration::from_millis(20);

/// How long the question may take whether an unclear send was taken after all.
const STATUS_WITHIN: Duration = Duration::from_secs(3);

impl Courier {
    /// A courier that has not set out yet.
    pub fn new(outbox: Arc<dyn Outbox>, openim: OpenIm, policy: Policy, clock: Clock) -> Courier {
        Courier {
            outbox,
            openim,
            policy: Arc::new(policy),
            clock,
            breaker: Arc::default(),
            paces: Arc::default(),
        }
    }

    /// What is wrong with the chat server; `None` while it can be used, as far as anybody has tried.
    pub fn server_trouble(&self) -> Option<ServerTrouble> {
        self.breaker.trouble()
    }

    /// Works until `stop` comes. Then it claims no more, waits for the requests under way (as long as the policy says), and
    /// records what became of them.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Home {
        tokio::pin!(stop);
        let bell = self.outbox.bell();
        let mut under_way = JoinSet::new();
        loop {
            // Listening begins before the look into the outbox, so that nothing kept between the two is missed.
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            while let Some(ended) = under_way.try_join_next() {
                came_back(ended);
            }
            let look_again = match self.set_out(&mut under_way).await {
                Ok(look_again) => look_again,
                Err(OutboxError::Closed) => return Home::OutboxGone(OutboxError::Closed),
                Err(error) => {
                    warn!(%error, "the outbox gives no deliveries");
                    Some(plus(self.clock.now(), OUTBOX_PAUSE))
                }
            };
            tokio::select! {
                biased;
                () = &mut stop => break,
                error = self.outbox.fatal() => return Home::OutboxGone(error),
                Some(ended) = under_way.join_next() => came_back(ended),
                () = rung => {}
                () = self.sleep_until(look_again) => {}
            }
        }
        self.come_home(under_way).await
    }

    /// Claims as many as there is room for and sends them on their way; says when to look again even if nothing happens.
    async fn set_out(&self, under_way: &mut JoinSet<()>) -> Result<Option<Timestamp>, OutboxError> {
        let now = self.clock.now();
        // A claim waits for the writer, a look does not: while webhooks pour into lanes that rest, it is only looked.
        match self.outbox.next_due().await?.send {
            Some(due) if due <= now => {}
            due => return Ok(due.map(|due| due.max(plus(now, SHORTEST_NAP)))),
        }
        let room = self.policy.parallel.saturating_sub(under_way.len());
        let most = match self.breaker.allowance(under_way.len(), now) {
            Allowance::Any => room,
            Allowance::One => 1,
            Allowance::NoneBefore(moment) => return Ok(moment),
        };
        if most == 0 {
            return Ok(None); // the next that comes back makes room
        }
        let claims = self.outbox.claim(most, now).await?;
        let claimed = claims.len();
        for claim in claims {
            under_way.spawn(self.clone().bring(claim));
        }
        if claimed == most {
            return Ok(None);
        }
        let due = self.outbox.next_due().await?.send;
        Ok(due.map(|due| due.max(plus(now, SHORTEST_NAP))))
    }

    async fn sleep_until(&self, moment: Option<Timestamp>) {
        match moment {
            Some(moment) => self.clock.sleep_until(moment).await,
            None => std::future::pending().await,
        }
    }

    async fn come_home(&self, mut under_way: JoinSet<()>) -> Home {
        let all_back = async {
            while let Some(ended) = under_way.join_next().await {
                came_back(ended);
            }
        };
        tokio::select! {
            () = all_back => {}
            () = self.clock.sleep(self.policy.stop_within) => {}
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
        let now = self.clock.now();
        let lane = claim.conversation.lane();
        match self.breaker.hear(&lane, &sign, now, random()) {
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
        let outage = self.breaker.outage(claim.first_attempt, now);
        let decision = decide(&claim, &outcome, &outage, &self.policy, now, random());
        tell(&claim, &outcome, &decision, now);
        self.record(Record {
            delivery: claim.delivery,
            attempt: claim.attempt.number,
            epoch: claim.epoch,
            ended: now,
            verdict: in_words(&outcome),
            decision,
            lane_rests_until: self.paces.spend(self.policy.pace, &lane, now),
        })
        .await;
    }

    /// Sends, unless an earlier attempt of the same send is known to have been taken. Only a yes is believed.
    async fn attempt(&self, claim: &Claim) -> Verdict {
        let operation_id = &claim.attempt.operation_id;
        if claim.attempt.number > 1 && self.was_sent(operation_id).await {
            return taken_after_all();
        }
        let verdict = self
            .openim
            .send(
                &claim.message,
                &claim.conversation,
                claim.delivery,
                operation_id,
            )
            .await;
        let unclear = matches!(verdict.outcome, Outcome::Ambiguous { .. });
        if unclear && self.was_sent(operation_id).await {
            return taken_after_all();
        }
        verdict
    }

    async fn was_sent(&self, operation_id: &str) -> bool {
        tokio::select! {
            was_sent = self.openim.was_sent(operation_id) => was_sent,
            () = self.clock.sleep(STATUS_WITHIN) => false,
        }
    }

    /// Writes it down, however often that has to be tried: the lane is held until it is.
    async fn record(&self, record: Record) {
        loop {
            match self.outbox.record(record.clone()).await {
                Ok(()) => return,
                Err(error @ (OutboxError::Closed | OutboxError::NotInHand { .. })) => {
                    error!(delivery.id = %record.delivery, %error, "the outcome is not recorded");
                    return;
                }
                Err(error) => {
                    error!(delivery.id = %record.delivery, %error, "the outcome is not recorded yet");
                    self.clock.sleep(OUTBOX_PAUSE).await;
                }
            }
        }
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
fn random() -> f64 {
    let bits = u32::try_from(Uuid::new_v4().as_u128() & 0xffff_ffff).unwrap_or_default();
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
