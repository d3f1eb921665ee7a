//! What the robots of other chats are told, in plain words: their marks are gone, their links show where they lead, and who
//! was called there is only named.

use serde_json::Value;

use super::plain;
use super::text::spell;
use super::vocabulary::{Call, words};

/// How far from each other the two marks around words may stand, in characters.
const LONGEST_PAIR: usize = 500;

/// `plain`: a text of another chat's message in the words that a person reads there.
pub(super) fn said(call: &Call) -> Value {
    let text = names(&call.text(0));
    match call.named("form").map(words).as_deref() {
        Some("slack") => slack(&text, true).into(),
        Some("text") => text.into(),
        _ => plain::of_payload(&text).into(),
    }
}

/// `<@lisi>` and `<at user_id="ou_1">Li Si</at>`, as WeCom and Feishu call people, become `@lisi` and `@Li Si`.
pub(super) fn names(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('<') {
        out.push_str(before);
        let called = match behind.strip_prefix("at ") {
            Some(at) => at.split_once('>').and_then(|(id, behind)| {
                let (name, behind) = behind.split_once("</at>")?;
                let id = id.split_once('=').map_or("", |(_, id)| id);
                let id = id.trim_matches(['"', '\'', ' ']);
                Some((if name.trim().is_empty() { id } else { name }, behind))
            }),
            None => behind
                .strip_prefix('@')
                .and_then(|id| id.split_once('>'))
                .filter(|(id, _)| !id.contains(['<', ' ', '\n', '|'])),
        };
        rest = match called {
            Some((name, behind)) => {
                out.push('@');
                out.push_str(name);
                behind
            }
            None => {
                out.push('<');
                behind
            }
        };
    }
    out.push_str(rest);
    out
}

/// Slack's mrkdwn: `<https://x|run 7>` becomes `run 7: https://x`, or `run 7` without `addresses`; `*bold*` loses its stars,
/// `&amp;` is `&`.
pub(super) fn slack(text: &str, addresses: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('<') {
        out.push_str(&without_marks(before));
        let token = behind
            .split_once('>')
            .filter(|(token, _)| !token.contains(['<', '\n']))
            .and_then(|(token, behind)| Some((spoken(token, addresses)?, behind)));
        rest = match token {
            Some((spoken, behind)) => {
                out.push_str(&spoken);
                behind
            }
            None => {
                out.push('<');
                behind
            }
        };
    }
    out.push_str(&without_marks(rest));
    out.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// What stands between `<` and `>`; `None` for anything that Slack does not write there.
fn spoken(token: &str, addresses: bool) -> Option<String> {
    let (what, label) = token.split_once('|').unwrap_or((token, ""));
    let label = label.trim();
    let or_label = |name: &str| if label.is_empty() { name } else { label }.to_owned();
    let (first, rest) = what.split_at_checked(1)?;
    match first {
        "@" => Some(format!("@{}", or_label(rest).trim_start_matches('@'))),
        "#" => Some(format!("#{}", or_label(rest).trim_start_matches('#'))),
        "!" => {
            let name = rest.split('^').next().unwrap_or(rest);
            Some(or_label(&format!("@{name}")))
        }
        _ if what.starts_with("mailto:") => Some(or_label(what.trim_start_matches("mailto:"))),
        _ if what.contains("://") && (label.is_empty() || label == what) => Some(what.to_owned()),
        _ if what.contains("://") => Some(match addresses {
            true => format!("{}: {what}", without_marks(label)),
            false => without_marks(label),
        }),
        _ => None,
    }
}

/// The text without pairs of `*`, `_` and `~` around words. Inside of `code` and of addresses they are no marks.
fn without_marks(text: &str) -> String {
    text.split_inclusive('\n').map(line_without_marks).collect()
}

fn line_without_marks(line: &str) -> String {
    let signs: Vec<char> = line.chars().collect();
    let opens = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| signs.get(before));
        before.is_none_or(|sign| sign.is_whitespace() || "*_~([{\"'>".contains(*sign))
            && signs.get(at + 1).is_some_and(|sign| !sign.is_whitespace())
    };
    let closes = |at: usize| {
        let after = signs.get(at + 1);
        after.is_none_or(|sign| sign.is_whitespace() || "*_~)]}\"'.,:;!?".contains(*sign))
            && at
                .checked_sub(1)
                .and_then(|before| signs.get(before))
                .is_some_and(|sign| !sign.is_whitespace())
    };
    let mut gone = vec![false; signs.len()];
    let mut code = false;
    for (at, sign) in signs.iter().enumerate() {
        code ^= *sign == '`';
        if code || !"*_~".contains(*sign) || gone.get(at) == Some(&true) || !opens(at) {
            continue;
        }
        let last = signs.len().min(at + LONGEST_PAIR);
        let is_end = |end: &usize| {
            signs.get(*end) == Some(sign) && gone.get(*end) == Some(&false) && closes(*end)
        };
        let end = (at + 2..last).find(is_end);
        if let Some(end) = end {
            for mark in [at, end] {
                if let Some(mark) = gone.get_mut(mark) {
                    *mark = true;
                }
            }
        }
    }
    let kept = signs.iter().zip(gone).filter(|(_, gone)| !gone);
    kept.map(|(sign, _)| *sign).collect()
}

/// Currencies whose amounts have no smaller unit, and those with a thousandth (ISO 4217).
const WHOLE: &str = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf";
const THOUSANDTHS: &str = "bhd jod kwd omr tnd";

/// `money`: an amount in a currency's smallest unit as people write it, `1,234.50 USD`.
pub(super) fn money(call: &Call) -> Value {
    let currency = call.text(1).trim().to_lowercase();
    let Some(amount) = call.number(0).filter(|_| !currency.is_empty()) else {
        return Value::Null;
    };
    let is_one_of = |list: &str| list.split(' ').any(|known| known == currency);
    let digits = match () {
        () if is_one_of(WHOLE) => 0,
        () if is_one_of(THOUSANDTHS) => 3,
        () => 2,
    };
    let units = 10_f64.powi(digits);
    let whole = spell((amount.abs() / units).trunc(), 0);
    let parts = amount.abs() % units;
    let width = usize::try_from(digits).unwrap_or_default();
    let fraction = match width {
        0 => String::new(),
        _ => format!(".{parts:0>width$.0}"),
    };
    let minus = if amount < 0.0 { "-" } else { "" };
    format!("{minus}{whole}{fraction} {}", currency.to_uppercase()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_called_in_another_chat_is_named() {
        for (text, said) in [
            ("hi <@lisi>", "hi @lisi"),
            ("<at user_id=\"ou_1\">Li Si</at>, see", "@Li Si, see"),
            ("<at id=all></at> now", "@all now"),
            ("a < b <@ c> <at x", "a < b <@ c> <at x"),
        ] {
            assert_eq!(names(text), said);
        }
    }

    #[test]
    fn slack_s_marks_become_words_and_its_links_show_where_they_lead() {
        for (text, said) in [
            (
                "Deploy *finished* <https://ci.example.com/7|run 7> :tada:",
                "Deploy finished run 7: https://ci.example.com/7 :tada:",
            ),
            ("<https://x.example/_a_>", "https://x.example/_a_"),
            ("https://x.example/_a_/b", "https://x.example/_a_/b"),
            (
                "<!channel> <!here> <@U12|ann> <#C1|ops>",
                "@channel @here @ann #ops",
            ),
            ("<!date^1700000000^{date}|Nov 14>", "Nov 14"),
            (
                "<!subteam^S1|@devs> <mailto:a@x.example|a@x.example>",
                "@devs a@x.example",
            ),
            ("1 &lt; 2 &amp;amp; <b>", "1 < 2 &amp; <b>"),
            (
                "_one_ ~two~ *_three_*, snake_case_name 2*3*4",
                "one two three, snake_case_name 2*3*4",
            ),
            ("**api** failed", "api failed"),
            ("`*not* this`", "`*not* this`"),
            ("* item\n* other *", "* item\n* other *"),
        ] {
            assert_eq!(slack(text, true), said);
        }
        assert_eq!(
            slack(
                "<https://ci.example.com/7|*run* 7> &amp; <https://x.example>",
                false
            ),
            "run 7 & https://x.example"
        );
    }
}
