//! From the outbox to OpenIM: the courier takes each delivery there and records what happened.
//!
//! [`Courier`] claims what is due and brings it, the reader looks for it in OpenIM's history; [`mod@decide`] says what follows
//! from what was seen; the breaker leaves a server in trouble alone; [`openim`] is the only place that knows OpenIM's API.

mod breaker;
mod courier;
pub mod decide;
pub mod openim;
mod pace;
mod reader;

pub use crate::model::Family;
pub use breaker::{Breaker, ServerTrouble};
pub use courier::{Courier, Home};
pub use decide::answers::decide;
pub use decide::{Outage, Policy, Schedule, Unproven};
pub use openim::{OpenIm, SendAs, Server};
pub use pace::Pace;
