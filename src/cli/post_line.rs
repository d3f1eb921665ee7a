//! A `curl` line that posts to a bridge as its sender would.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

use crate::bridge::Bridge;
use crate::bridge::auth::{Piece, Place, Scheme, Shown};
use crate::intake::Request;
use crate::intake::authenticate::sign;
use crate::model::{SecretRef, Timestamp};

const BODY: &str = r#"{"title": "hello"}"#;

/// A line to paste that the door answers with 202. Signatures are made here and name no secret; what shows the secret itself
/// names its place, `$TOKEN`. `None` where a line would need more than `curl` can do.
pub fn curl_line(bridge: &Bridge, address: &str, now: Timestamp) -> Option<String> {
    let auth = bridge.auth.as_ref()?;
    let way = auth
        .ways()
        .iter()
        .find(|way| !way.keys.is_empty() || matches!(way.scheme, Scheme::None))?;
    let reference = way
        .keys
        .first()
        .and_then(|key| bridge.secrets.get(key.number.checked_sub(1)?));
    let secret = || {
        Some(match reference? {
            SecretRef::Env(name) => format!("${name}"),
            SecretRef::File(path) => format!("$(cat {})", path.display()),
        })
    };
    let mut headers = vec!["'Content-Type: application/json'".to_owned()];
    let mut address = address.to_owned();
    let mut user = String::new();
    match &way.scheme {
        Scheme::None => {}
        Scheme::Bearer => headers.push(format!("\"Authorization: Bearer {}\"", secret()?)),
        Scheme::Basic => user = format!(" -u \"{}\"", secret()?),
        Scheme::Token(shown) => {
            let token = as_shown(shown, &secret()?)?;
            match shown.places.first()? {
                Place::Header(name) => headers.push(format!("\"{name}: {token}\"")),
                Place::Query(name) => address = format!("\"{address}?{name}={token}\""),
                Place::Path => address = format!("\"{address}/{token}\""),
                Place::Form(_) | Place::Body(_) => return None,
            }
        }
        Scheme::Hmac(_) => {
            let bare = request(&bridge.name);
            let signed = sign(auth, bare.clone(), now).ok()?;
            if signed.body != bare.body || signed.target != bare.target {
                return None;
            }
            for (name, value) in &signed.headers {
                if !bare.headers.contains_key(name) {
                    headers.push(format!(
                        "'{name}: {}'",
                        value.to_str().ok().filter(|text| !text.contains('\''))?
                    ));
                }
            }
        }
    }
    let headers: String = headers
        .iter()
        .map(|header| format!(" -H {header}"))
        .collect();
    Some(format!("curl -i {address}{user}{headers} -d '{BODY}'"))
}

fn request(bridge: &str) -> Request {
    let json = HeaderValue::from_static("application/json");
    Request {
        method: Method::POST,
        target: format!("/hooks/{bridge}"),
        rest: String::new(),
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]),
        body: Bytes::from_static(BODY.as_bytes()),
        peer: None,
    }
}

/// The first format with the token in its place.
fn as_shown(shown: &Shown, token: &str) -> Option<String> {
    let [pattern] = shown.formats.first()?.as_slice() else {
        return None;
    };
    let piece = |piece: &Piece<_>| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Name(_) => token.to_owned(),
    };
    Some(pattern.pieces().iter().map(piece).collect())
}
