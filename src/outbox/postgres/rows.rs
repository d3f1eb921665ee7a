//! Between rows and nouns.

use std::borrow::Cow;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::pool::Failed;
use crate::model::{Conversation, DeliveryId, DeliveryState, Timestamp};

/// A moment as it is stored: microseconds since 1970. Finer parts are cut off.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The moment that was stored. A number that no calendar holds reads as the nearest end of time.
pub(super) fn moment(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// A column.
pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Failed> {
    Ok(row.try_get(column)?)
}

/// A moment, or none.
pub(super) fn get_moment(row: &Row, column: usize) -> Result<Option<Timestamp>, Failed> {
    Ok(get::<Option<i64>>(row, column)?.map(moment))
}

/// A count that cannot be negative.
pub(super) fn get_count(row: &Row, column: usize) -> Result<u64, Failed> {
    Ok(u64::try_from(get::<i64>(row, column)?).unwrap_or(0))
}

/// The number of an attempt.
pub(super) fn get_u32(row: &Row, column: usize) -> Result<u32, Failed> {
    Ok(u32::try_from(get::<i64>(row, column)?).unwrap_or(u32::MAX))
}

/// The state of a delivery.
pub(super) fn get_state(row: &Row, column: usize) -> Result<DeliveryState, Failed> {
    state(get(row, column)?)
}

/// The state that a word stands for.
pub(super) fn state(word: &str) -> Result<DeliveryState, Failed> {
    DeliveryState::ALL
        .into_iter()
        .find(|state| state.word() == word)
        .ok_or_else(|| Failed::Unreadable(format!("`{word}` is not a state of a delivery")))
}

/// The conversation of a row.
pub(super) fn get_conversation(row: &Row, column: usize) -> Result<Conversation, Failed> {
    get_text(row, column)?.parse().map_err(unreadable)
}

/// A delivery's id.
pub(super) fn get_id(row: &Row, column: usize) -> Result<DeliveryId, Failed> {
    Ok(DeliveryId(get(row, column)?))
}

/// PostgreSQL's texts hold every character but the one with the number 0, and what comes from outside may have it. It is
/// written as this one (of those that mean nothing to anybody) and a `0`; this one itself is written twice.
const ESCAPE: char = '\u{e000}';

/// A text as it is stored.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => stored.extend([ESCAPE, '0']),
            ESCAPE => stored.extend([ESCAPE, ESCAPE]),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// The text that was stored.
fn unstored(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == ESCAPE) {
            (_, true) => match characters.next() {
                Some('0') => found.push('\0'),
                Some(other) => found.push(other),
                None => {}
            },
            (other, false) => found.push(other),
        }
    }
    found
}

/// A text that was [`stored`].
pub(super) fn get_text(row: &Row, column: usize) -> Result<String, Failed> {
    get(row, column).map(unstored)
}

/// The same, where there may be none.
pub(super) fn get_some_text(row: &Row, column: usize) -> Result<Option<String>, Failed> {
    Ok(get::<Option<&str>>(row, column)?.map(unstored))
}

/// A column that holds what nobody wrote.
pub(super) fn unreadable(error: impl std::fmt::Display) -> Failed {
    Failed::Unreadable(error.to_string())
}

/// As JSON, for a column of text.
pub(super) fn to_json<T: serde::Serialize>(it: &T) -> Result<String, Failed> {
    serde_json::to_string(it).map_err(unreadable)
}

/// A number of ours as PostgreSQL counts.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_as_it_was_whatever_stands_in_it() {
        for text in [
            "",
            "plain",
            "a\0b\0",
            "\u{e000}0",
            "\u{e000}\0\u{e000}",
            "0",
        ] {
            let stored = stored(text);
            assert!(!stored.contains('\0'));
            assert_eq!(unstored(&stored), text);
        }
    }
}
