//! The body of `POST /msg/send_msg`: which face of a message a server gets, and everything around it.

use serde_json::{Value, json};

use crate::model::content::{AT_TEXT, MARKDOWN, NOTICE, TEXT};
use crate::model::{
    Content, Conversation, DeliveryId, Family, Mention, Message, Push, content_flaws, content_type,
};

/// Who speaks. OpenIM does not fill the name in from the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendAs {
    /// The userID of the bot account, or of an admin.
    pub id: String,
    /// The name shown at its messages.
    pub nickname: String,
    /// The address of its picture; may be empty.
    pub face_url: String,
}

/// A message as one server takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// OpenIM's contentType.
    pub content_type: i32,
    /// OpenIM's `content`.
    pub content: Value,
}

/// The message can be sent nowhere like this; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsendable(pub String);

/// `PlatformID` of admins; OpenIM's own simple sending uses it (protocol `constant/platform_id_to_name.go`).
const ADMIN_PLATFORM: i32 = 10;

/// How `@everybody` stands in a list of mentions (protocol `constant.AtAllString`).
const AT_ALL: &str = "AtAllTag";

/// The longest list of mentions that OpenIM's validator takes.
const MOST_MENTIONS: usize = 1000;

impl Face {
    /// The face of a message for a conversation on a server of that family, checked against what OpenIM takes.
    pub fn of(
        message: &Message,
        conversation: &Conversation,
        family: Family,
        send_as: &SendAs,
    ) -> Result<Face, Unsendable> {
        let face = match (&message.content, conversation) {
            (Content::Text { plain, .. }, Conversation::Notice(_)) => Face {
                content_type: NOTICE,
                content: json!({
                    "notificationName": name_of(send_as),
                    "notificationFaceURL": send_as.face_url,
                    "notificationType": 1,
                    "text": plain,
                    "mixType": 0, // only text
                }),
            },
            (
                Content::Text {
                    plain, mentions, ..
                },
                Conversation::Group(_),
            ) if !mentions.is_empty() => at_text(plain, mentions),
            (
                Content::Text {
                    markdown: Some(markdown),
                    ..
                },
                _,
            ) if family == Family::Main => Face {
                content_type: MARKDOWN,
                content: json!({ "content": markdown }),
            },
            (Content::Text { plain, .. }, _) => Face {
                content_type: TEXT,
                content: json!({ "content": plain }),
            },
            (
                Content::Raw {
                    content_type,
                    content,
                },
                _,
            ) => Face {
                content_type: *content_type,
                content: content.clone(),
            },
        };
        face.check(conversation, family)?;
        Ok(face)
    }

    fn check(&self, conversation: &Conversation, family: Family) -> Result<(), Unsendable> {
        let code = self.content_type;
        let notice = matches!(conversation, Conversation::Notice(_));
        // OpenIM files a 1400 under the notifications whatever the session says, and loses one that goes to a group.
        if (code == NOTICE) != notice {
            return Err(Unsendable(match notice {
                true => format!("a notice goes as contentType {NOTICE}, not as {code}"),
                false => format!("contentType {NOTICE} goes to a `notice:` only"),
            }));
        }
        if family != Family::Main && content_type(code).is_some_and(|kind| kind.only_main) {
            return Err(Unsendable(format!(
                "this OpenIM server (3.8) does not take contentType {code}"
            )));
        }
        match content_flaws(code, &self.content).as_slice() {
            [] => Ok(()),
            flaws => Err(Unsendable(flaws.join("; "))),
        }
    }
}

/// The whole body of a send.
pub(super) fn body(
    face: &Face,
    message: &Message,
    conversation: &Conversation,
    delivery: DeliveryId,
    send_as: &SendAs,
) -> Value {
    let (session_type, recv_id, group_id) = match conversation {
        Conversation::Person(id) => (1, id.as_str(), ""),
        Conversation::Group(id) => (3, "", id.as_str()),
        Conversation::Notice(id) => (4, id.as_str(), ""),
    };
    let push = push(message, send_as);
    json!({
        "sendID": send_as.id,
        "recvID": recv_id,
        "groupID": group_id,
        "senderNickname": send_as.nickname,
        "senderFaceURL": send_as.face_url,
        "senderPlatformID": ADMIN_PLATFORM,
        "content": face.content,
        "contentType": face.content_type,
        "sessionType": session_type,
        "isOnlineOnly": false,
        "notOfflinePush": message.push == Push::Off,
        "offlinePushInfo": push,
        "ex": json!({ "bridge": delivery.to_string() }).to_string(),
    })
}

/// The push texts are always set: without them a phone shows `[NEWMSG]` or nothing (`push_handler.go`).
fn push(message: &Message, send_as: &SendAs) -> Value {
    let preview = match &message.content {
        Content::Text { preview, .. } => preview.as_str(),
        Content::Raw { .. } => "",
    };
    let (title, text, sound) = match &message.push {
        Push::On { title, text, sound } => (title.as_str(), text.as_str(), *sound),
        Push::Off => ("", "", false),
    };
    let first = |texts: [&str; 3]| {
        let found = texts.into_iter().find(|text| !text.trim().is_empty());
        found.unwrap_or("…").to_owned()
    };
    json!({
        "title": first([title, &name_of(send_as), ""]),
        "desc": first([text, preview, title]),
        "ex": "",
        "iOSPushSound": if sound { "default" } else { "" },
        "iOSBadgeCount": true,
    })
}

fn name_of(send_as: &SendAs) -> String {
    match send_as.nickname.trim() {
        "" => send_as.id.clone(),
        name => name.to_owned(),
    }
}

/// contentType 106: clients find `@<userID>` in the text and show the name that stands beside the id.
fn at_text(plain: &str, mentions: &[Mention]) -> Face {
    let mut text = String::with_capacity(plain.len() + 16);
    let mut rest = plain;
    let mut not_in_the_text = Vec::new();
    let mut ids: Vec<&str> = Vec::new();
    let mut names: Vec<Value> = Vec::new();
    for mention in mentions.iter().take(MOST_MENTIONS) {
        let (id, name) = match mention {
            Mention::Person { user_id, name } => (user_id.as_str(), name.as_str()),
            Mention::Everyone => (AT_ALL, "all"),
        };
        if let Mention::Person { user_id, name } = mention {
            match find_call(rest, name) {
                Some(at) => {
                    text.push_str(&rest[..at]);
                    text.push('@');
                    text.push_str(user_id);
                    rest = &rest[at + 1 + name.len()..];
                }
                None if !ids.contains(&id) => not_in_the_text.push(user_id.as_str()),
                None => {}
            }
        }
        if !ids.contains(&id) {
            ids.push(id);
            names.push(json!({ "atUserID": id, "groupNickname": name }));
        }
    }
    text.push_str(rest);
    for (number, id) in not_in_the_text.iter().enumerate() {
        text.push_str(if number == 0 { "\n@" } else { " @" });
        text.push_str(id);
    }
    Face {
        content_type: AT_TEXT,
        content: json!({
            "text": text,
            "atUserList": ids,
            "atUsersInfo": names,
            "isAtSelf": false,
        }),
    }
}

/// Where `@name` stands as a whole word: `@li` is not in `@lisa`.
fn find_call(text: &str, name: &str) -> Option<usize> {
    if name.is_empty() {
        return None;
    }
    let call = format!("@{name}");
    text.match_indices(&call).map(|(at, _)| at).find(|at| {
        let next = text[at + call.len()..].chars().next();
        !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bot() -> SendAs {
        SendAs {
            id: "bridge_bot".into(),
            nickname: "Bridge".into(),
            face_url: String::new(),
        }
    }

    fn text(plain: &str, mentions: Vec<Mention>) -> Message {
        Message {
            content: Content::Text {
                markdown: Some(format!("**{plain}**")),
                plain: plain.into(),
                preview: "in short".into(),
                mentions,
            },
            push: Push::Off,
            template: "x.md.hbs".into(),
        }
    }

    fn raw(content_type: i32, content: Value) -> Message {
        Message {
            content: Content::Raw {
                content_type,
                content,
            },
            ..text("", vec![])
        }
    }

    fn li() -> Mention {
        Mention::Person {
            user_id: "u_1".into(),
            name: "li".into(),
        }
    }

    fn group() -> Conversation {
        Conversation::Group("g1".into())
    }

    fn face(message: &Message, to: &Conversation, family: Family) -> Result<Face, Unsendable> {
        Face::of(message, to, family, &bot())
    }

    #[test]
    fn words_go_as_markdown_to_main_and_as_plain_text_to_release_3_8() {
        let message = text("hello", vec![]);
        let main = face(&message, &group(), Family::Main).unwrap();
        assert_eq!(main.content_type, 118);
        assert_eq!(main.content, json!({"content": "**hello**"}));
        let old = face(&message, &group(), Family::Release38).unwrap();
        assert_eq!(old.content_type, 101);
        assert_eq!(old.content, json!({"content": "hello"}));
    }

    #[test]
    fn a_mention_in_a_group_goes_as_106_with_the_id_in_place_of_the_name() {
        let message = text(
            "@lisa saw it, @li and @all look",
            vec![li(), Mention::Everyone],
        );
        let face = face(&message, &group(), Family::Main).unwrap();
        assert_eq!(face.content_type, 106);
        assert_eq!(
            face.content,
            json!({
                "text": "@lisa saw it, @u_1 and @all look",
                "atUserList": ["u_1", "AtAllTag"],
                "atUsersInfo": [
                    {"atUserID": "u_1", "groupNickname": "li"},
                    {"atUserID": "AtAllTag", "groupNickname": "all"},
                ],
                "isAtSelf": false,
            })
        );
    }

    #[test]
    fn who_is_called_by_the_route_stands_behind_the_text() {
        let face = face(&text("disk full", vec![li()]), &group(), Family::Main).unwrap();
        assert_eq!(face.content["text"], "disk full\n@u_1");
    }

    #[test]
    fn a_mention_in_a_persons_chat_needs_no_106() {
        let to = Conversation::Person("u_1".into());
        let face = face(&text("@li look", vec![li()]), &to, Family::Release38).unwrap();
        assert_eq!(face.content_type, 101);
    }

    #[test]
    fn a_notice_goes_as_1400_and_nothing_else_does() {
        let to = Conversation::Notice("u_1".into());
        let notice = face(&text("disk full", vec![li()]), &to, Family::Main).unwrap();
        assert_eq!(notice.content_type, 1400);
        assert_eq!(notice.content["text"], "disk full");
        assert_eq!(notice.content["notificationName"], "Bridge");

        let content = json!({"notificationName": "n", "notificationType": 1, "text": "x"});
        assert!(face(&raw(1400, content.clone()), &group(), Family::Main).is_err());
        assert!(face(&raw(101, json!({"content": "x"})), &to, Family::Main).is_err());
        assert!(face(&raw(1400, content), &to, Family::Main).is_ok());
    }

    #[test]
    fn what_the_server_would_refuse_is_not_sent() {
        let reason = |message, family| face(&message, &group(), family).unwrap_err().to_string();
        assert_eq!(
            reason(raw(105, json!({})), Family::Main),
            "`sourceUrl` is missing (contentType 105, file); `fileName` is missing (contentType 105, file); \
             `fileSize` is missing (contentType 105, file)"
        );
        assert!(reason(raw(118, json!({"content": "x"})), Family::Release38).contains("3.8"));
        assert!(reason(text("", vec![]), Family::Release38).contains("must not be empty"));
    }

    #[test]
    fn the_body_holds_all_that_openim_asks_for() {
        let message = text("hello", vec![]);
        let delivery = DeliveryId::new("2026-07-02T10:00:00Z".parse().unwrap());
        let made = |to: Conversation| {
            let face = face(&message, &to, Family::Release38).unwrap();
            body(&face, &message, &to, delivery, &bot())
        };
        let group = made(group());
        assert_eq!(group["sessionType"], 3);
        assert_eq!(
            (&group["groupID"], &group["recvID"]),
            (&json!("g1"), &json!(""))
        );
        assert_eq!(group["senderPlatformID"], 10);
        assert_eq!(group["notOfflinePush"], true);
        assert_eq!(group["offlinePushInfo"]["title"], "Bridge");
        assert_eq!(group["offlinePushInfo"]["desc"], "in short");
        assert_eq!(group["ex"], format!(r#"{{"bridge":"{delivery}"}}"#));
        let person = made(Conversation::Person("u_1".into()));
        assert_eq!(person["sessionType"], 1);
        assert_eq!(
            (&person["groupID"], &person["recvID"]),
            (&json!(""), &json!("u_1"))
        );
        assert_eq!(made(Conversation::Notice("u_1".into()))["sessionType"], 4);
    }

    #[test]
    fn a_push_shows_what_the_route_says() {
        let mut message = text("hello", vec![]);
        message.push = Push::On {
            title: "Critical".into(),
            text: String::new(),
            sound: true,
        };
        assert_eq!(
            push(&message, &bot()),
            json!({"title": "Critical", "desc": "in short", "ex": "", "iOSPushSound": "default", "iOSBadgeCount": true})
        );
    }

    proptest! {
        #[test]
        fn any_text_and_name_make_a_content_that_openim_takes(plain in ".{1,60}", name in ".{0,4}") {
            let mention = Mention::Person { user_id: "u_1".into(), name };
            let face = face(&text(&plain, vec![mention.clone(), Mention::Everyone, mention]), &group(), Family::Main).unwrap();
            prop_assert!(face.content["text"].as_str().unwrap().contains("@u_1"));
            prop_assert_eq!(face.content["atUserList"].as_array().unwrap().len(), 2);
        }
    }
}
