//! What a content must look like, by contentType: the server's table of fields, and its two ways to say that one is wrong.
//!
//! The server reads a content twice (`internal/api/msg.go`): mapstructure's WeakDecode coerces it into a struct, and
//! a validator looks at that struct. What is stored is the content as it came, see [`super::go::write`].

use serde_json::{Map, Value};

use super::go;
use crate::model::Family;

/// A Go struct that a content is read into.
pub(super) struct Element {
    name: &'static str,
    parts: &'static [Part],
}

/// One field of an [`Element`]: its JSON name, its Go name, its type, its validator tags.
struct Part(&'static str, &'static str, Type, &'static [Tag]);

enum Type {
    Text,
    Int32,
    Int64,
    Bool,
    Texts,
    /// A struct that is always there; what is in it is always looked at.
    Inner(&'static Element),
    /// A struct behind a pointer; looked at when it is there.
    Perhaps(&'static Element),
    Many(&'static Element),
}

#[derive(Clone, Copy)]
enum Tag {
    /// Not Go's zero value.
    Required,
    /// A number of at least this much.
    Min(i64),
    /// A list of at most this length.
    Max(usize),
    Gte(i64),
    Lte(i64),
}

use Tag::{Gte, Lte, Max, Min, Required};
use Type::{Bool, Inner, Int32, Int64, Many, Perhaps, Text, Texts};

const MUST: &[Tag] = &[Required];
const MAY: &[Tag] = &[];

const TEXT: Element = Element {
    name: "TextElem",
    parts: &[Part("content", "Content", Text, MUST)],
};
const MARKDOWN: Element = Element {
    name: "MarkdownTextElem",
    parts: &[Part("content", "Content", Text, MUST)],
};
const PICTURE_BASE: Element = Element {
    name: "PictureBaseInfo",
    parts: &[
        Part("uuid", "UUID", Text, MAY),
        Part("type", "Type", Text, MUST),
        Part("size", "Size", Int64, MAY),
        Part("width", "Width", Int32, MUST),
        Part("height", "Height", Int32, MUST),
        Part("url", "Url", Text, MUST),
    ],
};
const PICTURE: Element = Element {
    name: "PictureElem",
    parts: &[
        Part("sourcePath", "SourcePath", Text, MAY),
        Part("sourcePicture", "SourcePicture", Inner(&PICTURE_BASE), MAY),
        Part("bigPicture", "BigPicture", Inner(&PICTURE_BASE), MAY),
        Part(
            "snapshotPicture",
            "SnapshotPicture",
            Inner(&PICTURE_BASE),
            MAY,
        ),
    ],
};
const SOUND: Element = Element {
    name: "SoundElem",
    parts: &[
        Part("uuid", "UUID", Text, MAY),
        Part("soundPath", "SoundPath", Text, MAY),
        Part("sourceUrl", "SourceURL", Text, MUST),
        Part("dataSize", "DataSize", Int64, MAY),
        Part("duration", "Duration", Int64, &[Required, Min(1)]),
    ],
};
const VIDEO: Element = Element {
    name: "VideoElem",
    parts: &[
        Part("videoPath", "VideoPath", Text, MAY),
        Part("videoUUID", "VideoUUID", Text, MAY),
        Part("videoUrl", "VideoURL", Text, MUST),
        Part("videoType", "VideoType", Text, MUST),
        Part("videoSize", "VideoSize", Int64, MUST),
        Part("duration", "Duration", Int64, MUST),
        Part("snapshotPath", "SnapshotPath", Text, MAY),
        Part("snapshotUUID", "SnapshotUUID", Text, MAY),
        Part("snapshotSize", "SnapshotSize", Int64, MAY),
        Part("snapshotUrl", "SnapshotURL", Text, MUST),
        Part("snapshotWidth", "SnapshotWidth", Int32, MUST),
        Part("snapshotHeight", "SnapshotHeight", Int32, MUST),
    ],
};
const FILE: Element = Element {
    name: "FileElem",
    parts: &[
        Part("filePath", "FilePath", Text, MAY),
        Part("uuid", "UUID", Text, MAY),
        Part("sourceUrl", "SourceURL", Text, MUST),
        Part("fileName", "FileName", Text, MUST),
        Part("fileSize", "FileSize", Int64, MUST),
    ],
};
const AT_INFO: Element = Element {
    name: "AtInfo",
    parts: &[
        Part("atUserID", "AtUserID", Text, MAY),
        Part("groupNickname", "GroupNickname", Text, MAY),
    ],
};
const AT: Element = Element {
    name: "AtElem",
    parts: &[
        Part("text", "Text", Text, MAY),
        Part("atUserList", "AtUserList", Texts, &[Required, Max(1000)]),
        Part("atUsersInfo", "AtUsersInfo", Many(&AT_INFO), MAY),
        Part("quoteMessage", "QuoteMessage", Perhaps(&QUOTED), MAY),
        Part("isAtSelf", "IsAtSelf", Bool, MAY),
    ],
};
const CUSTOM: Element = Element {
    name: "CustomElem",
    parts: &[
        Part("data", "Data", Text, MUST),
        Part("description", "Description", Text, MAY),
        Part("extension", "Extension", Text, MAY),
    ],
};
const QUOTED: Element = Element {
    name: "MsgStruct",
    parts: &[
        Part("clientMsgID", "ClientMsgID", Text, MAY),
        Part("serverMsgID", "ServerMsgID", Text, MAY),
        Part("sendID", "SendID", Text, MAY),
        Part("recvID", "RecvID", Text, MAY),
        Part("senderNickname", "SenderNickname", Text, MAY),
        Part("contentType", "ContentType", Int32, MAY),
        Part("sessionType", "SessionType", Int32, MAY),
        Part("textElem", "TextElem", Perhaps(&TEXT), MAY),
        Part("pictureElem", "PictureElem", Perhaps(&PICTURE), MAY),
        Part("fileElem", "FileElem", Perhaps(&FILE), MAY),
    ],
};
const QUOTE: Element = Element {
    name: "QuoteElem",
    parts: &[
        Part("text", "Text", Text, MAY),
        Part("quoteMessage", "QuoteMessage", Perhaps(&QUOTED), MAY),
    ],
};
const NOTIFICATION: Element = Element {
    name: "OANotificationElem",
    parts: &[
        Part("notificationName", "NotificationName", Text, MUST),
        Part("notificationFaceURL", "NotificationFaceURL", Text, MAY),
        Part("notificationType", "NotificationType", Int32, MUST),
        Part("text", "Text", Text, MUST),
        Part("url", "Url", Text, MAY),
        Part("mixType", "MixType", Int32, &[Gte(0), Lte(5)]),
        Part("pictureElem", "PictureElem", Perhaps(&PICTURE), MAY),
        Part("soundElem", "SoundElem", Perhaps(&SOUND), MAY),
        Part("videoElem", "VideoElem", Perhaps(&VIDEO), MAY),
        Part("fileElem", "FileElem", Perhaps(&FILE), MAY),
        Part("ex", "Ex", Text, MAY),
    ],
};

/// The element of a contentType; `None` where this family refuses the type.
pub(super) fn element(content_type: i64, family: Family) -> Option<&'static Element> {
    Some(match (content_type, family) {
        (101, _) => &TEXT,
        (102, _) => &PICTURE,
        (103, _) => &SOUND,
        (104, _) => &VIDEO,
        (105, _) => &FILE,
        (106, _) => &AT,
        (110, _) => &CUSTOM,
        (114, Family::Main) => &QUOTE,
        (118, Family::Main) => &MARKDOWN,
        (1400, _) => &NOTIFICATION,
        _ => return None,
    })
}

/// Looks at a content as the server does; the error is its text.
pub(super) fn inspect(element: &Element, content: &Map<String, Value>) -> Result<(), String> {
    let mut stumbles = Vec::new();
    let decoded = decode(element, content, "", &mut stumbles);
    if !stumbles.is_empty() {
        stumbles.sort();
        let lines: Vec<String> = stumbles.iter().map(|line| format!("* {line}")).collect();
        return Err(format!(
            "{} error(s) decoding:\n\n{}",
            lines.len(),
            lines.join("\n")
        ));
    }
    let mut flaws = Vec::new();
    validate(element, &decoded, element.name, &mut flaws);
    if flaws.is_empty() {
        Ok(())
    } else {
        Err(flaws.join("\n"))
    }
}

/// Whom a content of type 106 names (`atUserList`), coerced as the server does.
pub(super) fn at_user_list(content: &Map<String, Value>) -> Vec<String> {
    let decoded = decode(&AT, content, "", &mut Vec::new());
    let list = decoded.get("atUserList").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn decode(
    element: &Element,
    given: &Map<String, Value>,
    path: &str,
    stumbles: &mut Vec<String>,
) -> Map<String, Value> {
    let mut decoded = Map::new();
    for Part(key, _, kind, _) in element.parts {
        let exact = given.get(*key);
        let value = exact.or_else(|| {
            let mut others = given.iter();
            let other = others.find(|(name, _)| name.eq_ignore_ascii_case(key));
            other.map(|(_, value)| value)
        });
        let name = if path.is_empty() {
            (*key).to_owned()
        } else {
            format!("{path}.{key}")
        };
        let value = decode_value(kind, value.unwrap_or(&Value::Null), &name, stumbles);
        decoded.insert((*key).to_owned(), value);
    }
    decoded
}

/// The coerced value, or Go's zero value where there is none or it cannot be coerced.
fn decode_value(kind: &Type, value: &Value, name: &str, stumbles: &mut Vec<String>) -> Value {
    let unconvertible = |go: &str| {
        format!(
            "'{name}' expected type '{go}', got unconvertible type '{}', value: '{}'",
            type_name(value),
            show(value)
        )
    };
    match (kind, value) {
        (Text, Value::Null) => Value::from(""),
        (Text, Value::String(_)) | (Bool, Value::Bool(_)) => value.clone(),
        (Text, Value::Number(number)) => Value::from(go::write_number(number)),
        (Text, Value::Bool(flag)) => Value::from(if *flag { "1" } else { "0" }),
        (Text, Value::Array(items)) if items.is_empty() => Value::from(""),
        (Text, _) => stumble(stumbles, unconvertible("string"), Value::from("")),
        (Int32 | Int64, Value::Null) => Value::from(0),
        (Int32 | Int64, Value::Number(number)) => {
            #[expect(clippy::cast_possible_truncation, reason = "Go truncates here too")]
            let whole = number.as_f64().unwrap_or(0.0) as i64;
            Value::from(whole)
        }
        (Int32 | Int64, Value::Bool(flag)) => Value::from(i64::from(*flag)),
        (Int32 | Int64, Value::String(text)) => match text.parse::<i64>() {
            Ok(whole) => Value::from(whole),
            Err(_) if text.is_empty() => Value::from(0),
            Err(_) => stumble(
                stumbles,
                format!(
                    "cannot parse '{name}' as int: strconv.ParseInt: parsing {text:?}: invalid syntax"
                ),
                Value::from(0),
            ),
        },
        (Int32, _) => stumble(stumbles, unconvertible("int32"), Value::from(0)),
        (Int64, _) => stumble(stumbles, unconvertible("int64"), Value::from(0)),
        (Bool, Value::Null) => Value::from(false),
        (Bool, Value::Number(number)) => Value::from(number.as_f64() != Some(0.0)),
        (Bool, Value::String(text)) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Value::from(true),
            "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Value::from(false),
            _ => stumble(
                stumbles,
                format!(
                    "cannot parse '{name}' as bool: strconv.ParseBool: parsing {text:?}: invalid syntax"
                ),
                Value::from(false),
            ),
        },
        (Bool, _) => stumble(stumbles, unconvertible("bool"), Value::from(false)),
        (Texts | Many(_) | Perhaps(_), Value::Null) => Value::Null,
        (Texts | Many(_), Value::Object(map)) if map.is_empty() => Value::Array(Vec::new()),
        (Texts | Many(_), _) => {
            // A lone value is taken for a list of one.
            let items = match value {
                Value::Array(items) => items.as_slice(),
                lone => std::slice::from_ref(lone),
            };
            let inner = match kind {
                Many(element) => &Inner(element),
                _ => &Text,
            };
            let numbered = items.iter().enumerate();
            numbered
                .map(|(i, item)| decode_value(inner, item, &format!("{name}[{i}]"), stumbles))
                .collect()
        }
        (Inner(element), Value::Null) => {
            Value::Object(decode(element, &Map::new(), name, stumbles))
        }
        (Inner(element) | Perhaps(element), Value::Object(given)) => {
            Value::Object(decode(element, given, name, stumbles))
        }
        (Inner(_) | Perhaps(_), other) => {
            let kind = match other {
                Value::Array(_) => "slice",
                other => type_name(other),
            };
            stumble(
                stumbles,
                format!("'{name}' expected a map, got '{kind}'"),
                Value::Null,
            )
        }
    }
}

fn stumble(stumbles: &mut Vec<String>, text: String, zero: Value) -> Value {
    stumbles.push(text);
    zero
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go's `%v` prints it.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => go::write_number(number),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(show).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(name, value)| format!("{name}:{}", show(value)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

fn validate(element: &Element, decoded: &Map<String, Value>, path: &str, flaws: &mut Vec<String>) {
    for Part(key, go, kind, tags) in element.parts {
        let value = decoded.get(*key).unwrap_or(&Value::Null);
        let path = format!("{path}.{go}");
        if let Some(tag) = tags.iter().find(|tag| !tag.holds(value)) {
            flaws.push(format!(
                "Key: '{path}' Error:Field validation for '{go}' failed on the '{}' tag",
                tag.word()
            ));
        } else if let (Inner(inner) | Perhaps(inner), Value::Object(decoded)) = (kind, value) {
            validate(inner, decoded, &path, flaws);
        }
    }
}

impl Tag {
    fn holds(self, value: &Value) -> bool {
        let number = value.as_i64();
        match self {
            Required => match value {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Number(_) => number != Some(0),
                _ => true,
            },
            Min(least) | Gte(least) => number.is_none_or(|n| n >= least),
            Lte(most) => number.is_none_or(|n| n <= most),
            Max(most) => value.as_array().is_none_or(|list| list.len() <= most),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Required => "required",
            Min(_) => "min",
            Max(_) => "max",
            Gte(_) => "gte",
            Lte(_) => "lte",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(content_type: i64, content: Value) -> Result<(), String> {
        let element = element(content_type, Family::Main).unwrap();
        inspect(element, content.as_object().unwrap())
    }

    #[test]
    fn a_content_that_can_be_coerced_is_taken() {
        assert_eq!(said(101, json!({"content": 5})), Ok(()));
        assert_eq!(said(106, json!({"atUserList": "u1"})), Ok(()));
        assert_eq!(said(106, json!({"atUserList": []})), Ok(()));
        assert_eq!(
            said(103, json!({"sourceUrl": "x", "duration": "3"})),
            Ok(())
        );
    }

    #[test]
    fn every_missing_field_is_named_with_its_path() {
        let said = said(1400, json!({"text": "x", "pictureElem": {}})).unwrap_err();

        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 2 + 3 * 4);
        assert!(lines[0].starts_with("Key: 'OANotificationElem.NotificationName'"));
        assert!(lines[2].starts_with("Key: 'OANotificationElem.PictureElem.SourcePicture.Type'"));
    }

    #[test]
    fn numbers_and_lists_have_their_bounds() {
        let notice = |mix: i64| json!({"notificationName": "a", "notificationType": 1, "text": "x", "mixType": mix});
        assert_eq!(said(1400, notice(5)), Ok(()));
        assert!(said(1400, notice(6)).unwrap_err().contains("'lte' tag"));
        assert!(said(1400, notice(-1)).unwrap_err().contains("'gte' tag"));
        let everybody: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
        let said = said(106, json!({"atUserList": everybody})).unwrap_err();
        assert!(said.contains("'max' tag"), "{said}");
    }

    #[test]
    fn what_cannot_be_coerced_is_listed_in_order() {
        let said = said(
            105,
            json!({"uuid": [1, true], "fileSize": "big", "fileName": {"b": null, "a": "x"}}),
        );

        assert_eq!(
            said.unwrap_err(),
            "3 error(s) decoding:\n\n\
             * 'fileName' expected type 'string', got unconvertible type 'map[string]interface {}', value: 'map[a:x b:<nil>]'\n\
             * 'uuid' expected type 'string', got unconvertible type '[]interface {}', value: '[1 true]'\n\
             * cannot parse 'fileSize' as int: strconv.ParseInt: parsing \"big\": invalid syntax"
        );
    }
}
