//! The words of shipped templates in several languages: `templates/locales/<locale>.toml`, dotted keys with texts.
//!
//! The shipped words lie under those of the directory, key by key, so a file there needs to hold only what it changes.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::bridge::problem::{Level, Problem, Sources};

/// Where the files stand.
pub(super) const FOLDER: &str = "templates/locales/";
/// The language that has every key.
const FIRST: &str = "en";
/// What the program itself says in a message, also when the directory's files are older than it.
const SHIPPED: [(&str, &str); 2] = [
    (FIRST, include_str!("../../../templates/locales/en.toml")),
    (
        "zh-CN",
        include_str!("../../../templates/locales/zh-CN.toml"),
    ),
];

/// All words by locale and dotted key.
#[derive(Clone, Debug, Default)]
pub struct Locales(BTreeMap<String, BTreeMap<String, String>>);

/// A text with where it stands in its file.
type Placed = BTreeMap<String, (Range<usize>, String)>;
/// What is wrong in a file, and where.
type Wrong = (Option<Range<usize>>, String);

impl Locales {
    /// Reads all files of the folder. A key that only another language has, and one that such a language lacks, is a warning.
    pub(super) fn compile(sources: &Sources) -> (Locales, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut locales = Locales::default();
        for (name, text) in SHIPPED {
            let (words, flaws) = read(text);
            debug_assert!(flaws.is_empty(), "the shipped {name} does not read");
            locales.add(name, words);
        }

        let files = sources.iter().filter_map(|(path, text)| {
            Some((
                path,
                path.strip_prefix(FOLDER)?.strip_suffix(".toml")?,
                text,
            ))
        });
        let mut written = Vec::new();
        for (path, name, text) in files {
            let (words, flaws) = read(text);
            problems.extend(flaws.into_iter().map(|(span, message)| Problem {
                level: Level::Error,
                file: path.clone(),
                span,
                message,
                help: None,
            }));
            locales.add(name, words.clone());
            written.push((path, name, words));
        }

        for (path, name, words) in written.iter().filter(|(_, name, _)| *name != FIRST) {
            problems.extend(locales.compare(path, name, words));
        }
        (locales, problems)
    }

    fn add(&mut self, name: &str, words: Placed) {
        let locale = self.0.entry(name.to_owned()).or_default();
        locale.extend(words.into_iter().map(|(key, (_, text))| (key, text)));
    }

    /// What a language has too much or too little against the first one.
    fn compare(&self, path: &str, name: &str, words: &Placed) -> Vec<Problem> {
        let empty = BTreeMap::new();
        let first = self.0.get(FIRST).unwrap_or(&empty);
        let here = self.0.get(name).unwrap_or(&empty);
        let warn = |span, message: String, help: Option<String>| Problem {
            level: Level::Warning,
            file: path.to_owned(),
            span,
            message,
            help,
        };
        let mut problems = Vec::new();
        for (key, (span, text)) in words {
            let Some(model) = first.get(key) else {
                let near = super::nearest_name(key, first.keys().map(String::as_str));
                problems.push(warn(
                    Some(span.clone()),
                    format!("`{key}` is not a key of {FOLDER}{FIRST}.toml"),
                    near.map(|near| format!("did you mean `{near}`?")),
                ));
                continue;
            };
            let known = placeholders(model);
            for name in placeholders(text) {
                if !known.contains(&name) && name != "count" {
                    problems.push(warn(
                        Some(span.clone()),
                        format!("`{{{name}}}` is not in the text of `{key}` in {FIRST}.toml"),
                        None,
                    ));
                }
            }
        }
        let missing: Vec<&str> = first
            .keys()
            .filter(|key| !here.contains_key(*key))
            // Many languages have one form for all counts.
            .filter(|key| !key.ends_with(".one"))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            let some = missing
                .iter()
                .take(5)
                .copied()
                .collect::<Vec<_>>()
                .join(", ");
            problems.push(warn(
                None,
                format!(
                    "{} keys of {FIRST}.toml are not here: {some}{}",
                    missing.len(),
                    if missing.len() > 5 { ", …" } else { "" }
                ),
                Some("their English words will be used".to_owned()),
            ));
        }
        problems
    }

    /// The names of all languages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The keys as a template may write them: those with forms without their last part.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0
            .get(FIRST)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .map(|key| {
                key.strip_suffix(".one")
                    .or(key.strip_suffix(".other"))
                    .unwrap_or(key)
            })
    }

    /// The text of a key in a language (`zh` and `zh-TW` find `zh-CN`), else in English. `count` chooses between `.one` and
    /// `.other`, where the key has them.
    pub(super) fn find(&self, locale: &str, key: &str, count: Option<f64>) -> Option<&str> {
        let language = |name: &str| name.split(['-', '_']).next().unwrap_or_default().to_owned();
        let alike = || {
            self.0
                .iter()
                .find(|(name, _)| language(name) == language(locale))
                .map(|(_, words)| words)
        };
        let wanted = self.0.get(locale).or_else(alike);
        [wanted, self.0.get(FIRST)]
            .into_iter()
            .flatten()
            .find_map(|words| form(words, key, count))
    }

    /// The text with its places filled; an unknown key gives its last part as words, so that a message still says something.
    pub(super) fn say(
        &self,
        locale: &str,
        key: &str,
        count: Option<f64>,
        values: &[(&str, String)],
    ) -> String {
        match self.find(locale, key, count) {
            Some(text) => fill(text, values),
            None => key.rsplit('.').next().unwrap_or_default().replace('_', " "),
        }
    }
}

fn form<'a>(words: &'a BTreeMap<String, String>, key: &str, count: Option<f64>) -> Option<&'a str> {
    let one = || words.get(&format!("{key}.one"));
    let other = || words.get(&format!("{key}.other"));
    let found = if count == Some(1.0) {
        one().or_else(other)
    } else {
        other()
    };
    words.get(key).or(found).map(String::as_str)
}

/// The names in `{…}`, in order.
pub(super) fn placeholders(text: &str) -> Vec<&str> {
    pieces(text).filter_map(|(_, name)| name).collect()
}

fn fill(text: &str, values: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (before, name) in pieces(text) {
        out.push_str(before);
        if let Some(name) = name {
            match values.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => out.push_str(value),
                None => {
                    out.push('{');
                    out.push_str(name);
                    out.push('}');
                }
            }
        }
    }
    out
}

/// The text cut at its places: what stands before each, and its name; the last has none.
fn pieces(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let here = rest?;
        let place = here.find('{').and_then(|open| {
            let close = open + here[open..].find('}')?;
            Some((open, close))
        });
        match place {
            Some((open, close)) => {
                rest = Some(&here[close + 1..]);
                Some((&here[..open], Some(&here[open + 1..close])))
            }
            None => {
                rest = None;
                Some((here, None))
            }
        }
    })
}

fn read(text: &str) -> (Placed, Vec<Wrong>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut words = Placed::new();
    let mut flaws: Vec<_> = errors
        .into_iter()
        .map(|error| (error.span(), error.message().to_lowercase()))
        .collect();
    let mut no_texts = Vec::new();
    flatten("", table.get_ref(), &mut words, &mut no_texts);
    // Behind a broken line nothing is surely what it seems.
    if flaws.is_empty() {
        flaws = no_texts;
    }
    (words, flaws)
}

fn flatten(prefix: &str, table: &DeTable, words: &mut Placed, flaws: &mut Vec<Wrong>) {
    for (key, value) in table {
        let key = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::String(text) => {
                words.insert(key, (value.span(), text.to_string()));
            }
            DeValue::Table(inner) => flatten(&format!("{key}."), inner, words, flaws),
            _ => flaws.push((Some(value.span()), format!("`{key}` must be a text"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(files: &[(&str, &str)]) -> (Locales, Vec<String>) {
        let sources = files
            .iter()
            .map(|(name, text)| (format!("{FOLDER}{name}.toml"), (*text).to_owned()))
            .collect();
        let (locales, problems) = Locales::compile(&sources);
        (locales, problems.into_iter().map(|p| p.message).collect())
    }

    #[test]
    fn a_count_chooses_the_form() {
        let (locales, problems) =
            compile(&[("en", "n.one = \"one\"\nn.other = \"{count} of {what}\"")]);
        assert!(problems.is_empty());
        let say = |count: f64| locales.say("en", "n", Some(count), &[("count", "5".into())]);
        assert_eq!(say(1.0), "one");
        assert_eq!(say(5.0), "5 of {what}");
    }

    #[test]
    fn a_missing_word_is_said_in_english_and_reported() {
        let (locales, problems) = compile(&[
            ("en", "a = \"A\"\nb = \"B\""),
            ("zh-CN", "a = \"甲\"\nc = \"丙\""),
        ]);
        assert_eq!(locales.say("zh", "a", None, &[]), "甲");
        assert_eq!(locales.say("zh-CN", "b", None, &[]), "B");
        assert_eq!(
            locales.say("zh-CN", "action.was_moved", None, &[]),
            "was moved"
        );
        assert_eq!(
            problems,
            [
                "`c` is not a key of templates/locales/en.toml",
                "1 keys of en.toml are not here: b",
            ]
        );
    }

    #[test]
    fn a_file_changes_only_the_keys_it_holds() {
        let (locales, _) = compile(&[("en", "shortened = \"[cut]\"")]);
        assert_eq!(locales.say("en", "shortened", None, &[]), "[cut]");
        assert_eq!(locales.say("en", "ago.now", None, &[]), "just now");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let (_, problems) = compile(&[("en", "a = 1\n"), ("zh-CN", "a = [")]);
        assert_eq!(
            problems,
            ["`a` must be a text", "unclosed array, expected `]`"]
        );
    }
}
