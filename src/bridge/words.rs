//! What senders call a severity or a state: the words as data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::model::{Severity, State};

/// A word that several levels could claim stands with the one that its senders mean.
const SEVERITIES: [(Severity, &str); 5] = [
    (Severity::Debug, "debug trace verbose p5"),
    (
        Severity::Info,
        "info information informational notice note normal none negligible low lowest trivial ok success succeeded \
         successful passed fixed skipped neutral stale pending queued created started running in_progress inprogress \
         finished unknown not_classified no_priority p4",
    ),
    (
        Severity::Warning,
        "warning warn medium moderate minor average unstable degraded cancelled canceled aborted action_required \
         partially_succeeded p3",
    ),
    (
        Severity::Error,
        "error err errored not_ok high major failure failed failing broken timed_out timedout startup_failure p2",
    ),
    (
        Severity::Critical,
        "critical crit fatal emergency emerg panic disaster blocker urgent highest page p1 p0",
    ),
];

const OPEN: &str = "open opened reopen reopened create created new active activated firing alerting triggered trigger \
                    problem down start started requested queued pending failing";

const CLOSED: &str = "close closed merge merged resolve resolved ok up recovered done fixed complete completed finished \
                      finalized success succeeded successful passed failed failure errored unstable aborted delete deleted \
                      remove removed declined rejected fulfilled abandoned cancelled canceled dismissed destroyed";

/// The level that a word stands for; `None` when it is not known. `SEV-1` is `p1`.
pub fn severity(word: &str) -> Option<Severity> {
    static LEVELS: LazyLock<BTreeMap<&str, Severity>> = LazyLock::new(|| {
        let levels = SEVERITIES.iter();
        levels
            .flat_map(|(level, words)| words.split_whitespace().map(|word| (word, *level)))
            .collect()
    });
    let word = folded(word);
    let level = LEVELS.get(word.as_str());
    level.copied().or_else(|| {
        let number = word.strip_prefix("sev")?.trim_start_matches('_');
        LEVELS.get(format!("p{number}").as_str()).copied()
    })
}

/// What a word makes of its subject: any word that neither opens nor closes changes it; `None` for no word at all. Of a
/// dotted word (`incident.resolved`, `pullrequest:fulfilled`) the last part counts.
pub fn state(word: &str) -> Option<State> {
    let last = word.rsplit(['.', ':', '/']).find(|part| !part.is_empty())?;
    let last = folded(last);
    let among = |words: &str| words.split_whitespace().any(|word| word == last);
    if last.is_empty() {
        None
    } else if among(OPEN) {
        Some(State::Open)
    } else if among(CLOSED) {
        Some(State::Closed)
    } else {
        Some(State::Changed)
    }
}

/// Lower case, every run of other signs one `_`, none at the ends.
fn folded(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    for c in word.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            folded.push(c);
        } else if !folded.is_empty() && !folded.ends_with('_') {
            folded.push('_');
        }
    }
    folded.truncate(folded.trim_end_matches('_').len());
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_in_any_dress() {
        for (word, level) in [
            ("CRITICAL", Severity::Critical),
            ("Action Required", Severity::Warning),
            ("timed-out", Severity::Error),
            ("SEV-1", Severity::Critical),
            ("sev2", Severity::Error),
            ("P5", Severity::Debug),
            ("Not classified", Severity::Info),
        ] {
            assert_eq!(severity(word), Some(level), "{word}");
        }
        for word in ["", "sev", "sev9", "4", "whatever", "p"] {
            assert_eq!(severity(word), None, "{word}");
        }
    }

    #[test]
    fn no_word_stands_for_two_levels() {
        let mut words: Vec<_> = SEVERITIES
            .iter()
            .flat_map(|(_, words)| words.split_whitespace())
            .collect();
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
        assert!(
            OPEN.split_whitespace()
                .all(|word| !CLOSED.split_whitespace().any(|w| w == word))
        );
    }

    #[test]
    fn of_a_dotted_state_the_last_part_counts() {
        assert_eq!(state("incident.resolved"), Some(State::Closed));
        assert_eq!(state("pullrequest:fulfilled"), Some(State::Closed));
        assert_eq!(state("Opened"), Some(State::Open));
        assert_eq!(state("synchronize"), Some(State::Changed));
        assert_eq!(state("closed."), Some(State::Closed));
        assert_eq!(state(""), None);
        assert_eq!(state(" . "), None);
    }
}
