//! The faces of a text: Markdown, plain, and one line for lists and pushes; each short enough to be sent.

use crate::bridge::template::{Face, Speech, Templates, escape_markdown, only_words, plain_face};
use crate::model::{Content, Mention};

/// The longest text of a message, in bytes. OpenIM stores the messages of a burst together, and loses them together when they
/// grow beyond what its queue takes: 100 messages of some 10 KB.
pub(super) const LONGEST_TEXT: usize = 8 * 1024;
/// The longest preview, in characters.
pub(super) const LONGEST_PREVIEW: usize = 120;

/// The faces of what a template said, with the people below whom only the route calls; `None` when nobody would see a word.
pub(super) fn faces(
    templates: &Templates,
    speech: Speech,
    face: Face,
    locale: &str,
    called_by_route: &[Mention],
) -> Option<Content> {
    let word = templates.word(locale, "shortened");
    let whole = speech.text.trim();
    let (markdown, plain, words) = match face {
        Face::Markdown => {
            let markdown = shorten(whole, speech.cut, &escape_markdown(&word), true);
            let plain = shorten(&plain_face(&markdown), false, &word, false);
            let words = only_words(&markdown);
            (Some(markdown), plain, words)
        }
        Face::Text | Face::Json => {
            let plain = shorten(whole, speech.cut, &word, false);
            (None, plain.clone(), plain)
        }
    };
    if plain.trim().is_empty() {
        return None;
    }

    let mut mentions = speech.mentions;
    let mut called = Vec::new();
    for mention in called_by_route {
        if !mentions.iter().any(|known| is_same(known, mention)) {
            called.push(match mention {
                Mention::Person { name, .. } => format!("@{name}"),
                Mention::Everyone => format!("@{}", templates.word(locale, "everyone")),
            });
            mentions.push(mention.clone());
        }
    }
    let called = called.join(" ");
    let with_called = |text: String, called: String| match called.is_empty() {
        true => text,
        false => format!("{text}\n\n{called}"),
    };
    Some(Content::Text {
        markdown: markdown.map(|markdown| with_called(markdown, escape_markdown(&called))),
        plain: with_called(plain, called),
        preview: preview(&words),
        mentions,
    })
}

fn is_same(one: &Mention, other: &Mention) -> bool {
    match (one, other) {
        (Mention::Person { user_id: one, .. }, Mention::Person { user_id: other, .. }) => {
            one == other
        }
        (Mention::Everyone, Mention::Everyone) => true,
        _ => false,
    }
}

/// One line of the first words: the lines one after the other, without the signs of lists and quotes.
fn preview(words: &str) -> String {
    let lines: Vec<String> = words
        .lines()
        .map(|line| line.trim_start_matches(['>', ' ']))
        .map(|line| line.strip_prefix("- ").unwrap_or(line))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    cut(&lines.join(" · "), LONGEST_PREVIEW)
}

/// At most `most` characters; a longer text ends with `…`.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{}…", kept.trim_end())
}

/// The text as it may be sent. One that is too long, or was `cut` already, ends with a whole line and `word`.
fn shorten(text: &str, cut: bool, word: &str, is_markdown: bool) -> String {
    if text.len() <= LONGEST_TEXT && !cut {
        return text.to_owned();
    }
    // Room for the word, and for the end of an open block of code.
    let room = LONGEST_TEXT.saturating_sub(word.len() + 16).min(text.len());
    let room = (0..=room)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let head = &text[..room];
    // A whole line, unless that would throw away half of it all.
    let head = match head.rfind('\n') {
        Some(line) if line > room / 2 => &head[..line],
        _ => head,
    };
    // An escape that lost its sign would escape what is put behind it.
    let escapes = head.len() - head.trim_end_matches('\\').len();
    let head = match is_markdown && escapes % 2 == 1 {
        true => &head[..head.len() - 1],
        false => head,
    };
    let end = match is_markdown {
        true => match open_fence(head) {
            Some(fence) => format!("\n{fence}"),
            None => open_marks(head.trim_end().lines().next_back().unwrap_or_default()),
        },
        false => String::new(),
    };
    format!("{}{end}\n\n{word}", head.trim_end())
}

/// What ends the code and the bold words that are still open at the end of a line.
fn open_marks(line: &str) -> String {
    let mut bold = false;
    let mut rest = line;
    while let Some(at) = rest.find(['\\', '`', '*']) {
        rest = &rest[at..];
        if let Some(escaped) = rest.strip_prefix('\\') {
            let mut signs = escaped.chars();
            signs.next();
            rest = signs.as_str();
        } else if rest.starts_with('`') {
            let behind = rest.trim_start_matches('`');
            let mark = &rest[..rest.len() - behind.len()];
            match behind.split_once(mark) {
                Some((_, after)) => rest = after,
                // Longer runs than this are no code that a template made.
                None if mark.len() > 12 => return String::new(),
                None => return format!("{mark}{}", if bold { "**" } else { "" }),
            }
        } else if let Some(behind) = rest.strip_prefix("**") {
            bold = !bold;
            rest = behind;
        } else {
            rest = &rest[1..];
        }
    }
    match bold {
        true => "**".to_owned(),
        false => String::new(),
    }
}

/// The fence of a block of code that is still open at the end.
fn open_fence(markdown: &str) -> Option<String> {
    let mut open: Option<usize> = None;
    for line in markdown.lines() {
        let line = line.trim_start();
        let run = line.len() - line.trim_start_matches('`').len();
        open = match open {
            None if run >= 3 => Some(run),
            Some(length) if run >= length && line.trim_end().len() == run => None,
            other => other,
        };
    }
    open.map(|length| "`".repeat(length.min(12)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_ends_what_it_opened() {
        for (line, end) in [
            ("words", ""),
            ("**bold** and `code`", ""),
            ("**bold", "**"),
            (r"\*\*no\*", ""),
            ("`**`", ""),
            ("a ``b ` **", "``"),
            ("**a `b", "`**"),
        ] {
            assert_eq!(open_marks(line), end, "{line}");
        }
        let text = format!("**{}**", "long ".repeat(4_000));
        let short = shorten(&text, false, "…", true);
        assert!(short.len() <= LONGEST_TEXT);
        assert!(short.ends_with("**\n\n…"));
        let stars = format!("**{}**", "\\*".repeat(8_000));
        for blanks in 0..2 {
            let short = shorten(&format!("{}{stars}", " ".repeat(blanks)), false, "…", true);
            assert!(short.ends_with("\\***\n\n…"), "{}", &short[8_100..]);
        }
    }
}
