//! `serve`: the service.

use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;

use super::Everywhere;
use super::directory::Directory;
use crate::app::{self, NotStarted, Start};
use crate::model::Clock;

/// The arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Refuse a broken directory instead of running on the last rules that passed
    #[arg(long)]
    strict: bool,
}

/// Runs the service until it is told to stop (SIGTERM, SIGINT, Ctrl-C).
pub fn run(everywhere: &Everywhere, args: Args) -> ExitCode {
    let Directory { path, environment } = Directory::of(everywhere);
    let start = Start {
        directory: path,
        environment,
        strict: args.strict,
    };
    let reason = match args.strict {
        true => "--strict takes no older rules",
        false => "no older rules that passed can be used",
    };
    runtime(async move {
        let told = stop_signal();
        let running = match app::start(start, Clock::system()).await {
            Ok(running) => running,
            Err(NotStarted::Broken(broken)) => {
                if std::io::stderr().is_terminal() {
                    super::say_problems(&broken.problems, &broken.sources);
                } else {
                    app::log_problems(&broken.problems, &broken.sources);
                }
                tracing::error!(
                    reason,
                    "the directory is broken, so the service does not start"
                );
                return ExitCode::from(1);
            }
            Err(error) => {
                tracing::error!(%error, "the service cannot start");
                return ExitCode::from(1);
            }
        };
        tracing::info!(
            door.address = %running.door,
            console.address = %running.console,
            "the service is ready"
        );
        match running.run(told).await {
            Ok(()) => {
                tracing::info!("the service has stopped");
                ExitCode::SUCCESS
            }
            Err(fatal) => {
                tracing::error!(error = %fatal, "the service had to end");
                ExitCode::from(1)
            }
        }
    })
}

/// Runs a command that waits for the network.
pub fn runtime(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            tracing::error!(%error, "the system gives no threads");
            ExitCode::from(1)
        }
    }
}

/// Gives a future that ends when the process is told to stop. From this call on the signals are heard. Must be called
/// inside the runtime.
pub fn stop_signal() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let heard = {
        use tokio::signal::unix::{SignalKind, signal};
        (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        )
    };
    async move {
        #[cfg(unix)]
        if let (Ok(mut terminate), Ok(mut interrupt)) = heard {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            return;
        }
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await; // no signal can be heard: only a kill ends it
        }
    }
}
