//! Urlencoded forms, read from the bytes alone: the Content-Type is not signed, so it decides nothing here.

use std::borrow::Cow;

use crate::bridge::auth::undo_percent;

/// The fields of a form as received, still encoded, in order; `None` for a body that is none.
///
/// A form begins with the encoded name of its first field. Whatever begins otherwise is never read as one, neither JSON
/// nor what a lenient reader may take for JSON (a byte order mark or a blank in front of it): a signed commit message may
/// hold `&payload=…`, and would be replayed as an event of its own, or an unsigned event would be wrapped around it.
pub fn fields(body: &[u8]) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
    let encoded = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+-._*~&=".contains(byte);
    body.first().is_none_or(encoded).then(|| {
        body.split(|&byte| byte == b'&')
            .filter(|field| !field.is_empty())
            .map(|field| match field.iter().position(|&byte| byte == b'=') {
                Some(at) => (&field[..at], &field[at + 1..]),
                None => (field, &[][..]),
            })
    })
}

/// Undoes a form's encoding of a name or a value: `+` is a blank, then percent-encoding once.
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let blanks: Vec<u8> = text
        .iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    Cow::Owned(undo_percent(&blanks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_begins_as_json_is_never_a_form() {
        for body in [
            "{\"m\":\"&payload=x\"}",
            " \n[1,\"&payload=x\"]",
            "\"&payload=x\"",
            "\u{feff}{\"m\":\"&payload=x\"}",
            "\u{a0}{\"m\":\"&payload=x\"}",
        ] {
            assert!(fields(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn fields_are_cut_at_their_first_equals_sign_and_decoded_once() {
        let read: Vec<_> = fields(b"a=1=2&&b+c=d%2Be%252B&f").unwrap().collect();
        assert_eq!(read.len(), 3);
        assert_eq!(read[0], (&b"a"[..], &b"1=2"[..]));
        assert_eq!(decode(read[1].0).as_ref(), b"b c");
        assert_eq!(decode(read[1].1).as_ref(), b"d+e%2B");
        assert_eq!(read[2], (&b"f"[..], &b""[..]));
    }
}
