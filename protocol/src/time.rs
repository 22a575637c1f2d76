//! Points in time and block heights. There is no clock in this crate: the current time is always an argument.

use std::{fmt, time::Duration};

/// A point in time: microseconds since the Unix epoch, or since the start of a simulation.
///
/// Additions saturate at the largest time instead of wrapping.
///
/// ```
/// use protocol::Time;
///
/// let start = Time::from_secs(10);
/// assert_eq!(start.after_ms(1_500).since(start).as_millis(), 1_500);
/// assert_eq!(start.since(start.after_ms(1)).as_millis(), 0, "never negative");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct Time(pub u64);

impl Time {
    /// Returns the time of `secs` whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000)
    }

    /// Returns the whole seconds, rounded down: the resolution of an Ethereum header.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Returns the time `millis` milliseconds later; the largest time on overflow.
    #[must_use]
    pub const fn after_ms(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1000)))
    }

    /// Returns the time `wait` later; the largest time on overflow.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns the time elapsed since `earlier`, or zero if `earlier` is in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A block number. Genesis is 0; the first block that validators decide is 1.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    bincode::Encode,
    bincode::Decode,
)]
#[serde(transparent)]
pub struct Height(pub u64);

impl Height {
    /// Returns the next height.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
