//! Secrets and references to them. A secret never prints itself.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretSlice};

/// Bytes that must not be shown. `Debug` prints `[redacted]`; there is no `Display`.
#[derive(Clone)]
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// Wraps the bytes of a secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into().into())
    }

    /// The bytes themselves, for the one call that needs them.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// The secret as text, for places that are text (a header, a JSON field).
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(self.expose()).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where a secret stands: `env:NAME` or `file:/path`. Configuration holds these, never secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one trailing newline does not belong to the secret.
    File(PathBuf),
}

/// The text is not a reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a secret is written as a reference, `env:NAME` or `file:/path`, never as itself")]
pub struct NotASecretRef;

impl FromStr for SecretRef {
    type Err = NotASecretRef;

    fn from_str(text: &str) -> Result<SecretRef, NotASecretRef> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(path.into())),
            _ => Err(NotASecretRef),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(secret.expose_text(), Some("hunter2"));
    }

    #[test]
    fn a_literal_is_no_reference() {
        assert_eq!("hunter2".parse::<SecretRef>(), Err(NotASecretRef));
        assert_eq!("env:".parse::<SecretRef>(), Err(NotASecretRef));
        assert_eq!("env:X".parse(), Ok(SecretRef::Env("X".into())));
        assert_eq!("file:/run/x".parse(), Ok(SecretRef::File("/run/x".into())));
    }
}
