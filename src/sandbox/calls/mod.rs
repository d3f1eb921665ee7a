//! The server's calls: which there are, what each takes, and the checks that stand before all of them.

mod auth;
mod groups;
mod reading;
mod sending;
mod users;

use std::collections::HashMap;

use axum::http::{HeaderMap, Method};
use serde_json::Value;

use super::answer::{Refusal, wrong};
use super::faults;
use super::go::{self, Fields, Reader, Shape};
use super::requests as takes;
use super::token::{self, Claims, Flaw};
use super::world::{SECRET, World};
use crate::model::Family;
use crate::model::Timestamp;

pub(super) use groups::create as create_group;
pub(super) use sending::receipt;

/// One call, its body read.
pub(super) struct Call<'a> {
    /// The header `operationID`.
    pub operation: &'a str,
    /// The user whose token came with it; empty where none is asked for.
    pub caller: String,
    pub body: Fields,
    pub query: HashMap<String, String>,
    pub now: Timestamp,
}

/// What a call gives: its `data`, if it has one.
pub(super) type Answer = Result<Option<Value>, Refusal>;

/// One path of the API.
struct Endpoint {
    path: &'static str,
    takes: &'static Shape,
    reader: Reader,
    /// Where it exists; `None`: everywhere.
    only: Option<Family>,
    /// Whether the caller must be an admin of the server.
    admin: bool,
    /// What it looks at before its body.
    before: fn(&HashMap<String, String>) -> Result<(), Refusal>,
    run: Run,
}

type Run = fn(&mut World, &Call) -> Answer;

/// A call that is passed on to a service as it came.
const fn call(path: &'static str, takes: &'static Shape, run: Run) -> Endpoint {
    Endpoint {
        path,
        takes,
        reader: Reader::Unmarshal,
        only: None,
        admin: false,
        before: |_| Ok(()),
        run,
    }
}

/// As [`call`], for admins.
const fn admin(path: &'static str, takes: &'static Shape, run: Run) -> Endpoint {
    Endpoint {
        admin: true,
        ..call(path, takes, run)
    }
}

/// A call that the API process binds itself.
const fn bound(path: &'static str, takes: &'static Shape, run: Run) -> Endpoint {
    Endpoint {
        reader: Reader::Decoder,
        ..call(path, takes, run)
    }
}

/// Paths that ask for no token.
pub(super) const OPEN: [&str; 2] = ["/auth/get_admin_token", "/auth/parse_token"];

const ENDPOINTS: [Endpoint; 37] = [
    call(
        "/auth/get_admin_token",
        &takes::GET_ADMIN_TOKEN,
        auth::get_admin_token,
    ),
    admin(
        "/auth/get_user_token",
        &takes::GET_USER_TOKEN,
        auth::get_user_token,
    ),
    call("/auth/parse_token", &takes::PARSE_TOKEN, auth::parse_token),
    admin(
        "/auth/force_logout",
        &takes::FORCE_LOGOUT,
        auth::force_logout,
    ),
    admin(
        "/user/user_register",
        &takes::USER_REGISTER,
        users::user_register,
    ),
    admin(
        "/user/account_check",
        &takes::ACCOUNT_CHECK,
        users::account_check,
    ),
    call(
        "/user/get_users_info",
        &takes::GET_USERS_INFO,
        users::get_users_info,
    ),
    admin("/user/get_users", &takes::GET_USERS, users::get_users),
    admin(
        "/user/get_all_users_uid",
        &takes::GET_ALL_USERS_UID,
        users::get_all_users_uid,
    ),
    call(
        "/user/set_global_msg_recv_opt",
        &takes::SET_GLOBAL_MSG_RECV_OPT,
        users::set_global_msg_recv_opt,
    ),
    admin(
        "/user/add_notification_account",
        &takes::NOTIFICATION_ACCOUNT,
        users::add_notification_account,
    ),
    admin(
        "/user/update_notification_account",
        &takes::NOTIFICATION_ACCOUNT,
        users::update_notification_account,
    ),
    admin(
        "/user/search_notification_account",
        &takes::SEARCH_NOTIFICATION_ACCOUNT,
        users::search_notification_account,
    ),
    call("/friend/add_black", &takes::ADD_BLACK, users::add_black),
    call(
        "/conversation/set_conversations",
        &takes::SET_CONVERSATIONS,
        users::set_conversations,
    ),
    call(
        "/group/create_group",
        &takes::CREATE_GROUP,
        groups::create_group,
    ),
    call(
        "/group/get_groups_info",
        &takes::GET_GROUPS_INFO,
        groups::get_groups_info,
    ),
    call("/group/get_groups", &takes::GET_GROUPS, groups::get_groups),
    call(
        "/group/get_group_members_info",
        &takes::GET_GROUP_MEMBERS_INFO,
        groups::get_group_members_info,
    ),
    call(
        "/group/get_group_member_list",
        &takes::GET_GROUP_MEMBER_LIST,
        groups::get_group_member_list,
    ),
    call(
        "/group/get_joined_group_list",
        &takes::GET_JOINED_GROUP_LIST,
        groups::get_joined_group_list,
    ),
    call(
        "/group/invite_user_to_group",
        &takes::INVITE_USER_TO_GROUP,
        groups::invite_user_to_group,
    ),
    call("/group/mute_group", &takes::ONE_GROUP, groups::mute_group),
    call(
        "/group/cancel_mute_group",
        &takes::ONE_GROUP,
        groups::cancel_mute_group,
    ),
    call(
        "/group/mute_group_member",
        &takes::MUTE_GROUP_MEMBER,
        groups::mute_group_member,
    ),
    call(
        "/group/cancel_mute_group_member",
        &takes::MUTE_GROUP_MEMBER,
        groups::cancel_mute_group_member,
    ),
    call(
        "/group/dismiss_group",
        &takes::ONE_GROUP,
        groups::dismiss_group,
    ),
    bound("/msg/send_msg", &takes::SEND_MSG, sending::send_msg),
    bound(
        "/msg/batch_send_msg",
        &takes::BATCH_SEND_MSG,
        sending::batch_send_msg,
    ),
    bound(
        "/msg/send_business_notification",
        &takes::SEND_BUSINESS_NOTIFICATION,
        sending::send_business_notification,
    ),
    Endpoint {
        only: Some(Family::Main),
        before: |query| sending::conversation_key(query).map(drop),
        ..bound(
            "/msg/send_simple_msg",
            &takes::SEND_SIMPLE_MSG,
            sending::send_simple_msg,
        )
    },
    call(
        "/msg/check_msg_is_send_success",
        &takes::EMPTY,
        sending::check_msg_is_send_success,
    ),
    call(
        "/msg/get_server_time",
        &takes::EMPTY,
        reading::get_server_time,
    ),
    call("/msg/newest_seq", &takes::NEWEST_SEQ, reading::newest_seq),
    call(
        "/msg/get_conversations_has_read_and_max_seq",
        &takes::CONVERSATION_SEQS,
        reading::get_conversations_has_read_and_max_seq,
    ),
    call(
        "/msg/pull_msg_by_seq",
        &takes::PULL_MSG_BY_SEQ,
        reading::pull_msg_by_seq,
    ),
    call("/msg/revoke_msg", &takes::REVOKE_MSG, reading::revoke_msg),
];

/// Answers a request as the server does: operationID, token, path, body, and only then the call itself.
pub(super) fn answer(
    world: &mut World,
    method: &Method,
    path: &str,
    query: HashMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Answer {
    // Only POST passes the checks; the rest falls through to a path that does not exist.
    if method != Method::POST {
        return Err(Refusal::NoSuchPath);
    }
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or("")
    };
    let operation = header("operationid");
    if operation.is_empty() {
        return Err(wrong("header must have operationID"));
    }
    let caller = if OPEN.contains(&path) {
        String::new()
    } else {
        match header("token") {
            "" => return Err(wrong("header must have token")),
            token => recognise(world, token, now)?.user,
        }
    };
    let family = world.family;
    let mut endpoints = ENDPOINTS.iter();
    let endpoint = endpoints
        .find(|endpoint| endpoint.path == path && endpoint.only.is_none_or(|only| only == family))
        .ok_or(Refusal::NoSuchPath)?;
    *world.calls.entry(path.to_owned()).or_default() += 1;
    (endpoint.before)(&query)?;
    let body = go::read(body, endpoint.reader)
        .and_then(|body| go::decode(endpoint.takes, &body))
        .map_err(|text| match endpoint.reader {
            Reader::Decoder => Refusal::Unbindable(text),
            Reader::Unmarshal => Refusal::Unreadable(text),
        })?;
    if endpoint.admin && !World::is_admin(&caller) {
        let text = format!("user {caller} is not admin userID");
        return Err(Refusal::Says(1002, text));
    }
    (endpoint.run)(
        world,
        &Call {
            operation,
            caller,
            body,
            query,
            now,
        },
    )
}

/// Reads a token and asks whether the server still knows it.
fn recognise(world: &World, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
    let refuse = |code, message| Refusal::Token {
        code,
        message,
        token: token.to_owned(),
    };
    let claims = token::read(SECRET.as_bytes(), token, now).map_err(|flaw| match flaw {
        Flaw::Malformed => refuse(1503, "TokenMalformedError"),
        Flaw::Expired => refuse(1501, "TokenExpiredError"),
        Flaw::Signature => refuse(1505, "signature is invalid"),
        Flaw::FromTheFuture => refuse(1505, "token used before issued"),
    })?;
    if let Some(code) = world.displaced(token) {
        return Err(faults::token_refused(code, token));
    }
    if !world.remembers(token, &claims.user, now) {
        return Err(Refusal::Bare(1507));
    }
    Ok(claims)
}

/// Which part of a list is asked for: the page, counted from 1, and its length.
fn page<T: Clone>(call: &Call, items: &[T]) -> Result<Vec<T>, Refusal> {
    let pagination = call.body.inner("pagination");
    let pagination = pagination.ok_or_else(|| wrong("pagination is empty"))?;
    let number = usize::try_from(pagination.whole("pageNumber")).unwrap_or(0);
    if number == 0 {
        return Err(wrong("pageNumber is invalid"));
    }
    let length = usize::try_from(pagination.whole("showNumber")).unwrap_or(0);
    let skipped = (number - 1).saturating_mul(length);
    Ok(items.iter().skip(skipped).take(length).cloned().collect())
}

/// A list as Go writes it: one without items is `null`.
fn list(items: Vec<Value>) -> Value {
    if items.is_empty() {
        Value::Null
    } else {
        Value::Array(items)
    }
}
