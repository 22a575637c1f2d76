//! Proofs against BLAKE3 itself and against another implementation of the tree.

use super::*;
use crate::{BlobHash, NodeId, codec, crypto::digest};

/// Bytes derived from their length and a seed.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_be_bytes()).update(&(len as u64).to_be_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Pseudo-random numbers from a seed.
fn number(seed: u64, below: u64) -> u64 {
    let drawn = digest("openledger/test/number/1", &[&seed.to_be_bytes()]);
    u64::from_be_bytes(*drawn.first_chunk().unwrap()) % below
}

fn sizes() -> Vec<usize> {
    let mut sizes = vec![
        0,
        1,
        1023,
        1024,
        1025,
        2047,
        2048,
        2049,
        16383,
        16384,
        16385,
        48 << 10,
        (48 << 10) + 1,
    ];
    for power in 11..=21 {
        sizes.extend([(1 << power) - 1, 1 << power, (1 << power) + 1]);
    }
    sizes.extend((0..24).map(|seed| usize::try_from(number(seed, 3 << 20)).unwrap()));
    sizes
}

#[test]
fn every_size_is_proven_at_its_edges_and_in_between() {
    for size in sizes() {
        let data = bytes(size, 1);
        let shard = Shard::of(&data);
        let tree = outboard(&data);
        let mut chunks = vec![0, shard.last(), shard.chunks() / 2];
        chunks.extend((0..6).map(|seed| number(seed + size as u64, shard.chunks())));
        for chunk in chunks {
            let needs = ProofInputs::of(&shard, chunk).unwrap();
            let pairs: Vec<Pair> = needs
                .pairs
                .iter()
                .map(|at| tree[usize::try_from(*at).unwrap()])
                .collect();
            let group = &data[usize::try_from(needs.group.start).unwrap()..usize::try_from(needs.group.end).unwrap()];
            let proof = Proof::build(&shard, chunk, &pairs, group).unwrap();
            let start = usize::try_from(chunk * CHUNK).unwrap();
            assert_eq!(
                proof.chunk,
                data[start..data.len().min(start + 1024)],
                "size {size}, chunk {chunk}"
            );
            assert_eq!(proof.verify(&shard, chunk), Ok(()), "size {size}, chunk {chunk}");
            assert!(codec::encode(&proof).len() <= PROOF_MAX);
        }
        assert_eq!(
            ProofInputs::of(&shard, shard.chunks()),
            None,
            "size {size}: one chunk too far"
        );
    }
}

#[test]
fn the_outboard_is_the_one_that_iroh_blobs_keeps() {
    for size in sizes() {
        let data = bytes(size, 2);
        let block = bao_tree::BlockSize::from_chunk_log(4);
        let theirs = bao_tree::io::outboard::PreOrderMemOutboard::create(&data, block);
        let ours = outboard(&data);
        assert_eq!(ours.concat().concat(), theirs.data, "size {size}");
        assert_eq!(theirs.root.as_bytes(), &Shard::of(&data).root.0);
        for (position, pair) in ours.iter().enumerate() {
            let range = ProofInputs::bytes_of(position as u64);
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert_eq!(theirs.data[range], pair.concat());
        }
    }
}

#[test]
fn every_mutated_bit_is_rejected() {
    for (size, chunk) in [(1, 0), (1024, 0), (1025, 1), (5000, 2), (16385, 16), (70_001, 33)] {
        let data = bytes(size, 3);
        let shard = Shard::of(&data);
        let good = codec::encode(&Proof::of_bytes(&data, chunk).unwrap());
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let accepted =
                    codec::decode::<Proof>(&bad, PROOF_MAX).is_ok_and(|proof| proof.verify(&shard, chunk).is_ok());
                assert!(!accepted, "size {size}: bit {bit} of byte {at} may change");
            }
        }
    }
}

#[test]
fn a_proof_is_for_one_size_one_chunk_and_one_depth() {
    for size in sizes().into_iter().filter(|size| *size > 0) {
        let data = bytes(size, 4);
        let shard = Shard::of(&data);
        let chunk = number(size as u64, shard.chunks());
        let proof = Proof::of_bytes(&data, chunk).unwrap();
        let last = Proof::of_bytes(&data, shard.last()).unwrap();
        for other in [size as u64 - 1, size as u64 + 1, 2 * size as u64, size as u64 + CHUNK] {
            let lie = Shard { size: other, ..shard };
            // The last chunk of a tree's shape binds the size: only the true size has it.
            let claimed = last.verify(&lie, lie.last());
            assert!(claimed.is_err(), "size {size} passes for {other}");
        }
        for other in [chunk.wrapping_sub(1), chunk + 1, chunk ^ 1, shard.chunks(), u64::MAX] {
            if other != chunk {
                assert!(
                    proof.verify(&shard, other).is_err(),
                    "size {size}: chunk {chunk} passes for {other}"
                );
            }
        }
        let (mut more, mut fewer, mut longer) = (proof.clone(), proof.clone(), proof.clone());
        more.siblings.push([0; 32]);
        assert!(matches!(more.verify(&shard, chunk), Err(ProofError::Siblings { .. })));
        if fewer.siblings.pop().is_some() {
            assert!(matches!(fewer.verify(&shard, chunk), Err(ProofError::Siblings { .. })));
        }
        longer.chunk.push(0);
        assert!(matches!(
            longer.verify(&shard, chunk),
            Err(ProofError::ChunkLength { .. })
        ));
        let elsewhere = Shard {
            root: BlobHash([7; 32]),
            ..shard
        };
        assert_eq!(proof.verify(&elsewhere, chunk), Err(ProofError::Root));
    }
}

#[test]
fn damage_on_disk_never_becomes_a_false_proof() {
    let data = bytes(40 << 10, 5);
    let shard = Shard::of(&data);
    let needs = ProofInputs::of(&shard, 3).unwrap();
    let pairs: Vec<Pair> = needs
        .pairs
        .iter()
        .map(|at| outboard(&data)[usize::try_from(*at).unwrap()])
        .collect();
    let mut rotten = data[..16 << 10].to_vec();
    rotten[9000] ^= 1;
    assert_eq!(Proof::build(&shard, 3, &pairs, &rotten), Err(BuildError::Damaged));
    assert!(matches!(
        Proof::build(&shard, 3, &pairs, &rotten[1..]),
        Err(BuildError::Group { .. })
    ));
    assert!(matches!(
        Proof::build(&shard, 3, &[], &data[..16 << 10]),
        Err(BuildError::Pairs { .. })
    ));
    assert!(matches!(
        Proof::build(&shard, 40, &pairs, &data[..16 << 10]),
        Err(BuildError::NoSuchChunk { .. })
    ));
}

#[test]
fn a_sample_is_fixed_and_differs_for_each_host_epoch_and_deal() {
    let shards = [
        Shard {
            root: BlobHash([1; 32]),
            size: 256 << 20,
        },
        Shard {
            root: BlobHash([2; 32]),
            size: 5,
        },
    ];
    let beacon = Beacon {
        epoch: 9,
        value: [3; 32],
    };
    let sample = Sample {
        beacon: &beacon,
        node: NodeId([4; 32]),
        set: &[5; 32],
        shards: &shards,
        count: 4,
    };
    // Golden: every node samples the same chunks, in every version.
    assert_eq!(sample.draw(), [(0, 219_117), (0, 47_138), (0, 117_828), (0, 32_645)]);
    let others = [
        Sample {
            node: NodeId([6; 32]),
            ..sample
        }
        .draw(),
        Sample {
            set: &[6; 32],
            ..sample
        }
        .draw(),
        Sample {
            beacon: &Beacon { epoch: 10, ..beacon },
            ..sample
        }
        .draw(),
    ];
    assert!(others.iter().all(|other| *other != sample.draw()));
    assert_eq!(Sample { shards: &[], ..sample }.draw(), []);
}

#[test]
fn every_chunk_is_sampled_about_equally_often() {
    let shards = [
        Shard {
            root: BlobHash([1; 32]),
            size: 3 << 10,
        },
        Shard {
            root: BlobHash([2; 32]),
            size: 0,
        },
    ];
    let mut hits = std::collections::BTreeMap::new();
    for epoch in 0..100 {
        let beacon = Beacon { epoch, value: [3; 32] };
        let sample = Sample {
            beacon: &beacon,
            node: NodeId([4; 32]),
            set: &[5; 32],
            shards: &shards,
            count: 100,
        };
        for place in sample.draw() {
            *hits.entry(place).or_insert(0) += 1;
        }
    }
    // 10,000 samples over four chunks: 2,500 each, and six standard deviations are 260.
    assert_eq!(
        hits.keys().copied().collect::<Vec<_>>(),
        [(0, 0), (0, 1), (0, 2), (1, 0)]
    );
    assert!(hits.values().all(|hits| (2_240..2_760).contains(hits)), "{hits:?}");
}

#[test]
fn a_bundle_verifies_for_its_own_sample_only() {
    let data = [bytes(100_000, 6), bytes(20_000, 7)];
    let shards = [Shard::of(&data[0]), Shard::of(&data[1])];
    let beacon = Beacon {
        epoch: 1,
        value: [1; 32],
    };
    let sample = Sample {
        beacon: &beacon,
        node: NodeId([2; 32]),
        set: &[3; 32],
        shards: &shards,
        count: 16,
    };
    let proofs = sample
        .draw()
        .into_iter()
        .map(|(shard, chunk)| Proof::of_bytes(&data[shard], chunk).unwrap())
        .collect();
    let bundle = Bundle { proofs };
    assert_eq!(bundle.verify(&sample), Ok(()));
    assert!(codec::encode(&bundle).len() <= BUNDLE_MAX);
    assert!(
        bundle
            .verify(&Sample {
                node: NodeId([9; 32]),
                ..sample
            })
            .is_err()
    );

    let mut swapped = bundle.clone();
    swapped.proofs.swap(0, 1);
    assert!(matches!(
        swapped.verify(&sample),
        Err(BundleError::Proof { position: 0, .. })
    ));
    assert_ne!(swapped.hash(), bundle.hash());
    swapped.proofs.pop();
    assert_eq!(
        swapped.verify(&sample),
        Err(BundleError::Count { found: 15, wanted: 16 })
    );
}
