//! `challenge`: a value that a sender asks to be answered, to see that somebody listens at its address.

use super::super::problem::Flaw;
use super::encoding::Encoding;
use super::key::{KeyRule, Rule};
use super::pattern::{Holds, Piece, Template, cut, unknown};
use super::place::Place;
use super::written::Reader;
use super::{Scheme, Way};

/// What a sender may ask to be answered.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Where the challenge stands.
    pub from: Place,
    /// How the answer is put together.
    pub answer: Vec<Piece<Says>>,
}

/// A name in `answer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// `{challenge}`: the challenge itself.
    Challenge,
    /// `{hex}`, `{base64}`: the MAC of the challenge.
    Mac(Encoding),
}

const NAMES: [(&str, Says); 3] = [
    ("challenge", Says::Challenge),
    ("hex", Says::Mac(Encoding::Hex)),
    ("base64", Says::Mac(Encoding::Base64)),
];

impl Challenge {
    /// The longest challenge that is answered without a proof, in bytes.
    pub const LONGEST: usize = 256;

    /// Whether a text may be answered to anybody: letters, digits and `_.~-`, so that nobody gets markup shown or JSON
    /// signed.
    pub fn is_plain(text: &[u8]) -> bool {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.~-".contains(byte);
        (1..=Challenge::LONGEST).contains(&text.len()) && text.iter().all(plain)
    }

    /// Whether the answer is signed.
    pub fn is_signed(&self) -> bool {
        let signed = |piece: &Piece<Says>| matches!(piece, Piece::Name(Says::Mac(_)));
        self.answer.iter().any(signed)
    }

    /// Whether the answer is JSON; otherwise it is plain text.
    pub fn is_json(&self) -> bool {
        matches!(self.answer.first(), Some(Piece::Text(text)) if text.starts_with('{'))
    }

    /// The way whose secret signs the answer: the first with a MAC.
    pub fn way(ways: &[Way]) -> Option<&Way> {
        ways.iter()
            .find(|way| matches!(way.scheme, Scheme::Hmac(_)))
    }
}

/// Reads `challenge`.
pub(super) fn challenge(reader: &mut Reader<'_>, rules: &[Rule]) -> Option<Challenge> {
    let (table, span) = reader.table("challenge")?;
    let mut inner = reader.inner("challenge", table, span);
    inner.only(&["from", "answer"], "`challenge`");
    for (key, help) in [
        ("from", "`from = \"body:/challenge\"` says where it stands"),
        ("answer", "`answer = \"{challenge}\"` gives it back"),
    ] {
        if !inner.has(key) {
            inner.missing(format!("`{key}` is missing in `challenge`"), help);
        }
    }
    let from = inner
        .text("from")
        .and_then(|text| match Place::parse(&text.text) {
            Ok(place) if rules.iter().any(|rule| rule.scheme.looks_at(&place)) => {
                let message = "the challenge cannot stand where the sender shows who it is";
                inner.wrong("challenge", text.flaw(message));
                None
            }
            Ok(place) => Some(place),
            Err(flaw) => {
                inner.wrong("challenge", text.place(flaw));
                None
            }
        });
    let answer = inner.text("answer").and_then(|text| {
        let flaw = match pieces(&text.text) {
            Err(flaw) => text.place(flaw),
            Ok(pieces) => {
                let mut names = pieces.iter().filter_map(|piece| match piece {
                    Piece::Name(name) => Some(*name),
                    Piece::Text(_) => None,
                });
                let signed = names.clone().any(|name| matches!(name, Says::Mac(_)));
                match names.next() {
                    None => text.flaw("the answer has nothing of the challenge in it"),
                    Some(_) if signed && !rules.iter().any(signs_alone) => text.flaw(
                        "a signed answer needs an hmac scheme whose key is made of the secret alone",
                    ),
                    Some(_) => return Some(pieces),
                }
            }
        };
        inner.wrong("challenge", flaw);
        None
    });
    reader.mistakes.append(&mut inner.mistakes);
    Some(Challenge {
        from: from?,
        answer: answer?,
    })
}

fn pieces(text: &str) -> Result<Vec<Piece<Says>>, Flaw> {
    let piece = |(span, piece)| match piece {
        Piece::Text(text) => Ok(Piece::Text(text)),
        Piece::Name(name) => match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, name)) => Ok(Piece::Name(*name)),
            None => Err(unknown(span, name, NAMES.iter().map(|(known, _)| *known))),
        },
    };
    cut(text)?.into_iter().map(piece).collect()
}

/// Whether a challenge can be signed by this rule: no request is there to take other names from.
fn signs_alone(rule: &Rule) -> bool {
    let alone = |template: &Template| {
        let known =
            |piece: &Piece<Holds>| matches!(piece, Piece::Text(_) | Piece::Name(Holds::Secret));
        template.pieces().iter().all(known)
    };
    let fixed = |key: &KeyRule| match key {
        KeyRule::Read(_) => true,
        KeyRule::Build(template) => alone(template),
    };
    matches!(rule.scheme, Scheme::Hmac(_)) && rule.keys.iter().all(fixed)
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::super::{Auth, Mistake};
    use crate::model::Secret;

    const SIGNED: &str =
        "scheme = \"hmac-sha256\"\nsignature = \"header:x-sign\"\nformat = \"{hex}\"\n";

    fn compiled(declared: &str) -> Result<Auth, Vec<Mistake>> {
        let table = DeTable::parse(declared).unwrap();
        Auth::compile(table.get_ref(), &[Secret::new("x")])
    }

    #[track_caller]
    fn says(declared: &str, where_: &str, what: &str) {
        let mistakes = compiled(declared).expect_err(declared);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        let flaw = &mistakes[0].flaw;
        let help = flaw.help.as_deref().unwrap_or("");
        assert_eq!(&declared[flaw.span.clone()], where_, "{flaw:?}");
        let said = format!("{}; {help}", flaw.message);
        assert!(said.contains(what), "{said}");
    }

    #[test]
    fn a_challenge_says_where_it_stands_and_what_it_gets() {
        let with = |challenge: &str| format!("{SIGNED}challenge = {challenge}");
        let whole = "{ from = \"query:c\", answer = \"<{challenge}>{hex}{base64}\" }";
        let auth = compiled(&with(whole)).unwrap();
        let challenge = auth.challenge().unwrap();
        assert!(challenge.is_signed() && !challenge.is_json());
        says(
            &with("{ answer = \"{challenge}\" }"),
            "{ answer = \"{challenge}\" }",
            "`from` is missing",
        );
        says(
            &with("{ from = \"query:c\" }"),
            "{ from = \"query:c\" }",
            "`answer` is missing",
        );
        says(
            &with("{ from = \"quary:c\", answer = \"{challenge}\" }"),
            "quary:c",
            "did you mean `query`?",
        );
        says(
            &with("{ from = \"query:c\", answer = \"{chalenge}\" }"),
            "{chalenge}",
            "did you mean `{challenge}`?",
        );
        says(
            &with("{ from = \"query:c\", answer = \"{token}\" }"),
            "{token}",
            "unknown name `{token}`",
        );
        says(
            &with("{ from = \"query:c\", answer = \"ok\" }"),
            "\"ok\"",
            "nothing of the challenge",
        );
        says(
            &with("{ form = \"query:c\", answer = \"{challenge}\" }"),
            "form",
            "did you mean `from`?",
        );
    }

    #[test]
    fn the_challenge_stands_elsewhere_than_the_proof() {
        let challenge = |place: &str| {
            format!("challenge = {{ from = \"{place}\", answer = \"{{challenge}}\" }}")
        };
        for (declared, place) in [
            (SIGNED, "header:X-Sign"),
            ("scheme = \"token\"\ntoken = \"query:key\"\n", "query:key"),
            ("scheme = \"bearer\"\n", "header:authorization"),
            (
                "scheme = \"bearer\"\notherwise = { scheme = \"token\", token = \"path\" }\n",
                "path",
            ),
        ] {
            let declared = format!("{declared}{}", challenge(place));
            says(
                &declared,
                &format!("\"{place}\""),
                "where the sender shows who it is",
            );
        }
    }

    #[test]
    fn a_signed_answer_needs_a_mac_that_no_request_takes_part_in() {
        let signed = "challenge = { from = \"query:c\", answer = \"{hex}\" }";
        for declared in [
            "scheme = \"bearer\"\n".to_owned(),
            format!("{SIGNED}key = \"{{body}}{{secret}}\"\n"),
        ] {
            says(
                &format!("{declared}{signed}"),
                "\"{hex}\"",
                "needs an hmac scheme",
            );
        }
        for key in ["{secret}", "a{secret}b"] {
            assert!(compiled(&format!("{SIGNED}key = \"{key}\"\n{signed}")).is_ok());
        }
    }
}
