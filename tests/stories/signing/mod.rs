//! `sign` and `verify`: a request as its sender would sign it, and why a signature holds or does not.

mod commands;
mod mistakes;
mod verifying;
