//! Functions that show an object whose fields nobody knew when the template was written.

use jiff::civil::Date;
use serde_json::{Value, json};

use super::moment;
use super::speak::Speaking;
use super::text::cut;
use super::vocabulary::{Call, number_of, words};

/// How many fields are given when the template does not say.
const FIELDS: usize = 12;
/// How many are looked at: a payload may hold very many.
const LOOKED_AT: usize = 1_000;
/// Objects in objects are looked into so deep: `database.size_gb`.
const DEEPEST: usize = 2;
/// The longest value, in characters.
const LONGEST_VALUE: usize = 120;

struct Field {
    name: String,
    depth: usize,
    value: String,
}

/// `fields`: an object as a list of `name` and `value`, both texts. What says nothing (null, empty, a list of objects) is
/// left out; a moment is said as `time` says it; objects inside give dotted names and come last.
pub(super) fn fields(call: &Call, speaking: &Speaking) -> Value {
    let names = |key: &str| -> Vec<String> {
        let names = call.named(key).map(words).unwrap_or_default();
        names.split_whitespace().map(str::to_owned).collect()
    };
    let (first, except) = (names("first"), names("except"));
    // `as` saturates.
    let limit = call
        .named("limit")
        .and_then(number_of)
        .map_or(FIELDS, |limit| limit as usize);

    let mut found = Vec::new();
    collect(call.value(0), "", 1, &except, speaking, &mut found);
    found.sort_by_key(|field| {
        let place = first.iter().position(|name| *name == field.name);
        (place.unwrap_or(first.len()), field.depth)
    });
    found
        .into_iter()
        .take(limit)
        .map(|field| json!({"name": field.name, "value": field.value}))
        .collect()
}

fn collect(
    value: &Value,
    before: &str,
    depth: usize,
    except: &[String],
    speaking: &Speaking,
    found: &mut Vec<Field>,
) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let name = format!("{before}{name}");
        if found.len() == LOOKED_AT {
            return;
        }
        if except.contains(&name) {
            continue;
        }
        if value.is_object() && depth < DEEPEST {
            collect(
                value,
                &format!("{name}."),
                depth + 1,
                except,
                speaking,
                found,
            );
            continue;
        }
        if let Some(value) = say(value, speaking) {
            found.push(Field { name, depth, value });
        }
    }
}

fn say(value: &Value, speaking: &Speaking) -> Option<String> {
    let text = match value {
        Value::Null | Value::Object(_) => return None,
        Value::String(text) if is_date(text) => match moment::instant(value) {
            Some(moment) => moment::say(speaking, moment, true),
            None => return None,
        },
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            return None;
        }
        scalar => words(scalar),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then(|| cut(&text, LONGEST_VALUE))
}

/// Whether a text is a day with a time of day, and not only digits that could be anything.
fn is_date(text: &str) -> bool {
    let day = text
        .get(..10)
        .is_some_and(|day| day.parse::<Date>().is_ok());
    day && text.contains(':')
}

/// `matchers`: labels as Prometheus and Alertmanager read them: `alertname="Down",instance="node-3"`.
pub(super) fn matchers(call: &Call) -> Value {
    let Value::Object(labels) = call.value(0) else {
        return Value::Null;
    };
    let matchers: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={}", Value::from(words(value))))
        .collect();
    matchers.join(",").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_day_with_a_clock_is_a_moment() {
        assert!(is_date("2026-03-12T01:00:00Z"));
        assert!(is_date("2026-03-12 01:00:00"));
        for text in [
            "2026-03-12",
            "2.8.0",
            "20260312010000",
            "2026-03-12日:",
            "日本語日本語",
            "",
        ] {
            assert!(!is_date(text) || text.contains(':'), "{text}");
        }
    }
}
