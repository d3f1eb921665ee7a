//! The samples of a directory, taken through the same steps as webhooks: what `check` finds out before an event does.

use std::collections::{BTreeMap, BTreeSet};

use super::render::{Said, render_with_notes};
use super::{Addressed, Authentic, Request, Taken, parse, route};
use crate::bridge::problem::{Problem, Sources};
use crate::bridge::route::Route;
use crate::bridge::template::TemplateName;
use crate::bridge::{Bridge, RuleBook, shipped};
use crate::model::{Conversation, Event, Timestamp};

/// Where samples stand: `bridges/samples/<bridge>/<name>.http`.
const FOLDER: &str = "bridges/samples/";

/// A group that nobody posts to, for templates that no route leads to.
const NOBODY: &str = "0";

/// Takes every sample of the operator's bridges, and of what they extend, through their rules, routes and templates.
/// What no sample of a template has is a warning when the template is the operator's own.
pub fn check_samples(book: &RuleBook, sources: &Sources, now: Timestamp) -> Vec<Problem> {
    let mut found = Found::default();
    for bridge in book.bridges.values().filter(|bridge| !bridge.shipped) {
        for (path, text) in samples(bridge, sources) {
            found.try_sample(book, sources, bridge, (&path, text), now);
        }
    }
    found.into_problems(sources)
}

/// The samples of a bridge and of what it extends: the operator's, and the shipped ones that those do not replace.
fn samples<'s>(bridge: &Bridge, sources: &'s Sources) -> BTreeMap<String, &'s str> {
    let mut all = BTreeMap::new();
    for folder in &bridge.template_folders {
        let folder = format!("{FOLDER}{folder}/");
        for path in shipped::paths().filter(|path| path.starts_with(&folder)) {
            if let Some(text) = shipped::find(&path) {
                all.insert(path, text);
            }
        }
        for (path, text) in sources.iter().filter(|(path, _)| path.starts_with(&folder)) {
            all.insert(path.clone(), text.as_str());
        }
    }
    all
}

#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    /// How often a template was tried.
    tried: BTreeMap<String, usize>,
    /// How often each note was made about a template. A field that only some samples lack is one that events may lack.
    notes: BTreeMap<(String, String), (Problem, usize)>,
    broken: BTreeSet<(String, String)>,
}

impl Found {
    fn try_sample(
        &mut self,
        book: &RuleBook,
        sources: &Sources,
        bridge: &Bridge,
        (path, text): (&str, &str),
        now: Timestamp,
    ) {
        let request = match Request::from_text(&bridge.name, text.as_bytes()) {
            Ok(request) => request,
            Err(error) => {
                return self
                    .problems
                    .push(Problem::of_file(path, error.to_string()));
            }
        };
        let authentic = Authentic::unproven(request, "a sample of the directory");
        match parse(&bridge.name, &bridge.rules, authentic, now) {
            Ok(Taken::Event(event, _)) => self.try_templates(book, sources, bridge, &event, path),
            Ok(Taken::Silent(_)) => {}
            Err(error) => self
                .problems
                .push(Problem::of_file(path, error.to_string())),
        }
    }

    /// Renders for every conversation that the routes lead to, and with the template for the kind when none does.
    fn try_templates(
        &mut self,
        book: &RuleBook,
        sources: &Sources,
        bridge: &Bridge,
        event: &Event,
        path: &str,
    ) {
        let routing = route(bridge, book, event);
        let mut addressed = routing.addressed;
        let aside = Route::bare("a sample");
        let folders: Vec<&str> = bridge.template_folders.iter().map(String::as_str).collect();
        let template = book.templates.find(&folders, &event.kind);
        if let Some(template) = template.filter(|template| !speaks(&addressed, template)) {
            addressed.push(Addressed {
                destination: format!("group:#{NOBODY}"),
                conversation: Conversation::Group(NOBODY.to_owned()),
                route: &aside,
                template: Some(template),
                mentions: Vec::new(),
                expires: None,
                locale: bridge.locale.as_deref().unwrap_or(&book.locale),
                time_zone: bridge.time_zone.as_ref().unwrap_or(&book.time_zone),
            });
        }
        for spoken in render_with_notes(book, event, &addressed) {
            let Some(template) = spoken.template else {
                continue;
            };
            let name = template.path();
            if let Said::Broken(reason) = &spoken.said {
                self.broken(sources, &name, reason, path);
            }
            *self.tried.entry(name.clone()).or_default() += 1;
            for note in spoken.notes {
                let key = (
                    name.clone(),
                    format!("{} {:?} {}", note.file, note.span, note.message),
                );
                self.notes.entry(key).or_insert((note, 0)).1 += 1;
            }
        }
    }

    fn broken(&mut self, sources: &Sources, template: &str, reason: &str, sample: &str) {
        if self.broken.insert((template.to_owned(), reason.to_owned())) {
            let problem = placed(reason, sources)
                .unwrap_or_else(|| Problem::of_file(template, without_place(reason, template)));
            self.problems.push(Problem {
                help: Some(format!("seen with the sample {sample}")),
                ..problem
            });
        }
    }

    fn into_problems(self, sources: &Sources) -> Vec<Problem> {
        let mut problems = self.problems;
        for ((template, _), (note, times)) in self.notes {
            let always = self.tried.get(&template) == Some(&times);
            if always && sources.contains_key(&note.file) && !problems.contains(&note) {
                problems.push(note);
            }
        }
        problems.sort_by_key(|problem| {
            (
                problem.file.clone(),
                problem.span.clone().map(|span| span.start),
            )
        });
        problems
    }
}

fn speaks(addressed: &[Addressed<'_>], template: &TemplateName) -> bool {
    addressed
        .iter()
        .any(|to| to.template.as_ref() == Some(template))
}

fn without_place<'r>(reason: &'r str, template: &str) -> &'r str {
    let rest = reason.strip_prefix(template);
    rest.and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(reason)
}

/// A template's mistake begins with its place, `templates/acme/push.md.hbs:3:7: …`. The rest of the line is what is meant.
fn placed(reason: &str, sources: &Sources) -> Option<Problem> {
    let (place, message) = reason.split_once(": ")?;
    let mut parts = place.rsplitn(3, ':');
    let column: usize = parts.next()?.parse().ok()?;
    let line: usize = parts.next()?.parse().ok()?;
    let file = parts.next()?;
    let text = sources
        .get(file)
        .map(String::as_str)
        .or_else(|| shipped::find(file))?;
    let before: usize = text
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(str::len)
        .sum();
    let shown = text.get(before..)?.lines().next()?;
    let (within, _) = shown.char_indices().nth(column.checked_sub(1)?)?;
    Some(Problem {
        span: Some(before + within..before + shown.len()),
        ..Problem::of_file(file, message)
    })
}
