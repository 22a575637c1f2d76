//! Training `pico` from nothing: a corpus, a vocabulary of its words, and a run of full training.
//!
//! The vocabulary and the run with its checkpoints are kept in one folder, from which the same command continues
//! after an interruption, with the same bits.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use compute::{
    model::{SpecialTokens, Text},
    tensors::Dtype,
};
use serde_json::json;
use train::{
    self, Corpus, Event, Machine, Output, Trainer, Unthrottled,
    vocabulary::{self, Vocabulary, WordCounts},
};

use crate::plan::Plan;

/// Steps between two checkpoints.
const CHECKPOINT_EVERY: u64 = 200;

/// Steps between two lines of the log.
const LINE_EVERY: u64 = 25;

/// Folders and threads of the training.
pub(crate) struct Paths {
    /// Folder of the vocabulary and the run.
    pub(crate) work: PathBuf,
    /// Folder of the finished model.
    pub(crate) out: PathBuf,
    /// Number of threads that compute.
    pub(crate) threads: usize,
}

/// Trains the model, or continues its training.
pub(crate) fn make(plan: &Plan, paths: &Paths) -> Result<()> {
    let begun = Instant::now();
    let work = &paths.work;
    fs::create_dir_all(work).with_context(|| format!("could not make {}", work.display()))?;
    let documents = documents(plan);
    let vocabulary = learn_vocabulary(&documents, plan)?;
    vocabulary.write(&work.join("tokenizer.json"), Some(plan.dimensions.context_tokens_max))?;
    put(&work.join("generation_config.json"), &generation())?;
    let config = plan.config();
    let text = Text::load(work, &config)?;
    let corpus = corpus(&documents, &text, plan)?;
    let tokens: usize = corpus.examples.iter().map(|example| example.tokens.len()).sum();
    eprintln!(
        "{} documents, {tokens} tokens of {} words, after {:.0} s",
        documents.len(),
        vocabulary.tokens(),
        begun.elapsed().as_secs_f64()
    );
    let machine = Machine {
        threads: paths.threads,
        pass_tokens: 4096,
        ..Machine::default()
    };
    let mut trainer = Trainer::from_nothing(&config, corpus, &BTreeMap::new(), plan.recipe.clone(), machine)?;
    let output = Output {
        dir: work.join("run"),
        base_model: "nothing".to_owned(),
        checkpoint_every: CHECKPOINT_EVERY,
        checkpoints_max: Some(2),
    };
    if let Some((_, last)) = output.checkpoints().last() {
        let another = || {
            format!(
                "{} holds another run; remove it, or name another --work",
                work.display()
            )
        };
        trainer.resume(last).with_context(another)?;
    }
    let outcome = train::run(&mut trainer, &output, &mut Unthrottled, &mut say)?;
    let model = trainer.model(Dtype::BF16).expect("all weights are trained");
    let mark = vocabulary::special;
    let marks = SpecialTokens {
        begin: mark(vocabulary::BEGIN),
        pad: mark(vocabulary::PAD),
    };
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        fs::create_dir_all(&paths.out).with_context(|| format!("could not make {}", paths.out.display()))?;
        let to = paths.out.join(name);
        fs::copy(work.join(name), &to).with_context(|| format!("could not write {}", to.display()))?;
    }
    model.write(&paths.out, marks)?;
    eprintln!(
        "{} after {:.0} s: loss {:.4}, validation {:.4}, root {}",
        paths.out.display(),
        begun.elapsed().as_secs_f64(),
        outcome.loss,
        outcome.validation.unwrap_or(f64::NAN),
        outcome.root
    );
    Ok(())
}

/// Returns whole documents of the world's corpus, until they have as many bytes as the plan says.
fn documents(plan: &Plan) -> Vec<String> {
    let mut bytes = 0;
    let texts = world::Corpus::new(plan.seed).map(|document| document.text);
    texts
        .take_while(|text| {
            let is_wanted = bytes < plan.corpus_bytes;
            bytes += text.len();
            is_wanted
        })
        .collect()
}

fn learn_vocabulary(documents: &[String], plan: &Plan) -> Result<Vocabulary> {
    let mut words = WordCounts::default();
    for document in documents {
        words.add(document)?;
    }
    Ok(Vocabulary::learn(&words, plan.dimensions.vocabulary)?)
}

/// Tokenises the documents: each is one record, all of whose tokens count.
fn corpus(documents: &[String], text: &Text, plan: &Plan) -> Result<Corpus> {
    let (mut corpus, config) = (Corpus::default(), plan.config());
    for document in documents {
        let mut tokens = text.tokenizer.encode(document, true)?;
        tokens.extend(&config.end_tokens);
        let counts = vec![true; tokens.len()];
        corpus.add(tokens, &counts, "world", &config, &plan.recipe)?;
    }
    Ok(corpus)
}

/// Returns the sampling defaults: greedy, since the model is asked for facts.
fn generation() -> Vec<u8> {
    let token = vocabulary::special;
    let fields = json!({
        "bos_token_id": token(vocabulary::BEGIN),
        "eos_token_id": token(vocabulary::END),
        "pad_token_id": token(vocabulary::PAD),
        "do_sample": false,
    });
    format!("{fields:#}\n").into_bytes()
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("could not write {}", path.display()))
}

fn say(event: &Event) {
    match event {
        Event::Begun { step, steps, .. } => eprintln!("step {step} of {steps}"),
        Event::Step {
            stepped,
            tokens_per_second,
            eta_seconds,
            ..
        } if stepped.step.is_multiple_of(LINE_EVERY) => eprintln!(
            "step {}: loss {:.4}, rate {:.5}, {tokens_per_second:.0} tokens/s, {eta_seconds:.0} s left",
            stepped.step, stepped.loss, stepped.rate
        ),
        Event::Validation { step, loss, .. } => eprintln!("step {step}: validation {loss:.4}"),
        Event::Step { .. } | Event::Checkpoint { .. } => (),
    }
}
