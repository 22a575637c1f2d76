//! Settings that change no bit of a run, and changes that do.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use compute::{
    kernel::Level,
    model::{Model, Text},
};
use train::{
    Base, CheckpointError, Corpus, EvalPrompt, Foreground, Machine, Method, Proceed, Recipe, Throttle, TrainError,
    Trainer, Unthrottled, answers,
};

use super::{Record, corpus, finish, fixture, machine, read, short, trainer, training, weights};

#[test]
fn roots_do_not_depend_on_threads_level_memory_or_passes() {
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

/// The result of the short run over `llama-1` in every build: debug or release, on any machine.
const ROOT: &str = "6b17b4509de9845a7f5f5937376269b2446b99c1af521338a8cdf4dff540ae30";
const ADAPTER: &str = "0xfb16bfe9f24fbd01e9dcb3d21d8af7dd945000c27f7b0f2b8aaccdb26a9c83f4";

#[test]
fn every_build_gives_the_same_bits() {
    let mut trainer = trainer("llama-1", short(), Machine::default());
    let (roots, _) = finish(&mut trainer);
    let adapter = trainer.adapter().unwrap().hash().to_string();
    assert_eq!(
        (roots.last().unwrap().to_hex().as_str(), adapter.as_str()),
        (ROOT, ADAPTER)
    );
}

#[test]
fn serving_and_training_at_once_changes_no_bit_of_either() {
    let dir = fixture("llama-1");
    let model = Model::read(&dir).unwrap();
    let text = Text::load(&dir, model.config()).unwrap();
    let asked = ["the fox", "the dog", "quick"].map(|text_of| EvalPrompt {
        prompt: text.tokenizer.encode(text_of, true).unwrap(),
        answer: String::new(),
    });
    let serve = || {
        let said = answers(
            &model,
            None,
            &text,
            &asked,
            40,
            Machine {
                threads: 2,
                ..Machine::default()
            },
        )
        .unwrap();
        said.into_iter().map(|said| said.said).collect::<Vec<_>>()
    };
    let (alone, quiet) = (finish(&mut trainer("llama-1", short(), Machine::default())), serve());
    let done = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let mut rounds = vec![serve()];
            while !done.load(Relaxed) {
                rounds.push(serve());
            }
            rounds
        });
        for threads in [1, 2, 4] {
            let machine = Machine {
                threads,
                ..Machine::default()
            };
            assert_eq!(
                finish(&mut trainer("llama-1", short(), machine)),
                alone,
                "{threads} threads"
            );
        }
        done.store(true, Relaxed);
        serving.join().unwrap()
    });
    assert!(beside.iter().all(|said| *said == quiet));
}

/// A foreground that is busy at every other check.
struct Restless(Arc<AtomicBool>);

impl Throttle for Restless {
    fn after_pass(&mut self, _: Duration) -> Proceed {
        Proceed::Continue
    }

    fn foreground(&self) -> Option<Foreground> {
        let turn = self.0.clone();
        Some(Foreground {
            is_busy: Arc::new(move || turn.fetch_xor(true, Relaxed)),
            share_percent: 10,
        })
    }
}

#[test]
fn yielding_to_the_foreground_changes_no_bit() {
    let expected = finish(&mut trainer("llama-1", short(), Machine::default()));
    let mut trainer = trainer("llama-1", short(), machine(2, Level::detect(), 1 << 20, 64));
    let mut gate = Restless(Arc::default());
    while !trainer.is_done() {
        trainer.step(&mut gate).unwrap();
    }
    assert_eq!((trainer.roots().to_vec(), trainer.to_safetensors()), expected);
}

#[test]
fn one_step_done_again_has_its_root_and_a_flipped_bit_another() {
    let machine = Machine::default();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut original = trainer("llama-1", short(), machine);
    for _ in 0..6 {
        original.step(&mut Unthrottled).unwrap();
    }
    original.checkpoint(&path).unwrap();
    original.step(&mut Unthrottled).unwrap();
    let root = original.roots()[6];
    let again = |path: &Path| {
        let mut trainer = trainer("llama-1", short(), machine);
        trainer.resume(path)?;
        assert_eq!(trainer.step_number(), 6);
        trainer.step(&mut Unthrottled)?;
        Ok::<_, TrainError>(trainer.roots()[6])
    };
    assert_eq!(again(&path).unwrap(), root);

    // A bit of a value and of each moment; the file's own hash is corrected, so that only the roots can differ.
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

    // A bit of the data or of a weight makes another run, which refuses the checkpoint.
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
            other.step(&mut Unthrottled).unwrap();
        }
        assert_ne!(other.roots()[6], root);
    }
}

#[test]
fn a_contributor_of_weight_zero_changes_nothing_for_the_others() {
    // Eve has weight zero: her records change no number of the others.
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
