//! A link from a node to a child: the reference that the parent's hash covers, and the child itself once it is in
//! memory.
//!
//! Links are shared by all versions of a trie that have the same subtree, so one load or one hash serves all of
//! them. A link always has a reference, a node, or both.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::{Nibbles, nodes::RlpNode};

use super::{NodeError, NodeSource, node::Node};

/// A shared, lazily loaded child.
#[derive(Clone, Debug)]
pub(super) struct Link(Arc<LinkCell>);

#[derive(Debug, Default)]
struct LinkCell {
    reference: OnceLock<RlpNode>,
    node: OnceLock<Node>,
}

/// The source of missing nodes, and a count of the nodes in memory.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) nodes: Arc<dyn NodeSource>,
    /// An upper bound: replaced nodes are not subtracted before the next shrink.
    pub(super) in_memory: Arc<AtomicUsize>,
}

impl Source {
    pub(super) fn count(&self, added: usize) {
        self.in_memory.fetch_add(added, Ordering::Relaxed);
    }

    /// The bytes at `path`, checked against the hash in the parent.
    fn fetch(&self, path: &Nibbles, expected: B256) -> Result<Bytes, NodeError> {
        let found = self.nodes.node(path).map_err(|source| NodeError::Source {
            path: Box::new(*path),
            source,
        })?;
        let rlp = found.ok_or(NodeError::Missing {
            path: Box::new(*path),
            expected,
        })?;
        let found = keccak256(&rlp);
        if found != expected {
            return Err(NodeError::Mismatch {
                path: Box::new(*path),
                expected,
                found,
            });
        }
        Ok(rlp)
    }
}

impl Link {
    /// A child of which only the hash is known.
    pub(super) fn to(hash: B256) -> Self {
        Self(Arc::new(LinkCell {
            reference: RlpNode::word_rlp(&hash).into(),
            node: OnceLock::new(),
        }))
    }

    /// A child whose encoding is part of its parent's.
    pub(super) fn inline(reference: RlpNode, node: Node) -> Self {
        Self(Arc::new(LinkCell {
            reference: reference.into(),
            node: node.into(),
        }))
    }

    /// A new child. Its reference is computed when it is needed.
    pub(super) fn new(node: Node) -> Self {
        Self(Arc::new(LinkCell {
            reference: OnceLock::new(),
            node: node.into(),
        }))
    }

    /// The same child by the same reference, with another node in memory (children dropped or kept).
    pub(super) fn with_node(&self, node: Node) -> Self {
        Self::inline(self.reference().clone(), node)
    }

    /// This child without its node, if its reference is enough to load it again.
    pub(super) fn unloaded(&self) -> Self {
        match self.hash() {
            Some(hash) => Self::to(hash),
            None => self.clone(),
        }
    }

    /// The node, if it is in memory.
    pub(super) fn node(&self) -> Option<&Node> {
        self.0.node.get()
    }

    /// The node at `path`, read from the source unless it is in memory.
    pub(super) fn load(&self, path: &Nibbles, source: &Source) -> Result<&Node, NodeError> {
        if let Some(node) = self.node() {
            return Ok(node);
        }
        let expected = self.hash().expect("a child that is not in memory is known by its hash");
        let rlp = source.fetch(path, expected)?;
        let node = Node::decode(&rlp, path.len()).map_err(|source| NodeError::Malformed {
            path: Box::new(*path),
            expected,
            source,
        })?;
        source.count(1);
        Ok(self.0.node.get_or_init(|| node))
    }

    /// The reference in the parent: the encoded node itself below 32 bytes, else its hash. Computed once.
    pub(super) fn reference(&self) -> &RlpNode {
        self.0.reference.get_or_init(|| RlpNode::from_rlp(&self.encode()))
    }

    pub(super) fn is_hashed(&self) -> bool {
        self.0.reference.get().is_some()
    }

    /// The RLP of the node.
    ///
    /// # Panics
    ///
    /// If the node is not in memory.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.node().expect("a node is loaded before it is encoded").encode()
    }

    /// The hash in the reference; `None` for a node that its parent contains.
    pub(super) fn hash(&self) -> Option<B256> {
        self.reference().as_hash()
    }

    /// Returns true if both lead to the same node. Loads nothing.
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.reference() == other.reference()
    }

    /// The node for a change: copied if another version shares it, its reference dropped.
    pub(super) fn change(&mut self) -> &mut Node {
        if Arc::get_mut(&mut self.0).is_none() {
            let node = self.node().expect("a node is loaded before it is changed").clone();
            *self = Self::new(node);
        }
        let slot = Arc::get_mut(&mut self.0).expect("a link that was just copied is not shared");
        slot.reference.take();
        slot.node.get_mut().expect("a node is loaded before it is changed")
    }
}
