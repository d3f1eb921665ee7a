//! Mistakes that only all templates together show: calls of templates that do not exist, and templates that call each other
//! in a circle, which would end the whole process.

use std::collections::{BTreeMap, BTreeSet};

use super::guard;
use super::lint::Seen;
use super::nearest_name;
use crate::bridge::problem::Flaw;

/// The deepest nesting of loops. Without a limit, four loops over the same list of a large payload would keep a core for hours.
const DEEPEST_LOOPS: usize = 3;
/// How many templates one message may be put together from, every call counted.
const MOST_PARTIALS: usize = 1000;

/// Looks at all templates of a face together. Gives what is wrong by template.
pub(super) fn look_together(all: &BTreeMap<String, Seen>) -> BTreeMap<String, Vec<Flaw>> {
    let mut flaws: BTreeMap<String, Vec<Flaw>> = BTreeMap::new();
    let called_with_values: BTreeSet<&str> = all
        .values()
        .flat_map(|seen| &seen.partials)
        .filter(|call| call.with_values)
        .map(|call| call.name.as_str())
        .collect();
    let mut weights = BTreeMap::new();
    for (name, seen) in all {
        let mut mine = Vec::new();
        for call in &seen.partials {
            if !all.contains_key(&call.name) {
                let flaw = Flaw::new(
                    call.span.clone(),
                    format!("there is no template `{}` of this kind", call.name),
                );
                let near = nearest_name(&call.name, all.keys().map(String::as_str));
                mine.push(match near {
                    Some(near) => flaw.help(format!("did you mean `{near}`?")),
                    None => flaw,
                });
            } else if let Some(way) = way_back(all, name, &call.name) {
                mine.push(Flaw::new(
                    call.span.clone(),
                    format!("templates call each other in a circle: {way}"),
                ));
            }
        }
        let file = name.rsplit('/').next().unwrap_or_default();
        if !file.starts_with('_') && !called_with_values.contains(name.as_str()) {
            mine.extend(seen.unknown_roots.iter().cloned());
        }
        if !mine.is_empty() {
            flaws.insert(name.clone(), mine);
        }
    }
    for name in all.keys() {
        let weight = weigh(all, name, &mut weights);
        let wrong = if weight.partials > MOST_PARTIALS {
            format!("it is put together from more than {MOST_PARTIALS} templates")
        } else if weight.loops > DEEPEST_LOOPS {
            format!(
                "`each` is nested {} deep; {DEEPEST_LOOPS} is the most",
                weight.loops
            )
        } else if weight.depth > guard::DEEPEST {
            format!(
                "blocks are nested {} deep; {} is the most",
                weight.depth,
                guard::DEEPEST
            )
        } else {
            continue;
        };
        flaws
            .entry(name.clone())
            .or_default()
            .push(Flaw::new(0..0, wrong));
    }
    flaws
}

/// The chain of calls from `from` back to `start`, if there is one.
fn way_back(all: &BTreeMap<String, Seen>, start: &str, from: &str) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![from.to_owned()]];
    while let Some(way) = ways.pop() {
        let last = way.last()?.clone();
        if last == start {
            return Some(format!("{start} → {}", way.join(" → ")));
        }
        if !seen.insert(last.clone()) {
            continue;
        }
        for call in all.get(&last).into_iter().flat_map(|seen| &seen.partials) {
            let mut longer = way.clone();
            longer.push(call.name.clone());
            ways.push(longer);
        }
    }
    None
}

#[derive(Clone, Copy)]
struct Weight {
    partials: usize,
    loops: usize,
    depth: usize,
}

/// How much a template does with everything that it calls. What is in a circle counts as little: it is refused anyway.
fn weigh(all: &BTreeMap<String, Seen>, name: &str, known: &mut BTreeMap<String, Weight>) -> Weight {
    if let Some(weight) = known.get(name) {
        return *weight;
    }
    let mut weight = Weight {
        partials: 1,
        loops: 0,
        depth: 0,
    };
    known.insert(name.to_owned(), weight);
    if let Some(seen) = all.get(name) {
        weight.loops = seen.loops;
        weight.depth = seen.depth;
        for call in &seen.partials {
            let inner = weigh(all, &call.name, known);
            weight.partials = weight.partials.saturating_add(inner.partials);
            weight.loops = weight.loops.max(call.loops + inner.loops);
            weight.depth = weight.depth.max(call.depth + 1 + inner.depth);
        }
    }
    known.insert(name.to_owned(), weight);
    weight
}
