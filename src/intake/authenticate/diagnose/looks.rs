//! What can be seen without proof, where no single mistake and no pair of them explains the refusal.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};

use super::reading::strange_length;
use super::signed::{name_of, time_shown, unit_by_length};
use super::words::Cause;
use super::{Attempt, BODY_HIDDEN, Refusal, Surroundings, is_kept, is_signed, shown_value};
use crate::bridge::auth::Way;
use crate::intake::Request;
use crate::intake::authenticate::{prove, take_out};
use crate::model::Timestamp;

/// Marks of variables and templates that were never filled in.
const UNFILLED: [&str; 6] = ["{{", "${", "$(", "<%", "%(", "$"];

/// What it looks like; at least one cause.
pub(super) fn looks(
    surroundings: &Surroundings<'_>,
    ways: &[&Way],
    request: &Request,
) -> Vec<Cause> {
    let attempts: Vec<Attempt> = ways
        .iter()
        .map(|way| Attempt {
            way: (*way).clone(),
            request: request.clone(),
            now: Timestamp::UNIX_EPOCH,
        })
        .collect();
    let mut causes = Vec::new();
    if !surroundings.scene.absent.is_empty() {
        causes.push(surroundings.scene.absence());
    }
    if attempts.iter().any(is_signed) && request.headers.contains_key(BODY_HIDDEN) {
        causes.push(Cause::seen("body-hidden", ""));
    }
    let length = request.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let came = surroundings.packed.as_ref().unwrap_or(&request.body).len();
    if let Some(length) = length.filter(|length| *length > came) {
        let detail = format!("{came} of {length} bytes");
        causes.push(Cause::seen("body-cut", detail));
    }
    let values: Vec<String> = attempts
        .iter()
        .filter_map(shown_value)
        .flat_map(|(_, values)| values)
        .collect();
    let unfilled = |value: &String| UNFILLED.iter().any(|mark| value.contains(mark));
    if values.iter().any(unfilled) {
        causes.push(Cause::seen("signature-placeholder", ""));
    }
    if causes.iter().all(|cause| cause.id == "secret-absent") {
        causes.extend(of_refusals(surroundings, &attempts, request));
    }
    if causes.is_empty()
        && request.headers.contains_key(CONTENT_ENCODING)
        && surroundings.packed.is_none()
    {
        let detail = "perhaps, for the request came compressed, and this is the body unpacked";
        causes.push(Cause::seen("body-compressed", detail));
    }
    if causes.is_empty() {
        causes.push(Cause::seen("no-cause-found", ""));
    }
    causes
}

fn of_refusals(
    surroundings: &Surroundings<'_>,
    attempts: &[Attempt],
    request: &Request,
) -> Option<Cause> {
    let asked = |attempt: &Attempt| prove(&attempt.way, request, attempt.now);
    let mut refusals = attempts.iter().map(asked);
    if attempts
        .iter()
        .all(|attempt| matches!(asked(attempt), Ok(None)))
    {
        let telling = request.headers.keys().find(|name| take_out::tells(name));
        return Some(match telling {
            Some(name) => Cause::seen("looks-elsewhere", format!("header {name}")),
            None => Cause::seen("unsigned", ""),
        });
    }
    refusals.find_map(|refusal| match refusal.err()? {
        Refusal::Unreadable { .. } if is_kept(request) => {
            Some(Cause::seen("unreadable-masked", ""))
        }
        Refusal::Unreadable { .. } | Refusal::NotAText(_) => Some(Cause::seen("unreadable", "")),
        Refusal::NoTime(_) => Some(match attempts.iter().find_map(time_shown) {
            Some((text, unit)) => match unit_by_length(&text) {
                Some(found) if found != name_of(unit) => {
                    let detail = format!("{found} in place of {}", name_of(unit));
                    Cause::seen("timestamp-unit", detail)
                }
                _ => Cause::seen("no-time", ""),
            },
            None => Cause::seen("no-time", ""),
        }),
        Refusal::Absent(missing) => Some(Cause::seen("no-time", missing.to_string())),
        Refusal::Mismatch { .. } => {
            let (came, asked) = attempts.iter().find_map(strange_length)?;
            let bytes = if came == 1 { "byte" } else { "bytes" };
            let detail = format!("{came} {bytes} came, {asked} are expected");
            Some(Cause::seen("signature-length", detail))
        }
        Refusal::NoSecret(_) if surroundings.scene.absent.is_empty() => {
            Some(Cause::seen("no-secret-for-this", ""))
        }
        _ => None,
    })
}
