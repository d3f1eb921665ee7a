//! Signatures with the sender's private key. The bridge has the public one only.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use proptest::prelude::*;

use super::*;

const DISCORD: &str = r#"scheme = "ed25519"
signature = "header:x-signature-ed25519"
format = "{hex}"
signed = "{timestamp}{body}"
timestamp = { from = "header:x-signature-timestamp", within = "5m" }
key = "{hex}""#;
const STANDARD_KEY_PAIR: &str = r#"scheme = "ed25519"
signature = "header:webhook-signature"
format = "v1a,{base64}"
several = " "
signed = "{header:webhook-id}.{timestamp}.{body}"
timestamp = { from = "header:webhook-timestamp", within = "5m" }
key = "whpk_{base64}""#;

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(pair: &Ed25519KeyPair) -> String {
    hex::encode(pair.public_key().as_ref())
}

fn discord(pair: &Ed25519KeyPair, time: &str, body: &[u8]) -> Request {
    let signature = pair.sign(&[time.as_bytes(), body].concat());
    let mut request = post("");
    request.body = body.to_vec().into();
    with(
        request,
        &[
            ("x-signature-timestamp", time),
            ("x-signature-ed25519", &hex::encode(signature.as_ref())),
        ],
    )
}

#[test]
fn the_signature_of_the_specification_is_believed_and_no_other() {
    // RFC 8032, section 7.1, test 2: the message is one byte.
    let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
    let declared =
        "scheme = \"ed25519\"\nsignature = \"header:x\"\nformat = \"{hex}\"\nkey = \"{hex}\"";
    let auth = auth(declared, &[key]);
    let shown = |body: &str, signature: &str| with(post(body), &[("x", signature)]);
    assert_eq!(
        accepted(&auth, shown("r", signature)).by,
        "ed25519 in header x, secret 1 of 1"
    );
    accepted(&auth, shown("r", &signature.to_uppercase()));
    for (body, signature) in [
        ("s", signature.to_owned()),
        ("", signature.to_owned()),
        ("r\n", signature.to_owned()),
        ("r", signature.replacen("92", "93", 1)),
        ("r", signature[..126].to_owned()),
        ("r", format!("{signature}00")),
        ("r", "00".repeat(64)),
    ] {
        assert_eq!(
            refused(&auth, shown(body, &signature)),
            "signature does not match the secret"
        );
    }
}

#[test]
fn a_second_signature_cannot_be_made_out_of_the_first() {
    // The order of the group, little-endian: S and S + L are the same point, and only S < L is a signature (RFC 8032, 5.1.7).
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let request = discord(&pair(7), "1700000000", b"{}");
    let auth = auth(DISCORD, &[&public(&pair(7))]);
    accepted(&auth, request.clone());
    let mut signature = hex::decode(request.headers["x-signature-ed25519"].as_bytes()).unwrap();
    let mut carry = 0u16;
    for (byte, add) in signature[32..].iter_mut().zip(order.unwrap()) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    let mut other = request;
    let value = HeaderValue::from_str(&hex::encode(&signature)).unwrap();
    other.headers.insert("x-signature-ed25519", value);
    refused(&auth, other);
}

#[test]
fn the_signed_time_holds_here_too() {
    let auth = auth(DISCORD, &[&public(&pair(1))]);
    for time in ["1699999700", "1700000300"] {
        accepted(&auth, discord(&pair(1), time, b"{}"));
    }
    assert_eq!(
        refused(&auth, discord(&pair(1), "1699999699", b"{}")),
        "timestamp is 5 m 1 s old, 5 m allowed"
    );
    let mut later = discord(&pair(1), "1700000000", b"{}");
    let value = HeaderValue::from_static("1700000001");
    later.headers.insert("x-signature-timestamp", value);
    refused(&auth, later);
}

#[test]
fn any_item_may_fit_any_public_key_and_items_of_another_form_are_passed_over() {
    let key = |pair: &Ed25519KeyPair| {
        format!(
            "whpk_{}",
            Encoding::Base64.encode(pair.public_key().as_ref())
        )
    };
    let auth = auth(STANDARD_KEY_PAIR, &[&key(&pair(1)), &key(&pair(2))]);
    let base64 =
        |pair: &Ed25519KeyPair| Encoding::Base64.encode(pair.sign(b"msg_1.1700000000.{}").as_ref());
    let shown = |value: &str| {
        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", "1700000000"),
            ("webhook-signature", value),
        ];
        with(post("{}"), &headers)
    };
    let (second, third) = (base64(&pair(2)), base64(&pair(3)));
    let by = accepted(&auth, shown(&format!("v1,AAAA v1a,{third} v1a,{second}"))).by;
    assert_eq!(by, "ed25519 in header webhook-signature, secret 2 of 2");
    assert_eq!(
        refused(&auth, shown(&format!("v1a,{third}"))),
        "signature does not match any of 2 secrets"
    );
    assert_eq!(
        refused(&auth, shown(&format!("v1,{second}"))),
        "header webhook-signature does not read like `v1a,{base64}`"
    );
}

#[test]
fn a_public_key_may_be_the_secret_as_it_is() {
    let declared = DISCORD.replace("key = \"{hex}\"", "");
    let table = DeTable::parse(&declared).unwrap();
    let key = Secret::new(pair(4).public_key().as_ref());
    let auth = Auth::compile(table.get_ref(), &[key]).unwrap();
    accepted(&auth, discord(&pair(4), "1700000000", b"{}"));
}

#[test]
fn nobody_but_the_sender_can_sign() {
    let auth = auth(DISCORD, &[&public(&pair(1))]);
    assert_eq!(
        sign(&auth, post("{}"), now()).err(),
        Some(Unsigned::PublicKey)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_its_key_signed_is_believed_and_any_change_is_refused(
        body in proptest::collection::vec(any::<u8>(), 1..200),
        seed in any::<u8>(),
        at in any::<usize>(),
        bit in 0u8..8,
    ) {
        let auth = auth(DISCORD, &[&public(&pair(seed))]);
        let request = discord(&pair(seed), "1700000000", &body);
        prop_assert!(authenticate(&auth, request.clone(), now()).is_ok());

        let mut flipped = body.clone();
        let index = at % flipped.len();
        flipped[index] ^= 1 << bit;
        let mut changed = request.clone();
        changed.body = flipped.into();
        prop_assert!(authenticate(&auth, changed, now()).is_err());

        let mut signature = hex::decode(request.headers["x-signature-ed25519"].as_bytes()).unwrap();
        let index = at % signature.len();
        signature[index] ^= 1 << bit;
        let mut changed = request.clone();
        changed.headers.insert("x-signature-ed25519", HeaderValue::from_str(&hex::encode(signature)).unwrap());
        prop_assert!(authenticate(&auth, changed, now()).is_err());

        let other = pair(seed.wrapping_add(1));
        let refusing = super::auth(DISCORD, &[&public(&other)]);
        prop_assert!(authenticate(&refusing, request, now()).is_err());
    }
}
