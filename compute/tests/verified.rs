//! Verified work: the bits of a request's logits do not depend on threads, instructions, the rest of the batch, or
//! the cut of its prompt. `OPENLEDGER_MIXES` sets the number of random batches.

#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    reason = "a test computes, and stops where it cannot"
)]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use compute::{
    decoder::{Cpu, CpuOptions, Decoder},
    forward::{AdapterSlot, Forward, Mix, PageId, Span, Wanted},
    kernel::{Level, Quantise},
    lora::Adapter,
    model::Model,
};

const PAGE: usize = 4;
const SEQUENCES: usize = 12;
const LENGTH: usize = 14;

/// SplitMix64: Steele, Lea and Flood, 2014.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Loads a model with its adapters, in slots that `shift` moves.
fn decoder(name: &str, threads: usize, level: Level, quantise: Quantise, shift: u32) -> Decoder<Cpu> {
    let options = CpuOptions {
        threads,
        level,
        quantise,
        page_tokens: PAGE,
        pages: 128,
        slots: 16,
    };
    let mut decoder = Model::read(&fixture(name)).unwrap().on_cpu(options).unwrap();
    for index in 0..8 {
        let adapter = Adapter::load(&fixture(name).join(format!("adapter{index}"))).unwrap();
        decoder
            .load(AdapterSlot((index + shift) % 16), &Arc::new(adapter))
            .unwrap();
    }
    decoder
}

/// The tokens of a request, and its adapters by number with their weights.
struct Sequence {
    tokens: Vec<u32>,
    adapters: Vec<(u32, f32)>,
}

fn sequences() -> Vec<Sequence> {
    let mut random = Random(1);
    (0..SEQUENCES)
        .map(|i| Sequence {
            tokens: (0..LENGTH)
                .map(|_| 3 + u32::try_from(random.below(120)).unwrap())
                .collect(),
            // Some requests of the base alone, some with one adapter, some with a mix.
            adapters: (0..i % 3)
                .map(|_| (u32::try_from(random.below(8)).unwrap(), 0.75))
                .collect(),
        })
        .collect()
}

/// Runs all sequences in random cuts and batches; returns the bits of every position.
fn run(decoder: &mut Decoder<Cpu>, shift: u32, random: &mut Random) -> BTreeMap<(usize, usize), Vec<u32>> {
    let sequences = sequences();
    let mut free: Vec<u32> = (0..128).collect();
    let each = LENGTH.div_ceil(PAGE);
    let pages: Vec<Vec<PageId>> = (0..SEQUENCES)
        .map(|_| {
            (0..each)
                .map(|_| PageId(free.swap_remove(random.below(free.len()))))
                .collect()
        })
        .collect();
    let mixes: Vec<Vec<Mix>> = sequences
        .iter()
        .map(|sequence| {
            let slot = |index| AdapterSlot((index + shift) % 16);
            sequence
                .adapters
                .iter()
                .map(|(index, weight)| Mix {
                    slot: slot(*index),
                    weight: *weight,
                })
                .collect()
        })
        .collect();
    let mut done = [0; SEQUENCES];
    let mut bits = BTreeMap::new();
    while done.iter().any(|done| *done < LENGTH) {
        let mut chosen: Vec<(usize, usize)> = Vec::new();
        for (index, done) in done.iter().enumerate() {
            if *done < LENGTH && random.below(3) > 0 {
                chosen.push((index, 1 + random.below(LENGTH - done)));
            }
        }
        for i in (1..chosen.len()).rev() {
            chosen.swap(i, random.below(i + 1));
        }
        let spans: Vec<Span<'_>> = chosen
            .iter()
            .map(|(index, count)| Span {
                tokens: &sequences[*index].tokens[done[*index]..done[*index] + count],
                start: u32::try_from(done[*index]).unwrap(),
                pages: &pages[*index],
                adapters: &mixes[*index],
                wanted: Wanted::All,
                verified: true,
            })
            .collect();
        let mut logits = Vec::new();
        decoder.step(&spans, &mut logits).unwrap();
        let mut rows = logits.chunks_exact(decoder.shape().vocabulary);
        for (index, count) in chosen {
            for position in done[index]..done[index] + count {
                let row = rows.next().unwrap().iter().map(|x| x.to_bits()).collect();
                bits.insert((index, position), row);
            }
            done[index] += count;
        }
    }
    bits
}

#[test]
fn bits_do_not_depend_on_threads_instructions_or_slots() {
    for (name, quantise) in [
        ("llama-2", Quantise::No),
        ("qwen2-4", Quantise::No),
        ("qwen3-5", Quantise::No),
        ("llama-1", Quantise::Int8),
        ("qwen3-6", Quantise::Int4),
    ] {
        let expected = run(&mut decoder(name, 1, Level::Portable, quantise, 0), 0, &mut Random(7));
        for level in Level::available() {
            for threads in [1, 2, 4] {
                let shift = u32::try_from(threads).unwrap() * 3;
                let bits = run(
                    &mut decoder(name, threads, level, quantise, shift),
                    shift,
                    &mut Random(7),
                );
                assert!(
                    bits == expected,
                    "{name} {quantise:?} on {threads} threads of {level:?}"
                );
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_batch_or_the_cut_of_a_prompt() {
    let mixes: u64 = std::env::var("OPENLEDGER_MIXES").map_or(1000, |text| text.parse().unwrap());
    for (name, part) in [("llama-1", 2), ("qwen2-3", 4), ("qwen3-6", 4)] {
        let mut decoder = decoder(name, 2, Level::detect(), Quantise::No, 0);
        let expected = run(&mut decoder, 0, &mut Random(0));
        for seed in 1..=mixes / part {
            let bits = run(&mut decoder, 0, &mut Random(seed));
            assert!(bits == expected, "{name}, mix {seed}");
        }
    }
}

#[test]
fn a_shared_prefix_may_be_copied_within_a_page() {
    let mut decoder = decoder("qwen2-3", 2, Level::detect(), Quantise::No, 0);
    let tokens: Vec<u32> = (10..20).collect();
    let (first, second) = ([0, 1, 2].map(PageId), [0, 5, 6].map(PageId));
    let span = |start: usize, pages| Span {
        tokens: &tokens[start..],
        start: u32::try_from(start).unwrap(),
        pages,
        adapters: &[],
        wanted: Wanted::Last,
        verified: true,
    };
    let (mut whole, mut copied) = (Vec::new(), Vec::new());
    decoder.step(&[span(0, &first)], &mut whole).unwrap();
    decoder.copy_page(PageId(1), PageId(5), 2).unwrap();
    decoder.step(&[span(6, &second)], &mut copied).unwrap();
    assert!(whole.iter().zip(&copied).all(|(a, b)| a.to_bits() == b.to_bits()));
}

#[test]
fn a_malformed_batch_is_refused() {
    let mut decoder = decoder("qwen2-3", 1, Level::detect(), Quantise::No, 0);
    let pages = [PageId(0)];
    let good = Span {
        tokens: &[1, 2],
        start: 0,
        pages: &pages,
        adapters: &[],
        wanted: Wanted::Last,
        verified: false,
    };
    let empty = [Mix {
        slot: AdapterSlot(12),
        weight: 1.0,
    }];
    let bad = [
        Span { tokens: &[], ..good },
        Span {
            tokens: &[1_000_000],
            ..good
        },
        Span { start: 3, ..good },
        Span {
            start: u32::MAX,
            ..good
        },
        Span {
            pages: &[PageId(128)],
            ..good
        },
        Span {
            adapters: &empty,
            ..good
        },
    ];
    let mut logits = Vec::new();
    for span in bad {
        assert!(decoder.step(&[span], &mut logits).is_err(), "{span:?}");
    }
    assert!(
        decoder.step(&[good, good], &mut logits).is_err(),
        "two sequences in one place"
    );
    assert!(decoder.step(&[good], &mut logits).is_ok());
}
