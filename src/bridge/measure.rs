//! Spans of time and sizes as an operator writes them: `30d`, `1h30m`, `5GB`.

use std::time::Duration;

const TIME_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// Bytes; kB are 1000 and KiB 1024, as disks and senders count them.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// Reads a span of time: whole numbers with units (`ms`, `s`, `m`, `h`, `d`, `w`), the largest first if there are several.
/// The error says what is wrong.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("`{text}` is no span of time; write it like `90s`, `5m`, `1h30m` or `30d`");
    let too_long = || format!("`{text}` is longer than can be counted");
    let mut millis: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (unit, after) = split(after, |c| c.is_ascii_alphabetic());
        let (_, scale) = TIME_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .filter(|_| !number.is_empty())
            .ok_or_else(wrong)?;
        let number: Option<u64> = number.parse().ok(); // digits, but too many of them
        let part = number.and_then(|number| number.checked_mul(*scale));
        let sum = part.and_then(|part| millis.checked_add(part));
        millis = sum.ok_or_else(too_long)?;
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a span of time as [`parse_time`] reads it: `1h30m`, `24h`, `30d`. A day or less is written in hours.
pub fn write_time(span: Duration) -> String {
    let mut millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let a_day_or_less = millis <= 86_400_000;
    for (unit, scale) in units.into_iter().skip(usize::from(a_day_or_less)) {
        let many = millis / scale;
        millis %= scale;
        if many > 0 {
            text.push_str(&format!("{many}{unit}"));
        }
    }
    match text.is_empty() {
        true => "0s".to_owned(),
        false => text,
    }
}

/// Reads a size in bytes: a whole number with a unit (`B`, `KB`, `MB`, `GB`, `TB`, or `KiB`, `MiB`, `GiB`).
/// The error says what is wrong.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write it like `500KB`, `25MB` or `5GB`");
    let (number, unit) = split(text.trim(), |c| c.is_ascii_digit());
    let unit = unit.trim().to_ascii_lowercase();
    let (_, scale) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(*scale).ok_or_else(wrong)
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_as_it_is_read() {
        for text in ["24h", "1h30m", "10s", "2d12h", "30d", "250ms", "0s"] {
            assert_eq!(write_time(parse_time(text).unwrap()), text);
        }
    }

    #[test]
    fn spans_of_time_read_as_operators_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1h30m", 5_400),
            ("30d", 2_592_000),
            ("1w", 604_800),
            ("2h 5s", 7_205),
        ] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        for text in [
            "",
            "5",
            "m",
            "5 minutes",
            "-5m",
            "5m!",
            "99999999999999999999s",
            "18446744073709551615w",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_time("18446744073709551615w").unwrap_err(),
            "`18446744073709551615w` is longer than can be counted"
        );
    }

    #[test]
    fn sizes_read_as_operators_write_them() {
        for (text, bytes) in [
            ("25MB", 25_000_000),
            ("5GB", 5_000_000_000),
            ("1 MiB", 1_048_576),
            ("12b", 12),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "5", "GB", "-1MB", "1.5GB", "99999999999999TB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
