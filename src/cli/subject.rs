//! What `try`, `sign` and `verify` are about: a bridge at hand, and a request out of a file.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use http::header::AUTHORIZATION;

use super::Everywhere;
use super::directory::Directory;
use crate::bridge::auth::{Auth, Place, Scheme};
use crate::bridge::problem::{Level, Problem, Sources, nearest, show};
use crate::bridge::{Bridge, RuleBook, shipped};
use crate::intake::{Request, as_written};
use crate::model::{SecretRef, Timestamp};
use crate::settings::{Environment, Loaded};

/// What `try`, `sign` and `verify` are told about a request.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// The bridge that the request is for
    pub bridge: String,
    /// An HTTP request as text (request line, headers, an empty line, body), such as one that the service refused and kept, or only a body; `-` is standard input
    file: String,
    /// A header more, `Name: value`; it replaces one of the file
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The moment at which it arrives or is signed, RFC 3339 [default: now; for `verify` of a kept request, when it came]
    #[arg(long, value_name = "TIME")]
    pub now: Option<Timestamp>,
}

/// A request out of a file.
pub struct Given {
    /// The request, with the headers of the command line.
    pub request: Request,
    /// The file, where it is the body and nothing else.
    pub body: Option<PathBuf>,
    /// Why the file has no head, where it has none.
    pub headless: Option<&'static str>,
}

impl Asked {
    /// Reads the request.
    pub fn read(&self) -> anyhow::Result<Given> {
        let text = read_file(&self.file)?;
        let read = Request::from_text(&self.bridge, &text);
        let mut request = read.with_context(|| format!("`{}`", self.file))?;
        // Behind a head the body is never all of the text.
        let is_body = request.body == text;
        for header in &self.headers {
            add_header(&mut request, header)?;
        }
        Ok(Given {
            body: (is_body && self.file != "-").then(|| self.file.clone().into()),
            headless: is_body.then(|| why_headless(&text)),
            request,
        })
    }

    /// That the file does not show what it should, and how one looks that does.
    pub fn complain(&self, why: &str, auth: &Auth) -> anyhow::Error {
        let header = auth.ways().iter().find_map(|way| match way.scheme {
            Scheme::Basic | Scheme::Bearer => Some(AUTHORIZATION),
            _ => way.places().iter().find_map(|place| match place {
                Place::Header(name) => Some(name.clone()),
                _ => None,
            }),
        });
        let header = header.map(|name| as_written(&name));
        let line = header.as_ref().map(|name| format!("\n  {name}: …"));
        let by_hand = header.map(|name| format!(", or hand its headers over: `-H '{name}: …'`"));
        anyhow!(
            "`{}` {why}, so nothing in it can show who sent it. Save the whole request{}:\n\n  POST /hooks/{} HTTP/1.1\n  Content-Type: application/json{}\n\n  {{\"the\": \"body, byte for byte\"}}",
            self.file,
            by_hand.unwrap_or_default(),
            self.bridge,
            line.unwrap_or_default(),
        )
    }
}

/// What a text without a request line looks like.
fn why_headless(text: &[u8]) -> &'static str {
    let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_text = |text: &str| !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    let is_header = || {
        let name = first.split(|&byte| byte == b':').next().unwrap_or_default();
        // Pages that show a request also write `Request URL: …`.
        let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_ ".contains(byte);
        !name.is_empty() && name.len() < first.len() && name.iter().all(in_name)
    };
    if text.trim_ascii().is_empty() {
        "is empty"
    } else if !std::str::from_utf8(text).is_ok_and(is_text) {
        "is no text but binary"
    } else if first.starts_with(b"> ") || first.starts_with(b"* ") {
        "looks like what `curl -v` prints (take the `> ` in front of its lines away)"
    } else if first.starts_with(b"HTTP/") {
        "is an answer and no request"
    } else if is_header() {
        "has headers but no request line above them"
    } else {
        "is only a body"
    }
}

/// Adds a header of the command line. Its value may be a secret, so no complaint repeats it.
fn add_header(request: &mut Request, header: &str) -> anyhow::Result<()> {
    let name = header.split([':', ' ', '\r', '\n']).next();
    let name = name.unwrap_or_default().escape_debug();
    if header.contains(['\r', '\n']) {
        bail!("`-H '{name}…'` has a line break in it: give -H once for each header");
    }
    let added = request.add_header(header);
    added.with_context(|| {
        format!("`-H '{name}…'` is no header: `Name: value` is expected, without line breaks or other control characters")
    })
}

/// A bridge with secrets, in its directory.
pub struct Subject {
    /// Where the directory is.
    pub directory: PathBuf,
    /// What stands in it.
    pub loaded: Loaded,
    /// Those of the bridge's secrets that are not there, by their number from 1, and why.
    pub absent: Vec<(usize, String)>,
    /// The bridge.
    pub bridge: Arc<Bridge>,
    /// The secret that was asked for, counted from 1.
    pub number: Option<usize>,
}

impl Subject {
    /// Looks for a bridge. `secret` is the number of one of its secrets or their reference; for a bridge without secrets any
    /// reference.
    pub fn find(
        everywhere: &Everywhere,
        name: &str,
        secret: Option<&str>,
    ) -> anyhow::Result<Subject> {
        let Directory { path, environment } = Directory::of(everywhere);
        let loaded = Loaded::for_a_look(&path, &environment);
        let mut loaded = without_broken_others(loaded, name, &environment);
        let mut bridge = Arc::clone(find_bridge(whole_book(&loaded)?, name)?);
        let mut number = None;
        match secret {
            Some(reference) if bridge.secrets.is_empty() => {
                let reference: SecretRef = reference.parse()?;
                environment.secret(&reference).map_err(anyhow::Error::msg)?;
                loaded = Loaded::look(
                    with_secret(loaded.sources, name, &reference),
                    Vec::new(),
                    &environment,
                );
                bridge = Arc::clone(find_bridge(whole_book(&loaded)?, name)?);
            }
            Some(secret) => number = Some(number_of(&bridge, secret)?),
            None => {}
        }
        if bridge.auth.is_none() {
            bail!(
                "the bridge `{name}` has no secrets, so the door does not know it; `--secret env:NAME` or `file:/path` gives it one for now"
            );
        }
        let secrets = bridge.secrets.iter().enumerate();
        let absent = secrets.filter_map(|(at, reference)| {
            let why = environment.secret(reference).err()?;
            Some((at + 1, why))
        });
        Ok(Subject {
            directory: std::path::absolute(path)?,
            absent: absent.collect(),
            loaded,
            bridge,
            number,
        })
    }

    /// The secret that is asked for and not there; without a number, the first of those.
    pub fn lacks(&self) -> Option<&(usize, String)> {
        let wanted = |(number, _): &&(usize, String)| self.number.is_none_or(|one| one == *number);
        self.absent.iter().find(wanted)
    }

    /// How its sender shows who it is.
    pub fn auth(&self) -> anyhow::Result<&Auth> {
        self.bridge.auth.as_ref().context("the bridge is no door")
    }
}

/// The directory without the other bridges that are broken: nothing of them is asked here.
fn without_broken_others(loaded: Loaded, name: &str, environment: &Environment) -> Loaded {
    if loaded.book.is_some() {
        return loaded;
    }
    let own = format!("bridges/{name}.toml");
    let broken = |problem: &&Problem| problem.level == Level::Error;
    let broken = loaded.problems.iter().filter(broken);
    let broken: BTreeSet<&str> = broken.map(|problem| problem.file.as_str()).collect();
    let mut sources = loaded.sources.clone();
    // Where one of these stands in front of a shipped one, what is left would mean something else.
    sources.retain(|path, _| {
        let is_other = path.starts_with("bridges/") && *path != own;
        !(is_other && broken.contains(path.as_str()) && shipped::find(path).is_none())
    });
    let rest = Loaded::look(sources, Vec::new(), environment);
    match rest.book {
        Some(_) => rest,
        None => loaded,
    }
}

/// The rules of a directory, if they are whole.
pub fn whole_book(loaded: &Loaded) -> anyhow::Result<&RuleBook> {
    let Some(book) = &loaded.book else {
        let first = show(&loaded.problems, &loaded.sources, false);
        bail!("the directory is broken, `openim-bridge check` shows how:\n{first}");
    };
    Ok(book)
}

/// A bridge by its name.
pub fn find_bridge<'b>(book: &'b RuleBook, name: &str) -> anyhow::Result<&'b Arc<Bridge>> {
    let Some(bridge) = book.bridges.get(name) else {
        let known: Vec<&str> = book.bridges.keys().map(String::as_str).collect();
        if let Some(near) = nearest(&name.to_lowercase(), known.iter().copied()) {
            bail!("there is no bridge `{name}`; did you mean `{near}`?");
        }
        bail!(
            "there is no bridge `{name}`; there are: {}",
            known.join(", ")
        );
    };
    Ok(bridge)
}

fn read_file(file: &str) -> anyhow::Result<Vec<u8>> {
    if file != "-" {
        return std::fs::read(file).with_context(|| format!("`{file}` cannot be read"));
    }
    let mut text = Vec::new();
    let read = std::io::stdin().read_to_end(&mut text);
    read.context("standard input cannot be read")?;
    Ok(text)
}

/// The directory with a secret for a bridge that has none. Keys before the first table are the bridge's own.
fn with_secret(mut sources: Sources, bridge: &str, reference: &SecretRef) -> Sources {
    let path = format!("bridges/{bridge}.toml");
    let text = sources.get(&path).map(String::as_str);
    let text = text.or_else(|| shipped::find(&path)).unwrap_or_default();
    let secrets = toml::Value::from(vec![reference.to_string()]);
    let text = format!("secrets = {secrets}\n{text}");
    sources.insert(path, text);
    sources
}

fn number_of(bridge: &Bridge, secret: &str) -> anyhow::Result<usize> {
    let named = |reference: &SecretRef| reference.to_string() == secret;
    let by_name = bridge.secrets.iter().position(named).map(|at| at + 1);
    let by_number = secret
        .parse()
        .ok()
        .filter(|number| (1..=bridge.secrets.len()).contains(number));
    let Some(number) = by_name.or(by_number) else {
        let known: Vec<String> = bridge.secrets.iter().map(ToString::to_string).collect();
        if secret.parse::<usize>().is_err() {
            secret.parse::<SecretRef>()?;
        }
        bail!(
            "`{secret}` is none of the secrets of `{}`: {}",
            bridge.name,
            known.join(", ")
        );
    };
    Ok(number)
}
