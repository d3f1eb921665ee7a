//! Functions that turn values into words. What they give is escaped by the template's face like any other value.

use serde_json::Value;

use super::speak::Speaking;
use super::vocabulary::{Call, number_of, words};
use super::{Face, escape, plain};
use crate::bridge::auth::undo_percent;

/// How long an excerpt is when the template does not say, in characters.
const EXCERPT: usize = 300;
/// How much of a commit's hash people read.
const SHORT_SHA: usize = 7;
/// The longest text that may be put in by `replace`, in bytes: it may be put in very often.
const LONGEST_REPLACEMENT: usize = 1024;

pub(super) fn upper(call: &Call) -> Value {
    call.text(0).to_uppercase().into()
}

pub(super) fn lower(call: &Call) -> Value {
    call.text(0).to_lowercase().into()
}

pub(super) fn truncate(call: &Call) -> Value {
    cut(&call.text(0), call.size(1, EXCERPT)).into()
}

/// At most `most` characters; a longer text ends with `…`.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    // A joiner at the end would tie the ellipsis to a broken picture.
    let kept = kept.trim_end_matches(|sign: char| sign.is_whitespace() || sign == '\u{200d}');
    format!("{kept}…")
}

/// The last byte up to `most` at which the text may be cut.
pub(super) fn boundary(text: &str, most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    (0..=most)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

pub(super) fn first_line(call: &Call) -> Value {
    let text = call.text(0);
    let line = text.trim_start().lines().next().unwrap_or_default();
    line.trim_end().into()
}

pub(super) fn excerpt(call: &Call) -> Value {
    let text = plain::words_of_payload(&call.text(0));
    let own: Vec<String> = text
        .lines()
        .filter(|line| !is_aside(line))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    let text = match call.named("lines").and_then(number_of) {
        // `as` saturates.
        Some(lines) => own[..own.len().min(lines as usize)].join("\n"),
        None => own.join(" "),
    };
    let most = call.size(1, EXCERPT);
    if text.chars().nth(most).is_none() {
        return text.into();
    }
    // Prefer the end of a word, where there is one in the last quarter.
    let kept = cut(&text, most);
    let short = kept.trim_end_matches('…');
    match short.rfind([' ', '\n']) {
        Some(blank) if blank > short.len() * 3 / 4 => format!("{}…", &short[..blank]).into(),
        _ => kept.into(),
    }
}

/// What the writer does not say here: a quoted line, an item of a check list.
fn is_aside(line: &str) -> bool {
    let line = line.trim_start();
    ["> ", "- [ ] ", "- [x] "]
        .iter()
        .any(|aside| line.starts_with(aside))
}

pub(super) fn shortsha(call: &Call) -> Value {
    let sha: String = call.text(0).chars().take(SHORT_SHA).collect();
    sha.into()
}

pub(super) fn replace(call: &Call) -> Value {
    let (text, old, mut new) = (call.text(0), call.text(1), call.text(2));
    if old.is_empty() {
        return text.into();
    }
    new.truncate(boundary(&new, LONGEST_REPLACEMENT));
    text.replace(&old, &new).into()
}

pub(super) fn before(call: &Call) -> Value {
    let (text, mark) = (call.text(0), call.text(1));
    match text.split_once(&mark) {
        Some((before, _)) if !mark.is_empty() => before.into(),
        _ => text.into(),
    }
}

pub(super) fn after(call: &Call) -> Value {
    let (text, mark) = (call.text(0), call.text(1));
    match text.split_once(&mark) {
        Some((_, after)) if !mark.is_empty() => after.into(),
        _ => text.into(),
    }
}

pub(super) fn concat(call: &Call) -> Value {
    let parts: Vec<String> = (0..call.count()).map(|index| call.marked(index)).collect();
    // A sign that the template puts before a value stands for nothing where the value is absent.
    let is_idle = |index: usize| {
        call.is_written_out(index) && parts.get(index + 1).is_some_and(|next| next.is_empty())
    };
    let said = parts.iter().enumerate();
    let said = said.filter(|(index, _)| !is_idle(*index));
    said.map(|(_, part)| part.as_str())
        .collect::<String>()
        .into()
}

pub(super) fn join(call: &Call) -> Value {
    let between = if call.count() > 1 {
        call.marked(1)
    } else {
        ", ".to_owned()
    };
    let field = call.named("field").map(words);
    let say = |value: &Value| match &field {
        Some(field) => {
            let mut names = field.split('.');
            let found = names.try_fold(value, |value, name| value.get(name));
            words(found.unwrap_or(&Value::Null))
        }
        None => words(value),
    };
    let parts: Vec<String> = match call.value(0) {
        Value::Array(items) => items.iter().map(say).collect(),
        Value::Object(fields) => fields.values().map(say).collect(),
        other => vec![say(other)],
    };
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(&between).into()
}

pub(super) fn default(call: &Call) -> Value {
    (0..call.count())
        .map(|index| call.value(index))
        .find(|value| !is_empty(value))
        .cloned()
        .unwrap_or(Value::Null)
}

/// Absent, `""`, `[]` or `{}`; zero and false say something.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

pub(super) fn starts_with(call: &Call) -> Value {
    call.text(0).starts_with(&call.text(1)).into()
}

pub(super) fn contains(call: &Call) -> Value {
    let wanted = call.value(1);
    match call.value(0) {
        Value::Array(items) => items.contains(wanted).into(),
        Value::Object(fields) => fields.contains_key(&words(wanted)).into(),
        Value::Null => false.into(),
        _ => call.text(0).contains(&call.text(1)).into(),
    }
}

pub(super) fn take(call: &Call) -> Value {
    let most = call.size(1, usize::MAX);
    match call.value(0) {
        Value::Array(items) => items.iter().take(most).cloned().collect(),
        _ => Value::Array(Vec::new()),
    }
}

/// `where`: the items of a list whose field has that value.
pub(super) fn filter(call: &Call) -> Value {
    let (field, wanted) = (call.text(1), call.value(2));
    let fits = |item: &&Value| item.get(field.as_str()).unwrap_or(&Value::Null) == wanted;
    match call.value(0) {
        Value::Array(items) => items.iter().filter(fits).cloned().collect(),
        _ => Value::Array(Vec::new()),
    }
}

pub(super) fn minus(call: &Call) -> Value {
    match (call.number(0), call.number(1)) {
        (Some(a), Some(b)) => number_value(a - b),
        _ => Value::Null,
    }
}

/// A whole number stays one: `3`, not `3.0`.
fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

pub(super) fn plural(call: &Call) -> Value {
    let Some(count) = call.number(0) else {
        return Value::Null;
    };
    let word = if count == 1.0 {
        call.marked(1)
    } else {
        call.marked(2)
    };
    format!("{} {word}", spell(count, 2)).into()
}

pub(super) fn number(call: &Call) -> Value {
    let Some(number) = call.number(0) else {
        return call.text(0).into();
    };
    match call.named("digits").and_then(number_of) {
        Some(digits) => spell(number, digits as usize).into(),
        None => spell(number, natural_digits(number)).into(),
    }
}

/// Two digits behind the point, more where the number would become 0, none where it is large.
fn natural_digits(number: f64) -> usize {
    match number.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 0.1 => 2,
        _ => 4,
    }
}

/// A number with commas between thousands and at most `digits` behind the point.
pub(super) fn spell(number: f64, digits: usize) -> String {
    if number.abs() >= 1e15 {
        return format!("{number:e}");
    }
    let text = format!("{:.*}", digits.min(9), number.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    if number < 0.0 && out.chars().any(|digit| ('1'..='9').contains(&digit)) {
        out.insert(0, '-');
    }
    out
}

pub(super) fn json(call: &Call) -> Value {
    let value = call.value(0);
    let text = if call.named("pretty").is_some_and(|pretty| *pretty == true) {
        serde_json::to_string_pretty(value).unwrap_or_default()
    } else {
        value.to_string()
    };
    match call.face {
        // In a JSON template the value itself is wanted, not a text that shows it.
        Face::Json => escape::ready(&text).into(),
        Face::Markdown | Face::Text => text.into(),
    }
}

pub(super) fn url_encode(call: &Call) -> Value {
    let mut out = String::new();
    for byte in call.text(0).bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.into()
}

/// What comes out of an escape may be any sign, so it is made harmless again.
pub(super) fn url_decode(call: &Call) -> Value {
    let bytes = undo_percent(call.text(0).as_bytes());
    escape::harmless(&String::from_utf8_lossy(&bytes)).into()
}

/// `t`: words of a locale with their places filled.
pub(super) fn translate(call: &Call, speaking: &Speaking) -> Value {
    let key = call.text(0);
    let mut values = call.all_named();
    let count = call.named("count").and_then(number_of);
    if let (Some(count), Some(value)) =
        (count, values.iter_mut().find(|(name, _)| *name == "count"))
    {
        value.1 = spell(count, 2);
    }
    speaking.say(&key, count, &values).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_like_numbers() {
        for (number, digits, text) in [
            (1_234_567.0, 0, "1,234,567"),
            (0.938_473, 2, "0.94"),
            (12.0, 2, "12"),
            (-0.001, 2, "0"),
            (-1234.5, 1, "-1,234.5"),
            (1e300, 2, "1e300"),
        ] {
            assert_eq!(spell(number, digits), text);
        }
    }

    #[test]
    fn a_cut_text_ends_with_an_ellipsis_and_keeps_its_length() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("好的好的", 3), "好的…");
        assert_eq!(cut("abc", 0), "…");
    }
}
