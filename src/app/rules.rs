//! The rule-book in use: loaded at start, replaced as a whole when the directory's files change, never by a broken one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::Start;
use super::last_good::LastGood;
use crate::bridge::RuleBook;
use crate::bridge::problem::{Level, Problem, Sources, show};
use crate::deliver::{SendAs, Server};
use crate::intake::sample::check_samples;
use crate::model::{Clock, RuleBookInUse, Timestamp, Trouble};
use crate::settings::{Environment, Loaded, SecretFiles, Settings, read_directory};

/// How often the files are looked at where no notice comes: those of secrets, a file in a folder that is made at the same
/// moment, network file systems, some mounts. They are few and small.
const LOOK: Duration = Duration::from_secs(5);

/// The same while a secret's file is not there: it is being replaced, or somebody is at work on it.
const LOOK_AT_A_GAP: Duration = Duration::from_secs(1);

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
    /// The files of secrets that they name, as they were then.
    secret_files: SecretFiles,
    /// The same files at the latest look, when one of them was gone for the first time.
    gap: Option<SecretFiles>,
    /// When that was.
    looked: Timestamp,
    /// When the rules in use were loaded.
    since: Timestamp,
    from: &'static str,
    /// How many errors the directory has now.
    errors: usize,
    /// The first of them, in words.
    first: String,
    /// The service ends: nothing is replaced any more.
    frozen: bool,
}

impl State {
    /// With the rules of a directory in which nothing is wrong.
    fn whole(seen: Sources, secret_files: SecretFiles, now: Timestamp) -> State {
        State {
            seen,
            secret_files,
            gap: None,
            looked: now,
            since: now,
            from: "directory",
            errors: 0,
            first: String::new(),
            frozen: false,
        }
    }
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

/// The settings and the rule-book, when nothing is wrong: what `check` refuses, its samples included, is not used. The samples
/// of texts that `passed`, by their digest, are not asked again: only a secret is another one.
fn whole(
    mut loaded: Loaded,
    passed: &str,
    now: Timestamp,
) -> Result<(Settings, RuleBook, Sources), Broken> {
    let unasked = loaded.book.as_ref().filter(|book| book.digest != passed);
    if let Some(book) = unasked {
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
        let (seen, secret_files) = (loaded.sources.clone(), loaded.secret_files.clone());
        let own_settings = loaded.settings.clone();
        let (settings, book, state) = match whole(loaded, "", now) {
            Ok((settings, book, _)) => (settings, book, State::whole(seen, secret_files, now)),
            Err(broken) if start.strict => return Err(broken),
            Err(broken) => {
                let Some(sources) = last_good.find() else {
                    return Err(broken);
                };
                let last = Loaded::without_missing_secrets(sources, &start.environment);
                let (settings, book, _) = match whole(last, "", now) {
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
                        from: "last good",
                        errors,
                        first,
                        ..State::whole(seen, secret_files, now)
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

    /// How long the next look may be away.
    pub fn look_within(&self) -> Duration {
        let state = self.state();
        match state.gap.is_some() || state.secret_files.has_gap() {
            true => LOOK_AT_A_GAP,
            false => LOOK,
        }
    }

    /// Ends every replacing: what a look finds from now on is left for the next start.
    pub fn freeze(&self) {
        self.state().frozen = true;
    }

    /// Whether there is nothing to do for a look that found these texts, if not for the secrets.
    fn nothing_new(&self, sources: &Sources) -> bool {
        let mut state = self.state();
        if state.frozen {
            return true;
        }
        if state.seen != *sources {
            return false;
        }
        // Secrets stand outside of the directory, where nothing tells of a change.
        let read = state.secret_files.read_again(&self.environment);
        if read == state.secret_files {
            state.gap = None;
            return true;
        }
        // Who replaces a file takes the old one away first: one that is gone is missed at the second look.
        let is_first = read.has_lost(&state.secret_files) && state.gap.as_ref() != Some(&read);
        state.gap = is_first.then_some(read);
        is_first
    }

    /// Reads the directory again, and the files of its secrets. When a file has changed: new rules as a whole, or the old ones and what is wrong.
    pub fn look_again(&self, clock: &Clock) {
        let (sources, problems) = read_directory(&self.directory);
        if self.nothing_new(&sources) {
            return;
        }
        let now = clock.now();
        let loaded = Loaded::of(sources, problems, &self.environment);
        let (seen, secret_files) = (loaded.sources.clone(), loaded.secret_files.clone());
        let passed = self.book.load().digest.clone();
        let whole = whole(loaded, &passed, now).and_then(|(settings, book, sources)| {
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
                {
                    let mut state = self.state();
                    if state.frozen {
                        return;
                    }
                    self.warn_of_restart(&settings);
                    tracing::info!(rule_book.digest = book.digest, "the rules were replaced");
                    self.book.store(Arc::new(book));
                    *state = State::whole(seen, secret_files, now);
                }
                // After the change, for the disk may take its time.
                self.keep(&sources);
            }
            Err(_) if self.state().frozen => {}
            Err(broken) => {
                log_problems(&broken.problems, &broken.sources);
                let (errors, first) = sum_up(&broken.problems, &broken.sources);
                tracing::error!(
                    errors,
                    "the changed rules are broken: the old ones stay in use"
                );
                let mut state = self.state();
                state.seen = seen;
                state.secret_files = secret_files;
                state.gap = None;
                state.looked = now;
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

    /// Since when the directory is broken in the way it is now, if it is.
    pub fn broken_since(&self) -> Option<Timestamp> {
        let state = self.state();
        (state.errors > 0).then_some(state.looked)
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
