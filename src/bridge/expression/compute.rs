//! What functions and signs make of values.

use std::ops::Range;

use super::tree::{Function, Node, Reckoning};
use super::val::Val;
use super::walk::{Failure, Outcome, Walk, elements, fails, float, no_text, too_large};
use crate::bridge::template::{words_of_markdown, words_of_slack};

/// A text that an expression puts together is at most this long, in bytes.
const TEXT: usize = 1 << 20;

impl<'v> Walk<'_, 'v> {
    pub(super) fn sum(&mut self, node: &'v Node, parts: &'v [Node]) -> Outcome<'v> {
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

    pub(super) fn call(
        &mut self,
        node: &'v Node,
        function: Function,
        parts: &'v [Node],
    ) -> Outcome<'v> {
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
            Function::Words => match with {
                "slack" => Val::made(words_of_slack(text)),
                "markdown" => Val::made(words_of_markdown(text)),
                _ => {
                    let why = "`words` reads the marks of `\"slack\"` or `\"markdown\"`";
                    return Err(fails(node, why.to_owned()));
                }
            },
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
}

pub(super) fn reckon<'v>(node: &Node, sign: Reckoning, a: Val<'v>, b: Val<'v>) -> Outcome<'v> {
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

/// A number or a boolean as its text; everything else as it is.
pub(super) fn spoken<'v>(value: Val<'v>) -> Val<'v> {
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

/// A part of a text without copying the payload.
fn slice<'v>(text: &Val<'v>, part: Range<usize>) -> Val<'v> {
    match text {
        Val::Text(text) => Val::Text(&text[part]),
        Val::Made(text) => Val::made(&text[part]),
        _ => Val::Absent,
    }
}
