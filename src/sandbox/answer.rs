//! OpenIM's answers: one envelope, and the texts of its refusals, which differ by family.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::model::Family;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    /// An error that carries no text of its own.
    Bare(i32),
    /// An error that says more.
    Says(i32, String),
    /// gin could not bind the body: HTTP 400.
    Unbindable(String),
    /// An RPC-style call could not read its body: HTTP 200, with Go's stack in the text.
    Unreadable(String),
    /// The API process stumbled over an error without a code.
    Broken(String),
    /// A service behind the API stumbled over an error without a code.
    BrokenBehind(String),
    /// A token that does not hold; its errMsg is not always its name.
    Token {
        code: i32,
        message: &'static str,
        token: String,
    },
    /// An error with its name and text, whatever its code.
    Recorded {
        code: i32,
        message: String,
        detail: String,
    },
    /// The path does not exist.
    NoSuchPath,
}

/// The names of the codes (`pkg/common/servererrs` of open-im-server).
const NAMES: [(i32, &str); 17] = [
    (500, "ServerInternalError"),
    (1001, "ArgsError"),
    (1002, "NoPermissionError"),
    (1004, "RecordNotFoundError"),
    (1101, "UserIDNotFoundError"),
    (1102, "RegisteredAlreadyError"),
    (1202, "GroupIDExisted"),
    (1203, "NotInGroupYetError"),
    (1204, "DismissedAlreadyError"),
    (1302, "BlockedByPeer"),
    (1402, "MutedInGroup"),
    (1403, "MutedGroup"),
    (1404, "MsgAlreadyRevoke"),
    (1501, "TokenExpiredError"),
    (1503, "TokenMalformedError"),
    (1506, "TokenKickedError"),
    (1507, "TokenNotExistError"),
];

/// The arguments are wrong.
pub(super) fn wrong(text: impl Into<String>) -> Refusal {
    Refusal::Says(1001, text.into())
}

/// Something was not found.
pub(super) fn missing(text: impl Into<String>) -> Refusal {
    Refusal::Says(1004, text.into())
}

fn name(code: i32) -> &'static str {
    let found = NAMES.iter().find(|(known, _)| *known == code);
    found.map_or("UnknownError", |(_, name)| name)
}

/// The answer to a call that was done.
pub(super) fn done(data: Option<Value>) -> Response {
    let mut body = json!({"errCode": 0, "errMsg": "", "errDlt": ""});
    if let Some(data) = data {
        body["data"] = data;
    }
    envelope(StatusCode::OK, &body)
}

/// The answer to a call that was refused.
pub(super) fn refused(refusal: Refusal, family: Family) -> Response {
    let (status, code, message, detail) = match refusal {
        Refusal::NoSuchPath => {
            let text = (StatusCode::NOT_FOUND, "404 page not found").into_response();
            return with_type(text, "text/plain");
        }
        // Released servers put the error's own name where main says nothing.
        Refusal::Bare(code) => match family {
            Family::Main => (200, code, name(code).to_owned(), String::new()),
            Family::Release38 if code == 1001 => (200, code, name(code).to_owned(), String::new()),
            Family::Release38 => (200, code, name(code).to_owned(), name(code).to_owned()),
        },
        Refusal::Recorded {
            code,
            message,
            detail,
        } => (200, code, message, detail),
        Refusal::Says(code, text) => (200, code, name(code).to_owned(), text),
        Refusal::Unbindable(text) => (400, 1001, name(1001).to_owned(), text),
        Refusal::Unreadable(text) => (
            200,
            1001,
            format!("Error: Error: {text} | -> (Go stack text)"),
            String::new(),
        ),
        Refusal::Broken(text) => (200, 500, name(500).to_owned(), text),
        Refusal::BrokenBehind(text) => match family {
            Family::Main => (200, 500, name(500).to_owned(), text),
            Family::Release38 => (200, 500, text.clone(), text),
        },
        Refusal::Token {
            code,
            message,
            token,
        } => match family {
            Family::Main => (200, code, message.to_owned(), String::new()),
            Family::Release38 => (
                200,
                code,
                message.to_owned(),
                format!("{code} {message} jwt parse error, token={token}"),
            ),
        },
    };
    let status = StatusCode::from_u16(status).expect("200 and 400 are statuses");
    let body = json!({"errCode": code, "errMsg": message, "errDlt": detail});
    envelope(status, &body)
}

fn envelope(status: StatusCode, body: &Value) -> Response {
    with_type((status, Json(body)).into_response(), "application/json")
}

fn with_type(mut response: Response, kind: &'static str) -> Response {
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
