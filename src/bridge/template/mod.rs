//! Templates: how an event becomes words. handlebars speaks, it decides nothing.
//!
//! # Files
//!
//! | file | makes | `{{value}}` stands there as |
//! |---|---|---|
//! | `templates/<folder>/<kind>.md.hbs` | Markdown, and a plain face derived from it | one line of text; no sign of it is markup |
//! | `templates/<folder>/<kind>.txt.hbs` | plain text | itself, line breaks too |
//! | `templates/<folder>/<kind>.json.hbs` | any content: `{"contentType": 110, "content": {…}}` | the inside of a JSON text |
//!
//! In all of them control signs and signs that turn the direction of reading are made harmless, in `{{{value}}}` too. In
//! Markdown a line break of the template is a line break in the chat. A template that makes nothing but white space is silent
//! by choice. A message is cut at 8 KiB.
//!
//! An event of the kind `pull_request.opened` is said by `pull_request.opened`, else by `pull_request`, else by `default`;
//! kinds are looked for in all folders of the bridge (its own, then its parent's) before `default` is. Where one name
//! exists several times, `.json.hbs` comes before `.txt.hbs` before `.md.hbs`. A route's `template = "github/push"` (or
//! `"github/push.md.hbs"`) names one itself. Names that begin with `_` are parts only: `{{> github/_repo}}` calls
//! `templates/github/_repo.md.hbs` from a `.md.hbs`; any template may be called so, with values: `{{> github/_repo repo=body.repository}}`.
//!
//! # Names
//!
//! `event` (`bridge`, `id`, `kind`, `title`, `actor`, `link`, `severity` as a word, `level` as its number 0 to 4, `state`,
//! `subject`, `time`, `received`), `body`, `header` (`header.x-github-event`), `query`. Inside of `each` and `with` these stand
//! behind `@root.`, and `@index`, `@key`, `@first`, `@last` tell where one is. A field that is absent is empty. A field that is called as a function
//! (`number`, `time`, `link`) is written `this.number`.
//!
//! # Functions
//!
//! All may stand inside of others: `{{bold (truncate event.title 80)}}`. What makes markup stays markup in `concat`, `join`, `default`, `t`, `link`, `bold`, `lines`.
//!
//! | function | gives |
//! |---|---|
//! | `{{#if x}} {{else if y}} {{else}} {{/if}}`, `{{#unless x}}` | one or the other; `0`, `""`, `[]`, absent are no |
//! | `{{#each list}} {{else}} {{/each}}`, `{{#with x}}` | the inside with each item, with `x`; at most three `each` in each other |
//! | `eq a b`, `ne`, `gt`, `gte`, `lt`, `lte`, `and a b …`, `or a b …`, `not a` | yes or no: `{{#if (and (eq a "x") b)}}` |
//! | `lookup x "name"`, `len x` | a field by its name; how many items (bytes of a text) |
//! | `upper x`, `lower x` | letters large, small |
//! | `truncate x 80` | at most 80 characters, the last is `…` |
//! | `first_line x` | the first line that is not blank |
//! | `excerpt x 300` | the words of a Markdown text in one line, without marks, comments, addresses, quotes and check lists; at most 300 characters, cut between words; `lines=5` keeps up to five lines |
//! | `shortsha x` | the first 7 characters |
//! | `replace x "old" "new"` | every `old` replaced |
//! | `before x "s"`, `after x "s"` | what stands before, behind the first `s`; the whole text without it |
//! | `concat a b …` | one text; a sign that you write before an absent value is left out with it |
//! | `join list ", "` | items that are not empty; `join list ", " field="name"` joins a field of each (`field="user.name"`) |
//! | `default a b …` | the first that is not empty (`0` and `false` are not empty) |
//! | `starts_with x "s"`, `contains x "s"` | yes or no; `contains ["a","b"] x` looks into a list |
//! | `take list 5` | the first 5 items |
//! | `where list "field" value` | the items whose field is that value |
//! | `minus a b` | a number: `{{minus (len body.commits) 5}}` |
//! | `plural n "commit" "commits"` | `3 commits` |
//! | `number x` | `1,234` or `0.94`; `digits=1` says how many behind the point |
//! | `json x` | JSON; in `.json.hbs` the value itself; `pretty=true` for people |
//! | `fields object` | what an object says whose fields are not known, a list of `name` and `value`: `{{#each (fields body first="status host" except="id" limit=8)}}` |
//! | `matchers labels` | `alertname="Down",instance="node-3"`, as Prometheus and Alertmanager read them |
//! | `url_encode x`, `url_decode x` | for a part of an address, and back |
//! | `money x "usd"` | an amount in the smallest unit of a currency: `1,234.50 USD` |
//! | `plain x` | the words of another chat's Markdown in its lines, addresses behind the names of links; `form="slack"` reads Slack's marks, `form="text"` only names who was called |
//! | `link text url` | a link, http and https only, else the text; `text: url` outside of Markdown |
//! | `bold x`, `code x` | bold words, code inside of a line |
//! | `code_block x 20` | a block of code, at most 20 lines; begins and ends a line |
//! | `quote x 10` | at most 10 lines that are not blank, each behind `> `; begins a line |
//! | `lines x 10` | at most 10 lines that are not blank, each a line of the message |
//! | `time x` | `14:05`, on other days `23 Nov 14:05`, in other years with the year; in the language and time zone of the message |
//! | `date x` | `23 Nov` |
//! | `ago x` | `5 minutes ago` |
//! | `duration from to`, `duration seconds` | `2 h 5 min`; empty where one is missing or it is negative |
//! | `t "key" name=value …` | words of `templates/locales/<locale>.toml`; `count=` chooses between `.one` and `.other`; an unknown computed key gives its last part |
//! | `mention "github:octocat"` | `@octocat`, and calls who that is in `people.toml`; a second argument is the name to show; `mention "everyone"` calls all |
//!
//! Moments are RFC 3339 texts and near misses, or numbers of s, ms, µs, ns since 1970.

mod chat;
mod escape;
mod fields;
mod guard;
mod lint;
mod locale;
mod markup;
mod moment;
mod plain;
mod speak;
mod text;
mod together;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use handlebars::{Handlebars, TemplateErrorReason};

pub use locale::Locales;
pub use speak::{Audience, Material, Mistake, Speech};

use super::problem::{Flaw, Level, Problem, Sources};

/// Where templates stand in the directory.
const FOLDER: &str = "templates/";
/// What stands at the top of every template.
const NAMES: &[&str] = &["event", "body", "header", "query"];
/// The fields of `event`.
const EVENT_FIELDS: &[&str] = &[
    "bridge", "id", "kind", "title", "actor", "link", "severity", "level", "state", "subject",
    "time", "received",
];

/// What a template makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Face {
    /// `.json.hbs`: a content of any type.
    Json,
    /// `.txt.hbs`: plain text.
    Text,
    /// `.md.hbs`: Markdown.
    Markdown,
}

impl Face {
    /// All, in the order in which they are looked for: the more particular first, so that an operator's own `push.txt.hbs`
    /// is taken before a shipped `push.md.hbs`.
    pub const ALL: [Face; 3] = [Face::Json, Face::Text, Face::Markdown];

    /// How its files end.
    pub fn ending(self) -> &'static str {
        match self {
            Face::Json => ".json.hbs",
            Face::Text => ".txt.hbs",
            Face::Markdown => ".md.hbs",
        }
    }
}

/// A template that exists. Prints as a route names it: `github/push.md.hbs`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateName {
    /// Its path without the ending: `github/push`.
    pub name: String,
    /// What it makes.
    pub face: Face,
}

impl TemplateName {
    /// Its path in the directory: `templates/github/push.md.hbs`.
    pub fn path(&self) -> String {
        format!("{FOLDER}{self}")
    }
}

impl fmt::Display for TemplateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.face.ending())
    }
}

/// All templates and words of a rule-book, checked and compiled.
#[derive(Clone, Debug)]
pub struct Templates {
    json: Handlebars<'static>,
    text: Handlebars<'static>,
    markdown: Handlebars<'static>,
    locales: Locales,
    /// By path, for the places in notes.
    sources: Sources,
    /// Which templates a template calls.
    calls: BTreeMap<TemplateName, Vec<String>>,
}

impl Templates {
    /// Compiles every template and locale among the files. All problems of all files are found; a template with an error is
    /// left out.
    pub fn compile(sources: &Sources) -> (Templates, Vec<Problem>) {
        let (locales, mut problems) = Locales::compile(sources);
        let mut templates = Templates {
            json: registry(Face::Json),
            text: registry(Face::Text),
            markdown: registry(Face::Markdown),
            locales,
            sources: Sources::new(),
            calls: BTreeMap::new(),
        };
        for (path, source) in sources.iter().filter(|(path, _)| path.ends_with(".hbs")) {
            let Some(name) = name_of(path) else {
                if path.starts_with(FOLDER) {
                    let message = "a template's name ends with .md.hbs, .txt.hbs or .json.hbs";
                    problems.push(problem(Level::Error, path, None, message.to_owned(), None));
                }
                continue;
            };
            match templates.read(&name, source) {
                Ok(()) => {
                    templates.sources.insert(path.clone(), source.clone());
                }
                Err(flaw) => problems.push(flaw_in(path, Level::Error, flaw)),
            }
        }
        for face in Face::ALL {
            problems.extend(templates.check(face));
        }
        (templates, problems)
    }

    fn read(&mut self, name: &TemplateName, source: &str) -> Result<(), Flaw> {
        guard::examine(source)?;
        let registry = self.registry_mut(name.face);
        registry
            .register_template_string(&name.name, source)
            .map_err(|error| {
                let (line, column) = error.pos().unwrap_or((1, 1));
                let at = guard::byte_at(source, line, column);
                Flaw::new(guard::word_span(source, at), syntax_message(error.reason()))
            })
    }

    /// Looks at all templates of a face, and leaves out those with an error.
    fn check(&mut self, face: Face) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = BTreeSet::new();
        let mut all = BTreeMap::new();
        for (name, template) in self.registry(face).get_templates() {
            let path = path_of(name, face);
            let source = self.sources.get(&path).map_or("", String::as_str);
            all.insert(
                name.clone(),
                lint::look(source, template, face, &self.locales),
            );
        }
        for (name, flaws) in together::look_together(&all) {
            for flaw in flaws {
                problems.push(flaw_in(&path_of(&name, face), Level::Error, flaw));
            }
            wrong.insert(name);
        }
        for (name, seen) in all {
            let calls = seen.calls().map(str::to_owned).collect();
            let template = TemplateName {
                name: name.clone(),
                face,
            };
            self.calls.insert(template, calls);
            for (level, flaw) in seen.flaws {
                if level == Level::Error {
                    wrong.insert(name.clone());
                }
                problems.push(flaw_in(&path_of(&name, face), level, flaw));
            }
        }
        for name in wrong {
            self.registry_mut(face).unregister_template(&name);
        }
        problems.sort_by_key(|problem| {
            (
                problem.file.clone(),
                problem.span.as_ref().map(|span| span.start),
            )
        });
        problems
    }

    /// The template for a kind of event: its kind and each shorter one, in each folder in turn; then `default` in each folder.
    /// `None`: the kind is silent by choice.
    pub fn find(&self, folders: &[&str], kind: &str) -> Option<TemplateName> {
        let shorter = std::iter::successors(Some(kind), |kind| {
            kind.rsplit_once('.').map(|(kind, _)| kind)
        });
        let kinds: Vec<&str> = shorter.filter(|kind| !kind.starts_with('_')).collect();
        let by_kind = folders
            .iter()
            .flat_map(|folder| kinds.iter().map(move |kind| format!("{folder}/{kind}")));
        let by_default = folders.iter().map(|folder| format!("{folder}/default"));
        by_kind.chain(by_default).find_map(|name| self.named(&name))
    }

    /// The template of that name: `github/push` or `github/push.md.hbs`.
    pub fn named(&self, name: &str) -> Option<TemplateName> {
        let exists = |name: &str, face: Face| {
            self.registry(face)
                .has_template(name)
                .then(|| TemplateName {
                    name: name.to_owned(),
                    face,
                })
        };
        let with_ending = Face::ALL
            .into_iter()
            .find_map(|face| exists(name.strip_suffix(face.ending())?, face));
        with_ending.or_else(|| Face::ALL.into_iter().find_map(|face| exists(name, face)))
    }

    /// All templates that can be used by themselves, in order.
    pub fn names(&self) -> Vec<TemplateName> {
        let mut names: Vec<TemplateName> = Face::ALL
            .into_iter()
            .flat_map(|face| {
                let names = self.registry(face).get_templates().keys().cloned();
                names.map(move |name| TemplateName { name, face })
            })
            .filter(|template| {
                !template
                    .name
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .starts_with('_')
            })
            .collect();
        names.sort();
        names
    }

    /// The languages there are words in.
    pub fn locales(&self) -> &Locales {
        &self.locales
    }

    fn registry(&self, face: Face) -> &Handlebars<'static> {
        match face {
            Face::Json => &self.json,
            Face::Text => &self.text,
            Face::Markdown => &self.markdown,
        }
    }

    fn registry_mut(&mut self, face: Face) -> &mut Handlebars<'static> {
        match face {
            Face::Json => &mut self.json,
            Face::Text => &mut self.text,
            Face::Markdown => &mut self.markdown,
        }
    }
}

/// The plain face of a Markdown text: links as `name: url`, no stray marks.
pub fn plain_face(markdown: &str) -> String {
    plain::plain(markdown)
}

/// The words of a Markdown text, links without their addresses.
pub fn only_words(markdown: &str) -> String {
    plain::words(markdown)
}

/// The words of somebody else's Markdown, links without their addresses.
pub fn words_of_markdown(text: &str) -> String {
    plain::words_of_payload(&chat::names(text))
}

/// The words of a text with Slack's marks, links without their addresses.
pub fn words_of_slack(text: &str) -> String {
    chat::slack(text, false)
}

/// A payload's text as one line of Markdown that is only text.
pub fn escape_markdown(text: &str) -> String {
    escape::markdown(&escape::harmless(text))
}

/// A text without control signs and those that turn the direction of reading.
pub fn harmless(text: &str) -> String {
    escape::harmless(text)
}

/// A copy of a JSON whose texts hold no control signs and none that turn the direction of reading.
pub fn harmless_json(value: &serde_json::Value) -> serde_json::Value {
    escape::clean(value)
}

fn registry(face: Face) -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.register_escape_fn(move |text| escape::escape(face, text));
    vocabulary::teach(&mut registry, face);
    registry
}

fn name_of(path: &str) -> Option<TemplateName> {
    let path = path.strip_prefix(FOLDER)?;
    let face = Face::ALL
        .into_iter()
        .find(|face| path.ends_with(face.ending()))?;
    Some(TemplateName {
        name: path.strip_suffix(face.ending())?.to_owned(),
        face,
    })
}

fn path_of(name: &str, face: Face) -> String {
    format!("{FOLDER}{name}{}", face.ending())
}

fn flaw_in(path: &str, level: Level, flaw: Flaw) -> Problem {
    problem(level, path, Some(flaw.span), flaw.message, flaw.help)
}

fn problem(
    level: Level,
    path: &str,
    span: Option<Range<usize>>,
    message: String,
    help: Option<String>,
) -> Problem {
    Problem {
        level,
        file: path.to_owned(),
        span,
        message,
        help,
    }
}

/// The nearest of some dotted or slashed names.
fn nearest_name<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    super::problem::nearest(wrong, known)
}

fn syntax_message(reason: &TemplateErrorReason) -> String {
    match reason {
        TemplateErrorReason::InvalidParam(what) => format!("`{what}` is no value"),
        TemplateErrorReason::MismatchingClosedHelper(open, close) => {
            format!("`{open}` is closed as `{close}`")
        }
        _ => "this is not how a tag is written".to_owned(),
    }
}

#[cfg(test)]
mod payload_tests;
#[cfg(test)]
mod tests;
