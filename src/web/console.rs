//! The console's listener: health, behind a token when it is heard beyond this machine.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderMap;
use http::StatusCode;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::answer;
use crate::model::{Health, Secret};

/// Asks the running service how it is.
pub type AskHealth = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Health> + Send>> + Send + Sync>;

/// What the console's listener needs.
#[derive(Clone)]
pub struct Console {
    /// How the service is.
    pub health: AskHealth,
    /// The token to ask with (`Authorization: Bearer …`); none on loopback.
    pub token: Option<Secret>,
}

impl Console {
    /// The console's routes: `GET /health`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/health", get(health))
            .fallback(answer::not_found)
            .method_not_allowed_fallback(answer::method_not_allowed)
            .with_state(self)
    }
}

/// 200 while webhooks are taken, 503 when they cannot be kept; the body says what is wrong in both cases.
async fn health(State(console): State<Console>, headers: HeaderMap) -> Response {
    if let Some(token) = &console.token {
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .unwrap_or_default();
        if !bool::from(given.ct_eq(token.expose())) {
            return answer::unauthorized();
        }
    }
    let health = (console.health)().await;
    let status = match health.takes_webhooks {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, axum::Json(health)).into_response()
}
