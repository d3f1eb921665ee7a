//! What sort of value a part of an expression gives, as far as that is certain beforehand, so that a condition that can
//! never hold is told before the first event comes.
//!
//! The payload may hold anything and the helpers are made of it: they are of no certain sort, and nothing is said of them.

use super::Place;
use super::tree::{Comparison, Function, LoopKind, Node, Root, What};
use super::val::Val;
use crate::bridge::problem::Flaw;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Text,
    Number,
    Condition,
    List,
    Object,
}

impl Sort {
    /// As [`Val`] calls it in its notes.
    fn name(self) -> &'static str {
        match self {
            Sort::Text => "a text",
            Sort::Number => "a number",
            Sort::Condition => "true or false",
            Sort::List => "a list",
            Sort::Object => "an object",
        }
    }
}

/// What is certain of a value that is there.
#[derive(Clone, Copy, Debug)]
struct Known {
    sort: Sort,
    /// It may be absent or `""`, and then equals another that is, of whatever sort.
    blank: bool,
}

/// Looks for comparisons and conditions that can never hold. With `asked`, the whole is a condition itself.
pub(super) fn check(root: &Node, place: Place, asked: bool) -> Result<(), Vec<Flaw>> {
    let mut check = Check {
        place,
        flaws: Vec::new(),
    };
    match asked {
        true => check.condition(root),
        false => drop(check.node(root)),
    }
    match check.flaws.is_empty() {
        true => Ok(()),
        false => {
            check.flaws.sort_by_key(|flaw| flaw.span.start);
            Err(check.flaws)
        }
    }
}

struct Check {
    place: Place,
    flaws: Vec<Flaw>,
}

impl Check {
    /// What is certain of the node's value; looks at all its parts.
    fn node(&mut self, node: &Node) -> Option<Known> {
        let always = |sort| Some(Known { sort, blank: false });
        let perhaps = |sort| Some(Known { sort, blank: true });
        match &node.what {
            What::Constant(Val::Bool(_)) => always(Sort::Condition),
            What::Constant(Val::Int(_) | Val::Float(_)) => always(Sort::Number),
            What::Constant(_) | What::Let(_) | What::Variable(_) | What::Root(Root::Body) => None,
            What::Text(text) => Some(Known {
                sort: Sort::Text,
                blank: text.is_empty(),
            }),
            What::Severity(_) => always(match self.place {
                Place::Rule => Sort::Number,
                Place::Event => Sort::Text,
            }),
            What::Root(Root::Event | Root::Header | Root::Query) => always(Sort::Object),
            What::Field(of, name) => {
                self.node(of);
                field(of, Some(name))
            }
            What::Index(of, key) => {
                self.node(of);
                self.node(key);
                match &key.what {
                    What::Text(name) => field(of, Some(name)),
                    _ => field(of, None),
                }
            }
            What::List(parts) => {
                self.nodes(parts);
                always(Sort::List)
            }
            What::Table(entries) => {
                for (key, value) in entries {
                    self.node(key);
                    self.node(value);
                }
                always(Sort::Object)
            }
            What::Not(of) => {
                self.condition(of);
                always(Sort::Condition)
            }
            What::Minus(of) => Some(Known {
                sort: Sort::Number,
                blank: self.node(of).is_none_or(|of| of.blank),
            }),
            What::All(parts) | What::Any(parts) => {
                parts.iter().for_each(|part| self.condition(part));
                always(Sort::Condition)
            }
            What::Sum(parts) => sum(&self.nodes(parts)),
            What::Compare(comparison, left, right) => {
                self.compared(node, *comparison, left, right);
                always(Sort::Condition)
            }
            What::Reckon(_, left, right) => {
                let parts = [self.node(left), self.node(right)];
                Some(Known {
                    sort: Sort::Number,
                    blank: any_blank(&parts),
                })
            }
            What::In(part, whole) => {
                self.node(part);
                self.node(whole);
                always(Sort::Condition)
            }
            What::If(condition, yes, no) => {
                self.condition(condition);
                let parts = [self.node(yes), self.node(no)];
                Some(Known {
                    sort: one_sort(&parts)?,
                    blank: any_blank(&parts),
                })
            }
            What::Has(of) => {
                self.node(of);
                always(Sort::Condition)
            }
            What::Call(function, parts) => {
                let parts = self.nodes(parts);
                match function {
                    Function::First => one_sort(&parts).and_then(perhaps),
                    Function::Size => always(Sort::Number),
                    Function::Int | Function::Double => perhaps(Sort::Number),
                    Function::StartsWith | Function::EndsWith | Function::Contains => {
                        perhaps(Sort::Condition)
                    }
                    Function::Before
                    | Function::After
                    | Function::Join
                    | Function::Lower
                    | Function::Words
                    | Function::String => perhaps(Sort::Text),
                }
            }
            What::Matches(of, _) => {
                self.node(of);
                perhaps(Sort::Condition)
            }
            What::Loop(round) => {
                self.node(&round.over);
                if let Some(keep) = &round.keep {
                    self.condition(keep);
                }
                match round.kind {
                    LoopKind::Map => drop(self.node(&round.each)),
                    _ => self.condition(&round.each),
                }
                always(match round.kind {
                    LoopKind::Map | LoopKind::Filter => Sort::List,
                    LoopKind::Exists | LoopKind::ExistsOne | LoopKind::All => Sort::Condition,
                })
            }
        }
    }

    fn nodes(&mut self, parts: &[Node]) -> Vec<Option<Known>> {
        parts.iter().map(|part| self.node(part)).collect()
    }

    /// A condition holds only when it is exactly true.
    fn condition(&mut self, node: &Node) {
        let Some(Known { sort, .. }) = self.node(node) else {
            return;
        };
        let help = match (&node.what, sort) {
            (_, Sort::Condition) => return,
            (What::Severity(level), _) if self.place == Place::Rule => {
                format!("write `event.severity >= severity.{}`", level.word())
            }
            (_, Sort::Text) => "compare it: `text == \"…\"`, `text != \"\"`".to_owned(),
            (_, Sort::Number) => "compare it: `number > 0`".to_owned(),
            (_, Sort::List) => "ask what is in it: `size(list) > 0`, `\"…\" in list`".to_owned(),
            (_, Sort::Object) => "ask for one of its fields: `has(body.field)`".to_owned(),
        };
        let message = format!(
            "this can never hold: it is {}, a condition is needed",
            sort.name()
        );
        self.flaws
            .push(Flaw::new(node.span.clone(), message).help(help));
    }

    fn compared(&mut self, node: &Node, comparison: Comparison, left: &Node, right: &Node) {
        let (Some(a), Some(b)) = (self.node(left), self.node(right)) else {
            return;
        };
        let equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if a.sort == b.sort || (equality && a.blank && b.blank) {
            return;
        }
        let (holds, why) = match comparison {
            Comparison::Equal => ("can never hold", "are never equal"),
            Comparison::NotEqual => ("always holds", "are never equal"),
            _ => ("can never hold", "have no order"),
        };
        let message = format!(
            "this {holds}: {} and {} {why}",
            a.sort.name(),
            b.sort.name()
        );
        let is_level = |node: &Node| matches!(node.what, What::Severity(_));
        let sorts = [a.sort, b.sort];
        let help = if is_level(left) || is_level(right) {
            Some("a level is compared with `event.severity`")
        } else if sorts.contains(&Sort::List) {
            Some("`x in list` asks whether something is in a list")
        } else if sorts.contains(&Sort::Text) && sorts.contains(&Sort::Number) {
            Some("a text stands in quotes; `int(text)` makes a number of it")
        } else if sorts.contains(&Sort::Text) && sorts.contains(&Sort::Condition) {
            Some("a text stands in quotes, `true` and `false` stand without")
        } else {
            None
        };
        let flaw = Flaw::new(node.span.clone(), message);
        self.flaws.push(match help {
            Some(help) => flaw.help(help),
            None => flaw,
        });
    }
}

/// Fields of the event are known; headers and the query hold texts; everything else may be anything.
fn field(of: &Node, name: Option<&str>) -> Option<Known> {
    let (sort, blank) = match (&of.what, name) {
        (What::Root(Root::Header | Root::Query), _) => (Sort::Text, true),
        (What::Root(Root::Event), Some("severity")) => (Sort::Number, false),
        (What::Root(Root::Event), Some(_)) => (Sort::Text, true),
        _ => return None,
    };
    Some(Known { sort, blank })
}

/// With one text the whole is a text; otherwise all are numbers, or all lists.
fn sum(parts: &[Option<Known>]) -> Option<Known> {
    let text = parts.iter().flatten().any(|known| known.sort == Sort::Text);
    let sort = match text {
        true => Sort::Text,
        false => one_sort(parts).filter(|sort| matches!(sort, Sort::Number | Sort::List))?,
    };
    Some(Known {
        sort,
        blank: any_blank(parts),
    })
}

/// The sort that all of them have.
fn one_sort(parts: &[Option<Known>]) -> Option<Sort> {
    let first = parts.first().copied().flatten()?.sort;
    let same = |part: &Option<Known>| part.is_some_and(|known| known.sort == first);
    parts.iter().all(same).then_some(first)
}

fn any_blank(parts: &[Option<Known>]) -> bool {
    parts
        .iter()
        .any(|part| part.is_none_or(|known| known.blank))
}
