//! Bridges and what they extend: a child's keys in place of its parent's, then compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::advice::{note_advice, note_unsigned_query};
use super::auth::{At, Auth, Mistake};
use super::destination::parse_destination;
use super::event_rules::{EventRules, Field};
use super::expression::{Names, Place};
use super::group::{Groups, known_locale, known_time_zone};
use super::people::People;
use super::problem::{Flaw, Level, Problem, Sources, nearest};
use super::reading::{Reading, Text};
use super::route::{Known, compile_messages, compile_routes};
use super::template::Templates;
use super::weak::weakness;
use super::written::{WrittenBridge, WrittenDestination, WrittenMessage, WrittenRule, read_bridge};
use super::{Bridge, DEFAULT_MAX_BODY, shipped};
use crate::model::{Secret, SecretRef};

/// All bridges' files: the operator's, and the shipped ones, which may have the same names.
pub(super) struct Family {
    own: BTreeMap<String, File>,
    shipped: BTreeMap<String, File>,
    misnamed: Vec<String>,
}

struct File {
    path: String,
    text: String,
}

/// What bridges may name.
pub(super) struct Parts<'p> {
    pub groups: &'p Groups,
    pub people: &'p People,
    pub templates: &'p Templates,
    pub locales: &'p BTreeSet<String>,
    pub secrets: Resolve<'p>,
}

/// Gives the secret behind a reference, `None` where the bridge goes on without it, or says why there is none.
pub(super) type Resolve<'a> = &'a dyn Fn(&SecretRef) -> Result<Option<Secret>, String>;

/// One bridge of the family: an operator's (`true`) or a shipped one, and its name.
type Member = (bool, String);

/// A bridge and what it extends, itself first.
type Line<'w, 'a> = [&'w (String, WrittenBridge<'a>)];

impl Family {
    /// Collects the files. A name must fit into `/hooks/<name>`.
    pub fn of(sources: &Sources) -> Family {
        let mut family = Family {
            own: BTreeMap::new(),
            shipped: BTreeMap::new(),
            misnamed: Vec::new(),
        };
        let name = |path: &str| {
            let name = path.strip_prefix("bridges/")?.strip_suffix(".toml")?;
            (!name.contains('/')).then(|| name.to_owned())
        };
        for (path, text) in sources {
            match name(path) {
                Some(name) if is_name(&name) => drop(family.own.insert(
                    name,
                    File {
                        path: path.clone(),
                        text: text.clone(),
                    },
                )),
                Some(_) => family.misnamed.push(path.clone()),
                None => {}
            }
        }
        for (path, text) in shipped::sources() {
            if let Some(name) = name(&path) {
                let path = format!("{}{path}", shipped::MARK);
                family.shipped.insert(name, File { path, text });
            }
        }
        family
    }

    /// Compiles all of them; what is wrong is noted.
    pub fn compile<'a>(
        &'a self,
        reading: &Reading<'a>,
        parts: &Parts<'_>,
    ) -> BTreeMap<String, Arc<Bridge>> {
        for path in &self.misnamed {
            reading.extend([Problem {
                help: Some("a bridge is called with small letters, digits, `-` and `_`: its name stands in `/hooks/<name>`".to_owned()),
                ..Problem::of_file(path, "no bridge can be called like this file")
            }]);
        }
        let mut written: BTreeMap<Member, (String, WrittenBridge<'a>)> = BTreeMap::new();
        for (own, files) in [(true, &self.own), (false, &self.shipped)] {
            for (name, file) in files {
                let bridge = read_bridge(reading, &file.path, &file.text);
                written.insert((own, name.clone()), (name.clone(), bridge));
            }
        }
        let parents: BTreeSet<Member> = written
            .keys()
            .filter_map(|member| self.parent(member, &written))
            .collect();
        let mut bridges = BTreeMap::new();
        for member @ (own, name) in written.keys() {
            if !own && self.own.contains_key(name) {
                continue;
            }
            match self.line(reading, member, &written) {
                Some(line) => {
                    let parent = parents.contains(member);
                    let bridge = compile_bridge(reading, &line, *own, parent, parts);
                    bridges.extend(bridge.map(|bridge| (name.clone(), Arc::new(bridge))));
                }
                None => look_at_what_stands_alone(reading, &written[member].1, parts),
            }
        }
        bridges
    }

    /// What a bridge extends. Its own name means the shipped bridge of that name.
    fn parent(
        &self,
        (own, name): &Member,
        written: &BTreeMap<Member, (String, WrittenBridge<'_>)>,
    ) -> Option<Member> {
        let (_, bridge) = written.get(&(*own, name.clone()))?;
        let parent = bridge.extends.as_ref()?.value.clone();
        let is_own = *own && parent != *name && self.own.contains_key(&parent);
        Some((is_own, parent))
    }

    /// The bridge and what it extends, itself first. `None`, noted, when one of them is unknown or they go in a circle.
    fn line<'w, 'a>(
        &self,
        reading: &Reading<'a>,
        member: &Member,
        written: &'w BTreeMap<Member, (String, WrittenBridge<'a>)>,
    ) -> Option<Vec<&'w (String, WrittenBridge<'a>)>> {
        let mut line = vec![written.get(member)?];
        let mut seen = vec![member.clone()];
        while let Some(parent) = self.parent(seen.last()?, written) {
            let extends = line.last()?.1.extends.as_ref()?;
            if let Some(start) = seen.iter().position(|known| *known == parent) {
                // Everybody who stands in the circle says so; who only leads into it does not.
                if start == 0 {
                    let names: Vec<&str> = seen
                        .iter()
                        .chain([&parent])
                        .map(|(_, name)| name.as_str())
                        .collect();
                    let own = line.first()?.1.extends.as_ref()?;
                    reading.error(Flaw::new(
                        own.span.clone(),
                        format!("extends in a circle: {}", names.join(" → ")),
                    ));
                }
                return None;
            }
            let Some(found) = written.get(&parent) else {
                if seen.len() == 1 {
                    reading.error(self.unknown_parent(&parent.1, extends, &seen));
                }
                return None;
            };
            line.push(found);
            seen.push(parent);
        }
        Some(line)
    }

    fn unknown_parent(&self, name: &str, extends: &Text, line: &[Member]) -> Flaw {
        if line.iter().any(|(_, known)| known == name) {
            let message = format!("no bridge `{name}` is shipped, and it cannot extend itself");
            return Flaw::new(extends.span.clone(), message).help("leave `extends` out");
        }
        let known: BTreeSet<&str> = self
            .own
            .keys()
            .chain(self.shipped.keys())
            .map(String::as_str)
            .collect();
        let flaw = Flaw::new(extends.span.clone(), format!("there is no bridge `{name}`"));
        match nearest(name, known.iter().copied()) {
            Some(near) => flaw.help(format!("did you mean `{near}`?")),
            None => flaw.help(format!("known: {}", Vec::from_iter(known).join(", "))),
        }
    }
}

/// The bridge through which the service tells its operator what is wrong.
pub const NOTICES: &str = "notices";

fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(inner)
}

/// What is wrong in a bridge whatever it extends: its secrets, and the destinations that it names.
fn look_at_what_stands_alone(
    reading: &Reading<'_>,
    written: &WrittenBridge<'_>,
    parts: &Parts<'_>,
) {
    resolve_secrets(reading, &written.secrets, parts.secrets);
    for to in written.routes.iter().flat_map(|route| &route.to) {
        let WrittenDestination::Fixed(text) = to else {
            continue;
        };
        if let Err(flaw) = parse_destination(&text.value, parts.groups, parts.people) {
            reading.error_in(text, flaw);
        }
    }
}

fn compile_bridge<'a>(
    reading: &Reading<'a>,
    line: &Line<'_, 'a>,
    own: bool,
    is_parent: bool,
    parts: &Parts<'_>,
) -> Option<Bridge> {
    let (name, written) = *line.first()?;
    let auth = compile_auth(reading, line, own, is_parent, parts.secrets);
    let merged = merge_rules(line);
    let rules = compile_rules(reading, &merged);
    // Also where a helper is wrong: the routes that use it are not.
    let lets = merged
        .iter()
        .filter_map(|rule| rule.key.value.strip_prefix("let."));
    let names = Names::new(Place::Rule, lets.map(str::to_owned));

    let mut folders: Vec<String> = Vec::new();
    for (name, _) in line {
        if !folders.contains(name) {
            folders.push(name.clone());
        }
    }
    let template_names = parts.templates.names();
    let kinds: Vec<&str> = template_names
        .iter()
        .filter_map(|template| template.name.split_once('/'))
        .filter(|(folder, kind)| *kind != "default" && folders.iter().any(|known| known == folder))
        .map(|(_, kind)| kind)
        .collect();
    let has_default = template_names.iter().any(|template| {
        folders
            .iter()
            .any(|folder| template.name == format!("{folder}/default"))
    });
    let known = Known {
        groups: parts.groups,
        people: parts.people,
        templates: parts.templates,
        locales: parts.locales,
        // Where `default` speaks of everything, no kind is strange.
        kinds: if has_default { &[][..] } else { &kinds },
    };
    let messages: Vec<&WrittenMessage> = line
        .iter()
        .flat_map(|(_, bridge)| &bridge.messages)
        .collect();
    let routes = compile_routes(reading, &written.routes, &names, &known);
    if let (Ok(Some(auth)), Some(rules)) = (&auth, &rules) {
        note_unsigned_query(reading, auth, rules, &routes, &written.top);
    }
    let messages = compile_messages(reading, &messages, &names, &known);
    let first = |value: &dyn Fn(&WrittenBridge<'a>) -> Option<Text>| {
        line.iter().find_map(|(_, bridge)| value(bridge))
    };
    let locale = first(&|bridge| bridge.locale.clone());
    let time_zone = first(&|bridge| bridge.time_zone.clone());
    let reply = first(&|bridge| bridge.reply.clone());
    let max_body = line.iter().find_map(|(_, bridge)| bridge.max_body);
    Some(Bridge {
        name: name.clone(),
        auth: auth.ok()?,
        secrets: written
            .secrets
            .iter()
            .filter_map(|text| text.value.parse().ok())
            .collect(),
        rules: rules?,
        routes,
        messages,
        template_folders: folders,
        max_body: max_body.map_or(DEFAULT_MAX_BODY, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        }),
        reply: reply.map(|text| text.value),
        max_per_second: line.iter().find_map(|(_, bridge)| bridge.max_per_second),
        keep_refused: written.keep_refused.unwrap_or(0),
        locale: locale.and_then(|text| known_locale(reading, &text, parts.locales)),
        time_zone: time_zone.and_then(|text| known_time_zone(reading, &text)),
        shipped: !own,
    })
}

/// The `[event]` of the whole line. A new helper of a child stands where the child has it: before the next one that it
/// replaces, so that the replacement may use it, otherwise at the end.
fn merge_rules(line: &Line<'_, '_>) -> Vec<WrittenRule> {
    let mut merged: Vec<WrittenRule> = Vec::new();
    for (_, bridge) in line.iter().rev() {
        let mut fresh = Vec::new();
        for rule in &bridge.event {
            match merged
                .iter()
                .position(|known| known.key.value == rule.key.value)
            {
                Some(at) => {
                    if let Some(known) = merged.get_mut(at) {
                        *known = rule.clone();
                    }
                    merged.splice(at..at, fresh.drain(..));
                }
                None => fresh.push(rule.clone()),
            }
        }
        merged.append(&mut fresh);
    }
    merged
}

fn compile_rules(reading: &Reading<'_>, merged: &[WrittenRule]) -> Option<EventRules> {
    let pairs: Vec<(String, String)> = merged
        .iter()
        .map(|rule| (rule.key.value.clone(), rule.expression.value.clone()))
        .collect();
    match EventRules::compile(&pairs) {
        Ok(rules) => Some(rules),
        Err(flaws) => {
            for (key, flaw) in flaws {
                let Some(rule) = merged.iter().find(|rule| rule.key.value == key) else {
                    continue;
                };
                let is_field =
                    key.starts_with("let.") || Field::ALL.iter().any(|field| field.key() == key);
                match is_field {
                    true => reading.error_in(&rule.expression, flaw),
                    // Not the expression is wrong but its name.
                    false => reading.error(Flaw {
                        span: rule.key.span.clone(),
                        ..flaw
                    }),
                }
            }
            None
        }
    }
}

/// `Ok(None)`: only a rule-book for others. `Err`: something is wrong and noted.
fn compile_auth(
    reading: &Reading<'_>,
    line: &Line<'_, '_>,
    own: bool,
    is_parent: bool,
    resolve: Resolve<'_>,
) -> Result<Option<Auth>, ()> {
    let Some((name, written)) = line.first() else {
        return Err(());
    };
    if name == NOTICES {
        return no_auth_for_notices(reading, written);
    }
    let auth_place = written.auth.as_ref().map(Spanned::span);
    let extends_place = written.extends.as_ref().map(|extends| extends.span.clone());
    let place = auth_place.or(extends_place).unwrap_or(written.top.clone());
    let (secrets, whole) = resolve_secrets(reading, &written.secrets, resolve);
    let Some(table) = merge_auth(line) else {
        let wants = !written.routes.is_empty() || !written.secrets.is_empty();
        if wants && !written.damaged {
            let flaw = Flaw::new(
                written.top.clone(),
                "this bridge does not say how its sender is known: `[auth]` is missing",
            );
            reading.error(
                flaw.help("`extends = \"github\"`, or an `[auth]` of its own with `scheme`"),
            );
        }
        return if wants { Err(()) } else { Ok(None) };
    };
    let damaged = line.iter().any(|(_, bridge)| bridge.damaged);
    let open_to_all = matches!(scheme(&table), Some("none"));
    if written.secrets.is_empty() && !open_to_all {
        let mistakes = Auth::check(&table);
        let right = mistakes.is_empty();
        note_mistakes(reading, mistakes, &place, &[], damaged);
        if !written.routes.is_empty() && !written.routes_damaged {
            let flaw = Flaw::new(
                written.top.clone(),
                "this bridge has routes but no secrets, so nobody can post to it",
            );
            reading.error(flaw.help("`secrets = [\"env:NAME\"]`"));
            return Err(());
        }
        if own && !is_parent && written.routes.is_empty() && !written.routes_damaged {
            let flaw = Flaw::new(
                written.top.clone(),
                "this bridge opens no door: it has no secrets and no routes",
            );
            reading.note(Level::Warning, flaw);
        }
        return if right { Ok(None) } else { Err(()) };
    }
    if own && written.routes.is_empty() && !written.routes_damaged {
        let flaw = Flaw::new(
            written.top.clone(),
            "this bridge has no routes: its events are kept, and nobody reads of them",
        );
        reading.note(
            Level::Warning,
            flaw.help("add a `[[route]]` with `to = [\"group:NAME\"]`"),
        );
    }
    if !whole {
        // With a part of the secrets only, one that fits no way could not be told from one that is missing.
        note_mistakes(reading, Auth::check(&table), &place, &[], damaged);
        return Err(());
    }
    match Auth::compile_with_gaps(&table, &secrets) {
        Ok(auth) => {
            note_advice(reading, &auth, &place);
            Ok(Some(auth))
        }
        Err(mistakes) => {
            note_mistakes(reading, mistakes, &place, &written.secrets, damaged);
            Err(())
        }
    }
}

/// The service itself is the sender of its notices: there is nothing to prove, and no door.
fn no_auth_for_notices(
    reading: &Reading<'_>,
    written: &WrittenBridge<'_>,
) -> Result<Option<Auth>, ()> {
    let auth = written.auth.as_ref().map(Spanned::span);
    let secret = written.secrets.first().map(|secret| secret.span.clone());
    let Some(place) = auth.or(secret) else {
        return Ok(None);
    };
    let flaw = Flaw::new(
        place,
        "nobody can post to `notices`: the service itself is the sender of what goes through it",
    );
    reading.error(flaw.help("leave `secrets` and `[auth]` out"));
    Err(())
}

/// The secrets behind the references, and whether nothing is wrong with them.
fn resolve_secrets(
    reading: &Reading<'_>,
    written: &[Text],
    resolve: Resolve<'_>,
) -> (Vec<Option<Secret>>, bool) {
    let mut secrets = Vec::new();
    let mut known = Vec::new();
    for text in written {
        let secret = match text.value.parse::<SecretRef>() {
            Ok(reference) => {
                if known.contains(&reference) {
                    let message = format!("`{reference}` is named twice");
                    let flaw = Flaw::new(text.span.clone(), message);
                    let help = "for a change of the secret without a gap name the new one beside the old one";
                    reading.note(Level::Warning, flaw.help(help));
                }
                let secret = resolve(&reference);
                known.push(reference);
                secret
            }
            Err(literal) => Err(literal.to_string()),
        };
        let weak = secret.as_ref().ok().and_then(Option::as_ref);
        if let Some(weak) = weak.and_then(|secret| weakness(secret.expose())) {
            let flaw = Flaw::new(text.span.clone(), format!("this secret {weak}"));
            let help = "`openssl rand -hex 32` makes a good one; set it at the sender too";
            reading.note(Level::Warning, flaw.help(help));
        }
        match secret {
            Ok(secret) => secrets.push(secret),
            Err(why) => reading.error(Flaw::new(text.span.clone(), why)),
        }
    }
    let whole = secrets.len() == written.len();
    (secrets, whole)
}

/// The child's keys in place of the parent's; a child that names `scheme` starts afresh.
fn merge_auth<'a>(line: &Line<'_, 'a>) -> Option<DeTable<'a>> {
    let mut merged: Option<DeTable<'a>> = None;
    for (_, bridge) in line.iter().rev() {
        let Some(table) = &bridge.auth else {
            continue;
        };
        match &mut merged {
            Some(parent) if !table.get_ref().contains_key("scheme") => {
                for (key, value) in table.get_ref() {
                    // Insertion keeps the old key, and with it the old place.
                    parent.remove(key.get_ref().as_ref());
                    parent.insert(key.clone(), value.clone());
                }
            }
            _ => merged = Some(table.get_ref().clone()),
        }
    }
    merged
}

fn scheme<'t>(table: &'t DeTable<'_>) -> Option<&'t str> {
    match table.get("scheme")?.get_ref() {
        DeValue::String(scheme) => Some(scheme),
        _ => None,
    }
}

fn note_mistakes(
    reading: &Reading<'_>,
    mistakes: Vec<Mistake>,
    table: &Range<usize>,
    secrets: &[Text],
    damaged: bool,
) {
    for mistake in mistakes {
        let span = match mistake.at {
            At::Key(_) => mistake.flaw.span.clone(),
            // In a file of broken syntax nothing can be called missing.
            At::Table if damaged => continue,
            At::Table => table.clone(),
            At::Secret(number) => secrets
                .get(number)
                .map_or(table.clone(), |text| text.span.clone()),
        };
        reading.error(Flaw {
            span,
            ..mistake.flaw
        });
    }
}
