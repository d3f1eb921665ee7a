//! What is wrong in a directory, with the place and the line shown. All of them are collected; none stops the search.

use std::collections::BTreeMap;
use std::ops::Range;

/// The files of a rule-book by their path in the directory (`bridges/acme.toml`), as text.
pub type Sources = BTreeMap<String, String>;

/// One mistake, or something worth knowing, in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// The file's path in the directory: `bridges/acme.toml`.
    pub file: String,
    /// The bytes of the file that are meant; `None` when it is about the whole file.
    pub span: Option<Range<usize>>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The directory cannot be used.
    Error,
    /// It can be used, but probably not as meant.
    Warning,
    /// Worth knowing.
    Advice,
}

/// A mistake inside a small text (an expression, a template, a pattern), before it is known where that text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The bytes of the text that are meant.
    pub span: Range<usize>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Flaw {
    /// A flaw at `span`.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Flaw {
        Flaw {
            span,
            message: message.into(),
            help: None,
        }
    }

    /// The same with advice.
    pub fn help(mut self, help: impl Into<String>) -> Flaw {
        self.help = Some(help.into());
        self
    }
}

/// `; did you mean ...`-style advice: the known word that is nearest to `wrong`, if one is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(wrong, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(wrong.len()) / 4)
        .min()
        .map(|(_, word)| word)
}
