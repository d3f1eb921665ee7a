//! What a call meets before, instead of, or after its answer.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::answer::{self, Refusal};
use super::super::history::Place;
use super::super::transfer::later;
use super::super::world::World;
use super::super::{Shared, calls};
use super::kind::{Kind, Message, STATUS_CALL};
use super::recorded::Point;
use super::{Faults, Line, Struck};
use crate::model::{Family, Timestamp};

/// What was asked, as far as faults look at it.
pub(in crate::sandbox) struct Asked {
    pub method: Method,
    pub path: String,
    pub query: HashMap<String, String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A fault on one call.
pub(in crate::sandbox) struct Turn {
    wait: Wait,
    message: Message,
    reply: Reply,
    /// The message cannot be put into the queue.
    unqueueable: Option<Refusal>,
    forgets_status: bool,
}

enum Wait {
    Until(Timestamp),
    /// Until the plan is changed.
    ForChange(watch::Receiver<u64>),
}

enum Reply {
    /// What the call itself says.
    Own,
    Nothing,
    Cut,
    Refused(Refusal),
    Data(Value),
    Ready(Response),
}

impl Asked {
    /// What the server says to it.
    pub fn answer(&self, world: &mut World, now: Timestamp) -> calls::Answer {
        let query = self.query.clone();
        calls::answer(
            world,
            &self.method,
            &self.path,
            query,
            &self.headers,
            &self.body,
            now,
        )
    }

    fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or("").to_owned()
    }

    /// The ids of the conversations that the call speaks of.
    fn conversations(&self) -> Vec<String> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
        let (from, to) = (text(&body["sendID"]), text(&body["recvID"]));
        match self.path.as_str() {
            "/msg/send_msg" => {
                let is_notice = body["contentType"] == 1400 || body["sessionType"] == 4;
                let place = match body["sessionType"].as_i64() {
                    _ if is_notice => Place::Notice { from, to },
                    Some(3) => Place::Group(text(&body["groupID"])),
                    _ => Place::Pair(from, to),
                };
                vec![place.id()]
            }
            "/msg/get_conversations_has_read_and_max_seq" => {
                list("conversationIDs").iter().map(text).collect()
            }
            "/msg/pull_msg_by_seq" => {
                let ranges = list("seqRanges");
                let ids = ranges.iter().map(|range| text(&range["conversationID"]));
                ids.collect()
            }
            "/group/get_groups_info" => {
                let groups = list("groupIDs");
                groups
                    .iter()
                    .map(|id| Place::Group(text(id)).id())
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// How a token is refused; released servers say the token itself.
pub(in crate::sandbox) fn token_refused(code: i32, token: &str) -> Refusal {
    let message = match code {
        1501 => "TokenExpiredError",
        1503 => "TokenMalformedError",
        1505 => "signature is invalid",
        code => return Refusal::Bare(code),
    };
    Refusal::Token {
        code,
        message,
        token: token.to_owned(),
    }
}

impl Faults {
    /// The fault that this call meets.
    pub fn at_the_door(&mut self, asked: &Asked, family: Family, now: Timestamp) -> Option<Turn> {
        if self.met.is_empty() {
            return None;
        }
        let conversations = asked.conversations();
        let struck = self.strike(now, |fault| {
            let at_the_door = match fault.kind {
                Kind::Restart => return fault.lasts.is_some(),
                // Only what comes with a token can be refused for it.
                Kind::Token => !calls::OPEN.contains(&asked.path.as_str()),
                kind => kind.is_at_the_door(),
            };
            at_the_door && fault.meets(&asked.path) && fault.conversations.fits(&conversations)
        })?;
        let wait = match struck.time() {
            None if struck.fault.message == Message::Later => {
                Wait::ForChange(self.changes.subscribe())
            }
            time => Wait::Until(later(now, time.unwrap_or(Duration::ZERO))),
        };
        Some(turn(&struck, wait, asked, family))
    }
}

fn turn(struck: &Struck, wait: Wait, asked: &Asked, family: Family) -> Turn {
    let fault = &struck.fault;
    let mut turn = Turn {
        wait,
        message: fault.message,
        reply: Reply::Own,
        unqueueable: None,
        forgets_status: false,
    };
    let is_status_call = asked.path == STATUS_CALL;
    turn.reply = match fault.kind {
        Kind::Hang => Reply::Nothing,
        Kind::Reset | Kind::Restart => Reply::Cut,
        Kind::Status => Reply::Ready(proxy_page(fault.code.unwrap_or(502))),
        Kind::Html => Reply::Ready(proxy_page(200)),
        Kind::RateLimited => Reply::Ready(rate_limited(fault.retry_after)),
        Kind::Says(recorded) => {
            let refusal = recorded.refusal(is_status_call);
            if recorded.point == Point::Queue {
                turn.message = Message::Taken;
                turn.unqueueable = Some(refusal);
                Reply::Own
            } else {
                Reply::Refused(refusal)
            }
        }
        Kind::SaysAfter(recorded) => {
            turn.forgets_status = true;
            Reply::Refused(recorded.refusal(is_status_call))
        }
        Kind::Token => {
            let code = i32::from(fault.code.unwrap_or(1507));
            Reply::Refused(token_refused(code, &asked.header("token")))
        }
        Kind::EmptyId => Reply::Data(calls::receipt(family, None)),
        Kind::StatusLost => Reply::Data(json!({"status": 0})),
        _ => Reply::Own,
    };
    turn
}

/// Plays a fault on a call. It goes on when the client hangs up, as a server does.
pub(in crate::sandbox) async fn play(
    shared: Shared,
    line: Line,
    asked: Asked,
    turn: Turn,
) -> Response {
    let played = tokio::spawn(shared.clone().play(asked, turn));
    match played.await {
        Ok(Some(Reply::Ready(response))) => response,
        Ok(Some(Reply::Nothing)) => {
            shared.stop().await;
            cut(&line)
        }
        _ => cut(&line),
    }
}

fn cut(line: &Line) -> Response {
    line.cut();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

impl Shared {
    /// `None`: the sandbox was stopped meanwhile.
    async fn play(self, asked: Asked, mut turn: Turn) -> Option<Reply> {
        let mut own = match turn.message {
            Message::Taken | Message::Lost => Some(self.run(&asked, &mut turn)),
            Message::NotTaken | Message::Later => None,
        };
        tokio::select! {
            () = self.wait(&mut turn.wait) => {}
            () = self.stop() => return None,
        }
        if turn.message == Message::Later {
            own = Some(self.run(&asked, &mut turn));
        }
        let family = self.world().family;
        // A call that the server refuses by itself is refused, whatever breaks afterwards.
        let own_refusal = own.as_ref().and_then(|own| own.as_ref().err()).cloned();
        Some(match (turn.reply, own) {
            (Reply::Refused(_), _) if own_refusal.is_some() => {
                Reply::Ready(answer::refused(own_refusal?, family))
            }
            (Reply::Refused(refusal), _) => Reply::Ready(answer::refused(refusal, family)),
            (Reply::Own, Some(Ok(data))) => Reply::Ready(answer::done(data)),
            (Reply::Own, Some(Err(refusal))) => Reply::Ready(answer::refused(refusal, family)),
            (Reply::Data(data), _) => Reply::Ready(answer::done(Some(data))),
            (other, _) => other,
        })
    }

    async fn wait(&self, wait: &mut Wait) {
        match wait {
            Wait::Until(due) => self.clock.sleep_until(*due).await,
            Wait::ForChange(changes) => {
                // The sender is gone together with the world that we hold.
                _ = changes.changed().await;
            }
        }
    }

    fn run(&self, asked: &Asked, turn: &mut Turn) -> calls::Answer {
        let now = self.clock.now();
        let mut world = self.world();
        world.settle(now);
        world.producer = turn.unqueueable.take();
        let answered = asked.answer(&mut world, now);
        world.producer = None;
        let operation = asked.header("operationid");
        if turn.forgets_status {
            world.forget_sent(&operation);
        }
        if turn.message == Message::Lost {
            world.lose_operation(
                &operation,
                "the server lost it on the way into its queue",
                now,
            );
        }
        answered
    }
}

/// What nginx says for a server behind it. The API's own 500 is a panic, and says nothing.
fn proxy_page(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        return status.into_response();
    }
    let title = match status {
        StatusCode::OK => "Sign in".to_owned(),
        StatusCode::GATEWAY_TIMEOUT => "504 Gateway Time-out".to_owned(),
        StatusCode::SERVICE_UNAVAILABLE => "503 Service Temporarily Unavailable".to_owned(),
        status => status.to_string(),
    };
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
}

/// The limiter of main; its own words are not recorded.
fn rate_limited(seconds: u64) -> Response {
    let body = json!({"errCode": 429, "errMsg": "too many requests", "errDlt": ""});
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::RETRY_AFTER, seconds.to_string()),
    ];
    (StatusCode::TOO_MANY_REQUESTS, headers, body.to_string()).into_response()
}
