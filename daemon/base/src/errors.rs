//! Errors with their causes, as one line of text.

pub use protocol::error_chain as chained;
