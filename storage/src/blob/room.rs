//! Whether there is room: pure arithmetic over what the disk and the books say.

/// How much of the disk the blobs may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most the store may take in all, in bytes; none means as much as the disk has.
    pub quota: Option<u64>,
    /// What must stay free for everything else on the disk, in bytes.
    pub floor: u64,
}

/// How it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes the store takes on disk.
    pub used: u64,
    /// Bytes promised to imports and downloads that are under way.
    pub reserved: u64,
    /// Bytes the file system has left for us.
    pub free: u64,
}

/// There is no room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The operator's limit.
    #[error(
        "{need} bytes are needed and the quota of {quota} has {left} left; unpin something and collect, or raise the quota"
    )]
    Quota {
        /// What was asked for.
        need: u64,
        /// What is left of the quota.
        left: u64,
        /// The quota.
        quota: u64,
    },
    /// The disk's limit.
    #[error(
        "{need} bytes are needed and {free} are free, of which {floor} are to stay free; free some space on this disk, \
         unpin something and collect, or lower the floor"
    )]
    Disk {
        /// What was asked for.
        need: u64,
        /// What the disk has, less what is promised already.
        free: u64,
        /// What must stay free.
        floor: u64,
    },
}

impl Room {
    /// Whether `need` more bytes fit.
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
    fn what_is_promised_to_one_import_is_not_promised_to_the_next() {
        let room = Room {
            quota: Some(100),
            floor: 0,
        };
        let usage = Usage {
            used: 50,
            reserved: 40,
            free: 1_000,
        };
        assert_eq!(room.admit(usage, 10), Ok(()));
        let full = Full::Quota {
            need: 11,
            left: 10,
            quota: 100,
        };
        assert_eq!(room.admit(usage, 11), Err(full));
    }

    #[test]
    fn the_floor_stays_free() {
        let room = Room { quota: None, floor: 30 };
        let usage = Usage {
            used: 0,
            reserved: 10,
            free: 100,
        };
        assert_eq!(room.admit(usage, 60), Ok(()));
        let error = room.admit(usage, 61).expect_err("one byte too many");
        assert!(
            error.to_string().contains("61 bytes are needed and 90 are free"),
            "{error}"
        );
        assert!(room.admit(usage, u64::MAX).is_err(), "no overflow");
    }
}
