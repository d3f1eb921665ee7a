//! `events`: what came in, and taking it through today's rules again.

use std::process::ExitCode;
use std::time::Duration;

use anstyle::Style;
use anyhow::bail;
use clap::{Subcommand, value_parser};

use super::desk::{AtTheDesk, Progress, Which, cell, coloured, newest, sit_down, table};
use super::{Everywhere, say};
use crate::bridge::measure::parse_size;
use crate::outbox::{EventRecord, Prune};
use crate::settings::parse_keep;
use crate::web::desk::{CHUNK, ReplayTo, deliveries_of, keep_replay, look_at_replay};
use crate::web::shown::{DeliveryShown, EventShown, ReplayShown};

/// The arguments of `events`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List events, the newest first (the same without `list`)
    List(List),
    /// Show one event with its deliveries
    Show(Show),
    /// Take an event through today's rules again: says what that changes, sends with --yes
    Replay(Replay),
    /// Print all events that fit as JSON lines, the oldest first, with their bodies
    Export(Export),
    /// Remove old events now; the service does it by itself (`keep` and `max_size` in `[storage]`)
    Prune(PruneArgs),
}

#[derive(Clone, Debug, Default, clap::Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// Only events that no route took
    #[arg(long)]
    unrouted: bool,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 30, value_name = "ROWS", value_parser = value_parser!(u32).range(1..))]
    limit: u32,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The event's number, as `events` lists it
    number: i64,
    /// Print one JSON object, with headers and body
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Replay {
    /// The event's number, as `events` lists it
    number: i64,
    /// Send what is new, instead of only saying it
    #[arg(long)]
    yes: bool,
    /// Also into conversations that have the message
    #[arg(long)]
    again: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    which: Which,
    /// Only events that no route took
    #[arg(long)]
    unrouted: bool,
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Contents of events older than this go
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = parse_keep)]
    older_than: Duration,
    /// Beyond this size on disk the oldest go first
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
}

/// Runs `events`.
pub fn run(everywhere: &Everywhere, args: Args) -> ExitCode {
    let what = args.what.unwrap_or(What::List(args.list));
    sit_down(everywhere, async |desk| match &what {
        What::List(list) => show_list(desk, list).await,
        What::Show(show) => show_one(desk, show).await,
        What::Replay(replay) => replay_one(desk, replay).await,
        What::Export(export) => export_all(desk, export).await,
        What::Prune(prune) => prune_old(desk, prune).await,
    })
}

async fn show_list(desk: &AtTheDesk, list: &List) -> anyhow::Result<bool> {
    let mut filter = list.which.filter(desk.clock.now());
    filter.unrouted = list.unrouted;
    let page = newest(list.limit);
    let rows = desk.outbox.list_events(filter, page).await?;
    if rows.is_empty() {
        desk.note_unknown_bridge(&list.which);
    }
    if list.json {
        let shown: Vec<_> = rows.iter().map(EventShown::row).collect();
        say(&serde_json::to_string_pretty(&shown)?);
        return Ok(true);
    }
    if rows.is_empty() {
        say("no event fits");
        return Ok(true);
    }
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.number.to_string(),
                desk.time(row.kept),
                cell(&row.event.bridge, 24),
                cell(&row.event.kind, 40),
                became(row),
                cell(&row.event.title, 70),
            ]
        })
        .collect();
    let heads = ["event", "kept", "bridge", "kind", "deliveries", "title"];
    say(&table(&heads, &lines));
    if rows.len() == page.most {
        let dim = Style::new().dimmed();
        say(&format!(
            "{dim}the newest {}; -n shows more{dim:#}",
            list.limit
        ));
    }
    Ok(true)
}

/// `2 stored, 1 refused`; `no route` where none took it.
fn became(row: &EventRecord) -> String {
    if !row.routed {
        return "no route".to_owned();
    }
    let parts: Vec<String> = row
        .became
        .iter()
        .map(|(state, many)| format!("{many} {}", coloured(*state)))
        .collect();
    match parts.is_empty() {
        true => "silent".to_owned(),
        false => parts.join(", "),
    }
}

async fn show_one(desk: &AtTheDesk, show: &Show) -> anyhow::Result<bool> {
    let Some(record) = desk.outbox.find_event(show.number).await? else {
        bail!("there is no event {}", show.number);
    };
    let event = &record.event;
    let deliveries = deliveries_of(
        &*desk.outbox,
        record.number,
        &event.bridge,
        event.id.as_str(),
    )
    .await?;
    if show.json {
        let shown: Vec<_> = deliveries.iter().map(DeliveryShown::of).collect();
        let mut whole = serde_json::to_value(EventShown::whole(&record))?;
        whole["deliveries"] = serde_json::to_value(shown)?;
        say(&serde_json::to_string_pretty(&whole)?);
        return Ok(true);
    }
    let dim = Style::new().dimmed();
    let fact = |name: &str, value: &str| {
        if !value.is_empty() {
            say(&format!("{dim}{name:<10}{dim:#} {}", cell(value, 300)));
        }
    };
    fact("event", &record.number.to_string());
    fact("bridge", &event.bridge);
    fact("id", event.id.as_str());
    fact("kind", &event.kind);
    fact("title", &event.title);
    fact("actor", &event.actor);
    fact("link", &event.link);
    fact("severity", event.severity.word());
    fact("state", event.state.map_or("", |state| state.word()));
    fact("subject", &event.subject);
    fact("happened", &desk.time(event.time));
    fact("kept", &desk.time(record.kept));
    let size = match record.has_body {
        true => format!("{} bytes", event.raw.len()),
        false => "pruned".to_owned(),
    };
    fact("body", &size);
    if deliveries.is_empty() {
        let why = match record.routed {
            true => "no message, by choice of its templates",
            false => "no route took it",
        };
        fact("deliveries", why);
        return Ok(true);
    }
    say("");
    let lines: Vec<Vec<String>> = deliveries
        .iter()
        .map(|row| {
            vec![
                row.number.to_string(),
                coloured(row.state),
                cell(&row.destination, 40),
                cell(row.reason.as_deref().unwrap_or_default(), 100),
            ]
        })
        .collect();
    say(&table(&["delivery", "state", "to", "why"], &lines));
    Ok(true)
}

async fn replay_one(desk: &AtTheDesk, replay: &Replay) -> anyhow::Result<bool> {
    let book = desk.book()?;
    let now = desk.clock.now();
    let replayed = look_at_replay(&*desk.outbox, book, replay.number, replay.again, now).await?;
    let lines = replayed.lines.clone();
    let mut shown = ReplayShown::of(&replayed, None);
    if replay.yes {
        shown.made = Some(keep_replay(&*desk.outbox, replayed).await?);
    }
    if replay.json {
        say(&serde_json::to_string_pretty(&shown)?);
        return Ok(true);
    }
    if let Some(why) = &shown.silent {
        say(&format!("nothing would be said: {why}"));
        return Ok(true);
    }
    for line in &lines {
        let was = line.was.map_or("nothing yet".to_owned(), coloured);
        let now = match (line.now, replay.yes) {
            (ReplayTo::Sent, true) => "is sent now",
            (ReplayTo::Sent, false) => "would be sent",
            (ReplayTo::Has, _) => "has it; --again says it once more",
            (ReplayTo::NotAnyMore, _) => "today's rules do not lead there",
            (ReplayTo::Broken, _) => "its template makes a mistake",
        };
        let (to, at) = (&line.destination, &line.conversation);
        say(&format!("{to} ({at})  was: {was}  now: {now}"));
        for text in line.text.lines().take(12) {
            say(&format!("  │ {}", cell(text, 160)));
        }
    }
    match shown.made {
        Some(made) => say(&format!("{made} sent")),
        None if lines.iter().any(|line| line.now == ReplayTo::Sent) => {
            say("--yes sends it");
        }
        None => {}
    }
    Ok(true)
}

async fn export_all(desk: &AtTheDesk, export: &Export) -> anyhow::Result<bool> {
    let mut filter = export.which.filter(desk.clock.now());
    filter.unrouted = export.unrouted;
    let many = desk.export(
        async |page| desk.outbox.list_events(filter.clone(), page).await,
        |row: &EventRecord| row.number,
        async |row: &EventRecord| {
            let found = desk.outbox.find_event(row.number).await?;
            Ok(found.as_ref().map(EventShown::whole))
        },
    );
    if many.await? == 0 {
        desk.note_unknown_bridge(&export.which);
    }
    Ok(true)
}

async fn prune_old(desk: &AtTheDesk, args: &PruneArgs) -> anyhow::Result<bool> {
    let rule = Prune::of(desk.clock.now(), args.older_than, args.max_size);
    let mut progress = Progress::begin();
    let (mut emptied, mut forgotten) = (0, 0);
    let stopped = loop {
        let chunk = desk.outbox.prune(rule, CHUNK).await?;
        emptied += chunk.emptied;
        forgotten += chunk.forgotten;
        if !chunk.more {
            break false;
        }
        if !progress.at(emptied + forgotten) {
            break true;
        }
    };
    progress.end();
    let stopped = if stopped {
        "; stopped before the end"
    } else {
        ""
    };
    say(&format!(
        "contents of {emptied} events removed, {forgotten} events forgotten{stopped}"
    ));
    Ok(true)
}
