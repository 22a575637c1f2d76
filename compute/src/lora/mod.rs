//! LoRA adapters: PEFT directories in and out, and one identity however they arrived.
//!
//! An adapter's name is the BLAKE3 hash of its canonical form, a tensor file that carries its own configuration
//! ([`Adapter::to_bytes`]). Two directories that compute the same have one name, whatever they are called, and whoever
//! holds the name can check the bytes.

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

/// What is done to an adapter's numbers between two rests.
const PART_BYTES: usize = 256 << 10;

/// Called between parts of the work: whoever loads beside something more important waits there.
pub type Rest<'a> = &'a mut dyn FnMut();

/// The key under which the canonical form keeps its configuration.
const CONFIG_KEY: &str = "adapter_config";

/// The name of an adapter: the hash of its canonical form.
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

/// The two factors at one site: `y += scale · B(Ax)`.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// What the product is multiplied by: alpha over the rank, or over its root.
    pub scale: f32,
    /// `[rank, in]`.
    pub a: Matrix,
    /// B transposed, `[rank, out]`: the layout that kernels read, so that putting an adapter into a slot moves nothing.
    pub b: Matrix,
}

impl LowRank {
    /// Its true rank.
    pub fn rank(&self) -> usize {
        self.a.rows
    }
}

/// An adapter in memory, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    sites: BTreeMap<Site, LowRank>,
    hash: AdapterHash,
}

impl Adapter {
    /// Makes an adapter of its factors.
    ///
    /// # Panics
    ///
    /// If there are none, or the two factors of a site differ in rank.
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

    /// Its identity, which no name is part of.
    pub fn hash(&self) -> AdapterHash {
        self.hash
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> u64 {
        self.sites
            .values()
            .map(|low| (low.a.bytes().len() + low.b.bytes().len()) as u64)
            .sum()
    }

    /// The largest rank of its sites.
    pub fn rank(&self) -> usize {
        self.sites.values().map(LowRank::rank).max().unwrap_or(0)
    }

    /// Its factors, in order.
    pub fn sites(&self) -> &BTreeMap<Site, LowRank> {
        &self.sites
    }
}
