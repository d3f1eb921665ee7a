//! When values are equal, which is smaller, and what is in what.

use std::cmp::Ordering;

use super::tree::{Comparison, Node};
use super::val::Val;
use super::walk::{Failure, Walk, elements, fails, float};

impl Walk<'_, '_> {
    pub(super) fn equal(&mut self, node: &Node, a: &Val<'_>, b: &Val<'_>) -> Result<bool, Failure> {
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

    pub(super) fn compares(
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

    pub(super) fn is_in(
        &mut self,
        node: &Node,
        part: &Val<'_>,
        whole: &Val<'_>,
    ) -> Result<bool, Failure> {
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
}
