//! What the door and the console answer: one place for every status and its short text.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::body::Unread;
use crate::intake::Answer;

/// How long a sender is asked to wait when a webhook could not be kept, in seconds.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Why a webhook was not taken, as the sender may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such bridge, no secret, or a proof that does not hold: all look alike.
    NotAuthentic,
    /// The body was not read.
    Unread(Unread),
    /// The body is no JSON and no form.
    UnreadableBody,
    /// The body is of a type that is not taken.
    MediaType,
    /// It could not be kept; it is not promised.
    NotKept,
    /// Too many came; this one is not promised, and may come again after so many seconds.
    TooMany(u64),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Refused::NotAuthentic => (StatusCode::UNAUTHORIZED, "not authentic"),
            Refused::Unread(Unread::TooLong) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
            }
            Refused::Unread(Unread::TooSlow) => {
                (StatusCode::REQUEST_TIMEOUT, "the body came too slowly")
            }
            Refused::Unread(Unread::Broken) => {
                (StatusCode::BAD_REQUEST, "the body did not come whole")
            }
            Refused::Unread(Unread::UnknownEncoding) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the content-encoding is not gzip or deflate",
            ),
            Refused::Unread(Unread::BadEncoding) => {
                (StatusCode::BAD_REQUEST, "the body does not unpack")
            }
            Refused::UnreadableBody => (StatusCode::BAD_REQUEST, "the body cannot be read"),
            Refused::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body is neither JSON nor a form",
            ),
            Refused::NotKept => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not kept, please send it again",
            ),
            Refused::TooMany(_) | Refused::Unread(Unread::NoRoom) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many at once, please send it again",
            ),
        };
        let mut response = says(status, error);
        let seconds = match self {
            Refused::NotKept | Refused::Unread(Unread::NoRoom) => RETRY_AFTER_SECONDS,
            Refused::TooMany(seconds) => seconds,
            _ => return response,
        };
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert(RETRY_AFTER, seconds);
        response
    }
}

impl Refused {
    /// The kind of it in one word, for counting.
    pub fn word(self) -> &'static str {
        match self {
            Refused::NotAuthentic => "unknown_bridge",
            Refused::Unread(Unread::TooLong) => "body_too_large",
            Refused::Unread(Unread::TooSlow) => "body_too_slow",
            Refused::Unread(Unread::Broken) => "body_broken",
            Refused::Unread(Unread::UnknownEncoding | Unread::BadEncoding) => "body_encoding",
            Refused::UnreadableBody | Refused::MediaType => "body_unreadable",
            Refused::NotKept => "not_kept",
            Refused::TooMany(_) | Refused::Unread(Unread::NoRoom) => "too_many",
        }
    }
}

/// What a challenge is answered with.
pub fn challenge(answer: Answer) -> Response {
    exactly(answer.text, answer.json)
}

/// What a bridge's sender needs to hear in place of our own words of success: 200 and exactly that.
pub fn success(reply: Option<&str>, ours: Response) -> Response {
    match reply {
        Some(reply) if ours.status().is_success() => {
            exactly(reply.to_owned(), reply.starts_with('{'))
        }
        _ => ours,
    }
}

/// 200 with a text that is not ours. Nothing of it is markup, whatever a browser would like to see in it.
fn exactly(text: String, json: bool) -> Response {
    let content_type = match json {
        true => "application/json",
        false => "text/plain; charset=utf-8",
    };
    let headers = [
        (CONTENT_TYPE, content_type),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (StatusCode::OK, headers, text).into_response()
}

/// 404 for a path that is none of ours.
pub async fn not_found() -> Response {
    says(StatusCode::NOT_FOUND, "there is nothing here")
}

/// 405 for a webhook that is no POST.
pub async fn method_not_allowed() -> Response {
    says(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path takes another method",
    )
}

/// 405 at a hook, which takes only POST.
pub async fn only_post() -> Response {
    let mut response = says(StatusCode::METHOD_NOT_ALLOWED, "webhooks are taken as POST");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// 401 with the scheme that the console asks for.
pub fn unauthorized() -> Response {
    let mut response = says(StatusCode::UNAUTHORIZED, "the console wants its token");
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// A status with a short text, as JSON.
pub fn says(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
