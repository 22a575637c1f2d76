//! Duplicate detection: compares a new dataset with every dataset that this node holds and can decrypt.
//!
//! Sketches of records are in `data/sketches`. They are made once, during the import or when first needed. Of two equal
//! records the earlier commitment is the original: first those the datanet has published, by version, then those this node
//! has held longest. The creation time that a manifest claims is ignored, because anybody can claim any time. Earlier
//! versions of the same dataset do not count as originals.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use protocol::{
    BlobHash, DatanetId,
    datanet::{Act, ProposalStatus},
    duplicate::{CandidateFilter, Entry},
};
use storage::{
    blob::{Content, Format},
    dataset::{self, DuplicateOf, DuplicateRecord, SketchHeader, Sketches},
};

use super::{Library, open::open};
use crate::{datanets::LocalDatanet, shard_store::ShardStore};
use base::{
    errors::chained,
    operator::dataset::{Compared, Example, Repeats},
};

/// Most records of one dataset that are compared.
const RECORDS_MAX: usize = 200_000;
/// Rounds in which the originals of found originals are searched.
const ROUNDS: usize = 3;
/// Most earlier records that are compared closely.
const CLOSELY_MAX: usize = 200_000;
/// Most repeated datasets that are reported, and examples of each.
const NAMED_MAX: usize = 16;
const EXAMPLES_MAX: usize = 3;

/// Reports which dataset is being read, and how many of its bytes.
type Tell = Arc<dyn Fn(&str, u64) + Send + Sync>;

/// The sketches of all held datasets, in the order of their commitments.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    sketches: Option<Sketches>,
    order: Vec<SketchHeader>,
    compared: Compared,
}

impl dataset::Known for Known {
    fn beside(&self, new: &[Entry]) -> Vec<Entry> {
        let Some(sketches) = &self.sketches else {
            return Vec::new();
        };
        let (mut filter, mut found, mut seen) = (CandidateFilter::new(new), Vec::new(), BTreeSet::new());
        for _ in 0..ROUNDS {
            let before = found.len();
            for (place, card) in self.order.iter().enumerate() {
                // Of equal records only the earliest is needed.
                let wanted = |entry: &Entry| {
                    let new = seen.len() < CLOSELY_MAX && filter.passes(entry);
                    new && seen.insert(entry.sketch.exact)
                };
                match sketches.pick(card.root, wanted) {
                    Ok(picked) => found.extend(picked.into_iter().map(|entry| Entry {
                        committed: place as u64,
                        ..entry
                    })),
                    Err(error) => {
                        tracing::warn!(error = chained(&error), root = %format_args!("{:#}", card.root), "could not compare with a dataset");
                        // The sketch is made again when it is next needed.
                        drop(sketches.forget(card.root));
                    }
                }
            }
            if found.len() == before {
                break;
            }
            // Next round: an original may itself be a copy of an earlier record.
            filter = CandidateFilter::new(&found[before..]);
        }
        found
    }
}

impl Known {
    /// Summarises the comparison, and lists the datasets whose records are repeated, most repeated first.
    pub(super) fn report(&self, duplicates: &[DuplicateRecord]) -> (Compared, Vec<Repeats>) {
        let mut repeats: BTreeMap<u64, Repeats> = BTreeMap::new();
        for duplicate in duplicates {
            let DuplicateOf::Known { record, committed } = duplicate.of else {
                continue;
            };
            let card = &self.order[usize::try_from(committed).expect("a place among what is in memory")];
            let of = repeats.entry(committed).or_insert_with(|| Repeats {
                root: card.root,
                name: card.name.clone(),
                datanet: card.datanet,
                records: 0,
                same: 0,
                examples: Vec::new(),
            });
            of.records += 1;
            of.same += u64::from(duplicate.likeness == protocol::duplicate::Similarity::SAME);
            if of.examples.len() < EXAMPLES_MAX {
                of.examples.push(Example {
                    record: duplicate.record,
                    of: BlobHash(record),
                    likeness_ppm: duplicate.likeness.wide_ppm,
                });
            }
        }
        let mut repeats: Vec<_> = repeats.into_values().collect();
        repeats.sort_by_key(|of| std::cmp::Reverse(of.records));
        repeats.truncate(NAMED_MAX);
        (self.compared.clone(), repeats)
    }

    /// Stores the sketches of a new dataset. They are a cache: after a failure they are made again when needed.
    pub(super) fn store_sketches(&self, card: SketchHeader, entries: &[Entry]) {
        if let Some(sketches) = &self.sketches
            && let Err(error) = sketches.put(card, entries)
        {
            tracing::warn!(error = chained(&error), "could not store the sketches of a dataset");
        }
    }
}

impl Library {
    /// Collects what a new dataset is compared with. `previous` is the version that it follows; `tell` reports progress.
    pub(super) async fn comparable(
        &self,
        datanet: Option<DatanetId>,
        previous: Option<BlobHash>,
        tell: impl Fn(&str, u64) + Send + Sync + 'static,
    ) -> Known {
        let sketches = match Sketches::open(&self.sketches) {
            Ok(sketches) => sketches,
            Err(error) => {
                tracing::warn!(
                    error = chained(&error),
                    "could not open the sketches; comparing the new dataset with itself only"
                );
                return Known::default();
            }
        };
        let (mut order, mut unread, tell) = (Vec::new(), Vec::new(), Arc::new(tell));
        let mut held = BTreeSet::new();
        for store in self.stores() {
            for root in datasets(&store) {
                held.insert(root);
                match self.card(&sketches, &store, root, tell.clone()).await {
                    Some(card) => order.push(card),
                    None => unread.push(root),
                }
            }
        }
        // Removed datasets are no longer compared with.
        for root in sketches.roots().unwrap_or_default() {
            if !held.contains(&root) {
                drop(sketches.forget(root));
            }
        }
        let past = past(&order, previous);
        order.retain(|card| !past.contains(&card.root));
        let local = datanet.and_then(|id| self.datanets.find(id));
        let published = local.as_ref().map(|local| published(local)).unwrap_or_default();
        let rank = |card: &SketchHeader| {
            let version = published.get(&card.root).copied().flatten().unwrap_or(u64::MAX);
            (version, card.since_ms, card.root)
        };
        order.sort_by_key(rank);
        unread.extend(published.into_keys().filter(|root| !held.contains(root)));
        unread.truncate(NAMED_MAX);
        let compared = Compared {
            datasets: order.len() as u64,
            records: order.iter().map(|card| card.records).sum(),
            records_in_part: order
                .iter()
                .map(|card| card.records - card.kept + card.exact_only)
                .sum(),
            not_compared: unread,
        };
        Known {
            sketches: Some(sketches),
            order,
            compared,
        }
    }

    /// Returns the card of a dataset, and makes its sketches if they are missing. `None` if it cannot be read.
    async fn card(&self, sketches: &Sketches, store: &ShardStore, root: BlobHash, tell: Tell) -> Option<SketchHeader> {
        match sketches.header(root) {
            Ok(Some(card)) => return Some(card),
            Ok(None) => (),
            Err(error) => tracing::warn!(error = chained(&error), "making damaged sketches again"),
        }
        store.blobs.settle(Content::sequence(root)).await.ok()?;
        let dataset = open(store, root).await.ok()?;
        let (now_ms, sketches) = (self.peer.now().0 / 1000, sketches.clone());
        let making = tokio::task::spawn_blocking(move || {
            let name = dataset.manifest().name.clone();
            let mut done = 0;
            let mut progress = |bytes: u64| {
                done += bytes;
                tell(&name, done);
                ControlFlow::Continue(())
            };
            let entries = dataset
                .entries(RECORDS_MAX, &mut progress)
                .map_err(|error| chained(&error))?;
            let card = card(root, dataset.manifest(), now_ms);
            sketches.put(card, &entries).map_err(|error| chained(&error))
        });
        match making.await.expect("sketching does not panic") {
            Ok(card) => Some(card),
            Err(error) => {
                tracing::warn!(error, root = %format_args!("{root:#}"), "could not compare with a dataset in this home");
                None
            }
        }
    }
}

/// Makes the card that describes the sketches of a dataset.
pub(super) fn card(root: BlobHash, manifest: &protocol::manifest::Manifest, now_ms: u64) -> SketchHeader {
    SketchHeader {
        root,
        name: manifest.name.clone(),
        datanet: manifest.datanet,
        previous: manifest.previous,
        since_ms: now_ms,
        records: manifest.records,
        kept: 0,
        exact_only: 0,
    }
}

/// Roots of the datasets that are kept in a store.
fn datasets(store: &ShardStore) -> Vec<BlobHash> {
    let kept = store.blobs.kept().into_iter();
    kept.filter(|(_, kept)| kept.format == Format::Sequence)
        .map(|(root, _)| root)
        .collect()
}

/// The earlier versions of a dataset that this node holds.
fn past(held: &[SketchHeader], previous: Option<BlobHash>) -> BTreeSet<BlobHash> {
    let by_root: BTreeMap<_, _> = held.iter().map(|card| (card.root, card.previous)).collect();
    let (mut past, mut next) = (BTreeSet::new(), previous);
    // Stops at a version that is not held, and at a cycle.
    while let Some(root) = next.filter(|root| past.insert(*root)) {
        next = by_root.get(&root).copied().flatten();
    }
    past
}

/// The datasets of a datanet, with the version that first published each; `None` for one that is only proposed.
fn published(local: &LocalDatanet) -> BTreeMap<BlobHash, Option<u64>> {
    let registry = local.registry();
    let mut found: BTreeMap<BlobHash, Option<u64>> = BTreeMap::new();
    for (id, said) in registry.statements() {
        match &said.message.act {
            Act::Propose { root, .. } => {
                let stands = matches!(
                    registry.status(id),
                    Some(ProposalStatus::Proposed | ProposalStatus::Approved)
                );
                if stands {
                    found.entry(*root).or_default();
                }
            }
            Act::Publish(version) => {
                let counts = |root: &BlobHash| registry.published().contains_key(root);
                for entry in version.entries.iter().filter(|entry| counts(&entry.root)) {
                    let first = found.entry(entry.root).or_default();
                    *first = Some(first.map_or(version.number, |first| first.min(version.number)));
                }
            }
            _ => (),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(root: u8, previous: Option<u8>) -> SketchHeader {
        SketchHeader {
            root: BlobHash([root; 32]),
            name: String::new(),
            datanet: None,
            previous: previous.map(|root| BlobHash([root; 32])),
            since_ms: 0,
            records: 0,
            kept: 0,
            exact_only: 0,
        }
    }

    #[test]
    fn the_past_of_a_version_ends_where_it_is_not_known_and_does_not_run_in_circles() {
        let held = [card(3, Some(2)), card(2, Some(1)), card(5, Some(6)), card(6, Some(5))];
        let of = |root: u8| past(&held, Some(BlobHash([root; 32]))).len();
        assert_eq!((of(3), of(2), of(5), of(9)), (3, 2, 2, 1));
        assert!(past(&held, None).is_empty());
    }
}
