//! `deliveries`: where messages stand, and the ways back: retry, cancel, hold, release.

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;

use anstyle::Style;
use anyhow::{anyhow, bail};
use clap::{Subcommand, value_parser};

use super::desk::{AtTheDesk, Progress, Which, cell, coloured, newest, sit_down, table};
use super::{Everywhere, say, wrong_usage};
use crate::model::{Content, Conversation, DeliveryId, NotAConversation};
use crate::outbox::{Change, Changed, DeliveryRecord};
use crate::web::desk::{Tally, change_all, find_by_number};
use crate::web::shown::{ConversationShown, DeliveryShown, TallyShown};

/// The arguments of `deliveries`.
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
    /// List deliveries, the newest first (the same without `list`)
    List(List),
    /// Show one delivery: its message, attempts, verdicts and evidence
    Show(Show),
    /// Put deliveries that were refused, are dead or cancelled back; waiting ones become due at once. One that was cancelled
    /// before it could be rendered has no message: `events replay` makes it again
    Retry(Many),
    /// Do not send what waits; what is under way or accepted cannot be called back
    Cancel(Many),
    /// Print all deliveries that fit as JSON lines, the oldest first, with messages and attempts
    Export(Export),
    /// List the conversations in which something waits, is not found yet, or is held
    Conversations(Conversations),
    /// Keep a conversation from sending until it is released
    Hold(Hold),
    /// Let a held conversation go on; what nobody could prove is sent again by that
    Release(Release),
}

#[derive(Clone, Debug, Default, clap::Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 30, value_name = "ROWS", value_parser = value_parser!(u32).range(1..))]
    limit: u32,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The delivery's number, as `deliveries` lists it, or its id
    delivery: DeliveryName,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Many {
    /// Numbers or ids
    deliveries: Vec<DeliveryName>,
    /// All that fit the flags
    #[arg(long, conflicts_with = "deliveries")]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct Conversations {
    /// Only those that are held
    #[arg(long)]
    held: bool,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 100, value_name = "ROWS", value_parser = value_parser!(u32).range(1..))]
    limit: u32,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Hold {
    /// By OpenIM's id: `group:#2839678182`, `person:#u_1001`; or a name of `[groups]`: `group:ops`
    conversation: ConversationName,
    /// Why, for the others
    #[arg(long, default_value = "by an operator")]
    why: String,
}

#[derive(Debug, clap::Args)]
struct Release {
    /// By OpenIM's id: `group:#2839678182`, `person:#u_1001`; or a name of `[groups]`: `group:ops`
    conversation: ConversationName,
}

/// A delivery as a person names it.
#[derive(Clone, Copy, Debug)]
enum DeliveryName {
    Id(DeliveryId),
    Number(i64),
}

impl FromStr for DeliveryName {
    type Err = String;

    fn from_str(text: &str) -> Result<DeliveryName, String> {
        let id = text.parse().map(DeliveryName::Id).ok();
        let name = id.or_else(|| text.parse().map(DeliveryName::Number).ok());
        name.ok_or_else(|| format!("`{text}` is neither a number nor the id of a delivery"))
    }
}

impl fmt::Display for DeliveryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeliveryName::Id(id) => id.fmt(f),
            DeliveryName::Number(number) => number.fmt(f),
        }
    }
}

/// A conversation as a person names it.
#[derive(Clone, Debug)]
enum ConversationName {
    Itself(Conversation),
    /// A group of `[groups]`.
    Group(String),
}

impl FromStr for ConversationName {
    type Err = NotAConversation;

    fn from_str(text: &str) -> Result<ConversationName, NotAConversation> {
        match (text.parse(), text.strip_prefix("group:")) {
            (Ok(conversation), _) => Ok(ConversationName::Itself(conversation)),
            (Err(_), Some(name)) if !name.is_empty() && !name.starts_with('#') => {
                Ok(ConversationName::Group(name.to_owned()))
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl Many {
    /// What is wrong when it does not say which deliveries are meant; all of them never are by accident.
    fn unclear(&self) -> Option<&'static str> {
        let by_flags = self.which != Which::default();
        match self.deliveries.is_empty() {
            true if !self.all || !by_flags => Some(
                "say which: numbers or ids, or --all with a flag, as `--all --state refused --since 2h`",
            ),
            false if by_flags => {
                Some("numbers and ids say already which: leave the other flags out")
            }
            _ => None,
        }
    }
}

/// Runs `deliveries`.
pub fn run(everywhere: &Everywhere, args: Args) -> ExitCode {
    let what = args.what.unwrap_or(What::List(args.list));
    if let What::Retry(many) | What::Cancel(many) = &what
        && let Some(why) = many.unclear()
    {
        return wrong_usage(why);
    }
    sit_down(everywhere, async |desk| match &what {
        What::List(list) => show_list(desk, list).await,
        What::Show(show) => show_one(desk, show).await,
        What::Retry(many) => change_many(desk, many, Change::Retry).await,
        What::Cancel(many) => change_many(desk, many, Change::Cancel).await,
        What::Export(export) => export_all(desk, export).await,
        What::Conversations(list) => show_conversations(desk, list).await,
        What::Hold(hold) => set_hold(desk, &hold.conversation, Some(&hold.why)).await,
        What::Release(release) => set_hold(desk, &release.conversation, None).await,
    })
}

async fn show_list(desk: &AtTheDesk, list: &List) -> anyhow::Result<bool> {
    let filter = list.which.filter(desk.clock.now());
    let page = newest(list.limit);
    let rows = desk.outbox.list_deliveries(filter, page).await?;
    if rows.is_empty() {
        desk.note_unknown_bridge(&list.which);
    }
    if list.json {
        let shown: Vec<_> = rows.iter().map(DeliveryShown::of).collect();
        say(&serde_json::to_string_pretty(&shown)?);
        return Ok(true);
    }
    if rows.is_empty() {
        say("no delivery fits");
        return Ok(true);
    }
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let why = match (&row.reason, row.seq) {
                (Some(reason), _) => cell(reason, 80),
                (None, Some(seq)) => format!("seq {seq}"),
                (None, None) => String::new(),
            };
            vec![
                row.number.to_string(),
                desk.time(row.kept),
                coloured(row.state),
                cell(&row.destination, 32),
                cell(&row.bridge, 24),
                cell(&row.kind, 40),
                why,
            ]
        })
        .collect();
    let heads = ["delivery", "kept", "state", "to", "bridge", "kind", "why"];
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

async fn find(desk: &AtTheDesk, name: DeliveryName) -> anyhow::Result<DeliveryRecord> {
    let found = match name {
        DeliveryName::Id(id) => desk.outbox.find_delivery(id).await?,
        DeliveryName::Number(number) => find_by_number(&*desk.outbox, number).await?,
    };
    found.ok_or_else(|| anyhow!("there is no delivery {name}"))
}

async fn show_one(desk: &AtTheDesk, show: &Show) -> anyhow::Result<bool> {
    let record = find(desk, show.delivery).await?;
    if show.json {
        say(&serde_json::to_string_pretty(&DeliveryShown::of(&record))?);
        return Ok(true);
    }
    let dim = Style::new().dimmed();
    let fact = |name: &str, value: &str| {
        if !value.is_empty() {
            say(&format!("{dim}{name:<10}{dim:#} {value}"));
        }
    };
    fact("delivery", &record.number.to_string());
    fact("id", &record.id.to_string());
    fact("state", &coloured(record.state));
    fact(
        "why",
        &cell(record.reason.as_deref().unwrap_or_default(), 500),
    );
    fact(
        "to",
        &format!(
            "{} ({})",
            cell(&record.destination, 60),
            record.conversation
        ),
    );
    fact(
        "event",
        &format!(
            "{} {} {}",
            record.event_number,
            cell(&record.bridge, 60),
            cell(&record.kind, 60)
        ),
    );
    fact("kept", &desk.time(record.kept));
    if let Some(due) = record.due {
        fact("due", &desk.time(due));
    }
    if let Some(expires) = record.expires {
        fact("expires", &desk.time(expires));
    }
    if record.folds > 0 {
        fact(
            "speaks for",
            &format!("{} that came too late", record.folds),
        );
    }
    if let Some(receipt) = &record.receipt {
        fact("at OpenIM", &receipt.server_msg_id);
    }
    if let Some(seq) = record.seq {
        fact("seq", &seq.to_string());
    }
    if let Some(message) = &record.message {
        let text = match &message.content {
            Content::Text { plain, .. } => plain.clone(),
            Content::Raw { content, .. } => content.to_string(),
        };
        say("");
        for line in text.lines().take(40) {
            say(&format!("  │ {}", cell(line, 200)));
        }
    }
    for attempt in &record.attempts {
        say("");
        let ended = attempt
            .ended
            .map_or("no end was written down".to_owned(), |at| desk.time(at));
        say(&format!(
            "{dim}attempt {:<3}{dim:#} {} → {ended}  {}",
            attempt.attempt.number,
            desk.time(attempt.attempt.began),
            cell(attempt.verdict.as_deref().unwrap_or_default(), 300)
        ));
        for line in attempt.evidence.iter().flat_map(|text| text.lines()) {
            say(&format!("            {}", cell(line, 300)));
        }
    }
    Ok(true)
}

async fn change_many(desk: &AtTheDesk, many: &Many, change: Change) -> anyhow::Result<bool> {
    let mut tally = Tally::default();
    if many.deliveries.is_empty() {
        let filter = many.which.filter(desk.clock.now());
        let mut progress = Progress::begin();
        tally = change_all(&*desk.outbox, &filter, change, |looked_at| {
            progress.at(looked_at)
        })
        .await?;
        progress.end();
        if tally == Tally::default() {
            desk.note_unknown_bridge(&many.which);
        }
    } else {
        for &name in &many.deliveries {
            let id = find(desk, name).await?.id;
            match desk.outbox.change(vec![id], change).await?.first() {
                Some(Changed::Done) => tally.done += 1,
                Some(Changed::Not(state)) => *tally.not.entry(*state).or_default() += 1,
                Some(Changed::Unknown) | None => bail!("there is no delivery {name}"),
            }
        }
    }
    if many.json {
        say(&serde_json::to_string_pretty(&TallyShown::of(&tally))?);
    } else {
        say(&said(&tally, change));
    }
    Ok(tally.done > 0 || tally.not.is_empty())
}

fn said(tally: &Tally, change: Change) -> String {
    let done = match change {
        Change::Retry => "put back",
        Change::Cancel => "cancelled",
    };
    let mut text = format!("{} {done}", tally.done);
    for (state, many) in &tally.not {
        text.push_str(&format!("; {many} not: {}", state.word()));
    }
    if tally.done == 0 && tally.not.is_empty() {
        text = "no delivery fits".to_owned();
    }
    if tally.stopped {
        text.push_str("; stopped before the end, the rest is as it was");
    }
    text
}

async fn export_all(desk: &AtTheDesk, export: &Export) -> anyhow::Result<bool> {
    let filter = export.which.filter(desk.clock.now());
    let many = desk.export(
        async |page| desk.outbox.list_deliveries(filter.clone(), page).await,
        |row: &DeliveryRecord| row.number,
        async |row: &DeliveryRecord| {
            let found = desk.outbox.find_delivery(row.id).await?;
            Ok(found.as_ref().map(DeliveryShown::of))
        },
    );
    if many.await? == 0 {
        desk.note_unknown_bridge(&export.which);
    }
    Ok(true)
}

async fn show_conversations(desk: &AtTheDesk, list: &Conversations) -> anyhow::Result<bool> {
    let mut rows = desk.outbox.list_lanes(None, newest(list.limit)).await?;
    if list.held {
        rows.retain(|row| row.held.is_some());
    }
    if list.json {
        let shown: Vec<_> = rows.iter().map(ConversationShown::of).collect();
        say(&serde_json::to_string_pretty(&shown)?);
        return Ok(true);
    }
    if rows.is_empty() {
        say(match list.held {
            true => "no conversation is held",
            false => "nothing waits, and everything sent was found",
        });
        return Ok(true);
    }
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let why = match (&row.held, &row.waits_for) {
                (Some(held), _) => format!("held: {}", cell(held, 100)),
                (None, Some(why)) => cell(why, 100),
                (None, None) => String::new(),
            };
            vec![
                row.lane.as_str().to_owned(),
                row.waiting.to_string(),
                row.unsettled.to_string(),
                row.due.map_or(String::new(), |due| desk.time(due)),
                why,
            ]
        })
        .collect();
    let heads = ["conversation", "waiting", "not found yet", "next", "why"];
    say(&table(&heads, &lines));
    Ok(true)
}

async fn set_hold(
    desk: &AtTheDesk,
    name: &ConversationName,
    why: Option<&str>,
) -> anyhow::Result<bool> {
    let conversation = match name {
        ConversationName::Itself(conversation) => conversation.clone(),
        ConversationName::Group(name) => {
            let groups = &desk.book()?.groups;
            let Some((_, group)) = groups.iter().find(|(known, _)| *known == name) else {
                bail!("there is no group `{name}` in [groups]");
            };
            Conversation::Group(group.id.clone())
        }
    };
    let lane = conversation.lane();
    if !desk.outbox.hold(lane, why.map(str::to_owned)).await? {
        bail!("nothing was ever sent into {conversation}");
    }
    say(&match why {
        Some(why) => format!("{conversation} is held: {why}"),
        None => format!("{conversation} goes on"),
    });
    Ok(true)
}
