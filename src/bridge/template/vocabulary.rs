//! The words that templates may use: every function with its usage, its arguments and what makes it.
//!
//! The table for people stands in the documentation of the module [`template`](super).

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};
use serde_json::Value;

use super::escape::unready;
use super::speak::Speaking;
use super::{Face, chat, fields, markup, moment, text};

/// The longest text a function takes, in bytes; the rest is cut off. A message has at most 8 KiB, so nothing is missed, and
/// a huge payload cannot be multiplied.
const LONGEST: usize = 64 * 1024;

/// One word of the language of templates.
pub(super) struct Card {
    /// As it stands in a template.
    pub name: &'static str,
    /// How many arguments it takes at least and at most.
    pub arguments: (usize, usize),
    /// The `name=value` arguments it knows; `None` when any name will do.
    pub named: Option<&'static [&'static str]>,
    /// Where it stands.
    pub stands: Stands,
    /// Whether an absent argument is worth a note.
    pub absent: Absent,
    /// What makes it.
    pub made_by: MadeBy,
}

/// Where a word may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// `{{word …}}` or `(word …)`.
    Inline,
    /// `{{#word …}}…{{/word}}`.
    Block,
    /// Both.
    Both,
}

/// What it means that an argument is absent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// The message probably lacks something.
    Noted,
    /// The word is made to ask just that.
    Fine,
}

/// Who makes the value.
#[derive(Clone, Copy)]
pub(super) enum MadeBy {
    /// handlebars itself.
    Handlebars,
    /// A function of its arguments.
    Arguments(fn(&Call) -> Value),
    /// A function that also knows for whom it speaks: language, time zone, people.
    Speaker(fn(&Call, &Speaking) -> Value),
}

use Absent::{Fine, Noted};
use MadeBy::{Arguments, Handlebars as Builtin, Speaker};
use Stands::{Block, Both, Inline};

const ANY: usize = usize::MAX;
const NONE: Option<&[&str]> = Some(&[]);

const fn card(
    name: &'static str,
    arguments: (usize, usize),
    named: Option<&'static [&'static str]>,
    stands: Stands,
    absent: Absent,
    made_by: MadeBy,
) -> Card {
    Card {
        name,
        arguments,
        named,
        stands,
        absent,
        made_by,
    }
}

/// All words. `log` of handlebars is not among them: it would write payloads into the log.
pub(super) const WORDS: &[Card] = &[
    card("if", (1, 1), Some(&["includeZero"]), Block, Fine, Builtin),
    card(
        "unless",
        (1, 1),
        Some(&["includeZero"]),
        Block,
        Fine,
        Builtin,
    ),
    card("each", (1, 1), NONE, Block, Fine, Builtin),
    card("with", (1, 1), NONE, Block, Fine, Builtin),
    card("lookup", (2, 2), NONE, Inline, Fine, Builtin),
    card("eq", (2, 2), NONE, Both, Fine, Builtin),
    card("ne", (2, 2), NONE, Both, Fine, Builtin),
    card("gt", (2, 2), NONE, Both, Fine, Builtin),
    card("gte", (2, 2), NONE, Both, Fine, Builtin),
    card("lt", (2, 2), NONE, Both, Fine, Builtin),
    card("lte", (2, 2), NONE, Both, Fine, Builtin),
    card("and", (1, ANY), NONE, Both, Fine, Builtin),
    card("or", (1, ANY), NONE, Both, Fine, Builtin),
    card("not", (1, 1), NONE, Both, Fine, Builtin),
    card("len", (1, 1), NONE, Inline, Fine, Builtin),
    card("upper", (1, 1), NONE, Inline, Noted, Arguments(text::upper)),
    card("lower", (1, 1), NONE, Inline, Noted, Arguments(text::lower)),
    card(
        "truncate",
        (2, 2),
        NONE,
        Inline,
        Noted,
        Arguments(text::truncate),
    ),
    card(
        "first_line",
        (1, 1),
        NONE,
        Inline,
        Noted,
        Arguments(text::first_line),
    ),
    card(
        "excerpt",
        (1, 2),
        Some(&["lines"]),
        Inline,
        Noted,
        Arguments(text::excerpt),
    ),
    card(
        "shortsha",
        (1, 1),
        NONE,
        Inline,
        Noted,
        Arguments(text::shortsha),
    ),
    card(
        "replace",
        (3, 3),
        NONE,
        Inline,
        Noted,
        Arguments(text::replace),
    ),
    card(
        "before",
        (2, 2),
        NONE,
        Inline,
        Noted,
        Arguments(text::before),
    ),
    card("after", (2, 2), NONE, Inline, Noted, Arguments(text::after)),
    card(
        "concat",
        (1, ANY),
        NONE,
        Inline,
        Noted,
        Arguments(text::concat),
    ),
    card(
        "join",
        (1, 2),
        Some(&["field"]),
        Inline,
        Fine,
        Arguments(text::join),
    ),
    card(
        "default",
        (2, ANY),
        NONE,
        Inline,
        Fine,
        Arguments(text::default),
    ),
    card(
        "starts_with",
        (2, 2),
        NONE,
        Inline,
        Fine,
        Arguments(text::starts_with),
    ),
    card(
        "contains",
        (2, 2),
        NONE,
        Inline,
        Fine,
        Arguments(text::contains),
    ),
    card("take", (2, 2), NONE, Inline, Fine, Arguments(text::take)),
    card("where", (3, 3), NONE, Inline, Fine, Arguments(text::filter)),
    card("minus", (2, 2), NONE, Inline, Noted, Arguments(text::minus)),
    card(
        "plural",
        (3, 3),
        NONE,
        Inline,
        Noted,
        Arguments(text::plural),
    ),
    card(
        "number",
        (1, 1),
        Some(&["digits"]),
        Inline,
        Noted,
        Arguments(text::number),
    ),
    card(
        "json",
        (1, 1),
        Some(&["pretty"]),
        Inline,
        Noted,
        Arguments(text::json),
    ),
    card(
        "matchers",
        (1, 1),
        NONE,
        Inline,
        Noted,
        Arguments(fields::matchers),
    ),
    card(
        "fields",
        (1, 1),
        Some(&["first", "except", "limit"]),
        Inline,
        Fine,
        Speaker(fields::fields),
    ),
    card(
        "url_encode",
        (1, 1),
        NONE,
        Inline,
        Noted,
        Arguments(text::url_encode),
    ),
    card(
        "url_decode",
        (1, 1),
        NONE,
        Inline,
        Noted,
        Arguments(text::url_decode),
    ),
    card("money", (2, 2), NONE, Inline, Noted, Arguments(chat::money)),
    card(
        "plain",
        (1, 1),
        Some(&["form"]),
        Inline,
        Noted,
        Arguments(chat::said),
    ),
    card("link", (2, 2), NONE, Inline, Noted, Arguments(markup::link)),
    card("bold", (1, 1), NONE, Inline, Noted, Arguments(markup::bold)),
    card("code", (1, 1), NONE, Inline, Noted, Arguments(markup::code)),
    card(
        "code_block",
        (1, 2),
        NONE,
        Inline,
        Noted,
        Arguments(markup::code_block),
    ),
    card(
        "quote",
        (1, 2),
        NONE,
        Inline,
        Noted,
        Arguments(markup::quote),
    ),
    card(
        "lines",
        (1, 2),
        NONE,
        Inline,
        Noted,
        Arguments(markup::lines),
    ),
    card("time", (1, 1), NONE, Inline, Noted, Speaker(moment::time)),
    card("date", (1, 1), NONE, Inline, Noted, Speaker(moment::date)),
    card("ago", (1, 1), NONE, Inline, Noted, Speaker(moment::ago)),
    card(
        "duration",
        (1, 2),
        NONE,
        Inline,
        Noted,
        Speaker(moment::duration),
    ),
    card("t", (1, 1), None, Inline, Noted, Speaker(text::translate)),
    card(
        "mention",
        (1, 2),
        NONE,
        Inline,
        Noted,
        Speaker(markup::mention),
    ),
];

/// The word of that name.
pub(super) fn find(name: &str) -> Option<&'static Card> {
    WORDS.iter().find(|card| card.name == name)
}

/// What a function was called with.
pub(super) struct Call<'a, 'rc> {
    /// Where its value will stand.
    pub face: Face,
    helper: &'a Helper<'rc>,
}

impl<'a> Call<'a, '_> {
    /// The argument at `index`; null when it is absent.
    pub fn value(&self, index: usize) -> &'a Value {
        self.helper
            .param(index)
            .map_or(&Value::Null, |argument| argument.value())
    }

    /// How many arguments there are.
    pub fn count(&self) -> usize {
        self.helper.params().len()
    }

    /// The argument as a text without markup.
    pub fn text(&self, index: usize) -> String {
        unready(&shorten(words(self.value(index))))
    }

    /// The argument as a text in which ready markup stays ready.
    pub fn marked(&self, index: usize) -> String {
        shorten(words(self.value(index)))
    }

    /// The argument as a number, also when it is written as a text.
    pub fn number(&self, index: usize) -> Option<f64> {
        number_of(self.value(index))
    }

    /// The argument as a size; `otherwise` when it is none.
    pub fn size(&self, index: usize, otherwise: usize) -> usize {
        // A negative or broken number becomes 0: `as` saturates.
        self.number(index)
            .map_or(otherwise, |number| number as usize)
    }

    /// The argument `name=…`.
    pub fn named(&self, name: &str) -> Option<&'a Value> {
        self.helper.hash_get(name).map(|argument| argument.value())
    }

    /// All `name=…` arguments, with markup kept ready.
    pub fn all_named(&self) -> Vec<(&str, String)> {
        self.helper
            .hash()
            .iter()
            .map(|(name, argument)| (*name, shorten(words(argument.value()))))
            .collect()
    }

    /// Whether the template itself says this argument, so that no payload chose it.
    pub fn is_written_out(&self, index: usize) -> bool {
        self.helper
            .param(index)
            .is_some_and(|argument| argument.try_get_constant_value().is_some())
    }
}

/// A value as words: lists with commas, objects as JSON.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A number, also when it is written as a text.
pub(super) fn number_of(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

fn shorten(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text::boundary(&text, LONGEST));
    }
    text
}

/// The name under which a note-taker stands in a render; no template can write it.
pub(super) const NOTE_TAKER: &str = "@absent";

/// Teaches a registry the words that need nobody to speak for.
pub(super) fn teach(registry: &mut Handlebars<'static>, face: Face) {
    for card in WORDS {
        if let Arguments(make) = card.made_by {
            registry.register_helper(card.name, Box::new(Function { card, face, make }));
        }
    }
    registry.register_helper("helperMissing", Box::new(AbsentField));
}

/// Teaches one render the words that speak for somebody.
pub(super) fn teach_speaker<'reg: 'rc, 'rc>(
    context: &mut RenderContext<'reg, 'rc>,
    face: Face,
    speaking: &'rc Speaking<'rc>,
) {
    for card in WORDS {
        if let Speaker(make) = card.made_by {
            let function = Spoken {
                card,
                face,
                make,
                speaking,
            };
            context.register_local_helper(card.name, Box::new(function));
        }
    }
}

struct Function {
    card: &'static Card,
    face: Face,
    make: fn(&Call) -> Value,
}

impl HelperDef for Function {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        if self.card.absent == Noted {
            note_absent(helper, registry, context, render)?;
        }
        let call = Call {
            face: self.face,
            helper,
        };
        Ok(ScopedJson::Derived((self.make)(&call)))
    }
}

struct Spoken<'a> {
    card: &'static Card,
    face: Face,
    make: fn(&Call, &Speaking) -> Value,
    speaking: &'a Speaking<'a>,
}

impl HelperDef for Spoken<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        if self.card.absent == Noted {
            note_absent(helper, registry, context, render)?;
        }
        let call = Call {
            face: self.face,
            helper,
        };
        Ok(ScopedJson::Derived((self.make)(&call, self.speaking)))
    }
}

/// Tells the note-taker, if there is one, which arguments are absent.
fn note_absent<'reg: 'rc, 'rc>(
    helper: &Helper<'rc>,
    registry: &'reg Handlebars<'reg>,
    context: &'rc Context,
    render: &mut RenderContext<'reg, 'rc>,
) -> Result<(), RenderError> {
    let mut arguments = helper.params().iter().chain(helper.hash().values());
    if arguments.any(|argument| argument.is_value_missing())
        && let Some(taker) = render.get_local_helper(NOTE_TAKER)
    {
        taker.call_inner(helper, registry, context, render)?;
    }
    Ok(())
}

/// handlebars calls this for `{{a.b}}` where there is no `a.b`.
struct AbsentField;

impl HelperDef for AbsentField {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        if let Some(taker) = render.get_local_helper(NOTE_TAKER) {
            taker.call_inner(helper, registry, context, render)?;
        }
        Ok(ScopedJson::Missing)
    }
}
