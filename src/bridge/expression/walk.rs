//! Evaluation: a walk over the tree with the reading rules of the language.
//!
//! The rules in short: what is not there is *absent*; absent spreads through `+`, methods and look-ups; it equals `null`,
//! `""` and absent; its size is 0 and it has no elements; a condition holds only when it is exactly `true`. A mistake
//! (a list added to a text, a division by zero) ends the walk with a [`Failure`].

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::Scope;
use super::tree::{Comparison, Function, Loop, LoopKind, Node, Reckoning, Root, What};
use super::val::Val;

/// How many steps one expression may take: about 5 ms. A step is a part evaluated, an element looked at, or 256 bytes read.
const STEPS: usize = 100_000;
/// A text that an expression puts together is at most this long, in bytes.
const TEXT: usize = 1 << 20;

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

type Outcome<'v> = Result<Val<'v>, Failure>;

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

    fn spend(&mut self, steps: usize, node: &Node) -> Result<(), Failure> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(fails(node, "it takes too many steps".to_owned())),
        }
    }

    /// Notes down what is missing, when somebody wants to know.
    fn seen(&mut self, value: Val<'v>, node: &Node, asked: Option<(&Val<'v>, &str)>) -> Val<'v> {
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

    fn sum(&mut self, node: &'v Node, parts: &'v [Node]) -> Outcome<'v> {
        let mut total = Val::Absent;
        let mut text: Option<String> = None;
        for (at, part) in parts.iter().enumerate() {
            let value = self.value(part)?;
            if matches!(value, Val::Absent) {
                return Ok(Val::Absent);
            }
            if at == 0 {
                total = value;
                continue;
            }
            let said = text.is_some() || total.as_text().is_some() || value.as_text().is_some();
            if said {
                let so_far = match text.take() {
                    Some(text) => text,
                    None => written(node, &total)?,
                };
                text = Some(self.append(node, so_far, &value)?);
                continue;
            }
            total = match (&total, &value) {
                (Val::Int(a), Val::Int(b)) => {
                    Val::Int(a.checked_add(*b).ok_or_else(|| too_large(node))?)
                }
                (Val::Array(_) | Val::List(_), Val::Array(_) | Val::List(_)) => {
                    let mut list = elements(&total);
                    list.extend(elements(&value));
                    self.spend(list.len(), node)?;
                    Val::List(list.into())
                }
                (a, b) => match (float(a), float(b)) {
                    (Some(a), Some(b)) => Val::Float(a + b),
                    _ => {
                        let why = format!("{} and {} cannot be added", a.sort(), b.sort());
                        return Err(fails(node, why));
                    }
                },
            };
        }
        Ok(text.map_or(total, Val::made))
    }

    fn append(
        &mut self,
        node: &Node,
        mut text: String,
        value: &Val<'_>,
    ) -> Result<String, Failure> {
        match value.as_text() {
            Some(more) => text.push_str(more),
            None => text.push_str(&written(node, value)?),
        }
        self.spend(text.len() / 256, node)?;
        match text.len() <= TEXT {
            true => Ok(text),
            false => Err(fails(node, "the text grows over 1 MiB".to_owned())),
        }
    }

    fn equal(&mut self, node: &Node, a: &Val<'_>, b: &Val<'_>) -> Result<bool, Failure> {
        self.spend(1, node)?;
        if let (Some(a), Some(b)) = (a.as_text(), b.as_text()) {
            self.spend(a.len().min(b.len()) / 256, node)?;
            return Ok(a == b);
        }
        Ok(match (a, b) {
            (Val::Absent, Val::Absent) => true,
            (Val::Absent, other) | (other, Val::Absent) => other.as_text() == Some(""),
            (Val::Bool(a), Val::Bool(b)) => a == b,
            (Val::Int(a), Val::Int(b)) => a == b,
            (Val::Array(_) | Val::List(_), Val::Array(_) | Val::List(_)) => {
                if a.size() != b.size() {
                    return Ok(false);
                }
                for (a, b) in elements(a).iter().zip(elements(b).iter()) {
                    if !self.equal(node, a, b)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Val::Object(_) | Val::Table(_), Val::Object(_) | Val::Table(_)) => {
                if a.size() != b.size() {
                    return Ok(false);
                }
                for key in elements(a) {
                    let (Some(name), true) = (key.as_text(), self.is_in(node, &key, b)?) else {
                        return Ok(false);
                    };
                    if !self.equal(node, &a.field(name), &b.field(name))? {
                        return Ok(false);
                    }
                }
                true
            }
            (a, b) => matches!((float(a), float(b)), (Some(a), Some(b)) if a == b),
        })
    }

    fn compares(
        &mut self,
        node: &Node,
        comparison: Comparison,
        a: &Val<'_>,
        b: &Val<'_>,
    ) -> Result<bool, Failure> {
        match comparison {
            Comparison::Equal => return self.equal(node, a, b),
            Comparison::NotEqual => return Ok(!self.equal(node, a, b)?),
            _ => (),
        }
        let order = match (a, b) {
            (Val::Absent, _) | (_, Val::Absent) => return Ok(false),
            (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
            (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (a, b) => match (a.as_text(), b.as_text(), float(a), float(b)) {
                (Some(a), Some(b), ..) => Some(a.cmp(b)),
                (_, _, Some(a), Some(b)) => a.partial_cmp(&b),
                _ => {
                    let why = format!("{} and {} have no order", a.sort(), b.sort());
                    return Err(fails(node, why));
                }
            },
        };
        Ok(match comparison {
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Greater => order == Some(Ordering::Greater),
            _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        })
    }

    fn is_in(&mut self, node: &Node, part: &Val<'_>, whole: &Val<'_>) -> Result<bool, Failure> {
        match (part, whole) {
            (Val::Absent, _) | (_, Val::Absent) => Ok(false),
            (_, Val::Array(_) | Val::List(_) | Val::Table(_)) => {
                for element in elements(whole) {
                    if self.equal(node, part, &element)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (_, Val::Object(_) | Val::Header(_) | Val::Query(_) | Val::Event(_)) => {
                let name = part.as_text().unwrap_or_default();
                Ok(!matches!(whole.field(name), Val::Absent))
            }
            (_, Val::Text(_) | Val::Made(_)) => Err(fails(
                node,
                "`in` asks a list; of a text ask `text.contains(…)`".to_owned(),
            )),
            _ => Err(fails(node, format!("{} has nothing in it", whole.sort()))),
        }
    }

    fn call(&mut self, node: &'v Node, function: Function, parts: &'v [Node]) -> Outcome<'v> {
        if function == Function::First {
            for part in parts {
                let value = self.value(part)?;
                if !value.is_empty() {
                    return Ok(value);
                }
            }
            return Ok(Val::Absent);
        }
        let of = match parts.first() {
            Some(of) => self.value(of)?,
            None => Val::Absent,
        };
        let with = match parts.get(1) {
            Some(with) => self.value(with)?,
            None => Val::Text(""),
        };
        if function == Function::Size {
            return match of.size() {
                Some(size) => Ok(Val::Int(i128::try_from(size).unwrap_or(i128::MAX))),
                None => Err(fails(node, format!("{} has no size", of.sort()))),
            };
        }
        if matches!(of, Val::Absent) || matches!(with, Val::Absent) {
            return Ok(Val::Absent);
        }
        match function {
            Function::Join => return self.join(node, &of, &with),
            Function::String => return Ok(Val::made(written(node, &of)?)),
            Function::Int | Function::Double => return number(node, function, &of),
            _ => (),
        }
        // A number is asked as its text: one sender's priority is "P3", another's 3.
        let (of, with) = (spoken(of), spoken(with));
        let (Some(text), Some(with)) = (of.as_text(), with.as_text()) else {
            if function == Function::Contains && matches!(of, Val::Array(_) | Val::List(_)) {
                let why = "`contains` asks a text; of a list ask `x in list`";
                return Err(fails(node, why.to_owned()));
            }
            let other = if of.as_text().is_none() { &of } else { &with };
            return Err(no_text(node, other));
        };
        self.spend(text.len() / 256, node)?;
        Ok(match function {
            Function::StartsWith => Val::Bool(text.starts_with(with)),
            Function::EndsWith => Val::Bool(text.ends_with(with)),
            Function::Contains => Val::Bool(text.contains(with)),
            Function::Lower => Val::made(text.to_lowercase()),
            Function::Before => match text.find(with) {
                Some(at) if !with.is_empty() => slice(&of, 0..at),
                _ => of,
            },
            _ => match text.find(with) {
                Some(at) => slice(&of, at + with.len()..text.len()),
                None => of,
            },
        })
    }

    fn join(&mut self, node: &'v Node, list: &Val<'v>, with: &Val<'v>) -> Outcome<'v> {
        if !matches!(list, Val::Array(_) | Val::List(_)) {
            return Err(fails(node, format!("{} is no list to join", list.sort())));
        }
        let Some(with) = with.as_text() else {
            return Err(no_text(node, with));
        };
        let mut text = String::new();
        for element in elements(list) {
            self.spend(1, node)?;
            if element.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push_str(with);
            }
            text = self.append(node, text, &element)?;
        }
        Ok(Val::made(text))
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

fn fails(node: &Node, why: String) -> Failure {
    Failure {
        span: node.span.clone(),
        why,
    }
}

fn too_large(node: &Node) -> Failure {
    fails(node, "the number becomes too large".to_owned())
}

fn no_text(node: &Node, value: &Val<'_>) -> Failure {
    fails(node, format!("a text is needed, not {}", value.sort()))
}

/// A number or a boolean as its text; everything else as it is.
fn spoken<'v>(value: Val<'v>) -> Val<'v> {
    match value {
        Val::Bool(_) | Val::Int(_) | Val::Float(_) => value.to_text().map_or(value, Val::made),
        value => value,
    }
}

/// The value as it stands in a text.
fn written(node: &Node, value: &Val<'_>) -> Result<String, Failure> {
    value.to_text().ok_or_else(|| {
        let why = match value {
            Val::Array(_) | Val::List(_) => {
                "a list has no text of its own; use `list.join(\", \")`"
            }
            _ => "an object has no text of its own",
        };
        fails(node, why.to_owned())
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "compared and added as CEL's double"
)]
fn float(value: &Val<'_>) -> Option<f64> {
    match value {
        Val::Int(n) => Some(*n as f64),
        Val::Float(n) => Some(*n),
        _ => None,
    }
}

fn number<'v>(node: &Node, function: Function, value: &Val<'v>) -> Outcome<'v> {
    let text = value.as_text().map(str::trim);
    let whole = text.and_then(|text| text.parse::<i64>().ok());
    let broken = text.and_then(|text| text.parse::<f64>().ok());
    let broken = broken.or(float(value)).filter(|n| n.is_finite());
    match (function, value, whole, broken) {
        (Function::Int, Val::Int(n), ..) => Ok(Val::Int(*n)),
        (Function::Int, _, Some(n), _) => Ok(Val::Int(n.into())),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "CEL's int() cuts the fraction off"
        )]
        (Function::Int, _, _, Some(n)) => Ok(Val::Int(n as i128)),
        (_, _, _, Some(n)) => Ok(Val::Float(n)),
        _ => Err(fails(node, format!("{} that is no number", value.sort()))),
    }
}

fn reckon<'v>(node: &Node, sign: Reckoning, a: Val<'v>, b: Val<'v>) -> Outcome<'v> {
    let whole = match (&a, &b) {
        (Val::Absent, _) | (_, Val::Absent) => return Ok(Val::Absent),
        (Val::Int(a), Val::Int(b)) => Some((*a, *b)),
        _ => None,
    };
    let by_zero = || fails(node, "a division by zero".to_owned());
    if let Some((a, b)) = whole {
        let result = match sign {
            Reckoning::Minus => a.checked_sub(b),
            Reckoning::Times => a.checked_mul(b),
            Reckoning::Divided | Reckoning::Remainder if b == 0 => return Err(by_zero()),
            Reckoning::Divided => a.checked_div(b),
            Reckoning::Remainder => a.checked_rem(b),
        };
        return result.map(Val::Int).ok_or_else(|| too_large(node));
    }
    let (Some(x), Some(y)) = (float(&a), float(&b)) else {
        let why = format!("{} and {} cannot be reckoned with", a.sort(), b.sort());
        return Err(fails(node, why));
    };
    match sign {
        Reckoning::Minus => Ok(Val::Float(x - y)),
        Reckoning::Times => Ok(Val::Float(x * y)),
        Reckoning::Divided | Reckoning::Remainder if y == 0.0 => Err(by_zero()),
        Reckoning::Divided => Ok(Val::Float(x / y)),
        Reckoning::Remainder => Ok(Val::Float(x % y)),
    }
}

/// The elements of a list, the keys of an object; absent has none.
fn elements<'v>(value: &Val<'v>) -> Vec<Val<'v>> {
    match value {
        Val::Array(list) => list.iter().map(Val::from).collect(),
        Val::List(list) => list.to_vec(),
        Val::Object(map) => map.keys().map(|key| Val::Text(key)).collect(),
        Val::Table(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
        Val::Header(texts) | Val::Query(texts) => texts.keys().map(|key| Val::Text(key)).collect(),
        _ => Vec::new(),
    }
}

/// A part of a text without copying the payload.
fn slice<'v>(text: &Val<'v>, part: Range<usize>) -> Val<'v> {
    match text {
        Val::Text(text) => Val::Text(&text[part]),
        Val::Made(text) => Val::made(&text[part]),
        _ => Val::Absent,
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
