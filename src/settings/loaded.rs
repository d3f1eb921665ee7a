//! A whole directory, read, checked and compiled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Environment, SERVICE_FILE, Settings, read_directory};
use crate::bridge::problem::{Level, Problem, Sources};
use crate::bridge::{RuleBook, Secrets, Surroundings};
use crate::model::{Secret, SecretRef};

/// A directory, read and compiled.
#[derive(Debug)]
pub struct Loaded {
    /// Its texts.
    pub sources: Sources,
    /// What needs a restart; `None` when something in it is wrong.
    pub settings: Option<Settings>,
    /// What is replaced as a whole; `None` when something in it is wrong.
    pub book: Option<RuleBook>,
    /// Everything that is wrong or worth knowing, by file and place.
    pub problems: Vec<Problem>,
    /// The files of secrets that the bridges name, as they were read.
    pub secret_files: SecretFiles,
}

/// Files of secrets and digests of what stood in them; `None` where there was none to be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretFiles(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl SecretFiles {
    /// Reads the same files again.
    pub fn read_again(&self, environment: &Environment) -> SecretFiles {
        let mut again = SecretFiles::default();
        for path in self.0.keys() {
            let reference = SecretRef::File(path.clone());
            again.note(&reference, &environment.secret(&reference));
        }
        again
    }

    /// Whether one of them is not to be had.
    pub fn has_gap(&self) -> bool {
        self.0.values().any(Option::is_none)
    }

    /// Whether one of them is not to be had that was there `before`.
    pub fn has_lost(&self, before: &SecretFiles) -> bool {
        let was_there = |path: &PathBuf| before.0.get(path).is_some_and(Option::is_some);
        let mut gone = self.0.iter().filter(|(_, digest)| digest.is_none());
        gone.any(|(path, _)| was_there(path))
    }

    fn note<E>(&mut self, reference: &SecretRef, read: &Result<Secret, E>) {
        if let SecretRef::File(path) = reference {
            let digest = |secret: &Secret| Sha256::digest(secret.expose()).into();
            self.0.insert(path.clone(), read.as_ref().ok().map(digest));
        }
    }
}

/// How texts become a rule-book.
type Compile = fn(&Sources, &Surroundings, Secrets<'_>) -> (Option<RuleBook>, Vec<Problem>);

impl Loaded {
    /// Reads, checks and compiles a whole directory.
    pub fn read(directory: &Path, environment: &Environment) -> Loaded {
        let (sources, problems) = read_directory(directory);
        Loaded::of(sources, problems, environment)
    }

    /// The same with a directory that was read before, and what was wrong in reading it.
    pub fn of(sources: Sources, problems: Vec<Problem>, environment: &Environment) -> Loaded {
        let mut loaded = Loaded::compile(sources, environment);
        loaded.problems.splice(0..0, problems);
        // A file that could not be read may hold a route or a setting: without it nothing is whole.
        if loaded.is_broken() {
            loaded.book = None;
        }
        loaded
    }

    /// The same with the texts of a directory at hand.
    pub fn compile(sources: Sources, environment: &Environment) -> Loaded {
        Loaded::with(sources, environment, RuleBook::compile)
    }

    /// The same, but a bridge whose secret is not there refuses everything instead of keeping the others from running.
    pub fn without_missing_secrets(sources: Sources, environment: &Environment) -> Loaded {
        Loaded::with(sources, environment, RuleBook::compile_without_missing)
    }

    fn with(sources: Sources, environment: &Environment, compile: Compile) -> Loaded {
        let (settings, surroundings, mut problems) = Settings::read(&sources, environment);
        let secret_files = RefCell::new(SecretFiles::default());
        let noted = |reference: &SecretRef| {
            let secret = environment.secret(reference);
            secret_files.borrow_mut().note(reference, &secret);
            secret
        };
        let (book, found) = compile(&sources, &surroundings, &noted);
        problems.extend(found);
        let mut loaded = Loaded {
            sources,
            settings,
            book,
            problems,
            secret_files: secret_files.into_inner(),
        };
        // Broken settings may be broken groups: then the rules are not what they seem.
        if loaded.is_broken() {
            loaded.book = None;
        }
        loaded
    }

    /// As much as `try` needs: where there is no service file, the shipped bridges; what only running needs may be
    /// missing. Nothing is believed by a secret that is not there.
    pub fn for_a_look(directory: &Path, environment: &Environment) -> Loaded {
        let (sources, problems) = match directory.join(SERVICE_FILE).exists() {
            true => read_directory(directory),
            false => Default::default(),
        };
        Loaded::look(sources, problems, environment)
    }

    /// The same with sources that were read before, and what was wrong in reading them.
    pub fn look(sources: Sources, mut problems: Vec<Problem>, environment: &Environment) -> Loaded {
        let (settings, surroundings, _) = Settings::read(&sources, environment);
        let secrets = |reference: &SecretRef| environment.secret(reference);
        let (book, found) = RuleBook::compile_without_missing(&sources, &surroundings, &secrets);
        problems.extend(found);
        Loaded {
            sources,
            settings,
            book,
            problems,
            secret_files: SecretFiles::default(),
        }
    }

    /// Whether something is wrong, so that the directory cannot be used.
    pub fn is_broken(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.level == Level::Error)
    }
}
