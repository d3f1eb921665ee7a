//! What stands at a place of a request, as received.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::bridge::auth::{Place, undo_percent};
use crate::intake::{Request, form};

/// Every value at the place, in order; empty when it is absent. An `Err` means that something else than a text or an
/// integer stands there.
pub(super) fn find<'r>(
    request: &'r Request,
    place: &Place,
) -> Result<Vec<Cow<'r, [u8]>>, NotAText> {
    Ok(match place {
        Place::Header(name) => request
            .headers
            .get_all(name)
            .iter()
            .map(|value| Cow::Borrowed(trim_blanks(value.as_bytes())))
            .collect(),
        Place::Query(name) => query(request.query().as_bytes())
            .filter(|(key, _)| undo(key).as_ref() == name.as_bytes())
            .map(|(_, value)| undo(value))
            .collect(),
        Place::Form(name) => form::fields(&request.body).map_or_else(Vec::new, |fields| {
            fields
                .filter(|(key, _)| form::decode(key).as_ref() == name.as_bytes())
                .map(|(_, value)| form::decode(value))
                .collect()
        }),
        Place::Body(pointer) => return in_json(&request.body, pointer.steps()),
        Place::Path if request.rest.is_empty() => Vec::new(),
        Place::Path => vec![undo(request.rest.as_bytes())],
    })
}

/// Something stands at the place, but neither a text nor an integer.
#[derive(Debug)]
pub(super) struct NotAText;

/// The parameters of a query as received, still encoded.
pub(super) fn query(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query
        .split(|&byte| byte == b'&')
        .filter(|field| !field.is_empty())
        .map(|field| match field.iter().position(|&byte| byte == b'=') {
            Some(at) => (&field[..at], &field[at + 1..]),
            None => (field, &[][..]),
        })
}

/// Undoes a URL's percent-encoding once; `+` stays.
pub(super) fn undo(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&b'%') {
        Cow::Owned(undo_percent(text))
    } else {
        Cow::Borrowed(text)
    }
}

/// Cuts the blanks that HTTP allows around a value.
pub(super) fn trim_blanks(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = text.iter().position(|byte| !blank(byte)) else {
        return &[];
    };
    let end = text.iter().rposition(|byte| !blank(byte)).unwrap_or(start);
    &text[start..=end]
}

fn in_json<'r>(body: &[u8], steps: &[String]) -> Result<Vec<Cow<'r, [u8]>>, NotAText> {
    let mut found = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let seek = Seek {
        steps,
        found: &mut found,
    };
    // What is not JSON has no fields.
    if seek.deserialize(&mut reader).is_err() || reader.end().is_err() {
        return Ok(Vec::new());
    }
    found
        .into_iter()
        .map(|text| {
            text.map(|text| Cow::Owned(text.into_bytes()))
                .ok_or(NotAText)
        })
        .collect()
}

/// Walks to a JSON pointer and builds nothing but what stands there. A name that an object holds twice is found twice.
struct Seek<'s> {
    steps: &'s [String],
    found: &'s mut Vec<Option<String>>,
}

impl Seek<'_> {
    fn take(self, text: Option<String>) {
        if self.steps.is_empty() {
            self.found.push(text);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.take(Some(text.to_owned()));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.take(Some(number.to_string()));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.take(Some(number.to_string()));
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.take(None);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.take(None);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.take(None);
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let next = self.steps.split_first();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match next {
                Some((step, steps)) if *step == key => {
                    let found = &mut *self.found;
                    map.next_value_seed(Seek { steps, found })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.take(None);
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        let next = self.steps.split_first();
        let wanted = next.and_then(|(step, _)| index(step));
        let mut at = 0;
        loop {
            let more = match next {
                Some((_, steps)) if wanted == Some(at) => {
                    let found = &mut *self.found;
                    seq.next_element_seed(Seek { steps, found })?.is_some()
                }
                _ => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
            at += 1;
        }
        self.take(None);
        Ok(())
    }
}

/// RFC 6901: digits without a leading zero.
fn index(step: &str) -> Option<usize> {
    let digits = step.bytes().all(|byte| byte.is_ascii_digit());
    let leading = step.len() > 1 && step.starts_with('0');
    (digits && !leading).then(|| step.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(body: &str, pointer: &str) -> Result<Vec<String>, NotAText> {
        let Place::Body(pointer) = Place::parse(&format!("body:{pointer}")).unwrap() else {
            panic!("a place in the body");
        };
        let found = in_json(body.as_bytes(), pointer.steps())?;
        Ok(found
            .into_iter()
            .map(|text| String::from_utf8(text.into_owned()).unwrap())
            .collect())
    }

    #[test]
    fn a_text_or_an_integer_is_found_wherever_the_pointer_leads() {
        let body = r#"{"a":{"b":["x",{"c":"\u00e9"}]},"n":1700000000,"m":-5}"#;
        assert_eq!(at(body, "/a/b/0").unwrap(), ["x"]);
        assert_eq!(at(body, "/a/b/1/c").unwrap(), ["é"]);
        assert_eq!(at(body, "/n").unwrap(), ["1700000000"]);
        assert_eq!(at(body, "/m").unwrap(), ["-5"]);
        for absent in ["/x", "/a/b/2", "/a/b/00", "/a/b/-", "/n/x"] {
            assert!(at(body, absent).unwrap().is_empty(), "{absent}");
        }
    }

    #[test]
    fn what_is_neither_text_nor_integer_is_there_but_not_usable() {
        for body in [
            r#"{"t":null}"#,
            r#"{"t":{}}"#,
            r#"{"t":[]}"#,
            r#"{"t":1.5}"#,
            r#"{"t":true}"#,
        ] {
            assert!(at(body, "/t").is_err(), "{body}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_found_twice() {
        assert_eq!(at(r#"{"t":"a","t":"b"}"#, "/t").unwrap(), ["a", "b"]);
        assert_eq!(
            at(r#"{"o":{"t":"a"},"o":{"t":"b"}}"#, "/o/t").unwrap(),
            ["a", "b"]
        );
    }

    #[test]
    fn what_is_not_json_has_no_fields() {
        for body in ["", "t=a", r#"{"t":"a""#, r#"{"t":"a"} x"#] {
            assert!(at(body, "/t").unwrap().is_empty(), "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(at(&deep, "/0/0").unwrap().is_empty());
    }

    #[test]
    fn only_the_blanks_around_a_header_are_cut() {
        assert_eq!(trim_blanks(b" \ta b\t "), b"a b");
        assert_eq!(trim_blanks(b" "), b"");
        assert_eq!(trim_blanks(b"a\n"), b"a\n");
    }
}
