//! The two listeners: the door, which may face the world, and the console with health, on an address of its own.

mod answer;
mod api;
mod body;
mod console;
pub mod desk;
mod hooks;
mod limits;
mod listener;
mod proxies;
mod refused;
mod seen;
pub mod shown;

pub use console::{AskHealth, AskMetrics, Console};
pub use hooks::Door;
pub use limits::Limits;
pub use listener::{Listener, Patience};
pub use refused::RefusedRequests;
pub use seen::{Refusals, Seen};
