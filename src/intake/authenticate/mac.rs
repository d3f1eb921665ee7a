//! HMAC over pieces, and comparison that takes the same time wherever two values differ.

use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;

use crate::bridge::auth::Algorithm;

/// The MAC of the pieces, one after the other.
pub(super) fn mac(algorithm: Algorithm, key: &[u8], message: &[impl AsRef<[u8]>]) -> Vec<u8> {
    match algorithm {
        Algorithm::Sha1 => run::<Hmac<sha1::Sha1>>(key, message),
        Algorithm::Sha224 => run::<Hmac<sha2::Sha224>>(key, message),
        Algorithm::Sha256 => run::<Hmac<sha2::Sha256>>(key, message),
        Algorithm::Sha384 => run::<Hmac<sha2::Sha384>>(key, message),
        Algorithm::Sha512 => run::<Hmac<sha2::Sha512>>(key, message),
    }
}

fn run<M: Mac + KeyInit>(key: &[u8], message: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length");
    for piece in message {
        mac.update(piece.as_ref());
    }
    mac.finalize().into_bytes().to_vec()
}

/// Whether the bytes are equal, whole length; only the length shows in the time it takes.
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}
