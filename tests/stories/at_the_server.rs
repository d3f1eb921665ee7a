//! The client, `find`, `setup` and the online part of `check` at the stand-in servers of both families.

use openim_bridge::cli::find::{self, What};
use openim_bridge::cli::online::{Level, Named, ask_server};
use openim_bridge::cli::setup;
use openim_bridge::deliver::openim::Verdict;
use openim_bridge::deliver::{Family, OpenIm, SendAs, Server};
use openim_bridge::model::*;
use openim_bridge::sandbox::{SECRET, Sandbox};
use serde_json::{Value, json};

fn start(family: Family) -> Sandbox {
    let sandbox = Sandbox::start_anywhere(family, Clock::system()).unwrap();
    sandbox.register("u1", "Li");
    sandbox.register("u2", "Zhang San");
    sandbox.create_group("100", "Ops", &["u1", "u2"]);
    sandbox.create_group("200", "Dev ops", &["u2"]);
    sandbox
}

fn client_as(sandbox: &Sandbox, id: &str) -> OpenIm {
    let send_as = SendAs {
        id: id.into(),
        nickname: "Bridge".into(),
        face_url: String::new(),
    };
    let server = Server::new(sandbox.url(), "imAdmin", Secret::new(SECRET), send_as);
    OpenIm::new(server, Clock::system()).unwrap()
}

fn client(sandbox: &Sandbox) -> OpenIm {
    client_as(sandbox, "bridge_bot")
}

fn groups() -> Vec<(String, String)> {
    vec![("ops".into(), "100".into()), ("dev".into(), "200".into())]
}

async fn set_up(openim: &OpenIm, yes: bool, answer: &str) -> (bool, String) {
    let args = setup::Args { yes, json: false };
    let (groups, mut answers, mut out) = (groups(), answer.as_bytes(), Vec::new());
    let well = setup::set_up(&args, openim, &groups, &mut answers, &mut out)
        .await
        .unwrap();
    (well, String::from_utf8(out).unwrap())
}

fn text(mentions: Vec<Mention>) -> Message {
    Message {
        content: Content::Text {
            markdown: Some("**disk full**, @Li".into()),
            plain: "disk full, @Li".into(),
            preview: "disk full".into(),
            mentions,
        },
        push: Push::On {
            title: "Critical".into(),
            text: "disk full".into(),
            sound: true,
        },
        template: "x.md.hbs".into(),
    }
}

fn raw(content_type: i32, content: Value) -> Message {
    Message {
        content: Content::Raw {
            content_type,
            content,
        },
        ..text(vec![])
    }
}

async fn send(openim: &OpenIm, message: &Message, to: &Conversation) -> Verdict {
    let delivery = DeliveryId::new(Clock::system().now());
    let operation_id = delivery.to_string();
    openim
        .send(message, to, delivery, &operation_id, Hold::Ever)
        .await
}

fn group(id: &str) -> Conversation {
    Conversation::Group(id.into())
}

#[tokio::test]
async fn each_server_gets_the_face_that_it_takes() {
    for family in Family::ALL {
        let sandbox = start(family);
        let openim = client(&sandbox);
        set_up(&openim, true, "").await;
        let li = Mention::Person {
            user_id: "u1".into(),
            name: "Li".into(),
        };
        let person = Conversation::Person("u1".into());
        let notice = Conversation::Notice("u1".into());

        for (message, to) in [
            (text(vec![]), group("100")),
            (text(vec![li]), group("100")),
            (text(vec![]), person.clone()),
            (text(vec![]), notice.clone()),
        ] {
            let verdict = send(&openim, &message, &to).await;
            let accepted = matches!(verdict.outcome, Outcome::Accepted(Some(_)));
            assert!(accepted, "{family} {to}: {verdict:?}");
        }

        assert_eq!(openim.family(), Some(family));
        let face = match family {
            Family::Main => (118, json!({"content": "**disk full**, @Li"})),
            Family::Release38 => (101, json!({"content": "disk full, @Li"})),
        };
        let in_group = sandbox.messages(&group("100"));
        assert_eq!(
            (in_group[0].content_type, in_group[0].content.clone()),
            (face.0, face.1.clone())
        );
        assert_eq!(in_group[0].sender, "bridge_bot");
        assert_eq!(in_group[0].nickname, "Bridge");
        assert!(in_group[0].ex.starts_with(r#"{"bridge":""#));
        assert_eq!(
            in_group[0].offline_push.as_ref().unwrap()["title"],
            "Critical"
        );
        assert_eq!(in_group[1].content_type, 106);
        assert_eq!(in_group[1].content["text"], "disk full, @u1");
        assert_eq!(in_group[1].content["atUserList"], json!(["u1"]));
        assert_eq!(sandbox.messages(&person)[0].content, face.1);
        let noticed = &sandbox.messages(&notice)[0];
        assert_eq!(noticed.content_type, 1400);
        assert!(
            noticed.content["detail"]
                .as_str()
                .unwrap()
                .contains("disk full")
        );
    }
}

#[tokio::test]
async fn what_our_table_of_contents_lets_through_both_servers_take() {
    let picture = json!({"uuid": "p", "type": "image/png", "size": 1, "width": 1, "height": 1, "url": "http://x.test/a.png"});
    let contents = [
        (101, json!({"content": "x"})),
        (
            102,
            json!({"sourcePicture": picture, "bigPicture": picture, "snapshotPicture": picture}),
        ),
        (
            103,
            json!({"sourceUrl": "http://x.test/a.m4a", "duration": 3}),
        ),
        (
            104,
            json!({"videoUrl": "http://x.test/a.mp4", "videoType": "mp4", "videoSize": 1, "duration": 3,
                "snapshotUrl": "http://x.test/a.png", "snapshotWidth": 1, "snapshotHeight": 1}),
        ),
        (
            105,
            json!({"sourceUrl": "http://x.test/a.txt", "fileName": "a.txt", "fileSize": 1}),
        ),
        (106, json!({"text": "x", "atUserList": ["u1"]})),
        (110, json!({"data": "{}"})),
        (
            114,
            json!({"text": "x", "quoteMessage": {"clientMsgID": "c", "contentType": 101, "textElem": {"content": "y"}}}),
        ),
        (118, json!({"content": "**x**"})),
    ];
    for family in Family::ALL {
        let sandbox = start(family);
        let openim = client_as(&sandbox, "imAdmin");
        for (code, content) in &contents {
            let verdict = send(&openim, &raw(*code, content.clone()), &group("100")).await;
            let only_main = content_type(*code).unwrap().only_main;
            match verdict.outcome {
                Outcome::Accepted(_) => assert!(family == Family::Main || !only_main),
                Outcome::Refused(_) => assert!(family == Family::Release38 && only_main),
                other => panic!("{family} {code}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn refusals_say_what_is_to_be_mended() {
    for family in Family::ALL {
        let sandbox = start(family);
        sandbox.add_bot("bridge_bot", "Bridge");
        let openim = client(&sandbox);
        for (to, words) in [
            (group("100"), "the bot is not in the group"),
            (group("404"), "no such group or user"),
            (
                Conversation::Person("ghost".into()),
                "no such group or user",
            ),
        ] {
            let verdict = send(&openim, &text(vec![]), &to).await;
            let Outcome::Refused(reason) = &verdict.outcome else {
                panic!("{family} {to}: {verdict:?}");
            };
            assert!(reason.contains(words), "{family} {to}: {reason}");
        }
    }
}

#[tokio::test]
async fn a_server_that_forgot_its_tokens_is_signed_in_to_again() {
    let sandbox = start(Family::Main);
    let (clock, lever) = Clock::lever(Clock::system().now());
    let send_as = SendAs {
        id: "imAdmin".into(),
        nickname: "Admin".into(),
        face_url: String::new(),
    };
    let server = Server::new(sandbox.url(), "imAdmin", Secret::new(SECRET), send_as);
    let openim = OpenIm::new(server, clock).unwrap();
    send(&openim, &text(vec![]), &group("100")).await;
    lever.advance(std::time::Duration::from_secs(5));
    sandbox.forget_tokens();

    let verdict = send(&openim, &text(vec![]), &group("100")).await;

    assert!(
        matches!(verdict.outcome, Outcome::Accepted(_)),
        "{verdict:?}"
    );
    assert_eq!(sandbox.messages(&group("100")).len(), 2);
}

#[tokio::test]
async fn setup_says_what_it_will_do_asks_does_it_and_finds_nothing_to_do_the_next_time() {
    for family in Family::ALL {
        let sandbox = start(family);
        let openim = client(&sandbox);

        let (well, said) = set_up(&openim, false, "n\n").await;
        assert!(!well);
        assert!(said.contains("make the bot account bridge_bot"), "{said}");
        assert!(said.ends_with("nothing was made\n"), "{said}");
        assert!(!sandbox.members("100").contains(&"bridge_bot".to_owned()));

        let (well, said) = set_up(&openim, false, "y\n").await;
        assert!(well, "{family}: {said}");
        assert_eq!(said.matches("done: ").count(), 3);
        assert!(sandbox.members("100").contains(&"bridge_bot".to_owned()));
        assert!(sandbox.members("200").contains(&"bridge_bot".to_owned()));

        let again = set_up(&openim, false, "").await;
        assert_eq!(again, (true, "nothing to do\n".to_owned()));
    }
}

#[tokio::test]
async fn setup_brings_an_admin_nowhere_and_names_groups_that_are_not_there() {
    let sandbox = start(Family::Main);
    let openim = client_as(&sandbox, "imAdmin");
    let groups = [("gone".to_owned(), "404".to_owned()), groups().remove(0)];

    let plan = setup::Plan::make(&openim, &groups).await.unwrap();

    assert_eq!(plan.steps, []);
    assert_eq!(plan.troubles, ["group gone: no group 404 at OpenIM"]);
}

#[tokio::test]
async fn found_groups_and_people_are_lines_to_paste() {
    for family in Family::ALL {
        let sandbox = start(family);
        let openim = client(&sandbox);
        let search = async |what, text: &str| {
            let args = find::Args {
                what,
                text: text.into(),
                json: false,
            };
            let mut out = Vec::new();
            let found = find::search(&args, &openim, &mut out).await.unwrap();
            (found, String::from_utf8(out).unwrap())
        };

        let (found, lines) = search(What::Groups, "").await;
        assert!(found);
        assert!(lines.contains(r#"ops = "100""#), "{lines}");
        assert!(lines.contains(r#"dev-ops = "200""#), "{lines}");
        let (_, by_name) = search(What::Groups, "Dev").await;
        assert_eq!(by_name.lines().count(), 1);
        let (_, by_id) = search(What::Groups, "100").await;
        assert_eq!(by_id.lines().count(), 1);
        let (_, people) = search(What::People, "Zhang").await;
        assert!(people.starts_with(r#"zhang-san = "u2""#), "{people}");
        assert_eq!(search(What::People, "nobody").await, (false, String::new()));
    }
}

#[tokio::test]
async fn what_find_prints_at_a_furnished_sandbox_is_what_the_documents_show() {
    let sandbox = Sandbox::start_anywhere(Family::Main, Clock::system()).unwrap();
    sandbox.furnish();
    let args = find::Args {
        what: What::Groups,
        text: "ops".into(),
        json: false,
    };
    let mut out = Vec::new();
    let found = find::search(&args, &client(&sandbox), &mut out).await;
    assert!(found.unwrap());
    let printed = String::from_utf8(out).unwrap();
    let document = include_str!("../../docs/operating.md");
    assert!(document.contains(printed.trim_end()), "{printed}");
}

#[tokio::test]
async fn the_online_check_names_all_that_messages_would_fail_on() {
    for family in Family::ALL {
        let sandbox = start(family);
        let openim = client(&sandbox);
        let mut named = Named {
            groups: groups(),
            people: vec![("alice".into(), "u1".into())],
            notices: true,
        };
        let now = Clock::system().now();
        let problems = async |named: &Named| -> Vec<String> {
            let findings = ask_server(&openim, named, now).await;
            let bad = findings.iter().filter(|f| f.level != Level::Ok);
            bad.map(ToString::to_string).collect()
        };

        let before = problems(&named).await;
        assert_eq!(before.len(), 4, "{before:#?}"); // no account, no notices, in neither group
        set_up(&openim, true, "").await;
        assert_eq!(problems(&named).await, [""; 0], "{family}");

        named.groups.push(("gone".into(), "404".into()));
        named.people.push(("bob".into(), "ghost".into()));
        let bad = problems(&named).await;
        assert_eq!(bad.len(), 2, "{bad:#?}");
        assert!(bad[0].starts_with("problem  group gone (404): no such group"));
        assert!(bad[1].starts_with("problem  person bob (ghost): no such account"));
    }
}

#[tokio::test]
async fn the_online_check_tells_a_wrong_secret_from_a_wrong_address() {
    let sandbox = start(Family::Main);
    let ask = async |url: String, secret: &str| {
        let send_as = SendAs {
            id: "imAdmin".into(),
            nickname: String::new(),
            face_url: String::new(),
        };
        let server = Server::new(url, "imAdmin", Secret::new(secret), send_as);
        let openim = OpenIm::new(server, Clock::system()).unwrap();
        let findings = ask_server(&openim, &Named::default(), Clock::system().now()).await;
        assert_eq!(findings.len(), 1);
        findings[0].to_string()
    };

    let wrong_secret = ask(sandbox.url(), "open sesame").await;
    assert!(
        wrong_secret.contains("1002 NoPermissionError"),
        "{wrong_secret}"
    );
    assert!(!wrong_secret.contains("sesame"));
    let wrong_address = ask("http://127.0.0.1:1".into(), SECRET).await;
    assert!(
        wrong_address.contains("cannot be reached"),
        "{wrong_address}"
    );
}
