//! Mistakes in how a signature is written down: encoding, prefix, quotes, another hash, half of it.

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::words::Cause;
use super::{Attempt, Surroundings, Tried, place, shown_value};
use crate::bridge::auth::{
    Algorithm, Encoding, Hmac, Piece, Reads, Scheme, Shown, Signing, undo_percent,
};
use crate::intake::authenticate::build::{self, Facts};
use crate::intake::authenticate::sign::{Unsigned, written};
use crate::intake::authenticate::{key_bytes, mac, read};

/// The lengths of MACs, in bytes, and what makes them.
const LENGTHS: [(usize, Algorithm); 5] = [
    (20, Algorithm::Sha1),
    (28, Algorithm::Sha224),
    (32, Algorithm::Sha256),
    (48, Algorithm::Sha384),
    (64, Algorithm::Sha512),
];

const ENCODINGS: [(Encoding, &str); 3] = [
    (Encoding::Hex, "hex"),
    (Encoding::Base64, "base64"),
    (Encoding::Base64Url, "base64url"),
];

/// Fewer characters of a signature than this prove nothing.
const TELLING: usize = 8;

/// A signature found in a text, and in what it differs from how the bridge wants it.
pub(super) struct Found {
    pub bytes: Vec<u8>,
    pub causes: Vec<Cause>,
    timestamp: Option<String>,
}

/// What made a MAC of this length.
pub(super) fn algorithm_of(bytes: &[u8]) -> Option<Algorithm> {
    let known = LENGTHS.iter().find(|(length, _)| *length == bytes.len());
    known.map(|(_, algorithm)| *algorithm)
}

/// The request with its signature written as the bridge wants it.
pub(super) fn tries(attempt: &Attempt, _: &Surroundings<'_>) -> Vec<Tried> {
    let Some((place, values)) = shown_value(attempt) else {
        return Vec::new();
    };
    let mut tried = Vec::new();
    let with = |value: Option<Vec<u8>>, causes: Vec<Cause>| {
        let request = place::replace(&attempt.request, &place, &value?)?;
        let attempt = Attempt {
            request,
            ..attempt.clone()
        };
        Some(Tried { causes, attempt })
    };
    for value in &values {
        if let Scheme::Token(shown) = &attempt.way.scheme {
            let token = value.split_once(' ').map(|(_, token)| token.trim());
            let token = token.and_then(|token| as_token(shown, token));
            tried.extend(with(token, vec![Cause::proven("token-prefix", "")]));
        }
        let Some(signing) = attempt.way.scheme.signing() else {
            continue;
        };
        for found in find(value, signing.signature) {
            if !found.causes.is_empty() {
                tried.extend(with(as_declared(signing, &found), found.causes));
            }
        }
    }
    tried
}

/// `ab:cd:ef` as `abcdef`.
fn without_colons(text: &str) -> Option<String> {
    let is_pair = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = text.contains(':') && text.split(':').all(is_pair);
    fits.then(|| text.replace(':', ""))
}

/// How long the signatures are that stand at the place, and how long they should be, where none is as long.
pub(super) fn strange_length(attempt: &Attempt) -> Option<(usize, usize)> {
    let signing = attempt.way.scheme.signing()?;
    let (place, values) = super::first_present(signing.signature, &attempt.request).ok()??;
    let read = read::read(signing.signature, place, &values, signing.algorithms).ok()?;
    // An Ed25519 signature is as long as a MAC of SHA-512.
    let default = signing
        .algorithms
        .first()
        .copied()
        .unwrap_or(Algorithm::Sha512);
    let length = |algorithm: Algorithm| {
        let known = LENGTHS.iter().find(|(_, known)| *known == algorithm);
        known.map_or(0, |(length, _)| *length)
    };
    let both = |proof: &read::Proof| {
        (
            proof.bytes.len(),
            length(proof.algorithm.unwrap_or(default)),
        )
    };
    let mut all = read.proofs.iter().map(both);
    let first = all.next()?;
    (first.0 != first.1 && all.all(|(came, asked)| came != asked)).then_some(first)
}

/// Every signature that a text may hold, read in every way.
pub(super) fn find(value: &str, shown: &Shown) -> Vec<Found> {
    let mut all = Vec::new();
    for (part, cut_as_declared) in parts(value, shown) {
        let (bare, quoted) = without_quotes(part);
        for (prefix, asked) in prefixes(shown) {
            for (core, fits) in cores(bare, &prefix) {
                for (encoding, name) in ENCODINGS {
                    let bare = without_colons(core).filter(|_| encoding == Encoding::Hex);
                    let colons = bare.is_some();
                    let core = bare.unwrap_or_else(|| core.to_owned());
                    let Some(bytes) = encoding.decode(&undo_percent(core.as_bytes())) else {
                        continue;
                    };
                    let again = twice(&bytes);
                    let is_twice = again.is_some();
                    let bytes = again.unwrap_or(bytes);
                    if algorithm_of(&bytes).is_none() {
                        continue;
                    }
                    let mut causes = Vec::new();
                    if quoted {
                        causes.push(Cause::proven("signature-quoted", ""));
                    }
                    if !fits || !cut_as_declared {
                        causes.push(Cause::proven("signature-prefix", ""));
                    }
                    if is_twice {
                        causes.push(Cause::proven("signature-encoded-twice", ""));
                    } else if colons {
                        causes.push(Cause::proven("signature-encoding", "hex with colons"));
                    } else if encoding != asked {
                        let asked = ENCODINGS.iter().find(|(known, _)| *known == asked);
                        let asked = asked.map_or("", |(_, name)| name);
                        let detail = format!("{name} in place of {asked}");
                        causes.push(Cause::proven("signature-encoding", detail));
                    }
                    all.push(Found {
                        bytes,
                        causes,
                        timestamp: time_in(value),
                    });
                }
            }
        }
    }
    // The simplest explanation first.
    all.sort_by_key(|found| found.causes.len());
    all
}

/// The parts of a value: all of it, and what stands between separators; and whether the bridge would cut it so too.
fn parts<'v>(value: &'v str, shown: &Shown) -> Vec<(&'v str, bool)> {
    let declared = shown.separator.as_deref();
    let mut parts = vec![(value, declared.is_none())];
    for separator in [",", ";", " ", "&", "|"] {
        if value.contains(separator) {
            let cut = value.split(separator).map(str::trim);
            parts.extend(cut.map(|part| (part, declared == Some(separator))));
        } else if declared == Some(separator) {
            parts[0].1 = true;
        }
    }
    parts
}

fn without_quotes(part: &str) -> (&str, bool) {
    let bare = part.trim_matches(['"', '\'', '`']);
    (bare, bare.len() != part.len())
}

/// What the formats have in front of the signature, and its encoding. `None` as a prefix: the name of the hash and `=`.
fn prefixes(shown: &Shown) -> Vec<(Option<String>, Encoding)> {
    let mut prefixes = Vec::new();
    for pattern in shown.formats.iter().flatten() {
        let mut text = Some(String::new());
        for piece in pattern.pieces() {
            match piece {
                Piece::Text(more) => {
                    if let Some(text) = &mut text {
                        text.push_str(more);
                    }
                }
                Piece::Name(Reads::Signature(encoding)) => prefixes.push((text.clone(), *encoding)),
                Piece::Name(_) => text = None,
            }
        }
    }
    prefixes
}

/// What may be the signature in a part, and whether what stands in front of it is as asked.
fn cores<'p>(part: &'p str, prefix: &Option<String>) -> Vec<(&'p str, bool)> {
    let mut cores = Vec::new();
    let mut add = |core: &'p str, fits: bool| {
        let trimmed = core.trim();
        cores.push((trimmed, fits && trimmed.len() == core.len()));
    };
    let behind = |mark: char| part.split_once(mark).map(|(_, core)| core);
    match prefix {
        Some(prefix) => match part.strip_prefix(prefix.as_str()) {
            Some(core) => {
                add(core, true);
                if !prefix.is_empty() {
                    return cores;
                }
            }
            None => add(part, false),
        },
        None => match behind('=') {
            Some(core) => return vec![(core, true)],
            None => add(part, false),
        },
    }
    for mark in ['=', ',', ':', ' '] {
        if let Some(core) = behind(mark) {
            add(core, false);
        }
    }
    cores
}

/// The MAC behind its own hex digits: somebody encoded the text in place of the bytes.
fn twice(bytes: &[u8]) -> Option<Vec<u8>> {
    let inner = Encoding::Hex
        .decode(bytes)
        .or_else(|| Encoding::Base64.decode(bytes))?;
    algorithm_of(&inner).map(|_| inner)
}

/// A number of seconds or more among the parts of a value.
fn time_in(value: &str) -> Option<String> {
    let digits = |part: &&str| part.len() >= 10 && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = value.split(|c: char| !c.is_ascii_alphanumeric());
    parts.find(digits).map(str::to_owned)
}

/// The signature as the bridge's first format writes it.
pub(super) fn as_declared(signing: Signing<'_>, found: &Found) -> Option<Vec<u8>> {
    let by_length = algorithm_of(&found.bytes);
    let chosen = by_length.filter(|algorithm| signing.algorithms.contains(algorithm));
    let chosen = chosen.or(signing.algorithms.first().copied());
    let filled = written(signing.signature, |name| match name {
        Reads::Signature(encoding) => Ok(encoding.encode(&found.bytes).into_bytes()),
        Reads::Algorithm => Ok(chosen.map_or("", Algorithm::word).as_bytes().to_vec()),
        Reads::Timestamp => match &found.timestamp {
            Some(time) => Ok(time.clone().into_bytes()),
            None => Err(Unsigned::NoSecret),
        },
        Reads::Headers | Reads::Token => Err(Unsigned::NoSecret),
    });
    filled.ok()
}

/// A token as the bridge's first format writes it.
pub(super) fn as_token(shown: &Shown, token: &str) -> Option<Vec<u8>> {
    written(shown, |_| Ok(token.as_bytes().to_vec())).ok()
}

/// The bridge with another hash.
pub(super) fn algorithms(attempt: &Attempt, _: &Surroundings<'_>) -> Vec<Tried> {
    let Scheme::Hmac(hmac) = &attempt.way.scheme else {
        return Vec::new();
    };
    let asked: Vec<&str> = hmac
        .algorithms
        .iter()
        .map(|algorithm| algorithm.word())
        .collect();
    let others = Algorithm::ALL
        .into_iter()
        .filter(|other| !hmac.algorithms.contains(other));
    let tried = others.map(|other| {
        let mut attempt = attempt.clone();
        if let Scheme::Hmac(hmac) = &mut attempt.way.scheme {
            hmac.algorithms = vec![other];
        }
        let detail = format!("{} in place of {}", other.word(), asked.join(" or "));
        Tried::of("algorithm", detail, attempt)
    });
    tried.collect()
}

/// What no change makes right: a signature that is cut off, a bare hash.
pub(super) fn beyond(attempt: &Attempt) -> Option<Cause> {
    let Scheme::Hmac(hmac) = &attempt.way.scheme else {
        return None;
    };
    let (at, values) = shown_value(attempt)?;
    let value = values.first()?;
    let bytes: Vec<std::borrow::Cow<'_, [u8]>> = vec![value.as_bytes().into()];
    let read = read::read(&hmac.signature, &at, &bytes, &hmac.algorithms).ok();
    let in_format = read.and_then(|read| read.timestamp);
    let time = hmac.timestamp.as_ref().and_then(|rule| {
        read::time(rule, &attempt.request, in_format.as_deref(), attempt.now).ok()
    });
    for key in &attempt.way.keys {
        let facts = Facts {
            request: &attempt.request,
            timestamp: time.as_deref(),
            headers: None,
            secret: key.secret.expose(),
        };
        let (Ok(message), Ok(keyed)) = (
            build::first_whole(&hmac.signed, &facts),
            key_bytes(key, &facts),
        ) else {
            continue;
        };
        for algorithm in &hmac.algorithms {
            let mac = mac::mac(*algorithm, &keyed, &message);
            if let Some(cause) = truncated(value, hmac, &mac) {
                return Some(cause);
            }
        }
        let found = find(value, &hmac.signature);
        let shown = |hash: &[u8]| found.iter().any(|found| found.bytes == hash);
        let message = message.concat();
        let secret = key.secret.expose();
        for (parts, said) in [
            (
                vec![secret, &message[..]],
                "over the secret and what is signed",
            ),
            (
                vec![&message[..], secret],
                "over what is signed and the secret",
            ),
            (
                vec![&message[..]],
                "over what is signed, without the secret: it proves nothing",
            ),
        ] {
            let whole = parts.concat();
            let hashes = [
                ("SHA-256", Sha256::digest(&whole).to_vec()),
                ("SHA-1", Sha1::digest(&whole).to_vec()),
                ("SHA-512", Sha512::digest(&whole).to_vec()),
            ];
            if let Some((name, _)) = hashes.iter().find(|(_, hash)| shown(hash)) {
                return Some(Cause::proven("plain-hash", format!("{name} {said}")));
            }
        }
    }
    None
}

/// Whether the value holds the beginning of this MAC and no more.
fn truncated(value: &str, hmac: &Hmac, mac: &[u8]) -> Option<Cause> {
    for (part, _) in parts(value, &hmac.signature) {
        for (prefix, encoding) in prefixes(&hmac.signature) {
            let whole = encoding.encode(mac);
            for (core, _) in cores(part, &prefix) {
                let core = match encoding {
                    Encoding::Hex => core.to_ascii_lowercase(),
                    _ => core.trim_end_matches('=').to_owned(),
                };
                let enough = (TELLING..whole.trim_end_matches('=').len()).contains(&core.len());
                if enough && whole.starts_with(&core) {
                    let detail = format!("{} of {} characters", core.len(), whole.len());
                    return Some(Cause::proven("signature-truncated", detail));
                }
            }
        }
    }
    None
}
