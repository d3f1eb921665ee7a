//! What was lost, came twice or out of order, by the sandbox's own books; and the record that stands behind each exception.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openim_bridge::model::{DeliveryId, DeliveryState};
use openim_bridge::outbox::DeliveryRecord;
use openim_bridge::sandbox::{Account, Stored};

/// The exceptions that the delivery protocol names. Each is seen by what stands in the delivery's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exception {
    /// A later one was stored and this one was not, in two readings: it was sent again, after those that were kept.
    ProvenLost,
    /// Neither found nor proven lost in time: it was sent again, and counted as a possible repeat.
    Unproven,
    /// An unclear send that was not in the history when its time was over: it was sent again.
    NotTaken,
    /// The conversation was emptied before it was found: it was sent again.
    Emptied,
    /// Ended with its reason: refused, or given up. Somebody can send it again.
    GivenUp,
}

impl Exception {
    /// As it stands in a table.
    pub fn letter(self) -> char {
        match self {
            Exception::ProvenLost => 'a',
            Exception::Unproven => 'b',
            Exception::NotTaken => 'c',
            Exception::Emptied => 'd',
            Exception::GivenUp => 'e',
        }
    }
}

/// The three counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Webhooks that were answered with a promise.
    pub accepted: usize,
    /// Of these, not stored.
    pub lost: usize,
    /// Stored by more than one send.
    pub twice: usize,
    /// Stored after one that was accepted later, in the same conversation.
    pub disordered: usize,
    /// The named exceptions that these counts come from.
    pub exceptions: BTreeSet<Exception>,
    /// Why some ended without being stored, and how many for that reason.
    pub reasons: BTreeMap<String, usize>,
    /// What no exception and no record explains. Empty, or the promise is broken.
    pub broken: Vec<String>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {} / {}", self.lost, self.twice, self.disordered)?;
        if !self.exceptions.is_empty() {
            let letters: String = self.exceptions.iter().map(|it| it.letter()).collect();
            write!(f, " {letters}")?;
        }
        match self.broken.len() {
            0 => Ok(()),
            count => write!(f, " **{count} broken**"),
        }
    }
}

/// The outbox's records by the id of their event, and the chat server's books.
pub struct Books {
    pub records: BTreeMap<String, DeliveryRecord>,
    pub account: Account,
}

impl Books {
    /// Counts what became of these events: one list for each conversation, in the order in which they were accepted.
    pub fn count(&self, accepted: &[Vec<String>]) -> Counts {
        let mut counts = Counts::default();
        let copies = self.copies();
        for conversation in accepted {
            let mut places = Vec::new();
            for event in conversation {
                counts.accepted += 1;
                let Some(record) = self.records.get(event) else {
                    counts.lost += 1;
                    counts
                        .broken
                        .push(format!("{event} was accepted and is not in the outbox"));
                    continue;
                };
                let copies = copies
                    .get(&record.id)
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                counts.judge(record, copies);
                places.extend(copies.first().map(|(place, _)| (*place, record)));
            }
            // What stands behind one that was accepted later came too late itself.
            let mut earliest_later = usize::MAX;
            for (place, record) in places.into_iter().rev() {
                if place > earliest_later {
                    counts.disordered += 1;
                    counts.explain(
                        record,
                        "is out of order",
                        &[Exception::ProvenLost, Exception::Unproven],
                        &[],
                    );
                }
                earliest_later = earliest_later.min(place);
            }
        }
        counts
    }

    /// What stands in the books of each delivery and its place in the order of storing, the server's own copies too.
    fn copies(&self) -> BTreeMap<DeliveryId, Vec<(usize, &Stored)>> {
        let mut all: Vec<&Stored> = self.account.stored.values().flatten().collect();
        all.sort_by_key(|stored| (stored.stored, stored.seq));
        let mut copies: BTreeMap<DeliveryId, Vec<(usize, &Stored)>> = BTreeMap::new();
        for (place, stored) in all.into_iter().enumerate() {
            let Some(delivery) = delivery(&stored.ex) else {
                continue;
            };
            copies.entry(delivery).or_default().push((place, stored));
        }
        copies
    }
}

impl Counts {
    fn judge(&mut self, record: &DeliveryRecord, copies: &[(usize, &Stored)]) {
        let event = &record.event;
        match record.state {
            DeliveryState::Stored => {
                let seq = record.seq.unwrap_or_default();
                if !copies.iter().any(|(_, stored)| stored.seq == seq) {
                    self.broken.push(format!(
                        "{event} is called stored at seq {seq} and is not there"
                    ));
                }
            }
            DeliveryState::Refused | DeliveryState::Dead if record.reason.is_some() => {
                self.exceptions.insert(Exception::GivenUp);
                let reason = record.reason.clone().unwrap_or_default();
                let reason = format!("{}: {reason}", record.state.word());
                *self.reasons.entry(reason).or_default() += 1;
            }
            state => self
                .broken
                .push(format!("{event} has not ended: {}", state.word())),
        }
        if copies.is_empty() {
            self.lost += 1;
        }
        let sends = copies.iter().filter(|(_, stored)| !stored.copy);
        if sends.count() > 1 {
            self.twice += 1;
            let excuses = [Exception::Unproven, Exception::NotTaken];
            self.explain(record, "stands twice", &excuses, copies);
        }
    }

    /// Finds the exception that explains it, in the record or in the books.
    fn explain(
        &mut self,
        record: &DeliveryRecord,
        what: &str,
        excuses: &[Exception],
        copies: &[(usize, &Stored)],
    ) {
        let mut known = in_the_record(record);
        if copies.iter().any(|(_, stored)| stored.gone) {
            known.insert(Exception::Emptied);
        }
        known.retain(|known| excuses.contains(known) || *known == Exception::Emptied);
        match known.last() {
            Some(excuse) => {
                self.exceptions.insert(*excuse);
            }
            None => self.broken.push(format!(
                "{} {what}, and nothing explains it: {record:#?}",
                record.event
            )),
        }
    }
}

/// Which exceptions the record tells of.
fn in_the_record(record: &DeliveryRecord) -> BTreeSet<Exception> {
    let evidence = record
        .attempts
        .iter()
        .filter_map(|attempt| attempt.evidence.as_deref());
    let lines = evidence.flat_map(str::lines);
    let told = lines.filter_map(|line| match line {
        line if line.contains("in two readings") => Some(Exception::ProvenLost),
        line if line.contains("nothing later of ours to prove its loss by") => {
            Some(Exception::Unproven)
        }
        line if line.contains("could not be read to its end") => Some(Exception::Unproven),
        line if line.contains("not in the history") => Some(Exception::NotTaken),
        _ => None,
    });
    told.collect()
}

/// The delivery that a message's `ex` names.
fn delivery(ex: &str) -> Option<DeliveryId> {
    let ex: serde_json::Value = serde_json::from_str(ex).ok()?;
    Some(DeliveryId(ex["bridge"].as_str()?.parse().ok()?))
}
