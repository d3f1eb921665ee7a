//! Groups: making them, who is in them, and who may speak there.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Call, list, page};
use crate::model::Family;
use crate::model::Timestamp;
use crate::sandbox::answer::{Refusal, missing, wrong};
use crate::sandbox::go;
use crate::sandbox::history::{Place, Post, message_id};
use crate::sandbox::world::{GROUP_ADMIN, Group, GroupStatus, ORDINARY, OWNER, World};

/// What the server tells a group's members: contentType and the name in its configuration.
const CREATED: (i64, &str) = (1501, "groupCreated");
const INVITED: (i64, &str) = (1509, "memberInvited");
const DISMISSED: (i64, &str) = (1511, "groupDismissed");
const MEMBER_MUTED: (i64, &str) = (1512, "groupMemberMuted");
const MEMBER_UNMUTED: (i64, &str) = (1513, "groupMemberCancelMuted");
const MUTED: (i64, &str) = (1514, "groupMuted");
const UNMUTED: (i64, &str) = (1515, "groupCancelMuted");

pub(super) fn create_group(world: &mut World, call: &Call) -> Answer {
    let body = &call.body;
    let info = body
        .inner("groupInfo")
        .ok_or_else(|| wrong("groupInfo is empty"))?;
    if info.whole("groupType") != 2 {
        return Err(wrong("group type only supports 2"));
    }
    let owner = body.text("ownerUserID");
    if owner.is_empty() {
        return Err(wrong("no group owner"));
    }
    let places = [
        (vec![owner], OWNER),
        (body.texts("adminUserIDs"), GROUP_ADMIN),
        (body.texts("memberUserIDs"), ORDINARY),
    ];
    let mut members: Vec<(&str, i64)> = Vec::new();
    for (users, role) in places {
        for user in users {
            if members.iter().any(|(member, _)| *member == user) {
                return Err(wrong("group member repeated"));
            }
            members.push((user, role));
        }
    }
    if members.iter().any(|(user, _)| world.user(user).is_none()) {
        return Err(missing("user not found"));
    }
    let mut group = Group::new(info.text("groupID"), info.text("groupName"), call.now);
    if world.group(&group.id).is_some() {
        return Err(Refusal::Says(
            1202,
            format!("group id existed {}", group.id),
        ));
    }
    for (field, name) in [
        (&mut group.notification, "notification"),
        (&mut group.introduction, "introduction"),
        (&mut group.face, "faceURL"),
        (&mut group.ex, "ex"),
    ] {
        info.text(name).clone_into(field);
    }
    let mut shown = create(world, group, &members, &call.caller, call.now);
    // The answer to a creation counts one member too many, on both families.
    shown["memberCount"] = json!(members.len() + 1);
    Ok(Some(json!({"groupInfo": shown})))
}

/// Puts up a group with its members (user and role), and tells them.
pub(in crate::sandbox) fn create(
    world: &mut World,
    mut group: Group,
    members: &[(&str, i64)],
    by: &str,
    now: Timestamp,
) -> Value {
    for (user, role) in members {
        group.join(user, *role, by, now);
    }
    let (id, info) = (group.id.clone(), group.info());
    world.add_group(group);
    tell(world, &id, CREATED, by, json!({}), now);
    info
}

/// Posts what the server itself says in a group.
fn tell(
    world: &mut World,
    group: &str,
    (content_type, name): (i64, &str),
    by: &str,
    more: Value,
    now: Timestamp,
) {
    let Some(known) = world.group(group) else {
        return;
    };
    let mut detail = more;
    detail["group"] = known.info();
    detail["opUser"] = json!({
        "groupID": group,
        "userID": by,
        "nickname": world.user(by).map_or("", |user| &user.nickname),
    });
    let post = Post {
        place: Place::Group(group.to_owned()),
        sender: by.to_owned(),
        recipient: group.to_owned(),
        group: group.to_owned(),
        platform: 0,
        nickname: String::new(),
        face: String::new(),
        session_type: 3,
        content_type,
        content: go::write(&json!({"detail": go::write(&detail)})),
        send_time: now.as_millisecond(),
        offline_push: Some(json!({
            "title": format!("{name} title"),
            "desc": format!("{name} desc"),
            "ex": format!("{name} ext"),
            "iOSPushSound": "",
            "iOSBadgeCount": false,
            "signalInfo": "",
        })),
        at_users: Vec::new(),
        options: Some(json!({"offlinePush": false, "unreadCount": true})),
        ex: String::new(),
    };
    world.accept(post, message_id(), "", now);
}

pub(super) fn get_groups_info(world: &mut World, call: &Call) -> Answer {
    let ids = call.body.texts("groupIDs");
    if ids.is_empty() {
        return Err(wrong("groupID is empty"));
    }
    let known = ids.into_iter().filter_map(|id| world.group(id));
    Ok(Some(
        json!({"groupInfos": list(known.map(Group::info).collect())}),
    ))
}

pub(super) fn get_groups(world: &mut World, call: &Call) -> Answer {
    let (id, name) = (call.body.text("groupID"), call.body.text("groupName"));
    let groups: Vec<Value> = world
        .groups()
        .into_iter()
        .filter(|group| group.status != GroupStatus::Dismissed)
        .filter(|group| (id.is_empty() || group.id == id) && group.name.contains(name))
        .map(|group| {
            json!({
                "groupInfo": group.info(),
                "groupOwnerUserName": "",
                "groupOwnerUserID": group.owner(),
            })
        })
        .collect();
    Ok(Some(
        json!({"total": groups.len(), "groups": list(page(call, &groups)?)}),
    ))
}

pub(super) fn get_group_members_info(world: &mut World, call: &Call) -> Answer {
    let ids = call.body.texts("userIDs");
    if ids.is_empty() {
        return Err(wrong("userIDs empty"));
    }
    let members = members_shown(world, call.body.text("groupID"), |user, _| {
        ids.contains(&user)
    });
    Ok(Some(json!({"members": list(members)})))
}

pub(super) fn get_group_member_list(world: &mut World, call: &Call) -> Answer {
    let keyword = call.body.text("keyword");
    let members = members_shown(world, call.body.text("groupID"), |user, nickname| {
        user.contains(keyword) || nickname.contains(keyword)
    });
    Ok(Some(
        json!({"total": members.len(), "members": list(page(call, &members)?)}),
    ))
}

/// A group's members who match by id and nickname, the highest role first, then who joined last.
fn members_shown(world: &World, group: &str, wanted: impl Fn(&str, &str) -> bool) -> Vec<Value> {
    let Some(group) = world.group(group) else {
        return Vec::new();
    };
    let mut members: Vec<_> = group.members.iter().collect();
    members.sort_by_key(|member| (std::cmp::Reverse(member.role), member.joined));
    members
        .into_iter()
        .map(|member| (member, world.user(&member.user)))
        .filter(|(member, user)| wanted(&member.user, user.map_or("", |user| &user.nickname)))
        .map(|(member, user)| group.member_info(member, user))
        .collect()
}

pub(super) fn get_joined_group_list(world: &mut World, call: &Call) -> Answer {
    let user = call.body.text("fromUserID");
    let groups: Vec<Value> = world
        .groups()
        .into_iter()
        .filter(|group| group.status != GroupStatus::Dismissed && group.member(user).is_some())
        .map(Group::info)
        .collect();
    Ok(Some(
        json!({"total": groups.len(), "groups": list(page(call, &groups)?)}),
    ))
}

pub(super) fn invite_user_to_group(world: &mut World, call: &Call) -> Answer {
    let body = &call.body;
    let (group_id, invited) = (body.text("groupID"), body.texts("invitedUserIDs"));
    if invited.is_empty() {
        return Err(wrong("user empty"));
    }
    if (1..invited.len()).any(|i| invited[..i].contains(&invited[i])) {
        return Err(wrong("userID duplicate"));
    }
    let family = world.family;
    let group = world.group(group_id).ok_or_else(|| match family {
        Family::Main => Refusal::Broken("mongo: no documents in result".to_owned()),
        Family::Release38 => missing("mongo: no documents in result mongo find one"),
    })?;
    if group.status == GroupStatus::Dismissed {
        return Err(Refusal::Bare(1204));
    }
    if invited.iter().any(|user| world.user(user).is_none()) {
        return Err(missing("user not found"));
    }
    if let Some(user) = invited.iter().find(|user| group.member(user).is_some()) {
        let text = format!(
            "bulk write exception: write errors: [E11000 duplicate key error collection: openim_v3.group_member \
             index: group_id_1_user_id_1 dup key: {{ group_id: \"{group_id}\", user_id: \"{user}\" }}]"
        );
        return Err(Refusal::BrokenBehind(match family {
            Family::Main => text,
            Family::Release38 => format!("{text} mongo insert many"),
        }));
    }
    if let Some(group) = world.group_mut(group_id) {
        for user in &invited {
            group.join(user, ORDINARY, &call.caller, call.now);
        }
    }
    world.changed();
    match family {
        // Released servers say no although they have done it.
        Family::Release38 => Err(wrong("maxSeq is invalid")),
        Family::Main => {
            if body.flag("sendMessage") {
                tell(world, group_id, INVITED, &call.caller, json!({}), call.now);
            }
            Ok(None)
        }
    }
}

pub(super) fn mute_group(world: &mut World, call: &Call) -> Answer {
    set_status(world, call, GroupStatus::Muted, MUTED)
}

pub(super) fn cancel_mute_group(world: &mut World, call: &Call) -> Answer {
    set_status(world, call, GroupStatus::Open, UNMUTED)
}

pub(super) fn dismiss_group(world: &mut World, call: &Call) -> Answer {
    set_status(world, call, GroupStatus::Dismissed, DISMISSED)?;
    if call.body.flag("deleteMember")
        && let Some(group) = world.group_mut(call.body.text("groupID"))
    {
        group.members.clear();
    }
    Ok(None)
}

fn set_status(world: &mut World, call: &Call, status: GroupStatus, news: (i64, &str)) -> Answer {
    let id = call.body.text("groupID");
    let group = world
        .group_mut(id)
        .ok_or_else(|| missing("cache is not found"))?;
    if group.status == GroupStatus::Dismissed {
        return Err(Refusal::Bare(1204));
    }
    group.status = status;
    tell(world, id, news, &call.caller, json!({}), call.now);
    Ok(None)
}

pub(super) fn mute_group_member(world: &mut World, call: &Call) -> Answer {
    let seconds = u64::try_from(call.body.whole("mutedSeconds")).unwrap_or(0);
    let until = call.now.saturating_add(Duration::from_secs(seconds));
    set_mute(
        world,
        call,
        Some(until.unwrap_or(Timestamp::MAX)),
        MEMBER_MUTED,
    )
}

pub(super) fn cancel_mute_group_member(world: &mut World, call: &Call) -> Answer {
    set_mute(world, call, None, MEMBER_UNMUTED)
}

fn set_mute(world: &mut World, call: &Call, until: Option<Timestamp>, news: (i64, &str)) -> Answer {
    let (id, user) = (call.body.text("groupID"), call.body.text("userID"));
    let member = world.group_mut(id).and_then(|group| group.member_mut(user));
    let member = member.ok_or_else(|| missing("cache is not found"))?;
    member.muted_until = until;
    let more = json!({
        "mutedUser": {"groupID": id, "userID": user},
        "mutedSeconds": call.body.whole("mutedSeconds"),
    });
    tell(world, id, news, &call.caller, more, call.now);
    Ok(None)
}
