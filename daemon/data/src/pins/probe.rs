//! Probes a provider like a client would: requests one chunk of a dataset that this node also has, once per epoch.
//!
//! The beacon and this node's ID select the provider and the chunk, so that nodes probe different ones. The result is
//! stored with the deal if this node has one about the dataset, and otherwise only logged.

use protocol::{
    NodeId,
    crypto::digest,
    machine::{Probe, ProbeEffect, ProbeInput},
    message::pin::{PinReply, PinRequest},
    proof::{Beacon, Shard},
};
use storage::blob::Format;
use tracing::{info, warn};

use super::{Pins, ask};

/// Starts a probe, if a provider of a held dataset is known.
pub(super) fn start_probe(pins: &Pins, beacon: Beacon) {
    pins.spawn(move |pins| async move {
        if let Some((shard, provider)) = draw(&pins, &beacon).await {
            probe_provider(&pins, beacon, shard, provider).await;
        }
    });
}

/// Selects a provider and a shard from the beacon.
async fn draw(pins: &Pins, beacon: &Beacon) -> Option<(Shard, NodeId)> {
    let kept = pins.0.public.blobs.kept().into_iter();
    let datasets = kept.filter(|(_, kept)| kept.format == Format::Sequence);
    let mut known = Vec::new();
    for (root, _) in datasets {
        let others = pins.0.announcements.others(root).into_iter();
        known.extend(others.map(|provider| (root, provider)));
    }
    let hash = digest("openledger/probe/1", &[&beacon.value, &pins.0.peer.id().0]);
    let (first, second) = hash.split_at(16);
    let pick = |bytes: &[u8], len: usize| {
        let number = u128::from_be_bytes(*bytes.first_chunk().expect("half a digest has 16 bytes"));
        usize::try_from(number % (len.max(1) as u128)).expect("below a length")
    };
    let (root, provider) = *known.get(pick(first, known.len()))?;
    let shards = ask::shards(&pins.0.public.blobs, root).await?;
    let shard = *shards.get(pick(second, shards.len()))?;
    Some((shard, provider))
}

async fn probe_provider(pins: &Pins, beacon: Beacon, shard: Shard, provider: NodeId) {
    let (mut probe, mut todo) = (Probe::new(shard, provider, pins.0.peer.id()), Vec::new());
    probe.step(pins.0.peer.now(), ProbeInput::Epoch(beacon), &mut todo);
    let Some(ProbeEffect::Request(chunk)) = todo.pop() else {
        return;
    };
    let ask = PinRequest::Chunk {
        root: shard.root,
        size: shard.size,
        chunk,
    };
    let wait = probe
        .deadline()
        .map_or(std::time::Duration::ZERO, |at| pins.0.peer.clock().until(at));
    let input = match tokio::time::timeout(wait, pins.ask(provider, &ask)).await {
        Ok(Ok(PinReply::Chunk(proof))) => ProbeInput::Served(proof),
        Ok(Ok(_)) => ProbeInput::Refused,
        Ok(Err(_)) | Err(_) => {
            // A node that cannot be reached counts as one that does not reply: wait for the deadline.
            tokio::time::sleep(
                probe
                    .deadline()
                    .map_or(std::time::Duration::ZERO, |at| pins.0.peer.clock().until(at)),
            )
            .await;
            ProbeInput::Tick
        }
    };
    probe.step(pins.0.peer.now(), input, &mut todo);
    for effect in todo {
        let ProbeEffect::Report(receipt) = effect else { continue };
        info!(node = %format_args!("{provider:#}"), blob = %format_args!("{:#}", shard.root), chunk, came = ?receipt.retrieved,
            took_ms = receipt.took_ms, "probed a provider");
        let signed = pins.0.peer.sign(receipt);
        for owned in pins.0.deals.owned() {
            if owned.signed.message.shards.contains(&shard)
                && let Err(error) = owned.add_retrieval(signed.clone()).await
            {
                warn!(%error, "could not store a receipt");
            }
        }
    }
}
