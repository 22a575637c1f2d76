//! What an owner wants pinned and pays for.

use std::fmt;

use bincode::{Decode, Encode};

use crate::{
    Account, Amount, BlobHash, NodeId, Time,
    crypto::{Domain, Preimage, digest},
    preimage::{Spoken, Writer},
    proof::{Beacon, Bundle, Flawed, PROOFS_MAX, SIZE_MAX, Sample, Shard},
};

/// Most shards in one deal: half a TiB in shards of 64 MiB, and an offer that names them all is no longer than a bundle.
pub const SHARDS_MAX: usize = 8192;

/// The digest of a deal: its name, and part of every challenge under it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct DealId(pub [u8; 32]);

impl fmt::Display for DealId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if f.alternate() { &self.0[..4] } else { &self.0[..] };
        write!(f, "0x{}", hex::encode(shown))
    }
}

impl fmt::Debug for DealId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DealId({self:#})")
    }
}

/// What is to be kept, in how many copies, until when, for how much.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Deal {
    /// The node that makes it.
    pub owner: NodeId,
    /// Who pays.
    pub account: Account,
    /// Tells deals of one owner about one set apart.
    pub nonce: u64,
    /// What the shards are together: the root of their sequence.
    pub set: BlobHash,
    /// What is kept. Sizes are believed after each host's registration.
    pub shards: Vec<Shard>,
    /// How many hosts keep it.
    pub copies: u16,
    /// Until when; a renewal moves it.
    pub until: Time,
    /// For each host and each epoch in which it held everything.
    pub price: Amount,
    /// What is set aside for all of it.
    pub escrow: Amount,
    /// Chunks drawn per epoch.
    pub challenges: u16,
    /// How long a host may fetch before it registers.
    pub fetch_within_ms: u64,
    /// How long a host may take to answer a challenge. Short, or it fetches the chunks elsewhere when asked.
    pub answer_within_ms: u64,
}

/// What is wrong with a deal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DealError {
    /// None, or too many.
    #[error("{0} shards; a deal has 1 to {SHARDS_MAX}")]
    Shards(usize),
    /// A shard that cannot be proven.
    #[error("shard {position} of {size} bytes is longer than any that is proven")]
    Size {
        /// Which, from 0.
        position: usize,
        /// How long it claims to be.
        size: u64,
    },
    /// No copies.
    #[error("no copies are wanted; a deal wants at least 1")]
    Copies,
    /// Nothing is ever asked, or too much.
    #[error("{0} chunks drawn per epoch; a deal draws 1 to {PROOFS_MAX}")]
    Challenges(u16),
    /// Nobody can answer that fast.
    #[error("fetching and answering need more than 0 ms")]
    Deadlines,
}

impl Deal {
    /// Whether the deal can be kept at all.
    pub fn check(&self) -> Result<(), DealError> {
        if self.shards.is_empty() || self.shards.len() > SHARDS_MAX {
            return Err(DealError::Shards(self.shards.len()));
        }
        if let Some(position) = self.shards.iter().position(|shard| shard.size > SIZE_MAX) {
            let size = self.shards[position].size;
            return Err(DealError::Size { position, size });
        }
        if self.copies == 0 {
            return Err(DealError::Copies);
        }
        if self.challenges == 0 || self.challenges > PROOFS_MAX {
            return Err(DealError::Challenges(self.challenges));
        }
        if self.fetch_within_ms == 0 || self.answer_within_ms == 0 {
            return Err(DealError::Deadlines);
        }
        Ok(())
    }

    /// Its name.
    pub fn id(&self) -> DealId {
        DealId(digest("openledger/deal/id/1", &[&self.write(Writer::bare()).done()]))
    }

    /// Bytes of one copy. Checked deals do not overflow.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.saturating_add(shard.size))
    }

    /// The draw for `host` under `beacon`. `id` is this deal's name, which is worth working out once.
    pub fn sample<'a>(&'a self, id: &'a DealId, host: NodeId, beacon: &'a Beacon) -> Sample<'a> {
        Sample {
            beacon,
            node: host,
            set: &id.0,
            shards: &self.shards,
            count: self.challenges,
        }
    }

    /// In how many parts a host registers: each proves as many shards as fit in a bundle.
    pub fn parts(&self) -> u32 {
        let parts = self.shards.len().div_ceil(PROOFS_MAX.into());
        u32::try_from(parts).expect("checked deals have few shards")
    }

    /// What registers a host, part by part: the last chunk of each shard.
    pub fn registration(&self, part: u32) -> Vec<(usize, u64)> {
        let first = usize::try_from(part)
            .unwrap_or(usize::MAX)
            .saturating_mul(PROOFS_MAX.into());
        let last = |(position, shard): (usize, &Shard)| (position, shard.last());
        let shards = self.shards.iter().enumerate().map(last);
        shards.skip(first).take(PROOFS_MAX.into()).collect()
    }

    /// Whether a bundle proves the last chunk of each shard of a part, and so every size.
    pub fn registers(&self, part: u32, bundle: &Bundle) -> Result<(), Flawed> {
        bundle.verify_drawn(&self.shards, &self.registration(part))
    }

    fn write(&self, writer: Writer) -> Writer {
        writer
            .fixed(&self.owner.0)
            .fixed(&self.account.0)
            .u64(self.nonce)
            .fixed(&self.set.0)
            .list(&self.shards, |writer, shard| {
                writer.fixed(&shard.root.0).u64(shard.size)
            })
            .u64(self.copies.into())
            .u64(self.until.0)
            .fixed(&self.price.0.to_be_bytes())
            .fixed(&self.escrow.0.to_be_bytes())
            .u64(self.challenges.into())
            .u64(self.fetch_within_ms)
            .u64(self.answer_within_ms)
    }
}

impl Preimage for Deal {
    /// `"openledger/deal/1" ‖ chain ‖ owner ‖ account ‖ nonce ‖ set ‖ shards ‖ copies ‖ until ‖ price ‖ escrow ‖ challenges ‖
    /// fetch within ‖ answer within`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        self.write(Writer::new("openledger/deal/1", domain)).done()
    }
}

impl Spoken for Deal {
    fn speaker(&self) -> NodeId {
        self.owner
    }
}

/// An owner's word that a deal goes on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Renewal {
    /// Which.
    pub deal: DealId,
    /// The owner of it.
    pub owner: NodeId,
    /// The new end; an earlier one than before is nothing.
    pub until: Time,
    /// All that is set aside, with what was set aside before.
    pub escrow: Amount,
}

impl Preimage for Renewal {
    /// `"openledger/renewal/1" ‖ chain ‖ deal ‖ owner ‖ until ‖ escrow`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        Writer::new("openledger/renewal/1", domain)
            .fixed(&self.deal.0)
            .fixed(&self.owner.0)
            .u64(self.until.0)
            .fixed(&self.escrow.0.to_be_bytes())
            .done()
    }
}

impl Spoken for Renewal {
    fn speaker(&self) -> NodeId {
        self.owner
    }
}
