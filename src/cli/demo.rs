//! `demo`: sandbox, service and a player of signed sample webhooks in one process. Leaves nothing behind.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::player::post;
use super::serve::{runtime, stop_signal};
use crate::app::{self, Start};
use crate::bridge::{RuleBook, shipped};
use crate::intake::Request;
use crate::intake::authenticate::sign;
use crate::model::Clock;
use crate::sandbox::{Family, Sandbox};
use crate::settings::Environment;

/// The arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The language of the messages: en or zh-CN
    #[arg(long, value_name = "LOCALE", value_parser = ["en", "zh-CN"], default_value = "en")]
    locale: String,
    /// The address of the page with the chats; another port is taken when this one is busy
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    page: SocketAddr,
    /// The family of OpenIM servers that is played: `main` takes Markdown, `3.8` plain text
    #[arg(long, value_name = "FAMILY", default_value = "main")]
    server: Family,
}

/// The secret that the demo's bridges share. It opens nothing but the demo.
const SECRET: &str = "demo-secret";

/// The wait between two samples: a story is read as it happens.
const BEAT: Duration = Duration::from_millis(400);

/// The samples whose number is larger are variations, not part of the story.
const END_OF_STORY: &str = "110";

/// Who is there: userID, name.
const PEOPLE: [(&str, &str); 4] = [
    ("u_mei", "Mei Lin"),
    ("u_jonas", "Jonas Berg"),
    ("u_rosa", "Rosa Quinn"),
    ("u_kuba", "Kuba Wolski"),
];

/// The groups: groupID, name.
const GROUPS: [(&str, &str); 3] = [
    ("shop_dev", "Shop developers"),
    ("on_call", "On call"),
    ("deploys", "Deploys"),
];

/// Runs the demo until Ctrl-C.
pub fn run(args: Args) -> ExitCode {
    runtime(async move {
        match demo(args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                super::say_error(&error);
                ExitCode::from(1)
            }
        }
    })
}

async fn demo(args: Args) -> anyhow::Result<()> {
    // The signals are heard from here on, so that Ctrl-C at any moment cleans up.
    let told = stop_signal();
    let mut terminal_closed = signal(SignalKind::hangup())?;
    let stop = async {
        tokio::select! {
            () = told => {}
            _ = terminal_closed.recv() => {}
        }
    };

    let clock = Clock::system();
    let sandbox = Sandbox::start(listen(args.page)?, args.server, clock.clone())?;
    furnish(&sandbox);
    let directory = tempfile::Builder::new()
        .prefix("openim-bridge-demo-")
        .tempdir()
        .context("there is no place for the demo's outbox")?;
    write_directory(directory.path(), &sandbox.url(), &args.locale)?;
    let start = Start {
        directory: directory.path().to_owned(),
        environment: Environment::of(
            directory.path(),
            [("OPENIM_SECRET", "openIM123"), ("DEMO_SECRET", SECRET)],
        ),
        strict: true,
    };
    let running = app::start(start, clock.clone()).await?;
    let door = running.door;
    super::say(&format!(
        "The chats fill at {page}/\n\n\
         Send a webhook of your own:\n\n  \
         curl http://{door}/hooks/json \\\n    \
         -H 'Authorization: Bearer {SECRET}' \\\n    \
         -d '{{\"title\": \"Hello from my shell\", \"text\": \"It works.\", \"level\": \"success\"}}'\n\n\
         Ctrl-C ends it and leaves nothing behind.",
        page = sandbox.url(),
    ));

    let book = running.book.load_full();
    let played = tokio::spawn(play(door, book, clock));
    running.run(stop).await?;
    played.abort();
    sandbox.stop().await;
    directory
        .close()
        .context("the demo's directory could not be removed")?;
    Ok(())
}

/// The wished address, or any port there when it is taken.
fn listen(wished: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(wished)
        .or_else(|_| TcpListener::bind((wished.ip(), 0)))
        .with_context(|| format!("the page cannot listen on {wished}"))
}

fn furnish(sandbox: &Sandbox) {
    for (id, name) in PEOPLE {
        sandbox.register(id, name);
    }
    sandbox.add_bot("bridge_bot", "Bridge");
    for (id, name) in GROUPS {
        sandbox.create_group(
            id,
            name,
            &["u_mei", "u_jonas", "u_rosa", "u_kuba", "bridge_bot"],
        );
    }
}

fn write_directory(directory: &Path, api_url: &str, locale: &str) -> anyhow::Result<()> {
    let localhost = Ipv4Addr::LOCALHOST;
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text)
    };
    write(
        "openim-bridge.toml",
        format!(
            r#"locale = "{locale}"
[openim]
api_url = "{api_url}"
[door]
listen = "{localhost}:0"
[console]
listen = "{localhost}:0"
[groups]
dev     = "shop_dev"
on-call = "on_call"
deploys = "deploys"
"#
        ),
    )?;
    write(
        "people.toml",
        r#""github:mei-lin" = "u_mei"
"github:jonas-b" = "u_jonas"
"github:rosa-q" = "u_rosa"
"github:kuba-w" = "u_kuba"
"mei" = "u_mei"
"#
        .to_owned(),
    )?;
    write(
        "bridges/github.toml",
        r#"extends = "github"
secrets = ["env:DEMO_SECRET"]

[[route]]
to = ["group:dev"]

[[route]]
on   = ["workflow_run.completed"]
when = 'event.severity >= severity.error && body.workflow_run.head_branch == body.repository.default_branch'
to   = ["group:on-call"]
"#
        .to_owned(),
    )?;
    write(
        "bridges/alertmanager.toml",
        r#"extends = "alertmanager"
secrets = ["env:DEMO_SECRET"]

[[route]]
on = ["alert.*"]
to = ["group:on-call"]

[[route]]
on   = ["alert.*"]
when = "event.severity >= severity.critical"
to   = ["person:mei"]
"#
        .to_owned(),
    )?;
    write(
        "bridges/json.toml",
        r#"extends = "json"
secrets = ["env:DEMO_SECRET"]

[[route]]
to = ["group:deploys"]
"#
        .to_owned(),
    )?;
    Ok(())
}

/// Posts the shipped samples in the order of their numbers, each signed as its sender signs.
async fn play(door: SocketAddr, book: Arc<RuleBook>, clock: Clock) {
    let sources = shipped::sources();
    let mut samples: Vec<(&str, &str, &str)> = sources
        .iter()
        .filter_map(|(path, text)| {
            let (bridge, file) = path.strip_prefix("bridges/samples/")?.split_once('/')?;
            (file < END_OF_STORY).then_some((file, bridge, text.as_str()))
        })
        .collect();
    samples.sort_unstable();
    for (file, bridge, text) in samples {
        match play_one(door, &book, bridge, text, &clock).await {
            Ok(200 | 202) => {}
            Ok(status) => tracing::warn!(file, status, "the demo's door refused a sample"),
            Err(error) => tracing::warn!(file, %error, "a sample could not be played"),
        }
        clock.sleep(BEAT).await;
    }
}

async fn play_one(
    door: SocketAddr,
    book: &RuleBook,
    bridge: &str,
    sample: &str,
    clock: &Clock,
) -> anyhow::Result<u16> {
    let auth = book
        .bridges
        .get(bridge)
        .and_then(|bridge| bridge.auth.as_ref());
    let auth = auth.context("the sample's bridge opens no door")?;
    let mut request = Request::from_text(bridge, sample.as_bytes())?;
    request.target = format!("/hooks/{bridge}");
    post(door, &sign(auth, request, clock.now())?).await
}
