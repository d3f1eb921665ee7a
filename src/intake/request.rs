//! A webhook request as it came in, and the same once its sender is known.

use std::net::IpAddr;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::model::SignedDigest;

/// A webhook request, nothing believed yet. Its values are as received.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`, or `GET` for challenges.
    pub method: http::Method,
    /// The whole request target as received: `/hooks/acme?x=1`.
    pub target: String,
    /// What stands behind `/hooks/<bridge>/`, percent-encoding as received; empty without it.
    pub rest: String,
    /// The headers, repeated ones kept.
    pub headers: HeaderMap,
    /// The body as bytes, content-encoding already undone.
    pub body: Bytes,
    /// The sender's address as the door knows it.
    pub peer: Option<IpAddr>,
}

impl Request {
    /// The query string as received, without the `?`; empty when there is none.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Reads a request as text: request line, headers, an empty line, body. What has no request line is only a body,
    /// taken as JSON that was posted to `/hooks/<bridge>`.
    ///
    /// The lines of the head may end in LF or CRLF; the body is taken as it is, except that in a file with a head and
    /// no `Content-Length` one newline at its end belongs to the file.
    pub fn from_text(bridge: &str, text: &[u8]) -> Result<Request, UnreadableRequest> {
        let mut lines = Lines {
            rest: text,
            number: 0,
        };
        let first = lines.next().unwrap_or_default();
        let Some((method, target)) = request_line(first) else {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Ok(Request {
                method: Method::POST,
                target: format!("/hooks/{bridge}"),
                rest: String::new(),
                headers,
                body: Bytes::copy_from_slice(text),
                peer: None,
            });
        };
        let mut headers = HeaderMap::new();
        while let Some(line) = lines.next() {
            if line.is_empty() {
                break;
            }
            let (name, value) =
                header_line(line).ok_or(UnreadableRequest { line: lines.number })?;
            headers.append(name, value);
        }
        let mut body = lines.rest;
        if !headers.contains_key(CONTENT_LENGTH) {
            body = body.strip_suffix(b"\n").unwrap_or(body);
            body = body.strip_suffix(b"\r").unwrap_or(body);
        }
        let prefix = format!("/hooks/{bridge}/");
        let path = target.split('?').next().unwrap_or_default();
        let rest = path.strip_prefix(&prefix).unwrap_or_default().to_owned();
        Ok(Request {
            method,
            target,
            rest,
            headers,
            body: Bytes::copy_from_slice(body),
            peer: None,
        })
    }

    /// Writes the request as text that [`Request::from_text`] reads again as the same. The head ends its lines in LF, and
    /// `Content-Length` says that every byte behind it is the body's.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\n", self.method, self.target).into_bytes();
        let named = self
            .headers
            .iter()
            .filter(|(name, _)| *name != CONTENT_LENGTH);
        for (name, value) in named {
            text.extend_from_slice(as_written(name).as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(format!("Content-Length: {}\n\n", self.body.len()).as_bytes());
        text.extend_from_slice(&self.body);
        text
    }

    /// Adds a header as a command line names it: `Name: value`. `None` when that is no header.
    pub fn add_header(&mut self, line: &str) -> Option<()> {
        let (name, value) = header_line(line.as_bytes())?;
        self.headers.insert(name, value);
        Some(())
    }
}

/// `X-Hub-Signature-256`: a name as people write it. HTTP itself does not mind.
pub fn as_written(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

/// A text is no request: this line should be a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the request is no header: `Name: value` is expected, and an empty line before the body"
)]
pub struct UnreadableRequest {
    /// The line, from 1.
    pub line: usize,
}

struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        self.number += 1;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

fn request_line(line: &[u8]) -> Option<(Method, String)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next());
    let fits = method.len() >= 3
        && method.bytes().all(|byte| byte.is_ascii_uppercase())
        && (target.starts_with('/') || target.contains("://"))
        && version.is_none_or(|version| version.starts_with("HTTP/"))
        && words.next().is_none();
    if !fits {
        return None;
    }
    // An address may also stand in the query of a path.
    let target = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    Some((method.parse().ok()?, target.to_owned()))
}

fn header_line(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(line[..colon].trim_ascii()).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

/// A request whose sender is known. The values that authenticated it have been taken out of the request.
#[derive(Clone, Debug)]
pub struct Authentic {
    /// The request without its secrets: no signature, token or `Authorization` header, no token in query, form or path.
    pub request: Request,
    /// How it was authenticated, for people: `hmac-sha256 in x-hub-signature-256, secret 1 of 2`.
    pub by: String,
    /// Which of the bridge's secrets fitted, counted from 1; `None` where none was asked.
    pub secret: Option<usize>,
    /// What was signed, the body and a time among it; `None` where one of them is not signed.
    pub signed: Option<SignedDigest>,
    /// The only parameters of the address that are signed as the body is; `None` where the proof speaks for all of them.
    pub signed_parameters: Option<Vec<String>>,
    /// The answer, when the request is no event but asks whether somebody listens.
    pub challenge: Option<Answer>,
}

impl Authentic {
    /// A request that is believed without a proof.
    pub fn unproven(request: Request, by: impl Into<String>) -> Authentic {
        Authentic {
            request,
            by: by.into(),
            secret: None,
            signed: None,
            signed_parameters: None,
            challenge: None,
        }
    }
}

/// What a sender's challenge is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the text is JSON; otherwise it is plain.
    pub json: bool,
    /// The body of the answer.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_with_a_head_is_read_whole() {
        let text = b"POST https://hook.example.com/hooks/acme/tok?x=1 HTTP/1.1\r\nX-Two: a\r\nX-Two:b\r\n\r\n{\"a\":\n1}\n";
        let request = Request::from_text("acme", text).unwrap();
        assert_eq!(request.target, "/hooks/acme/tok?x=1");
        assert_eq!((request.rest.as_str(), request.query()), ("tok", "x=1"));
        let twice: Vec<_> = request.headers.get_all("x-two").iter().collect();
        assert_eq!(twice, ["a", "b"]);
        assert_eq!(&request.body[..], b"{\"a\":\n1}");
    }

    #[test]
    fn an_address_in_the_query_is_no_address_of_the_request() {
        let text = b"POST /hooks/acme?from=https://example.com/x HTTP/1.1\n\n{}";
        let request = Request::from_text("acme", text).unwrap();
        assert_eq!(request.target, "/hooks/acme?from=https://example.com/x");
    }

    #[test]
    fn a_request_is_written_as_it_is_read() {
        let text = b"POST /hooks/acme/tok?x=1 HTTP/1.1\nX-Two: a\nX-Two: b\n\n{\"a\":\n1}\n\n";
        let request = Request::from_text("acme", text).unwrap();
        let written = request.to_text();
        let head = "POST /hooks/acme/tok?x=1 HTTP/1.1\nX-Two: a\nX-Two: b\nContent-Length: 9\n\n";
        assert_eq!(written, [head.as_bytes(), b"{\"a\":\n1}\n"].concat());
        let again = Request::from_text("acme", &written).unwrap();
        assert_eq!((again.rest, again.body), (request.rest, request.body));
    }

    #[test]
    fn what_has_no_request_line_is_a_body() {
        for body in [&b"{\"a\":1}\n"[..], b"GET out", b"", b"hello /x y z"] {
            let request = Request::from_text("json", body).unwrap();
            assert_eq!(&request.body[..], body);
            assert_eq!(request.headers["content-type"], "application/json");
        }
    }

    #[test]
    fn a_broken_head_names_its_line() {
        let text = b"POST /hooks/x\nContent-Type: a/b\nno header\n\n{}";
        assert_eq!(
            Request::from_text("x", text).unwrap_err(),
            UnreadableRequest { line: 3 }
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Request::from_text("x", &bytes);
            let _ = Request::from_text("x", &[b"POST /hooks/x\n", &bytes[..]].concat());
        }
    }
}
