//! `on`: which kinds of events a rule is about.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::problem::{Flaw, nearest};
use super::reading::{Reading, Text};

/// Globs over kinds: `pull_request.*`, `{push,create}`, `*`. A `*` also stands for dots. Case does not matter.
#[derive(Clone, Debug)]
pub struct Kinds {
    globs: Vec<String>,
    set: GlobSet,
}

/// A longer list is a mistake, and would make each event slow.
const MOST_GLOBS: usize = 200;

impl Kinds {
    /// Compiles the globs; what is wrong is noted, and then there are no kinds.
    pub fn compile(
        reading: &Reading<'_>,
        written: &[Text],
        span: std::ops::Range<usize>,
    ) -> Option<Kinds> {
        if written.is_empty() {
            let flaw = Flaw::new(span, "`on` names no kind, so nothing gets here");
            reading.error(flaw.help("leave `on` out for all kinds"));
            return None;
        }
        let mut set = GlobSetBuilder::new();
        let mut whole = true;
        for text in written.iter().take(MOST_GLOBS) {
            match GlobBuilder::new(&text.value).case_insensitive(true).build() {
                Ok(_) if text.value.trim().is_empty() => {
                    reading.error(Flaw::new(text.span.clone(), "a kind is not empty"));
                    whole = false;
                }
                Ok(glob) => drop(set.add(glob)),
                Err(error) => {
                    reading.error(Flaw::new(text.span.clone(), error.kind().to_string()));
                    whole = false;
                }
            }
        }
        if let Some(over) = written.get(MOST_GLOBS) {
            reading.error(Flaw::new(
                over.span.clone(),
                format!("more than {MOST_GLOBS} kinds"),
            ));
            return None;
        }
        match set.build() {
            Ok(set) if whole => Some(Kinds {
                globs: written.iter().map(|text| text.value.clone()).collect(),
                set,
            }),
            Ok(_) => None,
            Err(error) => {
                reading.error(Flaw::new(span, error.kind().to_string()));
                None
            }
        }
    }

    /// Whether events of that kind are meant.
    pub fn contain(&self, kind: &str) -> bool {
        self.set.is_match(kind)
    }

    /// Whether everything that `other` means is certainly meant here too.
    pub fn cover(&self, other: &Kinds) -> bool {
        let covered = |glob: &String| {
            let literal = !glob.contains(['*', '?', '[', '{', '\\']);
            self.globs.iter().any(|mine| mine == "*" || mine == glob)
                || (literal && self.contain(glob))
        };
        other.globs.iter().all(covered)
    }
}

/// For people: `` `push`, `release.*` ``.
impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.globs.join("`, `"))
    }
}

/// For a glob that begins with no word that any of `known` begins with: what may have been meant. `None` when the glob may
/// well match something.
pub fn doubt<'k>(glob: &str, known: &[&'k str]) -> Option<Option<&'k str>> {
    let first = |kind: &'k str| kind.split('.').next().unwrap_or_default();
    let word = glob.split('.').next().unwrap_or_default();
    let open = word.contains(['*', '?', '[', '{', '\\']);
    let word = word.to_ascii_lowercase();
    if open || known.is_empty() || known.iter().any(|kind| first(kind) == word) {
        return None;
    }
    Some(nearest(&word, known.iter().map(|kind| first(kind))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(globs: &[&str]) -> Option<Kinds> {
        let text = |glob: &&str| Text {
            value: (*glob).to_owned(),
            span: 0..0,
        };
        let texts: Vec<Text> = globs.iter().map(text).collect();
        Kinds::compile(&Reading::default(), &texts, 0..0)
    }

    #[test]
    fn a_star_also_stands_for_dots_and_case_does_not_matter() {
        let kinds = kinds(&["pull_request.*", "{push,create}", "Alert.Firing"]).unwrap();
        for kind in [
            "pull_request.opened",
            "pull_request.a.b",
            "push",
            "create",
            "alert.firing",
        ] {
            assert!(kinds.contain(kind), "{kind}");
        }
        for kind in ["pull_request", "pushed", "alert", ""] {
            assert!(!kinds.contain(kind), "{kind}");
        }
    }

    #[test]
    fn one_covers_another_only_when_that_is_certain() {
        let covers =
            |one: &[&str], other: &[&str]| kinds(one).unwrap().cover(&kinds(other).unwrap());
        assert!(covers(&["*"], &["a.*", "b"]));
        assert!(covers(&["a.*", "b"], &["b", "a.x"]));
        assert!(covers(&["a.*"], &["a.*"]));
        assert!(!covers(&["a.*"], &["a*"]));
        assert!(!covers(&["a.*"], &["a.x", "b"]));
    }

    #[test]
    fn only_a_first_word_that_nobody_knows_is_doubted() {
        let known = ["pull_request.opened", "push"];
        assert_eq!(doubt("pul_request.*", &known), Some(Some("pull_request")));
        assert_eq!(doubt("zebra", &known), Some(None));
        for fine in ["pull_request.closed", "push", "pu*", "*", "{a,b}"] {
            assert_eq!(doubt(fine, &known), None, "{fine}");
        }
        assert_eq!(doubt("zebra", &[]), None);
    }
}
