//! `people.toml`: who is who at the senders, and which OpenIM user that is.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Flaw, Level, nearest};
use super::reading::{Reading, Text};
use super::table::{Table, as_text, note_wrong};

/// Who is who → OpenIM userID. Names are compared without regard to case, as the senders themselves do.
#[derive(Clone, Debug, Default)]
pub struct People {
    known: BTreeMap<String, Person>,
    patterns: Vec<Pattern>,
}

/// One person at OpenIM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// OpenIM's userID.
    pub user_id: String,
    /// What the person is called in a text: `octocat` for `github:octocat`.
    pub name: String,
}

/// `"gitlab:*" = "u_{}"`
#[derive(Clone, Debug)]
struct Pattern {
    before: String,
    user_id: String,
}

/// OpenIM keeps a userID in 64 characters.
const LONGEST_USER_ID: usize = 64;

impl People {
    /// Reads the file; what is wrong is noted.
    pub fn read<'a>(reading: &Reading<'a>, path: &'a str, text: &'a str) -> People {
        let mut people = People::default();
        let mut seen = BTreeMap::new();
        for (key, value) in reading.open(path, text).rest() {
            let folded = key.value.to_lowercase();
            if let Some(first) = seen.insert(folded.clone(), key.value.clone()) {
                let flaw = Flaw::new(
                    key.span.clone(),
                    format!("`{first}` is already there: names differ not by case alone"),
                );
                reading.error(flaw);
            } else if let Some(person) = read_person(reading, &key, value) {
                people.add(reading, &key, folded, person);
            }
        }
        // The most particular pattern first.
        people
            .patterns
            .sort_by_key(|pattern| std::cmp::Reverse(pattern.before.len()));
        people
    }

    fn add(&mut self, reading: &Reading<'_>, key: &Text, folded: String, person: Person) {
        match folded.split_once('*') {
            None if person.user_id.contains("{}") => {
                let flaw = Flaw::new(
                    key.span.clone(),
                    "`{}` has nothing to stand for: the name holds no `*`",
                );
                reading.error(flaw.help("write a pattern: `\"gitlab:*\" = \"u_{}\"`"));
            }
            None => {
                self.known.insert(folded, person);
            }
            Some((before, "")) if before.ends_with(':') => {
                if !person.user_id.contains("{}") {
                    let message = format!(
                        "everybody of `{}` is the one user `{}`",
                        key.value, person.user_id
                    );
                    let flaw = Flaw::new(key.span.clone(), message);
                    reading.note(
                        Level::Warning,
                        flaw.help("`{}` stands for what the `*` found: `\"gitlab:*\" = \"u_{}\"`"),
                    );
                }
                self.patterns.push(Pattern {
                    before: before.to_owned(),
                    user_id: person.user_id,
                });
            }
            Some(_) => {
                let flaw = Flaw::new(key.span.clone(), format!("`{}` is no pattern", key.value));
                reading.error(
                    flaw.help("a `*` stands at the end, behind a colon: `\"gitlab:*\" = \"u_{}\"`"),
                );
            }
        }
    }

    /// The person of that name: `alice`, `github:octocat`; `None` when nobody is known by it.
    pub fn find(&self, name: &str) -> Option<Person> {
        let folded = name.to_lowercase();
        if let Some(person) = self.known.get(&folded) {
            return Some(person.clone());
        }
        let pattern = self
            .patterns
            .iter()
            .find(|pattern| folded.starts_with(&pattern.before))?;
        // The login as the sender wrote it: behind as many colons as the pattern has, because folding may change lengths.
        let colons = pattern.before.matches(':').count();
        let (last_colon, _) = name.match_indices(':').nth(colons.checked_sub(1)?)?;
        let login = name.get(last_colon + 1..)?;
        let user_id = pattern.user_id.replace("{}", login);
        let plain = login.chars().all(|c| !c.is_whitespace() && !c.is_control());
        (!login.is_empty() && plain && user_id.len() <= LONGEST_USER_ID).then(|| Person {
            user_id,
            name: login.to_owned(),
        })
    }

    /// The known name that is nearest to `wrong`, for advice.
    pub fn nearest(&self, wrong: &str) -> Option<&str> {
        nearest(wrong, self.known.keys().map(String::as_str))
    }

    /// How many people and patterns there are.
    pub fn len(&self) -> usize {
        self.known.len() + self.patterns.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody who is named one by one, for who asks OpenIM about each.
    pub fn list(&self) -> impl Iterator<Item = (&str, &Person)> {
        self.known
            .iter()
            .map(|(name, person)| (name.as_str(), person))
    }
}

fn read_person<'a>(
    reading: &Reading<'a>,
    key: &Text,
    value: Spanned<DeValue<'a>>,
) -> Option<Person> {
    let called = key.value.rsplit(':').next().unwrap_or_default().to_owned();
    let span = value.span();
    let (user_id, name) = match value.into_inner() {
        DeValue::Table(table) => {
            let mut table = Table::new(reading, "person", Spanned::new(span.clone(), table));
            let (id, name) = (table.text("id"), table.text("name"));
            table.finish();
            (id?, name.map(|name| name.value))
        }
        value @ DeValue::String(_) => (
            as_text(reading, Spanned::new(span.clone(), value), "a userID")?,
            None,
        ),
        other => {
            note_wrong(reading, span, "an OpenIM userID in quotes", &other);
            return None;
        }
    };
    if user_id.value.trim().is_empty() || user_id.value.len() > LONGEST_USER_ID {
        reading.error(Flaw::new(
            user_id.span,
            "an OpenIM userID has 1 to 64 characters",
        ));
        return None;
    }
    Some(Person {
        user_id: user_id.value,
        name: name.unwrap_or(called),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(text: &str) -> (People, Vec<String>) {
        let reading = Reading::default();
        let people = People::read(&reading, "people.toml", text);
        let problems = reading.into_problems();
        (
            people,
            problems
                .into_iter()
                .map(|problem| problem.message)
                .collect(),
        )
    }

    #[test]
    fn a_name_beats_a_pattern_and_case_does_not_matter() {
        let (people, problems) = people(
            "\"github:Octocat\" = \"u_1\"\n\"github:*\" = \"gh_{}\"\n\"alice\" = { id = \"u_2\", name = \"Alice Li\" }\n",
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(people.find("github:octocat").unwrap().user_id, "u_1");
        assert_eq!(people.find("GitHub:Mona").unwrap().user_id, "gh_Mona");
        assert_eq!(people.find("github:mona").unwrap().name, "mona");
        assert_eq!(people.find("Alice").unwrap().name, "Alice Li");
        assert_eq!(people.find("gitlab:mona"), None);
    }

    #[test]
    fn a_pattern_makes_no_user_id_that_openim_could_not_have() {
        let (people, _) = people("\"gitlab:*\" = \"u_{}\"\n");
        let long = format!("gitlab:{}", "x".repeat(63));
        for name in [
            "gitlab:",
            "gitlab:a b",
            "gitlab:a\u{0}",
            "gitlab",
            long.as_str(),
        ] {
            assert_eq!(people.find(name), None, "{name}");
        }
        assert_eq!(people.find("gitlab:a:b").unwrap().user_id, "u_a:b");
    }

    #[test]
    fn every_mistake_is_named() {
        let (_, problems) = people(
            "\"a\" = \"u_{}\"\n\"A\" = \"x\"\n\"*b\" = \"u\"\n\"c\" = 5\n\"d\" = \"\"\n\"e\" = { id = \"x\", nmae = \"y\" }\n",
        );
        assert_eq!(problems.len(), 6, "{problems:#?}");
    }
}
