//! Moments and spans of time as people say them, in the message's time zone and language.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::speak::Speaking;
use super::vocabulary::{Call, number_of};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// `14:05` on the day of the message, `23 Nov 14:05` in its year, else with the year. What is no moment is shown as it is.
pub(super) fn time(call: &Call, speaking: &Speaking) -> Value {
    match instant(call.value(0)) {
        Some(moment) => say(speaking, moment, true).into(),
        None => call.text(0).into(),
    }
}

/// `23 Nov`, with the year where it is another.
pub(super) fn date(call: &Call, speaking: &Speaking) -> Value {
    match instant(call.value(0)) {
        Some(moment) => say(speaking, moment, false).into(),
        None => call.text(0).into(),
    }
}

pub(super) fn say(speaking: &Speaking, moment: Timestamp, with_clock: bool) -> String {
    let here = moment.to_zoned(speaking.time_zone().clone());
    let now = speaking.now().to_zoned(speaking.time_zone().clone());
    let months = speaking.say("time.months", None, &[]);
    let month = usize::try_from(here.month() - 1)
        .ok()
        .and_then(|index| months.split_whitespace().nth(index))
        .unwrap_or_default();
    let values = [
        ("clock", format!("{:02}:{:02}", here.hour(), here.minute())),
        ("day", here.day().to_string()),
        ("month", month.to_owned()),
        ("year", here.year().to_string()),
    ];
    let key = match with_clock {
        true if here.date() == now.date() => "time.same_day",
        true if here.year() == now.year() => "time.same_year",
        true => "time.other_year",
        false if here.year() == now.year() => "date.same_year",
        false => "date.other_year",
    };
    speaking.say(key, None, &values)
}

/// `5 minutes ago`, counted back from the message; a moment to come is shown as a time.
pub(super) fn ago(call: &Call, speaking: &Speaking) -> Value {
    let Some(moment) = instant(call.value(0)) else {
        return call.text(0).into();
    };
    let seconds = speaking
        .now()
        .as_second()
        .saturating_sub(moment.as_second());
    if seconds < -MINUTE {
        return say(speaking, moment, true).into();
    }
    let (key, count) = match seconds {
        ..MINUTE => return speaking.say("ago.now", None, &[]).into(),
        MINUTE..HOUR => ("ago.minutes", seconds / MINUTE),
        HOUR..DAY => ("ago.hours", seconds / HOUR),
        _ => ("ago.days", seconds / DAY),
    };
    let values = [("count", count.to_string())];
    speaking.say(key, Some(count as f64), &values).into()
}

/// `2 h 5 min`: between two moments, or a number of seconds. Empty when one of them is missing or the span is negative.
pub(super) fn duration(call: &Call, speaking: &Speaking) -> Value {
    let seconds = if call.count() > 1 {
        match (instant(call.value(0)), instant(call.value(1))) {
            (Some(from), Some(to)) => to.as_second().saturating_sub(from.as_second()),
            _ => return Value::Null,
        }
    } else {
        match call.number(0) {
            // `as` saturates.
            Some(seconds) => seconds.round() as i64,
            None => return Value::Null,
        }
    };
    if seconds < 0 {
        return Value::Null;
    }
    let parts = [
        ("duration.days", seconds / DAY),
        ("duration.hours", seconds % DAY / HOUR),
        ("duration.minutes", seconds % HOUR / MINUTE),
        ("duration.seconds", seconds % MINUTE),
    ];
    // Two units say enough, and no unit is skipped between them.
    let first = parts
        .iter()
        .position(|(_, count)| *count > 0)
        .unwrap_or(parts.len() - 1);
    let said: Vec<String> = parts
        .iter()
        .skip(first)
        .take(2)
        .filter(|(_, count)| *count > 0 || first == parts.len() - 1)
        .map(|(key, count)| speaking.say(key, Some(*count as f64), &[("count", count.to_string())]))
        .collect();
    said.join(" ").into()
}

/// The moment that a value means: RFC 3339 and near misses, or a number of seconds, milli-, micro- or nanoseconds by its
/// size. Years before 2 are how Go writes "no time".
pub(super) fn instant(value: &Value) -> Option<Timestamp> {
    let moment = match value {
        Value::String(text) => written(text.trim()),
        _ => None,
    };
    let moment = moment.or_else(|| counted(number_of(value)?))?;
    let first = jiff::civil::date(2, 1, 1).at(0, 0, 0, 0);
    (TimeZone::UTC.to_datetime(moment) >= first).then_some(moment)
}

fn written(text: &str) -> Option<Timestamp> {
    let bare = text
        .trim_end_matches("UTC")
        .trim_end_matches("GMT")
        .trim_end();
    text.parse().or_else(|_| bare.parse()).ok().or_else(|| {
        let local: DateTime = bare.parse().ok()?;
        Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}

fn counted(number: f64) -> Option<Timestamp> {
    // The sizes part the units for every moment between 1973 and 5138.
    let nanos_each = match number.abs() {
        size if size < 1e8 => return None,
        size if size < 1e11 => 1e9,
        size if size < 1e14 => 1e6,
        size if size < 1e17 => 1e3,
        _ => 1.0,
    };
    Timestamp::from_nanosecond((number * nanos_each) as i128).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn moments_are_read_as_senders_write_them() {
        for value in [
            json!("2026-11-23T14:05:00Z"),
            json!("2026-11-23T15:05:00+01:00"),
            json!("2026-11-23 14:05:00 UTC"),
            json!("2026-11-23 14:05:00"),
            json!("2026-11-23T14:05:00.000+0000"),
            json!(1_795_442_700),
            json!("1795442700"),
            json!(1_795_442_700_000_i64),
        ] {
            assert_eq!(
                instant(&value).map(|moment| moment.as_second()),
                Some(1_795_442_700),
                "{value}"
            );
        }
        for value in [
            json!("0001-01-01T00:00:00Z"),
            json!("soon"),
            json!(12),
            json!(null),
            json!(1e300),
        ] {
            assert_eq!(instant(&value), None, "{value}");
        }
    }
}
