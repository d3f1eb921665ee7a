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
    let fence = match is_markdown {
        true => open_fence(head),
        false => None,
    };
    let end = fence.map_or(String::new(), |fence| format!("\n{fence}"));
    format!("{}{end}\n\n{word}", head.trim_end())
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
