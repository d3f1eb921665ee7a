//! The console's listener: health and metrics, behind a token when it is heard beyond this machine.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, StatusCode};
use subtle::ConstantTimeEq;

use super::desk::Desk;
use super::{answer, api};
use crate::model::{Health, Secret};

/// The content type of the metrics (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Asks the running service how it is.
pub type AskHealth = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Health> + Send>> + Send + Sync>;

/// Asks the running service for its metrics, in Prometheus' text format.
pub type AskMetrics = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync>;

/// What the console's listener needs.
#[derive(Clone)]
pub struct Console {
    /// How the service is.
    pub health: AskHealth,
    /// What it counts and times.
    pub metrics: AskMetrics,
    /// The desk behind the API.
    pub desk: Desk,
    /// The token to ask with (`Authorization: Bearer …`); none on loopback.
    pub token: Option<Secret>,
}

impl Console {
    /// The console's routes: `GET /health`, `GET /metrics`, the API.
    pub fn router(self) -> Router {
        let desk = self.desk.clone();
        Router::new()
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .with_state(self.clone())
            .merge(api::router(desk))
            .route_layer(from_fn_with_state(self, want_token))
            .fallback(answer::not_found)
            .method_not_allowed_fallback(answer::method_not_allowed)
    }
}

/// Whether a program of this machine asks, and not a page in its browser: a page names itself in `Origin`, and one whose name was
/// pointed at this machine has that name in `Host`.
fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let Some(host) = text(HOST) else {
        return headers.get(HOST).is_none();
    };
    let authority = host.parse::<http::uri::Authority>().ok();
    let is_here = authority.is_some_and(|authority| {
        let name = authority.host().trim_matches(['[', ']']);
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    });
    let same = |origin: &str| origin.strip_prefix("http://") == Some(host);
    is_here && (headers.get(ORIGIN).is_none() || text(ORIGIN).is_some_and(same))
}

/// Lets through who knows the token; where there is none, programs of this machine.
async fn want_token(State(console): State<Console>, request: Request, next: Next) -> Response {
    if console.token.is_none() && !is_of_this_machine(request.headers()) {
        let why = "a page or another name asks; set [console] token to let it";
        return answer::says(StatusCode::FORBIDDEN, why);
    }
    if let Some(token) = &console.token {
        let given = request.headers().get(AUTHORIZATION);
        let given = given
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .unwrap_or_default();
        if !bool::from(given.ct_eq(token.expose())) {
            return answer::unauthorized();
        }
    }
    next.run(request).await
}

/// 200 while webhooks are taken, 503 when they cannot be kept; the body says what is wrong in both cases.
async fn health(State(console): State<Console>) -> Response {
    let health = (console.health)().await;
    let status = match health.takes_webhooks {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, axum::Json(health)).into_response()
}

/// What the service counts and times.
async fn metrics(State(console): State<Console>) -> Response {
    let text = (console.metrics)().await;
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_the_browser_is_no_program_of_this_machine() {
        let asks = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (
                    name.parse::<http::HeaderName>().unwrap(),
                    HeaderValue::from_static(value),
                )
            });
            is_of_this_machine(&pairs.collect())
        };
        assert!(asks(&[("host", "127.0.0.1:8081")]));
        assert!(asks(&[("host", "[::1]:8081")]));
        assert!(asks(&[("host", "LocalHost:8081")]));
        assert!(asks(&[
            ("host", "localhost:8081"),
            ("origin", "http://localhost:8081")
        ]));
        assert!(asks(&[]));
        assert!(!asks(&[("host", "evil.example:8081")]));
        assert!(!asks(&[
            ("host", "127.0.0.1:8081"),
            ("origin", "https://evil.example")
        ]));
        assert!(!asks(&[("host", "127.0.0.1:8081"), ("origin", "null")]));
        assert!(!asks(&[
            ("host", "127.0.0.1:8081"),
            ("origin", "http://127.0.0.1:9000")
        ]));
    }
}
