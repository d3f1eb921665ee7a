//! How far a sender's words reach: to the message, and no further. Whatever a payload holds calls nobody, hides no link, fetches
//! nothing, writes no header and no line of the log, and is no template. From the door to the chat server.

use std::net::TcpListener;
use std::sync::LazyLock;

use jiff::tz::TimeZone;
use openim_bridge::bridge::problem::Sources;
use openim_bridge::bridge::{RuleBook, Surroundings};
use openim_bridge::deliver::SendAs;
use openim_bridge::deliver::openim::Face;
use openim_bridge::intake::authenticate::{authenticate, sign};
use openim_bridge::intake::{Passed, Request, pass};
use openim_bridge::model::{Conversation, Event, Family, Message, Rendered, Secret, Timestamp};
use proptest::prelude::*;
use pulldown_cmark::{Event as Piece, Options, Parser, Tag};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::stage::{SECRET, Stage, eventually};

const TOKEN: &str = "a-token-that-nobody-may-see";

const PEOPLE: &str = "\"github:li\" = \"u_li\"\n\"github:mei\" = \"u_mei\"\n";

const ROUTES: &str = r#"
[[route]]
to = ["group:#g_plain"]

[[route]]
to      = ["group:#g_called"]
mention = ["person:github:li"]
"#;

/// All faces of a payload: a template that uses it in every way but the one that asks for its markup, `{{{text}}}`, and the
/// shipped one for JSON.
static BOOK: LazyLock<RuleBook> = LazyLock::new(|| {
    let template = r#"{{bold event.title}} by {{event.actor}}
{{link event.title event.link}}
- {{body.text}} {{code body.text}}
{{lines body.text 5}}
{{quote body.text}}
{{header.x-note}} {{query.note}}
{{#each (fields body)}}{{this.name}}: {{this.value}}
{{/each}}"#;
    let raw = r#"{"contentType": 110, "content": {"data": "{{body.text}}", "description": "{{event.title}}", "extension": "{{event.actor}}"}}"#;
    let own = format!(
        "secrets = [\"env:X\"]\n[auth]\nscheme = \"token\"\ntoken = \"query:key\"\n[event]\nid = \"body.id\"\nkind = \"body.kind\"\ntitle = \"body.title\"\nactor = \"body.actor\"\nlink = \"body.link\"\nsubject = \"body.subject\"\n{ROUTES}"
    );
    let json = format!("extends = \"json\"\nsecrets = [\"env:X\"]\n{ROUTES}");
    let sources: Sources = [
        ("people.toml", PEOPLE.to_owned()),
        ("bridges/own.toml", own),
        ("bridges/shown.toml", json),
        ("templates/own/default.md.hbs", template.to_owned()),
        ("templates/own/raw.json.hbs", raw.to_owned()),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .into();
    let surroundings = Surroundings {
        groups: Default::default(),
        locale: "en".to_owned(),
        time_zone: TimeZone::UTC,
    };
    let secrets = |_: &_| Ok(Secret::new(TOKEN));
    let (book, problems) = RuleBook::compile(&sources, &surroundings, &secrets);
    book.unwrap_or_else(|| panic!("{problems:#?}"))
});

fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

/// A payload through authenticate, parse, route and render: the event, and the message of each conversation.
fn taken(bridge: &str, body: &Value, note: &str) -> (Event, Vec<(Conversation, Message)>) {
    let bridge = &BOOK.bridges[bridge];
    let auth = bridge.auth.as_ref().unwrap();
    let escaped: String = note.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut request = Request::from_text("x", body.to_string().as_bytes()).unwrap();
    request.target = format!("/hooks/{}?note={escaped}", bridge.name);
    if let Ok(value) = note.parse() {
        request.headers.insert("x-note", value);
    }
    let signed = sign(auth, request, now()).unwrap();
    let authentic = authenticate(auth, signed, now()).unwrap();
    let Ok(Passed::Event {
        event, deliveries, ..
    }) = pass(&BOOK, bridge, authentic, now())
    else {
        panic!("an event is expected of {body}");
    };
    let messages = deliveries.into_iter().map(|delivery| {
        let message = match delivery.rendered {
            Rendered::Ready(message) => message,
            Rendered::Broken(why) => panic!("{why}"),
        };
        (delivery.conversation, message)
    });
    (*event, messages.collect())
}

fn payload() -> impl Strategy<Value = String> {
    let sign = prop_oneof![
        Just("@all "),
        Just("@li"),
        Just("@mei "),
        Just("@u_mei"),
        Just("@AtAllTag"),
        Just("@everyone "),
        Just("[good](http://evil.example/x)"),
        Just("![p](http://evil.example/p.png)"),
        Just("<http://evil.example>"),
        Just("[a]: http://evil.example"),
        Just("[a]"),
        Just("<a href=\"http://evil.example\">x</a>"),
        Just("\r\nX-Evil: 1"),
        Just("\n"),
        Just("\u{1b}[31m"),
        Just("\u{0}"),
        Just("\u{7f}"),
        Just("\u{9b}"),
        Just("\u{202e}"),
        Just("\u{2066}"),
        Just("\u{200e}"),
        Just("\u{200f}"),
        Just("\u{200b}"),
        Just("\u{feff}"),
        Just("\u{2028}"),
        Just("\u{2}"),
        Just("\u{3}"),
        Just("{{event.id}}"),
        Just("{{{body}}}"),
        Just("{{> x}}"),
        Just("\\"),
        Just("`"),
        Just("*"),
        Just("# "),
        Just("word"),
        Just("字"),
        Just("\""),
        Just(" "),
    ];
    proptest::collection::vec(sign, 0..12).prop_map(|signs| signs.concat())
}

/// Signs that must not reach a reader, a log or a terminal as they are.
fn misleads(sign: char) -> bool {
    (sign.is_control() && !matches!(sign, '\n' | '\t'))
        || matches!(sign, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(
            sign,
            '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}' | '\u{2028}' | '\u{2029}'
        )
}

fn links(markdown: &str) -> Vec<(String, String)> {
    let mut links: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for piece in Parser::new_ext(markdown, Options::all()) {
        match piece {
            Piece::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push((dest_url.to_string(), String::new()));
                inside = true;
            }
            Piece::End(end) => {
                inside &= !matches!(
                    end,
                    pulldown_cmark::TagEnd::Link | pulldown_cmark::TagEnd::Image
                )
            }
            Piece::Text(text) | Piece::Code(text) if inside => {
                if let Some((_, words)) = links.last_mut() {
                    words.push_str(&text);
                }
            }
            _ => {}
        }
    }
    links
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_payload_holds_stays_inside_its_message(
        text in payload(),
        title in payload(),
        other in payload(),
        raw in any::<bool>(),
        shown in any::<bool>(),
    ) {
        let (bridge, kind) = match (shown, raw) {
            (true, _) => ("shown", "message"),
            (false, true) => ("own", "raw"),
            (false, false) => ("own", "x"),
        };
        let body = json!({
            "id": format!("7{other}"), "kind": kind, "title": format!("t{title}"), "text": format!("w{text}"), "actor": other,
            "link": "https://good.example/1", "subject": title, other.clone(): text,
        });
        let (event, messages) = taken(bridge, &body, &other);
        prop_assert_eq!(messages.len(), 2);

        // What is logged, listed and looked up.
        for field in [event.id.as_str(), &event.kind, &event.title, &event.actor, &event.subject, &event.link] {
            prop_assert!(!field.chars().any(|sign| misleads(sign) || sign == '\n'), "{field:?}");
        }
        for (conversation, message) in &messages {
            for family in [Family::Main, Family::Release38] {
                let face = Face::of(message, conversation, family, &SendAs::default());
                let Ok(face) = face else {
                    prop_assert!(raw, "{:?}", face.err());
                    continue;
                };
                let said = serde_json::from_str::<Value>(&face.content.to_string()).unwrap();
                let mut texts = Vec::new();
                collect(&said, &mut texts);
                texts.push(serde_json::to_value(&message.push).unwrap().to_string());
                for one in &texts {
                    prop_assert!(!one.chars().any(misleads), "{one:?}");
                    prop_assert!(!one.contains(TOKEN));
                }
                // Only whom the route calls is called, whatever is written after an @.
                let called = said.get("atUserList").cloned();
                let is_called = conversation.id() == "g_called" && face.content_type != 110;
                let wanted = is_called.then(|| json!(["u_li"]));
                prop_assert_eq!(called, wanted);
                if face.content_type == 118 {
                    let markdown = said["content"].as_str().unwrap();
                    for (target, words) in links(markdown) {
                        // The one link is the event's own; a payload's address is shown as what it is.
                        prop_assert!(target == "https://good.example/1" || words == target, "{target} as {words} in {markdown}");
                    }
                }
            }
        }
    }
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|item| collect(item, texts)),
        _ => {}
    }
}

#[test]
fn what_authenticated_a_request_is_nowhere_in_its_event() {
    let places = [
        ("scheme = \"token\"\ntoken = \"header:x-odd-name\"", "{}"),
        ("scheme = \"token\"\ntoken = \"query:key\"", "{}"),
        ("scheme = \"token\"\ntoken = \"form:key\"", "a=1"),
        (
            "scheme = \"token\"\ntoken = \"body:/deep/key\"",
            "{\"deep\":{\"x\":1}}",
        ),
        ("scheme = \"token\"\ntoken = \"path\"", "{}"),
        ("scheme = \"bearer\"", "{}"),
        ("scheme = \"basic\"", "{}"),
        (
            "scheme = \"hmac-sha256\"\nsignature = \"body:/sign\"\nformat = \"{base64}\"\nsigned = \"\"\nkey = \"{secret}\"",
            "{\"x\":1}",
        ),
        (
            "scheme = \"hmac-sha256\"\nsignature = \"query:odd\"\nformat = \"{hex}\"",
            "{\"x\":1}",
        ),
    ];
    for (auth, body) in places {
        let bridge = format!(
            "secrets = [\"env:X\"]\n[auth]\n{auth}\n[event]\nid = \"body.id\"\n[[route]]\nto = [\"group:#1\"]\n"
        );
        let sources = Sources::from([("bridges/x.toml".to_owned(), bridge)]);
        let surroundings = Surroundings {
            groups: Default::default(),
            locale: "en".to_owned(),
            time_zone: TimeZone::UTC,
        };
        let secret = format!("user:{TOKEN}");
        let secrets = |_: &_| Ok(Secret::new(secret.as_str()));
        let (book, problems) = RuleBook::compile(&sources, &surroundings, &secrets);
        let book = book.unwrap_or_else(|| panic!("{problems:#?}"));
        let bridge = &book.bridges["x"];
        let auth = bridge.auth.as_ref().unwrap();
        let mut request = Request::from_text("x", body.as_bytes()).unwrap();
        if body == "a=1" {
            request.headers.clear();
        }
        let signed = sign(auth, request.clone(), now()).unwrap();
        // Everything that signing has put into the request.
        let proof = proof_of(&request, &signed);
        let authentic = authenticate(auth, signed, now()).unwrap();
        let Ok(Passed::Event { event, .. }) = pass(&book, bridge, authentic, now()) else {
            panic!("an event is expected");
        };
        let raw = String::from_utf8(event.raw.to_vec()).unwrap();
        let all = format!("{event:?} {raw}");
        assert!(!all.contains(TOKEN), "{all}");
        assert!(!all.contains(&proof), "`{proof}` in {all}");
    }
}

/// The last long word of a signed request that the unsigned one does not have.
fn proof_of(unsigned: &Request, signed: &Request) -> String {
    let text = |request: &Request| String::from_utf8(request.to_text()).unwrap();
    let (before, after) = (text(unsigned), text(signed));
    let words = after.split(|c: char| c.is_whitespace() || "\"?&=/,{}:".contains(c));
    let mut new = words.filter(|word| word.len() >= 16 && !before.contains(word));
    new.next_back().expect("signing shows something").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_fetches_nothing_and_writes_no_line_of_the_log() {
    // An address that would hear of it.
    let ear = TcpListener::bind("127.0.0.1:0").unwrap();
    ear.set_nonblocking(true).unwrap();
    let url = format!("http://{}/x", ear.local_addr().unwrap());
    let computed = "extends = \"json\"\nsecrets = [\"env:HOOK_SECRET\"]\n[[route]]\nto = [\"group:ops\", { group = \"body.group\" }]\n";
    let path = "secrets = [\"env:HOOK_SECRET\"]\n[auth]\nscheme = \"token\"\ntoken = \"path\"\n[event]\ntitle = \"body.title\"\n[[route]]\nto = [\"group:ops\"]\n";
    let stage = Stage::set(&[("computed", computed), ("path", path)]).await;
    let service = stage.serve_with(&["--log-level", "trace"]).await;

    let forged = "x\n{\"level\":\"ERROR\",\"message\":\"forged\"}\u{1b}[31m\u{202e}";
    let body = json!({
        "id": forged, "kind": forged, "title": format!("{url} ![a]({url}) <img src='{url}'>"), "text": url, "url": url,
        "link": url, "image": url, "group": forged, "actor": forged, "subject": forged, "avatar_url": url, "callback": url,
    });
    let request = stage
        .client
        .post(service.hook("computed"))
        .bearer_auth(SECRET);
    let answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert!(answer.headers().keys().all(|name| name != "x-evil"));
    stage.texts_when("ops", 1).await;

    // A secret in the path, right and wrong, with a query behind it.
    for (token, status) in [
        ("It%27s%20a%20Secret%20to%20Everybody", StatusCode::OK),
        ("It's%20a%20guess", StatusCode::UNAUTHORIZED),
    ] {
        let address = format!("{}/{token}?q=hidden-query", service.hook("path"));
        let request = stage.client.post(address).body("{}");
        let answer = request.send().await.unwrap().status();
        assert!(answer == status || status == StatusCode::OK && answer == StatusCode::ACCEPTED);
    }
    assert!(service.stop().await);
    eventually("the log is whole", || {
        let log = stage.log();
        log.contains("the service has stopped").then_some(())
    })
    .await;

    let log = stage.log();
    assert!(log.contains("a webhook was kept"), "{log}");
    for line in log.lines() {
        let said: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert_ne!(said["message"], "forged", "{line}");
    }
    for hidden in [
        "\u{1b}",
        "\u{202e}",
        "Everybody",
        "guess",
        "hidden-query",
        url.as_str(),
    ] {
        assert!(!log.contains(hidden), "{hidden:?} is in the log:\n{log}");
    }
    let heard = ear.accept().map(|_| ());
    assert_eq!(
        heard.unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "somebody came to {url}"
    );
}
