//! Hex and base64 as signatures and keys are written, with no leniency that would give one value two readings.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Base 16, in either case.
    Hex,
    /// RFC 4648, section 4. Padding may be left out; too much of it or spare bits are refused.
    Base64,
    /// RFC 4648, section 5, with the same rules.
    Base64Url,
}

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

impl Encoding {
    /// The bytes behind the text; `None` when it is empty or does not read.
    pub fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        let bytes = match self {
            Encoding::Hex => hex::decode(text).ok(),
            Encoding::Base64 => STANDARD.decode(text).ok(),
            Encoding::Base64Url => URL.decode(text).ok(),
        };
        bytes.filter(|bytes| !bytes.is_empty())
    }

    /// The text of the bytes, as most senders write it: lower-case hex, padded base64.
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Hex => hex::encode(bytes),
            Encoding::Base64 => STANDARD.encode(bytes),
            Encoding::Base64Url => URL.encode(bytes),
        }
    }
}

/// Undoes percent-encoding once. A `%` that begins no escape stays, and so does `+`.
pub fn undo_percent(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        let escape = behind.get(..2).and_then(|two| hex::decode(two).ok());
        match (first, escape) {
            (b'%', Some(byte)) => {
                bytes.extend(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_in_either_case_and_only_whole_bytes() {
        assert_eq!(Encoding::Hex.decode(b"0aFF"), Some(vec![10, 255]));
        for text in ["", "0", "0g", " 0a", "0x0a"] {
            assert_eq!(Encoding::Hex.decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn base64_takes_missing_padding_but_not_too_much_of_it_nor_spare_bits() {
        assert_eq!(Encoding::Base64.decode(b"+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(Encoding::Base64.decode(b"+/8"), Some(vec![0xfb, 0xff]));
        for text in [
            "", "+/8==", "+/8=====", "+/9=", "-_8=", "+/8= ", "+", "=", "+/=8",
        ] {
            assert_eq!(Encoding::Base64.decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_url_alphabet_is_another_one() {
        assert_eq!(Encoding::Base64Url.decode(b"-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(Encoding::Base64Url.decode(b"+/8"), None);
    }

    #[test]
    fn percent_encoding_is_undone_once_and_a_plus_stays() {
        assert_eq!(undo_percent(b"a%2Bb+c%252B%zz%4"), b"a+b+c%2B%zz%4");
    }
}
