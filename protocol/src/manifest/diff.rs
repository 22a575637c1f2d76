//! What changed between two versions, by the digests of their records.
//!
//! A record that is gone and a record that is new are one changed record when they stand between the same two records
//! that stayed. Records that only moved count as kept.

use std::collections::BTreeMap;

/// The difference of two versions. Numbers are positions among the records of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Diff {
    /// Records that both have.
    pub kept: u64,
    /// Only in the new version.
    pub added: Vec<u64>,
    /// Only in the old version.
    pub removed: Vec<u64>,
    /// Replaced: the position in the old version, and in the new one.
    pub changed: Vec<(u64, u64)>,
}

/// Compares two versions by the digests of their records, in order. A digest that one has more often counts as often.
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
        let mut come = Vec::new();
        while let Some((_, at)) = at_new.next_if(|(digest, _)| !take(&mut common, digest, |both| &mut both.1)) {
            come.push(at);
        }
        let replaced = gone.len().min(come.len());
        diff.changed.extend(gone.iter().copied().zip(come.iter().copied()));
        diff.removed.extend(&gone[replaced..]);
        diff.added.extend(&come[replaced..]);
        // The two records here stayed, in this place or in another; as many of them are left on either side.
        match (at_old.next(), at_new.next()) {
            (Some(_), Some(_)) => diff.kept += 1,
            (None, None) => return diff,
            _ => unreachable!("both versions have the same number of common records"),
        }
    }
}

/// Whether one more of this digest belongs to what both versions have; counts it off if so.
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
