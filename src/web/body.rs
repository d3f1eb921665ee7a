//! A body read whole: bounded in size also after decompression, and in time.

use std::io::Read;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderMap};

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is longer than the limit, packed or unpacked.
    TooLong,
    /// It did not come in time.
    TooSlow,
    /// The connection broke.
    Broken,
    /// It is packed in a way that is not known here.
    UnknownEncoding,
    /// It does not unpack.
    BadEncoding,
}

/// Reads the body of `request`, at most `limit` bytes, within `patience`.
pub async fn read(request: Request, limit: usize, patience: Duration) -> Result<Bytes, Unread> {
    let encoding = Encoding::of(request.headers())?;
    let mut request = request;
    DefaultBodyLimit::max(limit).apply(&mut request);
    let packed = match tokio::time::timeout(patience, Bytes::from_request(request, &())).await {
        Err(_) => return Err(Unread::TooSlow),
        Ok(Ok(bytes)) => bytes,
        Ok(Err(rejection)) if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE => {
            return Err(Unread::TooLong);
        }
        Ok(Err(_)) => return Err(Unread::Broken),
    };
    encoding.unpack(packed, limit)
}

#[derive(Clone, Copy)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Encoding, Unread> {
        let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
        let Some(encoding) = encodings.next() else {
            return Ok(Encoding::Identity);
        };
        if encodings.next().is_some() {
            return Err(Unread::UnknownEncoding);
        }
        match encoding.as_bytes().to_ascii_lowercase().trim_ascii() {
            b"" | b"identity" => Ok(Encoding::Identity),
            b"gzip" | b"x-gzip" => Ok(Encoding::Gzip),
            b"deflate" => Ok(Encoding::Deflate),
            _ => Err(Unread::UnknownEncoding),
        }
    }

    fn unpack(self, packed: Bytes, limit: usize) -> Result<Bytes, Unread> {
        match self {
            Encoding::Identity => Ok(packed),
            Encoding::Gzip => bounded(flate2::read::MultiGzDecoder::new(&packed[..]), limit),
            Encoding::Deflate => bounded(flate2::read::ZlibDecoder::new(&packed[..]), limit),
        }
    }
}

fn bounded(unpacked: impl Read, limit: usize) -> Result<Bytes, Unread> {
    let mut body = Vec::new();
    unpacked
        .take(limit as u64 + 1)
        .read_to_end(&mut body)
        .map_err(|_| Unread::BadEncoding)?;
    if body.len() > limit {
        return Err(Unread::TooLong);
    }
    Ok(body.into())
}
