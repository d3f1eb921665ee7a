//! What may be kept of a refused request.

use super::*;

fn redacted(auth: &Auth, request: Request) -> String {
    let text = redact(auth, request).to_text();
    String::from_utf8(text).unwrap()
}

#[test]
fn signatures_stay_and_what_shows_a_secret_keeps_its_shape() {
    let auth = auth(GITLAB, &["whsec_c2FsdCBhbmQgcGVwcGVy", "Sesame-0pen"]);
    let request = with(
        at(
            post("{\"a\": 1}"),
            "/hooks/acme/Hidden1?x=1&access_token=Abc9&sign=AbC%3D",
        ),
        &[
            ("webhook-signature", "v1,AbC="),
            ("x-hub-signature", "sha1=AbC9"),
            ("x-gitlab-token", "Wrong-Token9"),
            ("authorization", "Bearer Aa9-x"),
            ("cookie", "session=Aa9"),
            ("x-api-key", "Kk1"),
            ("x-gitlab-event", "Push Hook"),
        ],
    );
    let text = redacted(&auth, request);
    for line in [
        "POST /hooks/acme/Aaaaaa0?x=1&access_token=Aaa0&sign=AbC%3D HTTP/1.1",
        "Webhook-Signature: v1,AbC=",
        "X-Hub-Signature: sha1=AbC9",
        "X-Gitlab-Token: Aaaaa-Aaaaa0",
        "Authorization: Bearer Aa0-a",
        "Cookie: aaaaaaa=Aa0",
        "X-Api-Key: Aa0",
        "X-Gitlab-Event: Push Hook",
        "{\"a\": 1}",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn a_secret_of_the_bridge_is_masked_wherever_it_stands() {
    let secret = "Sesame-0pen";
    let auth = auth(GITHUB, &[secret]);
    let request = with(
        at(
            post(&format!("{{\"a\":\"{secret}\"}}")),
            &format!("/hooks/acme?a={secret}"),
        ),
        &[("x-note", &format!("it is {secret}!"))],
    );
    let text = redacted(&auth, request);
    assert!(!text.contains(secret), "{text}");
    assert_eq!(text.matches("Aaaaaa-0aaa").count(), 3, "{text}");
}

#[test]
fn a_token_in_a_form_or_in_json_keeps_its_shape() {
    let form = auth("scheme = \"token\"\ntoken = \"form:key\"", &["x"]);
    assert!(redacted(&form, post("a=1&key=Guess1&b=2")).ends_with("a=1&key=Aaaaa0&b=2"));
    let json = auth("scheme = \"token\"\ntoken = \"body:/header/token\"", &["x"]);
    let body = "{\"header\":{\"token\":\"Guess1\"},\"n\":1}";
    assert!(redacted(&json, post(body)).ends_with("{\"header\":{\"token\":\"Aaaaa0\"},\"n\":1}"));
}

#[test]
fn a_signed_request_is_refused_for_the_same_reason_from_its_copy() {
    let auth = auth(STRIPE, &["pepper-pepper"]);
    let value = format!("t=1700000000,v1={}", hex_sha256("salt", "1700000000.{}"));
    let request = with(post("{}"), &[("stripe-signature", &value)]);
    let copy = Request::from_text("acme", redacted(&auth, request.clone()).as_bytes()).unwrap();
    assert_eq!(refused(&auth, copy), refused(&auth, request));
}

proptest::proptest! {
    #[test]
    fn no_request_whatsoever_makes_it_panic_or_shows_the_token(
        value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
        target in "/hooks/acme(/[!-~]{0,10})?(\\?[!-~]{0,30})?",
    ) {
        let auth = auth(GITLAB, &["whsec_c2FsdA==", "Sesame-0pen"]);
        let mut request = at(post(""), &target);
        request.body = [&body[..], b"Sesame-0pen", &body[..]].concat().into();
        if let Ok(value) = HeaderValue::from_bytes(&[&value[..], b"Sesame-0pen"].concat()) {
            request.headers.insert("x-gitlab-token", value.clone());
            request.headers.insert("x-other", value);
        }
        let text = redact(&auth, request).to_text();
        proptest::prop_assert!(!text.windows(11).any(|part| part == b"Sesame-0pen"));
    }
}
