//! What became of everything that was accepted: for whoever counts what was lost, stored twice or out of order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::history::Kept;
use super::world::World;
use crate::model::Timestamp;

/// A message that was accepted.
pub(super) struct Accepted {
    pub conversation: String,
    pub operation: String,
    pub client_msg_id: String,
    pub ex: String,
    pub at: Timestamp,
    pub fate: Fate,
}

/// What became of it.
pub(super) enum Fate {
    Waiting,
    Stored,
    Lost { why: String, at: Timestamp },
}

/// The sandbox's books: every message that it accepted is in one of the three lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Stored messages by OpenIM's id of the conversation, in the order in which they were stored: that of their seqs, as
    /// long as the conversation does not begin anew. Also what the server itself said there.
    pub stored: BTreeMap<String, Vec<Stored>>,
    /// Accepted, and never to be stored.
    pub lost: Vec<Lost>,
    /// Accepted, and not stored yet.
    pub waiting: Vec<Underway>,
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its place in the conversation.
    pub seq: i64,
    /// The `ex` of the send.
    pub ex: String,
    /// The same for all copies that the server made of one send.
    #[serde(rename = "clientMsgID")]
    pub client_msg_id: String,
    /// The server's id of the message.
    #[serde(rename = "serverMsgID")]
    pub server_msg_id: String,
    /// The userID it was sent as.
    pub sender: String,
    /// OpenIM's contentType; 2101 once it is revoked.
    #[serde(rename = "contentType")]
    pub content_type: i64,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// When it was stored.
    pub stored: Timestamp,
    /// Whether the server stored the same send before.
    pub copy: bool,
    /// Whether the conversation has begun anew since; then nobody can read it.
    pub gone: bool,
}

/// A message that was accepted and lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// OpenIM's id of the conversation.
    pub conversation: String,
    /// The `ex` of the send.
    pub ex: String,
    /// The server's answer named it.
    #[serde(rename = "clientMsgID")]
    pub client_msg_id: String,
    /// The operationID of the send.
    #[serde(rename = "operationID")]
    pub operation: String,
    /// What happened to it.
    pub why: String,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// When it was lost.
    pub lost: Timestamp,
}

/// A message that was accepted and is not stored yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// OpenIM's id of the conversation.
    pub conversation: String,
    /// The `ex` of the send.
    pub ex: String,
    /// The server's answer named it.
    #[serde(rename = "clientMsgID")]
    pub client_msg_id: String,
    /// The operationID of the send.
    #[serde(rename = "operationID")]
    pub operation: String,
    /// When it was accepted.
    pub accepted: Timestamp,
}

impl World {
    /// The books as they stand.
    pub fn account(&self) -> Account {
        let mut account = Account::default();
        for kept in &self.history.kept {
            let stored = account.stored.entry(kept.conversation.clone());
            stored.or_default().push(Stored::from(kept));
        }
        for send in &self.log {
            match &send.fate {
                Fate::Stored => {}
                Fate::Waiting => account.waiting.push(Underway {
                    conversation: send.conversation.clone(),
                    ex: send.ex.clone(),
                    client_msg_id: send.client_msg_id.clone(),
                    operation: send.operation.clone(),
                    accepted: send.at,
                }),
                Fate::Lost { why, at } => account.lost.push(Lost {
                    conversation: send.conversation.clone(),
                    ex: send.ex.clone(),
                    client_msg_id: send.client_msg_id.clone(),
                    operation: send.operation.clone(),
                    why: why.clone(),
                    accepted: send.at,
                    lost: *at,
                }),
            }
        }
        account
    }
}

impl From<&Kept> for Stored {
    fn from(kept: &Kept) -> Stored {
        Stored {
            seq: kept.seq,
            ex: kept.post.ex.clone(),
            client_msg_id: kept.client_msg_id.clone(),
            server_msg_id: kept.server_msg_id.clone(),
            sender: kept.post.sender.clone(),
            content_type: kept.post.content_type,
            accepted: kept.created,
            stored: kept.stored,
            copy: kept.is_copy,
            gone: kept.is_gone,
        }
    }
}
