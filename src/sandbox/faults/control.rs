//! The faults over HTTP, so that a test can change those of a sandbox in another process; and the books of it.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::Plan;
use crate::sandbox::{Account, Shared};

/// A path of its own: nothing of OpenIM begins so.
pub(in crate::sandbox) fn router() -> Router<Shared> {
    Router::new()
        .route("/sandbox/faults", get(show).post(put).delete(clear))
        .route("/sandbox/account", get(account))
}

async fn show(State(shared): State<Shared>) -> Response {
    let world = shared.settled();
    let body = json!({"seed": world.faults.seed(), "faults": world.faults.met()});
    Json(body).into_response()
}

/// Plays this plan from now on; what was played before ends.
async fn put(State(shared): State<Shared>, body: Bytes) -> Response {
    match serde_json::from_slice::<Plan>(&body) {
        Ok(plan) => {
            shared.plan(plan);
            show(State(shared)).await
        }
        Err(error) => {
            let body = json!({"error": error.to_string()});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

async fn clear(State(shared): State<Shared>) -> Response {
    shared.plan(Plan::default());
    show(State(shared)).await
}

async fn account(State(shared): State<Shared>) -> Json<Account> {
    Json(shared.settled().account())
}
