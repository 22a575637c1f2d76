//! The difference of two versions of a dataset, by record digests.
//!
//! A removed and an added record count as one changed record when they stand between the same two kept records. Records
//! that only moved count as kept.

use std::collections::BTreeMap;

/// The difference of two versions. Numbers are record positions in the old or new version.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Diff {
    /// Number of records in both.
    pub kept: u64,
    /// Positions in the new version.
    pub added: Vec<u64>,
    /// Positions in the old version.
    pub removed: Vec<u64>,
    /// Replaced records: position in the old version, position in the new one.
    pub changed: Vec<(u64, u64)>,
}

/// Compares two versions by their record digests, in order. Duplicates are matched one to one.
///
/// ```
/// use protocol::manifest::{diff, record_digest};
///
/// let [a, b, c] = [b"a", b"b", b"c"].map(|record| record_digest(record));
/// let diff = diff(&[a, b], &[a, c]);
/// assert_eq!((diff.kept, diff.changed), (1, vec![(1, 1)]));
/// ```
pub fn diff(old: &[[u8; 32]], new: &[[u8; 32]]) -> Diff {
    let mut common: BTreeMap<&[u8; 32], (u64, u64)> = BTreeMap::new();
    for digest in old {
        common.entry(digest).or_default().0 += 1;
    }
    for digest in new {
        common.entry(digest).or_default().1 += 1;
    }
    for (of_old, of_new) in common.values_mut() {
        let both = (*of_old).min(*of_new);
        (*of_old, *of_new) = (both, both);
    }

    let mut diff = Diff::default();
    let (mut at_old, mut at_new) = (old.iter().zip(0u64..).peekable(), new.iter().zip(0u64..).peekable());
    loop {
        let mut gone = Vec::new();
        while let Some((_, at)) = at_old.next_if(|(digest, _)| !take(&mut common, digest, |both| &mut both.0)) {
            gone.push(at);
        }
        let mut fresh = Vec::new();
        while let Some((_, at)) = at_new.next_if(|(digest, _)| !take(&mut common, digest, |both| &mut both.1)) {
            fresh.push(at);
        }
        let replaced = gone.len().min(fresh.len());
        diff.changed.extend(gone.iter().copied().zip(fresh.iter().copied()));
        diff.removed.extend(&gone[replaced..]);
        diff.added.extend(&fresh[replaced..]);
        // Both records are kept, perhaps at other positions; an equal number of kept ones remains on each side.
        match (at_old.next(), at_new.next()) {
            (Some(_), Some(_)) => diff.kept += 1,
            (None, None) => return diff,
            _ => unreachable!("both versions have the same number of common records"),
        }
    }
}

/// Returns true if one more record with this digest is common to both versions, and counts it off.
fn take<'a>(
    common: &mut BTreeMap<&'a [u8; 32], (u64, u64)>,
    digest: &&'a [u8; 32],
    side: fn(&mut (u64, u64)) -> &mut u64,
) -> bool {
    let left = side(common.get_mut(*digest).expect("every digest was counted"));
    let stays = *left > 0;
    *left -= u64::from(stays);
    stays
}
