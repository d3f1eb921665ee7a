//! What follows an attempt: one pure function of what was claimed, what was seen, and the time.

use std::time::Duration;

use super::{Outage, Policy, plus};
use crate::model::{Claim, Outcome, Timestamp};
use crate::outbox::Decision;

/// OpenIM takes 40 to 100 ms before a message that it has accepted can be found.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// An unclear send is looked for a little later: the answer is lost, so is the time that it took.
const FIRST_LOOK_FOR_UNCLEAR: Duration = Duration::from_millis(500);

/// What follows an attempt that ended so at `now`. `random` is at least 0 and below 1; it spreads the retries of many
/// lanes ("full jitter").
pub fn decide(
    claim: &Claim,
    outcome: &Outcome,
    outage: &Outage,
    policy: &Policy,
    now: Timestamp,
    random: f64,
) -> Decision {
    let (reason, after) = match outcome {
        Outcome::Accepted(receipt) => {
            return Decision::Accepted {
                receipt: receipt.clone(),
                look: policy.reads_back().then(|| plus(now, FIRST_LOOK)),
            };
        }
        Outcome::Refused(reason) => return Decision::Refused(reason.clone()),
        // It is settled before anything is repeated or given up.
        Outcome::Ambiguous { .. } => {
            return Decision::Unclear {
                look: plus(now, FIRST_LOOK_FOR_UNCLEAR),
            };
        }
        Outcome::Later { reason, after } => (reason, *after),
    };
    let schedule = &policy.schedule;
    if schedule.is_over(claim.first_attempt, outage, now) {
        return Decision::Dead(reason.clone());
    }
    let mut at = schedule.again(claim.attempt.number, outage, now, random);
    if let Some(after) = after {
        // An absurd wait must not bury the message.
        at = at.max(plus(now, after.min(schedule.longest)));
    }
    Decision::Again { at }
}

#[cfg(test)]
mod tests {
    use super::super::since;
    use super::*;
    use crate::model::{Attempt, Content, Conversation, DeliveryId, Hold, Message, Push, Receipt};
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    fn start() -> Timestamp {
        "2026-07-02T10:00:00Z".parse().unwrap()
    }

    /// The attempt of that number, made so long after the first one.
    fn claim(number: u32, later: Duration) -> Claim {
        Claim {
            delivery: DeliveryId::new(start()),
            bridge: "github".into(),
            event: "e1".into(),
            conversation: Conversation::Group("g1".into()),
            message: Message {
                content: Content::Text {
                    markdown: None,
                    plain: "x".into(),
                    preview: "x".into(),
                    mentions: vec![],
                },
                push: Push::Off,
                template: "x.txt.hbs".into(),
            },
            attempt: Attempt {
                number,
                operation_id: "op".into(),
                began: plus(start(), later),
            },
            first_attempt: start(),
            epoch: 1,
            hold: Hold::Ever,
            has_baseline: true,
            folded: None,
        }
    }

    fn later() -> Outcome {
        Outcome::Later {
            reason: "1403 MutedGroup".into(),
            after: None,
        }
    }

    fn ambiguous() -> Outcome {
        Outcome::Ambiguous {
            reason: "reset".into(),
            after: None,
        }
    }

    fn decide_at(claim: &Claim, outcome: &Outcome, random: f64) -> Decision {
        let now = plus(claim.attempt.began, SECOND);
        let policy = Policy::default();
        decide(claim, outcome, &Outage::default(), &policy, now, random)
    }

    /// How long after its end the attempt is repeated.
    fn wait(decision: &Decision, claim: &Claim) -> Duration {
        match decision {
            Decision::Again { at } => since(plus(claim.attempt.began, SECOND), *at),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_pause_is_10_s_doubling_to_30_min_with_full_jitter() {
        for (number, longest) in [(1, 10), (2, 20), (3, 40), (8, 1280), (9, 1800), (400, 1800)] {
            let claim = claim(number, SECOND);
            let full = wait(&decide_at(&claim, &later(), 1.0), &claim);
            assert_eq!(full, Duration::from_secs(longest), "{number}");
            let half = wait(&decide_at(&claim, &later(), 0.5), &claim);
            assert_eq!(half, full / 2);
            assert_eq!(
                wait(&decide_at(&claim, &later(), 0.0), &claim),
                Duration::ZERO
            );
        }
    }

    #[test]
    fn a_message_is_dead_24_h_after_its_own_first_attempt() {
        let young = claim(60, HOUR * 24 - SECOND * 2);
        assert!(matches!(
            decide_at(&young, &later(), 0.5),
            Decision::Again { .. }
        ));
        let old = claim(60, HOUR * 24);
        assert_eq!(
            decide_at(&old, &later(), 0.5),
            Decision::Dead("1403 MutedGroup".into())
        );
    }

    #[test]
    fn the_time_of_an_outage_counts_for_neither_the_horizon_nor_the_pauses() {
        let claim = claim(60, HOUR * 30);
        let now = plus(claim.attempt.began, SECOND);
        let next_try = plus(now, SECOND * 5);
        let outage = Outage {
            lasted: HOUR * 7,
            next_try: Some(next_try),
        };
        let decision = decide(&claim, &later(), &outage, &Policy::default(), now, 1.0);
        assert_eq!(decision, Decision::Again { at: next_try });
    }

    #[test]
    fn a_wait_that_the_server_asks_for_is_kept_but_no_absurd_one() {
        let claim = claim(1, Duration::ZERO);
        let asked = |after| Outcome::Later {
            reason: "429".into(),
            after: Some(after),
        };
        let decision = decide_at(&claim, &asked(SECOND * 60), 0.1);
        assert_eq!(wait(&decision, &claim), SECOND * 60);
        let decision = decide_at(&claim, &asked(HOUR * 9999), 0.1);
        assert_eq!(wait(&decision, &claim), HOUR / 2);
    }

    #[test]
    fn an_ambiguous_end_is_neither_repeated_nor_given_up_before_it_is_settled() {
        for later in [Duration::ZERO, HOUR * 48] {
            let claim = claim(1, later);
            let Decision::Unclear { look } = decide_at(&claim, &ambiguous(), 0.0) else {
                panic!("it is settled first");
            };
            let now = plus(claim.attempt.began, SECOND);
            assert_eq!(since(now, look), FIRST_LOOK_FOR_UNCLEAR);
        }
    }

    #[test]
    fn what_is_not_read_back_ends_with_its_acceptance() {
        let mut policy = Policy::default();
        policy.window.messages = 0;
        let (claim, now) = (claim(1, Duration::ZERO), plus(start(), SECOND));
        let outcome = Outcome::Accepted(None);
        let decision = decide(&claim, &outcome, &Outage::default(), &policy, now, 0.0);
        assert_eq!(
            decision,
            Decision::Accepted {
                receipt: None,
                look: None
            }
        );
    }

    #[test]
    fn a_yes_and_a_no_are_final_even_beyond_the_horizon() {
        let claim = claim(60, HOUR * 48);
        let receipt = Receipt {
            server_msg_id: "s".into(),
            client_msg_id: "c".into(),
            send_time: 7,
        };
        let accepted = Outcome::Accepted(Some(receipt.clone()));
        assert_eq!(
            decide_at(&claim, &accepted, 0.5),
            Decision::Accepted {
                receipt: Some(receipt),
                look: Some(plus(claim.attempt.began, SECOND + FIRST_LOOK)),
            }
        );
        let refused = Outcome::Refused("1204".into());
        assert_eq!(
            decide_at(&claim, &refused, 0.5),
            Decision::Refused("1204".into())
        );
    }

    proptest! {
        #[test]
        fn no_numbers_make_the_decision_panic_or_go_back_in_time(
            number in any::<u32>(), later_by in 0u64..=1 << 40, after in proptest::option::of(any::<u64>()),
            lasted in any::<u64>(), random in 0.0f64..1.0, is_ambiguous in any::<bool>(),
        ) {
            let mut claim = claim(number, Duration::ZERO);
            let now = plus(start(), Duration::from_millis(later_by));
            claim.attempt.began = now;
            let (reason, after) = (String::new(), after.map(Duration::from_secs));
            let outcome = match is_ambiguous {
                true => Outcome::Ambiguous { reason, after },
                false => Outcome::Later { reason, after },
            };
            let outage = Outage { lasted: Duration::from_secs(lasted), next_try: None };
            match decide(&claim, &outcome, &outage, &Policy::default(), now, random) {
                Decision::Again { at } => prop_assert!(at >= now),
                Decision::Unclear { look } => prop_assert!(is_ambiguous && look > now),
                Decision::Dead(_) => prop_assert!(since(start(), now) >= HOUR * 24),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
