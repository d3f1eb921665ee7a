//! Where a byte of a TOML string's value stands in the file, so that a mistake inside an expression is shown exactly.

use std::ops::Range;

/// The bytes of `raw` (the string as written, quotes included) that make up the bytes `inner` of its `value`.
/// The whole of `raw` when the two do not belong together.
pub fn span_in_file(raw: &str, value: &str, inner: Range<usize>) -> Range<usize> {
    let whole = 0..raw.len();
    let Some(places) = places_of_bytes(raw, value) else {
        return whole;
    };
    let start = inner.start.min(value.len());
    let end = inner.end.clamp(start, value.len());
    let (Some(&first), Some(&past)) = (places.get(start), places.get(end)) else {
        return whole;
    };
    if start == end {
        return first..first;
    }
    // The last byte's own place, then up to the next character: an escape or a line break after it does not belong.
    let last = places.get(end - 1).copied().unwrap_or(first);
    let after_last = last + width_at(raw, last);
    first..past.min(after_last).max(first)
}

/// How many bytes of `raw` are written for the value's character that begins (or goes on) at `at`.
fn width_at(raw: &str, at: usize) -> usize {
    let mut rest = match raw.get(at..) {
        Some(rest) => rest.chars(),
        None => return 1,
    };
    match rest.next() {
        Some('\\') if raw.starts_with('"') => match rest.next() {
            Some('u') => 6,
            Some('U') => 10,
            Some('x') => 4,
            _ => 2,
        },
        Some(character) => character.len_utf8(),
        None => 0,
    }
}

/// For each byte of the value, and for its end, the offset in `raw`. `None` when they do not belong together.
fn places_of_bytes(raw: &str, value: &str) -> Option<Vec<usize>> {
    let (open, escapes) = if raw.starts_with("\"\"\"") {
        (3, true)
    } else if raw.starts_with("'''") {
        (3, false)
    } else if raw.starts_with('"') {
        (1, true)
    } else if raw.starts_with('\'') {
        (1, false)
    } else {
        return None;
    };
    let close = raw.len().checked_sub(open).filter(|close| *close >= open)?;
    let mut at = open;
    if open == 3 {
        // A line break right after the opening quotes is not part of the value.
        let body = raw.get(at..close)?;
        at += if body.starts_with("\r\n") {
            2
        } else {
            usize::from(body.starts_with('\n'))
        };
    }
    let mut places = Vec::with_capacity(value.len() + 1);
    let mut expected = value.chars();
    while at < close {
        let mut rest = raw.get(at..close)?.chars();
        let written = rest.next()?;
        if escapes && written == '\\' {
            let kind = rest.next()?;
            if matches!(kind, ' ' | '\t' | '\r' | '\n') {
                // A backslash at the end of a line swallows it and the blanks that follow.
                let skipped = raw.get(at + 1..close)?;
                at +=
                    1 + (skipped.len() - skipped.trim_start_matches([' ', '\t', '\r', '\n']).len());
                continue;
            }
            let character = expected.next()?;
            places.extend(std::iter::repeat_n(at, character.len_utf8()));
            at += width_at(raw, at);
        } else {
            if expected.next()? != written {
                return None;
            }
            places.extend(at..at + written.len_utf8());
            at += written.len_utf8();
        }
    }
    places.push(close);
    (expected.next().is_none() && places.len() == value.len() + 1).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(raw: &str, value: &str, wanted: &str) -> String {
        let start = value.find(wanted).unwrap();
        raw[span_in_file(raw, value, start..start + wanted.len())].to_owned()
    }

    #[test]
    fn a_word_inside_a_string_is_found_however_the_string_is_written() {
        for (raw, value) in [
            (r"'a == wrong'", "a == wrong"),
            (r#""a == \"x\" && wrong""#, "a == \"x\" && wrong"),
            (r#""\u4e2d\U00004e2d\x41 wrong""#, "中中A wrong"),
            ("'''\na ==\n  wrong'''", "a ==\n  wrong"),
            ("'''\r\na ==\r\n  wrong'''", "a ==\r\n  wrong"),
            ("\"\"\"\n中 \\\n   \n  wrong\\n\"\"\"", "中 wrong\n"),
            ("'wrong'", "wrong"),
        ] {
            assert_eq!(
                toml::from_str::<toml::Table>(&format!("x = {raw}")).unwrap()["x"].as_str(),
                Some(value)
            );
            assert_eq!(shown(raw, value, "wrong"), "wrong", "{raw}");
        }
    }

    #[test]
    fn a_character_written_as_an_escape_is_shown_as_it_is_written() {
        assert_eq!(shown(r#""a\tb""#, "a\tb", "\t"), r"\t");
        assert_eq!(shown(r#""a\u4e2d""#, "a中", "中"), r"\u4e2d");
    }

    #[test]
    fn an_empty_place_at_the_end_is_the_closing_quote() {
        assert_eq!(span_in_file("'abc'", "abc", 3..3), 4..4);
        assert_eq!(span_in_file("''", "", 0..0), 1..1);
    }

    proptest! {
        #[test]
        fn any_string_and_any_place_give_a_place_inside_it(raw in "['\"]{0,4}[ -~\\n中]{0,12}['\"]{0,4}", value in ".{0,12}", a in 0usize..20, b in 0usize..20) {
            let span = span_in_file(&raw, &value, a..b);
            prop_assert!(span.start <= span.end && span.end <= raw.len());
        }

        #[test]
        fn any_value_that_toml_writes_is_found_again(value in ".{1,20}") {
            let raw = toml::Value::String(value.clone()).to_string();
            let places = places_of_bytes(&raw, &value);
            prop_assert!(places.is_some(), "{raw}");
        }
    }
}
