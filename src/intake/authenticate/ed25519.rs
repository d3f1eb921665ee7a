//! Ed25519 signatures, checked by the library that is here for TLS already.

use std::borrow::Cow;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

/// Whether the sender's private key signed the message. Nothing here is secret, so nothing has to take the same time.
pub(super) fn verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(message, signature)
        .is_ok()
}

/// The pieces in one, as the library wants it.
pub(super) fn whole<'m>(pieces: &'m [Cow<'_, [u8]>]) -> Cow<'m, [u8]> {
    match pieces {
        [one] => Cow::Borrowed(one),
        pieces => Cow::Owned(pieces.concat()),
    }
}
