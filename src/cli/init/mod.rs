//! `init`: a commented directory to start from, or a shipped file to change. Never overwrites.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use anyhow::{Context, bail};

use crate::bridge::problem::nearest;
use crate::bridge::shipped;
use crate::settings::{DEFAULT_FILE, SERVICE_FILE};

/// The arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write [default: the directory of --config, or the working directory]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Copy a shipped file to change it: a template (github/push), a bridge (github), a language (locales/zh-CN)
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
}

/// The files of a new directory: path, text, what it is for.
const FILES: [(&str, &str, &str); 3] = [
    (
        SERVICE_FILE,
        DEFAULT_FILE,
        "the service: OpenIM, addresses, storage, groups",
    ),
    (
        "people.toml",
        include_str!("people.toml"),
        "who is who, for mentions and personal messages",
    ),
    (
        "bridges/github.toml",
        include_str!("github.toml"),
        "a first bridge, POST /hooks/github",
    ),
];

/// Writes the directory or the copy, and to `out` what was done and what to do next, with colours. `directory` is used where
/// the arguments name none.
pub fn run(args: &Args, directory: &Path, out: &mut dyn Write) -> anyhow::Result<bool> {
    let directory = args.dir.as_deref().unwrap_or(directory);
    match &args.copy {
        Some(name) => copy(name, directory, out),
        None => start(directory, out),
    }
}

fn start(directory: &Path, out: &mut dyn Write) -> anyhow::Result<bool> {
    let (good, dim) = (style(AnsiColor::Green), Style::new().dimmed());
    for (path, text, purpose) in FILES {
        let place = directory.join(path);
        let shown = shown(&place);
        if write_new(&place, text).with_context(|| format!("{shown} cannot be written"))? {
            writeln!(out, "{good}written{good:#}  {shown}  {dim}{purpose}{dim:#}")?;
        } else {
            writeln!(
                out,
                "{dim}kept{dim:#}     {shown}  {dim}it was there already{dim:#}"
            )?;
        }
    }
    let config = match directory == Path::new(".") || directory == Path::new("") {
        true => String::new(),
        false => format!(" --config {}", quoted(directory)),
    };
    let bold = Style::new().bold();
    write!(
        out,
        "
{bold}Next{bold:#}
  1. Give it the secrets: OpenIM's own (`secret` in OpenIM's share.yml), and one for GitHub.
       export OPENIM_SECRET=...
       export GITHUB_WEBHOOK_SECRET=$(openssl rand -hex 32)
  2. Name the group that `bridges/github.toml` posts to: a line like `ops = \"2839678182\"` below [groups].
       openim-bridge find groups{config}
  3. See whether everything fits, here and at the OpenIM server; `setup` makes the bot account there.
       openim-bridge check --online{config}
       openim-bridge setup{config}
  4. Run it.
       openim-bridge serve{config}
"
    )?;
    Ok(true)
}

fn copy(name: &str, directory: &Path, out: &mut dyn Write) -> anyhow::Result<bool> {
    let (path, text) = find_shipped(name)?;
    let place = directory.join(&path);
    let shown = shown(&place);
    if !write_new(&place, text).with_context(|| format!("{shown} cannot be written"))? {
        bail!("{shown} is there already; nothing was changed");
    }
    let good = style(AnsiColor::Green);
    writeln!(out, "{good}written{good:#}  {shown}")?;
    let meaning = match path
        .strip_prefix("bridges/")
        .and_then(|rest| rest.strip_suffix(".toml"))
    {
        Some(bridge) => {
            format!("`extends = \"{bridge}\"` in other bridges means this file from now on.")
        }
        None => "It is used in place of the shipped file; delete it to go back.".to_owned(),
    };
    writeln!(
        out,
        "\n{meaning} `openim-bridge check` tries it with the samples."
    )?;
    Ok(true)
}

/// The shipped file of a name, with its path. Names may leave out the folder and the ending.
fn find_shipped(name: &str) -> anyhow::Result<(String, &'static str)> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for path in shipped::paths() {
        let short = path
            .strip_prefix("templates/")
            .or_else(|| path.strip_prefix("bridges/"));
        for name in [Some(path.as_str()), short].into_iter().flatten() {
            names.insert(name.to_owned(), path.clone());
            for ending in [".md.hbs", ".txt.hbs", ".json.hbs", ".toml", ".http"] {
                if let Some(bare) = name.strip_suffix(ending) {
                    names.entry(bare.to_owned()).or_insert_with(|| path.clone());
                }
            }
        }
    }
    let found = names
        .get(name)
        .and_then(|path| Some((path.clone(), shipped::find(path)?)));
    if let Some(found) = found {
        return Ok(found);
    }
    let nearby = |known: &&str| !known.starts_with("templates/") && !known.starts_with("bridges/");
    match nearest(
        name,
        names
            .keys()
            .map(String::as_str)
            .filter(|known| nearby(known)),
    ) {
        Some(near) => bail!("no file `{name}` is shipped; did you mean `{near}`?"),
        None => {
            let folder = format!("{}/", name.split('/').next().unwrap_or_default());
            let inside: Vec<&str> = names
                .keys()
                .map(String::as_str)
                .filter(|known| known.starts_with(&folder) && !known.contains('.'))
                .collect();
            let known = match inside.is_empty() {
                true => names
                    .keys()
                    .map(String::as_str)
                    .filter(|known| !known.contains(['/', '.']))
                    .collect(),
                false => inside,
            };
            bail!("no file `{name}` is shipped; there is {}", known.join(", "))
        }
    }
}

/// Writes a file that is not there yet; `false` when it is, and then it stays as it is.
fn write_new(place: &Path, text: &str) -> io::Result<bool> {
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(place) {
        Ok(mut file) => {
            file.write_all(text.as_bytes())?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The path without a leading `./`.
fn shown(place: &Path) -> String {
    place
        .strip_prefix(".")
        .unwrap_or(place)
        .display()
        .to_string()
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+~".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

fn style(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(colour.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::problem::Level;
    use crate::settings::{Environment, Loaded};

    fn init(directory: &Path, copy: Option<&str>) -> anyhow::Result<String> {
        let args = Args {
            dir: None,
            copy: copy.map(str::to_owned),
        };
        let mut out = Vec::new();
        run(&args, directory, &mut out)?;
        Ok(anstream::adapter::strip_str(&String::from_utf8(out)?).to_string())
    }

    #[test]
    fn a_new_directory_lacks_only_what_its_reader_must_say() {
        let dir = tempfile::tempdir().unwrap();
        let said = init(dir.path(), None).unwrap();
        assert_eq!(said.matches("written").count(), 3, "{said}");

        let secrets = [
            ("OPENIM_SECRET", "x"),
            ("GITHUB_WEBHOOK_SECRET", "a-long-secret"),
        ];
        let environment = Environment::of(dir.path(), secrets);
        let loaded = Loaded::read(dir.path(), &environment);
        let errors = loaded
            .problems
            .iter()
            .filter(|problem| problem.level == Level::Error);
        let errors: BTreeMap<&str, usize> = errors.fold(BTreeMap::new(), |mut told, problem| {
            *told.entry(problem.message.as_str()).or_default() += 1;
            told
        });
        assert_eq!(errors, BTreeMap::from([("unknown group `ops`", 2)]));

        let service = dir.path().join(SERVICE_FILE);
        let text = fs::read_to_string(&service).unwrap();
        fs::write(&service, text.replace("# ops = ", "ops = ")).unwrap();
        let loaded = Loaded::read(dir.path(), &environment);
        assert_eq!(loaded.problems, []);
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("people.toml"), "mine").unwrap();
        let said = init(dir.path(), None).unwrap();
        assert!(said.contains("kept"), "{said}");
        assert_eq!(
            fs::read_to_string(dir.path().join("people.toml")).unwrap(),
            "mine"
        );

        init(dir.path(), Some("github/push")).unwrap();
        let copied = dir.path().join("templates/github/push.md.hbs");
        fs::write(&copied, "mine").unwrap();
        let error = init(dir.path(), Some("github/push"))
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("is there already; nothing was changed"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(copied).unwrap(), "mine");
    }

    #[test]
    fn a_shipped_file_is_found_by_its_short_name_too() {
        for (name, path) in [
            ("github/push", "templates/github/push.md.hbs"),
            ("github/push.md.hbs", "templates/github/push.md.hbs"),
            (
                "templates/github/push.md.hbs",
                "templates/github/push.md.hbs",
            ),
            ("github", "bridges/github.toml"),
            ("locales/zh-CN", "templates/locales/zh-CN.toml"),
        ] {
            assert_eq!(find_shipped(name).unwrap().0, path, "{name}");
        }
        let error = find_shipped("github/psuh").unwrap_err().to_string();
        assert_eq!(
            error,
            "no file `github/psuh` is shipped; did you mean `github/push`?"
        );
        let error = find_shipped("of-our-own-making").unwrap_err().to_string();
        let list = "no file `of-our-own-making` is shipped; there is alertmanager, ";
        assert!(error.starts_with(list), "{error}");
    }
}
