//! From the outbox to OpenIM: the courier takes each delivery there and records what happened.

pub mod openim;
