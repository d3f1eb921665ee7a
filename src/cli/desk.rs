//! What `events` and `deliveries` share: how they come to the outbox, what they filter by, how they show and export rows.

use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use anyhow::{anyhow, bail};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::directory::Directory;
use super::serve::runtime;
use super::{Everywhere, exit_code};
use crate::app::{storage, window};
use crate::bridge::RuleBook;
use crate::bridge::problem::nearest;
use crate::bridge::template::harmless;
use crate::model::{Clock, DeliveryState, Timestamp};
use crate::outbox::{Filter, Outbox, OutboxError, Page};
use crate::web::desk::CHUNK;
use crate::web::shown::{When, state_named};

/// Which rows are meant. Every flag that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct Which {
    /// Of this bridge
    #[arg(long)]
    pub bridge: Option<String>,
    /// Of the event with this id, as its sender gave it
    #[arg(long, value_name = "ID")]
    pub event: Option<String>,
    /// Of this kind, or of kinds that begin so: `alert.*`
    #[arg(long)]
    pub kind: Option<String>,
    /// To this destination (`group:ops`) or conversation (`group:#2839678182`)
    #[arg(long, value_name = "DEST")]
    pub to: Option<String>,
    /// In this state; several: any of them
    #[arg(long, value_name = "STATE", value_parser = state_named, value_delimiter = ',')]
    pub state: Vec<DeliveryState>,
    /// Kept since: `2h`, `3d`, `2026-11-25T14:00:00Z`
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Kept before
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
}

impl Which {
    /// What is meant.
    pub fn filter(&self, now: Timestamp) -> Filter {
        Filter {
            bridge: self.bridge.clone(),
            event: self.event.clone(),
            kind: self.kind.clone(),
            destination: self.to.clone(),
            states: self.state.clone(),
            since: self.since.map(|since| since.seen_from(now)),
            until: self.until.map(|until| until.seen_from(now)),
            unrouted: false,
        }
    }
}

/// What a command at the desk works with.
pub struct AtTheDesk {
    /// The outbox, beside the service that may run.
    pub outbox: Arc<dyn Outbox>,
    /// Today's rules; `None` while they are broken.
    pub book: Option<RuleBook>,
    /// The time zone that times are shown in.
    pub time_zone: TimeZone,
    /// The time.
    pub clock: Clock,
}

/// Runs a command with the outbox of the directory.
pub fn sit_down(
    everywhere: &Everywhere,
    work: impl AsyncFnOnce(&AtTheDesk) -> anyhow::Result<bool>,
) -> ExitCode {
    let Directory { path, environment } = Directory::of(everywhere);
    runtime(async move {
        let loaded = crate::settings::Loaded::read(&path, &environment);
        let Some(settings) = &loaded.settings else {
            super::say_problems(&loaded.problems, &loaded.sources);
            return exit_code(Err(anyhow!(
                "the settings are broken, so the outbox is not known"
            )));
        };
        let clock = Clock::system();
        let place = &settings.storage.place;
        let window = window(&settings.delivery);
        let outbox = match storage::open_beside(place, &path, window, clock.clone()).await {
            Ok(outbox) => outbox,
            Err(error) => return exit_code(Err(anyhow!(error))),
        };
        let desk = AtTheDesk {
            outbox,
            time_zone: loaded
                .book
                .as_ref()
                .map_or(TimeZone::UTC, |book| book.time_zone.clone()),
            book: loaded.book,
            clock,
        };
        let answer = work(&desk).await;
        let closed = desk.outbox.close().await;
        exit_code(answer.and_then(|done| {
            closed?;
            Ok(done)
        }))
    })
}

impl AtTheDesk {
    /// Today's rules.
    pub fn book(&self) -> anyhow::Result<&RuleBook> {
        match &self.book {
            Some(book) => Ok(book),
            None => bail!("the rules are broken; `openim-bridge check` names every mistake"),
        }
    }

    /// Where nothing was found: whether the bridge that was asked for is one at all. What a bridge kept before it was taken out
    /// is listed all the same, so this is a note and no mistake.
    pub fn note_unknown_bridge(&self, which: &Which) {
        if let (Some(book), Some(name)) = (&self.book, &which.bridge)
            && let Some(note) = unknown_bridge(book, name)
        {
            anstream::eprintln!("note: {note}");
        }
    }

    /// Prints all rows of a list as JSON lines, the oldest first, each as `whole` reads it; one that went meanwhile is left out.
    /// How many there were.
    pub async fn export<Row, Shown: Serialize>(
        &self,
        list: impl AsyncFn(Page) -> Result<Vec<Row>, OutboxError>,
        number: impl Fn(&Row) -> i64,
        whole: impl AsyncFn(&Row) -> Result<Option<Shown>, OutboxError>,
    ) -> anyhow::Result<u64> {
        let mut out = std::io::stdout().lock();
        let mut many = 0;
        let mut after = None;
        loop {
            let rows = list(Page {
                after,
                most: CHUNK,
                oldest_first: true,
            })
            .await?;
            let Some(last) = rows.last() else {
                return Ok(many);
            };
            after = Some(number(last));
            for row in &rows {
                if let Some(shown) = whole(row).await? {
                    writeln!(out, "{}", serde_json::to_string(&shown)?)?;
                    many += 1;
                }
            }
        }
    }

    /// A moment as a person reads it: `2026-11-25 14:03:12`.
    pub fn time(&self, at: Timestamp) -> String {
        let at = at.to_zoned(self.time_zone.clone());
        at.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// That no bridge of this name can have events, and which one may have been meant; `None` when one can.
fn unknown_bridge(book: &RuleBook, name: &str) -> Option<String> {
    let known: Vec<&str> = book
        .doors()
        .chain(book.notices())
        .map(|bridge| bridge.name.as_str())
        .collect();
    if known.contains(&name) {
        return None;
    }
    let said = format!("no bridge `{}` is configured", cell(name, 64));
    Some(match nearest(name, known.iter().copied()) {
        Some(near) => format!("{said}; did you mean `{near}`?"),
        None if known.is_empty() => said,
        None => format!("{said}; there are: {}", known.join(", ")),
    })
}

/// The first page of so many rows, the newest first.
pub fn newest(most: u32) -> Page {
    Page {
        after: None,
        most: most.try_into().unwrap_or(usize::MAX),
        oldest_first: false,
    }
}

/// A state in its colour.
pub fn coloured(state: DeliveryState) -> String {
    let style = match state {
        DeliveryState::Stored => AnsiColor::Green.on_default(),
        DeliveryState::Refused | DeliveryState::Dead | DeliveryState::Unrendered => {
            AnsiColor::Red.on_default()
        }
        DeliveryState::Waiting | DeliveryState::Sending | DeliveryState::Accepted => {
            AnsiColor::Yellow.on_default()
        }
        DeliveryState::Cancelled => Style::new().dimmed(),
    };
    format!("{style}{}{style:#}", state.word())
}

/// Rows under their heads, each column as wide as its widest cell; the last one is as long as it is. Cells may be coloured.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    const HEAD: Style = Style::new().dimmed();
    let width = |text: &str| {
        anstream::adapter::strip_str(text)
            .to_string()
            .chars()
            .count()
    };
    let mut widths: Vec<usize> = heads.iter().map(|head| width(head)).collect();
    for row in rows {
        for (known, cell) in widths.iter_mut().zip(row) {
            *known = (*known).max(width(cell));
        }
    }
    let mut out = String::new();
    let heads: Vec<String> = heads
        .iter()
        .map(|head| format!("{HEAD}{head}{HEAD:#}"))
        .collect();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (number, (cell, wide)) in row.iter().zip(&widths).enumerate() {
            line.push_str(cell);
            if number + 1 < row.len() {
                let blanks = wide.saturating_sub(width(cell)) + 2;
                line.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out
}

/// A text that a sender wrote, for one cell: harmless, and cut.
pub fn cell(text: &str, most: usize) -> String {
    let text = harmless(text).replace(['\n', '\t'], " ");
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Says on a terminal how far a bulk work is; hears Ctrl-C between two chunks.
pub struct Progress {
    shown: bool,
    stop: Arc<std::sync::atomic::AtomicBool>,
}

impl Progress {
    /// Begins to listen for Ctrl-C.
    pub fn begin() -> Progress {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let heard = stop.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                heard.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        });
        Progress { shown: false, stop }
    }

    /// So many were looked at; `false` when it is to stop.
    pub fn at(&mut self, many: u64) -> bool {
        if stderr().is_terminal() {
            self.shown = true;
            let _ = write!(stderr(), "\r{many} looked at … (Ctrl-C stops)");
        }
        !self.stop.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Takes the line away.
    pub fn end(self) {
        if self.shown {
            let _ = write!(stderr(), "\r{:60}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_whatever_is_coloured() {
        let rows = [
            vec![coloured(DeliveryState::Stored), "a".into(), "x".into()],
            vec!["waiting for it".into(), "bc".into(), String::new()],
        ];
        let text = anstream::adapter::strip_str(&table(&["state", "it", "why"], &rows)).to_string();
        assert_eq!(
            text,
            "state           it  why\nstored          a   x\nwaiting for it  bc"
        );
    }

    #[test]
    fn what_a_sender_wrote_stays_in_its_cell() {
        assert!(!cell("a\nb\u{1b}[2J", 20).contains('\u{1b}'));
        assert_eq!(cell("abcdef", 3), "abc…");
    }
}
