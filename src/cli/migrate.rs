//! `migrate`: an outbox moves from SQLite to PostgreSQL, with nothing lost and nothing said twice.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::directory::Directory;
use super::serve::runtime;
use super::{Everywhere, exit_code};
use crate::model::Clock;
use crate::outbox::moving::{TABLES, TALLIES, Table};
use crate::outbox::postgres::{Address, Arrival, Progress};
use crate::outbox::sqlite::Leaving;
use crate::settings::{Environment, Loaded, Place};

/// The arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the outbox moves to: `env:NAME` or `file:/path` that holds postgres://…, or the address itself
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// The SQLite file that it moves from [default: the one of the settings]
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

/// Moves the outbox: 0 when it has moved.
pub fn run(everywhere: &Everywhere, args: Args) -> ExitCode {
    let Directory { path, environment } = Directory::of(everywhere);
    runtime(async move { exit_code(move_all(&args, &path, &environment).await.map(|()| true)) })
}

async fn move_all(args: &Args, directory: &Path, environment: &Environment) -> anyhow::Result<()> {
    let Place::Postgres(to) = Place::refer(&args.to, environment).map_err(anyhow::Error::msg)?
    else {
        bail!("an outbox moves to PostgreSQL: `--to postgres://…`");
    };
    let from = match &args.from {
        Some(file) => file.clone(),
        None => source(directory, environment)?,
    };
    migrate(&from, &to, &Clock::system()).await
}

/// The file that the settings name.
fn source(directory: &Path, environment: &Environment) -> anyhow::Result<PathBuf> {
    let loaded = Loaded::read(directory, environment);
    let Some(settings) = &loaded.settings else {
        super::say_problems(&loaded.problems, &loaded.sources);
        bail!("the settings are broken, so the outbox is not known; `--from FILE` names it");
    };
    match &settings.storage.place {
        Place::Sqlite(file) => Ok(directory.join(file)),
        Place::Postgres(_) => {
            bail!("the settings name PostgreSQL already: say what moves there with `--from FILE`")
        }
    }
}

/// Moves the outbox in `from` to the database at `to`. It may be broken off anywhere and run again: what is here counts only
/// when all of it is, and the file is marked as moved before the database may be used.
///
/// # Errors
/// When a service is running on either, or something cannot be read or written.
pub async fn migrate(from: &Path, to: &Address, clock: &Clock) -> anyhow::Result<()> {
    let source = Leaving::open(from, clock)?;
    let (arrival, progress) = Arrival::at(to, &source.journey()?).await?;
    let moved_to = source.moved_to()?;
    match (&moved_to, progress) {
        (Some(_), Progress::Done) => {
            super::say(&format!("{} has moved to {to} already", from.display()));
            return Ok(());
        }
        // All was there before the file was marked; only the last step is missing.
        (Some(_), Progress::Begun) => {}
        (Some(there), Progress::Nothing) => {
            bail!("{} has moved to {there}, not to {to}", from.display())
        }
        (None, _) => {
            copy(&source, &arrival, from).await?;
            source.mark_moved(&to.to_string())?;
        }
    }
    arrival.finish().await?;
    super::say(&format!(
        "{} has moved to {to}. Write that into `url` of [storage] and start the service. The file stays as it is; no \
         service opens it any more.",
        from.display()
    ));
    Ok(())
}

async fn copy(source: &Leaving, arrival: &Arrival, from: &Path) -> anyhow::Result<()> {
    arrival.begin(&from.display().to_string()).await?;
    for table in TABLES {
        let all = source.count(table)?;
        let mut line = Line::new(table, all);
        let mut last = None;
        let mut done = 0;
        loop {
            let rows = source.rows(table, last.as_ref())?;
            let Some(end) = rows.last() else { break };
            arrival
                .take(table, &rows)
                .await
                .with_context(|| format!("rows of `{}` cannot be written", table.name))?;
            done += u64::try_from(rows.len()).unwrap_or(u64::MAX);
            last = Some(end.clone());
            line.say(done);
        }
        line.end();
        let arrived = arrival.count(table).await?;
        if arrived != all {
            bail!("of {all} rows of `{}` {arrived} have arrived", table.name);
        }
    }
    for what in TALLIES {
        arrival.tally(what, source.tally(what)?).await?;
    }
    Ok(())
}

/// The progress of one table: a line that grows on a terminal, a line when it is done elsewhere.
struct Line {
    name: &'static str,
    all: u64,
    on_terminal: bool,
}

impl Line {
    fn new(table: &Table, all: u64) -> Line {
        Line {
            name: match table.name {
                "delivery" => "deliveries",
                "event" => "events",
                "lane" => "conversations",
                "signed" => "signatures",
                "attempt" => "attempts",
                other => other,
            },
            all,
            on_terminal: std::io::stdout().is_terminal(),
        }
    }

    fn say(&mut self, done: u64) {
        if self.on_terminal {
            let mut out = anstream::stdout();
            let _unheard = write!(out, "\r{:>13}  {done} of {}", self.name, self.all);
            let _unheard = out.flush();
        }
    }

    fn end(&mut self) {
        match self.on_terminal {
            true => super::say(&format!("\r{:>13}  {}            ", self.name, self.all)),
            false => super::say(&format!("{:>13}  {}", self.name, self.all)),
        }
    }
}
