//! The Merkle-Patricia trie of Ethereum, held as immutable shared nodes and stored by path.
//!
//! A [`Trie`] is a version: a clone costs two counters, and a change copies only the nodes from the root to the key. Nodes
//! that are not in memory come from a [`NodeSource`] by their path and are checked against the hash that the parent
//! holds, so a source can be stale or broken but never believed. [`diff`] lists what two versions differ in.
//!
//! Left out: where nodes are stored and how long ([`crate::state`]), and roots of ordered lists, which alloy-trie has.

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

/// From this many changes on hashing the sixteen subtrees in parallel costs less than starting it.
const PARALLEL_FROM: usize = 64;

/// Where the nodes of one trie are stored.
pub trait NodeSource: fmt::Debug + Send + Sync {
    /// The RLP of the node at `path`, unchecked; `None` if nothing is stored there.
    fn node(&self, path: &Nibbles) -> Result<Option<Bytes>, SourceError>;
}

/// Why a source could not be read.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// The source of a trie that is wholly in memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNodes;

impl NodeSource for NoNodes {
    fn node(&self, _: &Nibbles) -> Result<Option<Bytes>, SourceError> {
        Ok(None)
    }
}

/// Why a node of a trie cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nothing is stored there: the version is pruned, or the store is damaged.
    #[error("no node at {path:?}, where {expected} was expected: this version is pruned or the store is damaged")]
    Missing {
        /// Where.
        path: Box<Nibbles>,
        /// The hash that its parent has.
        expected: B256,
    },
    /// Another node is stored there: the version is pruned, or the store is damaged.
    #[error("node {found} at {path:?}, where {expected} was expected: this version is pruned or the store is damaged")]
    Mismatch {
        /// Where.
        path: Box<Nibbles>,
        /// The hash that its parent has.
        expected: B256,
        /// The hash of what is there.
        found: B256,
    },
    /// The right bytes, but no trie has such a node.
    #[error("malformed node {expected} at {path:?}")]
    Malformed {
        /// Where.
        path: Box<Nibbles>,
        /// Its hash.
        expected: B256,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The store failed.
    #[error("could not read the node at {path:?}")]
    Source {
        /// Where.
        path: Box<Nibbles>,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// Keys have 32 bytes at most.
    #[error("a key of {0} bytes is too long: 32 at most")]
    KeyTooLong(usize),
}

/// One version of a trie.
#[derive(Clone, Debug)]
pub struct Trie {
    root: Option<Link>,
    source: Source,
    /// Changes since the root was last computed: whether hashing in parallel pays.
    changes: usize,
}

impl Trie {
    /// The empty trie.
    pub fn empty(nodes: Arc<dyn NodeSource>) -> Self {
        let source = Source {
            nodes,
            held: Arc::new(AtomicUsize::new(0)),
        };
        Self {
            root: None,
            source,
            changes: 0,
        }
    }

    /// The trie with this root; nothing is read until it is needed.
    pub fn from_root(root: B256, nodes: Arc<dyn NodeSource>) -> Self {
        let link = (root != EMPTY_ROOT_HASH).then(|| Link::to(root));
        Self {
            root: link,
            ..Self::empty(nodes)
        }
    }

    /// This version with another source for what is not in memory.
    pub fn over(&self, nodes: Arc<dyn NodeSource>) -> Self {
        let source = Source {
            nodes,
            held: self.source.held.clone(),
        };
        Self {
            root: self.root.clone(),
            source,
            changes: self.changes,
        }
    }

    /// Whether there is no key in it.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The value of a key.
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

    /// Sets the value of a key; the empty value removes it. After an error the trie is what it was.
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

    /// Removes a key, if it is there. After an error the trie is what it was.
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

    /// The root hash. Only what changed since it was last computed is hashed.
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
        // A root below 32 bytes is hashed all the same.
        root.hash().unwrap_or_else(|| keccak256(root.reference()))
    }
}

/// The root of a trie with these keys and values, in any order; a later value replaces an earlier one.
pub fn root_of<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<B256, NodeError> {
    let mut trie = Trie::empty(Arc::new(NoNodes));
    for (key, value) in pairs {
        trie.insert(key, Bytes::copy_from_slice(value))?;
    }
    Ok(trie.root())
}

/// [`root_of`] with every key replaced by its hash, as the tries of the state have it.
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
