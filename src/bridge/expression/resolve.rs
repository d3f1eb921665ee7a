//! From what is written to what it means; whatever means nothing is named with its place.

use std::ops::Range;

use regex::RegexBuilder;

use super::functions::{
    self, FUNCTIONS, HAS, HAS_WRITTEN, LITERALS, LOOP_KINDS, MATCHES, MATCHES_WRITTEN, Style,
};
use super::syntax::{Form, Syntax, Word};
use super::tree::{Comparison, Loop, LoopKind, Node, Reckoning, Root, What};
use super::val::{EVENT_FIELDS, Val};
use super::{Names, Place};
use crate::bridge::problem::{Flaw, nearest};
use crate::model::{Severity, State};

/// How many loops may stand inside each other: with three, a list of 1,000 means 10⁹ steps.
const LOOPS: usize = 2;
/// A compiled pattern takes at most this much memory, in bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// The name of the levels: `severity.critical`.
const SEVERITY: &str = "severity";
/// Names that are there without being declared; no helper may bear one.
pub(super) const ROOTS: [&str; 5] = ["event", "body", "header", "query", SEVERITY];

/// Finds what every name means. `Err` lists all that means nothing.
pub(super) fn resolve(syntax: &Syntax, names: &Names) -> Result<Node, Vec<Flaw>> {
    let mut resolver = Resolver {
        names,
        variables: Vec::new(),
        flaws: Vec::new(),
    };
    let node = resolver.node(syntax);
    match resolver.flaws.is_empty() {
        true => Ok(node),
        false => {
            resolver.flaws.sort_by_key(|flaw| flaw.span.start);
            Err(resolver.flaws)
        }
    }
}

struct Resolver<'n> {
    names: &'n Names,
    variables: Vec<String>,
    flaws: Vec<Flaw>,
}

impl Resolver<'_> {
    /// The node; where there is a flaw, something in its place so that the search can go on.
    fn node(&mut self, syntax: &Syntax) -> Node {
        let what = match &syntax.form {
            Form::Null => What::Constant(Val::Absent),
            Form::Bool(b) => What::Constant(Val::Bool(*b)),
            Form::Int(n) => What::Constant(Val::Int(*n)),
            Form::Float(n) => What::Constant(Val::Float(*n)),
            Form::Text(text) => What::Text(text.clone()),
            Form::Name(name) => self.name(name, &syntax.span),
            Form::Field(of, field) => self.field(of, field),
            Form::Index(of, key) => {
                if let (Form::Name(root), Form::Text(field)) = (&of.form, &key.form) {
                    self.look_up(root, field, &key.span);
                }
                What::Index(self.boxed(of), self.boxed(key))
            }
            Form::Call {
                on: Some(on),
                name,
                arguments,
            } => self.method(on, name, arguments, &syntax.span),
            Form::Call {
                on: None,
                name,
                arguments,
            } => self.global(name, arguments, &syntax.span),
            Form::List(values) => {
                self.bounded(values.len(), &syntax.span);
                What::List(self.nodes(values))
            }
            Form::Map(entries) => {
                self.bounded(entries.len(), &syntax.span);
                let entries = entries.iter();
                What::Table(entries.map(|(k, v)| (self.node(k), self.node(v))).collect())
            }
            Form::Not(of) => What::Not(self.boxed(of)),
            Form::Minus(of) => What::Minus(self.boxed(of)),
            Form::All(parts) => What::All(self.nodes(parts)),
            Form::Any(parts) => What::Any(self.nodes(parts)),
            Form::Sum(parts) => What::Sum(self.nodes(parts)),
            Form::Pair(sign, left, right) => self.pair(sign, left, right),
            Form::If(condition, yes, no) => {
                What::If(self.boxed(condition), self.boxed(yes), self.boxed(no))
            }
        };
        Node {
            what,
            span: syntax.span.clone(),
        }
    }

    fn boxed(&mut self, syntax: &Syntax) -> Box<Node> {
        self.node(syntax).into()
    }

    fn nodes(&mut self, parts: &[Syntax]) -> Vec<Node> {
        parts.iter().map(|part| self.node(part)).collect()
    }

    fn flaw(&mut self, flaw: Flaw) -> What {
        self.flaws.push(flaw);
        What::Constant(Val::Absent)
    }

    fn bounded(&mut self, length: usize, span: &Range<usize>) {
        if length > LITERALS {
            self.flaw(Flaw::new(
                span.clone(),
                format!("a list or table may hold {LITERALS} values, not {length}"),
            ));
        }
    }

    fn name(&mut self, name: &str, span: &Range<usize>) -> What {
        if let Some(at) = self.variables.iter().rposition(|known| known == name) {
            return What::Variable(at);
        }
        if let Some(at) = self.names.lets.iter().position(|known| known == name) {
            return What::Let(at);
        }
        match name {
            "body" => What::Root(Root::Body),
            "header" => What::Root(Root::Header),
            "query" => What::Root(Root::Query),
            "event" if self.names.place == Place::Rule => What::Root(Root::Event),
            "event" => self.flaw(
                Flaw::new(
                    span.clone(),
                    "`event` is not there yet while its fields are being filled",
                )
                .help("read the payload: `body`, `header`, `query`, or a `let` above"),
            ),
            SEVERITY => {
                let help = match self.names.place {
                    Place::Rule => {
                        "`severity.critical` is a level; the event's own is `event.severity`"
                    }
                    Place::Event => "`severity.critical` is a level",
                };
                self.flaw(Flaw::new(span.clone(), "`severity` alone has no value").help(help))
            }
            _ => {
                let known = self.variables.iter().chain(&self.names.lets);
                let known = known.map(String::as_str).chain(ROOTS);
                let function = FUNCTIONS.iter().find(|(known, ..)| *known == name);
                let help = match (nearest(name, known), function) {
                    (Some(near), _) => format!("did you mean `{near}`?"),
                    (None, Some((.., written))) => format!("the function is written `{written}`"),
                    (None, None) => format!(
                        "fields of the payload are read as `body.{name}`; a text stands in quotes: `\"{name}\"`"
                    ),
                };
                self.flaw(Flaw::new(span.clone(), format!("`{name}` is not known")).help(help))
            }
        }
    }

    fn field(&mut self, of: &Syntax, field: &Word) -> What {
        if let Form::Name(root) = &of.form {
            if root == SEVERITY && !self.variables.contains(root) {
                return self.severity(field);
            }
            self.look_up(root, &field.text, &field.span);
        }
        What::Field(self.boxed(of), field.text.clone())
    }

    fn severity(&mut self, word: &Word) -> What {
        let level = Severity::ALL
            .into_iter()
            .find(|level| level.word() == word.text);
        match level {
            Some(level) => What::Severity(level),
            None => {
                let words = Severity::ALL.map(Severity::word);
                let help = match nearest(&word.text, words) {
                    Some(near) => format!("did you mean `severity.{near}`?"),
                    None => format!("the levels are {}", words.join(", ")),
                };
                let message = format!("`severity.{}` is no level", word.text);
                self.flaw(Flaw::new(word.span.clone(), message).help(help))
            }
        }
    }

    /// The event's fields are known beforehand.
    fn look_up(&mut self, root: &str, field: &str, span: &Range<usize>) {
        if root != "event"
            || self.names.place != Place::Rule
            || self.variables.iter().any(|name| name == root)
            || EVENT_FIELDS.contains(&field)
        {
            return;
        }
        let help = match nearest(field, EVENT_FIELDS) {
            Some(near) => format!("did you mean `event.{near}`?"),
            None => format!(
                "an event has {}; the payload is `body`",
                EVENT_FIELDS.join(", ")
            ),
        };
        self.flaw(Flaw::new(span.clone(), format!("events have no field `{field}`")).help(help));
    }

    fn pair(&mut self, sign: &str, left: &Syntax, right: &Syntax) -> What {
        self.compared_with_words(sign, left, right);
        let (left, right) = (self.boxed(left), self.boxed(right));
        let compare = |comparison| What::Compare(comparison, left.clone(), right.clone());
        match sign {
            "==" => compare(Comparison::Equal),
            "!=" => compare(Comparison::NotEqual),
            "<" => compare(Comparison::Less),
            "<=" => compare(Comparison::LessOrEqual),
            ">" => compare(Comparison::Greater),
            ">=" => compare(Comparison::GreaterOrEqual),
            "in" => What::In(left, right),
            "-" => What::Reckon(Reckoning::Minus, left, right),
            "*" => What::Reckon(Reckoning::Times, left, right),
            "/" => What::Reckon(Reckoning::Divided, left, right),
            _ => What::Reckon(Reckoning::Remainder, left, right),
        }
    }

    /// A severity is a number and a state one of three words: other words never equal them.
    fn compared_with_words(&mut self, sign: &str, left: &Syntax, right: &Syntax) {
        if !matches!(sign, "==" | "!=" | "<" | "<=" | ">" | ">=" | "in") {
            return;
        }
        for (asked, with) in [(left, right), (right, left)] {
            let severity = self.is_event_field(asked, "severity") || is_level(asked);
            let state = self.is_event_field(asked, "state");
            let words = match &with.form {
                Form::List(parts) if sign == "in" => parts.iter().collect(),
                _ => vec![with],
            };
            for word in words {
                let Form::Text(text) = &word.form else {
                    continue;
                };
                if severity {
                    let level = nearest(&text.to_lowercase(), Severity::ALL.map(Severity::word));
                    let level = level.unwrap_or("critical");
                    let flaw = Flaw::new(
                        word.span.clone(),
                        "a severity is a level, not a text: this never holds",
                    );
                    self.flaw(flaw.help(format!("write `severity.{level}`")));
                } else if state && !text.is_empty() {
                    let words = [State::Open, State::Changed, State::Closed].map(State::word);
                    if !words.contains(&text.as_str()) {
                        let flaw = Flaw::new(
                            word.span.clone(),
                            format!("`event.state` is never \"{text}\""),
                        );
                        self.flaw(flaw.help("a state is `open`, `changed` or `closed`"));
                    }
                }
            }
        }
    }

    fn is_event_field(&self, syntax: &Syntax, field: &str) -> bool {
        match &syntax.form {
            Form::Field(of, word) => {
                word.text == field && matches!(&of.form, Form::Name(name) if name == "event")
            }
            _ => false,
        }
    }

    fn global(&mut self, name: &Word, arguments: &[Syntax], span: &Range<usize>) -> What {
        match name.text.as_str() {
            HAS => return self.has(name, arguments),
            MATCHES => {
                return match arguments {
                    [of, pattern] => self.matches(of, pattern),
                    _ => self.wrong_count(name, span, MATCHES_WRITTEN),
                };
            }
            _ => (),
        }
        if let Some((.., written)) = LOOP_KINDS.iter().find(|(known, ..)| *known == name.text) {
            return self.wrong_style(name, written);
        }
        let found = FUNCTIONS.iter().find(|(known, ..)| *known == name.text);
        let Some((_, function, style, count, written)) = found else {
            return self.unknown_function(name, arguments);
        };
        if *style == Style::Method {
            return self.wrong_style(name, written);
        }
        let arguments = self.nodes(arguments);
        match count.contains(&arguments.len()) {
            true => What::Call(*function, arguments),
            false => self.wrong_count(name, span, written),
        }
    }

    fn method(
        &mut self,
        on: &Syntax,
        name: &Word,
        arguments: &[Syntax],
        span: &Range<usize>,
    ) -> What {
        if name.text == MATCHES {
            return match arguments {
                [pattern] => self.matches(on, pattern),
                _ => self.wrong_count(name, span, MATCHES_WRITTEN),
            };
        }
        if name.text == HAS {
            return self.wrong_style(name, HAS_WRITTEN);
        }
        if let Some((_, kind, written)) = LOOP_KINDS.iter().find(|(known, ..)| *known == name.text)
        {
            return self.round(*kind, on, name, arguments, span, written);
        }
        let found = FUNCTIONS.iter().find(|(known, ..)| *known == name.text);
        let Some((_, function, style, count, written)) = found else {
            self.node(on);
            return self.unknown_function(name, arguments);
        };
        if *style == Style::Global {
            return self.wrong_style(name, written);
        }
        let mut parts = vec![self.node(on)];
        parts.extend(self.nodes(arguments));
        match count.contains(&parts.len()) {
            true => What::Call(*function, parts),
            false => self.wrong_count(name, span, written),
        }
    }

    fn has(&mut self, name: &Word, arguments: &[Syntax]) -> What {
        match arguments {
            [of] if matches!(of.form, Form::Field(..) | Form::Index(..)) => {
                What::Has(self.boxed(of))
            }
            [of] => self.flaw(
                Flaw::new(of.span.clone(), "`has` asks whether a field is there")
                    .help(format!("`{HAS_WRITTEN}`")),
            ),
            _ => self.wrong_count(name, &name.span, HAS_WRITTEN),
        }
    }

    fn matches(&mut self, of: &Syntax, pattern: &Syntax) -> What {
        let of = self.boxed(of);
        let Form::Text(text) = &pattern.form else {
            return self.flaw(Flaw::new(
                pattern.span.clone(),
                "the pattern of `matches` must be a text that is written here",
            ));
        };
        match RegexBuilder::new(text).size_limit(PATTERN_SIZE).build() {
            Ok(pattern) => What::Matches(of, pattern),
            Err(error) => {
                let why = match error {
                    regex::Error::CompiledTooBig(_) => "it becomes too big".to_owned(),
                    error => {
                        let error = error.to_string();
                        let last = error.lines().last().unwrap_or_default();
                        last.trim_start_matches("error: ").to_owned()
                    }
                };
                let message = format!("this pattern cannot be used: {why}");
                self.flaw(Flaw::new(pattern.span.clone(), message))
            }
        }
    }

    fn round(
        &mut self,
        kind: LoopKind,
        over: &Syntax,
        name: &Word,
        arguments: &[Syntax],
        span: &Range<usize>,
        written: &str,
    ) -> What {
        let over = self.node(over);
        let (variable, keep, each) = match (kind, arguments) {
            (_, [variable, each]) => (variable, None, each),
            (LoopKind::Map, [variable, keep, each]) => (variable, Some(keep), each),
            _ => return self.wrong_count(name, span, written),
        };
        let Form::Name(variable_name) = &variable.form else {
            let message = format!("`{}` needs a name for the element first", name.text);
            let flaw = Flaw::new(variable.span.clone(), message);
            return self.flaw(flaw.help(format!("`{written}`")));
        };
        if ROOTS.contains(&variable_name.as_str())
            || self.names.lets.contains(variable_name)
            || self.variables.contains(variable_name)
        {
            let message = format!("`{variable_name}` already means something here");
            self.flaw(
                Flaw::new(variable.span.clone(), message)
                    .help("choose another name for the element"),
            );
        }
        if self.variables.len() >= LOOPS {
            let flaw = Flaw::new(name.span.clone(), "more than two loops inside each other");
            return self.flaw(flaw.help("a part of it can be a helper of its own: `let.name = …`"));
        }
        self.variables.push(variable_name.clone());
        let keep = keep.map(|keep| self.node(keep));
        let each = self.node(each);
        self.variables.pop();
        What::Loop(Box::new(Loop {
            kind,
            over,
            each,
            keep,
        }))
    }

    fn unknown_function(&mut self, name: &Word, arguments: &[Syntax]) -> What {
        // The name of a loop's element means nothing outside it: the arguments are looked at only where it is no loop.
        if arguments
            .first()
            .is_none_or(|first| !matches!(first.form, Form::Name(_)))
        {
            self.nodes(arguments);
        }
        let message = format!("there is no function `{}`", name.text);
        self.flaw(Flaw::new(name.span.clone(), message).help(functions::advice(&name.text)))
    }

    fn wrong_style(&mut self, name: &Word, written: &str) -> What {
        let message = format!("`{}` is not called like this", name.text);
        self.flaw(Flaw::new(name.span.clone(), message).help(format!("it is written `{written}`")))
    }

    fn wrong_count(&mut self, name: &Word, span: &Range<usize>, written: &str) -> What {
        let message = format!("`{}` does not take this number of arguments", name.text);
        self.flaw(Flaw::new(span.clone(), message).help(format!("it is written `{written}`")))
    }
}

fn is_level(syntax: &Syntax) -> bool {
    matches!(&syntax.form, Form::Field(of, _) if matches!(&of.form, Form::Name(name) if name == SEVERITY))
}
