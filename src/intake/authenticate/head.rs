//! What the head of a request shows, before anything of its body is there. Nothing is believed here: it is only known
//! early what the whole would be refused for too.

use super::{Refusal, check_address, first_present_of, missing, prove, read, some_secret};
use crate::bridge::auth::{Auth, Place, Scheme, Shown};
use crate::intake::Request;
use crate::model::Timestamp;

/// What a head shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// The request is refused for this, whatever its body says.
    Refused(Refusal),
    /// The right token or password stands there, or none is asked for.
    Shown,
    /// The body decides.
    Undecided,
}

/// Asks the head of a request; its body is not looked at. The whole is asked all the same by
/// [`authenticate`](super::authenticate), unless it is refused already.
pub fn ask_head(auth: &Auth, head: &Request, now: Timestamp) -> Head {
    decide(auth, head, now).unwrap_or_else(Head::Refused)
}

fn decide(auth: &Auth, head: &Request, now: Timestamp) -> Result<Head, Refusal> {
    check_address(auth, head)?;
    for way in auth.ways() {
        let shown = match &way.scheme {
            Scheme::None => return Ok(Head::Shown),
            Scheme::Basic | Scheme::Bearer => match prove(way, head, now)? {
                Some(_) => return Ok(Head::Shown),
                None => continue,
            },
            Scheme::Token(shown) => shown,
            Scheme::Hmac(hmac) => &hmac.signature,
            Scheme::Ed25519(ed25519) => &ed25519.signature,
        };
        let places = before_the_body(shown);
        let Some((place, values)) = first_present_of(places, shown, head)? else {
            if places.len() < shown.places.len() {
                return Ok(Head::Undecided);
            }
            continue;
        };
        let Some(signing) = way.scheme.signing() else {
            prove(way, head, now)?;
            return Ok(Head::Shown);
        };
        some_secret(way)?;
        read::read(shown, place, &values, signing.algorithms)?;
        return Ok(Head::Undecided);
    }
    Err(missing(auth))
}

/// The places that are asked before the first one in the body.
fn before_the_body(shown: &Shown) -> &[Place] {
    let in_body = |place: &Place| matches!(place, Place::Form(_) | Place::Body(_));
    let end = shown.places.iter().position(in_body);
    &shown.places[..end.unwrap_or(shown.places.len())]
}
