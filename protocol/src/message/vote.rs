//! Votes, proposals, and the certificates made of a quorum of votes.
//!
//! Light clients and the evidence rules check these preimages, so the byte layouts are fixed and never change within a
//! version.

use bincode::{Decode, Encode};

use crate::{
    BlockHash, Height, ValidatorKey,
    crypto::{Domain, Preimage, Signature, Signed, digest},
};

/// The two votes of a Tendermint round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum VoteKind {
    /// The validator considers the proposed block valid.
    Prevote,
    /// The validator saw a quorum of prevotes for the block.
    Precommit,
}

/// One validator's vote in one round, for a block or for nil.
///
/// ```
/// use protocol::{BlockHash, Height};
/// use protocol::crypto::{Domain, SecretKey, Signed};
/// use protocol::message::vote::{Evidence, Vote, VoteKind};
///
/// let domain = Domain { chain_id: 7, genesis: [9; 32] };
/// let key = SecretKey::from_seed([1; 32]);
/// let vote = |block| {
///     let vote = Vote { kind: VoteKind::Prevote, height: Height(3), round: 0, block, validator: key.validator() };
///     Signed::new(vote, &key, &domain)
/// };
/// let conflict = Evidence::Votes(vote(Some(BlockHash([5; 32]))), vote(None));
/// assert!(conflict.proves(&domain), "two different votes of one kind in one round");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Vote {
    pub kind: VoteKind,
    pub height: Height,
    pub round: u32,
    /// The block voted for; `None` is a vote for nil.
    pub block: Option<BlockHash>,
    pub validator: ValidatorKey,
}

impl Preimage for Vote {
    /// `"openledger/vote/1" ‖ chain id ‖ genesis ‖ kind ‖ height ‖ round ‖ for a block? ‖ block or zeros`, big-endian.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        let mut bytes = preamble("openledger/vote/1", domain);
        bytes.push(match self.kind {
            VoteKind::Prevote => 0,
            VoteKind::Precommit => 1,
        });
        bytes.extend(self.height.0.to_be_bytes());
        bytes.extend(self.round.to_be_bytes());
        bytes.push(u8::from(self.block.is_some()));
        bytes.extend(self.block.unwrap_or_default().0);
        bytes
    }
}

/// A proposer's signed statement of the block to vote on in one round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Proposal {
    pub height: Height,
    pub round: u32,
    pub block: BlockHash,
    /// The earlier round with a quorum of prevotes for this block, if it is proposed again (Tendermint's valid round).
    pub polka_round: Option<u32>,
    pub proposer: ValidatorKey,
}

impl Preimage for Proposal {
    /// `"openledger/proposal/1" ‖ chain id ‖ genesis ‖ height ‖ round ‖ block ‖ re-proposed? ‖ polka round or 0`.
    fn preimage(&self, domain: &Domain) -> Vec<u8> {
        let mut bytes = preamble("openledger/proposal/1", domain);
        bytes.extend(self.height.0.to_be_bytes());
        bytes.extend(self.round.to_be_bytes());
        bytes.extend(self.block.0);
        bytes.push(u8::from(self.polka_round.is_some()));
        bytes.extend(self.polka_round.unwrap_or_default().to_be_bytes());
        bytes
    }
}

fn preamble(name: &str, domain: &Domain) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend(name.as_bytes());
    bytes.extend(domain.chain_id.to_be_bytes());
    bytes.extend(domain.genesis);
    bytes
}

/// A quorum of equal votes for one block: precommits make it final, prevotes (a polka) let a later round propose it
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Certificate {
    pub height: Height,
    pub round: u32,
    pub block: BlockHash,
    /// The signers, in ascending order of their keys.
    pub signatures: Vec<(ValidatorKey, Signature)>,
}

impl Certificate {
    /// Returns the placeholder for genesis, which is not voted on: height 0, no signatures.
    pub fn genesis(block: BlockHash) -> Self {
        Self {
            height: Height(0),
            round: 0,
            block,
            signatures: Vec::new(),
        }
    }

    /// Returns the vote that `validator` must have signed for the certificate to be valid.
    pub fn vote(&self, kind: VoteKind, validator: ValidatorKey) -> Vote {
        Vote {
            kind,
            height: self.height,
            round: self.round,
            block: Some(self.block),
            validator,
        }
    }

    /// Returns the hash that the next block's header carries in `parent_beacon_block_root`.
    pub fn digest(&self) -> [u8; 32] {
        let mut signatures = Vec::with_capacity(self.signatures.len() * 96);
        for (key, signature) in &self.signatures {
            signatures.extend(key.0);
            signatures.extend(signature.0);
        }
        let (height, round) = (self.height.0.to_be_bytes(), self.round.to_be_bytes());
        digest(
            "openledger/certificate/1",
            &[&height, &round, &self.block.0, &signatures],
        )
    }
}

/// Votes of one round, for any block or nil. They let a node that is behind skip to that round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoundCertificate {
    pub height: Height,
    pub round: u32,
    /// True for a quorum of precommits; false for more than a third of votes of either kind.
    pub precommits: bool,
    pub votes: Vec<Signed<Vote>>,
}

/// Proof of equivocation: two conflicting messages signed by one validator for one slot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Evidence {
    Votes(Signed<Vote>, Signed<Vote>),
    Proposals(Signed<Proposal>, Signed<Proposal>),
}

impl Evidence {
    /// Returns the validator that signed both.
    pub fn offender(&self) -> ValidatorKey {
        match self {
            Self::Votes(one, _) => one.message.validator,
            Self::Proposals(one, _) => one.message.proposer,
        }
    }

    /// Returns true if both messages are signed by the same validator, for the same slot, and differ.
    pub fn proves(&self, domain: &Domain) -> bool {
        let offender = self.offender();
        match self {
            Self::Votes(one, two) => {
                let slot = |v: &Vote| (v.kind, v.height, v.round, v.validator);
                slot(&one.message) == slot(&two.message)
                    && one.message != two.message
                    && one.verify(&offender, domain)
                    && two.verify(&offender, domain)
            }
            Self::Proposals(one, two) => {
                let slot = |p: &Proposal| (p.height, p.round, p.proposer);
                slot(&one.message) == slot(&two.message)
                    && one.message != two.message
                    && one.verify(&offender, domain)
                    && two.verify(&offender, domain)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;

    const HERE: Domain = Domain {
        chain_id: 7,
        genesis: [9; 32],
    };

    fn vote(block: Option<BlockHash>, key: &SecretKey) -> Signed<Vote> {
        let vote = Vote {
            kind: VoteKind::Prevote,
            height: Height(3),
            round: 1,
            block,
            validator: key.validator(),
        };
        Signed::new(vote, key, &HERE)
    }

    #[test]
    fn a_vote_counts_on_its_own_chain_only() {
        let key = SecretKey::from_seed([1; 32]);
        let signed = vote(Some(BlockHash([5; 32])), &key);
        assert!(signed.verify(&key.validator(), &HERE));
        assert!(!signed.verify(&key.validator(), &Domain { chain_id: 8, ..HERE }));
        assert!(!signed.verify(
            &key.validator(),
            &Domain {
                genesis: [8; 32],
                ..HERE
            }
        ));
    }

    #[test]
    fn a_vote_for_nil_differs_from_a_vote_for_the_zero_hash() {
        let key = SecretKey::from_seed([1; 32]);
        let (none, zero) = (vote(None, &key), vote(Some(BlockHash([0; 32])), &key));
        assert_ne!(none.message.preimage(&HERE), zero.message.preimage(&HERE));
    }

    #[test]
    fn only_two_conflicting_votes_are_evidence() {
        let (key, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let (a, b) = (vote(Some(BlockHash([5; 32])), &key), vote(None, &key));
        assert!(Evidence::Votes(a.clone(), b.clone()).proves(&HERE));
        assert!(!Evidence::Votes(a.clone(), a.clone()).proves(&HERE));
        assert!(!Evidence::Votes(a.clone(), vote(None, &other)).proves(&HERE));
        let forged = Signed {
            signature: a.signature,
            ..b
        };
        assert!(!Evidence::Votes(a, forged).proves(&HERE));
    }
}
