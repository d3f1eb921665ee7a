//! JSON as senders write it.

use std::borrow::Cow;

use serde_json::Value;

/// Reads JSON. A `\ud800` that is half of a character becomes U+FFFD: JavaScript writes it where a text was cut in the
/// middle of an emoji, and other readers take it.
pub fn read(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match whole_characters(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(mended) => serde_json::from_str(&mended),
    })
}

/// The text with each escape that is half of a character as `\ufffd`, which is as long.
fn whole_characters(text: &str) -> Cow<'_, str> {
    let mut mended = Cow::Borrowed(text);
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        at += match (unit(text, at), unit(text, at + 6)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => 12,
            (Some(0xD800..0xE000), _) => {
                mended.to_mut().replace_range(at..at + 6, "\\ufffd");
                6
            }
            (Some(_), _) => 6,
            // What stands behind a backslash that begins another escape is no backslash that begins one.
            (None, _) => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    mended
}

/// What the escape at a place says: `\u00e9`.
fn unit(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_of_a_character_is_shown_as_one_that_is_not_known() {
        for (written, said) in [
            (r#""a\ud800b""#, "a\u{fffd}b"),
            (r#""\udc00""#, "\u{fffd}"),
            (r#""\uD83D\uD83D\uDE00""#, "\u{fffd}😀"),
            (r#""\uDE00\uD83D""#, "\u{fffd}\u{fffd}"),
            (r#""\ud800\n\"""#, "\u{fffd}\n\""),
            (r#""\ud800\\ud800""#, "\u{fffd}\\ud800"),
            (r#""\\ud800 \ud83d\ude00""#, "\\ud800 😀"),
            (r#""é\ud800é""#, "é\u{fffd}é"),
        ] {
            assert_eq!(read(written).unwrap(), said, "{written}");
        }
        let key = read(r#"{"\ud800":1}"#).unwrap();
        assert_eq!(key["\u{fffd}"], 1);
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in [
            r#""\ud8"#,
            r#""\ud800"#,
            "\\ud800",
            "\\",
            "{\\é",
            r#""\ud80é""#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_units_a_text_is_made_of_it_is_read_as_javascript_would_show_it(
            units in proptest::collection::vec(prop_oneof![0xD7FEu16..0xE002, any::<u16>()], 0..12)
        ) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            prop_assert_eq!(
                read(&format!("\"{escaped}\"")).unwrap(),
                String::from_utf16_lossy(&units)
            );
        }
    }
}
