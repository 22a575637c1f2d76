//! Requests of the operator: pin a dataset here, make a deal for copies on other nodes, and unpin.

use std::sync::Arc;

use protocol::{
    Amount, BlobHash, NodeId,
    machine::{Deal, SHARDS_MAX},
    proof::Shard,
};
use storage::blob::{BlobStore, Content, Reason, Status};

use super::{PinError, Pins, owner::Owned, record::PinRecord};
use crate::{fetching::GetError, library::LibraryError};
use base::{
    argument::InvalidArgument,
    entropy,
    operator::pin::{PinAddRequest, PinStatus},
    report::Progress,
};
use protocol::event::Event;

/// Chunks that an audit draws per epoch.
const CHALLENGES: u16 = 16;
/// Longest time in which a host must answer a challenge.
const ANSWER_WITHIN_MS: u64 = 10_000;
/// Time in which a host must fetch the data, plus one second per MiB.
const FETCH_WITHIN_MS: u64 = 10 * 60 * 1000;

impl Pins {
    /// Pins a dataset in this home, or makes a deal for copies on other nodes.
    pub async fn add(
        &self,
        ask: PinAddRequest,
        tell: impl Fn(Progress) + Send + 'static,
    ) -> Result<PinStatus, PinError> {
        let root = ask.root;
        let store = self.0.library.store_of(root).await;
        match ask.copies {
            None => {
                self.pin_here(root, tell).await?;
                self.0.public.refresh().await;
                if self.0.public.blobs.reasons(root).is_some() {
                    self.0.announcements.announce(root).await;
                }
            }
            Some(copies) => {
                self.0.peer.network()?;
                if let Some(datanet) = store.datanet {
                    return Err(PinError::Sealed { root, datanet });
                }
                let deal = self.deal(&ask, copies).await?;
                self.make(deal, ask.hosts).await?;
            }
        }
        self.status(root).await
    }

    /// Pins before it fetches, so that the garbage collector never sees the blobs without a pin.
    async fn pin_here(&self, root: BlobHash, tell: impl Fn(Progress) + Send + 'static) -> Result<(), PinError> {
        let content = Content::sequence(root);
        let local = self.0.datanets.permissioned(Some(root), None)?;
        let blobs = match local.as_ref().and_then(|local| local.shard_store()) {
            Some(store) => store.blobs,
            None => self.0.library.store_of(root).await.blobs,
        };
        let had = blobs
            .reasons(root)
            .is_some_and(|kept| kept.reasons.contains(&Reason::User));
        blobs.pin(content, Reason::User).await.map_err(LibraryError::from)?;
        if blobs.settle(content).await.is_ok() {
            return Ok(());
        }
        let fetched = self.0.library.get(root, None, Vec::new(), false, tell).await;
        if fetched.is_err() && !had {
            blobs.unpin(root, Reason::User).await.map_err(LibraryError::from)?;
        }
        Ok(fetched.map(drop)?)
    }

    async fn deal(&self, ask: &PinAddRequest, copies: u16) -> Result<Deal, PinError> {
        let wrong = |field, what: String| PinError::from(InvalidArgument { field, what });
        let shards = shards(&self.0.public.blobs, ask.root)
            .await
            .ok_or(GetError::NoProvider { root: ask.root })?;
        if shards.len() > SHARDS_MAX {
            let what = format!(
                "the dataset has {} blobs and a deal allows {SHARDS_MAX}; add it again with a larger --shard-size",
                shards.len()
            );
            return Err(wrong("root", what));
        }
        let per_gib: Amount = match &ask.price {
            None => Amount::ZERO,
            Some(text) => text
                .parse()
                .map_err(|bad: protocol::unit::ParseAmountError| wrong("price", bad.to_string()))?,
        };
        let bytes: u64 = shards.iter().map(|shard| shard.size).sum();
        let price = Amount(per_gib.0.saturating_mul(u128::from(bytes.div_ceil(1 << 30).max(1))));
        let now = self.0.peer.now();
        let life_ms = u64::from(ask.days) * 24 * 60 * 60 * 1000;
        let deal = Deal {
            owner: self.0.peer.id(),
            account: ask.account.unwrap_or_default(),
            nonce: u64::from_be_bytes(entropy::bytes()),
            set: ask.root,
            shards,
            copies,
            until: now.after_ms(life_ms),
            price,
            escrow: self.0.deals.escrow(price, copies, life_ms),
            challenges: CHALLENGES,
            fetch_within_ms: FETCH_WITHIN_MS + (bytes >> 20) * 1000,
            answer_within_ms: ANSWER_WITHIN_MS,
        };
        deal.check().map_err(|bad| wrong("copies", bad.to_string()))?;
        Ok(deal)
    }

    async fn make(&self, deal: Deal, hosts: Vec<NodeId>) -> Result<(), PinError> {
        let signed = self.0.peer.sign(deal);
        let dir = self.0.deals.own_folder(signed.message.id());
        let owned = Arc::new(Owned::make(&dir, signed, self.0.peer.now()).await?);
        self.0.peer.tell(Event::DealMade {
            deal: owned.id,
            copies: owned.signed.message.copies,
        });
        self.0.deals.add_own(owned.clone());
        for host in hosts {
            owned.apply(self, PinRecord::Candidate(host)).await?;
        }
        owned.apply(self, PinRecord::Tick).await?;
        Ok(())
    }

    /// Ends this node's deals about a dataset and removes the user's pin. Returns the number of ended deals.
    pub async fn remove(&self, root: BlobHash) -> Result<usize, PinError> {
        let mut ended = 0;
        for owned in self.0.deals.owned() {
            if owned.signed.message.set == root && !owned.is_over() {
                self.0.peer.network()?;
                owned.apply(self, PinRecord::Cancelled).await?;
                ended += 1;
            }
        }
        let store = self.0.library.store_of(root).await;
        let kept = store
            .blobs
            .reasons(root)
            .is_some_and(|kept| kept.reasons.contains(&Reason::User));
        if kept {
            store
                .blobs
                .unpin(root, Reason::User)
                .await
                .map_err(LibraryError::from)?;
            self.0.public.refresh().await;
            if store.blobs.reasons(root).is_none() {
                self.0.announcements.withdraw(root);
            }
        }
        if ended == 0 && !kept {
            return Err(PinError::Absent { root });
        }
        Ok(ended)
    }
}

/// Lists the blobs of a complete dataset with their sizes, the root first.
pub(super) async fn shards(blobs: &BlobStore, root: BlobHash) -> Option<Vec<Shard>> {
    let mut shards = Vec::new();
    for hash in [root].into_iter().chain(blobs.children(root).await.ok()?) {
        let Status::Complete { bytes } = blobs.status(hash).await else {
            return None;
        };
        shards.push(Shard {
            root: hash,
            size: bytes,
        });
    }
    Some(shards)
}
