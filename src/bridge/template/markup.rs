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
        // What is named is not where it leads, so both are shown.
        Face::Markdown if names_another_host(&bare, &url) => {
            let address = markdown(&url);
            ready(&format!("{}: [{address}]({url})", markdown(&name))).into()
        }
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

/// Whether the name of a link reads like an address of another host than the link's: an address or a host with a path
/// anywhere in it, or a host as the whole name. `main.go` and `v1.2` are none.
fn names_another_host(name: &str, url: &str) -> bool {
    let target = host(url);
    // Signs that are read as others: full-width ones, and the full stops of East Asia.
    let read = |sign: char| match sign {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(sign) - 0xfee0).unwrap_or(sign),
        '\u{3002}' | '\u{ff61}' | '\u{2024}' => '.',
        '\u{2044}' | '\u{2215}' => '/',
        '\u{2236}' => ':',
        sign => sign,
    };
    let name: String = name.chars().map(read).collect();
    let around = |sign: char| !sign.is_alphanumeric() && !"/:-_".contains(sign);
    let blank = |sign: char| sign.is_whitespace() || "<>()[]{}\"'`|,;*".contains(sign);
    let mut words = name.split(blank).map(|word| word.trim_matches(around));
    let mut words = Vec::from_iter(words.by_ref().filter(|word| !word.is_empty()));
    // `see:https://…`
    for word in &mut words {
        if let Some(at) = word.find("://") {
            let before = word[..at].trim_end_matches(|sign: char| sign.is_ascii_alphanumeric());
            *word = &word[before.len()..];
        }
    }
    let alone = words.len() == 1;
    let names = |word: &&str| {
        let is_address = word.contains("://") || starts_with_www(word);
        let bare = host(word);
        let shows = is_address || ((alone || word.contains('/')) && is_host(&bare));
        shows && bare != target
    };
    words.iter().any(names)
}

fn starts_with_www(word: &str) -> bool {
    let start = word.get(..4);
    start.is_some_and(|start| start.eq_ignore_ascii_case("www."))
}

/// The host of an address as it is compared: in small letters, without `www.`, a user and a port.
fn host(address: &str) -> String {
    let behind = address.split_once("://").map_or(address, |(_, rest)| rest);
    let end = behind.find(['/', '?', '#', '\\']).unwrap_or(behind.len());
    let host = behind[..end].rsplit('@').next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match host.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => host,
    };
    let host = host.trim_end_matches('.').to_lowercase();
    host.strip_prefix("www.").unwrap_or(&host).to_owned()
}

/// Ends of file names that are no top-level domains.
const FILES: [&str; 34] = [
    "bak", "bat", "cfg", "conf", "cpp", "css", "csv", "dll", "exe", "go", "gz", "html", "ini",
    "java", "jpg", "js", "json", "jsx", "lock", "log", "php", "png", "rb", "sql", "svg", "tar",
    "toml", "ts", "tsx", "txt", "xml", "yaml", "yml", "hbs",
];

/// Whether a text in small letters may be the name of a host, or its number.
fn is_host(text: &str) -> bool {
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return true;
    }
    let Some((before, last)) = text.rsplit_once('.') else {
        return false;
    };
    let label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|sign| sign.is_alphanumeric() || "-_".contains(sign))
    };
    let is_domain = last.chars().count() >= 2
        && label(last)
        && (last.starts_with("xn--") || last.chars().all(char::is_alphabetic));
    is_domain && before.split('.').all(label) && !FILES.contains(&last)
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
    fn a_name_that_reads_like_another_address_does_not_hide_where_its_link_leads() {
        let evil = "https://evil.example/hidden";
        for name in [
            "https://good.example",
            "GitHub login https://github.com/login",
            "www.good.example",
            "good.example",
            "good.example/login",
            "see (good.example/login).",
            "see:https://good.example",
            "看\u{fffd}https://good.example",
            "https://good.example@evil.example.org",
            "HTTPS://GOOD.example:443/",
            "ｇｏｏｄ．ｅｘａｍｐｌｅ",
            "good。example",
            "10.0.0.1",
            "bücher.example",
            "https://evil.example https://good.example",
            "https:",
        ] {
            let hides = names_another_host(name, evil);
            assert_eq!(hides, name != "https:", "{name}");
        }
        for name in [
            "https://evil.example",
            "evil.example",
            "EVIL.example.",
            "www.evil.example/x",
            "run 7",
            "Fix main.rs and good.example",
            "main.go",
            "v1.2.3",
            "octocat/hello",
            "src/app.ts",
            "1.5/2",
            "…",
            "",
        ] {
            assert!(!names_another_host(name, evil), "{name}");
        }
        assert!(names_another_host(
            "good.example",
            "https://good.example@evil.example/"
        ));
    }

    #[test]
    fn a_person_is_called_by_the_name_in_the_key() {
        assert_eq!(name_in("github:octocat"), "octocat");
        assert_eq!(name_in("email:li@example.com"), "li");
        assert_eq!(name_in("octocat"), "octocat");
    }
}
