//! OpenIM's history of conversations: how far each has come, and what stands there. Facts of the API are those that were
//! seen on running servers of both families.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::envelope::{Answer, Unanswered};
use super::{CallFailed, OpenIm, Sign, Unheard};
use crate::deliver::decide::readings::{Found, Part, Span};
use crate::model::{Conversation, DeliveryId, Receipt, Timestamp};

/// The history could not be asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct NoHistory {
    /// What OpenIM or the network said.
    pub why: String,
    /// What it says about the server.
    pub sign: Sign,
}

/// As whom a group is asked for its messages: the account that speaks if it is a member, else the owner.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<HashMap<String, Reader>>);

#[derive(Clone, Debug)]
struct Reader {
    user: String,
    /// When OpenIM was asked who that is; `None`: the account that speaks, as long as that works.
    asked: Option<Timestamp>,
}

/// Conversations of one question for the newest seqs.
const MOST_CONVERSATIONS: usize = 500;

/// Ranges of one question for messages.
const MOST_RANGES: usize = 50;

/// Who can read a group is asked again after this, while nothing comes.
const READER_HOLDS: Duration = Duration::from_secs(60);

/// Groups whose reader is remembered.
const MOST_READERS: usize = 10_000;

/// `status` of a message that is not there any more.
const GONE: i64 = 4;

impl OpenIm {
    /// The newest seq of each of these conversations; 0 where nothing was ever said. It wants no membership.
    pub async fn newest_seqs(
        &self,
        conversations: &[Conversation],
    ) -> Result<BTreeMap<Conversation, i64>, NoHistory> {
        #[derive(Deserialize)]
        struct Seq {
            #[serde(rename = "maxSeq", default)]
            newest: i64,
        }
        let mut newest = BTreeMap::new();
        for part in conversations.chunks(MOST_CONVERSATIONS) {
            let ids: Vec<String> = part.iter().map(|one| self.history_id(one)).collect();
            let asked = json!({ "userID": self.send_as().id, "conversationIDs": ids });
            let path = "/msg/get_conversations_has_read_and_max_seq";
            let data = self.ask_history(path, &asked).await?;
            let mut seqs: HashMap<String, Seq> = read(&data["seqs"])?;
            for (conversation, id) in part.iter().zip(ids) {
                let seq = seqs.remove(&id).map_or(0, |seq| seq.newest);
                newest.insert(conversation.clone(), seq);
            }
        }
        Ok(newest)
    }

    /// What stands at these spans, one for each conversation: OpenIM answers only the last of several for the same. Where
    /// nothing comes from a group, it is found out who can read it, and that one is asked.
    pub async fn pull(
        &self,
        spans: &[(Conversation, Span)],
    ) -> Result<BTreeMap<Conversation, Part>, NoHistory> {
        let mut parts = self.pull_as_known(spans).await?;
        let empty: Vec<(Conversation, Span)> = spans
            .iter()
            .filter(|(conversation, _)| {
                let part = parts.get(conversation);
                part.is_none_or(|part| part.found.is_empty())
            })
            .cloned()
            .collect();
        let learned = self.learn_readers(&empty).await?;
        if !learned.is_empty() {
            parts.extend(self.pull_as_known(&learned).await?);
        }
        Ok(parts)
    }

    async fn pull_as_known(
        &self,
        spans: &[(Conversation, Span)],
    ) -> Result<BTreeMap<Conversation, Part>, NoHistory> {
        let mut by_reader: BTreeMap<String, Vec<&(Conversation, Span)>> = BTreeMap::new();
        for asked in spans {
            let reader = self.reader_of(&asked.0);
            by_reader.entry(reader).or_default().push(asked);
        }
        let mut parts = BTreeMap::new();
        for (reader, asked) in by_reader {
            for asked in asked.chunks(MOST_RANGES) {
                parts.extend(self.pull_as(&reader, asked).await?);
            }
        }
        Ok(parts)
    }

    async fn pull_as(
        &self,
        reader: &str,
        asked: &[&(Conversation, Span)],
    ) -> Result<Vec<(Conversation, Part)>, NoHistory> {
        #[derive(Deserialize)]
        struct Messages {
            #[serde(rename = "Msgs", default)]
            messages: Option<Vec<Message>>,
        }
        let ranges: Vec<Value> = asked
            .iter()
            .map(|(conversation, span)| {
                json!({
                    "conversationID": self.history_id(conversation),
                    "begin": span.begin,
                    "end": span.end,
                    // Of a longer range the server gives the last `num`, and does not say so.
                    "num": span.end - span.begin + 1,
                })
            })
            .collect();
        let body = json!({ "userID": reader, "seqRanges": ranges, "order": 0 });
        let data = self.ask_history("/msg/pull_msg_by_seq", &body).await?;
        let mut all: HashMap<String, Messages> = read(&data["msgs"])?;
        let part = |(conversation, span): &&(Conversation, Span)| {
            let messages = all.remove(&self.history_id(conversation));
            let messages = messages.and_then(|messages| messages.messages);
            let found = messages.unwrap_or_default().into_iter();
            let found = found.filter_map(|message| message.found(*span)).collect();
            let part = Part { span: *span, found };
            (conversation.clone(), part)
        };
        Ok(asked.iter().map(part).collect())
    }

    /// Finds out who can read these groups, and gives those where it is somebody else than was asked before.
    async fn learn_readers(
        &self,
        spans: &[(Conversation, Span)],
    ) -> Result<Vec<(Conversation, Span)>, NoHistory> {
        let now = self.clock.now();
        let mut unknown = Vec::new();
        for (conversation, span) in spans {
            let Conversation::Group(group) = conversation else {
                continue; // there is only one who can be asked
            };
            let known = self.readers.lock().get(group).cloned();
            let asked = known.and_then(|reader| reader.asked);
            let fresh = asked.is_some_and(|at| {
                let age: Duration = now.duration_since(at).try_into().unwrap_or_default();
                age < READER_HOLDS
            });
            if !fresh {
                unknown.push((group, conversation, *span));
            }
        }
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let bot = self.send_as().id.clone();
        let ids: Vec<&str> = unknown.iter().map(|(group, _, _)| group.as_str()).collect();
        let groups = self.find_groups(&ids).await.map_err(NoHistory::from)?;
        let mut learned = Vec::new();
        for (group, conversation, span) in unknown {
            let member = self.find_member(group, &bot).await;
            let member = member.map_err(NoHistory::from)?.is_some();
            let owner = groups.iter().find(|found| found.id == *group);
            let owner = owner.map(|found| found.owner.clone()).unwrap_or_default();
            let user = match owner.is_empty() || member {
                true => bot.clone(),
                false => owner,
            };
            let before = self.reader_of(conversation);
            let mut readers = self.readers.lock();
            if readers.len() >= MOST_READERS {
                readers.clear();
            }
            if user != before {
                learned.push((conversation.clone(), span));
            }
            let asked = Some(now);
            readers.insert(group.clone(), Reader { user, asked });
        }
        Ok(learned)
    }

    /// As whom a conversation is read: a single chat by the account that speaks, notifications by their recipient only.
    fn reader_of(&self, conversation: &Conversation) -> String {
        match conversation {
            Conversation::Person(_) => self.send_as().id.clone(),
            Conversation::Notice(user) => user.clone(),
            Conversation::Group(group) => {
                let readers = self.readers.lock();
                let known = readers.get(group).map(|reader| reader.user.clone());
                known.unwrap_or_else(|| self.send_as().id.clone())
            }
        }
    }

    /// OpenIM's id of a conversation (open-im-server `pkg/msgprocessor/conversation.go`).
    fn history_id(&self, conversation: &Conversation) -> String {
        let bot = self.send_as().id.as_str();
        let pair = |user: &str| match bot <= user {
            true => format!("{bot}_{user}"),
            false => format!("{user}_{bot}"),
        };
        match conversation {
            Conversation::Group(group) => format!("sg_{group}"),
            Conversation::Person(user) => format!("si_{}", pair(user)),
            Conversation::Notice(user) => format!("sn_{}", pair(user)),
        }
    }

    async fn ask_history(&self, path: &str, body: &Value) -> Result<Value, NoHistory> {
        let answer = self.ask(path, body).await?;
        let Answer {
            status,
            retry_after,
            envelope,
        } = answer;
        let busy = |why: String| NoHistory {
            why,
            sign: Sign::Busy(retry_after.unwrap_or(Duration::from_secs(1))),
        };
        match envelope {
            Some(envelope) if envelope.code == 0 => Ok(envelope.data),
            Some(envelope) if envelope.code == 429 => Err(busy(envelope.line())),
            Some(envelope) => Err(NoHistory::doubtful(envelope.line())),
            None if status == 429 => Err(busy(format!("HTTP {status}"))),
            None => Err(NoHistory::doubtful(format!(
                "HTTP {status} without OpenIM's envelope"
            ))),
        }
    }
}

impl Readers {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Reader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NoHistory {
    fn doubtful(why: String) -> NoHistory {
        NoHistory {
            sign: Sign::Doubtful(why.clone()),
            why,
        }
    }
}

impl From<CallFailed> for NoHistory {
    fn from(failed: CallFailed) -> NoHistory {
        let (why, down) = match failed {
            CallFailed::NoSession(none) => (none.to_string(), true),
            CallFailed::Unanswered(unanswered) => {
                let down = matches!(unanswered, Unanswered::NotConnected(_));
                (unanswered.to_string(), down)
            }
        };
        match down {
            true => NoHistory {
                sign: Sign::Down(why.clone()),
                why,
            },
            false => NoHistory::doubtful(why),
        }
    }
}

impl From<Unheard> for NoHistory {
    fn from(unheard: Unheard) -> NoHistory {
        NoHistory::doubtful(unheard.to_string())
    }
}

/// A message as the history shows it; its `content` is not read.
#[derive(Deserialize)]
struct Message {
    seq: i64,
    #[serde(default)]
    status: i64,
    #[serde(rename = "serverMsgID", default)]
    server_msg_id: String,
    #[serde(rename = "clientMsgID", default)]
    client_msg_id: String,
    #[serde(rename = "sendTime", default)]
    send_time: i64,
    #[serde(default)]
    ex: String,
}

impl Message {
    /// The message, unless its seq is empty.
    fn found(self, span: Span) -> Option<Found> {
        let empty = self.status == GONE || self.server_msg_id.is_empty();
        if empty || !(span.begin..=span.end).contains(&self.seq) {
            return None;
        }
        Some(Found {
            seq: self.seq,
            delivery: delivery_in(&self.ex),
            receipt: Receipt {
                server_msg_id: self.server_msg_id,
                client_msg_id: self.client_msg_id,
                send_time: self.send_time,
            },
        })
    }
}

/// Our delivery, as `send` has written it into `ex`.
fn delivery_in(ex: &str) -> Option<DeliveryId> {
    #[derive(Deserialize)]
    struct Ex {
        bridge: DeliveryId,
    }
    let ex: Ex = serde_json::from_str(ex).ok()?;
    Some(ex.bridge)
}

/// A map of the answer's data; OpenIM writes `null`, or nothing, for an empty one.
fn read<T: for<'de> Deserialize<'de>>(data: &Value) -> Result<HashMap<String, T>, NoHistory> {
    match data {
        Value::Null => Ok(HashMap::new()),
        data => HashMap::deserialize(data).map_err(|error| {
            NoHistory::doubtful(format!("OpenIM's answer cannot be read: {error}"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_delivery_is_known_by_its_ex_and_nothing_else_is_ours() {
        let id = "01a208d4-b2a8-7d13-b39c-7343b735f224";
        let ours = delivery_in(&format!(r#"{{"bridge":"{id}"}}"#)).unwrap();
        assert_eq!(ours.to_string(), id);
        for other in ["", "ex", r#"{"bridge":"x"}"#, r#"{"delivery":"d-1"}"#, "[]"] {
            assert_eq!(delivery_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_seq_without_a_message_is_not_found_and_a_revoked_one_is() {
        let span = Span { begin: 1, end: 9 };
        let message = |status: i64, kind: i64, id: &str| -> Option<Found> {
            let shown = json!({
                "seq": 3, "status": status, "contentType": kind, "serverMsgID": id, "content": "",
                "ex": r#"{"bridge":"01a208d4-b2a8-7d13-b39c-7343b735f224"}"#,
            });
            serde_json::from_value::<Message>(shown)
                .unwrap()
                .found(span)
        };
        assert!(message(0, 101, "s").unwrap().delivery.is_some());
        assert!(message(0, 2101, "s").unwrap().delivery.is_some());
        assert_eq!(message(GONE, 101, "s"), None);
        assert_eq!(message(0, 0, ""), None);
    }

    #[test]
    fn no_data_is_an_empty_answer_on_both_families() {
        for data in [json!({}), json!({"msgs": null, "notificationMsgs": null})] {
            assert!(read::<Message>(&data["msgs"]).unwrap().is_empty());
        }
        assert!(read::<Message>(&json!([1])).is_err());
    }
}
