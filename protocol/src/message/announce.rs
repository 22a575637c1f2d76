//! Announcements: gossiped, signed statements of a node about the datasets it serves, the blobs it has and the work it
//! takes.
//!
//! Each expires. A directory entry (kad) is only a hint to ask a peer; a signed announcement is a claim. Neither proves that
//! the bytes are there: fetching and verifying them does.

use std::collections::BTreeSet;

use bincode::{Decode, Encode};

use crate::{
    Amount, Authored, BlobHash, DatanetId, NodeId, Time, codec,
    crypto::{self, Domain, Preimage, Signed},
};

/// Longest encoded announcement, in bytes. Longer ones are not decoded.
pub const ANNOUNCEMENT_MAX: usize = 8 << 10;
/// Longest lifetime of an announcement: one day.
pub const LIFE_MS_MAX: u64 = 24 * 3600 * 1000;
/// Largest accepted clock difference between two nodes.
pub const SKEW_MS: u64 = 60_000;
/// Most base models that one worker lists.
pub const BASES_MAX: usize = 64;

/// The time span in which an announcement is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Term {
    /// Time of signing by the author's clock. Of two announcements on one subject, the later one counts.
    pub issued: Time,
    pub expires: Time,
}

/// An announcement: this node serves a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Dataset {
    /// The datanet it belongs to. A permissioned datanet is served on a protocol of its own.
    pub datanet: Option<DatanetId>,
    /// The root of the sequence: the manifest and its shards.
    pub root: BlobHash,
    /// Total size of the shards.
    pub bytes: u64,
    pub shards: u32,
    pub provider: NodeId,
    pub term: Term,
}

/// An announcement: this node has a blob and serves it to admitted peers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// The datanet on whose protocol it is served; `None` for the public protocol.
    pub datanet: Option<DatanetId>,
    /// The hash of the blob, or the root of a sequence.
    pub root: BlobHash,
    pub provider: NodeId,
    pub term: Term,
}

/// A kind of work that a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Work {
    /// Fine-tune adapters.
    Train,
    /// Serve inference requests.
    Infer,
    /// Recompute and check other workers' results.
    Audit,
}

/// A worker's asking price. A hint only: the price is agreed with each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct PriceHint {
    pub work: Work,
    pub per_million_tokens: Amount,
}

/// A worker's hardware, in enough detail to skip workers that cannot take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Machine {
    /// Its most capable device.
    pub device: Device,
    /// Processor threads.
    pub threads: u16,
    /// Memory in GiB, rounded down; 0 if unknown.
    pub memory_gib: u16,
}

/// The kinds of device that a worker may compute on. Numbered by their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Device {
    Cpu,
    /// A GPU with CUDA.
    Cuda,
}

/// An announcement: this node takes work.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Worker {
    pub worker: NodeId,
    pub kinds: BTreeSet<Work>,
    /// The base models it has, by the hash of their weights. At most [`BASES_MAX`].
    pub bases: Vec<BlobHash>,
    /// At most one price per kind of work.
    pub prices: Vec<PriceHint>,
    pub machine: Machine,
    pub term: Term,
}

/// A gossiped announcement, signed by the node it is about.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Announcement {
    Dataset(Signed<Dataset>),
    Claim(Signed<Claim>),
    Worker(Signed<Worker>),
}

/// The reason that an announcement is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// Not signed by its author, or signed for another chain.
    #[error("not signed by {0:#} for this chain")]
    Signature(NodeId),
    #[error("expired {0} ms ago")]
    Expired(u64),
    /// Issued further in the future than [`SKEW_MS`].
    #[error("issued {0} ms ahead of our clock; check the clocks")]
    Early(u64),
    /// A lifetime above [`LIFE_MS_MAX`].
    #[error("holds for {0} ms where at most {LIFE_MS_MAX} are allowed")]
    TooLong(u64),
    /// Fields that contradict each other or exceed a bound.
    #[error("{0}")]
    Content(&'static str),
}

impl Announcement {
    /// Returns the node that the announcement is about, and that must have signed it.
    pub fn author(&self) -> NodeId {
        match self {
            Self::Dataset(signed) => signed.message.provider,
            Self::Claim(signed) => signed.message.provider,
            Self::Worker(signed) => signed.message.worker,
        }
    }

    /// Returns a key for replacement: a later announcement with the same author and subject replaces an earlier one.
    pub fn subject(&self) -> [u8; 32] {
        let of = |kind: &[u8], root: &[u8]| crypto::digest("openledger/announce/subject/1", &[kind, root]);
        match self {
            Self::Dataset(signed) => of(b"dataset", &signed.message.root.0),
            Self::Claim(signed) => of(b"claim", &signed.message.root.0),
            Self::Worker(_) => of(b"worker", &[]),
        }
    }

    /// Returns the time span in which the announcement is valid.
    pub fn term(&self) -> Term {
        match self {
            Self::Dataset(signed) => signed.message.term,
            Self::Claim(signed) => signed.message.term,
            Self::Worker(signed) => signed.message.term,
        }
    }

    /// Checks that the announcement is valid now, on this chain. The signature is checked last, as the most expensive
    /// step.
    pub fn check(&self, now: Time, domain: &Domain) -> Result<(), AnnounceError> {
        match self {
            Self::Dataset(signed) => signed.message.check().and_then(|()| signed.holds(now, domain)),
            Self::Claim(signed) => signed.holds(now, domain),
            Self::Worker(signed) => signed.message.check().and_then(|()| signed.holds(now, domain)),
        }
    }

    /// Returns the bytes for gossip.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes [`Self::encode`]; refuses more than [`ANNOUNCEMENT_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(bytes, ANNOUNCEMENT_MAX)
    }
}

/// A message that is valid for a limited time.
pub trait Expiring: Authored {
    /// Returns the time span in which the message is valid.
    fn term(&self) -> Term;
}

impl<T: Expiring> Signed<T> {
    /// Checks that the message is valid now and signed by its author for the chain `domain`.
    pub fn holds(&self, now: Time, domain: &Domain) -> Result<(), AnnounceError> {
        self.message.term().check(now)?;
        match self.is_authentic(domain) {
            true => Ok(()),
            false => Err(AnnounceError::Signature(self.message.author())),
        }
    }
}

impl Term {
    /// Returns the term from `now` for `life_ms`, capped at [`LIFE_MS_MAX`].
    pub fn starting(now: Time, life_ms: u64) -> Self {
        Self {
            issued: now,
            expires: now.after_ms(life_ms.min(LIFE_MS_MAX)),
        }
    }

    fn check(self, now: Time) -> Result<(), AnnounceError> {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if self.expires <= now {
            return Err(AnnounceError::Expired(ms(now.since(self.expires))));
        }
        if self.issued > now.after_ms(SKEW_MS) {
            return Err(AnnounceError::Early(ms(self.issued.since(now))));
        }
        match ms(self.expires.since(self.issued)) {
            life if life > LIFE_MS_MAX => Err(AnnounceError::TooLong(life)),
            _ => Ok(()),
        }
    }
}

impl Dataset {
    fn check(&self) -> Result<(), AnnounceError> {
        match self.shards {
            0 => Err(AnnounceError::Content("a dataset has at least one shard")),
            _ => Ok(()),
        }
    }
}

impl Worker {
    fn check(&self) -> Result<(), AnnounceError> {
        if self.kinds.is_empty() {
            return Err(AnnounceError::Content("a worker takes at least one kind of work"));
        }
        if self.bases.len() > BASES_MAX {
            return Err(AnnounceError::Content("a worker names at most 64 base models"));
        }
        if self.prices.len() > self.kinds.len() || self.prices.iter().any(|hint| !self.kinds.contains(&hint.work)) {
            return Err(AnnounceError::Content(
                "a price is for a kind of work that is taken, one each",
            ));
        }
        Ok(())
    }
}

impl Authored for Dataset {
    fn author(&self) -> NodeId {
        self.provider
    }
}

impl Expiring for Dataset {
    fn term(&self) -> Term {
        self.term
    }
}

impl Authored for Claim {
    fn author(&self) -> NodeId {
        self.provider
    }
}

impl Expiring for Claim {
    fn term(&self) -> Term {
        self.term
    }
}

impl Authored for Worker {
    fn author(&self) -> NodeId {
        self.worker
    }
}

impl Expiring for Worker {
    fn term(&self) -> Term {
        self.term
    }
}

impl Preimage for Dataset {
    /// `"openledger/announce/dataset/1" ‖ chain id ‖ genesis ‖ provider ‖ issued ‖ expires ‖ of a datanet? ‖ datanet or
    /// zeros ‖ root ‖ bytes ‖ shards`, big-endian.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        let mut bytes = preamble("openledger/announce/dataset/1", domain, self.provider, self.term);
        datanet(&mut bytes, self.datanet);
        bytes.extend(self.root.0);
        bytes.extend(self.bytes.to_be_bytes());
        bytes.extend(self.shards.to_be_bytes());
        bytes
    }
}

impl Preimage for Claim {
    /// `"openledger/announce/claim/1" ‖ chain id ‖ genesis ‖ provider ‖ issued ‖ expires ‖ of a datanet? ‖ datanet or zeros
    /// ‖ root`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        let mut bytes = preamble("openledger/announce/claim/1", domain, self.provider, self.term);
        datanet(&mut bytes, self.datanet);
        bytes.extend(self.root.0);
        bytes
    }
}

impl Preimage for Worker {
    /// `"openledger/announce/worker/1" ‖ chain id ‖ genesis ‖ worker ‖ issued ‖ expires ‖ number of kinds ‖ kinds ‖ number of
    /// bases ‖ bases ‖ number of prices ‖ (kind ‖ price) ‖ device ‖ threads ‖ memory`, numbers as four bytes, threads and
    /// memory as two.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        let mut bytes = preamble("openledger/announce/worker/1", domain, self.worker, self.term);
        count(&mut bytes, self.kinds.len());
        bytes.extend(self.kinds.iter().map(|work| work.number()));
        count(&mut bytes, self.bases.len());
        self.bases.iter().for_each(|base| bytes.extend(base.0));
        count(&mut bytes, self.prices.len());
        for hint in &self.prices {
            bytes.push(hint.work.number());
            bytes.extend(hint.per_million_tokens.0.to_be_bytes());
        }
        bytes.push(match self.machine.device {
            Device::Cpu => 0,
            Device::Cuda => 1,
        });
        bytes.extend(self.machine.threads.to_be_bytes());
        bytes.extend(self.machine.memory_gib.to_be_bytes());
        bytes
    }
}

impl Work {
    fn number(self) -> u8 {
        match self {
            Self::Train => 0,
            Self::Infer => 1,
            Self::Audit => 2,
        }
    }
}

fn preamble(name: &str, domain: &Domain, author: NodeId, term: Term) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend(name.as_bytes());
    bytes.extend(domain.chain_id.to_be_bytes());
    bytes.extend(domain.genesis);
    bytes.extend(author.0);
    bytes.extend(term.issued.0.to_be_bytes());
    bytes.extend(term.expires.0.to_be_bytes());
    bytes
}

fn datanet(bytes: &mut Vec<u8>, datanet: Option<DatanetId>) {
    bytes.push(u8::from(datanet.is_some()));
    bytes.extend(datanet.unwrap_or_default().0);
}

fn count(bytes: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    bytes.extend(len.to_be_bytes());
}

#[cfg(test)]
mod tests;
