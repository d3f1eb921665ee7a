//! What an expression means: every name found, every function known, every pattern compiled.

use std::ops::Range;

use regex::Regex;

use super::val::Val;
use crate::model::Severity;

/// A part of a compiled expression.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) what: What,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Constant(Val<'static>),
    Text(String),
    /// The word in `[event]`, the number in rules.
    Severity(Severity),
    Root(Root),
    /// A helper by its place.
    Let(usize),
    /// The name of a loop by the loop's depth.
    Variable(usize),
    Field(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    List(Vec<Node>),
    Table(Vec<(Node, Node)>),
    Not(Box<Node>),
    Minus(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Sum(Vec<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Reckon(Reckoning, Box<Node>, Box<Node>),
    In(Box<Node>, Box<Node>),
    If(Box<Node>, Box<Node>, Box<Node>),
    Has(Box<Node>),
    Call(Function, Vec<Node>),
    Matches(Box<Node>, Regex),
    Loop(Box<Loop>),
}

impl Node {
    /// What it is made of.
    pub(super) fn parts(&self) -> Vec<&Node> {
        match &self.what {
            What::Constant(_)
            | What::Text(_)
            | What::Severity(_)
            | What::Root(_)
            | What::Let(_)
            | What::Variable(_) => Vec::new(),
            What::Field(of, _)
            | What::Not(of)
            | What::Minus(of)
            | What::Has(of)
            | What::Matches(of, _) => vec![of],
            What::Index(one, other)
            | What::Compare(_, one, other)
            | What::Reckon(_, one, other)
            | What::In(one, other) => vec![one, other],
            What::If(one, two, three) => vec![one, two, three],
            What::List(parts)
            | What::All(parts)
            | What::Any(parts)
            | What::Sum(parts)
            | What::Call(_, parts) => parts.iter().collect(),
            What::Table(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
            What::Loop(round) => {
                let parts = [&round.over, &round.each];
                parts.into_iter().chain(&round.keep).collect()
            }
        }
    }
}

/// The names that are there without being declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Event,
    Body,
    Header,
    Query,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reckoning {
    Minus,
    Times,
    Divided,
    Remainder,
}

/// The functions whose arguments are plain values; the text or list they are asked of is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    First,
    Size,
    Before,
    After,
    Join,
    Lower,
    StartsWith,
    EndsWith,
    Contains,
    Words,
    Int,
    Double,
    String,
}

/// `over.kind(name, keep, each)`
#[derive(Clone, Debug)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) over: Node,
    /// What is asked or made of each element.
    pub(super) each: Node,
    /// `map` with three arguments: only elements for which this holds.
    pub(super) keep: Option<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    Exists,
    ExistsOne,
    All,
    Map,
    Filter,
}
