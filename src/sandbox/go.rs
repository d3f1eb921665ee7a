//! What Go's `encoding/json` makes of a body: zero values, lenient names, and its own texts for what does not fit.
//!
//! OpenIM's refusals carry Go's texts (recorded in the transcripts: `bad.*`, `auth.bad_json`), and an operator reads them.

use serde_json::{Map, Number, Value};

/// The name and the fields of a Go struct that a request is read into.
pub(super) struct Shape {
    /// With its package, as Go names the type: `apistruct.SendMsgReq`.
    pub name: &'static str,
    /// In the order of the struct.
    pub fields: &'static [Field],
}

/// One field of a [`Shape`].
pub(super) struct Field {
    /// Its JSON name.
    pub json: &'static str,
    /// The embedded struct it stands in; Go names it in its texts.
    pub embedded: Option<&'static str>,
    /// Its Go type.
    pub kind: Kind,
}

/// The Go types that OpenIM's requests use.
pub(super) enum Kind {
    Text,
    Int32,
    Int64,
    Bool,
    /// `map[string]interface {}`
    Map,
    Texts,
    Struct(&'static Shape),
    Structs(&'static Shape),
}

/// How a handler reads its body; the two stumble with different words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// `json.NewDecoder(body).Decode`: the first value counts, the rest is not looked at.
    Decoder,
    /// `json.Unmarshal`: the whole body is one value.
    Unmarshal,
}

/// A request whose every field is there, with Go's zero value where the body said nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// A text; empty when it was not said.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or("")
    }

    /// A whole number; 0 when it was not said.
    pub fn whole(&self, name: &str) -> i64 {
        self.0.get(name).and_then(Value::as_i64).unwrap_or(0)
    }

    /// A flag; `false` when it was not said.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A list of texts; empty when it was not said.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        self.array(name).iter().filter_map(Value::as_str).collect()
    }

    /// An object; `None` when it was `null` or not said.
    pub fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name).and_then(Value::as_object)
    }

    /// An inner struct; `None` when it was `null` or not said.
    pub fn inner(&self, name: &str) -> Option<Fields> {
        self.object(name).cloned().map(Fields)
    }

    /// A list of inner structs.
    pub fn list(&self, name: &str) -> Vec<Fields> {
        self.array(name)
            .iter()
            .map(|item| Fields(item.as_object().cloned().unwrap_or_default()))
            .collect()
    }

    fn array(&self, name: &str) -> &[Value] {
        self.0
            .get(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }
}

/// What serde says where, and what Go says in its place.
const COMPLAINTS: [(&str, &str); 6] = [
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    (
        "key must be a string",
        "looking for beginning of object key string",
    ),
    ("expected `:`", "after object key"),
    ("control character", "in string literal"),
    ("trailing characters", "after top-level value"),
];

/// Reads the body as JSON.
pub(super) fn read(body: &[u8], reader: Reader) -> Result<Value, String> {
    let outcome = match reader {
        Reader::Unmarshal => serde_json::from_slice(body),
        Reader::Decoder => {
            let mut values = serde_json::Deserializer::from_slice(body).into_iter();
            values.next().ok_or("EOF")?
        }
    };
    outcome.map_err(|error| match reader {
        Reader::Unmarshal if error.is_eof() => "unexpected end of JSON input".to_owned(),
        Reader::Decoder if error.is_eof() => "unexpected EOF".to_owned(),
        _ => complaint(body, &error),
    })
}

fn complaint(body: &[u8], error: &serde_json::Error) -> String {
    let line = body
        .split(|byte| *byte == b'\n')
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let letter = match line.get(error.column().saturating_sub(1)) {
        Some(b'\'') => "'\\''".to_owned(),
        Some(b'"') => "'\"'".to_owned(),
        Some(byte) => format!("{:?}", char::from(*byte)),
        None => "'\\n'".to_owned(),
    };
    let said = error.to_string();
    let place = COMPLAINTS
        .iter()
        .find(|(serde, _)| said.starts_with(serde))
        .map_or("looking for beginning of value", |(_, go)| go);
    format!("invalid character {letter} {place}")
}

/// Reads a value into a struct. The first thing that does not fit is the error, as in Go.
pub(super) fn decode(shape: &'static Shape, value: &Value) -> Result<Fields, String> {
    let given = match value {
        Value::Null => &Map::new(),
        Value::Object(given) => given,
        other => {
            return Err(format!(
                "json: cannot unmarshal {} into Go value of type {}",
                word(other),
                shape.name
            ));
        }
    };
    decode_fields(shape, given, "").map(Fields)
}

fn decode_fields(
    shape: &'static Shape,
    given: &Map<String, Value>,
    path: &str,
) -> Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    for field in shape.fields {
        let step = match field.embedded {
            Some(embedded) => format!("{path}{embedded}.{}", field.json),
            None => format!("{path}{}", field.json),
        };
        let value = by_name(given, field.json).unwrap_or(&Value::Null);
        let decoded = decode_field(&field.kind, value, shape, &step)?;
        fields.insert(field.json.to_owned(), decoded);
    }
    Ok(fields)
}

/// Go takes a name that differs in case where the exact one is missing.
fn by_name<'a>(given: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    given.get(name).or_else(|| {
        let mut others = given.iter();
        others
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

fn decode_field(
    kind: &Kind,
    value: &Value,
    shape: &'static Shape,
    path: &str,
) -> Result<Value, String> {
    let misfit = |what: &str, go: &str| {
        let owner = shape.name.rsplit('.').next().unwrap_or(shape.name);
        format!("json: cannot unmarshal {what} into Go struct field {owner}.{path} of type {go}")
    };
    let whole = |go: &str, least: i64, most: i64| match value {
        Value::Number(number) => match number.as_i64() {
            Some(n) if (least..=most).contains(&n) => Ok(Value::from(n)),
            _ => Err(misfit(&format!("number {number}"), go)),
        },
        other => Err(misfit(word(other), go)),
    };
    match (kind, value) {
        (_, Value::Null)
        | (Kind::Text, Value::String(_))
        | (Kind::Bool, Value::Bool(_))
        | (Kind::Map, Value::Object(_)) => Ok(value.clone()),
        (Kind::Int32, _) => whole("int32", i32::MIN.into(), i32::MAX.into()),
        (Kind::Int64, _) => whole("int64", i64::MIN, i64::MAX),
        (Kind::Struct(inner), Value::Object(given)) => {
            decode_fields(inner, given, &format!("{path}.")).map(Value::Object)
        }
        (Kind::Texts, Value::Array(items)) => items
            .iter()
            .map(|item| decode_field(&Kind::Text, item, shape, path))
            .collect(),
        (Kind::Structs(inner), Value::Array(items)) => items
            .iter()
            .map(|item| decode_field(&Kind::Struct(inner), item, shape, path))
            .collect(),
        (kind, other) => Err(misfit(word(other), &go_type(kind))),
    }
}

fn go_type(kind: &Kind) -> String {
    match kind {
        Kind::Text => "string".to_owned(),
        Kind::Int32 => "int32".to_owned(),
        Kind::Int64 => "int64".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::Map => "map[string]interface {}".to_owned(),
        Kind::Texts => "[]string".to_owned(),
        Kind::Struct(shape) => shape.name.to_owned(),
        Kind::Structs(shape) => format!("[]*{}", shape.name),
    }
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value as Go writes it back after a journey through `map[string]any`: keys sorted, numbers through a float,
/// `<`, `>` and `&` escaped. This is what OpenIM stores of a content.
pub(super) fn write(value: &Value) -> String {
    match value {
        Value::Number(number) => write_number(number),
        Value::String(text) => write_text(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(write).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => write_object(map),
        other => other.to_string(),
    }
}

/// An object as [`write()`] has it.
pub(super) fn write_object(map: &Map<String, Value>) -> String {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(name, _)| *name);
    let entries: Vec<String> = entries
        .into_iter()
        .map(|(name, value)| format!("{}:{}", write_text(name), write(value)))
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn write_text(text: &str) -> String {
    Value::from(text)
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// A number as Go writes a float64: with an exponent only where it is very large or very small.
pub(super) fn write_number(number: &Number) -> String {
    let float = number.as_f64().unwrap_or(0.0);
    let size = float.abs();
    if float != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{float:e}");
        return if size >= 1e21 {
            text.replace('e', "e+")
        } else {
            text
        };
    }
    float.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const INNER: Shape = Shape {
        name: "sdkws.Inner",
        fields: &[Field {
            json: "on",
            embedded: None,
            kind: Kind::Bool,
        }],
    };
    const OUTER: Shape = Shape {
        name: "apistruct.Outer",
        fields: &[
            Field {
                json: "name",
                embedded: Some("Base"),
                kind: Kind::Text,
            },
            Field {
                json: "count",
                embedded: None,
                kind: Kind::Int32,
            },
            Field {
                json: "inner",
                embedded: None,
                kind: Kind::Struct(&INNER),
            },
        ],
    };

    #[test]
    fn what_is_not_said_is_zero_and_names_may_differ_in_case() {
        let fields = decode(&OUTER, &json!({"NAME": "x", "more": 1})).unwrap();

        assert_eq!(fields.text("name"), "x");
        assert_eq!(fields.whole("count"), 0);
        assert!(fields.inner("inner").is_none());
    }

    #[test]
    fn a_misfit_is_named_as_go_names_it() {
        let said = |value: Value| decode(&OUTER, &value).unwrap_err();

        assert_eq!(
            said(json!([])),
            "json: cannot unmarshal array into Go value of type apistruct.Outer"
        );
        assert_eq!(
            said(json!({"name": {}})),
            "json: cannot unmarshal object into Go struct field Outer.Base.name of type string"
        );
        assert_eq!(
            said(json!({"count": 1.5})),
            "json: cannot unmarshal number 1.5 into Go struct field Outer.count of type int32"
        );
        assert_eq!(
            said(json!({"inner": {"on": "yes"}})),
            "json: cannot unmarshal string into Go struct field Inner.inner.on of type bool"
        );
    }

    #[test]
    fn broken_json_is_told_apart_by_who_read_it() {
        let said = |body: &str, reader| read(body.as_bytes(), reader).unwrap_err();

        assert_eq!(said("", Reader::Decoder), "EOF");
        assert_eq!(said("{\"a\": ", Reader::Decoder), "unexpected EOF");
        assert_eq!(said("", Reader::Unmarshal), "unexpected end of JSON input");
        assert_eq!(
            said("hello", Reader::Decoder),
            "invalid character 'h' looking for beginning of value"
        );
        assert_eq!(
            said("{\"a\" 1}", Reader::Unmarshal),
            "invalid character '1' after object key"
        );
    }

    #[test]
    fn content_is_written_back_sorted_and_escaped() {
        let written = write(&json!({"b": "<a&b>", "a": [1, 2.5, 1e21, 9007199254740993_i64]}));

        assert_eq!(
            written,
            r#"{"a":[1,2.5,1e+21,9007199254740992],"b":"\u003ca\u0026b\u003e"}"#
        );
    }
}
