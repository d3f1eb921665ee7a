//! The proof of the promises "not lost, not twice, in order": the whole service between real webhooks and a chat server that
//! breaks, and the books of that server.
//!
//! A short form of the crashes runs always. `tests/proof.sh` runs everything in its long form and prints the tables that stand in `docs/proofs.md`.

mod books;
mod crash;
pub mod ground;
mod matrix;
mod trials;

/// Whether the long form was asked for.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment how long they may take"
)]
fn is_long() -> bool {
    std::env::var_os("OPENIM_BRIDGE_PROOF").is_some_and(|form| form == "long")
}
