//! Whether a request comes from the sender that the bridge names. Bytes in, bytes that may be trusted out.
//!
//! The rules of matching stand with [`Auth`]. Everything is compared as decoded bytes, whole length, in constant time,
//! and what is signed is taken as received, before any parsing.

mod build;
pub mod diagnose;
mod find;
mod mac;
mod read;
mod refusal;
mod sign;
mod take_out;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::bridge::auth::{Algorithm, Auth, Hmac, Key, KeyForm, Place, Scheme, Shown, Way};
use crate::intake::{Authentic, Request};
use crate::model::Timestamp;

pub use refusal::{Missing, Refusal};
pub use sign::{Unsigned, chosen, prepare, sign, sign_with};

use build::Facts;
use find::find;

/// Believes a request or says why not. The values that show the sender's secret are taken out of what is handed on.
pub fn authenticate(auth: &Auth, request: Request, now: Timestamp) -> Result<Authentic, Refusal> {
    if !auth.addresses().is_empty() {
        let peer = request.peer.map(|peer| peer.to_canonical());
        let allowed = |peer| auth.addresses().iter().any(|net| net.contains(&peer));
        if !peer.is_some_and(allowed) {
            return Err(Refusal::Address);
        }
    }
    for way in auth.ways() {
        if let Some(proven) = prove(way, &request, now)? {
            let by = match proven {
                Proven::Nothing => way.to_string(),
                Proven::By { what, number } => {
                    format!("{what}, secret {number} of {}", auth.secrets())
                }
            };
            return Ok(Authentic {
                request: take_out::take_out(auth, request),
                by,
            });
        }
    }
    let places = auth.ways().iter().flat_map(where_it_looks).collect();
    Err(Refusal::Absent(Missing(places)))
}

enum Proven {
    /// Nothing was asked.
    Nothing,
    /// The secret with this number, counted from 1.
    By { what: String, number: usize },
}

/// Asks one way. `None` when nothing stands at its place, so that the next one is asked.
fn prove(way: &Way, request: &Request, now: Timestamp) -> Result<Option<Proven>, Refusal> {
    match &way.scheme {
        Scheme::None => Ok(Some(Proven::Nothing)),
        Scheme::Token(shown) => {
            let Some((place, values)) = first_present(shown, request)? else {
                return Ok(None);
            };
            let read = read::read(shown, place, &values, &[])?;
            let tokens = read.proofs.iter().map(|proof| proof.bytes.as_slice());
            let number = matching(way, &tokens.collect::<Vec<_>>(), "token")?;
            let what = format!("token in {place}");
            Ok(Some(Proven::By { what, number }))
        }
        Scheme::Basic => read::credentials(request, "basic")?
            .map(|credentials| {
                let place = || Refusal::Unreadable {
                    place: "header authorization".to_owned(),
                    formats: "Basic {base64}".to_owned(),
                };
                let credentials = read::basic(credentials).ok_or_else(place)?;
                let number = matching(way, &[&credentials], "basic credential")?;
                let what = "basic".to_owned();
                Ok(Proven::By { what, number })
            })
            .transpose(),
        Scheme::Bearer => read::credentials(request, "bearer")?
            .map(|token| {
                let number = matching(way, &[token], "bearer token")?;
                let what = "bearer".to_owned();
                Ok(Proven::By { what, number })
            })
            .transpose(),
        Scheme::Hmac(hmac) => {
            let Some((place, values)) = first_present(&hmac.signature, request)? else {
                return Ok(None);
            };
            prove_mac(way, hmac, request, now, place, &values).map(Some)
        }
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

fn prove_mac(
    way: &Way,
    hmac: &Hmac,
    request: &Request,
    now: Timestamp,
    place: &Place,
    values: &[Cow<'_, [u8]>],
) -> Result<Proven, Refusal> {
    some_secret(way)?;
    let read = read::read(&hmac.signature, place, values, &hmac.algorithms)?;
    let time = match &hmac.timestamp {
        Some(rule) => Some(read::time(rule, request, read.timestamp.as_deref(), now)?),
        None => None,
    };
    let mut facts = Facts {
        request,
        timestamp: time.as_deref(),
        headers: read.headers.as_deref(),
        secret: &[],
    };
    for key in &way.keys {
        facts.secret = key.secret.expose();
        let message = build::first_whole(&hmac.signed, &facts)?;
        let keyed = key_bytes(key, &facts)?;
        let mut made: Vec<(Algorithm, Vec<u8>)> = Vec::new();
        for proof in &read.proofs {
            let algorithm = proof.algorithm.unwrap_or(hmac.algorithms[0]);
            if !made.iter().any(|(known, _)| *known == algorithm) {
                made.push((algorithm, mac::mac(algorithm, &keyed, &message)));
            }
            let fits = |(known, mac): &(Algorithm, Vec<u8>)| {
                *known == algorithm && mac::equal(mac, &proof.bytes)
            };
            if made.iter().any(fits) {
                return Ok(Proven::By {
                    what: format!("{algorithm} in {place}"),
                    number: key.number,
                });
            }
        }
    }
    Err(Refusal::Mismatch {
        what: "signature",
        secrets: way.keys.len(),
    })
}

/// The bytes that key the MAC: the first form whose names are all there.
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

/// The first place of a way at which something stands. More than one value needs a separator, even if they are equal.
fn first_present<'a, 'r>(
    shown: &'a Shown,
    request: &'r Request,
) -> Result<Option<Present<'a, 'r>>, Refusal> {
    for place in &shown.places {
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
