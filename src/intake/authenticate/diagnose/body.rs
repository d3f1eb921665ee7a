//! What may happen to a body between signing and here.

use sha2::{Digest, Sha256};

use super::json::{ESCAPES, Escapes, LAYOUTS, Tree};
use super::{Attempt, Surroundings, Tried};
use crate::bridge::auth::{Encoding, Holds, Template};
use crate::intake::form;

const MARK: &[u8] = b"\xef\xbb\xbf";

/// A body as it may have been signed, the cause that this would be, and what more there is to say.
type Other = (&'static str, String, Vec<u8>);

/// The request with every other body that may have been signed.
pub(super) fn tries(attempt: &Attempt, surroundings: &Surroundings<'_>) -> Vec<Tried> {
    let signing = attempt.way.scheme.signing();
    let of_body = |signed: &Template| signed.holds(&Holds::Body);
    if !signing.is_some_and(|signing| signing.signed.iter().any(of_body)) {
        return Vec::new();
    }
    let body = &attempt.request.body[..];
    let mut others = of_bytes(body);
    if let Some(packed) = &surroundings.packed {
        others.push(("body-compressed", String::new(), packed.to_vec()));
    }
    others.extend(of_json(body));
    if let Ok(text) = std::str::from_utf8(body) {
        others.extend(of_texts(text));
    } else {
        let text: String = body.iter().copied().map(char::from).collect();
        others.push((
            "body-charset",
            "it came as Latin-1 and was signed as UTF-8".to_owned(),
            text.into_bytes(),
        ));
    }
    others.extend(of_forms(body));
    let changed = others.into_iter().filter(|(_, _, other)| other != body);
    let tried = changed.map(|(id, detail, other)| {
        let mut attempt = attempt.clone();
        attempt.request.body = other.into();
        Tried::of(id, detail, attempt)
    });
    tried.collect()
}

fn of_bytes(body: &[u8]) -> Vec<Other> {
    let mut others: Vec<Other> = Vec::new();
    let mut other = |id, detail: &str, body: Vec<u8>| others.push((id, detail.to_owned(), body));
    let without = "the body has one that was not signed";
    for end in [&b"\r\n"[..], b"\n"] {
        if let Some(rest) = body.strip_suffix(end) {
            other("body-newline", without, rest.to_vec());
        }
        let name = if end.len() == 2 { "CRLF" } else { "LF" };
        let with = format!("{name} was signed that did not come");
        other("body-newline", &with, [body, end].concat());
    }
    let ends = body
        .iter()
        .rev()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    other("body-newline", without, body[..body.len() - ends].to_vec());
    other(
        "body-line-ends",
        "LF was signed, CRLF came",
        replaced(body, b"\r\n", b"\n"),
    );
    if !body.windows(2).any(|two| two == b"\r\n") {
        other(
            "body-line-ends",
            "CRLF was signed, LF came",
            replaced(body, b"\n", b"\r\n"),
        );
    }
    match body.strip_prefix(MARK) {
        Some(rest) => other("body-bom", "it was not signed", rest.to_vec()),
        None => other(
            "body-bom",
            "it was signed but did not come",
            [MARK, body].concat(),
        ),
    }
    other("body-blanks", "", body.trim_ascii().to_vec());
    other("body-empty", "", Vec::new());
    let digest = Sha256::digest(body);
    for text in [
        hex::encode(digest),
        hex::encode_upper(digest),
        Encoding::Base64.encode(&digest),
    ] {
        other("body-digest", "SHA-256", text.into_bytes());
    }
    other("body-digest", "SHA-256", digest.to_vec());
    others
}

fn replaced(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.windows(from.len()).position(|part| part == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

fn of_json(body: &[u8]) -> Vec<Other> {
    let body = body.strip_prefix(MARK).unwrap_or(body);
    let read = || Tree::read(body);
    let mut others = Vec::new();
    let (Some(kept), Some(sorted)) = (read(), read().map(Tree::sorted)) else {
        return others;
    };
    for (tree, order) in [(&kept, ""), (&sorted, "names sorted")] {
        for (escapes, escaped) in ESCAPES {
            for layout in LAYOUTS {
                let parts = [layout.name, escaped, order];
                let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                let detail = format!("signed as {}", parts.join(", "));
                let text = tree.write(layout, escapes);
                others.push(("body-reserialised", detail, text.into_bytes()));
            }
        }
    }
    if let Tree::Text(inner) = &kept {
        let detail = "the text inside was signed".to_owned();
        others.push(("body-stringified", detail, inner.clone().into_bytes()));
    }
    if let Tree::Table(fields) = &kept {
        let word = |tree: &Tree| match tree {
            Tree::Text(text) | Tree::Word(text) => Some(text.clone()),
            Tree::List(_) | Tree::Table(_) => None,
        };
        let pairs: Option<Vec<_>> = fields
            .iter()
            .map(|(name, value)| Some((name.clone().into_bytes(), word(value)?.into_bytes())))
            .collect();
        for form in pairs.into_iter().flat_map(|pairs| forms(&pairs)) {
            others.push(("json-for-form", String::new(), form));
        }
    }
    others
}

fn of_texts(text: &str) -> Vec<Other> {
    let mut others: Vec<Other> = Vec::new();
    let mut other = |detail: &str, body: Vec<u8>| {
        others.push(("body-charset", detail.to_owned(), body));
    };
    let latin: Option<Vec<u8>> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).ok())
        .collect();
    if let Some(latin) = latin {
        let detail = match std::str::from_utf8(&latin) {
            Ok(_) => "it was encoded as UTF-8 twice on the way",
            Err(_) => "it was signed as Latin-1 and came as UTF-8",
        };
        other(detail, latin);
    }
    let twice: String = text.bytes().map(char::from).collect();
    other(
        "it was encoded as UTF-8 twice before signing",
        twice.into_bytes(),
    );
    let asked: String = text
        .chars()
        .map(|c| if c.is_ascii() { c } else { '?' })
        .collect();
    other(
        "it was signed as ASCII, other letters as `?`",
        asked.into_bytes(),
    );
    let units: Vec<u16> = text.encode_utf16().collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    other(
        "it was signed as UTF-16",
        [&b"\xff\xfe"[..], &little].concat(),
    );
    other("it was signed as UTF-16", little);
    other(
        "it was signed as UTF-16",
        units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
    );
    if let Ok(quoted) = serde_json::to_string(text) {
        others.push(("body-stringified", String::new(), quoted.into_bytes()));
    }
    others
}

fn of_forms(body: &[u8]) -> Vec<Other> {
    let Some(fields) = form::fields(body).filter(|_| body.contains(&b'=')) else {
        return Vec::new();
    };
    let decoded = |text: &[u8]| form::decode(text).into_owned();
    let pairs: Vec<_> = fields
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    let mut others: Vec<Other> = forms(&pairs)
        .into_iter()
        .map(|form| ("form-reencoded", String::new(), form))
        .collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let table = pairs
        .iter()
        .map(|(name, value)| (text(name), Tree::Text(text(value))));
    let table = Tree::Table(table.collect());
    for layout in LAYOUTS {
        let json = table.write(layout, Escapes::None);
        others.push(("form-for-json", String::new(), json.into_bytes()));
    }
    others
}

/// A form as clients encode it: blanks as `+` or `%20`, escapes in either case, more or fewer characters left as they are.
fn forms(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<Vec<u8>> {
    const PLAIN: [&[u8]; 3] = [b"-._", b"*-._", b"-._~!'()*"];
    let mut forms = Vec::new();
    for plain in [PLAIN[0], b"-._~", PLAIN[1], PLAIN[2]] {
        for (blank, upper) in [("+", true), ("%20", true), ("+", false), ("%20", false)] {
            let encode = |text: &[u8]| -> String {
                let byte = |&byte: &u8| match byte {
                    b' ' => blank.to_owned(),
                    byte if byte.is_ascii_alphanumeric() || plain.contains(&byte) => {
                        char::from(byte).to_string()
                    }
                    byte if upper => format!("%{byte:02X}"),
                    byte => format!("%{byte:02x}"),
                };
                text.iter().map(byte).collect()
            };
            let fields = pairs
                .iter()
                .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
            forms.push(fields.collect::<Vec<_>>().join("&").into_bytes());
        }
    }
    forms
}
