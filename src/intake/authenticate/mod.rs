//! Whether a request comes from the sender that the bridge names. Bytes in, bytes that may be trusted out.
//!
//! The rules of matching stand with [`Auth`]. Everything is compared as decoded bytes, whole length, in constant time,
//! and what is signed is taken as received, before any parsing.

mod build;
mod challenge;
pub mod diagnose;
mod disguise;
mod ed25519;
mod find;
mod head;
mod mac;
mod read;
mod redact;
mod refusal;
mod sign;
mod take_out;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::bridge::auth::{
    Algorithm, Auth, Challenge, Key, KeyForm, Place, Scheme, Shown, Signing, Way,
};
use crate::intake::{Authentic, Request};
use crate::model::{SignedDigest, Timestamp};

pub use challenge::answer_anybody;
pub use head::{Head, ask_head};
pub use redact::redact;
pub use refusal::{Missing, Refusal};
pub use sign::{Unsigned, chosen, prepare, sign, sign_with};

use build::Facts;
use find::find;

/// Believes a request or says why not. The values that show the sender's secret are taken out of what is handed on.
pub fn authenticate(auth: &Auth, request: Request, now: Timestamp) -> Result<Authentic, Refusal> {
    check_address(auth, &request)?;
    for way in auth.ways() {
        let Some(proven) = prove(way, &request, now)? else {
            continue;
        };
        if auth.challenge().is_some_and(Challenge::is_signed) && proven.is_plain {
            return Err(Refusal::AsChallenged);
        }
        let by = match proven.secret {
            Some(number) => format!("{}, secret {number} of {}", proven.what, auth.secrets()),
            None => proven.what,
        };
        let challenge = challenge::find_answer(auth, &request)?;
        let parameters = way.scheme.signed_parameters();
        return Ok(Authentic {
            request: take_out::take_out(auth, request),
            by,
            secret: proven.secret,
            signed: proven.signed,
            signed_parameters: parameters.map(|names| names.into_iter().map(Into::into).collect()),
            challenge,
        });
    }
    Err(missing(auth))
}

/// Nothing stands at any of the places.
fn missing(auth: &Auth) -> Refusal {
    let places = auth.ways().iter().flat_map(where_it_looks).collect();
    Refusal::Absent(Missing(places))
}

/// Whether the request comes from where the bridge allows.
fn check_address(auth: &Auth, request: &Request) -> Result<(), Refusal> {
    if auth.addresses().is_empty() {
        return Ok(());
    }
    let peer = request.peer.map(|peer| peer.to_canonical());
    let allowed = |peer| auth.addresses().iter().any(|net| net.contains(&peer));
    match peer.is_some_and(allowed) {
        true => Ok(()),
        false => Err(Refusal::Address),
    }
}

/// What one way has shown.
#[derive(Default)]
struct Proven {
    /// How, for people.
    what: String,
    /// The number of the secret, counted from 1; `None` where nothing was asked.
    secret: Option<usize>,
    /// What was signed, where a time was signed together with the body.
    signed: Option<SignedDigest>,
    /// Whether a signed challenge could have been made of what was signed.
    is_plain: bool,
}

impl Proven {
    fn by(what: impl Into<String>, number: usize) -> Proven {
        Proven {
            what: what.into(),
            secret: Some(number),
            ..Proven::default()
        }
    }
}

/// Asks one way. `None` when nothing stands at its place, so that the next one is asked.
fn prove(way: &Way, request: &Request, now: Timestamp) -> Result<Option<Proven>, Refusal> {
    match &way.scheme {
        Scheme::None => Ok(Some(Proven {
            what: way.to_string(),
            ..Proven::default()
        })),
        Scheme::Token(shown) => {
            let Some((place, values)) = first_present(shown, request)? else {
                return Ok(None);
            };
            let read = read::read(shown, place, &values, &[])?;
            let tokens = read.proofs.iter().map(|proof| proof.bytes.as_slice());
            let number = matching(way, &tokens.collect::<Vec<_>>(), "token")?;
            Ok(Some(Proven::by(format!("token in {place}"), number)))
        }
        Scheme::Basic => read::credentials(request, "basic")?
            .map(|credentials| {
                let place = || Refusal::Unreadable {
                    place: "header authorization".to_owned(),
                    formats: "Basic {base64}".to_owned(),
                };
                let credentials = read::basic(credentials).ok_or_else(place)?;
                let number = matching(way, &[&credentials], "basic credential")?;
                Ok(Proven::by("basic", number))
            })
            .transpose(),
        Scheme::Bearer => read::credentials(request, "bearer")?
            .map(|token| {
                let number = matching(way, &[token], "bearer token")?;
                Ok(Proven::by("bearer", number))
            })
            .transpose(),
        Scheme::Hmac(_) | Scheme::Ed25519(_) => way.scheme.signing().map_or(Ok(None), |signing| {
            prove_signature(way, signing, request, now)
        }),
    }
}

/// The number of the secret that equals one of the values.
fn matching(way: &Way, values: &[&[u8]], what: &'static str) -> Result<usize, Refusal> {
    some_secret(way)?;
    let fits = |key: &&Key| {
        values
            .iter()
            .any(|value| mac::equal(value, key.secret.expose()))
    };
    way.keys
        .iter()
        .find(fits)
        .map(|key| key.number)
        .ok_or(Refusal::Mismatch {
            what,
            secrets: way.keys.len(),
        })
}

fn some_secret(way: &Way) -> Result<(), Refusal> {
    if way.keys.is_empty() {
        return Err(Refusal::NoSecret(way.to_string()));
    }
    Ok(())
}

/// Asks a way that signs.
fn prove_signature(
    way: &Way,
    signing: Signing<'_>,
    request: &Request,
    now: Timestamp,
) -> Result<Option<Proven>, Refusal> {
    let Some((place, values)) = first_present(signing.signature, request)? else {
        return Ok(None);
    };
    some_secret(way)?;
    let read = read::read(signing.signature, place, &values, signing.algorithms)?;
    let time = match signing.timestamp {
        Some(rule) => Some(read::time(rule, request, read.timestamp.as_deref(), now)?),
        None => None,
    };
    let mut facts = Facts {
        request,
        timestamp: time.as_deref(),
        headers: read.headers.as_deref(),
        secret: &[],
    };
    // The first secret's, whichever has made the proof: who leaves out one of two signatures does not change it.
    let mut first_mac = None;
    for key in &way.keys {
        facts.secret = key.secret.expose();
        let message = build::first_whole(signing.signed, &facts)?;
        let keyed = key_bytes(key, &facts)?;
        let (name, mac) = name_of_fit(signing, &read.proofs, &keyed, &message);
        first_mac = first_mac.or(mac);
        if let Some(name) = name {
            let is_once = signing.timestamp.is_some() && way.scheme.covers_body();
            let digest = || match &first_mac {
                Some(mac) => digest(&[mac]),
                None => digest(&message),
            };
            return Ok(Some(Proven {
                signed: is_once.then(digest),
                is_plain: challenge::is_plain(&message),
                ..Proven::by(format!("{name} in {place}"), key.number)
            }));
        }
    }
    Err(Refusal::Mismatch {
        what: "signature",
        secrets: way.keys.len(),
    })
}

/// What tells a signed message from any other: made of its MAC, so that the message is not read twice, or of the message where
/// nobody but the sender can make the signature. Another division of the same bytes gives the same.
fn digest(pieces: &[impl AsRef<[u8]>]) -> SignedDigest {
    let whole = pieces.iter().fold(Sha256::new(), Sha256::chain_update);
    let whole = whole.finalize();
    std::array::from_fn(|place| whole[place])
}

/// What made one of the proofs with this key, `hmac-sha256`, or nothing; and the MAC that this key makes.
fn name_of_fit(
    signing: Signing<'_>,
    proofs: &[read::Proof],
    key: &[u8],
    message: &[Cow<'_, [u8]>],
) -> (Option<String>, Option<Vec<u8>>) {
    let Some(default) = signing.algorithms.first() else {
        let message = ed25519::whole(message);
        let fits = |proof: &read::Proof| ed25519::verify(key, &message, &proof.bytes);
        return (proofs.iter().any(fits).then(|| "ed25519".to_owned()), None);
    };
    // One message and one key give one MAC, however many signatures are there to try.
    let mut made: Vec<(Algorithm, Vec<u8>)> = Vec::new();
    let mut name = None;
    for proof in proofs {
        let algorithm = proof.algorithm.unwrap_or(*default);
        if !made.iter().any(|(known, _)| *known == algorithm) {
            made.push((algorithm, mac::mac(algorithm, key, message)));
        }
        let fits = |(known, mac): &(Algorithm, Vec<u8>)| {
            *known == algorithm && mac::equal(mac, &proof.bytes)
        };
        if made.iter().any(fits) {
            name = Some(algorithm.to_string());
            break;
        }
    }
    (name, made.into_iter().next().map(|(_, mac)| mac))
}

/// The bytes that key the MAC, or the public key: the first form whose names are all there.
fn key_bytes<'k>(key: &'k Key, facts: &Facts<'_>) -> Result<Cow<'k, [u8]>, Refusal> {
    let mut missing = None;
    for form in &key.forms {
        match form {
            KeyForm::Fixed(bytes) => return Ok(Cow::Borrowed(bytes.expose())),
            KeyForm::Built(template) => match build::build(template, facts)? {
                Ok(pieces) => return Ok(Cow::Owned(pieces.concat())),
                Err(gap) => missing = Some(gap),
            },
        }
    }
    Err(missing.map_or_else(|| Refusal::Absent(Missing(Vec::new())), Refusal::Absent))
}

/// A place and what stands there.
type Present<'a, 'r> = (&'a Place, Vec<Cow<'r, [u8]>>);

/// The first place of a way at which something stands.
fn first_present<'a, 'r>(
    shown: &'a Shown,
    request: &'r Request,
) -> Result<Option<Present<'a, 'r>>, Refusal> {
    first_present_of(&shown.places, shown, request)
}

/// The same among some of its places. More than one value needs a separator, even if they are equal.
fn first_present_of<'a, 'r>(
    places: &'a [Place],
    shown: &Shown,
    request: &'r Request,
) -> Result<Option<Present<'a, 'r>>, Refusal> {
    for place in places {
        let values = find(request, place).map_err(|_| Refusal::NotAText(place.to_string()))?;
        if values.len() > 1 && shown.separator.is_none() {
            return Err(Refusal::Repeated(place.to_string()));
        }
        if !values.is_empty() {
            return Ok(Some((place, values)));
        }
    }
    Ok(None)
}

fn where_it_looks(way: &Way) -> Vec<String> {
    match &way.scheme {
        Scheme::Basic => vec!["header authorization (basic)".to_owned()],
        Scheme::Bearer => vec!["header authorization (bearer)".to_owned()],
        _ => way.places().iter().map(Place::to_string).collect(),
    }
}
