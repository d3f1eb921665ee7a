//! Mistakes about what is signed and when: another pattern, key and message swapped, a clock, a unit.

use std::time::Duration;

use http::header::HOST;

use super::words::Cause;
use super::{Attempt, Refusal, Surroundings, Tried, first_present, signed_and_when};
use crate::bridge::auth::{Hmac, Holds, KeyForm, Piece, Place, Scheme, SignedTime, Template, Unit};
use crate::intake::authenticate::find::find;
use crate::intake::authenticate::read;
use crate::intake::form;
use crate::model::Timestamp;

/// What senders sign. `<time>`, `<id>` and `<host>` stand for what the request has of that kind.
const PATTERNS: [&str; 35] = [
    "{body}",
    "<time>.{body}",
    "<time>{body}",
    "<time>:{body}",
    "<time>,{body}",
    "<time>\n{body}",
    "v0:<time>:{body}",
    "v1:<time>:{body}",
    "{body}<time>",
    "{body}.<time>",
    "{body}:<time>",
    "<id>.<time>.{body}",
    "<time>.<id>.{body}",
    "<id>{body}",
    "<id>.{body}",
    "<id><time>{body}",
    "{url}{body}",
    "{body}{url}",
    "<host>{url}{body}",
    "<host>{url}",
    "{body}<host>{url}",
    "{method}{url}{body}",
    "{method}\n{url}\n{body}",
    "{method}\n{url}\n<time>\n{body}",
    "<time>{method}{url}{body}",
    "{method}{url}<time>{body}",
    "{method}<host>{url}{body}",
    "{method}{body}",
    "{url}",
    "<time>",
    "<time>\n{secret}",
    "<time>{secret}",
    "{secret}{body}",
    "{body}{secret}",
    "<id>",
];

/// A form may have many fields; senders sign one of the first.
const FIELDS: usize = 4;

/// Whole hours within which local time is taken for UTC, and how near to the hour it then is, in seconds.
const ZONES: u64 = 14;
const NEAR: u64 = 60;

/// The attempt with a time that is right, and what was wrong with it.
pub(super) fn with_its_time(attempt: Attempt) -> (Vec<Cause>, Attempt) {
    let refusal = match attempt.ask() {
        Err(refusal) if is_about_time(&refusal) => refusal,
        _ => return (Vec::new(), attempt),
    };
    for unit in [Unit::Seconds, Unit::Milliseconds, Unit::Rfc3339] {
        let Some((asked, other)) = with_rule(&attempt, |rule| rule.unit = unit) else {
            continue;
        };
        let fits = |asked: Result<bool, Refusal>| !matches!(asked, Err(r) if is_about_time(&r));
        if asked.unit != unit && fits(other.ask()) {
            let detail = format!("{} in place of {}", name_of(unit), name_of(asked.unit));
            return (vec![Cause::proven("timestamp-unit", detail)], other);
        }
    }
    let Refusal::Time { off, ahead, .. } = refusal else {
        return (Vec::new(), attempt);
    };
    let Some((_, timeless)) = with_rule(&attempt, |rule| rule.within = Duration::MAX) else {
        return (Vec::new(), attempt);
    };
    let hours = (off.as_secs() + NEAR) / 3600;
    let near = off.as_secs().abs_diff(hours * 3600) <= NEAR;
    let cause = match (1..=ZONES).contains(&hours) && near {
        true => {
            let direction = if ahead { "ahead" } else { "behind" };
            Cause::proven("clock-zone", format!("{hours} h {direction}"))
        }
        false => Cause::proven("clock", refusal.to_string()),
    };
    (vec![cause], timeless)
}

fn is_about_time(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Time { .. } | Refusal::NoTime(_))
}

pub(super) fn name_of(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "seconds",
        Unit::Milliseconds => "milliseconds",
        Unit::Rfc3339 => "RFC 3339",
    }
}

/// The timestamp of a request as it stands there, and the unit that is asked for; `None` where there is not one.
pub(super) fn time_shown(attempt: &Attempt) -> Option<(String, Unit)> {
    let signing = attempt.way.scheme.signing()?;
    let rule = signing.timestamp?;
    let text = match &rule.from {
        Some(place) => find(&attempt.request, place).ok()?.pop()?.into_owned(),
        None => {
            let (place, values) = first_present(signing.signature, &attempt.request).ok()??;
            let read = read::read(signing.signature, place, &values, signing.algorithms);
            read.ok()?.timestamp?
        }
    };
    Some((String::from_utf8(text).ok()?, rule.unit))
}

/// The units of numbers, by how many digits a moment of our days has in them: its name, and how many make a second.
const UNITS: [(usize, &str, i64); 4] = [
    (11, "seconds", 1),
    (14, "milliseconds", 1_000),
    (17, "microseconds", 1_000_000),
    (19, "nanoseconds", 1_000_000_000),
];

/// In which unit a number is a moment of our days.
pub(super) fn unit_by_length(text: &str) -> Option<&'static str> {
    counted(text).map(|(unit, _)| unit)
}

fn counted(text: &str) -> Option<(&'static str, Timestamp)> {
    let digits = text.len() >= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = text.parse().ok().filter(|_| digits)?;
    let (_, unit, in_second) = UNITS.iter().find(|(most, ..)| text.len() <= *most)?;
    let time = Timestamp::from_second(number / in_second).ok()?;
    Some((*unit, time))
}

/// A timestamp as a person reads it, behind it as it stands: `1700000000000 (2023-11-14T22:13:20Z, counted in
/// milliseconds)`. `None` for what is no time at all: it may be anything, a secret too.
pub(super) fn readable(text: &str) -> Option<String> {
    match counted(text) {
        Some((unit, time)) => Some(format!("{text} ({time}, counted in {unit})")),
        None => {
            let time: Timestamp = text.parse().ok()?;
            let plain = format!("{time}");
            Some(match plain == text {
                true => plain,
                false => format!("{text} ({time:.0})"),
            })
        }
    }
}

/// The rule about time as it is, and an attempt with another one.
fn with_rule(
    attempt: &Attempt,
    change: impl FnOnce(&mut SignedTime),
) -> Option<(SignedTime, Attempt)> {
    let mut attempt = attempt.clone();
    let (_, timestamp) = signed_and_when(&mut attempt.way)?;
    let rule = timestamp.as_mut()?;
    let asked = rule.clone();
    change(rule);
    Some((asked, attempt))
}

/// Everything else that may have been signed.
pub(super) fn tries(attempt: &Attempt, _: &Surroundings<'_>) -> Vec<Tried> {
    let Some(declared) = attempt.way.scheme.signing() else {
        return Vec::new();
    };
    let mut tried = match &attempt.way.scheme {
        Scheme::Hmac(hmac) => swapped(attempt, hmac),
        _ => Vec::new(),
    };
    tried.extend(of_forms(attempt, declared.signed));
    for pattern in patterns(attempt, declared.timestamp.is_some()) {
        let Ok(template) = Template::compile(&pattern) else {
            continue; // a name in the host of a request that is no host
        };
        if !declared.signed.contains(&template) {
            let detail = format!("`{}`", pattern.replace('\n', "\\n"));
            tried.push(Tried::of(
                "signed-pattern",
                detail,
                signing(attempt, template),
            ));
        }
    }
    tried
}

fn signing(attempt: &Attempt, template: Template) -> Attempt {
    let mut attempt = attempt.clone();
    if let Some((signed, timestamp)) = signed_and_when(&mut attempt.way) {
        if !template.holds(&Holds::Timestamp) {
            *timestamp = None;
        }
        *signed = vec![template];
    }
    attempt
}

/// The patterns with what this request has of a time, an id and a host.
fn patterns(attempt: &Attempt, is_timed: bool) -> Vec<String> {
    let headers = &attempt.request.headers;
    let named = |words: &[&str]| -> Vec<String> {
        let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
        names.retain(|name| name.split('-').any(|word| words.contains(&word)));
        names
            .iter()
            .map(|name| format!("{{header:{name}}}"))
            .collect()
    };
    let times = match is_timed {
        true => vec!["{timestamp}".to_owned()],
        false => named(&["timestamp", "time", "date"]),
    };
    let ids = named(&["id", "delivery", "nonce"]);
    let hosts = [headers.get(HOST), headers.get("x-forwarded-host")];
    let hosts: Vec<String> = hosts
        .into_iter()
        .flatten()
        .filter_map(|host| host.to_str().ok())
        .flat_map(|host| [format!("https://{host}"), format!("http://{host}")])
        .collect();
    let mut patterns: Vec<String> = PATTERNS
        .iter()
        .map(|pattern| (*pattern).to_owned())
        .collect();
    for (mark, values) in [("<time>", times), ("<id>", ids), ("<host>", hosts)] {
        let fill = |pattern: String| -> Vec<String> {
            match pattern.contains(mark) {
                true => values
                    .iter()
                    .map(|value| pattern.replace(mark, value))
                    .collect(),
                false => vec![pattern],
            }
        };
        patterns = patterns.into_iter().flat_map(fill).collect();
    }
    patterns
}

/// A field in place of the form, and the form in place of its field.
fn of_forms(attempt: &Attempt, signed: &[Template]) -> Vec<Tried> {
    let Some(fields) = form::fields(&attempt.request.body) else {
        return Vec::new();
    };
    let in_field = |template: &Template| {
        let form = |piece: &Piece<Holds>| matches!(piece, Piece::Name(Holds::At(Place::Form(_))));
        template.pieces().iter().any(form)
    };
    let mut tried = Vec::new();
    if signed.iter().any(in_field) {
        let attempt = signing(attempt, Template::of(Holds::Body));
        tried.push(Tried::of("whole-form", "", attempt));
    }
    for (name, _) in fields.take(FIELDS) {
        let name = String::from_utf8_lossy(&form::decode(name)).into_owned();
        let template = Template::of(Holds::At(Place::Form(name)));
        if !signed.contains(&template) {
            tried.push(Tried::of("form-field", "", signing(attempt, template)));
        }
    }
    tried
}

/// Key and message the other way round; also DingTalk's way (key: the secret) for Feishu's (key: time and secret).
fn swapped(attempt: &Attempt, hmac: &Hmac) -> Vec<Tried> {
    let nothing = || Template::compile("").ok();
    let keyed = |signed: Option<Template>, key: Option<Template>| {
        let mut attempt = signing(attempt, signed?);
        for one in &mut attempt.way.keys {
            one.forms = vec![match &key {
                Some(template) => KeyForm::Built(template.clone()),
                None => KeyForm::Fixed(one.secret.clone()),
            }];
        }
        // A key that is made with the time still needs it.
        if let (Scheme::Hmac(changed), Some(_)) = (&mut attempt.way.scheme, &key) {
            changed.timestamp.clone_from(&hmac.timestamp);
        }
        Some(Tried::of("key-and-message-swapped", "", attempt))
    };
    let signed = hmac.signed.first().cloned();
    let built = attempt.way.keys.iter().flat_map(|key| &key.forms);
    let built = built.filter_map(|form| match form {
        KeyForm::Built(template) => Some(template.clone()),
        KeyForm::Fixed(_) => None,
    });
    let mut tried = vec![
        keyed(Some(Template::of(Holds::Secret)), signed.clone()),
        keyed(nothing(), signed),
    ];
    tried.extend(built.take(1).map(|template| keyed(Some(template), None)));
    tried.into_iter().flatten().collect()
}
