//! The shipped bridges at the door: what each sender shows is believed, in every way that its bridge knows; nothing else is.

use openim_bridge::bridge::auth::Auth;
use openim_bridge::bridge::problem::{Level, Sources};
use openim_bridge::bridge::{Bridge, RuleBook, Surroundings, shipped};
use openim_bridge::intake::authenticate::{Unsigned, authenticate, sign};
use openim_bridge::intake::{Passed, Request, pass};
use openim_bridge::model::{Secret, SecretRef, Severity, Timestamp};

use crate::senders::{other_secret, without_times};
use crate::shipped::{bridges, secret_of};

/// When the samples that hold a time were sent.
const SENT: i64 = 1_773_306_000;

/// The ways in which a shipped bridge knows its sender, each as an `[auth]` of its own.
fn ways(bridge: &str) -> Vec<String> {
    let text = shipped::find(&format!("bridges/{bridge}.toml")).unwrap();
    let written: toml::Table = text.parse().unwrap();
    let Some(auth) = written.get("auth") else {
        return ways(written["extends"].as_str().unwrap());
    };
    let mut first = auth.as_table().unwrap().clone();
    let mut ways = match first.remove("otherwise") {
        Some(toml::Value::Array(many)) => many,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    ways.insert(0, first.into());
    ways.into_iter()
        .map(|way| toml::to_string(&toml::Table::from_iter([("auth".to_owned(), way)])).unwrap())
        .collect()
}

/// A rule-book with a door for each shipped bridge, one with another secret, and one for each way alone.
fn book() -> RuleBook {
    let mut sources = Sources::new();
    let mut add = |name: String, parent: &str, secret: &str, auth: &str| {
        let text = format!(
            "extends = \"{parent}\"\nsecrets = [\"env:{secret}/{parent}\"]\n{auth}\n[[route]]\nto = [\"group:#1\"]\n"
        );
        sources.insert(format!("bridges/{name}.toml"), text);
    };
    for bridge in bridges() {
        add(format!("door-{bridge}"), &bridge, "right", "");
        add(format!("other-{bridge}"), &bridge, "wrong", "");
        for (number, way) in ways(&bridge).iter().enumerate() {
            add(format!("way-{number}-{bridge}"), &bridge, "right", way);
        }
    }
    let surroundings = Surroundings {
        groups: Default::default(),
        locale: "en".to_owned(),
        time_zone: jiff::tz::TimeZone::UTC,
    };
    let secrets = |reference: &SecretRef| match reference {
        SecretRef::Env(name) => {
            let (which, bridge) = name.split_once('/').unwrap();
            Ok(Secret::new(match which {
                "right" => secret_of(bridge),
                _ => other_secret(bridge),
            }))
        }
        SecretRef::File(_) => Err("no file is asked for".to_owned()),
    };
    let (book, problems) = RuleBook::compile(&sources, &surroundings, &secrets);
    let wrong = problems.iter().filter(|it| it.level != Level::Advice);
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    book.unwrap()
}

/// The first samples of a bridge.
fn samples(bridge: &str) -> Vec<Request> {
    let folder = format!("bridges/samples/{bridge}/");
    let samples = shipped::sources().into_iter();
    let samples = samples.filter(|(path, _)| path.starts_with(&folder));
    let read = |(_, text): (String, String)| {
        let mut request = Request::from_text(bridge, text.as_bytes()).unwrap();
        // What a sample shows of its proof in the address is signed anew.
        let shows = |name: &&str| request.query().contains(*name);
        if ["access_token=", "sign=", "key="].iter().any(shows) {
            request.target = request.target.split('?').next().unwrap().to_owned();
        }
        without_times(&mut request);
        request.peer = Some([47, 74, 206, 1].into());
        // What a sender that signs adds, and one that shows a token does not.
        for name in ["webhook-id", "svix-id"] {
            let id = http::HeaderValue::from_static("msg_1");
            request.headers.entry(name).or_insert(id);
        }
        request
    };
    samples.take(4).map(read).collect()
}

/// What a request comes to at a bridge's door, or why it is refused there.
fn knock(
    book: &RuleBook,
    door: &Bridge,
    request: Request,
    now: Timestamp,
) -> Result<Passed, String> {
    let auth = door.auth.as_ref().unwrap();
    let authentic = authenticate(auth, request, now).map_err(|refusal| refusal.to_string())?;
    Ok(pass(book, door, authentic, now).expect("what is authentic is read"))
}

#[test]
fn every_shipped_bridge_believes_its_sender_in_each_of_its_ways_and_nobody_else() {
    let book = book();
    let now = Timestamp::from_second(SENT).unwrap();
    for bridge in bridges() {
        let door = &book.bridges[&format!("door-{bridge}")];
        let other = &book.bridges[&format!("other-{bridge}")];
        for request in samples(&bridge) {
            let unsigned = knock(&book, door, request.clone(), now);
            assert!(unsigned.is_err(), "{bridge}: a request without a proof");
            for number in 0..ways(&bridge).len() {
                let way = &book.bridges[&format!("way-{number}-{bridge}")];
                let auth = way.auth.as_ref().unwrap();
                let signed = match sign(auth, request.clone(), now) {
                    // Nobody can sign with a public key; who has the private one is driven elsewhere.
                    Err(Unsigned::PublicKey) => continue,
                    signed => signed.unwrap_or_else(|why| panic!("{bridge}, way {number}: {why}")),
                };

                let passed = knock(&book, door, signed.clone(), now);
                let passed = passed.unwrap_or_else(|why| panic!("{bridge}, way {number}: {why}"));
                assert!(
                    matches!(passed, Passed::Event { .. } | Passed::Challenge(_)),
                    "{bridge}"
                );

                let refused = knock(&book, other, signed, now);
                assert!(refused.is_err(), "{bridge}, way {number}: another secret");
            }
        }
    }
}

#[test]
fn what_a_signature_over_the_body_leaves_open_writes_no_message() {
    let book = book();
    let now = Timestamp::from_second(SENT).unwrap();
    // The first way of `json` signs the body, the second shows a token.
    let [signs, shows] = [0, 1].map(|way| &book.bridges[&format!("way-{way}-json")]);
    let asked =
        "/hooks/json?title=Pay+now&text=at+once&url=https://evil.example/&level=critical&team=ops";
    for (door, is_token) in [(signs, false), (shows, true)] {
        let auth = door.auth.as_ref().unwrap();
        let mut request = Request::from_text("json", br#"{"disk":"ok","n":7}"#).unwrap();
        request = sign(auth, request, now).unwrap();
        // Who has read the request sends it again with more behind the address.
        request.target = asked.to_owned();

        let Ok(Passed::Event {
            event, deliveries, ..
        }) = knock(&book, door, request, now)
        else {
            panic!("the body is signed, and the token is right");
        };

        let said = format!("{deliveries:?}");
        assert_eq!(said.contains("Pay now"), is_token, "{said}");
        assert_eq!(said.contains("evil.example"), is_token, "{said}");
        assert_eq!(event.title.contains("Pay now"), is_token);
        assert_eq!(event.link.contains("evil.example"), is_token);
        assert_eq!(event.severity == Severity::Critical, is_token);
        // What routes may read is still there.
        assert_eq!(event.query["team"], "ops");
    }
}

#[test]
fn every_shipped_bridge_stands_in_the_list_of_senders() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let list = read("docs/senders.md");
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut listed: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
    listed.sort_unstable();
    assert_eq!(listed, bridges());
    let number = format!("{} shipped bridges", bridges().len());
    assert!(read("README.md").contains(&number), "{number}");
}

#[test]
fn a_bridge_that_does_not_cover_the_body_tells_its_operator_so() {
    let book = book();
    for bridge in bridges() {
        let door = &book.bridges[&format!("door-{bridge}")];
        let advice = door.auth.as_ref().unwrap().advice();
        if advice.iter().any(|advice| advice.contains("not covered")) {
            let text = shipped::find(&format!("bridges/{bridge}.toml")).unwrap();
            let comment = text.lines().filter_map(|line| line.strip_prefix('#'));
            let comment = comment.collect::<Vec<_>>().join(" ");
            let words: Vec<_> = comment.split_whitespace().collect();
            assert!(
                words.join(" ").contains("the body is not covered"),
                "{bridge} keeps silent: {advice:?}"
            );
        }
    }
}

/// From CircleCI's documentation of its webhooks, where these three stand as examples.
#[test]
fn the_signatures_that_circleci_publishes_come_out_of_signing() {
    let now = Timestamp::from_second(SENT).unwrap();
    for (secret, body, signature) in [
        (
            "secret",
            "hello world",
            "734cc62f32841568f45715aeb9f4d7891324e6d948e4c6c60c0621cdac48623a",
        ),
        (
            "another-secret",
            "lalala",
            "daa220016c8f29a8b214fbfc3671aeec2145cfb1e6790184ffb38b6d0425fa00",
        ),
        (
            "hunter123",
            "an-important-request-payload",
            "9be2242094a9a8c00c64306f382a7f9d691de910b4a266f67bd314ef18ac49fa",
        ),
    ] {
        let way = ways("circleci").remove(0);
        let way: toml::Table = way.parse().unwrap();
        let way = toml::to_string(&way["auth"]).unwrap();
        let table = toml::de::DeTable::parse(&way).unwrap();
        let auth = Auth::compile(table.get_ref(), &[Secret::new(secret)]).unwrap();
        let request = Request::from_text("circleci", body.as_bytes()).unwrap();
        let signed = sign(&auth, request, now).unwrap();
        let expected = format!("v1={signature}");
        assert_eq!(signed.headers["circleci-signature"], expected.as_str());
    }
}
