//! What the documents say is what the program does, as far as a test can tell cheaply.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use openim_bridge::bridge::problem::{Level, Sources, show};
use openim_bridge::settings::{DEFAULT_FILE, Environment, Loaded};

/// A secret that fits every way that the documents declare, but those with a public key.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

/// A public key as Discord writes it.
const PUBLIC_KEY: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn documents() -> Vec<String> {
    let ends_md = |path: &Path| path.extension().is_some_and(|end| end == "md");
    let mut found = Vec::new();
    for folder in ["", "docs"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if ends_md(&path) {
                let name = path.strip_prefix(root()).unwrap();
                found.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// The blocks of a document in one language, without the indent of a list.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match (&mut block, line.trim()) {
            (None, fence) if fence == format!("```{language}") => block = Some(String::new()),
            (Some(_), "```") => found.extend(block.take()),
            (Some(block), _) => {
                block.push_str(line.strip_prefix("   ").unwrap_or(line));
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

/// GitHub's name for a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The targets of the links of a document, code left out.
fn links(text: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            // Every second piece between backticks is code.
            prose.extend(line.split('`').step_by(2));
        }
    }
    let targets = prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

/// A block as the file that it shows a part of, among the files that it needs.
fn as_directory(block: &str) -> Sources {
    let mut service = "[groups]\nops = \"1\"\n".to_owned();
    let mut people = "alice = \"u_1\"\n".to_owned();
    let mut bridge = String::new();
    let notices = block.contains("extends = \"notices\"");
    let has = |words: &str| block.lines().any(|line| line.starts_with(words));
    if has("[openim]") || has("[groups]") {
        service = block.to_owned();
    } else if has("\"github:") {
        people = block.to_owned();
    } else {
        if !has("extends") && !has("[auth]") {
            bridge.push_str("extends = \"github\"\n");
        }
        if !has("secrets") && !notices {
            bridge.push_str("secrets = [\"env:SECRET\"]\n");
        }
        bridge.push_str(block);
        if !has("[[route]]") {
            bridge.push_str("\n[[route]]\nto = [\"group:ops\"]\n");
        }
    }
    let mut sources = Sources::from([
        ("openim-bridge.toml".to_owned(), service),
        ("people.toml".to_owned(), people),
    ]);
    if !bridge.is_empty() {
        // The one bridge whose name has a meaning.
        let name = if notices { "notices" } else { "acme" };
        sources.insert(format!("bridges/{name}.toml"), bridge);
    }
    sources
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut dead = Vec::new();
    for document in documents() {
        let text = read(&document);
        for link in links(&text) {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => root().join(&document),
                file => root().join(&document).parent().unwrap().join(file),
            };
            let has_heading = || {
                let text = std::fs::read_to_string(&target).unwrap_or_default();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                headings.any(|line| anchor(line) == heading)
            };
            if !target.exists() || !(heading.is_empty() || has_heading()) {
                dead.push(format!("{document}: {link}"));
            }
        }
    }
    assert_eq!(dead, Vec::<String>::new());
}

#[test]
fn every_toml_that_the_documents_show_is_taken_by_the_program() {
    let mut checked = 0;
    for document in documents() {
        for block in blocks(&read(&document), "toml") {
            let named = block.split("env:").skip(1);
            let named = named.filter_map(|rest| rest.split('"').next());
            let mut variables: BTreeSet<&str> = named.collect();
            variables.extend(["SECRET", "OPENIM_SECRET"]);
            let variables = variables
                .into_iter()
                .map(|name| match name.contains("PUBLIC_KEY") {
                    true => (name, PUBLIC_KEY),
                    false => (name, SECRET),
                });
            let environment = Environment::of(&root(), variables);

            let mut loaded = Loaded::compile(as_directory(&block), &environment);

            loaded
                .problems
                .retain(|problem| problem.level == Level::Error);
            let shown = show(&loaded.problems, &loaded.sources, false);
            assert!(loaded.problems.is_empty(), "{document}:\n{block}\n{shown}");
            checked += 1;
        }
    }
    assert!(checked > 15, "{checked}");
}

#[test]
fn every_key_of_the_settings_is_documented() {
    let text = read("docs/configuration.md");
    let default: toml::Table = toml::from_str(DEFAULT_FILE).unwrap();
    for (section, value) in &default {
        let keys: Vec<String> = match value {
            toml::Value::Table(table) => table.keys().cloned().collect(),
            _ => vec![section.clone()],
        };
        for key in keys {
            assert!(text.contains(&key), "`{key}` of `{section}`");
        }
    }
    // Those that stand in the default file as a comment.
    for key in ["public_url", "token"] {
        assert!(DEFAULT_FILE.contains(key) && text.contains(key), "{key}");
    }
}

#[test]
fn every_function_of_templates_is_in_the_documents_table() {
    let text = read("docs/templates.md");
    let (_, table) = text.split_once("## Functions").unwrap();
    let words: BTreeSet<&str> = table
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    let vocabulary = read("src/bridge/template/vocabulary.rs");
    let known = vocabulary
        .split("card(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    let known: Vec<&str> = known.collect();

    let missing: Vec<_> = known
        .iter()
        .filter(|name| !words.contains(**name))
        .collect();

    assert!(known.len() > 40, "{}", known.len());
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_readme_keeps_its_commands_between_marks() {
    let text = read("README.md");
    for mark in ["demo", "test", "receiver"] {
        let (_, rest) = text.split_once(&format!("<!-- {mark} -->")).unwrap();
        let (between, _) = rest.split_once(&format!("<!-- /{mark} -->")).unwrap();
        assert!(between.trim().starts_with("```"), "{mark}");
        assert!(between.trim().lines().count() > 2, "{mark}");
    }
}
