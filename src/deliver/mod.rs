//! From the outbox to OpenIM: the courier takes each delivery there and records what happened.
//!
//! [`Courier`] claims what is due and brings it; [`decide()`] says what follows an attempt; the breaker leaves a server in
//! trouble alone; [`openim`] is the only place that knows OpenIM's HTTP API.

mod breaker;
mod courier;
mod decide;
pub mod openim;
mod pace;

pub use crate::model::Family;
pub use breaker::{Breaker, ServerTrouble};
pub use courier::{Courier, Home};
pub use decide::{Outage, Policy, decide};
pub use openim::{OpenIm, SendAs, Server};
pub use pace::Pace;
