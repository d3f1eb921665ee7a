//! Questions that senders leave open, each decided once and held here.

use super::*;

fn stripe(secret: &str, time: &str) -> String {
    format!("v1={}", hex_sha256(secret, &format!("{time}.{{}}")))
}

fn striped(value: &str) -> Request {
    with(post("{}"), &[("stripe-signature", value)])
}

#[test]
fn blanks_around_separators_are_trimmed_and_inside_an_item_they_refuse() {
    let auth = auth(STRIPE, &["pepper"]);
    let v1 = stripe("pepper", "1700000000");
    accepted(&auth, striped(&format!("t=1700000000 ,\t{v1} ")));
    for bad in [
        format!("t= 1700000000,{v1}"),
        format!("t=1700000000,{}", v1.replace('=', "= ")),
        format!("t=1700000000,{}", v1.replace('=', " =")),
        format!("t=1700000000 {v1}"),
    ] {
        refused(&auth, striped(&bad));
    }
}

#[test]
fn a_repeated_header_gives_the_items_of_all_lines_or_is_refused() {
    let v1 = stripe("pepper", "1700000000");
    let lines = [
        ("stripe-signature", "t=1700000000"),
        ("stripe-signature", v1.as_str()),
    ];
    accepted(&auth(STRIPE, &["pepper"]), with(post("{}"), &lines));
    let good = format!("sha256={}", hex_sha256("pepper", "{}"));
    let equal = [
        ("x-hub-signature-256", good.as_str()),
        ("x-hub-signature-256", good.as_str()),
    ];
    assert_eq!(
        refused(&auth(GITHUB, &["pepper"]), with(post("{}"), &equal)),
        "header x-hub-signature-256 is there more than once"
    );
}

#[test]
fn a_repeated_parameter_of_query_or_form_is_refused_even_if_equal() {
    let token = |place: &str| {
        auth(
            &format!("scheme = \"token\"\ntoken = \"{place}\""),
            &["sesame"],
        )
    };
    let query = token("query:key");
    accepted(&query, at(post(""), "/hooks/acme?x=1&key=sesame"));
    accepted(&query, at(post(""), "/hooks/acme?k%65y=s%65same"));
    assert_eq!(
        refused(&query, at(post(""), "/hooks/acme?key=sesame&k%65y=sesame")),
        "query parameter key is there more than once"
    );
    refused(&query, at(post(""), "/hooks/acme?Key=sesame"));
    refused(&query, at(post(""), "/hooks/acme?key"));
    let form = token("form:key");
    accepted(&form, post("x=1&key=sesame"));
    assert_eq!(
        refused(&form, post("key=sesame&key=sesame")),
        "form field key is there more than once"
    );
    let json = token("body:/key");
    accepted(&json, post(r#"{"key":"sesame"}"#));
    assert_eq!(
        refused(&json, post(r#"{"key":"sesame","key":"sesame"}"#)),
        "body field /key is there more than once"
    );
    let several = auth(
        "scheme = \"token\"\ntoken = \"query:key\"\nseveral = \",\"",
        &["sesame"],
    );
    accepted(&several, at(post(""), "/hooks/acme?key=a,b&key=sesame"));
}

#[test]
fn foreign_items_are_ignored_and_one_that_fits_is_needed() {
    let auth = auth(STANDARD, &["whsec_c2FsdCBhbmQgcGVwcGVy"]);
    let good = "v1,8NzYEGJ1YPDGkWJaSukXUNwgcPUXM1uFoIAM1iBxzlw=";
    let signed = |value: &str| {
        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", "1700000000"),
            ("webhook-signature", value),
        ];
        with(post("{\"a\":1}"), &headers)
    };
    accepted(&auth, signed(&format!("v1a,AAAA  v2,x {good}")));
    accepted(&auth, signed(&format!("v1,AAAA {good}")));
    let foreign = good.replace("v1,", "v1a,");
    assert_eq!(
        refused(&auth, signed(&format!("v0,AAAA {foreign}"))),
        "header webhook-signature does not read like `v1,{base64}`"
    );
}

#[test]
fn two_timestamps_are_refused_unless_equal() {
    let auth = auth(STRIPE, &["pepper"]);
    let v1 = stripe("pepper", "1700000000");
    accepted(&auth, striped(&format!("t=1700000000,{v1},t=1700000000")));
    for other in ["1700000001", "01700000000", "", "x"] {
        for items in [["1700000000", other], [other, "1700000000"]] {
            assert_eq!(
                refused(
                    &auth,
                    striped(&format!("t={},{v1},t={}", items[0], items[1]))
                ),
                "the timestamp in header stripe-signature is there more than once"
            );
        }
    }
}

#[test]
fn a_timestamp_that_is_missing_or_not_digits_is_refused() {
    let auth = auth(STRIPE, &["pepper"]);
    assert_eq!(
        refused(&auth, striped(&stripe("pepper", ""))),
        "the timestamp in the signature is missing"
    );
    for time in [
        "",
        "+1700000000",
        "-1",
        "1700000000.0",
        "1.7e9",
        "0x6553f100",
        "１７００００００００",
        "99999999999999999999999",
        "9223372036854775807",
    ] {
        let value = format!("t={time},{}", stripe("pepper", time));
        assert_eq!(
            refused(&auth, striped(&value)),
            "timestamp is not a number of seconds",
            "{time}"
        );
    }
}

#[test]
fn the_limit_holds_in_both_directions_and_is_inclusive() {
    let auth = auth(STRIPE, &["pepper"]);
    let at = |second: i64| {
        let time = second.to_string();
        striped(&format!("t={time},{}", stripe("pepper", &time)))
    };
    let base = 1_700_000_000;
    for second in [base - 300, base, base + 300] {
        accepted(&auth, at(second));
    }
    assert_eq!(
        refused(&auth, at(base - 301)),
        "timestamp is 5 m 1 s old, 5 m allowed"
    );
    assert_eq!(
        refused(&auth, at(base + 301)),
        "timestamp is 5 m 1 s ahead, 5 m allowed"
    );
    // The clock is cut to seconds, so a limit of five minutes lasts to the end of its last second.
    let late = Timestamp::from_millisecond(base * 1000 + 999).unwrap();
    assert!(authenticate(&auth, at(base - 300), late).is_ok());
    assert!(authenticate(&auth, at(base - 301), late).is_err());
    assert!(authenticate(&auth, at(base + 300), late).is_ok());
}

#[test]
fn milliseconds_and_rfc_3339_have_their_own_limits() {
    let auth_of = |unit: &str| {
        let declared = format!(
            "scheme = \"hmac-sha256\"\nsignature = \"header:x-sign\"\nformat = \"{{hex}}\"\nsigned = \"{{timestamp}}{{body}}\"\ntimestamp = {{ from = \"header:x-time\", unit = \"{unit}\", within = \"1h\" }}"
        );
        auth(&declared, &["pepper"])
    };
    let at = |time: &str| {
        let signature = hex_sha256("pepper", &format!("{time}{{}}"));
        with(post("{}"), &[("x-time", time), ("x-sign", &signature)])
    };
    let ms = auth_of("ms");
    for time in ["1699996400000", "1700003600000"] {
        accepted(&ms, at(time));
    }
    assert_eq!(
        refused(&ms, at("1699996399999")),
        "timestamp is 1 h old, 1 h allowed"
    );
    assert_eq!(
        refused(&ms, at("1700003600001")),
        "timestamp is 1 h ahead, 1 h allowed"
    );
    assert!(
        refused(&ms, at("1700000000")).contains("old, 1 h allowed"),
        "seconds are not milliseconds"
    );
    let rfc = auth_of("rfc3339");
    for time in [
        "2023-11-14T22:13:20Z",
        "2023-11-14T23:13:20+01:00",
        "2023-11-14T21:13:20Z",
    ] {
        accepted(&rfc, at(time));
    }
    refused(&rfc, at("2023-11-14T21:13:19.999Z"));
    for time in ["1700000000", "2023-11-14", "2023-11-14T22:13:20"] {
        assert_eq!(
            refused(&rfc, at(time)),
            "timestamp is not a time by RFC 3339"
        );
    }
}

#[test]
fn a_secret_is_its_utf_8_bytes_as_they_are() {
    let signature = "sha256=dd05609d560ffba430c3221edb75dab81902ff66cf3359d6471a11a198bd7de0";
    let request = || with(post("{\"a\":1}"), &[("x-hub-signature-256", signature)]);
    accepted(&auth(GITHUB, &["密码\u{e9}"]), request());
    refused(&auth(GITHUB, &["密码e\u{301}"]), request());
}

#[test]
fn the_trailing_newline_of_a_body_is_signed() {
    let auth = auth(GITHUB, &["pepper"]);
    let signature = "sha256=2649772953aa45eedb49126592e965f03b57f61e45a93757107dee31e2d3b301";
    let request = |body| with(post(body), &[("x-hub-signature-256", signature)]);
    accepted(&auth, request("{\"a\":1}\n"));
    refused(&auth, request("{\"a\":1}"));
    refused(&auth, request("{\"a\":1}\r\n"));
}

#[test]
fn the_padding_of_base64_is_optional_and_nothing_else_is() {
    let auth = auth(SHOPIFY, &["pepper"]);
    let good = "0JTLoWbNfdXyRiDkYZ4pZ7iZY0z2Y5FvRi3HMbftHPs=";
    let request = |value: &str| with(post("{\"a\":1}"), &[("x-hmac", value)]);
    accepted(&auth, request(good));
    accepted(&auth, request(good.trim_end_matches('=')));
    for bad in [
        format!("{good}="),
        format!("{}\u{74}=", &good[..42]), // the last letter with a spare bit set
        good.replace("Ps=", "P="),
        format!("\"{good}\""),
    ] {
        assert_eq!(
            refused(&auth, request(&bad)),
            "header x-hmac does not read like `{base64}`",
            "{bad}"
        );
    }
}

#[test]
fn base64url_is_another_name() {
    // A MAC whose base64 has characters on which the two alphabets differ.
    let body = (0..)
        .map(|n| n.to_string())
        .find(|body| base64_sha256("pepper", body).contains('+'))
        .unwrap();
    let standard = base64_sha256("pepper", &body);
    let url = standard.replace('+', "-").replace('/', "_");
    let url_auth = auth(&SHOPIFY.replace("{base64}", "{base64url}"), &["pepper"]);
    let shown = |value: &str| with(post(&body), &[("x-hmac", value)]);
    accepted(&url_auth, shown(&url));
    refused(&url_auth, shown(&standard));
    let auth = auth(SHOPIFY, &["pepper"]);
    accepted(&auth, shown(&standard));
    refused(&auth, shown(&url));
}

#[test]
fn percent_encoding_is_undone_once_by_the_query_or_by_base64_in_a_header() {
    let signature = "SXl6mTDRT5B2a8XQm43Aib2KKRm0mOtuk4gYb3BGxDw=";
    let once = signature.replace('=', "%3D");
    let twice = once.replace('%', "%25");
    let gitee = auth(GITEE, &["pepper"]);
    let header = |value: &str| {
        let headers = [
            ("x-gitee-timestamp", "1700000000123"),
            ("x-gitee-token", value),
        ];
        with(post("{}"), &headers)
    };
    accepted(&gitee, header(signature));
    accepted(&gitee, header(&once));
    refused(&gitee, header(&twice));
    let dingtalk = auth(DINGTALK, &["pepper"]);
    let query = |value: &str| {
        at(
            post("{}"),
            &format!("/hooks/acme?timestamp=1700000000123&sign={value}"),
        )
    };
    accepted(&dingtalk, query(signature));
    accepted(&dingtalk, query(&once));
    refused(&dingtalk, query(&twice));
    // Hex and tokens are never percent-decoded in a header.
    let github = auth(GITHUB, &["pepper"]);
    let hex = hex_sha256("pepper", "{}");
    let escaped = format!("sha256=%{:02x}{}", hex.as_bytes()[0], &hex[1..]);
    refused(
        &github,
        with(post("{}"), &[("x-hub-signature-256", &escaped)]),
    );
}

#[test]
fn a_plus_in_a_query_stays_a_plus_and_in_a_form_it_is_a_blank() {
    let token = |place: &str| {
        auth(
            &format!("scheme = \"token\"\ntoken = \"{place}\""),
            &["a+b"],
        )
    };
    accepted(&token("query:key"), at(post(""), "/hooks/acme?key=a+b"));
    accepted(&token("query:key"), at(post(""), "/hooks/acme?key=a%2Bb"));
    accepted(&token("form:key"), post("key=a%2Bb"));
    refused(&token("form:key"), post("key=a+b"));
    accepted(&token("path"), at(post(""), "/hooks/acme/a+b"));
    accepted(&token("path"), at(post(""), "/hooks/acme/a%2Bb"));
    refused(&token("path"), at(post(""), "/hooks/acme/a%252Bb"));
}

#[test]
fn a_base64_item_is_its_prefix_and_then_the_rest() {
    let declared = SHOPIFY.replace("{base64}", "v1={base64}") + "\nseveral = \",\"";
    let auth = auth(&declared, &["pepper"]);
    let value = "v1=0JTLoWbNfdXyRiDkYZ4pZ7iZY0z2Y5FvRi3HMbftHPs=";
    accepted(&auth, with(post("{\"a\":1}"), &[("x-hmac", value)]));
}

#[test]
fn a_truncated_mac_is_refused() {
    let hex = hex_sha256("pepper", "{}");
    let github = auth(GITHUB, &["pepper"]);
    for length in [0, 2, 8, 32, 62] {
        let value = format!("sha256={}", &hex[..length]);
        refused(
            &github,
            with(post("{}"), &[("x-hub-signature-256", &value)]),
        );
    }
    let longer = format!("sha256={hex}00");
    refused(
        &github,
        with(post("{}"), &[("x-hub-signature-256", &longer)]),
    );
}

#[test]
fn a_json_body_is_never_read_as_a_form_whatever_its_content_type_says() {
    let auth = auth(GITEA, &["pepper"]);
    let evil = "{\"a\":2}";
    // The sender once signed the text `{"a":2}`, and a commit message carries it as a form would.
    let body = format!("{{\"message\":\"&payload={evil}&\"}}");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let request =
        |body: &str, signature: &str| with(post(body), &[form, ("x-gitea-signature", signature)]);
    refused(&auth, request(&body, &hex_sha256("pepper", evil)));
    refused(
        &auth,
        request(&format!(" \n{body}"), &hex_sha256("pepper", evil)),
    );
    refused(
        &auth,
        request(&format!("[{body}]"), &hex_sha256("pepper", evil)),
    );
    for front in ["\u{feff}", "\u{a0}", "\u{2003}", "\t", "\u{b}", "\""] {
        refused(
            &auth,
            request(&format!("{front}{body}"), &hex_sha256("pepper", evil)),
        );
    }
    accepted(&auth, request(&body, &hex_sha256("pepper", &body)));
}
