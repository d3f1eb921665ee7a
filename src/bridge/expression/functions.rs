//! The functions of the language as data: how each is called, and how it is written.

use std::ops::Range;

use super::tree::{Function, LoopKind};
use crate::bridge::problem::nearest;

/// How many values a written list, a table or `first` may hold.
pub(super) const LITERALS: usize = 256;

/// The functions, how each is written, and how many arguments it takes with what it is asked of.
pub(super) const FUNCTIONS: [(&str, Function, Style, Range<usize>, &str); 13] = [
    (
        "first",
        Function::First,
        Style::Global,
        1..LITERALS + 1,
        "first(a, b, …)",
    ),
    ("size", Function::Size, Style::Both, 1..2, "size(list)"),
    (
        "before",
        Function::Before,
        Style::Method,
        2..3,
        "text.before(\"…\")",
    ),
    (
        "after",
        Function::After,
        Style::Method,
        2..3,
        "text.after(\"…\")",
    ),
    (
        "join",
        Function::Join,
        Style::Method,
        1..3,
        "list.join(\", \")",
    ),
    (
        "lower",
        Function::Lower,
        Style::Method,
        1..2,
        "text.lower()",
    ),
    (
        "startsWith",
        Function::StartsWith,
        Style::Method,
        2..3,
        "text.startsWith(\"…\")",
    ),
    (
        "endsWith",
        Function::EndsWith,
        Style::Method,
        2..3,
        "text.endsWith(\"…\")",
    ),
    (
        "contains",
        Function::Contains,
        Style::Method,
        2..3,
        "text.contains(\"…\")",
    ),
    (
        "words",
        Function::Words,
        Style::Method,
        2..3,
        "text.words(\"slack\")",
    ),
    ("int", Function::Int, Style::Global, 1..2, "int(text)"),
    (
        "double",
        Function::Double,
        Style::Global,
        1..2,
        "double(text)",
    ),
    (
        "string",
        Function::String,
        Style::Global,
        1..2,
        "string(number)",
    ),
];

pub(super) const LOOP_KINDS: [(&str, LoopKind, &str); 6] = [
    (
        "exists",
        LoopKind::Exists,
        "list.exists(x, x.name == \"…\")",
    ),
    (
        "exists_one",
        LoopKind::ExistsOne,
        "list.exists_one(x, x.name == \"…\")",
    ),
    (
        "existsOne",
        LoopKind::ExistsOne,
        "list.existsOne(x, x.name == \"…\")",
    ),
    ("all", LoopKind::All, "list.all(x, x.name == \"…\")"),
    ("map", LoopKind::Map, "list.map(x, x.name)"),
    (
        "filter",
        LoopKind::Filter,
        "list.filter(x, x.name == \"…\")",
    ),
];

pub(super) const HAS: &str = "has";
pub(super) const HAS_WRITTEN: &str = "has(body.field)";
pub(super) const MATCHES: &str = "matches";
pub(super) const MATCHES_WRITTEN: &str = "text.matches(\"…\")";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Global,
    Method,
    Both,
}

/// What the same thing is called elsewhere.
const FOREIGN: [(&str, &str); 12] = [
    ("len", "size"),
    ("length", "size"),
    ("count", "size"),
    ("lowerAscii", "lower"),
    ("toLowerCase", "lower"),
    ("lowercase", "lower"),
    ("includes", "contains"),
    ("any", "exists"),
    ("some", "exists"),
    ("coalesce", "first"),
    ("default", "first"),
    ("orValue", "first"),
];

/// For who calls a function that is not there: the nearest right one, or all of them.
pub(super) fn advice(wrong: &str) -> String {
    let functions = FUNCTIONS
        .iter()
        .map(|(name, .., written)| (*name, *written));
    let loops = LOOP_KINDS
        .iter()
        .map(|(name, _, written)| (*name, *written));
    let known: Vec<_> = functions
        .chain(loops)
        .chain([(HAS, HAS_WRITTEN), (MATCHES, MATCHES_WRITTEN)])
        .collect();
    let foreign = FOREIGN
        .iter()
        .find(|(other, _)| *other == wrong)
        .map(|(_, name)| *name);
    let near = foreign.or_else(|| nearest(wrong, known.iter().map(|(name, _)| *name)));
    match known.iter().find(|(name, _)| Some(*name) == near) {
        Some((_, written)) => format!("did you mean `{written}`?"),
        None => {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            format!("the functions are {}", names.join(", "))
        }
    }
}
