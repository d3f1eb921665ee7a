//! The two families of OpenIM servers that people run.

use std::fmt;
use std::str::FromStr;

/// Which contents and calls an OpenIM server knows. Told apart by asking, not by configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Branch `main`: takes Markdown (118) and quotes (114).
    Main,
    /// The releases 3.8 (and older): plain contents only.
    Release38,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::Main, Family::Release38];

    /// The word on the command line: `main`, `3.8`.
    pub fn word(self) -> &'static str {
        match self {
            Family::Main => "main",
            Family::Release38 => "3.8",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The text names no family of servers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no family of OpenIM servers: `main` or `3.8` is expected")]
pub struct NotAFamily(pub String);

impl FromStr for Family {
    type Err = NotAFamily;

    fn from_str(text: &str) -> Result<Family, NotAFamily> {
        Family::ALL
            .into_iter()
            .find(|family| family.word() == text)
            .ok_or_else(|| NotAFamily(text.to_owned()))
    }
}
