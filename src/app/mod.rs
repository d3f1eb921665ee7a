//! Builds every room from the settings of a directory, runs them, swaps the rule-book when its files change.

mod last_good;
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

use crate::bridge::RuleBook;
use crate::deliver::{Courier, Home, OpenIm, Pace, Policy};
use crate::model::{Clock, DeliveryState, Health, Meters, Trouble};
use crate::outbox::{Outbox, OutboxError, Window};
use crate::settings::{DeliverySettings, Environment};
use crate::web::{Console, Door, Listener, Patience};

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
    outbox: Arc<dyn Outbox>,
    door_listener: Listener,
    console_listener: Listener,
    courier: JoinHandle<Home>,
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
    let courier = Courier::new(
        outbox.clone(),
        openim,
        policy(&settings.delivery),
        Arc::new(Meters::new()),
        clock.clone(),
    );
    let (stop, stopped) = flag::channel(false);

    let door_socket = bind("the door", settings.door.listen)?;
    let console_socket = bind("the console", settings.console.listen)?;
    let book = rules.book();
    let door = Door {
        book: book.clone(),
        outbox: outbox.clone(),
        clock: clock.clone(),
        patience: Patience::default(),
        trusted_proxies: settings.door.trusted_proxies.clone().into(),
    };
    let console = Console {
        health: Arc::new({
            let (rules, outbox, courier) = (rules.clone(), outbox.clone(), courier.clone());
            move || {
                let (rules, outbox, courier) = (rules.clone(), outbox.clone(), courier.clone());
                Box::pin(async move { health(&rules, &*outbox, &courier).await })
            }
        }),
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

    let courier = tokio::spawn(courier.run(raised(stopped.clone())));
    let reload = tokio::spawn(reload(rules, start.directory, beside, clock, stopped));
    Ok(Running {
        door: door_listener.address,
        console: console_listener.address,
        book,
        outbox,
        door_listener,
        console_listener,
        courier,
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
        // First the door: what it has taken is kept. Then the courier, which records what it learns. Then the outbox.
        self.door_listener.stop(GRACE).await;
        let _ = self.stop.send(true);
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

fn window(settings: &DeliverySettings) -> Window {
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
            () = watch.rung(&clock) => {}
        }
        let (rules, clock) = (rules.clone(), clock.clone());
        let looked = tokio::task::spawn_blocking(move || rules.look_again(&clock)).await;
        if let Err(error) = looked {
            tracing::error!(%error, "the rules could not be looked at");
        }
    }
}

async fn health(rules: &Rules, outbox: &dyn Outbox, courier: &Courier) -> Health {
    let mut troubles: Vec<Trouble> = rules.trouble().into_iter().collect();
    if let Some(trouble) = courier.server_trouble() {
        troubles.push(Trouble {
            part: "openim",
            what: format!("{} (since {:.0})", trouble.why, trouble.since),
        });
    }
    let probe = outbox.probe().await;
    let takes_webhooks = probe.is_ok();
    if let Err(error) = probe {
        troubles.push(Trouble {
            part: "outbox",
            what: error.to_string(),
        });
    }
    let counts = outbox
        .counts(jiff::Timestamp::UNIX_EPOCH)
        .await
        .unwrap_or_default();
    let unrendered = counts.deliveries.get(&DeliveryState::Unrendered);
    if let Some(count) = unrendered.filter(|count| **count > 0) {
        troubles.push(Trouble {
            part: "templates",
            what: format!("messages that a template could not render, kept: {count}"),
        });
    }
    let deliveries: BTreeMap<&'static str, u64> = counts
        .deliveries
        .iter()
        .map(|(state, count)| (state.word(), *count))
        .collect();
    Health {
        ok: troubles.is_empty(),
        takes_webhooks,
        rule_book: rules.in_use(),
        troubles,
        deliveries,
        unrouted: counts.unrouted,
    }
}
