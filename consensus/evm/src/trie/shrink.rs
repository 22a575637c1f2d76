//! Bounds the memory of a trie: deep nodes are reduced to their hashes and loaded again when they are needed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{
    Trie,
    link::{Link, Source},
    node::{Branch, Node, PATH_MAX},
};

impl Trie {
    /// An upper bound of the nodes in memory. Replaced nodes are counted until the next [`Trie::shrink_to`].
    pub fn nodes_in_memory(&self) -> usize {
        self.source.in_memory.load(Ordering::Relaxed)
    }

    /// This trie with at most `nodes_max` nodes in memory, those nearest to the root.
    ///
    /// Only for a trie whose nodes are all in its source: a dropped node that was never stored is lost.
    pub fn shrink_to(&self, nodes_max: usize) -> Self {
        // Hashed first: a dropped node is known by its hash alone.
        self.root();
        let mut per_depth = [0_usize; PATH_MAX + 1];
        if let Some(root) = &self.root {
            count(root, 0, &mut per_depth);
        }
        let mut kept = 0;
        let fits = |nodes: &&usize| {
            kept += **nodes;
            kept <= nodes_max
        };
        let depth_max = per_depth.iter().take_while(fits).count();
        let held = per_depth[..depth_max].iter().sum();
        Self {
            root: self.root.as_ref().map(|root| cut(root, depth_max)),
            source: Source {
                nodes: self.source.nodes.clone(),
                in_memory: Arc::new(AtomicUsize::new(held)),
            },
            changes: 0,
        }
    }
}

/// Counts the nodes in memory by the number of links above them.
fn count(link: &Link, depth: usize, per_depth: &mut [usize; PATH_MAX + 1]) {
    let Some(node) = link.node() else { return };
    per_depth[depth] += 1;
    for child in node.links() {
        count(child, depth + 1, per_depth);
    }
}

/// A copy of the nodes fewer than `levels` links below `link`, including `link` itself.
fn cut(link: &Link, levels: usize) -> Link {
    if levels == 0 {
        return link.unloaded();
    }
    match link.node() {
        None | Some(Node::Leaf { .. }) => link.clone(),
        Some(Node::Extension { key, child }) => link.with_node(Node::Extension {
            key: *key,
            child: cut(child, levels - 1),
        }),
        Some(Node::Branch(branch)) => {
            let children = branch
                .children
                .each_ref()
                .map(|child| child.as_ref().map(|child| cut(child, levels - 1)));
            link.with_node(Node::Branch(Box::new(Branch {
                children,
                value: branch.value.clone(),
            })))
        }
    }
}

impl Node {
    fn links(&self) -> impl Iterator<Item = &Link> {
        let (one, many) = match self {
            Self::Leaf { .. } => (None, None),
            Self::Extension { child, .. } => (Some(child), None),
            Self::Branch(branch) => (None, Some(branch.children.iter().flatten())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}
