//! The blob store through its public interface.

mod interleaved;
mod kept;
mod killed;
mod refused;

use std::path::Path;

use bytes::Bytes;
use protocol::BlobHash;
use storage::blob::{Add, BlobStore, Format, Mode, Reason, Settings, SpaceLimits};

/// Contents from this number on serve to fill a disk, in the database and in files.
const FILLING: usize = 1_000;

/// Returns the content of `id`. Sizes lie on both sides of every threshold of the store.
fn content(id: usize) -> Bytes {
    const SIZES: [usize; 8] = [1, 1_000, 16_384, 16_385, 40_000, 70_001, 200_000, 300_001];
    let len = match id {
        FILLING.. if id.is_multiple_of(3) => 1_500_000,
        FILLING.. => 16_000,
        _ => SIZES[id % SIZES.len()],
    };
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&id.to_be_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes.into()
}

fn name(bytes: &[u8]) -> BlobHash {
    BlobHash(*blake3::hash(bytes).as_bytes())
}

fn settings() -> Settings {
    let space = SpaceLimits { quota: None, floor: 0 };
    Settings {
        space,
        ..Settings::default()
    }
}

async fn open(dir: &Path) -> BlobStore {
    BlobStore::open(dir, settings()).await.expect("opens")
}

fn how(mode: Mode) -> Add {
    let (format, reason) = (Format::Blob, Reason::User);
    Add { mode, format, reason }
}

async fn add(store: &BlobStore, bytes: Bytes) -> BlobHash {
    let added = store.add_bytes(bytes, Format::Blob, Reason::User).await.expect("added");
    added.content.hash
}

/// A pseudo-random number from a seed, so that runs can be replayed.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn pick(state: &mut u64, below: usize) -> usize {
    usize::try_from(mix(state) % below as u64).expect("smaller than a size")
}

fn number(var: &str, default: u64) -> u64 {
    std::env::var(var).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}
