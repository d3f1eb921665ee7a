//! `find`: ids and names at the OpenIM server, as lines to paste into the configuration.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::json;

use crate::deliver::OpenIm;

/// The arguments of `find`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is looked for
    #[arg(value_enum)]
    pub what: What,
    /// A part of the name, or an id; everything without it
    #[arg(default_value = "")]
    pub text: String,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// What is said when nothing was found.
    pub fn nothing(&self) -> String {
        let what = match self.what {
            What::Groups => "group",
            What::People => "person",
        };
        match self.text.as_str() {
            "" => format!("OpenIM has no {what} yet"),
            text => format!("OpenIM has no {what} with `{text}` in its name or as its id"),
        }
    }
}

/// What `find` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Groups, as lines for `[groups]` in openim-bridge.toml
    Groups,
    /// People, as lines for people.toml
    People,
}

/// One found thing.
struct Found {
    id: String,
    name: String,
    note: String,
}

/// Looks them up and writes them to `out`. `false` when there are none.
pub async fn search(args: &Args, openim: &OpenIm, out: &mut dyn Write) -> anyhow::Result<bool> {
    let found: Vec<Found> = match args.what {
        What::Groups => {
            let mut groups = openim.search_groups(&args.text).await?;
            if groups.is_empty() {
                groups = openim.search_groups("").await?;
                groups.retain(|group| holds(&group.name, &args.text));
            }
            let shown = groups.into_iter().map(|group| Found {
                note: match (group.is_dismissed(), group.members) {
                    (true, _) => "dismissed".to_owned(),
                    (false, 1) => "1 member".to_owned(),
                    (false, members) => format!("{members} members"),
                },
                id: group.id,
                name: group.name,
            });
            shown.collect()
        }
        What::People => {
            let mut people = openim.search_people(&args.text).await?;
            if people.is_empty() {
                people = openim.search_people("").await?;
                people.retain(|person| holds(&person.nickname, &args.text));
            }
            let shown = people.into_iter().map(|person| Found {
                id: person.id,
                name: person.nickname,
                note: String::new(),
            });
            shown.collect()
        }
    };
    if args.json {
        let all: Vec<_> = found
            .iter()
            .map(|one| json!({ "id": one.id, "name": one.name }))
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else {
        for line in lines(&found) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(!found.is_empty())
}

/// Whether a name holds a text in any case: OpenIM tells `Ops` from `ops`, people do not.
fn holds(name: &str, text: &str) -> bool {
    name.to_lowercase().contains(&text.to_lowercase())
}

/// `ops = "2839678182"   # Ops, 4 members`; a key stands once, so a second group of that name gets a number.
fn lines(found: &[Found]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let pairs: Vec<(String, &Found)> = found
        .iter()
        .map(|one| {
            let wished = key(&one.name, &one.id);
            let mut free = wished.clone();
            let mut number = 2;
            while !taken.insert(free.clone()) {
                free = format!("{wished}-{number}");
                number += 1;
            }
            (format!("{} = {}", toml_key(&free), quoted(&one.id)), one)
        })
        .collect();
    let widest = pairs.iter().map(|(pair, _)| pair.chars().count()).max();
    let width = widest.unwrap_or_default().min(60);
    let lines = pairs.into_iter().map(|(pair, one)| {
        let said: Vec<&str> = [one.name.as_str(), one.note.as_str()]
            .into_iter()
            .filter(|said| !said.is_empty())
            .collect();
        // A comment ends with its line, whatever somebody called the group.
        let said = said.join(", ").replace(char::is_control, " ");
        match said.as_str() {
            "" => pair,
            said => format!("{pair:<width$}   # {said}"),
        }
    });
    lines.collect()
}

/// A name for the configuration: the chat's own in lower case and without blanks, its id where it has none.
fn key(name: &str, id: &str) -> String {
    let words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
    match words.join("-") {
        empty if empty.is_empty() => id.to_owned(),
        key => key,
    }
}

fn toml_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !key.is_empty() && key.chars().all(bare) {
        true => key.to_owned(),
        false => quoted(key),
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.replace(char::is_control, " ")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, name: &str, note: &str) -> Found {
        Found {
            id: id.into(),
            name: name.into(),
            note: note.into(),
        }
    }

    #[test]
    fn the_lines_can_be_pasted_whatever_the_groups_are_called() {
        let found = [
            found("1", "Ops", "4 members"),
            found("2", "ops", ""),
            found("3", "值班 组", "1 member"),
            found("4", "", ""),
            found("5", "a\"b\nc # d", ""),
            found("6\"", "ops", ""),
        ];
        let lines = lines(&found);
        let table: toml::Table = toml::from_str(&lines.join("\n")).unwrap();
        assert_eq!(table.len(), 6);
        assert_eq!(table["ops"].as_str(), Some("1"));
        assert_eq!(table["ops-2"].as_str(), Some("2"));
        assert_eq!(table["值班-组"].as_str(), Some("3"));
        assert_eq!(table["4"].as_str(), Some("4"));
        assert_eq!(table["ops-3"].as_str(), Some("6\""));
        assert!(lines[0].ends_with("# Ops, 4 members"), "{}", lines[0]);
    }
}
