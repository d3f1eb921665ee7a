//! The commands. One file each; here only how they are called and what an exit code means.

pub mod check;
mod deliveries;
mod demo;
mod desk;
mod directory;
mod events;
mod explained;
pub mod find;
pub mod init;
mod log;
pub mod migrate;
pub mod online;
mod plain;
mod player;
mod post_line;
mod running;
mod sandbox;
mod serve;
pub mod setup;
mod sign;
mod subject;
mod try_request;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bridge::problem::{Problem, Sources, show};

/// From a webhook to a chat message in OpenIM, and nothing lost in between.
#[derive(Debug, Parser)]
#[command(
    name = "openim-bridge",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(after_help = "Exit code: 0 done, 1 no (refused, or a problem was found), 2 wrong usage.")]
struct Cli {
    #[command(flatten)]
    everywhere: Everywhere,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub struct Everywhere {
    /// The directory with openim-bridge.toml [default: the working directory, then the system's place for configuration]
    #[arg(long, global = true, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// How logs are written
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        hide_possible_values = false
    )]
    pub log_format: log::LogFormat,
    /// From which level on [default: info for the service, warn elsewhere]
    #[arg(long, global = true, value_enum)]
    pub log_level: Option<log::LogLevel>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: a stand-in OpenIM with a page of its chats, the service, and signed sample webhooks
    Demo(demo::Args),
    /// Write a commented directory to start from; with --copy a shipped file to change it
    Init(init::Args),
    /// Name every problem in settings, bridges, rules and templates, each at its place
    Check(check::Args),
    /// Make at the OpenIM server what the configuration names: the bot account, its place in the groups
    Setup(setup::Args),
    /// Look up ids and names at the OpenIM server
    Find(find::Args),
    /// Run the service
    Serve(serve::Args),
    /// Move the outbox from SQLite to PostgreSQL
    Migrate(migrate::Args),
    /// Explain the steps on one request; nothing is kept or sent
    Try(try_request::Args),
    /// Print a request as its sender would sign it, or a curl line that posts it
    Sign(sign::Args),
    /// Say why a signature holds or does not, and name the likely cause
    Verify(verify::Args),
    /// See what came in, and take it through today's rules again
    Events(events::Args),
    /// See where messages stand; retry, cancel, hold and release them
    Deliveries(deliveries::Args),
    /// Run the stand-in OpenIM alone
    Sandbox(sandbox::Args),
}

/// Runs the command line. 0 done, 1 no, 2 wrong usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = cli.everywhere.log_level.unwrap_or(match &cli.command {
        Command::Serve(_) | Command::Sandbox(_) => log::LogLevel::Info,
        _ => log::LogLevel::Warn,
    });
    log::start(cli.everywhere.log_format, level);
    let everywhere = &cli.everywhere;
    match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Init(args) => plain::init(everywhere, &args),
        Command::Check(args) => plain::check(everywhere, args),
        Command::Setup(args) => plain::set_up(everywhere, args),
        Command::Find(args) => plain::find(everywhere, args),
        Command::Serve(args) => serve::run(everywhere, args),
        Command::Migrate(args) => migrate::run(everywhere, args),
        Command::Try(args) => try_request::run(everywhere, args),
        Command::Sign(args) => sign::run(everywhere, &args),
        Command::Verify(args) => verify::run(everywhere, &args),
        Command::Events(args) => events::run(everywhere, args),
        Command::Deliveries(args) => deliveries::run(everywhere, args),
        Command::Sandbox(args) => sandbox::run(args),
    }
}

/// Says something to the person at the command line.
fn say(text: &str) {
    // Who no longer listens (`| head`) misses nothing that matters, and what runs goes on.
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// The exit code of a command that answers yes, no, or why it could not.
fn exit_code(answer: anyhow::Result<bool>) -> ExitCode {
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            say_error(&error);
            ExitCode::from(1)
        }
    }
}

/// Says that a command was asked for in words that mean nothing.
fn wrong_usage(why: &str) -> ExitCode {
    anstream::eprintln!("error: {why}");
    ExitCode::from(2)
}

/// Says why a command did not do it, with the chain of causes.
fn say_error(error: &anyhow::Error) {
    anstream::eprintln!("error: {error:#}");
}

/// Shows the problems of a directory.
fn say_problems(problems: &[Problem], sources: &Sources) {
    anstream::eprint!("{}", show(problems, sources, true));
}
