//! CEL's grammar: from tokens to a tree of what is written, before anybody asks what the names mean.
//!
//! The grammar is the one of <https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax> without messages
//! (`Type{…}`), optional fields (`a.?b`) and texts of bytes, which webhooks have no use for.

use std::ops::Range;

use super::tokens::{Kind, Token, cut};
use crate::bridge::problem::Flaw;

/// How deep an expression may nest; also bounds the stack that compiling and evaluating need.
const DEPTH: u16 = 48;

/// Words that CEL keeps for other languages; they may follow a dot.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Words of the grammar itself; as fields they need brackets: `body["in"]`.
const GRAMMAR: [&str; 4] = ["in", "true", "false", "null"];

/// A part of an expression as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Syntax {
    pub(super) form: Form,
    pub(super) span: Range<usize>,
    /// The span with the brackets around it.
    outer: Range<usize>,
    depth: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Name(String),
    /// `of.name`
    Field(Box<Syntax>, Word),
    /// `of[key]`
    Index(Box<Syntax>, Box<Syntax>),
    /// `name(arguments)`, or `on.name(arguments)`
    Call {
        on: Option<Box<Syntax>>,
        name: Word,
        arguments: Vec<Syntax>,
    },
    List(Vec<Syntax>),
    Map(Vec<(Syntax, Syntax)>),
    Not(Box<Syntax>),
    Minus(Box<Syntax>),
    /// `a && b && c`
    All(Vec<Syntax>),
    /// `a || b || c`
    Any(Vec<Syntax>),
    /// `a + b + c`
    Sum(Vec<Syntax>),
    /// Any other sign between two values.
    Pair(&'static str, Box<Syntax>, Box<Syntax>),
    /// `a ? b : c`
    If(Box<Syntax>, Box<Syntax>, Box<Syntax>),
}

/// A name with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

/// Whether a helper may bear this name.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !RESERVED.contains(&text)
        && !GRAMMAR.contains(&text)
}

/// Reads the whole source as one expression.
pub(super) fn read(source: &str) -> Result<Syntax, Flaw> {
    let tokens = cut(source)?;
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    if tokens.len() == 1 {
        return Err(Flaw::new(0..source.len(), "the expression is empty"));
    }
    let syntax = reader.expression()?;
    match &reader.token().kind {
        Kind::End => Ok(syntax),
        _ => Err(reader.left_over()),
    }
}

struct Reader<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: u16,
}

impl Reader<'_> {
    fn token(&self) -> &Token {
        &self.tokens[self.at]
    }

    fn step(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn sees(&self, sign: &str) -> bool {
        matches!(self.token().kind, Kind::Sign(seen) if seen == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let seen = self.sees(sign);
        if seen {
            self.step();
        }
        seen
    }

    /// The place between the last token and this one.
    fn behind(&self) -> usize {
        self.at
            .checked_sub(1)
            .map_or(0, |last| self.tokens[last].span.end)
    }

    /// `condition ? a : b`, or anything that binds closer.
    fn expression(&mut self) -> Result<Syntax, Flaw> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(too_deep(self.token().span.clone()));
        }
        let mut syntax = self.any()?;
        if self.takes("?") {
            let yes = self.any()?;
            if !self.takes(":") {
                return Err(Flaw::new(
                    self.token().span.clone(),
                    "the other half of `? :` is missing",
                )
                .help("`condition ? value : other value`"));
            }
            let no = self.expression()?;
            syntax = make(Form::If(syntax.into(), yes.into(), no.into()), None)?;
        }
        self.depth -= 1;
        Ok(syntax)
    }

    fn any(&mut self) -> Result<Syntax, Flaw> {
        self.chain("||", Reader::all, Form::Any)
    }

    fn all(&mut self) -> Result<Syntax, Flaw> {
        self.chain("&&", Reader::relation, Form::All)
    }

    fn chain(
        &mut self,
        sign: &str,
        part: fn(&mut Self) -> Result<Syntax, Flaw>,
        form: fn(Vec<Syntax>) -> Form,
    ) -> Result<Syntax, Flaw> {
        let first = part(self)?;
        if !self.sees(sign) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.takes(sign) {
            parts.push(part(self)?);
        }
        make(form(parts), None)
    }

    fn relation(&mut self) -> Result<Syntax, Flaw> {
        let mut left = self.sum()?;
        loop {
            let sign = match &self.token().kind {
                Kind::Sign(sign @ ("==" | "!=" | "<" | "<=" | ">" | ">=")) => *sign,
                Kind::Name(name) if name == "in" => "in",
                _ => return Ok(left),
            };
            self.step();
            let right = self.sum()?;
            left = make(Form::Pair(sign, left.into(), right.into()), None)?;
        }
    }

    fn sum(&mut self) -> Result<Syntax, Flaw> {
        let mut left = self.product()?;
        loop {
            if self.sees("+") {
                let mut parts = vec![left];
                while self.takes("+") {
                    parts.push(self.product()?);
                }
                left = make(Form::Sum(parts), None)?;
            } else if self.takes("-") {
                let right = self.product()?;
                left = make(Form::Pair("-", left.into(), right.into()), None)?;
            } else {
                return Ok(left);
            }
        }
    }

    fn product(&mut self) -> Result<Syntax, Flaw> {
        let mut left = self.unary()?;
        loop {
            let sign = match self.token().kind {
                Kind::Sign(sign @ ("*" | "/" | "%")) => sign,
                _ => return Ok(left),
            };
            self.step();
            let right = self.unary()?;
            left = make(Form::Pair(sign, left.into(), right.into()), None)?;
        }
    }

    fn unary(&mut self) -> Result<Syntax, Flaw> {
        let start = self.token().span.start;
        for (sign, form) in [
            ("!", Form::Not as fn(Box<Syntax>) -> Form),
            ("-", Form::Minus),
        ] {
            if self.sees(sign) {
                let mut odd = false;
                while self.takes(sign) {
                    odd = !odd;
                }
                let of = self.member()?;
                let span = start..of.outer.end;
                // A pair of signs makes a condition or a number of the value and changes nothing else.
                let of = match odd {
                    true => of,
                    false => make(form(of.into()), Some(span.clone()))?,
                };
                return make(form(of.into()), Some(span));
            }
        }
        self.member()
    }

    /// A value and what follows it: `.field`, `.call(…)`, `[index]`.
    fn member(&mut self) -> Result<Syntax, Flaw> {
        let mut of = self.primary()?;
        let start = of.outer.start;
        loop {
            if self.takes(".") {
                let name = self.field_name()?;
                if self.takes("(") {
                    let arguments = self.values(")")?;
                    let form = Form::Call {
                        on: Some(of.into()),
                        name,
                        arguments,
                    };
                    of = make(form, Some(start..self.behind()))?;
                } else {
                    of = make(Form::Field(of.into(), name), Some(start..self.behind()))?;
                }
            } else if self.takes("[") {
                let key = self.expression()?;
                self.close("]")?;
                of = make(
                    Form::Index(of.into(), key.into()),
                    Some(start..self.behind()),
                )?;
            } else {
                return Ok(of);
            }
        }
    }

    fn field_name(&mut self) -> Result<Word, Flaw> {
        let token = self.token().clone();
        match token.kind {
            Kind::Name(text) if GRAMMAR.contains(&text.as_str()) => Err(Flaw::new(
                token.span,
                format!("`.{text}` cannot follow a dot"),
            )
            .help(format!("write `[\"{text}\"]`"))),
            Kind::Name(text) => {
                self.step();
                Ok(Word {
                    text,
                    span: token.span,
                })
            }
            Kind::Sign("?") => Err(Flaw::new(
                token.span,
                "`.?` is not needed: a missing field is absent, not a failure",
            )),
            _ => Err(
                Flaw::new(token.span, "a field's name is missing after the `.`").help(
                    "a name with other signs is read as `[\"x-y\"]`, an element of a list as `[0]`",
                ),
            ),
        }
    }

    fn primary(&mut self) -> Result<Syntax, Flaw> {
        let token = self.token().clone();
        let start = token.span.start;
        let form = match token.kind {
            Kind::Int(n) => Form::Int(n),
            Kind::Float(n) => Form::Float(n),
            Kind::Text(text) => Form::Text(text),
            Kind::Name(name) => match name.as_str() {
                "true" => Form::Bool(true),
                "false" => Form::Bool(false),
                "null" => Form::Null,
                "in" => return Err(self.no_value()),
                word if RESERVED.contains(&word) => {
                    return Err(Flaw::new(
                        token.span,
                        format!("`{word}` is a reserved word and cannot stand alone"),
                    )
                    .help(format!("as a field it is `body.{word}`")));
                }
                _ => {
                    self.step();
                    if !self.takes("(") {
                        return make(Form::Name(name), Some(token.span));
                    }
                    let form = Form::Call {
                        on: None,
                        name: Word {
                            text: name,
                            span: token.span,
                        },
                        arguments: self.values(")")?,
                    };
                    return make(form, Some(start..self.behind()));
                }
            },
            Kind::Sign("(") => {
                self.step();
                let mut inner = self.expression()?;
                self.close(")")?;
                inner.outer = start..self.behind();
                return Ok(inner);
            }
            Kind::Sign("[") => {
                self.step();
                let list = self.values("]")?;
                return make(Form::List(list), Some(start..self.behind()));
            }
            Kind::Sign("{") => {
                self.step();
                let map = self.entries()?;
                return make(Form::Map(map), Some(start..self.behind()));
            }
            Kind::Sign(_) | Kind::End => return Err(self.no_value()),
        };
        self.step();
        make(form, Some(token.span))
    }

    /// Values up to `close`, which is taken too. A list may end with a comma.
    fn values(&mut self, close: &'static str) -> Result<Vec<Syntax>, Flaw> {
        let mut values = Vec::new();
        while !self.takes(close) {
            if self.sees(",") && values.is_empty() {
                return Err(self.no_value());
            }
            values.push(self.expression()?);
            if !self.takes(",") {
                self.close(close)?;
                break;
            }
            if close == ")" && self.sees(close) {
                return Err(self.no_value());
            }
        }
        Ok(values)
    }

    fn entries(&mut self) -> Result<Vec<(Syntax, Syntax)>, Flaw> {
        let mut entries = Vec::new();
        while !self.takes("}") {
            let key = self.expression()?;
            if !self.takes(":") {
                return Err(Flaw::new(
                    self.token().span.clone(),
                    "a `:` is missing between a key and its value",
                )
                .help("a table is written `{\"key\": value, \"other\": value}`"));
            }
            entries.push((key, self.expression()?));
            if !self.takes(",") {
                self.close("}")?;
                break;
            }
        }
        Ok(entries)
    }

    fn close(&mut self, sign: &'static str) -> Result<(), Flaw> {
        if self.takes(sign) {
            return Ok(());
        }
        if self.token().kind == Kind::End {
            let span = self.token().span.clone();
            return Err(Flaw::new(span, format!("a `{sign}` is missing")));
        }
        let flaw = self.left_over();
        Err(match flaw.help {
            Some(_) => flaw,
            None => flaw.help(format!(
                "a `{sign}`, a `,` or a sign such as `+` may be missing before it"
            )),
        })
    }

    /// There should be a value here.
    fn no_value(&self) -> Flaw {
        let token = self.token();
        match (
            &token.kind,
            self.at.checked_sub(1).map(|last| &self.tokens[last].kind),
        ) {
            (Kind::Sign("."), _) => {
                Flaw::new(token.span.clone(), "a value is missing before the `.`")
                    .help("fields are read from something: `body.action`")
            }
            (Kind::End, Some(Kind::Sign(last))) => Flaw::new(
                token.span.clone(),
                format!("a value is missing after the `{last}`"),
            ),
            (Kind::Sign(sign), _) => Flaw::new(
                token.span.clone(),
                format!("a value is missing before the `{sign}`"),
            ),
            _ => Flaw::new(token.span.clone(), "a value is missing here"),
        }
    }

    /// There should be nothing more here, or a sign.
    fn left_over(&self) -> Flaw {
        let token = self.token();
        let span = token.span.clone();
        match &token.kind {
            Kind::Name(word) => {
                let flaw = Flaw::new(span, format!("`{word}` was not expected here"));
                match word.as_str() {
                    "and" | "AND" => flaw.help("and is written `&&`"),
                    "or" | "OR" => flaw.help("or is written `||`"),
                    "not" | "NOT" => flaw.help("not is written `!`"),
                    _ => flaw,
                }
            }
            Kind::Sign(sign @ (")" | "]" | "}")) => {
                Flaw::new(span, format!("this `{sign}` closes nothing"))
            }
            Kind::Sign("{") => Flaw::new(span, "a table was not expected here"),
            Kind::Sign(sign) => Flaw::new(span, format!("`{sign}` was not expected here")),
            Kind::Text(_) => Flaw::new(span, "a text was not expected here")
                .help("texts are put together with `+`"),
            _ => Flaw::new(span, "a value was not expected here"),
        }
    }
}

fn too_deep(span: Range<usize>) -> Flaw {
    Flaw::new(span, format!("nested deeper than {DEPTH}"))
        .help("a part of it can be a helper of its own: `let.name = …`")
}

/// Puts a node together; its span, unless given, is the one of its parts.
fn make(form: Form, span: Option<Range<usize>>) -> Result<Syntax, Flaw> {
    let mut depth = 0;
    let (mut start, mut end) = (usize::MAX, 0);
    form.each(&mut |part| {
        depth = depth.max(part.depth);
        start = start.min(part.outer.start);
        end = end.max(part.outer.end);
    });
    let span = span.unwrap_or(start..end);
    match depth < DEPTH {
        true => Ok(Syntax {
            form,
            outer: span.clone(),
            span,
            depth: depth + 1,
        }),
        false => Err(too_deep(span)),
    }
}

impl Form {
    fn each(&self, see: &mut impl FnMut(&Syntax)) {
        match self {
            Form::Null | Form::Bool(_) | Form::Int(_) | Form::Float(_) => (),
            Form::Text(_) | Form::Name(_) => (),
            Form::Field(of, _) | Form::Not(of) | Form::Minus(of) => see(of),
            Form::Index(a, b) | Form::Pair(_, a, b) => {
                [a, b].into_iter().for_each(|part| see(part))
            }
            Form::If(a, b, c) => [a, b, c].into_iter().for_each(|part| see(part)),
            Form::Call { on, arguments, .. } => {
                on.iter().for_each(|part| see(part));
                arguments.iter().for_each(see);
            }
            Form::List(parts) | Form::All(parts) | Form::Any(parts) | Form::Sum(parts) => {
                parts.iter().for_each(see);
            }
            Form::Map(entries) => entries.iter().for_each(|(key, value)| {
                see(key);
                see(value);
            }),
        }
    }
}
