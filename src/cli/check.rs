//! `check`: every problem of a directory, and what is there when there is none.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::online::{self, Finding, Named, ask_server};
use super::post_line::curl_line;
use super::running::ask_service;
use crate::bridge::auth::Scheme;
use crate::bridge::destination::{Destination, What};
use crate::bridge::measure::write_time;
use crate::bridge::problem::{Level, Problem, Sources, show};
use crate::bridge::route::Route;
use crate::bridge::{Bridge, RuleBook};
use crate::deliver::{OpenIm, Unproven};
use crate::intake::authenticate::chosen;
use crate::intake::sample::check_samples;
use crate::model::{Clock, Conversation, Timestamp};
use crate::settings::{DeliverySettings, Environment, Loaded, Settings};

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask the OpenIM server too: token, bot account, each group and person, membership, server family; and the running
    /// service, when each secret last verified a webhook
    #[arg(long)]
    pub online: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A directory that was checked.
#[derive(Debug)]
pub struct Checked {
    /// Its texts, its settings and its rules.
    pub loaded: Loaded,
    /// Everything that is wrong or worth knowing, the samples' mistakes too; errors last, where a person sees them.
    pub problems: Vec<Problem>,
    /// What the OpenIM server said; `None` when it was not asked.
    pub online: Option<Vec<Finding>>,
}

/// Checks a directory and writes what there is to say to `out`, with colours. `true` when it can be used. `reach` makes the
/// client for the server of the settings.
pub async fn run(
    args: &Args,
    directory: &Path,
    environment: &Environment,
    clock: &Clock,
    reach: impl FnOnce(&Settings) -> anyhow::Result<OpenIm>,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut checked = check(directory, environment, clock.now());
    if args.online
        && let Some(settings) = &checked.loaded.settings
    {
        let openim = reach(settings)?;
        let named = checked.loaded.book.as_ref().map(named).unwrap_or_default();
        let mut findings = ask_server(&openim, &named, clock.now()).await;
        findings.extend(ask_service(settings).await);
        checked.online = Some(findings);
    }
    if args.json {
        writeln!(out, "{:#}", checked.to_json())?;
    } else {
        write!(out, "{}", checked.to_text(directory))?;
    }
    Ok(!checked.is_broken())
}

/// Checks a directory: loads it, and renders every template with its samples.
pub fn check(directory: &Path, environment: &Environment, now: Timestamp) -> Checked {
    let loaded = Loaded::read(directory, environment);
    let mut problems = loaded.problems.clone();
    if let Some(book) = &loaded.book {
        problems.extend(check_samples(book, &loaded.sources, now));
        if book.doors().next().is_none() {
            problems.push(Problem {
                level: Level::Warning,
                help: Some("a file `bridges/NAME.toml` with `extends`, `secrets` and a `[[route]]` opens one".to_owned()),
                ..Problem::of_file("bridges", "no bridge takes webhooks: no door is open")
            });
        }
    }
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.level));
    Checked {
        loaded,
        problems,
        online: None,
    }
}

impl Checked {
    /// Whether the directory cannot be used, or the server could not take its messages.
    pub fn is_broken(&self) -> bool {
        let refused = |finding: &Finding| finding.level == online::Level::Problem;
        self.count(Level::Error) > 0 || self.online.iter().flatten().any(refused)
    }

    fn count(&self, level: Level) -> usize {
        let of_level = |problem: &&Problem| problem.level == level;
        self.problems.iter().filter(of_level).count()
    }

    /// For people, with colours.
    pub fn to_text(&self, directory: &Path) -> String {
        let mut text = show(&self.problems, &self.loaded.sources, true);
        if let (Some(settings), Some(book)) = (&self.loaded.settings, &self.loaded.book) {
            for bridge in bridges(book) {
                text.push_str(&describe(settings, bridge, directory));
            }
            let _ = writeln!(text, "{}\n", schedule_in_words(&settings.delivery));
        }
        for finding in self.online.iter().flatten() {
            let style = match finding.level {
                online::Level::Ok => Style::new(),
                online::Level::Warning => colour(AnsiColor::Yellow),
                online::Level::Problem => colour(AnsiColor::Red),
            };
            let _ = writeln!(text, "{style}{finding}{style:#}");
        }
        if self
            .online
            .as_ref()
            .is_some_and(|findings| !findings.is_empty())
        {
            text.push('\n');
        }
        text.push_str(&self.verdict(directory));
        text
    }

    /// One line: what is there, and what is wrong with it.
    fn verdict(&self, directory: &Path) -> String {
        let refused = |finding: &&Finding| finding.level == online::Level::Problem;
        let online = self.online.iter().flatten().filter(refused).count();
        let counts = [
            (self.count(Level::Error), "error", colour(AnsiColor::Red)),
            (online, "problem at the server", colour(AnsiColor::Red)),
            (
                self.count(Level::Warning),
                "warning",
                colour(AnsiColor::Yellow),
            ),
            (self.count(Level::Advice), "piece of advice", Style::new()),
        ];
        let mut found: Vec<String> = Vec::new();
        if !self.is_broken() {
            let good = colour(AnsiColor::Green);
            found.push(format!("{good}no problem{good:#}"));
        }
        for (count, word, style) in counts.into_iter().filter(|(count, _, _)| *count > 0) {
            found.push(format!("{style}{}{style:#}", plural(count, word)));
        }
        let what = match &self.loaded.book {
            Some(book) => inventory(book, &self.loaded.sources),
            None => directory.display().to_string(),
        };
        format!("{what}: {}\n", found.join(", "))
    }

    /// For machines. Its shape is kept stable: `ok`; `problems` (each: `level`, `file`, `line`, `column`, `message`, `help`);
    /// `digest`, of the rule-book; `bridges` at work (each: `name`, `url`, `null` for the service's own notices, `known_by`, `worth`, `routes`); `online`
    /// (each: `level`, `about`, `says`), `null` when the server was not asked.
    pub fn to_json(&self) -> Value {
        let problem = |problem: &Problem| {
            let place = problem.position(&self.loaded.sources);
            json!({
                "level": problem.level.word(),
                "file": problem.file,
                "line": place.map(|(line, _)| line),
                "column": place.map(|(_, column)| column),
                "message": problem.message,
                "help": problem.help,
            })
        };
        let bridge = |bridge: &Bridge| {
            let settings = self.loaded.settings.as_ref();
            json!({
                "name": bridge.name,
                "url": settings.filter(|_| bridge.is_door()).map(|settings| address(settings, bridge)),
                "known_by": ways(bridge),
                "worth": worth(bridge),
                "routes": bridge.routes.iter().map(|route| &route.name).collect::<Vec<_>>(),
            })
        };
        let book = self.loaded.book.as_ref();
        let at_work = book.into_iter().flat_map(bridges);
        json!({
            "ok": !self.is_broken(),
            "problems": self.problems.iter().map(problem).collect::<Vec<_>>(),
            "digest": book.map(|book| &book.digest),
            "bridges": at_work.map(bridge).collect::<Vec<_>>(),
            "retry": self.loaded.settings.as_ref().map(|settings| {
                let schedule = &settings.delivery.schedule;
                json!({ "attempts": schedule.attempts(), "horizon_s": schedule.horizon.as_secs() })
            }),
            "online": self.online,
        })
    }
}

fn colour(colour: AnsiColor) -> Style {
    Style::new().bold().fg_color(Some(colour.into()))
}

/// The bridges that something goes through: those with a door, and the one of the service's own notices.
fn bridges(book: &RuleBook) -> impl Iterator<Item = &Bridge> {
    book.doors().chain(book.notices()).map(|bridge| &**bridge)
}

/// What a rule-book names at the server.
fn named(book: &RuleBook) -> Named {
    let mut named = Named::default();
    let mut seen = BTreeSet::new();
    let known_groups = book
        .groups
        .iter()
        .map(|(name, group)| (name.clone(), Conversation::Group(group.id.clone())));
    let known_people = book.people.list().map(|(name, person)| {
        (
            name.to_owned(),
            Conversation::Person(person.user_id.clone()),
        )
    });
    let mut all: Vec<(String, Conversation)> = known_groups.chain(known_people).collect();
    for to in bridges(book)
        .flat_map(|bridge| &bridge.routes)
        .flat_map(|route| &route.to)
    {
        match to {
            Destination::Fixed {
                written,
                conversation,
            } => all.push((written.clone(), conversation.clone())),
            Destination::Computed { what, .. } => named.notices |= what.word() == "notice",
        }
    }
    for (name, conversation) in all {
        named.notices |= matches!(conversation, Conversation::Notice(_));
        if seen.insert(conversation.lane()) {
            let id = conversation.id().to_owned();
            match conversation {
                Conversation::Group(_) => named.groups.push((name, id)),
                Conversation::Person(_) | Conversation::Notice(_) => named.people.push((name, id)),
            }
        }
    }
    named
}

/// `2 bridges, 5 routes, 12 templates, 3 groups`
fn inventory(book: &RuleBook, sources: &Sources) -> String {
    let routes: usize = bridges(book).map(|bridge| bridge.routes.len()).sum();
    let own = |path: &&String| path.starts_with("templates/") && path.ends_with(".hbs");
    let own = sources.keys().filter(own).count();
    let templates = plural(book.templates.names().len(), "template");
    let parts = [
        plural(bridges(book).count(), "bridge"),
        plural(routes, "route"),
        format!("{templates} ({own} of your own)"),
        plural(book.groups.len(), "group"),
    ];
    parts.join(", ")
}

/// What the settings of the delivery mean for one message.
fn schedule_in_words(delivery: &DeliverySettings) -> String {
    let schedule = &delivery.schedule;
    let retry = format!(
        "A message that OpenIM does not take now waits at most {}, then twice as long each time, up to {}: about {} attempts over {}.",
        write_time(schedule.first),
        write_time(schedule.longest),
        schedule.attempts(),
        write_time(schedule.horizon),
    );
    let after = match (delivery.read_back, delivery.unproven) {
        (false, _) => format!(
            "Nothing is read back: a message ends at `accepted`, at most {} a second go into one conversation.",
            delivery.pace
        ),
        (true, Unproven::Repeat) => format!(
            "One that is accepted and neither found nor proven lost within {} is sent again.",
            write_time(delivery.prove)
        ),
        (true, Unproven::Hold) => format!(
            "One that is accepted and neither found nor proven lost within {} makes its conversation wait for you.",
            write_time(delivery.prove)
        ),
    };
    format!("{retry}\n{after}")
}

fn plural(count: usize, word: &str) -> String {
    match (count, word.split_once(' ')) {
        (1, _) => format!("1 {word}"),
        (_, Some((first, rest))) => format!("{count} {first}s {rest}"),
        _ => format!("{count} {word}s"),
    }
}

/// One bridge: where it takes webhooks, who is believed, where its events go, and a line to try it.
fn describe(settings: &Settings, bridge: &Bridge, directory: &Path) -> String {
    let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
    let address = address(settings, bridge);
    let takes = match bridge.is_door() {
        true => format!("POST {address}"),
        false => "what the service has to say about itself".to_owned(),
    };
    let mut text = format!("{bold}{}{bold:#}  {takes}\n", bridge.name);
    let widest = bridge
        .routes
        .iter()
        .map(|route| route.name.chars().count())
        .max()
        .unwrap_or(0)
        .clamp(8, 24);
    let mut line = |what: &str, said: &str| {
        let _ = writeln!(text, "  {dim}{what:<widest$}{dim:#}  {said}");
    };
    line("known by", &ways(bridge));
    for worth in worth(bridge) {
        line("worth", &worth);
    }
    for route in &bridge.routes {
        line(&route.name, &leads(route));
    }
    if bridge.is_door() {
        match curl_line(bridge, &address, directory) {
            Some(curl) => line("try it", &format!("{curl}  {dim}# 202{dim:#}")),
            None if can_sign(bridge) => {
                let sign = format!("openim-bridge sign {} FILE --curl", bridge.name);
                line("try it", &format!("{sign}  {dim}# prints the line{dim:#}"));
            }
            None => line(
                "try it",
                &format!("openim-bridge try {} FILE --skip-auth", bridge.name),
            ),
        }
    }
    text.push('\n');
    text
}

/// Whether `sign` can make a request of its sender.
fn can_sign(bridge: &Bridge) -> bool {
    let chosen = bridge.auth.as_ref().and_then(|auth| chosen(auth, None));
    chosen.is_some_and(|(way, _)| !matches!(way.scheme, Scheme::Ed25519(_)))
}

fn ways(bridge: &Bridge) -> String {
    let Some(auth) = &bridge.auth else {
        return "the service itself; nobody can post here".to_owned();
    };
    let ways = auth.ways().iter();
    Vec::from_iter(ways.map(|way| way.to_string())).join(", or ")
}

/// How much a request is worth that is known so; each way for itself where they differ.
fn worth(door: &Bridge) -> Vec<String> {
    let Some(auth) = &door.auth else {
        return Vec::new();
    };
    let ways = auth.ways().iter();
    let mut worth: Vec<_> = ways.map(|way| (way.to_string(), auth.worth(way))).collect();
    let alike = worth
        .iter()
        .all(|(_, other)| Some(other) == worth.first().map(|(_, first)| first));
    if alike {
        worth.truncate(1);
    }
    let said = worth.into_iter().map(|(way, worth)| match alike {
        true => worth.to_string(),
        false => format!("{way}: {worth}"),
    });
    said.collect()
}

/// `` `push`, `release.*` when … → group:ops, a computed group ``
fn leads(route: &Route) -> String {
    let mut said = match (&route.on, route.otherwise) {
        (_, true) => "what no other route took".to_owned(),
        (Some(kinds), _) => kinds.to_string(),
        (None, _) => "everything".to_owned(),
    };
    if let Some(when) = &route.when {
        said.push_str(&format!(" when {}", one_line(when.source())));
    }
    let to = route.to.iter().map(|to| match to {
        Destination::Fixed { written, .. } => written.clone(),
        Destination::Computed { what, expression } => {
            format!("{} by {}", what.word(), one_line(expression.source()))
        }
    });
    let to = Vec::from_iter(to).join(", ");
    said.push_str(if to.is_empty() {
        " → nowhere"
    } else {
        " → "
    });
    said.push_str(&to);
    let to_a_group = |to: &Destination| match to {
        Destination::Fixed { conversation, .. } => matches!(conversation, Conversation::Group(_)),
        Destination::Computed { what, .. } => *what == What::Group,
    };
    if !route.mention.is_empty() && route.to.iter().any(to_a_group) {
        // OpenIM's message with mentions (contentType 106) knows no Markdown.
        said.push_str(", calling people, so in plain text");
    }
    if route.stop {
        said.push_str(", then stop");
    }
    said
}

fn one_line(source: &str) -> String {
    const SHOWN: usize = 100;
    let line = Vec::from_iter(source.split_whitespace()).join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Where senders reach a bridge.
fn address(settings: &Settings, bridge: &Bridge) -> String {
    format!("{}/hooks/{}", base_address(Some(settings)), bridge.name)
}

/// Where senders reach the door; without settings, where it listens by default.
pub fn base_address(settings: Option<&Settings>) -> String {
    let Some(settings) = settings else {
        return "http://127.0.0.1:8080".to_owned();
    };
    let listen = settings.door.listen;
    match &settings.door.public_url {
        Some(url) => url.clone(),
        None if listen.ip().is_unspecified() => format!("http://127.0.0.1:{}", listen.port()),
        None => format!("http://{listen}"),
    }
}
