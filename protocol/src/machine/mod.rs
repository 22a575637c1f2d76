//! Machines: told the time, given one input, they list what should happen. Nothing here waits, sends or draws.
//!
//! A pinned set has four parties, each a machine of its own. The owner's [`Pin`] keeps as many copies as were paid for. A
//! host's [`Hosting`] fetches, registers, answers and forgets. An auditor's [`Audit`] challenges one host of one deal when an
//! epoch begins. Any peer's [`Probe`] asks a provider for one chunk, as a reader would.
//!
//! The faults and what they cost: one miss is a warning and no reward, three in a row lose the deal, and only proofs that
//! the host signed and that do not verify cost a stake.

mod audit;
mod deal;
mod host;
mod pin;
mod probe;
#[cfg(test)]
mod tests;

pub use audit::{Audit, AuditEffect, AuditInput};
pub use deal::{Deal, DealError, DealId, Renewal, SHARDS_MAX};
pub use host::{Appetite, Decline, Forgotten, HostEffect, HostInput, Hosting};
pub use pin::{Dropped, MISSES_MAX, Pin, PinEffect, PinInput};
pub use probe::{Probe, ProbeEffect, ProbeInput};

/// How long a message may stay unanswered before it is sent again.
pub const AGAIN_MS: u64 = 2_000;
