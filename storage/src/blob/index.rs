//! The index of kept blobs: their reasons, and which bytes lie outside the store. `log.rs` writes it to disk.
//!
//! Pure: the state is a fold over the entries, so the same entries in the same order give the same index.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use protocol::BlobHash;

use super::{
    reason::{Content, Format, Reason},
    reference::Reference,
};

/// One change of the index, as the log stores it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) enum Entry {
    Pin(Content, Reason),
    Unpin(BlobHash, Reason),
    /// The bytes are in a file of the user.
    Refer(BlobHash, Reference),
    /// The bytes are in the store, or absent: drop the reference.
    Forget(BlobHash),
}

/// The reasons to keep one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// A sequence is kept with its children.
    pub format: Format,
    /// Never empty.
    pub reasons: BTreeSet<Reason>,
}

/// The state after all entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub kept: BTreeMap<BlobHash, Kept>,
    pub references: BTreeMap<BlobHash, Reference>,
}

impl Index {
    pub(super) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Pin(Content { hash, format }, reason) => {
                let kept = self.kept.entry(hash).or_insert_with(|| Kept {
                    format,
                    reasons: BTreeSet::new(),
                });
                // A root that any reason needs as a sequence is kept as a sequence.
                kept.format = kept.format.max(format);
                kept.reasons.insert(reason);
            }
            Entry::Unpin(hash, reason) => {
                if let Some(kept) = self.kept.get_mut(&hash) {
                    kept.reasons.remove(&reason);
                    if kept.reasons.is_empty() {
                        self.kept.remove(&hash);
                    }
                }
            }
            Entry::Refer(hash, reference) => {
                self.references.insert(hash, reference);
            }
            Entry::Forget(hash) => {
                self.references.remove(&hash);
            }
        }
    }

    /// Returns true if `entry` would change the index. Others are not written.
    pub(super) fn needs(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Pin(content, reason) => self
                .kept
                .get(&content.hash)
                .is_none_or(|kept| kept.format < content.format || !kept.reasons.contains(reason)),
            Entry::Unpin(hash, reason) => self.kept.get(hash).is_some_and(|kept| kept.reasons.contains(reason)),
            Entry::Refer(hash, reference) => self.references.get(hash) != Some(reference),
            Entry::Forget(hash) => self.references.contains_key(hash),
        }
    }

    /// Returns the shortest list of entries that gives this index.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let pins = self.kept.iter().flat_map(|(&hash, kept)| {
            let content = Content {
                hash,
                format: kept.format,
            };
            kept.reasons
                .iter()
                .map(move |reason| Entry::Pin(content, reason.clone()))
        });
        let references = self
            .references
            .iter()
            .map(|(&hash, reference)| Entry::Refer(hash, reference.clone()));
        pins.chain(references).collect()
    }
}

/// Returns the blobs that a collection may delete: those that are stored and not live.
pub(super) fn collectable(stored: &BTreeSet<BlobHash>, live: &BTreeSet<BlobHash>) -> BTreeSet<BlobHash> {
    stored.difference(live).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BlobHash = BlobHash([1; 32]);

    fn deal(id: u8) -> Reason {
        Reason::Deal([id; 32])
    }

    #[test]
    fn a_blob_stays_until_its_last_reason_is_gone() {
        let mut index = Index::default();
        index.apply(Entry::Pin(Content::blob(A), deal(1)));
        index.apply(Entry::Pin(Content::blob(A), deal(2)));
        index.apply(Entry::Unpin(A, deal(1)));
        assert!(index.kept.contains_key(&A));
        index.apply(Entry::Unpin(A, deal(2)));
        assert!(index.kept.is_empty());
    }

    #[test]
    fn a_root_that_one_reason_needs_as_a_sequence_keeps_its_children() {
        let mut index = Index::default();
        index.apply(Entry::Pin(Content::sequence(A), deal(1)));
        index.apply(Entry::Pin(Content::blob(A), deal(2)));
        assert_eq!(index.kept[&A].format, Format::Sequence);
    }

    #[test]
    fn an_entry_without_effect_is_not_written() {
        let mut index = Index::default();
        let pin = Entry::Pin(Content::blob(A), deal(1));
        assert!(index.needs(&pin) && !index.needs(&Entry::Unpin(A, deal(1))));
        index.apply(pin.clone());
        assert!(!index.needs(&pin) && index.needs(&Entry::Pin(Content::sequence(A), deal(1))));
    }

    #[test]
    fn an_index_is_the_fold_of_its_own_entries() {
        let mut index = Index::default();
        for id in 0..9 {
            index.apply(Entry::Pin(Content::sequence(BlobHash([id % 3; 32])), deal(id)));
        }
        let mut again = Index::default();
        index.entries().into_iter().for_each(|entry| again.apply(entry));
        assert_eq!(again, index);
    }
}
