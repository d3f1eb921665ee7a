//! What goes wrong when people sign webhooks: each mistake as it is made, and the name that `verify` must give it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use openim_bridge::intake::Request;
use sha2::Digest;

/// The moment at which everything arrives.
pub const NOW: i64 = 1_700_000_000;

pub const GITHUB: &str = "It's a Secret to Everybody";
pub const SLACK: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// A key of hex digits, as `openssl rand -hex 16` makes it.
pub const STRIPE: &str = "0af1c25b7d3e49f6a8b90c1d2e3f4a5b";
pub const STANDARD_WEBHOOKS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const SHOPIFY: &str = "hush hush";
pub const GITEA: &str = "gitea-secret";
pub const DINGTALK: &str = "SECtestsecret";
pub const BEARER: &str = "t0ken-0f-grafana";
pub const BASIC: &str = "jenkins:pa55word";
pub const TOKEN: &str = "glpat-1234567890";
/// The key pair of RFC 8032, section 7.1, test 1.
const DISCORD_SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
pub const DISCORD: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
/// As a careless `echo secret > file; export S=$(...)` leaves them.
pub const NEWLINE: &str = "ends-with-newline\n";
pub const QUOTES: &str = "\"in-quotes\"";
pub const BLANKS: &str = " blanks-around ";
pub const PERCENT: &str = "a%2Fb c";

/// The operator's bridges: name, where its secret stands, `[auth]`.
pub const BRIDGES: [(&str, &str, &str); 16] = [
    (
        "discord",
        "env:DISCORD_KEY",
        "scheme = \"ed25519\"\nsignature = \"header:x-signature-ed25519\"\nformat = \"{hex}\"\nsigned = \"{timestamp}{body}\"\ntimestamp = { from = \"header:x-signature-timestamp\", within = \"5m\" }\nkey = \"{hex}\"",
    ),
    ("github", "env:GITHUB_SECRET", HUB),
    ("newline", "env:NEWLINE_SECRET", HUB),
    ("quotes", "env:QUOTES_SECRET", HUB),
    ("blanks", "env:BLANKS_SECRET", HUB),
    ("percent", "env:PERCENT_SECRET", HUB),
    (
        "slack",
        "env:SLACK_SECRET",
        "scheme = \"hmac-sha256\"\nsignature = \"header:x-slack-signature\"\nformat = \"v0={hex}\"\nsigned = \"v0:{timestamp}:{body}\"\ntimestamp = { from = \"header:x-slack-request-timestamp\", within = \"5m\" }",
    ),
    (
        "stripe",
        "env:STRIPE_SECRET",
        "scheme = \"hmac-sha256\"\nsignature = \"header:stripe-signature\"\nformat = \"t={timestamp},v1={hex}\"\nseveral = \",\"\nsigned = \"{timestamp}.{body}\"\ntimestamp = { within = \"5m\" }",
    ),
    (
        "standard",
        "env:STANDARD_SECRET",
        "scheme = \"hmac-sha256\"\nsignature = \"header:webhook-signature\"\nformat = \"v1,{base64}\"\nseveral = \" \"\nsigned = \"{header:webhook-id}.{timestamp}.{body}\"\ntimestamp = { from = \"header:webhook-timestamp\", within = \"5m\" }\nkey = \"whsec_{base64}\"",
    ),
    (
        "shopify",
        "env:SHOPIFY_SECRET",
        "scheme = \"hmac-sha256\"\nsignature = \"header:x-shopify-hmac-sha256\"\nformat = \"{base64}\"",
    ),
    (
        "gitea",
        "env:GITEA_SECRET",
        "scheme = \"hmac-sha256\"\nsignature = \"header:x-gitea-signature\"\nformat = \"{hex}\"\nsigned = [\"{form:payload}\", \"{body}\"]",
    ),
    (
        "dingtalk",
        "env:DINGTALK_SECRET",
        "scheme = \"hmac-sha256\"\nsignature = \"query:sign\"\nformat = \"{base64}\"\nsigned = \"{timestamp}\\n{secret}\"\ntimestamp = { from = \"query:timestamp\", unit = \"ms\", within = \"1h\" }",
    ),
    ("bearer", "env:BEARER_SECRET", "scheme = \"bearer\""),
    ("basic", "env:BASIC_SECRET", "scheme = \"basic\""),
    (
        "token",
        "env:TOKEN_SECRET",
        "scheme = \"token\"\ntoken = \"header:x-gitlab-token\"",
    ),
    ("absent", "env:NOWHERE", HUB),
];

const HUB: &str = "scheme = \"hmac-sha256\"\nsignature = \"header:x-hub-signature-256\"\nformat = \"sha256={hex}\"";

/// The environment of the bridges; `NOWHERE` is not in it.
pub const VARIABLES: [(&str, &str); 16] = [
    ("DISCORD_KEY", DISCORD),
    ("OPENIM_SECRET", "openIM123"),
    ("GITHUB_SECRET", GITHUB),
    ("NEWLINE_SECRET", NEWLINE),
    ("QUOTES_SECRET", QUOTES),
    ("BLANKS_SECRET", BLANKS),
    ("PERCENT_SECRET", PERCENT),
    ("SLACK_SECRET", SLACK),
    ("STRIPE_SECRET", STRIPE),
    ("STANDARD_SECRET", STANDARD_WEBHOOKS),
    ("SHOPIFY_SECRET", SHOPIFY),
    ("GITEA_SECRET", GITEA),
    ("DINGTALK_SECRET", DINGTALK),
    ("BEARER_SECRET", BEARER),
    ("BASIC_SECRET", BASIC),
    ("TOKEN_SECRET", TOKEN),
];

/// A body with what serialisers disagree about: order, blanks, letters beyond ASCII, slashes, `<`.
pub const BODY: &str = r#"{"title":"打印机坏了 <b>","link":"https://example.com/8","count":3,"by":{"name":"mei","id":null}}"#;
const PRETTY: &str = "{\n  \"title\": \"打印机坏了 <b>\",\n  \"link\": \"https://example.com/8\",\n  \"count\": 3,\n  \"by\": {\n    \"name\": \"mei\",\n    \"id\": null\n  }\n}";
const PYTHON: &str = r#"{"title": "\u6253\u5370\u673a\u574f\u4e86 <b>", "link": "https://example.com/8", "count": 3, "by": {"name": "mei", "id": null}}"#;
const SORTED: &str = r#"{"by":{"id":null,"name":"mei"},"count":3,"link":"https://example.com/8","title":"打印机坏了 <b>"}"#;
const PHP: &str = r#"{"title":"\u6253\u5370\u673a\u574f\u4e86 <b>","link":"https:\/\/example.com\/8","count":3,"by":{"name":"mei","id":null}}"#;
const GO: &str = r#"{"title":"打印机坏了 \u003cb\u003e","link":"https://example.com/8","count":3,"by":{"name":"mei","id":null}}"#;
const JAVA: &str = "{\n  \"title\" : \"打印机坏了 <b>\",\n  \"link\" : \"https://example.com/8\",\n  \"count\" : 3,\n  \"by\" : {\n    \"name\" : \"mei\",\n    \"id\" : null\n  }\n}";
const FORM: &str = "payload=%7B%22a%22%3A%22b+c%22%7D";
const PAYLOAD: &str = r#"{"a":"b c"}"#;

/// One mistake, made.
pub struct Mistake {
    /// What somebody did.
    pub what: &'static str,
    /// The bridge they posted to.
    pub bridge: &'static str,
    /// The request.
    pub request: Request,
    /// The causes that must be named, in order.
    pub causes: &'static [&'static str],
}

fn sha256(key: impl AsRef<[u8]>, message: impl AsRef<[u8]>) -> Vec<u8> {
    made::<Hmac<sha2::Sha256>>(key, message)
}

fn sha1(key: impl AsRef<[u8]>, message: impl AsRef<[u8]>) -> Vec<u8> {
    made::<Hmac<sha1::Sha1>>(key, message)
}

fn made<M: Mac + KeyInit>(key: impl AsRef<[u8]>, message: impl AsRef<[u8]>) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key.as_ref()).unwrap();
    mac.update(message.as_ref());
    mac.finalize().into_bytes().to_vec()
}

fn post(bridge: &str, body: impl AsRef<[u8]>, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::from_text(bridge, b"{}").unwrap();
    request.body = body.as_ref().to_vec().into();
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers.append(name, value.parse().unwrap());
    }
    request
}

/// Posted to a bridge of GitHub's kind, its signature as `value`.
fn hub(bridge: &str, body: impl AsRef<[u8]>, value: String) -> Request {
    post(bridge, body, &[("x-hub-signature-256", &value)])
}

/// `received` came, `signed` was signed, with GitHub's secret.
fn github(received: impl AsRef<[u8]>, signed: impl AsRef<[u8]>) -> Request {
    let value = format!("sha256={}", hex::encode(sha256(GITHUB, signed)));
    hub("github", received, value)
}

/// To a bridge of GitHub's kind, signed with another secret than its own.
fn keyed(bridge: &str, secret: impl AsRef<[u8]>) -> Request {
    let value = format!("sha256={}", hex::encode(sha256(secret, BODY)));
    hub(bridge, BODY, value)
}

fn slack(time: &str, signed: &str) -> Request {
    let value = format!("v0={}", hex::encode(sha256(SLACK, signed)));
    let headers = [
        ("x-slack-signature", value.as_str()),
        ("x-slack-request-timestamp", time),
    ];
    post("slack", BODY, &headers)
}

fn slack_at(time: i64) -> Request {
    slack(&time.to_string(), &format!("v0:{time}:{BODY}"))
}

fn stripe(value: &str) -> Request {
    post("stripe", BODY, &[("stripe-signature", value)])
}

fn stripe_mac(secret: impl AsRef<[u8]>) -> String {
    hex::encode(sha256(secret, format!("{NOW}.{BODY}")))
}

fn standard(key: impl AsRef<[u8]>) -> Request {
    let mac = sha256(key, format!("msg_1.{NOW}.{BODY}"));
    let value = format!("v1,{}", STANDARD.encode(mac));
    let headers = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", "1700000000"),
        ("webhook-signature", &value),
    ];
    post("standard", BODY, &headers)
}

fn dingtalk(query: &str) -> Request {
    let mut request = post("dingtalk", BODY, &[]);
    request.target = format!("/hooks/dingtalk?{query}");
    request
}

/// A moment near now at which DingTalk's signature has a `+` in it.
fn dingtalk_with_plus() -> (i64, String) {
    let times = NOW * 1000..;
    let signed = |time| {
        let mac = sha256(DINGTALK, format!("{time}\n{DINGTALK}"));
        (time, STANDARD.encode(mac))
    };
    let mut signed = times.map(signed);
    signed.find(|(_, value)| value.contains('+')).unwrap()
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

fn with_target(mut request: Request, target: &str) -> Request {
    request.target = target.to_owned();
    request
}

fn packed(text: &str) -> Vec<u8> {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// Signed with Ed25519 at `time`; `write` makes the header of the signature.
fn discord(time: i64, signed: &str, write: impl Fn(&[u8]) -> String) -> Request {
    let seed = hex::decode(DISCORD_SEED).unwrap();
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let value = write(pair.sign(signed.as_bytes()).as_ref());
    let headers = [
        ("x-signature-ed25519", value.as_str()),
        ("x-signature-timestamp", &time.to_string()),
    ];
    post("discord", BODY, &headers)
}

fn of_public_keys() -> Vec<Mistake> {
    let to_discord = |what, request, causes| wrong(what, request, "discord", causes);
    let hex = |bytes: &[u8]| hex::encode(bytes);
    let elsewhere = {
        let mut request = discord(NOW, &format!("{NOW}{BODY}"), hex);
        let value = request.headers.remove("x-signature-ed25519").unwrap();
        request.headers.insert("x-signature", value);
        request
    };
    vec![
        to_discord(
            "Ed25519 over the body alone",
            discord(NOW, BODY, hex),
            &["signed-pattern"],
        ),
        to_discord(
            "Ed25519 over pretty JSON",
            discord(NOW, &format!("{NOW}{PRETTY}"), hex),
            &["body-reserialised"],
        ),
        to_discord(
            "Ed25519 in base64",
            discord(NOW, &format!("{NOW}{BODY}"), |bytes| STANDARD.encode(bytes)),
            &["signature-encoding"],
        ),
        to_discord(
            "Ed25519 of yesterday",
            discord(NOW - 90_000, &format!("{}{BODY}", NOW - 90_000), hex),
            &["clock"],
        ),
        to_discord("Ed25519 in another header", elsewhere, &["other-place"]),
    ]
}

/// All of them.
pub fn mistakes() -> Vec<Mistake> {
    let mut all = of_bodies();
    all.extend(of_secrets());
    all.extend(of_signatures());
    all.extend(of_times_and_patterns());
    all.extend(of_halves_and_nothings());
    all.extend(of_tokens());
    all.extend(of_public_keys());
    all.extend(twice_wrong());
    all
}

fn wrong(
    what: &'static str,
    request: Request,
    bridge: &'static str,
    causes: &'static [&'static str],
) -> Mistake {
    Mistake {
        what,
        bridge,
        request,
        causes,
    }
}

fn of_bodies() -> Vec<Mistake> {
    let to_github = |what, request, causes| wrong(what, request, "github", causes);
    let latin = |text: &str| -> Vec<u8> {
        let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap());
        bytes.collect()
    };
    let umlaut = "{\"title\":\"Büro läuft\"}";
    let twice: String = umlaut.bytes().map(char::from).collect();
    let utf16: Vec<u8> = BODY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut zipped = github(packed(BODY), packed(BODY));
    zipped
        .headers
        .insert("content-encoding", "gzip".parse().unwrap());
    let mut cut = github(&BODY[..40], BODY);
    cut.headers
        .insert("content-length", BODY.len().to_string().parse().unwrap());
    let form_to_gitea = {
        let value = hex::encode(sha256(GITEA, FORM));
        post("gitea", FORM, &[("x-gitea-signature", &value)])
    };
    vec![
        to_github(
            "a proxy made the JSON pretty",
            github(PRETTY, BODY),
            &["body-reserialised"],
        ),
        to_github(
            "the sender signs pretty JSON and sends it compact",
            github(BODY, PRETTY),
            &["body-reserialised"],
        ),
        to_github(
            "json.dumps for the signature, the HTTP library for the body",
            github(BODY, PYTHON),
            &["body-reserialised"],
        ),
        to_github(
            "keys sorted before signing",
            github(BODY, SORTED),
            &["body-reserialised"],
        ),
        to_github(
            "PHP's json_encode for the signature",
            github(BODY, PHP),
            &["body-reserialised"],
        ),
        to_github(
            "Go's json.Marshal for the signature",
            github(BODY, GO),
            &["body-reserialised"],
        ),
        to_github(
            "Jackson's pretty printer for the signature",
            github(BODY, JAVA),
            &["body-reserialised"],
        ),
        to_github(
            "echo | openssl: a line break was signed",
            github(BODY, format!("{BODY}\n")),
            &["body-newline"],
        ),
        to_github(
            "curl -d @file lost the file's last line break",
            github(BODY, format!("{BODY}\r\n")),
            &["body-newline"],
        ),
        to_github(
            "the editor added a line break",
            github(format!("{BODY}\n"), BODY),
            &["body-newline"],
        ),
        to_github(
            "line ends became CRLF",
            github(PRETTY.replace('\n', "\r\n"), PRETTY),
            &["body-line-ends"],
        ),
        to_github(
            "line ends became LF",
            github(PRETTY, PRETTY.replace('\n', "\r\n")),
            &["body-line-ends"],
        ),
        to_github(
            "curl -d took the line breaks out",
            github(PRETTY.replace('\n', ""), PRETTY),
            &["body-reserialised"],
        ),
        to_github(
            "a byte order mark in front",
            github(format!("\u{feff}{BODY}"), BODY),
            &["body-bom"],
        ),
        to_github(
            "blanks around the body",
            github(format!(" {BODY} "), BODY),
            &["body-blanks"],
        ),
        to_github(
            "signed as Latin-1, sent as UTF-8",
            github(umlaut, latin(umlaut)),
            &["body-charset"],
        ),
        to_github(
            "encoded as UTF-8 twice on the way",
            github(&twice, umlaut),
            &["body-charset"],
        ),
        to_github(
            "signed as UTF-16, as .NET keeps texts",
            github(BODY, utf16),
            &["body-charset"],
        ),
        to_github(
            "the payload field was signed, not the form",
            github(FORM, PAYLOAD),
            &["form-field"],
        ),
        wrong(
            "the form was signed, not the payload field",
            form_to_gitea,
            "gitea",
            &["whole-form"],
        ),
        to_github(
            "JSON signed, the same fields sent as a form",
            github("a=1&b=x+y", r#"{"a":"1","b":"x y"}"#),
            &["form-for-json"],
        ),
        to_github(
            "a form signed, the same fields sent as JSON",
            github(r#"{"a":"1","b":"x y"}"#, "a=1&b=x+y"),
            &["json-for-form"],
        ),
        to_github(
            "a proxy wrote the form's blanks anew",
            github("a=x%20y&b=%2f", "a=x+y&b=%2F"),
            &["form-reencoded"],
        ),
        to_github(
            "the compressed bytes were signed",
            zipped,
            &["body-compressed"],
        ),
        to_github(
            "the body had been read away before signing",
            github(BODY, ""),
            &["body-empty"],
        ),
        to_github(
            "the hash of the body was signed",
            github(BODY, hex::encode(sha2::Sha256::digest(BODY))),
            &["body-digest"],
        ),
        to_github(
            "JSON.stringify over a text",
            github(BODY, serde_json::to_string(BODY).unwrap()),
            &["body-stringified"],
        ),
        to_github("the file was cut while copying", cut, &["body-cut"]),
    ]
}

fn of_secrets() -> Vec<Mistake> {
    let upper = stripe(&format!("t={NOW},v1={}", stripe_mac(STRIPE.to_uppercase())));
    let unhex = hex::decode(STRIPE).unwrap();
    let text = STANDARD_WEBHOOKS.strip_prefix("whsec_").unwrap();
    vec![
        wrong(
            "another bridge's secret",
            keyed("github", SLACK),
            "github",
            &["secret-of-another-bridge"],
        ),
        wrong(
            "posted to the wrong bridge",
            {
                let mut request = slack_at(NOW);
                request.target = "/hooks/github".to_owned();
                request
            },
            "github",
            &["another-bridge"],
        ),
        wrong(
            "our secret ends with a line break",
            keyed("newline", NEWLINE.trim_end()),
            "newline",
            &["secret-newline"],
        ),
        wrong(
            "the sender's secret ends with a line break",
            keyed("github", format!("{GITHUB}\n")),
            "github",
            &["secret-newline"],
        ),
        wrong(
            "our secret is in quotes",
            keyed("quotes", "in-quotes"),
            "quotes",
            &["secret-quotes"],
        ),
        wrong(
            "the sender's secret is in quotes",
            keyed("github", format!("'{GITHUB}'")),
            "github",
            &["secret-quotes"],
        ),
        wrong(
            "our secret has blanks around it",
            keyed("blanks", BLANKS.trim()),
            "blanks",
            &["secret-blanks"],
        ),
        wrong(
            "the variable was never expanded",
            keyed("github", "$GITHUB_SECRET"),
            "github",
            &["secret-placeholder"],
        ),
        wrong(
            "the expression was never expanded",
            keyed("github", "${{ secrets.GITHUB_SECRET }}"),
            "github",
            &["secret-placeholder"],
        ),
        wrong(
            "the reference was taken for the secret",
            keyed("github", "env:GITHUB_SECRET"),
            "github",
            &["secret-placeholder"],
        ),
        wrong(
            "the sender has an empty secret",
            keyed("github", ""),
            "github",
            &["secret-empty"],
        ),
        wrong("the secret in capitals", upper, "stripe", &["secret-case"]),
        wrong(
            "our secret is percent-encoded",
            keyed("percent", "a/b c"),
            "percent",
            &["secret-percent"],
        ),
        wrong(
            "the example's secret was kept",
            keyed("github", "your-secret"),
            "github",
            &["secret-example"],
        ),
        wrong(
            "the environment has no such variable",
            keyed("absent", "whatever"),
            "absent",
            &["secret-absent"],
        ),
        wrong(
            "whsec_ was not decoded",
            standard(STANDARD_WEBHOOKS),
            "standard",
            &["key-not-decoded"],
        ),
        wrong(
            "whsec_ was cut off, the rest not decoded",
            standard(text),
            "standard",
            &["key-not-decoded"],
        ),
        wrong(
            "a key of hex digits was decoded",
            stripe(&format!("t={NOW},v1={}", stripe_mac(unhex))),
            "stripe",
            &["key-decoded"],
        ),
        wrong(
            "the key was the secret in base64",
            keyed("github", STANDARD.encode(GITHUB)),
            "github",
            &["key-encoded"],
        ),
        wrong(
            "the key was the hex digits of the secret's SHA-256",
            keyed("github", hex::encode(sha2::Sha256::digest(GITHUB))),
            "github",
            &["key-hashed"],
        ),
        wrong(
            "the key was the secret's SHA-256",
            keyed("github", sha2::Sha256::digest(GITHUB)),
            "github",
            &["key-hashed"],
        ),
        wrong(
            "the secret itself behind the prefix, in the place of the signature",
            hub("github", BODY, format!("sha256={GITHUB}")),
            "github",
            &["secret-as-signature"],
        ),
        wrong(
            "the secret itself in the place of the signature, in quotes",
            stripe(&format!("\"{STRIPE}\"")),
            "stripe",
            &["secret-as-signature"],
        ),
        wrong(
            "nanoseconds in place of milliseconds",
            dingtalk(&format!("timestamp={NOW}000000000&sign=AAAA")),
            "dingtalk",
            &["timestamp-unit"],
        ),
        wrong(
            "nobody knows that secret",
            keyed("github", "something else entirely"),
            "github",
            &["no-cause-found"],
        ),
    ]
}

fn of_signatures() -> Vec<Mistake> {
    let mac = sha256(GITHUB, BODY);
    let shopify = |value: String| post("shopify", BODY, &[("x-shopify-hmac-sha256", &value)]);
    let shopify_mac = sha256(SHOPIFY, BODY);
    let to_github =
        |what, value: String, causes| wrong(what, hub("github", BODY, value), "github", causes);
    let sha512 = made::<Hmac<sha2::Sha512>>(GITHUB, BODY);
    let legacy = format!("sha1={}", hex::encode(sha1(GITHUB, BODY)));
    let plain = |parts: &[&str]| hex::encode(sha2::Sha256::digest(parts.concat()));
    let right = format!("sha256={}", hex::encode(&mac));
    vec![
        to_github(
            "base64 in place of hex",
            format!("sha256={}", STANDARD.encode(&mac)),
            &["signature-encoding"],
        ),
        to_github(
            "base64url in place of hex",
            format!("sha256={}", URL_SAFE_NO_PAD.encode(&mac)),
            &["signature-encoding"],
        ),
        wrong(
            "hex in place of base64",
            shopify(hex::encode(&shopify_mac)),
            "shopify",
            &["signature-encoding"],
        ),
        to_github(
            "the prefix is missing",
            hex::encode(&mac),
            &["signature-prefix"],
        ),
        to_github(
            "the prefix in capitals",
            format!("SHA256={}", hex::encode(&mac)),
            &["signature-prefix"],
        ),
        to_github(
            "a blank behind the prefix",
            format!("sha256= {}", hex::encode(&mac)),
            &["signature-prefix"],
        ),
        wrong(
            "a prefix where none is asked",
            shopify(format!("sha256={}", STANDARD.encode(&shopify_mac))),
            "shopify",
            &["signature-prefix"],
        ),
        wrong(
            "v0 in place of v1",
            stripe(&format!("t={NOW},v0={}", stripe_mac(STRIPE))),
            "stripe",
            &["signature-prefix"],
        ),
        wrong(
            "semicolons in place of commas",
            stripe(&format!("t={NOW};v1={}", stripe_mac(STRIPE))),
            "stripe",
            &["signature-prefix"],
        ),
        to_github(
            "SHA-1 under the name of SHA-256",
            format!("sha256={}", hex::encode(sha1(GITHUB, BODY))),
            &["algorithm"],
        ),
        to_github(
            "SHA-512 under the name of SHA-256",
            format!("sha256={}", hex::encode(sha512)),
            &["algorithm"],
        ),
        wrong(
            "only GitHub's old header",
            post("github", BODY, &[("x-hub-signature", &legacy)]),
            "github",
            &["other-place"],
        ),
        wrong(
            "a header with another name",
            post("github", BODY, &[("x-signature", &hex::encode(&mac))]),
            "github",
            &["other-place"],
        ),
        wrong(
            "in the query",
            with_target(
                post("github", BODY, &[]),
                &format!("/hooks/github?signature={}", hex::encode(&mac)),
            ),
            "github",
            &["other-place"],
        ),
        to_github(
            "only half of it",
            format!("sha256={}", hex::encode(&mac[..16])),
            &["signature-truncated"],
        ),
        to_github(
            "base64 of the hex digits",
            format!("sha256={}", STANDARD.encode(hex::encode(&mac))),
            &["signature-encoded-twice"],
        ),
        to_github("in quotes", format!("\"{right}\""), &["signature-quoted"]),
        to_github(
            "a template that was never filled in",
            "sha256={{ signature }}".to_owned(),
            &["signature-placeholder"],
        ),
        to_github(
            "SHA-256 over secret and body, no HMAC",
            format!("sha256={}", plain(&[GITHUB, BODY])),
            &["plain-hash"],
        ),
        to_github(
            "SHA-256 over the body alone",
            format!("sha256={}", plain(&[BODY])),
            &["plain-hash"],
        ),
        to_github(
            "key and message the other way round",
            format!("sha256={}", hex::encode(sha256(BODY, GITHUB))),
            &["key-and-message-swapped"],
        ),
        wrong(
            "a proxy added the header again",
            post(
                "github",
                BODY,
                &[
                    ("x-hub-signature-256", &right),
                    ("x-hub-signature-256", &right),
                ],
            ),
            "github",
            &["repeated"],
        ),
        wrong(
            "not signed at all",
            post("github", BODY, &[]),
            "github",
            &["unsigned"],
        ),
    ]
}

fn of_times_and_patterns() -> Vec<Mistake> {
    let (time, value) = dingtalk_with_plus();
    let twice = escaped(&escaped(&value));
    let plus = value.replace('+', "%20");
    let seconds = {
        let mac = sha256(DINGTALK, format!("{NOW}\n{DINGTALK}"));
        let value = escaped(&STANDARD.encode(mac));
        dingtalk(&format!("timestamp={NOW}&sign={value}"))
    };
    let feishu = {
        let time = NOW * 1000;
        let mac = sha256(format!("{time}\n{DINGTALK}"), "");
        let value = escaped(&STANDARD.encode(mac));
        dingtalk(&format!("timestamp={time}&sign={value}"))
    };
    let timed = {
        let value = format!(
            "sha256={}",
            hex::encode(sha256(GITHUB, format!("{NOW}.{BODY}")))
        );
        let headers = [
            ("x-hub-signature-256", value.as_str()),
            ("x-request-timestamp", "1700000000"),
        ];
        post("github", BODY, &headers)
    };
    let now = NOW.to_string();
    let signed = |pattern: String| slack(&now, &pattern);
    let milliseconds = format!("{NOW}000");
    let target = "/hooks/github?x=1";
    let with_url = with_target(github(BODY, format!("{target}{BODY}")), target);
    let with_host = {
        let text = format!("https://hook.example.com{target}{BODY}");
        let mut request = with_target(github(BODY, text), target);
        request
            .headers
            .insert("host", "hook.example.com".parse().unwrap());
        request
    };
    vec![
        wrong(
            "a clock 7 minutes behind",
            slack_at(NOW - 420),
            "slack",
            &["clock"],
        ),
        wrong(
            "a clock 20 minutes ahead",
            slack_at(NOW + 1200),
            "slack",
            &["clock"],
        ),
        wrong(
            "local time taken for UTC",
            slack_at(NOW + 8 * 3600),
            "slack",
            &["clock-zone"],
        ),
        wrong(
            "milliseconds in place of seconds",
            slack(&milliseconds, &format!("v0:{milliseconds}:{BODY}")),
            "slack",
            &["timestamp-unit"],
        ),
        wrong(
            "seconds in place of milliseconds",
            seconds,
            "dingtalk",
            &["timestamp-unit"],
        ),
        wrong(
            "the timestamp was not signed",
            signed(BODY.to_owned()),
            "slack",
            &["signed-pattern"],
        ),
        wrong(
            "another separator",
            signed(format!("{now}.{BODY}")),
            "slack",
            &["signed-pattern"],
        ),
        wrong(
            "the version is missing in what is signed",
            signed(format!("{now}:{BODY}")),
            "slack",
            &["signed-pattern"],
        ),
        wrong(
            "a timestamp was signed too",
            timed,
            "github",
            &["signed-pattern"],
        ),
        wrong(
            "the path was signed too",
            with_url,
            "github",
            &["signed-pattern"],
        ),
        wrong(
            "the whole address was signed too",
            with_host,
            "github",
            &["signed-pattern"],
        ),
        wrong(
            "Feishu's way at a bridge for DingTalk",
            feishu,
            "dingtalk",
            &["key-and-message-swapped"],
        ),
        wrong(
            "percent-encoded twice",
            dingtalk(&format!("timestamp={time}&sign={twice}")),
            "dingtalk",
            &["percent-twice"],
        ),
        wrong(
            "a plus became a blank",
            dingtalk(&format!("timestamp={time}&sign={plus}")),
            "dingtalk",
            &["plus-for-blank"],
        ),
        wrong(
            "no timestamp was sent",
            {
                let value = format!("v0={}", hex::encode(sha256(SLACK, BODY)));
                post("slack", BODY, &[("x-slack-signature", &value)])
            },
            "slack",
            &["signed-pattern"],
        ),
    ]
}

fn of_halves_and_nothings() -> Vec<Mistake> {
    let right = hex::encode(sha256(GITHUB, BODY));
    let pairs: Vec<&str> = (0..right.len())
        .step_by(2)
        .map(|at| &right[at..at + 2])
        .collect();
    vec![
        wrong(
            "hex with colons",
            hub("github", BODY, format!("sha256={}", pairs.join(":"))),
            "github",
            &["signature-encoding"],
        ),
        wrong(
            "a signature of one byte",
            hub("github", BODY, "sha256=00".to_owned()),
            "github",
            &["signature-length"],
        ),
        wrong(
            "the secret is undefined",
            keyed("github", "undefined"),
            "github",
            &["secret-unset"],
        ),
        wrong(
            "the secret is null",
            keyed("github", "null"),
            "github",
            &["secret-unset"],
        ),
        wrong(
            "the secret without its last two signs",
            keyed("github", &GITHUB[..GITHUB.len() - 2]),
            "github",
            &["secret-cut"],
        ),
        wrong(
            "the secret without its first sign",
            keyed("github", &GITHUB[1..]),
            "github",
            &["secret-cut"],
        ),
    ]
}

fn of_tokens() -> Vec<Mistake> {
    let bearer = |value: &str| post("bearer", BODY, &[("authorization", value)]);
    let basic = |text: &str| {
        let value = format!("Basic {}", STANDARD.encode(text));
        post("basic", BODY, &[("authorization", &value)])
    };
    let token = |value: &str| post("token", BODY, &[("x-gitlab-token", value)]);
    vec![
        wrong(
            "the word Bearer is missing",
            bearer(BEARER),
            "bearer",
            &["authorization-scheme"],
        ),
        wrong(
            "Token in place of Bearer",
            bearer(&format!("Token {BEARER}")),
            "bearer",
            &["authorization-scheme"],
        ),
        wrong(
            "the token as a password of Basic",
            bearer(&format!(
                "Basic {}",
                STANDARD.encode(format!("api:{BEARER}"))
            )),
            "bearer",
            &["authorization-scheme"],
        ),
        wrong(
            "the bearer token in quotes",
            bearer(&format!("Bearer \"{BEARER}\"")),
            "bearer",
            &["secret-quotes"],
        ),
        wrong(
            "the token was never expanded",
            bearer("Bearer ${BEARER_SECRET}"),
            "bearer",
            &["secret-placeholder"],
        ),
        wrong(
            "the token in another header",
            post("bearer", BODY, &[("x-api-key", BEARER)]),
            "bearer",
            &["other-place"],
        ),
        wrong(
            "the token in the query",
            with_target(
                post("token", BODY, &[]),
                &format!("/hooks/token?token={TOKEN}"),
            ),
            "token",
            &["other-place"],
        ),
        wrong(
            "Bearer in front of a bare token",
            token(&format!("Bearer {TOKEN}")),
            "token",
            &["token-prefix"],
        ),
        wrong(
            "another bridge's token",
            token(BEARER),
            "token",
            &["secret-of-another-bridge"],
        ),
        wrong(
            "the right password of another user",
            basic("admin:pa55word"),
            "basic",
            &["basic-user"],
        ),
        wrong(
            "Basic without base64",
            post(
                "basic",
                BODY,
                &[("authorization", &format!("Basic {BASIC}"))],
            ),
            "basic",
            &["basic-not-encoded"],
        ),
        wrong(
            "user and password of Basic swapped",
            basic("pa55word:jenkins"),
            "basic",
            &["basic-swapped"],
        ),
        wrong(
            "the password of Basic alone",
            basic("pa55word"),
            "basic",
            &["basic-password-only"],
        ),
        wrong(
            "the word Bearer twice",
            bearer(&format!("Bearer Bearer {BEARER}")),
            "bearer",
            &["authorization-twice"],
        ),
        wrong(
            "Bearer where Basic is asked",
            post(
                "basic",
                BODY,
                &[(
                    "authorization",
                    &format!("Bearer {}", STANDARD.encode(BASIC)),
                )],
            ),
            "basic",
            &["authorization-scheme"],
        ),
        wrong(
            "the token of an unset variable",
            bearer("Bearer undefined"),
            "bearer",
            &["secret-unset"],
        ),
        wrong(
            "the token without its last sign",
            token(&TOKEN[..TOKEN.len() - 1]),
            "token",
            &["secret-cut"],
        ),
        wrong(
            "the token with two signs more",
            token(&format!("{TOKEN}xy")),
            "token",
            &["secret-longer"],
        ),
        wrong(
            "no token at all",
            post("token", BODY, &[]),
            "token",
            &["unsigned"],
        ),
    ]
}

fn twice_wrong() -> Vec<Mistake> {
    let legacy_newline = {
        let value = format!("sha256={}", hex::encode(sha1(GITHUB, format!("{BODY}\n"))));
        hub("github", BODY, value)
    };
    let old_and_pretty = {
        let time = NOW - 86_400;
        let value = format!(
            "v0={}",
            hex::encode(sha256(SLACK, format!("v0:{time}:{PRETTY}")))
        );
        let headers = [
            ("x-slack-signature", value.as_str()),
            ("x-slack-request-timestamp", &time.to_string()),
        ];
        post("slack", BODY, &headers)
    };
    let base64_newline = {
        let mac = sha256(NEWLINE.trim_end(), BODY);
        hub("newline", BODY, format!("sha256={}", STANDARD.encode(mac)))
    };
    vec![
        wrong(
            "SHA-1, and a line break was signed",
            legacy_newline,
            "github",
            &["algorithm", "body-newline"],
        ),
        wrong(
            "an old request, and re-serialised",
            old_and_pretty,
            "slack",
            &["clock", "body-reserialised"],
        ),
        wrong(
            "base64, and our secret ends with a line break",
            base64_newline,
            "newline",
            &["signature-encoding", "secret-newline"],
        ),
    ]
}
