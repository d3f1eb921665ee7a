//! Why a request is not believed: what was compared, and which mistake at the sender or here would explain it.
//!
//! A mistake is found by making it: the request (or the bridge's side) is changed as the mistake would have changed it,
//! and the verifier itself is asked again. What then holds is proven, not guessed. Nothing here says a secret, or a
//! signature that would have been right: what `verify` prints is pasted into chats.

mod basics;
mod body;
mod json;
mod looks;
mod place;
mod reading;
mod secret;
mod signed;
mod steps;
mod words;

use std::io::Read;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;

use super::{Refusal, authenticate, first_present, prove};
use crate::bridge::auth::{Auth, Place, Scheme, SignedTime, Template, Way};
use crate::bridge::{Bridge, RuleBook};
use crate::intake::Request;
use crate::model::{Secret, Timestamp};

pub use steps::Step;
pub use words::Cause;

/// Tries are bounded: this many, over this many bytes of bodies in all. Either is far more than one mistake needs.
const MOST_TRIES: usize = 20_000;
const MOST_BYTES: usize = 256 << 20;

/// A compressed body that is larger is not looked into.
const LARGEST_BODY: u64 = 32 << 20;

/// What the diagnosis may compare with, besides the request.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// The bridge that was posted to.
    pub bridge: &'a str,
    /// How its sender should show who it is.
    pub auth: &'a Auth,
    /// Where its secrets stand, in their order: `env:GITHUB_SECRET`.
    pub references: Vec<String>,
    /// Those of the secrets that are not there, by their number from 1, each with the reason.
    pub absent: Vec<(usize, String)>,
    /// The other doors.
    pub others: Vec<(&'a str, &'a Auth)>,
}

impl<'a> Scene<'a> {
    /// That secrets are not there.
    fn absence(&self) -> Cause {
        let reasons: Vec<&str> = self.absent.iter().map(|(_, why)| why.as_str()).collect();
        Cause::seen("secret-absent", reasons.join("; "))
    }

    /// The scene of a bridge in its rule-book; `None` when the bridge is no door. Nothing is said to be absent.
    pub fn of(book: &'a RuleBook, bridge: &'a Bridge) -> Option<Scene<'a>> {
        let others = book.doors().filter(|other| other.name != bridge.name);
        Some(Scene {
            bridge: &bridge.name,
            auth: bridge.auth.as_ref()?,
            references: bridge.secrets.iter().map(ToString::to_string).collect(),
            absent: Vec::new(),
            others: others
                .filter_map(|other| Some((other.name.as_str(), other.auth.as_ref()?)))
                .collect(),
        })
    }
}

/// Why a request holds or does not.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// By what it holds; the reason of the refusal otherwise.
    pub verdict: Result<String, String>,
    /// What was compared, in order.
    pub steps: Vec<Step>,
    /// What would explain the refusal, all of it together; empty when the request holds.
    pub causes: Vec<Cause>,
    /// How many ways to have made the request were tried.
    pub tried: usize,
}

impl Diagnosis {
    /// Whether nothing at all shows who sent the request.
    pub fn shows_nothing(&self) -> bool {
        self.causes.iter().any(|cause| cause.id == "unsigned")
    }
}

/// One way the request may have been made, and the bridge's side may have been meant.
#[derive(Clone, Debug)]
struct Attempt {
    way: Way,
    request: Request,
    now: Timestamp,
}

impl Attempt {
    fn holds(&self) -> bool {
        matches!(self.ask(), Ok(true))
    }

    /// Whether the way believes it; `false` when nothing stands at its place.
    fn ask(&self) -> Result<bool, Refusal> {
        prove(&self.way, &self.request, self.now).map(|proven| proven.is_some())
    }
}

/// An attempt, and the mistakes that it undoes.
struct Tried {
    causes: Vec<Cause>,
    attempt: Attempt,
}

impl Tried {
    fn of(id: &'static str, detail: impl Into<String>, attempt: Attempt) -> Tried {
        Tried {
            causes: vec![Cause::proven(id, detail)],
            attempt,
        }
    }
}

/// What undoes the mistakes of one kind.
type Kind = fn(&Attempt, &Surroundings<'_>) -> Vec<Tried>;

/// The kinds in the order in which their mistakes are undone when there are two. Two of one kind are not tried.
const KINDS: [Kind; 8] = [
    place::tries,
    reading::tries,
    reading::algorithms,
    basics::tries,
    secret::tries,
    secret::keys,
    signed::tries,
    body::tries,
];

/// What every try may look at.
struct Surroundings<'a> {
    scene: &'a Scene<'a>,
    /// The body as it was packed, where it was.
    packed: Option<Bytes>,
}

/// Asks the verifier, and if it refuses, finds out what would have to be otherwise. The address is not asked: a request as
/// text does not say where it came from; only one that the service has kept says that it was refused for that.
pub fn diagnose(scene: &Scene<'_>, request: Request, now: Timestamp) -> Diagnosis {
    let (request, packed) = unpack(request);
    let surroundings = Surroundings { scene, packed };
    let (verdict, decisive) = judge(scene.auth, &request, now);
    let mut diagnosis = Diagnosis {
        verdict: verdict.map_err(|refusal| refusal.to_string()),
        steps: steps::steps(scene, &request, now),
        causes: Vec::new(),
        tried: 0,
    };
    if diagnosis.verdict.is_ok() && address(scene, &request).is_none() {
        return diagnosis;
    }
    let ways: Vec<&Way> = match decisive {
        Some(way) => vec![way],
        None => scene.auth.ways().iter().collect(),
    };
    if let Some(cause) = address(scene, &request) {
        diagnosis.verdict = Err(Refusal::Address.to_string());
        diagnosis.causes = vec![cause];
        return diagnosis;
    }
    let mut search = Search {
        surroundings: &surroundings,
        tried: 0,
        bytes: 0,
    };
    diagnosis.causes = search.causes(&ways, &request, now);
    diagnosis.tried = search.tried;
    for cause in &mut diagnosis.causes {
        cause.remedy = words::remedy_at(cause, &ways);
    }
    diagnosis
}

/// That the service refused it for where it came from, and asked nothing else.
fn address(scene: &Scene<'_>, request: &Request) -> Option<Cause> {
    let why = request.headers.get(KEPT)?.to_str().ok()?;
    if why != Refusal::Address.to_string() {
        return None;
    }
    let networks = scene.auth.addresses().iter().map(ToString::to_string);
    let allowed = Vec::from_iter(networks).join(", ");
    let from = request
        .headers
        .get(FROM)
        .and_then(|from| from.to_str().ok());
    let from = from.unwrap_or("an address that is not known");
    Some(Cause::seen(
        "address",
        format!("{from}, and `addresses` has {allowed}"),
    ))
}

/// The verdict, and the way whose place is present.
fn judge<'a>(
    auth: &'a Auth,
    request: &Request,
    now: Timestamp,
) -> (Result<String, Refusal>, Option<&'a Way>) {
    for way in auth.ways() {
        match prove(way, request, now) {
            Ok(None) => {}
            Ok(Some(_)) => {
                // The verifier's own words; only the address may still be wrong, which a text does not have.
                let by = authenticate(auth, request.clone(), now).map(|authentic| authentic.by);
                let by = match by {
                    Err(Refusal::Address) => Ok(way.to_string()),
                    by => by,
                };
                return (by, Some(way));
            }
            Err(refusal) => return (Err(refusal), Some(way)),
        }
    }
    let refusal = match authenticate(auth, request.clone(), now) {
        Err(Refusal::Address) | Ok(_) => Refusal::Absent(super::Missing(
            auth.ways().iter().flat_map(super::where_it_looks).collect(),
        )),
        Err(refusal) => refusal,
    };
    (Err(refusal), None)
}

struct Search<'s> {
    surroundings: &'s Surroundings<'s>,
    tried: usize,
    bytes: usize,
}

impl Search<'_> {
    fn causes(&mut self, ways: &[&Way], request: &Request, now: Timestamp) -> Vec<Cause> {
        let scene = self.surroundings.scene;
        if !scene.absent.is_empty() && scene.absent.len() == scene.references.len() {
            return vec![scene.absence()];
        }
        let mut starts = Vec::new();
        for way in ways {
            let mut attempt = Attempt {
                way: (*way).clone(),
                request: request.clone(),
                now,
            };
            if is_masked(&attempt) {
                return self.by_shape(&mut attempt);
            }
            let (causes, attempt) = signed::with_its_time(attempt);
            if !causes.is_empty() && attempt.holds() {
                return causes;
            }
            starts.push((causes, attempt));
        }
        if let Some(cause) = self.another_bridge(request, now) {
            return vec![cause];
        }
        for (causes, attempt) in &starts {
            if let Some(found) = self.one(attempt).or_else(|| self.beyond(attempt)) {
                return [causes.clone(), found].concat();
            }
        }
        for (causes, attempt) in &starts {
            if let Some(found) = self.two(attempt) {
                return [causes.clone(), found].concat();
            }
        }
        let causes = starts
            .into_iter()
            .next()
            .map_or(Vec::new(), |start| start.0);
        [causes, looks::looks(self.surroundings, ways, request)].concat()
    }

    /// Of a token that the service has kept only the length is left, so lengths are compared. Nothing is proven by that.
    fn by_shape(&mut self, attempt: &mut Attempt) -> Vec<Cause> {
        let mask = match attempt.way.scheme {
            Scheme::Basic => super::redact::mask_both,
            _ => super::redact::mask,
        };
        for key in &mut attempt.way.keys {
            key.secret = Secret::new(mask(key.secret.expose()));
        }
        if attempt.holds() {
            return vec![Cause::seen("masked-alike", "")];
        }
        // What would be found by another length alone is a guess.
        const VISIBLE: [Kind; 4] = [place::tries, reading::tries, basics::tries, secret::tries];
        const BY_LENGTH: [&str; 2] = ["secret-quotes", "secret-blanks"];
        let tried = VISIBLE
            .iter()
            .flat_map(|kind| kind(attempt, self.surroundings));
        let found = tried.into_iter().find(|tried| {
            let visible =
                |cause: &Cause| !cause.id.starts_with("secret-") || BY_LENGTH.contains(&cause.id);
            tried.causes.iter().all(visible) && tried.attempt.holds()
        });
        let mut causes = vec![Cause::seen("masked", "")];
        causes.extend(
            found
                .into_iter()
                .flat_map(|tried| tried.causes)
                .map(|cause| Cause {
                    proven: false,
                    ..cause
                }),
        );
        causes
    }

    /// One mistake.
    fn one(&mut self, attempt: &Attempt) -> Option<Vec<Cause>> {
        for kind in KINDS {
            for tried in kind(attempt, self.surroundings) {
                if self.has_room(&tried.attempt) && tried.attempt.holds() {
                    return Some(tried.causes);
                }
            }
        }
        None
    }

    /// Two mistakes of different kinds.
    fn two(&mut self, attempt: &Attempt) -> Option<Vec<Cause>> {
        for (at, kind) in KINDS.iter().enumerate() {
            for first in kind(attempt, self.surroundings) {
                for kind in &KINDS[at + 1..] {
                    for second in kind(&first.attempt, self.surroundings) {
                        if !self.has_room(&second.attempt) {
                            return None;
                        }
                        if second.attempt.holds() {
                            return Some([first.causes, second.causes].concat());
                        }
                    }
                }
            }
        }
        None
    }

    /// What the verifier can never hold for right, and yet shows what was done.
    fn beyond(&mut self, attempt: &Attempt) -> Option<Vec<Cause>> {
        let cause = secret::shown(attempt).or_else(|| reading::beyond(attempt));
        cause.map(|cause| vec![cause])
    }

    /// Whether another door believes it as it is.
    fn another_bridge(&mut self, request: &Request, now: Timestamp) -> Option<Cause> {
        let scene = self.surroundings.scene;
        scene.others.iter().find_map(|(name, auth)| {
            let open = |way: &Way| matches!(way.scheme, Scheme::None);
            if auth.ways().iter().any(open) {
                return None;
            }
            let mut request = request.clone();
            let own = format!("/hooks/{}", scene.bridge);
            if let Some(behind) = request.target.strip_prefix(&own) {
                request.target = format!("/hooks/{name}{behind}");
            }
            let way = auth.ways().iter().find(|way| {
                self.tried += 1;
                let attempt = Attempt {
                    way: (*way).clone(),
                    request: request.clone(),
                    now,
                };
                signed::with_its_time(attempt).1.holds()
            })?;
            // The same declaration with another secret is a mistake of its own, and a clearer one.
            let same = |own: &&Way| own.to_string() == way.to_string();
            let alike = scene.auth.ways().iter().any(|own| same(&own));
            (!alike).then(|| Cause::proven("another-bridge", format!("`{name}`: {way}")))
        })
    }

    fn has_room(&mut self, attempt: &Attempt) -> bool {
        self.tried += 1;
        self.bytes += attempt.request.body.len();
        self.tried <= MOST_TRIES && self.bytes <= MOST_BYTES
    }
}

/// Undoes the content-encoding as the door does, and keeps the body as it was packed. A body that is not packed as its
/// header says was unpacked before it was written down.
pub fn unpack(mut request: Request) -> (Request, Option<Bytes>) {
    let encoding = request.headers.get(CONTENT_ENCODING);
    let encoding = encoding.map(|value| value.as_bytes().to_ascii_lowercase());
    let packed = request.body.clone();
    let mut body = Vec::new();
    let read = match encoding.as_deref() {
        Some(b"gzip" | b"x-gzip") => flate2::read::MultiGzDecoder::new(&packed[..])
            .take(LARGEST_BODY)
            .read_to_end(&mut body),
        Some(b"deflate") => flate2::read::ZlibDecoder::new(&packed[..])
            .take(LARGEST_BODY)
            .read_to_end(&mut body),
        _ => return (request, None),
    };
    if read.is_err() {
        return (request, None);
    }
    request.body = body.into();
    (request, Some(packed))
}

/// Headers of a request that the service has refused and keeps: why.
pub const KEPT: &str = "openim-bridge-refused";
/// The address it came from.
pub const FROM: &str = "openim-bridge-from";
/// When it came.
pub const RECEIVED: &str = "openim-bridge-received";
/// That something in the body is hidden.
pub const BODY_HIDDEN: &str = "openim-bridge-hidden";

/// When a request came that the service has refused and kept; `None` for other requests.
pub fn received_at(request: &Request) -> Option<Timestamp> {
    let value = request.headers.get(RECEIVED)?;
    value.to_str().ok()?.parse().ok()
}

/// The request without what the service has added.
pub fn as_sent(mut request: Request) -> Request {
    for name in [KEPT, FROM, RECEIVED, BODY_HIDDEN] {
        request.headers.remove(name);
    }
    request
}

/// Whether what the way shows has been masked.
fn is_masked(attempt: &Attempt) -> bool {
    let shows = matches!(
        attempt.way.scheme,
        Scheme::Token(_) | Scheme::Basic | Scheme::Bearer
    );
    shows && is_kept(&attempt.request)
}

/// Whether it is a request that the service has refused and kept.
fn is_kept(request: &Request) -> bool {
    request.headers.contains_key(KEPT)
}

/// Whether something is signed, so that the body and what stands around it matter.
fn is_signed(attempt: &Attempt) -> bool {
    attempt.way.scheme.signing().is_some()
}

/// What is signed and when, to be changed; `None` where nothing is.
fn signed_and_when(way: &mut Way) -> Option<(&mut Vec<Template>, &mut Option<SignedTime>)> {
    match &mut way.scheme {
        Scheme::Hmac(hmac) => Some((&mut hmac.signed, &mut hmac.timestamp)),
        Scheme::Ed25519(ed25519) => Some((&mut ed25519.signed, &mut ed25519.timestamp)),
        Scheme::None | Scheme::Token(_) | Scheme::Basic | Scheme::Bearer => None,
    }
}

/// What stands at the way's place, as text.
fn shown_value(attempt: &Attempt) -> Option<(Place, Vec<String>)> {
    let shown = match &attempt.way.scheme {
        Scheme::Token(shown) => shown,
        scheme => scheme.signing()?.signature,
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    match first_present(shown, &attempt.request) {
        Ok(Some((place, values))) => {
            let values = values.iter().map(|value| text(value)).collect();
            Some((place.clone(), values))
        }
        Ok(None) => None,
        Err(_) => {
            let all = |place| super::find::find(&attempt.request, place).ok();
            let mut places = shown.places.iter();
            places.find_map(|place| {
                let values: Vec<String> = all(place)?.iter().map(|value| text(value)).collect();
                (!values.is_empty()).then(|| (place.clone(), values))
            })
        }
    }
}
