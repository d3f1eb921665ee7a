//! The door: `POST /hooks/<bridge>`. A webhook is answered with 202 only after it is on disk.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use ipnet::IpNet;
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;

use super::answer::{self, Refused};
use super::body::{self, Bodies, Room, Unread};
use super::limits::{Gate, Limits, Slow};
use super::listener::Patience;
use super::proxies::sender_address;
use super::refused::{self, RefusedRequests};
use super::seen::Seen;
use crate::bridge::{Bridge, RuleBook};
use crate::intake::authenticate::{Head, Refusal, answer_anybody, ask_head, authenticate};
use crate::intake::{self, Passed, Unreadable};
use crate::model::{Answered, Clock, Event, Meters, NewDelivery, Rendered, Step, Timestamp};
use crate::outbox::{Kept, NewEvent, Outbox};

/// How long a sender is asked to wait when there is no room for its body.
const NO_ROOM: Duration = Duration::from_secs(4);

/// A body above this size, in bytes, is taken in on a thread of its own, so that it does not hold up its neighbours.
const LARGE_BODY: usize = 256 * 1024;

/// What the door needs.
#[derive(Clone)]
pub struct Door {
    /// The rules in use; swapped whole when they change.
    pub book: Arc<ArcSwap<RuleBook>>,
    /// Where events are kept.
    pub outbox: Arc<dyn Outbox>,
    /// The time.
    pub clock: Clock,
    /// How long a sender may take.
    pub patience: Patience,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// How many requests may come in.
    pub limits: Limits,
    /// What came in, for health.
    pub seen: Arc<Seen>,
    /// What is counted and timed, for the metrics.
    pub meters: Arc<Meters>,
    /// Where refused requests are kept for a look.
    pub refused: Arc<RefusedRequests>,
}

impl Door {
    fn took(&self, step: Step, began: Duration) {
        let span = self.clock.uptime().saturating_sub(began);
        self.meters.took(step, span);
    }
}

/// An open door.
#[derive(Clone)]
struct Open {
    door: Arc<Door>,
    gate: Arc<Gate>,
    bodies: Arc<Bodies>,
}

impl Door {
    /// The door's routes: `POST /hooks/<bridge>`, the same with a token behind it, `GET` for challenges, and `GET /live`.
    pub fn router(self) -> Router {
        let open = Open {
            gate: Arc::new(Gate::new(self.limits)),
            bodies: Arc::new(Bodies::new(self.limits.bodies)),
            door: Arc::new(self),
        };
        let hook = || post(take).get(ask).fallback(answer::only_post);
        Router::new()
            .route("/hooks/{bridge}", hook())
            .route("/hooks/{bridge}/{*rest}", hook())
            .route("/live", get(|| async { "ok\n" }))
            .fallback(answer::not_found)
            .method_not_allowed_fallback(answer::method_not_allowed)
            .layer(CatchPanicLayer::custom(|_| {
                answer::Refused::NotKept.into_response()
            }))
            .with_state(open)
    }
}

async fn take(
    State(open): State<Open>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let address = open.address(peer, &request);
    if let Some(refused) = open.too_many_from(address) {
        return refused;
    }
    let (name, rest) = name_and_rest(request.uri().path());
    let book = open.door.book.load_full();
    let bridge = book.bridges.get(&name).cloned();
    let Some((bridge, auth)) =
        bridge.and_then(|bridge| Some((bridge.clone(), bridge.auth.clone()?)))
    else {
        let (word, why) = (
            Refused::NotAuthentic.word(),
            "it names no bridge with a secret",
        );
        return open.pass_by(request, "", address, word, why).await;
    };
    let mut incoming = incoming(&request, rest, address);
    let head = ask_head(&auth, &incoming, open.door.clock.now());
    let mut limit = bridge.max_body;
    if let Head::Refused(refusal) = &head {
        if bridge.keep_refused == 0 {
            let word = refusal.word();
            return open
                .pass_by(request, &bridge.name, address, word, refusal)
                .await;
        }
        limit = limit.min(refused::LONGEST_BODY);
    }
    let began = open.door.clock.uptime();
    let patience = open.door.patience.body;
    let room = match open.bodies.read(request, limit, patience).await {
        Ok(body) => {
            open.door.took(Step::Read, began);
            incoming.body = body.bytes;
            body.room
        }
        Err(unread) => return open.unread(&bridge.name, address, head, unread).await,
    };
    open.answer_webhook(book, bridge, incoming, address, room)
        .await
}

/// A GET: a challenge of a sender that wants to know whether somebody listens. Whatever else it is learns only that
/// webhooks are posted, and is a refusal as any other.
async fn ask(
    State(open): State<Open>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let address = open.address(peer, &request);
    if let Some(refused) = open.too_many_from(address) {
        return refused;
    }
    let (name, rest) = name_and_rest(request.uri().path());
    let book = open.door.book.load_full();
    let auth = book
        .bridges
        .get(&name)
        .and_then(|bridge| bridge.auth.as_ref());
    let only_post = answer::only_post().await;
    let Some(auth) = auth.filter(|auth| auth.challenge().is_some()) else {
        let why = "it is a GET, and names no bridge that answers one";
        return open.refuse("", address, only_post, "challenge", why).await;
    };
    match answer_anybody(auth, &incoming(&request, rest, address)) {
        Ok(answer) => {
            open.door.meters.answered(&name, Answered::Challenge);
            let now = open.door.clock.now();
            if open.gate.may_say(&format!("challenge of {name}"), now) {
                tracing::info!(bridge.name = name, "a challenge was answered");
            }
            answer::challenge(answer)
        }
        Err(refusal) => {
            open.refuse(&name, address, only_post, refusal.word(), &refusal)
                .await
        }
    }
}

/// The bridge's name and what stands behind it, percent-encoded as received.
fn name_and_rest(path: &str) -> (String, String) {
    let path = path.strip_prefix("/hooks/").unwrap_or_default();
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    (name.to_owned(), rest.to_owned())
}

/// The request as intake knows it, without its body.
fn incoming(request: &Request, rest: String, address: IpAddr) -> intake::Request {
    intake::Request {
        method: request.method().clone(),
        target: request.uri().to_string(),
        rest,
        headers: request.headers().clone(),
        body: bytes::Bytes::new(),
        peer: Some(address),
    }
}

/// What became of a webhook whose bridge is known.
enum Came {
    /// It was taken through all steps.
    Through(Result<Passed, Unreadable>),
    /// Its sender is not known.
    Refused(Refusal),
    /// Its sender is known, and too many came for the bridge.
    TooMany(Duration),
}

impl Open {
    fn address(&self, peer: SocketAddr, request: &Request) -> IpAddr {
        sender_address(peer.ip(), request.headers(), &self.door.trusted_proxies)
    }

    /// The answer when too many came from an address: nothing of the request is read.
    fn too_many_from(&self, address: IpAddr) -> Option<Response> {
        let now = self.door.clock.now();
        let wait = self.gate.enter(address, now).err()?;
        Some(self.too_many("", wait, now))
    }

    /// 503, never 429: senders take a 4xx for a no, and an authentic webhook must come again.
    fn too_many(&self, bridge: &str, wait: Duration, now: Timestamp) -> Response {
        let refused = Refused::TooMany(wait.as_secs() + 1);
        self.door.seen.refused(bridge, refused.word());
        if self.gate.may_say(bridge, now) {
            tracing::warn!(
                bridge.name = bridge,
                "more webhooks come than the door's limits allow: the rest shall come again"
            );
        }
        refused.into_response()
    }

    /// Refuses what is refused whatever its body says. The answer comes behind the body, which nobody holds or unpacks, so
    /// that neither it nor the time it takes tells whether the bridge exists.
    async fn pass_by(
        &self,
        request: Request,
        bridge: &str,
        address: IpAddr,
        word: &'static str,
        why: impl fmt::Display,
    ) -> Response {
        let passed = body::pass_by(request, self.door.patience.body).await;
        let Err(unread) = passed else {
            let refused = Refused::NotAuthentic;
            return self.refuse(bridge, address, refused, word, why).await;
        };
        let refused = Refused::Unread(unread);
        self.refuse(bridge, address, refused, refused.word(), unread)
            .await
    }

    /// The answer when the body was not read. That it is too long or does not unpack hears only who has shown a token or a
    /// password: the others could find out by it whether the bridge exists.
    async fn unread(&self, bridge: &str, address: IpAddr, head: Head, unread: Unread) -> Response {
        let refused = Refused::Unread(unread);
        let word = refused.word();
        match (head, unread) {
            (_, Unread::TooSlow | Unread::Broken) => {
                self.refuse(bridge, address, refused, word, unread).await
            }
            (Head::Refused(refusal), _) => {
                let refused = Refused::NotAuthentic;
                self.refuse(bridge, address, refused, refusal.word(), &refusal)
                    .await
            }
            (_, Unread::NoRoom) => self.too_many(bridge, NO_ROOM, self.door.clock.now()),
            (Head::Shown, _) => self.refuse(bridge, address, refused, word, unread).await,
            (Head::Undecided, _) => {
                let refused = Refused::NotAuthentic;
                self.refuse(bridge, address, refused, word, unread).await
            }
        }
    }

    /// Counts and logs a refusal, and slows its answer where there are many of them from one address.
    async fn refuse(
        &self,
        bridge: &str,
        address: IpAddr,
        refused: impl IntoResponse,
        word: &'static str,
        why: impl fmt::Display,
    ) -> Response {
        let now = self.door.clock.now();
        self.door.seen.refused(bridge, word);
        let slow = self.gate.refuse(address, now);
        if matches!(slow, Slow::No) {
            tracing::warn!(bridge.name = bridge, client.address = %address, reason = %why, "a webhook was refused");
        } else if self.gate.may_say("many refusals", now) {
            tracing::warn!(
                client.address = %address,
                "many webhooks are refused: their answers are slowed, and not all of them are logged"
            );
        }
        let closes = slow.wait(&self.door.clock).await;
        let mut response = refused.into_response();
        if closes {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }

    async fn answer_webhook(
        self,
        book: Arc<RuleBook>,
        bridge: Arc<Bridge>,
        request: intake::Request,
        address: IpAddr,
        room: Room,
    ) -> Response {
        let (now, began) = (self.door.clock.now(), self.door.clock.uptime());
        let large = request.body.len() > LARGE_BODY;
        let (open, known) = (self.clone(), bridge.clone());
        let step = move || open.bring_through(&book, &known, request, now);
        let came = if large {
            match self.bodies.apart(step).await {
                Some(came) => came,
                None => return Refused::NotKept.into_response(),
            }
        } else {
            step()
        };
        let name = bridge.name.as_str();
        if !matches!(came, Came::Through(Ok(_))) {
            drop(room);
        }
        match came {
            Came::Through(Ok(passed)) => {
                self.door.took(Step::Intake, began);
                self.answer_passed(&bridge, passed).await
            }
            Came::Through(Err(unreadable)) => {
                let refused = match unreadable {
                    Unreadable::Neither => Refused::MediaType,
                    _ => Refused::UnreadableBody,
                };
                self.door.seen.refused(name, refused.word());
                tracing::warn!(bridge.name = name, reason = %unreadable, "a webhook was refused");
                refused.into_response()
            }
            Came::Refused(refusal) => {
                let refused = Refused::NotAuthentic;
                self.refuse(name, address, refused, refusal.word(), &refusal)
                    .await
            }
            Came::TooMany(wait) => self.too_many(name, wait, now),
        }
    }

    /// Whether the sender is known is asked first, and costs no look at the body.
    fn bring_through(
        &self,
        book: &RuleBook,
        bridge: &Arc<Bridge>,
        request: intake::Request,
        now: Timestamp,
    ) -> Came {
        let no_door = || Refusal::NoSecret(bridge.name.clone());
        let Some(auth) = &bridge.auth else {
            return Came::Refused(no_door());
        };
        let copy = self.door.refused.copy(bridge, &request);
        let authentic = match authenticate(auth, request, now) {
            Ok(authentic) => authentic,
            Err(refusal) => {
                if let Some(copy) = copy {
                    self.door.refused.keep(bridge, copy, &refusal, now);
                }
                return Came::Refused(refusal);
            }
        };
        if let Err(wait) = self.gate.pass(&bridge.name, bridge.max_per_second, now) {
            return Came::TooMany(wait);
        }
        if let Some(number) = authentic.secret {
            self.door.seen.verified(bridge, number, now);
        }
        Came::Through(intake::pass(book, bridge, authentic, now))
    }

    async fn answer_passed(&self, bridge: &Bridge, passed: Passed) -> Response {
        let (name, reply) = (bridge.name.as_str(), bridge.reply.as_deref());
        match passed {
            Passed::Event {
                event,
                routed,
                deliveries,
            } => answer::success(reply, self.keep(*event, routed, deliveries).await),
            Passed::Silent(why) => {
                self.door.meters.answered(name, Answered::Silent);
                tracing::info!(
                    bridge.name = name,
                    reason = why,
                    "a webhook was silent by choice"
                );
                let ours = (StatusCode::OK, Json(json!({ "silent": why }))).into_response();
                answer::success(reply, ours)
            }
            Passed::Challenge(answer) => {
                self.door.meters.answered(name, Answered::Challenge);
                tracing::info!(bridge.name = name, "a challenge was answered");
                answer::challenge(answer)
            }
        }
    }

    async fn keep(&self, event: Event, routed: bool, deliveries: Vec<NewDelivery>) -> Response {
        let door = &self.door;
        let event = Arc::new(event);
        let (bridge, id) = (event.bridge.clone(), event.id.to_string());
        for delivery in &deliveries {
            let (delivery_id, destination) = (delivery.id, delivery.destination.as_str());
            match &delivery.rendered {
                Rendered::Ready(_) => tracing::debug!(
                    bridge.name = bridge,
                    event.id = id,
                    delivery.id = %delivery_id,
                    destination,
                    "a delivery was made"
                ),
                Rendered::Broken(reason) => tracing::error!(
                    bridge.name = bridge,
                    event.id = id,
                    delivery.id = %delivery_id,
                    destination,
                    reason,
                    "a template could not render a message; it is kept"
                ),
            }
        }
        let new = NewEvent {
            routed,
            event: event.clone(),
            deliveries,
        };
        // `keep` goes on when the sender hangs up: what was promised to the disk does not depend on who still listens.
        let (outbox, began) = (door.outbox.clone(), door.clock.uptime());
        let kept = tokio::spawn(async move { outbox.keep(new).await }).await;
        let answered = match &kept {
            Ok(Ok(Kept::New { .. })) => Answered::Kept,
            Ok(Ok(Kept::Repeat { .. })) => Answered::Repeat,
            Ok(Err(_)) | Err(_) => Answered::NotKept,
        };
        door.meters.answered(&bridge, answered);
        if answered == Answered::Kept {
            door.took(Step::Keep, began);
            if !routed {
                door.meters.unrouted(&bridge);
            }
        }
        match kept {
            Ok(Ok(Kept::New { deliveries })) => {
                tracing::info!(
                    bridge.name = bridge,
                    event.id = id,
                    event.kind = event.kind,
                    deliveries,
                    "a webhook was kept"
                );
                let body = json!({ "event": id, "kind": event.kind, "deliveries": deliveries });
                (StatusCode::ACCEPTED, Json(body)).into_response()
            }
            Ok(Ok(Kept::Repeat { became, put_back })) => {
                tracing::info!(
                    bridge.name = bridge,
                    event.id = id,
                    event.kind = event.kind,
                    put_back,
                    "a repeated webhook was answered"
                );
                let became: serde_json::Map<_, _> = became
                    .into_iter()
                    .map(|(state, count)| (state.word().to_owned(), count.into()))
                    .collect();
                let body = json!({
                    "event": id, "kind": event.kind, "repeat": true, "became": became, "put_back": put_back,
                });
                (StatusCode::OK, Json(body)).into_response()
            }
            Ok(Err(error)) => {
                // A full disk refuses every webhook that comes.
                if self.gate.may_say("not kept", door.clock.now()) {
                    tracing::error!(
                        bridge.name = bridge,
                        event.id = id,
                        %error,
                        "a webhook could not be kept, the sender shall send it again; of more like it nothing is said for a minute"
                    );
                }
                Refused::NotKept.into_response()
            }
            Err(_) => Refused::NotKept.into_response(),
        }
    }
}
