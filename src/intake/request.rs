//! A webhook request as it came in, and the same once its sender is known.

use std::net::IpAddr;

use bytes::Bytes;
use http::HeaderMap;

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
}

/// A request whose sender is known. The values that authenticated it have been taken out of the request.
#[derive(Clone, Debug)]
pub struct Authentic {
    /// The request without its secrets: no signature, token or `Authorization` header, no token in query, form or path.
    pub request: Request,
    /// How it was authenticated, for people: `hmac-sha256 in x-hub-signature-256, secret 1 of 2`.
    pub by: String,
}
