//! The session with OpenIM: the admin token and the server's family, asked for once for all who wait, kept, and renewed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tracing::{info, warn};
use uuid::Uuid;

use super::envelope::{Answer, Unanswered};
use super::family::family_of;
use super::wire::Wire;
use crate::model::{Clock, Family, Secret, Timestamp};

/// A token, and what is known of the server that gave it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Counts up with each sign-in, so that who was refused knows whether somebody else has renewed it meanwhile.
    pub number: u64,
    /// The admin token.
    pub token: Secret,
    /// The server's family; `None` while it has not said it.
    pub family: Option<Family>,
    since: Timestamp,
    until: Timestamp,
}

/// Why there is no session, for everybody who waited for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSession {
    /// OpenIM was not heard.
    #[error("no token: {0}")]
    Unheard(String),
    /// OpenIM was heard and gives none: a wrong secret, or a user that is no admin.
    #[error("no token: OpenIM says {0}")]
    Refused(String),
}

/// Keeps the present session. Its lock is held while somebody signs in: who comes meanwhile gets the result, too.
#[derive(Debug)]
pub(super) struct Sessions {
    wire: Arc<Wire>,
    user_id: String,
    secret: Secret,
    clock: Clock,
    present: Mutex<Present>,
    /// Failed sign-ins so far; it tells who waited that one has failed meanwhile.
    failures: AtomicU64,
    /// The server may be another one than before.
    doubted: AtomicBool,
}

#[derive(Debug, Default)]
struct Present {
    session: Option<Session>,
    failure: Option<NoSession>,
    sign_ins: u64,
}

/// A token as young as this is not renewed again: what is refused so soon is the server's own delay in telling its parts
/// of the new one (it spreads over Redis), and a crowd of lanes would sign in one after another.
const YOUNG: Duration = Duration::from_secs(1);

/// OpenIM's `main` forgets an older token 5 min after somebody else signed in as the same user; its own chat service does
/// so every 4 min.
const KEPT_ON_MAIN: Duration = Duration::from_secs(4 * 60);

/// On release 3.8 a token stays good until it expires; the family is asked again at this pace, too.
const KEPT_ON_RELEASE: Duration = Duration::from_secs(6 * 60 * 60);

/// As long as the server has not said its family, it is asked again soon.
const KEPT_UNKNOWN: Duration = Duration::from_secs(30);

/// OpenIM's platform number of admins, which its older call for a token asks for.
const ADMIN_PLATFORM: i32 = 10;

impl Sessions {
    pub(super) fn new(wire: Arc<Wire>, user_id: String, secret: Secret, clock: Clock) -> Sessions {
        Sessions {
            wire,
            user_id,
            secret,
            clock,
            present: Mutex::default(),
            failures: AtomicU64::new(0),
            doubted: AtomicBool::new(false),
        }
    }

    /// The present session, signed in if there is none. `refused` is the number of a session whose token the server has
    /// just refused: it is renewed, unless somebody has done so meanwhile or it is too young for that to help.
    pub(super) async fn present(&self, refused: Option<u64>) -> Result<Session, NoSession> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut present = self.present.lock().await;
        if self.failures.load(Ordering::Acquire) != failures
            && let Some(failure) = &present.failure
        {
            return Err(failure.clone());
        }
        let now = self.clock.now();
        if let Some(session) = &mut present.session {
            let renew = refused == Some(session.number) && !session.is_young(now);
            if !renew && now < session.until {
                if self.doubted.swap(false, Ordering::Relaxed) {
                    self.ask_family_again(session).await;
                }
                return Ok(session.clone());
            }
        }
        present.sign_ins += 1;
        self.doubted.store(false, Ordering::Relaxed);
        match self.sign_in(present.sign_ins).await {
            Ok(session) => {
                present.session = Some(session.clone());
                present.failure = None;
                Ok(session)
            }
            Err(failure) => {
                present.session = None;
                present.failure = Some(failure.clone());
                self.failures.fetch_add(1, Ordering::Release);
                Err(failure)
            }
        }
    }

    /// The server was in trouble: it may have been exchanged, so its family is asked again before the next request.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// The server has just shown that it does not take what only `main` takes.
    pub(super) async fn not_main(&self) {
        if let Some(session) = &mut self.present.lock().await.session {
            session.family = Some(Family::Release38);
        }
    }

    /// The family as known now, without asking.
    pub(super) fn family(&self) -> Option<Family> {
        let present = self.present.try_lock().ok()?;
        present.session.as_ref()?.family
    }

    async fn sign_in(&self, number: u64) -> Result<Session, NoSession> {
        let secret = self.secret.expose_text().unwrap_or_default();
        let asked = json!({ "secret": secret, "userID": self.user_id });
        let mut answer = self.ask("/auth/get_admin_token", None, &asked).await?;
        let mut older = false;
        if is_unknown_call(&answer) {
            // v3.5 and v3.8.0 know only this one.
            let asked = json!({
                "secret": secret, "platformID": ADMIN_PLATFORM, "userID": self.user_id,
            });
            answer = self.ask("/auth/user_token", None, &asked).await?;
            older = true;
        }
        let (token, valid) = read_token(&answer)?;
        let family = match older {
            true => Some(Family::Release38),
            false => self.ask_family(&token).await,
        };
        match family {
            Some(family) => info!(openim.family = %family, "signed in at OpenIM"),
            None => {
                warn!("signed in at OpenIM, which does not say its family yet: plain texts only")
            }
        }
        let since = self.clock.now();
        Ok(Session {
            number,
            token,
            family,
            since,
            until: since
                .saturating_add(kept_for(family, valid))
                .unwrap_or(Timestamp::MAX),
        })
    }

    async fn ask(
        &self,
        path: &str,
        token: Option<&Secret>,
        body: &Value,
    ) -> Result<Answer, NoSession> {
        self.post(path, token, body)
            .await
            .map_err(|unanswered| NoSession::Unheard(unanswered.to_string()))
    }

    async fn post(
        &self,
        path: &str,
        token: Option<&Secret>,
        body: &Value,
    ) -> Result<Answer, Unanswered> {
        let secrets = [self.secret.expose_text().unwrap_or_default()];
        let operation_id = Uuid::new_v4().to_string();
        let now = self.clock.now();
        self.wire
            .post(path, &operation_id, token, body, &secrets, now)
            .await
    }

    async fn ask_family(&self, token: &Secret) -> Option<Family> {
        let path = "/msg/send_simple_msg";
        let answer = self.post(path, Some(token), &json!({})).await.ok()?;
        family_of(&answer)
    }

    async fn ask_family_again(&self, session: &mut Session) {
        match self.ask_family(&session.token).await {
            Some(family) => session.family = Some(family),
            None => self.doubt(),
        }
    }
}

impl Session {
    fn is_young(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.since);
        age.unsigned_abs() < YOUNG
    }
}

/// How long a token is used that is valid for `valid`: its last tenth is left out.
fn kept_for(family: Option<Family>, valid: Duration) -> Duration {
    let most = match family {
        Some(Family::Main) => KEPT_ON_MAIN,
        Some(Family::Release38) => KEPT_ON_RELEASE,
        None => KEPT_UNKNOWN,
    };
    most.min(valid - valid / 10)
}

/// A call that does not exist is a 404 as text; where a token is looked for first, its absence is what is said.
fn is_unknown_call(answer: &Answer) -> bool {
    match &answer.envelope {
        None => answer.status == 404,
        Some(envelope) => envelope.code == 1001 && envelope.says("header must have token"),
    }
}

fn read_token(answer: &Answer) -> Result<(Secret, Duration), NoSession> {
    let Some(envelope) = &answer.envelope else {
        return Err(NoSession::Unheard(format!(
            "HTTP {} without OpenIM's envelope",
            answer.status
        )));
    };
    match envelope.code {
        0 => {}
        // What has no code of its own, or a code of gRPC, is trouble inside the server, not a no.
        ..1000 | 1000 | 90000..=99999 => return Err(NoSession::Unheard(envelope.line())),
        _ => return Err(NoSession::Refused(envelope.line())),
    }
    let token = envelope.data["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(NoSession::Unheard("success without a token".into()));
    }
    // A duration in seconds here, although `parse_token` gives an epoch under the same name.
    let seconds = envelope.data["expireTimeSeconds"].as_u64().unwrap_or(0);
    let valid = match seconds {
        0 => KEPT_ON_MAIN,
        seconds => Duration::from_secs(seconds),
    };
    Ok((Secret::new(token), valid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::openim::envelope::Envelope;

    const DAY: Duration = Duration::from_secs(86_400);

    fn said(status: u16, body: &str) -> Answer {
        Answer {
            status,
            retry_after: None,
            envelope: Envelope::read(body.as_bytes(), &[]),
        }
    }

    #[test]
    fn a_token_is_kept_4_min_on_main_hours_on_release_3_8_and_never_to_its_end() {
        assert_eq!(kept_for(Some(Family::Main), 90 * DAY), KEPT_ON_MAIN);
        assert_eq!(kept_for(Some(Family::Release38), 90 * DAY), KEPT_ON_RELEASE);
        assert_eq!(kept_for(None, 90 * DAY), KEPT_UNKNOWN);
        let short = Duration::from_secs(100);
        assert_eq!(kept_for(Some(Family::Main), short), Duration::from_secs(90));
    }

    #[test]
    fn a_wrong_secret_is_a_no_and_a_broken_server_is_not() {
        let no = r#"{"errCode":1002,"errMsg":"NoPermissionError","errDlt":"secret invalid"}"#;
        assert!(matches!(
            read_token(&said(200, no)),
            Err(NoSession::Refused(_))
        ));
        let down = r#"{"errCode":14,"errMsg":"no children to pick from","errDlt":""}"#;
        assert!(matches!(
            read_token(&said(200, down)),
            Err(NoSession::Unheard(_))
        ));
        assert!(matches!(
            read_token(&said(502, "<html>")),
            Err(NoSession::Unheard(_))
        ));
        let good = r#"{"errCode":0,"errMsg":"","errDlt":"","data":{"token":"t","expireTimeSeconds":7776000}}"#;
        assert_eq!(read_token(&said(200, good)).unwrap().1, 90 * DAY);
    }

    #[test]
    fn a_missing_call_is_told_with_and_without_a_look_for_the_token() {
        assert!(is_unknown_call(&said(404, "404 page not found")));
        assert!(is_unknown_call(&said(
            200,
            r#"{"errCode":1001,"errMsg":"ArgsError","errDlt":"header must have token"}"#
        )));
        assert!(!is_unknown_call(&said(502, "")));
    }
}
