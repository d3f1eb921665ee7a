//! What is wrong with an `[auth]` is said at load, where it stands.

use super::*;

const SIGNED: &str = r#"scheme = "hmac-sha256"
signature = "header:x-sign"
format = "{hex}"
"#;

fn compiled(declared: &str, secrets: &[&str]) -> Result<Auth, Vec<Mistake>> {
    let table = DeTable::parse(declared).unwrap_or_else(|error| panic!("{declared}: {error}"));
    let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
    Auth::compile(table.get_ref(), &secrets)
}

#[track_caller]
fn mistakes(declared: &str) -> Vec<Mistake> {
    let mistakes = compiled(declared, &["secret:x"]).expect_err(declared);
    for mistake in &mistakes {
        assert!(
            declared.get(mistake.flaw.span.clone()).is_some(),
            "{mistake:?}"
        );
    }
    mistakes
}

/// The only mistake: the text it points at, and what it says.
#[track_caller]
fn mistake(declared: &str) -> (&str, String) {
    let mistakes = mistakes(declared);
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    let flaw = &mistakes[0].flaw;
    let said = match &flaw.help {
        Some(help) => format!("{}; {help}", flaw.message),
        None => flaw.message.clone(),
    };
    (&declared[flaw.span.clone()], said)
}

#[track_caller]
fn says(declared: &str, where_: &str, what: &str) {
    let (place, said) = mistake(declared);
    assert_eq!(place, where_, "{said}");
    assert!(said.contains(what), "{said}");
}

#[test]
fn an_unknown_key_names_the_nearest_right_one() {
    says(
        &format!("{SIGNED}signd = \"{{body}}\""),
        "signd",
        "unknown key `signd`; did you mean `signed`?",
    );
    says(
        &format!(
            "{SIGNED}timestamp = {{ form = \"header:x\", within = \"5m\" }}\nsigned = \"{{timestamp}}\""
        ),
        "form",
        "did you mean `from`?",
    );
}

#[test]
fn one_typing_mistake_is_reported_once() {
    let signed = SIGNED
        .replace("signature", "signatur")
        .replace("format", "fromat");
    let said = mistakes(&signed);
    assert_eq!(said.len(), 2, "{said:?}");
    says(
        &SIGNED.replace("scheme", "shceme"),
        "shceme",
        "did you mean `scheme`?",
    );
}

#[test]
fn a_key_of_another_scheme_is_not_called_unknown() {
    says(
        "scheme = \"bearer\"\nformat = \"{token}\"",
        "format",
        "`format` does not belong to scheme `bearer`",
    );
    says(
        "scheme = \"token\"\ntoken = \"path\"\nsigned = \"{body}\"",
        "signed",
        "does not belong to scheme `token`",
    );
}

#[test]
fn a_wrong_scheme_names_the_nearest_right_one() {
    says(
        "scheme = \"hmac-sha265\"\nsignature = \"path\"\nformat = \"{hex}\"",
        "\"hmac-sha265\"",
        "did you mean `hmac-sha256`?",
    );
    says("", "", "`scheme` is missing");
    says("scheme = 5", "5", "a text or a list of texts");
    says("scheme = []", "[]", "`scheme` is an empty list");
    says(
        "scheme = [\"token\", \"basic\"]\ntoken = \"path\"",
        "\"basic\"",
        "only hmac schemes",
    );
}

#[test]
fn an_ed25519_key_has_32_bytes_and_is_read_not_built() {
    let with = |key: &str| {
        format!(
            "scheme = \"ed25519\"\nsignature = \"header:x\"\nformat = \"{{hex}}\"\nkey = \"{key}\""
        )
    };
    let hex = with("{hex}");
    assert!(compiled(&hex, &[&"0a".repeat(32)]).is_ok());
    assert!(compiled(&with("{secret}"), &[&"k".repeat(32)]).is_ok());
    for secret in [&"0a".repeat(31), &"0a".repeat(33), &"0a".repeat(64), "0a"] {
        let mistakes = compiled(&hex, &[secret]).unwrap_err();
        assert_eq!(mistakes[0].at, At::Secret(0));
        let said = &mistakes[0].flaw.message;
        assert!(said.contains("an Ed25519 key has 32 bytes"), "{said}");
    }
    says(&with("a{secret}"), "\"a{secret}\"", "not built but read");
    says(&with("fixed"), "\"fixed\"", "not built but read");
    let algorithm = hex.replace("\"{hex}\"\nkey", "\"{algorithm}={hex}\"\nkey");
    says(&algorithm, "{algorithm}", "unknown name `{algorithm}`");
    let list =
        "scheme = [\"ed25519\", \"hmac-sha256\"]\nsignature = \"header:x\"\nformat = \"{hex}\"";
    let mistakes = compiled(list, &[&"k".repeat(32)]).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert_eq!(mistakes[0].flaw.message, "only hmac schemes can be a list");
    says(
        "scheme = \"ed25519\"\nformat = \"{hex}\"",
        "",
        "`signature` is missing",
    );
}

#[test]
fn each_way_says_what_it_is_worth() {
    let worth = |declared: &str, secrets: &[&str]| -> Vec<Worth> {
        let auth = compiled(declared, secrets).unwrap();
        auth.ways().iter().map(|way| auth.worth(way)).collect()
    };
    let timed = format!(
        "{SIGNED}signed = \"{{timestamp}}{{body}}\"\ntimestamp = {{ from = \"header:t\", within = \"5m\" }}\notherwise = {{ scheme = \"bearer\" }}"
    );
    assert_eq!(worth(&timed, &["x"]), [Worth::BodyAndTime, Worth::Sender]);
    assert_eq!(worth(SIGNED, &["x"]), [Worth::Body]);
    for constant in [
        "signed = \"\"",
        "signed = \"const\"",
        "signed = \"{secret}\"",
        "signed = \"{method} {secret}\"\nkey = \"k{secret}\"",
        "signed = [\"{header:x-id}\", \"const\"]",
    ] {
        let declared = format!("{SIGNED}{constant}");
        assert_eq!(worth(&declared, &["x"]), [Worth::Constant], "{constant}");
    }
    let by_id = format!("{SIGNED}signed = \"{{header:x-id}}\"");
    assert_eq!(worth(&by_id, &["x"]), [Worth::Sender]);
    let by_key = format!("{SIGNED}signed = \"\"\nkey = \"{{header:x-id}}{{secret}}\"");
    assert_eq!(worth(&by_key, &["x"]), [Worth::Sender]);
    // As Feishu signs.
    let timed = format!(
        "{SIGNED}signed = \"\"\nkey = \"{{timestamp}}\\n{{secret}}\"\ntimestamp = {{ from = \"body:/timestamp\", within = \"1h\" }}"
    );
    assert_eq!(worth(&timed, &["x"]), [Worth::SenderAndTime]);
    assert_eq!(worth("scheme = \"none\"", &[]), [Worth::Nothing]);
    let none = "scheme = \"none\"\naddresses = \"::1/128\"";
    assert_eq!(worth(none, &[]), [Worth::Address]);
    assert_eq!(
        Worth::Body.to_string(),
        "the sender is known and the body is covered; no time is signed, so a copied request can be sent again"
    );
}

#[test]
fn what_a_scheme_needs_is_missed() {
    let said: Vec<String> = mistakes("scheme = \"hmac-sha1\"")
        .into_iter()
        .map(|mistake| {
            assert_eq!(mistake.at, At::Table);
            mistake.flaw.message
        })
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[0], "`signature` is missing");
    assert!(said[1].starts_with("`format` is missing"));
    assert_eq!(
        mistake("scheme = \"token\"").1.split(';').next(),
        Some("`token` is missing")
    );
}

#[test]
fn a_timestamp_that_is_not_signed_would_protect_nothing() {
    let timestamp = "timestamp = { from = \"header:x-time\", within = \"5m\" }";
    says(
        &format!("{SIGNED}{timestamp}"),
        &timestamp[12..],
        "not signed",
    );
    // Signed by name, as a place, or as a part of the body.
    for signed in [
        "signed = \"{timestamp}.{body}\"",
        "signed = \"{header:x-time}.{body}\"",
        "key = \"{timestamp}{secret}\"",
    ] {
        assert!(
            compiled(&format!("{SIGNED}{timestamp}\n{signed}"), &["x"]).is_ok(),
            "{signed}"
        );
    }
    let inside = "timestamp = { from = \"body:/time\", within = \"5m\" }";
    assert!(compiled(&format!("{SIGNED}{inside}"), &["x"]).is_ok());
    // Every alternative has to sign it.
    says(
        &format!("{SIGNED}{timestamp}\nsigned = [\"{{timestamp}}{{form:payload}}\", \"{{body}}\"]"),
        &timestamp[12..],
        "not signed",
    );
}

#[test]
fn a_timestamp_needs_a_limit_and_one_place() {
    says(
        &format!("{SIGNED}signed = \"{{timestamp}}.{{body}}\""),
        "",
        "without a `timestamp` that says `within`",
    );
    let signed = format!("{SIGNED}signed = \"{{timestamp}}.{{body}}\"\n");
    says(
        &format!("{signed}timestamp = {{ from = \"header:x\" }}"),
        "{ from = \"header:x\" }",
        "`within` is missing",
    );
    says(
        &format!("{signed}timestamp = {{ within = \"5m\" }}"),
        "{ within = \"5m\" }",
        "stands nowhere",
    );
    for (within, why) in [
        ("\"5\"", "`5` is no span of time"),
        ("\"soon\"", "`soon` is no span of time"),
        ("\"-5m\"", "`-5m` is no span of time"),
        ("\"\"", "`` is no span of time"),
        ("\"0s\"", "`0s` is too short; `within` is at least `1s`"),
        ("\"999ms\"", "`999ms` is too short"),
        (
            "\"365d\"",
            "`365d` is too long; `within` is at least `1s` and at most `7d`",
        ),
        ("\"7d1s\"", "`7d1s` is too long"),
        (
            "\"99999999999999999999w\"",
            "longer than can be counted; `within` is at least `1s` and at most `7d`",
        ),
    ] {
        says(
            &format!("{signed}timestamp = {{ from = \"header:x\", within = {within} }}"),
            within,
            why,
        );
    }
    says(
        &format!("{signed}timestamp = {{ from = \"header:x\", within = \"5m\", unit = \"h\" }}"),
        "\"h\"",
        "`s`, `ms` or `rfc3339`",
    );
    let both = "scheme = \"hmac-sha256\"\nsignature = \"header:x\"\nformat = \"t={timestamp},s={hex}\"\nsigned = \"{timestamp}\"\n";
    says(
        &format!("{both}timestamp = {{ from = \"header:x\", within = \"5m\" }}"),
        "{ from = \"header:x\", within = \"5m\" }",
        "has a `from` besides",
    );
}

#[test]
fn a_format_that_cannot_be_told_apart_is_refused() {
    let with = |format: &str| {
        format!("scheme = \"hmac-sha256\"\nsignature = \"header:x\"\nformat = \"{format}\"\n")
    };
    says(&with("v1={hexx}"), "{hexx}", "did you mean `{hex}`?");
    says(&with("v1={token}"), "{token}", "unknown name");
    says(&with("{hex"), "{hex", "never closed");
    says(&with("v1="), "\"v1=\"", "exactly one of `{hex}`");
    says(
        &with("{hex}.{base64}"),
        "\"{hex}.{base64}\"",
        "exactly one of `{hex}`",
    );
    let timed = "signed = \"{timestamp}\"\ntimestamp = { within = \"5m\" }";
    says(
        &format!("{}{timed}", with("{timestamp}{hex}")),
        "{hex}",
        "two names side by side",
    );
    says(
        &format!("{}several = \",\"", with("t=1,v1={hex}")),
        "t=1",
        "the separator cuts here, and `t=1` is left without a name",
    );
    says(
        &format!("{}several = \",\"\n{timed}", with("{timestamp},v1={hex}")),
        "\"{timestamp},v1={hex}\"",
        "each item needs text",
    );
    for separator in ["\"\"", "\"x\"", "\"=\"", "\"{\""] {
        let (place, _) = mistake_owned(&format!("{}several = {separator}", with("{hex}")));
        assert_eq!(place, separator);
    }
}

#[track_caller]
fn mistake_owned(declared: &str) -> (String, String) {
    let (place, said) = mistake(declared);
    (place.to_owned(), said)
}

#[test]
fn a_list_of_schemes_needs_something_to_choose_by() {
    let schemes = "[\"hmac-sha256\", \"hmac-sha1\"]";
    let with =
        |format: &str| format!("scheme = {schemes}\nsignature = \"header:x\"\nformat = {format}");
    says(&with("\"{hex}\""), schemes, "`{algorithm}` in `format`");
    says(
        &with("[\"{algorithm}={hex}\", \"{hex}\"]"),
        schemes,
        "`{algorithm}` in `format`",
    );
    assert!(compiled(&with("\"{algorithm}={hex}\""), &["x"]).is_ok());
}

#[test]
fn an_otherwise_that_is_never_asked_or_always_open_is_refused() {
    let with = |otherwise: &str| format!("{SIGNED}otherwise = {otherwise}");
    says(
        &with("{ scheme = \"none\" }"),
        "\"none\"",
        "cannot be `none`",
    );
    says(
        &with("{ scheme = \"token\", token = \"header:X-Sign\" }"),
        "{ scheme = \"token\", token = \"header:X-Sign\" }",
        "never asked: header x-sign already decides",
    );
    says(
        &with("[{ scheme = \"bearer\" }, { scheme = \"bearer\" }]"),
        "{ scheme = \"bearer\" }",
        "never asked: `bearer`",
    );
    says(
        "scheme = \"token\"\ntoken = \"header:authorization\"\notherwise = { scheme = \"basic\" }",
        "{ scheme = \"basic\" }",
        "never asked: header authorization",
    );
    says(
        "scheme = \"none\"\notherwise = { scheme = \"basic\" }",
        "{ scheme = \"basic\" }",
        "never asked",
    );
    says(
        &with("{ scheme = \"bearer\", otherwise = { scheme = \"basic\" } }"),
        "otherwise",
        "does not belong",
    );
}

#[test]
fn a_mistake_inside_otherwise_is_filed_under_it() {
    let mistakes = mistakes(
        "scheme = \"bearer\"\notherwise = [{ scheme = \"token\" }, { scheme = \"hmac-sha256\", signature = \"heder:x\", format = \"{hex}\" }]",
    );
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    for mistake in mistakes {
        assert_eq!(mistake.at, At::Key("otherwise".to_owned()));
    }
}

#[test]
fn a_secret_that_fits_no_way_is_an_error_at_load() {
    let at = |declared: &str, secrets: &[&str]| -> Vec<At> {
        let mistakes = compiled(declared, secrets).err().unwrap_or_default();
        mistakes.into_iter().map(|mistake| mistake.at).collect()
    };
    let standard = format!("{SIGNED}key = \"whsec_{{base64}}\"");
    assert_eq!(at(&standard, &["whsec_YWJj"]), []);
    assert_eq!(at(&standard, &["whsec_YWJj", "YWJj"]), [At::Secret(1)]);
    assert_eq!(at(&standard, &["whsec_"]), [At::Secret(0)]);
    assert_eq!(at(&standard, &["whsec_***"]), [At::Secret(0)]);
    assert_eq!(
        at(&format!("{SIGNED}key = \"{{hex}}\""), &["0aF", "0aFf"]),
        [At::Secret(0)]
    );
    assert_eq!(
        at("scheme = \"basic\"", &["no colon", "a:b"]),
        [At::Secret(0)]
    );
    assert_eq!(at("scheme = \"bearer\"", &["line\nbreak"]), [At::Secret(0)]);
    assert_eq!(at("scheme = \"none\"", &["x"]), [At::Secret(0)]);
    for (declared, secret, message, help) in [
        (
            "scheme = \"none\"",
            "x",
            "scheme `none` asks for no secret, so this one would protect nothing",
            Some(
                "leave `secrets` out, or name a `scheme` that asks for one: `bearer`, `token`, `hmac-sha256`",
            ),
        ),
        (
            "scheme = \"bearer\"",
            "line\nbreak",
            "the secret cannot be used: bearer: it has a line break, and a header takes none",
            None,
        ),
        (
            "scheme = \"token\"\ntoken = \"header:x-token\"",
            " blank",
            "the secret cannot be used: token in header x-token: it has a control sign, or a blank at an end, and a header takes none",
            None,
        ),
        (
            "scheme = \"bearer\"\notherwise = { scheme = \"basic\" }",
            "line\nbreak",
            "the secret fits no way of this bridge",
            Some(
                "bearer: it has a line break, and a header takes none; basic: `user:password` is expected, and there is no colon in it",
            ),
        ),
    ] {
        let flaw = compiled(declared, &[secret]).unwrap_err().remove(0).flaw;
        assert_eq!(
            (flaw.message.as_str(), flaw.help.as_deref()),
            (message, help)
        );
    }
    // Either way of a bridge may be the one.
    let either = format!("{standard}\notherwise = {{ scheme = \"basic\" }}");
    assert_eq!(at(&either, &["whsec_YWJj", "a:b"]), []);
}

#[test]
fn an_empty_secret_and_no_secret_at_all_are_errors_at_load() {
    let mistakes = compiled(SIGNED, &["x", ""]).unwrap_err();
    assert_eq!(mistakes[0].at, At::Secret(1));
    assert_eq!(mistakes[0].flaw.message, "the secret is empty");
    let mistakes = compiled(SIGNED, &[]).unwrap_err();
    assert_eq!(mistakes[0].at, At::Table);
    assert!(compiled("scheme = \"none\"", &[]).is_ok());
    let table = DeTable::parse(SIGNED).unwrap();
    assert_eq!(Auth::check(table.get_ref()), [], "a rule-book needs none");
}

#[test]
fn a_key_that_anybody_could_make_is_refused() {
    says(
        &format!("{SIGNED}key = \"fixed\""),
        "\"fixed\"",
        "without `{secret}`",
    );
    says(
        &format!("{SIGNED}key = \"{{body}}\""),
        "\"{body}\"",
        "without `{secret}`",
    );
    says(
        &format!("{SIGNED}key = \"{{hex}}.{{base64}}\""),
        "\"{hex}.{base64}\"",
        "exactly one",
    );
    assert!(
        compiled(
            &format!("{SIGNED}key = \"{{body}}\"\nsigned = \"{{secret}}\""),
            &["x"]
        )
        .is_ok()
    );
}

#[test]
fn addresses_are_ranges() {
    says(
        "scheme = \"bearer\"\naddresses = [\"10.0.0.0/8\", \"10.0.0.0/64\"]",
        "\"10.0.0.0/64\"",
        "is no range of addresses",
    );
    assert!(compiled("scheme = \"bearer\"\naddresses = \"192.0.2.7\"", &["x"]).is_ok());
}

#[test]
fn an_empty_list_is_told_by_the_name_of_its_key() {
    for (declared, what) in [
        (
            "scheme = \"bearer\"\naddresses = []".to_owned(),
            "`addresses` is an empty list, which means nothing; name the sender's networks, or leave it out",
        ),
        (
            SIGNED.replace("\"header:x-sign\"", "[]"),
            "`signature` is an empty list, which means nothing; name at least one",
        ),
        (
            format!("{SIGNED}signed = []"),
            "`signed` is an empty list, which means nothing; name something in it, or leave it out",
        ),
        (
            "scheme = \"bearer\"\notherwise = []".to_owned(),
            "`otherwise` is an empty list",
        ),
    ] {
        says(&declared, "[]", what);
    }
}

#[test]
fn signed_headers_must_be_named_somewhere() {
    says(
        &format!("{SIGNED}signed = \"{{header values}}.{{body}}\""),
        "\"{header values}.{body}\"",
        "`{headers}` belongs in `format`",
    );
}

#[test]
fn all_mistakes_are_reported_in_one_run() {
    let declared = r#"scheme = "hmac-sha256"
signature = "heder:x"
format = "{hexx}"
signed = "{boddy}"
key = "{secrt}"
timestamp = { from = "quary:t", within = "soon", unit = "min" }
addresses = ["here"]
typo = 1
otherwise = { scheme = "tokn" }"#;
    let mistakes = mistakes(declared);
    for key in [
        "signature",
        "format",
        "signed",
        "key",
        "timestamp",
        "addresses",
        "typo",
        "otherwise",
    ] {
        assert!(
            mistakes
                .iter()
                .any(|mistake| mistake.at == At::Key(key.to_owned())),
            "{key}: {mistakes:?}"
        );
    }
}

#[test]
fn spans_inside_texts_with_escapes_mean_the_whole_text() {
    says(
        "scheme = \"hmac-sha256\"\nsignature = \"header:x\"\nformat = \"\\u0041{hexx}\"",
        "\"\\u0041{hexx}\"",
        "did you mean",
    );
}

#[test]
fn advice_says_what_a_way_is_worth() {
    let advice = |declared: &str, secrets: &[&str]| compiled(declared, secrets).unwrap().advice();
    assert!(advice(SIGNED, &["x"]).is_empty());
    assert_eq!(
        advice(
            "scheme = \"bearer\"\notherwise = { scheme = \"token\", token = \"path\" }",
            &["x"]
        ),
        [
            "bearer: the sender is known, the body is not covered",
            "token in the path behind the bridge's name: the sender is known, the body is not covered"
        ]
    );
    let gitee = format!(
        "{SIGNED}signed = \"{{timestamp}}\\n{{secret}}\"\ntimestamp = {{ from = \"header:t\", within = \"1h\" }}"
    );
    assert_eq!(
        advice(&gitee, &["x"]),
        [
            "hmac-sha256 in header x-sign: the sender is known and the time is signed, the body is not covered"
        ]
    );
    assert_eq!(
        advice(&format!("{SIGNED}signed = \"const\""), &["x"]),
        [
            "hmac-sha256 in header x-sign: the signature is always the same, so it is only a token; the sender is known, the body is not covered"
        ]
    );
    assert!(advice("scheme = \"none\"", &[])[0].contains("anybody"));
    assert!(
        advice("scheme = \"none\"\naddresses = \"::1/128\"", &[])[0]
            .contains("only the sender's address")
    );
    let gitea = format!("{SIGNED}signed = [\"{{form:payload}}\", \"{{body}}\"]");
    assert!(advice(&gitea, &["x"]).is_empty());
}

mod any {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_is_compiled_or_refused_with_a_span_inside_it(text in "[{}a-z:/= ~,é]{0,24}") {
            for flaw in [
                Pattern::compile(&text, |_| true).err(),
                Template::compile(&text).err(),
                Place::parse(&text).err(),
            ].into_iter().flatten() {
                prop_assert!(text.get(flaw.span.clone()).is_some(), "{:?}", flaw);
            }
        }

        #[test]
        fn declarations_are_compiled_or_refused_with_spans_inside_them(
            format in "[{}a-z:, ]{0,12}|[{}hex=,]{0,16}",
            signed in "[{}a-z:, ]{0,12}",
            several in "[ ,;x]{0,3}",
            place in "(header|query|body|form|path|x):?/?[a-z é]{0,6}",
        ) {
            let declared = format!(
                "scheme = \"hmac-sha256\"\nsignature = \"{place}\"\nformat = \"{format}\"\nsigned = \"{signed}\"\nseveral = \"{several}\""
            );
            for mistake in compiled(&declared, &["x"]).err().unwrap_or_default() {
                prop_assert!(declared.get(mistake.flaw.span.clone()).is_some(), "{:?}", mistake);
            }
        }
    }
}
