//! `openledger train`: a LoRA run, in this process, that anybody can do again to the bit.
//!
//! `--json` prints how it came out (`{"run", "steps", "loss", "validation", "root", "adapter", "dir"}`), and what happens
//! meanwhile to stderr, an object with an `event` on each line. With `--rerun` it is
//! `{"step", "root", "replayed", "matches"}`; a root that differs from the run's own is exit code 7. Ctrl-C ends a run
//! between two passes. However it ended, the same command goes on from its last checkpoint.

mod data;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use compute::{
    device,
    model::{Model, Text},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use train::{CheckpointError, Event, Machine, Others, Output, Recipe, Switch, TrainError, Trainer};

use super::{
    Place,
    exit::{Exit, ended},
    model::{get, store},
    output,
};
use base::busy::Look;

/// The largest file of hyper-parameters or weights.
const SETTINGS_BYTES_MAX: u64 = 16 << 20;

/// What a model's folder holds beside its weights. Its configuration comes last, since that makes it a model.
const OF_A_MODEL: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
    "config.json",
];

/// Fine-tune a model on records, so that others can recompute it
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger train --base SmolLM2-135M --data facts.jsonl --seed 7 --out tone\n\n\
                        Each line of the data is an object with `prompt` and `completion`, `question` and `answer`, \
                        `messages`, or `text`, and perhaps a `contributor`. The same command goes on with a run that was \
                        ended early."
)]
pub(crate) struct Train {
    /// A model's folder, or the name of one that is kept
    #[arg(long, value_name = "DIR|NAME")]
    base: String,
    /// Files of records, one to a line, folders of them, and roots of datasets that are here; their order is part of the run
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|DIR|ROOT", value_parser = data::source)]
    data: Vec<data::Source>,
    /// How much each contributor counts, as {"name": number}; 1 for those not named
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Decides the order of records and what the adapter begins as
    #[arg(long)]
    seed: Option<u64>,
    /// Where everything goes
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Hyper-parameters, in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do one step of a run again, and print its root
    #[arg(long, value_name = "STEP", requires = "from")]
    rerun: Option<u64>,
    /// The checkpoint before that step
    #[arg(long, value_name = "FILE", requires = "rerun")]
    from: Option<PathBuf>,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 50, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// Checkpoints that are kept; all if not given
    #[arg(long, value_name = "COUNT")]
    checkpoints_max: Option<usize>,
    /// `cpu`, `cuda`, `cuda:N`, or `auto` for a GPU where there is one; each kind of GPU has other bits than processors
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads that compute
    #[arg(long)]
    threads: Option<usize>,
    /// How much of the time the run is busy, in percent
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// How much of it while `serve` of the same home answers, in percent; 0 stands still
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    share_beside: u32,
    /// Memory for what is kept between the way forth and the way back, in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    keep: usize,
}

impl Train {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let recipe = self.recipe()?;
        let weights = self.weights()?;
        let (model, text, name) = base(place, &self.base)?;
        let corpus = data::corpus(place, &self.data, &text, model.config(), &recipe)?;
        let machine = Machine {
            threads: self.threads.unwrap_or(Machine::default().threads),
            keep_bytes: self.keep << 20,
            ..Machine::default()
        };
        let device = device::Place::named(&self.device).map_err(|error| ended(Exit::Usage, error.to_string()))?;
        let trainer = Trainer::new(&model, corpus, &weights, recipe, machine)?;
        let mut trainer = on(trainer, &model, device)?;
        let into = Output {
            dir: self.out.clone(),
            base_model: name,
            checkpoint_every: self.checkpoint_every,
            checkpoints_max: self.checkpoints_max,
        };
        if let (Some(step), Some(from)) = (self.rerun, &self.from) {
            return rerun(place, &mut trainer, step, from, &into);
        }
        if let Some((_, last)) = into.checkpoints().last() {
            go_on(&mut trainer, last, &into)?;
        }
        let mut switch = Switch::default();
        switch.share(self.share);
        if let Ok(look) = Look::open(&place.home().busy()) {
            switch.give_way(Others {
                are_busy: Arc::new(move || look.is_busy()),
                share_percent: self.share_beside,
            });
        }
        stop_on_signal(switch.clone())?;
        let bar = ProgressBar::with_draw_target(Some(trainer.steps()), ProgressDrawTarget::stderr());
        bar.set_style(style());
        let outcome = train::run(&mut trainer, &into, &mut switch, &mut |event| match place.json {
            true => output::note(&serde_json::to_string(event).expect("what is shown is plain data")),
            false => draw(&bar, event),
        });
        bar.finish_and_clear();
        let outcome = outcome?;
        if outcome.adapter.is_none() {
            complete(place, &self.base, &outcome.dir)?;
        }
        place.show(&outcome, || {
            let mut rows = vec![
                ("Folder", outcome.dir.display().to_string()),
                ("Run", outcome.run.clone()),
                ("Bits of", trainer.class().to_owned()),
                ("Steps", outcome.steps.to_string()),
                ("Loss", format!("{:.4}", outcome.loss)),
            ];
            rows.extend(outcome.validation.map(|loss| ("Validation", format!("{loss:.4}"))));
            rows.extend(outcome.adapter.clone().map(|hash| ("Adapter", hash)));
            rows.push(("Root", outcome.root.clone()));
            output::columns(&rows)
        });
        Ok(Exit::Done)
    }

    fn recipe(&self) -> anyhow::Result<Recipe> {
        let mut recipe: Recipe = match &self.config {
            None => Recipe::default(),
            Some(file) => {
                let text = read(file)?;
                let text = std::str::from_utf8(&text).with_context(|| format!("{} is not UTF-8", file.display()))?;
                let refused = || ended(Exit::Usage, format!("{} holds no hyper-parameters", file.display()));
                toml::from_str(text).with_context(refused)?
            }
        };
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        Ok(recipe)
    }

    fn weights(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let Some(file) = &self.weights else {
            return Ok(BTreeMap::new());
        };
        let refused = || {
            let text = format!("{} is not an object of numbers by contributor", file.display());
            ended(Exit::Usage, text)
        };
        serde_json::from_slice(&read(file)?).with_context(refused)
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let unread = || format!("could not read {}", file.display());
    let length = fs::metadata(file).with_context(unread)?.len();
    if length > SETTINGS_BYTES_MAX {
        let text = format!(
            "{} has {length} bytes, at most {SETTINGS_BYTES_MAX} are read",
            file.display()
        );
        return Err(ended(Exit::Usage, text).into());
    }
    fs::read(file).with_context(unread)
}

/// Has a run computed by a device.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables, reason = "it is for a GPU"))]
fn on(trainer: Trainer, model: &Model, device: device::Place) -> Result<Trainer, TrainError> {
    match device {
        device::Place::Cpu => Ok(trainer),
        #[cfg(feature = "cuda")]
        device::Place::Cuda(index) => trainer.on_cuda(model, index),
        #[cfg(not(feature = "cuda"))]
        device::Place::Cuda(_) => unreachable!("no CUDA device is found without support for it"),
    }
}

/// A folder as it is, or a stored model by its name.
pub(super) fn base(place: &Place, name: &str) -> anyhow::Result<(Model, Text, String)> {
    let dir = Path::new(name);
    if dir.join("config.json").is_file() {
        let model = Model::read(dir)?;
        let text = Text::load(dir, model.config())?;
        let label = dir
            .file_name()
            .map_or_else(|| name.to_owned(), |label| label.to_string_lossy().into_owned());
        return Ok((model, text, label));
    }
    let store = store(place)?;
    let stored = get(&store, name)?;
    let (model, text) = store.model(&stored)?;
    Ok((model, text, stored.label))
}

/// Goes on from a checkpoint, if it is of this run.
fn go_on(trainer: &mut Trainer, last: &Path, into: &Output) -> anyhow::Result<()> {
    let dir = into.dir.display();
    trainer.resume(last).map_err(|error| match error {
        TrainError::Checkpoint(CheckpointError::Other { .. }) => {
            let text = format!("{dir} has another run; name a folder of its own for this one");
            anyhow::Error::new(error).context(ended(Exit::Usage, text))
        }
        TrainError::Checkpoint(CheckpointError::Damaged { .. }) => {
            let text =
                format!("the last checkpoint in {dir} is damaged; remove it, and the run goes on from the one before");
            anyhow::Error::new(error).context(ended(Exit::Failed, text))
        }
        other => other.into(),
    })
}

/// Puts what belongs to a model beside weights that were trained, so that they are one.
fn complete(place: &Place, base: &str, out: &Path) -> anyhow::Result<()> {
    let own = Path::new(base);
    let from = match own.join("config.json").is_file() {
        true => own.to_owned(),
        false => {
            let store = store(place)?;
            store.dir(get(&store, base)?.hash)
        }
    };
    for name in OF_A_MODEL {
        let file = from.join(name);
        if file.is_file() {
            fs::copy(&file, out.join(name)).with_context(|| format!("could not copy {}", file.display()))?;
        }
    }
    Ok(())
}

/// Does a step again, after those between it and the checkpoint.
fn rerun(place: &Place, trainer: &mut Trainer, step: u64, from: &Path, into: &Output) -> anyhow::Result<Exit> {
    trainer.resume(from)?;
    let have = trainer.step_number();
    if step <= have || step > trainer.steps() {
        let text = format!(
            "step {step} cannot be done from a checkpoint after step {have} of {}",
            trainer.steps()
        );
        return Err(ended(Exit::Usage, text).into());
    }
    while trainer.step_number() < step {
        trainer.step(&mut train::Open)?;
    }
    let root = trainer.roots().last().expect("a step was done").to_hex().to_string();
    // Beside the run's own roots, if they are there.
    let known = fs::read(into.dir.join("step-roots.bin")).ok();
    let known = known.and_then(|roots| {
        let at = usize::try_from(step - 1).ok()?.checked_mul(32)?;
        Some(hex::encode(roots.get(at..at + 32)?))
    });
    let matches = known.map(|known| known == root);
    let replayed = step - have - 1;
    let answer = json!({ "step": step, "root": root, "replayed": replayed, "matches": matches });
    place.show(&answer, || match matches {
        Some(true) => format!("{root}\nis the root of step {step} of the run"),
        Some(false) => format!("{root}\nis not the root that the run gives for step {step}"),
        None => root.clone(),
    });
    Ok(if matches == Some(false) {
        Exit::Unverified
    } else {
        Exit::Done
    })
}

/// Ends the run when the terminal or the system asks for it.
fn stop_on_signal(switch: Switch) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("could not listen for signals")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
            if let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) {
                tokio::select! {
                    _ = interrupt.recv() => (),
                    _ = terminate.recv() => (),
                }
                switch.stop();
            }
        });
    });
    Ok(())
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {pos}/{len} {msg}";
    ProgressStyle::with_template(template).expect("the template is well formed")
}

fn draw(bar: &ProgressBar, event: &Event) {
    match event {
        Event::Begun { step, .. } => bar.set_position(*step),
        Event::Step {
            stepped,
            tokens_per_second,
            eta_seconds,
            resident_bytes,
        } => {
            let memory = resident_bytes.map_or_else(String::new, |bytes| format!(", {} MiB", bytes >> 20));
            let loss = stepped.loss;
            bar.set_message(format!(
                "loss {loss:.4}, {tokens_per_second:.0} tokens/s, {eta_seconds:.0} s left{memory}"
            ));
            bar.set_position(stepped.step);
        }
        Event::Validation { step, loss, perplexity } => bar.println(format!(
            "step {step}: validation loss {loss:.4}, perplexity {perplexity:.2}"
        )),
        Event::Checkpoint { .. } => (),
    }
}
