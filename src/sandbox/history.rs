//! Who said what, by conversation and seq, and from when on it can be found.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::go;
use crate::model::Family;
use crate::model::Timestamp;

/// Whose conversation it is, and by that its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// Two accounts, in either direction: `si_a_b`.
    Pair(String, String),
    /// A group: `sg_id`.
    Group(String),
    /// The notifications of one account to another: `sn_a_b`. Only the recipient may read it.
    Notice { from: String, to: String },
    /// What the server tells two accounts' clients: `n_a_b`.
    PairNews(String, String),
    /// What the server tells a group's clients: `n_id`.
    GroupNews(String),
}

/// A message as it was posted.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub place: Place,
    pub sender: String,
    pub recipient: String,
    pub group: String,
    pub platform: i64,
    pub nickname: String,
    pub face: String,
    pub session_type: i64,
    pub content_type: i64,
    /// JSON text, as the server stores it.
    pub content: String,
    pub send_time: i64,
    pub offline_push: Option<Value>,
    pub at_users: Vec<String>,
    pub options: Option<Value>,
    pub ex: String,
}

/// A message in its conversation.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub post: Post,
    /// The id of the conversation it is filed under.
    pub conversation: String,
    pub seq: i64,
    pub server_msg_id: String,
    pub client_msg_id: String,
    pub created: Timestamp,
    /// When it was stored and its seq published.
    pub stored: Timestamp,
    /// From when on it can be read.
    pub readable_from: Timestamp,
    pub revoked: bool,
    /// The server stored the same message before.
    pub is_copy: bool,
    /// Its conversation has begun anew since.
    pub is_gone: bool,
}

/// A seq that never gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// A pull leaves it out.
    Nothing,
    /// A pull gives a mark of a deleted message, `status` 4.
    Mark,
}

/// What a conversation has at a seq.
enum Slot {
    /// An index into [`History::kept`].
    Message(usize),
    Hole(Hole),
}

/// What can be read at a seq.
pub(super) enum Found<'a> {
    Message(&'a Kept),
    /// The seq of a hole that is marked.
    Mark(i64),
}

/// All conversations.
#[derive(Default)]
pub(super) struct History {
    conversations: HashMap<String, Conversation>,
    /// Every message in the order in which they were stored.
    pub kept: Vec<Kept>,
    /// The messages that were revoked, in that order: conversation and seq.
    pub revoked: Vec<(String, i64)>,
}

struct Conversation {
    place: Place,
    /// By seq, which counts from 1.
    slots: Vec<Slot>,
}

impl Place {
    /// OpenIM's id of the conversation.
    pub fn id(&self) -> String {
        let sorted = |a: &str, b: &str| match a <= b {
            true => format!("{a}_{b}"),
            false => format!("{b}_{a}"),
        };
        match self {
            Place::Pair(a, b) => format!("si_{}", sorted(a, b)),
            Place::Group(id) => format!("sg_{id}"),
            Place::Notice { from, to } => format!("sn_{}", sorted(from, to)),
            Place::PairNews(a, b) => format!("n_{}", sorted(a, b)),
            Place::GroupNews(id) => format!("n_{id}"),
        }
    }

    /// The two accounts of a chat or of notifications, sorted.
    pub fn pair(&self) -> Option<(&str, &str)> {
        match self {
            Place::Pair(a, b) | Place::Notice { from: a, to: b } => {
                Some((a.min(b).as_str(), a.max(b).as_str()))
            }
            _ => None,
        }
    }

    /// Whether it holds what the server tells clients, not what people say.
    pub fn is_news(&self) -> bool {
        matches!(self, Place::PairNews(..) | Place::GroupNews(_))
    }

    /// Whether this user may read it; groups are asked through `is_member`.
    pub fn is_open_to(&self, user: &str, is_member: impl Fn(&str) -> bool) -> bool {
        match self {
            Place::Pair(a, b) | Place::PairNews(a, b) => user == a || user == b,
            Place::Notice { to, .. } => user == to,
            Place::Group(id) | Place::GroupNews(id) => is_member(id),
        }
    }
}

/// An id as OpenIM makes them: 32 hexadecimal digits.
pub(super) fn message_id() -> String {
    Uuid::new_v4().simple().to_string()
}

impl History {
    /// Files a message under a conversation, at its next seq.
    pub fn keep(&mut self, mut kept: Kept, place: &Place) -> &Kept {
        let slots = self.slots(place);
        slots.push(Slot::Message(0));
        kept.seq = count(slots);
        kept.conversation = place.id();
        let index = self.kept.len();
        if let Some(slot) = self.slots(place).last_mut() {
            *slot = Slot::Message(index);
        }
        self.kept.push(kept);
        self.kept.last().expect("one was just pushed")
    }

    /// Uses up the next seq of a conversation for nothing.
    pub fn leave_hole(&mut self, place: &Place, hole: Hole) {
        self.slots(place).push(Slot::Hole(hole));
    }

    fn slots(&mut self, place: &Place) -> &mut Vec<Slot> {
        let conversation = self.conversations.entry(place.id());
        let conversation = conversation.or_insert_with(|| Conversation {
            place: place.clone(),
            slots: Vec::new(),
        });
        &mut conversation.slots
    }

    /// Empties a conversation; its seqs begin anew.
    pub fn begin_anew(&mut self, conversation: &str) {
        self.conversations.remove(conversation);
        let kept = self.kept.iter_mut();
        for kept in kept.filter(|kept| kept.conversation == conversation) {
            kept.is_gone = true;
        }
    }

    /// The conversation's place; `None` where nothing was stored yet.
    pub fn place(&self, conversation: &str) -> Option<&Place> {
        let found = self.conversations.get(conversation);
        found.map(|conversation| &conversation.place)
    }

    /// The ids of all conversations in which something was stored.
    pub fn conversations(&self) -> impl Iterator<Item = (&String, &Place)> {
        self.conversations
            .iter()
            .map(|(id, conversation)| (id, &conversation.place))
    }

    /// The messages of a conversation, also those that cannot be read yet; the newest first.
    pub fn newest_first(&self, conversation: &str) -> impl Iterator<Item = &Kept> {
        let found = self.conversations.get(conversation);
        let slots = found.map_or(&[][..], |conversation| &conversation.slots);
        slots.iter().rev().filter_map(|slot| match slot {
            Slot::Message(index) => self.kept.get(*index),
            Slot::Hole(_) => None,
        })
    }

    /// The newest seq that is published; 0 for an unknown conversation.
    pub fn max_seq(&self, conversation: &str) -> i64 {
        let found = self.conversations.get(conversation);
        found.map_or(0, |conversation| count(&conversation.slots))
    }

    /// What can be read from one seq to another.
    pub fn read(
        &self,
        conversation: &str,
        seqs: RangeInclusive<i64>,
        now: Timestamp,
    ) -> Vec<Found<'_>> {
        let Some(found) = self.conversations.get(conversation) else {
            return Vec::new();
        };
        let slots = (1..).zip(&found.slots);
        slots
            .filter(|(seq, _)| seqs.contains(seq))
            .filter_map(|(seq, slot)| match slot {
                Slot::Message(index) => {
                    let kept = self.kept.get(*index)?;
                    (kept.readable_from <= now).then_some(Found::Message(kept))
                }
                Slot::Hole(Hole::Mark) => Some(Found::Mark(seq)),
                Slot::Hole(Hole::Nothing) => None,
            })
            .collect()
    }

    /// A message that can be read by now.
    pub fn message_mut(
        &mut self,
        conversation: &str,
        seq: i64,
        now: Timestamp,
    ) -> Option<&mut Kept> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        let conversation = self.conversations.get(conversation)?;
        let Some(Slot::Message(index)) = conversation.slots.get(index) else {
            return None;
        };
        let kept = self.kept.get_mut(*index)?;
        (kept.readable_from <= now).then_some(kept)
    }
}

fn count(slots: &[Slot]) -> i64 {
    i64::try_from(slots.len()).unwrap_or(i64::MAX)
}

/// A hole that is marked, as `pull_msg_by_seq` shows it: a message without anything but its seq and `status` 4. Not recorded.
pub(super) fn deleted(seq: i64, family: Family) -> Value {
    let mut message = json!({
        "sendID": "", "recvID": "", "groupID": "", "clientMsgID": "", "serverMsgID": "",
        "senderPlatformID": 0, "senderNickname": "", "senderFaceURL": "", "sessionType": 0,
        "msgFrom": 0, "contentType": 0, "content": null, "seq": seq, "sendTime": 0, "createTime": 0,
        "status": 4, "isRead": false, "offlinePushInfo": null, "atUserIDList": null,
        "attachedInfo": "", "ex": "",
    });
    if family == Family::Release38 {
        message["options"] = Value::Null;
    }
    message
}

impl Kept {
    /// The message as `pull_msg_by_seq` shows it.
    pub fn pulled(&self, family: Family) -> Value {
        let post = &self.post;
        let at_users = match post.at_users.as_slice() {
            [] => Value::Null,
            users => json!(users),
        };
        let mut message = json!({
            "sendID": post.sender,
            "recvID": post.recipient,
            "groupID": post.group,
            "clientMsgID": self.client_msg_id,
            "serverMsgID": self.server_msg_id,
            "senderPlatformID": post.platform,
            "senderNickname": post.nickname,
            "senderFaceURL": post.face,
            "sessionType": post.session_type,
            "msgFrom": 200,
            "contentType": post.content_type,
            "content": STANDARD.encode(&post.content),
            "seq": self.seq,
            "sendTime": post.send_time,
            "createTime": self.created.as_millisecond(),
            "status": 0,
            "isRead": false,
            "offlinePushInfo": post.offline_push,
            "atUserIDList": at_users,
            "attachedInfo": "",
            "ex": post.ex,
        });
        // Released servers name the field also where there is nothing in it.
        match (&post.options, family) {
            (Some(options), _) => message["options"] = options.clone(),
            (None, Family::Release38) => message["options"] = Value::Null,
            (None, Family::Main) => {}
        }
        message
    }

    /// Turns the message into the mark of its revocation; its seq stays.
    pub fn revoke(&mut self, revoker: &str, nickname: &str, now: Timestamp) {
        let detail = json!({
            "revokerID": revoker,
            "revokerRole": 0,
            "clientMsgID": self.client_msg_id,
            "revokerNickname": nickname,
            "revokeTime": now.as_millisecond(),
            "sourceMessageSendTime": self.post.send_time,
            "sourceMessageSendID": self.post.sender,
            "sourceMessageSenderNickname": self.post.nickname,
            "sessionType": self.post.session_type,
            "seq": self.seq,
            "ex": self.post.ex,
        });
        self.post.content = go::write(&json!({"detail": go::write(&detail)}));
        self.post.content_type = 2101;
        self.revoked = true;
    }
}
