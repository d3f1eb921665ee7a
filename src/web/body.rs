//! A body read whole: bounded in size also after decompression, in time, and together with all others in memory.

use std::fmt;
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::Request;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    /// There is no room for it beside all others.
    NoRoom,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unread::TooLong => "its body is longer than `max_body` of the bridge allows",
            Unread::TooSlow => "its body came too slowly",
            Unread::Broken => "its body did not come whole",
            Unread::UnknownEncoding => "its body is packed in another way than gzip or deflate",
            Unread::BadEncoding => "its body does not unpack as its Content-Encoding says",
            Unread::NoRoom => "there is no room for its body beside all others",
        })
    }
}

/// So much of each body, in bytes, has its room in the first quarter. What is longer draws on the rest, so that a few long
/// bodies take no room from the many short ones.
const FIRST: usize = 1_000_000;

/// So much of a body that is not wanted passes by, in bytes: more than GitHub sends, whose bodies are the longest.
const PASSES_BY: usize = 32_000_000;

/// Room is given in pieces of so many bytes.
const PIECE: usize = 1024;

/// So much is unpacked at a time, in bytes.
const STEP: usize = 64 * 1024;

/// The room for all bodies that are in memory at once, and the turns of those that cost a processor more than a moment.
#[derive(Debug)]
pub struct Bodies {
    first: Arc<Semaphore>,
    rest: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
}

impl Bodies {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Bodies {
        let room = |bytes: usize| {
            let pieces = (bytes / PIECE).min(Semaphore::MAX_PERMITS);
            Arc::new(Semaphore::new(pieces))
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Bodies {
            first: room(bytes / 4),
            rest: room(bytes - bytes / 4),
            heavy: Arc::new(Semaphore::new((processors / 2).max(1))),
        }
    }

    /// Does what keeps a processor busy apart from the workers that answer everybody, and never more at once than leaves
    /// them half of the processors. `None` when it broke.
    pub async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = self.heavy.clone().acquire_owned().await.ok()?;
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        working.await.ok()
    }

    /// Reads the body of `request`, at most `limit` bytes, within `patience`.
    pub async fn read(
        &self,
        request: Request,
        limit: usize,
        patience: Duration,
    ) -> Result<Body, Unread> {
        let encoding = Encoding::of(request.headers());
        let announced = announced(request.headers());
        let mut body = request.into_body();
        let reading = async {
            let packed = match encoding {
                Err(unread) => Err(unread),
                Ok(_) if announced > limit => Err(Unread::TooLong),
                Ok(_) => self.collect(&mut body, limit).await,
            };
            if packed.is_err() {
                pass(&mut body, announced).await?;
            }
            packed
        };
        let packed = tokio::time::timeout(patience, reading).await;
        let packed = packed.unwrap_or(Err(Unread::TooSlow))?;
        let encoding = encoding?;
        if matches!(encoding, Encoding::Identity) {
            return Ok(packed.into());
        }
        let unpacked = Growing::new(self.no_room(), limit);
        let unpacking = self.apart(move || encoding.unpack(&packed.bytes, unpacked));
        // Who waits so long for a turn is not slow: too many wait.
        match tokio::time::timeout(patience, unpacking).await {
            Ok(unpacked) => unpacked.unwrap_or(Err(Unread::BadEncoding)),
            Err(_) => Err(Unread::NoRoom),
        }
    }

    async fn collect(&self, body: &mut axum::body::Body, limit: usize) -> Result<Growing, Unread> {
        let mut packed = Growing::new(self.no_room(), limit);
        while let Some(bytes) = next(body).await? {
            packed.push(&bytes)?;
        }
        Ok(packed)
    }

    fn no_room(&self) -> Room {
        let none = |room: &Arc<Semaphore>| room.clone().try_acquire_many_owned(0).ok();
        Room {
            first: none(&self.first),
            rest: none(&self.rest),
            bytes: 0,
        }
    }
}

/// A body in memory, and its room there.
#[derive(Debug)]
pub struct Body {
    /// What it says, unpacked.
    pub bytes: Bytes,
    /// To be given back when the bytes are gone.
    pub room: Room,
}

/// Room of one body, given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    first: Option<OwnedSemaphorePermit>,
    rest: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Room {
    fn grow(&mut self, to: usize) -> Result<(), Unread> {
        let pieces = |bytes: usize| bytes.div_ceil(PIECE);
        let more = |permit: &mut Option<OwnedSemaphorePermit>, from: usize, to: usize| {
            let permit = permit.as_mut().ok_or(Unread::NoRoom)?;
            let wanted = pieces(to).saturating_sub(pieces(from));
            let wanted = u32::try_from(wanted).map_err(|_| Unread::NoRoom)?;
            let got = permit.semaphore().clone().try_acquire_many_owned(wanted);
            permit.merge(got.map_err(|_| Unread::NoRoom)?);
            Ok(())
        };
        let (from, to) = (self.bytes, to.max(self.bytes));
        more(&mut self.first, from.min(FIRST), to.min(FIRST))?;
        more(
            &mut self.rest,
            from.saturating_sub(FIRST),
            to.saturating_sub(FIRST),
        )?;
        self.bytes = to;
        Ok(())
    }
}

/// A body that comes piece by piece; it has room for all that it holds.
struct Growing {
    bytes: Vec<u8>,
    room: Room,
    limit: usize,
}

impl Growing {
    fn new(room: Room, limit: usize) -> Growing {
        Growing {
            bytes: Vec::new(),
            room,
            limit,
        }
    }

    fn push(&mut self, more: &[u8]) -> Result<(), Unread> {
        let length = self.bytes.len() + more.len();
        if length > self.limit {
            return Err(Unread::TooLong);
        }
        if length > self.bytes.capacity() {
            let capacity = (2 * self.bytes.capacity()).clamp(length, self.limit);
            self.room.grow(capacity)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }
}

impl From<Growing> for Body {
    fn from(grown: Growing) -> Body {
        Body {
            bytes: grown.bytes.into(),
            room: grown.room,
        }
    }
}

/// Lets the body of `request` pass by within `patience`; nothing of it is held or unpacked. The answer stands behind it, so
/// that it reaches a sender that first writes and then reads, and that how long it takes tells nothing.
pub async fn pass_by(request: Request, patience: Duration) -> Result<(), Unread> {
    let announced = announced(request.headers());
    let mut body = request.into_body();
    let passed = tokio::time::timeout(patience, pass(&mut body, announced)).await;
    passed.unwrap_or(Err(Unread::TooSlow))
}

/// What is left of a body passes by, as long as it is no longer than senders are known to send.
async fn pass(body: &mut axum::body::Body, announced: usize) -> Result<(), Unread> {
    let mut passed = 0;
    while announced.max(passed) <= PASSES_BY {
        match next(body).await? {
            Some(bytes) => passed += bytes.len(),
            None => break,
        }
    }
    Ok(())
}

/// How long the body will be, as its head says; 0 where it says nothing.
fn announced(headers: &HeaderMap) -> usize {
    let length = headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or(0)
}

async fn next(body: &mut axum::body::Body) -> Result<Option<Bytes>, Unread> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Err(_)) => return Err(Unread::Broken),
            // What is no data are trailers, which nobody asks for.
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
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

    fn unpack(self, packed: &[u8], into: Growing) -> Result<Body, Unread> {
        match self {
            Encoding::Identity => all_of(packed, into),
            Encoding::Gzip => all_of(flate2::read::MultiGzDecoder::new(packed), into),
            Encoding::Deflate => all_of(flate2::read::ZlibDecoder::new(packed), into),
        }
    }
}

fn all_of(mut unpacked: impl Read, mut into: Growing) -> Result<Body, Unread> {
    let mut step = vec![0; STEP];
    loop {
        match unpacked.read(&mut step) {
            Ok(0) => return Ok(into.into()),
            Ok(some) => into.push(&step[..some])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Unread::BadEncoding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: usize = 1_000_000;

    fn request(body: Vec<u8>) -> Request {
        Request::new(body.into())
    }

    async fn read(bodies: &Bodies, bytes: usize) -> Result<Body, Unread> {
        let patience = Duration::from_secs(5);
        let read = bodies.read(request(vec![b'a'; bytes]), 8 * MEGABYTE, patience);
        read.await
    }

    #[tokio::test]
    async fn a_body_has_room_while_it_is_held_and_gives_it_back() {
        let bodies = Bodies::new(8 * MEGABYTE);
        for _ in 0..3 {
            let held = read(&bodies, 6 * MEGABYTE).await.unwrap();
            assert_eq!(held.bytes.len(), 6 * MEGABYTE);
            assert_eq!(
                read(&bodies, 6 * MEGABYTE).await.unwrap_err(),
                Unread::NoRoom
            );
            drop(held);
        }
        let rooms = (
            bodies.first.available_permits(),
            bodies.rest.available_permits(),
        );
        assert_eq!(rooms, (2 * MEGABYTE / PIECE, 6 * MEGABYTE / PIECE));
    }

    #[tokio::test]
    async fn long_bodies_take_no_room_from_short_ones() {
        let bodies = Bodies::new(8 * MEGABYTE);
        let long = read(&bodies, 7 * MEGABYTE - 5_000).await.unwrap();
        assert_eq!(
            read(&bodies, 2 * MEGABYTE).await.unwrap_err(),
            Unread::NoRoom
        );
        assert!(read(&bodies, MEGABYTE / 2).await.is_ok());
        drop(long);
    }

    #[tokio::test]
    async fn what_is_unpacked_needs_room_as_it_grows() {
        let mut packer = flate2::read::GzEncoder::new(
            std::io::repeat(b'a').take(7 * MEGABYTE as u64),
            flate2::Compression::fast(),
        );
        let mut packed = Vec::new();
        packer.read_to_end(&mut packed).unwrap();
        let unpack = async |bodies: &Bodies, limit: usize| {
            let mut request = request(packed.clone());
            let gzip = http::HeaderValue::from_static("gzip");
            request.headers_mut().insert(CONTENT_ENCODING, gzip);
            let read = bodies.read(request, limit, Duration::from_secs(20)).await;
            read.map(|body| body.bytes.len())
        };
        let small = Bodies::new(4 * MEGABYTE);
        assert_eq!(unpack(&small, 8 * MEGABYTE).await, Err(Unread::NoRoom));
        assert_eq!(unpack(&small, MEGABYTE / 2).await, Err(Unread::TooLong));
        assert_eq!(small.first.available_permits(), MEGABYTE / PIECE);
        let large = Bodies::new(16 * MEGABYTE);
        assert_eq!(unpack(&large, 8 * MEGABYTE).await, Ok(7 * MEGABYTE));
    }
}
