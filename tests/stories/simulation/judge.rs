//! What became of a story, judged by somebody who knows everything.

use std::collections::BTreeMap;

use openim_bridge::deliver::Policy;
use openim_bridge::model::{Conversation, DeliveryId, DeliveryState};
use openim_bridge::outbox::lane::Tally;

use super::rows::Row;
use super::server::Taken;
use super::{Story, short};

/// The exceptions that the protocol names.
const CAME_LATE: &str = "a message came into the history later than an unclear send is waited for";
const WAS_A_HOLE: &str = "a seq got its message after more than 60 s";
const NO_PROOF: &str = "neither proof in time: sent again, on record as a possible repeat";
const RESET: &str = "the conversation was emptied while the message was unsettled, or unnoticed";
const GIVEN_UP: &str = "its history could not be read, and it was given up after two sends";
const SENT_AGAIN: &str = "a dropped message comes after those that were kept";

impl Story {
    pub(super) fn judge(&mut self) {
        let rows: Vec<Row> = self
            .rows
            .lanes
            .iter()
            .flat_map(|lane| lane.rows.clone())
            .collect();
        for row in &rows {
            self.judge_one(row);
        }
        let mut by_conversation: BTreeMap<Conversation, Vec<&Row>> = BTreeMap::new();
        for row in &rows {
            by_conversation
                .entry(row.conversation.clone())
                .or_default()
                .push(row);
        }
        for (conversation, rows) in by_conversation {
            self.judge_order(&conversation, &rows);
        }
    }

    fn judge_one(&mut self, row: &Row) {
        let id = short(row.id);
        let copies: Vec<Taken> = self.server.copies(row.id).into_iter().cloned().collect();
        let excuse = self.excuse(row);
        match row.state {
            DeliveryState::Stored if copies.is_empty() => {
                self.violation(format!("{id} is called stored and is not there"));
            }
            DeliveryState::Stored | DeliveryState::Refused => {}
            DeliveryState::Dead => {
                let lost = copies.is_empty();
                self.ending.lost += usize::from(lost);
                let reason = row.reason.clone().unwrap_or_default();
                match reason.starts_with("sent 2 times") && self.could_not_be_read(row) {
                    true => self.exception(GIVEN_UP),
                    false => self.violation(format!("{id} is dead: {reason}")),
                }
            }
            state => {
                self.ending.lost += 1;
                self.violation(format!("{id} never came to its end: {state:?}"));
            }
        }
        if copies.len() > 1 {
            self.ending.twice += 1;
            match excuse {
                Some(excuse) => self.exception(excuse),
                None => self.violation(format!("{id} was said {} times", copies.len())),
            }
        }
        if row.state == DeliveryState::Refused && !copies.is_empty() && excuse.is_none() {
            self.violation(format!("{id} is called refused and is there"));
        }
    }

    fn could_not_be_read(&self, row: &Row) -> bool {
        let conversation = &row.conversation;
        self.history_fails > 0
            || self.server.was_hidden(conversation)
            || self.server.begins_with_a_hole(conversation)
    }

    /// Which named exception may make this one twice or out of order.
    fn excuse(&self, row: &Row) -> Option<&'static str> {
        let settle = Policy::default().settle;
        let copies = self.server.copies(row.id);
        let unsettled_since = self.server.taken.iter();
        let first = unsettled_since
            .filter(|taken| taken.delivery == row.id)
            .map(|taken| taken.began)
            .min();
        if copies.iter().any(|taken| taken.came_late(settle)) {
            Some(CAME_LATE)
        } else if copies.iter().any(|taken| taken.was_a_hole()) {
            Some(WAS_A_HOLE)
        } else if row.tallies.contains(&Tally::PossibleRepeat)
            && (self.server.was_hidden(&row.conversation) || self.history_fails > 0)
        {
            // What can be read is found or proven, so only what was hidden may be said twice for want of a proof.
            Some(NO_PROOF)
        } else if first.is_some_and(|first| self.server.was_reset(&row.conversation, first)) {
            Some(RESET)
        } else {
            None
        }
    }

    /// Ours must stand in the order in which they were kept, the first copy of each.
    fn judge_order(&mut self, conversation: &Conversation, rows: &[&Row]) {
        let mut places: BTreeMap<DeliveryId, i64> = BTreeMap::new();
        for (seq, number) in self.server.said(conversation) {
            let delivery = self.server.taken[number].delivery;
            places.entry(delivery).or_insert(seq);
        }
        let mut newest: Option<(i64, &Row)> = None;
        for row in rows {
            let Some(place) = places.get(&row.id) else {
                continue;
            };
            match newest {
                Some((seq, before)) if *place < seq => {
                    self.ending.out_of_order += 1;
                    let sent_again = before.sends > 1 || row.sends > 1;
                    match (sent_again, self.excuse(before).or(self.excuse(row))) {
                        (true, _) => self.exception(SENT_AGAIN),
                        (false, Some(excuse)) => self.exception(excuse),
                        (false, None) => {
                            let (one, two) = (short(row.id), short(before.id));
                            self.violation(format!("{one} stands before {two}"));
                        }
                    }
                }
                _ => newest = Some((*place, row)),
            }
        }
    }

    fn exception(&mut self, which: &'static str) {
        *self.ending.exceptions.entry(which).or_default() += 1;
    }

    fn violation(&mut self, what: String) {
        self.ending.violations.push(what);
    }
}
