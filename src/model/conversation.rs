//! Where messages go: a conversation of the bot with a group or a person, and the lane that keeps its order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One OpenIM chat as the bot talks to it, by OpenIM's own ids. Order is kept inside it.
///
/// Prints and parses as an operator would write it with an id: `group:#2839678182`, `person:#u_1001`, `notice:#u_1001`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Conversation {
    /// A group, by its groupID (sessionType 3).
    Group(String),
    /// A person's chat, by userID (sessionType 1).
    Person(String),
    /// A person's system notifications, by userID (contentType 1400, sessionType 4).
    Notice(String),
}

/// The deliveries of one conversation, in order. A person's chat and the notifications to that person share one lane,
/// because the server files a batch that holds both under the first one's conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(String);

impl Conversation {
    /// The lane whose order this conversation keeps.
    pub fn lane(&self) -> Lane {
        Lane(match self {
            Conversation::Group(id) => format!("group:#{id}"),
            Conversation::Person(id) | Conversation::Notice(id) => format!("person:#{id}"),
        })
    }

    /// OpenIM's id of the group or the person.
    pub fn id(&self) -> &str {
        match self {
            Conversation::Group(id) | Conversation::Person(id) | Conversation::Notice(id) => id,
        }
    }
}

impl Lane {
    /// The lane as text, as the outbox stores it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Lane {
    fn from(text: String) -> Lane {
        Lane(text)
    }
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Conversation::Group(id) => write!(f, "group:#{id}"),
            Conversation::Person(id) => write!(f, "person:#{id}"),
            Conversation::Notice(id) => write!(f, "notice:#{id}"),
        }
    }
}

/// The text names no conversation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a conversation: `group:#id`, `person:#id` or `notice:#id` is expected")]
pub struct NotAConversation(pub String);

impl FromStr for Conversation {
    type Err = NotAConversation;

    fn from_str(text: &str) -> Result<Conversation, NotAConversation> {
        let wrong = || NotAConversation(text.to_owned());
        let (what, id) = text.split_once(":#").ok_or_else(wrong)?;
        match (what, id) {
            (_, "") => Err(wrong()),
            ("group", id) => Ok(Conversation::Group(id.to_owned())),
            ("person", id) => Ok(Conversation::Person(id.to_owned())),
            ("notice", id) => Ok(Conversation::Notice(id.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Conversation {
    type Error = NotAConversation;

    fn try_from(text: String) -> Result<Conversation, NotAConversation> {
        text.parse()
    }
}

impl From<Conversation> for String {
    fn from(conversation: Conversation) -> String {
        conversation.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_prints_and_parses_back() {
        for text in ["group:#2839678182", "person:#u_1001", "notice:#u#1"] {
            assert_eq!(text.parse::<Conversation>().unwrap().to_string(), text);
        }
        for text in ["group:ops", "group:#", "room:#1", ""] {
            assert!(text.parse::<Conversation>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_person_and_the_notices_to_that_person_share_a_lane() {
        let person = Conversation::Person("u1".into());
        let notice = Conversation::Notice("u1".into());
        assert_eq!(person.lane(), notice.lane());
        assert_ne!(person.lane(), Conversation::Group("u1".into()).lane());
    }
}
