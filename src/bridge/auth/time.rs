//! `timestamp`: when a request was signed, and that it really was.

use std::time::Duration;

use super::super::measure::parse_time;
use super::pattern::{Holds, Piece, Template};
use super::place::Place;
use super::written::Reader;
use super::{SignedTime, Unit};

/// Clocks are compared in seconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// So long from now in both directions is two weeks: less than ids and signed times are remembered, by which a copied request
/// is known.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const LIMITS: &str = "`within` is at least `1s` and at most `7d`; `5m` is usual";

/// Reads `timestamp`, and makes sure that a timestamp is signed wherever there is one.
pub(super) fn timestamp(
    reader: &mut Reader<'_>,
    (in_a_format, in_all_formats): (bool, bool),
    signed: &[Template],
    built: &[&Template],
) -> Option<SignedTime> {
    let named = |template: &&Template| template.holds(&Holds::Timestamp);
    let used = in_a_format || signed.iter().any(|t| named(&t)) || built.iter().any(named);
    if !reader.has("timestamp") {
        if used {
            let help = "`timestamp = { from = \"header:NAME\", within = \"5m\" }`";
            reader.missing(
                "`{timestamp}` stands here without a `timestamp` that says `within`",
                help,
            );
        }
        return None;
    }
    let (table, span) = reader.table("timestamp")?;
    let mut inner = reader.inner("timestamp", table, span);
    inner.only(&["from", "unit", "within"], "`timestamp`");
    let from = inner
        .text("from")
        .and_then(|text| match Place::parse(&text.text) {
            Ok(place) => Some(place),
            Err(flaw) => {
                inner.wrong("timestamp", text.place(flaw));
                None
            }
        });
    let unit = inner
        .text("unit")
        .map_or(Some(Unit::Seconds), |text| match text.text.as_str() {
            "s" => Some(Unit::Seconds),
            "ms" => Some(Unit::Milliseconds),
            "rfc3339" => Some(Unit::Rfc3339),
            _ => {
                inner.wrong("timestamp", text.flaw("the unit is `s`, `ms` or `rfc3339`"));
                None
            }
        });
    let within = inner.text("within").and_then(|text| {
        let why = match parse_time(&text.text) {
            Ok(span) if span < SHORTEST => format!("`{}` is too short", text.text),
            Ok(span) if span > LONGEST => format!("`{}` is too long", text.text),
            Ok(span) => return Some(span),
            Err(why) => why,
        };
        inner.wrong("timestamp", text.flaw(why).help(LIMITS));
        None
    });
    if !inner.has("within") {
        inner.missing(
            "`within` is missing: how old may a request be?",
            "`within = \"5m\"` is usual",
        );
    }
    if inner.has("from") && in_a_format {
        inner.missing(
            "the timestamp stands in `format` and has a `from` besides",
            "leave `from` out, or `{timestamp}` in `format`",
        );
    } else if !inner.has("from") && !in_all_formats {
        inner.missing(
            "the timestamp stands nowhere",
            "`from = \"header:NAME\"` says where, or `{timestamp}` in every `format`",
        );
    }
    let by_key = !built.is_empty() && built.iter().all(named);
    let covered = |template: &Template| {
        template.holds(&Holds::Timestamp)
            || from.as_ref().is_some_and(|place| covers(template, place))
    };
    if !by_key && !signed.iter().all(covered) {
        inner.missing(
            "the timestamp is not signed, so it would protect nothing",
            "`signed = \"{timestamp}.{body}\"` or the like, as the sender does it",
        );
    }
    reader.mistakes.append(&mut inner.mistakes);
    Some(SignedTime {
        from,
        unit: unit?,
        within: within?,
    })
}

/// Whether a change of what stands at `place` changes what `template` builds.
fn covers(template: &Template, place: &Place) -> bool {
    template.pieces().iter().any(|piece| match (piece, place) {
        (Piece::Name(Holds::At(signed)), place) => signed == place,
        (Piece::Name(Holds::Body), Place::Body(_) | Place::Form(_)) => true,
        (Piece::Name(Holds::Url), Place::Query(_) | Place::Path) => true,
        _ => false,
    })
}
