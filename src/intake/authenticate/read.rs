//! What a signature, a token or a timestamp says at its place.

use std::borrow::Cow;

use http::header::AUTHORIZATION;

use super::find::{find, trim_blanks, undo};
use super::refusal::{Missing, Refusal};
use crate::bridge::auth::{Algorithm, Encoding, Place, Reads, Shown, SignedTime, Unit};
use crate::intake::Request;
use crate::model::Timestamp;

/// What was shown: at least one proof.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub proofs: Vec<Proof>,
    pub timestamp: Option<Vec<u8>>,
    pub headers: Option<Vec<u8>>,
}

/// A signature or a token, decoded.
#[derive(Debug)]
pub(super) struct Proof {
    pub bytes: Vec<u8>,
    /// Chosen by `{algorithm}`.
    pub algorithm: Option<Algorithm>,
}

/// Reads the values at a place by the first format that fits.
pub(super) fn read(
    shown: &Shown,
    place: &Place,
    values: &[Cow<'_, [u8]>],
    algorithms: &[Algorithm],
) -> Result<Read, Refusal> {
    // A header is the one place where percent-encoding is an encoding of the signature and not of the place.
    let percent = matches!(place, Place::Header(_));
    for format in &shown.formats {
        let mut read = Read::default();
        for item in values
            .iter()
            .flat_map(|value| items(value, shown.separator.as_deref()))
        {
            for found in format.iter().filter_map(|pattern| pattern.fit(item)) {
                read.note(&found, algorithms, percent, place)?;
            }
        }
        if !read.proofs.is_empty() {
            return Ok(read);
        }
    }
    let separator = shown.separator.as_deref().unwrap_or("");
    let formats: Vec<String> = shown
        .formats
        .iter()
        .map(|format| {
            let items: Vec<String> = format.iter().map(ToString::to_string).collect();
            items.join(separator)
        })
        .collect();
    Err(Refusal::Unreadable {
        place: place.to_string(),
        formats: formats.join("` or `"),
    })
}

/// The items of a value: all of it, or what stands between the separators without the blanks around it.
fn items<'v>(value: &'v [u8], separator: Option<&str>) -> Vec<&'v [u8]> {
    let Some(separator) = separator.map(str::as_bytes) else {
        return vec![value];
    };
    let mut items = Vec::new();
    let mut rest = value;
    while let Some(at) = rest
        .windows(separator.len())
        .position(|part| part == separator)
    {
        items.push(trim_blanks(&rest[..at]));
        rest = &rest[at + separator.len()..];
    }
    items.push(trim_blanks(rest));
    items
}

impl Read {
    /// Notes what one item says. An item whose signature does not decode says nothing.
    fn note(
        &mut self,
        found: &[(Reads, &[u8])],
        algorithms: &[Algorithm],
        percent: bool,
        place: &Place,
    ) -> Result<(), Refusal> {
        let mut algorithm = None;
        for (name, text) in found {
            if *name == Reads::Algorithm {
                let known = |known: &&Algorithm| known.word().as_bytes() == *text;
                match algorithms.iter().find(known) {
                    Some(known) => algorithm = Some(*known),
                    None => return Ok(()),
                }
            }
        }
        for (name, text) in found {
            match name {
                Reads::Signature(encoding) => {
                    let text = match encoding {
                        Encoding::Base64 if percent => undo(text),
                        _ => Cow::Borrowed(*text),
                    };
                    if let Some(bytes) = encoding.decode(&text) {
                        self.proofs.push(Proof { bytes, algorithm });
                    }
                }
                Reads::Token if text.is_empty() => {}
                Reads::Token => self.proofs.push(Proof {
                    bytes: text.to_vec(),
                    algorithm: None,
                }),
                Reads::Timestamp => once(&mut self.timestamp, text, "the timestamp", place)?,
                Reads::Headers => once(&mut self.headers, text, "the list of headers", place)?,
                Reads::Algorithm => {}
            }
        }
        Ok(())
    }
}

/// Keeps a value that may be said again, but only with the same words.
fn once(kept: &mut Option<Vec<u8>>, text: &[u8], what: &str, place: &Place) -> Result<(), Refusal> {
    match kept {
        Some(kept) if kept != text => Err(Refusal::Repeated(format!("{what} in {place}"))),
        _ => {
            *kept = Some(text.to_vec());
            Ok(())
        }
    }
}

/// What stands behind the scheme's name in `Authorization`; `None` when the header is absent or of another scheme. An
/// empty header is a bad value of whatever is asked first, so it never falls through.
pub(super) fn credentials<'r>(
    request: &'r Request,
    scheme: &str,
) -> Result<Option<&'r [u8]>, Refusal> {
    let place = Place::Header(AUTHORIZATION);
    let lines: Vec<&[u8]> = request
        .headers
        .get_all(AUTHORIZATION)
        .iter()
        .map(|line| trim_blanks(line.as_bytes()))
        .collect();
    let cut = |line: &&'r [u8]| -> Option<&'r [u8]> {
        let end = line
            .iter()
            .position(|&byte| byte == b' ')
            .unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let ours = name.eq_ignore_ascii_case(scheme.as_bytes()) || name.is_empty();
        ours.then(|| trim_blanks(rest))
    };
    let Some(rest) = lines.iter().find_map(cut) else {
        return Ok(None);
    };
    if lines.len() > 1 {
        return Err(Refusal::Repeated(place.to_string()));
    }
    if rest.is_empty() {
        return Err(Refusal::Unreadable {
            place: place.to_string(),
            formats: format!("{scheme} …"),
        });
    }
    Ok(Some(rest))
}

/// `user:password` behind `Basic` (RFC 7617).
pub(super) fn basic(credentials: &[u8]) -> Option<Vec<u8>> {
    Encoding::Base64.decode(credentials)
}

/// The timestamp's text, once it is near enough to `now`.
pub(super) fn time<'r>(
    rule: &SignedTime,
    request: &'r Request,
    in_format: Option<&'r [u8]>,
    now: Timestamp,
) -> Result<Cow<'r, [u8]>, Refusal> {
    let text = match &rule.from {
        None => Cow::Borrowed(in_format.ok_or_else(|| {
            Refusal::Absent(Missing(vec!["the timestamp in the signature".to_owned()]))
        })?),
        Some(place) => {
            let found = find(request, place);
            let mut values = found.map_err(|_| Refusal::NotAText(place.to_string()))?;
            let value = values.pop();
            if !values.is_empty() {
                return Err(Refusal::Repeated(place.to_string()));
            }
            value.ok_or_else(|| Refusal::Absent(Missing::at(place)))?
        }
    };
    // The clock is cut to the timestamp's own unit, so that the limit is reached at a whole one.
    let (signed, now) = match rule.unit {
        Unit::Seconds => {
            let signed = digits(&text).and_then(|n| Timestamp::from_second(n).ok());
            (signed, Timestamp::from_second(now.as_second()))
        }
        Unit::Milliseconds => {
            let signed = digits(&text).and_then(|n| Timestamp::from_millisecond(n).ok());
            (signed, Timestamp::from_millisecond(now.as_millisecond()))
        }
        Unit::Rfc3339 => {
            let text = std::str::from_utf8(&text).ok();
            (text.and_then(|text| text.parse().ok()), Ok(now))
        }
    };
    let expected = match rule.unit {
        Unit::Seconds => "a number of seconds",
        Unit::Milliseconds => "a number of milliseconds",
        Unit::Rfc3339 => "a time by RFC 3339",
    };
    let (Some(signed), Ok(now)) = (signed, now) else {
        return Err(Refusal::NoTime(expected));
    };
    let off = now.duration_since(signed).unsigned_abs();
    if off > rule.within {
        return Err(Refusal::Time {
            off,
            ahead: signed > now,
            within: rule.within,
        });
    }
    Ok(text)
}

/// A number of nothing but digits: no sign, no blank.
fn digits(text: &[u8]) -> Option<i64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}
