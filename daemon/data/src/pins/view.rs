//! Pins as people are shown them.

use protocol::{
    BlobHash, NodeId,
    crypto::Signed,
    receipt::{Outcome, Retrieved, StorageReceipt},
};
use serde::{Deserialize, Serialize};
use storage::blob::{Content, Format};

use super::{
    super::{Data, DataError, library},
    PinError,
    owner::Owned,
};

/// Everything that is pinned by this node or here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinsAnswer {
    /// Datasets that are kept here.
    pub kept: Vec<KeptLine>,
    /// Deals of this node's own.
    pub deals: Vec<DealLine>,
    /// Copies that this node keeps for others.
    pub hosted: Vec<HostedLine>,
}

/// A dataset that is kept here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptLine {
    /// Its root.
    pub root: BlobHash,
    /// Why.
    pub kept_for: Vec<String>,
    /// Whether all of it is here.
    pub complete: bool,
}

/// A deal of this node's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DealLine {
    /// Its name, in hex.
    pub deal: String,
    /// The dataset.
    pub root: BlobHash,
    /// How many copies are wanted.
    pub copies: u16,
    /// How many are held, as far as is known.
    pub held: u64,
    /// Who holds them.
    pub hosts: Vec<HostLine>,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// What is owed for the epochs in which copies were held.
    pub spent: String,
    /// What is set aside.
    pub escrow: String,
    /// Whether it is over.
    pub over: bool,
}

/// A host of a deal, now or before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostLine {
    /// Who.
    pub node: NodeId,
    /// Whether it holds a copy, as far as is known.
    pub holds: bool,
    /// Audits that it passed, of those that are remembered.
    pub held: u64,
    /// Audits that it missed.
    pub missed: u64,
    /// Of those, in a row until now.
    pub misses_in_a_row: u64,
    /// Proofs that it signed and that do not verify.
    pub false_proofs: u64,
    /// The epoch of the last audit.
    pub last_epoch: Option<u64>,
    /// What came of it: `held`, `missed` or `false`.
    pub last_outcome: Option<String>,
    /// Chunks that peers asked it for, and that it served.
    pub served: u64,
    /// Chunks that it did not serve.
    pub not_served: u64,
}

/// A copy that is kept for somebody else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostedLine {
    /// The deal.
    pub deal: String,
    /// The dataset.
    pub root: BlobHash,
    /// For whom.
    pub owner: NodeId,
    /// Bytes of the copy.
    pub bytes: u64,
    /// Whether the owner knows that it is all here.
    pub registered: bool,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
}

/// How a dataset is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PinStatus {
    /// Its root.
    pub root: BlobHash,
    /// Why it is kept here; empty if it is not.
    pub kept_for: Vec<String>,
    /// Deals about it.
    pub deals: Vec<DealLine>,
    /// Copies of it that are kept here for others.
    pub hosted: Vec<HostedLine>,
}

impl Data {
    /// Everything that is pinned.
    pub async fn pin_list(&self) -> PinsAnswer {
        let mut kept = Vec::new();
        for shelf in self.shelves() {
            for (root, why) in shelf.blobs.kept() {
                if why.format == Format::Sequence {
                    let complete = shelf.blobs.settle(Content::sequence(root)).await.is_ok();
                    let kept_for = why.reasons.iter().map(library::reason).collect();
                    kept.push(KeptLine {
                        root,
                        kept_for,
                        complete,
                    });
                }
            }
        }
        PinsAnswer {
            kept,
            deals: self.pins().owned().iter().map(|deal| line(deal)).collect(),
            hosted: self.hosted_lines(),
        }
    }

    /// How one dataset is kept.
    pub async fn pin_status(&self, root: BlobHash) -> Result<PinStatus, DataError> {
        let all = self.pin_list().await;
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
            return Err(PinError::Absent { root }.into());
        }
        Ok(status)
    }

    fn hosted_lines(&self) -> Vec<HostedLine> {
        let line = |deal: &std::sync::Arc<super::Hosted>| HostedLine {
            deal: deal.id.to_string(),
            root: deal.deal.set,
            owner: deal.deal.owner,
            bytes: deal.deal.bytes(),
            registered: deal.is_registered(),
            until_ms: deal.until().0 / 1000,
        };
        self.pins()
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
