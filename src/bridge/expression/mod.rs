//! The language of events and rules: CEL's syntax with one reading rule that makes webhooks bearable, *absent*.
//!
//! An [`Expression`] is compiled once, with every mistake that can be seen beforehand named by its place, and then
//! evaluated over a [`Scope`] that borrows the event: the payload is never copied. It always ends, for it has bounds on its
//! source, its depth, its loops and its steps.

mod compare;
mod compute;
mod explain;
mod functions;
mod parameters;
mod resolve;
mod sort;
mod syntax;
mod tokens;
mod tree;
mod val;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

pub use explain::Holds;
pub use parameters::Parameters;
pub use val::Val;

use self::tree::Node;
use self::walk::{Failure, Walk};
use crate::bridge::problem::{Flaw, Level};
use crate::model::Event;

/// How long the source of an expression may be, in bytes.
pub const SOURCE: usize = 4096;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    source: String,
    root: Node,
}

/// The names that an expression may use besides `body`, `header`, `query` and `severity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub(super) lets: Vec<String>,
    pub(super) place: Place,
}

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In `[event]`: `event` is not there yet, `severity.critical` is a word.
    Event,
    /// In `when`, computed destinations and mentions: `event` is there, `severity.critical` is a number.
    Rule,
}

/// What an expression reads. Made by [`EventRules`](crate::bridge::event_rules::EventRules), which knows the helpers.
#[derive(Debug)]
pub struct Scope<'v> {
    pub(super) event: Option<&'v Event>,
    pub(super) body: &'v Value,
    pub(super) header: &'v BTreeMap<String, String>,
    pub(super) query: &'v BTreeMap<String, String>,
    pub(super) lets: Vec<Val<'v>>,
}

/// Something that an operator may want to know about an evaluation: what failed, or what was absent. Never a value of
/// the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// `Warning` for what failed: the rule should be mended. `Advice` for what was absent or is no known word: webhooks are
    /// like that.
    pub level: Level,
    /// What was being filled: `title`, `let.it`; empty for a rule.
    pub about: String,
    /// What happened, in our own words.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.about.as_str() {
            "" => f.write_str(&self.what),
            about => write!(f, "{about}: {}", self.what),
        }
    }
}

impl Note {
    /// The same note about a field or a helper.
    pub fn about(self, about: impl Into<String>) -> Note {
        Note {
            about: about.into(),
            ..self
        }
    }
}

impl Names {
    /// The names in `place` after the helpers `lets`, in their order.
    pub fn new(place: Place, lets: impl IntoIterator<Item = String>) -> Names {
        Names {
            lets: lets.into_iter().collect(),
            place,
        }
    }
}

/// Whether a helper may be called `name`; if not, why.
pub(super) fn check_let_name(name: &str) -> Result<(), String> {
    if resolve::ROOTS.contains(&name) {
        Err(format!("`{name}` already means something"))
    } else if !syntax::is_name(name) {
        Err(format!("`{name}` cannot be the name of a helper"))
    } else {
        Ok(())
    }
}

impl Expression {
    /// Compiles `source`. `Err` lists what is wrong, each with its bytes in `source`.
    pub fn compile(source: &str, names: &Names) -> Result<Expression, Vec<Flaw>> {
        Expression::compile_as(source, names, false)
    }

    /// Compiles `source` as a condition: what is certainly neither true nor false is a flaw too.
    pub fn compile_condition(source: &str, names: &Names) -> Result<Expression, Vec<Flaw>> {
        Expression::compile_as(source, names, true)
    }

    fn compile_as(source: &str, names: &Names, condition: bool) -> Result<Expression, Vec<Flaw>> {
        if source.len() > SOURCE {
            let flaw = Flaw::new(
                0..source.len(),
                format!(
                    "an expression may have {SOURCE} bytes, not {}",
                    source.len()
                ),
            );
            return Err(vec![
                flaw.help("a part of it can be a helper of its own: `let.name = …`"),
            ]);
        }
        let syntax = syntax::read(source).map_err(|flaw| vec![flaw])?;
        let root = resolve::resolve(&syntax, names)?;
        sort::check(&root, names.place, condition)?;
        Ok(Expression {
            source: source.to_owned(),
            root,
        })
    }

    /// The expression as it is written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The value. A failure makes it absent and leaves a note.
    pub fn evaluate<'v>(&'v self, scope: &Scope<'v>) -> (Val<'v>, Vec<Note>) {
        match Walk::new(scope).value(&self.root) {
            Ok(value) => (value, Vec::new()),
            Err(failure) => (Val::Absent, vec![self.note(&failure)]),
        }
    }

    /// Whether it is exactly true, without the reasons: for the door. [`Expression::holds`] gives them.
    pub fn is_true<'v>(&'v self, scope: &Scope<'v>) -> bool {
        Walk::new(scope).holds(&self.root) == Ok(true)
    }

    fn note(&self, failure: &Failure) -> Note {
        Note {
            level: Level::Warning,
            about: String::new(),
            what: format!("`{}`: {}", self.snippet(&failure.span), failure.why),
        }
    }

    /// A part of the source on one line, cut when it is long.
    fn snippet(&self, span: &std::ops::Range<usize>) -> String {
        /// More characters than this are no help in a line of explanation.
        const SHOWN: usize = 70;
        let part = self.source.get(span.clone()).unwrap_or(&self.source);
        let mut line = part.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((at, _)) = line.char_indices().nth(SHOWN) {
            line.truncate(at);
            line.push('…');
        }
        line
    }
}
