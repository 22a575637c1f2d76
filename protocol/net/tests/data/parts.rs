//! Providers that have a part of a blob, and what may come from one of them.

use std::{
    num::NonZeroU64,
    ops::Range,
    time::{Duration, Instant},
};

use iroh_blobs::{
    Hash,
    protocol::{ChunkRanges, ChunkRangesExt as _},
};
use net::data::{Ask, DataConfig, Wanted};
use protocol::BlobHash;

use crate::common::{Node, bytes, within};

const MIB: u64 = 1 << 20;

/// Gives `node` some bytes of what `whole` has, verified as if they had been fetched.
async fn share(whole: &Node, node: &Node, blob: BlobHash, part: Range<u64>) {
    let (hash, ranges) = (Hash::from_bytes(blob.0), ChunkRanges::bytes(part));
    let wire = whole.store.export_bao(hash, ranges.clone()).bao_to_vec().await;
    let taken = node
        .store
        .import_bao_bytes(hash, ranges, wire.expect("it has it"))
        .await;
    taken.expect("verified");
    node.rule.publish(Ask::Blob(blob));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_have_a_half_each_give_their_halves() {
    let (whole, one, two, me) = (
        Node::new(1).await,
        Node::new(2).await,
        Node::new(3).await,
        Node::new(9).await,
    );
    me.knows(&[&one, &two]);
    let content = bytes(16 << 20, 1);
    let blob = whole.add(content.clone()).await;
    // Not where tasks are cut, nor where halves would be.
    let (size, middle) = (16 * MIB, 9 * MIB + 3 * (16 << 10));
    share(&whole, &one, blob, 0..middle).await;
    share(&whole, &two, blob, middle..size).await;
    let wanted = Wanted::blob(blob, vec![one.id(), two.id()]);
    let got = within(me.plane.fetch(&me.store, wanted).done()).await.expect("fetched");
    // Its last chunk came before all others as well, as the proof of the size.
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
async fn no_more_comes_from_a_provider_than_it_may_give() {
    let one = Node::new(1).await;
    let mut slow = DataConfig::new([9; 32]);
    slow.limits.download_per_provider_per_s = NonZeroU64::new(2 * MIB);
    let me = Node::start(slow).await;
    me.knows(&[&one]);
    let blob = one.add(bytes(3 << 20, 1)).await;
    let began = Instant::now();
    let fetch = me.plane.fetch(&me.store, Wanted::blob(blob, vec![one.id()]));
    within(fetch.done()).await.expect("fetched");
    // Half a second is for what the meter lets through at once.
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}
