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
