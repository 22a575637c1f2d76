//! `pin verify`: challenges every copy of a dataset now, with randomly drawn chunks.

use std::collections::BTreeSet;

use protocol::{
    BlobHash, NodeId,
    message::pin::{PinReply, PinRequest},
    proof::{Beacon, Sample, Shard},
};

use super::{PinError, Pins, ask};
use base::{
    entropy,
    operator::pin::{CheckedLine, VerifyRequest},
};

/// Chunks drawn per copy.
const CHUNKS: u16 = 32;

impl Pins {
    /// Challenges the copies; fails if one does not prove its chunks.
    pub async fn verify(&self, wanted: VerifyRequest) -> Result<Vec<CheckedLine>, PinError> {
        let root = wanted.root;
        let deals: Vec<_> = self
            .0
            .deals
            .owned()
            .into_iter()
            .filter(|deal| deal.signed.message.set == root)
            .collect();
        let blobs = self.0.library.store_of(root).await.blobs;
        let here = ask::shards(&blobs, root).await;
        // A copy that lost a blob still has its root pinned.
        let kept = blobs.reasons(root).is_some();
        let known = deals.first().map(|deal| deal.signed.message.shards.clone());
        let shards = here.clone().or(known);
        let (mut checked, mut failed) = (Vec::new(), Vec::new());
        let nodes: BTreeSet<NodeId> = match wanted.node {
            Some(node) => [node].into(),
            None => deals
                .iter()
                .flat_map(|deal| deal.holding())
                .chain(kept.then_some(self.0.peer.id()))
                .collect(),
        };
        if nodes.is_empty() {
            return Err(PinError::Absent { root });
        }
        let Some(shards) = shards else {
            let what = "it is incomplete in this home; `openledger data get` fetches the rest";
            return Err(PinError::Unverified(vec![format!("{root:#}: {what}")]));
        };
        for node in nodes {
            match self.prove_by(node, &shards, root, &blobs).await {
                Ok(chunks) => checked.push(CheckedLine { node, chunks }),
                Err(why) => failed.push(format!("the copy of {root:#} on {node:#} failed its proof: {why}")),
            }
        }
        match failed.is_empty() {
            true => Ok(checked),
            false => Err(PinError::Unverified(failed)),
        }
    }

    async fn prove_by(
        &self,
        node: NodeId,
        shards: &[Shard],
        root: BlobHash,
        blobs: &storage::blob::BlobStore,
    ) -> Result<u64, String> {
        let beacon = Beacon {
            epoch: 0,
            value: entropy::bytes(),
        };
        let sample = Sample {
            beacon: &beacon,
            node,
            set: &root.0,
            shards,
            count: CHUNKS,
        };
        // Also the last chunk of every shard, which alone proves its length.
        let ends = shards
            .iter()
            .enumerate()
            .map(|(position, shard)| (position, shard.last()));
        let mut proven = 0;
        for (position, chunk) in sample.draw().into_iter().chain(ends) {
            let shard = &shards[position];
            if node == self.0.peer.id() {
                let proof = blobs.prove(shard, chunk).await;
                proof.map_err(|error| base::errors::chained(&error))?;
            } else {
                let ask = PinRequest::Chunk {
                    root: shard.root,
                    size: shard.size,
                    chunk,
                };
                match self.ask(node, &ask).await {
                    Ok(PinReply::Chunk(proof)) => {
                        let wrong = |flaw| format!("chunk {chunk} of {:#}: {flaw}", shard.root);
                        proof.verify(shard, chunk).map_err(wrong)?;
                    }
                    Ok(_) => return Err(format!("it does not have chunk {chunk} of {:#}", shard.root)),
                    Err(error) => return Err(base::errors::chained(&error)),
                }
            }
            proven += 1;
        }
        Ok(proven)
    }
}
