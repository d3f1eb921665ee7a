//! Finding messages again: seqs, pulls, and taking a message back.

use serde_json::{Map, Value, json};

use super::{Answer, Call, list};
use crate::model::Family;
use crate::sandbox::answer::{Refusal, missing, wrong};
use crate::sandbox::go;
use crate::sandbox::history::{Found, Kept, Place, Post, deleted, message_id};
use crate::sandbox::world::{ADMIN_LEVEL, World};

pub(super) fn get_server_time(_: &mut World, call: &Call) -> Answer {
    Ok(Some(json!({"serverTime": call.now.as_millisecond()})))
}

pub(super) fn newest_seq(world: &mut World, call: &Call) -> Answer {
    let user = call.body.text("userID");
    if user.is_empty() {
        return Err(wrong("userID is empty"));
    }
    let mut seqs = Map::new();
    for (id, place) in world.history.conversations() {
        let listed = match place {
            // News are listed beside their conversation only.
            Place::PairNews(a, b) => {
                let pair = Place::Pair(a.clone(), b.clone());
                world.history.place(&pair.id()).is_some()
            }
            _ => true,
        };
        let newest = world.history.max_seq(id);
        if listed && newest > 0 && is_open(world, place, user) {
            seqs.insert(id.clone(), json!(newest));
        }
    }
    let mut data = json!({"maxSeqs": seqs});
    if world.family == Family::Release38 {
        data["minSeqs"] = Value::Null;
    }
    Ok(Some(data))
}

/// Asks for no membership, and knows every conversation: one in which nothing was said has seq 0.
pub(super) fn get_conversations_has_read_and_max_seq(world: &mut World, call: &Call) -> Answer {
    let user = call.body.text("userID");
    let mut asked: Vec<String> = call
        .body
        .texts("conversationIDs")
        .into_iter()
        .map(str::to_owned)
        .collect();
    if asked.is_empty() {
        let all = world.history.conversations();
        let own = all.filter(|(_, place)| !place.is_news() && is_open(world, place, user));
        asked = own.map(|(id, _)| id.clone()).collect();
    }
    let mut seqs = Map::new();
    for id in asked {
        let time = world.history.newest_first(&id).next();
        let time = time.map(|message| message.stored);
        // Who speaks has read what stands above.
        let read = world
            .history
            .newest_first(&id)
            .find(|message| message.post.sender == user)
            .map_or(0, |message| message.seq);
        let entry = json!({
            "maxSeq": world.history.max_seq(&id),
            "hasReadSeq": read,
            "maxSeqTime": time.map_or(0, |time| time.as_millisecond()),
        });
        seqs.insert(id, entry);
    }
    Ok(Some(json!({"seqs": seqs, "pinnedConversationIDs": null})))
}

pub(super) fn pull_msg_by_seq(world: &mut World, call: &Call) -> Answer {
    let user = call.body.text("userID");
    if user.is_empty() {
        return Err(wrong("userID is empty"));
    }
    let (mut messages, mut news) = (Map::new(), Map::new());
    for range in call.body.list("seqRanges") {
        let id = range.text("conversationID");
        let Some(place) = world.history.place(id).cloned() else {
            continue;
        };
        if !is_open(world, &place, user) {
            continue;
        }
        let hidden = world.faults.hides(id, call.now);
        let (begin, end) = (range.whole("begin"), range.whole("end"));
        let newest = world.history.max_seq(id);
        let end_reached = end.min(newest);
        // Of a range longer than `num` the server gives the last `num`, and does not say so.
        let wanted = range.whole("num");
        let begin_given = match wanted {
            0 => begin,
            wanted => begin.max(end_reached.saturating_sub(wanted).saturating_add(1)),
        };
        let found = world.history.read(id, begin_given..=end_reached, call.now);
        let found: Vec<Value> = found
            .into_iter()
            .map(|found| match found {
                Found::Message(message) => (message.seq, message.pulled(world.family)),
                Found::Mark(seq) => (seq, deleted(seq, world.family)),
            })
            .filter(|(seq, _)| !hidden.as_ref().is_some_and(|hidden| hidden.hides(*seq)))
            .map(|(_, found)| found)
            .collect();
        if found.is_empty() {
            continue;
        }
        let is_end = match call.body.whole("order") {
            0 => end >= newest,
            _ => begin <= 1,
        };
        let chosen = if place.is_news() {
            &mut news
        } else {
            &mut messages
        };
        chosen.insert(
            id.to_owned(),
            json!({"Msgs": list(found), "isEnd": is_end, "endSeq": 0}),
        );
    }
    let mut data = Map::new();
    for (name, found) in [("msgs", messages), ("notificationMsgs", news)] {
        match (found.is_empty(), world.family) {
            (false, _) => data.insert(name.to_owned(), Value::Object(found)),
            (true, Family::Release38) => data.insert(name.to_owned(), Value::Null),
            (true, Family::Main) => None,
        };
    }
    Ok(Some(Value::Object(data)))
}

pub(super) fn revoke_msg(world: &mut World, call: &Call) -> Answer {
    let (user, id) = (call.body.text("userID"), call.body.text("conversationID"));
    let seq = call.body.whole("seq");
    if user.is_empty() || id.is_empty() {
        return Err(wrong("user_id or conversation_id is empty"));
    }
    let revoker = world.user(user).ok_or_else(|| missing("user not found"))?;
    let (level, nickname) = (revoker.level, revoker.nickname.clone());
    let message = world.history.message_mut(id, seq, call.now);
    let message = message.ok_or_else(|| missing("msg not found"))?;
    if message.revoked {
        return Err(Refusal::Says(1404, "msg already revoke".to_owned()));
    }
    if level != ADMIN_LEVEL && message.post.sender != user {
        return Err(Refusal::Says(1002, "no permission".to_owned()));
    }
    message.revoke(user, &nickname, call.now);
    let revoked = message.clone();
    world.history.revoked.push((id.to_owned(), seq));
    tell_of_revocation(world, call, &revoked);
    world.changed();
    Ok(None)
}

/// Clients learn of a revocation by news beside the conversation.
fn tell_of_revocation(world: &mut World, call: &Call, revoked: &Kept) {
    let (revoker, post) = (call.body.text("userID"), &revoked.post);
    let (place, recipient) = match &post.place {
        Place::Group(id) => (Place::GroupNews(id.clone()), id),
        _ => {
            let other = match post.sender == revoker {
                true => &post.recipient,
                false => &post.sender,
            };
            (Place::PairNews(revoker.to_owned(), other.clone()), other)
        }
    };
    let detail = json!({
        "revokerUserID": call.caller,
        "clientMsgID": revoked.client_msg_id,
        "revokeTime": call.now.as_millisecond(),
        "sesstionType": post.session_type,
        "seq": revoked.seq,
        "conversationID": revoked.conversation,
        "isAdminRevoke": World::is_admin(&call.caller),
    });
    let news = Post {
        place,
        sender: revoker.to_owned(),
        recipient: recipient.clone(),
        group: post.group.clone(),
        platform: 0,
        nickname: String::new(),
        face: String::new(),
        session_type: post.session_type,
        content_type: 2101,
        content: go::write(&json!({"detail": go::write(&detail)})),
        send_time: call.now.as_millisecond(),
        offline_push: Some(json!({
            "title": "", "desc": "", "ex": "", "iOSPushSound": "", "iOSBadgeCount": false, "signalInfo": "",
        })),
        at_users: Vec::new(),
        options: Some(json!({
            "conversationUpdate": false, "history": true, "isNotNotification": false, "isSendMsg": false,
            "notPrivate": false, "offlinePush": false, "persistent": true, "reactionFromCache": false,
            "senderConversationUpdate": false, "senderSync": true, "unreadCount": false,
        })),
        ex: String::new(),
    };
    world.accept(news, message_id(), call.operation, call.now);
}

fn is_open(world: &World, place: &Place, user: &str) -> bool {
    place.is_open_to(user, |group| world.is_member(group, user))
}
