//! Secrets that are none: out of an example, never filled in, or so short that they can be guessed.

/// Secrets that stand in examples and stay there.
pub const EXAMPLES: [&str; 14] = [
    "secret",
    "changeme",
    "change-me",
    "your-secret",
    "your_secret",
    "YOUR_SECRET",
    "my-secret",
    "mysecret",
    "test",
    "password",
    "123456",
    "webhook-secret",
    "development",
    "It's a Secret to Everybody",
];

/// A shorter secret can be guessed. In bytes.
const SHORT: usize = 8;

/// What is wrong with a secret, in words that show nothing of it; `None` where nothing can be seen.
pub fn weakness(secret: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(secret);
    let inner = text.trim();
    let within = |open: &str, close: &str| {
        let rest = inner
            .strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close));
        rest.is_some_and(|rest| !rest.is_empty())
    };
    let is_name = |name: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !name.is_empty()
            && name.chars().all(inner)
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    // GitHub's documentation and half of the world's tests have the last one.
    let mut examples = EXAMPLES.iter().filter(|known| !known.contains(' '));
    let mut signs = inner.chars();
    let first = signs.next();
    match () {
        () if [("\"", "\""), ("'", "'"), ("`", "`")]
            .iter()
            .any(|(open, close)| within(open, close)) =>
        {
            Some("is in quotes, which belong to the secret so")
        }
        () if inner.strip_prefix('$').is_some_and(is_name)
            || [("${", "}"), ("$(", ")"), ("{{", "}}"), ("<", ">")]
                .iter()
                .any(|(open, close)| within(open, close)) =>
        {
            Some("is the name of a variable that was never filled in")
        }
        () if examples.any(|known| known.eq_ignore_ascii_case(inner)) => {
            Some("stands in examples everywhere")
        }
        () if inner.len() < SHORT => Some("is shorter than 8 bytes: it can be guessed"),
        () if signs.all(|sign| Some(sign) == first) => Some("is one sign again and again"),
        () if inner.len() != text.len() && !text.ends_with('\n') => {
            Some("has blanks around it, which belong to the secret so")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::weakness;

    #[test]
    fn a_secret_that_is_none_is_seen_and_a_good_one_is_left_alone() {
        for weak in [
            "x",
            "12345",
            "changeme",
            "ChangeMe",
            "secret",
            "password",
            "'abcdefgh12'",
            "\"abcdefgh12\"",
            "$GITHUB_SECRET",
            "${GITHUB_SECRET}",
            "{{ secret-name }}",
            "<your-secret>",
            "aaaaaaaaaaaa",
            " padded-secret ",
            "",
        ] {
            assert!(weakness(weak.as_bytes()).is_some(), "{weak}");
        }
        for good in [
            "gh-secret-7f3c9a2b41de",
            "whsec_c2FsdCBhbmQgcGVwcGVy",
            "jenkins:pa55word",
            "$2b$10$abcdefgh",
            "pässwörter",
        ] {
            assert_eq!(weakness(good.as_bytes()), None, "{good}");
        }
    }
}
