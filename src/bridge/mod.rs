//! The rule-book: all bridges, templates, groups and people of a directory, checked and compiled, replaced as a whole.

pub mod auth;
pub mod event_rules;
pub mod expression;
pub mod problem;
pub mod template;
pub mod words;
