//! One section of the service's file: what the environment says, else the file, else the commented default file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use config::{Config, File, FileFormat};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use crate::bridge::problem::{Flaw, Problem, nearest};
use crate::bridge::reading::Reading;
use crate::bridge::table::{Table, as_text};
use crate::model::{Secret, SecretRef};

/// The variables that set a single value begin with this; two underscores stand for each dot.
pub const PREFIX: &str = "OPENIM_BRIDGE__";

/// Problems about variables are filed under this name.
pub const VARIABLES: &str = "environment";

/// A section while it is being read. A key that is wrong gives `None`, and the reason is noted.
pub struct Section<'r, 'a> {
    table: Table<'r, 'a>,
    path: String,
    layers: &'r Layers,
    environment: &'r Environment,
}

/// The commented default file, over it the operator's file, over it the environment. `config` says which value holds;
/// where it was written is known here only.
pub struct Layers {
    merged: Config,
    /// The variables that have a meaning, so that the others can be called unknown.
    asked: RefCell<BTreeSet<String>>,
}

/// A single value and where it comes from.
struct Scalar {
    value: String,
    from: From,
}

/// Where a value comes from.
#[derive(Clone)]
enum From {
    Variable(String),
    File(Range<usize>),
    /// Nobody wrote it, so nobody can be blamed for it.
    Default,
}

impl<'r, 'a> Section<'r, 'a> {
    /// The whole file.
    pub fn whole(
        table: Table<'r, 'a>,
        layers: &'r Layers,
        environment: &'r Environment,
    ) -> Section<'r, 'a> {
        Section {
            table,
            path: String::new(),
            layers,
            environment,
        }
    }

    /// A section of it, also when the file does not have it.
    pub fn section(&mut self, key: &'static str) -> Section<'r, 'a> {
        let reading = self.reading();
        let place = self.table.span();
        let table = self.table.table(key);
        Section {
            table: table
                .unwrap_or_else(|| Table::new(reading, key, Spanned::new(place, DeTable::new()))),
            path: format!("{}{key}.", self.path),
            layers: self.layers,
            environment: self.environment,
        }
    }

    /// The table itself, for keys that the environment does not set.
    pub fn table(&mut self) -> &mut Table<'r, 'a> {
        &mut self.table
    }

    /// Where problems are noted.
    pub fn reading(&self) -> &'r Reading<'a> {
        self.table.reading()
    }

    /// Notes unknown keys.
    pub fn finish(self) {
        self.table.finish();
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.scalar(key, "a text").map(|scalar| scalar.value)
    }

    /// A text that `read` makes something of; its error is noted.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let scalar = self.scalar(key, "a text")?;
        match read(&scalar.value) {
            Ok(value) => Some(value),
            Err(why) => self.refuse(key, &scalar.from, why),
        }
    }

    /// A whole number from 1 to `most`.
    pub fn count(&mut self, key: &'static str, most: u32) -> Option<u32> {
        let scalar = self.scalar(key, "a whole number")?;
        match scalar.value.parse() {
            Ok(number) if (1..=most).contains(&number) => Some(number),
            _ => self.refuse(
                key,
                &scalar.from,
                format!("a whole number from 1 to {most} is expected"),
            ),
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let scalar = self.scalar(key, "true or false")?;
        match scalar.value.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.refuse(key, &scalar.from, "`true` or `false` is expected"),
        }
    }

    /// The secret behind a reference. A literal is refused, and not repeated.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let scalar = self.scalar(key, "a text")?;
        let reference: SecretRef = match scalar.value.parse() {
            Ok(reference) => reference,
            Err(literal) => return self.refuse(key, &scalar.from, literal.to_string()),
        };
        match self.environment.secret(&reference) {
            Ok(secret) => Some(secret),
            Err(why) => self.refuse(key, &scalar.from, why),
        }
    }

    /// Where a key's value stands that is not read yet; the section's place when the file does not have it.
    pub fn place(&self, key: &str) -> Range<usize> {
        self.table.place_of(key).unwrap_or(self.table.span())
    }

    /// Whether the file or the environment sets a key that is not read yet, rightly or wrongly.
    pub fn is_set(&self, key: &str) -> bool {
        self.environment.find(&self.variable(key)).is_some() || self.table.place_of(key).is_some()
    }

    /// Whether a variable of the environment sets a key.
    pub fn is_set_by_variable(&self, key: &str) -> bool {
        self.environment.find(&self.variable(key)).is_some()
    }

    /// Where references to secrets lead.
    pub fn environment(&self) -> &'r Environment {
        self.environment
    }

    fn variable(&self, key: &str) -> String {
        format!("{PREFIX}{}{key}", self.path)
            .replace('.', "__")
            .to_ascii_uppercase()
    }

    /// The value that holds, and who wrote it. What the file says is checked also where the environment overrides it.
    fn scalar(&mut self, key: &'static str, expected: &str) -> Option<Scalar> {
        let variable = self.variable(key);
        self.layers.asked.borrow_mut().insert(variable.clone());
        let mut written = None;
        if let Some(value) = self.table.take(key) {
            written = Some(self.written(value, expected)?);
        }
        let from = match self.environment.find(&variable) {
            Some(_) => From::Variable(variable),
            // A file with a mistake in its syntax is no layer, and what can be read of it is checked all the same.
            None if written.is_some() => return written,
            None => From::Default,
        };
        let value = self
            .layers
            .merged
            .get_string(&format!("{}{key}", self.path));
        Some(Scalar {
            value: value.ok()?,
            from,
        })
    }

    /// The file's value; notes that it is of another type. A number is taken as it is written.
    fn written(&self, value: Spanned<DeValue<'_>>, expected: &str) -> Option<Scalar> {
        let span = value.span();
        let value = match (value.get_ref(), expected) {
            (DeValue::Integer(number), "a whole number") => number.to_string(),
            (DeValue::Boolean(flag), "true or false") => flag.to_string(),
            (DeValue::String(_), "true or false") => {
                let message = "expected true or false without quotes, found a text";
                self.reading().error(Flaw::new(span, message));
                return None;
            }
            (DeValue::String(_), "a whole number") => {
                let message = "expected a whole number without quotes, found a text";
                self.reading().error(Flaw::new(span, message));
                return None;
            }
            _ => as_text(self.reading(), value, expected)?.value,
        };
        Some(Scalar {
            value,
            from: From::File(span),
        })
    }

    fn refuse<T>(&self, key: &str, from: &From, why: impl Into<String>) -> Option<T> {
        let why = why.into();
        match from {
            From::Variable(name) => self
                .reading()
                .extend([Problem::of_file(VARIABLES, format!("`{name}`: {why}"))]),
            From::File(span) => self.reading().error(Flaw::new(span.clone(), why)),
            From::Default => {
                let flaw = Flaw::new(
                    self.table.span(),
                    format!("`{}{key}`, not set here: {why}", self.path),
                );
                self.reading().error(flaw);
            }
        }
        None
    }
}

impl Layers {
    /// Lays the three over each other. A file that is no TOML is left out, and variables that cannot be laid over it:
    /// who reads them says why.
    pub fn of(default: &str, file: &str, environment: &Environment) -> Layers {
        let toml = |text: &str| File::from_str(text, FileFormat::Toml);
        let own = environment.with_prefix(PREFIX);
        let own = own.filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let variables = config::Environment::with_prefix(PREFIX.trim_end_matches('_'))
            .prefix_separator("__")
            .separator("__")
            .source(Some(own.collect()));
        let default = Config::builder().add_source(toml(default));
        let with_file = default.clone().add_source(toml(file));
        let merged = with_file
            .clone()
            .add_source(variables.clone())
            .build()
            .or_else(|_| with_file.build())
            .or_else(|_| default.add_source(variables).build())
            .unwrap_or_default();
        Layers {
            merged,
            asked: RefCell::default(),
        }
    }

    /// Problems for the variables with our prefix that mean nothing.
    pub fn unknown(&self, environment: &Environment) -> Vec<Problem> {
        let asked = self.asked.borrow();
        let mut problems = Vec::new();
        for (name, value) in environment.with_prefix(PREFIX) {
            let known = asked.contains(name);
            if known && value.is_some() {
                continue;
            }
            let message = match known {
                true => format!("`{name}` is not UTF-8"),
                false => format!("unknown variable `{name}`"),
            };
            let near = nearest(name, asked.iter().map(String::as_str)).filter(|_| !known);
            problems.push(Problem {
                help: match near {
                    Some(right) => Some(format!("did you mean `{right}`?")),
                    None if known => None,
                    None => Some("variables set single values of openim-bridge.toml: OPENIM_BRIDGE__STORAGE__URL".to_owned()),
                },
                ..Problem::of_file(VARIABLES, message)
            });
        }
        problems
    }
}
