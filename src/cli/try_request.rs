//! `try`: the steps on one request, explained. Nothing is kept or sent.

use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;
use serde_json::Value;

use super::Everywhere;
use super::directory::Directory;
use super::explained;
use super::subject::{Asked, find_bridge, whole_book};
use crate::app::server_of;
use crate::bridge::destination::{Destination, parse_destination};
use crate::bridge::route::Route;
use crate::bridge::{Bridge, RuleBook};
use crate::deliver::SendAs;
use crate::deliver::openim::{Face, Unsendable};
use crate::intake::authenticate::authenticate;
use crate::intake::render::{Said, render_with_notes};
use crate::intake::route::route_explained;
use crate::intake::{Authentic, Request, Taken, parse};
use crate::model::content::MARKDOWN;
use crate::model::{Clock, Content, Conversation, Event, Family, Message, State, Timestamp};
use crate::settings::Loaded;

/// The arguments of `try`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Believe the request without a proof
    #[arg(long)]
    skip_auth: bool,
    /// A destination in place of the routes: group:ops, person:#u_1001
    #[arg(long, value_name = "DEST")]
    to: Option<String>,
    /// The family of OpenIM servers that the message is made for: `main` takes Markdown, `3.8` plain text
    #[arg(long, value_name = "FAMILY", default_value = "main")]
    server: Family,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
}

/// What `try` found. Its JSON form is kept stable.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub bridge: String,
    pub authentic: AuthenticReport,
    pub event: Option<EventReport>,
    pub silent: Option<String>,
    pub routes: Vec<RouteReport>,
    pub messages: Vec<MessageReport>,
    pub problems: Vec<String>,
    #[serde(skip)]
    pub notes: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct AuthenticReport {
    pub ok: bool,
    pub by: Option<String>,
    pub reason: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct EventReport {
    pub id: String,
    pub kind: String,
    pub time: String,
    pub title: String,
    pub actor: String,
    pub link: String,
    pub severity: &'static str,
    pub state: Option<&'static str>,
    pub subject: String,
}

#[derive(Debug, Serialize)]
pub struct RouteReport {
    pub route: String,
    pub matched: bool,
    pub why: String,
    pub to: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct MessageReport {
    pub destination: String,
    pub conversation: String,
    pub content_type: i32,
    pub template: String,
    pub content: Value,
    pub text: String,
}

/// Explains one request. 0 when it makes at least one message or is silent by choice, without a problem.
pub fn run(everywhere: &Everywhere, args: Args) -> ExitCode {
    let json = args.json;
    match explain(everywhere, &args) {
        Ok(report) => {
            if json {
                super::say(
                    &serde_json::to_string_pretty(&report)
                        .expect("a report has only texts and lists"),
                );
            } else {
                super::say(&explained::lines(&report));
            }
            let spoke = !report.messages.is_empty() || report.silent.is_some();
            match spoke && report.problems.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(1),
            }
        }
        Err(error) => {
            super::say_error(&error);
            ExitCode::from(2)
        }
    }
}

fn explain(everywhere: &Everywhere, args: &Args) -> anyhow::Result<Report> {
    let asked = &args.asked;
    let now = asked.now.unwrap_or_else(|| Clock::system().now());
    let request = asked.read()?.request;
    let Directory { path, environment } = Directory::of(everywhere);
    let loaded = Loaded::for_a_look(&path, &environment);
    let mut report = Report {
        bridge: asked.bridge.clone(),
        ..Report::default()
    };
    let book = whole_book(&loaded)?;
    let bridge = find_bridge(book, &asked.bridge)?;

    let Some(authentic) = prove(bridge, request, args.skip_auth, now, &mut report) else {
        return Ok(report);
    };
    if let Some(answer) = &authentic.challenge {
        report.silent = Some(format!("a challenge, answered with {}", answer.text));
        return Ok(report);
    }
    let (event, notes) = match parse(&bridge.name, &bridge.rules, authentic, now) {
        Ok(Taken::Event(event, notes)) => (*event, notes),
        Ok(Taken::Silent(why)) => {
            report.silent = Some(why);
            return Ok(report);
        }
        Err(unreadable) => {
            report.problems.push(unreadable.to_string());
            return Ok(report);
        }
    };
    report.notes.extend(notes.iter().map(ToString::to_string));
    report.event = Some(event_report(&event));
    let bridge = match &args.to {
        Some(to) => &directed(bridge, book, to)?,
        None => bridge.as_ref(),
    };
    let send_as = loaded
        .settings
        .as_ref()
        .map(|settings| server_of(settings).send_as);
    speak(
        book,
        bridge,
        &event,
        args.server,
        &send_as.unwrap_or_default(),
        &mut report,
    );
    Ok(report)
}

fn prove(
    bridge: &Bridge,
    request: Request,
    skip: bool,
    now: Timestamp,
    report: &mut Report,
) -> Option<Authentic> {
    if skip {
        let by = "nothing: --skip-auth".to_owned();
        report.authentic = AuthenticReport {
            ok: true,
            by: Some(by.clone()),
            reason: None,
        };
        return Some(Authentic::unproven(request, by));
    }
    let Some(auth) = &bridge.auth else {
        let reason = "the bridge has no secrets, so the door does not know it; --skip-auth believes the request";
        report.authentic.reason = Some(reason.to_owned());
        return None;
    };
    match authenticate(auth, request, now) {
        Ok(authentic) => {
            report.authentic = AuthenticReport {
                ok: true,
                by: Some(authentic.by.clone()),
                reason: None,
            };
            Some(authentic)
        }
        Err(refusal) => {
            report.authentic.reason = Some(refusal.to_string());
            None
        }
    }
}

fn event_report(event: &Event) -> EventReport {
    EventReport {
        id: event.id.to_string(),
        kind: event.kind.clone(),
        time: event.time.to_string(),
        title: event.title.clone(),
        actor: event.actor.clone(),
        link: event.link.clone(),
        severity: event.severity.word(),
        state: event.state.map(State::word),
        subject: event.subject.clone(),
    }
}

/// The bridge with one route, which leads to `to` whatever comes.
fn directed(bridge: &Bridge, book: &RuleBook, to: &str) -> anyhow::Result<Bridge> {
    let conversation = match parse_destination(to, &book.groups, &book.people) {
        Ok(conversation) => conversation,
        Err(flaw) => match flaw.help {
            Some(help) => bail!("--to {to}: {} ({help})", flaw.message),
            None => bail!("--to {to}: {}", flaw.message),
        },
    };
    let mut bridge = bridge.clone();
    bridge.routes = vec![Route::straight_to(
        "--to",
        Destination::Fixed {
            written: to.to_owned(),
            conversation,
        },
    )];
    Ok(bridge)
}

fn speak(
    book: &RuleBook,
    bridge: &Bridge,
    event: &Event,
    family: Family,
    send_as: &SendAs,
    report: &mut Report,
) {
    let routing = route_explained(bridge, book, event);
    report.routes = routing
        .decisions
        .iter()
        .map(|decision| RouteReport {
            route: decision.route.clone(),
            matched: decision.matched,
            why: decision.why.clone(),
            to: decision.to.clone(),
        })
        .collect();
    if !routing.taken {
        report
            .problems
            .push("no route takes this event: it would be kept as unrouted".to_owned());
    }
    let mut silences = Vec::new();
    for spoken in render_with_notes(book, event, &routing.addressed) {
        report
            .notes
            .extend(spoken.notes.iter().map(|note| note.message.clone()));
        let destination = spoken.destination;
        match spoken.said {
            Said::Silent(why) => silences.push(why),
            Said::Broken(reason) => report.problems.push(format!("{destination}: {reason}")),
            Said::Ready(message) => match shown(
                destination.clone(),
                &spoken.conversation,
                message,
                family,
                send_as,
            ) {
                Ok(message) => report.messages.push(message),
                Err(unsendable) => report.problems.push(format!("{destination}: {unsendable}")),
            },
        }
    }
    if report.messages.is_empty() && report.problems.is_empty() {
        report.silent = silences.into_iter().next();
    }
}

/// A message as OpenIM gets it and as a person reads it.
fn shown(
    destination: String,
    conversation: &Conversation,
    message: Message,
    family: Family,
    send_as: &SendAs,
) -> Result<MessageReport, Unsendable> {
    let face = Face::of(&message, conversation, family, send_as)?;
    let text = match &message.content {
        Content::Text {
            markdown: Some(markdown),
            ..
        } if face.content_type == MARKDOWN => markdown.clone(),
        Content::Text { plain, .. } => plain.clone(),
        Content::Raw { content, .. } => words_of(content),
    };
    Ok(MessageReport {
        destination,
        conversation: conversation.to_string(),
        content_type: face.content_type,
        template: message.template,
        content: face.content,
        text,
    })
}

/// The texts in a content, a line each: what a person would see of it is for OpenIM's clients to say.
fn words_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(items) => lines_of(items.iter()),
        Value::Object(fields) => lines_of(fields.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

fn lines_of<'v>(values: impl Iterator<Item = &'v Value>) -> String {
    let lines: Vec<String> = values
        .map(words_of)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\n")
}
