//! What an operator should know about how a bridge's sender is known, though nothing of it is a mistake of writing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::Bridge;
use super::auth::{Auth, Challenge, Holds, Piece};
use super::destination::Destination;
use super::event_rules::EventRules;
use super::expression::Parameters;
use super::problem::{Flaw, Level, Problem};
use super::reading::Reading;
use super::route::Route;

/// What an operator should know about the worth of it; ways with the same worth share a line.
pub(super) fn note_advice(reading: &Reading<'_>, auth: &Auth, place: &Range<usize>) {
    let mut lines: Vec<(String, String)> = Vec::new();
    for advice in auth.advice() {
        let (way, worth) = advice.split_once(": ").unwrap_or(("", &advice));
        match lines.iter_mut().find(|(_, known)| known == worth) {
            Some((ways, _)) => *ways = format!("{ways}, {way}"),
            None => lines.push((way.to_owned(), worth.to_owned())),
        }
    }
    for (ways, worth) in lines {
        reading.note(
            Level::Advice,
            Flaw::new(place.clone(), format!("{ways}: {worth}")),
        );
    }
    let warn = |message: String, help: &str| {
        let flaw = Flaw::new(place.clone(), message);
        reading.note(Level::Warning, flaw.help(help));
    };
    for signing in auth.ways().iter().filter_map(|way| way.scheme.signing()) {
        let pieces = signing.signed.iter().flat_map(|signed| signed.pieces());
        for piece in pieces {
            if let Piece::Name(Holds::At(at)) = piece
                && signing.signature.places.contains(at)
            {
                let message =
                    format!("`signed` holds {at}, where the signature itself stands: none can fit");
                warn(message, "leave it out of `signed`");
            }
        }
    }
    for net in auth.addresses().iter().filter(|net| net.prefix_len() == 0) {
        let message = format!("`{net}` in `addresses` is every address: it keeps nobody out");
        warn(message, "name the sender's networks, or leave it out");
    }
}

/// Parameters of the address that decide where messages go, and that a signature over the body does not cover.
pub(super) fn note_unsigned_query(
    reading: &Reading<'_>,
    auth: &Auth,
    rules: &EventRules,
    routes: &[Route],
    place: &Range<usize>,
) {
    let Some(signed) = auth
        .ways()
        .iter()
        .find_map(|way| way.scheme.signed_parameters())
    else {
        return;
    };
    let mut read = Parameters::default();
    for route in routes {
        let computed = route.to.iter().filter_map(|to| match to {
            Destination::Computed { expression, .. } => Some(expression),
            Destination::Fixed { .. } => None,
        });
        for rule in route.when.iter().chain(computed) {
            rules.add_parameters(&mut read, rule);
        }
    }
    let unsigned = read
        .named
        .iter()
        .filter(|name| !signed.contains(&name.as_str()));
    let mut names: Vec<String> = unsigned.map(|name| format!("`query.{name}`")).collect();
    if read.all {
        names.push("`query`".to_owned());
    }
    if names.is_empty() {
        return;
    }
    let flaw = Flaw::new(
        place.clone(),
        format!(
            "routes read {}, which the signature does not cover: whoever has read one request can lead it elsewhere",
            names.join(", ")
        ),
    );
    reading.note(
        Level::Advice,
        flaw.help("as safe as TLS and the hook's address are"),
    );
}

/// A bridge that signs what anybody asks of it signs for every other bridge with its secret too. Where both do that, both
/// believe no text that they may have signed themselves.
pub(super) fn lent_signatures(bridges: &BTreeMap<String, Arc<Bridge>>) -> Vec<Problem> {
    let doors = || {
        bridges
            .values()
            .filter_map(|it| Some((it, it.auth.as_ref()?)))
    };
    let signs = |auth: &Auth| auth.challenge().is_some_and(Challenge::is_signed);
    let shares = |one: &Auth, other: &Auth| {
        let mut keys = one.ways().iter().flat_map(|way| &way.keys);
        let others = || other.ways().iter().flat_map(|way| &way.keys);
        keys.any(|key| others().any(|it| it.secret.expose() == key.secret.expose()))
    };
    let mut problems = Vec::new();
    for (signer, auth) in doors().filter(|(_, auth)| signs(auth)) {
        for (other, _) in doors().filter(|(_, it)| !signs(it) && shares(auth, it)) {
            let (signer, other) = (&signer.name, &other.name);
            problems.push(Problem {
                level: Level::Warning,
                help: Some("give each bridge a secret of its own".to_owned()),
                ..Problem::of_file(
                    format!("bridges/{other}.toml"),
                    format!(
                        "it shares a secret with `{signer}`, which signs a challenge for whoever asks: such a signature may open this bridge"
                    ),
                )
            });
        }
    }
    problems
}
