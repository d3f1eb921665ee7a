//! From bytes to messages: authenticate, parse, route, render. No I/O, no async; the same steps serve the door, `try`,
//! the samples in the tests and `check`.

pub mod authenticate;
mod faces;
mod fields;
pub mod form;
mod json;
pub mod parse;
mod pass;
pub mod render;
mod request;
pub mod route;
pub mod sample;

pub use parse::{Taken, Unreadable, parse, parse_again};
pub use pass::{Passed, announce, pass, replay};
pub use render::{Said, Spoken, render, render_with_notes};
pub use request::{Answer, Authentic, Request, UnreadableRequest, as_written};
pub use route::{Addressed, Decision, Routing, route, route_explained};
