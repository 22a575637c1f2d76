//! Runs on kernels compared with the processor's, on the fixtures, with the kernels in the emulator.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test tells what it met, and stops where it cannot"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use compute::{
    lora::Adapter,
    random::{Random, Stream},
};
use cube::{
    MachineError,
    emulator::{Buffer, Emulator},
};

use super::*;
use crate::{
    CheckpointError, Corpus, Unthrottled,
    cpu::{Network, NetworkOptions},
    recipe::{Machine as Processor, Normalise},
};

/// An emulator that keeps compiled kernels between runs.
fn emulator() -> Emulator {
    Emulator::new(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/host-kernels"))
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

/// All families: in singles, in F16 and in BF16.
const FIXTURES: [&str; 6] = ["llama-1", "llama-2", "qwen2-3", "qwen2-4", "qwen3-5", "qwen3-6"];

/// Sequences of odd lengths with some tokens that count; some are longer than a chunk of attention.
fn packs(vocabulary: usize) -> Vec<Pack> {
    let random = Random::new(9, Stream::Split);
    let sequence = |index: usize, length: usize| {
        let token = |i: usize| u32::try_from(random.bits((100 * index + i) as u64) % vocabulary as u64).unwrap();
        let tokens: Vec<u32> = (0..length).map(token).collect();
        let targets = (0..length - 1).filter(|i| i % 4 != 1 || length < 3);
        let targets: Vec<(usize, f32)> = targets.map(|i| (i, 0.02 + 0.01 * (i % 3) as f32)).collect();
        (tokens, targets)
    };
    [9, 2, 45]
        .into_iter()
        .enumerate()
        .map(|(index, length)| {
            let mut pack = Pack::default();
            let (tokens, targets) = sequence(index, length);
            pack.push(&tokens, &tokens, targets);
            pack
        })
        .collect()
}

fn joined(packs: &[Pack]) -> Pack {
    let mut whole = Pack::default();
    for pack in packs {
        let targets = pack.targets.iter().map(|target| (target.row as usize, target.weight));
        let mut all = pack.tokens.clone();
        all.push(0);
        for target in &pack.targets {
            all[target.row as usize + 1] = target.token;
        }
        whole.push(&pack.tokens, &all, targets);
    }
    whole
}

/// A fixture, the adapter that acts on every layer, and its parameters.
fn adapted(name: &str) -> (Model, Parameters) {
    let model = Model::read(&fixture(name)).unwrap();
    let adapter = Adapter::load(&fixture(name).join("adapter0")).unwrap();
    let parameters = Parameters::of_adapter(model.config(), &adapter).unwrap();
    (model, parameters)
}

/// Losses and gradients of the processor.
fn theirs(model: &Model, parameters: &Parameters, pack: &Pack) -> (Vec<f64>, Vec<Vec<f32>>) {
    let options = NetworkOptions {
        threads: 2,
        level: compute::kernel::Level::detect(),
        keep_bytes: usize::MAX,
    };
    let quantise = compute::kernel::Quantise::No;
    let mut net = Network::frozen(model, quantise, parameters.gradient_slots(), options).unwrap();
    let (weights, lora) = parameters.bound();
    net.bind(weights, lora);
    let mut gradients = parameters.gradients();
    (net.losses_and_gradients(pack, &mut gradients), gradients)
}

/// Losses and gradients of the kernels.
fn ours(machine: impl Machine, model: &Model, parameters: &Parameters, packs: &[Pack]) -> (Vec<f64>, Vec<Vec<f32>>) {
    let mut network = GpuNetwork::new(model, machine, parameters, 1 << 30).unwrap();
    network.restore(parameters, &Moments::new(parameters)).unwrap();
    network.begin();
    let losses = packs
        .iter()
        .flat_map(|pack| network.losses_and_gradients(pack).unwrap())
        .collect();
    let count = parameters.tensors().len();
    let gradients = (0..count).map(|index| {
        let gradient = network.state.gradient(&mut network.machine, index);
        let bytes = (parameters.tensors()[index].values().len() * 4) as u64;
        let read = network.machine.read(&gradient, bytes).unwrap();
        read.as_chunks()
            .0
            .iter()
            .map(|chunk| f32::from_le_bytes(*chunk))
            .collect()
    });
    let gradients: Vec<Vec<f32>> = gradients.collect();
    let length = network.gradient_norm().unwrap();
    let exact = super::super::optimiser::length(&gradients);
    assert!((length - exact).abs() <= 1e-6 * exact, "{length} is not {exact}");
    (losses, gradients)
}

/// Replaces tensor cores by chains of singles, on rows that are rounded like theirs or not at all.
struct Chains {
    host: Emulator,
    rounds: bool,
}

impl Chains {
    fn rounded(&mut self, x: &Buffer, numbers: usize, to: Element) -> Buffer {
        let to = if self.rounds { to } else { Element::F32 };
        let read = self.host.read(x, (numbers * 4) as u64).unwrap();
        let singles = read.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk));
        let rounded = singles.flat_map(|single| match to {
            Element::F32 => single.to_le_bytes(),
            Element::F16 => half::f16::from_f32(single).to_f32().to_le_bytes(),
            Element::BF16 => half::bf16::from_f32(single).to_f32().to_le_bytes(),
        });
        let bytes: Vec<u8> = rounded.collect();
        self.host.upload(&bytes)
    }
}

impl Machine for Chains {
    type Buffer = Buffer;

    fn class(&self) -> String {
        "chains".to_owned()
    }

    fn empty(&mut self, bytes: u64) -> Buffer {
        self.host.empty(bytes)
    }

    fn upload(&mut self, bytes: &[u8]) -> Buffer {
        self.host.upload(bytes)
    }

    fn part(&mut self, buffer: &Buffer, at: u64, bytes: u64) -> Buffer {
        self.host.part(buffer, at, bytes)
    }

    fn write(&mut self, buffer: &Buffer, at: u64, bytes: &[u8]) {
        self.host.write(buffer, at, bytes);
    }

    fn read(&mut self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>, MachineError> {
        self.host.read(buffer, bytes)
    }

    fn launch(&mut self, kernel: Kernel, cubes: [u32; 3], buffers: &[&Buffer], scalars: &[Scalar]) {
        let (weight, back) = match kernel {
            Kernel::Gemm { weight, .. } => (weight, false),
            Kernel::Training(TrainingKernel::GemmBackward { weight, .. }) => (weight, true),
            other => return self.host.launch(other, cubes, buffers, scalars),
        };
        let &[Scalar::U32(vectors), outs, rows, _] = scalars else {
            panic!("a product has four sizes: {scalars:?}");
        };
        let Scalar::U32(row_count) = rows else {
            panic!("rows are counted: {rows:?}");
        };
        let inner = vectors as usize * weight.vector();
        let x = self.rounded(buffers[1], row_count as usize * inner, weight);
        let nothing = self.host.upload(&[0; 32]);
        let (none, inner) = (Scalar::U32(0), Scalar::U32(count(inner)));
        let stride = if back { outs } else { inner };
        let wide = Scalar::U32(cubes[0] * 64);
        let multiply = TrainingKernel::Matmul {
            right: weight,
            left_transposed: false,
            right_transposed: !back,
        };
        let cubes = [cubes[0], row_count.div_ceil(64), 1];
        self.host.launch(
            Kernel::Training(multiply),
            cubes,
            &[&x, buffers[0], &nothing, buffers[2]],
            &[
                none,
                inner,
                none,
                stride,
                none,
                wide,
                rows,
                inner,
                outs,
                Scalar::F32(1.0),
                none,
            ],
        );
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Returns the largest difference of losses, and the smallest cosine of gradients by parameter.
fn apart(a: &(Vec<f64>, Vec<Vec<f32>>), b: &(Vec<f64>, Vec<Vec<f32>>)) -> (f64, f64) {
    assert_eq!(a.0.len(), b.0.len());
    let losses = a.0.iter().zip(&b.0).map(|(a, b)| (a - b).abs());
    let cosines = a.1.iter().zip(&b.1).map(|(a, b)| cosine(a, b));
    // NaN must not count as a small difference.
    let most = losses.fold(
        0.0,
        |most: f64, off| if off > most || off.is_nan() { off } else { most },
    );
    let least = cosines.fold(1.0, |least: f64, is| if is < least || is.is_nan() { is } else { least });
    (most, least)
}

#[test]
fn gradients_match_the_processor_up_to_tensor_core_rounding() {
    for name in FIXTURES {
        let (model, parameters) = adapted(name);
        let pack = joined(&packs(model.config().vocabulary));
        let pack = std::slice::from_ref(&pack);
        let chains = |rounds| {
            ours(
                Chains {
                    host: emulator(),
                    rounds,
                },
                &model,
                &parameters,
                pack,
            )
        };
        let (losses, cosine) = apart(&chains(false), &theirs(&model, &parameters, &pack[0]));
        println!("{name}: losses off by {losses:.1e}, cosine 1 - {:.1e}", 1.0 - cosine);
        assert!(losses <= 2e-4 && cosine >= 1.0 - 1e-6, "{name}: {losses}, {cosine}");
        let cores = ours(emulator(), &model, &parameters, pack);
        let (losses, cosine) = apart(&cores, &chains(true));
        println!(
            "  cores off from rounded chains by {losses:.1e}, cosine 1 - {:.1e}",
            1.0 - cosine
        );
        assert!(losses <= 1e-4 && cosine >= 1.0 - 1e-6, "{name}: {losses}, {cosine}");
        let (losses, cosine) = apart(&cores, &chains(false));
        println!("  rounding costs {losses:.1e}, cosine 1 - {:.1e}", 1.0 - cosine);
    }
}

/// A small world of tokens: records of odd lengths whose second half counts, of two contributors.
fn corpus(config: &Config, recipe: &Recipe) -> Corpus {
    let random = Random::new(4, Stream::Split);
    let mut corpus = Corpus::default();
    for record in 0..24usize {
        let length = 5 + record * 7 % 13;
        let token = |i: usize| u32::try_from(random.bits((50 * record + i) as u64) % config.vocabulary as u64).unwrap();
        let counts: Vec<bool> = (0..length).map(|i| i >= length / 2).collect();
        let owner = if record % 3 == 0 { "one" } else { "two" };
        let tokens = (0..length).map(token).collect();
        corpus.add(tokens, &counts, owner, config, recipe).unwrap();
    }
    corpus
}

fn recipe() -> Recipe {
    Recipe {
        seed: 5,
        rank: 4,
        batch: 3,
        epochs: 1,
        learning_rate: 5e-3,
        decay: 0.01,
        clip: Some(0.7),
        validation: 0.1,
        normalise: Normalise::Records,
        ..Recipe::default()
    }
}

fn trainer(name: &str, recipe: &Recipe, processor: Processor) -> (Model, Trainer) {
    let model = Model::read(&fixture(name)).unwrap();
    let corpus = corpus(model.config(), recipe);
    let weights = BTreeMap::from([("one".to_owned(), 0.5)]);
    let trainer = Trainer::new(&model, corpus, &weights, recipe.clone(), processor).unwrap();
    (model, trainer)
}

fn on_kernels(name: &str, processor: Processor) -> Trainer {
    let (model, trainer) = trainer(name, &recipe(), processor);
    trainer.on_gpu(&model, emulator()).unwrap()
}

fn numbers(trainer: &Trainer) -> Vec<f32> {
    trainer.parameters().flat_map(|(_, numbers)| numbers.to_vec()).collect()
}

/// Runs both to their end: largest difference of losses, and cosine of the changes.
fn together(ours: &mut Trainer, theirs: &mut Trainer) -> (f64, f64) {
    assert_eq!((ours.steps(), theirs.steps()), (7, 7));
    let mut most = 0.0f64;
    while !ours.is_done() {
        let (a, b) = (
            ours.step(&mut Unthrottled).unwrap(),
            theirs.step(&mut Unthrottled).unwrap(),
        );
        assert_eq!((a.step, a.rate, a.tokens), (b.step, b.rate, b.tokens));
        most = most.max((a.loss - b.loss).abs());
    }
    let (a, b) = (
        ours.validate(&mut Unthrottled).unwrap(),
        theirs.validate(&mut Unthrottled).unwrap(),
    );
    let validation = (a.unwrap() - b.unwrap()).abs();
    (most.max(validation), cosine(&numbers(ours), &numbers(theirs)))
}

#[test]
fn a_run_in_singles_ends_where_the_processors_ends() {
    for name in ["llama-1", "qwen3-5"] {
        let (_, mut theirs) = trainer(name, &recipe(), Processor::default());
        let (losses, cosine) = together(&mut on_kernels(name, Processor::default()), &mut theirs);
        println!("{name}: losses off by {losses:.1e}, cosine 1 - {:.1e}", 1.0 - cosine);
        assert!(losses <= 1e-4 && cosine >= 1.0 - 1e-6, "{name}: {losses}, {cosine}");
    }
}

#[test]
fn a_run_on_tensor_cores_ends_where_one_in_singles_ends_whose_rows_are_rounded() {
    for name in ["llama-2", "qwen2-4"] {
        let (model, chains) = trainer(name, &recipe(), Processor::default());
        let host = emulator();
        let mut chains = chains.on_gpu(&model, Chains { host, rounds: true }).unwrap();
        let mut ours = on_kernels(name, Processor::default());
        let (losses, cosine) = together(&mut ours, &mut chains);
        assert!(losses <= 1e-4 && cosine >= 1.0 - 1e-6, "{name}: {losses}, {cosine}");
        // Rounding costs some loss, but leads to the same adapter.
        let (_, mut theirs) = trainer(name, &recipe(), Processor::default());
        while !theirs.is_done() {
            theirs.step(&mut Unthrottled).unwrap();
        }
        let cosine = self::cosine(&numbers(&ours), &numbers(&theirs));
        println!("{name}: cosine with the processor's 1 - {:.1e}", 1.0 - cosine);
        assert!(cosine >= 0.999, "{name}: {cosine}");
    }
}

#[test]
fn neither_passes_nor_memory_nor_another_time_change_a_bit() {
    for name in ["llama-2", "qwen3-5"] {
        let mut first: Option<Vec<blake3::Hash>> = None;
        for (pass_tokens, keep_bytes) in [(1024, 1 << 30), (1024, 0), (1, 40_000), (1024, 1 << 30)] {
            let mut trainer = on_kernels(
                name,
                Processor {
                    pass_tokens,
                    keep_bytes,
                    ..Processor::default()
                },
            );
            for _ in 0..2 {
                trainer.step(&mut Unthrottled).unwrap();
            }
            let expected = first.get_or_insert_with(|| trainer.roots().to_vec());
            assert_eq!(
                trainer.roots(),
                expected,
                "{name}: passes of {pass_tokens}, {keep_bytes} bytes activations"
            );
        }
    }
}

#[test]
fn a_run_goes_on_from_a_checkpoint_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut whole = on_kernels("qwen2-4", Processor::default());
    whole.step(&mut Unthrottled).unwrap();
    whole.checkpoint(&path).unwrap();
    whole.step(&mut Unthrottled).unwrap();
    let mut resumed = on_kernels("qwen2-4", Processor::default());
    // The steps done in between are forgotten.
    resumed.step(&mut Unthrottled).unwrap();
    resumed.resume(&path).unwrap();
    resumed.step(&mut Unthrottled).unwrap();
    assert_eq!(resumed.roots(), whole.roots());
    assert_eq!(numbers(&resumed), numbers(&whole));
}

#[test]
fn a_run_of_another_class_is_refused_by_what_computed_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut ours = on_kernels("llama-1", Processor::default());
    let (_, mut theirs) = trainer("llama-1", &recipe(), Processor::default());
    assert_ne!(ours.run_id(), theirs.run_id());
    assert_eq!((ours.class(), theirs.class()), ("host f32 kernels 1", "processor"));
    ours.step(&mut Unthrottled).unwrap();
    ours.checkpoint(&path).unwrap();
    let error = theirs.resume(&path).unwrap_err();
    assert!(
        matches!(&error, TrainError::Checkpoint(CheckpointError::Class { .. })),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("`host f32 kernels 1`") && text.contains("`--device cuda`"),
        "{text}"
    );
    theirs.step(&mut Unthrottled).unwrap();
    theirs.checkpoint(&path).unwrap();
    let text = ours.resume(&path).unwrap_err().to_string();
    assert!(
        text.contains("`processor`") && text.contains("`--device cpu`"),
        "{text}"
    );
}

#[test]
fn a_recipe_for_processors_only_is_refused_by_its_field() {
    let cases = [
        (
            "method",
            Recipe {
                method: Method::Full,
                ..recipe()
            },
        ),
        (
            "base",
            Recipe {
                base: Base::Int8,
                ..recipe()
            },
        ),
        (
            "tokens_max",
            Recipe {
                tokens_max: 1 << 17,
                ..recipe()
            },
        ),
    ];
    for (field, recipe) in cases {
        let (model, trainer) = trainer("llama-1", &recipe, Processor::default());
        match trainer.on_gpu(&model, emulator()).err() {
            Some(TrainError::Recipe(error)) => {
                assert_eq!(error.field, field);
                assert!(error.why.contains("--device cpu"), "{error}");
            }
            other => panic!("{field}: {other:?}"),
        }
    }
}
