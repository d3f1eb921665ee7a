//! What an operator writes, and what is said about it: broken directories with every mistake at its place.

use std::path::Path;

use openim_bridge::bridge::problem::{Problem, Sources, show};
use openim_bridge::settings::{Environment, Loaded};

const SECRET: &str = "openIM123-not-to-be-shown";

/// A directory from `== path` headings.
fn directory_of(text: &str) -> Sources {
    let files = text.split("\n== ").skip(1).map(|part| {
        let (path, text) = part.split_once('\n').unwrap();
        (path.to_owned(), text.to_owned())
    });
    files.collect()
}

fn load(text: &str) -> Loaded {
    let variables = [
        ("OPENIM_SECRET", SECRET),
        ("HOOK", "It's a Secret to Everybody"),
        ("TOKEN", "token-of-acme"),
    ];
    Loaded::compile(
        directory_of(text),
        &Environment::of(Path::new("."), variables),
    )
}

/// `bridges/acme.toml:3:5 error: message (help)`
fn told(loaded: &Loaded) -> Vec<String> {
    let line = |problem: &Problem| {
        let place = problem
            .position(&loaded.sources)
            .map(|(line, column)| format!(":{line}:{column}"));
        let help = problem.help.as_ref().map(|help| format!(" ({help})"));
        format!(
            "{}{} {}: {}{}",
            problem.file,
            place.unwrap_or_default(),
            problem.level.word(),
            problem.message,
            help.unwrap_or_default()
        )
    };
    loaded.problems.iter().map(line).collect()
}

#[test]
fn a_right_directory_has_no_problem() {
    let loaded = load(RIGHT);
    let advice = "bridges/alerts.toml:1:11 advice: bearer, basic, token in the path behind the bridge's name: the sender is known, the body is not covered";
    assert_eq!(told(&loaded), [advice]);
    let book = loaded.book.unwrap();
    let doors: Vec<&str> = book.doors().map(|bridge| bridge.name.as_str()).collect();
    assert_eq!(doors, ["acme", "alerts"]);
    assert_eq!(book.bridges["acme"].template_folders, ["acme", "github"]);
    assert_eq!(book.bridges["acme"].max_body, 25_000_000);
    assert_eq!(book.bridges["acme"].routes.len(), 3);
}

#[test]
fn equal_texts_have_equal_digests() {
    let (one, two) = (load(RIGHT).book.unwrap(), load(RIGHT).book.unwrap());
    assert_eq!(one.digest, two.digest);
    let changed = load(&RIGHT.replace("u_1002", "u_1003")).book.unwrap();
    assert_ne!(one.digest, changed.digest);
}

const RIGHT: &str = r#"
== openim-bridge.toml
[groups]
ops = "2839678182"
dev = { id = "77", locale = "en", time_zone = "Asia/Shanghai" }
== people.toml
"github:octocat" = "u_1001"
"alice" = "u_1002"
"gitlab:*" = "u_{}"
== bridges/acme.toml
extends = "github"
secrets = ["env:HOOK", "env:TOKEN"]

[event]
let.branch = 'body.workflow_run.head_branch'
actor = 'first(body.sender.login, branch)'

[[route]]
name    = "broken main"
on      = ["workflow_run.completed", "check_suite.*"]
when    = 'body.workflow_run.conclusion == "failure" && branch == "main"'
to      = ["group:ops", "person:alice", "notice:#u_7"]
mention = [{ person = '"github:" + body.sender.login' }, "person:alice", "everyone"]
push    = { title = "Critical", sound = true }

[[route]]
on   = "*"
when = "event.severity >= severity.critical"
to   = { group = "body.team" }

[[route]]
otherwise = true
to        = ["group:dev"]
push      = false
== bridges/alerts.toml
extends = "alertmanager"
secrets = ["env:TOKEN"]
[[route]]
to = ["group:ops"]
"#;

#[test]
fn every_mistake_of_a_directory_is_named_in_one_run_with_its_place() {
    let loaded = load(BROKEN);
    assert!(loaded.book.is_none() && loaded.settings.is_none());
    insta::assert_snapshot!(told(&loaded).join("\n"));
}

#[test]
fn a_person_sees_the_line_and_no_secret() {
    let loaded = load(BROKEN);
    let shown = show(&loaded.problems, &loaded.sources, false);
    insta::assert_snapshot!(shown);
    for secret in ["hunter2", "hunter3", "hunter4", SECRET] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

const BROKEN: &str = r#"
== openim-bridge.toml
[openim]
secrett = "hunter4"
secret = "hunter2"
[delivery]
horizon = "forever"
[groups]
ops = "2839678182"
ops = "2839678183"
== people.toml
"github:octocat" = 1001
"al*ce" = "u_1"
== bridges/acme.toml
extend = "github"
secrets = ["hunter3", "env:NO_SUCH", "file:/no/such/file"]

[event]
titel = 'body.title'
title = 'body.title +'
let.it = 'frist(body.a, body.b)'
subject = """
  first(body.a,
        \"x\" + nothing.here)"""

[[route]]
on = ["release.*", "relaese.*", "a["]
when = 'event.severity >= "error" && event.titel == "x"'
to = ["group:opps", "ops", "person:alice", "notice:ops", "room:ops", { grp = "body.x" }, 5]
template = "acme/relaese"
expire = "soon"
time_zone = "Mars"
locale = "tlh"

[[route]]
stop = true
to = ["group:ops"]

[[route]]
on = ["push"]
to = ["group:ops"]

[[route]]
otherwise = true
when = "true"
to = ["group:ops"]

[[route]]
on = ["ping"]
== bridges/circle.toml
extends = "round"
secrets = ["env:HOOK"]
[[route]]
to = ["group:ops"]
== bridges/round.toml
extends = "circle"
== bridges/child.toml
extends = "githbu"
secrets = ["env:HOOK"]
[[route]]
to = ["group:ops"]
== bridges/self.toml
extends = "self"
== bridges/syntax.toml
extends = "github
secrets = ["env:HOOK"]
== bridges/Bad Name.toml
extends = "github"
== bridges/silent.toml
extends = "github"
secrets = ["env:HOOK"]
== bridges/open.toml
[auth]
scheme = "none"
[[route]]
to = ["group:ops"]
== bridges/nobody.toml
[[route]]
to = ["group:ops"]
== bridges/locked.toml
extends = "github"
[[route]]
to = ["group:ops"]
== bridges/github.toml
extends = "github"
secrets = ["env:HOOK"]
[auth]
format = "sha256={hexx}"
[route]
to = ["group:ops"]
== templates/acme/push.md.hbs
{{#if body.x}}
{{bolld body.y}}
{{/if}}
== templates/acme/release.md.hbs
{{event.title}}
== templates/acme/issue.md.hbs
{{#if body.x}}
== templates/acme/issue.hbs
x
== bridges/samples/acne/push.http
POST /hooks/acne
"#;

/// A text that looks like configuration, with mistakes of every kind.
fn almost_toml() -> impl proptest::strategy::Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "[auth]\n",
        "[event]\n",
        "[[route]]\n",
        "[route]\n",
        "[[message]]\n",
        "[groups]\n",
        "[openim]\n",
        "let.a = ",
        "let = ",
        "kind = ",
        "on = ",
        "when = ",
        "to = ",
        "mention = ",
        "push = ",
        "expire = ",
        "template = ",
        "extends = ",
        "secrets = ",
        "scheme = ",
        "format = ",
        "signature = ",
        "signed = ",
        "timestamp = ",
        "otherwise = ",
        "locale = ",
        "max_body = ",
        "\"github:*\" = ",
        "ops = ",
        "secret = ",
        "true",
        "5",
        "1.5",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "= ",
        "\n",
        "\"",
        "'",
        "'''\n",
        "\"\"\"",
        "\"group:ops\"",
        "{ group = \"body.x\" }",
        "'body.a +'",
        "\"中\\u4e2d\\\n\"",
        "\"x\"",
        "'first(body.a, 1)'",
        "[[[",
        "#",
        "\\",
        "\r\n",
        "\u{feff}",
        "hmac-sha256",
        "{hex}",
        "\"sha256={hex}\"",
        "\"header:x\"",
        "1979-05-27",
        "é",
        ".",
    ]);
    proptest::strategy::Strategy::prop_map(proptest::collection::vec(piece, 0..40), |pieces| {
        pieces.concat()
    })
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]
    #[test]
    fn no_text_at_all_panics_the_compiler(service in almost_toml(), people in almost_toml(), bridge in almost_toml(), any: String) {
        let sources = Sources::from([
            ("openim-bridge.toml".to_owned(), service),
            ("people.toml".to_owned(), people),
            ("bridges/a.toml".to_owned(), bridge.clone()),
            ("bridges/b.toml".to_owned(), format!("extends = \"a\"\n{bridge}")),
            ("bridges/c.toml".to_owned(), any.clone()),
            ("templates/a/x.md.hbs".to_owned(), any.clone()),
            ("templates/locales/x.toml".to_owned(), any),
        ]);
        let loaded = Loaded::compile(sources, &Environment::of(Path::new("."), [("OPENIM_SECRET", SECRET)]));
        let shown = show(&loaded.problems, &loaded.sources, true);
        proptest::prop_assert_eq!(shown.is_empty(), loaded.problems.is_empty());
    }
}

#[test]
fn check_says_what_is_there_and_how_to_try_it() {
    use openim_bridge::cli::check::check;

    let directory = tempfile::tempdir().unwrap();
    let mut sources = directory_of(RIGHT);
    sources.insert(
        "templates/acme/push.md.hbs".to_owned(),
        "{{body.repository.full_nam}} {{#each body.commits}}{{this.id}}{{/each}}{{body.compare}}\n"
            .to_owned(),
    );
    sources.insert(
        "templates/acme/ping.json.hbs".to_owned(),
        "{{event.title}}\n{\"contentType\": 110}".to_owned(),
    );
    sources.insert(
        "bridges/samples/acme/broken.http".to_owned(),
        "POST /hooks/acme\nno header\n\n{}".to_owned(),
    );
    sources.insert(
        "bridges/samples/acme/text.json".to_owned(),
        "{\"a\": }".to_owned(),
    );
    for (path, text) in &sources {
        let place = directory.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    }
    let variables = [
        ("OPENIM_SECRET", SECRET),
        ("HOOK", "It's a Secret to Everybody"),
        ("TOKEN", "token-of-acme"),
    ];
    let environment = Environment::of(directory.path(), variables);
    let checked = check(
        directory.path(),
        &environment,
        "2026-11-23T14:05:00Z".parse().unwrap(),
    );
    let text = checked.to_text(Path::new("conf"));
    let text = anstream::adapter::strip_str(&text).to_string();
    // How many templates are shipped, and their digest, change with every release.
    let (shown, last) = text.trim_end().rsplit_once('\n').unwrap();
    insta::assert_snapshot!(shown);
    assert!(last.starts_with("2 bridges, 4 routes, "), "{last}");
    assert!(
        last.ends_with(
            "templates (2 of your own), 2 groups: 3 errors, 1 warning, 1 piece of advice"
        ),
        "{last}"
    );
    let mut json = checked.to_json();
    json["digest"] = "(a digest)".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
}

/// One mistake after another in a bridge that is right otherwise.
#[test]
fn each_mistake_is_told_once_at_its_place_and_makes_no_others() {
    const BRIDGE: &str = "secrets = [\"env:HOOK\"]\n[auth]\nscheme = \"bearer\"\n[event]\nlet.it = 'body.it'\nkind = 'body.kind'\n[[route]]\non = [\"a.*\"]\nto = [\"group:ops\"]\n";
    let changes = [
        ("scheme = \"bearer\"", "scheme = bearer"),
        ("scheme = \"bearer\"", "scheme = \"bearer"),
        ("scheme = \"bearer\"", "scheme \"bearer\""),
        ("scheme = \"bearer\"", "scheme = \"baerer\""),
        ("scheme = \"bearer\"", ""),
        (
            "scheme = \"bearer\"",
            "scheme = \"bearer\"\nformat = \"{hex}\"",
        ),
        (
            "scheme = \"bearer\"",
            "scheme = \"hmac-sha256\"\nsignature = \"header:x\"\nformat = \"{hex}{base64}\"",
        ),
        (
            "scheme = \"bearer\"",
            "scheme = \"bearer\"\notherwise = { scheme = \"none\" }",
        ),
        ("[auth]", "[auth"),
        ("[auth]", "[auth]]"),
        ("[event]", "[event]\n[event]"),
        ("[event]", "[evnet]"),
        ("[[route]]", "[[rout]]"),
        ("[[route]]", "[[route]\n"),
        ("on = [\"a.*\"]", "on = [\"a.*\""),
        ("on = [\"a.*\"]", "on = \"a.*\"\non = \"b\""),
        ("on = [\"a.*\"]", "on = []"),
        ("on = [\"a.*\"]", "on = [\"\"]"),
        ("on = [\"a.*\"]", "on = [5]"),
        ("on = [\"a.*\"]", "when = 'it.x = 5'"),
        (
            "on = [\"a.*\"]",
            "when = '''\n  it.x == 1 &&\n  itt.x == 2'''",
        ),
        ("on = [\"a.*\"]", "when = \"it.\\u0078 == itt\""),
        ("on = [\"a.*\"]", "when = true"),
        ("on = [\"a.*\"]", "when = ''"),
        (
            "on = [\"a.*\"]",
            "expire = \"-5m\"\nstop = \"yes\"\notherwise = 1",
        ),
        ("on = [\"a.*\"]", "push = { title = 5, sond = true }"),
        (
            "on = [\"a.*\"]",
            "mention = [\"alice\", { persn = \"x\" }, { person = \"github:x\" }]",
        ),
        (
            "to = [\"group:ops\"]",
            "to = [{ group = \"it.x\", person = \"it.y\" }]",
        ),
        (
            "to = [\"group:ops\"]",
            "to = [\"group:\", \"group:#\", \"person:#\"]",
        ),
        ("to = [\"group:ops\"]", "to = [\"groups:ops\"]"),
        ("to = [\"group:ops\"]", "too = [\"group:ops\"]"),
        ("to = [\"group:ops\"]", "to = []"),
        (
            "to = [\"group:ops\"]",
            "to = [\"group:ops\"]\n[[route]]\nto = [\"group:ops\"]\non = \"x\"\nstop = true\n[[route]]\non = [\"x\"]\nto = [\"group:ops\"]\n[[route]]\non = [\"x\", \"y\"]\nto = [\"group:ops\"]",
        ),
        ("let.it = 'body.it'", "let.it = 5"),
        ("let.it = 'body.it'", "let = 'body.it'"),
        (
            "let.it = 'body.it'",
            "let.it = 'other'\nlet.other = 'body.x'",
        ),
        ("let.it = 'body.it'", "let.event = 'body.it'"),
        ("kind = 'body.kind'", "kind = 'body.kind"),
        (
            "kind = 'body.kind'",
            "kind = 'matches(body.x, \"(\")'\nseverity = '3'",
        ),
        (
            "secrets = [\"env:HOOK\"]",
            "secrets = \"env:HOOK\"\nmax_body = 5\nextends = 5",
        ),
        ("secrets = [\"env:HOOK\"]", "secrets = [5]"),
        ("secrets = [\"env:HOOK\"]", "secrets = []"),
        ("secrets = [\"env:HOOK\"]", "secret = [\"env:HOOK\"]"),
        ("secrets = [\"env:HOOK\"]", "secrets = [\"env:EMPTY\"]"),
        (
            "secrets = [\"env:HOOK\"]",
            "secrets = [\"env:HOOK\"]\nextends = \"x\"",
        ),
    ];
    let mut lines = Vec::new();
    for (right, wrong) in changes {
        assert!(BRIDGE.contains(right), "{right}");
        let bridge = BRIDGE.replace(right, wrong);
        let loaded = load(&format!(
            "\n== openim-bridge.toml\n[groups]\nops = \"1\"\n== bridges/x.toml\n{bridge}"
        ));
        lines.push(wrong.to_owned());
        let found = told(&loaded);
        lines.extend(
            found
                .iter()
                .filter(|line| !line.contains(" advice: bearer"))
                .map(|line| format!("    {line}")),
        );
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_list_that_is_never_closed_is_one_mistake_and_shows_no_secret() {
    let loaded = load(
        r#"
== openim-bridge.toml
[groups]
ops = "1"
== bridges/x.toml
extends = "json"
max_body = 5
secrets = ["env:HOOK", "hunter2"

[auth]
scheme = "token"
token = "header:x-token"

[[route]]
on = ["a.*"]
to = ["group:ops", "group:nosuch"]
"#,
    );
    assert_eq!(
        told(&loaded),
        [
            "bridges/x.toml:2:12 error: expected a text, found a whole number",
            "bridges/x.toml:3:11 error: this `[` is never closed (a `]` is missing, here or further down)",
        ]
    );
    let shown = show(&loaded.problems, &loaded.sources, false);
    assert!(
        shown.contains("3 | secrets = [\"env:HOOK\", \"*******\""),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_secret_that_is_named_twice_is_told() {
    let twice = RIGHT.replace(
        "secrets = [\"env:HOOK\", \"env:TOKEN\"]",
        "secrets = [\"env:HOOK\", \"env:TOKEN\", \"env:HOOK\"]",
    );
    let loaded = load(&twice);
    assert_eq!(
        told(&loaded)[0],
        "bridges/acme.toml:2:37 warning: `env:HOOK` is named twice (for a change of the secret without a gap name the new one beside the old one)"
    );
    assert!(loaded.book.is_some(), "it can be used");
}

#[test]
fn check_lists_the_bridge_of_the_operators_chat_beside_the_others() {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("openim-bridge.toml", "[groups]\nops = \"1\"\n"),
        (
            "bridges/json.toml",
            "extends = \"json\"\nsecrets = [\"env:TOKEN\"]\n[[route]]\nto = [\"group:ops\"]\n",
        ),
        (
            "bridges/notices.toml",
            "extends = \"notices\"\n[[route]]\non = [\"openim.*\"]\nto = [\"group:ops\"]\n",
        ),
    ] {
        let place = directory.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    }
    let variables = [("OPENIM_SECRET", SECRET), ("TOKEN", "token-of-acme")];
    let environment = Environment::of(directory.path(), variables);
    let now = "2026-11-23T14:05:00Z".parse().unwrap();
    let checked = openim_bridge::cli::check::check(directory.path(), &environment, now);

    let text = checked.to_text(Path::new("conf"));
    let text = anstream::adapter::strip_str(&text).to_string();
    let notices = "notices  what the service has to say about itself\n  known by  the service itself; nobody can post here\n  route 1   `openim.*` → group:ops\n\n";
    assert!(text.contains(notices), "{text}");
    assert!(text.contains("2 bridges, 2 routes, "), "{text}");
    let bridges = &checked.to_json()["bridges"];
    assert_eq!(bridges[1]["name"], "notices");
    assert_eq!(bridges[1]["url"], serde_json::Value::Null);
    assert_eq!(bridges[1]["routes"], serde_json::json!(["route 1"]));
}

#[test]
fn a_template_that_nothing_uses_is_told() {
    let text =
        format!("{RIGHT}\n== templates/acmee/push.md.hbs\nx\n== templates/lost/_part.md.hbs\nx\n");
    let told = told(&load(&text));
    let idle = "templates/acmee/push.md.hbs warning: no bridge and no route uses this template (did you mean the folder `templates/acme`?)";
    assert_eq!(told.last().unwrap(), idle);
    assert_eq!(told.len(), 2, "{told:#?}");
}

#[test]
fn check_shows_nothing_that_is_made_from_a_secret() {
    let text =
        include_str!("snapshots/stories__rules__check_says_what_is_there_and_how_to_try_it.snap");
    assert!(
        text.contains("openssl dgst -sha256 -hmac \"$HOOK\""),
        "{text}"
    );
    assert!(text.contains("'x-github-event: ping'"), "{text}");
    assert!(!text.contains("7941b90196eb"), "{text}");
}

#[test]
fn what_is_taken_but_does_not_do_what_it_says_is_told() {
    let text = RIGHT
        .replace("\"gitlab:*\" = \"u_{}\"", "\"gitlab:*\" = \"u_1\"")
        .replace(
            "title = \"Critical\", sound = true }",
            "title = \"P {{event.title}}\" }",
        );
    let told = told(&load(&text)).join("\n");
    for part in [
        "error: the text of a push is plain",
        "warning: everybody of `gitlab:*` is the one user `u_1`",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn what_keeps_nobody_out_is_warned_of_and_no_secret_is_shown() {
    let bridge = |auth: &str, name: &str, when: &str| {
        format!(
            "secrets = [\"env:{name}\"]\n[auth]\n{auth}\n[event]\ntitle = 'first(body.title, query.title)'\n[[route]]\n{when}to = [\"group:#1\"]\n"
        )
    };
    let hub = "scheme = \"hmac-sha256\"\nsignature = \"header:x-s\"\nformat = \"{hex}\"";
    let texts = [
        ("weak", bridge(hub, "WEAK", "")),
        (
            "itself",
            bridge(
                &format!("{hub}\nsigned = \"{{header:x-s}}{{body}}\""),
                "ONE",
                "",
            ),
        ),
        (
            "open",
            bridge(
                "scheme = \"bearer\"\naddresses = [\"0.0.0.0/0\"]",
                "TWO",
                "",
            ),
        ),
        (
            "team",
            bridge(hub, "THREE", "when = 'query.team == \"ops\"'\n"),
        ),
        (
            "asked",
            bridge(
                &format!(
                    "{hub}\nchallenge = {{ from = \"query:crc_token\", answer = \"{{hex}}\" }}"
                ),
                "FOUR",
                "",
            ),
        ),
        ("shares", bridge(hub, "FIVE", "")),
    ];
    let files = texts.map(|(name, text)| (format!("bridges/{name}.toml"), text));
    let variables = [
        ("OPENIM_SECRET", SECRET),
        ("WEAK", "\"hunter2-hunter2\""),
        ("ONE", "one-long-secret"),
        ("TWO", "two-long-secret"),
        ("THREE", "three-long-secret"),
        ("FOUR", "four-long-secret"),
        ("FIVE", "four-long-secret"),
    ];
    let environment = Environment::of(Path::new("."), variables);
    let loaded = Loaded::compile(Sources::from(files), &environment);
    let told = told(&loaded).join("\n");
    for part in [
        "bridges/weak.toml:1:12 warning: this secret is in quotes",
        "warning: `signed` holds header x-s, where the signature itself stands",
        "warning: `0.0.0.0/0` in `addresses` is every address",
        "advice: routes read `query.team`, which the signature does not cover",
        "bridges/shares.toml warning: it shares a secret with `asked`",
    ] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
    assert_eq!(told.matches("routes read").count(), 1, "{told}");
    assert_eq!(told.matches("shares a secret").count(), 1, "{told}");
    assert_eq!(told.matches("this secret").count(), 1, "{told}");
    for secret in ["hunter2", "long-secret"] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn a_directory_without_a_door_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("openim-bridge.toml"), "").unwrap();
    let environment = Environment::of(directory.path(), [("OPENIM_SECRET", SECRET)]);
    let now = "2026-11-23T14:05:00Z".parse().unwrap();
    let checked = openim_bridge::cli::check::check(directory.path(), &environment, now);
    let messages: Vec<&str> = checked
        .problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(messages, ["no bridge takes webhooks: no door is open"]);
}

#[test]
fn an_unknown_parent_hides_neither_a_literal_secret_nor_an_unknown_group() {
    let loaded = load(
        r#"
== openim-bridge.toml
locale = "en"
== bridges/x.toml
extends = "nix"
secrets = ["hunter2"]
[[route]]
to = ["group:oops"]
"#,
    );

    let told = told(&loaded).join("\n");

    for mistake in [
        "there is no bridge `nix`",
        "a secret is written as a reference",
        "unknown group `oops`",
    ] {
        assert!(told.contains(mistake), "{mistake} is not told:\n{told}");
    }
    assert!(!told.contains("hunter2"));
}
