//! `[groups]`: names for the groups that are posted to; and the language and the time zone that many things may have.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Flaw, Sources, nearest};
use super::reading::{Reading, Text};
use super::shipped;
use super::table::{Table, note_wrong};

/// One group that is posted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// OpenIM's groupID.
    pub id: String,
    /// The language of what is said there; `None` for the route's, the bridge's, the service's.
    pub locale: Option<String>,
    /// The time zone of what is said there.
    pub time_zone: Option<TimeZone>,
}

/// The groups by name.
pub type Groups = BTreeMap<String, Group>;

/// Reads `[groups]`; what is wrong is noted.
pub fn read_groups(mut table: Table<'_, '_>, locales: &BTreeSet<String>) -> Groups {
    let reading = table.reading();
    let mut groups = Groups::new();
    for (name, value) in table.rest() {
        let span = value.span();
        let (id, locale, time_zone) = match value.into_inner() {
            DeValue::String(id) => (
                Some(Text {
                    value: id.into_owned(),
                    span,
                }),
                None,
                None,
            ),
            DeValue::Table(table) => {
                let mut table = Table::new(reading, "group", Spanned::new(span.clone(), table));
                let id = table.text("id");
                let locale = table
                    .text("locale")
                    .and_then(|text| known_locale(reading, &text, locales));
                let time_zone = table
                    .text("time_zone")
                    .and_then(|text| known_time_zone(reading, &text));
                if id.is_none() {
                    reading.error(Flaw::new(span, "the group's `id` is missing"));
                }
                table.finish();
                (id, locale, time_zone)
            }
            DeValue::Integer(_) => {
                let flaw = Flaw::new(
                    span,
                    "expected the group's id in quotes, found a whole number",
                );
                reading.error(flaw.help("ids are texts: `ops = \"2839678182\"`"));
                (None, None, None)
            }
            other => {
                note_wrong(reading, span, "the group's id in quotes", &other);
                (None, None, None)
            }
        };
        if name.value.is_empty() || name.value.starts_with('#') {
            reading.error(Flaw::new(
                name.span,
                "a group's name is not empty and does not begin with `#`",
            ));
            continue;
        }
        if let Some(empty) = id.as_ref().filter(|id| id.value.trim().is_empty()) {
            reading.error(Flaw::new(empty.span.clone(), "the group's id is empty"));
        }
        // Also where its id is wrong: the routes that name it are right.
        let id = id.map(|id| id.value).unwrap_or_default();
        groups.insert(
            name.value,
            Group {
                id,
                locale,
                time_zone,
            },
        );
    }
    groups
}

/// The languages that messages can be in: those of `templates/locales/`, and English.
pub fn known_locales(sources: &Sources) -> BTreeSet<String> {
    let name = |path: &String| {
        Some(
            path.strip_prefix("templates/locales/")?
                .strip_suffix(".toml")?
                .to_owned(),
        )
    };
    let mut locales: BTreeSet<String> = shipped::sources().keys().filter_map(name).collect();
    locales.extend(sources.keys().filter_map(name));
    locales.insert("en".to_owned());
    locales
}

/// The locale, if there is one of that name; notes that there is none.
pub fn known_locale(
    reading: &Reading<'_>,
    text: &Text,
    locales: &BTreeSet<String>,
) -> Option<String> {
    match check_locale(&text.value, locales) {
        Ok(locale) => Some(locale),
        Err(why) => {
            reading.error(Flaw::new(text.span.clone(), why));
            None
        }
    }
}

/// The locale, or why there is none of that name.
pub fn check_locale(text: &str, locales: &BTreeSet<String>) -> Result<String, String> {
    if locales.contains(text) {
        return Ok(text.to_owned());
    }
    let known: Vec<&str> = locales.iter().map(String::as_str).collect();
    let near = nearest(text, known.iter().copied());
    let advice = near.map_or(format!("known: {}", known.join(", ")), |near| {
        format!("did you mean `{near}`?")
    });
    Err(format!(
        "there is no `templates/locales/{text}.toml`; {advice}"
    ))
}

/// The time zone of an IANA name; notes that there is none.
pub fn known_time_zone(reading: &Reading<'_>, text: &Text) -> Option<TimeZone> {
    match check_time_zone(&text.value) {
        Ok(zone) => Some(zone),
        Err(why) => {
            reading.error(Flaw::new(text.span.clone(), why));
            None
        }
    }
}

/// The time zone of an IANA name, or why there is none.
pub fn check_time_zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| {
        let names: Vec<String> = jiff::tz::db()
            .available()
            .map(|name| name.to_string())
            .collect();
        let near = nearest(text, names.iter().map(String::as_str));
        let advice = near.map_or(
            "write it like `Asia/Shanghai` or `UTC`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        format!("there is no time zone `{text}`; {advice}")
    })
}
