//! The console's listener: health and metrics, behind a token when it is heard beyond this machine.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
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

/// Lets through who knows the token, where there is one.
async fn want_token(State(console): State<Console>, request: Request, next: Next) -> Response {
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
