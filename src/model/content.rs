//! The contents that OpenIM takes, as a table: contentType, fields, and which of them must be there.

use serde_json::Value;

/// One contentType that `/msg/send_msg` takes (open-im-server `internal/api/msg.go`, `pkg/apistruct/msg.go`).
#[derive(Clone, Copy, Debug)]
pub struct ContentType {
    /// The number: 101.
    pub code: i32,
    /// What people call it: `text`.
    pub name: &'static str,
    /// Only servers of branch `main` take it.
    pub only_main: bool,
    /// Its fields. Others are passed on by OpenIM as they are.
    pub fields: &'static [Field],
}

/// A field of a content, by its path: `sourcePicture.url`.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The path, dotted.
    pub path: &'static str,
    /// What stands there.
    pub is: Is,
    /// It must be there and not be empty or zero: OpenIM's validator takes those for missing.
    pub required: bool,
}

/// What stands in a field. OpenIM turns a number into a text while it checks, but stores the number, which breaks its
/// clients; so the type has to be right here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A whole number from 0 to this.
    UpTo(i64),
    /// `true` or `false`.
    Flag,
    /// A list of at most 1,000 elements; an empty one is not missing.
    List,
    /// An object.
    Object,
}

const fn must(path: &'static str, is: Is) -> Field {
    Field {
        path,
        is,
        required: true,
    }
}

const fn may(path: &'static str, is: Is) -> Field {
    Field {
        path,
        is,
        required: false,
    }
}

const fn kind(code: i32, name: &'static str, fields: &'static [Field]) -> ContentType {
    ContentType {
        code,
        name,
        only_main: false,
        fields,
    }
}

const fn main_kind(code: i32, name: &'static str, fields: &'static [Field]) -> ContentType {
    ContentType {
        only_main: true,
        ..kind(code, name, fields)
    }
}

/// contentType of plain text.
pub const TEXT: i32 = 101;
/// contentType of plain text that calls people, for groups.
pub const AT_TEXT: i32 = 106;
/// contentType of Markdown.
pub const MARKDOWN: i32 = 118;
/// contentType of a system notification, for one person.
pub const NOTICE: i32 = 1400;

/// All that the API takes; it refuses every other number (merged messages, cards, locations).
#[rustfmt::skip]
pub const CONTENT_TYPES: &[ContentType] = &[
    kind(TEXT, "text", &[must("content", Is::Text)]),
    kind(102, "picture", &[
        may("sourcePath", Is::Text),
        may("sourcePicture.uuid", Is::Text), must("sourcePicture.type", Is::Text), may("sourcePicture.size", Is::Number),
        must("sourcePicture.width", Is::Number), must("sourcePicture.height", Is::Number), must("sourcePicture.url", Is::Text),
        may("bigPicture.uuid", Is::Text), must("bigPicture.type", Is::Text), may("bigPicture.size", Is::Number),
        must("bigPicture.width", Is::Number), must("bigPicture.height", Is::Number), must("bigPicture.url", Is::Text),
        may("snapshotPicture.uuid", Is::Text), must("snapshotPicture.type", Is::Text), may("snapshotPicture.size", Is::Number),
        must("snapshotPicture.width", Is::Number), must("snapshotPicture.height", Is::Number), must("snapshotPicture.url", Is::Text),
    ]),
    kind(103, "voice", &[
        may("uuid", Is::Text), may("soundPath", Is::Text), must("sourceUrl", Is::Text), may("dataSize", Is::Number),
        must("duration", Is::Number),
    ]),
    kind(104, "video", &[
        may("videoPath", Is::Text), may("videoUUID", Is::Text), must("videoUrl", Is::Text), must("videoType", Is::Text),
        must("videoSize", Is::Number), must("duration", Is::Number), may("snapshotPath", Is::Text), may("snapshotUUID", Is::Text),
        may("snapshotSize", Is::Number), must("snapshotUrl", Is::Text), must("snapshotWidth", Is::Number), must("snapshotHeight", Is::Number),
    ]),
    kind(105, "file", &[
        may("filePath", Is::Text), may("uuid", Is::Text), must("sourceUrl", Is::Text), must("fileName", Is::Text),
        must("fileSize", Is::Number),
    ]),
    kind(AT_TEXT, "text with mentions", &[
        may("text", Is::Text), must("atUserList", Is::List), may("isAtSelf", Is::Flag), may("atUsersInfo", Is::List),
        may("quoteMessage", Is::Object),
    ]),
    kind(110, "custom", &[must("data", Is::Text), may("description", Is::Text), may("extension", Is::Text)]),
    main_kind(114, "quote", &[may("text", Is::Text), may("quoteMessage", Is::Object)]),
    main_kind(MARKDOWN, "markdown", &[must("content", Is::Text)]),
    kind(NOTICE, "system notification", &[
        must("notificationName", Is::Text), may("notificationFaceURL", Is::Text), must("notificationType", Is::Number),
        must("text", Is::Text), may("url", Is::Text), may("mixType", Is::UpTo(5)), may("ex", Is::Text),
        may("pictureElem", Is::Object), may("soundElem", Is::Object), may("videoElem", Is::Object), may("fileElem", Is::Object),
    ]),
];

/// The contentType of that number, if OpenIM takes it.
pub fn content_type(code: i32) -> Option<&'static ContentType> {
    CONTENT_TYPES.iter().find(|kind| kind.code == code)
}

/// What OpenIM would refuse in this content, one line each; empty when it takes it.
pub fn content_flaws(code: i32, content: &Value) -> Vec<String> {
    let Some(kind) = content_type(code) else {
        let known: Vec<String> = CONTENT_TYPES.iter().map(|k| k.code.to_string()).collect();
        return vec![format!(
            "OpenIM takes no contentType {code}; it takes {}",
            known.join(", ")
        )];
    };
    if !content.is_object() {
        return vec!["the content is no object".to_owned()];
    }
    kind.fields
        .iter()
        .filter_map(|field| field.flaw(content))
        .map(|flaw| format!("{flaw} (contentType {code}, {})", kind.name))
        .collect()
}

impl Field {
    fn flaw(&self, content: &Value) -> Option<String> {
        let path = self.path;
        let value = path.split('.').try_fold(content, |at, name| at.get(name));
        let value = match value {
            None | Some(Value::Null) if self.required => {
                return Some(format!("`{path}` is missing"));
            }
            None | Some(Value::Null) => return None,
            Some(value) => value,
        };
        let number = value.as_i64();
        let (fits, empty) = match self.is {
            Is::Text => (value.is_string(), value.as_str() == Some("")),
            Is::Number => (number.is_some_and(|n| n >= 0), number == Some(0)),
            Is::UpTo(most) => (number.is_some_and(|n| (0..=most).contains(&n)), false),
            Is::Flag => (value.is_boolean(), false),
            Is::List => (
                value.as_array().is_some_and(|list| list.len() <= 1000),
                false,
            ),
            Is::Object => (value.is_object(), false),
        };
        if !fits {
            Some(format!("`{path}` must be {}", self.is.words()))
        } else if empty && self.required {
            Some(format!("`{path}` must not be empty"))
        } else {
            None
        }
    }
}

impl Is {
    fn words(self) -> String {
        match self {
            Is::Text => "a text".into(),
            Is::Number => "a whole number, not below 0".into(),
            Is::UpTo(most) => format!("a whole number from 0 to {most}"),
            Is::Flag => "true or false".into(),
            Is::List => "a list of at most 1000 elements".into(),
            Is::Object => "an object".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_content_that_openim_takes_has_no_flaw() {
        let picture =
            json!({"type": "image/png", "width": 1, "height": 1, "url": "http://x.test/a.png"});
        for (code, content) in [
            (101, json!({"content": "x", "more": 1})),
            (
                102,
                json!({"sourcePicture": picture, "bigPicture": picture, "snapshotPicture": picture}),
            ),
            (
                103,
                json!({"sourceUrl": "http://x.test/a.m4a", "duration": 3}),
            ),
            (106, json!({"text": "x", "atUserList": []})),
            (110, json!({"data": "{}"})),
            (114, json!({"text": "x"})),
            (
                1400,
                json!({"notificationName": "n", "notificationType": 1, "text": "x", "mixType": 0}),
            ),
        ] {
            assert_eq!(content_flaws(code, &content), [""; 0], "{code}");
        }
    }

    #[test]
    fn every_flaw_names_its_field() {
        for (code, content, flaw) in [
            (101, json!({"content": ""}), "`content` must not be empty"),
            (101, json!({"content": 5}), "`content` must be a text"),
            (101, json!({}), "`content` is missing"),
            (101, json!("x"), "the content is no object"),
            (
                105,
                json!({"sourceUrl": "u", "fileName": "f", "fileSize": 0}),
                "`fileSize` must not be empty",
            ),
            (106, json!({"text": "x"}), "`atUserList` is missing"),
            (110, json!({"data": {"k": 1}}), "`data` must be a text"),
            (109, json!({}), "OpenIM takes no contentType 109"),
            (
                1400,
                json!({"notificationName": "n", "notificationType": 1, "text": "x", "mixType": 6}),
                "`mixType` must be a whole number from 0 to 5",
            ),
        ] {
            let flaws = content_flaws(code, &content);
            assert_eq!(flaws.len(), 1, "{code}: {flaws:?}");
            assert!(flaws[0].starts_with(flaw), "{flaws:?}");
        }
        assert_eq!(content_flaws(102, &json!({})).len(), 12);
    }
}
