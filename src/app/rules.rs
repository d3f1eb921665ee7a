//! The rule-book in use: loaded at start, replaced as a whole when the directory's files change, never by a broken one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::Start;
use super::last_good::LastGood;
use crate::bridge::RuleBook;
use crate::bridge::problem::{Level, Problem, Sources, show};
use crate::deliver::{SendAs, Server};
use crate::intake::sample::check_samples;
use crate::model::{Clock, RuleBookInUse, Timestamp, Trouble};
use crate::settings::{Environment, Loaded, Settings, read_directory};

/// The outbox of the default settings.
const DEFAULT_OUTBOX: &str = "openim-bridge.db";

/// The rules of a directory and what is known of its files.
pub struct Rules {
    directory: std::path::PathBuf,
    environment: Environment,
    settings: Arc<Settings>,
    book: Arc<ArcSwap<RuleBook>>,
    last_good: LastGood,
    state: Mutex<State>,
}

struct State {
    /// The files as they were looked at last, good or broken.
    seen: Sources,
    since: Timestamp,
    from: &'static str,
    /// How many errors the directory has now.
    errors: usize,
    /// The first of them, in words.
    first: String,
}

/// A directory that cannot be used.
#[derive(Debug)]
pub struct Broken {
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// The files.
    pub sources: Sources,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&show(&self.problems, &self.sources, false))
    }
}

impl std::error::Error for Broken {}

/// The settings and the rule-book, when nothing is wrong: what `check` refuses, its samples included, is not used.
fn whole(mut loaded: Loaded, now: Timestamp) -> Result<(Settings, RuleBook, Sources), Broken> {
    if let Some(book) = &loaded.book {
        let found = check_samples(book, &loaded.sources, now);
        loaded.problems.extend(found);
    }
    let broken = loaded.is_broken();
    match (loaded.settings, loaded.book) {
        (Some(settings), Some(book)) if !broken => Ok((settings, book, loaded.sources)),
        _ => Err(Broken {
            problems: loaded.problems,
            sources: loaded.sources,
        }),
    }
}

impl Rules {
    /// Loads the directory; a broken one gives way, loudly, to the last rule-book that passed.
    pub fn open(start: &Start, clock: &Clock) -> Result<Rules, Broken> {
        let loaded = Loaded::read(&start.directory, &start.environment);
        let now = clock.now();
        // Broken settings name no outbox: then the one of the default settings is looked for.
        let file = loaded
            .settings
            .as_ref()
            .map(|settings| settings.storage.beside());
        let file = start
            .directory
            .join(file.unwrap_or(DEFAULT_OUTBOX.as_ref()));
        let last_good = LastGood::beside(&file);
        let seen = loaded.sources.clone();
        let own_settings = loaded.settings.clone();
        let (settings, book, state) = match whole(loaded, now) {
            Ok((settings, book, _)) => (
                settings,
                book,
                State {
                    seen,
                    since: now,
                    from: "directory",
                    errors: 0,
                    first: String::new(),
                },
            ),
            Err(broken) if start.strict => return Err(broken),
            Err(broken) => {
                let Some(sources) = last_good.find() else {
                    return Err(broken);
                };
                let last = Loaded::without_missing_secrets(sources, &start.environment);
                let (settings, book, _) = match whole(last, now) {
                    Ok(last) => last,
                    Err(_) => return Err(broken),
                };
                log_problems(&broken.problems, &broken.sources);
                let (errors, first) = sum_up(&broken.problems, &broken.sources);
                tracing::error!(
                    errors,
                    rule_book.digest = book.digest,
                    "the directory is broken: running on the last rule-book that passed"
                );
                let settings = own_settings.unwrap_or(settings);
                (
                    settings,
                    book,
                    State {
                        seen,
                        since: now,
                        from: "last good",
                        errors,
                        first,
                    },
                )
            }
        };
        Ok(Rules {
            directory: start.directory.clone(),
            environment: start.environment.clone(),
            settings: Arc::new(settings),
            book: Arc::new(ArcSwap::from_pointee(book)),
            last_good,
            state: Mutex::new(state),
        })
    }

    /// The settings of the start: a change of them needs a restart.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.clone()
    }

    /// The rules in use, for who needs them at each request.
    pub fn book(&self) -> Arc<ArcSwap<RuleBook>> {
        self.book.clone()
    }

    /// Keeps the rule-book that the service started with, once the outbox beside it is ours.
    pub fn keep_started(&self) {
        let state = self.state();
        if state.errors == 0 {
            self.keep(&state.seen);
        }
    }

    /// Reads the directory again. When a file has changed: new rules as a whole, or the old ones and what is wrong.
    pub fn look_again(&self, clock: &Clock) {
        let (sources, problems) = read_directory(&self.directory);
        if self.state().seen == sources {
            return;
        }
        let now = clock.now();
        let loaded = Loaded::of(sources, problems, &self.environment);
        let seen = loaded.sources.clone();
        let whole = whole(loaded, now).and_then(|(settings, book, sources)| {
            match self.closes_every_door(&book) {
                Some(problem) => Err(Broken {
                    problems: vec![problem],
                    sources,
                }),
                None => Ok((settings, book, sources)),
            }
        });
        match whole {
            Ok((settings, book, sources)) => {
                self.warn_of_restart(&settings);
                self.keep(&sources);
                tracing::info!(rule_book.digest = book.digest, "the rules were replaced");
                self.book.store(Arc::new(book));
                *self.state() = State {
                    seen,
                    since: now,
                    from: "directory",
                    errors: 0,
                    first: String::new(),
                };
            }
            Err(broken) => {
                log_problems(&broken.problems, &broken.sources);
                let (errors, first) = sum_up(&broken.problems, &broken.sources);
                tracing::error!(
                    errors,
                    "the changed rules are broken: the old ones stay in use"
                );
                let mut state = self.state();
                state.seen = seen;
                state.errors = errors;
                state.first = first;
            }
        }
    }

    /// Which rules are in use.
    pub fn in_use(&self) -> RuleBookInUse {
        let state = self.state();
        RuleBookInUse {
            digest: self.book.load().digest.clone(),
            since: format!("{:.0}", state.since),
            from: state.from,
        }
    }

    /// That the directory is broken, if it is.
    pub fn trouble(&self) -> Option<Trouble> {
        let state = self.state();
        (state.errors > 0).then(|| Trouble {
            part: "rules",
            what: format!(
                "errors in the directory: {}; older rules are in use; the first: {}",
                state.errors, state.first
            ),
        })
    }

    /// A folder that went away is no wish to refuse every webhook: senders do not come back after a 401.
    fn closes_every_door(&self, new: &RuleBook) -> Option<Problem> {
        let closed = self.book.load().doors().next().is_some() && new.doors().next().is_none();
        closed.then(|| Problem {
            help: Some("to close all doors, stop the service".to_owned()),
            ..Problem::of_file("bridges", "no bridge takes webhooks any more")
        })
    }

    fn keep(&self, sources: &Sources) {
        if let Err(error) = self.last_good.keep(sources) {
            tracing::warn!(
                %error,
                file = %self.last_good.path().display(),
                "the rules could not be kept for a restart with a broken directory"
            );
        }
    }

    fn warn_of_restart(&self, new: &Settings) {
        let old = &self.settings;
        let changed = [
            (
                "openim",
                old.openim.api_url != new.openim.api_url
                    || old.openim.user_id != new.openim.user_id
                    || old.openim.send_as != new.openim.send_as,
            ),
            ("door", old.door != new.door),
            ("console", old.console.listen != new.console.listen),
            ("storage", old.storage != new.storage),
            ("delivery", old.delivery != new.delivery),
        ];
        for (section, changed) in changed {
            if changed {
                tracing::warn!("a change of [{section}] takes effect after a restart");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server of the settings, as the courier's room wants it.
pub fn server_of(settings: &Settings) -> Server {
    let openim = &settings.openim;
    let server = Server::new(
        &openim.api_url,
        &openim.user_id,
        openim.secret.clone(),
        SendAs {
            id: openim.send_as.id.clone(),
            nickname: openim.send_as.nickname.clone(),
            face_url: openim.send_as.face_url.clone(),
        },
    );
    Server {
        connect_within: settings.delivery.connect_within,
        answer_within: settings.delivery.answer_within,
        ..server
    }
}

fn place(problem: &Problem, sources: &Sources) -> String {
    match problem.position(sources) {
        Some((line, column)) => format!("{}:{line}:{column}", problem.file),
        None => problem.file.clone(),
    }
}

/// Logs the errors of a directory, each with its place.
pub fn log_problems(problems: &[Problem], sources: &Sources) {
    for problem in problems
        .iter()
        .filter(|problem| problem.level == Level::Error)
    {
        let place = place(problem, sources);
        tracing::error!(place, help = problem.help.as_deref(), "{}", problem.message);
    }
}

fn sum_up(problems: &[Problem], sources: &Sources) -> (usize, String) {
    let mut errors = problems
        .iter()
        .filter(|problem| problem.level == Level::Error);
    let first = errors.next();
    let words = first.map(|problem| format!("{}: {}", place(problem, sources), problem.message));
    let count = usize::from(first.is_some()) + errors.count();
    (count, words.unwrap_or_default())
}
