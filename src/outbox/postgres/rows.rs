//! Between rows and nouns.

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
    let text: &str = get(row, column)?;
    text.parse().map_err(unreadable)
}

/// A delivery's id.
pub(super) fn get_id(row: &Row, column: usize) -> Result<DeliveryId, Failed> {
    Ok(DeliveryId(get(row, column)?))
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
