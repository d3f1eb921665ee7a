//! The stories: what the product promises, told over its real parts.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "these are tests, their helpers too; what was skipped or counted is printed"
)]

mod alertmanager;
mod at_the_server;
mod auth;
mod corpus;
mod database;
mod deliver;
mod docs;
mod door;
mod events;
mod expectations;
mod faults;
mod faulty;
mod floors;
mod migrating;
mod openim;
mod outbox;
mod proof;
mod read_back;
mod replicas;
mod routes;
mod rules;
mod sandbox;
mod sandbox_replay;
mod service;
mod shipped;
mod signer;
mod simulated;
mod simulation;
mod stage;
mod trying;
