//! Tests of each machine alone, and in `world` of all together over a lossy network.

mod audit;
mod host;
mod pin;
mod world;

use super::*;
use crate::{
    Account, Amount, BlobHash, NodeId, Time,
    crypto::{Domain, SecretKey, Signed},
    proof::{Beacon, Bundle, Proof, Shard},
    receipt::{EvidenceError, FalseProof, Outcome, Retrieved, StorageAnswer, StorageReceipt},
};

const HERE: Domain = Domain {
    chain_id: 7,
    genesis: [9; 32],
};
const FETCH_MS: u64 = 60_000;
const ANSWER_MS: u64 = 20_000;

fn key(of: u8) -> SecretKey {
    SecretKey::from_seed([of; 32])
}

fn node(of: u8) -> NodeId {
    NodeId(key(of).public())
}

/// The bytes of two shards, one smaller than a chunk.
fn data() -> [Vec<u8>; 2] {
    let mut long = vec![0; 70_000];
    blake3::Hasher::new().update(b"data").finalize_xof().fill(&mut long);
    [long, b"short".to_vec()]
}

fn deal(copies: u16) -> Deal {
    Deal {
        owner: node(200),
        account: Account([1; 20]),
        nonce: 0,
        set: BlobHash([3; 32]),
        shards: data().iter().map(|bytes| Shard::of(bytes)).collect(),
        copies,
        until: Time::from_secs(100_000),
        price: Amount(10),
        escrow: Amount(10_000),
        challenges: 8,
        fetch_within_ms: FETCH_MS,
        answer_within_ms: ANSWER_MS,
    }
}

fn beacon(epoch: u64) -> Beacon {
    Beacon {
        epoch,
        value: *blake3::hash(&epoch.to_be_bytes()).as_bytes(),
    }
}

/// The proofs of these chunks, as an honest host makes them.
fn prove(chunks: &[(usize, u64)]) -> Bundle {
    let data = data();
    let prove = |(shard, chunk): &(usize, u64)| Proof::of_bytes(&data[*shard], *chunk).unwrap();
    Bundle {
        proofs: chunks.iter().map(prove).collect(),
    }
}

/// A deal of more shards than one bundle proves, each of one chunk.
fn large() -> Deal {
    let shards = (0..600u32).map(|n| Shard::of(&n.to_be_bytes())).collect();
    Deal { shards, ..deal(1) }
}

/// The proofs of chunks of [`large`].
fn prove_small(chunks: &[(usize, u64)]) -> Bundle {
    let bytes = |shard: usize| u32::try_from(shard).unwrap().to_be_bytes();
    let prove = |(shard, chunk): &(usize, u64)| Proof::of_bytes(&bytes(*shard), *chunk).unwrap();
    Bundle {
        proofs: chunks.iter().map(prove).collect(),
    }
}

fn answer(deal: &Deal, of: u8, beacon: Beacon, bundle: &Bundle) -> Signed<StorageAnswer> {
    let said = StorageAnswer {
        deal: deal.id(),
        host: node(of),
        beacon,
        bundle: bundle.hash(),
    };
    Signed::new(said, &key(of), &HERE)
}

fn drawn(deal: &Deal, of: u8, beacon: &Beacon) -> Vec<(usize, u64)> {
    deal.sample(&deal.id(), node(of), beacon).draw()
}

#[test]
fn invalid_deal_terms_are_refused_with_a_reason() {
    let bad = |deal: Deal| deal.check().unwrap_err();
    assert_eq!(deal(1).check(), Ok(()));
    assert_eq!(
        bad(Deal {
            shards: Vec::new(),
            ..deal(1)
        }),
        DealError::Shards(0)
    );
    assert_eq!(bad(Deal { copies: 0, ..deal(1) }), DealError::Copies);
    assert_eq!(
        bad(Deal {
            challenges: 0,
            ..deal(1)
        }),
        DealError::Challenges(0)
    );
    assert_eq!(
        bad(Deal {
            answer_within_ms: 0,
            ..deal(1)
        }),
        DealError::Deadlines
    );
    let endless = Shard {
        size: u64::MAX,
        ..deal(1).shards[0]
    };
    assert!(matches!(
        bad(Deal {
            shards: vec![endless],
            ..deal(1)
        }),
        DealError::Size { position: 0, .. }
    ));
    // Golden: ids of deals are the same in every version.
    assert_eq!(
        deal(3).id().to_string(),
        "0xf44e55c7c013345a2d19ba21dde3d5ca74ab00136a590cc4091f9d4929d2d71c"
    );
}
