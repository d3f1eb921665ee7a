//! What moves when an outbox moves from one engine to another: which tables, in which order, with which columns.

/// A table that moves.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name, the same in every engine.
    pub name: &'static str,
    /// Its columns that hold what counts. Leases and what is in hand belong to a process, and stay behind.
    pub columns: &'static [(&'static str, Kind)],
    /// The columns that its rows are read in the order of.
    pub key: &'static [&'static str],
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Number,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
    /// Yes or no; SQLite writes 1 or 0.
    Flag,
    /// A UUID; SQLite writes its 16 bytes.
    Id,
}

/// What stands in a column of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Nothing,
    /// A whole number, or a flag.
    Number(i64),
    /// A text.
    Text(String),
    /// Bytes, or a UUID.
    Bytes(Vec<u8>),
}

/// A row, in the order of its table's columns.
pub type MovedRow = Vec<Cell>;

use Kind::{Bytes, Flag, Id, Number, Text};

/// All tables, those that others refer to first. Tallies of states are counted again from the rows; those of what has
/// happened are [`TALLIES`].
pub const TABLES: &[Table] = &[
    Table {
        name: "event",
        columns: &[
            ("number", Number),
            ("bridge", Text),
            ("id", Text),
            ("id_is", Text),
            ("body_hash", Bytes),
            ("kind", Text),
            ("happened", Number),
            ("received", Number),
            ("kept", Number),
            ("routed", Flag),
            ("title", Text),
            ("actor", Text),
            ("link", Text),
            ("severity", Text),
            ("state", Text),
            ("subject", Text),
            ("header", Text),
            ("query", Text),
            ("body", Bytes),
        ],
        key: &["number"],
    },
    Table {
        name: "signed",
        columns: &[("bridge", Text), ("digest", Bytes), ("event", Number)],
        key: &["bridge", "digest"],
    },
    Table {
        name: "lane",
        columns: &[
            ("number", Number),
            ("name", Text),
            ("last_position", Number),
            ("due", Number),
            ("look", Number),
            ("look_newest", Number),
            ("stopped", Flag),
            ("held", Text),
            ("held_for_one", Flag),
            ("rests_until", Number),
            ("waits_for", Text),
        ],
        key: &["number"],
    },
    Table {
        name: "cursor",
        columns: &[
            ("lane", Number),
            ("conversation", Text),
            ("seq", Number),
            ("holes", Text),
        ],
        key: &["lane", "conversation"],
    },
    Table {
        name: "delivery",
        columns: &[
            ("number", Number),
            ("id", Id),
            ("event", Number),
            ("lane", Number),
            ("position", Number),
            ("state", Text),
            ("due", Number),
            ("kept", Number),
            ("expires", Number),
            ("folded", Text),
            ("folds", Number),
            ("bridge", Text),
            ("kind", Text),
            ("destination", Text),
            ("conversation", Text),
            ("form", Number),
            ("message", Text),
            ("bytes", Number),
            ("reason", Text),
            ("sends", Number),
            ("attempts", Number),
            ("first_attempt", Number),
            ("unsettled_since", Number),
            ("missing_since", Number),
            ("held", Flag),
            ("seq", Number),
        ],
        key: &["number"],
    },
    Table {
        name: "attempt",
        columns: &[
            ("delivery", Number),
            ("number", Number),
            ("operation_id", Text),
            ("began", Number),
            ("ended", Number),
            ("outcome", Text),
            ("verdict", Text),
            ("receipt", Text),
            ("evidence", Text),
        ],
        key: &["delivery", "number"],
    },
];

/// Tallies that no row tells.
pub const TALLIES: &[&str] = &["dropped", "possible repeats"];
