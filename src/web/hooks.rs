//! The door: `POST /hooks/<bridge>`. A webhook is answered with 202 only after it is on disk.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use ipnet::IpNet;
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;

use super::answer::{self, Refused};
use super::body;
use super::listener::Patience;
use super::proxies::sender_address;
use crate::bridge::{Bridge, RuleBook};
use crate::intake::{self, Passed, Rejection, Unreadable};
use crate::model::{Clock, Event, NewDelivery, Rendered};
use crate::outbox::{Kept, NewEvent, Outbox};

/// The longest body that is read for a bridge that does not exist, in bytes: as for a bridge with the default limit, so
/// that the two answer alike.
const UNKNOWN_BRIDGE_BODY: usize = crate::bridge::DEFAULT_MAX_BODY;

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
}

impl Door {
    /// The door's routes: `POST /hooks/<bridge>`, the same with a token behind it, and `GET /live`.
    pub fn router(self) -> Router {
        let hook = || post(take).fallback(answer::only_post);
        Router::new()
            .route("/hooks/{bridge}", hook())
            .route("/hooks/{bridge}/{*rest}", hook())
            .route("/live", get(|| async { "ok\n" }))
            .fallback(answer::not_found)
            .method_not_allowed_fallback(answer::method_not_allowed)
            .layer(CatchPanicLayer::custom(|_| {
                answer::Refused::NotKept.into_response()
            }))
            .with_state(self)
    }
}

async fn take(
    State(door): State<Door>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (name, rest) = name_and_rest(request.uri().path());
    let book = door.book.load_full();
    let bridge = book.bridges.get(&name).filter(|bridge| bridge.is_door());
    let limit = bridge.map_or(UNKNOWN_BRIDGE_BODY, |bridge| bridge.max_body);
    let mut incoming = intake::Request {
        method: request.method().clone(),
        target: request.uri().to_string(),
        rest,
        headers: request.headers().clone(),
        body: bytes::Bytes::new(),
        peer: Some(sender_address(
            peer.ip(),
            request.headers(),
            &door.trusted_proxies,
        )),
    };
    incoming.body = match body::read(request, limit, door.patience.body).await {
        Ok(body) => body,
        Err(unread) => {
            tracing::info!(reason = ?unread, "a webhook's body was not read");
            return Refused::Unread(unread).into_response();
        }
    };
    let Some(bridge) = bridge.cloned() else {
        tracing::info!("a webhook came for a bridge that does not exist or has no secret");
        return Refused::NotAuthentic.into_response();
    };
    answer_webhook(door, book, bridge, incoming).await
}

/// The bridge's name and what stands behind it, percent-encoded as received.
fn name_and_rest(path: &str) -> (String, String) {
    let path = path.strip_prefix("/hooks/").unwrap_or_default();
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    (name.to_owned(), rest.to_owned())
}

async fn answer_webhook(
    door: Door,
    book: Arc<RuleBook>,
    bridge: Arc<Bridge>,
    request: intake::Request,
) -> Response {
    let now = door.clock.now();
    let (name, reply) = (bridge.name.clone(), bridge.reply.clone());
    let large = request.body.len() > LARGE_BODY;
    let step = move || intake::pass(&book, &bridge, request, now);
    let passed = if large {
        match tokio::task::spawn_blocking(step).await {
            Ok(passed) => passed,
            Err(_) => return Refused::NotKept.into_response(),
        }
    } else {
        step()
    };
    match passed {
        Ok(Passed::Event {
            event,
            routed,
            deliveries,
        }) => answer::success(reply, keep(door, *event, routed, deliveries).await),
        Ok(Passed::Silent(why)) => {
            tracing::info!(
                bridge.name = name,
                reason = why,
                "a webhook was silent by choice"
            );
            let ours = (StatusCode::OK, Json(json!({ "silent": why }))).into_response();
            answer::success(reply, ours)
        }
        Err(rejection) => {
            tracing::warn!(bridge.name = name, reason = %rejection, "a webhook was refused");
            match rejection {
                Rejection::NoDoor | Rejection::NotAuthentic(_) => Refused::NotAuthentic,
                Rejection::Unreadable(Unreadable::Neither) => Refused::MediaType,
                Rejection::Unreadable(_) => Refused::UnreadableBody,
            }
            .into_response()
        }
    }
}

async fn keep(door: Door, event: Event, routed: bool, deliveries: Vec<NewDelivery>) -> Response {
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
    let outbox = door.outbox.clone();
    let kept = tokio::spawn(async move { outbox.keep(new).await }).await;
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
            tracing::error!(bridge.name = bridge, event.id = id, %error, "a webhook could not be kept");
            Refused::NotKept.into_response()
        }
        Err(_) => Refused::NotKept.into_response(),
    }
}
