//! Which parameters of the address expressions read.

use std::collections::BTreeSet;

use super::Expression;
use super::tree::{Node, Root, What};

/// Names of parameters, `query.NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Those that are read by their name.
    pub named: BTreeSet<String>,
    /// Whether any may be read: the query as a whole, or a name that is computed.
    pub all: bool,
}

impl Parameters {
    /// Whether a parameter is read.
    pub fn has(&self, name: &str) -> bool {
        self.all || self.named.contains(name)
    }

    /// Adds what an expression reads, itself or by a helper of `lets`.
    pub fn add(&mut self, expression: &Expression, lets: &[(String, Expression)]) {
        self.look(&expression.root, lets);
    }

    fn look(&mut self, node: &Node, lets: &[(String, Expression)]) {
        let is_query = |of: &Node| matches!(of.what, What::Root(Root::Query));
        match &node.what {
            What::Field(of, name) if is_query(of) => drop(self.named.insert(name.clone())),
            What::Index(of, name) if is_query(of) => match &name.what {
                What::Text(name) => drop(self.named.insert(name.clone())),
                _ => self.all = true,
            },
            What::Root(Root::Query) => self.all = true,
            // A helper reads only helpers above it.
            What::Let(at) => {
                if let Some((_, helper)) = lets.get(*at) {
                    self.look(&helper.root, lets.get(..*at).unwrap_or_default());
                }
            }
            _ => node
                .parts()
                .into_iter()
                .for_each(|part| self.look(part, lets)),
        }
    }
}
