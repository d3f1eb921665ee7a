//! What `try` found, for a person: the steps in order, with the reason for each yes and no.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::try_request::Report;
use crate::bridge::template::harmless;

const STEP: Style = Style::new().bold();
const YES: Style = AnsiColor::Green.on_default();
const NO: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();

/// The steps as lines. Colours are in it; who prints it takes them out where there is no terminal.
pub fn lines(report: &Report) -> String {
    let mut out = String::new();
    authentic(report, &mut out);
    event(report, &mut out);
    routes(report, &mut out);
    messages(report, &mut out);
    for note in &report.notes {
        line(&mut out, format_args!("{DIM}note{DIM:#}       {note}"));
    }
    for problem in &report.problems {
        line(&mut out, format_args!("{NO}problem{NO:#}    {problem}"));
    }
    out.truncate(out.trim_end().len());
    out
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a text takes everything");
}

fn authentic(report: &Report, out: &mut String) {
    let found = &report.authentic;
    match (&found.by, &found.reason) {
        (Some(by), _) => line(
            out,
            format_args!("{STEP}authentic{STEP:#}  {YES}yes{YES:#}, by {by}"),
        ),
        (None, Some(reason)) => line(
            out,
            format_args!("{STEP}authentic{STEP:#}  {NO}no{NO:#}: {reason}"),
        ),
        (None, None) => {}
    }
}

fn event(report: &Report, out: &mut String) {
    let Some(event) = &report.event else {
        if let Some(why) = &report.silent {
            let why = harmless(why);
            line(out, format_args!("{STEP}silent{STEP:#}     {why}"));
        }
        return;
    };
    let title = if event.title.is_empty() {
        "(no title)"
    } else {
        &event.title
    };
    // What the sender wrote must not write to the terminal.
    let title = harmless(title);
    line(
        out,
        format_args!("{STEP}event{STEP:#}      {}  {title}", event.kind),
    );
    let state = event.state.unwrap_or("-");
    let fields = [
        ("severity", event.severity),
        ("state", state),
        ("actor", event.actor.as_str()),
        ("link", event.link.as_str()),
        ("subject", event.subject.as_str()),
        ("time", event.time.as_str()),
        ("id", event.id.as_str()),
    ];
    for (name, value) in fields {
        if !value.is_empty() {
            let value = harmless(value);
            line(out, format_args!("           {DIM}{name:<9}{DIM:#}{value}"));
        }
    }
}

fn routes(report: &Report, out: &mut String) {
    if report.event.is_none() {
        return;
    }
    let mut name = "routes";
    if report.routes.is_empty() {
        line(
            out,
            format_args!(
                "{STEP}routes{STEP:#}     {NO}none{NO:#}: the bridge has no route; --to DEST shows what one would say"
            ),
        );
    }
    for route in &report.routes {
        let to = match route.to.is_empty() {
            true => String::new(),
            false => format!(" → {}", route.to.join(", ")),
        };
        let (colour, word) = if route.matched {
            (YES, "yes")
        } else {
            (NO, "no ")
        };
        let why = harmless(&route.why);
        line(
            out,
            format_args!(
                "{STEP}{name:<11}{STEP:#}{colour}{word}{colour:#} {}{to}  {DIM}{why}{DIM:#}",
                route.route
            ),
        );
        name = "";
    }
}

fn messages(report: &Report, out: &mut String) {
    if let (Some(why), Some(_)) = (&report.silent, &report.event) {
        line(out, format_args!("{STEP}silent{STEP:#}     {why}"));
    }
    for message in &report.messages {
        line(
            out,
            format_args!(
                "{STEP}message{STEP:#}    to {}  {DIM}contentType {}, {}{DIM:#}",
                message.destination, message.content_type, message.template
            ),
        );
        for text in message.text.lines() {
            line(out, format_args!("           {DIM}│{DIM:#} {text}"));
        }
    }
}
