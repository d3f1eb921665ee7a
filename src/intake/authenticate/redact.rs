//! A refused request as it may be kept for a look: signatures stay, so that they can be explained, of what shows a secret by
//! itself only the length is left, and the bridge's own secrets are hidden wherever they stand.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
};
use serde_json::Value;

use super::disguise::{Finder, HIDDEN};
use super::find::{find, query, undo};
use super::take_out::TELLING;
use crate::bridge::auth::{Algorithm, Auth, Encoding, Piece, Place, Reads, Scheme, Shown};
use crate::intake::{Request, form, json};

/// Names of things that are signatures. One fits only the text it was made for, and no secret follows from it.
const SIGNATURES: [&str; 2] = ["signature", "sign"];

/// More of a masked value says nothing. In bytes.
const LONGEST_MASK: usize = 200;

/// The lengths of signatures, in bytes: SHA-1 and the SHA-2 family; Ed25519 has as many as SHA-512.
const SIGNATURE_LENGTHS: [usize; 5] = [20, 28, 32, 48, 64];

/// Words in front of credentials that are no part of them.
const AUTHORIZATION_SCHEMES: [&str; 6] = ["basic", "bearer", "token", "digest", "hmac", "apikey"];

/// Hides the tokens, passwords and cookies of a request, the path behind the bridge's name, and all that stands in the place
/// of a signature and reads like none; hides the bridge's secrets in whatever writing they stand. What is signed stays as it
/// came, unless it holds such a secret.
pub fn redact(auth: &Auth, mut request: Request) -> Request {
    let mut finder = Finder::of(auth);
    let places = Places::of(auth, &request);

    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let place = Place::Header(name.clone());
        let is_credential = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name);
        let text = match places.shows(&place, name.as_str(), is_credential) {
            Shows::Nothing => value.as_bytes().to_vec(),
            Shows::Secret => masked_header(value.as_bytes(), *name == AUTHORIZATION),
            Shows::Signature => places.signatures_of(value.as_bytes(), &mut finder),
        };
        let name = HeaderName::from_bytes(&finder.hide(name.as_str().into()));
        let value = HeaderValue::from_bytes(&finder.hide(text));
        headers.extend(name.ok().zip(value.ok()));
    }

    let (path, parameters) = match request.target.split_once('?') {
        Some((path, parameters)) => (path, Some(parameters)),
        None => (request.target.as_str(), None),
    };
    let rest = mask(request.rest.as_bytes());
    let path = path.strip_suffix(&request.rest).unwrap_or("/");
    let mut target = format!("{path}{rest}");
    if let Some(parameters) = parameters {
        let shown = parameters.split('&').map(|parameter| {
            let named = query(parameter.as_bytes()).next();
            let Some((written, value)) = named else {
                return parameter.to_owned();
            };
            let name = String::from_utf8_lossy(&undo(written)).into_owned();
            let text = match places.shows(&Place::Query(name.clone()), &name, false) {
                Shows::Nothing => return parameter.to_owned(),
                Shows::Secret => mask(value),
                Shows::Signature => {
                    let signatures = places.signatures_of(value, &mut finder);
                    String::from_utf8_lossy(&signatures).into_owned()
                }
            };
            format!("{}={text}", String::from_utf8_lossy(written))
        });
        target = format!("{target}?{}", shown.collect::<Vec<_>>().join("&"));
    }
    let target = finder.hide(target.into_bytes());

    for (place, shows) in places.all() {
        let is_twice = find(&request, place).map_or(true, |values| values.len() > 1);
        let change = |value: &[u8]| match shows {
            Shows::Signature => places.signatures_of(value, &mut finder),
            Shows::Secret | Shows::Nothing => mask(value).into_bytes(),
        };
        request.body = match place {
            Place::Form(name) => changed_field(request.body, name, change),
            Place::Body(pointer) => changed_value(request.body, pointer.as_str(), is_twice, change),
            Place::Header(_) | Place::Query(_) | Place::Path => continue,
        };
    }
    request.body = Bytes::from(finder.hide(request.body.to_vec()));
    request.headers = headers;
    request.target = String::from_utf8_lossy(&target).into_owned();
    request.rest = rest;
    request
}

/// What a place shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Nothing,
    Secret,
    Signature,
}

/// Where the senders of a bridge show who they are.
struct Places<'a> {
    secrets: Vec<&'a Place>,
    signatures: Vec<&'a Place>,
    /// What may stand beside a signature: words of the formats, names of headers.
    words: Vec<String>,
    /// Whether a time may stand beside a signature.
    has_time: bool,
}

impl<'a> Places<'a> {
    fn of(auth: &'a Auth, request: &Request) -> Places<'a> {
        let mut places = Places {
            secrets: Vec::new(),
            signatures: Vec::new(),
            words: Algorithm::ALL
                .map(|algorithm| algorithm.word().to_owned())
                .into(),
            has_time: false,
        };
        for way in auth.ways() {
            match &way.scheme {
                Scheme::None | Scheme::Token(_) | Scheme::Basic | Scheme::Bearer => {
                    places.secrets.extend(way.places());
                }
                Scheme::Hmac(hmac) => places.learn(&hmac.signature, request),
                Scheme::Ed25519(ed25519) => places.learn(&ed25519.signature, request),
            }
        }
        match places.secrets.is_empty() {
            true => places.signatures.extend(auth.repeats()),
            false => places.secrets.extend(auth.repeats()),
        }
        places
    }

    fn learn(&mut self, shown: &'a Shown, request: &Request) {
        self.signatures.extend(&shown.places);
        for piece in shown
            .formats
            .iter()
            .flatten()
            .flat_map(|format| format.pieces())
        {
            match piece {
                Piece::Text(text) => {
                    let words = parts(text.as_bytes()).filter_map(|(is_word, part)| {
                        let word = std::str::from_utf8(part).ok()?;
                        is_word.then(|| word.trim_end_matches('=').to_owned())
                    });
                    self.words.extend(words);
                }
                Piece::Name(Reads::Timestamp) => self.has_time = true,
                Piece::Name(Reads::Headers) => {
                    let names = request.headers.keys().map(|name| name.as_str().to_owned());
                    self.words.extend(names);
                }
                Piece::Name(Reads::Signature(_) | Reads::Token | Reads::Algorithm) => {}
            }
        }
    }

    fn all(&self) -> Vec<(&'a Place, Shows)> {
        let secrets = self.secrets.iter().map(|place| (*place, Shows::Secret));
        let signatures = self
            .signatures
            .iter()
            .map(|place| (*place, Shows::Signature));
        secrets.chain(signatures).collect()
    }

    /// What stands at a place of the head, by the declaration and else by its name.
    fn shows(&self, place: &Place, name: &str, is_credential: bool) -> Shows {
        let name = name.to_ascii_lowercase();
        let words = || name.split(['-', '_']);
        if self.secrets.contains(&place) {
            Shows::Secret
        } else if self.signatures.contains(&place) {
            Shows::Signature
        } else if is_credential {
            Shows::Secret
        } else if words().any(|word| SIGNATURES.contains(&word)) {
            Shows::Signature
        } else if words().any(|word| TELLING.contains(&word) || word == "key") {
            Shows::Secret
        } else {
            Shows::Nothing
        }
    }

    /// The signatures of a value and what belongs to them; everything else hidden, for people paste secrets there. A secret
    /// is looked for before anything of it is hidden, for what is left of it would not be found.
    fn signatures_of(&self, value: &[u8], finder: &mut Finder) -> Vec<u8> {
        let found = finder.hide(value.to_vec());
        if found.len() != value.len() {
            return found;
        }
        // A `+` that became a blank.
        let whole = trimmed(value);
        if whole.contains(&b' ') && is_signature(&with_plus(whole), finder) {
            return found;
        }
        let parts: Vec<(bool, &[u8])> = parts(value).collect();
        let stays = |at: usize| {
            let part = parts.get(at).filter(|(is_word, _)| *is_word);
            part.is_some_and(|(_, part)| self.belongs(part) || is_signature(part, finder))
        };
        let mut kept = Vec::new();
        for (at, (is_word, part)) in parts.iter().enumerate() {
            let beside = || stays(at + 1) || at.checked_sub(1).is_some_and(stays);
            let separates = part.iter().all(|byte| b",; =\"'`".contains(byte));
            match if *is_word {
                stays(at)
            } else {
                separates && beside()
            } {
                true => kept.extend_from_slice(part),
                false => kept.extend(vec![HIDDEN; part.len()]),
            }
        }
        for (kept, found) in kept.iter_mut().zip(found) {
            if found == HIDDEN {
                *kept = HIDDEN;
            }
        }
        kept
    }

    /// Whether a word may stand beside a signature.
    fn belongs(&self, part: &[u8]) -> bool {
        let word = String::from_utf8_lossy(part);
        let word = word.trim_end_matches('=');
        // Seconds or milliseconds of the years from 2001 on.
        let is_time = [10, 13].contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_digit())
            && word.starts_with(['1', '2', '3', '4']);
        let known = |known: &String| known.eq_ignore_ascii_case(word);
        (is_time && self.has_time) || self.words.iter().any(known)
    }
}

/// The words of a value, each with the `=` behind it, and what stands between them (`false`).
fn parts(value: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_%".contains(byte);
    let mut rest = value;
    std::iter::from_fn(move || {
        let is_word = in_word(rest.first()?);
        let end = rest.iter().position(|byte| in_word(byte) != is_word);
        let mut end = end.unwrap_or(rest.len());
        if is_word {
            let padding = rest[end..].iter().take_while(|byte| **byte == b'=');
            end += padding.count();
        }
        let (part, behind) = rest.split_at(end);
        rest = behind;
        Some((is_word, part))
    })
}

/// Whether a text reads like a signature in some writing, and like no secret of the bridge with a typing error.
fn is_signature(text: &[u8], finder: &Finder) -> bool {
    let text = undo(text);
    let fits = |bytes: &[u8]| SIGNATURE_LENGTHS.contains(&bytes.len());
    let decoded = |text: &[u8]| {
        let ways = [Encoding::Hex, Encoding::Base64, Encoding::Base64Url];
        let all = ways.into_iter().filter_map(|way| way.decode(text));
        all.collect::<Vec<Vec<u8>>>()
    };
    let reads = decoded(&text).into_iter().any(|bytes| {
        // Some encode the hex digits once more.
        let twice = || decoded(&bytes).iter().any(|inner| fits(inner));
        (fits(&bytes) || twice()) && !finder.resembles(&bytes)
    });
    reads && !finder.resembles(&text)
}

/// Whether it stands around a value and is no part of it.
fn around(byte: &u8) -> bool {
    b"\"'` ".contains(byte)
}

fn trimmed(value: &[u8]) -> &[u8] {
    let start = value
        .iter()
        .position(|byte| !around(byte))
        .unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !around(byte));
    &value[start..end.map_or(start, |end| end + 1)]
}

fn with_plus(value: &[u8]) -> Vec<u8> {
    let plus = |byte: &u8| if *byte == b' ' { b'+' } else { *byte };
    value.iter().map(plus).collect()
}

/// A `*` for each byte of a text. Quotes and blanks around it stay: they are no part of a secret, and often the mistake.
pub(super) fn mask(text: &[u8]) -> String {
    let inner = trimmed(text);
    let start = text
        .iter()
        .position(|byte| !around(byte))
        .unwrap_or(text.len());
    let end = start + inner.len();
    let shown = |part: &[u8]| String::from_utf8_lossy(part.get(..1).unwrap_or(part)).into_owned();
    let hidden = "*".repeat(inner.len().min(LONGEST_MASK));
    let (before, behind) = (&text[..start], &text[end.min(text.len())..]);
    format!("{}{hidden}{}", shown(before), shown(behind))
}

/// User and password, each hidden for itself.
pub(super) fn mask_both(credentials: &[u8]) -> String {
    let stars = |part: &[u8]| "*".repeat(part.len().min(LONGEST_MASK));
    match credentials.iter().position(|byte| *byte == b':') {
        Some(at) => format!(
            "{}:{}",
            stars(&credentials[..at]),
            stars(&credentials[at + 1..])
        ),
        None => stars(credentials),
    }
}

/// `Authorization` keeps the name of its scheme, and Basic its encoding.
fn masked_header(value: &[u8], authorization: bool) -> Vec<u8> {
    let blank = value.iter().position(|&byte| byte == b' ');
    let (scheme, rest) = value.split_at(blank.filter(|_| authorization).unwrap_or(0));
    let known = |known: &&str| known.as_bytes().eq_ignore_ascii_case(scheme);
    if !AUTHORIZATION_SCHEMES.iter().any(known) {
        return mask(value).into_bytes();
    }
    let decoded = Encoding::Base64.decode(rest.trim_ascii());
    let shape = match decoded.filter(|_| scheme.eq_ignore_ascii_case(b"basic")) {
        Some(credentials) => {
            let hidden = mask_both(&credentials);
            format!(" {}", Encoding::Base64.encode(hidden.as_bytes()))
        }
        None => format!(" {}", mask(rest.trim_ascii_start())),
    };
    [scheme, shape.as_bytes()].concat()
}

fn changed_field(body: Bytes, name: &str, mut change: impl FnMut(&[u8]) -> Vec<u8>) -> Bytes {
    if form::fields(&body).is_none() {
        return body;
    }
    let fields = body
        .split(|&byte| byte == b'&')
        .map(|field| match query(field).next() {
            Some((key, value)) if form::decode(key).as_ref() == name.as_bytes() => {
                [key, b"=", &change(value)].concat()
            }
            _ => field.to_vec(),
        });
    Bytes::from(fields.collect::<Vec<_>>().join(&b'&'))
}

/// The body with another value at a place; as it came, where the value stays and is there once. Of a name that stands twice
/// only the last one is written again.
fn changed_value(
    body: Bytes,
    pointer: &str,
    is_twice: bool,
    mut change: impl FnMut(&[u8]) -> Vec<u8>,
) -> Bytes {
    let text = std::str::from_utf8(&body).ok();
    let Some(mut json) = text.and_then(|text| json::read(text).ok()) else {
        return body;
    };
    let Some(value) = json.pointer_mut(pointer) else {
        return body;
    };
    let text = match &*value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let changed = String::from_utf8_lossy(&change(text.as_bytes())).into_owned();
    if changed == text && !is_twice {
        return body;
    }
    *value = Value::String(changed);
    serde_json::to_vec(&json).map_or(body, Bytes::from)
}
