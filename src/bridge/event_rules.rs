//! `[event]`, compiled: how a sender's webhook fills the fields that all events share.

use std::collections::BTreeMap;

use serde_json::Value;

use super::expression::{self, Expression, Names, Note, Parameters, Place, Scope};
use super::problem::{Flaw, nearest};
use crate::model::Event;

/// A bridge may have this many helpers.
const LETS: usize = 32;
/// What stands before a helper's name: `let.it`.
const LET: &str = "let.";

/// A field that every sender's events have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// What makes it the same event when it comes again.
    Id,
    /// What happened, in dotted words.
    Kind,
    /// What it is about.
    Subject,
    /// One line.
    Title,
    /// Who did it.
    Actor,
    /// Where to read more.
    Link,
    /// How bad it is.
    Severity,
    /// Whether it opens, changes or closes its subject.
    State,
    /// When it happened.
    Time,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 9] = [
        Field::Id,
        Field::Kind,
        Field::Subject,
        Field::Title,
        Field::Actor,
        Field::Link,
        Field::Severity,
        Field::State,
        Field::Time,
    ];

    /// Its key in `[event]`.
    pub fn key(self) -> &'static str {
        match self {
            Field::Id => "id",
            Field::Kind => "kind",
            Field::Subject => "subject",
            Field::Title => "title",
            Field::Actor => "actor",
            Field::Link => "link",
            Field::Severity => "severity",
            Field::State => "state",
            Field::Time => "time",
        }
    }
}

/// A compiled `[event]`: its helpers in order, and its fields.
#[derive(Clone, Debug)]
pub struct EventRules {
    lets: Vec<(String, Expression)>,
    fields: BTreeMap<Field, Expression>,
    names: Names,
    parameters: Parameters,
}

impl EventRules {
    /// Compiles `[event]` as written: keys (`let.it`, `id`, `kind`, …) with their expressions, in the order of the file.
    /// `Err` lists every mistake with the key whose value has it.
    pub fn compile(written: &[(String, String)]) -> Result<EventRules, Vec<(String, Flaw)>> {
        let mut flaws = Vec::new();
        let mut lets: Vec<(String, Expression)> = Vec::new();
        let mut known = Names::new(Place::Event, []);
        let helpers = written
            .iter()
            .filter_map(|(key, source)| Some((key, key.strip_prefix(LET)?, source)));
        for (key, name, source) in helpers {
            let mut wrong = |flaw| flaws.push((key.clone(), flaw));
            if let Err(why) = expression::check_let_name(name) {
                wrong(Flaw::new(0..source.len(), why));
                continue;
            }
            if known.lets.iter().any(|known| known == name) {
                let message = format!("`{name}` is there twice");
                wrong(Flaw::new(0..source.len(), message));
                continue;
            }
            if known.lets.len() == LETS {
                let message = format!("more than {LETS} helpers");
                wrong(Flaw::new(0..source.len(), message));
                break;
            }
            match Expression::compile(source, &known) {
                Ok(expression) => lets.push((name.to_owned(), expression)),
                Err(found) => found.into_iter().for_each(&mut wrong),
            }
            known.lets.push(name.to_owned());
        }
        let mut fields = BTreeMap::new();
        for (key, source) in written.iter().filter(|(key, _)| !key.starts_with(LET)) {
            let Some(field) = Field::ALL.into_iter().find(|field| field.key() == key) else {
                let flaw = Flaw::new(0..source.len(), format!("events have no field `{key}`"));
                let near = nearest(key, Field::ALL.map(Field::key));
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a helper is called `let.{key}`"),
                };
                flaws.push((key.clone(), flaw.help(help)));
                continue;
            };
            match Expression::compile(source, &known) {
                Ok(expression) => drop(fields.insert(field, expression)),
                Err(found) => flaws.extend(found.into_iter().map(|flaw| (key.clone(), flaw))),
            }
        }
        let mut parameters = Parameters::default();
        for expression in fields.values() {
            parameters.add(expression, &lets);
        }
        match flaws.is_empty() {
            true => Ok(EventRules {
                lets,
                fields,
                parameters,
                names: Names::new(Place::Rule, known.lets),
            }),
            false => Err(flaws),
        }
    }

    /// The names that `when`, computed destinations and mentions of this bridge may use.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The parameters of the address that the fields are made of.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Adds to `parameters` what a rule of this bridge reads.
    pub fn add_parameters(&self, parameters: &mut Parameters, rule: &Expression) {
        parameters.add(rule, &self.lets);
    }

    /// The expression of a field.
    pub fn field(&self, field: Field) -> Option<&Expression> {
        self.fields.get(&field)
    }

    /// What `when`, computed destinations and mentions read: the event and the helpers. The notes tell of helpers that
    /// failed.
    pub fn scope<'v>(&'v self, event: &'v Event) -> (Scope<'v>, Vec<Note>) {
        let scope = Scope {
            event: Some(event),
            body: &event.body,
            header: &event.header,
            query: &event.query,
            lets: Vec::new(),
        };
        self.with_helpers(scope)
    }

    /// What the fields themselves read, before there is an event.
    pub fn open<'v>(
        &'v self,
        body: &'v Value,
        header: &'v BTreeMap<String, String>,
        query: &'v BTreeMap<String, String>,
    ) -> (Scope<'v>, Vec<Note>) {
        let scope = Scope {
            event: None,
            body,
            header,
            query,
            lets: Vec::new(),
        };
        self.with_helpers(scope)
    }

    fn with_helpers<'v>(&'v self, mut scope: Scope<'v>) -> (Scope<'v>, Vec<Note>) {
        let mut notes = Vec::new();
        scope.lets.reserve(self.lets.len());
        for (name, expression) in &self.lets {
            let (value, found) = expression.evaluate(&scope);
            scope.lets.push(value);
            notes.extend(
                found
                    .into_iter()
                    .map(|note| note.about(format!("{LET}{name}"))),
            );
        }
        (scope, notes)
    }

    /// For `try`: the fields that have no value, with what was asked for and is not there.
    pub fn absent(&self, event: &Event) -> Vec<Note> {
        let (scope, _) = self.open(&event.body, &event.header, &event.query);
        let mut notes = Vec::new();
        for (field, expression) in &self.fields {
            if expression.evaluate(&scope).0.is_empty() {
                let absent = expression.absent(&scope).into_iter();
                notes.extend(absent.map(|note| note.about(field.key())));
            }
        }
        notes
    }
}
