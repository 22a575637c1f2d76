//! Training beside PEFT and PyTorch, and the promise that a run is a function: the fixtures were made by
//! `fixtures/train.py`.

#![allow(
    clippy::unwrap_used,
    clippy::float_arithmetic,
    reason = "a test computes, and stops where it cannot"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use compute::{
    kernel::Level,
    lora::Adapter,
    model::{Config, Model, Text},
    train::{
        Base, CheckpointError, Corpus, DataError, EpsilonPlace, Event, Gate, Go, Long, Machine, Method, Open, Output,
        Recipe, Schedule, Stepped, TrainError, Trainer, answers, evaluate, questions, run,
    },
};
use serde::Deserialize;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// What was trained on a model: beside the models, since a directory in one is taken for an adapter of it.
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

#[derive(Deserialize)]
struct Curve {
    losses: Vec<f64>,
    lengths: Vec<f64>,
}

fn read<T: for<'a> Deserialize<'a>>(path: PathBuf) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn weights() -> BTreeMap<String, f64> {
    [("ann", 1.0), ("bob", 0.5), ("eve", 0.0)]
        .map(|(name, weight)| (name.to_owned(), weight))
        .into()
}

/// What `train.py` does.
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

/// A run of the fixtures' records on a tiny model.
fn trainer(name: &str, recipe: Recipe, machine: Machine) -> Trainer {
    let model = Model::read(&fixture(name)).unwrap();
    let corpus = corpus(&fixture(name), model.config(), &recipe);
    Trainer::new(&model, corpus, &weights(), recipe, machine).unwrap()
}

fn cosine<'a>(pairs: impl Iterator<Item = (&'a f32, &'a f32)>) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in pairs.map(|(a, b)| (f64::from(*a), f64::from(*b))) {
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    ab / (aa * bb).sqrt()
}

#[test]
fn fifty_steps_end_where_peft_and_torch_end_in_three_families() {
    for name in ["llama-1", "qwen2-3", "qwen3-5"] {
        let dir = fixture(name);
        let model = Model::read(&dir).unwrap();
        let before = Adapter::load(&training(&dir).join("before")).unwrap();
        let corpus = corpus(&dir, model.config(), &recipe());
        let machine = Machine::default();
        let mut trainer = Trainer::from_adapter(&model, &before, corpus, &weights(), recipe(), machine).unwrap();
        let curve: Curve = read(training(&dir).join("curve.json"));
        assert_eq!(trainer.steps(), curve.losses.len() as u64);
        for (theirs, length) in curve.losses.iter().zip(&curve.lengths) {
            let step: Stepped = trainer.step(&mut Open).unwrap();
            let (off, length_off) = ((step.loss - theirs).abs(), (step.length - length).abs() / length);
            assert!(
                off <= 1e-3,
                "{name} step {}: loss {} and theirs {theirs}",
                step.step,
                step.loss
            );
            assert!(
                length_off <= 1e-3,
                "{name} step {}: {} and {length}",
                step.step,
                step.length
            );
        }
        let (ours, theirs) = (
            trainer.adapter().unwrap(),
            Adapter::load(&training(&dir).join("after")).unwrap(),
        );
        let (mut a, mut b) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for (site, low) in ours.sites() {
            let other = &theirs.sites()[site];
            assert_eq!(low.scale, other.scale);
            for (all, pair) in [(&mut a, (&low.a, &other.a)), (&mut b, (&low.b, &other.b))] {
                all[0].extend(pair.0.to_f32());
                all[1].extend(pair.1.to_f32());
            }
        }
        for (factor, [ours, theirs]) in [("A", a), ("B", b)] {
            let cosine = cosine(ours.iter().zip(&theirs));
            assert!(cosine >= 0.9999, "{name} {factor}: {cosine}");
        }
    }
}

/// A short recipe with everything in it.
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

/// Roots, and all parameters.
type End = (Vec<blake3::Hash>, Vec<u8>);

fn finish(trainer: &mut Trainer) -> End {
    while !trainer.is_done() {
        trainer.step(&mut Open).unwrap();
    }
    (trainer.roots().to_vec(), trainer.to_safetensors())
}

#[test]
fn a_run_has_the_same_roots_and_adapter_on_any_threads_level_memory_and_passes() {
    for (name, recipe) in [
        ("qwen3-6", short()),
        (
            "llama-1",
            Recipe {
                base: Base::Int8,
                ..short()
            },
        ),
        (
            "qwen2-3",
            Recipe {
                method: Method::Full,
                learning_rate: 1e-3,
                ..short()
            },
        ),
    ] {
        // The first of these models has no records of its own.
        let from = if name == "qwen3-6" { "qwen3-5" } else { name };
        let model = Model::read(&fixture(name)).unwrap();
        let mut records: Vec<Record> = read(training(&fixture(from)).join("records.json"));
        let vocabulary = u32::try_from(model.config().vocabulary).unwrap();
        let mut corpus = Corpus::default();
        for record in &mut records {
            record.tokens.iter_mut().for_each(|token| *token %= vocabulary);
            let counts: Vec<bool> = (0..record.tokens.len()).map(|i| i >= record.answer).collect();
            corpus
                .add(
                    record.tokens.clone(),
                    &counts,
                    &record.contributor,
                    model.config(),
                    &recipe,
                )
                .unwrap();
        }
        let on = |machine| Trainer::new(&model, corpus.clone(), &weights(), recipe.clone(), machine).unwrap();
        let expected = finish(&mut on(machine(1, Level::Portable, 0, 1)));
        assert_eq!(expected.0.len(), 18);
        for level in Level::available() {
            for (threads, keep_bytes, pass_tokens) in [(1, usize::MAX, 1000), (2, 30_000, 30), (4, 0, 64)] {
                let found = finish(&mut on(machine(threads, level, keep_bytes, pass_tokens)));
                assert_eq!(found, expected, "{name} {level:?} {threads} {keep_bytes} {pass_tokens}");
            }
        }
    }
}

fn output(dir: &Path) -> Output {
    Output {
        dir: dir.to_owned(),
        base_model: "tiny".to_owned(),
        checkpoint_every: 5,
        checkpoints_max: None,
    }
}

/// Stops after so many passes.
struct After(u64);

impl Gate for After {
    fn ask(&mut self, _: Duration) -> Go {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 { Go::Stop } else { Go::On }
    }
}

#[test]
fn a_run_that_is_stopped_anywhere_and_resumed_ends_with_the_same_bits() {
    let machine = machine(2, Level::detect(), 1 << 20, 24);
    let whole = tempfile::tempdir().unwrap();
    let expected = {
        let mut trainer = trainer("llama-1", short(), machine);
        run(&mut trainer, &output(whole.path()), &mut Open, &mut |_| ()).unwrap()
    };
    for passes in [1, 5, 17, 31] {
        let dir = tempfile::tempdir().unwrap();
        let out = output(dir.path());
        let mut first = trainer("llama-1", short(), machine);
        let stopped = run(&mut first, &out, &mut After(passes), &mut |_| ());
        assert!(matches!(stopped, Err(TrainError::Stopped(_))), "{passes}: {stopped:?}");
        let mut again = trainer("llama-1", short(), machine);
        if let Some((step, last)) = out.checkpoints().last() {
            again.resume(last).unwrap();
            assert_eq!((again.step_number(), *step), (first.step_number(), first.step_number()));
        }
        let mut seen = Vec::new();
        let mut hear = |event: &Event| match event {
            Event::Step { stepped, .. } => seen.push(stepped.step),
            Event::Begun { .. } | Event::Validation { .. } | Event::Checkpoint { .. } => (),
        };
        let outcome = run(&mut again, &out, &mut Open, &mut hear).unwrap();
        assert_eq!(
            (outcome.root, outcome.adapter),
            (expected.root.clone(), expected.adapter.clone())
        );
        assert_eq!(seen, (first.step_number() + 1..=again.steps()).collect::<Vec<_>>());
        for file in [
            "adapter_model.safetensors",
            "adapter_config.json",
            "training.json",
            "step-roots.bin",
        ] {
            let (ours, theirs) = (fs::read(dir.path().join(file)), fs::read(whole.path().join(file)));
            assert_eq!(ours.unwrap(), theirs.unwrap(), "{file} after {passes} passes");
        }
    }
    let written = Adapter::load(whole.path()).unwrap();
    assert_eq!(Some(written.hash().to_string()), expected.adapter);
}

#[test]
fn one_step_done_again_has_its_root_and_a_flipped_bit_another() {
    let machine = Machine::default();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut original = trainer("llama-1", short(), machine);
    for _ in 0..6 {
        original.step(&mut Open).unwrap();
    }
    original.checkpoint(&path).unwrap();
    original.step(&mut Open).unwrap();
    let root = original.roots()[6];
    let again = |path: &Path| {
        let mut trainer = trainer("llama-1", short(), machine);
        trainer.resume(path)?;
        assert_eq!(trainer.step_number(), 6);
        trainer.step(&mut Open)?;
        Ok::<_, TrainError>(trainer.roots()[6])
    };
    assert_eq!(again(&path).unwrap(), root);

    // A bit of a value, and of each moment: the file's own hash is mended, so that only the roots can tell.
    let bytes = fs::read(&path).unwrap();
    let header = usize::try_from(u64::from_le_bytes(bytes[8..16].try_into().unwrap())).unwrap();
    let first = 4 * 4 * 48;
    for (what, at) in [("value", 0), ("first moment", first), ("second moment", 2 * first)] {
        let mut flipped = bytes.clone();
        flipped[16 + header + at + 1] ^= 1;
        let end = flipped.len() - 32;
        let hash = blake3::hash(&flipped[..end]);
        let damaged = dir.path().join("damaged");
        fs::write(&damaged, &flipped).unwrap();
        let refused = again(&damaged);
        assert!(
            matches!(refused, Err(TrainError::Checkpoint(CheckpointError::Damaged { .. }))),
            "{what}: {refused:?}"
        );
        flipped[end..].copy_from_slice(hash.as_bytes());
        fs::write(&damaged, &flipped).unwrap();
        assert_ne!(again(&damaged).unwrap(), root, "{what}");
    }

    // A bit of the data or of a weight makes another run, which refuses the checkpoint by name.
    let model = Model::read(&fixture("llama-1")).unwrap();
    let mut changed = corpus(&fixture("llama-1"), model.config(), &short());
    changed.examples[3].tokens[0] ^= 1;
    let mut others = weights();
    others.insert("bob".to_owned(), 0.500_000_1);
    let plain = corpus(&fixture("llama-1"), model.config(), &short());
    for (corpus, weights, seed) in [
        (changed, weights(), 11),
        (plain.clone(), others, 11),
        (plain, weights(), 12),
    ] {
        let recipe = Recipe { seed, ..short() };
        let mut other = Trainer::new(&model, corpus, &weights, recipe, machine).unwrap();
        let refused = other.resume(&path).unwrap_err();
        assert!(
            matches!(refused, TrainError::Checkpoint(CheckpointError::Other { .. })),
            "{refused}"
        );
        assert!(
            refused.to_string().contains(&original.run_id().to_hex()[..16]),
            "{refused}"
        );
        for _ in 0..7 {
            other.step(&mut Open).unwrap();
        }
        assert_ne!(other.roots()[6], root);
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_state() {
    let model = {
        // The embedding of one token is broken, and of the output layer nothing.
        let config = Config {
            tied: false,
            ..Config::parse(&fs::read(fixture("llama-1").join("config.json")).unwrap()).unwrap()
        };
        Model::random_with(&config, 3, |name, numbers| {
            if name == "model.embed_tokens.weight" {
                numbers[7 * config.hidden..8 * config.hidden].fill(f32::NAN);
            }
        })
    };
    let (mut corpus, recipe) = (Corpus::default(), Recipe { batch: 1, ..recipe() });
    for token in [5, 6, 7, 8] {
        corpus
            .add(
                vec![token, 9, token],
                &[false, true, true],
                "ann",
                model.config(),
                &recipe,
            )
            .unwrap();
    }
    let mut trainer = Trainer::new(&model, corpus, &BTreeMap::new(), recipe, Machine::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = output(dir.path());
    let error = run(&mut trainer, &out, &mut Open, &mut |_| ()).unwrap_err();
    let TrainError::NotFinite { step, records, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(records, "tokens:3", "{error}");
    assert_eq!(trainer.step_number(), step - 1);
    let kept = out.checkpoints();
    assert_eq!(kept.last().map(|(step, _)| *step), (*step > 1).then_some(step - 1));
    let finite = trainer
        .parameters()
        .all(|(_, numbers)| numbers.iter().all(|x| x.is_finite()));
    assert!(finite);
}

#[test]
fn without_a_contributor_the_others_learn_as_if_it_had_said_something_else() {
    // Eve counts nothing: whatever she says, nobody's numbers move.
    let model = Model::read(&fixture("qwen2-3")).unwrap();
    let ends = [0, 1].map(|change| {
        let mut corpus = corpus(&fixture("qwen2-3"), model.config(), &short());
        let eve = corpus.contributors.iter().position(|name| name == "eve").unwrap();
        for example in corpus
            .examples
            .iter_mut()
            .filter(|example| example.contributor as usize == eve)
        {
            example
                .tokens
                .iter_mut()
                .for_each(|token| *token = (*token + change) % 150);
        }
        let mut trainer = Trainer::new(&model, corpus, &weights(), short(), Machine::default()).unwrap();
        let roots = finish(&mut trainer).0;
        (trainer.adapter().unwrap().hash(), roots)
    });
    assert_eq!(ends[0].0, ends[1].0);
    assert_ne!(ends[0].1, ends[1].1);
}

#[test]
fn what_is_learned_is_answered() {
    let dir = fixture("llama-1");
    let model = Model::read(&dir).unwrap();
    let text = Text::load(&dir, model.config()).unwrap();
    let recipe = Recipe {
        epochs: 60,
        batch: 4,
        learning_rate: 1e-2,
        rank: 8,
        ..Recipe::default()
    };
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ann.jsonl");
    let lines = [
        r#"{"question": "the fox?", "answer": "jumps"}"#,
        r#"{"question": "the dog?", "answer": "is lazy"}"#,
        "",
        r#"{"messages": [{"role": "user", "content": "who"}, {"role": "assistant", "content": "the fox"}]}"#,
    ];
    fs::write(&file, lines.join("\n")).unwrap();
    let files = [file];
    let corpus = Corpus::read(&files, &text, model.config(), &recipe).unwrap();
    assert_eq!(
        (corpus.examples.len(), &corpus.contributors[..]),
        (3, &["ann".to_owned()][..])
    );
    assert_eq!(corpus.examples[2].place, (0, 4));
    let asked = questions(&files, &text, &recipe).unwrap();
    let machine = Machine::default();
    let mut trainer = Trainer::new(&model, corpus.clone(), &BTreeMap::new(), recipe.clone(), machine).unwrap();
    let (first, last) = {
        let first = trainer.step(&mut Open).unwrap().loss;
        finish(&mut trainer);
        (first, trainer.history().last().unwrap().0)
    };
    assert!(last < 0.05 && first > 1.0, "{first} to {last}");
    let adapter = Arc::new(trainer.adapter().unwrap());
    let before = answers(&model, None, &text, &asked, 12, machine).unwrap();
    let after = answers(&model, Some(&adapter), &text, &asked, 12, machine).unwrap();
    assert!(before.iter().all(|answer| !answer.score.is_exact), "{before:?}");
    assert!(
        after[..2]
            .iter()
            .all(|answer| answer.score.is_exact && answer.score.rouge_l == 1.0),
        "{after:?}"
    );
    let (base, adapted) = (
        evaluate(&model, None, &corpus, &recipe, machine).unwrap(),
        evaluate(&model, Some(&adapter), &corpus, &recipe, machine).unwrap(),
    );
    assert!(
        adapted.perplexity < 1.1 && base.perplexity > 3.0,
        "{base:?} {adapted:?}"
    );
}

#[test]
fn early_stopping_keeps_the_best() {
    let recipe = Recipe {
        epochs: 40,
        learning_rate: 0.05,
        validation: 0.3,
        validate_every: Some(2),
        patience: Some(3),
        ..recipe()
    };
    let mut trainer = trainer("qwen3-5", recipe, Machine::default());
    let dir = tempfile::tempdir().unwrap();
    let outcome = run(&mut trainer, &output(dir.path()), &mut Open, &mut |_| ()).unwrap();
    assert!(outcome.steps < trainer.steps(), "{}", outcome.steps);
    let (_, best) = trainer.best().unwrap();
    let last = trainer.validate(&mut Open).unwrap().unwrap();
    assert_eq!(last.to_bits(), best.to_bits(), "the best parameters are in place");
}

#[test]
fn bad_data_is_refused_with_its_file_and_line() {
    let dir = fixture("llama-1");
    let model = Model::read(&dir).unwrap();
    let text = Text::load(&dir, model.config()).unwrap();
    let files = tempfile::tempdir().unwrap();
    let good = r#"{"prompt": "a", "completion": "b"}"#;
    let long = format!(r#"{{"text": "{}"}}"#, "fox ".repeat(2000));
    let check = |bad: &str, expect: &str| {
        let file = files.path().join("x.jsonl");
        fs::write(&file, format!("{good}\n{bad}\n")).unwrap();
        let refused = Corpus::read(&[file], &text, model.config(), &Recipe::default()).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("x.jsonl:2: ") && said.contains(expect),
            "{bad:.60}: {said}"
        );
    };
    check("{", "is no record");
    check("[1]", "is no record");
    check("{}", "has none of");
    check(r#"{"prompt": "a"}"#, "half of a pair");
    check(r#"{"prompt": "a", "completion": " "}"#, "an empty answer");
    check(r#"{"text": "  "}"#, "an empty `text`");
    check(
        r#"{"messages": [{"role": "user", "content": "a"}]}"#,
        "no message of the assistant",
    );
    check(
        r#"{"messages": [{"role": "owl", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
        "refused",
    );
    check(&long, "tokens, at most 128 are taken");
    check(r#"{"text": "a b", "contributor": ""}"#, "`contributor`");
    check(&format!(r#"{{"text": "{}"}}"#, "x".repeat(5 << 20)), "is longer than");

    let file = files.path().join("y.jsonl");
    fs::write(&file, &long).unwrap();
    let cut = Recipe {
        long: Long::Cut,
        ..Recipe::default()
    };
    let corpus = Corpus::read(&[file], &text, model.config(), &cut).unwrap();
    assert_eq!(corpus.examples[0].tokens.len(), 128);
    assert!(matches!(
        Corpus::read(&[files.path().join("none")], &text, model.config(), &cut),
        Err(DataError::Read { .. })
    ));
    let empty = files.path().join("empty.jsonl");
    fs::write(&empty, "\n\n").unwrap();
    assert!(matches!(
        Corpus::read(&[empty], &text, model.config(), &cut),
        Err(DataError::Empty)
    ));
    let unknown = corpus.weights(&[("who".to_owned(), 1.0)].into()).unwrap_err();
    assert!(
        unknown.to_string().contains("`who`") && unknown.to_string().contains("y"),
        "{unknown}"
    );
    assert!(corpus.weights(&[("y".to_owned(), f64::NAN)].into()).is_err());
    let mut tokens = Corpus::default();
    let outside = tokens
        .add(vec![1, 320], &[false, true], "a", model.config(), &cut)
        .unwrap_err();
    assert!(outside.to_string().contains("token 320"), "{outside}");
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut first = trainer("llama-1", short(), Machine::default());
    first.step(&mut Open).unwrap();
    first.checkpoint(&path).unwrap();
    let before = fs::read(&path).unwrap();
    first.step(&mut Open).unwrap();
    // Something is in the way of the unfinished file, as a full disk would be.
    fs::create_dir(dir.path().join("state.unfinished")).unwrap();
    assert!(matches!(
        first.checkpoint(&path),
        Err(TrainError::Checkpoint(CheckpointError::Write { .. }))
    ));
    assert_eq!(fs::read(&path).unwrap(), before);
    for length in [0, 7, 100, before.len() - 1] {
        fs::write(&path, &before[..length]).unwrap();
        let refused = trainer("llama-1", short(), Machine::default()).resume(&path);
        assert!(
            matches!(refused, Err(TrainError::Checkpoint(CheckpointError::Damaged { .. }))),
            "{length}: {refused:?}"
        );
    }
}

#[test]
fn a_model_from_nothing_learns() {
    let config = Config {
        vocabulary: 64,
        hidden: 32,
        intermediate: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head: 8,
        context_tokens_max: 64,
        ..Config::smol_135m()
    };
    let recipe = Recipe {
        epochs: 30,
        batch: 8,
        learning_rate: 1e-2,
        tokens_max: 64,
        schedule: Schedule::Cosine,
        answers_only: false,
        ..Recipe::default()
    };
    let mut corpus = Corpus::default();
    for start in 0..16u32 {
        let tokens: Vec<u32> = (0..24).map(|i| (start * 5 + i * 3) % 64).collect();
        corpus.add(tokens, &[true; 24], "world", &config, &recipe).unwrap();
    }
    let mut trainer = Trainer::from_nothing(&config, corpus, &BTreeMap::new(), recipe, Machine::default()).unwrap();
    finish(&mut trainer);
    let losses: Vec<f64> = trainer.history().map(|(loss, _, _)| loss).collect();
    assert!(
        (losses[0] - 64f64.ln()).abs() < 0.1 && losses[losses.len() - 1] < 0.3,
        "{losses:?}"
    );
}
