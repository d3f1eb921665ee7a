//! Who said what, by conversation and seq, and from when on it can be found.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::go;
use crate::model::Family;
use crate::model::Timestamp;

/// How long the server's transfer process takes before a message that was accepted stands in history, as measured on main.
pub const UNTIL_STORED: Duration = Duration::from_millis(100);

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
    pub seq: i64,
    pub server_msg_id: String,
    pub client_msg_id: String,
    pub created: Timestamp,
    /// From when on it can be found.
    pub stands_from: Timestamp,
    pub revoked: bool,
}

/// All conversations.
#[derive(Default)]
pub(super) struct History {
    conversations: HashMap<String, Conversation>,
    /// Every message in the order of arrival: conversation and seq.
    pub arrivals: Vec<(String, i64)>,
    /// The messages that were revoked, in that order.
    pub revoked: Vec<(String, i64)>,
}

struct Conversation {
    place: Place,
    messages: Vec<Kept>,
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
    /// Takes a message. It gets the next seq of its conversation now, and can be found [`UNTIL_STORED`] later.
    pub fn keep(&mut self, post: Post, client_msg_id: String, now: Timestamp) -> &Kept {
        let id = post.place.id();
        let conversation = self
            .conversations
            .entry(id.clone())
            .or_insert_with(|| Conversation {
                place: post.place.clone(),
                messages: Vec::new(),
            });
        let seq = i64::try_from(conversation.messages.len()).unwrap_or(i64::MAX - 1) + 1;
        self.arrivals.push((id, seq));
        conversation.messages.push(Kept {
            post,
            seq,
            server_msg_id: message_id(),
            client_msg_id,
            created: now,
            stands_from: now.saturating_add(UNTIL_STORED).unwrap_or(Timestamp::MAX),
            revoked: false,
        });
        conversation.messages.last().expect("one was just pushed")
    }

    /// All messages of a conversation, also those that do not stand there yet.
    pub fn messages(&self, conversation: &str) -> &[Kept] {
        let found = self.conversations.get(conversation);
        found.map_or(&[], |conversation| &conversation.messages)
    }

    /// The conversation's place; `None` where nothing was said yet.
    pub fn place(&self, conversation: &str) -> Option<&Place> {
        let found = self.conversations.get(conversation);
        found.map(|conversation| &conversation.place)
    }

    /// The ids of all conversations in which something was said.
    pub fn conversations(&self) -> impl Iterator<Item = (&String, &Place)> {
        self.conversations
            .iter()
            .map(|(id, conversation)| (id, &conversation.place))
    }

    /// The messages that can be found by now.
    pub fn standing(&self, conversation: &str, now: Timestamp) -> &[Kept] {
        let messages = self.messages(conversation);
        &messages[..messages.partition_point(|message| message.stands_from <= now)]
    }

    /// The newest seq that can be found by now; 0 for an unknown conversation.
    pub fn max_seq(&self, conversation: &str, now: Timestamp) -> i64 {
        self.standing(conversation, now)
            .last()
            .map_or(0, |message| message.seq)
    }

    /// A message, whether or not it stands there yet.
    pub fn message(&self, conversation: &str, seq: i64) -> Option<&Kept> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.messages(conversation).get(index)
    }

    /// A message that can be found by now.
    pub fn message_mut(
        &mut self,
        conversation: &str,
        seq: i64,
        now: Timestamp,
    ) -> Option<&mut Kept> {
        let index = usize::try_from(seq.checked_sub(1)?).ok()?;
        let conversation = self.conversations.get_mut(conversation)?;
        let message = conversation.messages.get_mut(index)?;
        (message.stands_from <= now).then_some(message)
    }
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
