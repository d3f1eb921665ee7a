//! What it costs to know a sender: a body of 10 KB through the whole verifier against the bare HMAC over the same bytes, and what
//! a refusal costs against an event, in one run on the same machine.
//!
//! `cargo bench --bench auth`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use jiff::tz::TimeZone;
use openim_bridge::bridge::problem::Sources;
use openim_bridge::bridge::{Bridge, RuleBook, Surroundings};
use openim_bridge::intake::authenticate::{authenticate, sign};
use openim_bridge::intake::{Request, pass};
use openim_bridge::model::{Secret, Timestamp};
use sha2::Sha256;

const SECRET: &str = "a secret of the benchmark";
const BODY_BYTES: usize = 10 * 1024;
/// What one round measures: shorter than the turn that a busy machine gives, so that some rounds are whole.
const ROUND: Duration = Duration::from_millis(2);
const ROUNDS: usize = 1_000;

const SAMPLE: &str = include_str!("../bridges/samples/github/034-workflow-failed.http");

fn main() {
    let now: Timestamp = "2026-11-25T12:00:00Z".parse().expect("a time");
    let book = book();
    let request = request();
    println!("body {} bytes\n", request.body.len());
    println!(
        "| way | bare HMAC | verified | ratio | refused | whole way to the message | refused : whole |"
    );
    println!("|---|---|---|---|---|---|---|");
    for name in ["github", "stripe", "standard", "several"] {
        let bridge = &book.bridges[name];
        let auth = bridge.auth.as_ref().expect("it has a secret");
        let signed = sign(auth, request.clone(), now).expect("it can be signed");
        let mut forged = signed.clone();
        let mut body = forged.body.to_vec();
        body[100] ^= 1;
        forged.body = body.into();
        assert!(authenticate(auth, signed.clone(), now).is_ok());
        assert!(authenticate(auth, forged.clone(), now).is_err());

        let [copy, bare, verified, refused, whole] = fastest([
            &mut || drop(black_box(signed.clone())),
            &mut || {
                black_box(bare(&signed));
            },
            &mut || drop(black_box(authenticate(auth, signed.clone(), now))),
            &mut || drop(black_box(authenticate(auth, forged.clone(), now))),
            &mut || event(&book, bridge, &signed, now),
        ]);
        // The verifier takes a request for itself: the copies that this bench makes of it are none of its work.
        let (verified, refused, whole) = (verified - copy, refused - copy, whole - copy);
        println!(
            "| {name} | {bare:.2} µs | {verified:.2} µs | {:.2} | {refused:.2} µs | {whole:.1} µs | 1 : {:.1} |",
            verified / bare,
            whole / refused,
        );
    }
}

/// The bare HMAC, its hex compared: the least that any receiver does.
fn bare(request: &Request) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key fits");
    mac.update(&request.body);
    mac.verify_slice(&[0; 32]).is_ok()
}

fn event(book: &RuleBook, bridge: &Bridge, request: &Request, now: Timestamp) {
    let auth = bridge.auth.as_ref().expect("it has a secret");
    let authentic = authenticate(auth, request.clone(), now).expect("it is signed");
    black_box(pass(book, bridge, authentic, now).expect("it is readable"));
}

/// The time of each call in the best of the rounds, in µs. The calls take turns, so that all see the same machine.
fn fastest<const N: usize>(mut calls: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for (call, best) in calls.iter_mut().zip(&mut best) {
            let (began, mut count) = (Instant::now(), 0u32);
            while began.elapsed() < ROUND {
                for _ in 0..16 {
                    call();
                }
                count += 16;
            }
            *best = best.min(began.elapsed().as_secs_f64() * 1e6 / f64::from(count));
        }
    }
    best
}

fn request() -> Request {
    let mut request =
        Request::from_text("github", SAMPLE.as_bytes()).expect("a sample is a request");
    let mut json: serde_json::Value =
        serde_json::from_slice(&request.body).expect("a sample is JSON");
    let short = BODY_BYTES.saturating_sub(json.to_string().len() + 40);
    let words: Vec<String> = (0..short / 20)
        .map(|n| format!("word number {n:05}"))
        .collect();
    json["more"] = words.into();
    request.body = json.to_string().into();
    let headers = [
        ("webhook-id", "msg_1"),
        ("user-agent", "GitHub-Hookshot/044aadd"),
        ("accept", "*/*"),
        ("host", "hook.example.com"),
        ("x-github-hook-id", "292430182"),
        ("x-github-hook-installation-target-id", "79929171"),
    ];
    for (name, value) in headers {
        request
            .headers
            .insert(name, value.parse().expect("a value"));
    }
    request
}

fn book() -> RuleBook {
    let route = "[[route]]\nto = [\"group:#1\"]\n";
    let stripe = "[auth]\nscheme = \"hmac-sha256\"\nsignature = \"header:stripe-signature\"\nformat = \"t={timestamp},v1={hex}\"\nseveral = \",\"\nsigned = \"{timestamp}.{body}\"\ntimestamp = { within = \"5m\" }\n";
    let standard = "[auth]\nscheme = \"hmac-sha256\"\nsignature = \"header:webhook-signature\"\nformat = \"v1,{base64}\"\nseveral = \" \"\nsigned = \"{header:webhook-id}.{timestamp}.{body}\"\ntimestamp = { from = \"header:webhook-timestamp\", within = \"5m\" }\n";
    let extends = "extends = \"github\"\n";
    let one = "secrets = [\"env:A\"]\n";
    let sources: Sources = [
        ("github", format!("{extends}{one}{route}")),
        (
            "several",
            format!("{extends}secrets = [\"env:A\", \"env:B\"]\n{route}"),
        ),
        ("stripe", format!("{extends}{one}{stripe}{route}")),
        ("standard", format!("{extends}{one}{standard}{route}")),
    ]
    .into_iter()
    .map(|(name, text)| (format!("bridges/{name}.toml"), text))
    .collect();
    let surroundings = Surroundings {
        groups: Default::default(),
        locale: "en".to_owned(),
        time_zone: TimeZone::UTC,
    };
    let secrets = |_: &_| Ok(Secret::new(SECRET));
    let (book, problems) = RuleBook::compile(&sources, &surroundings, &secrets);
    book.unwrap_or_else(|| panic!("{problems:#?}"))
}
