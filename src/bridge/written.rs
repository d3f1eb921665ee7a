//! A bridge's file as written: every key known or complained about, nothing compiled yet.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Flaw, Level};
use super::reading::{Reading, Text};
use super::table::{Table, as_text, note_wrong};

/// More webhooks a second than any machine takes.
const FASTEST: u32 = 1_000_000;

/// So many refused requests of a bridge can be kept for a look.
const MOST_REFUSED: u32 = 100;

/// `bridges/acme.toml` as written.
#[derive(Debug)]
pub struct WrittenBridge<'a> {
    pub extends: Option<Text>,
    pub secrets: Vec<Text>,
    pub auth: Option<Spanned<DeTable<'a>>>,
    pub event: Vec<WrittenRule>,
    pub routes: Vec<WrittenRoute>,
    pub messages: Vec<WrittenMessage>,
    pub max_body: Option<u64>,
    pub max_per_second: Option<u32>,
    pub keep_refused: Option<usize>,
    pub locale: Option<Text>,
    pub time_zone: Option<Text>,
    /// The start of the file, for what is missing in it.
    pub top: Range<usize>,
    /// Its syntax or a key of its top is wrong: nothing in it can be called missing.
    pub damaged: bool,
    /// Something is wrong in its routes, so that they cannot be called missing.
    pub routes_damaged: bool,
}

/// One key of `[event]`: `kind`, or `let.it`.
#[derive(Clone, Debug)]
pub struct WrittenRule {
    pub key: Text,
    pub expression: Text,
}

/// `[[route]]` as written.
#[derive(Debug)]
pub struct WrittenRoute {
    pub name: Option<Text>,
    pub on: Option<Vec<Text>>,
    pub when: Option<Text>,
    pub to: Vec<WrittenDestination>,
    pub mention: Vec<WrittenMention>,
    pub stop: bool,
    pub otherwise: bool,
    pub push: Option<WrittenPush>,
    pub expire: Option<Spanned<Duration>>,
    pub template: Option<Text>,
    pub locale: Option<Text>,
    pub time_zone: Option<Text>,
    pub span: Range<usize>,
    /// Something in it is wrong and was left out: nothing in it can be called missing.
    pub damaged: bool,
}

/// `[[message]]` as written: which template speaks for which events.
#[derive(Debug)]
pub struct WrittenMessage {
    pub on: Option<Vec<Text>>,
    pub when: Option<Text>,
    pub template: Option<Text>,
    pub span: Range<usize>,
}

/// One entry of `to`.
#[derive(Clone, Debug)]
pub enum WrittenDestination {
    /// `"group:ops"`
    Fixed(Text),
    /// `{ group = "expression" }`
    Computed {
        what: &'static str,
        expression: Text,
    },
}

/// One entry of `mention`.
#[derive(Clone, Debug)]
pub enum WrittenMention {
    /// `"person:alice"` or `"everyone"`
    Fixed(Text),
    /// `{ person = "expression" }`
    Computed(Text),
}

/// `push = false` or `push = { title = "…", text = "…", sound = true }`.
#[derive(Clone, Debug)]
pub enum WrittenPush {
    Off,
    On {
        title: Option<String>,
        text: Option<String>,
        sound: Option<bool>,
    },
}

/// Reads a bridge's file.
pub fn read_bridge<'a>(reading: &Reading<'a>, path: &'a str, text: &'a str) -> WrittenBridge<'a> {
    let mut file = reading.open(path, text);
    let before = reading.count();
    let mut bridge = WrittenBridge {
        extends: file.text("extends"),
        secrets: Vec::new(),
        auth: None,
        event: Vec::new(),
        routes: Vec::new(),
        messages: Vec::new(),
        max_body: None,
        max_per_second: None,
        keep_refused: None,
        locale: None,
        time_zone: None,
        top: file.span().start..file.span().start,
        damaged: file.is_damaged(),
        routes_damaged: false,
    };
    // The order in which they are asked is the order in which advice lists them.
    bridge.secrets = file.texts("secrets").unwrap_or_default();
    bridge.auth = file.raw_table("auth");
    let (event, routes, messages) = (
        file.table("event"),
        file.tables("route"),
        file.tables("message"),
    );
    bridge.max_body = file.size("max_body").map(Spanned::into_inner);
    bridge.max_per_second = read_count(&mut file, "max_per_second", 1..=FASTEST);
    bridge.keep_refused = read_count(&mut file, "keep_refused", 0..=MOST_REFUSED)
        .and_then(|most| most.try_into().ok());
    bridge.locale = file.text("locale");
    bridge.time_zone = file.text("time_zone");
    file.finish();
    bridge.damaged |= reading.count() > before;
    let before = reading.count();
    bridge.routes = routes.into_iter().map(read_route).collect();
    bridge.routes_damaged = bridge.damaged || reading.count() > before;
    bridge.event = event.map(read_event).unwrap_or_default();
    bridge.messages = messages.into_iter().map(read_message).collect();
    bridge
}

/// A count within bounds; notes that it is beyond them.
fn read_count(file: &mut Table<'_, '_>, key: &'static str, of: RangeInclusive<u32>) -> Option<u32> {
    let number = file.number(key)?;
    let span = number.span();
    let count = u32::try_from(number.into_inner()).ok();
    let within = count.filter(|count| of.contains(count));
    if within.is_none() {
        let (least, most) = of.into_inner();
        let message = format!("a whole number from {least} to {most} is expected");
        file.reading().error(Flaw::new(span, message));
    }
    within
}

/// Whether a key of `[event]` exists is the language's to say; here only texts are told from other things.
fn read_event(mut table: Table<'_, '_>) -> Vec<WrittenRule> {
    let reading = table.reading();
    let mut rules = Vec::new();
    let mut take = |key: Text, value| {
        if let Some(expression) = as_text(reading, value, "an expression in quotes") {
            rules.push(WrittenRule { key, expression });
        }
    };
    for (key, value) in table.rest() {
        let is_let = key.value == "let";
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(lets) if is_let => {
                for (name, value) in Table::new(reading, "let", Spanned::new(span, lets)).rest() {
                    let key = Text {
                        value: format!("let.{}", name.value),
                        span: name.span,
                    };
                    take(key, value);
                }
            }
            other if is_let => {
                note_wrong(reading, span, "`let.NAME = \"…\"`", &other);
            }
            other => take(key, Spanned::new(span, other)),
        }
    }
    rules.sort_by_key(|rule| rule.key.span.start);
    rules
}

fn read_route(mut table: Table<'_, '_>) -> WrittenRoute {
    let reading = table.reading();
    let before = reading.count();
    let mut route = WrittenRoute {
        name: table.text("name"),
        on: table.texts("on"),
        when: table.text("when"),
        to: Vec::new(),
        mention: Vec::new(),
        stop: false,
        otherwise: false,
        push: None,
        expire: None,
        template: None,
        locale: None,
        time_zone: None,
        span: table.span(),
        damaged: table.is_damaged(),
    };
    for item in table.items("to").unwrap_or_default() {
        let span = item.span();
        match item.into_inner() {
            DeValue::String(text) => route.to.push(WrittenDestination::Fixed(Text {
                value: text.into_owned(),
                span,
            })),
            DeValue::Table(computed) => {
                let mut computed = Table::new(reading, "to", Spanned::new(span.clone(), computed));
                let mut found = Vec::new();
                for what in ["group", "person", "notice"] {
                    if let Some(expression) = computed.text(what) {
                        found.push(WrittenDestination::Computed { what, expression });
                    }
                }
                computed.finish();
                if found.len() > 1 {
                    reading.error(Flaw::new(
                        span,
                        "one destination per entry: `group`, `person` or `notice`",
                    ));
                } else {
                    route.to.append(&mut found);
                }
            }
            other => note_wrong(
                reading,
                span,
                "a destination, `\"group:NAME\"` or `{ group = \"…\" }`",
                &other,
            ),
        }
    }
    for item in table.items("mention").unwrap_or_default() {
        let span = item.span();
        match item.into_inner() {
            DeValue::String(text) => route.mention.push(WrittenMention::Fixed(Text {
                value: text.into_owned(),
                span,
            })),
            DeValue::Table(computed) => {
                let mut computed = Table::new(reading, "mention", Spanned::new(span, computed));
                route
                    .mention
                    .extend(computed.text("person").map(WrittenMention::Computed));
                computed.finish();
            }
            other => note_wrong(
                reading,
                span,
                "`\"person:NAME\"`, `\"everyone\"` or `{ person = \"…\" }`",
                &other,
            ),
        }
    }
    route.stop = table.flag("stop").unwrap_or_default();
    route.otherwise = table.flag("otherwise").unwrap_or_default();
    route.push = table
        .take("push")
        .and_then(|value| read_push(reading, value));
    route.expire = table.time("expire");
    route.template = table.text("template");
    route.locale = table.text("locale");
    route.time_zone = table.text("time_zone");
    table.finish();
    route.damaged |= reading.count() > before;
    route
}

fn read_push<'a>(reading: &Reading<'a>, value: Spanned<DeValue<'a>>) -> Option<WrittenPush> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Boolean(false) => Some(WrittenPush::Off),
        DeValue::Boolean(true) => {
            let flaw = Flaw::new(span, "`push = true` is what happens anyhow");
            reading.note(
                Level::Advice,
                flaw.help("leave it out, or write `push = { title = \"…\" }`"),
            );
            None
        }
        DeValue::Table(table) => {
            let mut table = Table::new(reading, "push", Spanned::new(span, table));
            let mut plain = |key: &'static str, instead: &str| {
                let text = table.text(key)?;
                if text.value.contains("{{") {
                    let flaw = Flaw::new(
                        text.span,
                        "the text of a push is plain: `{{` would be shown as it is",
                    );
                    reading.error(flaw.help(format!("leave `{key}` out: then it is {instead}")));
                }
                Some(text.value)
            };
            let (title, text) = (
                plain("title", "the event's title"),
                plain("text", "the first words of the message"),
            );
            let push = WrittenPush::On {
                title,
                text,
                sound: table.flag("sound"),
            };
            table.finish();
            Some(push)
        }
        other => {
            note_wrong(
                reading,
                span,
                "`false` or `{ title = \"…\", sound = true }`",
                &other,
            );
            None
        }
    }
}

fn read_message(mut table: Table<'_, '_>) -> WrittenMessage {
    let message = WrittenMessage {
        on: table.texts("on"),
        when: table.text("when"),
        template: table.text("template"),
        span: table.span(),
    };
    if message.template.is_none() {
        let flaw = Flaw::new(table.span(), "this message names no template");
        table.reading().error(flaw.help("`template = \"acme/urgent.md.hbs\"`; leave the whole `[[message]]` out to choose by kind"));
    }
    table.finish();
    message
}
