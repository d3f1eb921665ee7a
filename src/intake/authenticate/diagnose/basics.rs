//! Mistakes in `Authorization`: the scheme's word, the user, the encoding.

use http::header::AUTHORIZATION;

use super::{Attempt, Surroundings, Tried, place};
use crate::bridge::auth::{Encoding, Place, Scheme};

/// The request with `Authorization` as the bridge wants it.
pub(super) fn tries(attempt: &Attempt, _: &Surroundings<'_>) -> Vec<Tried> {
    let value = attempt.request.headers.get(AUTHORIZATION);
    let Some(value) = value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    else {
        return Vec::new();
    };
    let mut tried = Vec::new();
    let mut with = |id, detail: &str, value: String| {
        let place = Place::Header(AUTHORIZATION);
        let request = place::replace(&attempt.request, &place, value.as_bytes());
        tried.extend(request.map(|request| {
            Tried::of(
                id,
                detail,
                Attempt {
                    request,
                    ..attempt.clone()
                },
            )
        }));
    };
    let (word, rest) = value.split_once([' ', ':']).unwrap_or(("", &value));
    let rest = rest.trim();
    let decoded = Encoding::Base64.decode(rest.as_bytes());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match &attempt.way.scheme {
        Scheme::Bearer => {
            let detail = match word {
                "" => "it has no `Bearer` in front of it",
                _ => "another word stands in front of it",
            };
            with("authorization-scheme", detail, format!("Bearer {rest}"));
            if let Some((again, token)) = rest.split_once(' ')
                && again.eq_ignore_ascii_case("bearer")
            {
                let value = format!("Bearer {}", token.trim());
                with("authorization-twice", "", value);
            }
            if let (true, Some(decoded)) = (word.eq_ignore_ascii_case("basic"), decoded) {
                let (user, password) = decoded.split_once(':').unwrap_or(("", &decoded));
                for part in [password, user, &decoded] {
                    let detail = "it came as Basic, with the token as user or password";
                    with("authorization-scheme", detail, format!("Bearer {part}"));
                }
            }
        }
        Scheme::Basic => {
            let encoded =
                |text: &str| format!("Basic {}", Encoding::Base64.encode(text.as_bytes()));
            with("basic-not-encoded", "", encoded(rest));
            with("basic-not-encoded", "", encoded(&value));
            with(
                "authorization-scheme",
                "it has no `Basic` in front of it",
                format!("Basic {rest}"),
            );
            match decoded.as_deref().map(|text| (text, text.split_once(':'))) {
                Some((_, Some((user, password)))) => {
                    with("basic-swapped", "", encoded(&format!("{password}:{user}")));
                }
                Some((password, None)) => {
                    for user in users(attempt) {
                        let both = encoded(&format!("{user}:{password}"));
                        with("basic-password-only", "", both);
                    }
                }
                None => {}
            }
            let password = decoded
                .as_deref()
                .and_then(|text| Some(text.split_once(':')?.1));
            for user in users(attempt) {
                if let Some(password) = password {
                    let both = encoded(&format!("{user}:{password}"));
                    with("basic-user", "", both);
                }
            }
        }
        _ => {}
    }
    tried
}

/// The users in the bridge's secrets.
fn users(attempt: &Attempt) -> Vec<&str> {
    let secrets = attempt.way.keys.iter();
    let texts = secrets.filter_map(|key| key.secret.expose_text());
    texts
        .filter_map(|text| Some(text.split_once(':')?.0))
        .collect()
}
