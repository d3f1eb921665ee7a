//! Why a rule says yes or no, in words for the person who wrote it.

use super::tree::{Comparison, Node, What};
use super::val::Val;
use super::walk::{Miss, Walk};
use super::{Expression, Note, Scope};
use crate::bridge::problem::Level;

/// The answer of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds {
    /// Whether it is exactly true.
    pub yes: bool,
    /// The reason. It may show short values of the payload: it is for `try`, never for the log.
    pub why: String,
}

impl Expression {
    /// Whether it is exactly true, and why; the explanation names the fields that were absent.
    pub fn holds<'v>(&'v self, scope: &Scope<'v>) -> Holds {
        match Walk::new(scope).holds(&self.root) {
            Ok(yes) => Holds {
                yes,
                why: self.why(&self.root, yes, scope),
            },
            Err(failure) => Holds {
                yes: false,
                why: self.note(&failure).what,
            },
        }
    }

    /// The fields that were asked for and are not there, one note each.
    pub fn absent<'v>(&'v self, scope: &Scope<'v>) -> Vec<Note> {
        let misses = self.misses(&self.root, scope);
        let notes = misses.iter().map(|miss| Note {
            level: Level::Advice,
            about: String::new(),
            what: self.missing(miss),
        });
        notes.collect()
    }

    fn misses<'v>(&'v self, node: &'v Node, scope: &Scope<'v>) -> Vec<Miss> {
        let mut walk = Walk::new(scope);
        walk.misses = Some(Vec::new());
        let _ = walk.value(node); // a failure is told elsewhere; here only what was missed before it counts
        walk.misses.unwrap_or_default()
    }

    fn missing(&self, miss: &Miss) -> String {
        let what = format!("`{}` is absent", self.snippet(&miss.span));
        match &miss.near {
            Some(near) => format!("{what}, there is `{near}`"),
            None => what,
        }
    }

    fn text(&self, node: &Node) -> String {
        format!("`{}`", self.snippet(&node.span))
    }

    fn why<'v>(&'v self, node: &'v Node, yes: bool, scope: &Scope<'v>) -> String {
        let holds = |node: &'v Node| Walk::new(scope).holds(node) == Ok(true);
        match (&node.what, yes) {
            (What::All(parts), true) | (What::Any(parts), false) => {
                let parts = parts.iter().map(|part| self.why(part, yes, scope));
                let mut reasons: Vec<String> = Vec::new();
                for reason in parts {
                    if !reasons.contains(&reason) {
                        reasons.push(reason);
                    }
                }
                reasons.join(", ")
            }
            (What::All(parts), false) | (What::Any(parts), true) => {
                match parts.iter().find(|part| holds(part) == yes) {
                    Some(part) => self.why(part, yes, scope),
                    None => self.plain(node, scope),
                }
            }
            (What::Not(of), _) => self.why(of, !yes, scope),
            (What::If(condition, then, other), _) => {
                let met = holds(condition);
                let reason = self.why(condition, met, scope);
                let chosen = if met { then } else { other };
                format!("{reason}, so: {}", self.why(chosen, yes, scope))
            }
            (What::Compare(comparison, left, right), _) => {
                self.compared(*comparison, left, right, yes, scope)
            }
            (What::In(part, whole), _) => {
                let misses = self.misses(node, scope);
                let not = if yes { "" } else { "not " };
                match misses.first() {
                    Some(miss) if !yes => self.missing(miss),
                    _ => format!("{}, {not}in {}", self.shown(part, scope), self.text(whole)),
                }
            }
            (What::Has(of), _) => match yes {
                true => format!("{} is there", self.text(of)),
                false => match self.misses(of, scope).first() {
                    Some(miss) => self.missing(miss),
                    None => format!("{} is absent", self.text(of)),
                },
            },
            (What::Matches(of, _), _) => self.asked(node, of, yes, scope),
            (What::Call(_, parts), _) if parts.len() == 2 => {
                self.asked(node, &parts[0], yes, scope)
            }
            (What::Loop(round), false) => match self.misses(&round.over, scope).first() {
                Some(miss) => self.missing(miss),
                None => format!("{} does not hold", self.text(node)),
            },
            _ => self.plain(node, scope),
        }
    }

    /// A part that is true, or has some other value.
    fn plain<'v>(&'v self, node: &'v Node, scope: &Scope<'v>) -> String {
        match Walk::new(scope).value(node) {
            Ok(Val::Bool(true)) => format!("{} holds", self.text(node)),
            Ok(Val::Bool(false)) => format!("{} is false", self.text(node)),
            Ok(Val::Absent) => match self.misses(node, scope).first() {
                Some(miss) => self.missing(miss),
                None => format!("{} is absent", self.text(node)),
            },
            Ok(value) => format!("{} is {value}, not true", self.text(node)),
            Err(failure) => self.note(&failure).what,
        }
    }

    /// `text.startsWith(…)` and the like: what the text is says why.
    fn asked<'v>(&'v self, node: &'v Node, of: &'v Node, yes: bool, scope: &Scope<'v>) -> String {
        let misses = self.misses(node, scope);
        match (yes, misses.first(), is_written(of)) {
            (true, ..) => format!("{} holds", self.text(node)),
            (false, Some(miss), _) => self.missing(miss),
            (false, None, true) => format!("{} is false", self.text(node)),
            (false, None, false) => {
                format!(
                    "{} does not hold: {}",
                    self.text(node),
                    self.shown(of, scope)
                )
            }
        }
    }

    fn compared<'v>(
        &'v self,
        comparison: Comparison,
        left: &'v Node,
        right: &'v Node,
        yes: bool,
        scope: &Scope<'v>,
    ) -> String {
        // What is asked comes first, what is written stands behind it, whichever way round the rule has them.
        let turned = is_written(left) && !is_written(right);
        let (asked, with) = if turned { (right, left) } else { (left, right) };
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let misses = self.misses(asked, scope);
        let other_misses = self.misses(with, scope);
        if let Some(miss) = misses.first().or(other_misses.first().filter(|_| !yes)) {
            let values = (Walk::new(scope).value(asked), Walk::new(scope).value(with));
            if matches!(values, (Ok(Val::Absent), _) | (_, Ok(Val::Absent))) {
                return self.missing(miss);
            }
        }
        let shown = self.shown(asked, scope);
        let with = match (is_written(with), Walk::new(scope).value(with)) {
            (false, Ok(value)) if !ordered => format!("{value} ({})", self.text(with)),
            _ => self.snippet(&with.span),
        };
        match (comparison, yes) {
            (Comparison::Equal, true) | (Comparison::NotEqual, false) => shown,
            (Comparison::Equal, false) | (Comparison::NotEqual, true) => {
                format!("{shown}, not {with}")
            }
            (_, true) => format!("{shown}, {} {with}", turn(comparison, turned)),
            (_, false) => format!("{shown}, not {} {with}", turn(comparison, turned)),
        }
    }

    /// `` `event.kind` is "push" ``
    fn shown<'v>(&'v self, node: &'v Node, scope: &Scope<'v>) -> String {
        match Walk::new(scope).value(node) {
            Ok(value) => format!("{} is {value}", self.text(node)),
            Err(failure) => self.note(&failure).what,
        }
    }
}

/// Whether the value stands in the expression itself.
fn is_written(node: &Node) -> bool {
    match &node.what {
        What::Constant(_) | What::Text(_) | What::Severity(_) => true,
        What::List(parts) => parts.iter().all(is_written),
        What::Minus(of) => is_written(of),
        _ => false,
    }
}

fn turn(comparison: Comparison, turned: bool) -> &'static str {
    let comparison = match comparison {
        Comparison::Less if turned => Comparison::Greater,
        Comparison::LessOrEqual if turned => Comparison::GreaterOrEqual,
        Comparison::Greater if turned => Comparison::Less,
        Comparison::GreaterOrEqual if turned => Comparison::LessOrEqual,
        other => other,
    };
    comparison.sign()
}
