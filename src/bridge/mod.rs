//! The rule-book: all bridges, templates, groups and people of a directory, checked and compiled, replaced as a whole.
//!
//! [`RuleBook::compile`] takes the texts of a directory and reports everything that is wrong in them at once.

mod advice;
pub mod auth;
pub mod destination;
pub mod event_rules;
pub mod expression;
pub mod family;
pub mod group;
pub mod kinds;
pub mod measure;
pub mod people;
pub mod problem;
mod quoted;
pub mod reading;
pub mod route;
pub mod shipped;
pub mod syntax;
pub mod table;
pub mod template;
pub mod weak;
pub mod words;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use advice::lent_signatures;
use auth::Auth;
use event_rules::EventRules;
use family::Family;
pub use family::NOTICES;
use group::{Groups, known_locales};
use people::People;
use problem::{Level, Problem, Sources};
use reading::Reading;
use route::{MessageRule, Route};
use template::Templates;

use crate::model::{Secret, SecretRef};

/// The largest body of a bridge that sets no `max_body`, in bytes.
pub const DEFAULT_MAX_BODY: usize = 1_000_000;

/// Who is who.
const PEOPLE_FILE: &str = "people.toml";

/// All bridges, templates, groups and people, checked and compiled. Replaced as a whole.
#[derive(Clone, Debug)]
pub struct RuleBook {
    /// Names the texts that it was made of: equal digests mean equal rules.
    pub digest: String,
    /// The bridges by name: the operator's, and the shipped ones that they do not replace.
    pub bridges: BTreeMap<String, Arc<Bridge>>,
    /// Names for groups.
    pub groups: Groups,
    /// Who is who.
    pub people: People,
    /// How events become words.
    pub templates: Templates,
    /// The language where nothing else is said.
    pub locale: String,
    /// The time zone where nothing else is said.
    pub time_zone: TimeZone,
}

/// One declared endpoint.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// Its name, `acme`: `POST /hooks/acme`.
    pub name: String,
    /// How its sender shows who it is. `None`: it is only a rule-book for others, and the door does not know it.
    pub auth: Option<Auth>,
    /// Where its secrets stand, in the order they are tried.
    pub secrets: Vec<SecretRef>,
    /// How its webhooks become events.
    pub rules: EventRules,
    /// Where its events go.
    pub routes: Vec<Route>,
    /// Which templates speak, before they are looked for by kind.
    pub messages: Vec<MessageRule>,
    /// The folders of its templates: its own, then its parent's.
    pub template_folders: Vec<String>,
    /// The largest body, in bytes, content-encoding undone.
    pub max_body: usize,
    /// What its sender needs to hear when its webhook was taken, where our own words would not do.
    pub reply: Option<String>,
    /// The most authentic webhooks in a second, if not the door's limit.
    pub max_per_second: Option<u32>,
    /// How many of its refused requests are kept for a look; 0 for none.
    pub keep_refused: usize,
    /// Its language, if not the service's.
    pub locale: Option<String>,
    /// Its time zone, if not the service's.
    pub time_zone: Option<TimeZone>,
    /// Whether it is a shipped one that the operator's directory does not replace.
    pub shipped: bool,
}

/// What the service's own file adds to the rules.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Names for groups.
    pub groups: Groups,
    /// The language where nothing else is said.
    pub locale: String,
    /// The time zone where nothing else is said.
    pub time_zone: TimeZone,
}

/// Gives the secret behind a reference, or says why there is none.
pub type Secrets<'a> = &'a dyn Fn(&SecretRef) -> Result<Secret, String>;

impl Bridge {
    /// Whether the door takes webhooks for it.
    pub fn is_door(&self) -> bool {
        self.auth.is_some()
    }
}

impl RuleBook {
    /// Checks and compiles the texts of a directory together with the shipped ones. All problems are reported; there is a
    /// rule-book when none of them is an error.
    pub fn compile(
        sources: &Sources,
        surroundings: &Surroundings,
        secrets: Secrets<'_>,
    ) -> (Option<RuleBook>, Vec<Problem>) {
        RuleBook::with(sources, surroundings, &|reference| {
            secrets(reference).map(Some)
        })
    }

    /// The same, but a bridge whose secret is not there believes nothing by it, instead of being an error.
    pub fn compile_without_missing(
        sources: &Sources,
        surroundings: &Surroundings,
        secrets: Secrets<'_>,
    ) -> (Option<RuleBook>, Vec<Problem>) {
        RuleBook::with(sources, surroundings, &|reference| {
            Ok(secrets(reference).ok())
        })
    }

    fn with(
        sources: &Sources,
        surroundings: &Surroundings,
        secrets: family::Resolve<'_>,
    ) -> (Option<RuleBook>, Vec<Problem>) {
        let family = Family::of(sources);
        let reading = Reading::default();
        let people = match sources.get_key_value(PEOPLE_FILE) {
            Some((path, text)) => People::read(&reading, path, text),
            None => People::default(),
        };
        let mut all = shipped::sources();
        all.extend(
            sources
                .iter()
                .map(|(path, text)| (path.clone(), text.clone())),
        );
        let (templates, problems) = Templates::compile(&all);
        reading.extend(problems);
        let locales = known_locales(sources);

        let bridges = family.compile(
            &reading,
            &family::Parts {
                groups: &surroundings.groups,
                people: &people,
                templates: &templates,
                locales: &locales,
                secrets,
            },
        );
        reading.extend(idle_samples(sources, &bridges));
        reading.extend(lent_signatures(&bridges));

        if !reading.has_errors() {
            // A bridge that is left out for its errors would make its folders look idle.
            reading.extend(idle_templates(sources, &templates, &bridges));
        }

        let problems = reading.into_problems();
        let broken = problems.iter().any(|problem| problem.level == Level::Error);
        let book = (!broken).then(|| RuleBook {
            digest: digest(&all),
            bridges,
            groups: surroundings.groups.clone(),
            people,
            templates,
            locale: surroundings.locale.clone(),
            time_zone: surroundings.time_zone.clone(),
        });
        (book, problems)
    }

    /// The bridge through which the service tells its operator what is wrong; `None` when no chat is named for it.
    pub fn notices(&self) -> Option<&Arc<Bridge>> {
        let notices = self.bridges.get(NOTICES)?;
        (!notices.routes.is_empty()).then_some(notices)
    }

    /// The bridges that the door takes webhooks for.
    pub fn doors(&self) -> impl Iterator<Item = &Arc<Bridge>> {
        self.bridges.values().filter(|bridge| bridge.is_door())
    }
}

/// Samples of a bridge that does not exist would silently not be tried.
fn idle_samples(sources: &Sources, bridges: &BTreeMap<String, Arc<Bridge>>) -> Vec<Problem> {
    let owner = |path: &String| {
        Some(
            path.strip_prefix("bridges/samples/")?
                .split_once('/')?
                .0
                .to_owned(),
        )
    };
    let owners: BTreeSet<String> = sources.keys().filter_map(owner).collect();
    let idle = owners
        .into_iter()
        .filter(|owner| !bridges.contains_key(owner));
    let problem = |owner: String| Problem {
        level: Level::Warning,
        help: problem::nearest(&owner, bridges.keys().map(String::as_str))
            .map(|near| format!("did you mean `{near}`?")),
        ..Problem::of_file(
            format!("bridges/samples/{owner}"),
            format!("there is no bridge `{owner}` that these are samples of"),
        )
    };
    idle.map(problem).collect()
}

/// A template of a folder that no bridge looks into, and that no route names, would silently not speak.
fn idle_templates(
    sources: &Sources,
    templates: &Templates,
    bridges: &BTreeMap<String, Arc<Bridge>>,
) -> Vec<Problem> {
    let folders: BTreeSet<&str> = bridges
        .values()
        .flat_map(|bridge| bridge.template_folders.iter().map(String::as_str))
        .collect();
    let by_routes = bridges.values().flat_map(|bridge| {
        let messages = bridge.messages.iter().map(|message| &message.template);
        let routes = bridge
            .routes
            .iter()
            .filter_map(|route| route.template.as_ref());
        messages.chain(routes)
    });
    let named: BTreeSet<String> = by_routes.map(|template| template.path()).collect();
    let mut problems = Vec::new();
    for template in templates.names() {
        let folder = template.name.split('/').next().unwrap_or_default();
        let path = template.path();
        let own = sources.contains_key(&path);
        if own && !folders.contains(folder) && !named.contains(&path) {
            let near = problem::nearest(folder, folders.iter().copied());
            problems.push(Problem {
                level: Level::Warning,
                help: Some(match near {
                    Some(near) => format!("did you mean the folder `templates/{near}`?"),
                    None => "templates stand in a folder with their bridge's name".to_owned(),
                }),
                ..Problem::of_file(path, "no bridge and no route uses this template")
            });
        }
    }
    problems
}

/// The first half of a SHA-256 over all paths and texts, in hex. Lengths go in too, so that no text can pass for a path.
fn digest(sources: &Sources) -> String {
    let mut hash = Sha256::new();
    for part in sources.iter().flat_map(|(path, text)| [path, text]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}
