//! Mutated files: an import ends in a refusal or in a dataset that restores exactly, never in a panic.
//! `DATASET_ROUNDS` makes the campaign longer, `DATASET_SEED` replays one.

use super::*;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % below as u64).unwrap()
    }
}

fn env(name: &str, or: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(or)
}

/// Flips, inserts, removes and repeats a few bytes.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len());
        match dice.roll(5) {
            0 => bytes[at] ^= 1 << dice.roll(8),
            1 => bytes[at] = b"\"\n\r,{}[]\\\0\xff"[dice.roll(11)],
            2 => bytes.insert(at, b"\"\n\r,{}[]\\\0\xff"[dice.roll(11)]),
            3 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => {
                let end = (at + dice.roll(40)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

fn campaign(name: &str, good: &[u8], rounds: u64) {
    let (seed, rounds) = (env("DATASET_SEED", 1), env("DATASET_ROUNDS", rounds));
    let mut taken = 0;
    for round in seed..seed + rounds {
        let bench = Bench::new();
        let mut bytes = good.to_vec();
        mutate(&mut Dice(round), &mut bytes);
        bench.put(name, &bytes);
        let outcome =
            std::panic::catch_unwind(|| bench.add(&small()).is_ok().then(|| drop(bench.round_trip(&small()))));
        let outcome = outcome.unwrap_or_else(|_| panic!("DATASET_SEED={round} DATASET_ROUNDS=1 replays this"));
        taken += u64::from(outcome.is_some());
    }
    assert!(
        rounds < 50 || (taken > 0 && taken < rounds),
        "{name}: {taken} of {rounds} mutants were taken"
    );
}

#[test]
fn mutated_jsonl_is_refused_or_restored() {
    let good = "{\"a\":1,\"b\":\"x\\ny\"}\n{\"a\":2.5,\"b\":null}\r\n\n{\"a\":[1,{\"c\":true}],\"b\":\"é\"}\n";
    campaign("a.jsonl", good.as_bytes(), 150);
}

#[test]
fn mutated_csv_is_refused_or_restored() {
    let good = "id,text,note\n1,\"two\nlines, \"\"quoted\"\"\",x\r\n2,plain,\n\n3,é,\"\"\n";
    campaign("a.csv", good.as_bytes(), 150);
}

#[test]
fn mutated_text_is_refused_or_restored() {
    campaign("a.md", "# Title\n\nA paragraph, é.\r\n\n\nAnother.\n".as_bytes(), 60);
}

#[test]
fn mutated_parquet_is_refused_or_restored() {
    campaign(
        "a.parquet",
        &parquet_file(&["one", "two", "three", "four", "five"]),
        200,
    );
}

/// A hostile shard: rows or sources with some bytes changed, named by its new hash.
#[test]
fn mutated_rows_and_sources_are_detected() {
    let bench = Bench::new();
    bench.put("a.jsonl", "{\"n\":1}\n".repeat(40));
    bench.put("b.png", b"\x89PNG\r\n\x1a\n0123456789");
    bench.put("b.txt", "a caption");
    bench.put("c.parquet", parquet_file(&["one", "two"]));
    let (ingested, _) = bench.round_trip(&Options::default());
    let seed = env("DATASET_SEED", 1);
    for round in seed..seed + env("DATASET_ROUNDS", 150) {
        let mut dice = Dice(round);
        let mut manifest = ingested.manifest.clone();
        let shards = manifest.shards.len();
        let shard = &mut manifest.shards[1 + dice.roll(shards - 1)];
        let mut bytes = fs::read(bench.blobs().path(&shard.hash)).unwrap();
        let at = dice.roll(bytes.len());
        bytes[at] ^= 1 << dice.roll(8);
        shard.hash = protocol::BlobHash(*blake3::hash(&bytes).as_bytes());
        bench.blobs().put(shard.hash, &bytes, None).unwrap();
        let verified = Dataset::open(manifest, Arc::new(bench.blobs()))
            .and_then(|dataset| dataset.verify(&mut |_| ControlFlow::Continue(())));
        // A changed name of a file or column is another dataset, not a contradiction.
        if let Ok(verified) = verified {
            assert_eq!(
                verified.records, ingested.manifest.records,
                "DATASET_SEED={round} DATASET_ROUNDS=1"
            );
        }
    }
}
