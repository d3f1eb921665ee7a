//! Evaluation: a walk over the tree with the reading rules of the language.
//!
//! The rules in short: what is not there is *absent*; absent spreads through `+`, methods and look-ups; it equals `null`,
//! `""` and absent; its size is 0 and it has no elements; a condition holds only when it is exactly `true`. A mistake
//! (a list added to a text, a division by zero) ends the walk with a [`Failure`].

use std::ops::Range;
use std::sync::Arc;

use super::Scope;
use super::compute::{reckon, spoken};
use super::tree::{Loop, LoopKind, Node, Root, What};
use super::val::Val;

/// How many steps one expression may take: about 5 ms. A step is a part evaluated, an element looked at, or 256 bytes read.
const STEPS: usize = 100_000;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The part of the source that failed.
    pub(super) span: Range<usize>,
    /// In our own words, without any value of the payload.
    pub(super) why: String,
}

/// A field that was asked for and is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Miss {
    pub(super) span: Range<usize>,
    /// A field with nearly the same name that is there.
    pub(super) near: Option<String>,
}

pub(super) struct Walk<'a, 'v> {
    scope: &'a Scope<'v>,
    variables: Vec<Val<'v>>,
    steps: usize,
    /// Where wanted, what was missed.
    pub(super) misses: Option<Vec<Miss>>,
}

pub(super) type Outcome<'v> = Result<Val<'v>, Failure>;

impl<'a, 'v> Walk<'a, 'v> {
    pub(super) fn new(scope: &'a Scope<'v>) -> Walk<'a, 'v> {
        Walk {
            scope,
            variables: Vec::new(),
            steps: STEPS,
            misses: None,
        }
    }

    pub(super) fn value(&mut self, node: &'v Node) -> Outcome<'v> {
        self.spend(1, node)?;
        Ok(match &node.what {
            What::Constant(value) => value.clone(),
            What::Text(text) => Val::Text(text),
            What::Severity(level) => match self.scope.event {
                Some(_) => Val::Int(*level as i128),
                None => Val::Text(level.word()),
            },
            What::Root(root) => match root {
                Root::Body => Val::from(self.scope.body),
                Root::Header => Val::Header(self.scope.header),
                Root::Query => Val::Query(self.scope.query),
                Root::Event => self.scope.event.map_or(Val::Absent, Val::Event),
            },
            What::Let(at) => {
                let value = self.scope.lets.get(*at).cloned().unwrap_or(Val::Absent);
                self.seen(value, node, None)
            }
            What::Variable(at) => self.variables.get(*at).cloned().unwrap_or(Val::Absent),
            What::Field(of, name) => {
                let of = self.value(of)?;
                match of {
                    Val::Absent => Val::Absent,
                    of => self.seen(of.field(name), node, Some((&of, name))),
                }
            }
            What::Index(of, key) => self.index(node, of, key)?,
            What::List(parts) => {
                let parts: Result<Arc<[_]>, _> =
                    parts.iter().map(|part| self.value(part)).collect();
                Val::List(parts?)
            }
            What::Table(entries) => {
                let entries: Result<Arc<[_]>, _> = entries
                    .iter()
                    .map(|(key, value)| Ok((self.value(key)?, self.value(value)?)))
                    .collect();
                Val::Table(entries?)
            }
            What::Not(of) => Val::Bool(!self.holds(of)?),
            What::Minus(of) => match self.value(of)? {
                Val::Absent => Val::Absent,
                Val::Int(n) => Val::Int(n.checked_neg().ok_or_else(|| too_large(node))?),
                Val::Float(n) => Val::Float(-n),
                other => return Err(fails(node, format!("{} has no negative", other.sort()))),
            },
            What::All(parts) => {
                for part in parts {
                    if !self.holds(part)? {
                        return Ok(Val::Bool(false));
                    }
                }
                Val::Bool(true)
            }
            What::Any(parts) => {
                for part in parts {
                    if self.holds(part)? {
                        return Ok(Val::Bool(true));
                    }
                }
                Val::Bool(false)
            }
            What::Sum(parts) => self.sum(node, parts)?,
            What::Compare(comparison, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                Val::Bool(self.compares(node, *comparison, &left, &right)?)
            }
            What::Reckon(sign, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                reckon(node, *sign, left, right)?
            }
            What::In(part, whole) => {
                let (part, whole) = (self.value(part)?, self.value(whole)?);
                Val::Bool(self.is_in(node, &part, &whole)?)
            }
            What::If(condition, yes, no) => match self.holds(condition)? {
                true => self.value(yes)?,
                false => self.value(no)?,
            },
            What::Has(of) => Val::Bool(!matches!(self.value(of)?, Val::Absent)),
            What::Call(function, parts) => self.call(node, *function, parts)?,
            What::Matches(of, pattern) => match spoken(self.value(of)?) {
                Val::Absent => Val::Absent,
                of => {
                    let text = of.as_text().ok_or_else(|| no_text(node, &of))?;
                    self.spend(text.len() / 256, node)?;
                    Val::Bool(pattern.is_match(text))
                }
            },
            What::Loop(round) => self.round(node, round)?,
        })
    }

    /// A condition holds only when it is exactly true.
    pub(super) fn holds(&mut self, node: &'v Node) -> Result<bool, Failure> {
        Ok(matches!(self.value(node)?, Val::Bool(true)))
    }

    pub(super) fn spend(&mut self, steps: usize, node: &Node) -> Result<(), Failure> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(fails(node, "it takes too many steps".to_owned())),
        }
    }

    /// Notes down what is missing, when somebody wants to know.
    pub(super) fn seen(
        &mut self,
        value: Val<'v>,
        node: &Node,
        asked: Option<(&Val<'v>, &str)>,
    ) -> Val<'v> {
        if let (Val::Absent, Some(misses)) = (&value, &mut self.misses) {
            let near = asked.and_then(|(of, name)| near_field(of, name));
            let miss = Miss {
                span: node.span.clone(),
                near,
            };
            if !misses.contains(&miss) {
                misses.push(miss);
            }
        }
        value
    }

    fn index(&mut self, node: &'v Node, of: &'v Node, key: &'v Node) -> Outcome<'v> {
        let of = self.value(of)?;
        let key = self.value(key)?;
        let value = match (&of, &key) {
            (Val::Absent, _) | (_, Val::Absent) => return Ok(Val::Absent),
            (Val::Table(entries), _) => {
                let mut found = Val::Absent;
                for (known, value) in entries.iter() {
                    if self.equal(node, known, &key)? {
                        found = value.clone();
                        break;
                    }
                }
                found
            }
            (of, Val::Int(at)) => of.element(*at),
            (of, key) => match key.as_text() {
                Some(name) => of.field(name),
                None => Val::Absent,
            },
        };
        Ok(self.seen(value, node, key.as_text().map(|name| (&of, name))))
    }

    fn round(&mut self, node: &'v Node, round: &'v Loop) -> Outcome<'v> {
        let over = self.value(&round.over)?;
        if over.size().is_none() || over.as_text().is_some() {
            let why = format!("{} has no elements to go through", over.sort());
            return Err(fails(node, why));
        }
        let mut list = Vec::new();
        let mut count = 0_usize;
        for element in elements(&over) {
            self.spend(1, node)?;
            self.variables.push(element.clone());
            let kept = match &round.keep {
                Some(keep) => self.holds(keep)?,
                None => true,
            };
            let value = match kept {
                true => self.value(&round.each)?,
                false => Val::Absent,
            };
            self.variables.pop();
            let holds = matches!(value, Val::Bool(true));
            match round.kind {
                LoopKind::Exists if holds => return Ok(Val::Bool(true)),
                LoopKind::All if !holds => return Ok(Val::Bool(false)),
                LoopKind::ExistsOne if holds => count += 1,
                LoopKind::Filter if holds => list.push(element),
                LoopKind::Map if kept => list.push(value),
                _ => (),
            }
        }
        Ok(match round.kind {
            LoopKind::Exists => Val::Bool(false),
            LoopKind::All => Val::Bool(true),
            LoopKind::ExistsOne => Val::Bool(count == 1),
            LoopKind::Map | LoopKind::Filter => Val::List(list.into()),
        })
    }
}

pub(super) fn fails(node: &Node, why: String) -> Failure {
    Failure {
        span: node.span.clone(),
        why,
    }
}

pub(super) fn too_large(node: &Node) -> Failure {
    fails(node, "the number becomes too large".to_owned())
}

pub(super) fn no_text(node: &Node, value: &Val<'_>) -> Failure {
    fails(node, format!("a text is needed, not {}", value.sort()))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "compared and added as CEL's double"
)]
pub(super) fn float(value: &Val<'_>) -> Option<f64> {
    match value {
        Val::Int(n) => Some(*n as f64),
        Val::Float(n) => Some(*n),
        _ => None,
    }
}

/// The elements of a list, the keys of an object; absent has none.
pub(super) fn elements<'v>(value: &Val<'v>) -> Vec<Val<'v>> {
    match value {
        Val::Array(list) => list.iter().map(Val::from).collect(),
        Val::List(list) => list.to_vec(),
        Val::Object(map) => map.keys().map(|key| Val::Text(key)).collect(),
        Val::Table(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
        Val::Header(texts) | Val::Query(texts) => texts.keys().map(|key| Val::Text(key)).collect(),
        _ => Vec::new(),
    }
}

fn near_field(of: &Val<'_>, name: &str) -> Option<String> {
    let keys = elements(of);
    if matches!(of, Val::Array(_) | Val::List(_) | Val::Table(_)) {
        return None;
    }
    let keys = keys.iter().filter_map(Val::as_text);
    crate::bridge::problem::nearest(name, keys).map(str::to_owned)
}
