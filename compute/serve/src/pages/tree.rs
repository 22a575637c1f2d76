//! The prefix tree of cached pages; the edge to a node is the tokens of its page.
//!
//! Tokens are compared, not hashes of them. A node with fewer tokens than a page holds is the end of a sequence; it is
//! only ever copied from. The tree knows which pages are used, not by whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use compute::forward::PageId;

/// A hash of the weights that content was computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey(pub(super) [u8; 32]);

/// Index of a node in the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

type Children = BTreeMap<Arc<[u32]>, NodeId>;

#[derive(Debug)]
struct Node {
    key: ContentKey,
    parent: Option<NodeId>,
    tokens: Arc<[u32]>,
    page: PageId,
    children: Children,
    touched: u64,
    used: bool,
}

/// All cached content, under one root per [`ContentKey`].
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    roots: BTreeMap<ContentKey, Children>,
    by_page: BTreeMap<PageId, NodeId>,
    /// Unused nodes without children, least recently used first.
    evictable: BTreeSet<(u64, NodeId)>,
    clock: u64,
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.by_page.len()
    }

    pub(super) fn page(&self, node: NodeId) -> PageId {
        self.node(node).page
    }

    pub(super) fn node_of(&self, page: PageId) -> Option<NodeId> {
        self.by_page.get(&page).copied()
    }

    /// The nodes of the longest run of whole pages at the start of `tokens`; and a node that shares a
    /// prefix with the rest, and the length of that prefix.
    pub(super) fn find(
        &mut self,
        key: ContentKey,
        tokens: &[u32],
        page_tokens: usize,
    ) -> (Vec<NodeId>, Option<(NodeId, usize)>) {
        let (mut path, mut rest) = (Vec::new(), tokens);
        while rest.len() >= page_tokens {
            let below = self.children(key, path.last().copied());
            let Some(node) = below.and_then(|children| children.get(&rest[..page_tokens]).copied()) else {
                break;
            };
            self.touch(node);
            path.push(node);
            rest = &rest[page_tokens..];
        }
        let partial = self
            .children(key, path.last().copied())
            .and_then(|children| longest_common(children, &rest[..rest.len().min(page_tokens)]));
        (path, partial)
    }

    /// Adds a node for a whole page, or returns the one with the same content.
    pub(super) fn insert(&mut self, key: ContentKey, parent: Option<NodeId>, tokens: &[u32], page: PageId) -> NodeId {
        if let Some(known) = self.children(key, parent).and_then(|children| children.get(tokens)) {
            let known = *known;
            self.touch(known);
            return known;
        }
        self.add(key, parent, tokens, page)
    }

    /// Adds a node for a page that is not full, unless a page that goes further exists. Returns the page of a shorter one that
    /// this makes superfluous.
    pub(super) fn insert_tail(
        &mut self,
        key: ContentKey,
        parent: Option<NodeId>,
        tokens: &[u32],
        page: PageId,
    ) -> Option<PageId> {
        let near = self
            .children(key, parent)
            .and_then(|children| longest_common(children, tokens));
        let mut superseded = None;
        if let Some((near, common)) = near {
            if common == tokens.len() {
                self.touch(near);
                return None;
            }
            if common == self.node(near).tokens.len() {
                // A page that is not full is only copied from, so it has no user and no child.
                superseded = Some(self.remove(near));
            }
        }
        self.add(key, parent, tokens, page);
        superseded
    }

    pub(super) fn touch(&mut self, id: NodeId) {
        self.clock += 1;
        let clock = self.clock;
        self.reorder(id, |node| node.touched = clock);
    }

    pub(super) fn set_used(&mut self, id: NodeId, used: bool) {
        self.reorder(id, |node| node.used = used);
    }

    /// Removes the least recently used node without children whose page is `unused`, and returns the page.
    pub(super) fn evict(&mut self, unused: impl Fn(PageId) -> bool) -> Option<PageId> {
        let oldest = self
            .evictable
            .iter()
            .map(|(_, node)| *node)
            .find(|node| unused(self.page(*node)))?;
        Some(self.remove(oldest))
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("a node that is named exists")
    }

    fn children(&self, key: ContentKey, parent: Option<NodeId>) -> Option<&Children> {
        match parent {
            Some(parent) => Some(&self.node(parent).children),
            None => self.roots.get(&key),
        }
    }

    fn children_mut(&mut self, key: ContentKey, parent: Option<NodeId>) -> &mut Children {
        match parent {
            Some(parent) => {
                let node = self.nodes[parent.0 as usize].as_mut();
                &mut node.expect("a parent exists").children
            }
            None => self.roots.entry(key).or_default(),
        }
    }

    fn add(&mut self, key: ContentKey, parent: Option<NodeId>, tokens: &[u32], page: PageId) -> NodeId {
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            NodeId(u32::try_from(self.nodes.len() - 1).expect("no more nodes than pages"))
        });
        let tokens: Arc<[u32]> = tokens.into();
        self.clock += 1;
        self.nodes[id.0 as usize] = Some(Node {
            key,
            parent,
            tokens: tokens.clone(),
            page,
            children: Children::new(),
            touched: self.clock,
            // The sequence that adds a page still uses it.
            used: true,
        });
        let before = self.children_mut(key, parent).insert(tokens, id);
        assert!(before.is_none(), "content is kept once");
        if let Some(parent) = parent {
            self.reorder(parent, |_| ());
        }
        let before = self.by_page.insert(page, id);
        assert!(before.is_none(), "a page holds one content");
        id
    }

    fn remove(&mut self, id: NodeId) -> PageId {
        let node = self.nodes[id.0 as usize].take().expect("a node that is removed exists");
        assert!(node.children.is_empty(), "children go before their parent");
        self.evictable.remove(&(node.touched, id));
        self.by_page.remove(&node.page);
        self.vacant.push(id);
        let siblings = self.children_mut(node.key, node.parent);
        siblings.remove(&node.tokens);
        match node.parent {
            Some(parent) => self.reorder(parent, |_| ()),
            None if siblings.is_empty() => {
                self.roots.remove(&node.key);
            }
            None => (),
        }
        node.page
    }

    /// Changes a node and updates its position in the eviction order.
    fn reorder(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let node = self.nodes[id.0 as usize].as_mut().expect("a node that is named exists");
        self.evictable.remove(&(node.touched, id));
        change(node);
        if !node.used && node.children.is_empty() {
            self.evictable.insert((node.touched, id));
        }
    }
}

/// The child that shares the longest prefix with `tokens`, and its length. In an ordered map that is a neighbour.
fn longest_common(children: &Children, tokens: &[u32]) -> Option<(NodeId, usize)> {
    let before = children.range::<[u32], _>((Bound::Unbounded, Bound::Included(tokens)));
    let after = children.range::<[u32], _>((Bound::Excluded(tokens), Bound::Unbounded));
    before
        .rev()
        .take(1)
        .chain(after.take(1))
        .map(|(found, node)| {
            let common = found.iter().zip(tokens).take_while(|(a, b)| a == b).count();
            (*node, common)
        })
        .filter(|(_, common)| *common > 0)
        .max_by_key(|(_, common)| *common)
}

#[cfg(test)]
impl Tree {
    /// Asserts that all indexes of the tree agree.
    pub(super) fn audit(&self, used: impl Fn(PageId) -> bool) {
        for (page, id) in &self.by_page {
            let node = self.node(*id);
            assert_eq!(node.page, *page);
            assert_eq!(
                self.children(node.key, node.parent).and_then(|c| c.get(&node.tokens)),
                Some(id)
            );
            assert_eq!(node.used, used(*page), "{page:?}");
            let evictable = self.evictable.contains(&(node.touched, *id));
            assert_eq!(evictable, !node.used && node.children.is_empty());
        }
        assert_eq!(self.nodes.iter().flatten().count(), self.by_page.len());
        assert!(self.evictable.len() <= self.by_page.len());
        assert!(self.roots.values().all(|children| !children.is_empty()));
    }
}
