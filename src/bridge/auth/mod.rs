//! `[auth]`, compiled: how a bridge's sender shows that it is the sender. Data only; `intake::authenticate` asks it.
//!
//! An [`Auth`] is a list of ways. The first way whose place is present in a request decides; a bad or empty value there
//! never falls through to the next.

mod challenge;
mod compile;
mod encoding;
mod key;
mod pattern;
mod place;
mod shown;
#[cfg(test)]
mod tests;
mod time;
mod written;

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeTable;

pub use challenge::{Challenge, Says};
pub use encoding::{Encoding, undo_percent};
pub use key::{Key, KeyForm};
pub use pattern::{Holds, Pattern, Piece, Reads, Template};
pub use place::{Place, Pointer};
pub use written::{At, Mistake};

use crate::model::Secret;

/// How the requests of one bridge are authenticated.
#[derive(Clone, Debug)]
pub struct Auth {
    ways: Vec<Way>,
    addresses: Vec<IpNet>,
    repeats: Vec<Place>,
    challenge: Option<Challenge>,
    secrets: usize,
}

/// One way to show who one is.
#[derive(Clone, Debug)]
pub struct Way {
    /// What is asked for.
    pub scheme: Scheme,
    /// The secrets that are made for this way, in the bridge's order.
    pub keys: Vec<Key>,
}

/// What a way asks for.
#[derive(Clone, Debug)]
pub enum Scheme {
    /// Nothing: everybody is believed.
    None,
    /// The secret itself, at a place.
    Token(Shown),
    /// `Authorization: Basic`; the secret is `user:password`.
    Basic,
    /// `Authorization: Bearer`; the secret is the token.
    Bearer,
    /// A MAC made with the secret.
    Hmac(Box<Hmac>),
    /// An Ed25519 signature; the secret is the sender's public key.
    Ed25519(Box<Ed25519>),
}

/// Where a signature or a token stands, and how it reads there.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The first that is present counts.
    pub places: Vec<Place>,
    /// The first that fits counts. Each is cut at the separator into the items it is made of.
    pub formats: Vec<Vec<Pattern>>,
    /// Cuts the value into items.
    pub separator: Option<String>,
}

/// A signature with a shared secret.
#[derive(Clone, Debug)]
pub struct Hmac {
    /// One, or those that `{algorithm}` in the format may choose from.
    pub algorithms: Vec<Algorithm>,
    /// Where the signature stands.
    pub signature: Shown,
    /// What is signed: the first whose names are all there.
    pub signed: Vec<Template>,
    /// When it was signed.
    pub timestamp: Option<SignedTime>,
}

/// A signature with the sender's private key.
#[derive(Clone, Debug)]
pub struct Ed25519 {
    /// Where the signature stands.
    pub signature: Shown,
    /// What is signed: the first whose names are all there.
    pub signed: Vec<Template>,
    /// When it was signed.
    pub timestamp: Option<SignedTime>,
}

/// What every signature has, whatever made it.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// The hashes that may be behind it; none for Ed25519.
    pub algorithms: &'a [Algorithm],
    /// Where it stands.
    pub signature: &'a Shown,
    /// What is signed.
    pub signed: &'a [Template],
    /// When it was signed.
    pub timestamp: Option<&'a SignedTime>,
}

/// What a way is worth, from nothing to all that a signature can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// Nobody is known.
    Nothing,
    /// Only where the request comes from is known.
    Address,
    /// The signature is made of nothing that changes: it is shown as a token is.
    Constant,
    /// The sender is known, the body may be anybody's.
    Sender,
    /// The sender and the moment are known, the body may be anybody's.
    SenderAndTime,
    /// The body is the sender's, the moment is not.
    Body,
    /// The body and the moment are the sender's.
    BodyAndTime,
}

/// A timestamp that the signature covers.
#[derive(Clone, Debug)]
pub struct SignedTime {
    /// Its place; `None` when it stands in the signature's format.
    pub from: Option<Place>,
    /// How it is written.
    pub unit: Unit,
    /// How far it may be from now, in both directions, inclusive.
    pub within: Duration,
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// RFC 3339.
    Rfc3339,
}

/// The hash behind a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-1, for old senders. As a MAC it still holds.
    Sha1,
    /// SHA-224
    Sha224,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Auth {
    /// Checks and compiles an `[auth]` table with the bridge's secrets, and reports everything that is wrong with them.
    ///
    /// With `extends`, hand in the merged table: a child's key replaces the parent's (remove the parent's entry first,
    /// or its span stays), and a child that names `scheme` starts afresh.
    pub fn compile(table: &DeTable<'_>, secrets: &[Secret]) -> Result<Auth, Vec<Mistake>> {
        let secrets: Vec<Option<Secret>> = secrets.iter().cloned().map(Some).collect();
        Auth::compile_with_gaps(table, &secrets)
    }

    /// The same with secrets of which some are not there: each keeps its number, and nothing is believed by a gap.
    pub fn compile_with_gaps(
        table: &DeTable<'_>,
        secrets: &[Option<Secret>],
    ) -> Result<Auth, Vec<Mistake>> {
        compile::compile(table, Some(secrets))
    }

    /// Checks the table of a bridge that is only a rule-book and has no secrets yet.
    pub fn check(table: &DeTable<'_>) -> Vec<Mistake> {
        compile::compile(table, None).err().unwrap_or_default()
    }

    /// The ways, in the order they are asked.
    pub fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// Where a request may come from; empty for everywhere.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// How many secrets the bridge has.
    pub fn secrets(&self) -> usize {
        self.secrets
    }

    /// What a sender may ask to be answered.
    pub fn challenge(&self) -> Option<&Challenge> {
        self.challenge.as_ref()
    }

    /// One of the secrets that a way uses, by its number from 1.
    pub fn secret(&self, number: usize) -> Option<&Secret> {
        let mut keys = self.ways.iter().flat_map(|way| &way.keys);
        keys.find(|key| key.number == number).map(|key| &key.secret)
    }

    /// What a way of these is worth.
    pub fn worth(&self, way: &Way) -> Worth {
        let timed = || {
            way.scheme
                .signing()
                .is_some_and(|signing| signing.timestamp.is_some())
        };
        match &way.scheme {
            Scheme::None if self.addresses.is_empty() => Worth::Nothing,
            Scheme::None => Worth::Address,
            scheme if scheme.covers_body() && timed() => Worth::BodyAndTime,
            scheme if scheme.covers_body() => Worth::Body,
            _ if timed() => Worth::SenderAndTime,
            _ if way.signs_a_constant() => Worth::Constant,
            _ => Worth::Sender,
        }
    }

    /// What an operator should know about the worth of it, one line for each way that does not cover the body.
    pub fn advice(&self) -> Vec<String> {
        let worth = |way: &Way| (way.to_string(), self.worth(way));
        let weak = |(_, worth): &(String, Worth)| *worth < Worth::Body;
        let ways = self.ways.iter().map(worth).filter(weak);
        ways.map(|(way, worth)| format!("{way}: {worth}")).collect()
    }
}

/// For people: `the sender is known, the body is not covered`.
impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Worth::Nothing => "anybody who finds this address can post; no sender is known",
            Worth::Address => "only the sender's address is checked, the body is not covered",
            Worth::Constant => {
                "the signature is always the same, so it is only a token; the sender is known, the body is not covered"
            }
            Worth::Sender => "the sender is known, the body is not covered",
            Worth::SenderAndTime => {
                "the sender is known and the time is signed, the body is not covered"
            }
            Worth::Body => {
                "the sender is known and the body is covered; no time is signed, so a copied request can be sent again"
            }
            Worth::BodyAndTime => "the sender is known, the body and the time are covered",
        })
    }
}

impl Auth {
    /// Where the sender shows its proof once more, and nobody looks: it is taken out there too.
    pub fn repeats(&self) -> &[Place] {
        &self.repeats
    }
}

impl Way {
    /// Where this way looks first of all; whether something is there decides whether the way is asked.
    pub fn places(&self) -> &[Place] {
        match &self.scheme {
            Scheme::Token(shown) => &shown.places,
            Scheme::Hmac(hmac) => &hmac.signature.places,
            Scheme::Ed25519(ed25519) => &ed25519.signature.places,
            Scheme::None | Scheme::Basic | Scheme::Bearer => &[],
        }
    }

    /// Whether a request can be signed here with nothing of it in the signature.
    fn signs_a_constant(&self) -> bool {
        let constant = |template: &Template| {
            let mut pieces = template.pieces().iter();
            pieces.all(|piece| {
                matches!(
                    piece,
                    Piece::Text(_) | Piece::Name(Holds::Secret | Holds::Method)
                )
            })
        };
        let by_key = |form: &KeyForm| match form {
            KeyForm::Fixed(_) => true,
            KeyForm::Built(template) => constant(template),
        };
        let by_keys = self.keys.iter().flat_map(|key| &key.forms).any(by_key);
        let signing = self.scheme.signing();
        by_keys && signing.is_some_and(|signing| signing.signed.iter().any(constant))
    }
}

impl Scheme {
    /// Whether a proof of this scheme may stand at the place.
    fn looks_at(&self, place: &Place) -> bool {
        match self {
            Scheme::None => false,
            Scheme::Basic | Scheme::Bearer => {
                matches!(place, Place::Header(name) if *name == http::header::AUTHORIZATION)
            }
            Scheme::Token(shown) => shown.places.contains(place),
            Scheme::Hmac(hmac) => hmac.signature.places.contains(place),
            Scheme::Ed25519(ed25519) => ed25519.signature.places.contains(place),
        }
    }

    /// Whether a change of the body would be noticed.
    pub fn covers_body(&self) -> bool {
        let covers = |piece: &Piece<Holds>| match piece {
            Piece::Name(Holds::Body) => true,
            // A form's `payload` is what becomes the event's body.
            Piece::Name(Holds::At(Place::Form(field))) => field == "payload",
            _ => false,
        };
        self.signing().is_some_and(|signing| {
            let mut templates = signing.signed.iter();
            templates.all(|signed| signed.pieces().iter().any(covers))
        })
    }

    /// The only parameters of the address that a signature over the body covers too. `None` where what is shown speaks for
    /// the whole request: a token, an address that is signed as a whole.
    pub fn signed_parameters(&self) -> Option<Vec<&str>> {
        let signed = self.signing().filter(|_| self.covers_body())?.signed;
        let whole = |template: &Template| {
            let mut pieces = template.pieces().iter();
            pieces.any(|piece| matches!(piece, Piece::Name(Holds::Url)))
        };
        if signed.iter().all(whole) {
            return None;
        }
        let named = |piece| match piece {
            &Piece::Name(Holds::At(Place::Query(ref name))) => Some(name.as_str()),
            _ => None,
        };
        let first = signed.iter().find(|template| !whole(template))?;
        let names = first.pieces().iter().filter_map(named);
        let in_all = |name: &&str| {
            let mut others = signed.iter().filter(|template| !whole(template));
            others.all(|other| {
                other
                    .pieces()
                    .iter()
                    .filter_map(named)
                    .any(|it| it == *name)
            })
        };
        Some(names.filter(in_all).collect())
    }

    /// What a signature of this scheme is made of; `None` where nothing is signed.
    pub fn signing(&self) -> Option<Signing<'_>> {
        match self {
            Scheme::Hmac(hmac) => Some(Signing {
                algorithms: &hmac.algorithms,
                signature: &hmac.signature,
                signed: &hmac.signed,
                timestamp: hmac.timestamp.as_ref(),
            }),
            Scheme::Ed25519(ed25519) => Some(Signing {
                algorithms: &[],
                signature: &ed25519.signature,
                signed: &ed25519.signed,
                timestamp: ed25519.timestamp.as_ref(),
            }),
            Scheme::None | Scheme::Token(_) | Scheme::Basic | Scheme::Bearer => None,
        }
    }
}

/// For people: `hmac-sha256 in header x-hub-signature-256`.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scheme {
            Scheme::None => return f.write_str("scheme none"),
            Scheme::Basic => return f.write_str("basic"),
            Scheme::Bearer => return f.write_str("bearer"),
            Scheme::Token(_) => f.write_str("token")?,
            Scheme::Hmac(hmac) => {
                let names: Vec<String> = hmac.algorithms.iter().map(Algorithm::to_string).collect();
                f.write_str(&names.join(" or "))?;
            }
            Scheme::Ed25519(_) => f.write_str("ed25519")?,
        }
        for (n, place) in self.places().iter().enumerate() {
            write!(f, "{}{place}", if n == 0 { " in " } else { " or " })?;
        }
        Ok(())
    }
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 5] = [
        Algorithm::Sha1,
        Algorithm::Sha224,
        Algorithm::Sha256,
        Algorithm::Sha384,
        Algorithm::Sha512,
    ];

    /// The name that stands for `{algorithm}` in a format: `sha256`.
    pub fn word(self) -> &'static str {
        match self {
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha224 => "sha224",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }
}

/// As `scheme` names it: `hmac-sha256`.
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hmac-{}", self.word())
    }
}
