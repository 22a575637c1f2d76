//! A decoder on kernels beside transformers and PEFT: the same fixtures as the processor's. The kernels' text runs on the
//! processor with `--features host`, and on a GPU with `--features cuda`; where there is no GPU, that half says so.

#![cfg(feature = "gpu")]
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    clippy::print_stdout,
    reason = "a test computes, tells what it met, and stops where it cannot"
)]

mod fixture;
mod reference;
#[path = "reference/factors.rs"]
mod factors;

use std::{collections::BTreeMap, fs, path::Path};

use compute::{
    decoder::{Decoder, Gpu, GpuOptions},
    model::Model,
};
use cube::{Element, Machine};
use factors::factors;
use fixture::{Batch, assert_greedy, error, expected, fixtures, loaded, mixed, name, requests};
use reference::{Reference, Round};

/// Singles are kept as such, and no activation is rounded: what transformers computes.
fn exact() -> GpuOptions {
    GpuOptions {
        page_tokens: 8,
        pages: 100,
        slots: 16,
        adapter_bytes: 8 << 20,
        kept: Some(Element::F32),
        tensor_rows_min: usize::MAX,
    }
}

/// As it is served: keys, values and adapters of the weights' type, and tensor cores.
fn served() -> GpuOptions {
    GpuOptions {
        kept: None,
        tensor_rows_min: GpuOptions::default().tensor_rows_min,
        ..exact()
    }
}

fn decoder<M: Machine>(dir: &Path, machine: M, options: GpuOptions) -> Decoder<Gpu<M>> {
    loaded(dir, Model::read(dir).unwrap().on_gpu(machine, options).unwrap())
}

/// How the numbers of a fixture are stored.
fn stored(dir: &Path) -> Element {
    let config: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    match config["dtype"].as_str().unwrap() {
        "float32" => Element::F32,
        "float16" => Element::F16,
        _ => Element::BF16,
    }
}

/// Rounds to what a type holds, after moving a number by about what sums of singles are off, perhaps to the other side.
fn round(to: Element, moved: u32) -> Round {
    let met = std::cell::Cell::new(u64::from(moved).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Box::new(move |x| {
        let x = if moved == 0 {
            x
        } else {
            let next = met.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            met.set(next);
            x * (1.0 + NOISE * ((next >> 33) as f64 / f64::from(1u32 << 30) - 1.0))
        };
        match to {
            Element::F32 => x,
            Element::F16 => half::f16::from_f64(x).to_f64(),
            Element::BF16 => half::bf16::from_f64(x).to_f64(),
        }
    })
}
const NOISE: f64 = 4e-7;

/// The logits of the fixture's requests in doubles, rounded where kernels round.
fn rounded(dir: &Path, kept: Element, rows: Element, moved: u32) -> Vec<f32> {
    let reference = Reference {
        kept: round(kept, moved),
        rows: round(rows, moved),
        ..Reference::read(dir)
    };
    let logits = |request: &compute::logits::Request| {
        let mut adapter = request.adapter.as_deref().map(factors).unwrap_or_default();
        for (_, a, b) in adapter.values_mut() {
            for number in a.numbers.iter_mut().chain(&mut b.numbers) {
                *number = round(kept, 0)(*number);
            }
        }
        reference.logits(&request.tokens, &adapter)
    };
    let all = requests(dir);
    all.iter().flat_map(logits).flatten().map(|x| x as f32).collect()
}

fn mean(ours: &[f32], theirs: &[f32]) -> f64 {
    let sum: f64 = ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).powi(2))).sum();
    (sum / ours.len() as f64).sqrt()
}

fn logits<M: Machine>(machine: impl Fn() -> M) {
    for dir in fixtures() {
        let (batch, stored) = (Batch::of(&dir), stored(&dir));
        let theirs = expected(&dir, "logits");
        let largest = theirs.iter().fold(0.0, |most: f32, logit| most.max(logit.abs()));
        for (what, options) in [
            ("exact", exact()),
            ("kept", GpuOptions { kept: None, ..exact() }),
            ("cores", GpuOptions { kept: Some(Element::F32), ..served() }),
            ("served", served()),
        ] {
            let ours = batch.logits(&mut decoder(&dir, machine(), options));
            let kept = options.kept.unwrap_or(stored);
            let rows = if options.tensor_rows_min == usize::MAX { Element::F32 } else { stored };
            let reference = rounded(&dir, kept, rows, 0);
            let again = rounded(&dir, kept, rows, 1);
            println!(
                "{} {what}: of {largest}: ours from transformers {:.1e} (rms {:.1e}), rounded {:.1e} (rms {:.1e}), transformers from rounded {:.1e} (rms {:.1e}); noise {:.1e} (rms {:.1e})",
                name(&dir),
                error(&ours, &theirs), mean(&ours, &theirs),
                error(&ours, &reference), mean(&ours, &reference),
                error(&theirs, &reference), mean(&theirs, &reference),
                error(&again, &reference), mean(&again, &reference),
            );
        }
    }
}

fn weighted<M: Machine>(machine: impl Fn() -> M) {
    for dir in fixtures() {
        let error = error(&mixed(&dir, &mut decoder(&dir, machine(), exact())), &expected(&dir, "mixed"));
        assert!(error <= 1e-4, "{}: off by {error}", dir.display());
    }
}

/// The first tokens that a whole batch goes on with.
fn greedy<M: Machine>(machine: impl Fn() -> M, tokens: usize) {
    for dir in fixtures() {
        assert_greedy(&dir, &mut decoder(&dir, machine(), exact()), tokens);
    }
}

#[cfg(feature = "host")]
mod on_the_processor {
    use cube::host::Host;

    use super::*;

    fn machine() -> Host {
        Host::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/host-kernels"))
    }

    #[test]
    fn logits_of_a_mixed_batch_are_those_of_transformers_and_peft() {
        logits(machine);
    }

    #[test]
    fn a_weighted_mix_of_adapters_is_the_sum_that_peft_concatenates() {
        weighted(machine);
    }

    #[test]
    fn greedy_tokens_are_those_of_transformers_and_peft() {
        greedy(machine, 6);
    }

    #[test]
    fn a_warm_decoder_answers_as_one_that_is_not() {
        let dir = &fixtures()[0];
        let mut cold = decoder(dir, machine(), served());
        let mut warm = Model::read(dir).unwrap().on_gpu(machine(), served()).unwrap();
        warm.warm().unwrap();
        let (mut warm, batch) = (loaded(dir, warm), Batch::of(dir));
        let (a, b) = (batch.logits(&mut cold), batch.logits(&mut warm));
        assert_eq!(a, b);
    }
}

#[cfg(feature = "cuda")]
mod on_a_gpu {
    use cube::cuda::{Cuda, devices};

    use super::*;

    /// Runs it if there is a GPU, and says so if there is none.
    fn with(check: impl Fn(&dyn Fn() -> Cuda)) {
        if devices() == 0 {
            println!("left out: there is no CUDA device here");
            return;
        }
        check(&|| Cuda::open(0).unwrap());
    }

    #[test]
    fn logits_of_a_mixed_batch_are_those_of_transformers_and_peft() {
        with(|machine| logits(machine));
    }

    #[test]
    fn a_weighted_mix_of_adapters_is_the_sum_that_peft_concatenates() {
        with(|machine| weighted(machine));
    }

    #[test]
    fn sixty_four_greedy_tokens_are_those_of_transformers_and_peft() {
        with(|machine| greedy(machine, 64));
    }

    #[test]
    fn a_device_that_is_not_there_is_told() {
        let error = Cuda::open(4096).err().unwrap().to_string();
        assert!(error.contains("there is no CUDA device 4096"), "{error}");
    }
}
