//! The blocks of the height that is being decided: named by proposals, sent by peers, executed once.
//!
//! A body is executed only after a validator's signed proposal or a quorum named it, so that a stranger cannot make us
//! work; bodies that come before their proposal wait, a few of them.

use std::collections::BTreeMap;

use protocol::{BlockHash, NodeId, Time, ValidatorKey, message::chain::Body};

/// Bodies that wait for their proposal.
const EARLY_MAX: usize = 16;
/// Names kept for one height: two per round and proposer are all that the core listens to.
const NAMED_MAX: usize = 64;
/// A named body that has not come in this time is asked for; again after each such time, of another peer.
const ASK_AFTER_MS: u64 = 60;

/// What is known of one block.
#[derive(Debug)]
pub(super) struct Known {
    /// The rounds it was proposed in, and by whom.
    pub(super) proposals: Vec<(u32, ValidatorKey)>,
    pub(super) body: Option<Body>,
    /// Whether it keeps the rules, once executed.
    pub(super) valid: Option<bool>,
    ask_at: Time,
    asked: usize,
}

#[derive(Debug, Default)]
pub(super) struct Bodies {
    named: BTreeMap<BlockHash, Known>,
    early: Vec<(NodeId, BlockHash, Body)>,
}

impl Bodies {
    /// Forgets everything: another height begins.
    pub(super) fn clear(&mut self) {
        self.named.clear();
        self.early.clear();
    }

    pub(super) fn get(&self, block: &BlockHash) -> Option<&Known> {
        self.named.get(block)
    }

    pub(super) fn get_mut(&mut self, block: &BlockHash) -> Option<&mut Known> {
        self.named.get_mut(block)
    }

    /// A validator proposed `block`, or a quorum wants it (`proposal` is then `None`). Gives the record, with the body
    /// already in it if that came before.
    pub(super) fn name(
        &mut self,
        now: Time,
        block: BlockHash,
        proposal: Option<(u32, ValidatorKey)>,
    ) -> Option<&mut Known> {
        if !self.named.contains_key(&block) {
            if self.named.len() >= NAMED_MAX {
                return None;
            }
            let early = self.early.iter().position(|(_, name, _)| *name == block);
            let body = early.map(|at| self.early.swap_remove(at).2);
            let ask_at = now.after_ms(ASK_AFTER_MS);
            self.named.insert(
                block,
                Known {
                    proposals: Vec::new(),
                    body,
                    valid: None,
                    ask_at,
                    asked: 0,
                },
            );
        }
        let known = self.named.get_mut(&block).expect("inserted above");
        known
            .proposals
            .extend(proposal.filter(|one| !known.proposals.contains(one)));
        Some(known)
    }

    /// A body came. `true` if it was waited for and is to be executed now.
    pub(super) fn came(&mut self, from: NodeId, block: BlockHash, body: Body) -> bool {
        if let Some(known) = self.named.get_mut(&block) {
            let new = known.body.is_none();
            known.body.get_or_insert(body);
            return new;
        }
        // One early body a peer: a liar fills its own place only.
        self.early.retain(|(sender, ..)| *sender != from);
        if self.early.len() < EARLY_MAX {
            self.early.push((from, block, body));
        }
        false
    }

    /// Named blocks whose bodies should be asked for now, each with a count that grows by one per question.
    pub(super) fn missing(&mut self, now: Time) -> Vec<(BlockHash, usize)> {
        let mut missing = Vec::new();
        for (block, known) in &mut self.named {
            if known.body.is_none() && known.ask_at <= now {
                missing.push((*block, known.asked));
                known.asked += 1;
                known.ask_at = now.after_ms(ASK_AFTER_MS << known.asked.min(5));
            }
        }
        missing
    }

    /// When to call [`Bodies::missing`] next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.named
            .values()
            .filter(|known| known.body.is_none())
            .map(|known| known.ask_at)
            .min()
    }
}
