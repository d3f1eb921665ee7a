//! Whatever shows the sender's secret is gone before an event exists.

use super::*;

#[test]
fn signatures_tokens_and_credentials_leave_the_headers() {
    let github = auth(GITHUB, &["pepper"]);
    let signature = format!("sha256={}", hex_sha256("pepper", "{}"));
    let request = with(
        post("{}"),
        &[
            ("X-Hub-Signature-256", &signature),
            ("X-Hub-Signature", "sha1=00"),
            ("X-Gitea-Signature", "00"),
            ("X-Other-Token", "t"),
            ("Authorization", "Bearer x"),
            ("Proxy-Authorization", "Basic x"),
            ("Cookie", "session=x"),
            ("X-GitHub-Event", "push"),
            ("X-GitHub-Delivery", "1"),
            ("Idempotency-Key", "2"),
        ],
    );
    let left = accepted(&github, request).request.headers;
    let mut names: Vec<&str> = left.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["idempotency-key", "x-github-delivery", "x-github-event"]
    );
}

#[test]
fn every_way_of_the_bridge_is_emptied_and_not_only_the_one_that_decided() {
    let declared = "scheme = \"bearer\"\notherwise = [{ scheme = \"token\", token = \"header:x-pass\" }, { scheme = \"token\", token = \"query:key\" }, { scheme = \"token\", token = \"path\" }]";
    let auth = auth(declared, &["sesame"]);
    let request = at(
        post("{}"),
        "/hooks/acme/sesame?a=1&key=sesame&b=2&k%65y=sesame",
    );
    let request = with(
        request,
        &[("authorization", "Bearer sesame"), ("x-pass", "sesame")],
    );
    let left = accepted(&auth, request).request;
    assert_eq!(left.target, "/hooks/acme?a=1&b=2");
    assert_eq!(left.rest, "");
    assert!(left.headers.is_empty());
    assert!(!format!("{left:?}").contains("sesame"));
}

#[test]
fn a_token_in_the_query_takes_its_question_mark_along() {
    let auth = auth("scheme = \"token\"\ntoken = \"query:key\"", &["sesame"]);
    assert_eq!(
        accepted(&auth, at(post(""), "/hooks/acme?key=sesame"))
            .request
            .target,
        "/hooks/acme"
    );
}

#[test]
fn a_parameter_that_shows_a_secret_is_taken_out_wherever_the_bridge_looks() {
    let github = auth(GITHUB, &["pepper"]);
    let signature = format!("sha256={}", hex_sha256("pepper", "{}"));
    let request = at(
        post("{}"),
        "/hooks/acme?title=a&access_token=sesame&Sign=sesame&api-secret=sesame&p%61ssword=sesame&design=b",
    );
    let request = with(request, &[("x-hub-signature-256", &signature)]);
    assert_eq!(
        accepted(&github, request).request.target,
        "/hooks/acme?title=a&design=b"
    );
}

#[test]
fn a_path_that_does_not_end_as_it_should_is_dropped_whole() {
    let auth = auth("scheme = \"token\"\ntoken = \"path\"", &["sesame"]);
    let mut request = at(post(""), "/hooks/acme/sesame?a=1");
    request.rest = "s%65same".to_owned();
    assert_eq!(accepted(&auth, request).request.target, "/?a=1");
}

#[test]
fn a_token_in_a_form_leaves_the_other_fields_as_they_came() {
    let auth = auth("scheme = \"token\"\ntoken = \"form:key\"", &["sesame"]);
    let left = accepted(&auth, post("a=%7B1%7D&key=sesame&&b+c=d")).request;
    assert_eq!(left.body, "a=%7B1%7D&&b+c=d");
}

#[test]
fn a_token_in_a_json_body_is_cut_out_of_it() {
    let auth = auth(
        "scheme = \"token\"\ntoken = [\"body:/header/token\", \"body:/list/0\", \"body:/token\"]",
        &["sesame"],
    );
    let left = |body| accepted(&auth, post(body)).request.body;
    assert_eq!(
        left(r#"{"header":{"token":"sesame","x":1},"b":2}"#),
        r#"{"b":2,"header":{"x":1}}"#
    );
    assert_eq!(left(r#"{"list":["sesame",1]}"#), r#"{"list":[null,1]}"#);
    assert_eq!(left(r#"{"token":"sesame"}"#), "{}");
}

#[test]
fn what_the_sender_repeats_of_its_proof_is_taken_out_too() {
    let auth = auth(
        "scheme = \"token\"\ntoken = \"header:x-gitee-token\"\nrepeats = [\"body:/password\", \"query:again\"]",
        &["sesame"],
    );
    let request = with(
        post(r#"{"password":"sesame","b":2}"#),
        &[("x-gitee-token", "sesame")],
    );
    let left = accepted(&auth, request).request;
    assert_eq!(left.body, r#"{"b":2}"#);
}

#[test]
fn a_signed_body_is_handed_on_byte_for_byte() {
    let auth = auth(GITEA, &["pepper"]);
    for body in [
        "{ \"b\" : 1.10,\n\"a\":2}",
        "payload=%7b%7d&x",
        "not a form",
        "",
    ] {
        let signed = if body.starts_with("payload") {
            "{}"
        } else {
            body
        };
        let signature = hex_sha256("pepper", signed);
        let request = with(post(body), &[("x-gitea-signature", &signature)]);
        assert_eq!(accepted(&auth, request).request.body, body);
    }
}

#[test]
fn a_refusal_says_nothing_of_what_the_request_holds() {
    let secret = "value-of-the-request";
    for declared in [
        GITHUB,
        STRIPE,
        GITEE,
        STANDARD,
        GITLAB,
        FEISHU,
        HOOK0,
        LEGACY,
        ALERTMANAGER,
    ] {
        let own = if declared == STANDARD {
            "c2FsdA=="
        } else {
            "whsec_c2FsdA=="
        };
        let auth = auth(declared, &[own]);
        let names = [
            "x-hub-signature-256",
            "stripe-signature",
            "x-gitee-token",
            "webhook-signature",
            "x-gitlab-token",
            "x-hook0-signature",
            "authorization",
        ];
        for name in names {
            for value in [
                secret.to_owned(),
                format!("Bearer {secret}"),
                format!("t={secret},h={secret},v1=00"),
            ] {
                let body = format!("{{\"sign\":\"{secret}\"}}");
                let request = with(post(&body), &[(name, &value)]);
                let refusal = authenticate(&auth, request, now()).unwrap_err();
                assert!(
                    !format!("{refusal} {refusal:?}").contains(secret),
                    "{refusal:?}"
                );
            }
        }
    }
}

#[test]
fn a_token_is_cut_out_also_where_a_text_beside_it_holds_half_of_a_character() {
    let auth = auth("scheme = \"token\"\ntoken = \"body:/token\"", &["s3cret"]);
    let body = r#"{"title":"cut \ud83d","token":"s3cret"}"#;
    let kept = accepted(&auth, post(body)).request.body;
    assert_eq!(kept, "{\"title\":\"cut \u{fffd}\"}".as_bytes());
}
