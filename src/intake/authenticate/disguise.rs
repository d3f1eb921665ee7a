//! Finds the bridge's secrets in a text, in whatever writing they stand there: as they are, in other letters,
//! percent-encoded, escaped as in JSON or in HTML, in hex, in base64, and one of these inside another.
//!
//! Every writing is undone and looked through again, and what is found is led back to where it stands in the text.

use std::ops::Range;

use super::mac;
use crate::bridge::auth::{Auth, KeyForm, Scheme};
use crate::model::Secret;

/// A secret that is shorter stands in ordinary texts too. In bytes.
const SHORTEST_SECRET: usize = 6;

/// So many writings inside each other are undone: base64 with escapes of JSON, in a form.
const DEEPEST: usize = 3;

/// So many bytes are looked at in one request, all writings together. An ordinary body of 256 KiB takes less than half of it.
const MOST_BYTES: usize = 8 << 20;

/// So many bytes in a row that a text has in common with a secret are no chance.
const TELLING: usize = 8;

/// What stands for each byte of what is hidden. It needs no escape in a header, an address, a form or JSON.
pub(super) const HIDDEN: u8 = b'*';

/// A longer hidden text says nothing more. In bytes.
const LONGEST_HIDDEN: usize = 200;

/// Makes a sum of bytes that can roll along a text. Odd, and with bits everywhere.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Looks for the secrets of one bridge in one request.
pub(super) struct Finder {
    secrets: Vec<Known>,
    /// How much may still be looked at.
    left: usize,
}

/// A secret in small letters. Its sum is compared first, which takes the same time however much of it a text holds.
struct Known {
    secret: Secret,
    sum: u64,
    /// What the byte that leaves the sum weighs in it.
    weight: u64,
}

impl Known {
    fn of(folded: Vec<u8>) -> Known {
        let roll = |(sum, weight): (u64, u64), byte: &u8| (rolled(sum, *byte), weighed(weight));
        let (sum, weight) = folded.iter().fold((0, 1), roll);
        Known {
            secret: Secret::new(folded),
            sum,
            weight,
        }
    }
}

fn rolled(sum: u64, byte: u8) -> u64 {
    weighed(sum).wrapping_add(u64::from(byte))
}

fn weighed(sum: u64) -> u64 {
    sum.wrapping_mul(FACTOR)
}

/// There is more to look through than a request is worth.
#[derive(Debug)]
struct TooMuch;

impl Finder {
    /// With the bridge's secrets, the keys that are made of them, and the passwords in them.
    pub fn of(auth: &Auth) -> Finder {
        let mut finder = Finder {
            secrets: Vec::new(),
            left: MOST_BYTES,
        };
        for way in auth.ways() {
            for key in &way.keys {
                let secret = key.secret.expose();
                finder.learn(secret);
                for form in &key.forms {
                    if let KeyForm::Fixed(bytes) = form {
                        finder.learn(bytes.expose());
                    }
                }
                let colon = secret.iter().position(|&byte| byte == b':');
                if let (Scheme::Basic, Some(at)) = (&way.scheme, colon) {
                    finder.learn(&secret[at + 1..]);
                }
            }
        }
        finder
    }

    fn learn(&mut self, secret: &[u8]) {
        // Blanks and quotes around it are often only at one end.
        let around = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`".contains(byte);
        let start = secret.iter().position(|byte| !around(byte)).unwrap_or(0);
        let end = secret.iter().rposition(|byte| !around(byte));
        let secret = &secret[start..end.map_or(0, |end| end + 1).max(start)];
        let mut forms = vec![secret.to_vec()];
        if let Ok(text) = std::str::from_utf8(secret)
            && !text.is_ascii()
        {
            forms.extend([text.to_lowercase().into(), text.to_uppercase().into()]);
        }
        for form in forms {
            let folded: Vec<u8> = form.into_iter().map(fold).collect();
            let known = |known: &Known| mac::equal(known.secret.expose(), &folded);
            if folded.len() >= SHORTEST_SECRET && !self.secrets.iter().any(known) {
                self.secrets.push(Known::of(folded));
            }
        }
    }

    /// The text with every secret in it hidden; all of it, where there is too much to look through.
    pub fn hide(&mut self, mut text: Vec<u8>) -> Vec<u8> {
        let Ok(found) = self.look(&text, DEEPEST) else {
            return vec![HIDDEN; text.len().min(LONGEST_HIDDEN)];
        };
        for range in found {
            text[range].fill(HIDDEN);
        }
        text
    }

    /// Whether a text has so much in common with a secret that it may be one with a typing error.
    pub fn resembles(&self, text: &[u8]) -> bool {
        let text: Vec<u8> = text.iter().copied().map(fold).collect();
        self.secrets.iter().any(|known| {
            let mut parts = known.secret.expose().windows(TELLING);
            parts.any(|part| text.windows(TELLING).any(|other| mac::equal(other, part)))
        })
    }

    /// Where secrets stand in a text.
    fn look(&mut self, text: &[u8], deep: usize) -> Result<Vec<Range<usize>>, TooMuch> {
        let mut found = self.look_plainly(text)?;
        if deep == 0 || self.secrets.is_empty() {
            return Ok(found);
        }
        for view in [percent(text), escapes(text), references(text)]
            .into_iter()
            .flatten()
        {
            found.extend(self.look_inside(&view, deep - 1)?);
        }
        // Nobody knows where the writing begins in a run of its signs.
        for run in runs(text, |byte| byte.is_ascii_hexdigit(), 2 * SHORTEST_SECRET) {
            for start in 0..2 {
                let view = hex(text, &run[start..]);
                found.extend(self.look_inside(&view, deep - 1)?);
            }
        }
        for run in runs(text, |byte| sextet(byte).is_some(), SHORTEST_SECRET * 4 / 3) {
            for start in 0..4 {
                let view = base64(text, &run[start..]);
                found.extend(self.look_inside(&view, deep - 1)?);
            }
        }
        Ok(found)
    }

    fn look_inside(&mut self, view: &View, deep: usize) -> Result<Vec<Range<usize>>, TooMuch> {
        // Within bytes that are no text nobody writes anything in another way.
        let deep = if is_text(&view.bytes) { deep } else { 0 };
        let found = self.look(&view.bytes, deep)?;
        let outside = |found: Range<usize>| view.from[found.start]..view.to[found.end - 1];
        Ok(found.into_iter().map(outside).collect())
    }

    /// Where secrets stand as they are. A `+` is a blank, as in forms.
    fn look_plainly(&mut self, text: &[u8]) -> Result<Vec<Range<usize>>, TooMuch> {
        let mut found = Vec::new();
        let mut looked = text.len();
        for known in &self.secrets {
            let secret = known.secret.expose();
            let length = secret.len();
            let mut sum = 0;
            for (at, &byte) in text.iter().enumerate() {
                sum = rolled(sum, fold(byte));
                let Some(start) = (at + 1).checked_sub(length) else {
                    continue;
                };
                if let Some(gone) = start.checked_sub(1) {
                    let gone = u64::from(fold(text[gone])).wrapping_mul(known.weight);
                    sum = sum.wrapping_sub(gone);
                }
                if sum == known.sum {
                    let part: Vec<u8> = text[start..=at].iter().copied().map(fold).collect();
                    if mac::equal(&part, secret) {
                        found.push(start..at + 1);
                    }
                    looked += length;
                }
                if looked > self.left {
                    return Err(TooMuch);
                }
            }
        }
        self.left = self.left.checked_sub(looked).ok_or(TooMuch)?;
        Ok(found)
    }
}

/// Whether hardly any of the bytes are control characters. A few may be what stands in front, read by mistake.
fn is_text(bytes: &[u8]) -> bool {
    let control = |byte: &&u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    bytes.iter().filter(control).count() <= 4 + bytes.len() / 20
}

fn fold(byte: u8) -> u8 {
    match byte {
        b'+' => b' ',
        byte => byte.to_ascii_lowercase(),
    }
}

/// A text with a writing undone: its bytes, and for each where it begins and ends in the text.
struct View {
    bytes: Vec<u8>,
    from: Vec<usize>,
    to: Vec<usize>,
}

impl View {
    fn of(most: usize) -> View {
        View {
            bytes: Vec::with_capacity(most),
            from: Vec::with_capacity(most),
            to: Vec::with_capacity(most),
        }
    }

    fn push(&mut self, byte: u8, from: usize, to: usize) {
        self.bytes.push(byte);
        self.from.push(from);
        self.to.push(to);
    }
}

/// `%2D`; `None` where nothing is written so.
fn percent(text: &[u8]) -> Option<View> {
    text.contains(&b'%').then(|| {
        let undo = |rest: &[u8]| match rest {
            [b'%', high, low, ..] => Some((vec![byte_of(*high, *low)?], 3)),
            _ => None,
        };
        undone(text, undo)
    })
}

/// `\u002d`, `\/`, `\x2d`; `None` where nothing is written so.
fn escapes(text: &[u8]) -> Option<View> {
    text.contains(&b'\\').then(|| {
        let undo = |rest: &[u8]| match rest {
            [b'\\', b'u', behind @ ..] => {
                let (first, behind) = (unit(behind)?, behind.get(4..)?);
                let second = match behind {
                    [b'\\', b'u', behind @ ..] if (0xd800..0xdc00).contains(&first) => unit(behind),
                    _ => None,
                };
                let units: Vec<u16> = [Some(first), second].into_iter().flatten().collect();
                let text = String::from_utf16_lossy(&units).into_bytes();
                Some((text, 6 * units.len()))
            }
            [b'\\', b'x', high, low, ..] => Some((vec![byte_of(*high, *low)?], 4)),
            [b'\\', sign, ..] => {
                let meant = match sign {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'f' => 12,
                    sign if sign.is_ascii_punctuation() => *sign,
                    _ => return None,
                };
                Some((vec![meant], 2))
            }
            _ => None,
        };
        undone(text, undo)
    })
}

/// `&lt;`, `&#60;`, `&#x3c;`, as in HTML and XML; `None` where nothing is written so.
fn references(text: &[u8]) -> Option<View> {
    /// No reference is longer, leading zeros and all. In bytes.
    const LONGEST: usize = 10;
    let undo = |rest: &[u8]| {
        let inner = rest.strip_prefix(b"&")?;
        let end = inner.iter().take(LONGEST).position(|byte| *byte == b';')?;
        let name = std::str::from_utf8(&inner[..end]).ok()?;
        let meant = match (name, name.strip_prefix('#')) {
            ("lt", _) => '<',
            ("gt", _) => '>',
            ("amp", _) => '&',
            ("quot", _) => '"',
            ("apos", _) => '\'',
            (_, Some(number)) => {
                let number = match number.strip_prefix(['x', 'X']) {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                char::from_u32(number.ok()?)?
            }
            _ => return None,
        };
        Some((meant.to_string().into_bytes(), end + 2))
    };
    let mut begins = text.iter().enumerate().filter(|(_, byte)| **byte == b'&');
    begins
        .any(|(at, _)| undo(&text[at..]).is_some())
        .then(|| undone(text, undo))
}

/// The text with everything undone that `undo` can read the beginning of: what it means, and how long it is.
fn undone(text: &[u8], undo: impl Fn(&[u8]) -> Option<(Vec<u8>, usize)>) -> View {
    let mut view = View::of(text.len());
    let mut at = 0;
    while at < text.len() {
        let (meant, length) = undo(&text[at..]).unwrap_or_else(|| (vec![text[at]], 1));
        for byte in meant {
            view.push(byte, at, at + length);
        }
        at += length;
    }
    view
}

/// The places of the signs of a writing that stand in a row; line breaks between them are left out.
fn runs(text: &[u8], belongs: impl Fn(u8) -> bool, shortest: usize) -> Vec<Vec<usize>> {
    let mut runs = Vec::new();
    let mut run = Vec::new();
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            byte if belongs(byte) => run.push(at),
            b'\r' | b'\n' => {}
            _ if run.len() >= shortest => runs.push(std::mem::take(&mut run)),
            _ => run.clear(),
        }
    }
    if run.len() >= shortest {
        runs.push(run);
    }
    runs
}

fn hex(text: &[u8], run: &[usize]) -> View {
    let mut view = View::of(run.len() / 2);
    for pair in run.chunks_exact(2) {
        if let Some(byte) = byte_of(text[pair[0]], text[pair[1]]) {
            view.push(byte, pair[0], pair[1] + 1);
        }
    }
    view
}

/// Both alphabets of base64 at once. A byte is made of two signs side by side.
fn base64(text: &[u8], run: &[usize]) -> View {
    let value = |at: usize| sextet(text[run[at]]).unwrap_or_default();
    let mut view = View::of(run.len());
    for index in 0..run.len() * 6 / 8 {
        let (sign, shift) = (index * 8 / 6, index * 8 % 6);
        let (high, low) = (value(sign) << (2 + shift), value(sign + 1) >> (4 - shift));
        view.push(high | low, run[sign], run[sign + 1] + 1);
    }
    view
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

fn byte_of(high: u8, low: u8) -> Option<u8> {
    let mut byte = [0];
    hex::decode_to_slice([high, low], &mut byte).ok()?;
    Some(byte[0])
}

/// The number behind `\u`.
fn unit(text: &[u8]) -> Option<u16> {
    let (high, low) = (
        byte_of(*text.first()?, *text.get(1)?)?,
        byte_of(*text.get(2)?, *text.get(3)?)?,
    );
    Some(u16::from_be_bytes([high, low]))
}
