//! From a bridge's secret to the key of one way.

use super::encoding::Encoding;
use super::pattern::{Holds, Pattern, Reads, Template};
use crate::model::Secret;

/// A secret as one way uses it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Which of the bridge's secrets it is, counted from 1.
    pub number: usize,
    /// The secret as configured.
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

/// The forms of the key for one secret, as far as they can matter: nothing behind a fixed key is ever asked.
pub(super) fn forms(rules: &[KeyRule], secret: &Secret) -> Vec<KeyForm> {
    let mut forms = Vec::new();
    for form in rules.iter().filter_map(|rule| rule.form(secret)) {
        let fixed = matches!(form, KeyForm::Fixed(_));
        forms.push(form);
        if fixed {
            break;
        }
    }
    forms
}
