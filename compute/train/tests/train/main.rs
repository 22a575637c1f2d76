//! Training compared with PEFT and PyTorch, and the promise that a run is a function. `fixtures/train.py` made the
//! fixtures.

#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a test computes, and stops where it cannot"
)]

mod bad;
mod bits;
mod learn;
mod reference;
mod resume;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use compute::{
    kernel::Level,
    model::{Config, Model},
};
use serde::Deserialize;
use train::{Corpus, EpsilonPlace, Machine, Output, Recipe, Schedule, Trainer, Unthrottled};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

/// The records that a model was trained on. Stored beside the models, since a folder inside one is taken for an
/// adapter.
fn training(model: &Path) -> PathBuf {
    let name = model.file_name().expect("a model has a name");
    model.with_file_name("training").join(name)
}

#[derive(Deserialize)]
struct Record {
    tokens: Vec<u32>,
    answer: usize,
    contributor: String,
}

fn read<T: for<'a> Deserialize<'a>>(path: PathBuf) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn weights() -> BTreeMap<String, f64> {
    [("ann", 1.0), ("bob", 0.5), ("eve", 0.0)]
        .map(|(name, weight)| (name.to_owned(), weight))
        .into()
}

/// The recipe that `train.py` uses.
fn recipe() -> Recipe {
    Recipe {
        seed: 11,
        rank: 4,
        alpha: 8.0,
        epochs: 5,
        batch: 4,
        learning_rate: 5e-3,
        schedule: Schedule::Linear,
        warmup_steps: 5,
        decay: 0.01,
        ..Recipe::default()
    }
}

fn corpus(dir: &Path, config: &Config, recipe: &Recipe) -> Corpus {
    let mut corpus = Corpus::default();
    for record in read::<Vec<Record>>(training(dir).join("records.json")) {
        let counts: Vec<bool> = (0..record.tokens.len()).map(|i| i >= record.answer).collect();
        corpus
            .add(record.tokens, &counts, &record.contributor, config, recipe)
            .unwrap();
    }
    corpus
}

/// A run over the fixture's records on a tiny model.
fn trainer(name: &str, recipe: Recipe, machine: Machine) -> Trainer {
    let model = Model::read(&fixture(name)).unwrap();
    let corpus = corpus(&fixture(name), model.config(), &recipe);
    Trainer::new(&model, corpus, &weights(), recipe, machine).unwrap()
}

/// A short recipe that uses every feature.
fn short() -> Recipe {
    Recipe {
        epochs: 2,
        clip: Some(0.5),
        epsilon_place: EpsilonPlace::Inside,
        schedule: Schedule::Cosine,
        validation: 0.1,
        validate_every: Some(4),
        ..recipe()
    }
}

fn machine(threads: usize, level: Level, keep_bytes: usize, pass_tokens: usize) -> Machine {
    Machine {
        threads,
        level,
        keep_bytes,
        pass_tokens,
    }
}

/// Step roots and all parameters.
type End = (Vec<blake3::Hash>, Vec<u8>);

fn finish(trainer: &mut Trainer) -> End {
    while !trainer.is_done() {
        trainer.step(&mut Unthrottled).unwrap();
    }
    (trainer.roots().to_vec(), trainer.to_safetensors())
}

fn output(dir: &Path) -> Output {
    Output {
        dir: dir.to_owned(),
        base_model: "tiny".to_owned(),
        checkpoint_every: 5,
        checkpoints_max: None,
    }
}
