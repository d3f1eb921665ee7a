//! Tokens as OpenIM makes them: JWT, HS256, signed with the server's secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::model::Timestamp;

/// How long a token holds, as OpenIM ships (`tokenPolicy.expire`: 90 days), in seconds.
pub(super) const LIFETIME: i64 = 90 * 86_400;

/// OpenIM dates a token back, so that clocks may differ a little, in seconds.
const BACKDATED: i64 = 5;

/// Whom a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(rename = "UserID")]
    pub user: String,
    #[serde(rename = "PlatformID")]
    pub platform: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Malformed,
    Expired,
    Signature,
    FromTheFuture,
}

/// Makes a token.
pub(super) fn issue(secret: &[u8], user: &str, platform: i64, now: Timestamp) -> String {
    let now = now.as_second();
    let claims = Claims {
        user: user.to_owned(),
        platform,
        exp: now.saturating_add(LIFETIME),
        iat: now.saturating_sub(BACKDATED),
    };
    let claims = serde_json::to_vec(&claims).expect("texts and numbers are always JSON");
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(mac(secret, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// Reads a token. As in golang-jwt, its dates are looked at before its signature.
pub(super) fn read(secret: &[u8], token: &str, now: Timestamp) -> Result<Claims, Flaw> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Flaw::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(Flaw::Malformed)?;
    json_part::<serde_json::Map<_, _>>(header)?;
    let claims: Claims = json_part(claims)?;
    let now = now.as_second();
    if claims.exp < now {
        return Err(Flaw::Expired);
    }
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| Flaw::Signature)?;
    mac(secret, signed)
        .verify_slice(&signature)
        .map_err(|_| Flaw::Signature)?;
    if claims.iat > now {
        return Err(Flaw::FromTheFuture);
    }
    Ok(claims)
}

fn json_part<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Flaw> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Flaw::Malformed)
}

fn mac(secret: &[u8], signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_holds_for_its_secret_and_its_time() {
        let token = issue(b"one", "imAdmin", 10, at(1000));

        assert_eq!(read(b"one", &token, at(1000)).unwrap().user, "imAdmin");
        assert_eq!(read(b"two", &token, at(1000)), Err(Flaw::Signature));
        assert_eq!(
            read(b"one", &token, at(1001 + LIFETIME)),
            Err(Flaw::Expired)
        );
        assert_eq!(read(b"one", &token, at(900)), Err(Flaw::FromTheFuture));
        for broken in ["", "abc", "a.b", "a.b.c", "…"] {
            assert_eq!(
                read(b"one", broken, at(1000)),
                Err(Flaw::Malformed),
                "{broken}"
            );
        }
    }
}
