//! Where events go: all routes in order, computed names only through the operator's own lists, each conversation once.

use std::path::Path;

use openim_bridge::bridge::RuleBook;
use openim_bridge::bridge::problem::Sources;
use openim_bridge::intake::{Authentic, Request, Routing, Taken, parse, route, route_explained};
use openim_bridge::model::{Event, Mention, Timestamp};
use openim_bridge::settings::{Environment, Loaded};

const NOW: &str = "2026-11-23T14:05:00Z";

/// A bridge that takes JSON with `kind`, with these routes.
fn book(routes: &str) -> RuleBook {
    let bridge = format!(
        r#"
secrets = ["env:T"]
locale = "en"
[auth]
scheme = "bearer"
[event]
let.team = 'body.team'
kind = 'body.kind'
title = 'body.title'
severity = 'body.level'
{routes}"#
    );
    let sources = Sources::from([
        (
            "openim-bridge.toml".to_owned(),
            "[groups]\nops = \"1\"\ndev = { id = \"2\", locale = \"zh-CN\", time_zone = \"Asia/Shanghai\" }\nall = \"3\"\n".to_owned(),
        ),
        (
            "people.toml".to_owned(),
            "alice = \"u_1\"\n\"github:octocat\" = \"u_2\"\n\"gitlab:*\" = \"gl_{}\"\n".to_owned(),
        ),
        ("bridges/x.toml".to_owned(), bridge),
        ("templates/x/one.md.hbs".to_owned(), "{{event.title}}".to_owned()),
        ("templates/x/other.md.hbs".to_owned(), "other".to_owned()),
        ("templates/x/urgent.txt.hbs".to_owned(), "urgent".to_owned()),
    ]);
    let variables = [("OPENIM_SECRET", "s"), ("T", "t")];
    let loaded = Loaded::compile(sources, &Environment::of(Path::new("."), variables));
    loaded
        .book
        .unwrap_or_else(|| panic!("{:#?}", loaded.problems))
}

fn event(book: &RuleBook, body: &str) -> Event {
    let request = Request::from_text("x", body.as_bytes()).unwrap();
    let authentic = Authentic::unproven(request, "nobody");
    match parse(
        "x",
        &book.bridges["x"].rules,
        authentic,
        NOW.parse().unwrap(),
    )
    .unwrap()
    {
        Taken::Event(event, _) => *event,
        Taken::Silent(why) => panic!("{why}"),
    }
}

fn routed<'b>(book: &'b RuleBook, body: &str) -> Routing<'b> {
    let event = event(book, body);
    let routing = route_explained(&book.bridges["x"], book, &event);
    let brief = route(&book.bridges["x"], book, &event);
    assert_eq!(conversations(&brief), conversations(&routing));
    assert_eq!(brief.taken, routing.taken);
    routing
}

fn conversations(routing: &Routing<'_>) -> Vec<String> {
    routing
        .addressed
        .iter()
        .map(|to| to.conversation.to_string())
        .collect()
}

fn told(routing: &Routing<'_>) -> Vec<String> {
    let line = |decision: &openim_bridge::intake::Decision| {
        let yes = if decision.matched { "yes" } else { "no" };
        format!(
            "{}: {yes}, {} → {}",
            decision.route,
            decision.why,
            decision.to.join(" ")
        )
    };
    routing.decisions.iter().map(line).collect()
}

#[test]
fn all_routes_are_asked_in_order_and_each_says_why() {
    let book = book(
        r#"
[[route]]
name = "deploys"
on = ["deploy.*"]
to = ["group:dev"]
[[route]]
on = ["alert.*", "build"]
when = "event.severity >= severity.error"
to = ["group:ops", "person:alice"]
[[route]]
to = ["group:all"]
[[route]]
otherwise = true
to = ["notice:alice"]
"#,
    );
    let routing = routed(&book, r#"{"kind": "alert.firing", "level": "critical"}"#);
    assert_eq!(
        conversations(&routing),
        ["group:#1", "person:#u_1", "group:#3"]
    );
    insta::assert_snapshot!(told(&routing).join("\n"));

    let routing = routed(&book, r#"{"kind": "build", "level": "info"}"#);
    assert_eq!(conversations(&routing), ["group:#3"]);
    insta::assert_snapshot!(told(&routing).join("\n"));
}

#[test]
fn stop_ends_the_asking_once_the_event_is_taken() {
    let book = book(
        r#"
[[route]]
name = "drop"
on = ["noise"]
stop = true
[[route]]
on = ["deploy"]
to = [{ group = "team" }]
stop = true
[[route]]
otherwise = true
to = ["group:all"]
"#,
    );
    let routing = routed(&book, r#"{"kind": "noise"}"#);
    assert!(routing.taken && routing.addressed.is_empty());
    assert!(
        routing.decisions[1]
            .why
            .contains("`drop` took it and stops"),
        "{:?}",
        told(&routing)
    );
    assert_eq!(routing.decisions[2].why, "`drop` took it");

    assert_eq!(
        conversations(&routed(&book, r#"{"kind": "deploy", "team": "dev"}"#)),
        ["group:#2"]
    );
    // A name that nobody knows takes nothing, so the others are asked.
    let routing = routed(&book, r#"{"kind": "deploy", "team": "sales"}"#);
    assert_eq!(conversations(&routing), ["group:#3"]);
}

#[test]
fn no_payload_chooses_its_reader() {
    let book = book(
        r#"
[[route]]
to = [{ group = "body.groups" }, { person = "body.people" }, { notice = "body.notice" }]
"#,
    );
    let body = r##"{"kind": "x", "groups": ["ops", "1", "#1", "nobody"], "people": ["u_1", "#u_1", "alice", "gitlab:eve"], "notice": {"a": 1}}"##;
    let routing = routed(&book, body);
    assert_eq!(
        conversations(&routing),
        ["group:#1", "person:#u_1", "person:#gl_eve"]
    );
    assert_eq!(routing.skipped, 6);
    insta::assert_snapshot!(told(&routing).join("\n"));

    let routing = routed(&book, r#"{"kind": "x"}"#);
    assert!(!routing.taken && routing.addressed.is_empty());
    assert_eq!(routing.skipped, 3);
}

#[test]
fn a_payload_cannot_make_a_thousand_deliveries() {
    let book = book("[[route]]\nto = [{ person = \"body.people\" }]\n");
    let people: Vec<String> = (0..1000).map(|n| format!("\"gitlab:u{n}\"")).collect();
    let routing = routed(
        &book,
        &format!("{{\"kind\": \"x\", \"people\": [{}]}}", people.join(",")),
    );
    assert_eq!(routing.addressed.len(), 100);
}

#[test]
fn one_conversation_gets_one_delivery_with_the_first_template_and_all_mentions() {
    let book = book(
        r#"
[[route]]
to = ["group:ops"]
mention = ["person:alice", { person = '"github:" + body.login' }]
template = "x/urgent"
expire = "30m"
[[route]]
to = ["group:#1", "group:dev"]
mention = ["everyone", "person:#u_2", "person:alice", { person = "body.nobody" }]
"#,
    );
    let routing = routed(&book, r#"{"kind": "one.two", "login": "Octocat"}"#);
    let [ops, dev] = routing.addressed.as_slice() else {
        panic!("{:?}", conversations(&routing));
    };
    let called = |mentions: &[Mention]| -> Vec<String> {
        let id = |mention: &Mention| match mention {
            Mention::Person { user_id, .. } => user_id.clone(),
            Mention::Everyone => "everyone".to_owned(),
        };
        mentions.iter().map(id).collect()
    };
    assert_eq!(
        ops.template.as_ref().unwrap().to_string(),
        "x/urgent.txt.hbs"
    );
    assert_eq!(called(&ops.mentions), ["u_1", "u_2", "everyone"]);
    assert_eq!(
        ops.expires,
        Some("2026-11-23T14:35:00Z".parse::<Timestamp>().unwrap())
    );
    assert_eq!((ops.locale, ops.time_zone.iana_name()), ("en", Some("UTC")));
    assert_eq!(dev.template.as_ref().unwrap().to_string(), "x/one.md.hbs");
    assert_eq!(called(&dev.mentions), ["everyone", "u_2", "u_1"]);
    assert_eq!(dev.expires, None);
    assert_eq!(
        (dev.locale, dev.time_zone.iana_name()),
        ("zh-CN", Some("Asia/Shanghai"))
    );
}

#[test]
fn a_message_rule_chooses_the_template_before_the_kind_does() {
    let book = book(
        r#"
[[message]]
on = ["one.*"]
when = 'team == "red"'
template = "x/other.md.hbs"
[[route]]
to = ["group:ops"]
"#,
    );
    let template = |body: &str| {
        let routing = routed(&book, body);
        routing.addressed[0]
            .template
            .as_ref()
            .map(|template| template.to_string())
    };
    assert_eq!(
        template(r#"{"kind": "one.a", "team": "red"}"#).as_deref(),
        Some("x/other.md.hbs")
    );
    assert_eq!(
        template(r#"{"kind": "one.a", "team": "blue"}"#).as_deref(),
        Some("x/one.md.hbs")
    );
    assert_eq!(template(r#"{"kind": "three"}"#), None);
}
