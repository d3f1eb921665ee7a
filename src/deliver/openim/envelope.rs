//! OpenIM's answer: the envelope it puts around everything, read whatever the HTTP status says.

use std::time::Duration;

use serde_json::Value;

use crate::model::Timestamp;

/// What came back over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status. OpenIM answers 200 to nearly every error, so it decides only where there is no envelope.
    pub status: u16,
    /// The wait that the server, or what stands before it, asks for.
    pub retry_after: Option<Duration>,
    /// OpenIM's own words; `None` when the body is not OpenIM's (a proxy's page, a 404 as text, an empty body).
    pub envelope: Option<Envelope>,
}

/// `{"errCode":…,"errMsg":…,"errDlt":…,"data":…}` (open-im-server tools, `apiresp/resp.go`). Its texts hold no token.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// `errCode`; 0 is success.
    pub code: i64,
    /// `errMsg`: the error's name, in older servers its text.
    pub message: String,
    /// `errDlt`: the text. Empty for token errors, because release 3.8 puts the whole token into it.
    pub detail: String,
    /// `data`; `Null` when there is none.
    pub data: Value,
}

/// No answer came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No connection was made, so nothing was taken.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// The request was written, or part of it was; what became of it is not known.
    #[error("no answer: {0}")]
    Lost(String),
    /// The request could not be put into words (an address or a token that is no header value).
    #[error("the request cannot be made: {0}")]
    Impossible(String),
    /// The request was not written: its lane may be somebody else's before it is answered.
    #[error("not sent: the lease of the conversation ends too soon")]
    TooLate,
}

/// The longest text of an error that is kept, in characters: Go's stack texts run to pages.
const LONGEST_TEXT: usize = 240;

impl Envelope {
    /// Reads the envelope out of a body; `None` when it holds none. `secrets` are taken out of its texts.
    pub fn read(body: &[u8], secrets: &[&str]) -> Option<Envelope> {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
            return None;
        };
        let code = fields.get("errCode")?.as_i64()?;
        let mut text = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => conceal(&text, secrets),
            _ => String::new(),
        };
        let message = text("errMsg");
        let detail = text("errDlt");
        let about_a_token = (1501..=1507).contains(&code);
        Some(Envelope {
            code,
            message,
            detail: if about_a_token { String::new() } else { detail },
            data: fields.remove("data").unwrap_or(Value::Null),
        })
    }

    /// Whether one of the error's texts holds `words`.
    pub fn says(&self, words: &str) -> bool {
        self.message.contains(words) || self.detail.contains(words)
    }

    /// The error in one line: `1004 RecordNotFoundError: userID not found`.
    pub fn line(&self) -> String {
        let Envelope {
            code,
            message,
            detail,
            ..
        } = self;
        match (message.as_str(), detail.as_str()) {
            ("", "") => code.to_string(),
            (one, "") | ("", one) => format!("{code} {one}"),
            (one, two) if one == two => format!("{code} {one}"),
            (one, two) => format!("{code} {one}: {two}"),
        }
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let wait = date.duration_since(now);
    Some(wait.try_into().unwrap_or(Duration::ZERO)) // a date that has passed: no wait
}

/// A server's text without tokens, secrets and echoed contents, on one line, and short.
fn conceal(text: &str, secrets: &[&str]) -> String {
    // Go's decoder repeats the value that it could not take, which is a part of the message.
    let text = text.split(", value: ").next().unwrap_or_default();
    // Behind `| ->` stands Go's stack.
    let text = text.split(" | ->").next().unwrap_or_default();
    let mut text = text.replace(['\n', '\r', '\t'], " ");
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[redacted]");
    }
    let text = blot(&text, "token=");
    let text = blot(&text, "eyJ"); // how every JWT begins
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The text with every run of token letters behind `mark` taken out, with the mark itself where it is part of the token.
fn blot(text: &str, mark: &str) -> String {
    let of_a_token = |c: char| c.is_ascii_alphanumeric() || "-_.=+/".contains(c);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(mark) {
        let (before, found) = rest.split_at(at);
        let run = &found[mark.len()..];
        let after = run.trim_start_matches(of_a_token);
        clean.push_str(before);
        if mark.ends_with('=') {
            clean.push_str(mark);
        }
        clean.push_str("[redacted]");
        rest = after;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &str) -> Option<Envelope> {
        Envelope::read(body.as_bytes(), &["openIM123"])
    }

    #[test]
    fn the_envelope_is_read_with_or_without_data() {
        let good = read(r#"{"errCode":0,"errMsg":"","errDlt":"","data":{"status":2}}"#).unwrap();
        assert_eq!(good.code, 0);
        assert_eq!(good.data["status"], 2);
        let bad =
            read(r#"{"errCode":1203,"errMsg":"NotInGroupYetError","errDlt":"NotInGroupYetError"}"#)
                .unwrap();
        assert_eq!(bad.line(), "1203 NotInGroupYetError");
        assert_eq!(bad.data, Value::Null);
    }

    #[test]
    fn what_is_not_openims_answer_is_no_envelope() {
        for body in [
            "",
            "404 page not found",
            "<html>",
            "[]",
            "null",
            r#"{"error":"x"}"#,
            r#"{"errCode":"0"}"#,
        ] {
            assert_eq!(read(body), None, "{body}");
        }
    }

    #[test]
    fn a_token_error_of_release_3_8_does_not_show_the_token() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJVc2VySUQiOiJ4In0.c2ln";
        let body = format!(
            r#"{{"errCode":1501,"errMsg":"TokenExpiredError","errDlt":"1501 TokenExpiredError jwt parse error, token={token}"}}"#
        );
        let read = read(&body).unwrap();
        assert_eq!(read.line(), "1501 TokenExpiredError");
    }

    #[test]
    fn tokens_secrets_and_echoed_contents_are_taken_out_of_every_text() {
        let say = |text: &str| conceal(text, &["openIM123"]);
        assert_eq!(
            say("bad eyJhbGci.eyJVc2Vy.c2ln here"),
            "bad [redacted] here"
        );
        assert_eq!(say("x token=abc, y"), "x token=[redacted], y");
        assert_eq!(
            say("secret openIM123 is wrong"),
            "secret [redacted] is wrong"
        );
        assert_eq!(
            say("'data' got unconvertible type 'map', value: 'map[k:hello]'"),
            "'data' got unconvertible type 'map'"
        );
        assert_eq!(
            say("Error: i/o timeout | -> main() /x.go:1"),
            "Error: i/o timeout"
        );
        assert_eq!(say(&"磁".repeat(1000)).chars().count(), LONGEST_TEXT + 1);
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now: Timestamp = "2026-07-02T10:00:00Z".parse().unwrap();
        let read = |value| retry_after(value, now);
        assert_eq!(read("3"), Some(Duration::from_secs(3)));
        assert_eq!(
            read("Thu, 02 Jul 2026 10:00:09 GMT"),
            Some(Duration::from_secs(9))
        );
        assert_eq!(read("Thu, 02 Jul 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_show_a_secret(text in ".{0,200}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            Envelope::read(&body, &["s3cret"]);
            let all = format!("{text}token=s3cret eyJs3cret{text}s3cret");
            prop_assert!(!conceal(&all, &["s3cret"]).contains("s3cret"));
        }
    }
}
