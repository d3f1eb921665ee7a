//! What is fuzzed, as plain functions: libFuzzer drives them (fuzz_targets/), and so does a test (tests/stories/fuzz.rs).
//!
//! A target panics when a promise is broken. Whatever the bytes are, none of them may.

use openim_bridge::bridge::auth::{Auth, Pattern, Piece, Template, undo_percent};
use openim_bridge::intake::authenticate::{authenticate, sign};
use openim_bridge::intake::{Request, form};
use openim_bridge::model::{Secret, Timestamp};
use toml::de::DeTable;

/// A pattern of `format`, a line break, a value: what fits is made of the value's own bytes, in order.
pub fn pattern(bytes: &[u8]) {
    let (first, value) = halves(bytes);
    let Ok(text) = std::str::from_utf8(first) else {
        return;
    };
    let _ = Template::compile(text);
    let Ok(pattern) = Pattern::compile(text, |_| true) else {
        return;
    };
    // A pattern reads as it is written.
    let again = Pattern::compile(&pattern.to_string(), |_| true);
    assert_eq!(again.as_ref(), Ok(&pattern));
    let Some(found) = pattern.fit(value) else {
        return;
    };
    let mut names = found.into_iter();
    let mut whole = Vec::new();
    for piece in pattern.pieces() {
        match piece {
            Piece::Text(text) => whole.extend_from_slice(text.as_bytes()),
            Piece::Name(name) => {
                let (found, text) = names.next().expect("each name is found");
                assert_eq!(found, *name);
                whole.extend_from_slice(text);
            }
        }
    }
    assert_eq!(whole, value, "nothing is passed over");
}

/// A form: its fields are parts of the body, and decoding never makes more of them.
pub fn form(bytes: &[u8]) {
    let Some(fields) = form::fields(bytes) else {
        return;
    };
    let mut length = 0;
    for (name, value) in fields {
        assert!(form::decode(name).len() <= name.len());
        assert!(form::decode(value).len() <= value.len());
        assert!(undo_percent(value).len() <= value.len());
        length += name.len() + value.len();
    }
    assert!(length <= bytes.len());
}

/// An `[auth]` table: it compiles or says where it is wrong, and what it then signs and reads panics nowhere.
pub fn declaration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(table) = DeTable::parse(text) else {
        return;
    };
    let table = table.get_ref();
    for mistake in Auth::check(table) {
        let span = &mistake.flaw.span;
        assert!(span.start <= span.end && span.end <= text.len(), "{span:?}");
    }
    let now = Timestamp::from_second(1_700_000_000).expect("a moment of our time");
    for secret in ["user:pepper", "whsec_cGVwcGVy", "0afF"] {
        let Ok(auth) = Auth::compile(table, &[Secret::new(secret)]) else {
            continue;
        };
        let _ = auth.advice();
        for body in ["{\"a\":\"b\"}", "payload=%7B%7D&a=b", ""] {
            let mut request = Request::from_text("x", body.as_bytes()).expect("a body is one");
            request.body = body.as_bytes().to_vec().into();
            let _ = authenticate(&auth, request.clone(), now);
            if let Ok(signed) = sign(&auth, request, now) {
                let _ = authenticate(&auth, signed, now);
            }
        }
    }
}

/// A request as text: it is read or its line is named, and what was read is written and read again as the same.
pub fn request(bytes: &[u8]) {
    let Ok(request) = Request::from_text("x", bytes) else {
        return;
    };
    let text = request.to_text();
    let again = Request::from_text("x", &text).expect("what was written is read");
    assert_eq!(again.method, request.method);
    assert_eq!(again.target, request.target);
    assert_eq!(again.rest, request.rest);
    assert_eq!(again.body, request.body);
    for name in request
        .headers
        .keys()
        .filter(|name| *name != "content-length")
    {
        let all = |request: &Request| -> Vec<Vec<u8>> {
            let values = request.headers.get_all(name).iter();
            values.map(|value| value.as_bytes().to_vec()).collect()
        };
        assert_eq!(all(&again), all(&request), "{name}");
    }
}

/// What stands before and behind the first line break.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}
