//! Pages of keys and values: who uses which, and which are kept because their content may be asked for again.
//!
//! A page is named by what led to it: base model, mix of adapters and every token before it and in it. So replacing an
//! adapter under its name drops nothing and serves nothing stale: other weights are another [`ContentKey`]. What is in
//! a page is the model's business; nothing here touches memory of a device.

mod tree;

#[cfg(test)]
mod tests;

use protocol::crypto;

pub use tree::ContentKey;
use tree::{NodeId, Tree};

use compute::forward::PageId;

impl ContentKey {
    /// The key of everything that is computed with these weights. `mix` is in the order in which adapters are added up,
    /// each with the bits of its weight. Verified content is apart: bits of other content may depend on batch mates.
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

/// The pages of one sequence, in order of positions. Given back with [`Pages::end`], never just dropped.
#[derive(Debug)]
pub struct Chain {
    key: ContentKey,
    pages: Vec<PageId>,
    /// Pages at the front whose content the tree knows, and the node of the last of them.
    known: usize,
    at: Option<NodeId>,
}

impl Chain {
    /// Pages of positions from 0 on.
    pub fn pages(&self) -> &[PageId] {
        &self.pages
    }
}

/// Positions of one page to copy into another before anything else runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Where they are.
    pub from: PageId,
    /// Where they go.
    pub to: PageId,
    /// How many, from the first on.
    pub tokens: usize,
}

/// What a new sequence does not have to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Positions that are filled once `copy` is done.
    pub filled: usize,
    /// The part of them that lies within a page that others own.
    pub copy: Option<Copy>,
}

/// Every page of one device.
///
/// A page is free, or used by sequences, or kept for its content, or both of the last two. Kept pages that nobody uses
/// are given up oldest first, children before parents, when free ones run out.
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
    /// All pages free.
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

    /// Pages there are.
    pub fn total(&self) -> usize {
        self.users.len()
    }

    /// Pages that nobody uses and nothing is kept in.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Pages kept for their content, used or not.
    pub fn kept(&self) -> usize {
        self.tree.len()
    }

    /// Kept pages that were given up so far.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Starts a sequence with what is known of its tokens. The last token is always left to compute: its logits are
    /// what the caller wants.
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
            // The source may be the very page that is given up for the copy; then there is nothing to copy.
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

    /// A sequence that reuses nothing, for one that wants logits of every position.
    pub fn begin_fresh(&mut self, key: ContentKey) -> Chain {
        Chain {
            key,
            pages: Vec::new(),
            known: 0,
            at: None,
        }
    }

    /// Gives a sequence pages for positions `0 .. positions`; false if there are not enough, and then it has what it had.
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

    /// Makes whole pages known by their content. `tokens` are those of all positions that are filled by now.
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
                // Another sequence filled the same content first: one page of it is enough.
                self.take(known);
                chain.pages[chain.known] = known;
                self.release(ours);
            }
            chain.at = Some(node);
            chain.known += 1;
        }
    }

    /// Takes the pages back. What is filled stays known until its room is needed, a page begun but not full included.
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

    /// Forgets everything: the device lost what its pages held, and every chain with it.
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

    /// A page with one user: a free one, or the oldest of those that are kept and unused.
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
