//! A `curl` line that posts to a bridge as its sender would.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::bridge::auth::{Encoding, Hmac, Holds, KeyForm, Piece, Place, Reads, Scheme, Shown};
use crate::bridge::{Bridge, shipped};
use crate::intake::authenticate::chosen;
use crate::intake::{Request, as_written};
use crate::model::{Secret, SecretRef};

/// A line to paste that the door answers with 202. It holds no secret and nothing made from one, for it may end up in the log
/// of a build: it names the secret's place, `$TOKEN`, and signs by `openssl` where it is run. `None` where a line would need
/// more than that.
pub fn curl_line(bridge: &Bridge, address: &str, directory: &Path) -> Option<String> {
    let auth = bridge.auth.as_ref()?;
    let way = auth
        .ways()
        .iter()
        .find(|way| !way.keys.is_empty() || matches!(way.scheme, Scheme::None))?;
    let reference = way
        .keys
        .first()
        .and_then(|key| bridge.secrets.get(key.number.checked_sub(1)?));
    let secret = || Some(in_shell(reference?, directory));
    let mut headers = vec!["'Content-Type: application/json'".to_owned()];
    let mut address = address.to_owned();
    let mut user = String::new();
    let (kind, body) = said(bridge);
    headers.extend(kind);
    match &way.scheme {
        Scheme::None => {}
        // Only the sender has the private key.
        Scheme::Ed25519(_) => return None,
        Scheme::Token(_) | Scheme::Basic | Scheme::Bearer => {
            let fits = way
                .keys
                .first()
                .is_none_or(|key| needs_no_escape(&key.secret));
            let credential = Credential::of(&way.scheme, &secret()?, fits)?;
            headers.extend(credential.header);
            user = credential.user;
            if !credential.behind.is_empty() {
                address = format!("\"{address}{}\"", credential.behind);
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

/// A line to paste that posts `request` as its sender would. A signature stands in it as it is, for it fits this body and this
/// moment only; a token does not: the line names its place, and the shell puts it in. `directory` is where relative `file:`
/// references begin, `body` the file that is the body.
///
/// # Errors
/// Says what a line cannot hold.
pub fn signed_line(
    bridge: &Bridge,
    number: Option<usize>,
    request: &Request,
    signed: &Request,
    base: &str,
    directory: &Path,
    body: Option<&Path>,
) -> anyhow::Result<String> {
    let auth = bridge.auth.as_ref().context("the bridge is no door")?;
    let (way, key) = chosen(auth, number).context("the bridge has no secret to sign with")?;
    let shows = matches!(
        way.scheme,
        Scheme::Token(_) | Scheme::Basic | Scheme::Bearer
    );
    let (request, credential) = match shows {
        false => (signed, Credential::default()),
        true => {
            let reference = key
                .number
                .checked_sub(1)
                .and_then(|at| bridge.secrets.get(at));
            let reference = reference.context("nobody knows where the secret stands")?;
            let secret = in_shell(reference, directory);
            let credential = Credential::of(&way.scheme, &secret, needs_no_escape(&key.secret));
            let credential = credential.context(
                "the secret stands in the body there, and a line should not hold it; without --curl the request is printed",
            )?;
            (request, credential)
        }
    };
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let mark = match (credential.behind.starts_with('?'), query) {
        (_, "") => String::new(),
        (false, query) => format!("?{query}"),
        (true, query) => format!("&{query}"),
    };
    let address = match credential.behind.as_str() {
        "" => quoted(&format!("{base}{path}{mark}")),
        behind => {
            let fixed = format!("{base}{path}");
            if format!("{fixed}{mark}").contains(['"', '$', '`', '\\']) {
                bail!(
                    "the address has characters that a shell would read; without --curl the request is printed"
                );
            }
            format!("\"{fixed}{behind}{mark}\"")
        }
    };
    let mut parts = vec![format!("curl -i {address}{}", credential.user)];
    if request.method != http::Method::POST {
        parts.push(format!("-X {}", request.method));
    }
    parts.extend(
        headers_of(request)?
            .iter()
            .map(|header| format!("-H {header}")),
    );
    parts.extend(credential.header.map(|header| format!("-H {header}")));
    if let Some(body) = body_of(request, body)? {
        parts.push(format!("--data-binary {body}"));
    }
    Ok(parts.join(" \\\n  "))
}

/// The headers as the shell takes them, and one that keeps curl from adding its own type.
fn headers_of(request: &Request) -> anyhow::Result<Vec<String>> {
    // curl writes these itself. A body at hand is unpacked.
    const OWN: [&str; 6] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "content-encoding",
        "expect",
    ];
    let mut headers = Vec::new();
    for (name, value) in &request.headers {
        if OWN.contains(&name.as_str()) {
            continue;
        }
        let value = std::str::from_utf8(value.as_bytes());
        let value = value
            .with_context(|| format!("the header {name} is no UTF-8, which a line cannot hold"))?;
        let name = as_written(name);
        headers.push(match value {
            "" => quoted(&format!("{name};")),
            value => quoted(&format!("{name}: {value}")),
        });
    }
    if !request.headers.contains_key(http::header::CONTENT_TYPE) {
        headers.push("'Content-Type:'".to_owned());
    }
    Ok(headers)
}

/// The body as the shell takes it: itself where it is short text, otherwise the file that is the body.
fn body_of(request: &Request, file: Option<&Path>) -> anyhow::Result<Option<String>> {
    /// Bytes of a body that a person still reads in a line.
    const READABLE: usize = 4_000;
    /// Linux takes 128 KiB for one argument, the quotes included.
    const LONGEST: usize = 100_000;
    let text = std::str::from_utf8(&request.body).ok();
    let text = text.filter(|text| {
        let plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
        text.chars().all(plain) && !text.starts_with('@')
    });
    Ok(match (text, file) {
        (Some(""), _) if request.method != http::Method::POST => None,
        (Some(text), _) if text.len() <= READABLE => Some(quoted(text)),
        (_, Some(file)) => {
            let file = std::path::absolute(file)?;
            Some(quoted(&format!("@{}", file.display())))
        }
        (Some(text), None) if text.len() <= LONGEST => Some(quoted(text)),
        _ => bail!(
            "the body is too long or no plain text, which a line cannot hold; without --curl the request is printed"
        ),
    })
}

/// What shows a secret that the shell puts in, for texts in double quotes.
#[derive(Default)]
struct Credential {
    header: Option<String>,
    /// Behind the path of the address: `?key=$TOKEN` or `/$TOKEN`.
    behind: String,
    user: String,
}

impl Credential {
    /// `None` for a token in the body. A secret that does not fit into an address as it is is escaped by the shell.
    fn of(scheme: &Scheme, secret: &str, fits: bool) -> Option<Credential> {
        let mut credential = Credential::default();
        match scheme {
            Scheme::Bearer => {
                credential.header = Some(format!("\"Authorization: Bearer {secret}\""));
            }
            Scheme::Basic => credential.user = format!(" -u \"{secret}\""),
            Scheme::Token(shown) => {
                let place = shown.places.first()?;
                let token = as_shown(shown, secret)?;
                let token = match place {
                    Place::Query(_) | Place::Path if !fits => escaped_in_shell(&token),
                    _ => token,
                };
                match place {
                    Place::Header(name) => credential.header = Some(format!("\"{name}: {token}\"")),
                    Place::Query(name) => credential.behind = format!("?{name}={token}"),
                    Place::Path => credential.behind = format!("/{token}"),
                    Place::Form(_) | Place::Body(_) => return None,
                }
            }
            _ => return None,
        }
        Some(credential)
    }
}

/// Whether an address takes it as it is.
fn needs_no_escape(secret: &Secret) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    secret.expose().iter().all(plain)
}

/// A text in double quotes with each of its bytes as a percent-escape, by tools that are everywhere.
fn escaped_in_shell(text: &str) -> String {
    format!("$(printf %s \"{text}\" | od -An -v -tx1 | tr -d ' \\n' | sed 's/../%&/g')")
}

/// Where a secret stands, as a shell finds it wherever the line is pasted.
fn in_shell(reference: &SecretRef, directory: &Path) -> String {
    match reference {
        SecretRef::Env(name) => {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let plain = name.chars().all(inner) && !name.starts_with(|c: char| c.is_ascii_digit());
            match plain {
                true => format!("${name}"),
                false => format!("$(printenv {})", quoted(name)),
            }
        }
        SecretRef::File(path) => {
            let path = directory.join(path);
            let path = std::path::absolute(&path).unwrap_or(path);
            format!("$(cat {})", quoted(&path.display().to_string()))
        }
    }
}

/// A text in single quotes, as every shell reads it back.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
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
