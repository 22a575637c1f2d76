//! Benchmark of storage proofs: `cargo bench -p protocol --bench proof`. Prover and verifier in one run, compared with
//! hashing the whole shard.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::float_arithmetic, reason = "figures are only shown")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use protocol::{
    codec,
    proof::{Pair, Proof, ProofInputs, Shard, outboard},
};

const PROOFS: u32 = 64;
const ROUNDS: usize = 200;

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}

/// Returns the median time of one proof over many rounds: a busy machine interrupts some rounds, not most.
fn median(mut round: impl FnMut()) -> f64 {
    let mut took: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .collect();
    took.sort();
    micros(took[took.len() / 2]) / f64::from(PROOFS)
}

fn main() {
    println!("one thread; times are per proof, the median of {ROUNDS} rounds of {PROOFS}");
    println!("shard MiB | proof bytes | verify µs | prove µs | hash the whole shard µs");
    for mib in [1usize, 64, 256] {
        measure(mib);
    }
}

fn measure(mib: usize) {
    // Not a power of two, so that the tree is uneven.
    let mut data = vec![0; (mib << 20) - 333];
    blake3::Hasher::new().update(b"shard").finalize_xof().fill(&mut data);
    let start = Instant::now();
    let shard = Shard::of(&data);
    let hashing = start.elapsed();
    let tree = outboard(&data);
    let at = |index: u64| usize::try_from(index).expect("an index into memory");

    let chunks: Vec<u64> = (0..u64::from(PROOFS))
        .map(|j| j.wrapping_mul(0x9E37_79B9_7F4A_7C15) % shard.chunks())
        .collect();
    let prove = |chunk: u64| {
        let needs = ProofInputs::of(&shard, chunk).expect("a chunk of the shard");
        let pairs: Vec<Pair> = needs.pairs.iter().map(|index| tree[at(*index)]).collect();
        Proof::build(&shard, chunk, &pairs, &data[at(needs.group.start)..at(needs.group.end)]).expect("intact")
    };
    let proofs: Vec<Proof> = chunks.iter().map(|chunk| prove(*chunk)).collect();
    let proving = median(|| chunks.iter().for_each(|chunk| drop(black_box(prove(*chunk)))));
    let verifying = median(|| {
        for (chunk, proof) in chunks.iter().zip(&proofs) {
            assert!(black_box(proof).verify(&shard, *chunk).is_ok());
        }
    });
    let longest = proofs
        .iter()
        .map(|proof| codec::encode(proof).len())
        .max()
        .unwrap_or_default();
    println!(
        "{mib:9} | {longest:11} | {verifying:9.2} | {proving:8.1} | {:12.0}",
        micros(hashing)
    );
}
