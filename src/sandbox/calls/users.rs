//! Accounts: people, bot accounts, who they are and what they want to hear.

use serde_json::{Value, json};

use super::{Answer, Call, list, page};
use crate::model::Family;
use crate::sandbox::answer::{Refusal, missing, wrong};
use crate::sandbox::history::message_id;
use crate::sandbox::world::{BOT_LEVEL, User, World};

pub(super) fn user_register(world: &mut World, call: &Call) -> Answer {
    let users = call.body.list("users");
    if users.is_empty() {
        return Err(wrong(match world.family {
            Family::Main => "users is empty",
            Family::Release38 => "users are empty",
        }));
    }
    let mut ids: Vec<&str> = Vec::new();
    for user in &users {
        let id = user.text("userID");
        if id.is_empty() {
            return Err(wrong("userID is empty"));
        }
        if !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(wrong("userID is legal"));
        }
        if ids.contains(&id) {
            return Err(wrong("userID repeated"));
        }
        ids.push(id);
    }
    if ids.iter().any(|id| world.user(id).is_some()) {
        return Err(Refusal::Says(1102, "userID registered already".to_owned()));
    }
    for user in &users {
        world.add_user(
            user.text("userID"),
            user.text("nickname"),
            user.text("faceURL"),
            user.text("ex"),
            0,
            call.now,
        );
    }
    Ok(None)
}

pub(super) fn account_check(world: &mut World, call: &Call) -> Answer {
    let mut seen: Vec<&str> = Vec::new();
    for id in call.body.texts("checkUserIDs") {
        if seen.contains(&id) {
            return Err(wrong("userID repeated"));
        }
        seen.push(id);
    }
    let results = seen.into_iter().map(|id| {
        let status = i32::from(world.user(id).is_some());
        json!({"userID": id, "accountStatus": status})
    });
    Ok(Some(json!({"results": list(results.collect())})))
}

pub(super) fn get_users_info(world: &mut World, call: &Call) -> Answer {
    let ids = call.body.texts("userIDs");
    if ids.is_empty() {
        return Err(wrong("userIDs is empty"));
    }
    let known = ids.into_iter().filter_map(|id| world.user(id));
    Ok(Some(
        json!({"usersInfo": list(known.map(User::info).collect())}),
    ))
}

pub(super) fn get_users(world: &mut World, call: &Call) -> Answer {
    let (id, name) = (call.body.text("userID"), call.body.text("nickName"));
    let users: Vec<Value> = world
        .users()
        .into_iter()
        .filter(|user| user.level == 0 && user.id.contains(id) && user.nickname.contains(name))
        .map(User::info)
        .collect();
    Ok(Some(
        json!({"total": users.len(), "users": list(page(call, &users)?)}),
    ))
}

pub(super) fn get_all_users_uid(world: &mut World, call: &Call) -> Answer {
    let ids: Vec<Value> = world
        .users()
        .into_iter()
        .map(|user| Value::from(user.id.as_str()))
        .collect();
    Ok(Some(
        json!({"total": ids.len(), "userIDs": list(page(call, &ids)?)}),
    ))
}

pub(super) fn set_global_msg_recv_opt(world: &mut World, call: &Call) -> Answer {
    let user = world.user_mut(call.body.text("userID"));
    let user = user.ok_or_else(|| missing("userID not found"))?;
    user.receive_option = call.body.whole("globalRecvMsgOpt");
    Ok(None)
}

pub(super) fn add_notification_account(world: &mut World, call: &Call) -> Answer {
    let body = &call.body;
    let level = body.whole("appMangerLevel");
    if level < BOT_LEVEL {
        return Err(wrong("app level not supported"));
    }
    let id = match body.text("userID") {
        "" => message_id(),
        id => id.to_owned(),
    };
    if world.user(&id).is_some() {
        return Err(wrong("userID is used"));
    }
    world.add_user(
        &id,
        body.text("nickName"),
        body.text("faceURL"),
        "",
        level,
        call.now,
    );
    Ok(world.user(&id).map(User::bot_info))
}

pub(super) fn update_notification_account(world: &mut World, call: &Call) -> Answer {
    let body = &call.body;
    let bot = world.user_mut(body.text("userID"));
    let bot = bot.ok_or(Refusal::Bare(1001))?;
    for (field, said) in [
        (&mut bot.nickname, body.text("nickName")),
        (&mut bot.face, body.text("faceURL")),
    ] {
        if !said.is_empty() {
            said.clone_into(field);
        }
    }
    world.changed();
    Ok(None)
}

pub(super) fn search_notification_account(world: &mut World, call: &Call) -> Answer {
    let keyword = call.body.text("keyword");
    let bots: Vec<Value> = world
        .users()
        .into_iter()
        .filter(|user| user.level >= BOT_LEVEL)
        .filter(|user| user.id.contains(keyword) || user.nickname.contains(keyword))
        .map(User::bot_info)
        .collect();
    let shown = list(page(call, &bots)?);
    Ok(Some(
        json!({"total": bots.len(), "notificationAccounts": shown}),
    ))
}

pub(super) fn add_black(world: &mut World, call: &Call) -> Answer {
    let (owner, blocked) = (call.body.text("ownerUserID"), call.body.text("blackUserID"));
    if world.user(owner).is_none() || world.user(blocked).is_none() {
        return Err(missing("user not found"));
    }
    world.block(owner, blocked);
    Ok(None)
}

/// On running servers an option of one conversation stopped no send over REST (record `refuse.conversation_opt`).
pub(super) fn set_conversations(_: &mut World, call: &Call) -> Answer {
    match call.body.object("conversation") {
        Some(_) => Ok(None),
        None => Err(wrong("conversation is nil")),
    }
}
