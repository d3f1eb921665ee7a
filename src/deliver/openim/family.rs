//! The server's family, told from an answer.

use super::envelope::Answer;
use crate::model::Family;

/// Reads the answer to an empty `/msg/send_simple_msg` that carried a token: only `main` has that call. Without a
/// token both answer alike. `None` when the answer says neither.
pub(super) fn family_of(answer: &Answer) -> Option<Family> {
    match &answer.envelope {
        Some(envelope) if envelope.says("missing key in query") => Some(Family::Main),
        None if answer.status == 404 => Some(Family::Release38),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::openim::envelope::Envelope;

    #[test]
    fn only_main_misses_a_key_and_only_release_3_8_misses_the_call() {
        let said = |body: &str, status| Answer {
            status,
            retry_after: None,
            envelope: Envelope::read(body.as_bytes(), &[]),
        };
        let main = r#"{"errCode":1001,"errMsg":"ArgsError","errDlt":"missing key in query"}"#;
        let down = r#"{"errCode":14,"errMsg":"no children to pick from","errDlt":""}"#;
        assert_eq!(family_of(&said(main, 200)), Some(Family::Main));
        assert_eq!(
            family_of(&said("404 page not found", 404)),
            Some(Family::Release38)
        );
        assert_eq!(family_of(&said(down, 200)), None);
        assert_eq!(family_of(&said("<html>", 502)), None);
    }
}
