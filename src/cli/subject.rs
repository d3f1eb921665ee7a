//! What `try`, `sign` and `verify` are about: a bridge at hand, and a request out of a file.

use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::Everywhere;
use super::directory::Directory;
use crate::bridge::auth::Auth;
use crate::bridge::problem::{Sources, show};
use crate::bridge::{Bridge, RuleBook, shipped};
use crate::intake::Request;
use crate::model::SecretRef;
use crate::settings::{Environment, Loaded};

/// A bridge with secrets, in its directory.
pub struct Subject {
    /// The directory.
    pub loaded: Loaded,
    /// What its references are resolved with.
    pub environment: Environment,
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
        let mut loaded = Loaded::for_a_look(&path, &environment);
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
        Ok(Subject {
            loaded,
            environment,
            bridge,
            number,
        })
    }

    /// How its sender shows who it is.
    pub fn auth(&self) -> anyhow::Result<&Auth> {
        self.bridge.auth.as_ref().context("the bridge is no door")
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
        bail!(
            "there is no bridge `{name}`; there are: {}",
            known.join(", ")
        );
    };
    Ok(bridge)
}

/// Reads a request from a file, `-` is standard input, and adds headers to it.
pub fn read_request(bridge: &str, file: &str, headers: &[String]) -> anyhow::Result<Request> {
    let text = read_file(file)?;
    let mut request = Request::from_text(bridge, &text).with_context(|| format!("`{file}`"))?;
    for header in headers {
        let added = request.add_header(header);
        added.with_context(|| format!("`{header}` is no header: `Name: value` is expected"))?;
    }
    Ok(request)
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
        bail!(
            "`{secret}` is none of the secrets of `{}`: {}",
            bridge.name,
            known.join(", ")
        );
    };
    Ok(number)
}
