//! Insertion and removal below a link. Copies only nodes that another version shares.
//!
//! Nodes are loaded before anything changes, so that a failed load leaves the trie as it was.

use alloy_primitives::Bytes;
use alloy_trie::Nibbles;

use super::{
    NodeError,
    link::{Link, Source},
    node::{Branch, Node},
};

/// Sets the value of `key`, whose first `depth` nibbles lead to `link`.
pub(super) fn insert(
    link: &mut Link,
    key: &Nibbles,
    depth: usize,
    value: Bytes,
    source: &Source,
) -> Result<(), NodeError> {
    link.load(&key.slice(..depth), source)?;
    let rest = key.slice(depth..);
    let node = link.change();
    match node {
        Node::Leaf { key: own, value: old } if *own == rest => *old = value,
        // Two keys part at the first nibble that differs: a branch there, below the nibbles that they share.
        Node::Leaf { key: own, value: old } => {
            let (own, old) = (*own, old.clone());
            let shared = own.common_prefix_length(&rest);
            let mut branch = Branch::default();
            branch.put_leaf(&own.slice(shared..), old);
            branch.put_leaf(&rest.slice(shared..), value);
            source.count(2);
            *node = under(rest.slice(..shared), branch);
        }
        Node::Extension { key: own, child } => {
            let shared = own.common_prefix_length(&rest);
            if shared == own.len() {
                return insert(child, key, depth + shared, value, source);
            }
            let mut branch = Branch::default();
            branch.children[usize::from(own.get_unchecked(shared))] = Some(if shared + 1 == own.len() {
                child.clone()
            } else {
                Link::new(Node::Extension {
                    key: own.slice(shared + 1..),
                    child: child.clone(),
                })
            });
            branch.put_leaf(&rest.slice(shared..), value);
            source.count(2);
            *node = under(rest.slice(..shared), branch);
        }
        Node::Branch(branch) => {
            let Some(nibble) = rest.first() else {
                branch.value = Some(value);
                return Ok(());
            };
            match &mut branch.children[usize::from(nibble)] {
                Some(child) => return insert(child, key, depth + 1, value, source),
                None => branch.put_leaf(&rest, value),
            }
            source.count(1);
        }
    }
    Ok(())
}

/// Loads all nodes that removing `key` reads, and returns true if the key is there.
///
/// Besides the nodes on the path these are the other children of branches with two entries: such a branch may merge
/// with the child that is left.
pub(super) fn prepare_removal(root: &Link, key: &Nibbles, source: &Source) -> Result<bool, NodeError> {
    let (mut link, mut depth) = (root, 0);
    loop {
        let rest = key.slice(depth..);
        match link.load(&key.slice(..depth), source)? {
            Node::Leaf { key: own, .. } => return Ok(*own == rest),
            Node::Extension { key: own, child } => {
                if !rest.starts_with(own) {
                    return Ok(false);
                }
                (link, depth) = (child, depth + own.len());
            }
            Node::Branch(branch) => {
                let chosen = rest.first();
                if branch.entries() == 2 {
                    load_neighbour(branch, chosen, &key.slice(..depth), source)?;
                }
                let Some(nibble) = chosen else {
                    return Ok(branch.value.is_some());
                };
                let Some(child) = &branch.children[usize::from(nibble)] else {
                    return Ok(false);
                };
                (link, depth) = (child, depth + 1);
            }
        }
    }
}

fn load_neighbour(branch: &Branch, chosen: Option<u8>, at: &Nibbles, source: &Source) -> Result<(), NodeError> {
    for (nibble, child) in (0_u8..).zip(&branch.children) {
        if let Some(child) = child
            && Some(nibble) != chosen
        {
            let mut path = *at;
            path.push(nibble);
            child.load(&path, source)?;
        }
    }
    Ok(())
}

/// Removes a key that [`prepare_removal`] found. Returns true if nothing is left below `link`.
pub(super) fn remove(link: &mut Link, rest: &Nibbles) -> bool {
    let node = link.change();
    match node {
        Node::Leaf { .. } => return true,
        Node::Extension { key: own, child } => {
            let emptied = remove(child, &rest.slice(own.len()..));
            assert!(!emptied, "a branch has two entries, so one is left");
            if let Some(merged) = lengthened(own, child) {
                *node = merged;
            }
        }
        Node::Branch(branch) => {
            match rest.first() {
                None => branch.value = None,
                Some(nibble) => {
                    let slot = &mut branch.children[usize::from(nibble)];
                    let child = slot.as_mut().expect("the removal was prepared");
                    if remove(child, &rest.slice(1..)) {
                        *slot = None;
                    }
                }
            }
            if branch.entries() == 1 {
                *node = collapsed(branch);
            }
        }
    }
    false
}

/// The node that replaces a branch with one entry.
fn collapsed(branch: &mut Branch) -> Node {
    if let Some(value) = branch.value.take() {
        return Node::Leaf {
            key: Nibbles::new(),
            value,
        };
    }
    let last = (0_u8..)
        .zip(&branch.children)
        .find_map(|(nibble, child)| Some((nibble, child.as_ref()?)));
    let (nibble, child) = last.expect("a branch has an entry");
    let key = Nibbles::from_nibbles([nibble]);
    lengthened(&key, child).unwrap_or_else(|| Node::Extension {
        key,
        child: child.clone(),
    })
}

/// `child` with `key` in front of its own key; `None` for a branch, which has no key.
fn lengthened(key: &Nibbles, child: &Link) -> Option<Node> {
    match child.node().expect("the removal was prepared") {
        Node::Leaf { key: own, value } => Some(Node::Leaf {
            key: key.join(own),
            value: value.clone(),
        }),
        Node::Extension { key: own, child } => Some(Node::Extension {
            key: key.join(own),
            child: child.clone(),
        }),
        Node::Branch(_) => None,
    }
}

/// A branch below the nibbles that its entries share.
fn under(key: Nibbles, branch: Branch) -> Node {
    let branch = Node::Branch(Box::new(branch));
    if key.is_empty() {
        branch
    } else {
        Node::Extension {
            key,
            child: Link::new(branch),
        }
    }
}

impl Branch {
    /// Adds a value where there is none; `rest` is its key from this branch on.
    fn put_leaf(&mut self, rest: &Nibbles, value: Bytes) {
        match rest.first() {
            None => self.value = Some(value),
            Some(nibble) => {
                let leaf = Node::Leaf {
                    key: rest.slice(1..),
                    value,
                };
                self.children[usize::from(nibble)] = Some(Link::new(leaf));
            }
        }
    }
}
