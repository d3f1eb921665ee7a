//! The environment: the only place where its variables and the files of secrets are read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::model::{Secret, SecretRef};

/// A secret that is longer is no secret but a wrong file.
const LONGEST_SECRET: u64 = 64 * 1024;

/// The variables of the process at one moment, and the directory where relative `file:` references begin.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    directory: PathBuf,
}

impl Environment {
    /// What the process was started with; `directory` is the one of the configuration.
    pub fn of_process(directory: &Path) -> Environment {
        let named = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Environment {
            variables: std::env::vars_os().filter_map(named).collect(),
            directory: directory.to_owned(),
        }
    }

    /// Just these variables.
    pub fn of<'a>(
        directory: &Path,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Environment {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.into());
        Environment {
            variables: variables.into_iter().map(owned).collect(),
            directory: directory.to_owned(),
        }
    }

    /// The variables whose names begin with `prefix`; a value that is not UTF-8 is `None`.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
        let prefix = prefix.to_owned();
        let wanted = self
            .variables
            .iter()
            .filter(move |(name, _)| name.starts_with(&prefix));
        wanted.map(|(name, value)| (name.as_str(), value.to_str()))
    }

    /// One variable as text.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.to_str()
    }

    /// The secret behind a reference. A file loses one newline at its end.
    ///
    /// # Errors
    /// Says why there is none, without a word of it.
    pub fn secret(&self, reference: &SecretRef) -> Result<Secret, String> {
        let bytes = match reference {
            SecretRef::Env(name) => {
                let value = self.variables.get(name);
                let value =
                    value.ok_or_else(|| format!("the environment has no variable `{name}`"))?;
                value.clone().into_encoded_bytes()
            }
            SecretRef::File(path) => read_secret(&self.directory.join(path))
                .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?,
        };
        if bytes.is_empty() {
            return Err(format!("`{reference}` is empty"));
        }
        Ok(Secret::new(bytes))
    }
}

fn read_secret(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LONGEST_SECRET + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_SECRET {
        return Err(std::io::Error::other("it is longer than 64 KiB"));
    }
    let newline = [&b"\r\n"[..], b"\n"]
        .into_iter()
        .find(|newline| bytes.ends_with(newline));
    bytes.truncate(bytes.len() - newline.map_or(0, <[u8]>::len));
    Ok(bytes)
}

/// Names only: the values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(environment: &Environment, reference: &str) -> Result<String, String> {
        let secret = environment.secret(&reference.parse().unwrap())?;
        Ok(secret.expose_text().unwrap().to_owned())
    }

    #[test]
    fn a_file_loses_one_newline_and_a_variable_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("one"), "hunter2\n\n").unwrap();
        std::fs::write(dir.path().join("crlf"), "hunter2\r\n").unwrap();
        let environment = Environment::of(dir.path(), [("S", "hunter2\n")]);
        assert_eq!(secret(&environment, "file:one").unwrap(), "hunter2\n");
        assert_eq!(secret(&environment, "file:crlf").unwrap(), "hunter2");
        assert_eq!(secret(&environment, "env:S").unwrap(), "hunter2\n");
    }

    #[test]
    fn a_secret_that_is_not_there_or_empty_is_named_by_its_reference() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        let environment = Environment::of(dir.path(), [("E", "")]);
        assert_eq!(
            secret(&environment, "env:E").unwrap_err(),
            "`env:E` is empty"
        );
        assert_eq!(
            secret(&environment, "file:empty").unwrap_err(),
            "`file:empty` is empty"
        );
        assert_eq!(
            secret(&environment, "env:NO").unwrap_err(),
            "the environment has no variable `NO`"
        );
        assert!(
            secret(&environment, "file:no")
                .unwrap_err()
                .starts_with("`no` cannot be read: ")
        );
    }

    #[test]
    fn the_environment_prints_no_values() {
        let environment = Environment::of(Path::new("."), [("S", "hunter2")]);
        assert_eq!(format!("{environment:?}"), r#"{"S"}"#);
    }
}
