//! What nodes say to each other: one file per conversation.

pub mod announce;
pub mod chain;
pub mod datanet;
pub mod pin;
pub mod vote;
