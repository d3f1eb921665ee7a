//! A `curl` line that posts to a bridge as its sender would.

use serde_json::{Map, Value};

use crate::bridge::auth::{Encoding, Hmac, Holds, KeyForm, Piece, Place, Reads, Scheme, Shown};
use crate::bridge::{Bridge, shipped};
use crate::intake::Request;
use crate::model::SecretRef;

/// A line to paste that the door answers with 202. It holds no secret and nothing made from one, for it may end up in the log
/// of a build: it names the secret's place, `$TOKEN`, and signs by `openssl` where it is run. `None` where a line would need
/// more than that.
pub fn curl_line(bridge: &Bridge, address: &str) -> Option<String> {
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
    let (kind, body) = said(bridge);
    headers.extend(kind);
    match &way.scheme {
        Scheme::None => {}
        // Only the sender has the private key.
        Scheme::Ed25519(_) => return None,
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
        Scheme::Hmac(hmac) => {
            let key = way.keys.first()?;
            let plain = matches!(key.forms.first()?, KeyForm::Fixed(bytes) if bytes.expose() == key.secret.expose());
            let whole_body = hmac.signed.first()?.pieces() == [Piece::Name(Holds::Body)];
            let Place::Header(name) = hmac.signature.places.first()? else {
                return None;
            };
            if !plain || !whole_body || hmac.timestamp.is_some() {
                return None;
            }
            let signature = signature(hmac, &secret()?, &body)?;
            headers.push(format!("\"{name}: {signature}\""));
        }
    }
    let headers: String = headers
        .iter()
        .map(|header| format!(" -H {header}"))
        .collect();
    Some(format!("curl -i {address}{user}{headers} -d '{body}'"))
}

/// The header that names the kind, and a small body that goes with it: from the first shipped sample.
fn said(bridge: &Bridge) -> (Option<String>, String) {
    const SHORT: usize = 100;
    let bare = || (None, r#"{"title": "hello"}"#.to_owned());
    let first = bridge.template_folders.iter().find_map(|folder| {
        let folder = format!("bridges/samples/{folder}/");
        shipped::paths().find(|path| path.starts_with(&folder))
    });
    let sample = first.and_then(|path| shipped::find(&path));
    let Some(Ok(sample)) = sample.map(|text| Request::from_text(&bridge.name, text.as_bytes()))
    else {
        return bare();
    };
    let kind = sample.headers.iter().find_map(|(name, value)| {
        let value = value.to_str().ok().filter(|text| !text.contains('\''))?;
        let names_the_kind = name.as_str().ends_with("-event");
        names_the_kind.then(|| format!("'{name}: {value}'"))
    });
    let body = serde_json::from_slice::<Map<String, Value>>(&sample.body);
    let text = body.ok().and_then(|fields| {
        let mut texts = fields.into_iter().filter(|(_, value)| value.is_string());
        let (name, value) = texts.next()?;
        let text = format!("{{{}: {value}}}", Value::String(name));
        (text.len() <= SHORT && !text.contains('\'')).then_some(text)
    });
    match (kind, text) {
        (Some(kind), Some(text)) => (Some(kind), text),
        _ => bare(),
    }
}

/// The first format with a command in the place of the signature, for a text in double quotes.
fn signature(hmac: &Hmac, secret: &str, body: &str) -> Option<String> {
    let [pattern] = hmac.signature.formats.first()?.as_slice() else {
        return None;
    };
    let algorithm = hmac.algorithms.first()?.word();
    let sign = format!("printf %s '{body}' | openssl dgst -{algorithm} -hmac \"{secret}\"");
    let piece = |piece: &Piece<Reads>| match piece {
        Piece::Text(text) if text.contains(['"', '$', '`', '\\']) => None,
        Piece::Text(text) => Some(text.clone()),
        Piece::Name(Reads::Algorithm) => Some(algorithm.to_owned()),
        Piece::Name(Reads::Signature(encoding)) => Some(match encoding {
            Encoding::Hex => format!("$({sign} -r | cut -d' ' -f1)"),
            Encoding::Base64 => format!("$({sign} -binary | openssl base64 -A)"),
            Encoding::Base64Url => {
                format!("$({sign} -binary | openssl base64 -A | tr '+/' '-_')")
            }
        }),
        Piece::Name(_) => None,
    };
    pattern.pieces().iter().map(piece).collect()
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
