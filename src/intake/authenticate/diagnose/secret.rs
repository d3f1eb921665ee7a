//! Mistakes about the secret itself, and about the key that is made of it.

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::words::Cause;
use super::{Attempt, Surroundings, Tried, is_kept, is_signed, shown_value};
use crate::bridge::auth::{Encoding, Key, KeyForm, Scheme, undo_percent};
use crate::bridge::weak::EXAMPLES;
use crate::intake::authenticate::{mac, read, redact};
use crate::model::Secret;

/// A secret as the other end may have it.
type Change = fn(&[u8]) -> Option<Vec<u8>>;

/// The cause, what more there is to say, and the change of our secret into the sender's.
const CHANGES: [(&str, &str, Change); 19] = [
    ("secret-newline", "the bridge's does", |s| {
        Some(s.strip_suffix(b"\n")?.to_vec())
    }),
    ("secret-newline", "the bridge's does (CRLF)", |s| {
        Some(s.strip_suffix(b"\r\n")?.to_vec())
    }),
    ("secret-newline", "the sender's does", |s| {
        Some([s, b"\n"].concat())
    }),
    ("secret-newline", "the sender's does (CRLF)", |s| {
        Some([s, b"\r\n"].concat())
    }),
    ("secret-blanks", "the bridge's", |s| {
        Some(s.trim_ascii().to_vec())
    }),
    ("secret-blanks", "the sender's, behind it", |s| {
        Some([s, b" "].concat())
    }),
    ("secret-blanks", "the sender's, in front of it", |s| {
        Some([b" ", s].concat())
    }),
    ("secret-quotes", "the bridge's", |s| unquoted(s, b'"')),
    ("secret-quotes", "the bridge's", |s| unquoted(s, b'\'')),
    ("secret-quotes", "the sender's", |s| {
        Some([b"\"", s, b"\""].concat())
    }),
    ("secret-quotes", "the sender's", |s| {
        Some([b"'", s, b"'"].concat())
    }),
    ("secret-quotes", "the sender's", |s| {
        Some([b"`", s, b"`"].concat())
    }),
    ("secret-case", "", |s| Some(s.to_ascii_lowercase())),
    ("secret-case", "", |s| Some(s.to_ascii_uppercase())),
    ("secret-percent", "the bridge's", |s| Some(undo_percent(s))),
    ("secret-percent", "the sender's", |s| {
        Some(escaped(s, "%20"))
    }),
    ("secret-percent", "the sender's, as in a form", |s| {
        Some(escaped(s, "+"))
    }),
    ("secret-blanks", "the bridge's, inside of it", |s| {
        Some(
            s.iter()
                .copied()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect(),
        )
    }),
    ("secret-empty", "", |_| Some(Vec::new())),
];

/// What programs write for a value that is not there.
const NOTHING: [&str; 6] = [
    "undefined",
    "null",
    "None",
    "nil",
    "NULL",
    "[object Object]",
];

/// A secret that is cut further is guessed rather than recognised. In bytes.
const SHORTEST: usize = 6;

/// The bridge with the secret as the sender may have it.
pub(super) fn tries(attempt: &Attempt, surroundings: &Surroundings<'_>) -> Vec<Tried> {
    let mut tried = Vec::new();
    let mut with = |id, detail: String, change: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        tried.extend(changed(attempt, change).map(|attempt| Tried::of(id, detail, attempt)));
    };
    for (id, detail, change) in CHANGES {
        // A token that is empty or in another case would be found in requests that show none.
        if id != "secret-empty" || is_signed(attempt) {
            with(id, detail.to_owned(), &change);
        }
    }
    let scene = surroundings.scene;
    for (name, auth) in &scene.others {
        for key in auth.ways().iter().flat_map(|way| &way.keys) {
            with("secret-of-another-bridge", format!("`{name}`"), &|_| {
                Some(key.secret.expose().to_vec())
            });
        }
    }
    for reference in &scene.references {
        for written in placeholders(reference) {
            with("secret-placeholder", format!("`{written}`"), &|_| {
                Some(written.clone().into_bytes())
            });
        }
    }
    for (from, to) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
        let end = if from == 0 { "end" } else { "beginning" };
        let detail = format!("{} at the {end}", from + to);
        with("secret-cut", detail, &|s| {
            let rest = s.get(from..s.len().checked_sub(to)?)?;
            (rest.len() >= SHORTEST).then(|| rest.to_vec())
        });
    }
    if let Some(shown) = credential(attempt) {
        with("secret-longer", "at the end".to_owned(), &|s| {
            let more = shown.strip_prefix(s)?.len();
            (s.len() >= SHORTEST && (1..=2).contains(&more)).then(|| shown.clone())
        });
        with("secret-longer", "at the beginning".to_owned(), &|s| {
            let more = shown.strip_suffix(s)?.len();
            (s.len() >= SHORTEST && (1..=2).contains(&more)).then(|| shown.clone())
        });
    }
    for word in NOTHING {
        with("secret-unset", format!("`{word}`"), &|_| Some(word.into()));
    }
    for example in EXAMPLES {
        with("secret-example", format!("`{example}`"), &|_| {
            Some(example.into())
        });
    }
    tried
}

/// The secret that a way shows as it is.
fn credential(attempt: &Attempt) -> Option<Vec<u8>> {
    let credentials = |word| read::credentials(&attempt.request, word).ok().flatten();
    match attempt.way.scheme {
        Scheme::Token(_) => Some(shown_value(attempt)?.1.first()?.clone().into_bytes()),
        Scheme::Bearer => Some(credentials("bearer")?.to_vec()),
        Scheme::Basic => read::basic(credentials("basic")?),
        Scheme::None | Scheme::Hmac(_) | Scheme::Ed25519(_) => None,
    }
}

/// A reference as it stands where nobody resolves it.
fn placeholders(reference: &str) -> Vec<String> {
    let name = reference
        .split_once(':')
        .map_or(reference, |(_, name)| name);
    vec![
        format!("${name}"),
        format!("${{{name}}}"),
        format!("%{name}%"),
        format!("{{{{{name}}}}}"),
        format!("{{{{ {name} }}}}"),
        format!("${{{{ secrets.{name} }}}}"),
        format!("${{{{secrets.{name}}}}}"),
        format!("<{name}>"),
        format!("@{name}"),
        reference.to_owned(),
        name.to_owned(),
    ]
}

/// The bridge with the key made of the secret in another way.
pub(super) fn keys(attempt: &Attempt, _: &Surroundings<'_>) -> Vec<Tried> {
    if !is_signed(attempt) {
        return Vec::new();
    }
    let mut tried = Vec::new();
    let mut with = |id, detail: String, change: &dyn Fn(&Key) -> Option<Vec<u8>>| {
        let mut attempt = attempt.clone();
        attempt.way.keys.retain_mut(|key| match change(key) {
            Some(bytes) => {
                key.forms = vec![KeyForm::Fixed(Secret::new(bytes))];
                true
            }
            None => false,
        });
        if !attempt.way.keys.is_empty() {
            tried.push(Tried::of(id, detail, attempt));
        }
    };
    let text = |key: &Key| key.secret.expose().to_vec();
    let decodes = |key: &Key| !is_text(key);
    with("key-not-decoded", String::new(), &|key| {
        decodes(key).then(|| text(key))
    });
    with(
        "key-not-decoded",
        "without what stands in front of the `_`".to_owned(),
        &|key| {
            let text = text(key);
            let at = text.iter().position(|byte| *byte == b'_')?;
            decodes(key).then(|| text[at + 1..].to_vec())
        },
    );
    for reading in READINGS {
        let detail = format!("as {}", reading.name);
        with("key-decoded", detail, &|key| {
            is_text(key)
                .then(|| reading.read(key.secret.expose()))
                .flatten()
        });
    }
    for (encoding, name) in [
        (Encoding::Hex, "hex"),
        (Encoding::Base64, "base64"),
        (Encoding::Base64Url, "base64url"),
    ] {
        with("key-encoded", format!("in {name}"), &|key| {
            Some(encoding.encode(key.secret.expose()).into_bytes())
        });
    }
    for (name, hash) in HASHES {
        with(
            "key-hashed",
            format!("the hex digits of its {name}"),
            &|key| Some(hex::encode(hash(key.secret.expose())).into_bytes()),
        );
        with("key-hashed", format!("its {name}"), &|key| {
            Some(hash(key.secret.expose()))
        });
    }
    tried
}

type Hash = fn(&[u8]) -> Vec<u8>;

/// Hashes that people make keys with.
const HASHES: [(&str, Hash); 3] = [
    ("SHA-256", |secret| Sha256::digest(secret).to_vec()),
    ("SHA-1", |secret| Sha1::digest(secret).to_vec()),
    ("SHA-512", |secret| Sha512::digest(secret).to_vec()),
];

/// That a secret itself stands where its signature should be. In a request that the service has kept it is masked, so
/// there only its length is seen.
pub(super) fn shown(attempt: &Attempt) -> Option<Cause> {
    if !is_signed(attempt) {
        return None;
    }
    let (_, values) = shown_value(attempt)?;
    let quotes = ['"', '\'', '`', ' '];
    let stands = |secret: &str| {
        let secret = secret.trim().trim_matches(quotes);
        let bare = values.iter().map(|value| value.trim_matches(quotes));
        // The whole value, or all of it behind a prefix.
        let mut before = bare.filter_map(|value| value.strip_suffix(secret));
        let inside = |sign: char| sign.is_alphanumeric() || sign == '*';
        !secret.is_empty() && before.any(|before| !before.ends_with(inside))
    };
    let secrets = || attempt.way.keys.iter().map(|key| &key.secret);
    if secrets().filter_map(Secret::expose_text).any(stands) {
        return Some(Cause::proven("secret-as-signature", ""));
    }
    let mut masked = secrets().map(|secret| redact::mask(secret.expose()));
    let alike = is_kept(&attempt.request) && masked.any(|secret| stands(&secret));
    alike.then(|| Cause::seen("secret-as-signature", "by its length"))
}

fn is_text(key: &Key) -> bool {
    let text = key.secret.expose();
    let form = key.forms.first();
    matches!(form, Some(KeyForm::Fixed(bytes)) if mac::equal(bytes.expose(), text))
}

/// How a text may be read as a key.
#[derive(Clone, Copy)]
struct Reading {
    name: &'static str,
    encoding: Encoding,
    /// Whether what stands in front of the first `_` is cut off: `whsec_`.
    behind: bool,
}

const READINGS: [Reading; 6] = [
    Reading {
        name: "hex",
        encoding: Encoding::Hex,
        behind: false,
    },
    Reading {
        name: "base64",
        encoding: Encoding::Base64,
        behind: false,
    },
    Reading {
        name: "base64url",
        encoding: Encoding::Base64Url,
        behind: false,
    },
    Reading {
        name: "base64 behind its prefix",
        encoding: Encoding::Base64,
        behind: true,
    },
    Reading {
        name: "base64url behind its prefix",
        encoding: Encoding::Base64Url,
        behind: true,
    },
    Reading {
        name: "hex behind its prefix",
        encoding: Encoding::Hex,
        behind: true,
    },
];

impl Reading {
    fn read(self, text: &[u8]) -> Option<Vec<u8>> {
        let text = match self.behind {
            true => &text[text.iter().position(|byte| *byte == b'_')? + 1..],
            false => text,
        };
        self.encoding.decode(text)
    }
}

/// The attempt with its secrets changed, each read as a key as before; `None` when nothing changed.
fn changed(attempt: &Attempt, change: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Attempt> {
    let mut attempt = attempt.clone();
    attempt.way.keys.retain_mut(|key| {
        let old = key.secret.clone();
        let Some(new) = change(old.expose()).filter(|new| !mac::equal(new, old.expose())) else {
            return false;
        };
        for form in &mut key.forms {
            if let KeyForm::Fixed(bytes) = form {
                let read = |reading: &Reading| {
                    let key = reading.read(old.expose());
                    key.is_some_and(|key| mac::equal(&key, bytes.expose()))
                };
                let reading = READINGS.into_iter().find(read);
                let as_read = reading.and_then(|reading| reading.read(&new));
                *form = KeyForm::Fixed(Secret::new(as_read.unwrap_or_else(|| new.clone())));
            }
        }
        key.secret = Secret::new(new);
        true
    });
    (!attempt.way.keys.is_empty()).then_some(attempt)
}

fn unquoted(secret: &[u8], quote: u8) -> Option<Vec<u8>> {
    let inner = secret.strip_prefix(&[quote])?.strip_suffix(&[quote])?;
    Some(inner.to_vec())
}

fn escaped(secret: &[u8], blank: &str) -> Vec<u8> {
    let byte = |&byte: &u8| match byte {
        b' ' => blank.to_owned(),
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    secret.iter().map(byte).collect::<String>().into_bytes()
}
