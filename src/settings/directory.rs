//! The operator's directory, read into texts.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::bridge::problem::{Level, Problem, Sources, nearest};

/// The service's own file.
pub const SERVICE_FILE: &str = "openim-bridge.toml";

/// A larger file is no configuration; it bounds what a reload reads.
const LARGEST_FILE: u64 = 1 << 20;

/// Folders in folders, links in circles included.
const DEEPEST: usize = 8;

const FOLDERS: [&str; 2] = ["bridges", "templates"];
const FILES: [&str; 2] = [SERVICE_FILE, "people.toml"];

/// The outbox of the default settings stands in the directory, with its log, its lock and the last rules beside it.
const DEFAULT_OUTBOX: &str = "openim-bridge.db";

/// Reads `openim-bridge.toml`, `people.toml`, `bridges/*.toml`, `bridges/samples/**` and `templates/**`. Links are followed, as
/// a mounted ConfigMap has them; hidden files and what editors leave behind are passed over. What cannot be read is a
/// problem that names the file.
pub fn read_directory(directory: &Path) -> (Sources, Vec<Problem>) {
    let mut found = Found::default();
    for (name, path) in found.list(directory, "") {
        let is_dir = path.is_dir();
        if is_dir && FOLDERS.contains(&name.as_str()) {
            found.read_folder(&path, &name, 1);
        } else if !is_dir && FILES.contains(&name.as_str()) {
            found.read_file(&path, &name);
        } else if !name.starts_with(DEFAULT_OUTBOX) {
            found.wonder(&name, if is_dir { &FOLDERS } else { &FILES });
        }
    }
    (found.sources, found.problems)
}

#[derive(Default)]
struct Found {
    sources: Sources,
    problems: Vec<Problem>,
}

impl Found {
    fn read_folder(&mut self, folder: &Path, name: &str, depth: usize) {
        if depth > DEEPEST {
            self.problems.push(Problem::of_file(
                name,
                "folders are nested too deeply, or a link goes in a circle",
            ));
            return;
        }
        for (entry, path) in self.list(folder, name) {
            let name = format!("{name}/{entry}");
            if path.is_dir() {
                self.read_folder(&path, &name, depth + 1);
            } else if belongs(&name) {
                self.read_file(&path, &name);
            } else {
                self.problems.push(Problem {
                    level: Level::Warning,
                    help: Some("bridges end in `.toml`, their samples stand in `bridges/samples/<bridge>/`".to_owned()),
                    ..Problem::of_file(name, "this file is not used")
                });
            }
        }
    }

    /// The entries of a folder by name, without what editors and mounts keep for themselves.
    fn list(&mut self, folder: &Path, name: &str) -> Vec<(String, std::path::PathBuf)> {
        let mut entries = Vec::new();
        let listed =
            std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        match listed {
            Ok(listed) => {
                for entry in listed {
                    match entry.file_name().into_string() {
                        Ok(name) if is_leftover(&name) => {}
                        Ok(name) => entries.push((name, entry.path())),
                        Err(odd) => self.problems.push(Problem {
                            level: Level::Warning,
                            ..Problem::of_file(
                                odd.to_string_lossy(),
                                "this name is not UTF-8; the file is not used",
                            )
                        }),
                    }
                }
            }
            Err(error) => {
                let name = if name.is_empty() {
                    folder.display().to_string()
                } else {
                    name.to_owned()
                };
                self.problems
                    .push(Problem::of_file(name, format!("cannot be listed: {error}")));
            }
        }
        entries.sort();
        entries
    }

    fn read_file(&mut self, path: &Path, name: &str) {
        match read_text(path) {
            Ok(text) => {
                self.sources.insert(name.to_owned(), text);
            }
            Err(why) => self.problems.push(Problem::of_file(name, why)),
        }
    }

    /// A name that is nearly one of ours is probably meant to be one.
    fn wonder(&mut self, name: &str, known: &[&str]) {
        if let Some(right) = nearest(name, known.iter().copied()) {
            self.problems.push(Problem {
                level: Level::Warning,
                help: Some(format!("did you mean `{right}`?")),
                ..Problem::of_file(name, "this is not read")
            });
        }
    }
}

/// Whether a file below `bridges/` or `templates/` has a use.
fn belongs(name: &str) -> bool {
    match name.strip_prefix("bridges/") {
        Some(rest) => {
            rest.starts_with("samples/") || (rest.ends_with(".toml") && !rest.contains('/'))
        }
        None => true,
    }
}

/// Hidden files (`..data` of a ConfigMap, `.#lock`, swap files) and back-ups of editors.
fn is_leftover(name: &str) -> bool {
    const ENDS: [&str; 7] = ["~", ".swp", ".swo", ".bak", ".orig", ".tmp", ".rej"];
    name.starts_with(['.', '#']) || ENDS.iter().any(|end| name.ends_with(end))
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err("cannot be read: it is not a file".to_owned());
    }
    let read = file.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err("is larger than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to())
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        format!("is not UTF-8 (line {line})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &[u8]) {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn what_belongs_is_read_and_what_editors_leave_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "openim-bridge.toml",
            "people.toml",
            "bridges/a.toml",
            "bridges/samples/a/x.http",
            "templates/a/b/push.md.hbs",
            "bridges/a.toml~",
            "bridges/.a.toml.swp",
            "bridges/#a.toml#",
            "bridges/.hidden/x.toml",
            "README.md",
            "openim-bridge.db",
            "openim-bridge.db-wal",
            "openim-bridge.db.lock",
        ] {
            write(dir.path(), name, b"");
        }
        let (sources, problems) = read_directory(dir.path());
        assert_eq!(problems, []);
        let names: Vec<_> = sources.keys().collect();
        assert_eq!(
            names,
            [
                "bridges/a.toml",
                "bridges/samples/a/x.http",
                "openim-bridge.toml",
                "people.toml",
                "templates/a/b/push.md.hbs"
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_problem_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "people.toml", b"a = 1\nb = \"\xff\"\n");
        write(dir.path(), "bridges/a.tml", b"");
        write(dir.path(), "bridge/a.toml", b"");
        write(
            dir.path(),
            "templates/huge.md.hbs",
            &vec![b'x'; (1 << 20) + 1],
        );
        let (_, problems) = read_directory(dir.path());
        let told: Vec<_> = problems
            .iter()
            .map(|p| format!("{}: {}", p.file, p.message))
            .collect();
        assert_eq!(
            told,
            [
                "bridge: this is not read",
                "bridges/a.tml: this file is not used",
                "people.toml: is not UTF-8 (line 2)",
                "templates/huge.md.hbs: is larger than 1 MiB",
            ]
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_as_a_mounted_configmap_has_them_and_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "bridges/..2026/a.toml", b"# real");
        std::os::unix::fs::symlink("..2026", dir.path().join("bridges/..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.toml", dir.path().join("bridges/a.toml")).unwrap();
        std::fs::create_dir(dir.path().join("templates")).unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("templates/round")).unwrap();
        let (sources, problems) = read_directory(dir.path());
        assert_eq!(sources["bridges/a.toml"], "# real");
        assert!(
            problems.iter().any(|p| p.message.contains("circle")),
            "{problems:?}"
        );
    }
}
