//! The ground of a trial: the whole service in this process, from its directory to its outbox, and a sandbox, on one lever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openim_bridge::app::{self, Fatal, Start};
use openim_bridge::model::*;
use openim_bridge::outbox::postgres::{self, PostgresOutbox};
use openim_bridge::outbox::sqlite::{self, SqliteOutbox};
use openim_bridge::outbox::{DeliveryRecord, Filter, Outbox, Page};
use openim_bridge::sandbox::{Plan, Sandbox};
use openim_bridge::settings::Environment;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::books::Books;
use crate::database::Schema;

const SECRET: &str = "It's a Secret to Everybody";

/// Where nobody listens: an OpenIM that is down.
const NOWHERE: &str = "http://127.0.0.1:1";

/// The lever is pulled so often, in real time.
const BEAT: Duration = Duration::from_millis(3);

/// So far while something happens,
const SHORT_PULL: Duration = Duration::from_millis(50);

/// and at most so far while nothing does.
const LONG_PULL: Duration = Duration::from_secs(2);

/// How long one trial may take, in real time.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where the outbox is.
pub enum Store {
    /// A file in the directory.
    Sqlite,
    /// A schema of a database.
    Postgres(Schema<'static>),
}

/// A directory, a chat server, and their time.
pub struct Ground {
    pub sandbox: Sandbox,
    pub lever: Lever,
    clock: Clock,
    directory: tempfile::TempDir,
    client: reqwest::Client,
    store: Store,
}

/// The running service.
pub struct Up {
    hook: String,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), Fatal>>,
}

impl Ground {
    /// A chat server with these groups and one person; a directory whose one bridge posts where the webhook says.
    pub fn lay(store: Store, groups: &[String]) -> Ground {
        let (clock, lever) = Clock::lever("2026-07-02T10:00:00Z".parse().unwrap());
        let sandbox = Sandbox::start_anywhere(Family::Main, clock.clone()).unwrap();
        sandbox.register("u_li", "Li");
        sandbox.add_bot("bridge_bot", "Bridge");
        let directory = tempfile::tempdir().unwrap();
        let mut names = String::new();
        for group in groups {
            let id = format!("g_{group}");
            sandbox.create_group(&id, group, &["u_li", "bridge_bot"]);
            names.push_str(&format!("{group} = \"{id}\"\n"));
        }
        let settings = format!(
            r#"
[openim]
api_url = "{}"
send_as = {{ id = "bridge_bot", nickname = "Bridge" }}
[door]
listen = "127.0.0.1:0"
[console]
listen = "127.0.0.1:0"
[storage]
url = "{}"
[delivery]
# The limits of a request are real time, all others are the lever's.
limits = {{ connect = "1s", answer = "1s", settle = "2m", prove = "10m" }}
[groups]
{names}"#,
            sandbox.url(),
            match &store {
                Store::Sqlite => "sqlite:outbox.db".to_owned(),
                Store::Postgres(schema) => schema.url(),
            },
        );
        let bridge = r#"
extends = "json"
secrets = ["env:HOOK_SECRET"]

[[route]]
when = 'body.to == "group"'
to = [{ group = "body.team" }]

[[route]]
when = 'body.to == "person"'
to = ["person:#u_li"]

[[route]]
when = 'body.to == "notice"'
to = ["notice:#u_li"]
"#;
        std::fs::write(directory.path().join("openim-bridge.toml"), settings).unwrap();
        std::fs::create_dir(directory.path().join("bridges")).unwrap();
        std::fs::write(directory.path().join("bridges/json.toml"), bridge).unwrap();
        Ground {
            sandbox,
            lever,
            clock,
            directory,
            client: reqwest::Client::new(),
            store,
        }
    }

    /// Names the chat of the operator.
    pub fn tell_the_operator_in(&self, team: &str) {
        let bridge = format!("extends = \"notices\"\n[[route]]\nto = [\"group:{team}\"]\n");
        std::fs::write(self.directory.path().join("bridges/notices.toml"), bridge).unwrap();
    }

    /// Starts the service.
    pub async fn start(&self) -> Up {
        self.start_before(&self.sandbox.url()).await
    }

    /// Starts the service before an OpenIM that is down.
    pub async fn start_before_nobody(&self) -> Up {
        self.start_before(NOWHERE).await
    }

    async fn start_before(&self, server: &str) -> Up {
        let variables = [
            ("OPENIM_SECRET", "openIM123"),
            ("HOOK_SECRET", SECRET),
            ("OPENIM_BRIDGE__OPENIM__API_URL", server),
        ];
        let start = Start {
            directory: self.directory.path().to_owned(),
            environment: Environment::of(self.directory.path(), variables),
            strict: true,
        };
        let running = app::start(start, self.clock.clone()).await.unwrap();
        let hook = format!("http://{}/hooks/json", running.door);
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(running.run(async {
            stopped.await.unwrap_or(());
        }));
        Up { hook, stop, run }
    }

    /// Stops it as SIGTERM does.
    pub async fn stop(&self, up: Up) {
        up.stop.send(()).unwrap();
        let mut run = up.run;
        let real = Clock::system();
        loop {
            self.lever.advance(SHORT_PULL);
            tokio::select! {
                ended = &mut run => return ended.unwrap().unwrap(),
                () = real.sleep(BEAT) => {}
            }
        }
    }

    /// Plays these faults from now on.
    pub fn play(&self, seed: u64, faults: &[&str]) {
        self.sandbox.play(Plan::of(seed, faults).unwrap());
    }

    /// Posts one webhook with that id; it must be accepted.
    pub async fn post(&self, up: &Up, to: &str, team: &str, id: &str) {
        let body = json!({"id": id, "title": id, "team": team, "to": to});
        let request = self.client.post(&up.hook).bearer_auth(SECRET).json(&body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202, "{id}");
    }

    /// Pulls the lever until `many` deliveries were kept and all of them have ended; an error says what has not.
    pub async fn until_all_ended(&self, many: u64) -> Result<(), String> {
        let outbox = self.outbox().await;
        let real = Instant::now();
        let mut pull = SHORT_PULL;
        let mut heard = 0;
        loop {
            self.lever.advance(pull);
            Clock::system().sleep(BEAT).await;
            let counts = outbox.counts(self.clock.now()).await.unwrap().deliveries;
            let of = |states: &[DeliveryState]| -> u64 {
                states.iter().filter_map(|state| counts.get(state)).sum()
            };
            use DeliveryState::*;
            let ended = of(&[Stored, Refused, Dead]);
            if ended == many {
                outbox.close().await.unwrap();
                return Ok(());
            }
            if real.elapsed() > PATIENCE {
                let lanes = outbox.list_lanes(None, page(None)).await.unwrap();
                return Err(format!(
                    "{ended} of {many} have ended: {counts:?}; {lanes:#?}"
                ));
            }
            let before = std::mem::replace(&mut heard, self.heard());
            let all_kept = counts.values().sum::<u64>() == many;
            pull = match heard == before && all_kept && !self.is_in_hand(&*outbox).await {
                true => (pull * 2).min(LONG_PULL),
                false => SHORT_PULL,
            };
        }
    }

    /// Lets time pass while the service works.
    pub async fn passes(&self, span: Duration) {
        self.passes_by(SHORT_PULL, span).await;
    }

    /// The same in larger steps, where nothing depends on what happens within one.
    pub async fn passes_by(&self, step: Duration, span: Duration) {
        let end = self.clock.now().saturating_add(span).unwrap();
        while self.clock.now() < end {
            self.lever.advance(step);
            Clock::system().sleep(BEAT).await;
        }
    }

    /// What the server was asked so far.
    fn heard(&self) -> u64 {
        let paths = [
            "/msg/send_msg",
            "/msg/check_msg_is_send_success",
            "/msg/get_conversations_has_read_and_max_seq",
            "/msg/pull_msg_by_seq",
        ];
        let calls = paths.iter().map(|path| self.sandbox.calls(path) as u64);
        let struck = self.sandbox.faults().into_iter().map(|met| met.seen);
        calls.chain(struck).sum()
    }

    /// Whether a request is under way: its time limit is real.
    async fn is_in_hand(&self, outbox: &dyn Outbox) -> bool {
        let filter = Filter {
            states: vec![DeliveryState::Sending],
            ..Filter::default()
        };
        for listed in outbox.list_deliveries(filter, page(None)).await.unwrap() {
            let found = outbox.find_delivery(listed.id).await.unwrap().unwrap();
            if found
                .attempts
                .last()
                .is_some_and(|last| last.ended.is_none())
            {
                return true;
            }
        }
        false
    }

    /// The outbox, beside the service that has it open.
    async fn outbox(&self) -> Arc<dyn Outbox> {
        match &self.store {
            Store::Sqlite => {
                let file = self.directory.path().join("outbox.db");
                let options = sqlite::Options::default();
                Arc::new(SqliteOutbox::open_beside(file, options, self.clock.clone()).unwrap())
            }
            Store::Postgres(schema) => {
                let options = postgres::Options {
                    connections: 2,
                    ..postgres::Options::default()
                };
                let address = schema.address();
                let opened = PostgresOutbox::open(&address, options, self.clock.clone());
                Arc::new(opened.await.unwrap())
            }
        }
    }

    /// The outbox's records and the server's books.
    pub async fn books(&self) -> Books {
        let outbox = self.outbox().await;
        let records = records(&*outbox).await;
        outbox.close().await.unwrap();
        Books {
            records,
            account: self.sandbox.account(),
        }
    }
}

fn page(after: Option<i64>) -> Page {
    Page {
        after,
        most: 1000,
        oldest_first: true,
    }
}

/// All deliveries with their attempts, by the id of their event. Each event must have made one.
pub async fn records(outbox: &dyn Outbox) -> BTreeMap<String, DeliveryRecord> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let more = outbox.list_deliveries(Filter::default(), page(after)).await;
        let more = more.unwrap();
        let Some(last) = more.last() else { return all };
        after = Some(last.number);
        for listed in more {
            let found = outbox.find_delivery(listed.id).await.unwrap().unwrap();
            let event = found.event.clone();
            let other = all.insert(event.clone(), found);
            assert!(other.is_none(), "{event} is kept twice");
        }
    }
}
