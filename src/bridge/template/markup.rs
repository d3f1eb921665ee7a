//! Functions that make markup: ready Markdown in `.md.hbs`, the plain reading of it elsewhere.

use serde_json::Value;

use super::escape::{markdown, ready, unready};
use super::speak::Speaking;
use super::vocabulary::Call;
use super::{Face, text};
use crate::model::Mention;

/// How many lines `lines` and `quote` show when the template does not say.
const LINES: usize = 10;
/// The same for blocks of code.
const CODE_LINES: usize = 20;
/// The longest name behind an `@`, in characters.
const LONGEST_NAME: usize = 60;

pub(super) fn link(call: &Call) -> Value {
    let name = call.marked(0);
    let url = call.text(1);
    let Some(url) = address(&url) else {
        return name.into();
    };
    let bare = unready(&name);
    match call.face {
        Face::Markdown => {
            let name = markdown(&name);
            let name = if name.is_empty() {
                markdown(&url)
            } else {
                name
            };
            ready(&format!("[{name}]({url})")).into()
        }
        Face::Text | Face::Json if bare.trim().is_empty() || bare == url => url.into(),
        Face::Text | Face::Json => format!("{bare}: {url}").into(),
    }
}

/// An http or https address with every sign percent-encoded that would end a link in Markdown; `None` for anything else.
fn address(url: &str) -> Option<String> {
    let url = url.trim();
    let scheme = url.split_once("://")?.0;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let mut out = String::with_capacity(url.len());
    for sign in url.chars() {
        match sign {
            '(' | ')' | '<' | '>' | '\\' | '`' | '"' | '|' | '*' | '[' | ']' | '{' | '}' | '^' => {
                out.push_str(&format!("%{:02X}", u32::from(sign)));
            }
            sign if sign.is_whitespace() || sign.is_control() => {
                let mut bytes = [0; 4];
                for byte in sign.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
            sign => out.push(sign),
        }
    }
    // Where a semicolon follows, an ampersand could be read as the begin of an entity.
    if out.contains(';') {
        out = out.replace(';', "%3B");
    }
    Some(out)
}

pub(super) fn bold(call: &Call) -> Value {
    match call.face {
        Face::Markdown => {
            let inner = markdown(&call.marked(0));
            if inner.is_empty() {
                return Value::Null;
            }
            ready(&format!("**{inner}**")).into()
        }
        Face::Text | Face::Json => call.text(0).into(),
    }
}

pub(super) fn code(call: &Call) -> Value {
    let text = call.text(0).replace(['\n', '\t'], " ");
    let text = text.trim();
    if call.face != Face::Markdown || text.is_empty() {
        return text.into();
    }
    let fence = "`".repeat(longest_run(text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    ready(&format!("{fence}{pad}{text}{pad}{fence}")).into()
}

pub(super) fn code_block(call: &Call) -> Value {
    let text = call.text(0);
    let lines = some_lines(&text, call.size(1, CODE_LINES), |line| line.to_owned());
    let text = lines.join("\n");
    if call.face != Face::Markdown || text.is_empty() {
        return text.into();
    }
    let fence = "`".repeat((longest_run(&text) + 1).max(3));
    ready(&format!("{fence}\n{text}\n{fence}")).into()
}

fn longest_run(text: &str) -> usize {
    text.split(|sign| sign != '`')
        .map(str::len)
        .max()
        .unwrap_or(0)
}

pub(super) fn quote(call: &Call) -> Value {
    many_lines(call, "> ")
}

pub(super) fn lines(call: &Call) -> Value {
    many_lines(call, "")
}

/// The argument's lines that are not blank, each behind `sign`, each a line of its own in every face.
fn many_lines(call: &Call, sign: &str) -> Value {
    let most = call.size(1, LINES);
    match call.face {
        Face::Markdown => {
            let text = call.marked(0);
            let lines = some_lines(&text, most, markdown);
            let lines: Vec<String> = lines.iter().map(|line| format!("{sign}{line}")).collect();
            ready(&lines.join("\n")).into()
        }
        Face::Text | Face::Json => {
            let text = call.text(0);
            let lines = some_lines(&text, most, |line| format!("{sign}{}", line.trim()));
            lines.join("\n").into()
        }
    }
}

/// The first lines of a text without blank ones at the ends; `…` stands for what is left out.
fn some_lines(text: &str, most: usize, say: impl Fn(&str) -> String) -> Vec<String> {
    let mut rest = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    let mut lines: Vec<String> = rest.by_ref().take(most).map(&say).collect();
    if rest.next().is_some() {
        lines.push(say("…"));
    }
    lines
}

/// `@name`, and the person is called when `people.toml` knows the key.
pub(super) fn mention(call: &Call, speaking: &Speaking) -> Value {
    let key = call.text(0);
    let key = key.trim();
    if key.is_empty() {
        return Value::Null;
    }
    // A payload must not be able to call everybody, so only the template's own word does.
    if key == "everyone" && call.is_written_out(0) {
        let name = speaking.say("everyone", None, &[]);
        speaking.mention(Mention::Everyone);
        return format!("@{name}").into();
    }
    let name = if call.count() > 1 {
        call.text(1)
    } else {
        String::new()
    };
    let name = if name.trim().is_empty() {
        name_in(key).to_owned()
    } else {
        name
    };
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let name = text::cut(&name, LONGEST_NAME);
    match speaking.find_person(key) {
        Some(user_id) => speaking.mention(Mention::Person {
            user_id,
            name: name.clone(),
        }),
        None => speaking.note_unknown_person(key),
    }
    format!("@{name}").into()
}

/// How a person is called who stands in `people.toml` as `github:octocat` or `email:li@example.com`.
fn name_in(key: &str) -> &str {
    let name = key.split_once(':').map_or(key, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_addresses_are_linked_and_none_can_end_its_link() {
        assert_eq!(address("javascript:alert(1)"), None);
        assert_eq!(address("//evil"), None);
        assert_eq!(
            address(" https://x/a b)[c](d&lt; ").as_deref(),
            Some("https://x/a%20b%29%5Bc%5D%28d&lt%3B")
        );
    }

    #[test]
    fn a_person_is_called_by_the_name_in_the_key() {
        assert_eq!(name_in("github:octocat"), "octocat");
        assert_eq!(name_in("email:li@example.com"), "li");
        assert_eq!(name_in("octocat"), "octocat");
    }
}
