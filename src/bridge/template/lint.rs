//! Mistakes in one template that handlebars would only find while rendering: unknown functions, wrong arguments, names that
//! no event has.

use std::ops::Range;

use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};
use handlebars::{Path, Template};
use serde_json::Value;

use super::locale::{self, Locales};
use super::vocabulary::{self, Stands, WORDS};
use super::{EVENT_FIELDS, Face, NAMES, guard, nearest_name};
use crate::bridge::problem::{Flaw, Level};

/// What was seen in one template.
#[derive(Default)]
pub(super) struct Seen {
    /// What is wrong, or probably not meant.
    pub flaws: Vec<(Level, Flaw)>,
    /// The templates it calls.
    pub partials: Vec<Partial>,
    /// Names that are no name of an event. They count unless the template is called with values of its own.
    pub unknown_roots: Vec<Flaw>,
    /// Its deepest nesting of loops.
    pub loops: usize,
    /// Its deepest nesting of blocks.
    pub depth: usize,
}

/// A call of another template.
pub(super) struct Partial {
    /// Its name.
    pub name: String,
    /// Where it is called.
    pub span: Range<usize>,
    /// How many loops stand around the call.
    pub loops: usize,
    /// How many blocks stand around the call.
    pub depth: usize,
    /// It is called with values of its own, so that its names may mean something else.
    pub with_values: bool,
}

/// Looks at one template.
pub(super) fn look(source: &str, template: &Template, face: Face, locales: &Locales) -> Seen {
    let mut eye = Eye {
        source,
        face,
        locales,
        seen: Seen::default(),
    };
    let place = Place {
        span: 0..source.len().min(1),
        loops: 0,
        depth: 0,
        top: true,
    };
    eye.template(template, &place);
    eye.seen
}

impl Seen {
    /// The names of the templates that it calls.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        self.partials.iter().map(|call| call.name.as_str())
    }
}

/// Where the eye is.
#[derive(Clone)]
struct Place {
    /// The tag.
    span: Range<usize>,
    loops: usize,
    depth: usize,
    /// Names still mean the event, not an item of a list.
    top: bool,
}

struct Eye<'a> {
    source: &'a str,
    face: Face,
    locales: &'a Locales,
    seen: Seen,
}

impl Eye<'_> {
    fn template(&mut self, template: &Template, place: &Place) {
        self.seen.loops = self.seen.loops.max(place.loops);
        self.seen.depth = self.seen.depth.max(place.depth);
        let mut before: Option<&str> = None;
        for (index, element) in template.elements.iter().enumerate() {
            let mut here = place.clone();
            if let Some(at) = template.mapping.get(index) {
                here.span = guard::tag_span(self.source, guard::byte_at(self.source, at.0, at.1));
            }
            match element {
                TemplateElement::Expression(call) => self.expression(call, &here, before),
                TemplateElement::HtmlExpression(call) => {
                    self.expression(call, &here, before);
                    self.unescaped(call, &here);
                }
                TemplateElement::HelperBlock(block) => self.block(block, &here),
                TemplateElement::PartialExpression(partial) => self.partial(partial, &here),
                TemplateElement::PartialBlock(_) => self.error(
                    &here,
                    "",
                    "blocks for other templates (`{{#> …}}`) are not supported".to_owned(),
                    Some("call it with values: `{{> name value=…}}`".to_owned()),
                ),
                TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => {
                    self.error(
                        &here,
                        "",
                        "templates inside of templates (`{{#*inline …}}`) are not supported"
                            .to_owned(),
                        Some(
                            "put it into a file of its own, with a name that begins with `_`"
                                .to_owned(),
                        ),
                    )
                }
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
                _ => self.error(
                    &here,
                    "",
                    "this kind of tag is not supported".to_owned(),
                    None,
                ),
            }
            before = match element {
                TemplateElement::RawString(text) => Some(text),
                _ => None,
            };
        }
    }

    /// `{{word …}}`, `{{a.path}}`.
    fn expression(&mut self, call: &HelperTemplate, place: &Place, before: Option<&str>) {
        let Some(name) = call.name.as_name() else {
            let (message, help) = dynamic("function");
            return self.error(place, "", message, Some(help));
        };
        let bare = call.params.is_empty() && call.hash.is_empty();
        match vocabulary::find(name) {
            Some(card) if bare && card.arguments.0 > 0 => self.error(
                place,
                name,
                format!("`{name}` is a function and lacks its arguments"),
                Some(format!("for a field of that name write `this.{name}`")),
            ),
            Some(card) if card.stands == Stands::Block => self.error(
                place,
                name,
                format!("`{name}` opens a block"),
                Some(format!("write `{{{{#{name} …}}}} … {{{{/{name}}}}}`")),
            ),
            Some(_) => self.call(name, call, place),
            None if bare => {
                self.path(&call.name, place);
                let field = name
                    .strip_prefix("@root.")
                    .or(name.strip_prefix("@root/"))
                    .unwrap_or(name);
                if self.face != Face::Json && matches!(field, "event.time" | "event.received") {
                    self.tell(
                        Level::Advice,
                        place,
                        name,
                        format!("`{name}` is shown as machines write it, with all its digits"),
                        Some(format!("write `{{{{time {name}}}}}`")),
                    );
                }
                if self.face == Face::Markdown && before.is_some_and(|text| text.ends_with('`')) {
                    self.warn(
                        place,
                        name,
                        format!("`{name}` stands in backticks, where its escapes would be seen"),
                        Some(format!("write `{{{{code {name}}}}}`")),
                    );
                }
                if self.face == Face::Markdown && before.is_some_and(|text| text.ends_with("](")) {
                    self.warn(
                        place,
                        name,
                        format!("`{name}` stands as the address of a link and is not checked"),
                        Some(
                            "write `{{link text address}}`: it takes only http and https"
                                .to_owned(),
                        ),
                    );
                }
            }
            None => self.unknown_function(name, place),
        }
    }

    fn unescaped(&mut self, call: &HelperTemplate, place: &Place) {
        let name = call.name.as_name().unwrap_or_default();
        if call.params.is_empty() && call.hash.is_empty() {
            self.warn(
                place,
                name,
                format!("`{name}` is put in without escaping; who sends it can write markup"),
                Some(format!("two braces are enough: `{{{{{name}}}}}`")),
            );
        }
    }

    fn block(&mut self, block: &HelperTemplate, place: &Place) {
        let Some(name) = block.name.as_name() else {
            let (message, help) = dynamic("block");
            return self.error(place, "", message, Some(help));
        };
        match vocabulary::find(name) {
            Some(card) if card.stands == Stands::Inline => self.error(
                place,
                name,
                format!("`{name}` opens no block"),
                Some(format!(
                    "write `{{{{{name} …}}}}`, or `{{{{#if ({name} …)}}}}`"
                )),
            ),
            Some(_) => self.call(name, block, place),
            None => {
                let near = blocks_near(name);
                self.error(place, name, format!("there is no block `{name}`"), near);
            }
        }
        let mut inside = place.clone();
        inside.depth += 1;
        if let Some(other) = &block.inverse {
            self.template(other, &inside);
        }
        if name == "each" {
            inside.loops += 1;
        }
        inside.top &= !matches!(name, "each" | "with");
        if let Some(template) = &block.template {
            self.template(template, &inside);
        }
    }

    fn partial(&mut self, partial: &DecoratorTemplate, place: &Place) {
        let Some(name) = partial.name.as_name() else {
            let (message, help) = dynamic("template");
            return self.error(place, "", message, Some(help));
        };
        for value in partial.params.iter().chain(partial.hash.values()) {
            self.parameter(value, place);
        }
        if name == "@partial-block" {
            return self.error(
                place,
                name,
                "`@partial-block` is not supported".to_owned(),
                None,
            );
        }
        self.seen.partials.push(Partial {
            name: name.to_owned(),
            span: self.find(place, name),
            loops: place.loops,
            depth: place.depth,
            with_values: !place.top || !partial.params.is_empty() || !partial.hash.is_empty(),
        });
    }

    /// A known function or block with its arguments.
    fn call(&mut self, name: &str, call: &HelperTemplate, place: &Place) {
        let Some(card) = vocabulary::find(name) else {
            return self.unknown_function(name, place);
        };
        let (least, most) = card.arguments;
        let count = call.params.len();
        if count < least || count > most {
            let wanted = match (least, most) {
                (least, most) if least == most => least.to_string(),
                (least, usize::MAX) => format!("at least {least}"),
                (least, most) => format!("{least} to {most}"),
            };
            self.error(
                place,
                name,
                format!("`{name}` takes {wanted} arguments, here are {count}"),
                None,
            );
        }
        if let Some(known) = card.named {
            for given in call
                .hash
                .keys()
                .filter(|given| !known.contains(&given.as_str()))
            {
                let help = match known {
                    [] => format!("`{name}` has no named arguments"),
                    known => format!("`{name}` knows {}", known.join(", ")),
                };
                self.error(
                    place,
                    given,
                    format!("`{name}` has no argument `{given}`"),
                    Some(help),
                );
            }
        }
        if name == "t" {
            self.words(call, place);
        }
        for value in call.params.iter().chain(call.hash.values()) {
            self.parameter(value, place);
        }
    }

    /// The key and the values of `t`.
    fn words(&mut self, call: &HelperTemplate, place: &Place) {
        let Some(Parameter::Literal(Value::String(key))) = call.params.first() else {
            return;
        };
        let count = call.hash.contains_key("count").then_some(2.0);
        let Some(text) = self.locales.find("en", key, count) else {
            let near = nearest_name(key, self.locales.keys());
            let help = match near {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None => Some(format!("the keys stand in {}en.toml", locale::FOLDER)),
            };
            return self.error(place, key, format!("there are no words `{key}`"), help);
        };
        for wanted in locale::placeholders(text) {
            if !call.hash.contains_key(wanted) {
                let help = format!("its text is `{text}`: give it `{wanted}=…`");
                self.error(
                    place,
                    key,
                    format!("the words `{key}` lack `{wanted}`"),
                    Some(help),
                );
            }
        }
    }

    fn parameter(&mut self, value: &Parameter, place: &Place) {
        match value {
            Parameter::Path(_) | Parameter::Name(_) => self.path(value, place),
            Parameter::Subexpression(inner) => {
                if let TemplateElement::Expression(call) = inner.as_element() {
                    match call.name.as_name() {
                        Some(name) => match vocabulary::find(name) {
                            Some(card) if card.stands == Stands::Block => {
                                self.error(place, name, format!("`{name}` gives no value"), None);
                            }
                            _ => self.call(name, call, place),
                        },
                        None => {
                            let (message, help) = dynamic("function");
                            self.error(place, "", message, Some(help));
                        }
                    }
                }
            }
            // Literals ask for nothing.
            _ => {}
        }
    }

    /// A path into the event: its first name must be one of the event's.
    fn path(&mut self, path: &Parameter, place: &Place) {
        let Some(raw) = path.as_name() else { return };
        if let Parameter::Path(Path::Local(_)) = path {
            return;
        }
        let (from_root, rest) = match raw
            .strip_prefix("@root")
            .and_then(|rest| rest.strip_prefix(['.', '/']))
        {
            Some(rest) => (true, rest),
            None => (false, raw),
        };
        let rest = rest.strip_prefix("./").unwrap_or(rest);
        if rest.starts_with("..")
            || rest == "this"
            || rest.starts_with("this.")
            || rest.starts_with("this/")
            || rest.contains('[')
        {
            return;
        }
        let mut parts = rest.split(['.', '/']);
        let first = parts.next().unwrap_or_default();
        let second = parts.next();
        let is_event_field =
            first == "event" && second.is_some_and(|field| EVENT_FIELDS.contains(&field));
        if !from_root && !place.top {
            if is_event_field {
                self.warn(
                    place,
                    raw,
                    format!("inside of `each` and `with`, `{raw}` is a field of the item"),
                    Some(format!("write `@root.{raw}`")),
                );
            }
            return;
        }
        let span = self.find(place, raw);
        if !NAMES.contains(&first) {
            let flaw = Flaw::new(span, format!("there is no `{first}` here"));
            let near = nearest_name(first, NAMES.iter().copied());
            let flaw = match near {
                Some(near) => flaw.help(format!("did you mean `{near}`?")),
                None => flaw.help(format!(
                    "there are {}; a field of the payload is `body.{first}`",
                    NAMES.join(", ")
                )),
            };
            if from_root {
                self.seen.flaws.push((Level::Error, flaw));
            } else {
                self.seen.unknown_roots.push(flaw);
            }
        } else if first == "event"
            && !is_event_field
            && let Some(field) = second
        {
            let flaw = Flaw::new(span, format!("an event has no `{field}`"));
            let near = nearest_name(field, EVENT_FIELDS.iter().copied());
            let flaw = match near {
                Some(near) => flaw.help(format!("did you mean `event.{near}`?")),
                None => flaw.help(format!("it has {}", EVENT_FIELDS.join(", "))),
            };
            self.seen.unknown_roots.push(flaw);
        }
    }

    fn unknown_function(&mut self, name: &str, place: &Place) {
        let near = nearest_name(name, WORDS.iter().map(|card| card.name));
        let help = near.map(|near| format!("did you mean `{near}`?"));
        self.error(place, name, format!("there is no function `{name}`"), help);
    }

    fn error(&mut self, place: &Place, word: &str, message: String, help: Option<String>) {
        self.tell(Level::Error, place, word, message, help);
    }

    fn warn(&mut self, place: &Place, word: &str, message: String, help: Option<String>) {
        self.tell(Level::Warning, place, word, message, help);
    }

    fn tell(
        &mut self,
        level: Level,
        place: &Place,
        word: &str,
        message: String,
        help: Option<String>,
    ) {
        let mut flaw = Flaw::new(self.find(place, word), message);
        flaw.help = help;
        self.seen.flaws.push((level, flaw));
    }

    /// Where a word stands in its tag; the whole tag where it cannot be found.
    fn find(&self, place: &Place, word: &str) -> Range<usize> {
        let tag = self.source.get(place.span.clone()).unwrap_or_default();
        match tag.find(word) {
            Some(at) if !word.is_empty() => {
                let start = place.span.start + at;
                start..start + word.len()
            }
            _ => place.span.clone(),
        }
    }
}

fn dynamic(what: &str) -> (String, String) {
    (
        format!("a {what} must be named as itself, not computed"),
        "its name must be known before the first event comes".to_owned(),
    )
}

fn blocks_near(name: &str) -> Option<String> {
    if vocabulary::find(name).is_none() {
        let blocks = WORDS
            .iter()
            .filter(|card| card.stands != Stands::Inline)
            .map(|card| card.name);
        if let Some(near) = nearest_name(name, blocks) {
            return Some(format!("did you mean `{near}`?"));
        }
    }
    Some("blocks are `if`, `unless`, `each` and `with`".to_owned())
}
