//! Requests between nodes about pins: handles those of others and sends this node's.

use std::{sync::Arc, time::Duration};

use net::data::BlobRequest;
use protocol::{
    BlobHash, NodeId,
    crypto::Signed,
    machine::{Deal, DealId, Renewal},
    message::pin::{PIN_REPLY_MAX, PIN_REQUEST_MAX, PinReply, PinRequest, RECEIPTS_MAX},
    proof::{Beacon, Bundle, Shard},
};
use storage::blob::BlobStore;

use super::{PinError, Pins, hosted::Hosted, record::PinRecord};
use crate::requests::RequestHandler;
use protocol::event::Event;

/// Name of the streams that carry these requests.
const KIND: &str = "pin";
/// Longest wait of a host for its own chain to reach the epoch of a challenge.
const BEHIND: Duration = Duration::from_secs(3);

/// Makes the handler that the data plane calls.
pub(super) fn request_handler(pins: &Pins) -> RequestHandler<PinRequest, PinReply> {
    let weak = Arc::downgrade(&pins.0);
    RequestHandler::new(KIND, PIN_REQUEST_MAX, move |peer, ask| {
        let pins = weak.upgrade().map(Pins);
        Box::pin(async move { Some(pins?.answer(peer, ask).await) })
    })
}

impl Pins {
    pub(super) async fn ask(&self, node: NodeId, ask: &PinRequest) -> Result<PinReply, PinError> {
        let asked = self.0.peer.request(node, KIND, ask, PIN_REPLY_MAX).await?;
        asked.map_err(|source| PinError::Peer { node, source })
    }

    /// Tells a host that its copy is no longer needed.
    pub(super) fn release(&self, deal: DealId, node: NodeId) {
        self.spawn(move |pins| async move {
            // A host that misses it keeps the copy until the deal ends.
            drop(pins.ask(node, &PinRequest::Release { deal }).await);
        });
    }

    async fn answer(&self, peer: NodeId, ask: PinRequest) -> PinReply {
        let answer = match ask {
            PinRequest::Offer { deal, renewal } => Some(self.offered(peer, *deal, renewal).await),
            PinRequest::Register { deal, part, bundle } => self.registered(peer, deal, (part, bundle)).await,
            PinRequest::Challenge { deal, beacon } => self.challenged(peer, deal, beacon).await,
            PinRequest::Chunk { root, size, chunk } => self.chunk(peer, root, size, chunk).await,
            PinRequest::Renew(renewal) => self.renewed(peer, renewal).await,
            PinRequest::Release { deal } => match self.hosts_for(peer, deal) {
                Some(hosted) => {
                    hosted.released(self).await;
                    Some(PinReply::Accepted)
                }
                None => None,
            },
            PinRequest::Receipts { deal, from } => self.receipts(deal, from),
        };
        answer.unwrap_or(PinReply::Unavailable)
    }

    async fn offered(&self, peer: NodeId, signed: Signed<Deal>, renewal: Option<Signed<Renewal>>) -> PinReply {
        if signed.message.owner != peer || !self.0.peer.is_authentic(&signed) {
            return PinReply::Unavailable;
        }
        let renewed = match &renewal {
            None => None,
            Some(renewal) if self.is_valid_renewal(peer, signed.message.id(), renewal) => Some(renewal.message.until),
            Some(_) => return PinReply::Unavailable,
        };
        let (deals, id) = (&self.0.deals, signed.message.id());
        let _one_at_a_time = deals.weighing.lock().await;
        if deals.host(id).is_some() {
            return PinReply::Accepted;
        }
        let now = self.0.peer.now();
        let until = signed.message.until.max(renewed.unwrap_or_default());
        let terms = Deal {
            until,
            ..signed.message.clone()
        };
        if let Err(why) = deals.host_terms().check(&terms, now) {
            return PinReply::Declined(why);
        }
        let dir = deals.hosted_folder(id);
        match Hosted::take(&dir, signed, self.0.peer.id(), now).await {
            Ok(hosted) => {
                self.0.peer.tell(Event::DealTaken {
                    deal: id,
                    owner: peer,
                    bytes: hosted.deal.bytes(),
                });
                let hosted = Arc::new(hosted);
                deals.add_hosted(hosted.clone());
                if let Some(until) = renewed {
                    hosted.renewed(self, until).await;
                }
                hosted.resume(self);
                PinReply::Accepted
            }
            Err(error) => {
                tracing::warn!(%error, "declined a deal that could not be stored");
                PinReply::Unavailable
            }
        }
    }

    async fn registered(&self, host: NodeId, deal: DealId, said: (u32, Bundle)) -> Option<PinReply> {
        let (owned, (part, bundle)) = (self.0.deals.own(deal)?, said);
        if owned.parts(host) <= part {
            let said = PinRecord::Registered { host, part, bundle };
            owned.apply(self, said).await.ok()?;
        }
        (owned.parts(host) > part).then_some(PinReply::Accepted)
    }

    async fn challenged(&self, peer: NodeId, deal: DealId, beacon: Beacon) -> Option<PinReply> {
        let hosted = self.hosts_for(peer, deal)?;
        let mut beacons = self.0.beacons.clone()?;
        // The beacon must come from this node's own chain: an invented one could frame this host.
        let known = beacons.wait_for(|known| known.contains_key(&beacon.epoch));
        let known = tokio::time::timeout(BEHIND, known)
            .await
            .ok()?
            .ok()?
            .get(&beacon.epoch)
            .copied();
        if known != Some(beacon) {
            return None;
        }
        let (answer, bundle) = hosted.challenged(self, beacon).await?;
        Some(PinReply::Proof { answer, bundle })
    }

    fn hosts_for(&self, owner: NodeId, deal: DealId) -> Option<Arc<Hosted>> {
        self.0.deals.host(deal).filter(|hosted| hosted.deal.owner == owner)
    }

    async fn chunk(&self, peer: NodeId, root: BlobHash, size: u64, chunk: u64) -> Option<PinReply> {
        let store = self.served_from(peer, root)?;
        let proof = store.prove(&Shard { root, size }, chunk).await.ok()?;
        Some(PinReply::Chunk(proof))
    }

    /// The store from which a peer may fetch a blob.
    fn served_from(&self, peer: NodeId, hash: BlobHash) -> Option<BlobStore> {
        if self.0.public.serves(hash) {
            return Some(self.0.public.blobs.clone());
        }
        let now = self.0.peer.now();
        let all = self.0.datanets.all();
        all.iter()
            .find(|local| local.serves(peer, BlobRequest::Blob(hash), now))
            .and_then(|local| local.store.clone())
    }

    async fn renewed(&self, peer: NodeId, renewal: Signed<Renewal>) -> Option<PinReply> {
        let hosted = self.hosts_for(peer, renewal.message.deal)?;
        if !self.is_valid_renewal(peer, hosted.id, &renewal) {
            return None;
        }
        hosted.renewed(self, renewal.message.until).await;
        Some(PinReply::Accepted)
    }

    /// Returns true if the renewal is signed by the owner and names this deal.
    fn is_valid_renewal(&self, owner: NodeId, deal: DealId, renewal: &Signed<Renewal>) -> bool {
        let said = &renewal.message;
        said.owner == owner && said.deal == deal && self.0.peer.is_authentic(renewal)
    }

    fn receipts(&self, deal: DealId, from: u64) -> Option<PinReply> {
        let owned = self.0.deals.own(deal)?;
        let storage = owned
            .receipts()
            .into_iter()
            .filter(|receipt| receipt.message.epoch >= from);
        let retrieval = owned
            .retrievals()
            .into_iter()
            .filter(|receipt| receipt.message.epoch >= from);
        Some(PinReply::Receipts {
            storage: storage.take(RECEIPTS_MAX).collect(),
            retrieval: retrieval.take(RECEIPTS_MAX).collect(),
        })
    }
}
