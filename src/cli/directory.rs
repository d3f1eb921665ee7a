//! Which directory a command is about, and the environment it is read with.

use std::path::{Path, PathBuf};

use super::Everywhere;
use crate::settings::{Environment, SERVICE_FILE};

/// The operator's directory and its environment.
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// The variables of the process; relative `file:` references begin in the directory.
    pub environment: Environment,
}

impl Directory {
    /// The directory of `--config`; else the working directory if it is one, else the system's place, else the working
    /// directory.
    pub fn of(everywhere: &Everywhere) -> Directory {
        let path = match &everywhere.config {
            Some(path) => path.clone(),
            None => default_directory(&Environment::of_process(Path::new("."))),
        };
        Directory {
            environment: Environment::of_process(&path),
            path,
        }
    }
}

fn default_directory(environment: &Environment) -> PathBuf {
    let home = |name| environment.find(name).map(PathBuf::from);
    let own = home("XDG_CONFIG_HOME").or_else(|| Some(home("HOME")?.join(".config")));
    let places = [
        Some(PathBuf::from(".")),
        own.map(|place| place.join("openim-bridge")),
        Some(PathBuf::from("/etc/openim-bridge")),
    ];
    let mut places = places.into_iter().flatten();
    let found = places.find(|place| place.join(SERVICE_FILE).exists());
    found.unwrap_or_else(|| PathBuf::from("."))
}
