//! What holds for every body, every secret and every change.

use proptest::prelude::*;

use super::*;

/// Declarations that cover the body, one for each shape of the language.
const COVERING: [&str; 8] = [
    GITHUB, STRIPE, SHOPIFY, STANDARD, GITEA, GITLAB, HOOK0, LEGACY,
];
const OTHERS: [&str; 7] = [
    GITEE,
    DINGTALK,
    ALERTMANAGER,
    "scheme = \"token\"\ntoken = \"path\"",
    "scheme = \"token\"\ntoken = \"query:key\"",
    "scheme = \"token\"\ntoken = \"header:x-token\"\nformat = \"Token {token}!\"",
    "scheme = \"basic\"",
];

/// Declarations in which the body may hold the proof, before or behind the head.
const MIXED: [&str; 7] = [
    FEISHU,
    "scheme = \"token\"\ntoken = [\"header:x-token\", \"body:/token\"]",
    "scheme = \"token\"\ntoken = [\"query:key\", \"form:token\", \"header:x-token\"]",
    "scheme = \"token\"\ntoken = \"body:/token\"\notherwise = { scheme = \"bearer\" }",
    "scheme = \"bearer\"\notherwise = { scheme = \"token\", token = \"form:token\" }",
    "scheme = \"bearer\"\notherwise = { scheme = \"token\", token = \"header:x-token\" }",
    "scheme = \"bearer\"\naddresses = [\"192.0.2.0/24\"]",
];

/// A secret that the declaration can use, made of any text.
fn fitting(declared: &str, text: &str) -> String {
    if declared.contains("whsec_") {
        format!("whsec_{}", Encoding::Base64.encode(text.as_bytes()))
    } else if declared.contains("\"basic\"") && !declared.contains("\"bearer\"") {
        format!("user:{text}")
    } else {
        text.to_owned()
    }
}

fn signable(body: Vec<u8>) -> Request {
    let mut request = with(post(""), &[("webhook-id", "msg_1"), ("x-event-id", "e1")]);
    request.body = body.into();
    request
}

/// The request with one bit of its body turned round.
fn flipped(request: &Request, at: usize, bit: u8) -> Request {
    let mut body = request.body.to_vec();
    let index = at % body.len();
    body[index] ^= 1 << bit;
    let mut request = request.clone();
    request.body = body.into();
    request
}

proptest! {
    #[test]
    fn what_is_signed_is_believed(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        text in "[!-~é]{1,40}",
        which in 0..COVERING.len() + OTHERS.len(),
    ) {
        let declared = *COVERING.iter().chain(&OTHERS).nth(which).unwrap();
        let auth = auth(declared, &[&fitting(declared, &text)]);
        // A form whose payload is there twice is refused, signed or not.
        prop_assume!(!body.starts_with(b"payload"));
        let signed = sign(&auth, signable(body), now()).unwrap();
        let authentic = authenticate(&auth, signed, now());
        prop_assert!(authentic.is_ok(), "{declared}: {:?}", authentic.err());
    }

    #[test]
    fn any_change_of_a_covered_body_is_refused(
        body in proptest::collection::vec(any::<u8>(), 1..300),
        text in "[!-~]{1,40}",
        which in 0..COVERING.len(),
        at in any::<usize>(),
        bit in 0u8..8,
    ) {
        let auth = auth(COVERING[which], &[&fitting(COVERING[which], &text)]);
        let signed = sign(&auth, signable(body), now()).unwrap();
        prop_assert!(authenticate(&auth, flipped(&signed, at, bit), now()).is_err());
        let mut longer = signed.clone();
        longer.body = [&signed.body[..], b"\n"].concat().into();
        prop_assert!(authenticate(&auth, longer, now()).is_err());
    }

    #[test]
    fn any_change_of_the_decoded_signature_is_refused(
        text in "[!-~]{1,40}",
        which in 0..COVERING.len(),
        at in any::<usize>(),
        to in "[!-~]",
    ) {
        let auth = auth(COVERING[which], &[&fitting(COVERING[which], &text)]);
        let unsigned = signable(b"{}".to_vec());
        let signed = sign(&auth, unsigned.clone(), now()).unwrap();
        let name = signed
            .headers
            .keys()
            .find(|name| !unsigned.headers.contains_key(*name) && name.as_str().ends_with("signature"))
            .or_else(|| signed.headers.keys().find(|name| name.as_str().contains("signature") || name.as_str() == "x-hmac"))
            .unwrap()
            .clone();
        let value = signed.headers[&name].to_str().unwrap().to_owned();
        let index = at % value.len();
        let mut changed = value.clone();
        changed.replace_range(index..=index, &to);
        // Hex has two cases, and a lost padding loses nothing.
        prop_assume!(!changed.eq_ignore_ascii_case(&value) || changed.contains("v1,"));
        prop_assume!(changed != value);
        let mut request = signed.clone();
        request.headers.insert(name, HeaderValue::from_str(&changed).unwrap());
        prop_assert!(authenticate(&auth, request, now()).is_err(), "{value} {changed}");
    }

    #[test]
    fn another_secret_is_refused(
        body in proptest::collection::vec(any::<u8>(), 0..100),
        one in "[!-~]{1,40}",
        other in "[!-~]{1,40}",
        which in 0..COVERING.len() + OTHERS.len(),
    ) {
        // HMAC fills short keys up with zero bytes, which printable secrets do not hold.
        prop_assume!(one != other && !body.starts_with(b"payload"));
        let declared = *COVERING.iter().chain(&OTHERS).nth(which).unwrap();
        let signed = sign(&auth(declared, &[&fitting(declared, &one)]), signable(body), now()).unwrap();
        let refusing = auth(declared, &[&fitting(declared, &other)]);
        prop_assert!(authenticate(&refusing, signed, now()).is_err());
    }

    #[test]
    fn no_request_whatsoever_makes_it_panic(
        which in 0..COVERING.len() + OTHERS.len(),
        value in proptest::collection::vec(any::<u8>(), 0..60),
        shaped in "(t=|h=|v1=|v1,|sha256=|Bearer |Basic |,| |=|[0-9a-fA-F]{1,70}|%[0-9a-f]{0,2}|x-a){0,8}",
        target in "/hooks/acme(/[!-~]{0,10})?(\\?[!-~]{0,30})?",
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let declared = *COVERING.iter().chain(&OTHERS).chain(&[FEISHU]).nth(which).unwrap();
        let auth = auth(declared, &[&fitting(declared, "pepper")]);
        let mut request = at(signable(body), &target);
        for place in auth.ways().iter().flat_map(|way| way.places()) {
            if let Place::Header(name) = place {
                for value in [&value[..], shaped.as_bytes()] {
                    if let Ok(value) = HeaderValue::from_bytes(value) {
                        request.headers.append(name, value);
                    }
                }
            }
        }
        if let Ok(value) = HeaderValue::from_str(&shaped) {
            request.headers.append("authorization", value);
        }
        let _ = authenticate(&auth, request, now());
    }

    #[test]
    fn what_the_head_alone_refuses_is_refused_whole_for_the_same_reason(
        which in 0..COVERING.len() + OTHERS.len() + MIXED.len(),
        secret in prop_oneof![Just("pepper"), Just("salt")],
        is_signed in any::<bool>(),
        shown in proptest::option::of("(pepper|Bearer pepper|Bearer x|Basic dXNlcjpwZXBwZXI=|sha256=00|)"),
        target in "/hooks/acme(/pepper|/x)?(\\?(key=pepper|key=x|sign=x)?)?",
        body in prop_oneof![
            Just("token=pepper"), Just("token=x"), Just("{\"token\":\"pepper\"}"),
            Just("{\"token\":\"x\"}"), Just("{\"sign\":\"\"}"), Just(""),
        ],
        near in any::<bool>(),
    ) {
        let declared = *COVERING.iter().chain(&OTHERS).chain(&MIXED).nth(which).unwrap();
        let known = auth(declared, &[&fitting(declared, "pepper")]);
        let mut request = at(signable(body.as_bytes().to_vec()), &target);
        request.peer = Some(if near { [192, 0, 2, 1] } else { [203, 0, 113, 1] }.into());
        if is_signed {
            let other = auth(declared, &[&fitting(declared, secret)]);
            request = sign(&other, request.clone(), now()).unwrap_or(request);
        }
        if let Some(shown) = shown {
            for name in ["authorization", "x-token", "x-hub-signature-256"] {
                request = with(request, &[(name, shown.as_str())]);
            }
        }
        let mut head = request.clone();
        head.body = bytes::Bytes::new();
        let whole = authenticate(&known, request, now());
        match ask_head(&known, &head, now()) {
            Head::Refused(refusal) => prop_assert_eq!(whole.err(), Some(refusal)),
            Head::Shown => prop_assert!(whole.is_ok(), "{declared}: {:?}", whole.err()),
            Head::Undecided => {}
        }
    }
}

#[test]
fn the_head_knows_what_is_missing_or_wrong_in_it_and_leaves_the_rest_to_the_body() {
    let of = |declared: &str, headers: &[(&str, &str)]| {
        ask_head(
            &auth(declared, &["pepper"]),
            &with(post(""), headers),
            now(),
        )
    };
    let word = |head: Head| match head {
        Head::Refused(refusal) => refusal.word(),
        Head::Shown => "shown",
        Head::Undecided => "undecided",
    };
    let bearer = "scheme = \"bearer\"";
    for (declared, headers, expected) in [
        (GITHUB, &[][..], "missing"),
        (
            GITHUB,
            &[("x-hub-signature-256", "sha256=zz")],
            "unreadable",
        ),
        (GITHUB, &[("x-hub-signature-256", "sha256=00")], "undecided"),
        (bearer, &[], "missing"),
        (bearer, &[("authorization", "Bearer x")], "mismatch"),
        (bearer, &[("authorization", "Bearer pepper")], "shown"),
        (MIXED[1], &[], "undecided"),
        (MIXED[1], &[("x-token", "x")], "mismatch"),
        (MIXED[2], &[("x-token", "x")], "undecided"),
        (MIXED[3], &[], "undecided"),
        (MIXED[4], &[("authorization", "Bearer x")], "mismatch"),
        (MIXED[6], &[], "address"),
        (FEISHU, &[], "undecided"),
    ] {
        assert_eq!(
            word(of(declared, headers)),
            expected,
            "{declared} {headers:?}"
        );
    }
}
