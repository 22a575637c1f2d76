//! KV cache pages: which sequence uses which, and which are kept because their content may be needed again.
//!
//! The content of a page is identified by what it was computed from: base model, adapter mix, and every token up to its
//! end. So replacing an adapter under its name invalidates nothing and serves nothing stale: other weights are another
//! [`ContentKey`]. Only bookkeeping happens here; the model owns the device memory.
//!
//! # Why pages
//!
//! A contiguous cache per sequence must reserve the longest context for each row. Pages (Kwon et al., PagedAttention,
//! SOSP 2023) are reserved as a sequence grows, and sequences with a common prefix share them without a copy. A shared
//! page is never written: the part of a page that two prompts have in common is copied into a page of the new sequence.
//!
//! # Why compare tokens, not hashes
//!
//! A collision would show one client another's context. Comparing a page's tokens costs little beside computing them.

mod tree;

#[cfg(test)]
mod tests;

use protocol::crypto;

pub use tree::ContentKey;
use tree::{NodeId, Tree};

use compute::forward::PageId;

impl ContentKey {
    /// The key of everything computed with these weights. `mix` is in the order in which adapters are summed, each with the
    /// bits of its weight. Verified content is kept apart: the bits of other content may depend on the rest of its batch.
    pub fn new(base: &[u8; 32], mix: &[([u8; 32], u32)], verified: bool) -> Self {
        let mut bytes = Vec::with_capacity(mix.len() * 36);
        for (adapter, weight) in mix {
            bytes.extend_from_slice(adapter);
            bytes.extend_from_slice(&weight.to_be_bytes());
        }
        Self(crypto::digest(
            "openledger 2026 kv content",
            &[base, &bytes, &[u8::from(verified)]],
        ))
    }
}

/// The pages of one sequence, in order of positions. Must be given back with [`Pages::end`], not dropped.
#[derive(Debug)]
pub struct Chain {
    key: ContentKey,
    pages: Vec<PageId>,
    /// Number of pages at the front that are in the tree, and the node of the last of them.
    known: usize,
    at: Option<NodeId>,
}

impl Chain {
    /// The pages of positions from 0 on.
    pub fn pages(&self) -> &[PageId] {
        &self.pages
    }
}

/// A copy of positions between pages, to be made before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    pub from: PageId,
    pub to: PageId,
    /// Number of positions, from the first of the page on.
    pub tokens: usize,
}

/// The part of a new sequence that is in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Positions that are filled once `copy` is done.
    pub filled: usize,
    /// Copies the last of them out of a page that is not shared as a whole.
    pub copy: Option<Copy>,
}

/// The pages of one device: free lists, users, and the prefix cache.
///
/// A page is free, in use, cached, or both of the latter. When free pages run out, cached pages without users are evicted
/// LRU, children before parents.
///
/// ```
/// use serve::pages::{ContentKey, Pages};
///
/// let key = ContentKey::new(&[0; 32], &[], false);
/// let mut pages = Pages::new(8, 2); // Eight pages of two positions.
/// let (mut first, reuse) = pages.begin(key, &[1, 2, 3, 4, 5]);
/// assert_eq!(reuse.filled, 0);
/// assert!(pages.reserve(&mut first, 5));
/// pages.end(first, &[1, 2, 3, 4, 5]); // All five positions were computed.
///
/// let (second, reuse) = pages.begin(key, &[1, 2, 3, 4, 9]);
/// assert_eq!(reuse.filled, 4, "two whole pages have the same tokens");
/// pages.end(second, &[1, 2, 3, 4]);
/// ```
#[derive(Debug)]
pub struct Pages {
    page_tokens: usize,
    free: Vec<PageId>,
    /// How many sequences use each page.
    users: Vec<u32>,
    tree: Tree,
    evicted: u64,
}

impl Pages {
    /// All pages free, none cached.
    pub fn new(pages: u32, page_tokens: usize) -> Self {
        assert!(
            pages > 0 && page_tokens > 0,
            "a device has pages and pages have positions"
        );
        Self {
            page_tokens,
            free: (0..pages).rev().map(PageId).collect(),
            users: vec![0; pages as usize],
            tree: Tree::default(),
            evicted: 0,
        }
    }

    /// Number of pages of the device.
    pub fn total(&self) -> usize {
        self.users.len()
    }

    /// Number of pages that are neither used nor cached.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Number of cached pages, used or not.
    pub fn kept(&self) -> usize {
        self.tree.len()
    }

    /// Number of cached pages evicted since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Starts a sequence with the cached part of its tokens. The last token is never taken from the cache: the caller needs its
    /// logits.
    pub fn begin(&mut self, key: ContentKey, tokens: &[u32]) -> (Chain, Reuse) {
        let reusable = tokens.len().saturating_sub(1);
        let (nodes, partial) = self.tree.find(key, &tokens[..reusable], self.page_tokens);
        let mut chain = Chain {
            key,
            pages: Vec::with_capacity(tokens.len().div_ceil(self.page_tokens)),
            known: nodes.len(),
            at: nodes.last().copied(),
        };
        for node in nodes {
            let page = self.tree.page(node);
            self.take(page);
            chain.pages.push(page);
        }
        let mut reuse = Reuse {
            filled: chain.known * self.page_tokens,
            copy: None,
        };
        if let Some((from, tokens)) = partial {
            // The source itself may be evicted to make room for the copy; its use count prevents that.
            self.tree.touch(from);
            let from = self.tree.page(from);
            self.users[from.0 as usize] += 1;
            if let Some(to) = self.allocate() {
                chain.pages.push(to);
                reuse.filled += tokens;
                reuse.copy = Some(Copy { from, to, tokens });
            }
            self.users[from.0 as usize] -= 1;
        }
        (chain, reuse)
    }

    /// Starts a sequence that reuses nothing, for a caller that needs the logits of every position.
    pub fn begin_fresh(&mut self, key: ContentKey) -> Chain {
        Chain {
            key,
            pages: Vec::new(),
            known: 0,
            at: None,
        }
    }

    /// Gives a sequence pages for positions `0..positions`. If there are too few, returns false and changes nothing.
    pub fn reserve(&mut self, chain: &mut Chain, positions: usize) -> bool {
        let had = chain.pages.len();
        while chain.pages.len() * self.page_tokens < positions {
            let Some(page) = self.allocate() else {
                for page in chain.pages.split_off(had) {
                    self.release(page);
                }
                return false;
            };
            chain.pages.push(page);
        }
        true
    }

    /// Adds whole pages to the cache. `tokens` are those of all positions filled so far.
    pub fn filled(&mut self, chain: &mut Chain, tokens: &[u32]) {
        let whole = tokens.len() / self.page_tokens;
        assert!(
            whole <= chain.pages.len(),
            "positions were filled in pages that the sequence has"
        );
        while chain.known < whole {
            let start = chain.known * self.page_tokens;
            let node = self.tree.insert(
                chain.key,
                chain.at,
                &tokens[start..start + self.page_tokens],
                chain.pages[chain.known],
            );
            let (ours, known) = (chain.pages[chain.known], self.tree.page(node));
            if ours != known {
                // Another sequence filled the same content first: keep that page and free ours.
                self.take(known);
                chain.pages[chain.known] = known;
                self.release(ours);
            }
            chain.at = Some(node);
            chain.known += 1;
        }
    }

    /// Ends a sequence. Its content stays cached until the pages are needed, a last page that is not full included.
    pub fn end(&mut self, mut chain: Chain, tokens: &[u32]) {
        self.filled(&mut chain, tokens);
        let tail = &tokens[chain.known * self.page_tokens..];
        if !tail.is_empty()
            && let Some(superseded) = self
                .tree
                .insert_tail(chain.key, chain.at, tail, chain.pages[chain.known])
        {
            self.free.push(superseded);
        }
        for page in chain.pages {
            self.release(page);
        }
    }

    /// Forgets everything, after the device lost its pages. All chains become invalid.
    pub fn clear(&mut self) {
        *self = Self {
            evicted: self.evicted,
            ..Self::new(
                u32::try_from(self.users.len()).expect("made from a u32"),
                self.page_tokens,
            )
        };
    }

    fn take(&mut self, page: PageId) {
        self.users[page.0 as usize] += 1;
        if let Some(node) = self.tree.node_of(page) {
            self.tree.set_used(node, true);
        }
    }

    fn release(&mut self, page: PageId) {
        let users = &mut self.users[page.0 as usize];
        *users = users.checked_sub(1).expect("a page of a chain has a user");
        if *users == 0 {
            match self.tree.node_of(page) {
                Some(node) => self.tree.set_used(node, false),
                None => self.free.push(page),
            }
        }
    }

    /// A page with one user: a free one, or the least recently used cached one.
    fn allocate(&mut self) -> Option<PageId> {
        let page = match self.free.pop() {
            Some(page) => page,
            None => {
                let users = &self.users;
                let page = self.tree.evict(|page| users[page.0 as usize] == 0)?;
                self.evicted += 1;
                page
            }
        };
        assert_eq!(self.users[page.0 as usize], 0, "a page that is given out has no user");
        self.users[page.0 as usize] = 1;
        Some(page)
    }
}
