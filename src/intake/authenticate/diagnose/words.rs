//! What a cause is called, what it says and what to do about it. All that a diagnosis says to a person about causes.

use serde::Serialize;

use crate::bridge::auth::{KeyForm, Scheme, Way};

/// A mistake that explains a refusal, or takes part in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Its name, kept stable: `body-newline`.
    pub id: &'static str,
    /// Whether the request was shown to hold once the mistake is undone; otherwise it only looks like it.
    pub proven: bool,
    /// What happened, in a sentence.
    pub says: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Cause {
    pub(super) fn proven(id: &'static str, detail: impl Into<String>) -> Cause {
        Cause::named(id, true, detail.into())
    }

    pub(super) fn seen(id: &'static str, detail: impl Into<String>) -> Cause {
        Cause::named(id, false, detail.into())
    }

    fn named(id: &'static str, proven: bool, detail: String) -> Cause {
        let known = CAUSES.iter().find(|(known, ..)| *known == id);
        let (_, says, remedy) = known.copied().unwrap_or((id, "", ""));
        let says = match detail.as_str() {
            "" => says.to_owned(),
            detail => format!("{says}: {detail}"),
        };
        Cause {
            id,
            proven,
            says,
            remedy,
        }
    }
}

/// What to do about it at these ways, where it is not the same at all of them.
pub(super) fn remedy_at(cause: &Cause, ways: &[&Way]) -> &'static str {
    let is = |scheme: fn(&Scheme) -> bool| ways.iter().all(|way| scheme(&way.scheme));
    let has_key = |way: &&Way| {
        let forms = way.keys.iter().flat_map(|key| &key.forms);
        forms
            .into_iter()
            .any(|form| matches!(form, KeyForm::Built(_)))
    };
    match cause.id {
        "authorization-scheme" if is(|scheme| matches!(scheme, Scheme::Basic)) => {
            "`Authorization: Basic …` with `user:password` in base64, as `curl -u user:password` makes it"
        }
        "no-cause-found" if is(|scheme| scheme.signing().is_none()) => {
            "most likely the secret is another one: set it again at both ends"
        }
        "key-and-message-swapped" if ways.iter().any(has_key) => {
            "mind the order of the arguments: the key is what `key` in `[auth]` says"
        }
        _ => cause.remedy,
    }
}

/// Name, sentence, remedy. The detail is put behind the sentence.
const CAUSES: &[(&str, &str, &str)] = &[
    // The place
    (
        "other-place",
        "the proof is right but stands in another place than the bridge looks at",
        "set the place at the sender, or name it in `[auth]` of the bridge",
    ),
    (
        "repeated",
        "the value is there more than once, and one of them is right",
        "find out who adds it again, often a proxy; a repeated value is always refused",
    ),
    (
        "percent-twice",
        "the value is percent-encoded twice",
        "encode it once: the HTTP client does it by itself when it is handed the parameters",
    ),
    (
        "plus-for-blank",
        "a `+` of the signature arrives as a blank",
        "percent-encode the signature: `+` is `%2B`",
    ),
    (
        "unsigned",
        "nothing at all in the request shows who sent it",
        "set the secret at the sender; many senders sign only once it is set",
    ),
    (
        "address",
        "the service refused it for where it came from, and asked for no proof",
        "if this is the sender, add its network to `addresses`; behind a proxy name that in `trusted_proxies` of `[door]`",
    ),
    // How the signature is written
    (
        "signature-encoding",
        "the signature is right but written in another encoding",
        "write it as the bridge's `format` says, or say there what the sender does: `{hex}`, `{base64}`, `{base64url}`",
    ),
    (
        "signature-prefix",
        "the signature is right but what stands around it is not",
        "write it as the bridge's `format` says, or change `format`",
    ),
    (
        "signature-quoted",
        "the signature is in quotes",
        "take the quotes away where the header is set",
    ),
    (
        "signature-encoded-twice",
        "the signature was encoded twice",
        "encode the bytes of the HMAC once, not its hex digits",
    ),
    (
        "signature-truncated",
        "the signature is right as far as it goes, but cut off",
        "send all of it: a shorter one is refused, for it is easier to guess",
    ),
    (
        "signature-length",
        "a signature of the bridge's kind has another length",
        "send all bytes of the HMAC, written as the bridge's `format` says",
    ),
    (
        "signature-placeholder",
        "a variable stands where the signature should be",
        "it was never filled in at the sender",
    ),
    (
        "algorithm",
        "the signature was made with another hash",
        "choose the bridge's hash at the sender, or name the sender's as `scheme`",
    ),
    (
        "plain-hash",
        "a bare hash was made, no HMAC",
        "use HMAC: with a bare hash whoever sees one request can sign others",
    ),
    (
        "key-and-message-swapped",
        "the key and what is signed have changed places",
        "mind the order of the arguments: the key is the secret, unless the bridge declares `key`",
    ),
    // The ways that show a secret
    (
        "authorization-scheme",
        "the token is right, but `Authorization` does not say it as asked",
        "`Authorization: Bearer TOKEN`",
    ),
    (
        "basic-user",
        "the password is right, the user is another one",
        "the secret is `user:password`: use the same user at both ends",
    ),
    (
        "basic-swapped",
        "user and password have changed places",
        "the secret is `user:password`, in this order",
    ),
    (
        "basic-password-only",
        "the password is right, and no user stands in front of it",
        "the secret is `user:password`: send both, with the colon",
    ),
    (
        "authorization-twice",
        "the token is right, and the word in front of it is there twice",
        "give the client the bare token, or the whole header: many add the word themselves",
    ),
    (
        "basic-not-encoded",
        "user and password are right but not in base64",
        "let the HTTP client make the header: `curl -u user:password`",
    ),
    (
        "token-prefix",
        "the token is right, with a word in front of it",
        "send the bare token, or write the word into `format`: `format = \"Bearer {token}\"`",
    ),
    // The secret
    (
        "secret-absent",
        "the bridge's secret cannot be read here, so nothing can be compared with it",
        "give `verify` what the service has: its variables (`set -a; . secrets.env`), its files. A running service goes on with the secret that it has read; one that starts without it refuses what comes to this bridge",
    ),
    (
        "secret-of-another-bridge",
        "it was made with the secret of another bridge",
        "give the sender this bridge's secret, or post to that bridge",
    ),
    (
        "secret-as-signature",
        "the secret itself stands where the signature should be",
        "make an HMAC with it (`sign` shows the right request), or ask for a token: `scheme = \"token\"`. Then take a new secret, for this one was sent in clear",
    ),
    (
        "secret-newline",
        "one of the two secrets ends with a line break",
        "`printf %s` writes none, `echo` does; a secret's file may end with one, a variable may not",
    ),
    (
        "secret-blanks",
        "one of the two secrets has blanks around it",
        "set it again without them",
    ),
    (
        "secret-quotes",
        "one of the two secrets is in quotes",
        "quotes in env files and YAML are not always taken away: set it without them",
    ),
    (
        "secret-case",
        "the letters of the secret are in another case",
        "copy the secret as it is",
    ),
    (
        "secret-percent",
        "one of the two secrets is percent-encoded",
        "use the secret itself at both ends",
    ),
    (
        "secret-cut",
        "the sender's secret lacks characters that the bridge's has",
        "copy the whole secret; a double click often leaves out the last sign",
    ),
    (
        "secret-longer",
        "the sender's secret has characters that the bridge's lacks",
        "set the same secret at both ends; look for what was pasted with it",
    ),
    (
        "secret-unset",
        "the sender's secret is the word that a program writes for nothing",
        "the variable is not set where the sender reads it",
    ),
    (
        "secret-empty",
        "the sender signs with an empty secret",
        "set the secret at the sender; often a variable that is not set there",
    ),
    (
        "secret-placeholder",
        "the sender uses the name of the secret in place of the secret",
        "the variable was never expanded at the sender: mind single quotes and template syntax",
    ),
    (
        "secret-example",
        "the sender still uses a secret out of an example",
        "set the bridge's secret at the sender",
    ),
    (
        "key-not-decoded",
        "the sender uses the secret's text as the key, and the bridge decodes it",
        "decode it at the sender (`whsec_` is cut off, the rest is base64), or leave `key` out of `[auth]`",
    ),
    (
        "key-decoded",
        "the sender decodes the secret, and the bridge uses its text as the key",
        "use the text at the sender, or say it in `[auth]`: `key = \"{hex}\"`, `\"{base64}\"` or `\"whsec_{base64}\"`",
    ),
    (
        "key-encoded",
        "the sender uses the secret in another encoding as the key",
        "use the secret itself at the sender",
    ),
    (
        "key-hashed",
        "the sender uses a hash of the secret as the key",
        "use the secret itself at the sender",
    ),
    (
        "another-bridge",
        "it is what another bridge expects",
        "post to that bridge's address",
    ),
    // What is signed
    (
        "signed-pattern",
        "something else is signed than the bridge declares",
        "if this is what the sender does, say so in `[auth]` as `signed`",
    ),
    (
        "form-field",
        "the form's field was signed, not the form",
        "sign the body as it is sent, or declare `signed = \"{form:payload}\"`",
    ),
    (
        "whole-form",
        "the whole form was signed, not its field",
        "sign what the bridge's `signed` names, or declare `signed = \"{body}\"`",
    ),
    // The time
    (
        "clock",
        "the signature may be right, the time is not",
        "for a request of long ago give `--now`; otherwise set the clocks of both machines (NTP)",
    ),
    (
        "clock-zone",
        "the time is off by whole hours, as when local time is taken for UTC",
        "count the seconds since 1970 in UTC; for a request of long ago give `--now`",
    ),
    (
        "timestamp-unit",
        "the time is written in another unit",
        "write it as the bridge says, or set `unit` in the bridge's `timestamp`",
    ),
    // The body
    (
        "body-reserialised",
        "the body was written anew between signing and here",
        "sign the very bytes that are sent: serialise once, sign that text, send that text",
    ),
    (
        "body-newline",
        "a line break at the end of the body is signed at one end only",
        "sign and send the same bytes; `echo` adds a line break, `printf %s` does not, `curl -d @file` takes them away (use `--data-binary`)",
    ),
    (
        "body-line-ends",
        "the line ends were changed on the way",
        "send the file as it is (`curl --data-binary`); look for an editor or a checkout that changes line ends",
    ),
    (
        "body-bom",
        "a byte order mark stands in front of the body at one end only",
        "write UTF-8 without a byte order mark",
    ),
    (
        "body-blanks",
        "blanks around the body are signed at one end only",
        "sign the body as it is sent, without trimming",
    ),
    (
        "body-charset",
        "the body was signed in another character set than it came in",
        "sign the UTF-8 bytes that are sent, not the characters",
    ),
    (
        "body-empty",
        "an empty body was signed",
        "the sender read the body away before it signed, or signs before it has one",
    ),
    (
        "body-digest",
        "a hash of the body was signed in place of the body",
        "sign the body itself",
    ),
    (
        "body-stringified",
        "the body was made a JSON text once more before it was signed",
        "do not serialise what is a text already",
    ),
    (
        "body-compressed",
        "the compressed body was signed",
        "sign the body before it is compressed, or send it plain: the door unpacks before it verifies",
    ),
    (
        "body-cut",
        "the body is shorter than its `Content-Length` says",
        "save the whole request",
    ),
    (
        "form-for-json",
        "JSON was signed, but the body came as a form",
        "send the JSON itself, with `Content-Type: application/json`",
    ),
    (
        "json-for-form",
        "a form was signed, but the body came as JSON",
        "sign what is sent",
    ),
    (
        "form-reencoded",
        "the form was encoded anew on the way",
        "sign the very bytes that are sent; a proxy may write `%20` for `+`",
    ),
    // Nothing fits
    (
        "unreadable",
        "the value does not read as the bridge's `format` says",
        "compare it with `format` in `[auth]`",
    ),
    (
        "no-time",
        "there is no time that reads as one",
        "send it where `timestamp` in `[auth]` says, in that unit",
    ),
    (
        "no-secret-for-this",
        "no secret of the bridge is made for what the sender shows",
        "add a secret of that kind to `secrets`, or change the way at the sender",
    ),
    (
        "looks-elsewhere",
        "something in the request may show who sent it, but not where the bridge looks",
        "name that place in `[auth]`, or set the sender as the bridge expects it",
    ),
    (
        "unreadable-masked",
        "what stands in the place of the signature reads like none, so the service hid it before it kept the request",
        "compare its length with `format` in `[auth]`; for certainty save the request at the sender",
    ),
    (
        "body-hidden",
        "a secret of the bridge stood in the body, and the service hid it before it kept the request: what was signed is not here any more",
        "save the request at the sender, or let the sender leave the secret out",
    ),
    (
        "masked",
        "the service hid what was shown before it kept the request, and it is not as long as the secret",
        "set the secret again at the sender; for certainty save the request at the sender",
    ),
    (
        "masked-alike",
        "what was shown is as long as the secret, and yet is another one",
        "set the secret again at the sender: it has the old one, or another of the same kind",
    ),
    (
        "no-cause-found",
        "no known mistake explains it",
        "most likely the secret is another one, or the body was changed on the way: set the secret again at both ends, and compare the lengths above with the sender's",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_name_of_its_own_a_sentence_and_a_remedy() {
        for (at, (id, says, remedy)) in CAUSES.iter().enumerate() {
            assert!(!says.is_empty() && !remedy.is_empty(), "{id}");
            assert!(CAUSES[..at].iter().all(|(other, ..)| other != id), "{id}");
        }
    }
}
