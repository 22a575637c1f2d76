//! Looking at a provider as a reader would: one chunk of one dataset that is here too, once an epoch.
//!
//! Whom and what follows from the beacon and this node's name, so peers look at different ones. What came of it is written
//! down with the deal if this node has one about that dataset, and only logged otherwise.

use protocol::{
    NodeId,
    crypto::digest,
    machine::{Probe, ProbeEffect, ProbeInput},
    message::pin::{PinAnswer, PinAsk},
    proof::{Beacon, Shard},
};
use storage::blob::Format;
use tracing::{info, warn};

use super::{super::Data, ask};

/// Begins a look at somebody, if there is anybody to look at.
pub(super) fn now_and_then(data: &Data, beacon: Beacon) {
    data.spawn(move |data| async move {
        if let Some((shard, provider)) = draw(&data, &beacon).await {
            look(&data, beacon, shard, provider).await;
        }
    });
}

/// One provider of one shard.
async fn draw(data: &Data, beacon: &Beacon) -> Option<(Shard, NodeId)> {
    let now = data.0.clock.now();
    let kept = data
        .0
        .public
        .kept()
        .into_iter()
        .filter(|(_, kept)| kept.format == Format::Sequence);
    let mut known = Vec::new();
    for (root, _) in kept {
        let heard = data.heard();
        let others = heard
            .of(now, root)
            .into_iter()
            .map(|said| said.provider)
            .filter(|node| *node != data.0.me);
        known.extend(others.map(|provider| (root, provider)));
    }
    let hash = digest("openledger/probe/1", &[&beacon.value, &data.0.me.0]);
    let (first, second) = hash.split_at(16);
    let pick = |bytes: &[u8], len: usize| {
        let number = u128::from_be_bytes(*bytes.first_chunk().expect("half a digest has 16 bytes"));
        usize::try_from(number % (len.max(1) as u128)).expect("below a length")
    };
    let (root, provider) = *known.get(pick(first, known.len()))?;
    let shards = ask::shards(&data.0.public, root).await?;
    let shard = *shards.get(pick(second, shards.len()))?;
    Some((shard, provider))
}

async fn look(data: &Data, beacon: Beacon, shard: Shard, provider: NodeId) {
    let (mut probe, mut todo) = (Probe::new(shard, provider, data.0.me), Vec::new());
    probe.step(data.0.clock.now(), ProbeInput::Epoch(beacon), &mut todo);
    let Some(ProbeEffect::Ask(chunk)) = todo.pop() else {
        return;
    };
    let ask = PinAsk::Chunk {
        root: shard.root,
        size: shard.size,
        chunk,
    };
    let wait = probe
        .deadline()
        .map_or(std::time::Duration::ZERO, |at| data.0.clock.until(at));
    let input = match tokio::time::timeout(wait, data.ask_pin(provider, &ask)).await {
        Ok(Ok(PinAnswer::Chunk(proof))) => ProbeInput::Served(proof),
        Ok(Ok(_)) => ProbeInput::Refused,
        Ok(Err(_)) | Err(_) => {
            // Whoever cannot be reached is as silent as who says nothing.
            tokio::time::sleep(
                probe
                    .deadline()
                    .map_or(std::time::Duration::ZERO, |at| data.0.clock.until(at)),
            )
            .await;
            ProbeInput::Tick
        }
    };
    probe.step(data.0.clock.now(), input, &mut todo);
    for effect in todo {
        let ProbeEffect::Report(receipt) = effect else { continue };
        info!(node = %format_args!("{provider:#}"), blob = %format_args!("{:#}", shard.root), chunk, came = ?receipt.retrieved,
            took_ms = receipt.took_ms, "looked at a provider");
        let signed = data.sign(receipt);
        for owned in data.pins().owned() {
            if owned.signed.message.shards.contains(&shard)
                && let Err(error) = owned.retrieved(signed.clone()).await
            {
                warn!(%error, "a receipt could not be written down");
            }
        }
    }
}
