//! One POST to OpenIM: the connection pool, the time limits, and what an HTTP failure means for the request.

use std::error::Error;
use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

use super::envelope::{Answer, Envelope, Unanswered, retry_after};
use crate::model::{Secret, Timestamp};

/// The most of an answer that is read, in bytes. A page of 100 groups stays far below it.
const LONGEST_ANSWER: usize = 8 << 20;

/// The way to one OpenIM server.
#[derive(Debug)]
pub(super) struct Wire {
    http: reqwest::Client,
    api_url: String,
    total: Duration,
}

impl Wire {
    /// A pool of connections to `api_url`. Fails when the address is none, or TLS cannot be set up.
    pub(super) fn new(api_url: &str, connect: Duration, total: Duration) -> Result<Wire, String> {
        let parsed = reqwest::Url::parse(api_url)
            .map_err(|error| format!("`{api_url}` is not an address: {error}"))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(format!("`{api_url}` is not an http or https address"));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(connect)
            .timeout(total)
            // A redirect would repeat the body elsewhere, and a proxy of the environment would read the secret.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Below the keep-alive of common proxies (60 s and more), so that we are the ones who close.
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(64)
            .tcp_keepalive(Duration::from_secs(30))
            .tcp_nodelay(true)
            .user_agent(concat!("openim-bridge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| cause(&error))?;
        Ok(Wire {
            http,
            api_url: api_url.trim_end_matches('/').to_owned(),
            total,
        })
    }

    /// Sends one request and reads its answer. `secrets` are taken out of the answer's texts.
    pub(super) async fn post(
        &self,
        path: &str,
        operation_id: &str,
        token: Option<&Secret>,
        body: &Value,
        secrets: &[&str],
        now: Timestamp,
    ) -> Result<Answer, Unanswered> {
        let mut request = self
            .http
            .post(format!("{}{path}", self.api_url))
            .header("operationID", operation_id)
            .json(body);
        if let Some(token) = token {
            let mut value = HeaderValue::from_bytes(token.expose())
                .map_err(|_| Unanswered::Impossible("the token is no header value".into()))?;
            value.set_sensitive(true);
            request = request.header("token", value);
        }

        let mut response = request
            .send()
            .await
            .map_err(|error| self.unanswered(error))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, now));
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.unanswered(error))?
        {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(Unanswered::Lost("the answer is endless".into()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            retry_after,
            envelope: Envelope::read(&body, secrets),
        })
    }

    /// What a failure of the transport means. Only where no connection was made is it sure that nothing was taken.
    fn unanswered(&self, error: reqwest::Error) -> Unanswered {
        if error.is_connect() {
            Unanswered::NotConnected(cause(&error.without_url()))
        } else if error.is_builder() {
            Unanswered::Impossible(cause(&error.without_url()))
        } else if error.is_timeout() {
            Unanswered::Lost(format!("nothing came within {:?}", self.total))
        } else {
            Unanswered::Lost(cause(&error.without_url()))
        }
    }
}

/// The innermost cause: `Connection refused (os error 111)` rather than three sentences around it.
fn cause(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
