//! `[[route]]` and `[[message]]`, compiled.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::destination::{
    Called, Destination, compile_condition, compile_destination, compile_mention,
};
use super::expression::{Expression, Names};
use super::group::{Groups, known_locale, known_time_zone};
use super::kinds::{Kinds, doubt};
use super::people::People;
use super::problem::{Flaw, Level, nearest};
use super::reading::{Reading, Text};
use super::template::{TemplateName, Templates};
use super::written::{WrittenMessage, WrittenPush, WrittenRoute};

/// On these kinds, when this holds, to these destinations.
#[derive(Clone, Debug)]
pub struct Route {
    /// `name`, or `route 2` for the second of the file.
    pub name: String,
    /// The kinds; `None` for all.
    pub on: Option<Kinds>,
    /// The condition; `None` for always.
    pub when: Option<Expression>,
    /// Where it points; empty only when it stops.
    pub to: Vec<Destination>,
    /// Whom it calls.
    pub mention: Vec<Called>,
    /// Once it took an event, no later route is asked.
    pub stop: bool,
    /// Asked only when no other route took the event.
    pub otherwise: bool,
    /// What a phone shows; `None` for the title and the message's first words.
    pub push: Option<PushRule>,
    /// How long after its arrival an event is still worth showing.
    pub expire: Option<Duration>,
    /// The template, whatever the kind.
    pub template: Option<TemplateName>,
    /// The language of what is said on this route.
    pub locale: Option<String>,
    /// The time zone of what is said on this route.
    pub time_zone: Option<TimeZone>,
}

impl Route {
    /// A route that takes everything to one destination, in place of those of a bridge.
    pub fn straight_to(name: &str, destination: Destination) -> Route {
        Route {
            name: name.to_owned(),
            on: None,
            when: None,
            to: vec![destination],
            mention: Vec::new(),
            stop: false,
            otherwise: false,
            push: None,
            expire: None,
            template: None,
            locale: None,
            time_zone: None,
        }
    }
}

/// `push` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushRule {
    /// `push = false`
    Off,
    /// What is `None` is made from the event and the message.
    On {
        /// The first line.
        title: Option<String>,
        /// The second line.
        text: Option<String>,
        /// Whether it makes a sound.
        sound: Option<bool>,
    },
}

/// `[[message]]`: which template speaks for which events.
#[derive(Clone, Debug)]
pub struct MessageRule {
    /// The kinds; `None` for all.
    pub on: Option<Kinds>,
    /// The condition; `None` for always.
    pub when: Option<Expression>,
    /// The template.
    pub template: TemplateName,
}

impl Route {
    /// A route that takes everything and leads nowhere, for messages that no route of a bridge asked for.
    pub fn bare(name: &str) -> Route {
        Route {
            name: name.to_owned(),
            on: None,
            when: None,
            to: Vec::new(),
            mention: Vec::new(),
            stop: false,
            otherwise: false,
            push: None,
            expire: None,
            template: None,
            locale: None,
            time_zone: None,
        }
    }
}

/// What routes may name.
pub(super) struct Known<'k> {
    pub groups: &'k Groups,
    pub people: &'k People,
    pub templates: &'k Templates,
    pub locales: &'k BTreeSet<String>,
    /// Kinds that the bridge has templates for.
    pub kinds: &'k [&'k str],
}

/// Compiles the routes of a bridge; what is wrong is noted.
pub(super) fn compile_routes(
    reading: &Reading<'_>,
    written: &[WrittenRoute],
    names: &Names,
    known: &Known<'_>,
) -> Vec<Route> {
    let mut routes = Vec::new();
    for (index, written) in written.iter().enumerate() {
        let before = reading.count();
        let route = compile_route(reading, index, written, names, known);
        // What is half understood must not be called unreachable, nor make others so.
        if reading.count() == before && !written.damaged {
            warn_unreachable(reading, &routes, &route, written);
        }
        routes.push(route);
    }
    routes
}

fn compile_route(
    reading: &Reading<'_>,
    index: usize,
    written: &WrittenRoute,
    names: &Names,
    known: &Known<'_>,
) -> Route {
    let at = || written.span.clone();
    if written.otherwise {
        for (key, wrong) in [
            (
                "on",
                written
                    .on
                    .as_ref()
                    .and_then(|on| on.first())
                    .map(|on| on.span.clone()),
            ),
            ("when", written.when.as_ref().map(|when| when.span.clone())),
        ] {
            if let Some(span) = wrong {
                let flaw = Flaw::new(
                    span,
                    format!("`otherwise` takes what no other route took: it has no `{key}`"),
                );
                reading.error(flaw.help(format!("leave `{key}` or `otherwise = true` out")));
            }
        }
    }
    if written.to.is_empty() && !written.stop && !written.damaged {
        let flaw = Flaw::new(at(), "this route leads nowhere: `to` is missing");
        reading.error(
            flaw.help("`to = [\"group:NAME\"]`; `stop = true` without `to` drops what it takes"),
        );
    }
    Route {
        name: match &written.name {
            Some(name) => name.value.clone(),
            None => format!("route {}", index + 1),
        },
        on: compile_on(reading, written.on.as_deref(), at(), written.damaged, known),
        when: written
            .when
            .as_ref()
            .and_then(|when| compile_condition(reading, when, names)),
        to: written
            .to
            .iter()
            .filter_map(|to| compile_destination(reading, to, names, known.groups, known.people))
            .collect(),
        mention: written
            .mention
            .iter()
            .filter_map(|mention| compile_mention(reading, mention, names, known.people))
            .collect(),
        stop: written.stop,
        otherwise: written.otherwise,
        push: written.push.clone().map(|push| match push {
            WrittenPush::Off => PushRule::Off,
            WrittenPush::On { title, text, sound } => PushRule::On { title, text, sound },
        }),
        expire: written.expire.as_ref().map(|expire| *expire.get_ref()),
        template: written
            .template
            .as_ref()
            .and_then(|name| find_template(reading, name, known)),
        locale: written
            .locale
            .as_ref()
            .and_then(|text| known_locale(reading, text, known.locales)),
        time_zone: written
            .time_zone
            .as_ref()
            .and_then(|text| known_time_zone(reading, text)),
    }
}

/// Compiles the `[[message]]`s of a bridge; what is wrong is noted.
pub(super) fn compile_messages(
    reading: &Reading<'_>,
    written: &[&WrittenMessage],
    names: &Names,
    known: &Known<'_>,
) -> Vec<MessageRule> {
    let compile = |written: &WrittenMessage| {
        let on = compile_on(
            reading,
            written.on.as_deref(),
            written.span.clone(),
            false,
            known,
        );
        let when = written
            .when
            .as_ref()
            .and_then(|when| compile_condition(reading, when, names));
        let template = find_template(reading, written.template.as_ref()?, known)?;
        Some(MessageRule { on, when, template })
    };
    written.iter().copied().filter_map(compile).collect()
}

fn compile_on(
    reading: &Reading<'_>,
    written: Option<&[Text]>,
    span: std::ops::Range<usize>,
    damaged: bool,
    known: &Known<'_>,
) -> Option<Kinds> {
    let written = written.filter(|written| !(damaged && written.is_empty()))?;
    for text in written {
        if let Some(near) = doubt(&text.value, known.kinds) {
            let flaw = Flaw::new(
                text.span.clone(),
                format!("no template here speaks of `{}`", text.value),
            );
            reading.note(
                Level::Warning,
                match near {
                    Some(near) => flaw.help(format!("did you mean `{near}`?")),
                    None => flaw.help("such events are taken, and nothing is said about them"),
                },
            );
        }
    }
    Kinds::compile(reading, written, span)
}

fn find_template(reading: &Reading<'_>, name: &Text, known: &Known<'_>) -> Option<TemplateName> {
    let found = known.templates.named(&name.value);
    if found.is_none() {
        let flaw = Flaw::new(
            name.span.clone(),
            format!("there is no template `{}`", name.value),
        );
        let names: Vec<String> = known
            .templates
            .names()
            .iter()
            .flat_map(|known| [known.name.clone(), known.to_string()])
            .collect();
        reading.error(
            match nearest(&name.value, names.iter().map(String::as_str)) {
                Some(near) => flaw.help(format!("did you mean `{near}`?")),
                None => flaw.help(format!(
                    "it would be the file templates/{}",
                    with_ending(&name.value)
                )),
            },
        );
    }
    found
}

fn with_ending(name: &str) -> String {
    match name.ends_with(".hbs") {
        true => name.to_owned(),
        false => format!("{name}.md.hbs"),
    }
}

/// Notes that no event can get to a route because of one above it.
fn warn_unreachable(reading: &Reading<'_>, above: &[Route], route: &Route, written: &WrittenRoute) {
    let sure = |to: &[Destination]| to.iter().any(|to| matches!(to, Destination::Fixed { .. }));
    let covers = |earlier: &Route| match (&earlier.on, &route.on) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(all), Some(some)) => all.cover(some),
    };
    let hiding = above.iter().find(|earlier| {
        let certain = earlier.when.is_none()
            && !earlier.otherwise
            && (sure(&earlier.to) || earlier.to.is_empty());
        let hides = match route.otherwise {
            true => earlier.on.is_none(),
            false => earlier.stop && covers(earlier),
        };
        certain && hides
    });
    if let Some(earlier) = hiding {
        let message = format!(
            "nothing reaches this route: `{}` above takes everything it is for",
            earlier.name
        );
        reading.note(Level::Warning, Flaw::new(written.span.clone(), message));
    }
}
