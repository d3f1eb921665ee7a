//! The page that shows the chats.

use axum::Router;

use super::Shared;

pub(super) fn router() -> Router<Shared> {
    Router::new()
}
