//! The stories: what the product promises, told over its real parts.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "these are tests, their helpers too; what was skipped or counted is printed"
)]

mod alertmanager;
mod at_the_server;
mod auth;
mod clients;
mod corpus;
mod database;
mod deliver;
mod desk;
mod docs;
mod door;
mod entrance;
mod events;
mod expectations;
mod faults;
mod faulty;
mod floors;
mod fuzz;
mod migrating;
mod notices;
mod openim;
mod outbox;
mod presets;
mod proof;
mod reach;
mod read_back;
mod reload;
mod replicas;
mod routes;
mod rules;
mod sandbox;
mod sandbox_replay;
mod senders;
mod service;
mod shipped;
mod signer;
mod signing;
mod simulated;
mod simulation;
mod stage;
mod trying;
