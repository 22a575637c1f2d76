//! The pin protocol: owner and host about a deal, auditor and host about a challenge, any peer and a provider about a
//! chunk.
//!
//! These are requests and replies over a stream; none of them is gossiped. The receiver checks the sender: an offer and a
//! renewal carry the owner's signature, everything else is attributed to the authenticated peer of the stream.

use bincode::{Decode, Encode};

use crate::{
    BlobHash,
    crypto::Signed,
    machine::{Deal, DealId, Decline, Renewal},
    proof::{BUNDLE_MAX, Beacon, Bundle, Proof},
    receipt::{RetrievalReceipt, StorageAnswer, StorageReceipt},
};

/// Longest encoded request: one part of a registration, with a proof for each of its shards.
pub const PIN_REQUEST_MAX: usize = 256 + BUNDLE_MAX;
/// Longest encoded reply: the proofs of one epoch and a signature.
pub const PIN_REPLY_MAX: usize = 512 + BUNDLE_MAX;
/// Most receipts of each kind in one reply.
pub const RECEIPTS_MAX: usize = 512;

/// A request to a peer about a pin deal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PinRequest {
    /// From an owner: keep these shards under these terms.
    Offer {
        deal: Box<Signed<Deal>>,
        /// The latest renewal of the deal, if it was renewed.
        renewal: Option<Signed<Renewal>>,
    },
    /// From a host: it holds this part of the deal, proven by the last chunk of each shard.
    Register {
        deal: DealId,
        /// The index of the part, from 0.
        part: u32,
        bundle: Bundle,
    },
    /// From an auditor: prove possession of the sampled chunks.
    Challenge {
        deal: DealId,
        /// The randomness that selects the chunks. The host checks it against the chain.
        beacon: Beacon,
    },
    /// From any peer: one chunk of a shard.
    Chunk {
        root: BlobHash,
        /// The shard's length in bytes.
        size: u64,
        /// The chunk's index.
        chunk: u64,
    },
    /// From an owner: extend the deal.
    Renew(Signed<Renewal>),
    /// From an owner: the host may delete the deal's copy.
    Release { deal: DealId },
    /// From any peer: the receipts about this deal.
    Receipts {
        deal: DealId,
        /// The first epoch of interest.
        from: u64,
    },
}

/// A reply to a [`PinRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PinReply {
    /// An offer, a renewal or a release was accepted, or a registration received.
    Accepted,
    /// The host declines an offer.
    Declined(Decline),
    /// The proofs for a challenge.
    Proof {
        /// The host's signature over the bundle's hash.
        answer: Signed<StorageAnswer>,
        bundle: Bundle,
    },
    /// A chunk with its proof.
    Chunk(Proof),
    /// The receipts that this node knows of.
    Receipts {
        storage: Vec<Signed<StorageReceipt>>,
        retrieval: Vec<Signed<RetrievalReceipt>>,
    },
    /// Unknown here, not held here, or not for this peer.
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        NodeId, Time,
        codec::{decode, encode},
        crypto::Signature,
        machine::SHARDS_MAX,
        proof::{PROOFS_MAX, Shard},
        receipt::{Outcome, Retrieved},
    };

    fn longest() -> Bundle {
        let proof = Proof {
            chunk: vec![7; 1024],
            siblings: vec![[7; 32]; 34],
        };
        Bundle {
            proofs: vec![proof; usize::from(PROOFS_MAX)],
        }
    }

    fn signed<T>(message: T) -> Signed<T> {
        Signed {
            message,
            signature: Signature([7; 64]),
        }
    }

    #[test]
    fn the_longest_messages_fit_their_limits_and_read_back() {
        let deal = DealId([7; 32]);
        let ask = PinRequest::Register {
            deal,
            part: 7,
            bundle: longest(),
        };
        assert_eq!(decode::<PinRequest>(&encode(&ask), PIN_REQUEST_MAX).unwrap(), ask);

        let (host, beacon) = (
            NodeId([7; 32]),
            Beacon {
                epoch: 7,
                value: [7; 32],
            },
        );
        let answer = signed(StorageAnswer {
            deal,
            host,
            beacon,
            bundle: [7; 32],
        });
        let proof = PinReply::Proof {
            answer,
            bundle: longest(),
        };
        assert_eq!(decode::<PinReply>(&encode(&proof), PIN_REPLY_MAX).unwrap(), proof);

        let storage = StorageReceipt {
            deal,
            host,
            auditor: host,
            epoch: 7,
            outcome: Outcome::Held,
            bundle: [7; 32],
            at: Time(7),
        };
        let retrieval = RetrievalReceipt {
            auditor: host,
            provider: host,
            root: BlobHash([7; 32]),
            chunk: 7,
            epoch: 7,
            retrieved: Retrieved::Served,
            took_ms: 7,
            at: Time(7),
        };
        let receipts = PinReply::Receipts {
            storage: vec![signed(storage); RECEIPTS_MAX],
            retrieval: vec![signed(retrieval); RECEIPTS_MAX],
        };
        assert_eq!(decode::<PinReply>(&encode(&receipts), PIN_REPLY_MAX).unwrap(), receipts);
    }

    #[test]
    fn an_offer_of_as_many_shards_as_a_deal_may_have_fits() {
        let shard = Shard::of(b"x");
        let deal = Deal {
            owner: NodeId([7; 32]),
            account: crate::Account([7; 20]),
            nonce: 7,
            set: BlobHash([7; 32]),
            shards: vec![shard; SHARDS_MAX],
            copies: 1,
            until: Time(7),
            price: crate::Amount(7),
            escrow: crate::Amount(7),
            challenges: 1,
            fetch_within_ms: 1,
            answer_within_ms: 1,
        };
        assert_eq!((deal.check(), deal.parts()), (Ok(()), 32));
        let renewal = Renewal {
            deal: deal.id(),
            owner: deal.owner,
            until: Time(9),
            escrow: crate::Amount(9),
        };
        let ask = PinRequest::Offer {
            deal: Box::new(signed(deal)),
            renewal: Some(signed(renewal)),
        };
        assert_eq!(decode::<PinRequest>(&encode(&ask), PIN_REQUEST_MAX).unwrap(), ask);
    }

    #[test]
    fn a_longer_message_is_refused_before_it_is_read() {
        let bytes = vec![0; PIN_REQUEST_MAX + 1];
        assert!(matches!(
            decode::<PinRequest>(&bytes, PIN_REQUEST_MAX),
            Err(crate::codec::DecodeError::TooLong { .. })
        ));
        let chunk = encode(&PinRequest::Chunk {
            root: Shard::of(b"x").root,
            size: 1,
            chunk: 0,
        });
        for cut in 0..chunk.len() {
            assert!(
                decode::<PinRequest>(&chunk[..cut], PIN_REQUEST_MAX).is_err(),
                "cut at {cut}"
            );
        }
    }
}
