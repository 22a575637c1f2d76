//! Blocks proposed for the height being decided.
//!
//! A block is executed only after a validator's signed proposal or a quorum named it, so that a peer without a vote
//! cannot make this node work. A body that arrives before its proposal is kept, one per peer.

use std::collections::BTreeMap;

use protocol::{BlockHash, NodeId, Time, ValidatorKey, message::chain::Body};

/// Candidates kept for blocks that no proposal has named yet. More are dropped.
const EARLY_MAX: usize = 16;
/// Candidates of one height. The core itself listens to two proposals per round and proposer; more are ignored.
const CANDIDATES_MAX: usize = 64;
/// Wait before the body of a candidate is requested, and between requests, each to another peer. The wait doubles
/// with every request, five times at most.
const REQUEST_AFTER_MS: u64 = 60;

/// A block that a proposal or a certificate of this height names.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Round and proposer of each proposal that names the block.
    pub(super) proposals: Vec<(u32, ValidatorKey)>,
    pub(super) body: Option<Body>,
    /// The result of executing the block; `None` before that.
    pub(super) valid: Option<bool>,
    request_at: Time,
    requests: usize,
}

/// The candidates of one height, and bodies that arrived before a proposal named them.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    candidates: BTreeMap<BlockHash, Candidate>,
    early: Vec<(NodeId, BlockHash, Body)>,
}

impl Candidates {
    /// Drops everything, because another height starts.
    pub(super) fn clear(&mut self) {
        self.candidates.clear();
        self.early.clear();
    }

    pub(super) fn get(&self, block: &BlockHash) -> Option<&Candidate> {
        self.candidates.get(block)
    }

    pub(super) fn get_mut(&mut self, block: &BlockHash) -> Option<&mut Candidate> {
        self.candidates.get_mut(block)
    }

    /// Adds a block that a validator proposed, or that a quorum decided for (`proposal` is then `None`). Returns
    /// its entry, with the body if that arrived before; `None` if there are [`CANDIDATES_MAX`] candidates already.
    pub(super) fn want(
        &mut self,
        now: Time,
        block: BlockHash,
        proposal: Option<(u32, ValidatorKey)>,
    ) -> Option<&mut Candidate> {
        if !self.candidates.contains_key(&block) {
            if self.candidates.len() >= CANDIDATES_MAX {
                return None;
            }
            let early = self.early.iter().position(|(_, name, _)| *name == block);
            let body = early.map(|at| self.early.swap_remove(at).2);
            let request_at = now.after_ms(REQUEST_AFTER_MS);
            self.candidates.insert(
                block,
                Candidate {
                    proposals: Vec::new(),
                    body,
                    valid: None,
                    request_at,
                    requests: 0,
                },
            );
        }
        let candidate = self.candidates.get_mut(&block).expect("inserted above");
        candidate
            .proposals
            .extend(proposal.filter(|proposal| !candidate.proposals.contains(proposal)));
        Some(candidate)
    }

    /// Adds a body. Returns true if it belongs to a candidate and was missing, so that it is to be executed now.
    pub(super) fn add_body(&mut self, from: NodeId, block: BlockHash, body: Body) -> bool {
        if let Some(candidate) = self.candidates.get_mut(&block) {
            let new = candidate.body.is_none();
            candidate.body.get_or_insert(body);
            return new;
        }
        // One early body per peer, so that a malicious peer displaces only its own.
        self.early.retain(|(sender, ..)| *sender != from);
        if self.early.len() < EARLY_MAX {
            self.early.push((from, block, body));
        }
        false
    }

    /// The candidates whose bodies are to be requested now, each with the number of requests made for it before.
    pub(super) fn missing(&mut self, now: Time) -> Vec<(BlockHash, usize)> {
        let mut missing = Vec::new();
        for (block, candidate) in &mut self.candidates {
            if candidate.body.is_none() && candidate.request_at <= now {
                missing.push((*block, candidate.requests));
                candidate.requests += 1;
                candidate.request_at = now.after_ms(REQUEST_AFTER_MS << candidate.requests.min(5));
            }
        }
        missing
    }

    /// The time at which to call [`Candidates::missing`] next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.candidates
            .values()
            .filter(|candidate| candidate.body.is_none())
            .map(|candidate| candidate.request_at)
            .min()
    }
}
