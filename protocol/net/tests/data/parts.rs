//! Providers with a part of a blob, and the download limit per provider.

use std::{
    num::NonZeroU64,
    ops::Range,
    time::{Duration, Instant},
};

use iroh_blobs::{
    Hash,
    protocol::{ChunkRanges, ChunkRangesExt as _},
};
use net::data::{BlobRequest, DataConfig, Wanted};
use protocol::BlobHash;

use crate::common::{Node, bytes, within};

const MIB: u64 = 1 << 20;

/// Gives `node` some bytes of the blob in `whole`, verified as if they had been fetched.
async fn share(whole: &Node, node: &Node, blob: BlobHash, part: Range<u64>) {
    let (hash, ranges) = (Hash::from_bytes(blob.0), ChunkRanges::bytes(part));
    let wire = whole.store.export_bao(hash, ranges.clone()).bao_to_vec().await;
    let taken = node
        .store
        .import_bao_bytes(hash, ranges, wire.expect("it has it"))
        .await;
    taken.expect("verified");
    node.rule.publish(BlobRequest::Blob(blob));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_providers_with_half_a_blob_each_give_all_of_it() {
    let (whole, one, two, me) = (
        Node::new(1).await,
        Node::new(2).await,
        Node::new(3).await,
        Node::new(9).await,
    );
    me.knows(&[&one, &two]);
    let content = bytes(16 << 20, 1);
    let blob = whole.add(content.clone()).await;
    // Neither at a task's boundary nor at half of the blob.
    let (size, middle) = (16 * MIB, 9 * MIB + 3 * (16 << 10));
    share(&whole, &one, blob, 0..middle).await;
    share(&whole, &two, blob, middle..size).await;
    let wanted = Wanted::blob(blob, vec![one.id(), two.id()]);
    let got = within(me.plane.fetch(&me.store, wanted).done()).await.expect("fetched");
    // The last chunk arrived first, as the proof of the size.
    assert_eq!(
        (got.providers[&one.id()], got.providers[&two.id()]),
        (middle, size - middle + 1024),
        "{got:?}"
    );
    assert!(me.store.get_bytes(Hash::from_bytes(blob.0)).await.expect("there") == content);
    let metrics = me.plane.metrics();
    assert_eq!(
        (metrics.providers_dropped, metrics.bytes_fetched),
        (0, size + 1024),
        "{metrics:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_limit_per_provider_holds() {
    let one = Node::new(1).await;
    let mut slow = DataConfig::new([9; 32]);
    slow.limits.download_per_provider_per_s = NonZeroU64::new(2 * MIB);
    let me = Node::start(slow).await;
    me.knows(&[&one]);
    let blob = one.add(bytes(3 << 20, 1)).await;
    let began = Instant::now();
    let fetch = me.plane.fetch(&me.store, Wanted::blob(blob, vec![one.id()]));
    within(fetch.done()).await.expect("fetched");
    // Half a second for the burst that the rate limit allows.
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}
