//! A stand-in OpenIM: a model of the server behind the same HTTP API, and a page that shows its chats.
//!
//! It answers as running servers of both families were seen to answer, refusals and their texts included. Secret
//! [`SECRET`] and admins [`ADMINS`] as OpenIM ships. Everything is kept in memory and gone when it stops.

mod account;
mod answer;
mod bubble;
mod calls;
mod demo;
mod elements;
mod faults;
mod go;
mod history;
mod markup;
mod page;
mod requests;
mod token;
mod transfer;
mod world;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use account::{Account, Lost, Stored, Underway};
pub use demo::DEMO_BOT;
pub use faults::{Fault, Flaw, Met, Plan, listed as list_faults};
pub use transfer::UNTIL_STORED;
pub use world::{ADMINS, SECRET};

pub use crate::model::Family;
use crate::model::{Clock, Conversation, Timestamp};
use faults::{Asked, Line, Lines};
use history::{Kept, Place};
use world::{BOT_LEVEL, Group, ORDINARY, OWNER, World};

/// The largest body that the server reads, in bytes (16 MiB, `tools/mw/api/logger.go`).
const LARGEST_BODY: usize = 16 * 1024 * 1024;

/// A running sandbox. It stops when it is dropped or [`Sandbox::stop`]ped.
pub struct Sandbox {
    address: SocketAddr,
    shared: Shared,
    stop: watch::Sender<bool>,
    served: JoinHandle<io::Result<()>>,
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    world: Arc<Mutex<World>>,
    clock: Clock,
    stopped: watch::Receiver<bool>,
}

/// A message as somebody sent it, for tests and the demo.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The userID it was sent as.
    pub sender: String,
    /// The sender's name as the send gave it.
    pub nickname: String,
    /// OpenIM's contentType.
    pub content_type: i64,
    /// OpenIM's `content`, as it is stored (1400: `{"detail": "<JSON text>"}`).
    pub content: Value,
    /// The `ex` of the send.
    pub ex: String,
    /// Its place in the conversation; the one it will get, while it is on its way.
    pub seq: i64,
    /// The server's id of the message.
    pub server_msg_id: String,
    /// The offline push, if one was asked for.
    pub offline_push: Option<Value>,
}

impl Sandbox {
    /// Serves on this listener until stopped. Must be called inside a tokio runtime; fails where the listener cannot
    /// be polled.
    pub fn start(listener: TcpListener, family: Family, clock: Clock) -> io::Result<Sandbox> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let world = Arc::new(Mutex::new(World::new(family, clock.now())));
        let shared = Shared {
            world,
            clock,
            stopped: stopped.clone(),
        };
        tokio::spawn(shared.clone().transfer());
        let service = router(shared.clone()).into_make_service_with_connect_info::<Line>();
        let served = tokio::spawn(
            axum::serve(Lines(listener), service)
                .with_graceful_shutdown(until_true(stopped))
                .into_future(),
        );
        Ok(Sandbox {
            address,
            shared,
            stop,
            served,
        })
    }

    /// As [`Sandbox::start`], on a free port of the loopback.
    pub fn start_anywhere(family: Family, clock: Clock) -> io::Result<Sandbox> {
        Sandbox::start(TcpListener::bind(("127.0.0.1", 0))?, family, clock)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base of its API, and the address of the page: `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Registers a person.
    pub fn register(&self, user_id: &str, nickname: &str) {
        let now = self.shared.clock.now();
        self.shared
            .world()
            .add_user(user_id, nickname, "", "", 0, now);
    }

    /// Adds a bot account.
    pub fn add_bot(&self, user_id: &str, nickname: &str) {
        let now = self.shared.clock.now();
        self.shared
            .world()
            .add_user(user_id, nickname, "", "", BOT_LEVEL, now);
    }

    /// Makes a group; its first member owns it.
    pub fn create_group(&self, group_id: &str, name: &str, members: &[&str]) {
        let now = self.shared.clock.now();
        let ranks = std::iter::once(OWNER).chain(std::iter::repeat(ORDINARY));
        let members: Vec<(&str, i64)> = members.iter().copied().zip(ranks).collect();
        let group = Group::new(group_id, name, now);
        calls::create_group(&mut self.shared.world(), group, &members, ADMINS[0], now);
    }

    /// Who is in a group, by userID.
    pub fn members(&self, group_id: &str) -> Vec<String> {
        let world = self.shared.world();
        let group = world.group(group_id);
        let members = group.map_or(&[][..], |group| &group.members);
        members.iter().map(|member| member.user.clone()).collect()
    }

    /// What people and bots said there, in order; without what the server itself tells a group. Also what was accepted and
    /// cannot be found over the API yet; not what was lost, nor copies that the server made (clients hide them).
    pub fn messages(&self, conversation: &Conversation) -> Vec<Sent> {
        self.shared.settled().said(conversation)
    }

    /// Waits until at least `count` messages were said there, and gives them. Waits for ever where they do not come.
    pub async fn wait_for(&self, conversation: &Conversation, count: usize) -> Vec<Sent> {
        let mut changes = self.shared.world().changes.subscribe();
        loop {
            let said = self.messages(conversation);
            if said.len() >= count || changes.changed().await.is_err() {
                return said;
            }
        }
    }

    /// How often a path of the API was called with a token that holds: `calls("/msg/send_msg")`.
    pub fn calls(&self, path: &str) -> usize {
        self.shared.world().calls.get(path).copied().unwrap_or(0)
    }

    /// Forgets every token that was given out. Admin tokens of 3.8 hold nevertheless: they are not kept there.
    pub fn forget_tokens(&self) {
        self.shared.world().forget_tokens(None);
    }

    /// Plays this plan of faults from now on; what was played before ends.
    pub fn play(&self, plan: Plan) {
        self.shared.plan(plan);
    }

    /// Plays no faults any more.
    pub fn be_well(&self) {
        self.shared.plan(Plan::default());
    }

    /// The faults of the plan, and how often each came to pass.
    pub fn faults(&self) -> Vec<Met> {
        self.shared.settled().faults.met().to_vec()
    }

    /// What became of everything that was accepted.
    pub fn account(&self) -> Account {
        self.shared.settled().account()
    }

    /// Stops serving and waits for what is under way.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // A panic inside the server is shown where it happens; there is nothing to add here.
        _ = (&mut self.served).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Serves on `address` until `until` is done. `ready` is told the address in use before the first request.
pub async fn run(
    address: SocketAddr,
    family: Family,
    clock: Clock,
    ready: impl FnOnce(&Sandbox),
    until: impl Future<Output = ()>,
) -> io::Result<()> {
    let sandbox = Sandbox::start(TcpListener::bind(address)?, family, clock)?;
    ready(&sandbox);
    until.await;
    sandbox.stop().await;
    Ok(())
}

async fn until_true(mut flag: watch::Receiver<bool>) {
    // The sender gone means the sandbox is gone: that is a stop too.
    _ = flag.wait_for(|stopped| *stopped).await;
}

fn router(shared: Shared) -> Router {
    page::router()
        .merge(faults::router())
        .fallback(take)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(shared)
}

/// Every path of the API goes through here: also unknown ones are checked for operationID and token.
async fn take(
    State(shared): State<Shared>,
    ConnectInfo(line): ConnectInfo<Line>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = Asked {
        method,
        path: uri.path().to_owned(),
        query,
        headers,
        body,
    };
    let (turn, outcome, family) = {
        let now = shared.clock.now();
        let mut world = shared.world();
        world.settle(now);
        let family = world.family;
        match world.faults.at_the_door(&asked, family, now) {
            Some(turn) => (Some(turn), Ok(None), family),
            None => (None, asked.answer(&mut world, now), family),
        }
    };
    match (turn, outcome) {
        (Some(turn), _) => faults::play(shared, line, asked, turn).await,
        (None, Ok(data)) => answer::done(data),
        (None, Err(refusal)) => answer::refused(refusal, family),
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        // A panic elsewhere leaves the model usable; a stand-in goes on.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world with everything done that is due.
    fn settled(&self) -> MutexGuard<'_, World> {
        let now = self.clock.now();
        let mut world = self.world();
        world.settle(now);
        world
    }

    fn plan(&self, plan: Plan) {
        let now = self.clock.now();
        let mut world = self.world();
        world.settle(now);
        world.faults.put(plan, now);
        world.wake_transfer(now);
        world.settle(now);
        world.changed();
    }

    /// Lets time do its work, so that the page and whoever waits hear of it.
    async fn transfer(self) {
        let mut changes = self.world().changes.subscribe();
        loop {
            let due = self.settled().due().unwrap_or(Timestamp::MAX);
            tokio::select! {
                () = self.clock.sleep_until(due) => {}
                changed = changes.changed() => if changed.is_err() { return },
                () = self.stop() => return,
            }
        }
    }

    /// Returns when the sandbox stops.
    async fn stop(&self) {
        until_true(self.stopped.clone()).await;
    }
}

impl World {
    fn said(&self, conversation: &Conversation) -> Vec<Sent> {
        let wanted = |kept: &Kept| match (&kept.post.place, conversation) {
            (Place::Group(id), Conversation::Group(wanted)) => {
                id == wanted && kept.post.options.is_none()
            }
            (Place::Pair(..), Conversation::Person(id)) => kept.post.recipient == *id,
            (Place::Notice { to, .. }, Conversation::Notice(id)) => to == id,
            _ => false,
        };
        let mut said: Vec<Sent> = Vec::new();
        let stored = self.history.kept.iter();
        let stored = stored.filter(|kept| wanted(kept) && !kept.is_copy);
        said.extend(stored.map(Sent::from));
        // What waits will get the next seqs, if nothing goes wrong.
        let mut next: HashMap<&str, i64> = HashMap::new();
        for waiting in self.transfer.waiting().map(|waiting| &waiting.kept) {
            let id = waiting.conversation.as_str();
            let seq = next.entry(id).or_insert_with(|| self.history.max_seq(id));
            *seq += 1;
            if wanted(waiting) && !waiting.is_copy {
                said.push(Sent {
                    seq: *seq,
                    ..Sent::from(waiting)
                });
            }
        }
        said
    }
}

impl From<&Kept> for Sent {
    fn from(kept: &Kept) -> Sent {
        Sent {
            sender: kept.post.sender.clone(),
            nickname: kept.post.nickname.clone(),
            content_type: kept.post.content_type,
            content: serde_json::from_str(&kept.post.content).unwrap_or(Value::Null),
            ex: kept.post.ex.clone(),
            seq: kept.seq,
            server_msg_id: kept.server_msg_id.clone(),
            offline_push: kept.post.offline_push.clone(),
        }
    }
}
