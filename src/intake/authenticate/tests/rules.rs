//! Every scheme and every rule of matching, with the promise it makes. The signatures written out here were computed with
//! Python's `hmac`, not with the code under test.

use super::*;

#[test]
fn a_hex_signature_with_a_prefix_over_the_raw_body_is_believed() {
    let auth = auth(GITHUB, &["It's a Secret to Everybody"]);
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let request = with(post("Hello, World!"), &[("x-hub-signature-256", signature)]);
    let authentic = accepted(&auth, request);
    assert_eq!(
        authentic.by,
        "hmac-sha256 in header x-hub-signature-256, secret 1 of 1"
    );
}

#[test]
fn any_of_several_secrets_is_believed_while_one_is_being_replaced() {
    let auth = auth(GITHUB, &["new", "old"]);
    for (secret, by) in [("new", "secret 1 of 2"), ("old", "secret 2 of 2")] {
        let signature = format!("sha256={}", hex_sha256(secret, "{}"));
        let request = with(post("{}"), &[("x-hub-signature-256", &signature)]);
        assert!(accepted(&auth, request).by.ends_with(by));
    }
    let signature = format!("sha256={}", hex_sha256("else", "{}"));
    let request = with(post("{}"), &[("x-hub-signature-256", &signature)]);
    assert_eq!(
        refused(&auth, request),
        "signature does not match any of 2 secrets"
    );
    assert_eq!(
        refused(&auth, post("{}")),
        "header x-hub-signature-256 is missing"
    );
}

#[test]
fn bearer_basic_and_a_token_in_the_path_are_three_ways_into_one_bridge() {
    let auth = auth(ALERTMANAGER, &["sesame", "ada:love:lace"]);
    let authorized = |value: &str| with(post("{}"), &[("authorization", value)]);
    assert_eq!(
        accepted(&auth, authorized("Bearer sesame")).by,
        "bearer, secret 1 of 2"
    );
    assert_eq!(
        accepted(&auth, authorized("bearer  sesame")).by,
        "bearer, secret 1 of 2"
    );
    assert_eq!(
        accepted(&auth, authorized("Basic YWRhOmxvdmU6bGFjZQ==")).by,
        "basic, secret 2 of 2"
    );
    assert_eq!(
        accepted(&auth, at(post("{}"), "/hooks/acme/sesame")).by,
        "token in the path behind the bridge's name, secret 1 of 2"
    );
    assert_eq!(
        refused(&auth, authorized("Basic YWRhOndyb25n")),
        "basic credential does not match the secret"
    );
    assert_eq!(
        refused(&auth, post("{}")),
        "header authorization (bearer), header authorization (basic) and the path behind the bridge's name are missing"
    );
}

#[test]
fn scheme_none_believes_everybody() {
    let auth = auth("scheme = \"none\"", &[]);
    assert_eq!(accepted(&auth, post("{}")).by, "scheme none");
}

#[test]
fn a_token_is_compared_whole_and_read_through_its_format() {
    let auth = auth(
        "scheme = \"token\"\ntoken = \"header:authorization\"\nformat = [\"Token {token}\", \"{token}\"]",
        &["sesame"],
    );
    let shown = |value: &str| with(post("{}"), &[("authorization", value)]);
    accepted(&auth, shown("Token sesame"));
    accepted(&auth, shown("sesame"));
    for value in [
        "token sesame",
        "sesam",
        "sesamee",
        "SESAME",
        "Token  sesame",
    ] {
        assert_eq!(
            refused(&auth, shown(value)),
            "token does not match the secret",
            "{value}"
        );
    }
    assert_eq!(
        refused(&auth, shown("")),
        "header authorization does not read like `Token {token}` or `{token}`"
    );
}

#[test]
fn a_base64_signature_without_a_prefix_is_believed() {
    let auth = auth(SHOPIFY, &["pepper"]);
    let signature = "0JTLoWbNfdXyRiDkYZ4pZ7iZY0z2Y5FvRi3HMbftHPs=";
    accepted(&auth, with(post("{\"a\":1}"), &[("x-hmac", signature)]));
}

#[test]
fn every_hash_of_the_family_is_known() {
    let body = "{\"a\":1}";
    let declared = |name: &str| {
        format!("scheme = \"hmac-{name}\"\nsignature = \"header:x\"\nformat = \"{{hex}}\"")
    };
    for (name, signature) in [
        ("sha1", "f00b36703e16f4d681c7fae8bf381177c455acb7"),
        (
            "sha512",
            "57621164748cb8aa9a4101bc89c3e95bb18eb2816fbe60371a23ec8d9e1b1f49989ba693f76761b8fa29a76c3165b9f20545557b7a47f092176fd5eb522addae",
        ),
    ] {
        accepted(
            &auth(&declared(name), &["pepper"]),
            with(post(body), &[("x", signature)]),
        );
    }
    for algorithm in Algorithm::ALL {
        let auth = auth(&declared(algorithm.word()), &["pepper"]);
        let signature = hex_mac(algorithm, "pepper", body);
        accepted(&auth, with(post(body), &[("x", &signature)]));
        for other in Algorithm::ALL
            .into_iter()
            .filter(|other| *other != algorithm)
        {
            let signature = hex_mac(other, "pepper", body);
            refused(&auth, with(post(body), &[("x", &signature)]));
        }
    }
}

#[test]
fn a_signed_timestamp_inside_the_signature_is_read() {
    let auth = auth(STRIPE, &["pepper"]);
    let signature =
        "t=1700000000,v1=91bca84415fc1043d1bf84a2c693b502b9abdfd20dce937db764eaa1d9149d30";
    accepted(
        &auth,
        with(post("{\"a\":1}"), &[("stripe-signature", signature)]),
    );
}

#[test]
fn a_key_is_decoded_as_the_sender_does_it() {
    let signed = |secret| {
        let request = with(
            post("{\"a\":1}"),
            &[
                ("webhook-id", "msg_1"),
                ("webhook-timestamp", "1700000000"),
                (
                    "webhook-signature",
                    "v1,8NzYEGJ1YPDGkWJaSukXUNwgcPUXM1uFoIAM1iBxzlw=",
                ),
            ],
        );
        accepted(&auth(STANDARD, &[secret]), request)
    };
    signed("whsec_c2FsdCBhbmQgcGVwcGVy");
    signed("c2FsdCBhbmQgcGVwcGVy");
}

#[test]
fn a_key_may_be_built_of_the_timestamp_and_the_secret() {
    let auth = auth(FEISHU, &["pepper"]);
    let body = r#"{"timestamp":1700000000,"sign":"VzEVe09R9G+eyEjTrKaq1zWypRsPmFeo5YbvNsDogzg=","text":"hi"}"#;
    accepted(&auth, post(body));
    accepted(&auth, post(&body.replace("1700000000", "\"1700000000\"")));
    assert_eq!(
        refused(&auth, post(&body.replace("1700000000", "1700000001"))),
        "signature does not match the secret"
    );
    assert_eq!(
        refused(&auth, post(&body.replace("1700000000", "null"))),
        "body field /timestamp is neither a text nor an integer"
    );
}

#[test]
fn the_secret_may_be_signed_in_the_place_of_the_body() {
    let auth = auth(GITEE, &["pepper"]);
    let signature = "SXl6mTDRT5B2a8XQm43Aib2KKRm0mOtuk4gYb3BGxDw=";
    let headers = [
        ("x-gitee-timestamp", "1700000000123"),
        ("x-gitee-token", signature),
    ];
    accepted(&auth, with(post("anything"), &headers));
}

#[test]
fn headers_that_the_signature_names_are_covered_by_it() {
    let auth = auth(HOOK0, &["pepper"]);
    let signature = "t=1700000000,h=x-event-id x-event-type,v1=5205f3c470cf79a5073378c63b17a81bf9cd7834931e4bcb654a689a1c404ba1";
    let request = |id: &str, signature: &str| {
        let headers = [
            ("x-event-id", id),
            ("x-event-type", "user"),
            ("x-hook0-signature", signature),
        ];
        with(post("{\"a\":1}"), &headers)
    };
    accepted(&auth, request("e1", signature));
    assert_eq!(
        refused(&auth, request("e2", signature)),
        "signature does not match the secret"
    );
    let absent = signature.replace("h=x-event-id", "h=x-other");
    assert_eq!(
        refused(&auth, request("e1", &absent)),
        "a header named in the signature is missing"
    );
    let unnamed = signature.replace("h=x-event-id x-event-type,", "");
    assert_eq!(
        refused(&auth, request("e1", &unnamed)),
        "the list of signed headers is missing"
    );
    let twice = with(request("e1", signature), &[("x-event-id", "e1")]);
    assert_eq!(
        refused(&auth, twice),
        "a header named in the signature is there more than once"
    );
}

#[test]
fn the_algorithm_named_in_the_value_chooses_among_those_declared() {
    let auth = auth(LEGACY, &["pepper"]);
    let sha1 = format!("sha1={}", hex_mac(Algorithm::Sha1, "pepper", "{}"));
    let sha256 = format!("sha256={}", hex_sha256("pepper", "{}"));
    let by = accepted(&auth, with(post("{}"), &[("x-hub-signature", &sha1)])).by;
    assert_eq!(by, "hmac-sha1 in header x-hub-signature, secret 1 of 1");
    accepted(&auth, with(post("{}"), &[("x-hub-signature", &sha256)]));
    let sha512 = format!("sha512={}", hex_mac(Algorithm::Sha512, "pepper", "{}"));
    assert_eq!(
        refused(&auth, with(post("{}"), &[("x-hub-signature", &sha512)])),
        "header x-hub-signature does not read like `{algorithm}={hex}`"
    );
    let crossed = sha1.replace("sha1", "sha256");
    refused(&auth, with(post("{}"), &[("x-hub-signature", &crossed)]));
}

#[test]
fn method_url_and_literal_text_may_be_signed() {
    let declared = r#"scheme = "hmac-sha256"
signature = "header:x-sign"
format = "{hex}"
signed = "{method}https://hook.example.com{url}{body}""#;
    let auth = auth(declared, &["pepper"]);
    let signature = "77a660f154323ac1a7b12c939a62987fb88294f9fc34e0f59bafdb9ae33c8184";
    let request = |target| with(at(post("{\"a\":1}"), target), &[("x-sign", signature)]);
    accepted(&auth, request("/hooks/acme?x=1"));
    refused(&auth, request("/hooks/acme?x=2"));
}

#[test]
fn addresses_are_required_besides() {
    let auth = auth(
        "scheme = \"bearer\"\naddresses = [\"192.0.2.0/28\", \"2001:db8::/32\"]",
        &["sesame"],
    );
    let from = |peer: Option<&str>, token: &str| {
        let mut request = with(post("{}"), &[("authorization", token)]);
        request.peer = peer.map(|peer| peer.parse().unwrap());
        request
    };
    for peer in ["192.0.2.0", "192.0.2.15", "2001:db8::1", "::ffff:192.0.2.3"] {
        accepted(&auth, from(Some(peer), "Bearer sesame"));
    }
    for peer in [Some("192.0.2.16"), Some("2001:db9::1"), Some("::1"), None] {
        assert_eq!(
            refused(&auth, from(peer, "Bearer sesame")),
            "the sender's address is not among those allowed"
        );
    }
    refused(&auth, from(Some("192.0.2.1"), "Bearer wrong"));
}

// -- rule 1 -----------------------------------------------------------------------------------------------------------

#[test]
fn a_bad_or_empty_value_never_falls_through_to_otherwise() {
    let auth = auth(GITLAB, &["whsec_c2FsdA==", "sesame"]);
    let token = ("x-gitlab-token", "sesame");
    accepted(&auth, with(post("{}"), &[token]));
    for bad in ["v1,AAAA", "", "v1,", "nonsense", "v2,AAAA"] {
        refused(
            &auth,
            with(post("{}"), &[token, ("webhook-signature", bad)]),
        );
    }
}

#[test]
fn the_first_place_of_a_list_that_is_present_decides() {
    let auth = auth(GITEA, &["pepper"]);
    let good = hex_sha256("pepper", "{}");
    accepted(&auth, with(post("{}"), &[("x-gitea-signature", &good)]));
    accepted(
        &auth,
        with(
            post("{}"),
            &[("x-forgejo-signature", &good), ("x-gitea-signature", "00")],
        ),
    );
    refused(
        &auth,
        with(
            post("{}"),
            &[("x-forgejo-signature", "00"), ("x-gitea-signature", &good)],
        ),
    );
    refused(
        &auth,
        with(
            post("{}"),
            &[("x-forgejo-signature", ""), ("x-gitea-signature", &good)],
        ),
    );
}

#[test]
fn an_empty_or_repeated_authorization_never_falls_through() {
    let auth = auth(ALERTMANAGER, &["sesame"]);
    let on_path = |headers: &[(&str, &str)]| with(at(post("{}"), "/hooks/acme/sesame"), headers);
    accepted(&auth, on_path(&[]));
    accepted(&auth, on_path(&[("authorization", "Digest x")]));
    for bad in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic",
        "Basic !",
        "basic c2VzYW1l!",
    ] {
        refused(&auth, on_path(&[("authorization", bad)]));
    }
    let twice = [
        ("authorization", "Bearer sesame"),
        ("authorization", "Bearer sesame"),
    ];
    assert_eq!(
        refused(&auth, on_path(&twice)),
        "header authorization is there more than once"
    );
}

#[test]
fn a_way_that_no_secret_is_made_for_refuses_what_takes_it() {
    let auth = auth(GITLAB, &["sesame"]);
    let request = with(
        post("{}"),
        &[
            ("webhook-signature", "v1,AAAA"),
            ("x-gitlab-token", "sesame"),
        ],
    );
    assert_eq!(
        refused(&auth, request),
        "this bridge has no secret for hmac-sha256 in header webhook-signature"
    );
}

// -- rule 2 -----------------------------------------------------------------------------------------------------------

#[test]
fn without_a_separator_the_whole_value_must_fit() {
    let auth = auth(GITHUB, &["pepper"]);
    let good = format!("sha256={}", hex_sha256("pepper", "{}"));
    for bad in [
        format!("{good},{good}"),
        format!("{good} x"),
        format!("x{good}"),
        good.replace("sha256=", "sha256= "),
        good.replace("sha256=", ""),
    ] {
        refused(&auth, with(post("{}"), &[("x-hub-signature-256", &bad)]));
    }
}

#[test]
fn with_a_separator_any_item_may_match_any_secret_in_any_order() {
    let auth = auth(STRIPE, &["new", "old"]);
    let v1 = |secret| format!("v1={}", hex_sha256(secret, "1700000000.{}"));
    let (t, wrong) = ("t=1700000000".to_owned(), v1("else"));
    for items in [
        vec![t.clone(), v1("new")],
        vec![v1("old"), t.clone()],
        vec![wrong.clone(), t.clone(), v1("old")],
        vec![v1("old"), wrong.clone(), t.clone()],
        vec![
            t.clone(),
            "v0=00".into(),
            "junk".into(),
            String::new(),
            v1("new"),
        ],
    ] {
        accepted(
            &auth,
            with(post("{}"), &[("stripe-signature", &items.join(","))]),
        );
    }
    let request = with(
        post("{}"),
        &[("stripe-signature", &format!("{t},{wrong},{wrong}"))],
    );
    assert_eq!(
        refused(&auth, request),
        "signature does not match any of 2 secrets"
    );
}

// -- rule 3 -----------------------------------------------------------------------------------------------------------

#[test]
fn literals_are_exact_and_hex_is_read_in_either_case() {
    let auth = auth(GITHUB, &["pepper"]);
    let hex = hex_sha256("pepper", "{}");
    let shown = |value: String| with(post("{}"), &[("x-hub-signature-256", value.as_str())]);
    accepted(&auth, shown(format!("sha256={}", hex.to_uppercase())));
    refused(&auth, shown(format!("SHA256={hex}")));
    refused(&auth, shown(format!("sha256:{hex}")));
    assert_eq!(
        refused(&auth, shown(format!("sha256={}", &hex[..63]))),
        "header x-hub-signature-256 does not read like `sha256={hex}`"
    );
}

// -- rule 4 and 5 -----------------------------------------------------------------------------------------------------

#[test]
fn a_name_that_is_missing_in_what_is_signed_refuses() {
    let auth = auth(STANDARD, &["whsec_c2FsdCBhbmQgcGVwcGVy"]);
    let signature = (
        "webhook-signature",
        "v1,8NzYEGJ1YPDGkWJaSukXUNwgcPUXM1uFoIAM1iBxzlw=",
    );
    let time = ("webhook-timestamp", "1700000000");
    let request = |headers: &[_]| with(post("{\"a\":1}"), headers);
    accepted(&auth, request(&[("webhook-id", "msg_1"), time, signature]));
    assert_eq!(
        refused(&auth, request(&[time, signature])),
        "header webhook-id is missing"
    );
    assert_eq!(
        refused(&auth, request(&[("webhook-id", "msg_1"), signature])),
        "header webhook-timestamp is missing"
    );
    assert_eq!(
        refused(
            &auth,
            request(&[
                ("webhook-id", "msg_1"),
                ("webhook-id", "msg_1"),
                time,
                signature
            ])
        ),
        "header webhook-id is there more than once"
    );
}

#[test]
fn a_list_of_signed_goes_on_only_when_a_name_is_missing() {
    let auth = auth(GITEA, &["pepper"]);
    let signed =
        |body: &str, signature: &str| with(post(body), &[("x-gitea-signature", signature)]);
    // What the form's payload reads is signed, not the form.
    let form = "payload=%7B%22a%22%3A%22b+c%2Bd%26e%22%7D";
    accepted(
        &auth,
        signed(
            form,
            "430e94df2da724fae305ad16b57ea7ff61c12681d3981b787ed692051aab429c",
        ),
    );
    assert_eq!(
        refused(&auth, signed(form, &hex_sha256("pepper", form))),
        "signature does not match the secret"
    );
    // Without a payload it is the body; a payload that is there twice is no missing one.
    accepted(&auth, signed("{}", &hex_sha256("pepper", "{}")));
    accepted(&auth, signed("a=b", &hex_sha256("pepper", "a=b")));
    let twice = "payload=%7B%7D&payload=%7B%7D";
    assert_eq!(
        refused(&auth, signed(twice, &hex_sha256("pepper", twice))),
        "form field payload is there more than once"
    );
}

#[test]
fn a_repeated_timestamp_is_refused_even_if_equal() {
    let gitee = auth(GITEE, &["pepper"]);
    let time = ("x-gitee-timestamp", "1700000000123");
    let signature = (
        "x-gitee-token",
        "SXl6mTDRT5B2a8XQm43Aib2KKRm0mOtuk4gYb3BGxDw=",
    );
    assert_eq!(
        refused(&gitee, with(post("{}"), &[time, time, signature])),
        "header x-gitee-timestamp is there more than once"
    );
}

#[test]
fn the_blanks_that_http_allows_around_a_header_do_not_count() {
    let good = format!(" \tsha256={} ", hex_sha256("pepper", "{}"));
    accepted(
        &auth(GITHUB, &["pepper"]),
        with(post("{}"), &[("x-hub-signature-256", &good)]),
    );
}

#[test]
fn each_secret_is_signed_and_keyed_with_for_itself() {
    let signature = "SXl6mTDRT5B2a8XQm43Aib2KKRm0mOtuk4gYb3BGxDw=";
    let headers = [
        ("x-gitee-timestamp", "1700000000123"),
        ("x-gitee-token", signature),
    ];
    let by = accepted(
        &auth(GITEE, &["salt", "pepper"]),
        with(post("{}"), &headers),
    )
    .by;
    assert_eq!(by, "hmac-sha256 in header x-gitee-token, secret 2 of 2");
    let body =
        r#"{"timestamp":"1700000000","sign":"VzEVe09R9G+eyEjTrKaq1zWypRsPmFeo5YbvNsDogzg="}"#;
    accepted(&auth(FEISHU, &["salt", "pepper"]), post(body));
}

#[test]
fn the_method_is_signed_as_it_came() {
    let declared = GITHUB.to_owned() + "\nsigned = \"{method} {body}\"";
    let auth = auth(&declared, &["pepper"]);
    let signed = |method: Method, signed: &str| {
        let signature = format!("sha256={}", hex_sha256("pepper", signed));
        let mut request = with(post("{}"), &[("x-hub-signature-256", &signature)]);
        request.method = method;
        request
    };
    accepted(&auth, signed(Method::PUT, "PUT {}"));
    refused(&auth, signed(Method::PUT, "POST {}"));
    accepted(&auth, signed(Method::POST, "POST {}"));
}

#[test]
fn what_was_signed_is_handed_on_only_where_a_time_and_the_body_are_signed() {
    let headers = [
        ("x-gitee-timestamp", "1700000000123"),
        (
            "x-gitee-token",
            "SXl6mTDRT5B2a8XQm43Aib2KKRm0mOtuk4gYb3BGxDw=",
        ),
    ];
    let without_body = accepted(&auth(GITEE, &["pepper"]), with(post("{}"), &headers));
    assert_eq!(without_body.signed, None);
    let signature = format!("sha256={}", hex_sha256("pepper", "{}"));
    let request = with(post("{}"), &[("x-hub-signature-256", &signature)]);
    let without_time = accepted(&auth(GITHUB, &["pepper"]), request);
    assert_eq!(without_time.signed, None);

    // Stripe signs with the old secret and the new one for a while.
    let signed = |with_secrets: &[&str], time: &str, body: &str, more: &[(&str, &str)]| {
        let message = format!("{time}.{body}");
        let made = with_secrets.iter().map(|it| hex_sha256(it, &message));
        let made: Vec<String> = made.map(|made| format!("v1={made}")).collect();
        let signature = format!("t={time},{}", made.join(","));
        let request = with(post(body), &[("stripe-signature", &*signature)]);
        let authentic = accepted(&auth(STRIPE, &["pepper", "salt"]), with(request, more));
        authentic.signed.map(hex::encode)
    };
    let copied = signed(
        &["pepper", "salt"],
        "1700000000",
        "{}",
        &[("x-id", "another")],
    );
    for less in [&["pepper"][..], &["salt"], &["salt", "pepper"]] {
        assert_eq!(copied, signed(less, "1700000000", "{}", &[]));
    }
    // printf '1700000000.{}' | openssl dgst -sha256 -hmac pepper -binary | sha256sum
    assert_eq!(copied.as_deref(), Some("db5b1965dd8a393ec1f12493dcb833ae"));
    for (time, body) in [("1700000001", "{}"), ("1700000000", "{ }")] {
        assert_ne!(copied, signed(&["pepper"], time, body, &[]));
    }
}
