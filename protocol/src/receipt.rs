//! What was seen, in the words of whoever saw it: fixed bytes, signed, good enough to show to a stranger.
//!
//! A storage receipt is an auditor's verdict about one host in one epoch. A retrieval receipt is an ordinary peer's word
//! about one chunk it asked for: opinion, so it moves reputation and never money. Only [`FalseProof`] costs a stake, and it
//! convinces by itself: the host's own signature lies under the proofs that do not verify.

use bincode::{Decode, Encode};

use crate::{
    BlobHash, NodeId, Time,
    crypto::{Domain, Preimage, Signed},
    machine::{Deal, DealId},
    preimage::{Spoken, Writer},
    proof::{Beacon, Bundle, Flawed},
};

/// What came of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Outcome {
    /// Every drawn chunk was proven in time.
    Held,
    /// Nothing that counts came in time. No reward; never a crime.
    Missed,
    /// The host signed proofs that do not verify.
    False,
}

/// An auditor's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StorageReceipt {
    /// About which deal.
    pub deal: DealId,
    /// About which host.
    pub host: NodeId,
    /// By whom.
    pub auditor: NodeId,
    /// In which epoch.
    pub epoch: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// The hash of the bundle that was judged; zeros where none came.
    pub bundle: [u8; 32],
    /// When it was judged.
    pub at: Time,
}

impl Preimage for StorageReceipt {
    /// `"openledger/storage-receipt/1" ‖ chain ‖ deal ‖ host ‖ auditor ‖ epoch ‖ outcome ‖ bundle ‖ at`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        let outcome = match self.outcome {
            Outcome::Held => 0,
            Outcome::Missed => 1,
            Outcome::False => 2,
        };
        Writer::new("openledger/storage-receipt/1", domain)
            .fixed(&self.deal.0)
            .fixed(&self.host.0)
            .fixed(&self.auditor.0)
            .u64(self.epoch)
            .tag(outcome)
            .fixed(&self.bundle)
            .u64(self.at.0)
            .done()
    }
}

impl Spoken for StorageReceipt {
    fn speaker(&self) -> NodeId {
        self.auditor
    }
}

/// A host's word that these proofs answer that challenge. Signing it stakes the host's bond on them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// For which deal.
    pub deal: DealId,
    /// By whom.
    pub host: NodeId,
    /// The challenge.
    pub beacon: Beacon,
    /// The hash of the proofs.
    pub bundle: [u8; 32],
}

impl Preimage for Answer {
    /// `"openledger/storage-answer/1" ‖ chain ‖ deal ‖ host ‖ epoch ‖ beacon ‖ bundle`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        Writer::new("openledger/storage-answer/1", domain)
            .fixed(&self.deal.0)
            .fixed(&self.host.0)
            .u64(self.beacon.epoch)
            .fixed(&self.beacon.value)
            .fixed(&self.bundle)
            .done()
    }
}

impl Spoken for Answer {
    fn speaker(&self) -> NodeId {
        self.host
    }
}

/// A host's signature under proofs that do not verify.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FalseProof {
    /// What the host signed.
    pub answer: Signed<Answer>,
    /// The proofs that it signed.
    pub bundle: Bundle,
}

/// Why something is no evidence of a false proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEvidence {
    /// Somebody else signed it, or nobody.
    #[error("the host did not sign this answer")]
    NotSigned,
    /// It answers for another deal, or the proofs are not those that were signed.
    #[error("the answer is about another deal, or was signed for other proofs")]
    Other,
    /// It answers a challenge that nobody posed, such as one that was made up to frame an honest host.
    #[error("the answer is to another beacon than the chain's")]
    Beacon,
    /// The proofs are true.
    #[error("the proofs are true")]
    True,
}

impl FalseProof {
    /// What is false about the proofs, if the host signed them, for this deal, under the chain's beacon of that epoch.
    pub fn proves(&self, deal: &Deal, beacon: &Beacon, domain: &Domain) -> Result<Flawed, NoEvidence> {
        let answer = &self.answer.message;
        if answer.beacon != *beacon {
            return Err(NoEvidence::Beacon);
        }
        if answer.deal != deal.id() || answer.bundle != self.bundle.hash() {
            return Err(NoEvidence::Other);
        }
        if !self.answer.is_authentic(domain) {
            return Err(NoEvidence::NotSigned);
        }
        let set = deal.id();
        let sample = deal.sample(&set, answer.host, beacon);
        self.bundle.verify(&sample).err().ok_or(NoEvidence::True)
    }
}

/// What a peer got that asked for one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Retrieved {
    /// The chunk, and it was the right one.
    Served,
    /// Nothing in time.
    Silent,
    /// A refusal.
    Refused,
    /// Other bytes.
    Wrong,
}

/// An ordinary peer's word about what a provider served.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RetrievalReceipt {
    /// By whom.
    pub auditor: NodeId,
    /// About whom.
    pub provider: NodeId,
    /// The shard.
    pub root: BlobHash,
    /// The chunk of it.
    pub chunk: u64,
    /// In which epoch.
    pub epoch: u64,
    /// What came.
    pub retrieved: Retrieved,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// When it was over.
    pub at: Time,
}

impl Preimage for RetrievalReceipt {
    /// `"openledger/retrieval-receipt/1" ‖ chain ‖ auditor ‖ provider ‖ root ‖ chunk ‖ epoch ‖ retrieved ‖ took ‖ at`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        let retrieved = match self.retrieved {
            Retrieved::Served => 0,
            Retrieved::Silent => 1,
            Retrieved::Refused => 2,
            Retrieved::Wrong => 3,
        };
        Writer::new("openledger/retrieval-receipt/1", domain)
            .fixed(&self.auditor.0)
            .fixed(&self.provider.0)
            .fixed(&self.root.0)
            .u64(self.chunk)
            .u64(self.epoch)
            .tag(retrieved)
            .u64(self.took_ms)
            .u64(self.at.0)
            .done()
    }
}

impl Spoken for RetrievalReceipt {
    fn speaker(&self) -> NodeId {
        self.auditor
    }
}
