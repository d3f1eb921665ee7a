//! Sending: `send_msg` in all its forms, its relatives, and what became of a send.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Answer, Call, list};
use crate::model::Family;
use crate::model::Timestamp;
use crate::sandbox::answer::{Refusal, missing, wrong};
use crate::sandbox::elements;
use crate::sandbox::go::{self, Fields};
use crate::sandbox::history::{Place, Post, message_id};
use crate::sandbox::world::{ADMIN_LEVEL, GROUP_ADMIN, GroupStatus, World};

const SINGLE: i64 = 1;
const GROUP: i64 = 3;
const NOTIFICATION: i64 = 4;

/// The contentType of a system notification; it decides the sessionType, whatever was asked for.
const OA_NOTIFICATION: i64 = 1400;
const AT_TEXT: i64 = 106;
const MARKDOWN: i64 = 118;

/// The producer of released servers takes no record above this, in bytes.
const PRODUCER_LIMIT: usize = 1_000_000;
/// What a record of the recorded size held beside its content, in bytes.
const RECORD_OVERHEAD: usize = 260;

/// A send whose form is right; whether it may be sent is another question.
struct Draft {
    fields: Fields,
    content: String,
    at_users: Vec<String>,
    session_type: i64,
    client_msg_id: String,
}

/// A queued message's ids and time.
pub(in crate::sandbox) struct Queued {
    server_msg_id: String,
    client_msg_id: String,
    send_time: i64,
}

pub(super) fn send_msg(world: &mut World, call: &Call) -> Answer {
    let session = call.body.whole("sessionType");
    let mut flaws = Vec::new();
    if matches!(session, SINGLE | NOTIFICATION) && call.body.text("recvID").is_empty() {
        flaws.push(unbound("SendMsgReq.RecvID", "required_if"));
    }
    flaws.extend(unbound_fields("SendMsgReq", &call.body));
    if !flaws.is_empty() {
        return Err(Refusal::Unbindable(flaws.join("\n")));
    }
    only_admins(call)?;
    let draft = draft(world, call.body.clone())?;
    let recipient = call.body.text("recvID");
    let queued = queue(world, &draft, recipient, call)?;
    world.note_sent(call.operation);
    Ok(Some(receipt(world.family, queued)))
}

pub(super) fn batch_send_msg(world: &mut World, call: &Call) -> Answer {
    let everybody = call.body.flag("isSendAll");
    let mut recipients: Vec<String> = call
        .body
        .texts("recvIDs")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut flaws = unbound_fields("BatchSendMsgReq", &call.body);
    if recipients.is_empty() && !everybody {
        flaws.push(unbound("BatchSendMsgReq.RecvIDs", "required"));
    }
    if !flaws.is_empty() {
        return Err(Refusal::Unbindable(flaws.join("\n")));
    }
    only_admins(call)?;
    let draft = draft(world, call.body.clone())?;
    if everybody {
        recipients = world
            .users()
            .into_iter()
            .map(|user| user.id.clone())
            .collect();
    }
    let (mut results, mut failed) = (Vec::new(), Vec::new());
    for recipient in recipients {
        match queue(world, &draft, &recipient, call) {
            Ok(Some(queued)) => results.push(json!({
                "serverMsgID": queued.server_msg_id,
                "clientMsgID": queued.client_msg_id,
                "sendTime": queued.send_time,
                "recvID": recipient,
            })),
            Ok(None) | Err(_) => failed.push(Value::from(recipient)),
        }
    }
    Ok(Some(
        json!({"results": list(results), "failedUserIDs": list(failed)}),
    ))
}

/// Tells a client something that no conversation shows. It leaves no trace that another call could find.
pub(super) fn send_business_notification(world: &mut World, call: &Call) -> Answer {
    only_admins(call)?;
    if call.body.text("recvUserID").is_empty() && call.body.text("recvGroupID").is_empty() {
        let field = "SendBusinessNotificationReq.RecvUserID";
        return Err(Refusal::Unbindable(unbound(field, "required")));
    }
    let queued = Queued {
        server_msg_id: message_id(),
        client_msg_id: message_id(),
        send_time: call.now.as_millisecond(),
    };
    Ok(Some(receipt(world.family, Some(queued))))
}

/// Where `send_simple_msg` answers: `?key=` is base64 of `{"sendID","recvID","groupID"}`.
pub(super) fn conversation_key(query: &HashMap<String, String>) -> Result<Value, Refusal> {
    let key = query.get("key").map_or("", String::as_str);
    if key.is_empty() {
        return Err(wrong("missing key in query"));
    }
    let key = STANDARD.decode(key).map_err(|_| {
        // Go names the start of the group of four that it could not read.
        let letters = key
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || b"+/".contains(b));
        wrong(format!(
            "illegal base64 data at input byte {}",
            letters.count() / 4 * 4
        ))
    })?;
    serde_json::from_slice(&key).map_err(|_| wrong("invalid key"))
}

/// Answers as a bot where somebody spoke.
pub(super) fn send_simple_msg(world: &mut World, call: &Call) -> Answer {
    let key = conversation_key(&call.query)?;
    let said = |name: &str| key[name].as_str().unwrap_or("").to_owned();
    only_admins(call)?;
    let bot = call.body.text("sendID");
    let known = world.user(bot).ok_or_else(|| missing("record not found"))?;
    let group = said("groupID");
    let request = json!({
        "sendID": bot,
        "recvID": if group.is_empty() { said("sendID") } else { String::new() },
        "groupID": group,
        "senderNickname": known.nickname,
        "senderFaceURL": known.face,
        "senderPlatformID": 10,
        "content": {"content": call.body.text("content")},
        "contentType": MARKDOWN,
        "sessionType": if group.is_empty() { SINGLE } else { GROUP },
        "ex": call.body.text("ex"),
    });
    let fields = go::decode(&crate::sandbox::requests::SEND_MSG, &request)
        .expect("every field above has its type");
    let recipient = fields.text("recvID").to_owned();
    let draft = draft(world, fields)?;
    let queued = queue(world, &draft, &recipient, call)?;
    world.note_sent(call.operation);
    Ok(Some(receipt(world.family, queued)))
}

pub(super) fn check_msg_is_send_success(world: &mut World, call: &Call) -> Answer {
    Ok(Some(json!({"status": world.send_status(call.operation)})))
}

fn only_admins(call: &Call) -> Result<(), Refusal> {
    if World::is_admin(&call.caller) {
        return Ok(());
    }
    let text = "only app manager can send message".to_owned();
    Err(Refusal::Says(1002, text))
}

/// The `data` of a send. A recipient who wants no messages makes released servers answer with empty ids.
pub(in crate::sandbox) fn receipt(family: Family, queued: Option<Queued>) -> Value {
    let mut data = match queued {
        Some(queued) => json!({
            "serverMsgID": queued.server_msg_id,
            "clientMsgID": queued.client_msg_id,
            "sendTime": queued.send_time,
        }),
        None => json!({"serverMsgID": "", "clientMsgID": "", "sendTime": 0}),
    };
    if family == Family::Release38 {
        data["modify"] = Value::Null;
    }
    data
}

/// The fields that gin's binding asks for, in the order of the struct.
fn unbound_fields(request: &str, body: &Fields) -> Vec<String> {
    let group_wanted = matches!(body.whole("sessionType"), 2 | GROUP);
    let group_rule = "required_if=SessionType 2|required_if=SessionType 3";
    [
        ("SendID", "required", body.text("sendID").is_empty()),
        (
            "GroupID",
            group_rule,
            group_wanted && body.text("groupID").is_empty(),
        ),
        ("Content", "required", body.object("content").is_none()),
        ("ContentType", "required", body.whole("contentType") == 0),
        ("SessionType", "required", body.whole("sessionType") == 0),
    ]
    .into_iter()
    .filter(|(_, _, missing)| *missing)
    .map(|(field, tag, _)| unbound(&format!("{request}.SendMsg.{field}"), tag))
    .collect()
}

fn unbound(path: &str, tag: &str) -> String {
    let field = path.rsplit('.').next().unwrap_or(path);
    format!("Key: '{path}' Error:Field validation for '{field}' failed on the '{tag}' tag")
}

/// Looks at the content; what is kept is the content as it came, written by Go.
fn draft(world: &World, fields: Fields) -> Result<Draft, Refusal> {
    let content_type = fields.whole("contentType");
    let mut session_type = fields.whole("sessionType");
    let element = elements::element(content_type, world.family);
    let element = element.ok_or(Refusal::Bare(1001))?;
    if content_type == OA_NOTIFICATION {
        session_type = NOTIFICATION;
        let sender = world
            .user(fields.text("sendID"))
            .ok_or(Refusal::Bare(1101))?;
        if sender.level < ADMIN_LEVEL {
            let text = "notification messages cannot be sent for this ID".to_owned();
            return Err(Refusal::Says(1002, text));
        }
    }
    let nothing = Map::new();
    let content = fields.object("content").unwrap_or(&nothing);
    elements::inspect(element, content).map_err(Refusal::Broken)?;
    let mut written = go::write_object(content);
    if content_type == OA_NOTIFICATION {
        written = go::write(&json!({"detail": written}));
    }
    let at_users = match (content_type, world.family) {
        (AT_TEXT, Family::Main) => elements::at_user_list(content),
        _ => Vec::new(),
    };
    Ok(Draft {
        content: written,
        at_users,
        session_type,
        client_msg_id: message_id(),
        fields,
    })
}

/// Asks who may speak to whom, and keeps the message. `None`: taken and thrown away, as released servers do
/// for a recipient who wants no messages.
fn queue(
    world: &mut World,
    draft: &Draft,
    recipient: &str,
    call: &Call,
) -> Result<Option<Queued>, Refusal> {
    let (operation, now) = (call.operation, call.now);
    let fields = &draft.fields;
    let (sender, group) = (fields.text("sendID"), fields.text("groupID"));
    let is_notification = fields.whole("contentType") == OA_NOTIFICATION;
    if world.family == Family::Release38 && (draft.session_type == NOTIFICATION) != is_notification
    {
        return Err(wrong(
            "notification msg must have correct session type and content type",
        ));
    }
    let place = match draft.session_type {
        SINGLE => {
            if !may_tell(world, sender, recipient)? {
                return Ok(None);
            }
            Place::Pair(sender.to_owned(), recipient.to_owned())
        }
        GROUP => {
            may_speak(world, sender, group, now)?;
            Place::Group(group.to_owned())
        }
        // Nobody looks whether the recipient exists.
        NOTIFICATION => Place::Notice {
            from: sender.to_owned(),
            to: recipient.to_owned(),
        },
        _ => return Err(wrong("unknown sessionType")),
    };
    let size = draft.content.len().saturating_add(RECORD_OVERHEAD);
    if world.family == Family::Release38 && size > PRODUCER_LIMIT {
        return Err(Refusal::BrokenBehind(format!(
            "kafka: invalid configuration (Attempt to produce message larger than configured \
             Producer.MaxMessageBytes: {size} > {PRODUCER_LIMIT}) p.producer.SendMessage error"
        )));
    }
    if let Some(trouble) = &world.producer {
        return Err(trouble.clone());
    }
    let send_time = match fields.whole("sendTime") {
        0 => now.as_millisecond(),
        given => given,
    };
    if fields.flag("isOnlineOnly") {
        return Ok(Some(Queued {
            server_msg_id: message_id(),
            client_msg_id: draft.client_msg_id.clone(),
            send_time,
        }));
    }
    let post = Post {
        place,
        sender: sender.to_owned(),
        recipient: recipient.to_owned(),
        group: group.to_owned(),
        platform: fields.whole("senderPlatformID"),
        nickname: fields.text("senderNickname").to_owned(),
        face: fields.text("senderFaceURL").to_owned(),
        session_type: draft.session_type,
        content_type: fields.whole("contentType"),
        content: draft.content.clone(),
        send_time,
        offline_push: fields.inner("offlinePushInfo").map(|push| {
            json!({
                "title": push.text("title"),
                "desc": push.text("desc"),
                "ex": push.text("ex"),
                "iOSPushSound": push.text("iOSPushSound"),
                "iOSBadgeCount": push.flag("iOSBadgeCount"),
                "signalInfo": push.text("signalInfo"),
            })
        }),
        at_users: draft.at_users.clone(),
        options: None,
        ex: fields.text("ex").to_owned(),
    };
    let server_msg_id = world.accept(post, draft.client_msg_id.clone(), operation, now);
    Ok(Some(Queued {
        server_msg_id,
        client_msg_id: draft.client_msg_id.clone(),
        send_time,
    }))
}

/// Whether one account may write to another; `false` where the message is silently thrown away.
fn may_tell(world: &World, sender: &str, recipient: &str) -> Result<bool, Refusal> {
    if !World::is_admin(sender) {
        let level = match (world.user(sender), world.family) {
            (Some(user), _) => user.level,
            (None, Family::Main) => return Err(missing("record not found")),
            (None, Family::Release38) => 0,
        };
        if level < ADMIN_LEVEL && world.is_blocked(recipient, sender) {
            return Err(Refusal::Bare(1302));
        }
    }
    let recipient = world
        .user(recipient)
        .ok_or_else(|| missing("userID not found"))?;
    match (recipient.receive_option, world.family) {
        (1, Family::Main) => Err(wrong("message is not sent")),
        (1, Family::Release38) => Ok(false),
        _ => Ok(true),
    }
}

/// Whether an account may speak in a group.
fn may_speak(world: &World, sender: &str, group: &str, now: Timestamp) -> Result<(), Refusal> {
    let group = world
        .group(group)
        .ok_or_else(|| missing("cache is not found"))?;
    if group.status == GroupStatus::Dismissed {
        return Err(Refusal::Bare(1204));
    }
    if World::is_admin(sender) {
        return Ok(());
    }
    let member = group.member(sender).ok_or(Refusal::Bare(1203))?;
    if member.muted_until.is_some_and(|until| now < until) {
        return Err(Refusal::Bare(1402));
    }
    if group.status == GroupStatus::Muted && member.role < GROUP_ADMIN {
        return Err(Refusal::Bare(1403));
    }
    Ok(())
}
