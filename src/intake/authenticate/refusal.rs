//! Why a request is not believed, for the operator's log. No value of the request ever stands in it.

use std::fmt;
use std::time::Duration;

use crate::bridge::auth::Place;

/// Why a request is not believed: one cheap reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sender's address is not one of those that the bridge allows, or is not known.
    #[error("the sender's address is not among those allowed")]
    Address,
    /// Nothing stands where the sender shows who it is. Holds the places, for people.
    #[error("{0}")]
    Absent(Missing),
    /// A value stands more than once where one is expected.
    #[error("{0} is there more than once")]
    Repeated(String),
    /// Something else than a text or an integer stands there.
    #[error("{0} is neither a text nor an integer")]
    NotAText(String),
    /// The value does not read like any of the formats.
    #[error("{place} does not read like `{formats}`")]
    Unreadable {
        /// Where it stands.
        place: String,
        /// As the bridge declares them.
        formats: String,
    },
    /// A signed timestamp that says nothing.
    #[error("timestamp is not {0}")]
    NoTime(&'static str),
    /// Too old, or too far ahead.
    #[error("timestamp is {} {}, {} allowed", Span(*off), if *ahead { "ahead" } else { "old" }, Span(*within))]
    Time {
        /// How far from now.
        off: Duration,
        /// In which direction.
        ahead: bool,
        /// How far it may be.
        within: Duration,
    },
    /// Everything reads well, and no secret fits.
    #[error("{what} does not match {}", Secrets(*secrets))]
    Mismatch {
        /// `signature`, `token`, `basic credential`.
        what: &'static str,
        /// How many secrets were tried.
        secrets: usize,
    },
    /// None of the bridge's secrets is there and made for the way that the request takes.
    #[error("this bridge has no secret for {0}")]
    NoSecret(String),
    /// A challenge that anybody may have answered is short and plain.
    #[error("{0} is not a challenge that anybody may have answered")]
    NoChallenge(String),
    /// The signature holds, but this bridge signs such texts for whoever asks.
    #[error("what is signed could be the answer to a challenge")]
    AsChallenged,
}

impl Refusal {
    /// The kind of it in one word, for counting.
    pub fn word(&self) -> &'static str {
        match self {
            Refusal::Address => "address",
            Refusal::Absent(_) => "missing",
            Refusal::Repeated(_) => "repeated",
            Refusal::NotAText(_) | Refusal::Unreadable { .. } => "unreadable",
            Refusal::NoTime(_) | Refusal::Time { .. } => "time",
            Refusal::Mismatch { .. } => "mismatch",
            Refusal::NoSecret(_) => "no_secret",
            Refusal::NoChallenge(_) | Refusal::AsChallenged => "challenge",
        }
    }
}

/// The places where nothing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub Vec<String>);

impl Missing {
    /// One place.
    pub fn at(place: &Place) -> Missing {
        Missing(vec![place.to_string()])
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_last() {
            None => f.write_str("the signature is missing"),
            Some((one, [])) => write!(f, "{one} is missing"),
            Some((last, others)) => write!(f, "{} and {last} are missing", others.join(", ")),
        }
    }
}

struct Secrets(usize);

impl fmt::Display for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("the secret"),
            n => write!(f, "any of {n} secrets"),
        }
    }
}

/// A length of time as a person says it, in its two largest units: `7 m 12 s`, `5 m`, `3 d 4 h`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis < 1000 {
            return write!(f, "{millis} ms");
        }
        let mut rest = self.0.as_secs();
        let mut parts = Vec::new();
        for (seconds, unit) in [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
            if rest >= seconds || !parts.is_empty() {
                parts.push((rest / seconds, unit));
                rest %= seconds;
            }
        }
        parts.truncate(2);
        parts.retain(|(count, _)| *count > 0);
        let parts: Vec<String> = parts
            .iter()
            .map(|(n, unit)| format!("{n} {unit}"))
            .collect();
        f.write_str(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_its_two_largest_units() {
        let said = |millis| Span(Duration::from_millis(millis)).to_string();
        assert_eq!(said(432_000), "7 m 12 s");
        assert_eq!(said(300_000), "5 m");
        assert_eq!(said(3_600_000), "1 h");
        assert_eq!(said(90_061_000), "1 d 1 h");
        assert_eq!(said(86_401_000), "1 d");
        assert_eq!(said(999), "999 ms");
        assert_eq!(said(0), "0 ms");
    }

    #[test]
    fn a_refusal_reads_as_one_plain_reason() {
        let time = Refusal::Time {
            off: Duration::from_secs(432),
            ahead: false,
            within: Duration::from_secs(300),
        };
        assert_eq!(time.to_string(), "timestamp is 7 m 12 s old, 5 m allowed");
        let mismatch = Refusal::Mismatch {
            what: "signature",
            secrets: 2,
        };
        assert_eq!(
            mismatch.to_string(),
            "signature does not match any of 2 secrets"
        );
        let places = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(
            Refusal::Absent(Missing(places)).to_string(),
            "a, b and c are missing"
        );
    }
}
