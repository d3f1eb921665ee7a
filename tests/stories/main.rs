//! The stories: what the product promises, told over its real parts.

mod floors;
