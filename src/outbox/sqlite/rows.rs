//! Between rows and nouns.

use rusqlite::types::Type;

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

/// The state that a word stands for.
pub(super) fn state(column: usize, word: &str) -> rusqlite::Result<DeliveryState> {
    DeliveryState::ALL
        .into_iter()
        .find(|state| state.word() == word)
        .ok_or_else(|| unreadable(column, format!("`{word}` is not a state of a delivery")))
}

/// The conversation that a text stands for.
pub(super) fn conversation(column: usize, text: &str) -> rusqlite::Result<Conversation> {
    text.parse().map_err(|error| unreadable(column, error))
}

/// A delivery's id from its bytes.
pub(super) fn delivery_id(bytes: [u8; 16]) -> DeliveryId {
    DeliveryId(uuid::Uuid::from_bytes(bytes))
}

/// A count that cannot be negative.
pub(super) fn count(many: i64) -> u64 {
    u64::try_from(many).unwrap_or(0)
}

/// A column that holds what nobody wrote.
pub(super) fn unreadable(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}
