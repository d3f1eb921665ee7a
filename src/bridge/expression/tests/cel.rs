//! The grammar is CEL's: what is read here, cel's own parser reads in the same way.
//!
//! cel's parser itself is not used at run time: in a thread of 2 MB it overflows the stack, and so ends the process, at
//! 24 brackets inside each other.

use ::cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use ::cel::parser::Parser;
use proptest::prelude::*;

use crate::bridge::expression::syntax::{self, Form, Syntax};

/// cel's tree, written in one way: signs before their values, chains of one sign flat.
fn theirs(of: &IdedExpr) -> String {
    match &of.expr {
        Expr::Literal(literal) => match literal {
            LiteralValue::Boolean(b) => format!("{}", b.inner()),
            LiteralValue::Double(n) => format!("{:?}", n.inner()),
            LiteralValue::Int(n) => format!("{}", n.inner()),
            LiteralValue::UInt(n) => format!("{}", n.inner()),
            LiteralValue::String(text) => format!("{:?}", text.inner()),
            LiteralValue::Null => "null".to_owned(),
            LiteralValue::Bytes(_) => panic!("texts of bytes are not compared"),
        },
        Expr::Ident(name) => name.clone(),
        Expr::Select(select) => {
            let field = format!("(. {} {})", theirs(&select.operand), select.field);
            if select.test {
                format!("(has {field})")
            } else {
                field
            }
        }
        Expr::List(list) => format!(
            "[{}]",
            list.elements
                .iter()
                .map(theirs)
                .collect::<Vec<_>>()
                .join(" ")
        ),
        Expr::Map(map) => {
            let entries = map.entries.iter().map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    format!("{}: {}", theirs(&entry.key), theirs(&entry.value))
                }
                EntryExpr::StructField(_) => panic!("messages are not compared"),
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
        }
        Expr::Call(call) => {
            let parts: Vec<_> = call
                .target
                .iter()
                .map(|on| theirs(on))
                .chain(call.args.iter().map(theirs))
                .collect();
            let name = call.func_name.trim_matches(['_', '@']);
            match name {
                "&&" | "||" => flat(name, &parts, true),
                "+" => flat(name, &parts, false),
                "[_]" | "[_" => format!("(at {})", parts.join(" ")),
                "?_:" => format!("(? {})", parts.join(" ")),
                "-" if parts.len() == 1 => format!("(neg {})", parts[0]),
                _ if call.target.is_some() => format!("(.{name} {})", parts.join(" ")),
                _ => format!("({name} {})", parts.join(" ")),
            }
        }
        Expr::Comprehension(round) => format!(
            "(loop {} {} {})",
            round.iter_var,
            theirs(&round.iter_range),
            theirs(&round.loop_step)
        ),
        Expr::Struct(_) | Expr::Unspecified => panic!("not compared"),
    }
}

/// Our tree, written in the same way; loops as cel's macros spell them out.
fn ours(of: &Syntax) -> String {
    let all = |parts: &[Syntax]| parts.iter().map(ours).collect::<Vec<_>>();
    match &of.form {
        Form::Null => "null".to_owned(),
        Form::Bool(b) => b.to_string(),
        Form::Int(n) => n.to_string(),
        Form::Float(n) => format!("{n:?}"),
        Form::Text(text) => format!("{text:?}"),
        Form::Name(name) => name.clone(),
        Form::Field(of, name) => format!("(. {} {})", ours(of), name.text),
        Form::Index(of, key) => format!("(at {} {})", ours(of), ours(key)),
        Form::List(parts) => format!("[{}]", all(parts).join(" ")),
        Form::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", ours(key), ours(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
        }
        Form::Not(of) => format!("(! {})", ours(of)),
        Form::Minus(of) => match of.form {
            Form::Int(n) => format!("-{n}"),
            Form::Float(n) => format!("-{n:?}"),
            _ => format!("(neg {})", ours(of)),
        },
        Form::All(parts) => flat("&&", &all(parts), true),
        Form::Any(parts) => flat("||", &all(parts), true),
        Form::Sum(parts) => flat("+", &all(parts), false),
        Form::Pair(sign, a, b) => format!("({sign} {} {})", ours(a), ours(b)),
        Form::If(a, b, c) => format!("(? {} {} {})", ours(a), ours(b), ours(c)),
        Form::Call {
            on: None,
            name,
            arguments,
        } => format!("({} {})", name.text, all(arguments).join(" ")),
        Form::Call {
            on: Some(on),
            name,
            arguments,
        } => {
            let parts = all(arguments);
            let step = match (name.text.as_str(), parts.as_slice()) {
                ("exists", [_, each]) => flat("||", &["result".into(), each.clone()], true),
                ("all", [_, each]) => flat("&&", &["result".into(), each.clone()], true),
                ("map", [_, each]) => format!("(+ result [{each}])"),
                ("map", [_, keep, each]) => format!("(? {keep} (+ result [{each}]) result)"),
                ("filter", [name, keep]) => format!("(? {keep} (+ result [{name}]) result)"),
                ("exists_one", [_, each]) => format!("(? {each} (+ result 1) result)"),
                (name, parts) => {
                    return format!("(.{name} {})", [&[ours(on)], parts].concat().join(" "));
                }
            };
            format!("(loop {} {} {step})", parts[0], ours(on))
        }
    }
}

/// A chain of one sign: cel balances `&&` and `||` to both sides and nests `+` to the left.
fn flat(sign: &str, parts: &[String], both: bool) -> String {
    let inner = |(at, part): (usize, &String)| {
        let opened = part
            .strip_prefix(&format!("({sign} "))
            .filter(|_| both || at == 0);
        opened.map_or(part.clone(), |rest| rest[..rest.len() - 1].to_owned())
    };
    let parts: Vec<_> = parts.iter().enumerate().map(inner).collect();
    format!("({sign} {})", parts.join(" "))
}

#[track_caller]
fn same(source: &str) {
    let read = syntax::read(source).unwrap_or_else(|flaw| panic!("{source}: {flaw:?}"));
    let known = Parser::new()
        .parse(source)
        .unwrap_or_else(|errors| panic!("{source}: {errors}"));
    assert_eq!(
        ours(&read),
        theirs(&known).replace("@result", "result"),
        "{source}"
    );
}

#[test]
fn what_rules_look_like_is_read_as_cel_reads_it() {
    for source in [
        "first(it.merged, body.x) != null ? \"a\" : b ? \"c\" : \"d\"",
        "a || b && !c.d(1) || e in [1, 2u, 0x1F,]",
        "1 - 2 - 3 * 4 / 5 % -6 + -x.y",
        "a + (b + c) + d - e + f",
        "a.b[0][-1].c(\"x\")[\"y\"]",
        "x.exists(y, y.z == 1) && x.all(y, y > 0) && x.exists_one(y, y)",
        "x.map(y, y.a).filter(z, z != null).map(y, y > 1, y + 1)",
        "{\"1\": a, 'b': [c, {}], 3: 1.5e3}[t]",
        "has(a.b.c) && !has(a.d)",
        "'''a\n'b' ''' + r'\\d' + \"\\u4e2d\\n\\101\"",
        "a == b == c < d",
        "a.package.for // a comment\n  + \"x\"",
    ] {
        same(source);
    }
}

#[test]
fn what_cel_refuses_is_refused() {
    for source in [
        "1 + ()", "/", ".", "@foo", "x(1,)", "\n", "", "!-\u{1}", "a.", "a b", "a.in", "{1}",
        "a ? b", "'a\nb'", "for", "in", "1.", "\"\\q\"",
    ] {
        assert!(syntax::read(source).is_err(), "{source}");
        assert!(Parser::new().parse(source).is_err(), "{source}");
    }
}

/// Sources of expressions, nested a little: cel's parser bears no more.
fn sources() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-d]",
        "[0-9]{1,3}",
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("\"x\"".to_owned()),
        Just("r'\\d'".to_owned()),
        Just("1.5".to_owned()),
        Just("body.user.login".to_owned()),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let signs = vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in",
        ];
        prop_oneof![
            (
                inner.clone(),
                proptest::sample::select(signs),
                inner.clone()
            )
                .prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            inner.clone().prop_map(|a| format!("-({a}).b")),
            inner.clone().prop_map(|a| format!("({a}).field")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).after({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).exists(x, {b})")),
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|parts| format!("first({})", parts.join(", "))),
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|parts| format!("[{}]", parts.join(","))),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_read_is_read_as_cel_reads_it(source in sources()) {
        same(&source);
    }
}
