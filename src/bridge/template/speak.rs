//! One template speaks about one event to one audience.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use handlebars::{
    Context, Handlebars, Helper, HelperDef, Output, RenderContext, RenderError, RenderErrorReason,
    Renderable, ScopedJson,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::locale::Locales;
use super::{Face, TemplateName, Templates, escape, plain, text, vocabulary};
use crate::bridge::problem::{Level, Problem};
use crate::model::{Event, Mention};

/// What a template may write, in bytes. More is not kept: a message has 8 KiB.
const LONGEST_OUTPUT: usize = 64 * 1024;
/// How many names a note lists.
const SHOWN_NAMES: usize = 12;

/// An event as templates see it; made once, used for every destination.
#[derive(Debug)]
pub struct Material {
    context: Context,
    received: Timestamp,
}

impl Material {
    /// The names that all templates know: `event`, `body`, `header`, `query`. All texts are made harmless on the way.
    pub fn new(event: &Event) -> Material {
        let texts = |texts: &BTreeMap<String, String>| {
            texts
                .iter()
                .map(|(name, text)| (escape::harmless(name), escape::harmless(text).into()))
                .collect::<Map<String, Value>>()
        };
        let text = |text: &str| Value::String(escape::harmless(text));
        let fields = [
            ("bridge", text(&event.bridge)),
            ("id", text(event.id.as_str())),
            ("kind", text(&event.kind)),
            ("title", text(&event.title)),
            ("actor", text(&event.actor)),
            ("link", text(&event.link)),
            ("severity", event.severity.word().into()),
            ("level", (event.severity as u8).into()),
            (
                "state",
                event.state.map_or(Value::Null, |state| state.word().into()),
            ),
            ("subject", text(&event.subject)),
            ("time", event.time.to_string().into()),
            ("received", event.received.to_string().into()),
        ];
        debug_assert!(
            fields
                .iter()
                .map(|(name, _)| *name)
                .eq(super::EVENT_FIELDS.iter().copied())
        );
        let event_fields: Map<String, Value> = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let mut all = Map::new();
        all.insert("event".to_owned(), Value::Object(event_fields));
        all.insert("body".to_owned(), escape::clean(&event.body));
        all.insert("header".to_owned(), Value::Object(texts(&event.header)));
        all.insert("query".to_owned(), Value::Object(texts(&event.query)));
        Material {
            context: Context::from(Value::Object(all)),
            received: event.received,
        }
    }
}

/// To whom a template speaks.
#[derive(Clone, Copy)]
pub struct Audience<'a> {
    /// `en`, `zh-CN`.
    pub locale: &'a str,
    /// In which times of day are said.
    pub time_zone: &'a TimeZone,
    /// The OpenIM userID of somebody by the key of `people.toml`: `github:octocat`.
    pub people: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl fmt::Debug for Audience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience")
            .field("locale", &self.locale)
            .finish_non_exhaustive()
    }
}

/// What a template said.
#[derive(Clone, Debug, PartialEq)]
pub struct Speech {
    /// Its text, harmless; for Markdown with every line break made one.
    pub text: String,
    /// Whether it wanted to say more than a template may.
    pub cut: bool,
    /// Who was called, in the order of the text, nobody twice.
    pub mentions: Vec<Mention>,
    /// What was absent or unknown, for `check` and `try`; empty when nobody asked for notes.
    pub notes: Vec<Problem>,
}

/// Why a template could not speak. Never holds a value of the payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {reason}", line.map(|line| format!(":{line}:{}", column.unwrap_or(1))).unwrap_or_default())]
pub struct Mistake {
    /// The template's path in the directory.
    pub file: String,
    /// From 1.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// What went wrong.
    pub reason: String,
}

impl Templates {
    /// Lets a template speak. With `with_notes` it also tells what was absent.
    pub fn speak(
        &self,
        name: &TemplateName,
        material: &Material,
        audience: Audience,
        with_notes: bool,
    ) -> Result<Speech, Mistake> {
        let registry = self.registry(name.face);
        let template = registry.get_template(&name.name).ok_or_else(|| Mistake {
            file: name.path(),
            line: None,
            column: None,
            reason: "there is no such template".to_owned(),
        })?;
        let speaking = Speaking {
            locales: &self.locales,
            audience,
            now: material.received,
            face: name.face,
            mentions: Mutex::default(),
            absent: Mutex::default(),
            strangers: Mutex::default(),
        };

        let mut out = Bounded::default();
        let mut context = RenderContext::new(template.name.as_ref());
        vocabulary::teach_speaker(&mut context, name.face, &speaking);
        if with_notes {
            let taker = NoteTaker(&speaking);
            context.register_local_helper(vocabulary::NOTE_TAKER, Box::new(taker));
        }
        let result = template.render(registry, &material.context, &mut context, &mut out);
        if let Err(error) = result {
            // What is too long is cut, not lost; half a JSON is of no use.
            if !out.full || name.face == Face::Json {
                return Err(mistake(name, &error, out.full));
            }
        }

        let notes = if with_notes {
            self.notes(name, &speaking, &out.text)
        } else {
            Vec::new()
        };
        let text = escape::finish(&out.text);
        Ok(Speech {
            text: match name.face {
                Face::Markdown => plain::settle(&text),
                Face::Text | Face::Json => text,
            },
            cut: out.full,
            mentions: std::mem::take(
                &mut *speaking
                    .mentions
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
            ),
            notes,
        })
    }

    /// A word of a locale; the key's last part where no locale has it.
    pub fn word(&self, locale: &str, key: &str) -> String {
        self.locales.say(locale, key, None, &[])
    }

    /// What stands in place of messages that came too late: a line for one alone, and a line for several with `{}` for their
    /// number.
    pub fn too_late(&self, locale: &str) -> String {
        let number = [("count", "{}".to_owned())];
        let line = |count| self.locales.say(locale, "older", Some(count), &number);
        format!("{}\n{}", line(1.0), line(2.0))
    }

    fn notes(&self, name: &TemplateName, speaking: &Speaking, out: &str) -> Vec<Problem> {
        let absent = speaking
            .absent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut notes: Vec<Problem> = absent
            .iter()
            .map(|note| self.absent_note(name, note))
            .collect();
        let warn = |message: String, help: String| Problem {
            level: Level::Warning,
            file: name.path(),
            span: None,
            message,
            help: Some(help),
        };
        let strangers = speaking
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        notes.extend(strangers.iter().map(|key| {
            warn(
                format!("`{key}` is mentioned but stands for nobody"),
                "give it a userID in people.toml; until then it is only a text".to_owned(),
            )
        }));
        if out.contains("[object]") || out.contains("\\[object\\]") {
            notes.push(warn(
                "an object stands where words are expected".to_owned(),
                "name one of its fields, or write it with `{{json …}}`".to_owned(),
            ));
        }
        notes
    }

    /// A template and those that it calls, the nearest first. (handlebars forgets in which one it is.)
    fn with_all_it_calls(&self, name: &TemplateName) -> Vec<TemplateName> {
        let mut all = vec![name.clone()];
        let mut next = 0;
        while let Some(caller) = all.get(next).cloned() {
            for called in self.calls.get(&caller).into_iter().flatten() {
                let called = TemplateName {
                    name: called.clone(),
                    face: name.face,
                };
                if !all.contains(&called) {
                    all.push(called);
                }
            }
            next += 1;
        }
        all
    }

    fn absent_note(&self, name: &TemplateName, note: &AbsentNote) -> Problem {
        let (file, span) = self
            .with_all_it_calls(name)
            .into_iter()
            .map(|template| template.path())
            .find_map(|file| {
                let span = place_of(self.sources.get(&file)?, &note.path)?;
                Some((file, Some(span)))
            })
            .unwrap_or_else(|| (name.path(), None));
        let near = super::nearest_name(&note.lacking, note.there.iter().map(String::as_str));
        let there = match note.there.len() {
            0 => "there is nothing at its place".to_owned(),
            count => {
                let some: Vec<&str> = note
                    .there
                    .iter()
                    .take(SHOWN_NAMES)
                    .map(String::as_str)
                    .collect();
                let more = if count > SHOWN_NAMES { ", …" } else { "" };
                format!("there are: {}{more}", some.join(", "))
            }
        };
        Problem {
            level: Level::Warning,
            file,
            span,
            message: format!("`{}` is absent here", note.path),
            help: Some(match near {
                Some(near) => format!("did you mean `{near}`? {there}"),
                None => there,
            }),
        }
    }
}

/// Where a path stands in a template: inside a tag, as a whole word.
fn place_of(source: &str, path: &str) -> Option<std::ops::Range<usize>> {
    let joins = |sign: char| sign.is_alphanumeric() || "._-/@[".contains(sign);
    source
        .match_indices(path)
        .map(|(at, _)| at..at + path.len())
        .find(|span| {
            let free_before = !source[..span.start].chars().next_back().is_some_and(joins);
            let free_after = !source[span.end..].chars().next().is_some_and(joins);
            let in_tag = source[..span.start].rfind("{{") > source[..span.start].rfind("}}");
            free_before && free_after && in_tag
        })
}

/// Everything that functions know about the audience, and what they leave behind.
pub(super) struct Speaking<'a> {
    locales: &'a Locales,
    audience: Audience<'a>,
    now: Timestamp,
    face: Face,
    mentions: Mutex<Vec<Mention>>,
    absent: Mutex<Vec<AbsentNote>>,
    strangers: Mutex<Vec<String>>,
}

/// A field that a template asked for in vain.
struct AbsentNote {
    /// As the template writes it.
    path: String,
    /// The part of the path that is not there.
    lacking: String,
    /// What is there instead.
    there: Vec<String>,
}

impl Speaking<'_> {
    pub(super) fn time_zone(&self) -> &TimeZone {
        self.audience.time_zone
    }

    /// The moment of the message.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn say(&self, key: &str, count: Option<f64>, values: &[(&str, String)]) -> String {
        self.locales.say(self.audience.locale, key, count, values)
    }

    pub(super) fn find_person(&self, key: &str) -> Option<String> {
        (self.audience.people)(key)
    }

    pub(super) fn mention(&self, mention: Mention) {
        // In a JSON template the `content` itself says who is called.
        if self.face == Face::Json {
            return;
        }
        let mut mentions = self.mentions.lock().unwrap_or_else(PoisonError::into_inner);
        if !mentions.contains(&mention) {
            mentions.push(mention);
        }
    }

    pub(super) fn note_unknown_person(&self, key: &str) {
        let mut strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !strangers.iter().any(|known| known == key) {
            strangers.push(key.to_owned());
        }
    }

    fn note_absent(&self, note: AbsentNote) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if !absent.iter().any(|known| known.path == note.path) {
            absent.push(note);
        }
    }
}

/// Writes down which fields are absent. It stands in a render under a name that no template can write.
struct NoteTaker<'a>(&'a Speaking<'a>);

impl HelperDef for NoteTaker<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let arguments: Vec<String> = helper
            .params()
            .iter()
            .chain(helper.hash().values())
            .filter(|argument| argument.is_value_missing())
            .filter_map(|argument| argument.relative_path().cloned())
            .collect();
        let paths = if helper.params().is_empty() {
            vec![helper.name().to_owned()]
        } else {
            arguments
        };
        for path in paths {
            let (lacking, there) = what_is_there(&path, context, render);
            self.0.note_absent(AbsentNote {
                path,
                lacking,
                there,
            });
        }
        Ok(ScopedJson::Missing)
    }
}

/// The first part of a path that is not there, and the names that are at its place.
fn what_is_there<'reg: 'rc, 'rc>(
    path: &str,
    context: &'rc Context,
    render: &RenderContext<'reg, 'rc>,
) -> (String, Vec<String>) {
    let mut lacking = path;
    loop {
        let (parent, last) = match lacking.rsplit_once(['.', '/']) {
            Some((parent, last)) => (parent, last),
            None => ("this", lacking),
        };
        if parent == "@root" {
            return (last.to_owned(), names(context.data()));
        }
        match render.evaluate(context, parent) {
            Ok(found) if !found.is_missing() => return (last.to_owned(), names(found.as_json())),
            _ if parent == "this" => return (last.to_owned(), Vec::new()),
            _ => lacking = parent,
        }
    }
}

fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(items) if !items.is_empty() => {
            vec![format!("a list, 0 to {}", items.len() - 1)]
        }
        _ => Vec::new(),
    }
}

/// Takes what a template writes, as far as it may.
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Output for Bounded {
    fn write(&mut self, piece: &str) -> Result<(), std::io::Error> {
        let room = LONGEST_OUTPUT.saturating_sub(self.text.len());
        if piece.len() <= room {
            self.text.push_str(piece);
            return Ok(());
        }
        self.text.push_str(&piece[..text::boundary(piece, room)]);
        self.full = true;
        Err(std::io::Error::other("the message is full"))
    }
}

/// The error in our own words: handlebars' own may print values.
fn mistake(name: &TemplateName, error: &RenderError, full: bool) -> Mistake {
    let reason = match error.reason() {
        _ if full => format!("it makes more than {LONGEST_OUTPUT} bytes"),
        RenderErrorReason::InvalidJsonIndex(field) => {
            format!("a list is asked for its field `{field}`; use `each`, or a number from 0")
        }
        RenderErrorReason::HelperNotFound(function) => {
            format!("there is no function `{function}`")
        }
        RenderErrorReason::PartialNotFound(partial) => {
            format!("there is no template `{partial}`")
        }
        RenderErrorReason::ParamNotFoundForIndex(function, index) => {
            format!("`{function}` lacks its argument {}", index + 1)
        }
        _ => "handlebars cannot render this".to_owned(),
    };
    Mistake {
        file: TemplateName {
            name: error
                .template_name
                .clone()
                .unwrap_or_else(|| name.name.clone()),
            face: name.face,
        }
        .path(),
        line: error.line_no,
        column: error.column_no,
        reason,
    }
}
