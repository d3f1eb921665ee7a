//! What an operator does to events and deliveries, for the API and the command line alike: the verbs behind `retry`,
//! `cancel`, `replay` and the rendering again of what a template could not say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bridge::RuleBook;
use crate::intake::{Passed, Unreadable, replay};
use crate::model::{
    Content, Conversation, DeliveryId, DeliveryState, NewDelivery, Rendered, Timestamp,
};
use crate::outbox::{Change, Changed, DeliveryRecord, Filter, Outbox, OutboxError, Page};

/// So many rows are read or changed at once; between two such chunks a bulk work can be interrupted.
pub const CHUNK: usize = 200;

/// What became of many changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// So many were changed.
    pub done: u64,
    /// So many were not, because their state does not allow it, by state.
    pub not: BTreeMap<DeliveryState, u64>,
    /// Whether it was stopped before the end.
    pub stopped: bool,
}

/// Changes all deliveries that fit, the oldest first. `go_on` hears how many were looked at, and stops it with `false`.
pub async fn change_all(
    outbox: &dyn Outbox,
    filter: &Filter,
    change: Change,
    mut go_on: impl FnMut(u64) -> bool,
) -> Result<Tally, OutboxError> {
    let mut tally = Tally::default();
    let mut after = None;
    let mut looked_at = 0;
    loop {
        let page = Page {
            after,
            most: CHUNK,
            oldest_first: true,
        };
        let rows = outbox.list_deliveries(filter.clone(), page).await?;
        let Some(last) = rows.last() else {
            return Ok(tally);
        };
        after = Some(last.number);
        let ids: Vec<DeliveryId> = rows.iter().map(|row| row.id).collect();
        looked_at += u64::try_from(ids.len()).unwrap_or(u64::MAX);
        for changed in outbox.change(ids, change).await? {
            match changed {
                Changed::Done => tally.done += 1,
                Changed::Not(state) => *tally.not.entry(state).or_default() += 1,
                Changed::Unknown => {}
            }
        }
        if !go_on(looked_at) {
            tally.stopped = true;
            return Ok(tally);
        }
    }
}

/// An event, taken through today's rules.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Its number.
    pub event: i64,
    /// What each conversation would show or has.
    pub lines: Vec<ReplayLine>,
    /// Why it makes nothing, when it does not.
    pub silent: Option<String>,
    /// The deliveries that would be made.
    deliveries: Vec<NewDelivery>,
}

/// One conversation of a replay.
#[derive(Clone, Debug)]
pub struct ReplayLine {
    /// As the route says it.
    pub destination: String,
    /// Where that is at OpenIM.
    pub conversation: Conversation,
    /// What became of the event's delivery to it, if there was one.
    pub was: Option<DeliveryState>,
    /// What happens now.
    pub now: ReplayTo,
    /// What would be said, plain; the template's mistake if it makes one.
    pub text: String,
}

/// What a replay does with one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayTo {
    /// It gets the message.
    Sent,
    /// It has it or will have it; it gets nothing unless it is to be said again.
    Has,
    /// Today's rules do not lead there any more.
    NotAnyMore,
    /// Its template makes a mistake: it would be kept as unrendered.
    Broken,
}

/// Why an event cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum NotReplayed {
    /// There is none of that number.
    #[error("there is no event {0}")]
    Unknown(i64),
    /// Its body is not there any more.
    #[error("the body of event {0} was pruned")]
    Pruned(i64),
    /// Its bridge is not there any more.
    #[error("there is no bridge `{0}` any more")]
    NoBridge(String),
    /// Today's rules read it as a challenge.
    #[error("today's rules read event {0} as a challenge, which makes no event")]
    NoEvent(i64),
    /// Today's rules cannot read it.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The outbox did not answer.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// Takes an event through today's rules and says what that would change; nothing is kept. With `again` also the
/// conversations that have the message get it once more.
pub async fn look_at_replay(
    outbox: &dyn Outbox,
    book: &RuleBook,
    event: i64,
    again: bool,
    now: Timestamp,
) -> Result<Replayed, NotReplayed> {
    let record = outbox
        .find_event(event)
        .await?
        .ok_or(NotReplayed::Unknown(event))?;
    if !record.has_body {
        return Err(NotReplayed::Pruned(event));
    }
    let passed = replay(book, &record.event, now)
        .ok_or_else(|| NotReplayed::NoBridge(record.event.bridge.clone()))??;
    let deliveries = match passed {
        Passed::Event { deliveries, .. } => deliveries,
        Passed::Challenge(_) => return Err(NotReplayed::NoEvent(event)),
        Passed::Silent(why) => {
            return Ok(Replayed {
                event,
                lines: Vec::new(),
                silent: Some(why),
                deliveries: Vec::new(),
            });
        }
    };
    let had = deliveries_of(
        outbox,
        event,
        &record.event.bridge,
        record.event.id.as_str(),
    )
    .await?;
    let was = |conversation: &Conversation| {
        // The happiest of them counts: what was said once was said.
        had.iter()
            .filter(|row| row.conversation == *conversation)
            .map(|row| row.state)
            .max_by_key(|state| has(*state))
    };
    let mut lines = Vec::new();
    let mut made = Vec::new();
    for delivery in deliveries {
        let was = was(&delivery.conversation);
        let (now, text) = match &delivery.rendered {
            Rendered::Broken(why) => (ReplayTo::Broken, why.clone()),
            Rendered::Ready(_) if was.is_some_and(has) && !again => {
                (ReplayTo::Has, plain(&delivery))
            }
            Rendered::Ready(_) => (ReplayTo::Sent, plain(&delivery)),
        };
        lines.push(ReplayLine {
            destination: delivery.destination.clone(),
            conversation: delivery.conversation.clone(),
            was,
            now,
            text,
        });
        if now == ReplayTo::Sent {
            made.push(delivery);
        }
    }
    for row in &had {
        if !lines
            .iter()
            .any(|line| line.conversation == row.conversation)
        {
            lines.push(ReplayLine {
                destination: row.destination.clone(),
                conversation: row.conversation.clone(),
                was: Some(row.state),
                now: ReplayTo::NotAnyMore,
                text: String::new(),
            });
        }
    }
    let silent = lines.is_empty().then(|| {
        "today's rules lead it nowhere, or their templates are silent about its kind".to_owned()
    });
    Ok(Replayed {
        event,
        lines,
        silent,
        deliveries: made,
    })
}

/// Keeps what a replay would send. How many deliveries that made.
pub async fn keep_replay(outbox: &dyn Outbox, replayed: Replayed) -> Result<usize, NotReplayed> {
    let many = replayed.deliveries.len();
    if many > 0 && !outbox.append(replayed.event, replayed.deliveries).await? {
        return Err(NotReplayed::Unknown(replayed.event));
    }
    Ok(many)
}

/// Renders again what a template could not say, by the rules of now, the oldest first. How many messages go out by that.
pub async fn render_again(
    outbox: &dyn Outbox,
    book: &RuleBook,
    now: Timestamp,
) -> Result<u64, OutboxError> {
    let filter = Filter {
        states: vec![DeliveryState::Unrendered],
        ..Filter::default()
    };
    let mut after = None;
    let mut mended = 0;
    loop {
        let page = Page {
            after,
            most: CHUNK,
            oldest_first: true,
        };
        let rows = outbox.list_deliveries(filter.clone(), page).await?;
        let Some(last) = rows.last() else {
            return Ok(mended);
        };
        after = Some(last.number);
        for row in rows {
            let Some(record) = outbox.find_event(row.event_number).await? else {
                continue;
            };
            if !record.has_body {
                continue;
            }
            // For its reader it happened when it came.
            let at = record.event.received.min(now);
            let Some(Ok(Passed::Event { deliveries, .. })) = replay(book, &record.event, at) else {
                continue;
            };
            let message = deliveries
                .into_iter()
                .find(|delivery| delivery.conversation == row.conversation)
                .and_then(|delivery| match delivery.rendered {
                    Rendered::Ready(message) => Some(message),
                    Rendered::Broken(_) => None,
                });
            if let Some(message) = message
                && outbox.rendered(row.id, message).await?
            {
                mended += 1;
            }
        }
    }
}

/// A delivery by its number in the lists.
pub async fn find_by_number(
    outbox: &dyn Outbox,
    number: i64,
) -> Result<Option<DeliveryRecord>, OutboxError> {
    let page = Page {
        after: Some(number.saturating_add(1)),
        most: 1,
        oldest_first: false,
    };
    let found = outbox.list_deliveries(Filter::default(), page).await?;
    match found.first().filter(|row| row.number == number) {
        Some(row) => outbox.find_delivery(row.id).await,
        None => Ok(None),
    }
}

/// The deliveries of one event, the oldest first.
pub async fn deliveries_of(
    outbox: &dyn Outbox,
    event: i64,
    bridge: &str,
    id: &str,
) -> Result<Vec<DeliveryRecord>, OutboxError> {
    let filter = Filter {
        bridge: Some(bridge.to_owned()),
        event: Some(id.to_owned()),
        ..Filter::default()
    };
    let page = Page {
        after: None,
        most: 1000,
        oldest_first: true,
    };
    let mut rows = outbox.list_deliveries(filter, page).await?;
    rows.retain(|row| row.event_number == event);
    Ok(rows)
}

/// Whether the reader has the message, or will have it without anybody's help.
fn has(state: DeliveryState) -> bool {
    matches!(
        state,
        DeliveryState::Stored
            | DeliveryState::Accepted
            | DeliveryState::Waiting
            | DeliveryState::Sending
    )
}

fn plain(delivery: &NewDelivery) -> String {
    match &delivery.rendered {
        Rendered::Ready(message) => match &message.content {
            Content::Text { plain, .. } => plain.clone(),
            Content::Raw { content, .. } => content.to_string(),
        },
        Rendered::Broken(why) => why.clone(),
    }
}

/// The outbox and the rules that the desk works with.
#[derive(Clone)]
pub struct Desk {
    /// The outbox.
    pub outbox: Arc<dyn Outbox>,
    /// The rules in use.
    pub book: Arc<arc_swap::ArcSwap<RuleBook>>,
    /// The time.
    pub clock: crate::model::Clock,
}
