//! Descriptions of pins for the operator's API.

use protocol::{
    BlobHash, NodeId,
    crypto::Signed,
    receipt::{Outcome, Retrieved, StorageReceipt},
};
use storage::blob::{Content, Format};

use super::{PinError, Pins, owner::Owned};
use crate::library::reason;
use base::operator::pin::{DealLine, HostLine, HostedLine, KeptLine, PinStatus, PinsResponse};

impl Pins {
    /// Lists all pins, deals and hosted copies.
    pub async fn list(&self) -> PinsResponse {
        let mut kept = Vec::new();
        for store in self.0.library.stores() {
            for (root, why) in store.blobs.kept() {
                if why.format == Format::Sequence {
                    let complete = store.blobs.settle(Content::sequence(root)).await.is_ok();
                    let kept_for = why.reasons.iter().map(reason).collect();
                    kept.push(KeptLine {
                        root,
                        kept_for,
                        complete,
                    });
                }
            }
        }
        PinsResponse {
            kept,
            deals: self.0.deals.owned().iter().map(|deal| line(deal)).collect(),
            hosted: self.hosted_lines(),
        }
    }

    /// Describes how one dataset is kept.
    pub async fn status(&self, root: BlobHash) -> Result<PinStatus, PinError> {
        let all = self.list().await;
        let status = PinStatus {
            root,
            kept_for: all
                .kept
                .into_iter()
                .filter(|it| it.root == root)
                .flat_map(|it| it.kept_for)
                .collect(),
            deals: all.deals.into_iter().filter(|it| it.root == root).collect(),
            hosted: all.hosted.into_iter().filter(|it| it.root == root).collect(),
        };
        if status.kept_for.is_empty() && status.deals.is_empty() && status.hosted.is_empty() {
            return Err(PinError::Absent { root });
        }
        Ok(status)
    }

    fn hosted_lines(&self) -> Vec<HostedLine> {
        let line = |deal: &std::sync::Arc<super::hosted::Hosted>| HostedLine {
            deal: deal.id.to_string(),
            root: deal.deal.set,
            owner: deal.deal.owner,
            bytes: deal.deal.bytes(),
            registered: deal.is_registered(),
            until_ms: deal.until().0 / 1000,
        };
        self.0
            .deals
            .hosted()
            .iter()
            .filter(|deal| !deal.is_over())
            .map(line)
            .collect()
    }
}

fn line(owned: &Owned) -> DealLine {
    let (deal, holding, receipts) = (owned.deal(), owned.holding(), owned.receipts());
    let mut nodes: Vec<_> = receipts
        .iter()
        .map(|receipt| receipt.message.host)
        .chain(holding.iter().copied())
        .collect();
    nodes.sort();
    nodes.dedup();
    DealLine {
        deal: owned.id.to_string(),
        root: deal.set,
        copies: deal.copies,
        held: holding.len() as u64,
        hosts: nodes
            .into_iter()
            .map(|node| host(owned, node, holding.contains(&node), &receipts))
            .collect(),
        until_ms: deal.until.0 / 1000,
        spent: owned.spent().to_string(),
        escrow: deal.escrow.to_string(),
        over: owned.is_over(),
    }
}

fn host(owned: &Owned, node: NodeId, holds: bool, receipts: &[Signed<StorageReceipt>]) -> HostLine {
    let of = || {
        receipts
            .iter()
            .map(|receipt| &receipt.message)
            .filter(|receipt| receipt.host == node)
    };
    let count = |outcome| of().filter(|receipt| receipt.outcome == outcome).count() as u64;
    let last = of().next_back();
    let retrievals = owned.retrievals();
    let asked = || {
        retrievals
            .iter()
            .map(|receipt| &receipt.message)
            .filter(|receipt| receipt.provider == node)
    };
    let served = asked().filter(|receipt| receipt.retrieved == Retrieved::Served).count() as u64;
    HostLine {
        node,
        holds,
        held: count(Outcome::Held),
        missed: count(Outcome::Missed),
        misses_in_a_row: of()
            .rev()
            .take_while(|receipt| receipt.outcome == Outcome::Missed)
            .count() as u64,
        false_proofs: count(Outcome::False),
        last_epoch: last.map(|receipt| receipt.epoch),
        last_outcome: last.map(|receipt| format!("{:?}", receipt.outcome).to_lowercase()),
        served,
        not_served: asked().count() as u64 - served,
    }
}
