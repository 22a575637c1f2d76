//! LoRA adapters: read from and written as PEFT folders, with one identity wherever they come from.
//!
//! An adapter is identified by the BLAKE3 hash of its canonical form ([`Adapter::to_bytes`]): a safetensors file that
//! carries its own configuration. Two folders that compute the same have the same hash, whatever they are called, and
//! bytes from a peer can be checked against it.
//!
//! An option of PEFT that is not supported is refused by its name: an adapter with an ignored option would be another
//! adapter.
//!
//! # Why not merge an adapter into the base
//!
//! A merged copy costs the memory of the base for every adapter and cannot share a batch with others. The factors are
//! kept and applied as `y += scale · B(A x)`, so requests with different adapters run in one batch.

mod config;
mod read;
mod site;
mod write;

use std::{collections::BTreeMap, fmt, str::FromStr};

pub use config::{AdapterConfig, ConfigError, RANK_MAX};
pub use read::{LoadError, Summary, inspect};
pub use site::{Projection, Site};
pub use write::WriteError;

use crate::tensors::Matrix;

/// Bytes of an adapter that are processed between two calls of [`Rest`].
const PART_BYTES: usize = 256 << 10;

/// A callback between parts of a load, in which a background loader waits while more important work runs.
pub type Rest<'a> = &'a mut dyn FnMut();

/// Metadata key of the configuration in the canonical form.
const CONFIG_KEY: &str = "adapter_config";

/// Identity of an adapter: the BLAKE3 hash of its canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterHash(pub protocol::BlobHash);

impl fmt::Display for AdapterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AdapterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdapterHash({:#})", self.0)
    }
}

impl FromStr for AdapterHash {
    type Err = protocol::id::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The two factors of an adapter at one site: `y += scale · B(A x)`.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// Factor of the product: alpha over the rank, or over its root.
    pub scale: f32,
    /// `[rank, in]`.
    pub a: Matrix,
    /// B transposed, `[rank, out]`: the layout that the kernels read, so loading into a slot moves nothing.
    pub b: Matrix,
}

impl LowRank {
    /// Returns the rank at this site.
    pub fn rank(&self) -> usize {
        self.a.rows
    }
}

/// A complete and checked adapter in memory.
///
/// ```
/// use compute::{
///     lora::Adapter,
///     model::{Config, Dimensions},
///     tensors::Dtype,
/// };
///
/// let dimensions = Dimensions {
///     vocabulary: 64, hidden: 16, intermediate: 32, layers: 2, heads: 2, kv_heads: 1, context_tokens_max: 32, tied: true,
/// };
/// let adapter = Adapter::random(&Config::llama(dimensions, 0).unwrap(), 4, Dtype::F32, 7);
/// let again = Adapter::from_bytes(&adapter.to_bytes()).unwrap();
/// assert_eq!((again.hash(), again.rank()), (adapter.hash(), 4));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    sites: BTreeMap<Site, LowRank>,
    hash: AdapterHash,
}

impl Adapter {
    /// Makes an adapter from its factors and hashes it.
    ///
    /// # Panics
    ///
    /// If there are no sites, or the two factors of a site differ in rank.
    pub fn new(sites: BTreeMap<Site, LowRank>) -> Self {
        assert!(!sites.is_empty(), "an adapter acts somewhere");
        assert!(sites.values().all(|low| low.a.rows == low.b.rows && low.a.rows > 0));
        let mut adapter = Self {
            sites,
            hash: AdapterHash(protocol::BlobHash([0; 32])),
        };
        adapter.hash = AdapterHash(protocol::BlobHash(*blake3::hash(&adapter.to_bytes()).as_bytes()));
        adapter
    }

    /// Returns the identity. Names and folders are no part of it.
    pub fn hash(&self) -> AdapterHash {
        self.hash
    }

    /// Returns the bytes of all factors.
    pub fn bytes(&self) -> u64 {
        self.sites
            .values()
            .map(|low| (low.a.bytes().len() + low.b.bytes().len()) as u64)
            .sum()
    }

    /// Returns the largest rank of all sites.
    pub fn rank(&self) -> usize {
        self.sites.values().map(LowRank::rank).max().unwrap_or(0)
    }

    /// Returns the factors by site.
    pub fn sites(&self) -> &BTreeMap<Site, LowRank> {
        &self.sites
    }
}
