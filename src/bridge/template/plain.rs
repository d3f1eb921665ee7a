//! Markdown as people without a Markdown reader see it: links as `name: url`, lists with their signs, no stray marks.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Deeper lists and quotes are shown at this depth; a message has no use for them.
const DEEPEST: usize = 8;

/// What chat clients read: CommonMark with tables, struck-out words and tasks.
fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS
}

/// The plain face of a Markdown text.
pub(super) fn plain(markdown: &str) -> String {
    Walk::new(true).read(markdown)
}

/// Only its words: links without their addresses.
pub(super) fn words(markdown: &str) -> String {
    Walk::new(false).read(markdown)
}

/// The plain face of somebody else's Markdown, comments left out.
pub(super) fn of_payload(markdown: &str) -> String {
    plain(&without_comments(markdown))
}

/// The words of somebody else's Markdown, comments left out.
pub(super) fn words_of_payload(markdown: &str) -> String {
    words(&without_comments(markdown))
}

/// The same Markdown in which a line break in the text is a line break on the screen, as in a chat. Links to anything but
/// `http`, `https` and `mailto` become their text.
pub(super) fn settle(markdown: &str) -> String {
    let mut changes: Vec<(Range<usize>, String)> = Vec::new();
    let mut banned_until = 0;
    for (event, range) in Parser::new_ext(markdown, options()).into_offset_iter() {
        if range.start < banned_until {
            continue;
        }
        match event {
            Event::Text(_)
                if is_lost_mark(markdown, &range) && markdown[range.end..].starts_with('*') =>
            {
                let room = room_for_mark(markdown, &(range.start..range.end + 1));
                changes.extend(room.map(|at| (at..at, " ".to_owned())));
            }
            Event::SoftBreak => changes.push((range.start..range.start, "  ".to_owned())),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. })
                if !may_be_linked(&dest_url) =>
            {
                banned_until = range.end;
                let shown = words(&markdown[range.clone()]);
                changes.push((range, super::escape::markdown(&shown)));
            }
            _ => {}
        }
    }
    let mut out = String::with_capacity(markdown.len() + changes.len() * 2);
    let mut done = 0;
    for (range, text) in changes {
        out.push_str(&markdown[done..range.start]);
        out.push_str(&text);
        done = range.end;
    }
    out.push_str(&markdown[done..]);
    out
}

/// Whether this star is half of a mark of bold words that Markdown did not take for one. (A payload's stars are escaped, so
/// none stands beside another.)
fn is_lost_mark(markdown: &str, star: &Range<usize>) -> bool {
    let at = |at: Option<usize>| at.and_then(|at| markdown.as_bytes().get(at));
    let before = at(star.start.checked_sub(1));
    let after = at(Some(star.end));
    &markdown[star.clone()] == "*"
        && before != Some(&b'\\')
        && (before == Some(&b'*') || after == Some(&b'*'))
}

/// Where a blank makes a lost mark one: between a bracket inside and a letter outside, as in `**（重要）**通知`. Markdown was
/// made for languages that put blanks between words.
fn room_for_mark(markdown: &str, mark: &Range<usize>) -> Option<usize> {
    let before = markdown[..mark.start].chars().next_back();
    let after = markdown[mark.end..].chars().next();
    let is_letter = |sign: Option<char>| sign.is_some_and(char::is_alphanumeric);
    let is_sign = |sign: Option<char>| {
        sign.is_some_and(|sign| !sign.is_alphanumeric() && !sign.is_whitespace())
    };
    match () {
        () if is_sign(before) && is_letter(after) => Some(mark.end),
        () if is_letter(before) && is_sign(after) => Some(mark.start),
        () => None,
    }
}

/// Whether an address may stand behind a link.
pub(super) fn may_be_linked(url: &str) -> bool {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        ["http", "https", "mailto"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    })
}

struct Walk {
    addresses: bool,
    out: String,
    /// What stands before every line: `> ` of quotes, blanks of lists.
    before_line: Vec<String>,
    /// The next number of each open list; `None` for points.
    lists: Vec<Option<u64>>,
    /// The open links: where their text began, and their address.
    links: Vec<(usize, String)>,
    line_is_new: bool,
    /// A blank line is wanted before the next text.
    gap: bool,
    in_code: bool,
    cell: bool,
    /// The open block of HTML.
    html: String,
}

/// Whether an empty line stands before `at`, behind the signs of a quote or not.
fn follows_blank_line(markdown: &str, at: usize) -> bool {
    let before = &markdown[..at];
    let written = before.trim_end_matches([' ', '\t', '>', '\n']);
    before[written.len()..].matches('\n').count() > 1
}

impl Walk {
    fn new(addresses: bool) -> Walk {
        Walk {
            addresses,
            out: String::new(),
            before_line: Vec::new(),
            lists: Vec::new(),
            links: Vec::new(),
            line_is_new: true,
            gap: false,
            in_code: false,
            cell: false,
            html: String::new(),
        }
    }

    fn read(mut self, markdown: &str) -> String {
        for (event, range) in Parser::new_ext(markdown, options()).into_offset_iter() {
            if let Event::Start(_) | Event::Rule = event {
                // Close together in the source is close together on the screen.
                self.gap &= follows_blank_line(markdown, range.start);
            }
            match event {
                Event::Start(tag) => self.open(tag),
                Event::End(tag) => self.close(tag),
                Event::Text(text) if self.in_code => self.code(&text),
                Event::Text(_) if is_lost_mark(markdown, &range) => {}
                Event::Text(text) | Event::Code(text) => self.text(&text),
                Event::SoftBreak | Event::HardBreak => self.new_line(),
                Event::Rule => {
                    self.block();
                    self.text("———");
                    self.gap = true;
                }
                Event::TaskListMarker(done) => self.text(if done { "[x] " } else { "[ ] " }),
                Event::Html(html) => self.html.push_str(&html),
                Event::InlineHtml(_) => {}
                Event::FootnoteReference(_) | Event::InlineMath(_) | Event::DisplayMath(_) => {}
            }
        }
        self.out
            .lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
            .trim_matches('\n')
            .to_owned()
    }

    fn open(&mut self, tag: Tag) {
        match tag {
            Tag::Paragraph | Tag::Heading { .. } | Tag::Table(_) | Tag::HtmlBlock => self.block(),
            Tag::BlockQuote(_) => {
                self.block();
                self.push_before("> ".to_owned());
            }
            Tag::CodeBlock(kind) => {
                let fenced = matches!(kind, CodeBlockKind::Fenced(_));
                self.block();
                self.in_code = true;
                if !fenced {
                    self.gap = false;
                }
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.block();
                } else {
                    self.start_line();
                }
                self.lists.push(first);
            }
            Tag::Item => {
                self.start_line();
                self.gap = false;
                let sign = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let sign = format!("{number}. ");
                        *number = number.saturating_add(1);
                        sign
                    }
                    _ => "- ".to_owned(),
                };
                self.text(&sign);
                self.push_before(" ".repeat(sign.len()));
                self.line_is_new = false;
            }
            Tag::TableRow | Tag::TableHead => {
                self.start_line();
                self.cell = false;
            }
            Tag::TableCell => {
                if self.cell {
                    self.text(" | ");
                }
                self.cell = true;
            }
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.begin_line();
                let begun = self.out.len();
                self.links.push((begun, dest_url.into_string()));
            }
            _ => {}
        }
    }

    fn close(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::Table => self.gap = true,
            TagEnd::HtmlBlock => {
                let html = std::mem::take(&mut self.html);
                for line in without_tags(&html).lines().map(str::trim) {
                    if !line.is_empty() {
                        self.start_line();
                        self.text(line);
                    }
                }
                self.gap = true;
            }
            TagEnd::BlockQuote(_) => {
                self.before_line.pop();
                self.gap = true;
            }
            TagEnd::CodeBlock => {
                self.in_code = false;
                self.gap = true;
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.gap = self.lists.is_empty();
            }
            TagEnd::Item => {
                self.before_line.pop();
                self.gap = false;
            }
            TagEnd::Link | TagEnd::Image => {
                let Some((begun, url)) = self.links.pop() else {
                    return;
                };
                if !self.addresses || url.is_empty() {
                    return;
                }
                let name = self.out.get(begun..).unwrap_or_default().trim();
                if name.is_empty() {
                    self.text(&url);
                } else if name != url && format!("mailto:{name}") != url {
                    self.text(&format!(": {url}"));
                }
            }
            _ => {}
        }
    }

    /// Begins a block: after the gap that the last one asked for.
    fn block(&mut self) {
        self.start_line();
        if self.gap && !self.out.is_empty() {
            self.out.push_str(self.before_line.concat().trim_end());
            self.out.push('\n');
        }
        self.gap = false;
    }

    fn start_line(&mut self) {
        if !self.line_is_new && !self.at_item_sign() {
            self.new_line();
        }
    }

    /// Right behind a list's sign: the item's first block goes on in the same line.
    fn at_item_sign(&self) -> bool {
        let line = self.out.rsplit('\n').next().unwrap_or_default();
        let sign = line.trim_start_matches([' ', '>']);
        sign == "- "
            || sign.strip_suffix(". ").is_some_and(|digits| {
                digits.chars().all(|sign| sign.is_ascii_digit()) && !digits.is_empty()
            })
    }

    fn new_line(&mut self) {
        self.out.push('\n');
        self.line_is_new = true;
    }

    fn begin_line(&mut self) {
        if self.line_is_new {
            let before = self.before_line.concat();
            self.out.push_str(&before);
            self.line_is_new = false;
        }
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.begin_line();
            self.out.push_str(text);
        }
    }

    fn code(&mut self, text: &str) {
        for line in text.split_inclusive('\n') {
            let (line, ended) = match line.strip_suffix('\n') {
                Some(line) => (line, true),
                None => (line, false),
            };
            self.text(line);
            if ended {
                self.new_line();
            }
        }
    }

    fn push_before(&mut self, before: String) {
        let before = if self.before_line.len() < DEEPEST {
            before
        } else {
            String::new()
        };
        self.before_line.push(before);
    }
}

/// HTML without its tags and comments.
fn without_tags(html: &str) -> String {
    let html = without_comments(html);
    let mut out = String::with_capacity(html.len());
    let mut rest = html.as_str();
    while let Some(open) = rest.find('<') {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        let is_tag = tag[1..].starts_with(|sign: char| sign.is_ascii_alphabetic() || sign == '/');
        match tag.find('>') {
            Some(close) if is_tag => rest = &tag[close + 1..],
            _ => {
                out.push('<');
                rest = &tag[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// A text without HTML comments; one that is not closed goes to the end.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("<!--") {
        out.push_str(before);
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stand_as_name_and_address() {
        assert_eq!(
            plain("[run 7](http://x/7) failed"),
            "run 7: http://x/7 failed"
        );
        assert_eq!(plain("<http://x/7>"), "http://x/7");
        assert_eq!(plain("[http://x](http://x)"), "http://x");
        assert_eq!(words("[run 7](http://x/7) failed"), "run 7 failed");
    }

    #[test]
    fn blocks_keep_their_shape_without_marks() {
        let markdown = "# Head\nfirst **bold** `code`\nsecond\n\n- one\n- two\n  more\n  1. deep\n\n> said\n> so\n\n```\n  let x;\n\ny\n```\nend \\*";
        insta::assert_snapshot!(plain(markdown), @r"
        Head
        first bold code
        second

        - one
        - two
          more
          1. deep

        > said
        > so

          let x;

        y
        end *
        ");
    }

    #[test]
    fn a_table_keeps_its_rows() {
        assert_eq!(plain("| a | b |\n|---|---|\n| 1 | 2 |\n"), "a | b\n1 | 2");
    }

    #[test]
    fn a_line_of_the_template_is_a_line_in_the_chat() {
        assert_eq!(settle("a\nb\n\n- c\n  d"), "a  \nb\n\n- c  \n  d");
        assert_eq!(settle("```\na\nb\n```"), "```\na\nb\n```");
    }

    #[test]
    fn bold_words_stay_bold_between_letters_without_blanks() {
        assert_eq!(settle("**（重要）**通知"), "**（重要）** 通知");
        assert_eq!(settle("通知**「重要」**"), "通知 **「重要」**");
        assert_eq!(plain("a **b"), "a b");
        assert_eq!(plain("**5\\***"), "5*");
        assert_eq!(plain("2 ** 3 `**` \\*\\*"), "2 ** 3 ** **");
    }

    #[test]
    fn only_web_addresses_are_linked() {
        assert_eq!(settle("x [a](javascript:alert(1)) y"), "x a y");
        assert_eq!(settle("[a](https://x)"), "[a](https://x)");
        assert_eq!(settle("[a](/etc)"), "a");
    }

    #[test]
    fn html_shows_its_words_only() {
        assert_eq!(
            plain(
                "<details><summary>More</summary>\n1 < 2 <!-- no -->\n</details>\n\nand <b>bold</b>"
            ),
            "More\n1 < 2\n\nand bold"
        );
        assert_eq!(words_of_payload("<!-- a\n -->Fixes *it*"), "Fixes it");
    }

    #[test]
    fn deep_nesting_is_no_trouble() {
        let deep = "> ".repeat(5_000) + "x";
        assert!(plain(&deep).ends_with('x'));
    }
}
