//! `[storage]`: where the outbox is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::section::Section;
use crate::bridge::measure::{parse_size, parse_time};
use crate::bridge::problem::Flaw;
use crate::model::SecretRef;
use crate::outbox::postgres::Address;

/// What stands beside the outbox is named after this file where the outbox is no file.
const NO_FILE: &str = "openim-bridge.db";

/// A retry of a sender must find what it repeats.
const SHORTEST_KEEP: Duration = Duration::from_secs(60 * 60);

/// Where things are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageSettings {
    /// Where the outbox is.
    pub place: Place,
    /// How long contents of events and of their deliveries are kept; what is not delivered stays.
    pub keep: Duration,
    /// Beyond so many bytes on disk the oldest go first.
    pub max_size: Option<u64>,
}

/// Where an outbox is.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// In a SQLite file, for one process.
    Sqlite(PathBuf),
    /// In a PostgreSQL database, for several.
    Postgres(Box<Address>),
}

impl StorageSettings {
    /// The file that the last rule-book which passed is kept beside, and whose changes are no changes of the rules.
    pub fn beside(&self) -> &Path {
        match &self.place {
            Place::Sqlite(file) => file,
            Place::Postgres(_) => Path::new(NO_FILE),
        }
    }
}

impl Place {
    /// Reads `sqlite:FILE` or `postgres://…`.
    ///
    /// # Errors
    /// Says what is wrong, without a word of a password.
    pub fn parse(url: &str) -> Result<Place, String> {
        match url.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() => {
                let file = file.strip_prefix("//").unwrap_or(file);
                Ok(Place::Sqlite(PathBuf::from(file)))
            }
            Some(("postgres" | "postgresql", _)) => Address::parse(url).map(Box::new).map(Place::Postgres),
            _ => Err(
                "an outbox is written like `sqlite:openim-bridge.db` or `postgres://bridge@db.example/bridge`"
                    .to_owned(),
            ),
        }
    }

    /// Reads the same, or a reference to it (`env:NAME`, `file:/path`): an address may hold a password.
    ///
    /// # Errors
    /// Says what is wrong, without a word of a password.
    pub fn refer(text: &str, environment: &Environment) -> Result<Place, String> {
        let Ok(reference) = text.parse::<SecretRef>() else {
            return Place::parse(text);
        };
        let secret = environment.secret(&reference)?;
        let url = secret
            .expose_text()
            .ok_or_else(|| format!("what stands in `{reference}` is no text"))?;
        Place::parse(url).map_err(|why| format!("`{reference}`: {why}"))
    }

    fn has_password(&self) -> bool {
        matches!(self, Place::Postgres(address) if address.has_password())
    }
}

/// Reads the section.
pub(super) fn read_storage(mut section: Section<'_, '_>) -> Option<StorageSettings> {
    let by_variable = section.is_set_by_variable("url");
    let url_at = section.place("url");
    let environment = section.environment();
    let place = section.read("url", |text| {
        let place = Place::refer(text, environment)?;
        let is_reference = text.parse::<SecretRef>().is_ok();
        if place.has_password() && !is_reference && !by_variable {
            return Err(
                "a password is a secret, and no secret stands in this file: write `url = \"env:DATABASE_URL\"`, \
                 or the address without it and `password = \"env:NAME\"`"
                    .to_owned(),
            );
        }
        Ok(place)
    });
    let has_password = section.is_set("password");
    let password = section.secret("password");
    let keep = section.read("keep", parse_keep);
    let bounded = section.is_set("max_size");
    let max_size = section.read("max_size", parse_size);
    let reading = section.reading();
    section.finish();
    if bounded && max_size.is_none() {
        return None;
    }
    let place = match (place?, password) {
        (Place::Postgres(address), Some(password)) => {
            Place::Postgres(Box::new(address.with_password(&password)))
        }
        (Place::Sqlite(_), _) if has_password => {
            reading.error(Flaw::new(url_at, "a SQLite file has no `password`"));
            return None;
        }
        (place, _) => place,
    };
    Some(StorageSettings {
        place,
        keep: keep?,
        max_size,
    })
}
/// How long contents are kept, out of its text.
///
/// # Errors
/// When it is no length of time, or less than an hour.
pub fn parse_keep(text: &str) -> Result<Duration, String> {
    match parse_time(text)? {
        span if span < SHORTEST_KEEP => {
            Err("what comes in is kept for an hour at least".to_owned())
        }
        span => Ok(span),
    }
}
