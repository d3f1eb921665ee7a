//! The fields of an event are read by their type: whatever an expression gives becomes a kind, a line, a link, a time.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::bridge::expression::Val;
use crate::bridge::template::harmless;
use crate::bridge::words;
use crate::model::{Severity, State};

/// The kind of what names none.
const OTHER: &str = "other";
/// A kind is the name of a template's file: short enough for every file system, with room for endings.
const KIND: usize = 120;
/// A title is read in a chat: characters.
const TITLE: usize = 200;
/// Longer links are no links for people; browsers cut there too. In bytes.
const LINK: usize = 2048;
/// Before this moment (1971) no sender means what it says: it is the zero of some clock or language.
const UNSET: i64 = 365 * 86_400;

/// Dotted words, safe as a file's name: each part of a list lower case, `camelCase` as `camel_case`, `:` and `/` as
/// `.`, other signs as `_`; what is empty is left out.
pub(super) fn kind(value: &Val<'_>) -> String {
    let mut kind = String::new();
    for part in value.to_texts() {
        for word in part.split([':', '/', '.']) {
            let word = snake(word);
            if word.is_empty() {
                continue;
            }
            if !kind.is_empty() {
                kind.push('.');
            }
            kind.push_str(&word);
        }
    }
    if let Some((at, _)) = kind.char_indices().find(|(at, c)| at + c.len_utf8() > KIND) {
        kind.truncate(at);
        kind.truncate(kind.trim_end_matches(['.', '_']).len());
    }
    match kind.is_empty() {
        true => OTHER.to_owned(),
        false => kind,
    }
}

fn snake(word: &str) -> String {
    let mut snake = String::with_capacity(word.len() + 4);
    let mut before: Option<char> = None;
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() {
            let begins = c.is_uppercase()
                && before.is_some_and(|b| {
                    b.is_lowercase()
                        || b.is_numeric()
                        || (b.is_uppercase()
                            && chars.peek().is_some_and(|next| next.is_lowercase()))
                });
            if begins && !snake.ends_with('_') {
                snake.push('_');
            }
            snake.extend(c.to_lowercase().filter(|c| c.is_alphanumeric()));
        } else if !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
        before = Some(c);
    }
    snake.truncate(snake.trim_end_matches('_').len());
    snake
}

/// A text, or the texts of a list joined by a blank; every run of blanks and line ends is one blank. What misleads the eye is
/// harmless in it, as in messages: the line goes into logs and lists too.
pub(super) fn line(value: &Val<'_>) -> String {
    let mut line = String::new();
    for text in value.to_texts() {
        for word in text.split(char::is_whitespace) {
            let word = harmless(word);
            if word.is_empty() {
                continue;
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    line
}

/// A line of at most 200 characters.
pub(super) fn title(value: &Val<'_>) -> String {
    let mut title = line(value);
    if title.chars().nth(TITLE).is_some() {
        let kept = title.char_indices().nth(TITLE - 1);
        title.truncate(kept.map_or(0, |(at, _)| at));
        title.truncate(title.trim_end().len());
        title.push('…');
    }
    title
}

/// An http or https address, else empty.
pub(super) fn link(value: &Val<'_>) -> String {
    let text = value.as_text().unwrap_or_default().trim();
    let known = ["http://", "https://"].into_iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.len() > scheme.len()
    });
    let plain =
        !text.chars().any(|c| c.is_whitespace() || c.is_control()) && harmless(text) == text;
    match known && plain && text.len() <= LINK {
        true => text.to_owned(),
        false => String::new(),
    }
}

/// The worst level among the words; info where none is known. The second value says what could not be read.
pub(super) fn severity(value: &Val<'_>) -> (Severity, Option<&'static str>) {
    let mut worst: Option<Severity> = None;
    let mut refused = None;
    value.each_leaf(&mut |leaf| match leaf.as_text() {
        Some("") => (),
        Some(word) => match words::severity(word) {
            Some(level) => worst = worst.max(Some(level)),
            None => refused = refused.or(Some("a word that is no known severity")),
        },
        None if leaf.is_empty() => (),
        None => refused = Some("only words are severities: one sender's 4 is another's 1"),
    });
    match worst {
        Some(level) => (level, None),
        None => (Severity::Info, refused),
    }
}

/// What a word makes of the subject; of a list the first word counts.
pub(super) fn state(value: &Val<'_>) -> Option<State> {
    value.to_texts().iter().find_map(|word| words::state(word))
}

/// RFC 3339 and its near misses, RFC 2822, or a number of s, ms, µs or ns since 1970 by its size. `None` for anything
/// else and for the zeros of clocks and languages (1970, the year 1).
pub(super) fn time(value: &Val<'_>) -> Option<Timestamp> {
    let time = match value {
        Val::Int(n) => since_1970(i64::try_from(*n).ok()?)?,
        Val::Float(seconds) => fraction(*seconds)?,
        other => {
            let text = other.as_text()?.trim();
            match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(n), _) => since_1970(n)?,
                (_, Ok(seconds)) => fraction(seconds)?,
                _ => written(text)?,
            }
        }
    };
    (time.as_second() > UNSET).then_some(time)
}

/// A number's unit shows in its size: until the year 5138, seconds stay below 10¹¹.
fn since_1970(n: i64) -> Option<Timestamp> {
    if n < 100_000_000_000 {
        Timestamp::from_second(n).ok()
    } else if n < 100_000_000_000_000 {
        Timestamp::from_millisecond(n).ok()
    } else if n < 100_000_000_000_000_000 {
        Timestamp::from_microsecond(n).ok()
    } else {
        Timestamp::from_nanosecond(n.into()).ok()
    }
}

fn fraction(n: f64) -> Option<Timestamp> {
    if !(0.0..1e18).contains(&n) {
        return None;
    }
    if n >= 1e11 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "within 10¹⁸; parts of a millisecond do not count"
        )]
        return since_1970(n as i64);
    }
    let since = SignedDuration::try_from_secs_f64(n).ok()?;
    Timestamp::UNIX_EPOCH.checked_add(since).ok()
}

fn written(text: &str) -> Option<Timestamp> {
    /// No way to write a time is longer, in bytes.
    const LONGEST: usize = 64;
    if text.len() > LONGEST {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(zoned) = rfc2822::parse(text) {
        return Some(zoned.timestamp());
    }
    // `2026-11-23 12:00:00 UTC`, `2026-11-23 12:00:00 +0200`, `2026.11.23 12:00:00`: no zone means UTC.
    let text = ["UTC", "GMT", "Z", "z"]
        .into_iter()
        .find_map(|zone| text.strip_suffix(zone))
        .unwrap_or(text)
        .trim_end();
    let mut text = text.to_owned();
    let dotted = text
        .get(..10)
        .is_some_and(|date| date.split('.').count() == 3);
    if dotted {
        text = text.replacen('.', "-", 2);
    }
    if let Some(blank) = text.rfind(' ')
        && text[blank + 1..].starts_with(['+', '-'])
    {
        text.remove(blank);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let time = text.parse::<DateTime>().ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of<T>(read: fn(&Val<'_>) -> T, value: Value) -> T {
        read(&Val::from(&value))
    }

    #[test]
    fn a_kind_is_dotted_words_and_safe_as_a_file_name() {
        for (value, expected) in [
            (json!(["pull_request", "opened"]), "pull_request.opened"),
            (
                json!("pullRequest:mergeQueued"),
                "pull_request.merge_queued",
            ),
            (json!("HTTPError"), "http_error"),
            (
                json!(["Merge Request Hook", null, "", "update"]),
                "merge_request_hook.update",
            ),
            (json!("diagnostics:pr:merged"), "diagnostics.pr.merged"),
            (json!("../../etc/passwd"), "etc.passwd"),
            (json!("FIRING!! "), "firing"),
            (json!(["v2Beta", 3]), "v2_beta.3"),
            (json!("告警"), "告警"),
            (json!(null), "other"),
            (json!("\u{0}/.."), "other"),
            (json!({"a": 1}), "other"),
        ] {
            assert_eq!(of(kind, value.clone()), expected, "{value}");
        }
        assert!(of(kind, json!("界".repeat(200))).len() <= KIND);
    }

    #[test]
    fn a_title_is_one_line_of_at_most_200_characters() {
        assert_eq!(
            of(
                title,
                json!(["acme/web", "", null, "#12", "a\r\n  b\u{0}c\u{1b}[31m"])
            ),
            "acme/web #12 a b\u{fffd}c\u{fffd}[31m"
        );
        assert_eq!(
            of(title, json!("a\u{202e}b \u{200b} c\u{2066}")),
            "a\u{fffd}b c\u{fffd}"
        );
        assert_eq!(of(title, json!("字".repeat(300))).chars().count(), TITLE);
        assert_eq!(of(title, json!("x".repeat(200))), "x".repeat(200));
    }

    #[test]
    fn a_link_is_http_or_https_or_nothing() {
        assert_eq!(
            of(link, json!(" HTTPS://x.example/a?b ")),
            "HTTPS://x.example/a?b"
        );
        for other in [
            "javascript:alert(1)",
            "https://",
            "x.example",
            "http://a b",
            "https://x.example/\u{202e}moc",
            "https://x.example/\u{200b}",
            "é",
            "",
        ] {
            assert_eq!(of(link, json!(other)), "", "{other}");
        }
        assert_eq!(of(link, json!(["https://x.example"])), "");
    }

    #[test]
    fn of_severities_the_worst_known_one_wins() {
        for (value, level) in [
            (json!("Critical"), Severity::Critical),
            (json!(["low", ["major", null], "low"]), Severity::Error),
            (json!([]), Severity::Info),
            (json!("deployment"), Severity::Info),
            (json!(4), Severity::Info),
            (json!([4, "warning"]), Severity::Warning),
        ] {
            assert_eq!(of(severity, value.clone()).0, level, "{value}");
        }
        assert!(of(severity, json!(4)).1.is_some());
        assert!(of(severity, json!("")).1.is_none());
    }

    #[test]
    fn times_are_read_as_senders_write_them() {
        let noon = "2026-11-23T12:00:00Z".parse::<Timestamp>().unwrap();
        for value in [
            json!("2026-11-23T12:00:00Z"),
            json!("2026-11-23T14:00:00+02:00"),
            json!("2026-11-23T12:00:00.000+0000"),
            json!("2026-11-23 12:00:00"),
            json!("2026-11-23 12:00:00 UTC"),
            json!("2026-11-23 14:00:00 +0200"),
            json!("2026-11-23T12:00:00"),
            json!("2026.11.23 12:00:00"),
            json!("2026-11-23T12:00Z"),
            json!("Mon, 23 Nov 2026 12:00:00 +0000"),
            json!(1_795_435_200),
            json!("1795435200"),
            json!(1_795_435_200_000_i64),
            json!(1_795_435_200_000_000_i64),
            json!(1_795_435_200_000_000_000_i64),
            json!(1_795_435_200.0),
            json!("1795435200.000"),
        ] {
            assert_eq!(of(time, value.clone()), Some(noon), "{value}");
        }
        for value in [
            json!(null),
            json!(""),
            json!(0),
            json!("0001-01-01T00:00:00Z"),
            json!("soon"),
            json!(-5),
            json!(i64::MIN),
            json!(1e300),
            json!("2026-13-45"),
            json!("é23.11.2026"),
            json!(["2026-11-23T12:00:00Z"]),
        ] {
            assert_eq!(of(time, value.clone()), None, "{value}");
        }
    }
}
