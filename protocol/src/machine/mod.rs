//! State machines of the pin protocol. Each takes the time and one input and returns effects; it does no I/O itself.
//!
//! Four parties take part, one machine each. The owner's [`Pin`] keeps the paid number of copies alive. A host's [`Hosting`]
//! fetches, registers and answers challenges. An auditor's [`Audit`] challenges one host of one deal per epoch. Any peer's
//! [`Probe`] requests one chunk from a provider, as an ordinary reader would.
//!
//! Penalties: a missed audit earns nothing, [`MISSES_MAX`] in a row lose the deal, and only a signed proof that does not
//! verify costs the host's bond.
//!
//! # Why not an async task per deal
//!
//! A verdict decides about money, so each must be reproducible. A machine without clock, network or randomness can be run
//! by the simulator with lost, late and forged messages under one seed, and the daemon's shell around it (wait, step,
//! perform the effects in order) has nothing left to decide.

mod audit;
mod deal;
mod host;
mod pin;
mod probe;
#[cfg(test)]
mod tests;

pub use audit::{Audit, AuditEffect, AuditInput};
pub use deal::{Deal, DealError, DealId, Renewal, SHARDS_MAX};
pub use host::{Decline, HostEffect, HostInput, HostTerms, Hosting, UnpinReason};
pub use pin::{Dropped, MISSES_MAX, Pin, PinEffect, PinInput};
pub use probe::{Probe, ProbeEffect, ProbeInput};

/// Time without a reply after which a message is sent again.
pub const RESEND_MS: u64 = 2_000;
