//! OpenIM's HTTP API: the only place that knows it.
//!
//! [`OpenIm::send`] brings one message and says what its answer means; the look-ups in [`lookup`] are for people who set
//! the bridge up. A token is fetched, kept and renewed beneath all of them.

pub mod envelope;
pub mod family;
pub mod history;
pub mod lookup;
pub mod send;
pub mod token;
pub mod verdicts;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::warn;
use uuid::Uuid;

use self::envelope::{Answer, Unanswered};
pub use self::history::NoHistory;
pub use self::lookup::{Account, Group, Member, Unheard};
pub use self::send::{Face, SendAs, Unsendable};
use self::token::{NoSession, Session, Sessions};
pub use self::verdicts::{Sign, Verdict};
use self::wire::Wire;
use crate::model::content::MARKDOWN;
use crate::model::{Clock, Conversation, DeliveryId, Family, Hold, Message, Outcome, Secret};

/// The OpenIM server as the settings name it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where its API listens: `http://127.0.0.1:10002`.
    pub api_url: String,
    /// An admin's userID.
    pub user_id: String,
    /// The server's `share.secret`.
    pub secret: Secret,
    /// Who speaks.
    pub send_as: SendAs,
    /// How long connecting may take.
    pub connect_within: Duration,
    /// How long a request may take in all. The server goes on with a send that we give up.
    pub answer_within: Duration,
}

impl Server {
    /// A server with the usual limits: 3 s to connect, 15 s in all.
    pub fn new(
        api_url: impl Into<String>,
        user_id: impl Into<String>,
        secret: Secret,
        send_as: SendAs,
    ) -> Server {
        Server {
            api_url: api_url.into(),
            user_id: user_id.into(),
            secret,
            send_as,
            connect_within: Duration::from_secs(3),
            answer_within: Duration::from_secs(15),
        }
    }
}

/// Talks to one OpenIM server. Cheap to clone; clones share connections and token.
#[derive(Clone, Debug)]
pub struct OpenIm {
    wire: Arc<Wire>,
    sessions: Arc<Sessions>,
    server: Arc<Server>,
    readers: Arc<history::Readers>,
    clock: Clock,
}

/// The address is none, or TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("OpenIM's API cannot be used: {0}")]
pub struct BadServer(String);

/// The waits before a request is repeated whose token was refused although it is new: on `main` its parts learn of a token
/// a moment after it was given.
const TOKEN_WAITS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
];

/// `status` of `/msg/check_msg_is_send_success` for an operationID whose send OpenIM has queued. Any other value proves
/// nothing.
const STATUS_SENT: i64 = 2;

/// A lane has to be ours for so much longer than a request may take.
const SPARE: Duration = Duration::from_secs(1);

impl OpenIm {
    /// A client; nothing is asked before the first call.
    pub fn new(server: Server, clock: Clock) -> Result<OpenIm, BadServer> {
        let wire = Wire::new(&server.api_url, server.connect_within, server.answer_within);
        let wire = Arc::new(wire.map_err(BadServer)?);
        let sessions = Sessions::new(
            wire.clone(),
            server.user_id.clone(),
            server.secret.clone(),
            clock.clone(),
        );
        Ok(OpenIm {
            wire,
            sessions: Arc::new(sessions),
            server: Arc::new(server),
            readers: Arc::default(),
            clock,
        })
    }

    /// Who speaks.
    pub fn send_as(&self) -> &SendAs {
        &self.server.send_as
    }

    /// Whether the sender is the admin itself, who may post to any group without being a member.
    pub fn sends_as_admin(&self) -> bool {
        self.server.send_as.id == self.server.user_id
    }

    /// The server's family as known so far, without asking.
    pub fn family(&self) -> Option<Family> {
        self.sessions.family()
    }

    /// Sends a message, once; only a refused token, and Markdown on a server that turns out not to know it, are repeated
    /// here, because both are clear refusals. `operation_id` names the send at OpenIM and stays over retries of it. No
    /// request is written that may outlast `hold`: its lane may be somebody else's when it is answered.
    pub async fn send(
        &self,
        message: &Message,
        conversation: &Conversation,
        delivery: DeliveryId,
        operation_id: &str,
        hold: Hold,
    ) -> Verdict {
        for _ in 0..2 {
            let session = match self.sessions.present(None).await {
                Ok(session) => session,
                Err(none) => return without_session(none),
            };
            let family = session.family.unwrap_or(Family::Release38);
            let send_as = &self.server.send_as;
            let face = match Face::of(message, conversation, family, send_as) {
                Ok(face) => face,
                Err(unsendable) => {
                    return Verdict {
                        outcome: Outcome::Refused(unsendable.to_string()),
                        sign: Sign::None,
                    };
                }
            };
            let body = send::body(&face, message, conversation, delivery, send_as);
            let answer = self
                .call_in(session, "/msg/send_msg", operation_id, &body, hold)
                .await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(CallFailed::NoSession(none)) => return without_session(none),
                Err(CallFailed::Unanswered(unanswered)) => {
                    self.sessions.doubt();
                    return verdicts::judge(Err(unanswered));
                }
            };
            if face.content_type == MARKDOWN && is_unknown_content(&answer) {
                warn!("OpenIM does not take Markdown after all: it is a 3.8 release");
                self.sessions.not_main().await;
                continue;
            }
            let verdict = verdicts::judge(Ok(answer));
            if matches!(verdict.sign, Sign::Down(_) | Sign::Doubtful(_)) {
                self.sessions.doubt();
            }
            return verdict;
        }
        Verdict {
            outcome: Outcome::Later {
                reason: "OpenIM changed its family during the send".into(),
                after: None,
            },
            sign: Sign::Well,
        }
    }

    /// Whether OpenIM says that it has queued the send of that operationID. `false` is no proof of anything: the status is
    /// written after the message, may be lost, and lives for 24 h.
    pub async fn was_sent(&self, operation_id: &str) -> bool {
        let path = "/msg/check_msg_is_send_success";
        let answer = self.call(path, operation_id, &json!({})).await;
        answer.is_ok_and(|answer| {
            answer.envelope.is_some_and(|envelope| {
                envelope.code == 0 && envelope.data["status"].as_i64() == Some(STATUS_SENT)
            })
        })
    }

    /// A call with a token and an operationID of its own.
    async fn ask(&self, path: &str, body: &Value) -> Result<Answer, CallFailed> {
        self.call(path, &Uuid::new_v4().to_string(), body).await
    }

    async fn call(
        &self,
        path: &str,
        operation_id: &str,
        body: &Value,
    ) -> Result<Answer, CallFailed> {
        let session = self.sessions.present(None).await?;
        self.call_in(session, path, operation_id, body, Hold::Ever)
            .await
    }

    /// One call; a refused token is renewed once for all, and the call repeated a few times at short waits.
    async fn call_in(
        &self,
        mut session: Session,
        path: &str,
        operation_id: &str,
        body: &Value,
        hold: Hold,
    ) -> Result<Answer, CallFailed> {
        self.check(hold)?;
        let mut answer = self.post(&session, path, operation_id, body).await?;
        for wait in TOKEN_WAITS {
            if !verdicts::wants_a_new_token(&answer) {
                break;
            }
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
            session = self.sessions.present(Some(session.number)).await?;
            self.check(hold)?;
            answer = self.post(&session, path, operation_id, body).await?;
        }
        Ok(answer)
    }

    /// The last look before a request is written.
    fn check(&self, hold: Hold) -> Result<(), Unanswered> {
        match hold.outlasts(self.server.answer_within + SPARE, &self.clock) {
            true => Ok(()),
            false => Err(Unanswered::TooLate),
        }
    }

    async fn post(
        &self,
        session: &Session,
        path: &str,
        operation_id: &str,
        body: &Value,
    ) -> Result<Answer, Unanswered> {
        let secrets = [
            self.server.secret.expose_text().unwrap_or_default(),
            session.token.expose_text().unwrap_or_default(),
        ];
        let token = Some(&session.token);
        let now = self.clock.now();
        self.wire
            .post(path, operation_id, token, body, &secrets, now)
            .await
    }
}

/// Why a call has no answer.
#[derive(Debug)]
enum CallFailed {
    NoSession(NoSession),
    Unanswered(Unanswered),
}

impl From<NoSession> for CallFailed {
    fn from(none: NoSession) -> CallFailed {
        CallFailed::NoSession(none)
    }
}

impl From<Unanswered> for CallFailed {
    fn from(unanswered: Unanswered) -> CallFailed {
        CallFailed::Unanswered(unanswered)
    }
}

/// Without a token nothing was sent, and nobody else can send either.
fn without_session(none: NoSession) -> Verdict {
    Verdict {
        outcome: Outcome::Later {
            reason: none.to_string(),
            after: None,
        },
        sign: Sign::Down(none.to_string()),
    }
}

/// How a server says that it does not know a contentType: 1001 and no text.
fn is_unknown_content(answer: &Answer) -> bool {
    let envelope = answer.envelope.as_ref();
    envelope.is_some_and(|said| said.code == 1001 && said.detail.is_empty())
}
