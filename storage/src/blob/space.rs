//! Admission by disk space: arithmetic on the quota, the reserved bytes and the free space.

/// Limits on the disk space of the blob store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceLimits {
    /// Most bytes that the store may take; `None` for no limit but the disk's.
    pub quota: Option<u64>,
    /// Bytes that must stay free for everything else on the disk.
    pub floor: u64,
}

/// Current use of the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that the store takes on disk.
    pub used: u64,
    /// Bytes reserved for running imports and downloads.
    pub reserved: u64,
    /// Bytes that the file system has free for this user.
    pub free: u64,
}

/// Error: not enough space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The operator's quota is reached.
    #[error(
        "{need} bytes are needed and the quota of {quota} has {left} left; unpin something and collect, or raise the quota"
    )]
    Quota {
        need: u64,
        /// Bytes left of the quota.
        left: u64,
        quota: u64,
    },
    /// The disk is too full.
    #[error(
        "{need} bytes are needed and {free} are free, of which {floor} are to stay free; free some space on this disk, \
         unpin something and collect, or lower the floor"
    )]
    Disk {
        need: u64,
        /// Free bytes, less those reserved.
        free: u64,
        /// Bytes that must stay free.
        floor: u64,
    },
}

impl SpaceLimits {
    /// Checks that `need` more bytes fit.
    ///
    /// ```
    /// use storage::blob::{SpaceLimits, Usage};
    ///
    /// let limits = SpaceLimits { quota: Some(100), floor: 10 };
    /// let usage = Usage { used: 50, reserved: 40, free: 1_000 };
    /// assert!(limits.admit(usage, 10).is_ok());
    /// assert!(limits.admit(usage, 11).is_err());
    /// ```
    pub fn admit(&self, usage: Usage, need: u64) -> Result<(), Full> {
        if let Some(quota) = self.quota {
            let left = quota.saturating_sub(usage.used.saturating_add(usage.reserved));
            if need > left {
                return Err(Full::Quota { need, left, quota });
            }
        }
        let free = usage.free.saturating_sub(usage.reserved);
        let floor = self.floor;
        match need.checked_add(floor) {
            Some(wanted) if wanted <= free => Ok(()),
            _ => Err(Full::Disk { need, free, floor }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_bytes_are_not_available_to_others() {
        let limits = SpaceLimits {
            quota: Some(100),
            floor: 0,
        };
        let usage = Usage {
            used: 50,
            reserved: 40,
            free: 1_000,
        };
        assert_eq!(limits.admit(usage, 10), Ok(()));
        let full = Full::Quota {
            need: 11,
            left: 10,
            quota: 100,
        };
        assert_eq!(limits.admit(usage, 11), Err(full));
    }

    #[test]
    fn the_floor_stays_free() {
        let limits = SpaceLimits { quota: None, floor: 30 };
        let usage = Usage {
            used: 0,
            reserved: 10,
            free: 100,
        };
        assert_eq!(limits.admit(usage, 60), Ok(()));
        let error = limits.admit(usage, 61).expect_err("one byte too many");
        assert!(
            error.to_string().contains("61 bytes are needed and 90 are free"),
            "{error}"
        );
        assert!(limits.admit(usage, u64::MAX).is_err(), "no overflow");
    }
}
