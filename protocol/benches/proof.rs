//! What a storage proof costs: `cargo bench -p protocol --bench proof`. Prover and verifier in one run, beside hashing it all.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::float_arithmetic, reason = "figures are only shown")]

use std::time::{Duration, Instant};

use protocol::{
    codec,
    proof::{Needs, Pair, Proof, Shard, outboard},
};

const PROOFS: u64 = 64;
const ROUNDS: u32 = 200;

fn micros(took: Duration, times: u32) -> f64 {
    took.as_secs_f64() * 1e6 / f64::from(times)
}

fn main() {
    println!("one thread; times are per proof");
    println!("shard MiB | proof bytes | verify µs | prove µs | hash the whole shard µs");
    for mib in [1usize, 64, 256] {
        measure(mib);
    }
}

fn measure(mib: usize) {
    // Not a power of two, so the tree is as uneven as trees are.
    let mut data = vec![0; (mib << 20) - 333];
    blake3::Hasher::new().update(b"shard").finalize_xof().fill(&mut data);
    let start = Instant::now();
    let shard = Shard::of(&data);
    let hashing = start.elapsed();
    let tree = outboard(&data);
    let at = |index: u64| usize::try_from(index).expect("an index into memory");

    let chunks: Vec<u64> = (0..PROOFS)
        .map(|j| j.wrapping_mul(0x9E37_79B9_7F4A_7C15) % shard.chunks())
        .collect();
    let prove = |chunk: u64| {
        let needs = Needs::of(&shard, chunk).expect("a chunk of the shard");
        let pairs: Vec<Pair> = needs.pairs.iter().map(|index| tree[at(*index)]).collect();
        Proof::build(&shard, chunk, &pairs, &data[at(needs.group.start)..at(needs.group.end)]).expect("intact")
    };
    let start = Instant::now();
    let proofs: Vec<Proof> = chunks.iter().map(|chunk| prove(*chunk)).collect();
    let proving = micros(start.elapsed(), u32::try_from(chunks.len()).expect("few"));

    let start = Instant::now();
    let mut good = 0u32;
    for _ in 0..ROUNDS {
        for (chunk, proof) in chunks.iter().zip(&proofs) {
            good += u32::from(proof.verify(&shard, *chunk).is_ok());
        }
    }
    let verifying = micros(start.elapsed(), good);
    let longest = proofs
        .iter()
        .map(|proof| codec::encode(proof).len())
        .max()
        .unwrap_or_default();
    println!(
        "{mib:9} | {longest:11} | {verifying:9.2} | {proving:8.1} | {:12.0}",
        micros(hashing, 1)
    );
}
