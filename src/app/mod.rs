//! Builds every room from the settings of a directory, runs them, swaps the rule-book when its files change.

mod keeper;
mod last_good;
mod notices;
mod report;
mod rules;
pub mod storage;
mod watch;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch as flag;
use tokio::task::JoinHandle;

pub use rules::{Broken, Rules, log_problems, server_of};

use self::keeper::Keeper;
use self::notices::Notices;
use self::report::Report;
use crate::bridge::RuleBook;
use crate::deliver::{Courier, Home, OpenIm, Pace, Policy};
use crate::model::{Clock, Meters};
use crate::outbox::{Outbox, OutboxError, Window};
use crate::settings::{DeliverySettings, Environment, Place};
use crate::web::desk::Desk;
use crate::web::{Console, Door, Listener, Patience, RefusedRequests, Seen};

/// How long requests in flight may take to finish after the service is told to stop: below the 30 s after which a
/// supervisor kills. The courier has as long again for its own.
const GRACE: Duration = Duration::from_secs(10);

/// How a service is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The operator's directory.
    pub directory: PathBuf,
    /// Its environment.
    pub environment: Environment,
    /// Refuse a broken directory instead of running on the last rule-book that passed.
    pub strict: bool,
}

/// A running service.
pub struct Running {
    /// Where webhooks come in, with the real port.
    pub door: SocketAddr,
    /// Where health is asked, with the real port.
    pub console: SocketAddr,
    /// The rules in use.
    pub book: Arc<ArcSwap<RuleBook>>,
    rules: Arc<Rules>,
    outbox: Arc<dyn Outbox>,
    door_listener: Listener,
    console_listener: Listener,
    courier: JoinHandle<Home>,
    notices: JoinHandle<()>,
    keeper: JoinHandle<()>,
    reload: JoinHandle<()>,
    stop: flag::Sender<bool>,
}

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// The directory is broken and there is no rule-book to fall back to (or `strict`).
    #[error(transparent)]
    Broken(#[from] Broken),
    /// An address cannot be listened on.
    #[error("{what} cannot listen on {address}: {error}")]
    Listen {
        /// `the door`, `the console`.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The outbox cannot be opened.
    #[error("{0}")]
    Outbox(String),
    /// The settings name no usable server.
    #[error("{0}")]
    Server(String),
}

/// Why a running service ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("the outbox must not be written any more: {0}")]
pub struct Fatal(pub OutboxError);

/// Starts the service: rules, outbox, courier, door and console, in this order.
pub async fn start(start: Start, clock: Clock) -> Result<Running, NotStarted> {
    let rules = Arc::new(Rules::open(&start, &clock)?);
    let settings = rules.settings();

    let beside = start.directory.join(settings.storage.beside());
    let outbox = storage::open(
        &settings.storage.place,
        &start.directory,
        window(&settings.delivery),
        clock.clone(),
    );
    let outbox = outbox.await.map_err(NotStarted::Outbox)?;
    rules.keep_started();

    let openim = OpenIm::new(server_of(&settings), clock.clone())
        .map_err(|error| NotStarted::Server(error.to_string()))?;
    let meters = Arc::new(Meters::new());
    let courier = Courier::new(
        outbox.clone(),
        openim,
        policy(&settings.delivery),
        meters.clone(),
        clock.clone(),
    );
    let (stop, stopped) = flag::channel(false);

    let door_socket = bind("the door", settings.door.listen)?;
    let console_socket = bind("the console", settings.console.listen)?;
    let book = rules.book();
    let seen = Arc::new(Seen::default());
    let door = Door {
        book: book.clone(),
        outbox: outbox.clone(),
        clock: clock.clone(),
        patience: Patience::default(),
        trusted_proxies: settings.door.trusted_proxies.clone().into(),
        limits: settings.door.limits,
        seen: seen.clone(),
        meters: meters.clone(),
        refused: Arc::new(RefusedRequests::beside(&beside)),
    };
    let report = Arc::new(Report {
        rules: rules.clone(),
        outbox: outbox.clone(),
        courier: courier.clone(),
        seen: seen.clone(),
        meters: meters.clone(),
        clock: clock.clone(),
        started: clock.now(),
    });
    let console = Console {
        health: Arc::new({
            let report = report.clone();
            move || {
                let report = report.clone();
                Box::pin(async move { report.health().await })
            }
        }),
        metrics: Arc::new(move || {
            let report = report.clone();
            Box::pin(async move { report.metrics().await })
        }),
        desk: Desk {
            outbox: outbox.clone(),
            book: book.clone(),
            clock: clock.clone(),
        },
        token: settings.console.token.clone(),
    };
    let listen = |what, address, socket, router| {
        Listener::start(socket, router, Patience::default()).map_err(|error| NotStarted::Listen {
            what,
            address,
            error,
        })
    };
    let door_listener = listen("the door", settings.door.listen, door_socket, door.router())?;
    let console_listener = listen(
        "the console",
        settings.console.listen,
        console_socket,
        console.router(),
    )?;

    let notices = Notices {
        outbox: outbox.clone(),
        rules: rules.clone(),
        book: book.clone(),
        courier: courier.clone(),
        seen,
        clock: clock.clone(),
        refused: BTreeMap::new(),
        outage: None,
        outage_ended: None,
        alone: matches!(settings.storage.place, Place::Sqlite(_)),
        told_here: BTreeMap::new(),
    };
    let notices = tokio::spawn(notices.run());
    let keeper = Keeper {
        outbox: outbox.clone(),
        book: book.clone(),
        storage: settings.storage.clone(),
        clock: clock.clone(),
    };
    let keeper = tokio::spawn(keeper.run());
    let courier = tokio::spawn(courier.run(raised(stopped.clone())));
    let reload = tokio::spawn(reload(
        rules.clone(),
        start.directory,
        beside,
        clock,
        stopped,
    ));
    Ok(Running {
        door: door_listener.address,
        console: console_listener.address,
        book,
        rules,
        outbox,
        door_listener,
        console_listener,
        courier,
        notices,
        keeper,
        reload,
        stop,
    })
}

impl Running {
    /// Runs until `stop` comes, then lets requests in flight finish and closes the outbox. An error when the outbox had to
    /// give up before that.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Fatal> {
        let outbox = self.outbox.clone();
        let fatal = tokio::select! {
            () = stop => None,
            error = outbox.fatal() => Some(error),
        };
        self.rules.freeze();
        if fatal.is_none() {
            tracing::info!("the service was told to stop: what is in flight is finished");
        }
        // First the door: what it has taken is kept. Then the courier, which records what it learns. Then the outbox.
        self.door_listener.stop(GRACE).await;
        let _ = self.stop.send(true);
        self.notices.abort();
        self.keeper.abort();
        let _ = self.courier.await;
        let _ = self.reload.await;
        self.console_listener.stop(Duration::ZERO).await;
        if let Some(error) = fatal {
            return Err(Fatal(error));
        }
        if let Err(error) = outbox.close().await {
            tracing::error!(%error, "the outbox did not close well");
        }
        Ok(())
    }
}

fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, NotStarted> {
    TcpListener::bind(address).map_err(|error| NotStarted::Listen {
        what,
        address,
        error,
    })
}

fn policy(settings: &DeliverySettings) -> Policy {
    Policy {
        schedule: settings.schedule.clone(),
        settle: settings.settle,
        prove: settings.prove,
        unproven: settings.unproven,
        window: window(settings),
        pace: Pace {
            per_second: settings.pace,
            ..Pace::default()
        },
        ..Policy::default()
    }
}

/// The window of the settings: what every process that writes into the outbox must go by.
pub fn window(settings: &DeliverySettings) -> Window {
    Window {
        messages: match settings.read_back {
            true => settings.window,
            false => 0,
        },
        ..Window::default()
    }
}

async fn raised(mut stopped: flag::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn reload(
    rules: Arc<Rules>,
    directory: PathBuf,
    outbox: PathBuf,
    clock: Clock,
    stopped: flag::Receiver<bool>,
) {
    let watch = watch::Watch::start(&directory, &outbox);
    loop {
        tokio::select! {
            () = raised(stopped.clone()) => return,
            () = watch.rung(rules.look_within(), &clock) => {}
        }
        let (rules, clock) = (rules.clone(), clock.clone());
        let looked = tokio::task::spawn_blocking(move || rules.look_again(&clock)).await;
        if let Err(error) = looked {
            tracing::error!(%error, "the rules could not be looked at");
        }
    }
}
