//! A GPU decoder compared with transformers and PEFT, on the processor's fixtures. With `--features host` the
//! kernels' text runs on the processor, with `--features cuda` on a GPU; without a GPU that half prints so and
//! succeeds.

#![cfg(feature = "gpu")]
#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test computes, tells what it met, and stops where it cannot"
)]

#[path = "reference/factors.rs"]
mod factors;
mod fixture;
mod reference;

use std::{collections::BTreeMap, fs, path::Path};

use compute::{
    decoder::{Decoder, Gpu, GpuOptions},
    model::Model,
};
use cube::{Element, Machine};
use factors::factors;
use fixture::{Batch, assert_greedy, error, expected, fixtures, loaded, mixed, name, requests};
use reference::{Reference, Round};

/// Everything in singles, no activation rounded: as transformers computes.
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

/// As it is served: keys, values and adapters in the weights' type, and tensor cores.
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

/// The type in which a fixture's numbers are stored.
fn stored(dir: &Path) -> Element {
    let config: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    match config["dtype"].as_str().unwrap() {
        "float32" => Element::F32,
        "float16" => Element::F16,
        _ => Element::BF16,
    }
}

/// Rounds to the numbers that a type has.
fn round(to: Element) -> Round {
    Box::new(move |x| match to {
        Element::F32 => x,
        Element::F16 => half::f16::from_f64(x).to_f64(),
        Element::BF16 => half::bf16::from_f64(x).to_f64(),
    })
}

/// The logits of the fixture's requests in doubles, rounded where the kernels round: keys, values, and rows on tensor
/// cores.
fn rounded(dir: &Path, kept: Element, rows: Element) -> Vec<f32> {
    let mut reference = Reference::read(dir);
    (reference.kept, reference.rows) = (round(kept), round(rows));
    let logits = |request: &compute::logits::Request| {
        let mut adapter = request.adapter.as_deref().map(factors).unwrap_or_default();
        for (_, a, b) in adapter.values_mut() {
            let numbers = a.numbers.iter_mut().chain(&mut b.numbers);
            numbers.for_each(|number| *number = (reference.kept)(*number));
        }
        reference.logits(&request.tokens, &adapter)
    };
    requests(dir)
        .iter()
        .flat_map(logits)
        .flatten()
        .map(|x| x as f32)
        .collect()
}

/// Root mean square of the differences.
fn mean(ours: &[f32], theirs: &[f32]) -> f32 {
    let squares = ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b).powi(2));
    (squares.sum::<f64>() / ours.len() as f64).sqrt() as f32
}

/// Most difference of sums in singles from doubles.
const SINGLES: f32 = 1e-4;

/// Most difference left of rounding once doubles are rounded in the same places. A sum of singles that falls on the
/// other side of a tie moves a number by a whole step of its type, and such numbers move others: noise of half a step
/// of a single leaves a fifth of the difference. Rounding in another place would leave more than all of it.
const LEFT: f32 = 1.0 / 3.0;

/// Name and options of a way to run, and the types that kept numbers and rows are rounded to.
type Way = (&'static str, GpuOptions, Element, Element);

fn ways(stored: Element) -> Vec<Way> {
    let single = Element::F32;
    let mut ways = vec![("exact", exact(), single, single)];
    if stored != single {
        let kept = GpuOptions { kept: None, ..exact() };
        let cores = GpuOptions {
            kept: Some(single),
            ..served()
        };
        ways.push(("as it is kept", kept, stored, single));
        ways.push(("on tensor cores", cores, single, stored));
    }
    ways.push(("as served", served(), stored, stored));
    ways
}

fn logits<M: Machine>(machine: impl Fn() -> M) {
    for dir in fixtures() {
        let batch = Batch::of(&dir);
        let theirs = expected(&dir, "logits");
        let doubles = rounded(&dir, Element::F32, Element::F32);
        for (what, options, kept, rows) in ways(stored(&dir)) {
            let ours = batch.logits(&mut decoder(&dir, machine(), options));
            let what = format!("{} {what}", name(&dir));
            if (kept, rows) == (Element::F32, Element::F32) {
                let off = error(&ours, &doubles);
                let theirs_off = error(&theirs, &doubles);
                println!("{what}: off by {off:.1e} from doubles, transformers by {theirs_off:.1e}");
                assert!(off <= SINGLES, "{what}: off by {off} from doubles");
                continue;
            }
            let reference = rounded(&dir, kept, rows);
            for (how, off, moved) in [
                ("most", error(&ours, &reference), error(&doubles, &reference)),
                ("mean", mean(&ours, &reference), mean(&doubles, &reference)),
            ] {
                println!("{what}: {how}: rounding moves by {moved:.1e}, and explains all but {off:.1e}");
                assert!(off <= LEFT * moved, "{what}: {how}: {off} is left of {moved}");
            }
        }
    }
}

fn weighted<M: Machine>(machine: impl Fn() -> M) {
    for dir in fixtures() {
        let error = error(
            &mixed(&dir, &mut decoder(&dir, machine(), exact())),
            &expected(&dir, "mixed"),
        );
        assert!(error <= 1e-4, "{}: off by {error}", dir.display());
    }
}

/// The first tokens with which the whole batch continues.
fn greedy<M: Machine>(machine: impl Fn() -> M, tokens: usize) {
    for dir in fixtures() {
        assert_greedy(&dir, &mut decoder(&dir, machine(), exact()), tokens);
    }
}

#[cfg(feature = "host")]
mod on_the_processor {
    use cube::emulator::Emulator;

    use super::*;

    fn machine() -> Emulator {
        Emulator::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/host-kernels"))
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
    fn a_warmed_up_decoder_gives_the_same_logits() {
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

    /// Runs the test if there is a GPU, and prints so if there is none.
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
    fn a_missing_device_is_an_error() {
        let error = Cuda::open(4096).err().unwrap().to_string();
        assert!(error.contains("there is no CUDA device 4096"), "{error}");
    }
}
