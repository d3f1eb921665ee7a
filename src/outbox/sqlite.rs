//! The outbox in one SQLite file: one writer thread, WAL, synchronous=FULL, group commit.
