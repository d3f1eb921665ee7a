//! From a webhook to a chat message in OpenIM, and nothing lost in between.
//!
//! The modules in the order a webhook meets them:
//!
//! 1. [`web`] takes the request at the door (`POST /hooks/<bridge>`).
//! 2. [`intake`] turns bytes into messages: authenticate, parse, route, render. Pure and synchronous.
//! 3. [`outbox`] keeps the event and its deliveries in one transaction, before the door answers 202.
//! 4. [`deliver`] takes each delivery to OpenIM and records what happened.
//!
//! Around them: [`bridge`] is the rule-book, checked and compiled from what an operator wrote; [`model`] holds the nouns
//! that all rooms share; [`sandbox`] is a stand-in OpenIM; [`settings`], [`app`] and [`cli`] build the rooms and run them.

pub mod app;
pub mod bridge;
pub mod cli;
pub mod deliver;
pub mod intake;
pub mod model;
pub mod outbox;
pub mod sandbox;
pub mod settings;
pub mod web;
