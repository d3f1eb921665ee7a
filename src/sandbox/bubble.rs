//! What a message looks like on the page: safe HTML, whatever its sender wrote.
//!
//! Every tag and attribute is written here or in [`super::markup`]; what came from outside is escaped text, or an http(s) address.

use serde_json::Value;

use super::markup::{escape, link, markdown, plain, web_address};

/// A message ready to be shown.
#[derive(Debug, PartialEq)]
pub(super) struct Bubble {
    /// What it is, for its look and for the word in the list: `text`, `picture`, `notice`…
    pub kind: &'static str,
    /// Safe HTML.
    pub html: String,
    /// One line for the list; empty where only its kind can be named.
    pub preview: String,
}

/// How many names of one message are looked for in its text.
const MENTIONS_MARKED: usize = 100;

/// How long a preview may get, in characters.
const PREVIEW_LENGTH: usize = 120;

/// Draws a message by its contentType; `content` is the JSON text that the server stores.
pub(super) fn draw(content_type: i64, content: &str) -> Bubble {
    let content: Value = serde_json::from_str(content).unwrap_or(Value::Null);
    let said = |name: &str| shown(&content[name]);
    match content_type {
        101 => bubble("text", plain(&said("content"), &[]), &said("content")),
        106 => {
            let text = said("text");
            bubble("text", plain(&text, &mentions(&content)), &text)
        }
        114 => {
            let quoted = &content["quoteMessage"];
            let quote = format!(
                "<blockquote><b>{}</b><br>{}</blockquote>{}",
                escape(&shown(&quoted["senderNickname"])),
                plain(&shown(&quoted["textElem"]["content"]), &[]),
                plain(&said("text"), &[]),
            );
            bubble("text", quote, &said("text"))
        }
        118 => {
            let (html, words) = markdown(&said("content"));
            bubble("text", format!("<div class=\"md\">{html}</div>"), &words)
        }
        102 => bubble("picture", picture(&content), ""),
        103 => bubble("voice", voice(&content), ""),
        104 => bubble("video", video(&content), ""),
        105 => bubble("file", file(&content), &said("fileName")),
        110 => bubble("custom", custom(&content), &said("description")),
        1400 => {
            let detail = serde_json::from_str(&said("detail")).unwrap_or(Value::Null);
            let preview = format!(
                "{}: {}",
                shown(&detail["notificationName"]),
                shown(&detail["text"])
            );
            bubble("notice", notice(&detail), &preview)
        }
        2101 => bubble("revoked", String::new(), ""),
        other => bubble(
            "other",
            format!(
                "<div class=\"card\"><b>contentType {other}</b>{}</div>",
                details(&content.to_string())
            ),
            "",
        ),
    }
}

fn bubble(kind: &'static str, html: String, preview: &str) -> Bubble {
    let words: Vec<&str> = preview.split_whitespace().collect();
    let mut preview: String = words.join(" ");
    if preview.chars().count() > PREVIEW_LENGTH {
        preview = preview
            .chars()
            .take(PREVIEW_LENGTH - 1)
            .chain(['…'])
            .collect();
    }
    Bubble {
        kind,
        html,
        preview,
    }
}

/// A value as text: what a lenient client would show.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The names that are called, as they stand behind an `@` in the text.
fn mentions(content: &Value) -> Vec<String> {
    let infos = content["atUsersInfo"].as_array().into_iter().flatten();
    let ids = content["atUserList"].as_array().into_iter().flatten();
    let mut names: Vec<String> = infos
        .flat_map(|info| [shown(&info["groupNickname"]), shown(&info["atUserID"])])
        .chain(ids.map(shown))
        .filter(|name| !name.is_empty())
        .collect();
    // The longest first, so that `@Ann Lee` is not marked as `@Ann`.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.truncate(MENTIONS_MARKED);
    names
}

fn picture(content: &Value) -> String {
    let addresses =
        ["snapshotPicture", "bigPicture", "sourcePicture"].map(|name| shown(&content[name]["url"]));
    let small = addresses.iter().find_map(|address| web_address(address));
    let large = addresses
        .iter()
        .rev()
        .find_map(|address| web_address(address));
    match (small, large) {
        (Some(small), Some(large)) => link(
            large,
            &format!(
                "<img class=\"picture\" src=\"{}\" alt=\"{}\" loading=\"lazy\" referrerpolicy=\"no-referrer\">",
                escape(small),
                escape(large)
            ),
        ),
        _ => card("picture", "", &escape(&addresses[0]), ""),
    }
}

fn voice(content: &Value) -> String {
    let length = format!("{} s", shown(&content["duration"]));
    let address = shown(&content["sourceUrl"]);
    card("voice", &address, &escape(&length), &escape(&address))
}

fn video(content: &Value) -> String {
    let length = format!(
        "{} · {} s",
        shown(&content["videoType"]),
        shown(&content["duration"])
    );
    let address = shown(&content["videoUrl"]);
    card("video", &address, &escape(&length), &escape(&address))
}

fn file(content: &Value) -> String {
    let size = content["fileSize"].as_f64().map_or(String::new(), size);
    let name = escape(&shown(&content["fileName"]));
    card("file", &shown(&content["sourceUrl"]), &name, &size)
}

/// A size in bytes for people.
fn size(bytes: f64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{value:.0} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

fn custom(content: &Value) -> String {
    let data = shown(&content["data"]);
    let pretty = serde_json::from_str::<Value>(&data)
        .ok()
        .and_then(|data| serde_json::to_string_pretty(&data).ok());
    format!(
        "<div class=\"card\"><b>{}</b>{}</div>",
        plain(&shown(&content["description"]), &[]),
        details(&pretty.unwrap_or(data))
    )
}

fn details(text: &str) -> String {
    format!("<pre><code>{}</code></pre>", escape(text))
}

fn notice(detail: &Value) -> String {
    let address = ["externalUrl", "url"]
        .map(|name| shown(&detail[name]))
        .into_iter()
        .find(|address| web_address(address).is_some());
    let more = address.map_or(String::new(), |address| {
        format!("<footer>{}</footer>", link(&address, &escape(&address)))
    });
    let picture = match &detail["pictureElem"] {
        Value::Null => String::new(),
        element => picture(element),
    };
    format!(
        "<header>{}</header><p>{}</p>{picture}{more}",
        escape(&shown(&detail["notificationName"])),
        plain(&shown(&detail["text"]), &[]),
    )
}

/// A card for what is not text: a sign, a line, a smaller line. The lines are safe HTML.
fn card(kind: &str, address: &str, line: &str, small: &str) -> String {
    let inside =
        format!("<i class=\"sign {kind}\"></i><span><b>{line}</b><small>{small}</small></span>");
    let inside = link(address, &inside);
    format!("<div class=\"card with-sign\">{inside}</div>")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The tags and attributes that we write; everything else would be a hole.
    const TAGS: [&str; 39] = [
        "a",
        "b",
        "blockquote",
        "br",
        "code",
        "del",
        "div",
        "em",
        "footer",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "i",
        "img",
        "input",
        "li",
        "ol",
        "p",
        "pre",
        "small",
        "span",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
        "sup",
        "sub",
        "dl",
        "dt",
        "dd",
    ];
    const ATTRIBUTES: [&str; 12] = [
        "href",
        "src",
        "alt",
        "class",
        "target",
        "rel",
        "loading",
        "referrerpolicy",
        "disabled",
        "type",
        "checked",
        "start",
    ];

    /// Reads the HTML as a browser would and fails on whatever could run.
    fn harmless(html: &str) -> Result<(), String> {
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            let end = rest[start..].find('>').ok_or("a tag without an end")?;
            let tag = rest[start + 1..start + end]
                .trim_start_matches('/')
                .trim_end_matches('/');
            rest = &rest[start + end + 1..];
            let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            if !TAGS.contains(&name) {
                return Err(format!("the tag `{name}`"));
            }
            while let Some((attribute, more)) = attributes.trim().split_once('=') {
                let more = more.strip_prefix('"').ok_or("a bare attribute")?;
                let (value, more) = more.split_once('"').ok_or("an open attribute")?;
                if !ATTRIBUTES.contains(&attribute) {
                    return Err(format!("the attribute `{attribute}`"));
                }
                if matches!(attribute, "href" | "src") && web_address(value).is_none() {
                    return Err(format!("the address `{value}`"));
                }
                attributes = more;
            }
        }
        Ok(())
    }

    #[test]
    fn no_message_can_bring_its_own_tags_or_scripts() {
        let attacks = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "![x](data:text/html,<script>alert(1)</script>)",
            "<javascript:alert(1)>",
            "[x](http://a.test/\"onmouseover=\"alert(1))",
            "http://a.test/\"><script>alert(1)</script>",
            "[<img src=x onerror=alert(1)>](http://a.test)",
            "```\"><script>\n</script>\n```",
            "[![a](http://a.test/x.png)](javascript:alert(1))",
            "@<script>alert(1)</script>",
        ];
        for attack in attacks {
            let picture = json!({"url": attack});
            for (content_type, content) in [
                (101, json!({"content": attack})),
                (
                    106,
                    json!({"text": attack, "atUserList": ["<script>alert(1)</script>"]}),
                ),
                (
                    114,
                    json!({"text": attack, "quoteMessage": {"senderNickname": attack, "textElem": {"content": attack}}}),
                ),
                (118, json!({"content": attack})),
                (102, json!({"snapshotPicture": picture})),
                (103, json!({"sourceUrl": attack, "duration": attack})),
                (104, json!({"videoUrl": attack, "videoType": attack})),
                (105, json!({"sourceUrl": attack, "fileName": attack})),
                (110, json!({"data": attack, "description": attack})),
                (
                    1400,
                    json!({"detail": json!({"notificationName": attack, "text": attack, "url": attack, "pictureElem": {"bigPicture": picture}}).to_string()}),
                ),
                (999, json!({"content": attack})),
            ] {
                let html = draw(content_type, &content.to_string()).html;
                assert_eq!(harmless(&html), Ok(()), "{content_type} {attack}\n{html}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_the_page_stays_harmless(
            text in "([<>\"'&`*_\\[\\]()!#|~@ \n/:.a-z-]|http://|javascript:|<script>|onload=|[😀é中]){0,60}",
            content_type in prop::sample::select(vec![101, 102, 103, 104, 105, 106, 110, 114, 118, 1400, 2101, 7]),
        ) {
            let content = json!({
                "content": text, "text": text, "atUserList": [text], "data": text, "description": text,
                "fileName": text, "sourceUrl": text, "detail": json!({"text": text, "url": text}).to_string(),
            });
            let html = draw(content_type, &content.to_string()).html;
            prop_assert_eq!(harmless(&html), Ok(()), "{}", html);
        }

        #[test]
        fn whatever_is_stored_can_be_drawn(text in ".{0,40}", content_type in 100_i64..120) {
            draw(content_type, &text);
        }
    }

    #[test]
    fn addresses_become_links_and_names_are_marked() {
        let content = json!({
            "text": "@Ann Lee see (https://a.test/x_y?a=1&b=2). mail@Ann",
            "atUserList": ["u1"], "atUsersInfo": [{"atUserID": "u1", "groupNickname": "Ann Lee"}],
        });

        let bubble = draw(106, &content.to_string());

        assert_eq!(
            bubble.html,
            "<span class=\"mention\">@Ann Lee</span> see (<a href=\"https://a.test/x_y?a=1&amp;b=2\" target=\"_blank\" \
             rel=\"noopener noreferrer\">https://a.test/x_y?a=1&amp;b=2</a>). mail@Ann"
        );
    }

    #[test]
    fn markdown_keeps_its_shape_and_gives_a_line_for_the_list() {
        let content = json!({"content": "# Disk **full**\n\n- `db-1` at https://a.test/d\n- [runbook](https://a.test/r)"});

        let bubble = draw(118, &content.to_string());

        assert!(
            bubble.html.contains("<h1>Disk <strong>full</strong></h1>"),
            "{}",
            bubble.html
        );
        assert!(bubble.html.contains("<code>db-1</code>"));
        assert_eq!(bubble.html.matches("<a href=").count(), 2);
        assert_eq!(bubble.preview, "Disk full db-1 at https://a.test/d runbook");
    }

    #[test]
    fn a_notification_is_a_card_with_its_link() {
        let detail =
            json!({"notificationName": "Alerts", "text": "a < b", "externalUrl": "https://a.test"});
        let bubble = draw(1400, &json!({"detail": detail.to_string()}).to_string());

        assert_eq!(
            (bubble.kind, bubble.preview.as_str()),
            ("notice", "Alerts: a < b")
        );
        assert!(
            bubble
                .html
                .contains("<header>Alerts</header><p>a &lt; b</p>")
        );
        assert!(bubble.html.contains("href=\"https://a.test\""));
    }
}
