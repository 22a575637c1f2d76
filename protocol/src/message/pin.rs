//! Pins between nodes: owner and host about a deal, auditor and host about a challenge, any peer and a provider about a
//! chunk. All of it is asked and answered straight, over a stream; nothing here travels in gossip.
//!
//! Whoever reads checks who sent: an offer, a renewal and a release are the owner's, whose signature lies in them; the rest
//! is believed of the peer on the other end of the stream only.

use bincode::{Decode, Encode};

use crate::{
    BlobHash,
    crypto::Signed,
    machine::{Deal, DealId, Decline, Renewal},
    proof::{BUNDLE_MAX, Beacon, Bundle, Proof},
    receipt::{Answer, RetrievalReceipt, StorageReceipt},
};

/// Longest request: a part of a registration, which has a proof for each of its shards.
pub const PIN_ASK_MAX: usize = 256 + BUNDLE_MAX;
/// Longest answer: the proofs of one epoch and a signature.
pub const PIN_ANSWER_MAX: usize = 512 + BUNDLE_MAX;
/// Receipts that one answer holds at most.
pub const RECEIPTS_MAX: usize = 512;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PinAsk {
    /// From an owner: will you keep this?
    Offer {
        /// The terms.
        deal: Box<Signed<Deal>>,
        /// How they were renewed since, if they were.
        renewal: Option<Signed<Renewal>>,
    },
    /// From a host: I have it, here is the end of every shard of this part.
    Register {
        /// Which deal.
        deal: DealId,
        /// Which part, in order.
        part: u32,
        /// The proofs.
        bundle: Bundle,
    },
    /// From an auditor: prove it.
    Challenge {
        /// Which deal.
        deal: DealId,
        /// Under which randomness; a host believes the chain about it.
        beacon: Beacon,
    },
    /// From any peer: one chunk of a shard.
    Chunk {
        /// Which shard.
        root: BlobHash,
        /// How long it is.
        size: u64,
        /// Which chunk.
        chunk: u64,
    },
    /// From an owner: the deal goes on.
    Renew(Signed<Renewal>),
    /// From an owner: a host may forget it.
    Release {
        /// Which deal.
        deal: DealId,
    },
    /// From anyone: what do you know about this deal?
    Receipts {
        /// Which deal.
        deal: DealId,
        /// From which epoch on.
        from: u64,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PinAnswer {
    /// To an offer, a renewal or a release: agreed. To a registration: heard.
    Yes,
    /// To an offer: not by this host.
    Declined(Decline),
    /// To a challenge.
    Proof {
        /// The host's word.
        answer: Signed<Answer>,
        /// What it stands for.
        bundle: Bundle,
    },
    /// To a request for a chunk.
    Chunk(Proof),
    /// What is known.
    Receipts {
        /// Auditors' verdicts.
        storage: Vec<Signed<StorageReceipt>>,
        /// Peers' experience.
        retrieval: Vec<Signed<RetrievalReceipt>>,
    },
    /// Not known here, not held here, or not for this peer.
    No,
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
        let ask = PinAsk::Register {
            deal,
            part: 7,
            bundle: longest(),
        };
        assert_eq!(decode::<PinAsk>(&encode(&ask), PIN_ASK_MAX).unwrap(), ask);

        let (host, beacon) = (
            NodeId([7; 32]),
            Beacon {
                epoch: 7,
                value: [7; 32],
            },
        );
        let answer = signed(Answer {
            deal,
            host,
            beacon,
            bundle: [7; 32],
        });
        let proof = PinAnswer::Proof {
            answer,
            bundle: longest(),
        };
        assert_eq!(decode::<PinAnswer>(&encode(&proof), PIN_ANSWER_MAX).unwrap(), proof);

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
        let receipts = PinAnswer::Receipts {
            storage: vec![signed(storage); RECEIPTS_MAX],
            retrieval: vec![signed(retrieval); RECEIPTS_MAX],
        };
        assert_eq!(
            decode::<PinAnswer>(&encode(&receipts), PIN_ANSWER_MAX).unwrap(),
            receipts
        );
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
        let ask = PinAsk::Offer {
            deal: Box::new(signed(deal)),
            renewal: Some(signed(renewal)),
        };
        assert_eq!(decode::<PinAsk>(&encode(&ask), PIN_ASK_MAX).unwrap(), ask);
    }

    #[test]
    fn a_longer_message_is_refused_before_it_is_read() {
        let bytes = vec![0; PIN_ASK_MAX + 1];
        assert!(matches!(
            decode::<PinAsk>(&bytes, PIN_ASK_MAX),
            Err(crate::codec::DecodeError::TooLong { .. })
        ));
        let chunk = encode(&PinAsk::Chunk {
            root: Shard::of(b"x").root,
            size: 1,
            chunk: 0,
        });
        for cut in 0..chunk.len() {
            assert!(decode::<PinAsk>(&chunk[..cut], PIN_ASK_MAX).is_err(), "cut at {cut}");
        }
    }
}
