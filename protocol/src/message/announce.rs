//! What nodes tell everybody about themselves: datasets they serve, blobs they have, work they take.
//!
//! Each is signed by the node it is about and runs out. A directory entry or a rumour is a hint to ask; only a signed
//! message is a claim. None of them proves that the bytes are there: fetching does.

use std::collections::BTreeSet;

use bincode::{Decode, Encode};

use crate::{
    Amount, BlobHash, DatanetId, NodeId, Time, codec,
    crypto::{self, Domain, Preimage, Signed},
};

/// Longest announcement that is read.
pub const ANNOUNCEMENT_MAX: usize = 8 << 10;
/// Nothing is announced for longer than this.
pub const LIFE_MS_MAX: u64 = 24 * 3600 * 1000;
/// How far the clocks of two nodes may differ.
pub const SKEW_MS: u64 = 60_000;
/// Base models that one worker may name.
pub const BASES_MAX: usize = 64;

/// When something was said, and when it ceases to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Term {
    /// When it was said, by the speaker's clock. Of two messages about one thing the later holds.
    pub issued: Time,
    /// Until when it holds.
    pub expires: Time,
}

/// A node serves a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Dataset {
    /// The datanet it belongs to, on whose protocol it is served if that is permissioned.
    pub datanet: Option<DatanetId>,
    /// The sequence of its manifest and shards.
    pub root: BlobHash,
    /// Bytes of all shards.
    pub bytes: u64,
    /// How many shards there are.
    pub shards: u32,
    /// Who serves it.
    pub provider: NodeId,
    /// Since when and how long.
    pub term: Term,
}

/// A node has a blob and gives it to those it admits.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// The datanet on whose protocol it is served; everybody's otherwise.
    pub datanet: Option<DatanetId>,
    /// The blob, or the root of the sequence.
    pub root: BlobHash,
    /// Who has it.
    pub provider: NodeId,
    /// Since when and how long.
    pub term: Term,
}

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Work {
    /// Fine-tuning adapters.
    Train,
    /// Answering requests.
    Infer,
    /// Checking what others computed.
    Audit,
}

/// What a worker asks for, before it is asked. A hint: the price is agreed on with the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct PriceHint {
    /// For which work.
    pub work: Work,
    /// For a million tokens.
    pub per_million_tokens: Amount,
}

/// What a worker computes with: enough to leave out those that cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Machine {
    /// The best of its devices.
    pub device: Device,
    /// Threads of its processor.
    pub threads: u16,
    /// Its memory in GiB, rounded down; 0 where it is not known.
    pub memory_gib: u16,
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Device {
    /// The processor.
    Cpu,
    /// A GPU that speaks CUDA.
    Cuda,
}

/// A node takes work.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Worker {
    /// Who.
    pub worker: NodeId,
    /// What kinds.
    pub kinds: BTreeSet<Work>,
    /// On which base models, by the hash of their weights.
    pub bases: Vec<BlobHash>,
    /// At about what price.
    pub prices: Vec<PriceHint>,
    /// With what.
    pub machine: Machine,
    /// Since when and how long.
    pub term: Term,
}

/// What is gossiped.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Announcement {
    /// A dataset is served.
    Dataset(Signed<Dataset>),
    /// A blob is had.
    Claim(Signed<Claim>),
    /// Work is taken.
    Worker(Signed<Worker>),
}

/// Why an announcement does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// Not signed by the node it is about, or for another chain.
    #[error("not signed by {0:#} for this chain")]
    Signature(NodeId),
    /// Its time is over.
    #[error("expired {0} ms ago")]
    Expired(u64),
    /// Said in the future.
    #[error("issued {0} ms ahead of our clock; check the clocks")]
    Early(u64),
    /// Longer than anything may hold.
    #[error("holds for {0} ms where at most {LIFE_MS_MAX} are allowed")]
    TooLong(u64),
    /// It says nothing, or too much.
    #[error("{0}")]
    Content(&'static str),
}

impl Announcement {
    /// Who it is about, and must have signed it.
    pub fn author(&self) -> NodeId {
        match self {
            Self::Dataset(signed) => signed.message.provider,
            Self::Claim(signed) => signed.message.provider,
            Self::Worker(signed) => signed.message.worker,
        }
    }

    /// What it is about: a newer announcement by the same author about the same replaces it.
    pub fn subject(&self) -> [u8; 32] {
        let of = |kind: &[u8], root: &[u8]| crypto::digest("openledger/announce/subject/1", &[kind, root]);
        match self {
            Self::Dataset(signed) => of(b"dataset", &signed.message.root.0),
            Self::Claim(signed) => of(b"claim", &signed.message.root.0),
            Self::Worker(_) => of(b"worker", &[]),
        }
    }

    /// When it was said and until when it holds.
    pub fn term(&self) -> Term {
        match self {
            Self::Dataset(signed) => signed.message.term,
            Self::Claim(signed) => signed.message.term,
            Self::Worker(signed) => signed.message.term,
        }
    }

    /// Whether it counts now, on this chain. The cheap questions come first, the signature last.
    pub fn check(&self, now: Time, domain: &Domain) -> Result<(), AnnounceError> {
        match self {
            Self::Dataset(signed) => signed.message.check().and_then(|()| signed.holds(now, domain)),
            Self::Claim(signed) => signed.holds(now, domain),
            Self::Worker(signed) => signed.message.check().and_then(|()| signed.holds(now, domain)),
        }
    }

    /// Its bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads [`Self::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::DecodeError> {
        codec::decode(bytes, ANNOUNCEMENT_MAX)
    }
}

/// Something one node says about itself for a time.
pub trait Spoken: Preimage {
    /// Who says it.
    fn speaker(&self) -> NodeId;
    /// For how long.
    fn term(&self) -> Term;
}

impl<T: Spoken> Signed<T> {
    /// Whether it is signed by its speaker for the chain `domain` and holds now.
    pub fn holds(&self, now: Time, domain: &Domain) -> Result<(), AnnounceError> {
        self.message.term().check(now)?;
        let speaker = self.message.speaker();
        match crypto::verify(&speaker.0, &self.message.preimage(domain), &self.signature) {
            true => Ok(()),
            false => Err(AnnounceError::Signature(speaker)),
        }
    }
}

impl Term {
    /// From `now` on for `life_ms`.
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

impl Spoken for Dataset {
    fn speaker(&self) -> NodeId {
        self.provider
    }

    fn term(&self) -> Term {
        self.term
    }
}

impl Spoken for Claim {
    fn speaker(&self) -> NodeId {
        self.provider
    }

    fn term(&self) -> Term {
        self.term
    }
}

impl Spoken for Worker {
    fn speaker(&self) -> NodeId {
        self.worker
    }

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

fn preamble(name: &str, domain: &Domain, speaker: NodeId, term: Term) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend(name.as_bytes());
    bytes.extend(domain.chain_id.to_be_bytes());
    bytes.extend(domain.genesis);
    bytes.extend(speaker.0);
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
