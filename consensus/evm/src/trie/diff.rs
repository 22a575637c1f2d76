//! The difference of two versions of a trie, node by node.
//!
//! A store writes the new nodes, and keeps the old ones to read earlier heights. Subtrees that both versions share are skipped
//! without being loaded, so the work is proportional to the change.

use alloy_primitives::Bytes;
use alloy_trie::Nibbles;

use super::{
    NodeError, Trie,
    link::{Link, Source},
    node::Node,
};

/// A node that differs. `None` means that the version stores no node at the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: Nibbles,
    /// RLP of the node in the old version.
    pub old: Option<Bytes>,
    /// RLP of the node in the new version.
    pub new: Option<Bytes>,
}

/// Lists the stored nodes in which `new` differs from `old`, parents before children.
///
/// A node below 32 bytes is contained in its parent and not stored; the root always is.
pub fn diff(old: &Trie, new: &Trie) -> Result<Vec<Change>, NodeError> {
    let mut walk = Walk {
        old: &old.source,
        new: &new.source,
        path: Nibbles::new(),
        changes: Vec::new(),
    };
    walk.visit(Cursor::at(old.root.as_ref()), Cursor::at(new.root.as_ref()))?;
    Ok(walk.changes)
}

struct Walk<'a> {
    old: &'a Source,
    new: &'a Source,
    path: Nibbles,
    changes: Vec<Change>,
}

/// The position of one version at the current path.
#[derive(Clone, Copy)]
enum Cursor<'a> {
    Nothing,
    At(&'a Link),
    /// Inside the key of an extension, of which these nibbles are left.
    Within(Nibbles, &'a Link),
}

impl<'a> Walk<'a> {
    fn visit(&mut self, old: Cursor<'a>, new: Cursor<'a>) -> Result<(), NodeError> {
        if let (Cursor::At(old), Cursor::At(new)) = (old, new)
            && old.same(new)
        {
            return Ok(());
        }
        let (old_row, old_node) = old.open(&self.path, self.old)?;
        let (new_row, new_node) = new.open(&self.path, self.new)?;
        if old_row != new_row {
            self.changes.push(Change {
                path: self.path,
                old: old_row,
                new: new_row,
            });
        }
        for nibble in 0..16 {
            let below = (old.below(old_node, nibble), new.below(new_node, nibble));
            if let (Cursor::Nothing, Cursor::Nothing) = below {
                continue;
            }
            self.path.push(nibble);
            self.visit(below.0, below.1)?;
            self.path.pop();
        }
        Ok(())
    }
}

impl<'a> Cursor<'a> {
    fn at(link: Option<&'a Link>) -> Self {
        link.map_or(Self::Nothing, Self::At)
    }

    /// The stored bytes and the node at this position.
    fn open(self, path: &Nibbles, source: &Source) -> Result<(Option<Bytes>, Option<&'a Node>), NodeError> {
        let Self::At(link) = self else { return Ok((None, None)) };
        let node = link.load(path, source)?;
        let stored = path.is_empty() || link.hash().is_some();
        Ok((stored.then(|| node.encode().into()), Some(node)))
    }

    fn below(self, node: Option<&'a Node>, nibble: u8) -> Self {
        let (key, child) = match (self, node) {
            (Self::Within(key, child), _) => (key, child),
            (_, Some(Node::Extension { key, child })) => (*key, child),
            (_, Some(Node::Branch(branch))) => return Self::at(branch.children[usize::from(nibble)].as_ref()),
            (_, Some(Node::Leaf { .. }) | None) => return Self::Nothing,
        };
        if key.first() != Some(nibble) {
            return Self::Nothing;
        }
        if key.len() == 1 {
            Self::At(child)
        } else {
            Self::Within(key.slice(1..), child)
        }
    }
}
