//! Signed receipts of storage audits and retrievals, and the evidence of a false storage proof.
//!
//! A storage receipt is an auditor's verdict about one host in one epoch. A retrieval receipt is a peer's report about one
//! chunk that it requested: it cannot be checked by others, so it affects reputation and never money. Only [`FalseProof`]
//! costs a stake, and it needs no trust: the host's own signature lies under proofs that do not verify.

use bincode::{Decode, Encode};

use crate::{
    BlobHash, NodeId, Time,
    crypto::{Domain, Preimage, Signed},
    machine::{Deal, DealId},
    preimage::{Authored, Writer},
    proof::{Beacon, Bundle, BundleError},
};

/// The result of a storage challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Outcome {
    /// The host proved every sampled chunk in time.
    Held,
    /// No valid reply arrived in time. The host earns nothing for the epoch and is not slashed.
    Missed,
    /// The host signed proofs that do not verify.
    False,
}

/// An auditor's signed verdict about one host in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StorageReceipt {
    pub deal: DealId,
    pub host: NodeId,
    pub auditor: NodeId,
    pub epoch: u64,
    pub outcome: Outcome,
    /// The hash of the bundle that was judged; zeros if none arrived.
    pub bundle: [u8; 32],
    /// Time of the verdict.
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
            .finish()
    }
}

impl Authored for StorageReceipt {
    fn author(&self) -> NodeId {
        self.auditor
    }
}

/// A host's signed statement that `bundle` answers the challenge of `beacon`. Signing it puts the host's bond at
/// stake.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StorageAnswer {
    pub deal: DealId,
    pub host: NodeId,
    pub beacon: Beacon,
    /// The hash of the proofs.
    pub bundle: [u8; 32],
}

impl Preimage for StorageAnswer {
    /// `"openledger/storage-answer/1" ‖ chain ‖ deal ‖ host ‖ epoch ‖ beacon ‖ bundle`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        Writer::new("openledger/storage-answer/1", domain)
            .fixed(&self.deal.0)
            .fixed(&self.host.0)
            .u64(self.beacon.epoch)
            .fixed(&self.beacon.value)
            .fixed(&self.bundle)
            .finish()
    }
}

impl Authored for StorageAnswer {
    fn author(&self) -> NodeId {
        self.host
    }
}

/// Evidence against a host: its signature under proofs that do not verify.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FalseProof {
    pub answer: Signed<StorageAnswer>,
    /// The proofs that `answer` commits to.
    pub bundle: Bundle,
}

/// The reason that a [`FalseProof`] proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    #[error("the host did not sign this answer")]
    NotSigned,
    /// The answer is for another deal, or commits to another bundle.
    #[error("the answer is about another deal, or was signed for other proofs")]
    Other,
    /// The answer is for a beacon that the chain never had, for example one made up to frame an honest host.
    #[error("the answer is to another beacon than the chain's")]
    Beacon,
    #[error("the proofs are true")]
    True,
}

impl FalseProof {
    /// Returns the flaw in the proofs. Succeeds only if the host signed them, for this deal, under the chain's
    /// `beacon` of that epoch; a hash comparison and one signature check come before any proof is verified.
    pub fn proves(&self, deal: &Deal, beacon: &Beacon, domain: &Domain) -> Result<BundleError, EvidenceError> {
        let answer = &self.answer.message;
        if answer.beacon != *beacon {
            return Err(EvidenceError::Beacon);
        }
        if answer.deal != deal.id() || answer.bundle != self.bundle.hash() {
            return Err(EvidenceError::Other);
        }
        if !self.answer.is_authentic(domain) {
            return Err(EvidenceError::NotSigned);
        }
        let set = deal.id();
        let sample = deal.sample(&set, answer.host, beacon);
        self.bundle.verify(&sample).err().ok_or(EvidenceError::True)
    }
}

/// The result of requesting one chunk from a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Retrieved {
    /// The requested chunk arrived.
    Served,
    /// Nothing arrived in time.
    TimedOut,
    Refused,
    /// Bytes arrived that do not match the shard's hash.
    Wrong,
}

/// A peer's signed report about one chunk that it requested from a provider. Affects reputation only.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RetrievalReceipt {
    pub auditor: NodeId,
    pub provider: NodeId,
    pub root: BlobHash,
    pub chunk: u64,
    pub epoch: u64,
    pub retrieved: Retrieved,
    pub took_ms: u64,
    pub at: Time,
}

impl Preimage for RetrievalReceipt {
    /// `"openledger/retrieval-receipt/1" ‖ chain ‖ auditor ‖ provider ‖ root ‖ chunk ‖ epoch ‖ retrieved ‖ took ‖ at`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        let retrieved = match self.retrieved {
            Retrieved::Served => 0,
            Retrieved::TimedOut => 1,
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
            .finish()
    }
}

impl Authored for RetrievalReceipt {
    fn author(&self) -> NodeId {
        self.auditor
    }
}
