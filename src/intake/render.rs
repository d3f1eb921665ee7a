//! The fourth step: what each conversation will show.
//!
//! A mistake in a template loses nothing: what could not be said is kept with the reason, and can be said later.

use serde_json::Value;

use super::faces::{LONGEST_PREVIEW, cut, faces};
use super::route::Addressed;
use crate::bridge::RuleBook;
use crate::bridge::problem::Problem;
use crate::bridge::route::PushRule;
use crate::bridge::template::{
    Audience, Face, Material, TemplateName, Templates, harmless, harmless_json,
};
use crate::model::{
    Content, Conversation, Event, Expires, Mention, Message, Push, Rendered, content_flaws,
};

/// The longest content of a `.json.hbs`, in bytes: what OpenIM's clients can quote and forward.
const LONGEST_RAW: usize = 48 * 1024;
/// What one conversation will show, or why nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    /// As the route says it: `group:ops`.
    pub destination: String,
    /// Where that is at OpenIM.
    pub conversation: Conversation,
    /// The template; `None` when nothing speaks of this kind.
    pub template: Option<TemplateName>,
    /// What came of it.
    pub said: Said,
    /// Not shown any more after this moment.
    pub expires: Option<Expires>,
    /// What was absent or unknown; only when asked for.
    pub notes: Vec<Problem>,
}

/// What came of one message.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A message.
    Ready(Message),
    /// The template's mistake, for the operator. Never holds a value of the payload.
    Broken(String),
    /// Nothing is said by choice; there is no delivery. The reason is for people.
    Silent(String),
}

impl Said {
    /// What is kept; `None` for silence.
    pub fn rendered(self) -> Option<Rendered> {
        match self {
            Said::Ready(message) => Some(Rendered::Ready(message)),
            Said::Broken(reason) => Some(Rendered::Broken(reason)),
            Said::Silent(_) => None,
        }
    }
}

/// Renders the message of every conversation.
pub fn render(book: &RuleBook, event: &Event, addressed: &[Addressed]) -> Vec<Spoken> {
    render_each(book, event, addressed, false)
}

/// The same with notes on what was absent in the event, for `check` and `try`.
pub fn render_with_notes(book: &RuleBook, event: &Event, addressed: &[Addressed]) -> Vec<Spoken> {
    render_each(book, event, addressed, true)
}

fn render_each(
    book: &RuleBook,
    event: &Event,
    addressed: &[Addressed],
    with_notes: bool,
) -> Vec<Spoken> {
    let people = |key: &str| book.people.find(key).map(|person| person.user_id);
    let mut material = None;
    addressed
        .iter()
        .map(|to| {
            let (said, notes) = match &to.template {
                None => {
                    let why = format!("no template speaks of `{}`", event.kind);
                    (Said::Silent(why), Vec::new())
                }
                Some(template) => {
                    let wish = Wish {
                        template,
                        audience: Audience {
                            locale: to.locale,
                            time_zone: to.time_zone,
                            people: &people,
                        },
                        mentions: match to.conversation {
                            Conversation::Group(_) => &to.mentions,
                            Conversation::Person(_) | Conversation::Notice(_) => &[],
                        },
                        push: to.route.push.as_ref(),
                    };
                    let material = material.get_or_insert_with(|| Material::new(event));
                    say(&book.templates, event, material, &wish, with_notes)
                }
            };
            Spoken {
                destination: to.destination.clone(),
                conversation: to.conversation.clone(),
                template: to.template.clone(),
                said,
                expires: to.expires.map(|at| Expires {
                    at,
                    folded: book.templates.too_late(to.locale),
                }),
                notes,
            }
        })
        .collect()
}

/// What one message shall be.
struct Wish<'a> {
    template: &'a TemplateName,
    audience: Audience<'a>,
    /// Whom the routes call.
    mentions: &'a [Mention],
    push: Option<&'a PushRule>,
}

fn say(
    templates: &Templates,
    event: &Event,
    material: &Material,
    wish: &Wish,
    with_notes: bool,
) -> (Said, Vec<Problem>) {
    let speech = match templates.speak(wish.template, material, wish.audience, with_notes) {
        Ok(speech) => speech,
        Err(mistake) => return (Said::Broken(mistake.to_string()), Vec::new()),
    };
    let notes = speech.notes.clone();
    let silent = || Said::Silent(format!("`{}` says nothing about this event", wish.template));
    if speech.text.trim().is_empty() {
        return (silent(), notes);
    }
    let content = match wish.template.face {
        Face::Json => match raw(&speech.text) {
            Ok(content) => content,
            Err(reason) => {
                let reason = format!("{}: {reason}", wish.template.path());
                return (Said::Broken(reason), notes);
            }
        },
        Face::Markdown | Face::Text => match faces(
            templates,
            speech,
            wish.template.face,
            wish.audience.locale,
            wish.mentions,
        ) {
            Some(content) => content,
            None => return (silent(), notes),
        },
    };
    let message = Message {
        push: push(&content, event, wish.push),
        content,
        template: wish.template.to_string(),
    };
    (Said::Ready(message), notes)
}

/// `{"contentType": 110, "content": {…}}`, checked against what OpenIM takes.
fn raw(text: &str) -> Result<Content, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("what it makes is no JSON: line {line}, column {column} of it")
    })?;
    let shape = || "it makes no `{\"contentType\": …, \"content\": {…}}`".to_owned();
    let Value::Object(mut fields) = harmless_json(&value) else {
        return Err(shape());
    };
    let code = fields.remove("contentType").ok_or_else(shape)?;
    let content = fields.remove("content").ok_or_else(shape)?;
    if !fields.is_empty() || !content.is_object() {
        return Err(shape());
    }
    let content_type = code
        .as_i64()
        .and_then(|code| i32::try_from(code).ok())
        .ok_or_else(|| "`contentType` is no whole number".to_owned())?;
    let size = content.to_string().len();
    if size > LONGEST_RAW {
        return Err(format!(
            "its content has {size} bytes, {LONGEST_RAW} is the most"
        ));
    }
    match content_flaws(content_type, &content).as_slice() {
        [] => Ok(Content::Raw {
            content_type,
            content,
        }),
        flaws => Err(format!("OpenIM would refuse it: {}", flaws.join("; "))),
    }
}

/// What a phone shows: as the route says, else the event's title and the first words.
fn push(content: &Content, event: &Event, rule: Option<&PushRule>) -> Push {
    let (title, text, sound) = match rule {
        Some(PushRule::Off) => return Push::Off,
        Some(PushRule::On { title, text, sound }) => (title.clone(), text.clone(), *sound),
        None => (None, None, None),
    };
    let event_title = match event.title.is_empty() {
        true => event.bridge.as_str(),
        false => event.title.as_str(),
    };
    let words = match content {
        Content::Text { preview, .. } => preview.as_str(),
        Content::Raw { .. } => event_title,
    };

    Push::On {
        title: title.unwrap_or_else(|| cut(&harmless(event_title), LONGEST_PREVIEW)),
        text: text.unwrap_or_else(|| words.to_owned()),
        sound: sound.unwrap_or(true),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::intake::faces::LONGEST_TEXT;
    use crate::model::{EventId, Severity};

    fn event(body: Value) -> Event {
        Event {
            bridge: "acme".into(),
            id: EventId::Sender("d-1".into()),
            signed: None,
            kind: "push".into(),
            time: "2026-11-23T14:05:00Z".parse().unwrap(),
            received: "2026-11-23T14:10:00Z".parse().unwrap(),
            title: "acme/app main".into(),
            actor: "octocat".into(),
            link: "https://example.com/a".into(),
            severity: Severity::Info,
            state: None,
            subject: String::new(),
            header: Default::default(),
            query: Default::default(),
            body,
            raw: Default::default(),
        }
    }

    /// What a template of that ending says with the mentions and the push of a route.
    fn said_with(
        file: &str,
        source: &str,
        body: Value,
        mentions: &[Mention],
        push: Option<&PushRule>,
        locale: &str,
    ) -> Said {
        let sources = [(format!("templates/{file}"), source.to_owned())].into();
        let (templates, problems) = Templates::compile(&sources);
        assert_eq!(problems, []);
        let event = event(body);
        let wish = Wish {
            template: &templates.names()[0],
            audience: Audience {
                locale,
                time_zone: &TimeZone::UTC,
                people: &|key| (key == "github:octocat").then(|| "u_1001".to_owned()),
            },
            mentions,
            push,
        };
        say(&templates, &event, &Material::new(&event), &wish, false).0
    }

    fn said(file: &str, source: &str, body: Value) -> Said {
        said_with(file, source, body, &[], None, "en")
    }

    fn ready(said: Said) -> Message {
        match said {
            Said::Ready(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn texts(said: Said) -> (String, String, String, Vec<Mention>) {
        match ready(said).content {
            Content::Text {
                markdown,
                plain,
                preview,
                mentions,
            } => (markdown.unwrap_or_default(), plain, preview, mentions),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_markdown_template_makes_both_faces_and_a_preview() {
        let source = "{{bold event.actor}} pushed to {{link event.title event.link}}\n\n- {{body.a}}\n- {{body.b}}\n";
        let message = ready(said(
            "a/push.md.hbs",
            source,
            json!({"a": "*one*", "b": "two"}),
        ));
        assert_eq!(
            message,
            Message {
                content: Content::Text {
                    markdown: Some(
                        "**octocat** pushed to [acme/app main](https://example.com/a)\n\n- \\*one\\*\n- two".into()
                    ),
                    plain: "octocat pushed to acme/app main: https://example.com/a\n\n- *one*\n- two".into(),
                    preview: "octocat pushed to acme/app main · *one* · two".into(),
                    mentions: vec![],
                },
                push: Push::On {
                    title: "acme/app main".into(),
                    text: "octocat pushed to acme/app main · *one* · two".into(),
                    sound: true,
                },
                template: "a/push.md.hbs".into(),
            }
        );
    }

    #[test]
    fn a_route_calls_its_people_below_the_text_and_nobody_twice() {
        let person = |id: &str, name: &str| Mention::Person {
            user_id: id.into(),
            name: name.into(),
        };
        let mentions = [
            person("u_1001", "octo"),
            person("u_7", "li_na"),
            Mention::Everyone,
        ];
        let said = said_with(
            "a/x.md.hbs",
            "for {{mention \"github:octocat\"}}",
            json!({}),
            &mentions,
            None,
            "zh-CN",
        );
        let (markdown, plain, preview, called) = texts(said);
        assert_eq!(markdown, "for @octocat\n\n@li_na @所有人");
        assert_eq!(plain, "for @octocat\n\n@li_na @所有人");
        assert_eq!(preview, "for @octocat");
        assert_eq!(
            called,
            [
                person("u_1001", "octocat"),
                person("u_7", "li_na"),
                Mention::Everyone
            ]
        );
    }

    #[test]
    fn a_route_says_what_a_phone_shows() {
        let rule = PushRule::On {
            title: Some("Critical".into()),
            text: None,
            sound: Some(false),
        };
        let push = |rule: &PushRule| {
            ready(said_with(
                "a/x.txt.hbs",
                "words",
                json!({}),
                &[],
                Some(rule),
                "en",
            ))
            .push
        };
        let on = Push::On {
            title: "Critical".into(),
            text: "words".into(),
            sound: false,
        };
        assert_eq!(push(&rule), on);
        assert_eq!(push(&PushRule::Off), Push::Off);
    }

    #[test]
    fn white_space_is_silence_by_choice() {
        for (file, source) in [
            ("a/x.md.hbs", " \n{{body.none}}\n"),
            ("a/x.md.hbs", "<!-- x -->"),
            ("a/x.txt.hbs", "\n"),
        ] {
            let silent = matches!(said(file, source, json!({})), Said::Silent(_));
            assert!(silent, "{source:?}");
        }
    }

    #[test]
    fn a_long_text_ends_with_a_whole_line_and_says_so() {
        let lines: Vec<String> = (0..2000).map(|n| format!("line {n}")).collect();
        let body = json!({"log": lines.join("\n"), "list": lines});
        let source = "```\n{{#each body.list}}\n{{{this}}}\n{{/each}}\n```\n";
        let sources = [("templates/a/x.md.hbs".to_owned(), source.to_owned())].into();
        let (templates, _) = Templates::compile(&sources);
        let event = event(body);
        let audience = Audience {
            locale: "zh-CN",
            time_zone: &TimeZone::UTC,
            people: &|_| None,
        };
        let wish = Wish {
            template: &templates.names()[0],
            audience,
            mentions: &[],
            push: None,
        };
        let said = say(&templates, &event, &Material::new(&event), &wish, false).0;
        let (markdown, plain, _, _) = texts(said);
        assert!(markdown.len() <= LONGEST_TEXT && markdown.len() > LONGEST_TEXT - 64);
        assert!(
            markdown.ends_with("\n```\n\n…（已截断）"),
            "{}",
            &markdown[8000..]
        );
        assert!(plain.ends_with("\n\n…（已截断）"));
    }

    #[test]
    fn a_json_template_makes_any_content_that_openim_takes() {
        let source =
            r#"{"contentType": 110, "content": {"data": "{{body.t}}", "description": "d"}}"#;
        let message = ready(said("a/x.json.hbs", source, json!({"t": "\"x\""})));
        assert_eq!(
            message.content,
            Content::Raw {
                content_type: 110,
                content: json!({"data": "\"x\"", "description": "d"}),
            }
        );
        for (source, reason) in [
            (
                "{\"contentType\": 110",
                "what it makes is no JSON: line 1, column 19 of it",
            ),
            (
                "{\"contentType\": 110}",
                "it makes no `{\"contentType\": …, \"content\": {…}}`",
            ),
            (
                "{\"contentType\": 110, \"content\": {}, \"x\": 1}",
                "it makes no `{\"contentType\": …, \"content\": {…}}`",
            ),
            (
                "{\"contentType\": 110, \"content\": {\"data\": \"\"}}",
                "OpenIM would refuse it: ",
            ),
            (
                "{\"contentType\": 109, \"content\": {}}",
                "OpenIM would refuse it: ",
            ),
        ] {
            let Said::Broken(broken) = said("a/x.json.hbs", source, json!({})) else {
                panic!("{source}");
            };
            let wanted = format!("templates/a/x.json.hbs: {reason}");
            assert!(broken.starts_with(&wanted), "{broken}");
        }
    }

    #[test]
    fn a_mistake_is_kept_with_its_place_and_without_values() {
        let said = said(
            "a/x.md.hbs",
            "{{body.list.name}}",
            json!({"list": ["hunter2"]}),
        );
        let Said::Broken(reason) = said else {
            panic!("{said:?}");
        };
        assert!(reason.starts_with("templates/a/x.md.hbs:1:1: "), "{reason}");
        assert!(!reason.contains("hunter2"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn whatever_a_payload_says_the_message_fits(text in ".{0,40}", times in 0usize..2000) {
            let body = json!({"t": text.repeat(times)});
            for (file, source) in [
                ("a/x.md.hbs", "x{{body.t}}\n{{quote body.t}}\n{{code_block body.t}}\n{{link body.t event.link}}"),
                ("a/x.txt.hbs", "x{{body.t}}"),
            ] {
                let (markdown, plain, preview, _) = texts(said(file, source, body.clone()));
                prop_assert!(markdown.len() <= LONGEST_TEXT && plain.len() <= LONGEST_TEXT);
                prop_assert!(!plain.trim().is_empty());
                prop_assert!(preview.chars().count() <= LONGEST_PREVIEW && !preview.contains('\n'));
            }
        }
    }
}
