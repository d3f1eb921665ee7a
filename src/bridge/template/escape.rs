//! What a payload may not do: no control signs, no reordering of text, no Markdown, no way out of a JSON text.
//!
//! Functions that make markup (a link, bold words) hand it on between two private signs, so that it can travel through other
//! functions as an ordinary text and is not escaped twice. No payload can hold these signs: it is cleaned before it meets a
//! template.

use serde_json::Value;

use super::Face;

/// Begins a piece of ready markup.
const OPEN: char = '\u{2}';
/// Ends a piece of ready markup.
const CLOSE: char = '\u{3}';

/// Marks `text` as ready: it will stand in the message as it is.
pub(super) fn ready(text: &str) -> String {
    format!("{OPEN}{text}{CLOSE}")
}

/// The text with no ready pieces: what was markup is a plain text again.
pub(super) fn unready(text: &str) -> String {
    text.replace([OPEN, CLOSE], "")
}

/// The text without what misleads the eye: control signs and signs that turn the direction of reading become `�`,
/// invisible ones are dropped, every kind of line end becomes `\n`.
pub(super) fn harmless(text: &str) -> String {
    let harmless_byte = |byte: u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    if text.bytes().all(harmless_byte) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '\n' | '\t' => clean.push(sign),
            '\r' => {
                if signs.peek() != Some(&'\n') {
                    clean.push('\n');
                }
            }
            '\u{85}' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            sign if sign.is_control() => clean.push('\u{fffd}'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => clean.push('\u{fffd}'),
            '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2060}'..='\u{2064}'
            | '\u{206a}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' => {}
            sign => clean.push(sign),
        }
    }
    clean
}

/// A copy of `value` whose texts and names are [`harmless`].
pub(super) fn clean(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(harmless(text)),
        Value::Array(items) => Value::Array(items.iter().map(clean).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (harmless(name), clean(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// What a finished message is made of: the private signs are gone, and what a template itself wrote is harmless too.
pub(super) fn finish(text: &str) -> String {
    harmless(&unready(text))
}

/// How a value stands in a template of this face. Ready pieces stay as they are.
pub(super) fn escape(face: Face, text: &str) -> String {
    match face {
        Face::Markdown => markdown(text),
        Face::Text => unready(text),
        Face::Json => json(text),
    }
}

/// The content of a JSON text, without the quotes around it.
fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (number, piece) in text.split([OPEN, CLOSE]).enumerate() {
        // Pieces alternate, and a text begins outside: every second one is ready.
        if number % 2 == 1 {
            out.push_str(piece);
        } else {
            let quoted = Value::String(piece.to_owned()).to_string();
            out.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    out
}

/// One line of Markdown that shows `text` and nothing else: white space becomes one blank, none stands at the ends, and no
/// sign of it is markup, wherever in a line it will stand.
pub(super) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut signs = text.chars().peekable();
    let mut inside_ready = false;
    let mut blank_waits = false;
    let mut begun = false;
    // So far only digits: a dot or a bracket would make a numbered list.
    let mut only_digits = true;
    let mut before: Option<char> = None;
    while let Some(sign) = signs.next() {
        match sign {
            OPEN | CLOSE => {
                if sign == OPEN && blank_waits && begun {
                    out.push(' ');
                    blank_waits = false;
                }
                inside_ready = sign == OPEN;
                before = None;
                continue;
            }
            _ if inside_ready => {
                out.push(sign);
                (begun, only_digits) = (true, false);
                continue;
            }
            _ if sign.is_whitespace() => {
                blank_waits = true;
                before = Some(' ');
                continue;
            }
            _ => {}
        }
        if blank_waits && begun {
            out.push(' ');
            only_digits = false;
        }
        blank_waits = false;
        let next = signs.peek().copied();
        let between_words =
            before.is_some_and(char::is_alphanumeric) && next.is_some_and(char::is_alphanumeric);
        // A point of a list, or its number, has a blank or nothing behind it.
        let ends_word =
            next.is_none_or(|next| next.is_whitespace() || matches!(next, OPEN | CLOSE));
        let marks = match sign {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '&' | '|' | '~' => true,
            '_' => !between_words,
            '#' => !begun || !next.is_some_and(char::is_alphanumeric),
            '!' => next.is_none() || next == Some(OPEN),
            '+' => !begun && ends_word,
            '-' => !begun && (ends_word || next == Some('-')),
            '=' | ':' => !begun,
            // Also at the begin: the value before may be the number.
            '.' | ')' => only_digits && ends_word,
            _ => false,
        };
        if marks {
            out.push('\\');
        }
        out.push(sign);
        only_digits &= sign.is_ascii_digit();
        begun = true;
        before = Some(sign);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_payload_is_only_text() {
        for (text, escaped) in [
            ("# head", "\\# head"),
            ("fixes #12 and", "fixes #12 and"),
            ("- point", "\\- point"),
            ("2024. May", "2024\\. May"),
            ("2.8.0 is out", "2.8.0 is out"),
            ("-5 °C", "-5 °C"),
            ("--- -", "\\--- -"),
            ("+48 −9", "+48 −9"),
            ("[a](http://x)", "\\[a\\](http://x)"),
            ("snake_case_name _x_", "snake_case_name \\_x\\_"),
            ("a\n\n\tb ", "a b"),
            ("<b>&amp;", "\\<b\\>\\&amp;"),
        ] {
            assert_eq!(markdown(text), escaped);
        }
    }

    #[test]
    fn ready_markup_travels_through_and_is_not_escaped_twice() {
        let sentence = format!("by {} in *x*", ready("**octo**"));
        assert_eq!(markdown(&sentence), "by **octo** in \\*x\\*");
        assert_eq!(
            json(&format!("say \"{}\"", ready("{\"a\":1}"))),
            "say \\\"{\"a\":1}\\\""
        );
        assert_eq!(escape(Face::Text, &sentence), "by **octo** in *x*");
    }

    #[test]
    fn signs_that_mislead_the_eye_are_shown_or_dropped() {
        assert_eq!(
            harmless("a\u{202e}b\u{1b}[31m\r\nc\rd\u{200b}"),
            "a\u{fffd}b\u{fffd}[31m\nc\nd"
        );
        assert_eq!(harmless("👩‍💻 ok\u{fe0f}"), "👩‍💻 ok\u{fe0f}");
        let value = serde_json::json!({"a\u{2}": ["\u{3}x", 1]});
        assert_eq!(
            clean(&value),
            serde_json::json!({"a\u{fffd}": ["\u{fffd}x", 1]})
        );
    }
}
