//! From a bridge's secrets to the keys of its ways.

use super::super::problem::Flaw;
use super::encoding::Encoding;
use super::pattern::{Holds, Pattern, Reads, Template};
use super::place::Place;
use super::written::{At, Mistake};
use super::{Scheme, Way};
use crate::model::Secret;

/// A secret as one way uses it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Which of the bridge's secrets it is, counted from 1.
    pub number: usize,
    /// The secret as configured; with Ed25519 the sender's public key.
    pub secret: Secret,
    /// What a MAC is keyed with: the first whose names are all there. Empty for ways without a MAC.
    pub forms: Vec<KeyForm>,
}

/// How a secret becomes a key.
#[derive(Clone, Debug)]
pub enum KeyForm {
    /// These bytes.
    Fixed(Secret),
    /// Put together for each request.
    Built(Template),
}

/// A way without its secrets.
pub(super) struct Rule {
    pub scheme: Scheme,
    pub keys: Vec<KeyRule>,
}

/// `key` as written: one that reads the secret, or one that builds the key.
#[derive(Clone, Debug)]
pub(super) enum KeyRule {
    /// `whsec_{base64}`
    Read(Pattern),
    /// `{timestamp}\n{secret}`
    Build(Template),
}

impl KeyRule {
    /// The key's form for this secret; `None` when the secret does not read that way.
    fn form(&self, secret: &Secret) -> Option<KeyForm> {
        match self {
            KeyRule::Build(template) if *template == Template::of(Holds::Secret) => {
                Some(KeyForm::Fixed(secret.clone()))
            }
            KeyRule::Build(template) => Some(KeyForm::Built(template.clone())),
            KeyRule::Read(pattern) => {
                let found = pattern.fit(secret.expose())?;
                found.into_iter().find_map(|(name, text)| match name {
                    Reads::Signature(encoding) => Some(decode(encoding, text)?),
                    _ => None,
                })
            }
        }
    }
}

fn decode(encoding: Encoding, text: &[u8]) -> Option<KeyForm> {
    Some(KeyForm::Fixed(Secret::new(encoding.decode(text)?)))
}

/// Gives each way the secrets that are made for it. One that is not there is made for none.
pub(super) fn equip(
    rules: Vec<Rule>,
    secrets: &[Option<Secret>],
    mistakes: &mut Vec<Mistake>,
) -> Vec<Way> {
    let open = |rule: &Rule| matches!(rule.scheme, Scheme::None);
    if secrets.is_empty() && !rules.iter().all(open) {
        mistakes.push(Mistake {
            at: At::Table,
            flaw: Flaw::new(0..0, "there is no secret to authenticate with")
                .help("`secrets = [\"env:NAME\"]` or `[\"file:/path\"]` on the bridge"),
        });
    }
    let mut ways: Vec<Way> = Vec::new();
    let mut fits = vec![false; secrets.len()];
    let there = |(index, secret): (usize, &Option<Secret>)| Some((index, secret.clone()?));
    let secrets: Vec<(usize, Secret)> = secrets.iter().enumerate().filter_map(there).collect();
    for rule in rules {
        let mut way = Way {
            scheme: rule.scheme,
            keys: Vec::new(),
        };
        for (index, secret) in &secrets {
            let mut forms: Vec<KeyForm> = rule
                .keys
                .iter()
                .filter_map(|key| key.form(secret))
                .collect();
            if matches!(way.scheme, Scheme::Ed25519(_)) {
                forms.retain(is_public_key);
            }
            let fit = match &way.scheme {
                Scheme::None => false,
                Scheme::Token(shown) => shown.places.iter().any(|place| can_stand(secret, place)),
                Scheme::Basic => secret.expose().contains(&b':'),
                Scheme::Bearer => fits_a_header(secret),
                Scheme::Hmac(_) | Scheme::Ed25519(_) => !forms.is_empty(),
            };
            if fit {
                fits[*index] = true;
                way.keys.push(Key {
                    number: *index + 1,
                    secret: secret.clone(),
                    forms,
                });
            }
        }
        ways.push(way);
    }
    for (index, secret) in secrets {
        let flaw = if secret.expose().is_empty() {
            Flaw::new(0..0, "the secret is empty")
        } else if !fits[index] {
            fits_nowhere(&secret, &ways)
        } else {
            continue;
        };
        mistakes.push(Mistake {
            at: At::Secret(index),
            flaw,
        });
    }
    ways
}

/// Says of each way why it cannot use a secret, without a word of it.
fn fits_nowhere(secret: &Secret, ways: &[Way]) -> Flaw {
    let whys: Vec<String> = ways
        .iter()
        .map(|way| format!("{way}: {}", why_not(secret, &way.scheme)))
        .collect();
    match (ways, whys.as_slice()) {
        ([Way { scheme: Scheme::None, .. }], _) => {
            Flaw::new(0..0, "scheme `none` asks for no secret, so this one would protect nothing").help(
                "leave `secrets` out, or name a `scheme` that asks for one: `bearer`, `token`, `hmac-sha256`",
            )
        }
        (_, [why]) => Flaw::new(0..0, format!("the secret cannot be used: {why}")),
        _ => Flaw::new(0..0, "the secret fits no way of this bridge").help(whys.join("; ")),
    }
}

fn why_not(secret: &Secret, scheme: &Scheme) -> &'static str {
    match scheme {
        Scheme::None => "asks for no secret",
        Scheme::Basic => "`user:password` is expected, and there is no colon in it",
        Scheme::Bearer | Scheme::Token(_) if secret.expose().contains(&b'\n') => {
            "it has a line break, and a header takes none"
        }
        Scheme::Bearer | Scheme::Token(_) => {
            "it has a control sign, or a blank at an end, and a header takes none"
        }
        Scheme::Hmac(_) => "`key` cannot read it",
        Scheme::Ed25519(_) => "an Ed25519 key has 32 bytes, and `key` reads no such key out of it",
    }
}

/// The length of an Ed25519 public key (RFC 8032, section 5.1.5), in bytes.
const PUBLIC_KEY: usize = 32;

fn is_public_key(form: &KeyForm) -> bool {
    matches!(form, KeyForm::Fixed(bytes) if bytes.expose().len() == PUBLIC_KEY)
}

fn can_stand(secret: &Secret, place: &Place) -> bool {
    !matches!(place, Place::Header(_)) || fits_a_header(secret)
}

/// A header's value has no control characters and no blanks at its ends.
fn fits_a_header(secret: &Secret) -> bool {
    let secret = secret.expose();
    secret.trim_ascii() == secret && !secret.iter().any(u8::is_ascii_control)
}
