//! `sandbox`: the stand-in OpenIM alone.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;

use super::serve::{runtime, stop_signal};
use crate::model::Clock;
use crate::sandbox::{Family, Fault, Plan, Sandbox, list_faults};

/// The arguments of `sandbox`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address of its API and its page
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10002")]
    listen: SocketAddr,
    /// The family of OpenIM servers that is played: `main` or `3.8`
    #[arg(long, value_name = "FAMILY", default_value = "main")]
    server: Family,
    /// Begin with groups, people and a bot to try things on, not empty as a new OpenIM
    #[arg(long)]
    furnished: bool,
    /// Break something: a fault, and what is set for it, as `slow:by=2s,probability=0.3`; can be given several times
    #[arg(long = "fault", value_name = "NAME[:KEY=VALUE,…]")]
    faults: Vec<Fault>,
    /// What chance begins with: the same seed and the same calls meet the same faults
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print all faults and what can be set for them, and end
    #[arg(long)]
    list_faults: bool,
}

/// Runs the sandbox until it is told to stop.
pub fn run(args: Args) -> ExitCode {
    if args.list_faults {
        super::say(list_faults().trim_end());
        return ExitCode::SUCCESS;
    }
    runtime(async move {
        match sandbox(args).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                super::say_error(&error);
                ExitCode::from(1)
            }
        }
    })
}

async fn sandbox(args: Args) -> anyhow::Result<()> {
    let stop = stop_signal();
    let socket = TcpListener::bind(args.listen)
        .with_context(|| format!("the sandbox cannot listen on {}", args.listen))?;
    let sandbox = Sandbox::start(socket, args.server, Clock::system())?;
    if args.furnished {
        sandbox.furnish();
    }
    let faults: Vec<String> = args
        .faults
        .iter()
        .map(|fault| format!("  fault  {fault}\n"))
        .collect();
    sandbox.play(Plan {
        seed: args.seed,
        faults: args.faults,
    });
    super::say(&format!(
        "A stand-in OpenIM ({}), in memory only.\n\n  API    {url}\n  chats  {url}/\n{}\n\
         Its secret is openIM123, its admin imAdmin, as OpenIM ships. Ctrl-C ends it.",
        args.server,
        faults.concat(),
        url = sandbox.url(),
    ));
    stop.await;
    sandbox.stop().await;
    Ok(())
}
