//! The stage for stories about the whole service: a sandbox OpenIM in this process, the real program in another, and a
//! directory of configuration between them.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use openim_bridge::model::{Clock, Conversation, Family};
use openim_bridge::outbox::sqlite::{Options, SqliteOutbox};
use openim_bridge::outbox::{DeliveryRecord, Filter, Outbox, Page};
use openim_bridge::sandbox::{Sandbox, Sent};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The secret that all bridges of a stage share.
pub const SECRET: &str = "It's a Secret to Everybody";

/// A bridge for GitHub that posts to the developers.
pub const GITHUB: &str = r#"
extends = "github"
secrets = ["env:HOOK_SECRET"]

[[route]]
to = ["group:dev"]
"#;

/// A bridge for JSON that posts to operations.
pub const JSON: &str = r#"
extends = "json"
secrets = ["env:HOOK_SECRET"]

[[route]]
to = ["group:ops"]
"#;

/// How long a story waits for something that should take a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// A configured directory and a chat server, no service yet.
pub struct Stage {
    /// The chat server.
    pub sandbox: Sandbox,
    /// The operator's directory.
    pub directory: tempfile::TempDir,
    /// To post with.
    pub client: reqwest::Client,
}

/// The running program.
pub struct Service {
    child: Child,
    /// Where webhooks go.
    pub door: SocketAddr,
    /// Where health is asked.
    pub console: SocketAddr,
}

impl Stage {
    /// A sandbox with the demo's world, and a directory with `bridges` (name → text) that posts to its groups.
    pub async fn set(bridges: &[(&str, &str)]) -> Stage {
        let sandbox = Sandbox::start_anywhere(Family::Main, Clock::system()).unwrap();
        furnish(&sandbox);
        let stage = Stage {
            sandbox,
            directory: tempfile::tempdir().unwrap(),
            client: reqwest::Client::new(),
        };
        stage.write(
            "openim-bridge.toml",
            &format!(
                r#"
[openim]
api_url = "{}"
user_id = "imAdmin"
secret  = "env:OPENIM_SECRET"
send_as = {{ id = "bridge_bot", nickname = "Bridge" }}

[door]
listen = "127.0.0.1:0"

[console]
listen = "127.0.0.1:0"

[storage]
url = "sqlite:openim-bridge.db"

[groups]
ops = "g_ops"
dev = "g_dev"
"#,
                stage.sandbox.url()
            ),
        );
        for (name, text) in bridges {
            stage.write(&format!("bridges/{name}.toml"), text);
        }
        stage
    }

    /// A new, empty chat server with the same world at an address where one was before.
    pub fn restart_sandbox(&mut self, listener: std::net::TcpListener) {
        self.sandbox = Sandbox::start(listener, Family::Main, Clock::system()).unwrap();
        furnish(&self.sandbox);
    }

    /// Writes a file of the directory, as an editor does: beside, then in its place.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = path.with_extension("new~");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &path).unwrap();
    }

    /// More groups: at the chat server as `g_<name>` with the bot in them, and in the settings under their names.
    pub fn open_groups(&self, names: &[String]) {
        // The groups are the last table of the settings.
        let mut settings = std::fs::read_to_string(self.path("openim-bridge.toml")).unwrap();
        for name in names {
            let id = format!("g_{name}");
            self.sandbox
                .create_group(&id, name, &["u_li", "bridge_bot"]);
            settings.push_str(&format!("{name} = \"{id}\"\n"));
        }
        self.write("openim-bridge.toml", &settings);
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program with a command and the stage's environment, not started yet.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openim-bridge"));
        command
            .args(["--config", self.directory.path().to_str().unwrap()])
            .args(arguments)
            .env_clear()
            .env("OPENIM_SECRET", "openIM123")
            .env("HOOK_SECRET", SECRET)
            .env("ALERTMANAGER_TOKEN", SECRET)
            // What a crash left open is settled sooner than the usual 2 min.
            .env("OPENIM_BRIDGE__DELIVERY__LIMITS__SETTLE", "30s")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts `serve` and waits until it listens.
    pub async fn serve(&self) -> Service {
        self.serve_with(&[]).await
    }

    /// Starts `serve` with more arguments and waits until it listens.
    pub async fn serve_with(&self, more: &[&str]) -> Service {
        self.start(self.serving(more)).await
    }

    /// Starts `serve` with more variables in its environment.
    pub async fn serve_with_variables(&self, variables: &[(&str, &str)]) -> Service {
        let mut program = self.serving(&[]);
        program.envs(variables.iter().copied());
        self.start(program).await
    }

    fn serving(&self, more: &[&str]) -> Command {
        let mut arguments = vec!["--log-format", "json", "serve"];
        arguments.extend(more);
        self.program(&arguments)
    }

    /// Starts a program that serves and logs JSON, and waits until it listens.
    pub async fn start(&self, mut program: Command) -> Service {
        let log = self.path("log.jsonl");
        let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let listening = loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
            let line = line.expect("the service says that it listens").unwrap();
            let Some(line) = line else {
                panic!("the service ended before it listened:\n{}", seen.join("\n"));
            };
            let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            seen.push(line);
            if said["message"] == "the service is ready" {
                break said;
            }
        };
        // The rest of the log goes to a file, for the story to read.
        let mut file = std::fs::File::create(&log).unwrap();
        writeln!(file, "{}", seen.join("\n")).unwrap();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = writeln!(file, "{line}");
            }
        });
        let address = |field: &str| listening[field].as_str().unwrap().parse().unwrap();
        Service {
            child,
            door: address("door.address"),
            console: address("console.address"),
        }
    }

    /// All deliveries of the outbox, by the id of their event, with their attempts. Each event must make one.
    pub async fn kept(&self) -> BTreeMap<String, DeliveryRecord> {
        self.kept_in(&self.path("openim-bridge.db")).await
    }

    /// The same of an outbox that is elsewhere.
    pub async fn kept_in(&self, file: &std::path::Path) -> BTreeMap<String, DeliveryRecord> {
        let outbox = SqliteOutbox::open_beside(file, Options::default(), Clock::system()).unwrap();
        let mut all = BTreeMap::new();
        let mut page = Page {
            after: None,
            most: 1000,
            oldest_first: true,
        };
        loop {
            let more = outbox.list_deliveries(Filter::default(), page).await;
            let more = more.unwrap();
            if more.is_empty() {
                outbox.close().await.unwrap();
                return all;
            }
            for listed in more {
                page.after = Some(listed.number);
                let found = outbox.find_delivery(listed.id).await.unwrap().unwrap();
                let event = found.event.clone();
                let other = all.insert(event.clone(), found);
                assert!(other.is_none(), "{event} is kept twice");
            }
        }
    }

    /// Asks again and again until it is so, for at most a while: for what another process does in its own time.
    pub async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let start = std::time::Instant::now();
        while !is_so().await {
            assert!(
                start.elapsed() < PATIENCE,
                "did not come: {what}; the log:\n{}",
                self.log()
            );
            Clock::system().sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the service has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log.jsonl")).unwrap_or_default()
    }

    /// The texts that stand in a group's chat, oldest first, as the sends gave them.
    pub fn texts(&self, group: &str) -> Vec<String> {
        let said = self
            .sandbox
            .messages(&Conversation::Group(format!("g_{group}")));
        said.iter().map(text_of).collect()
    }

    /// Waits until `count` texts stand in a group's chat and gives them.
    pub async fn texts_when(&self, group: &str, count: usize) -> Vec<String> {
        let chat = Conversation::Group(format!("g_{group}"));
        let said = tokio::time::timeout(PATIENCE, self.sandbox.wait_for(&chat, count)).await;
        let said = said.unwrap_or_else(|_| {
            panic!(
                "{count} messages did not come to {group}: {:?}",
                self.texts(group)
            )
        });
        said.iter().map(text_of).collect()
    }
}

fn furnish(sandbox: &Sandbox) {
    sandbox.register("u_li", "Li");
    sandbox.add_bot("bridge_bot", "Bridge");
    sandbox.create_group("g_ops", "Operations", &["u_li", "bridge_bot"]);
    sandbox.create_group("g_dev", "Developers", &["u_li", "bridge_bot"]);
}

pub fn text_of(sent: &Sent) -> String {
    let text = sent.content["content"]
        .as_str()
        .or(sent.content["text"].as_str());
    text.map_or_else(|| sent.content.to_string(), str::to_owned)
}

impl Service {
    /// The address of a hook.
    pub fn hook(&self, bridge: &str) -> String {
        format!("http://{}/hooks/{bridge}", self.door)
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; gives whether it ended well.
    pub async fn stop(self) -> bool {
        self.tell_to_stop();
        self.ended().await
    }

    /// SIGTERM.
    pub fn tell_to_stop(&self) {
        self.signal("TERM");
    }

    /// Any signal, by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended; whether it ended well.
    pub async fn ended(mut self) -> bool {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended
            .expect("the service stops when it is asked to")
            .unwrap()
            .success()
    }

    /// What the health page says.
    pub async fn health(&self) -> serde_json::Value {
        let address = format!("http://{}/health", self.console);
        let answer = reqwest::get(address).await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }
}

/// Asks again and again, for at most a while: for what another process does in its own time.
pub async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "did not come: {what}");
        tokio::task::yield_now().await;
        Clock::system().sleep(Duration::from_millis(10)).await;
    }
}
