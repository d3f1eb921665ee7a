//! What one conversation will show. It says what is meant; `deliver::openim` picks the face the server can take.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A rendered message, ready to be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// What is said.
    pub content: Content,
    /// What a phone shows.
    pub push: Push,
    /// The template that made it: `github/push.md.hbs`.
    pub template: String,
}

/// What is said, before anybody knows which server will take it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Words for people.
    Text {
        /// The Markdown face; `None` when the template made plain text.
        markdown: Option<String>,
        /// The plain face, never empty: links as `name: url`, no stray marks.
        plain: String,
        /// One short line for lists and pushes.
        preview: String,
        /// Who is called, in the order of the text. Only a template or a route puts somebody here.
        mentions: Vec<Mention>,
    },
    /// A content that the template controls itself, for any contentType.
    Raw {
        /// OpenIM's contentType.
        content_type: i32,
        /// OpenIM's `content` object.
        content: Value,
    },
}

/// Somebody who is called by a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mention {
    /// One person.
    Person {
        /// OpenIM's userID.
        user_id: String,
        /// The name as it stands in the text behind the `@`.
        name: String,
    },
    /// Everybody in the group.
    Everyone,
}

/// What a phone shows while OpenIM is not open on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Push {
    /// Nothing.
    Off,
    /// A title and a line.
    On {
        /// The first line.
        title: String,
        /// The second line.
        text: String,
        /// Whether it makes a sound.
        sound: bool,
    },
}
