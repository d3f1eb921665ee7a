//! From bytes to messages: authenticate, parse, route, render. No I/O, no async; the same steps serve the door, `try`,
//! the samples in the tests and `check`.

pub mod authenticate;
pub mod form;
mod request;

pub use request::{Authentic, Request, UnreadableRequest};
