//! Destinations and mentions: where a route points, and whom it calls.

use super::expression::{Expression, Names};
use super::group::Groups;
use super::people::People;
use super::problem::{Flaw, nearest};
use super::reading::{Reading, Text};
use super::written::{WrittenDestination, WrittenMention};
use crate::model::{Conversation, Mention};

/// Where a route points.
#[derive(Clone, Debug)]
pub enum Destination {
    /// `group:ops`: always the same conversation.
    Fixed {
        /// As it is written.
        written: String,
        /// Where that is.
        conversation: Conversation,
    },
    /// `{ group = "…" }`: names that the event gives. They count only where `[groups]` or `people.toml` knows them, so that
    /// no payload chooses its reader.
    Computed {
        /// What kind of conversation.
        what: What,
        /// Gives a name or a list of names.
        expression: Expression,
    },
}

/// The kinds of conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A group.
    Group,
    /// A person's chat.
    Person,
    /// A person's system notifications.
    Notice,
}

/// Whom a route calls.
#[derive(Clone, Debug)]
pub enum Called {
    /// Always the same.
    Fixed(Mention),
    /// A name of `people.toml`, or a list of them, that the event gives.
    Computed(Expression),
}

impl What {
    /// All of them.
    pub const ALL: [What; 3] = [What::Group, What::Person, What::Notice];

    /// The word in front of the colon.
    pub fn word(self) -> &'static str {
        match self {
            What::Group => "group",
            What::Person => "person",
            What::Notice => "notice",
        }
    }

    /// The conversation behind a name; `None` when nobody knows that name.
    pub fn find(self, name: &str, groups: &Groups, people: &People) -> Option<Conversation> {
        Some(match self {
            What::Group => Conversation::Group(groups.get(name)?.id.clone()),
            What::Person => Conversation::Person(people.find(name)?.user_id),
            What::Notice => Conversation::Notice(people.find(name)?.user_id),
        })
    }
}

/// The conversation of a destination as an operator writes it: `group:ops`, `group:#2839678182`, `person:alice`,
/// `notice:#u_1001`.
///
/// # Errors
/// Says what is wrong, with the place in `text` and with advice.
pub fn parse_destination(
    text: &str,
    groups: &Groups,
    people: &People,
) -> Result<Conversation, Flaw> {
    let words = || What::ALL.map(What::word);
    let Some((word, name)) = text.split_once(':') else {
        let flaw = Flaw::new(0..text.len(), format!("`{text}` is no destination"));
        return Err(match groups.contains_key(text) {
            true => flaw.help(format!("did you mean `group:{text}`?")),
            false => flaw.help("write `group:NAME`, `person:NAME` or `notice:NAME`"),
        });
    };
    let Some(what) = What::ALL.into_iter().find(|what| what.word() == word) else {
        let flaw = Flaw::new(0..word.len(), format!("unknown destination `{word}:`"));
        return Err(match nearest(word, words()) {
            Some(near) => flaw.help(format!("did you mean `{near}:{name}`?")),
            None => flaw.help("a destination begins with `group:`, `person:` or `notice:`"),
        });
    };
    let place = word.len() + 1..text.len();
    match name.strip_prefix('#') {
        Some("") => return Err(Flaw::new(place, "the id behind `#` is missing")),
        Some(id) => {
            return Ok(match what {
                What::Group => Conversation::Group(id.to_owned()),
                What::Person => Conversation::Person(id.to_owned()),
                What::Notice => Conversation::Notice(id.to_owned()),
            });
        }
        None => {}
    }
    if let Some(conversation) = what.find(name, groups, people) {
        return Ok(conversation);
    }
    if name.is_empty() {
        return Err(Flaw::new(
            place,
            format!("the name behind `{word}:` is missing"),
        ));
    }
    Err(match what {
        What::Group => {
            let flaw = Flaw::new(place, format!("unknown group `{name}`"));
            match nearest(name, groups.keys().map(String::as_str)) {
                Some(near) => flaw.help(format!("did you mean `{near}`?")),
                None => flaw.help(format!(
                    "name it in `[groups]` of openim-bridge.toml, `{name} = \"<id>\"`; `openim-bridge find groups` lists ids"
                )),
            }
        }
        What::Notice if groups.contains_key(name) => Flaw::new(
            place,
            format!("`{name}` is a group: notices go to persons only"),
        )
        .help(format!("write `group:{name}`")),
        What::Person | What::Notice => unknown_person(place, name, people),
    })
}

fn unknown_person(place: std::ops::Range<usize>, name: &str, people: &People) -> Flaw {
    let flaw = Flaw::new(place, format!("unknown person `{name}`"));
    match people.nearest(name) {
        Some(near) => flaw.help(format!("did you mean `{near}`?")),
        None => flaw.help(format!("name them in people.toml, `\"{name}\" = \"<userID>\"`; `openim-bridge find people` lists ids")),
    }
}

/// Compiles one entry of `to`; what is wrong is noted.
pub(super) fn compile_destination(
    reading: &Reading<'_>,
    written: &WrittenDestination,
    names: &Names,
    groups: &Groups,
    people: &People,
) -> Option<Destination> {
    match written {
        WrittenDestination::Fixed(text) => match parse_destination(&text.value, groups, people) {
            Ok(conversation) => Some(Destination::Fixed {
                written: text.value.clone(),
                conversation,
            }),
            Err(flaw) => {
                reading.error_in(text, flaw);
                None
            }
        },
        WrittenDestination::Computed { what, expression } => {
            let what = What::ALL.into_iter().find(|known| known.word() == *what)?;
            let expression = compile_expression(reading, expression, names)?;
            Some(Destination::Computed { what, expression })
        }
    }
}

/// Compiles one entry of `mention`; what is wrong is noted.
pub(super) fn compile_mention(
    reading: &Reading<'_>,
    written: &WrittenMention,
    names: &Names,
    people: &People,
) -> Option<Called> {
    let text = match written {
        WrittenMention::Computed(expression) => {
            return compile_expression(reading, expression, names).map(Called::Computed);
        }
        WrittenMention::Fixed(text) => text,
    };
    if text.value == "everyone" {
        return Some(Called::Fixed(Mention::Everyone));
    }
    let Some(name) = text.value.strip_prefix("person:") else {
        let flaw = Flaw::new(
            0..text.value.len(),
            format!("`{}` calls nobody", text.value),
        );
        reading.error_in(
            text,
            match people.find(&text.value) {
                Some(_) => flaw.help(format!("did you mean `person:{}`?", text.value)),
                None => flaw.help("write `person:NAME`, a name of people.toml, or `everyone`"),
            },
        );
        return None;
    };
    let place = text.value.len() - name.len()..text.value.len();
    if let Some(user_id) = name.strip_prefix('#').filter(|id| !id.is_empty()) {
        return Some(Called::Fixed(Mention::Person {
            user_id: user_id.to_owned(),
            name: user_id.to_owned(),
        }));
    }
    match people.find(name) {
        Some(person) => Some(Called::Fixed(Mention::Person {
            user_id: person.user_id,
            name: person.name,
        })),
        None => {
            reading.error_in(text, unknown_person(place, name, people));
            None
        }
    }
}

/// Compiles an expression; its flaws are noted at their places in the file.
pub(super) fn compile_expression(
    reading: &Reading<'_>,
    text: &Text,
    names: &Names,
) -> Option<Expression> {
    note_flaws(reading, text, Expression::compile(&text.value, names))
}

/// Compiles a condition, as `compile_expression` does.
pub(super) fn compile_condition(
    reading: &Reading<'_>,
    text: &Text,
    names: &Names,
) -> Option<Expression> {
    let compiled = Expression::compile_condition(&text.value, names);
    note_flaws(reading, text, compiled)
}

fn note_flaws(
    reading: &Reading<'_>,
    text: &Text,
    compiled: Result<Expression, Vec<Flaw>>,
) -> Option<Expression> {
    match compiled {
        Ok(expression) => Some(expression),
        Err(flaws) => {
            for flaw in flaws {
                reading.error_in(text, flaw);
            }
            None
        }
    }
}
