//! What follows a look into OpenIM's history: which messages are stored, which are proven lost, what is not known yet.
//!
//! Three rules carry it. What was found is believed at once. What was not found counts only where every seq that was asked
//! for came back. And the cursor never passes a seq that may still get its message.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Outage, Policy, Unproven, plus, send_number, since};
use crate::model::{Conversation, DeliveryId, Receipt, Timestamp};
use crate::outbox::{Cursor, Fate, Hole, Look, Settled, Settling, Unsettled};

/// A message as the history shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place.
    pub seq: i64,
    /// Our delivery, where it is one of ours.
    pub delivery: Option<DeliveryId>,
    /// OpenIM's ids and its send time.
    pub receipt: Receipt,
}

/// The seqs from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub begin: i64,
    /// The last.
    pub end: i64,
}

/// A span that was asked for and what came back, a seq without a message left out. Nothing at all came when nobody whom we
/// may ask as can read the conversation, or when no message of the span is written yet: both prove nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What was asked for.
    pub span: Span,
    /// What came, by seq.
    pub found: Vec<Found>,
}

/// What a look has shown of one conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The newest seq, asked before the parts were.
    pub newest: i64,
    /// What was read. A part whose question failed is not here.
    pub parts: Vec<Part>,
}

/// What a look has shown of a lane.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The conversations that could be asked about.
    pub readings: BTreeMap<Conversation, Reading>,
    /// Unclear ones that OpenIM's send status says were queued.
    pub queued: BTreeSet<DeliveryId>,
    /// When the look began, before its first question.
    pub at: Timestamp,
}

/// A hole that is older stays one: OpenIM has given its seq away and lost the message, or somebody has deleted it.
pub const HOLE_IS_YOUNG: Duration = Duration::from_secs(60);

/// So long a message of ours is kept in sight although its delivery is not among the unsettled ones: its send is under way,
/// or was recorded a moment ago. The answer of a send takes at most 15 s.
const KNOWN_SOON: Duration = Duration::from_secs(30);

/// The two readings that prove a loss lie so far apart.
const PROOFS_APART: Duration = Duration::from_secs(2);

/// What was not found for so long is looked for in vain.
const IN_VAIN: Duration = Duration::from_secs(60);

/// What is left over when a loss was proven gets so long to be found before the lane goes on: the lost one, sent again,
/// proves the rest.
const LEFT_OVER: Duration = Duration::from_secs(10);

/// Clocks of ours and of OpenIM's are at most so far apart where the times of messages decide how far back is read.
const CLOCKS_APART: Duration = Duration::from_secs(5 * 60);

/// Holes that are remembered of one conversation.
const MOST_HOLES: usize = 256;

/// An accepted message that cannot be read back is sent so many times in all; then it is given up.
const SENDS_UNREAD: u32 = 2;

/// A message that is accepted and lost again and again is sent so many times in all.
const SENDS_READ: u32 = 12;

/// The waits between two looks grow with the age of what is looked for, within these.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Which seqs to ask for: what was never read, at most `stride` at once, and the holes. A conversation where more was said
/// since the cursor is read from its end, unless `through` asks for all of it: of what lies between, much may be gone.
pub fn spans(cursor: &Cursor, newest: i64, stride: i64, through: bool) -> Vec<Span> {
    let cursor = not_reset(cursor, newest);
    let mut spans = Vec::new();
    let first_hole = cursor.holes.iter().map(|hole| hole.seq).min();
    if newest > cursor.seq {
        let far = newest - cursor.seq > stride;
        let mut news = match far && !through {
            true => Span {
                begin: newest - stride + 1,
                end: newest,
            },
            // From the last one that is known on: that it comes back shows that we can read at all.
            false => Span {
                begin: cursor.seq.max(1),
                end: newest.min(cursor.seq.max(1) + stride - 1),
            },
        };
        if let Some(hole) = first_hole
            && news.end - (hole - 1) < stride
        {
            news.begin = (hole - 1).max(1);
        }
        spans.push(news);
    }
    if let Some(hole) = first_hole
        && !spans.iter().any(|news| news.begin <= hole)
    {
        let begin = (hole - 1).max(1);
        // And the one behind the last hole: where the first seq of all is a hole, nothing stands before it.
        let last = cursor.holes.iter().map(|hole| hole.seq).max();
        let end = (last.unwrap_or(hole) + 1).min(newest);
        spans.push(Span {
            begin,
            end: end.max(begin).min(begin + stride - 1),
        });
    }
    spans
}

/// What is asked for although nothing is new: the last seq that is known, once something is looked for in vain. A
/// conversation that was emptied may have come as far again, with what is looked for at that place.
pub fn last_known(
    look: &Look,
    newest: i64,
    conversation: &Conversation,
    now: Timestamp,
) -> Option<Span> {
    let cursor = look.cursors.get(conversation)?;
    let ours = |one: &&Unsettled| one.conversation == *conversation;
    let mut ours = look.unsettled.iter().filter(ours);
    let in_vain = ours.any(|one| since(one.attempt.began, now) >= IN_VAIN);
    let same = newest == cursor.seq && newest > 0 && cursor.holes.is_empty();
    (same && in_vain).then_some(Span {
        begin: newest,
        end: newest,
    })
}

/// Whether a part that begins beyond the cursor reaches back to before the first of these sends began, so that what was
/// left out cannot hold them. OpenIM's own send times decide, and its clock may differ from ours by minutes.
pub fn reaches_back(part: &Part, unsettled: &[Unsettled], conversation: &Conversation) -> bool {
    let oldest = part.found.iter().map(|found| found.receipt.send_time).min();
    let ours = unsettled
        .iter()
        .filter(|unsettled| unsettled.conversation == *conversation);
    let began = ours
        .map(|unsettled| unsettled.first_attempt.min(unsettled.attempt.began))
        .min();
    match (oldest, began) {
        (Some(oldest), Some(began)) => {
            let apart = i64::try_from(CLOCKS_APART.as_millis()).unwrap_or(i64::MAX);
            oldest > 0 && oldest.saturating_add(apart) < began.as_millisecond()
        }
        _ => false,
    }
}

/// What follows a look. `outage` says what of the time since a moment the server could not be used; `random` is at least 0
/// and below 1.
pub fn settle(
    look: &Look,
    sight: &Sight,
    outage: impl Fn(Timestamp) -> Outage,
    policy: &Policy,
    random: f64,
) -> Settled {
    let mut settling = Settlement {
        look,
        sight,
        policy,
        random,
        cursors: BTreeMap::new(),
        read: BTreeMap::new(),
        fates: Vec::new(),
        look_again: plus(sight.at, LONGEST_WAIT),
        stop: false,
    };
    for (conversation, reading) in &sight.readings {
        settling.read(conversation, reading);
    }
    for (place, unsettled) in look.unsettled.iter().enumerate() {
        let outage = outage(unsettled.attempt.began);
        settling.decide(place, unsettled, &outage);
    }
    Settled {
        lane: look.lane.clone(),
        epoch: look.epoch,
        cursors: settling.cursors,
        fates: settling.fates,
        stop: settling.stop,
        look_again: settling.look_again,
    }
}

/// What one conversation's reading comes to.
#[derive(Default)]
struct Read {
    /// Those of the unsettled ones that are there.
    found: BTreeSet<DeliveryId>,
    /// The last of the unsettled ones whose latest send is surely there.
    later: Option<usize>,
    /// Everything up to the newest seq was read.
    complete: bool,
    /// What is not read may still get its message.
    young: bool,
    /// There is more to read at once.
    more: bool,
}

struct Settlement<'a> {
    look: &'a Look,
    sight: &'a Sight,
    policy: &'a Policy,
    random: f64,
    cursors: BTreeMap<Conversation, Cursor>,
    read: BTreeMap<Conversation, Read>,
    fates: Vec<Settling>,
    look_again: Timestamp,
    stop: bool,
}

impl Settlement<'_> {
    /// Takes in what one conversation has shown: who is there, and how far the cursor goes.
    fn read(&mut self, conversation: &Conversation, reading: &Reading) {
        let now = self.sight.at;
        let mut read = Read::default();
        let written = self.look.cursors.get(conversation);
        let mut cursor = not_reset(&written.cloned().unwrap_or_default(), reading.newest);
        let before = cursor.seq;
        let mut frontier = before;
        let mut came = BTreeMap::new();
        let mut asked = BTreeSet::new();
        for part in reading.parts.iter().filter(|part| !part.found.is_empty()) {
            came.extend(part.found.iter().map(|found| (found.seq, found)));
            if part.span.begin > frontier + 1 {
                if !reaches_back(part, &self.look.unsettled, conversation) {
                    continue; // it has facts to tell, and proves nothing
                }
                cursor.holes.clear();
                frontier = part.span.begin - 1;
            }
            asked.extend(part.span.begin..=part.span.end);
            frontier = frontier.max(part.span.end.min(reading.newest));
        }

        let known: BTreeMap<i64, Timestamp> = cursor
            .holes
            .iter()
            .map(|hole| (hole.seq, hole.since))
            .collect();
        let mut again = BTreeMap::new();
        for found in came.values() {
            let Some(delivery) = found.delivery.or_else(|| self.ours_by_receipt(found)) else {
                continue;
            };
            let mut all = self.look.unsettled.iter();
            let place = all.position(|unsettled| unsettled.delivery == delivery);
            let first_seen = known.get(&found.seq).copied();
            match place.map(|place| (place, &self.look.unsettled[place])) {
                Some((place, unsettled)) => {
                    read.found.insert(delivery);
                    if is_latest_send(unsettled, &found.receipt) {
                        read.later = read.later.max(Some(place));
                    }
                    self.stored(delivery, unsettled.attempt.number, found);
                }
                // Its send may be under way: it is looked at again, so that it can prove what was sent before it.
                None if found.seq > before || first_seen.is_some() => {
                    let first_seen = first_seen.unwrap_or(now);
                    let soon = since(first_seen, now) < KNOWN_SOON && is_young(&found.receipt, now);
                    if soon && found.seq <= frontier {
                        again.insert(found.seq, first_seen);
                    } else {
                        self.stored(delivery, 0, found);
                    }
                }
                None => {}
            }
        }

        let mut holes: BTreeMap<i64, Timestamp> = known.clone();
        holes.retain(|seq, _| !came.contains_key(seq));
        // It was given time enough: it stays a hole.
        let passed: BTreeSet<i64> = holes
            .iter()
            .filter(|(seq, since_when)| {
                asked.contains(seq) && since(**since_when, now) >= HOLE_IS_YOUNG
            })
            .map(|(seq, _)| *seq)
            .collect();
        // The last known one has to come back as well: where it does not, its seq may be another's since a reset.
        let news = asked.iter().copied().filter(|seq| *seq >= before);
        for seq in news.filter(|seq| *seq <= frontier && !came.contains_key(seq)) {
            holes.entry(seq).or_insert(now);
        }
        // One before another hole, or at the very end, is remembered: what is asked for begins before the first hole, and that
        // something comes back shows that we can read.
        let mut next = frontier + 1;
        for seq in holes.keys().rev().copied().collect::<Vec<i64>>() {
            if passed.contains(&seq) && seq + 1 != next {
                holes.remove(&seq);
            } else {
                next = seq;
            }
        }
        let young = holes.keys().any(|seq| !passed.contains(seq));
        holes.extend(again);
        if let Some((first_too_many, _)) = holes.iter().nth(MOST_HOLES) {
            frontier = first_too_many - 1;
            holes.retain(|seq, _| *seq <= frontier);
        }
        let anew = self.was_reset(&came, before, &known);
        if anew {
            (frontier, holes) = (0, BTreeMap::new());
            self.look_at(now);
            read.more = true;
        }
        // Without a cursor (a crash came before it was kept) the whole conversation is read, which proves as much.
        read.complete = !anew && !young && frontier >= reading.newest;
        read.young = young;
        if frontier < reading.newest && frontier > before {
            self.look_at(now);
            read.more = true;
        }
        for (_, since_when) in holes.iter().filter(|(seq, _)| !passed.contains(seq)) {
            let wait = wait_for(since(*since_when, now)).max(Duration::from_millis(100));
            self.look_at(plus(now, wait));
        }
        let after = Cursor {
            seq: frontier,
            holes: holes
                .into_iter()
                .map(|(seq, since)| Hole { seq, since })
                .collect(),
        };
        if written != Some(&after) {
            self.cursors.insert(conversation.clone(), after);
        }

        self.read.insert(conversation.clone(), read);
    }

    /// What is known or decided about one that was to be settled.
    fn decide(&mut self, place: usize, unsettled: &Unsettled, outage: &Outage) {
        let now = self.sight.at;
        let nothing = Read::default();
        let read = self.read.get(&unsettled.conversation).unwrap_or(&nothing);
        if read.found.contains(&unsettled.delivery) {
            return;
        }
        let (complete, more, young) = (read.complete, read.more, read.young);
        let passed = read.later > Some(place);
        let began = unsettled.attempt.began;
        if !unsettled.accepted {
            if self.sight.queued.contains(&unsettled.delivery) {
                let evidence = "OpenIM's send status says that it was queued";
                self.fate(unsettled, Fate::Taken, evidence.to_owned());
                self.look_at(plus(now, SHORTEST_WAIT));
                return;
            }
            // Who was frozen between the two has sent it late.
            let sent = unsettled.ended.unwrap_or(began).max(began);
            if since(sent, now) >= self.policy.settle && complete {
                self.not_taken(unsettled, outage);
                return;
            }
            if since(sent, now) < self.policy.settle {
                self.look_at(plus(sent, self.policy.settle));
            }
        } else if passed || unsettled.missing_since.is_some() {
            let Some(missing_since) = unsettled.missing_since else {
                let evidence = "a later one is stored and this one is not there";
                self.fate(unsettled, Fate::Missing, evidence.to_owned());
                // Where a seq still waits for its message, that may be this one: the lane goes on meanwhile.
                self.stop |= complete;
                self.look_at(plus(now, PROOFS_APART));
                return;
            };
            if since(missing_since, now) < PROOFS_APART {
                self.stop |= complete;
                self.look_at(plus(missing_since, PROOFS_APART));
                return;
            }
            if complete {
                let evidence = "a later one is stored and this one is not there, in two readings";
                self.send_again(unsettled, Fate::Dropped, evidence);
                return;
            }
        }
        if !more && self.is_unproven(unsettled, outage, young) {
            self.unproven(unsettled, complete);
            return;
        }
        let age = since(unsettled.ended.unwrap_or(began), now);
        let left_over = self.look.stopped && unsettled.accepted && age < LEFT_OVER;
        self.stop |= left_over;
        let wait = match unsettled.held {
            true => LONGEST_WAIT,
            false => wait_for(age),
        };
        self.look_at(plus(now, wait));
    }

    /// Neither found nor proven lost in the time that the policy gives. Time in which nobody could ask does not count; a young
    /// hole that may hold it, or its proof, gets old first.
    fn is_unproven(&self, unsettled: &Unsettled, outage: &Outage, young: bool) -> bool {
        let waited = since(unsettled.attempt.began, self.sight.at).saturating_sub(outage.lasted);
        let patience = match young {
            true => self.policy.prove + HOLE_IS_YOUNG * 2,
            false => self.policy.prove,
        };
        !unsettled.held && outage.next_try.is_none() && waited >= patience
    }

    fn not_taken(&mut self, unsettled: &Unsettled, outage: &Outage) {
        let now = self.sight.at;
        let schedule = &self.policy.schedule;
        let evidence = format!(
            "not in the history {} s after it was sent",
            since(unsettled.attempt.began, now).as_secs()
        );
        if schedule.is_over(unsettled.first_attempt, outage, now) {
            let reason = "its answers were lost and it never came into the history".to_owned();
            self.fate(unsettled, Fate::Dead(reason), evidence);
            return;
        }
        let again = schedule.again(unsettled.attempt.number, outage, now, self.random);
        self.fate(unsettled, Fate::NotTaken { again }, evidence);
    }

    fn unproven(&mut self, unsettled: &Unsettled, complete: bool) {
        let evidence = match complete {
            true => "not in the history, and nothing later of ours to prove its loss by",
            false => "the history could not be read to its end",
        };
        match self.policy.unproven {
            Unproven::Hold => {
                self.fate(unsettled, Fate::Held, evidence.to_owned());
                self.look_at(plus(self.sight.at, LONGEST_WAIT));
            }
            Unproven::Repeat if !complete && send_number(&unsettled.attempt) >= SENDS_UNREAD => {
                let reason = format!(
                    "sent {SENDS_UNREAD} times; OpenIM's history, where it would stand, could not be read"
                );
                self.fate(unsettled, Fate::Dead(reason), evidence.to_owned());
            }
            Unproven::Repeat => self.send_again(unsettled, Fate::Unproven, evidence),
        }
    }

    /// As a new send, unless it was lost so often that it would be lost for ever.
    fn send_again(&mut self, unsettled: &Unsettled, fate: Fate, evidence: &str) {
        let fate = match send_number(&unsettled.attempt) >= SENDS_READ {
            true => Fate::Dead(format!("OpenIM accepted it {SENDS_READ} times and lost it")),
            false => fate,
        };
        self.fate(unsettled, fate, evidence.to_owned());
    }

    fn stored(&mut self, delivery: DeliveryId, attempt: u32, found: &Found) {
        let seq = found.seq;
        self.fates.push(Settling {
            delivery,
            attempt,
            at: self.sight.at,
            fate: Fate::Stored {
                seq,
                receipt: found.receipt.clone(),
            },
            evidence: format!("found at seq {seq}"),
        });
    }

    fn fate(&mut self, unsettled: &Unsettled, fate: Fate, evidence: String) {
        self.fates.push(Settling {
            delivery: unsettled.delivery,
            attempt: unsettled.attempt.number,
            at: self.sight.at,
            fate,
            evidence,
        });
    }

    /// Whether one that is looked for stands where everything was read before it was sent: the conversation was emptied, and
    /// has grown again beyond the cursor.
    fn was_reset(
        &self,
        came: &BTreeMap<i64, &Found>,
        before: i64,
        known: &BTreeMap<i64, Timestamp>,
    ) -> bool {
        came.range(..=before).any(|(seq, found)| {
            let of_ours = |one: &Unsettled| found.delivery == Some(one.delivery);
            !known.contains_key(seq) && self.look.unsettled.iter().any(of_ours)
        })
    }

    /// A message that was taken back has no more `ex` on some servers; its ids stay.
    fn ours_by_receipt(&self, found: &Found) -> Option<DeliveryId> {
        let ours = self.look.unsettled.iter().find(|unsettled| {
            let receipt = unsettled.receipt.as_ref();
            receipt.is_some_and(|receipt| receipt.server_msg_id == found.receipt.server_msg_id)
        });
        ours.map(|unsettled| unsettled.delivery)
    }

    fn look_at(&mut self, moment: Timestamp) {
        self.look_again = self.look_again.min(moment);
    }
}

/// Whether what was found is what the latest attempt sent, not an earlier send that came late.
fn is_latest_send(unsettled: &Unsettled, found: &Receipt) -> bool {
    match &unsettled.receipt {
        Some(receipt) => receipt.server_msg_id == found.server_msg_id,
        None => unsettled.attempt.number == 1,
    }
}

/// Whether it may have been sent a moment ago, by OpenIM's clock.
fn is_young(found: &Receipt, now: Timestamp) -> bool {
    let sent = Timestamp::from_millisecond(found.send_time).unwrap_or(now);
    found.send_time <= 0 || since(sent, now) < KNOWN_SOON + CLOCKS_APART
}

/// The cursor, or the beginning where the conversation was reset: it has fewer seqs now than were read.
fn not_reset(cursor: &Cursor, newest: i64) -> Cursor {
    match cursor.seq > newest {
        true => Cursor::default(),
        false => cursor.clone(),
    }
}

/// What was sent long ago is looked for seldom.
fn wait_for(age: Duration) -> Duration {
    (age / 2).clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

#[cfg(test)]
mod tests;
