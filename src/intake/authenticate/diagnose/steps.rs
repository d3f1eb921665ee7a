//! What was compared, step by step: lengths, digests of what anybody may see, never a secret nor a signature that is right.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Attempt, Refusal, Scene, signed};
use crate::bridge::auth::{Auth, Holds, Key, KeyForm, Scheme, Shown, Signing, Template, Way};
use crate::intake::Request;
use crate::intake::authenticate::build::{self, Facts};
use crate::intake::authenticate::{first_present, key_bytes, mac, prove, read, where_it_looks};
use crate::model::Timestamp;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is about: `request`, `place`, `format`, `time`, `signed`, `secret`.
    pub step: &'static str,
    /// Whether it is as it should be; `None` where nothing is asked.
    pub ok: Option<bool>,
    /// What was found.
    pub says: String,
}

impl Step {
    fn told(step: &'static str, says: impl Into<String>) -> Step {
        Step {
            step,
            ok: None,
            says: says.into(),
        }
    }

    fn asked(step: &'static str, ok: bool, says: impl Into<String>) -> Step {
        Step {
            step,
            ok: Some(ok),
            says: says.into(),
        }
    }
}

/// The steps up to the one that decides.
pub(super) fn steps(scene: &Scene<'_>, request: &Request, now: Timestamp) -> Vec<Step> {
    let length = bytes(request.body.len());
    let says = format!(
        "{} with a body of {length}, {}",
        request.method,
        digest(&request.body)
    );
    let mut steps = vec![Step::told("request", says)];
    if !scene.auth.addresses().is_empty() {
        let says = "the bridge takes requests from some addresses only; a request as text does not say where it came from";
        steps.push(Step::told("address", says));
    }
    for way in scene.auth.ways() {
        let looked = where_it_looks(way).join(" or ");
        if matches!(prove(way, request, now), Ok(None)) {
            steps.push(Step::asked("place", false, format!("nothing in {looked}")));
            continue;
        }
        match &way.scheme {
            Scheme::None => steps.push(Step::told("place", "nothing is asked: scheme none")),
            scheme => match scheme.signing() {
                Some(signing) => of_signature(scene, way, signing, request, now, &mut steps),
                None => of_token(scene, way, request, now, &mut steps, &looked),
            },
        }
        break;
    }
    let fits = |step: &Step| step.step == "secret" && step.ok == Some(true);
    if !steps.iter().any(fits) {
        let absent = scene.absent.iter().map(|(number, why)| {
            let reference = scene.references.get(number.saturating_sub(1));
            let reference = reference.map_or("", String::as_str);
            let count = count(scene.auth);
            format!("secret {number} of {count} ({reference}) is not there: {why}")
        });
        steps.extend(absent.map(|says| Step::asked("secret", false, says)));
    }
    steps
}

fn of_token(
    scene: &Scene<'_>,
    way: &Way,
    request: &Request,
    now: Timestamp,
    steps: &mut Vec<Step>,
    looked: &str,
) {
    let says = format!("something stands in {looked}");
    steps.push(Step::asked("place", true, says));
    match prove(way, request, now) {
        Ok(_) | Err(Refusal::Mismatch { .. }) => {
            for key in &way.keys {
                let ok = fits_alone(way, key, request, now);
                let verdict = if ok {
                    "is what was shown"
                } else {
                    "is not what was shown"
                };
                let says = format!("{} {verdict}", named(scene, key));
                steps.push(Step::asked("secret", ok, says));
                if ok {
                    break;
                }
            }
        }
        Err(Refusal::NoSecret(_)) => {}
        Err(refusal) => steps.push(Step::asked("format", false, refusal.to_string())),
    }
}

fn of_signature(
    scene: &Scene<'_>,
    way: &Way,
    signing: Signing<'_>,
    request: &Request,
    now: Timestamp,
    steps: &mut Vec<Step>,
) {
    let (place, values) = match first_present(signing.signature, request) {
        Ok(Some(present)) => present,
        Ok(None) => return,
        Err(refusal) => return steps.push(Step::asked("place", false, refusal.to_string())),
    };
    steps.push(Step::asked(
        "place",
        true,
        format!("the signature stands in {place}"),
    ));
    let read = match read::read(signing.signature, place, &values, signing.algorithms) {
        Ok(read) => read,
        Err(refusal) => return steps.push(Step::asked("format", false, refusal.to_string())),
    };
    let lengths: Vec<String> = read
        .proofs
        .iter()
        .map(|proof| bytes(proof.bytes.len()))
        .collect();
    let count = match read.proofs.len() {
        1 => "a signature".to_owned(),
        count => format!("{count} signatures"),
    };
    let asked: Vec<&str> = signing
        .algorithms
        .iter()
        .map(|algorithm| algorithm.word())
        .collect();
    let asked = match &asked[..] {
        [] => "ed25519".to_owned(),
        asked => asked.join(" or "),
    };
    let says = format!(
        "it reads like `{}`: {count} of {}; {} is asked",
        format_of(signing.signature),
        lengths.join(", "),
        asked,
    );
    steps.push(Step::asked("format", true, says));
    let mut timestamp = None;
    if let Some(rule) = signing.timestamp {
        match read::time(rule, request, read.timestamp.as_deref(), now) {
            Ok(text) => {
                let says = format!(
                    "{} is near enough to {now:.0}",
                    shown_time(way, request, now)
                );
                steps.push(Step::asked("time", true, says));
                timestamp = Some(text);
            }
            Err(refusal) => {
                let says = match shown_time(way, request, now).as_str() {
                    "" => refusal.to_string(),
                    time => format!("{time}: {refusal}; it came at {now:.0}"),
                };
                return steps.push(Step::asked("time", false, says));
            }
        }
    }
    for key in &way.keys {
        let facts = Facts {
            request,
            timestamp: timestamp.as_deref(),
            headers: read.headers.as_deref(),
            secret: key.secret.expose(),
        };
        let message = match build::first_whole(signing.signed, &facts) {
            Ok(message) => message.concat(),
            Err(refusal) => return steps.push(Step::asked("signed", false, refusal.to_string())),
        };
        if !steps.iter().any(|step| step.step == "signed") {
            steps.push(Step::told(
                "signed",
                pattern(signing.signed, &facts, &message),
            ));
        }
        let keyed = match key_bytes(key, &facts) {
            Ok(keyed) => keyed,
            Err(refusal) => return steps.push(Step::asked("secret", false, refusal.to_string())),
        };
        let fits = fits_alone(way, key, request, now);
        let verdict = if fits {
            "made this signature"
        } else {
            "makes another signature"
        };
        let key_of = match key.forms.first() {
            Some(KeyForm::Built(template)) => format!(", the key is `{}`", shown(template)),
            _ if mac::equal(&keyed, key.secret.expose()) => ", its text is the key".to_owned(),
            _ => format!(", decoded to a key of {}", bytes(keyed.len())),
        };
        let says = format!("{}{key_of}: {verdict}", named(scene, key));
        steps.push(Step::asked("secret", fits, says));
        if fits {
            break;
        }
    }
}

/// When the request says that it was signed; empty where it says nothing that reads as a time.
fn shown_time(way: &Way, request: &Request, now: Timestamp) -> String {
    let attempt = Attempt {
        way: way.clone(),
        request: request.clone(),
        now,
    };
    let text = signed::time_shown(&attempt);
    text.and_then(|(text, _)| signed::readable(&text))
        .unwrap_or_default()
}

/// Whether this secret alone would do.
fn fits_alone(way: &Way, key: &Key, request: &Request, now: Timestamp) -> bool {
    let mut alone = way.clone();
    alone.keys.retain(|other| other.number == key.number);
    matches!(prove(&alone, request, now), Ok(Some(_)))
}

/// What is signed, as the bridge declares it. Where the secret is in it a digest would let a short one be guessed.
fn pattern(templates: &[Template], facts: &Facts<'_>, message: &[u8]) -> String {
    let whole = |template: &&Template| matches!(build::build(template, facts), Ok(Ok(_)));
    let Some(template) = templates.iter().find(whole) else {
        return String::new();
    };
    let length = bytes(message.len());
    match template.holds(&Holds::Secret) {
        true => format!("`{}`: {length}", shown(template)),
        false => format!("`{}`: {length}, {}", shown(template), digest(message)),
    }
}

fn shown(template: &Template) -> String {
    template.to_string().replace('\n', "\\n")
}

fn named(scene: &Scene<'_>, key: &Key) -> String {
    let reference = key
        .number
        .checked_sub(1)
        .and_then(|at| scene.references.get(at));
    let length = bytes(key.secret.expose().len());
    match reference {
        Some(reference) => format!(
            "secret {} of {} ({reference}, {length})",
            key.number,
            count(scene.auth)
        ),
        None => format!("secret {} of {} ({length})", key.number, count(scene.auth)),
    }
}

fn count(auth: &Auth) -> usize {
    auth.secrets()
}

fn format_of(shown: &Shown) -> String {
    let separator = shown.separator.as_deref().unwrap_or("");
    let formats = shown.formats.iter().map(|format| {
        let items: Vec<String> = format.iter().map(ToString::to_string).collect();
        items.join(separator)
    });
    formats.collect::<Vec<_>>().join("` or `")
}

fn bytes(count: usize) -> String {
    match count {
        1 => "1 byte".to_owned(),
        count => format!("{count} bytes"),
    }
}

/// The beginning of a SHA-256, to compare with the sender's: `printf %s "$BODY" | sha256sum`.
fn digest(of: &[u8]) -> String {
    format!("SHA-256 {}…", hex::encode(&Sha256::digest(of)[..4]))
}
