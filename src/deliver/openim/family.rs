//! The two families of OpenIM servers that people run: releases 3.8 and `main`. Told apart by asking, not by configuration.

use std::fmt;
use std::str::FromStr;

use super::envelope::Answer;

/// Which contents and calls a server knows.
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

    /// Reads the answer to an empty `/msg/send_simple_msg` that carried a token: only `main` has that call. Without a
    /// token both answer alike. `None` when the answer says neither.
    pub(super) fn of(answer: &Answer) -> Option<Family> {
        match &answer.envelope {
            Some(envelope) if envelope.says("missing key in query") => Some(Family::Main),
            None if answer.status == 404 => Some(Family::Release38),
            _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::openim::envelope::Envelope;

    #[test]
    fn only_main_misses_a_key_and_only_release_3_8_misses_the_call() {
        let said = |body: &str, status| Answer {
            status,
            retry_after: None,
            envelope: Envelope::read(body.as_bytes(), &[]),
        };
        let main = r#"{"errCode":1001,"errMsg":"ArgsError","errDlt":"missing key in query"}"#;
        let down = r#"{"errCode":14,"errMsg":"no children to pick from","errDlt":""}"#;
        assert_eq!(Family::of(&said(main, 200)), Some(Family::Main));
        assert_eq!(
            Family::of(&said("404 page not found", 404)),
            Some(Family::Release38)
        );
        assert_eq!(Family::of(&said(down, 200)), None);
        assert_eq!(Family::of(&said("<html>", 502)), None);
    }
}
