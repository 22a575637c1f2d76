//! Errors as a person reads them.

pub use protocol::error_chain as chained;
