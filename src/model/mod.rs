//! The nouns that every room shares. No I/O.

mod clock;
pub mod content;
mod conversation;
mod delivery;
mod event;
mod family;
mod health;
mod message;
mod meter;
mod secret;

pub use clock::{Clock, Hold, Lever, Timestamp};
pub use content::{CONTENT_TYPES, ContentType, content_flaws, content_type};
pub use conversation::{Conversation, Lane, NotAConversation};
pub use delivery::{
    Attempt, Claim, DeliveryId, DeliveryState, Expires, Folded, NewDelivery, Outcome, Receipt,
    Rendered,
};
pub use event::{Event, EventId, Severity, SignedDigest, State};
pub use family::{Family, NotAFamily};
pub use health::{Health, RuleBookInUse, SecretInUse, SenderHealth, Trouble};
pub use message::{Content, Mention, Message, Push};
pub use meter::{Answered, Gauges, Meters, Step};
pub use secret::{NotASecretRef, Secret, SecretRef};
