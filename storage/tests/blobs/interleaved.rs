//! Adds, pins, downloads, collections and crashes, interleaved at random.
//!
//! `BLOBS_STEPS` sets the number of steps, `BLOBS_SEED` the order; a failure names both.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use iroh_blobs::protocol::{ChunkRanges, ChunkRangesExt as _};
use storage::blob::{BlobStore, Content, Format, Hold, Mode, Reason, Repair, Status};

use super::{add, content, how, kept::download, mix, name, number, open, pick};

const IDS: usize = 16;

/// Copies the files as they are now: what a crash leaves.
pub(super) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let from = entry.expect("listed").path();
        let to = to.join(from.file_name().expect("named"));
        if from.is_dir() {
            fs::create_dir_all(&to).expect("made");
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("copied");
        }
    }
}

/// The expected state: which blobs were acknowledged as complete, and the reasons for each.
#[derive(Default)]
struct Model {
    whole: BTreeSet<usize>,
    reasons: BTreeMap<usize, BTreeSet<u64>>,
    held: Vec<(usize, Hold)>,
}

impl Model {
    fn kept(&self, id: usize) -> bool {
        self.reasons.contains_key(&id) || self.held.iter().any(|(held, _)| *held == id)
    }

    fn let_go(&mut self) {
        let kept: BTreeSet<usize> = self.whole.iter().copied().filter(|&id| self.kept(id)).collect();
        self.whole = kept;
    }

    async fn check(&self, store: &BlobStore, step: u64, seed: u64) {
        for &id in &self.whole {
            let bytes = content(id);
            let read = store.read(name(&bytes), 0..bytes.len() as u64).await;
            assert_eq!(
                read.as_ref().ok(),
                Some(&bytes),
                "blob {id} was acknowledged and kept, and is lost: {read:?}; replay with BLOBS_SEED={seed} BLOBS_STEPS={step}"
            );
        }
    }
}

fn why(n: u64) -> Reason {
    Reason::Job(n.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_and_kept_blobs_are_never_lost() {
    let (seed, steps) = (number("BLOBS_SEED", 1), number("BLOBS_STEPS", 400));
    let mut rng = seed;
    let place = tempfile::tempdir().unwrap();
    let from = open(&place.path().join("from")).await;
    let files = place.path().join("files");
    fs::create_dir(&files).unwrap();
    for id in 0..IDS {
        add(&from, content(id)).await;
        fs::write(files.join(id.to_string()), content(id)).unwrap();
    }
    let mut model = Model::default();
    let mut dir = place.path().join("store-0");
    let mut store = open(&dir).await;
    let mut counts = BTreeMap::<&str, u32>::new();
    for step in 1..=steps {
        let id = pick(&mut rng, IDS);
        let (bytes, reason) = (content(id), mix(&mut rng) % 3);
        let (hash, file) = (name(&bytes), files.join(id.to_string()));
        let len = bytes.len() as u64;
        let what = match mix(&mut rng) % 100 {
            0..20 => {
                store.add_bytes(bytes, Format::Blob, why(reason)).await.unwrap();
                model.whole.insert(id);
                model.reasons.entry(id).or_default().insert(reason);
                "add"
            }
            20..35 => {
                let mode = if mix(&mut rng).is_multiple_of(2) {
                    Mode::Copy
                } else {
                    Mode::Reference
                };
                let mut how = how(mode);
                how.reason = why(reason);
                store.add_path(&file, how, |_| ()).await.unwrap();
                model.whole.insert(id);
                model.reasons.entry(id).or_default().insert(reason);
                "add a file"
            }
            35..55 => {
                store.unpin(hash, why(reason)).await.unwrap();
                if let Some(reasons) = model.reasons.get_mut(&id) {
                    reasons.remove(&reason);
                }
                model.reasons.retain(|_, reasons| !reasons.is_empty());
                model.let_go();
                "unpin"
            }
            55..65 => {
                // A download, in part or whole, under a hold that is kept.
                let hold = store.hold(Content::blob(hash), len).await.unwrap();
                if mix(&mut rng).is_multiple_of(2) && len > 16_384 {
                    download(&from, &store, hash, ChunkRanges::bytes(0..16_384u64)).await;
                } else {
                    download(&from, &store, hash, ChunkRanges::all()).await;
                    store.settle(Content::blob(hash)).await.unwrap();
                    model.whole.insert(id);
                }
                model.held.push((id, hold));
                "download"
            }
            65..72 => {
                model.held.clear();
                model.let_go();
                "let go"
            }
            72..78 => {
                store.pin(Content::blob(hash), why(reason)).await.unwrap();
                model.reasons.entry(id).or_default().insert(reason);
                "pin"
            }
            78..90 => {
                // All at once, to provoke races with content that arrives during a collection.
                let other = (id + 1) % IDS;
                let (first, second, third, collected) = tokio::join!(
                    store.add_bytes(bytes, Format::Blob, why(reason)),
                    store.add_bytes(content(other), Format::Blob, why(reason)),
                    store.hold(Content::blob(hash), len),
                    store.collect(),
                );
                assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
                assert!(third.is_ok() && collected.is_ok(), "{third:?} {collected:?}");
                for id in [id, other] {
                    model.whole.insert(id);
                    model.reasons.entry(id).or_default().insert(reason);
                }
                "collect and add"
            }
            90..96 => {
                store.collect().await.unwrap();
                "collect"
            }
            96..98 => {
                store.shutdown().await;
                model.held.clear();
                model.let_go();
                store = open(&dir).await;
                "reopen"
            }
            _ => {
                let next = place.path().join(format!("store-{step}"));
                fs::create_dir(&next).unwrap();
                copy(&dir, &next);
                model.held.clear();
                model.let_go();
                store.shutdown().await;
                fs::remove_dir_all(&dir).unwrap();
                dir = next;
                store = open(&dir).await;
                "crash"
            }
        };
        *counts.entry(what).or_default() += 1;
        if what != "add" && what != "unpin" && what != "pin" {
            model.check(&store, step, seed).await;
        }
    }
    model.check(&store, steps, seed).await;
    let checked = store.fsck(Repair::Nothing, |_, _| ()).await.unwrap();
    assert!(
        checked.damaged.is_empty(),
        "{:?} with BLOBS_SEED={seed} BLOBS_STEPS={steps}",
        checked.damaged
    );
    for hash in checked.missing {
        assert!(!model.whole.iter().any(|&id| name(&content(id)) == hash));
        assert!(!matches!(store.status(hash).await, Status::Complete { .. }));
    }
    assert!(
        steps < 400 || counts.len() == 10,
        "some kind of step never happened: {counts:?}"
    );
    store.shutdown().await;
}
