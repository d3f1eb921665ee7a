//! The commands that answer and end (`init`, `check`, `setup`, `find`): how they come to their directory and server.

use std::io::{BufReader, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, bail};

use super::directory::Directory;
use super::serve::runtime;
use super::{Everywhere, check, exit_code, find, init, setup};
use crate::app::server_of;
use crate::bridge::RuleBook;
use crate::deliver::OpenIm;
use crate::model::Clock;
use crate::settings::{Loaded, Settings};

/// `init`: 0 when it was written.
pub fn init(everywhere: &Everywhere, args: &init::Args) -> ExitCode {
    let directory = match &everywhere.config {
        Some(directory) => directory.as_path(),
        None => Path::new("."),
    };
    exit_code(init::run(args, directory, &mut anstream::stdout()))
}

/// `check`: 0 when the directory can be used.
pub fn check(everywhere: &Everywhere, args: check::Args) -> ExitCode {
    let Directory { path, environment } = Directory::of(everywhere);
    let clock = Clock::system();
    runtime(async move {
        let mut out = anstream::stdout();
        exit_code(check::run(&args, &path, &environment, &clock, reach, &mut out).await)
    })
}

/// `find`: 0 when something was found, 1 when nothing was or the server cannot be asked.
pub fn find(everywhere: &Everywhere, args: find::Args) -> ExitCode {
    talk(everywhere, async |_, openim| {
        let found = find::search(&args, &openim, &mut stdout()).await?;
        if !found && !args.json {
            super::say_error(&anyhow!(args.nothing()));
        }
        Ok(found)
    })
}

/// `setup`: 0 when everything is as the configuration names it.
pub fn set_up(everywhere: &Everywhere, args: setup::Args) -> ExitCode {
    talk(everywhere, async |book, openim| {
        let Some(book) = book else {
            bail!(
                "the rules are broken, so the groups are not known; `openim-bridge check` shows how"
            );
        };
        let groups: Vec<(String, String)> = book
            .groups
            .iter()
            .map(|(name, group)| (name.clone(), group.id.clone()))
            .collect();
        setup::set_up(
            &args,
            &openim,
            &groups,
            &mut BufReader::new(stdin()),
            &mut stdout(),
        )
        .await
    })
}

/// Runs `ask` with the server of the settings, and with the rule-book if it is whole.
fn talk(
    everywhere: &Everywhere,
    ask: impl AsyncFnOnce(Option<RuleBook>, OpenIm) -> anyhow::Result<bool>,
) -> ExitCode {
    let Directory { path, environment } = Directory::of(everywhere);
    runtime(async move {
        let loaded = Loaded::read(&path, &environment);
        let Some(settings) = &loaded.settings else {
            super::say_problems(&loaded.problems, &loaded.sources);
            return exit_code(Err(anyhow!(
                "the settings are broken, so the server is not known"
            )));
        };
        exit_code(match reach(settings) {
            Ok(openim) => ask(loaded.book, openim).await,
            Err(error) => Err(error),
        })
    })
}

fn reach(settings: &Settings) -> anyhow::Result<OpenIm> {
    Ok(OpenIm::new(server_of(settings), Clock::system())?)
}
