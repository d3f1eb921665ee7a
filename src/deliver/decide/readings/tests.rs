//! What each look comes to.

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
    assert_eq!(spans(cursor, 10, 100, false), [Span { begin: 7, end: 10 }]);
}

#[test]
fn a_hole_at_the_very_beginning_is_asked_for_with_what_follows_it() {
    let hole = |seq| Hole { seq, since: at(0) };
    let cursor = |holes: Vec<Hole>| Cursor { seq: 4, holes };
    let asked = |holes| spans(&cursor(holes), 4, 100, false);
    assert_eq!(asked(vec![hole(1)]), [Span { begin: 1, end: 2 }]);
    assert_eq!(asked(vec![hole(1), hole(2)]), [Span { begin: 1, end: 3 }]);
    assert_eq!(asked(vec![hole(4)]), [Span { begin: 3, end: 4 }]);
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
fn one_whose_sender_was_frozen_before_it_sent_is_waited_for_from_the_end_of_its_send() {
    let mut frozen = unclear(1);
    frozen.ended = Some(at(100_000));
    let look = look(7, vec![frozen]);
    let there = || vec![others(7), others(8)];
    let early = settled(&look, &sight(219_000, 8, 7, there()));
    assert_eq!((early.fates.len(), early.look_again), (0, at(220_000)));
    let late = settled(&look, &sight(220_000, 8, 7, there()));
    assert!(matches!(late.fates[0].fate, Fate::NotTaken { .. }));
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
    // A seq that is news may be its own, or hold what proves that it is lost.
    let young = settled(&look, &sight(600_000, 8, 7, vec![others(7)]));
    assert_eq!(young.fates.len(), 0);
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
