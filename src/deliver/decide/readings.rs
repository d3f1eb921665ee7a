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

/// A conversation with more news than this between two of our messages is not read through.
const MUCH_NEWS: i64 = 400;

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

/// Which seqs to ask for: what was never read, at most `stride` at once, and the holes. A conversation where much was said
/// since the cursor is read from its end, unless `through` asks for all of it.
pub fn spans(cursor: &Cursor, newest: i64, stride: i64, through: bool) -> Vec<Span> {
    let cursor = not_reset(cursor, newest);
    let mut spans = Vec::new();
    let first_hole = cursor.holes.iter().map(|hole| hole.seq).min();
    if newest > cursor.seq {
        let far = newest - cursor.seq > MUCH_NEWS && newest - cursor.seq > stride;
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
        let last = cursor.holes.iter().map(|hole| hole.seq).max();
        spans.push(Span {
            begin,
            end: last.unwrap_or(hole).max(begin).min(begin + stride - 1),
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
        let (complete, more) = (read.complete, read.more);
        let passed = read.later > Some(place);
        let began = unsettled.attempt.began;
        if !unsettled.accepted {
            if self.sight.queued.contains(&unsettled.delivery) {
                let evidence = "OpenIM's send status says that it was queued";
                self.fate(unsettled, Fate::Taken, evidence.to_owned());
                self.look_at(plus(now, SHORTEST_WAIT));
                return;
            }
            if since(began, now) >= self.policy.settle && complete {
                self.not_taken(unsettled, outage);
                return;
            }
            if since(began, now) < self.policy.settle {
                self.look_at(plus(began, self.policy.settle));
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
        if !more && self.is_unproven(unsettled, outage) {
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

    /// Neither found nor proven lost in the time that the policy gives. Time in which nobody could ask does not count.
    fn is_unproven(&self, unsettled: &Unsettled, outage: &Outage) -> bool {
        let waited = since(unsettled.attempt.began, self.sight.at).saturating_sub(outage.lasted);
        !unsettled.held && outage.next_try.is_none() && waited >= self.policy.prove
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
mod tests {
    use super::*;
    use crate::model::{Attempt, Hold};
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Timestamp {
        let start: Timestamp = "2026-07-02T10:00:00Z".parse().unwrap();
        plus(start, Duration::from_millis(millis))
    }

    fn chat() -> Conversation {
        Conversation::Group("g".into())
    }

    fn id(number: u128) -> DeliveryId {
        DeliveryId(uuid::Uuid::from_u128(number))
    }

    fn receipt(number: u128) -> Receipt {
        Receipt {
            server_msg_id: format!("s{number}"),
            client_msg_id: format!("c{number}"),
            send_time: at(0).as_millisecond(),
        }
    }

    /// An accepted one that was sent at 0 s.
    fn accepted(number: u128) -> Unsettled {
        Unsettled {
            delivery: id(number),
            conversation: chat(),
            attempt: Attempt {
                number: 1,
                operation_id: format!("{}-1", id(number)),
                began: at(0),
            },
            ended: Some(at(10)),
            first_attempt: at(0),
            accepted: true,
            receipt: Some(receipt(number)),
            missing_since: None,
            held: false,
        }
    }

    fn unclear(number: u128) -> Unsettled {
        Unsettled {
            accepted: false,
            receipt: None,
            ended: None,
            ..accepted(number)
        }
    }

    fn look(cursor: i64, unsettled: Vec<Unsettled>) -> Look {
        Look {
            lane: chat().lane(),
            epoch: 1,
            hold: Hold::Ever,
            stopped: false,
            more_waits: false,
            cursors: BTreeMap::from([(
                chat(),
                Cursor {
                    seq: cursor,
                    holes: Vec::new(),
                },
            )]),
            unsettled,
        }
    }

    fn ours(seq: i64, number: u128) -> Found {
        Found {
            seq,
            delivery: Some(id(number)),
            receipt: receipt(number),
        }
    }

    fn others(seq: i64) -> Found {
        Found {
            seq,
            delivery: None,
            receipt: receipt(1000),
        }
    }

    /// What a look at that moment shows: the whole of what was asked for, and what came.
    fn sight(millis: u64, newest: i64, begin: i64, found: Vec<Found>) -> Sight {
        let span = Span { begin, end: newest };
        let parts = match begin <= newest {
            true => vec![Part { span, found }],
            false => Vec::new(),
        };
        Sight {
            readings: BTreeMap::from([(chat(), Reading { newest, parts })]),
            queued: BTreeSet::new(),
            at: at(millis),
        }
    }

    fn settled(look: &Look, sight: &Sight) -> Settled {
        let policy = Policy::default();
        settle(look, sight, |_| Outage::default(), &policy, 0.5)
    }

    fn fates(settled: &Settled) -> Vec<(DeliveryId, &Fate)> {
        let fates = settled.fates.iter();
        fates.map(|it| (it.delivery, &it.fate)).collect()
    }

    #[test]
    fn what_is_found_is_stored_and_the_cursor_follows() {
        let look = look(7, vec![accepted(1), accepted(2)]);
        let found = vec![others(7), ours(8, 1), others(9), ours(10, 2)];
        let settled = settled(&look, &sight(100, 10, 7, found));
        assert_eq!(settled.fates.len(), 2);
        assert!(matches!(
            settled.fates[1].fate,
            Fate::Stored { seq: 10, .. }
        ));
        assert_eq!(settled.cursors[&chat()].seq, 10);
        assert!(!settled.stop);
    }

    #[test]
    fn a_message_that_was_taken_back_is_known_by_its_ids() {
        let mut revoked = ours(8, 1);
        revoked.delivery = None;
        let look = look(7, vec![accepted(1)]);
        let settled = settled(&look, &sight(100, 8, 7, vec![others(7), revoked]));
        assert!(matches!(settled.fates[0].fate, Fate::Stored { seq: 8, .. }));
    }

    #[test]
    fn a_loss_is_proven_by_a_later_one_in_two_readings_2_s_apart() {
        let unsettled = vec![accepted(1), accepted(2)];
        let found = vec![others(7), ours(8, 2)];
        let first = settled(&look(7, unsettled), &sight(100, 8, 7, found));
        assert_eq!(fates(&first)[1], (id(1), &Fate::Missing));
        assert!(first.stop);
        assert_eq!(first.look_again, at(2100));

        let mut missing = accepted(1);
        missing.missing_since = Some(at(100));
        let missing = look(8, vec![missing]);
        let early = settled(&missing, &sight(2000, 8, 9, vec![]));
        assert_eq!((early.fates.len(), early.stop), (0, true));
        let second = settled(&missing, &sight(2100, 8, 9, vec![]));
        assert_eq!(fates(&second), [(id(1), &Fate::Dropped)]);
        assert!(!second.stop);
    }

    #[test]
    fn seqs_without_a_message_at_the_very_end_keep_a_loss_unproven_for_60_s_and_not_for_ever() {
        let mut missing = accepted(1);
        missing.missing_since = Some(at(100));
        let found = || vec![ours(7, 2)];
        let mut look = look(7, vec![missing]);
        let holes = |settled: &Settled| {
            let holes = settled.cursors[&chat()].holes.iter();
            holes.map(|hole| hole.seq).collect::<Vec<i64>>()
        };

        let early = settled(&look, &sight(3000, 9, 7, found()));
        assert_eq!((early.fates.len(), holes(&early)), (0, vec![8, 9]));
        look.cursors = early.cursors;
        let later = settled(&look, &sight(62_000, 9, 7, found()));
        assert_eq!((later.fates.len(), later.cursors.len()), (0, 0));
        let proven = settled(&look, &sight(63_000, 9, 7, found()));
        assert_eq!(fates(&proven), [(id(1), &Fate::Dropped)]);
        assert!(proven.cursors.is_empty(), "they are remembered as old");
        assert!(proven.look_again >= at(63_000 + 30_000), "in no hurry");

        // Its second send comes behind them: they are forgotten.
        let cursor = &look.cursors[&chat()];
        assert_eq!(spans(cursor, 10, 100, false), [Span { begin: 7, end: 10 }]);
        let found = vec![ours(7, 2), ours(10, 1)];
        let after = settled(&look, &sight(70_000, 10, 7, found));
        assert!(matches!(after.fates[0].fate, Fate::Stored { seq: 10, .. }));
        assert_eq!((after.cursors[&chat()].seq, holes(&after)), (10, vec![]));
    }

    #[test]
    fn an_old_hole_before_a_young_one_is_remembered_so_that_the_question_begins_before_both() {
        let mut look = look(8, vec![accepted(1)]);
        let hole = |seq, millis| Hole {
            seq,
            since: at(millis),
        };
        look.cursors.get_mut(&chat()).unwrap().holes = vec![hole(8, 0)];
        let found = || vec![ours(7, 2), others(10)];
        let settled = settled(&look, &sight(61_000, 10, 7, found()));
        let cursor = &settled.cursors[&chat()];
        assert_eq!(cursor.holes, [hole(8, 0), hole(9, 61_000)]);
        assert_eq!(spans(cursor, 10, 100, false), [Span { begin: 7, end: 9 }]);
    }

    #[test]
    fn a_seq_without_a_message_keeps_a_loss_unproven_for_60_s() {
        let mut missing = accepted(1);
        missing.missing_since = Some(at(100));
        let mut look = look(9, vec![missing]);
        let holes = &mut look.cursors.get_mut(&chat()).unwrap().holes;
        holes.push(Hole {
            seq: 8,
            since: at(100),
        });
        let found = || vec![others(7), others(9)];
        let young = settled(&look, &sight(59_000, 9, 7, found()));
        assert_eq!((young.fates.len(), young.stop), (0, false));
        let old = settled(&look, &sight(60_100, 9, 7, found()));
        assert_eq!(fates(&old), [(id(1), &Fate::Dropped)]);
        let filled = settled(&look, &sight(59_000, 9, 7, vec![others(7), ours(8, 1)]));
        assert!(matches!(filled.fates[0].fate, Fate::Stored { seq: 8, .. }));
    }

    #[test]
    fn an_earlier_send_that_comes_late_proves_nothing_about_those_between() {
        let mut again = accepted(2);
        again.attempt.number = 2;
        again.receipt = Some(receipt(22));
        // It was sent again behind the first one, and its first send appears now.
        let look = look(7, vec![accepted(1), again]);
        let settled = settled(&look, &sight(5000, 8, 7, vec![others(7), ours(8, 2)]));
        assert_eq!(settled.fates.len(), 1);
        assert!(matches!(settled.fates[0].fate, Fate::Stored { .. }));
    }

    #[test]
    fn evidence_against_an_unclear_one_counts_after_120_s_and_only_from_a_whole_reading() {
        let look = look(7, vec![unclear(1)]);
        let early = settled(&look, &sight(119_000, 8, 7, vec![others(7), others(8)]));
        assert_eq!(early.fates.len(), 0);
        assert_eq!(early.look_again, at(120_000));
        let nothing_came = settled(&look, &sight(121_000, 8, 7, vec![]));
        assert_eq!(nothing_came.fates.len(), 0, "unreadable is not absent");
        let not_all = settled(&look, &sight(121_000, 8, 7, vec![others(7)]));
        assert_eq!(not_all.fates.len(), 0, "seq 8 may be it");
        let whole = settled(&look, &sight(121_000, 8, 7, vec![others(7), others(8)]));
        assert!(matches!(whole.fates[0].fate, Fate::NotTaken { .. }));
    }

    #[test]
    fn evidence_for_an_unclear_one_counts_at_once() {
        let look = look(7, vec![unclear(1)]);
        let found = settled(&look, &sight(600, 8, 7, vec![others(7), ours(8, 1)]));
        assert!(matches!(found.fates[0].fate, Fate::Stored { seq: 8, .. }));
        let mut queued = sight(600, 7, 8, vec![]);
        queued.queued.insert(id(1));
        assert_eq!(fates(&settled(&look, &queued)), [(id(1), &Fate::Taken)]);
    }

    #[test]
    fn what_nothing_proves_is_unproven_after_10_min_in_which_somebody_could_ask() {
        let look = look(7, vec![accepted(1)]);
        let late = sight(600_000, 7, 8, vec![]);
        assert_eq!(fates(&settled(&look, &late)), [(id(1), &Fate::Unproven)]);
        let outage = |_| Outage {
            lasted: SECOND,
            next_try: None,
        };
        let policy = Policy::default();
        assert_eq!(settle(&look, &late, outage, &policy, 0.5).fates.len(), 0);
        let hold = Policy {
            unproven: Unproven::Hold,
            ..policy
        };
        let held = settle(&look, &late, |_| Outage::default(), &hold, 0.5);
        assert_eq!(fates(&held), [(id(1), &Fate::Held)]);
    }

    #[test]
    fn what_cannot_be_read_is_sent_twice_at_most() {
        let mut again = accepted(1);
        again.attempt.operation_id = format!("{}-2", id(1));
        let look = look(7, vec![again]);
        let unreadable = settled(&look, &sight(600_000, 9, 7, vec![]));
        assert!(matches!(unreadable.fates[0].fate, Fate::Dead(_)));
        let readable = settled(&look, &sight(600_000, 7, 8, vec![]));
        assert_eq!(fates(&readable), [(id(1), &Fate::Unproven)]);
    }

    #[test]
    fn one_of_ours_whose_send_is_under_way_stays_in_sight() {
        let seen = settled(
            &look(7, vec![accepted(1)]),
            &sight(100, 8, 7, vec![others(7), ours(8, 2)]),
        );
        let cursor = &seen.cursors[&chat()];
        assert_eq!((seen.fates.len(), cursor.seq), (0, 8));
        assert_eq!(cursor.holes.len(), 1);

        // Its send has ended: it is stored, and proves that the first one is missing.
        let mut look = look(8, vec![accepted(1), accepted(2)]);
        look.cursors.insert(chat(), cursor.clone());
        let known = settled(&look, &sight(200, 8, 7, vec![others(7), ours(8, 2)]));
        assert_eq!(fates(&known)[1], (id(1), &Fate::Missing));
        assert_eq!(known.cursors[&chat()].holes, []);
    }

    #[test]
    fn a_conversation_that_was_reset_is_read_from_its_beginning() {
        let look = look(70, vec![accepted(1)]);
        let cursor = &look.cursors[&chat()];
        assert_eq!(spans(cursor, 3, 200, false), [Span { begin: 1, end: 3 }]);
        let found = vec![others(1), ours(2, 1), others(3)];
        let settled = settled(&look, &sight(100, 3, 1, found));
        assert!(matches!(settled.fates[0].fate, Fate::Stored { seq: 2, .. }));
        assert_eq!(settled.cursors[&chat()].seq, 3);
    }

    #[test]
    fn a_reset_that_has_grown_beyond_the_cursor_is_noticed_by_what_stands_there() {
        // Found by the simulation: everything was read up to 2, then the conversation was emptied and grew to 3.
        let look = look(2, vec![accepted(1), accepted(2), accepted(3)]);
        let first = settled(&look, &sight(100, 3, 2, vec![ours(2, 2), ours(3, 3)]));
        assert_eq!(first.cursors[&chat()].seq, 0);
        assert!(!first.stop);
        assert_eq!(first.look_again, at(100));
    }

    #[test]
    fn a_crash_before_the_first_cursor_was_kept_is_settled_by_the_whole_conversation() {
        let mut look = look(0, vec![unclear(1)]);
        look.cursors.clear();
        let found = || vec![others(1), others(2)];
        let early = settled(&look, &sight(100, 2, 1, found()));
        assert_eq!((early.fates.len(), early.cursors[&chat()].seq), (0, 2));
        let late = settled(&look, &sight(121_000, 2, 1, found()));
        assert!(matches!(late.fates[0].fate, Fate::NotTaken { .. }));
        let unread = settled(&look, &sight(121_000, 2, 1, vec![]));
        assert_eq!(unread.fates.len(), 0);
    }

    #[test]
    fn a_reset_that_has_come_as_far_again_is_noticed_when_something_is_looked_for_in_vain() {
        // Found by the simulation: 1 was read, the conversation was emptied, and the next of ours got 1.
        let look = look(1, vec![accepted(1)]);
        assert_eq!(last_known(&look, 1, &chat(), at(59_000)), None);
        let last = Span { begin: 1, end: 1 };
        assert_eq!(last_known(&look, 1, &chat(), at(60_000)), Some(last));
        assert_eq!(last_known(&look, 2, &chat(), at(60_000)), None);
        let found = settled(&look, &sight(60_000, 1, 1, vec![ours(1, 1)]));
        assert!(matches!(found.fates[0].fate, Fate::Stored { seq: 1, .. }));
        assert_eq!(found.cursors[&chat()].seq, 0);
    }

    #[test]
    fn nothing_is_unproven_while_there_is_more_to_read() {
        // Found by the simulation: after a long outage the history is read in several looks.
        let mut sight = sight(700_000, 3, 1, vec![others(1), others(2)]);
        sight.readings.get_mut(&chat()).unwrap().newest = 9;
        let look = look(1, vec![accepted(1)]);
        let settled = settled(&look, &sight);
        assert_eq!((settled.fates.len(), settled.look_again), (0, at(700_000)));
    }

    #[test]
    fn the_last_known_seq_has_to_come_back_for_a_proof() {
        // Found by the simulation: 1 was read, then the conversation was emptied, and 1 is not written yet.
        let mut missing = accepted(1);
        missing.missing_since = Some(at(100));
        let settled = settled(
            &look(1, vec![missing]),
            &sight(3000, 2, 1, vec![ours(2, 2)]),
        );
        assert!(!fates(&settled).contains(&(id(1), &Fate::Dropped)));
    }

    #[test]
    fn much_talk_of_others_is_left_out_where_it_is_older_than_the_send() {
        let look = look(7, vec![accepted(1)]);
        let cursor = &look.cursors[&chat()];
        let tail = Span {
            begin: 801,
            end: 1000,
        };
        assert_eq!(spans(cursor, 1000, 200, false), [tail]);
        assert_eq!(
            spans(cursor, 1000, 200, true),
            [Span { begin: 7, end: 206 }]
        );

        let mut found: Vec<Found> = (801..1000).map(others).collect();
        found.push(ours(1000, 1));
        let part = |found| Part { span: tail, found };
        assert!(!reaches_back(
            &part(found.clone()),
            &look.unsettled,
            &chat()
        ));
        found[0].receipt.send_time -= 6 * 60_000;
        assert!(reaches_back(&part(found.clone()), &look.unsettled, &chat()));
        let settled = settled(&look, &sight(100, 1000, 801, found));
        assert_eq!(settled.cursors[&chat()].seq, 1000);
        assert_eq!(settled.fates.len(), 1);
    }

    #[test]
    fn a_lane_goes_on_when_the_lost_one_was_sent_again_or_after_10_s() {
        let mut look = look(8, vec![accepted(3)]);
        look.stopped = true;
        let young = settled(&look, &sight(5000, 8, 9, vec![]));
        assert!(young.stop, "it may still come");
        let old = settled(&look, &sight(10_010, 8, 9, vec![]));
        assert!(!old.stop, "what is sent next proves it");
    }

    #[test]
    fn looks_follow_each_other_fast_at_first_and_slowly_later() {
        let look = look(7, vec![accepted(1)]);
        let wait = |millis: u64| {
            let settled = settled(&look, &sight(millis, 7, 8, vec![]));
            since(at(millis), settled.look_again).as_millis()
        };
        assert_eq!([wait(50), wait(2010), wait(300_000)], [50, 1000, 30_000]);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_lets_the_cursor_go_beyond_the_newest(
            cursor in -5i64..50, newest in -5i64..2000, begin in -5i64..2000,
            found in proptest::collection::vec((-5i64..2000, 0u128..5), 0..40),
            millis in 0u64..1 << 40, stride in 1i64..300,
        ) {
            let look = look(cursor, vec![accepted(1), unclear(2)]);
            for span in spans(&look.cursors[&chat()], newest, stride, false) {
                prop_assert!(span.begin >= 1 && span.end <= newest.max(1) && span.end - span.begin < stride);
            }
            let found = found.into_iter().map(|(seq, number)| ours(seq, number)).collect();
            let settled = settled(&look, &sight(millis, newest, begin, found));
            if let Some(after) = settled.cursors.get(&chat()) {
                prop_assert!(after.seq <= newest.max(0));
                prop_assert!(after.holes.len() <= MOST_HOLES);
            }
        }
    }
}
