//! Ethereum's Merkle-Patricia trie, in memory as immutable shared nodes and in storage by path.
//!
//! A [`Trie`] is one version: a clone costs two counters, and a change copies only the nodes from the root to the
//! key. Nodes that are not in memory come from a [`NodeSource`] by their path and are checked against the hash in
//! the parent, so a source may be stale or damaged but never gives a wrong answer. [`diff`] lists the differences
//! of two versions. Left out: the storage of nodes ([`crate::state`]), and roots of ordered lists, which alloy-trie
//! has.
//!
//! # Why not an existing trie
//!
//! A trie stored by node hash cannot be pruned to a window of history without reference counts, and grows for ever.
//! This one stores nodes by path and overwrites them in place, and its nodes in memory are shared between blocks.
//! Of the tries on the registry, `alloy-trie` has no store and rebuilds everything (it is the oracle in tests),
//! `eth_trie` is keyed by hash, and others have another root, licence or transaction type.

mod diff;
mod edit;
mod link;
mod node;
mod proof;
mod shrink;

use std::{
    error::Error,
    fmt,
    sync::{Arc, atomic::AtomicUsize},
};

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};
use rayon::prelude::*;

pub use diff::{Change, diff};
use link::{Link, Source};
pub use node::DecodeError;
use node::Node;

/// Changes from which on hashing the sixteen subtrees in parallel is worth its start.
const PARALLEL_FROM: usize = 64;

/// The storage of one trie's nodes. What it returns is checked by hash, so it may be stale, but a stale node is an
/// error for the reader.
pub trait NodeSource: fmt::Debug + Send + Sync {
    /// The RLP of the node at `path`, unchecked; `None` if nothing is stored there.
    fn node(&self, path: &Nibbles) -> Result<Option<Bytes>, SourceError>;
}

/// Reason that a source could not be read, passed through unchanged.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// The source of a trie that is completely in memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNodes;

impl NodeSource for NoNodes {
    fn node(&self, _: &Nibbles) -> Result<Option<Bytes>, SourceError> {
        Ok(None)
    }
}

/// Reason that a node cannot be loaded. The trie that reported it is unchanged and usable.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nothing is stored at the path: the version is pruned, or the store is damaged.
    #[error("no node at {path:?}, where {expected} was expected: this version is pruned or the store is damaged")]
    Missing {
        path: Box<Nibbles>,
        /// The hash in the parent.
        expected: B256,
    },
    /// Another node is stored at the path: the version is pruned, or the store is damaged.
    #[error("node {found} at {path:?}, where {expected} was expected: this version is pruned or the store is damaged")]
    Mismatch {
        path: Box<Nibbles>,
        /// The hash in the parent.
        expected: B256,
        /// The hash of the stored node.
        found: B256,
    },
    /// The stored bytes have the right hash and are not a trie node.
    #[error("malformed node {expected} at {path:?}")]
    Malformed {
        path: Box<Nibbles>,
        expected: B256,
        #[source]
        source: DecodeError,
    },
    #[error("could not read the node at {path:?}")]
    Source {
        path: Box<Nibbles>,
        #[source]
        source: SourceError,
    },
    #[error("a key of {0} bytes is too long: 32 at most")]
    KeyTooLong(usize),
}

/// One version of a trie.
///
/// ```
/// use std::sync::Arc;
///
/// use alloy_primitives::Bytes;
/// use evm::trie::{NoNodes, Trie};
///
/// let mut trie = Trie::empty(Arc::new(NoNodes));
/// trie.insert(b"key", Bytes::from_static(b"value"))?;
/// let before = trie.clone();
/// trie.insert(b"key", Bytes::from_static(b"other"))?;
///
/// // A clone is a version of its own: later changes do not reach it.
/// assert_eq!(before.get(b"key")?, Some(Bytes::from_static(b"value")));
/// assert_ne!(before.root(), trie.root());
/// # Ok::<(), evm::trie::NodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Trie {
    root: Option<Link>,
    source: Source,
    /// Changes since the root was computed last. From [`PARALLEL_FROM`] on hashing is done in parallel.
    changes: usize,
}

impl Trie {
    /// The empty trie. [`NoNodes`] is the source of a trie that stays in memory.
    pub fn empty(nodes: Arc<dyn NodeSource>) -> Self {
        let source = Source {
            nodes,
            in_memory: Arc::new(AtomicUsize::new(0)),
        };
        Self {
            root: None,
            source,
            changes: 0,
        }
    }

    /// The trie with this root. Nodes are read when they are needed.
    pub fn from_root(root: B256, nodes: Arc<dyn NodeSource>) -> Self {
        let link = (root != EMPTY_ROOT_HASH).then(|| Link::to(root));
        Self {
            root: link,
            ..Self::empty(nodes)
        }
    }

    /// This version with another source for nodes that are not in memory.
    pub fn with_source(&self, nodes: Arc<dyn NodeSource>) -> Self {
        let source = Source {
            nodes,
            in_memory: self.source.in_memory.clone(),
        };
        Self {
            root: self.root.clone(),
            source,
            changes: self.changes,
        }
    }

    /// Returns true if the trie has no key. Loads nothing.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The value of a key; `None` if there is none. May load nodes.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, NodeError> {
        let path = path_of(key)?;
        let Some(mut link) = self.root.as_ref() else {
            return Ok(None);
        };
        let mut depth = 0;
        loop {
            let rest = path.slice(depth..);
            match link.load(&path.slice(..depth), &self.source)? {
                Node::Leaf { key, value } => return Ok((*key == rest).then(|| value.clone())),
                Node::Extension { key, child } => {
                    if !rest.starts_with(key) {
                        return Ok(None);
                    }
                    (link, depth) = (child, depth + key.len());
                }
                Node::Branch(branch) => {
                    let Some(nibble) = rest.first() else {
                        return Ok(branch.value.clone());
                    };
                    let Some(child) = &branch.children[usize::from(nibble)] else {
                        return Ok(None);
                    };
                    (link, depth) = (child, depth + 1);
                }
            }
        }
    }

    /// Sets the value of a key; an empty value removes the key. After an error the trie is unchanged.
    pub fn insert(&mut self, key: &[u8], value: Bytes) -> Result<(), NodeError> {
        if value.is_empty() {
            return self.remove(key);
        }
        let path = path_of(key)?;
        self.count_change();
        if let Some(root) = &mut self.root {
            return edit::insert(root, &path, 0, value, &self.source);
        }
        self.source.count(1);
        self.root = Some(Link::new(Node::Leaf { key: path, value }));
        Ok(())
    }

    /// Removes a key, if it is there. After an error the trie is unchanged.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), NodeError> {
        let path = path_of(key)?;
        let Some(root) = &self.root else { return Ok(()) };
        if !edit::prepare_removal(root, &path, &self.source)? {
            return Ok(());
        }
        self.count_change();
        if self.root.as_mut().is_some_and(|root| edit::remove(root, &path)) {
            self.root = None;
        }
        Ok(())
    }

    fn count_change(&mut self) {
        let settled = self.root.as_ref().is_some_and(Link::is_hashed);
        self.changes = if settled { 1 } else { self.changes + 1 };
    }

    /// The root hash. Only nodes that changed since it was computed last are hashed.
    pub fn root(&self) -> B256 {
        let Some(root) = &self.root else { return EMPTY_ROOT_HASH };
        if self.changes >= PARALLEL_FROM
            && !root.is_hashed()
            && let Some(Node::Branch(branch)) = root.node()
        {
            branch.children.par_iter().flatten().for_each(|child| {
                child.reference();
            });
        }
        // A root node below 32 bytes is hashed all the same.
        root.hash().unwrap_or_else(|| keccak256(root.reference()))
    }
}

/// The root of a trie with these keys and values in any order. A later value replaces an earlier one.
pub fn root_of<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<B256, NodeError> {
    let mut trie = Trie::empty(Arc::new(NoNodes));
    for (key, value) in pairs {
        trie.insert(key, Bytes::copy_from_slice(value))?;
    }
    Ok(trie.root())
}

/// The root of a trie whose keys are the keccak hashes of these keys, as in the tries of the state.
pub fn secure_root_of<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<B256, NodeError> {
    let mut trie = Trie::empty(Arc::new(NoNodes));
    for (key, value) in pairs {
        trie.insert(keccak256(key).as_slice(), Bytes::copy_from_slice(value))?;
    }
    Ok(trie.root())
}

fn path_of(key: &[u8]) -> Result<Nibbles, NodeError> {
    if key.len() * 2 > node::PATH_MAX {
        return Err(NodeError::KeyTooLong(key.len()));
    }
    Ok(Nibbles::unpack(key))
}

#[cfg(test)]
mod tests;
