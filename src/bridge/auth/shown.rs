//! `signature` and `token` with `format` and `several`: where a proof stands and how it reads there.

use std::ops::Range;

use super::super::problem::Flaw;
use super::Shown;
use super::pattern::{Pattern, Piece, Reads};
use super::place::Place;
use super::written::{Reader, Text};

const BLANKS: [char; 2] = [' ', '\t'];

/// Reads `signature` or `token` with `format` and `several`.
pub(super) fn shown(
    reader: &mut Reader<'_>,
    key: &str,
    may_read: impl Fn(Reads) -> bool,
) -> Option<Shown> {
    if !reader.has(key) {
        let help = format!("`{key} = \"header:NAME\"` says where it stands");
        reader.missing(format!("`{key}` is missing"), &help);
    }
    let mut places = Vec::new();
    for text in reader.texts(key) {
        match Place::parse(&text.text) {
            Ok(place) if places.contains(&place) => {
                reader.wrong(key, text.flaw(format!("`{}` is named twice", text.text)));
            }
            Ok(place) => places.push(place),
            Err(flaw) => reader.wrong(key, text.place(flaw)),
        }
    }
    let separator = reader.text("several").and_then(|text| {
        let separator = match text.text.trim_matches(BLANKS) {
            "" if text.text.is_empty() => {
                reader.wrong("several", text.flaw("the separator is empty"));
                return None;
            }
            "" => " ",
            trimmed => trimmed,
        };
        if separator.contains(|c: char| c.is_ascii_alphanumeric() || "{}+/=-_".contains(c)) {
            let message = "letters, digits and any of `{}+/=-_` cannot separate: items hold them";
            reader.wrong("several", text.flaw(message));
            return None;
        }
        Some(separator.to_owned())
    });
    if !reader.has("format") && key == "signature" {
        let help = "`format = \"sha256={hex}\"`, `\"{hex}\"` and `\"{base64}\"` are the usual ones";
        reader.missing("`format` is missing: how does the signature read?", help);
    }
    let mut formats = Vec::new();
    for text in reader.texts("format") {
        match format(&text, separator.as_deref(), &may_read) {
            Ok(format) => formats.push(format),
            Err(flaw) => reader.wrong("format", flaw),
        }
    }
    if key == "token" && !reader.has("format") {
        formats.extend(
            Pattern::compile("{token}", may_read)
                .ok()
                .map(|token| vec![token]),
        );
    }
    (!places.is_empty() && !formats.is_empty()).then_some(Shown {
        places,
        formats,
        separator,
    })
}

/// Compiles one `format`, cut into its items.
fn format(
    text: &Text,
    separator: Option<&str>,
    may_read: &impl Fn(Reads) -> bool,
) -> Result<Vec<Pattern>, Flaw> {
    let mut items = Vec::new();
    let mut from = 0;
    let cut = match separator {
        Some(separator) => text.text.split(separator).collect(),
        None => vec![text.text.as_str()],
    };
    for item in cut {
        let start = from + item.len() - item.trim_start_matches(BLANKS).len();
        from += item.len() + separator.map_or(0, str::len);
        let (item, start) = match separator {
            Some(_) => (item.trim_matches(BLANKS), start),
            None => (item, 0),
        };
        let inside = |span: Range<usize>| start + span.start..start + span.end;
        let pattern = Pattern::compile(item, may_read).map_err(|flaw| {
            let span = inside(flaw.span.clone());
            text.place(Flaw { span, ..flaw })
        })?;
        if separator.is_some() && pattern.names().next().is_none() {
            let message = format!("the separator cuts here, and `{item}` is left without a name");
            return Err(text.place(Flaw::new(inside(0..item.len()), message)));
        }
        items.push(pattern);
    }
    let proves = |name: &Reads| matches!(name, Reads::Signature(_) | Reads::Token);
    if items.iter().flat_map(Pattern::names).filter(proves).count() != 1 {
        let names = if may_read(Reads::Token) {
            "`{token}`"
        } else {
            "`{hex}`, `{base64}`, `{base64url}`"
        };
        return Err(text.flaw(format!("exactly one of {names} is expected")));
    }
    for name in [Reads::Timestamp, Reads::Algorithm, Reads::Headers] {
        let names = items.iter().flat_map(Pattern::names);
        if names.filter(|other| *other == name).count() > 1 {
            return Err(text.flaw("a name stands here twice"));
        }
    }
    let bare = |item: &Pattern| !matches!(item.pieces(), [Piece::Text(_), ..]);
    if items.len() > 1 && items.iter().any(bare) {
        let message = "each item needs text before its name: their order is free";
        return Err(text.flaw(message));
    }
    let signature = items
        .iter()
        .find(|item| item.names().any(|name| proves(&name)));
    let chosen = |item: &Pattern| item.names().any(|name| name == Reads::Algorithm);
    if items.iter().any(chosen) && !signature.is_some_and(chosen) {
        return Err(text.flaw("`{algorithm}` belongs to the item of the signature"));
    }
    Ok(items)
}
