//! Clustering: candidate pairs by band, verification on the shingle sets, union-find, earliest record first.
//!
//! Time and memory per record are bounded: each band is one sort of its keys, a record is compared with at most [`WINDOW`]
//! others of its bucket in each band, and signatures are compared before the sets.

use super::{BANDS, Entry, PERMUTATIONS, Similarity};

/// Records of one bucket that a record is compared with: the earliest, and those just before it.
const WINDOW: usize = 64;
/// Values of two signatures that must agree before the sets are compared. An index of 0.33 gives 43 ± 5 of 128, so a
/// pair above the threshold fails this test at most once in a thousand times.
const AGREE_MIN: usize = 26;

/// The result of clustering.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    pub records: usize,
    /// Records that were too short for anything but an exact comparison.
    pub exact_only: usize,
    /// Pairs whose shingle sets were compared.
    pub verified: u64,
    /// Groups of two records or more, in the order of their canonical records.
    pub clusters: Vec<Cluster>,
}

/// A group of duplicates, which share one payout.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cluster {
    /// The earliest committed record, as a position in the input of [`cluster`].
    pub canonical: usize,
    /// The others, in the order of their commitments.
    pub members: Vec<Member>,
}

/// A duplicate within a [`Cluster`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Member {
    /// Position in the input of [`cluster`].
    pub record: usize,
    /// Similarity to the canonical record.
    pub likeness: Similarity,
    /// A record of the group that it directly duplicates. Not always the canonical one, since copies are copied.
    pub beside: usize,
}

/// Groups duplicate records. The input order changes neither the groups nor their canonical records.
///
/// ```
/// use protocol::duplicate::{Entry, Sketch, cluster};
///
/// let entry = |committed, text: &str| {
///     let record = *blake3::hash(text.as_bytes()).as_bytes();
///     Entry { record, committed, sketch: Sketch::of_text(text) }
/// };
/// let report = cluster(&[entry(9, "The same  text"), entry(4, "the same text"), entry(5, "another one")]);
/// assert_eq!(report.clusters.len(), 1);
/// assert_eq!(report.clusters[0].canonical, 1, "committed first");
/// ```
pub fn cluster<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Report {
    let entries: Vec<&Entry> = entries.into_iter().collect();
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|&at| {
        let entry = entries[at];
        (entry.committed, entry.record, entry.sketch.exact, at)
    });
    let sorted: Vec<&Entry> = order.iter().map(|&at| entries[at]).collect();
    let mut groups = Groups::new(sorted.len());

    let first = join_exact(&sorted, &mut groups);
    let near: Vec<u32> = first
        .into_iter()
        .filter(|&at| !sorted[at as usize].sketch.minhash.is_empty())
        .collect();
    let mut verified = 0;
    let mut keys = Vec::with_capacity(near.len());
    for band in 0..BANDS {
        keys.clear();
        keys.extend(near.iter().map(|&at| {
            let minhash = &sorted[at as usize].sketch.minhash;
            ((minhash[2 * band], minhash[2 * band + 1]), at)
        }));
        keys.sort_unstable();
        for bucket in keys.chunk_by(|a, b| a.0 == b.0) {
            verified += join_bucket(bucket, &sorted, &mut groups);
        }
    }
    let exact_only = sorted.iter().filter(|entry| entry.sketch.minhash.is_empty()).count();
    Report {
        records: entries.len(),
        exact_only,
        verified,
        clusters: groups.clusters(&sorted, &order),
    }
}

/// Joins records with equal digests; returns the first of each group.
fn join_exact(sorted: &[&Entry], groups: &mut Groups) -> Vec<u32> {
    let mut by_digest: Vec<u32> = (0..sorted.len())
        .map(|at| u32::try_from(at).expect("fewer than 2^32 records fit in memory"))
        .collect();
    by_digest.sort_by_key(|&at| (sorted[at as usize].sketch.exact, at));
    let mut first = Vec::with_capacity(sorted.len());
    for equal in by_digest.chunk_by(|a, b| sorted[*a as usize].sketch.exact == sorted[*b as usize].sketch.exact) {
        first.push(equal[0]);
        for &other in &equal[1..] {
            groups.join(equal[0], other);
        }
    }
    first.sort_unstable();
    first
}

/// Joins similar records of a bucket, which is sorted by commitment; returns the number of verified pairs.
fn join_bucket(bucket: &[((u32, u32), u32)], sorted: &[&Entry], groups: &mut Groups) -> u64 {
    let mut verified = 0;
    for (at, &(_, later)) in bucket.iter().enumerate().skip(1) {
        let from = at.saturating_sub(WINDOW - 1);
        let beyond = (from > 0).then_some(0);
        for earlier in beyond.into_iter().chain(from..at).map(|i| bucket[i].1) {
            if groups.root(earlier) == groups.root(later) {
                continue;
            }
            let (a, b) = (&sorted[earlier as usize].sketch, &sorted[later as usize].sketch);
            let agree = (0..PERMUTATIONS).filter(|&i| a.minhash[i] == b.minhash[i]).count();
            if agree < AGREE_MIN {
                continue;
            }
            verified += 1;
            if a.similarity(b).is_duplicate() {
                groups.join(earlier, later);
            }
        }
    }
    verified
}

/// A union-find whose root is the earliest record of a group.
struct Groups {
    parent: Vec<u32>,
    beside: Vec<Option<u32>>,
}

impl Groups {
    fn new(records: usize) -> Self {
        let records = u32::try_from(records).expect("fewer than 2^32 records fit in memory");
        Self {
            parent: (0..records).collect(),
            beside: vec![None; records as usize],
        }
    }

    fn root(&mut self, mut at: u32) -> u32 {
        while self.parent[at as usize] != at {
            let above = self.parent[at as usize];
            self.parent[at as usize] = self.parent[above as usize];
            at = above;
        }
        at
    }

    fn join(&mut self, earlier: u32, later: u32) {
        self.beside[earlier as usize].get_or_insert(later);
        self.beside[later as usize].get_or_insert(earlier);
        let (a, b) = (self.root(earlier), self.root(later));
        self.parent[a.max(b) as usize] = a.min(b);
    }

    fn clusters(&mut self, sorted: &[&Entry], order: &[usize]) -> Vec<Cluster> {
        let mut members: std::collections::BTreeMap<u32, Vec<Member>> = std::collections::BTreeMap::new();
        for at in 0..u32::try_from(sorted.len()).expect("checked when made") {
            let (root, Some(beside)) = (self.root(at), self.beside[at as usize]) else {
                continue;
            };
            if root == at {
                continue;
            }
            members.entry(root).or_default().push(Member {
                record: order[at as usize],
                likeness: sorted[root as usize].sketch.similarity(&sorted[at as usize].sketch),
                beside: order[beside as usize],
            });
        }
        let named = |(root, members): (u32, Vec<Member>)| Cluster {
            canonical: order[root as usize],
            members,
        };
        members.into_iter().map(named).collect()
    }
}
