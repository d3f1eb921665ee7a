//! Text as HTML that a page can trust: plain text with its links and mentions, and Markdown.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd, TextMergeStream, html};

/// Escapes text for HTML, inside attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// The address, if it is one that a page may point to.
pub(super) fn web_address(text: &str) -> Option<&str> {
    let text = text.trim();
    let scheme = text.split_once("://")?.0;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then_some(text)
}

fn link_start(address: &str) -> String {
    format!(
        "<a href=\"{}\" target=\"_blank\" rel=\"noopener noreferrer\">",
        escape(address)
    )
}

/// A link around safe HTML, or that HTML alone where the address is none.
pub(super) fn link(address: &str, html: &str) -> String {
    match web_address(address) {
        Some(address) => format!("{}{html}</a>", link_start(address)),
        None => html.to_owned(),
    }
}

/// Plain text: addresses become links, mentions are marked, lines stay lines.
pub(super) fn plain(text: &str, mentions: &[String]) -> String {
    let mut html = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(letter) = rest.chars().next() {
        if !before.is_alphanumeric() {
            let taken = address(rest);
            if !taken.is_empty() {
                html.push_str(&link(taken, &escape(taken)));
                rest = &rest[taken.len()..];
                before = '/';
                continue;
            }
        }
        if let Some(called) = rest.strip_prefix('@')
            && let Some(name) = mentions
                .iter()
                .find(|name| called.starts_with(name.as_str()))
        {
            html.push_str("<span class=\"mention\">@");
            html.push_str(&escape(name));
            html.push_str("</span>");
            rest = &called[name.len()..];
            before = 'x';
            continue;
        }
        match letter {
            '\n' => html.push_str("<br>"),
            letter => html.push_str(&escape(letter.encode_utf8(&mut [0; 4]))),
        }
        rest = &rest[letter.len_utf8()..];
        before = letter;
    }
    html
}

/// The address at the start of the text, without the punctuation that ends a sentence; empty where there is none.
fn address(text: &str) -> &str {
    if !(text.starts_with("https://") || text.starts_with("http://")) {
        return "";
    }
    let ends = |c: char| {
        c.is_whitespace() || c.is_control() || "<>\"'`|，。、；：！？（）【】《》「」".contains(c)
    };
    let end = text.find(ends).unwrap_or(text.len());
    let mut found = text[..end].trim_end_matches(['.', ',', ';', ':', '!', '?']);
    if found.ends_with(')') && !found.contains('(') {
        found = found.trim_end_matches(')');
    }
    if found.ends_with("://") { "" } else { found }
}

/// Markdown as HTML, and its words alone. HTML inside it is shown, not obeyed; only http(s) addresses become links.
pub(super) fn markdown(text: &str) -> (String, String) {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut words = String::new();
    let (mut in_code, mut links) = (false, Vec::new());
    let raw = |html: String| Event::InlineHtml(html.into());
    let events = TextMergeStream::new(Parser::new_ext(text, options)).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => {
            words.push_str(&text);
            raw(escape(&text))
        }
        Event::Text(text) => {
            words.push_str(&text);
            if in_code || links.iter().any(|is_link| *is_link) {
                Event::Text(text)
            } else {
                raw(plain(&text, &[]))
            }
        }
        Event::Code(text) => {
            words.push_str(&text);
            Event::Code(text)
        }
        Event::SoftBreak | Event::HardBreak => {
            words.push(' ');
            Event::HardBreak
        }
        Event::Start(Tag::CodeBlock(_)) => {
            in_code = true;
            // The language of a code block is the sender's word; nothing here needs it.
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented))
        }
        // A picture would be fetched from wherever the sender says: it is shown as a link.
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            let nested = links.iter().any(|is_link| *is_link);
            match web_address(&dest_url).filter(|_| !nested) {
                Some(address) => {
                    links.push(true);
                    raw(link_start(address))
                }
                None => {
                    links.push(false);
                    raw(String::new())
                }
            }
        }
        Event::End(TagEnd::Link | TagEnd::Image) => raw(match links.pop() {
            Some(true) => "</a>".to_owned(),
            _ => String::new(),
        }),
        // Alignment would be written as inline style, which the page does not allow.
        Event::Start(Tag::Table(columns)) => Event::Start(Tag::Table(vec![
                pulldown_cmark::Alignment::None;
                columns.len()
            ])),
        Event::End(end) => {
            words.push(' ');
            if end == TagEnd::CodeBlock {
                in_code = false;
            }
            Event::End(end)
        }
        other => other,
    });
    let mut html = String::new();
    html::push_html(&mut html, events);
    (html, words)
}
