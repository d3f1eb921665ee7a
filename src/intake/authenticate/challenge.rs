//! Challenges: a sender asks its address for an answer before it believes that somebody listens there.

use std::borrow::Cow;

use super::find::find;
use super::{check_address, key_bytes, mac};
use crate::bridge::auth::{Auth, Challenge, Piece, Says, Scheme};
use crate::intake::authenticate::build::Facts;
use crate::intake::authenticate::{Missing, Refusal};
use crate::intake::{Answer, Request};

/// The answer to a GET, which shows no proof: only a short and plain challenge is answered, because an answer with a MAC
/// signs what a stranger chose.
pub fn answer_anybody(auth: &Auth, request: &Request) -> Result<Answer, Refusal> {
    check_address(auth, request)?;
    let challenge = auth.challenge();
    let challenge = challenge.ok_or_else(|| Refusal::Absent(Missing(Vec::new())))?;
    let from = challenge.from.to_string();
    let values = find(request, &challenge.from).map_err(|_| Refusal::NotAText(from.clone()))?;
    match values.as_slice() {
        [] => Err(Refusal::Absent(Missing::at(&challenge.from))),
        [value] if Challenge::is_plain(value) => answer(auth, challenge, value, request),
        [_] => Err(Refusal::NoChallenge(from)),
        _ => Err(Refusal::Repeated(from)),
    }
}

/// The answer to a request whose sender is known; `None` when it is no challenge.
pub(super) fn find_answer(auth: &Auth, request: &Request) -> Result<Option<Answer>, Refusal> {
    let Some(challenge) = auth.challenge() else {
        return Ok(None);
    };
    // What is no text there, or stands there twice, belongs to an event.
    match find(request, &challenge.from).as_deref() {
        Ok([value]) if !value.is_empty() => answer(auth, challenge, value, request).map(Some),
        _ => Ok(None),
    }
}

fn answer(
    auth: &Auth,
    challenge: &Challenge,
    value: &[u8],
    request: &Request,
) -> Result<Answer, Refusal> {
    let json = challenge.is_json();
    let mut text = String::new();
    for piece in &challenge.answer {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Name(Says::Challenge) => {
                let value = String::from_utf8_lossy(value);
                match json {
                    true => text.push_str(&inside_json(&value)),
                    false => text.push_str(&value),
                }
            }
            Piece::Name(Says::Mac(encoding)) => {
                text.push_str(&encoding.encode(&signed(auth, value, request)?));
            }
        }
    }
    Ok(Answer { json, text })
}

/// The MAC of a challenge with the first secret that is made for a MAC.
fn signed(auth: &Auth, value: &[u8], request: &Request) -> Result<Vec<u8>, Refusal> {
    let no_secret = || Refusal::NoSecret("a signed answer".to_owned());
    let way = Challenge::way(auth.ways()).ok_or_else(no_secret)?;
    let Scheme::Hmac(hmac) = &way.scheme else {
        return Err(no_secret());
    };
    let key = way.keys.first().ok_or_else(no_secret)?;
    let facts = Facts {
        request,
        timestamp: None,
        headers: None,
        secret: key.secret.expose(),
    };
    let keyed = key_bytes(key, &facts)?;
    Ok(mac::mac(hmac.algorithms[0], &keyed, &[value]))
}

/// The content of a JSON text, without the quotes around it.
fn inside_json(text: &str) -> String {
    let quoted = serde_json::Value::String(text.to_owned()).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Whether the pieces in a row are what anybody may have answered.
pub(super) fn is_plain(pieces: &[Cow<'_, [u8]>]) -> bool {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    length <= Challenge::LONGEST && Challenge::is_plain(&pieces.concat())
}
