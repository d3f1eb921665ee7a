//! Tokens: handing them out, reading them, taking them away.

use serde_json::json;

use super::{Answer, Call, recognise};
use crate::sandbox::answer::{Refusal, missing, wrong};
use crate::sandbox::token::{self, LIFETIME};
use crate::sandbox::world::{ADMIN_LEVEL, ADMINS, SECRET, World};

/// The platform of admin tokens.
const ADMIN_PLATFORM: i64 = 10;

pub(super) fn get_admin_token(world: &mut World, call: &Call) -> Answer {
    let user = call.body.text("userID");
    if user.is_empty() {
        return Err(wrong("userID is empty"));
    }
    if call.body.text("secret") != SECRET {
        return Err(Refusal::Says(1002, "secret invalid".to_owned()));
    }
    if !World::is_admin(user) {
        let admins = ADMINS.join(" ");
        return Err(wrong(format!(
            "userID is error., userID={user}, adminUserID=[{admins}]"
        )));
    }
    Ok(Some(hand_out(world, user, ADMIN_PLATFORM, call)))
}

pub(super) fn get_user_token(world: &mut World, call: &Call) -> Answer {
    let user = call.body.text("userID");
    if World::is_admin(user) {
        return Err(Refusal::Says(1002, "don't get Admin token".to_owned()));
    }
    let known = world.user(user).ok_or_else(|| missing("user not found"))?;
    if known.level >= ADMIN_LEVEL {
        return Err(wrong("app account can`t get token"));
    }
    Ok(Some(hand_out(
        world,
        user,
        call.body.whole("platformID"),
        call,
    )))
}

fn hand_out(world: &mut World, user: &str, platform: i64, call: &Call) -> serde_json::Value {
    let token = token::issue(SECRET.as_bytes(), user, platform, call.now);
    world.give(&token, user, platform, call.now);
    json!({"token": token, "expireTimeSeconds": LIFETIME})
}

pub(super) fn parse_token(world: &mut World, call: &Call) -> Answer {
    let claims = recognise(world, call.body.text("token"), call.now)?;
    Ok(Some(json!({
        "userID": claims.user,
        "platformID": claims.platform,
        "expireTimeSeconds": claims.exp,
    })))
}

pub(super) fn force_logout(world: &mut World, call: &Call) -> Answer {
    world.forget_tokens(Some((
        call.body.text("userID"),
        call.body.whole("platformID"),
    )));
    Ok(None)
}
