//! From `[auth]` as written to [`Auth`], with every mistake reported in one go.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeTable;

use super::super::problem::{Flaw, nearest};
use super::encoding::Encoding;
use super::key::{Key, KeyRule, forms};
use super::pattern::{Holds, Pattern, Piece, Reads, Template};
use super::place::Place;
use super::written::{At, Mistake, Reader, Text};
use super::{Algorithm, Auth, Hmac, Scheme, Shown, SignedTime, Unit, Way};
use crate::model::Secret;

/// A way without its secrets.
struct Rule {
    scheme: Scheme,
    keys: Vec<KeyRule>,
}

const OTHER_SCHEMES: [&str; 5] = ["none", "token", "basic", "bearer", "ed25519"];

/// Compiles; `secrets` is `None` for a rule-book that has none yet.
pub(super) fn compile(
    table: &DeTable<'_>,
    secrets: Option<&[Secret]>,
) -> Result<Auth, Vec<Mistake>> {
    let mut reader = Reader::new(table);
    let mut rules: Vec<Rule> = Vec::new();
    let mut complete = true;
    match way(&mut reader, false) {
        Some(rule) => rules.push(rule),
        None => complete = false,
    }
    if reader.has("challenge") {
        let flaw = Flaw::new(reader.span("challenge"), "challenges are not supported yet");
        reader.wrong("challenge", flaw);
    }
    let addresses = addresses(&mut reader);
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
            secrets: secrets.map_or(0, <[Secret]>::len),
        })
    } else {
        Err(mistakes)
    }
}

/// Reads one way. `None` when it is too broken to go on with; the reason is noted.
fn way(reader: &mut Reader<'_>, inside: bool) -> Option<Rule> {
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
        &["scheme", "otherwise", "challenge", "addresses"]
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
        only(
            reader,
            &[
                "signature",
                "format",
                "several",
                "signed",
                "key",
                "timestamp",
            ],
        );
        return hmac(reader, &schemes);
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
            let flaw = first.flaw("scheme `ed25519` is not supported yet");
            reader.wrong("scheme", flaw);
            None
        }
    }
}

fn hmac(reader: &mut Reader<'_>, schemes: &[Text]) -> Option<Rule> {
    let algorithms = algorithms(reader, schemes);
    let shown = shown(reader, "signature", |name| name != Reads::Token);
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
    if !built.iter().all(keyed) && !signed.iter().all(|signed| keyed(&signed)) {
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
    if algorithms.is_empty() || signed.is_empty() || keys.is_empty() {
        return None;
    }
    let hmac = Hmac {
        algorithms,
        signature: shown?,
        signed,
        timestamp,
    };
    Some(Rule {
        scheme: Scheme::Hmac(Box::new(hmac)),
        keys,
    })
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

/// Reads `signature` or `token` with `format` and `several`.
fn shown(reader: &mut Reader<'_>, key: &str, may_read: impl Fn(Reads) -> bool) -> Option<Shown> {
    if !reader.has(key) {
        let help = format!("`{key} = \"header:NAME\"` says where it stands");
        reader.missing(format!("`{key}` is missing"), &help);
    }
    let mut places = Vec::new();
    for text in reader.texts(key) {
        match Place::parse(&text.text) {
            Ok(place) if places.contains(&place) => {
                reader.wrong(key, text.flaw(format!("`{}` is named twice", text.text)));
            }
            Ok(place) => places.push(place),
            Err(flaw) => reader.wrong(key, text.place(flaw)),
        }
    }
    let separator = reader.text("several").and_then(|text| {
        let separator = match text.text.trim_matches([' ', '\t']) {
            "" if text.text.is_empty() => {
                reader.wrong("several", text.flaw("the separator is empty"));
                return None;
            }
            "" => " ",
            trimmed => trimmed,
        };
        if separator.contains(|c: char| c.is_ascii_alphanumeric() || "{}".contains(c)) {
            let message =
                "letters, digits and braces cannot separate: they stand in the items themselves";
            reader.wrong("several", text.flaw(message));
            return None;
        }
        Some(separator.to_owned())
    });
    if !reader.has("format") && key == "signature" {
        let help = "`format = \"sha256={hex}\"`, `\"{hex}\"` and `\"{base64}\"` are the usual ones";
        reader.missing("`format` is missing: how does the signature read?", help);
    }
    let mut formats = Vec::new();
    for text in reader.texts("format") {
        match format(&text, separator.as_deref(), &may_read) {
            Ok(format) => formats.push(format),
            Err(flaw) => reader.wrong("format", flaw),
        }
    }
    if key == "token" && !reader.has("format") {
        formats.extend(
            Pattern::compile("{token}", may_read)
                .ok()
                .map(|token| vec![token]),
        );
    }
    (!places.is_empty() && !formats.is_empty()).then_some(Shown {
        places,
        formats,
        separator,
    })
}

/// Compiles one `format`, cut into its items.
fn format(
    text: &Text,
    separator: Option<&str>,
    may_read: &impl Fn(Reads) -> bool,
) -> Result<Vec<Pattern>, Flaw> {
    let mut items = Vec::new();
    let mut from = 0;
    for item in text.text.split(separator.unwrap_or("\0")) {
        let start = from + item.len() - item.trim_start_matches([' ', '\t']).len();
        from += item.len() + separator.map_or(0, str::len);
        let (item, start) = match separator {
            Some(_) => (item.trim_matches([' ', '\t']), start),
            None => (item, 0),
        };
        let inside = |span: Range<usize>| start + span.start..start + span.end;
        let pattern = Pattern::compile(item, may_read).map_err(|flaw| {
            let span = inside(flaw.span.clone());
            text.place(Flaw { span, ..flaw })
        })?;
        if separator.is_some() && pattern.names().next().is_none() {
            let message = format!("the separator cuts here, and `{item}` is left without a name");
            return Err(text.place(Flaw::new(inside(0..item.len()), message)));
        }
        items.push(pattern);
    }
    let proves = |name: &Reads| matches!(name, Reads::Signature(_) | Reads::Token);
    if items.iter().flat_map(Pattern::names).filter(proves).count() != 1 {
        let names = if may_read(Reads::Token) {
            "`{token}`"
        } else {
            "`{hex}`, `{base64}`, `{base64url}`"
        };
        return Err(text.flaw(format!("exactly one of {names} is expected")));
    }
    for name in [Reads::Timestamp, Reads::Algorithm, Reads::Headers] {
        if items
            .iter()
            .flat_map(Pattern::names)
            .filter(|n| *n == name)
            .count()
            > 1
        {
            return Err(text.flaw("a name stands here twice"));
        }
    }
    let signature = items
        .iter()
        .find(|item| item.names().any(|name| proves(&name)));
    let chosen = |item: &Pattern| item.names().any(|name| name == Reads::Algorithm);
    if items.iter().any(chosen) && !signature.is_some_and(chosen) {
        return Err(text.flaw("`{algorithm}` belongs to the item of the signature"));
    }
    Ok(items)
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

/// Reads `timestamp`, and makes sure that a timestamp is signed wherever there is one.
fn timestamp(
    reader: &mut Reader<'_>,
    (in_a_format, in_all_formats): (bool, bool),
    signed: &[Template],
    built: &[&Template],
) -> Option<SignedTime> {
    let named = |template: &&Template| template.holds(&Holds::Timestamp);
    let used = in_a_format || signed.iter().any(|t| named(&t)) || built.iter().any(named);
    if !reader.has("timestamp") {
        if used {
            let help = "`timestamp = { from = \"header:NAME\", within = \"5m\" }`";
            reader.missing(
                "`{timestamp}` stands here without a `timestamp` that says `within`",
                help,
            );
        }
        return None;
    }
    let (table, span) = reader.table("timestamp")?;
    let mut inner = reader.inner("timestamp", table, span);
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if !["from", "unit", "within"].contains(&name) {
            let flaw = Flaw::new(key.span(), format!("unknown key `{name}`"));
            let help = match nearest(name, ["from", "unit", "within"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "known here: `from`, `unit`, `within`".to_owned(),
            };
            inner.wrong("timestamp", flaw.help(help));
        }
    }
    let from = inner
        .text("from")
        .and_then(|text| match Place::parse(&text.text) {
            Ok(place) => Some(place),
            Err(flaw) => {
                inner.wrong("timestamp", text.place(flaw));
                None
            }
        });
    let unit = inner
        .text("unit")
        .map_or(Some(Unit::Seconds), |text| match text.text.as_str() {
            "s" => Some(Unit::Seconds),
            "ms" => Some(Unit::Milliseconds),
            "rfc3339" => Some(Unit::Rfc3339),
            _ => {
                inner.wrong("timestamp", text.flaw("the unit is `s`, `ms` or `rfc3339`"));
                None
            }
        });
    let within = inner.text("within").and_then(|text| {
        let span = text.text.parse::<jiff::SignedDuration>().ok();
        let span = span.and_then(|span| Duration::try_from(span).ok());
        if span.is_none_or(|span| span.is_zero()) {
            inner.wrong(
                "timestamp",
                text.flaw("a length of time is expected, like `5m` or `1h`"),
            );
            return None;
        }
        span
    });
    if !inner.has("within") {
        inner.missing(
            "`within` is missing: how old may a request be?",
            "`within = \"5m\"` is usual",
        );
    }
    if inner.has("from") && in_a_format {
        inner.missing(
            "the timestamp stands in `format` and has a `from` besides",
            "leave `from` out, or `{timestamp}` in `format`",
        );
    } else if !inner.has("from") && !in_all_formats {
        inner.missing(
            "the timestamp stands nowhere",
            "`from = \"header:NAME\"` says where, or `{timestamp}` in every `format`",
        );
    }
    let by_key = !built.is_empty() && built.iter().all(named);
    let covered = |template: &Template| {
        template.holds(&Holds::Timestamp)
            || from.as_ref().is_some_and(|place| covers(template, place))
    };
    if !by_key && !signed.iter().all(covered) {
        inner.missing(
            "the timestamp is not signed, so it would protect nothing",
            "`signed = \"{timestamp}.{body}\"` or the like, as the sender does it",
        );
    }
    reader.mistakes.append(&mut inner.mistakes);
    Some(SignedTime {
        from,
        unit: unit?,
        within: within?,
    })
}

/// Whether a change of what stands at `place` changes what `template` builds.
fn covers(template: &Template, place: &Place) -> bool {
    template.pieces().iter().any(|piece| match (piece, place) {
        (Piece::Name(Holds::At(signed)), place) => signed == place,
        (Piece::Name(Holds::Body), Place::Body(_) | Place::Form(_)) => true,
        (Piece::Name(Holds::Url), Place::Query(_) | Place::Path) => true,
        _ => false,
    })
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
        Scheme::None | Scheme::Basic | Scheme::Bearer => Vec::new(),
    };
    match (&above.scheme, &below.scheme) {
        (Scheme::None, _) => Some("scheme `none`".to_owned()),
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

/// Gives each way the secrets that are made for it.
fn equip(rules: Vec<Rule>, secrets: &[Secret], mistakes: &mut Vec<Mistake>) -> Vec<Way> {
    let open = |rule: &Rule| matches!(rule.scheme, Scheme::None);
    if secrets.is_empty() && !rules.iter().all(open) {
        mistakes.push(Mistake {
            at: At::Table,
            flaw: Flaw::new(0..0, "there is no secret to authenticate with")
                .help("`secrets = [\"env:NAME\"]` or `[\"file:/path\"]` on the bridge"),
        });
    }
    let mut ways: Vec<Way> = Vec::new();
    let mut fits = vec![false; secrets.len()];
    for rule in rules {
        let mut way = Way {
            scheme: rule.scheme,
            keys: Vec::new(),
        };
        for (index, secret) in secrets.iter().enumerate() {
            let forms = forms(&rule.keys, secret);
            let fit = match &way.scheme {
                Scheme::None => false,
                Scheme::Token(shown) => shown.places.iter().any(|place| can_stand(secret, place)),
                Scheme::Basic => secret.expose().contains(&b':'),
                Scheme::Bearer => fits_a_header(secret),
                Scheme::Hmac(_) => !forms.is_empty(),
            };
            if fit && !secret.expose().is_empty() {
                fits[index] = true;
                way.keys.push(Key {
                    number: index + 1,
                    secret: secret.clone(),
                    forms,
                });
            }
        }
        ways.push(way);
    }
    for (index, secret) in secrets.iter().enumerate() {
        let flaw = if secret.expose().is_empty() {
            Flaw::new(0..0, "the secret is empty")
        } else if !fits[index] {
            let names: Vec<String> = ways.iter().map(Way::to_string).collect();
            Flaw::new(0..0, "the secret fits no way of this bridge").help(format!(
                "the ways: {}; {}",
                names.join(", "),
                WHAT_FITS
            ))
        } else {
            continue;
        };
        mistakes.push(Mistake {
            at: At::Secret(index),
            flaw,
        });
    }
    ways
}

const WHAT_FITS: &str = "basic wants `user:password`, a header takes no line breaks, and `key` with `{hex}` or `{base64}` must be able to read it";

fn can_stand(secret: &Secret, place: &Place) -> bool {
    !matches!(place, Place::Header(_)) || fits_a_header(secret)
}

/// A header's value has no control characters and no blanks at its ends.
fn fits_a_header(secret: &Secret) -> bool {
    let secret = secret.expose();
    secret.trim_ascii() == secret && !secret.iter().any(u8::is_ascii_control)
}
