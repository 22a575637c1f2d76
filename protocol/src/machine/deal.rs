//! Pin deals: an owner's signed offer to pay for copies of a set of shards, and its renewal.

use std::fmt;

use bincode::{Decode, Encode};

use crate::{
    Account, Amount, BlobHash, NodeId, Time,
    crypto::{Domain, Preimage, digest},
    preimage::{Authored, Writer},
    proof::{Beacon, Bundle, BundleError, PROOFS_MAX, SIZE_MAX, Sample, Shard},
};

/// Most shards in one deal: half a TiB at 64 MiB per shard. An offer that lists them all is no longer than a
/// [`Bundle`].
pub const SHARDS_MAX: usize = 8192;

/// The digest of a deal's terms: its id, and part of the seed of every challenge under it.
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

/// The terms of a pin deal. Field order is the encoding order.
///
/// ```
/// use protocol::machine::{Deal, DealError};
/// use protocol::proof::Shard;
/// use protocol::{Account, Amount, BlobHash, NodeId, Time};
///
/// let deal = Deal {
///     owner: NodeId([1; 32]),
///     account: Account([2; 20]),
///     nonce: 0,
///     set: BlobHash([3; 32]),
///     shards: vec![Shard::of(b"some data")],
///     copies: 3,
///     until: Time::from_secs(1_000_000),
///     price: Amount::open(1),
///     escrow: Amount::open(300),
///     challenges: 64,
///     fetch_within_ms: 60_000,
///     answer_within_ms: 5_000,
/// };
/// assert_eq!(deal.check(), Ok(()));
/// assert_eq!(Deal { copies: 0, ..deal }.check(), Err(DealError::Copies));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Deal {
    pub owner: NodeId,
    /// The account that pays.
    pub account: Account,
    /// Distinguishes deals of one owner about the same set.
    pub nonce: u64,
    /// The root of the sequence that the shards belong to.
    pub set: BlobHash,
    /// The shards to keep. A size is trusted only after a host has registered with a proof of the last chunk.
    pub shards: Vec<Shard>,
    /// Number of hosts wanted.
    pub copies: u16,
    /// End of the deal. A renewal moves it.
    pub until: Time,
    /// Payment per host and epoch.
    pub price: Amount,
    /// Upper bound of all payments.
    pub escrow: Amount,
    /// Chunks sampled per host and epoch.
    pub challenges: u16,
    /// Time for a host to fetch the shards and register.
    pub fetch_within_ms: u64,
    /// Time to answer a challenge. Keep it short: with a long one, a host can fetch the sampled chunks when
    /// challenged.
    pub answer_within_ms: u64,
}

/// Error of invalid deal terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DealError {
    #[error("{0} shards; a deal has 1 to {SHARDS_MAX}")]
    Shards(usize),
    /// A shard longer than [`SIZE_MAX`], for which no proof exists.
    #[error("shard {position} of {size} bytes is longer than any that is proven")]
    Size {
        /// Index in the deal's list.
        position: usize,
        size: u64,
    },
    #[error("no copies are wanted; a deal wants at least 1")]
    Copies,
    #[error("{0} chunks drawn per epoch; a deal draws 1 to {PROOFS_MAX}")]
    Challenges(u16),
    #[error("fetching and answering need more than 0 ms")]
    Deadlines,
}

impl Deal {
    /// Checks the terms against their bounds.
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

    /// Returns the digest of the terms.
    pub fn id(&self) -> DealId {
        DealId(digest("openledger/deal/id/1", &[&self.write(Writer::bare()).finish()]))
    }

    /// Returns the size of one copy. Does not saturate for a checked deal.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.saturating_add(shard.size))
    }

    /// Returns the sample of chunks for `host` under `beacon`. The caller passes this deal's `id`, which is costly to
    /// compute.
    pub fn sample<'a>(&'a self, id: &'a DealId, host: NodeId, beacon: &'a Beacon) -> Sample<'a> {
        Sample {
            beacon,
            node: host,
            set: &id.0,
            shards: &self.shards,
            count: self.challenges,
        }
    }

    /// Returns the number of parts of a registration. One part proves as many shards as fit into a bundle.
    pub fn parts(&self) -> u32 {
        let parts = self.shards.len().div_ceil(PROOFS_MAX.into());
        u32::try_from(parts).expect("checked deals have few shards")
    }

    /// Returns the chunks that prove one part of a registration: the last chunk of each shard, as (shard index,
    /// chunk).
    pub fn registration(&self, part: u32) -> Vec<(usize, u64)> {
        let first = usize::try_from(part)
            .unwrap_or(usize::MAX)
            .saturating_mul(PROOFS_MAX.into());
        let last = |(position, shard): (usize, &Shard)| (position, shard.last());
        let shards = self.shards.iter().enumerate().map(last);
        shards.skip(first).take(PROOFS_MAX.into()).collect()
    }

    /// Checks that a bundle proves the last chunk, and so the size, of each shard of a part.
    pub fn registers(&self, part: u32, bundle: &Bundle) -> Result<(), BundleError> {
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
        self.write(Writer::new("openledger/deal/1", domain)).finish()
    }
}

impl Authored for Deal {
    fn author(&self) -> NodeId {
        self.owner
    }
}

/// An owner's signed extension of a deal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Renewal {
    pub deal: DealId,
    pub owner: NodeId,
    /// The new end. An earlier end than the current one has no effect.
    pub until: Time,
    /// The new total escrow, including the previous one.
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
            .finish()
    }
}

impl Authored for Renewal {
    fn author(&self) -> NodeId {
        self.owner
    }
}
