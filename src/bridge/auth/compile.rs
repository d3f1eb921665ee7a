//! From `[auth]` as written to [`Auth`], with every mistake reported in one go.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::de::DeTable;

use super::super::problem::{Flaw, nearest};
use super::challenge::challenge;
use super::encoding::Encoding;
use super::key::{KeyRule, Rule, equip};
use super::pattern::{Holds, Pattern, Reads, Template};
use super::place::Place;
use super::shown::shown;
use super::time::timestamp;
use super::written::{ALL_KEYS, Mistake, Reader, Text};
use super::{Algorithm, Auth, Ed25519, Hmac, Scheme};
use crate::model::Secret;

const OTHER_SCHEMES: [&str; 5] = ["none", "token", "basic", "bearer", "ed25519"];

/// Compiles; `secrets` is `None` for a rule-book that has none yet.
pub(super) fn compile(
    table: &DeTable<'_>,
    secrets: Option<&[Option<Secret>]>,
) -> Result<Auth, Vec<Mistake>> {
    let mut reader = Reader::new(table);
    let mut rules: Vec<Rule> = Vec::new();
    let mut complete = true;
    match way(&mut reader, false) {
        Some(rule) => rules.push(rule),
        None => complete = false,
    }
    let addresses = addresses(&mut reader);
    let repeats = repeats(&mut reader);
    for (table, span) in reader.tables("otherwise") {
        let mut inner = reader.inner("otherwise", table, span.clone());
        let rule = way(&mut inner, true);
        reader.mistakes.append(&mut inner.mistakes);
        let Some(rule) = rule else {
            complete = false;
            continue;
        };
        if let Some(place) = rules.iter().find_map(|above| hidden_by(above, &rule)) {
            let message = format!("never asked: {place} already decides above it");
            reader.wrong("otherwise", Flaw::new(span, message));
        }
        rules.push(rule);
    }
    let challenge = challenge(&mut reader, &rules);
    let mut mistakes = reader.mistakes;
    // A secret that fits a way which did not compile must not be called misfit.
    let ways = match secrets {
        Some(secrets) if complete => equip(rules, secrets, &mut mistakes),
        _ => Vec::new(),
    };
    if mistakes.is_empty() {
        Ok(Auth {
            ways,
            addresses,
            repeats,
            challenge,
            secrets: secrets.map_or(0, <[Option<Secret>]>::len),
        })
    } else {
        Err(mistakes)
    }
}

/// Reads one way. `None` when it is too broken to go on with; the reason is noted.
fn way(reader: &mut Reader<'_>, inside: bool) -> Option<Rule> {
    if !reader.has("scheme") {
        reader.only(&ALL_KEYS, "`[auth]`");
    }
    if !reader.has("scheme") {
        let help = "`scheme` says how the sender shows who it is: `hmac-sha256`, `token`, `bearer`, `basic`, `none`";
        reader.missing("`scheme` is missing", help);
        return None;
    }
    let schemes = reader.texts("scheme");
    let first = schemes.first()?.clone();
    let shared: &[&str] = if inside {
        &["scheme"]
    } else {
        &["scheme", "otherwise", "challenge", "addresses", "repeats"]
    };
    let whose = format!("scheme `{}`", first.text);
    let only = |reader: &mut Reader<'_>, own: &[&str]| {
        let known: Vec<&str> = shared.iter().chain(own).copied().collect();
        reader.only(&known, &whose);
    };
    let rule = |scheme| {
        Some(Rule {
            scheme,
            keys: Vec::new(),
        })
    };
    if !OTHER_SCHEMES.contains(&first.text.as_str()) {
        only(reader, &SIGNING);
        let algorithms = algorithms(reader, &schemes);
        // A misspelt scheme may want other keys: nothing can be called missing.
        return (!algorithms.is_empty())
            .then(|| signature(reader, algorithms))
            .flatten();
    }
    if let Some(second) = schemes.get(1) {
        let flaw = second.flaw("only hmac schemes can be a list");
        reader.wrong("scheme", flaw);
    }
    match first.text.as_str() {
        "none" if inside => {
            let flaw = first.flaw(
                "`otherwise` cannot be `none`: whoever leaves the signature out would get in",
            );
            reader.wrong("scheme", flaw);
            None
        }
        "none" => {
            only(reader, &[]);
            if reader.has("otherwise") {
                let flaw = Flaw::new(
                    reader.span("otherwise"),
                    "never asked: scheme `none` lets everybody in",
                );
                reader.wrong("otherwise", flaw);
            }
            rule(Scheme::None)
        }
        "basic" => {
            only(reader, &[]);
            rule(Scheme::Basic)
        }
        "bearer" => {
            only(reader, &[]);
            rule(Scheme::Bearer)
        }
        "token" => {
            only(reader, &["token", "format", "several"]);
            let shown = shown(reader, "token", |name| name == Reads::Token)?;
            rule(Scheme::Token(shown))
        }
        _ => {
            only(reader, &SIGNING);
            signature(reader, Vec::new())
        }
    }
}

/// The keys of every scheme that signs.
const SIGNING: [&str; 6] = [
    "signature",
    "format",
    "several",
    "signed",
    "key",
    "timestamp",
];

/// Reads a way that signs: by a MAC with one of the algorithms, or by Ed25519 when there are none.
fn signature(reader: &mut Reader<'_>, algorithms: Vec<Algorithm>) -> Option<Rule> {
    let by_key_pair = algorithms.is_empty();
    let shown = shown(reader, "signature", |name| match name {
        Reads::Token => false,
        Reads::Algorithm => !by_key_pair,
        _ => true,
    });
    let signed = signed(reader);
    let keys = keys(reader);
    let built: Vec<&Template> = keys
        .iter()
        .filter_map(|key| match key {
            KeyRule::Build(template) => Some(template),
            KeyRule::Read(_) => None,
        })
        .collect();

    let keyed = |template: &&Template| template.holds(&Holds::Secret);
    let whole = |template: &&Template| **template == Template::of(Holds::Secret);
    let built_key = by_key_pair && !built.iter().all(whole);
    if built_key {
        let message = "a public key is not built but read: `{secret}`, `{hex}` or `{base64}`";
        let flaw = Flaw::new(reader.span("key"), message);
        reader.wrong("key", flaw);
    } else if !built.iter().all(keyed) && !signed.iter().all(|signed| keyed(&signed)) {
        let message = "the key is made without `{secret}`: anybody could make it";
        let flaw = Flaw::new(reader.span("key"), message);
        reader.wrong("key", flaw);
    }
    let in_format = |name: Reads| {
        let has = |format: &Vec<Pattern>| format.iter().flat_map(Pattern::names).any(|n| n == name);
        let formats = shown.as_ref().map_or(&[][..], |shown| &shown.formats);
        (formats.iter().any(has), formats.iter().all(has))
    };
    if algorithms.len() > 1 && !in_format(Reads::Algorithm).1 {
        let flaw = Flaw::new(
            reader.span("scheme"),
            "several schemes need `{algorithm}` in `format` to choose by",
        );
        reader.wrong("scheme", flaw);
    }
    let needs_headers = signed
        .iter()
        .chain(built.iter().copied())
        .any(|template| template.holds(&Holds::Headers) || template.holds(&Holds::HeaderValues));
    if needs_headers && !in_format(Reads::Headers).1 {
        let flaw = Flaw::new(
            reader.span("signed"),
            "the signed headers are named nowhere: `{headers}` belongs in `format`",
        );
        reader.wrong("signed", flaw);
    }
    let timestamp = timestamp(reader, in_format(Reads::Timestamp), &signed, &built);
    if signed.is_empty() || keys.is_empty() || built_key {
        return None;
    }
    let signature = shown?;
    let scheme = match by_key_pair {
        true => Scheme::Ed25519(Box::new(Ed25519 {
            signature,
            signed,
            timestamp,
        })),
        false => Scheme::Hmac(Box::new(Hmac {
            algorithms,
            signature,
            signed,
            timestamp,
        })),
    };
    Some(Rule { scheme, keys })
}

fn algorithms(reader: &mut Reader<'_>, schemes: &[Text]) -> Vec<Algorithm> {
    let mut algorithms = Vec::new();
    for scheme in schemes {
        let known = |algorithm: &&Algorithm| algorithm.to_string() == scheme.text;
        match Algorithm::ALL.iter().find(known) {
            Some(algorithm) if algorithms.contains(algorithm) => {
                reader.wrong(
                    "scheme",
                    scheme.flaw(format!("`{}` is named twice", scheme.text)),
                );
            }
            Some(algorithm) => algorithms.push(*algorithm),
            None if OTHER_SCHEMES.contains(&scheme.text.as_str()) => {
                reader.wrong("scheme", scheme.flaw("only hmac schemes can be a list"));
            }
            None => {
                let names: Vec<String> = Algorithm::ALL.iter().map(Algorithm::to_string).collect();
                let names: Vec<&str> = names
                    .iter()
                    .map(String::as_str)
                    .chain(OTHER_SCHEMES)
                    .collect();
                let flaw = scheme.flaw(format!("unknown scheme `{}`", scheme.text));
                let flaw = match nearest(&scheme.text, names.iter().copied()) {
                    Some(near) => flaw.help(format!("did you mean `{near}`?")),
                    None => flaw.help(format!("known: `{}`", names.join("`, `"))),
                };
                reader.wrong("scheme", flaw);
            }
        }
    }
    algorithms
}

fn signed(reader: &mut Reader<'_>) -> Vec<Template> {
    if !reader.has("signed") {
        return vec![Template::of(Holds::Body)];
    }
    let mut signed = Vec::new();
    for text in reader.texts("signed") {
        match Template::compile(&text.text) {
            Ok(template) => signed.push(template),
            Err(flaw) => reader.wrong("signed", text.place(flaw)),
        }
    }
    signed
}

fn keys(reader: &mut Reader<'_>) -> Vec<KeyRule> {
    if !reader.has("key") {
        return vec![KeyRule::Build(Template::of(Holds::Secret))];
    }
    let decoded = |name| matches!(name, Reads::Signature(Encoding::Hex | Encoding::Base64));
    let mut keys = Vec::new();
    for text in reader.texts("key") {
        // Which of the two it is shows only in its names, so the builder's message wins for unknown ones.
        let reads = text.text.contains("{hex}") || text.text.contains("{base64}");
        let rule = if reads {
            Pattern::compile(&text.text, decoded).map(KeyRule::Read)
        } else {
            Template::compile(&text.text).map(KeyRule::Build)
        };
        match rule {
            Ok(KeyRule::Read(pattern)) if pattern.names().count() != 1 => {
                reader.wrong(
                    "key",
                    text.flaw("exactly one of `{hex}`, `{base64}` is expected"),
                );
            }
            Ok(rule) => keys.push(rule),
            Err(flaw) => reader.wrong("key", text.place(flaw)),
        }
    }
    keys
}

fn repeats(reader: &mut Reader<'_>) -> Vec<Place> {
    let mut places = Vec::new();
    for text in reader.texts("repeats") {
        match Place::parse(&text.text) {
            Ok(place) => places.push(place),
            Err(flaw) => reader.wrong("repeats", text.place(flaw)),
        }
    }
    places
}

fn addresses(reader: &mut Reader<'_>) -> Vec<IpNet> {
    let mut addresses = Vec::new();
    for text in reader.texts("addresses") {
        let alone = || text.text.parse::<IpAddr>().map(IpNet::from).ok();
        match text.text.parse::<IpNet>().ok().or_else(alone) {
            Some(net) => addresses.push(net),
            None => {
                let flaw = text.flaw(format!("`{}` is no range of addresses", text.text));
                reader.wrong(
                    "addresses",
                    flaw.help("like `192.0.2.0/24` or `2001:db8::/32`"),
                );
            }
        }
    }
    addresses
}

/// What keeps `below` from ever being asked (or from being asked at one of its places), if anything does.
fn hidden_by(above: &Rule, below: &Rule) -> Option<String> {
    let authorization = |place: &&Place| matches!(place, Place::Header(name) if *name == http::header::AUTHORIZATION);
    let places = |rule: &Rule| match &rule.scheme {
        Scheme::Token(shown) => shown.places.clone(),
        Scheme::Hmac(hmac) => hmac.signature.places.clone(),
        Scheme::Ed25519(ed25519) => ed25519.signature.places.clone(),
        Scheme::None | Scheme::Basic | Scheme::Bearer => Vec::new(),
    };
    match (&above.scheme, &below.scheme) {
        (Scheme::None, _) => None, // said once, about the whole key
        (Scheme::Basic, Scheme::Basic) => Some("`basic`".to_owned()),
        (Scheme::Bearer, Scheme::Bearer) => Some("`bearer`".to_owned()),
        (_, Scheme::Basic | Scheme::Bearer) => places(above)
            .iter()
            .find(authorization)
            .map(Place::to_string),
        _ => {
            let above = places(above);
            let mut below = places(below).into_iter();
            below
                .find(|place| above.contains(place))
                .map(|place| place.to_string())
        }
    }
}
