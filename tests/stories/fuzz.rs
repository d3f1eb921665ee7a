//! The fuzz targets, driven for a moment wherever the tests run: bytes at random, and right inputs with mistakes in them.
//! `PROPTEST_CASES` says for how long; libFuzzer drives the same functions for as long as one likes (fuzz/README.md).

#[path = "../../fuzz/targets.rs"]
mod targets;

use proptest::prelude::*;

/// Right inputs to make mistakes in.
const PATTERNS: [&str; 5] = [
    "sha256={hex}\nsha256=0aff",
    "t={timestamp},h={headers},v1={hex}\nt=1,h=a b,v1=00",
    "{algorithm}={base64}\nsha1=YQ==",
    "v1,{base64url}!\nv1,-_8!",
    "{timestamp}\\n{secret}{header values}{header:date}\n",
];
const FORMS: [&str; 3] = [
    "payload=%7B%22a%22%3A%22%2B+b%22%7D&sign=ab%252B&&=x&y",
    "a=1=2&b+c=d%2Be%zz%4",
    "{\"m\":\"&payload=x\"}",
];
const DECLARATIONS: [&str; 4] = [
    "scheme = [\"hmac-sha256\", \"hmac-sha1\"]\nsignature = [\"header:x-a\", \"query:s\"]\nformat = \"{algorithm}={hex}\"\n",
    "scheme = \"hmac-sha256\"\nsignature = \"header:x-a\"\nformat = \"t={timestamp},v1={hex}\"\nseveral = \",\"\nsigned = \"{timestamp}.{body}\"\ntimestamp = { within = \"5m\" }\notherwise = [{ scheme = \"bearer\" }, { scheme = \"token\", token = \"path\" }]\n",
    "scheme = \"hmac-sha1\"\nsignature = \"body:/sign\"\nformat = \"{base64}\"\nsigned = \"\"\nkey = \"{timestamp}\\n{secret}\"\ntimestamp = { from = \"body:/timestamp\", unit = \"ms\", within = \"1h\" }\naddresses = [\"192.0.2.0/24\"]\n",
    "scheme = \"token\"\ntoken = [\"form:payload\", \"query:token\"]\nformat = \"T {token}!\"\nseveral = \";\"\n",
];
const REQUESTS: [&str; 4] = [
    // Once misread: an address in the query was taken for the address of the request.
    "POST /hooks/x?from=https://example.com/a HTTP/1.1\n\n{}",
    "POST /hooks/x/token?a=b HTTP/1.1\r\nX-Two: a\r\nX-Two:b\r\n\r\n{\"a\":\n1}\n",
    "GET https://hook.example.com\nContent-Length: 2\n\n{}",
    "{\"a\":1}",
];

/// One change of a right input.
#[derive(Clone, Debug)]
enum Change {
    Put(u8),
    Cut(u8),
    Twice(u8),
    Say(&'static str),
}

/// What a parser trips over.
const WORDS: [&str; 12] = [
    "{", "}", "{body}", "%", "%25", "&", "=", "\n", "\0", "\u{feff}", "é", "\"",
];

fn change() -> impl Strategy<Value = (prop::sample::Index, Change)> {
    let change = prop_oneof![
        any::<u8>().prop_map(Change::Put),
        any::<u8>().prop_map(Change::Cut),
        any::<u8>().prop_map(Change::Twice),
        prop::sample::select(&WORDS[..]).prop_map(Change::Say),
    ];
    (any::<prop::sample::Index>(), change)
}

/// Bytes at random, or one of the right inputs with up to eight changes.
fn bytes(right: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let wild = prop::collection::vec(any::<u8>(), 0..200);
    let wrong = (
        prop::sample::select(right),
        prop::collection::vec(change(), 0..8),
    );
    let wrong = wrong.prop_map(|(text, changes)| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, change) in changes {
            let at = at.index(bytes.len() + 1);
            let end = |length: u8| bytes.len().min(at + usize::from(length % 32));
            match change {
                Change::Put(byte) => bytes.insert(at, byte),
                Change::Cut(length) => drop(bytes.drain(at..end(length))),
                Change::Twice(length) => {
                    let part = bytes[at..end(length)].to_vec();
                    bytes.splice(at..at, part);
                }
                Change::Say(word) => drop(bytes.splice(at..at, word.bytes())),
            }
        }
        bytes
    });
    prop_oneof![1 => wild, 4 => wrong]
}

proptest! {
    #[test]
    fn no_pattern_and_no_value_is_read_past_its_end(bytes in bytes(&PATTERNS)) {
        targets::pattern(&bytes);
    }

    #[test]
    fn no_form_makes_more_than_it_is(bytes in bytes(&FORMS)) {
        targets::form(&bytes);
    }

    #[test]
    fn every_declaration_compiles_or_says_where_it_is_wrong(bytes in bytes(&DECLARATIONS)) {
        targets::declaration(&bytes);
    }

    #[test]
    fn a_request_that_is_written_is_read_as_the_same(bytes in bytes(&REQUESTS)) {
        targets::request(&bytes);
    }
}
