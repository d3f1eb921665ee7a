//! What may be kept of a refused request.

use proptest::prelude::*;

use super::*;

fn redacted(auth: &Auth, request: Request) -> String {
    let text = redact(auth, request).to_text();
    String::from_utf8(text).unwrap()
}

/// What stays of a header.
fn kept(auth: &Auth, name: &str, value: &str) -> String {
    let request = redact(auth, with(post("{}"), &[(name, value)]));
    let value = request.headers.get(name).unwrap();
    String::from_utf8(value.as_bytes().to_vec()).unwrap()
}

#[test]
fn signatures_stay_and_of_what_shows_a_secret_only_the_length_is_left() {
    let auth = auth(GITLAB, &["whsec_c2FsdCBhbmQgcGVwcGVy", "Sesame-0pen"]);
    let (one, other) = (base64_sha256("salt", "{}"), hex_sha256("salt", "{}"));
    let sign = one
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let request = with(
        at(
            post("{\"a\": 1}"),
            &format!("/hooks/acme/Hidden1?x=1&Access_Token=Abc9&sign={sign}"),
        ),
        &[
            ("webhook-signature", &format!("v1,{one}")),
            ("x-hub-signature", &format!("sha256={other}")),
            ("x-gitlab-token", "Wrong-Token9"),
            ("authorization", "Bearer Aa9-x"),
            ("cookie", "session=Aa9"),
            ("x-api-key", "Kk1"),
            ("x-gitlab-event", "Push Hook"),
        ],
    );
    let text = redacted(&auth, request);
    for line in [
        &format!("POST /hooks/acme/*******?x=1&Access_Token=****&sign={sign} HTTP/1.1"),
        &format!("Webhook-Signature: v1,{one}"),
        &format!("X-Hub-Signature: sha256={other}"),
        "X-Gitlab-Token: ************",
        "Authorization: Bearer *****",
        "Cookie: ***********",
        "X-Api-Key: ***",
        "X-Gitlab-Event: Push Hook",
        "{\"a\": 1}",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn what_stands_in_the_place_of_a_signature_and_reads_like_none_is_hidden() {
    let secret = "0af1c25b7d3e49f6a8b90c1d2e3f4a5b0af1c25b7d3e49f6a8b90c1d2e3f4a5b";
    let hub = auth(GITHUB, &[secret]);
    let name = "x-hub-signature-256";
    let mac = hex_sha256("salt", "{}");
    let base64 = base64_sha256("salt", "{}");
    for stays in [
        format!("sha256={mac}"),
        mac.clone(),
        format!("\"sha256={}\"", mac.to_uppercase()),
        format!("sha256={base64}"),
        base64.replace('+', " "),
        format!("sha256={}", Encoding::Base64.encode(mac.as_bytes())),
    ] {
        assert_eq!(kept(&hub, name, &stays), stays);
        assert_eq!(kept(&hub, "x-signature", &stays), stays, "undeclared");
    }
    for (value, shape) in [
        ("It's a Secret", "*************"),
        ("sha256=glpat-12345", "sha256=***********"),
        ("hmac=12345678", "*************"),
        ("密码是secret1", "****************"),
        ("1700000000", "**********"),
    ] {
        assert_eq!(kept(&hub, name, value), shape);
    }

    // The secret with one sign wrong, and with one missing.
    let wrong = secret.replace("b0af", "b1af");
    let in_base64 = Encoding::Base64.encode(wrong.as_bytes());
    for near in [wrong, secret[1..].to_owned(), in_base64] {
        let kept = kept(&hub, name, &near);
        let ours = |part: &[u8]| near.as_bytes().windows(4).any(|other| other == part);
        let left = kept.as_bytes().windows(4).any(ours);
        assert!(!left && kept.len() == near.len(), "{near} {kept}");
    }

    // With a time and names of headers beside it.
    let hook0 = auth(HOOK0, &["pepper-pepper"]);
    let value = format!("t=1700000000,h=x-event-id x-secret-id,v1={mac},x=12");
    let request = with(
        post("{}"),
        &[("x-event-id", "e1"), ("x-hook0-signature", &value)],
    );
    let text = redacted(&hook0, request);
    let line = format!("X-Hook0-Signature: t=1700000000,h=x-event-id ***********,v1={mac},****");
    assert!(text.contains(&line), "{text}");

    // In the body.
    let feishu = auth(FEISHU, &["pepper-pepper"]);
    let body = format!("{{ \"sign\":\"{base64}\",\"timestamp\":\"1700000000\"}}");
    assert!(
        redacted(&feishu, post(&body)).ends_with(&body),
        "as it came"
    );
    let body = "{ \"sign\":\"Guess1\",\"sign\":\"Guess2\"}";
    assert!(redacted(&feishu, post(body)).ends_with("{\"sign\":\"******\"}"));
}

#[test]
fn a_secret_of_the_bridge_is_hidden_wherever_it_stands() {
    let secret = "Sesame-0pen";
    let auth = auth(GITHUB, &[secret]);
    let request = with(
        at(
            post(&format!("{{\"a\":\"{secret}\"}}")),
            &format!("/hooks/acme?a={secret}&{secret}=b"),
        ),
        &[
            ("x-note", &format!("it is {}!", secret.to_uppercase())),
            ("x-sesame-0pen", "1"),
        ],
    );
    let text = redacted(&auth, request);
    assert!(!text.to_lowercase().contains("sesame"), "{text}");
    assert_eq!(text.matches("***********").count(), 5, "{text}");
}

#[test]
fn a_password_and_a_decoded_key_are_secrets_too() {
    let basic = auth("scheme = \"basic\"", &["user:Pa55word-1"]);
    assert_eq!(kept(&basic, "x-note", "Pa55word-1"), "**********");
    // The length of what base64 hides, so that lengths can be compared.
    let value = format!("Basic {}", Encoding::Base64.encode(b"User:Gu355"));
    let shape = format!("Basic {}", Encoding::Base64.encode(b"****:*****"));
    assert_eq!(kept(&basic, "authorization", &value), shape);
    assert_eq!(kept(&basic, "authorization", "My secret"), "*********");

    let standard = auth(STANDARD, &["whsec_c2FsdCBhbmQgcGVwcGVy"]);
    assert_eq!(
        kept(&standard, "x-note", "salt and pepper"),
        "***************"
    );
    assert_eq!(
        kept(&standard, "x-note", "c2FsdCBhbmQgcGVwcGVy"),
        "********************"
    );
}

#[test]
fn a_token_is_hidden_in_a_body_with_half_a_character_too() {
    let json = auth("scheme = \"token\"\ntoken = \"body:/token\"", &["x"]);
    let body = r#"{"token":"Wrong-Token9","title":"cut \ud83d"}"#;
    let text = redacted(&json, post(body));
    assert!(!text.contains("Wrong-Token9"), "{text}");
}

#[test]
fn a_token_in_a_form_or_in_json_keeps_its_length() {
    let form = auth("scheme = \"token\"\ntoken = \"form:key\"", &["x"]);
    assert!(redacted(&form, post("a=1&key=Guess1&b=2")).ends_with("a=1&key=******&b=2"));
    let json = auth("scheme = \"token\"\ntoken = \"body:/header/token\"", &["x"]);
    let body = "{\"header\":{\"token\":\"Guess1\"},\"n\":1}";
    assert!(redacted(&json, post(body)).ends_with("{\"header\":{\"token\":\"******\"},\"n\":1}"));
}

#[test]
fn the_name_of_a_parameter_begins_no_line() {
    let auth = auth(GITHUB, &["pepper-pepper"]);
    let text = redacted(&auth, at(post(""), "/hooks/acme?a_%0AX-Evil:_token=1"));
    assert!(
        text.starts_with("POST /hooks/acme?a_%0AX-Evil:_token=* HTTP/1.1\n"),
        "{text}"
    );
}

#[test]
fn a_signed_request_is_refused_for_the_same_reason_from_its_copy() {
    let auth = auth(STRIPE, &["pepper-pepper"]);
    let value = format!("t=1700000000,v1={}", hex_sha256("salt", "1700000000.{}"));
    let request = with(post("{}"), &[("stripe-signature", &value)]);
    let copy = Request::from_text("acme", redacted(&auth, request.clone()).as_bytes()).unwrap();
    assert_eq!(refused(&auth, copy), refused(&auth, request));
}

#[test]
fn where_there_is_too_much_to_look_through_all_of_it_is_hidden() {
    let secret = "a".repeat(60_000);
    let auth = auth(GITHUB, &[&secret]);
    let request = redact(&auth, post(&"a".repeat(200_000)));
    assert_eq!(request.body.len(), 200);
    assert!(request.body.iter().all(|byte| *byte == b'*'));

    // An ordinary long body stays, with the secret in it hidden.
    let line = "{\"title\":\"\\u6253\\u5370 a/b%20c\",\"digest\":\"2d1b0a1b3c4d5e6f\",\"avatar\":\"iVBORw0KGgoAAAANSUhEUgAA\"}\n";
    let auth = self::auth(GITHUB, &["pepper-pepper"]);
    let body = format!("{}pepper-pepper", line.repeat(256 * 1024 / line.len()));
    let request = redact(&auth, post(&body));
    let expected = body.replace("pepper-pepper", "*************");
    assert!(request.body == expected.as_bytes());
}

/// A writing of a secret, and which of its signs are made of the secret.
type Written = (String, std::ops::Range<usize>);

fn all_of(text: String) -> Written {
    let length = text.len();
    (text, 0..length)
}

fn in_percent(bytes: &[u8], all: bool) -> String {
    let sign = |&byte: &u8| match byte {
        byte if !all && byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte if byte % 2 == 0 => format!("%{byte:02x}"),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(sign).collect()
}

fn in_json(text: &str, all: bool) -> String {
    let units = |sign: char| {
        let mut units = [0; 2];
        let units = sign.encode_utf16(&mut units);
        units
            .iter()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect::<String>()
    };
    let sign = |sign: char| match sign {
        '"' | '\\' | '/' if !all => format!("\\{sign}"),
        sign if all || !sign.is_ascii() => units(sign),
        sign => sign.to_string(),
    };
    text.chars().map(sign).collect()
}

/// As HTML and XML write it: what they must, or every sign.
fn in_html(text: &str, all: bool) -> String {
    let sign = |sign: char| match sign {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        sign if all => format!("&#x{:x};", u32::from(sign)),
        sign if !sign.is_ascii() => format!("&#{};", u32::from(sign)),
        sign => sign.to_string(),
    };
    text.chars().map(sign).collect()
}

/// Base64 of the secret behind and in front of other bytes.
fn in_base64(secret: &[u8], before: usize, url: bool) -> Written {
    let encoding = if url {
        Encoding::Base64Url
    } else {
        Encoding::Base64
    };
    let text = encoding.encode(&[&b"us:"[..before], secret, b"\xff?"].concat());
    (
        text,
        before * 8 / 6..((before + secret.len()) * 8).div_ceil(6),
    )
}

fn writings(secret: &str) -> Vec<Written> {
    let bytes = secret.as_bytes();
    let mut all = vec![
        all_of(secret.to_owned()),
        all_of(secret.to_lowercase()),
        all_of(secret.to_uppercase()),
        all_of(in_percent(bytes, false)),
        all_of(in_percent(bytes, true)),
        all_of(in_percent(bytes, true).replace("%20", "+")),
        all_of(in_json(secret, false)),
        all_of(in_json(secret, true)),
        all_of(hex::encode(bytes)),
        all_of(hex::encode_upper(bytes)),
        all_of(in_html(secret, false)),
        all_of(in_html(secret, true)),
        // One inside another.
        all_of(in_json(&in_html(secret, false), false)),
        all_of(in_percent(in_json(secret, true).as_bytes(), false)),
        all_of(in_percent(in_percent(bytes, true).as_bytes(), true)),
        all_of(hex::encode(in_percent(bytes, true))),
    ];
    for before in 0..=3 {
        all.push(in_base64(bytes, before, false));
        all.push(in_base64(bytes, before, true));
    }
    all.push(all_of(in_percent(
        Encoding::Base64
            .encode(bytes)
            .trim_end_matches('=')
            .as_bytes(),
        false,
    )));
    all
}

proptest! {
    #[test]
    fn no_writing_of_a_secret_is_left(
        secret in "[!-~é打😀]([ -~é打😀]{4,30})[!-~é打😀]",
        before in "([ .,:;&={}\"][A-Za-z0-9+/]{0,5})?",
        behind in "[ .,:;&={}]?",
        in_body in any::<bool>(),
    ) {
        let quote = ['"', '\'', '`'];
        prop_assume!(!secret.starts_with(quote) && !secret.ends_with(quote));
        let auth = auth(GITHUB, &[&secret]);
        for (written, secret_signs) in writings(&secret) {
            // What stands in front of a writing may take part in it.
            let before = match written.starts_with(|sign: char| sign.is_ascii_alphanumeric()) {
                true => before.as_str(),
                false => "",
            };
            let text = format!("{before}{written}{behind}");
            let redacted = match in_body {
                true => redact(&auth, post(&text)).body.to_vec(),
                false => {
                    let mut request = post("");
                    let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
                    request.headers.insert("x-note", value);
                    redact(&auth, request).headers["x-note"].as_bytes().to_vec()
                }
            };
            prop_assert_eq!(redacted.len(), text.len());
            let signs = before.len() + secret_signs.start..before.len() + secret_signs.end;
            let shown = String::from_utf8_lossy(&redacted);
            prop_assert!(redacted[signs].iter().all(|byte| *byte == b'*'), "{} became {}", text, shown);
        }
    }

    #[test]
    fn nothing_of_what_shows_a_secret_is_left_be_it_signs_or_letters(
        secret in "[!-~é打😀]([ -~é打😀]{4,30})[!-~é打😀]",
        near in "[!-~é打😀]{0,2}",
        signed in any::<bool>(),
    ) {
        let quote = ['"', '\'', '`'];
        prop_assume!(!secret.starts_with(quote) && !secret.ends_with(quote) && !near.contains(quote));
        let (rules, name) = match signed {
            true => (GITHUB, "x-hub-signature-256"),
            false => ("scheme = \"token\"\ntoken = \"header:x-token\"", "x-token"),
        };
        let auth = auth(rules, &[&secret]);
        for shown in [secret.clone(), format!("{near}{secret}"), format!("{secret}{near}")] {
            let mut request = post("");
            let value = HeaderValue::from_bytes(shown.as_bytes()).unwrap();
            request.headers.insert(name, value.clone());
            request.headers.insert("x-other-token", value);
            let kept = redact(&auth, request);
            for name in [name, "x-other-token"] {
                let kept = kept.headers[name].as_bytes();
                let stars = vec![b'*'; shown.len()];
                prop_assert_eq!(kept, stars.as_slice(), "{}", name);
            }
            let bearer = self::auth("scheme = \"bearer\"", &[&secret]);
            let mut request = post("");
            let value = format!("Bearer {shown}");
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers.insert("authorization", value);
            let kept = redact(&bearer, request);
            let stars = format!("Bearer {}", "*".repeat(shown.len()));
            prop_assert_eq!(kept.headers["authorization"].as_bytes(), stars.as_bytes());
        }
    }

    #[test]
    fn no_secret_is_left_in_the_place_of_a_signature_be_one_sign_of_it_wrong(
        secret in "[A-Za-z0-9+/_-]{16,64}",
        at in any::<prop::sample::Index>(),
        to in "[A-Za-z0-9]?",
        prefix in "(sha256=|sha1=|\"|)",
    ) {
        let auth = auth(GITHUB, &[&secret]);
        let index = at.index(secret.len());
        let mut near = secret.clone();
        near.replace_range(index..=index, &to);
        let value = format!("{prefix}{near}");
        let kept = kept(&auth, "x-hub-signature-256", &value);
        let shown = |part: &[u8]| kept.as_bytes().windows(5).any(|other| other == part);
        let masked = |part: &[u8]| part.iter().all(|byte| *byte == b'*');
        let left = near.as_bytes().windows(5).find(|part| shown(part) && !masked(part));
        prop_assert!(left.is_none(), "{} became {}", value, kept);
    }

    #[test]
    fn no_request_whatsoever_makes_it_panic_or_shows_the_token(
        value in proptest::collection::vec(any::<u8>(), 0..60),
        shaped in "([%\\\\ux=+/ ]|[0-9a-fA-F]{1,9}|\\\\u[0-9a-f]{4}|é){0,12}",
        body in proptest::collection::vec(any::<u8>(), 0..80),
        target in "/hooks/acme(/[!-~]{0,10})?(\\?[!-~]{0,30})?",
    ) {
        let auth = auth(GITLAB, &["whsec_c2FsdA==", "Sesame-0pen"]);
        let mut request = at(post(""), &target);
        request.body = [&body[..], b"Sesame-0pen", shaped.as_bytes(), &body[..]].concat().into();
        for value in [[&value[..], b"Sesame-0pen"].concat(), shaped.into_bytes()] {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.headers.append("x-gitlab-token", value.clone());
                request.headers.append("webhook-signature", value.clone());
                request.headers.append("x-other", value);
            }
        }
        let text = redact(&auth, request).to_text();
        prop_assert!(!text.windows(11).any(|part| part.eq_ignore_ascii_case(b"Sesame-0pen")));
    }
}
