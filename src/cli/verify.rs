//! `verify`: why a signature holds or does not. Nothing is kept or sent.
//!
//! What it prints is pasted into chats and tickets: no secret, no signature that would have been right, and no digest of
//! anything that a secret is part of.

use std::fmt::Write;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, bail};
use serde::Serialize;

use super::Everywhere;
use super::subject::{Asked, Given, Subject, whole_book};
use crate::bridge::template::harmless;
use crate::intake::authenticate::diagnose::{Cause, Diagnosis, Scene, Step, diagnose, received_at};
use crate::model::Clock;

/// The arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// A secret for a bridge that has none: env:NAME or file:/path
    #[arg(long, value_name = "REF")]
    secret: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `verify` found. Its JSON form is kept stable.
#[derive(Debug, Serialize)]
struct Report<'r> {
    bridge: &'r str,
    holds: bool,
    by: Option<&'r str>,
    reason: Option<&'r str>,
    steps: &'r [Step],
    causes: &'r [Cause],
    tried: usize,
}

/// Explains one signature. 0 when it holds, 1 when it does not.
pub fn run(everywhere: &Everywhere, args: &Args) -> ExitCode {
    let diagnosis = match look(everywhere, args) {
        Ok(diagnosis) => diagnosis,
        Err(error) => {
            super::say_error(&error);
            return ExitCode::from(2);
        }
    };
    if args.json {
        let report = Report {
            bridge: &args.asked.bridge,
            holds: diagnosis.verdict.is_ok(),
            by: diagnosis.verdict.as_deref().ok(),
            reason: diagnosis.verdict.as_deref().err().map(String::as_str),
            steps: &diagnosis.steps,
            causes: &diagnosis.causes,
            tried: diagnosis.tried,
        };
        let report = serde_json::to_string_pretty(&report);
        super::say(&report.expect("a report has only texts and lists"));
    } else {
        super::say(&lines(&diagnosis));
    }
    match diagnosis.verdict {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}

fn look(everywhere: &Everywhere, args: &Args) -> anyhow::Result<Diagnosis> {
    let asked = &args.asked;
    let Given {
        request, headless, ..
    } = asked.read()?;
    let subject = Subject::find(everywhere, &asked.bridge, args.secret.as_deref())?;
    if let (Some(secret), Some(_)) = (&args.secret, subject.number) {
        bail!(
            "the bridge has secrets of its own, and all of them are tried: leave `--secret {secret}` out"
        );
    }
    let now = asked.now.or_else(|| received_at(&request));
    let now = now.unwrap_or_else(|| Clock::system().now());
    let book = whole_book(&subject.loaded)?;
    let mut scene = Scene::of(book, &subject.bridge).context("the bridge is no door")?;
    scene.absent = subject.absent;
    let diagnosis = diagnose(&scene, request, now);
    match headless.filter(|_| diagnosis.shows_nothing()) {
        // Not the sender has forgotten it.
        Some(why) => Err(asked.complain(why, scene.auth)),
        None => Ok(diagnosis),
    }
}

/// Causes that are seen and not found by trying, so there is nothing to prove about them.
const PLAIN: [&str; 4] = [
    "secret-absent",
    "secret-as-signature",
    "body-hidden",
    "address",
];

/// The steps as lines. Colours are in it; who prints it takes them out where there is no terminal.
fn lines(diagnosis: &Diagnosis) -> String {
    let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
    let (green, red) = (AnsiColor::Green.on_default(), AnsiColor::Red.on_default());
    let mut out = String::new();
    let mut line = |name: &str, style: Style, word: &str, says: &str| {
        // What the sender wrote must not write to the terminal.
        let says = harmless(says);
        let word = format!(
            "{style}{word}{style:#}{:1$}",
            "",
            4 - word.chars().count().min(4)
        );
        writeln!(out, "{bold}{name:<8}{bold:#} {word}{says}").expect("a text takes everything");
    };
    for step in &diagnosis.steps {
        let (style, word) = match step.ok {
            Some(true) => (green, "yes"),
            Some(false) => (red, "no"),
            None => (dim, "-"),
        };
        line(step.step, style, word, &step.says);
    }
    match &diagnosis.verdict {
        Ok(by) => line("verdict", green, "yes", &format!("it holds, by {by}")),
        Err(reason) => line("verdict", red, "no", reason),
    }
    for (at, cause) in diagnosis.causes.iter().enumerate() {
        let name = match at {
            0 => "cause",
            _ => "and",
        };
        line(name, Style::new(), "", &cause.says);
        line("", dim, "→", cause.remedy);
    }
    let plain = |cause: &Cause| PLAIN.contains(&cause.id);
    let searched = |cause: &Cause| cause.id == "no-cause-found";
    let how = match &diagnosis.causes[..] {
        [] => String::new(),
        causes if causes.iter().all(plain) => String::new(),
        causes if causes.iter().all(|cause| cause.proven) => {
            let undone = if causes.len() == 1 { "it" } else { "them" };
            format!("Proven: without {undone} the request holds.")
        }
        causes if causes.iter().any(searched) => format!(
            "{} ways to have made the request were tried, and none of them fits.",
            diagnosis.tried
        ),
        _ => "This is what it looks like; it cannot be proven.".to_owned(),
    };
    if !how.is_empty() {
        writeln!(out, "\n{dim}{how}{dim:#}").expect("a text takes everything");
    }
    out.truncate(out.trim_end().len());
    out
}
