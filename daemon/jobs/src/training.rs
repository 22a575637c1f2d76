//! A LoRA training run, from the request to the adapter. Anybody can repeat it and gets the same bits.
//!
//! [`Training::open`] reads the base model and every record and returns a [`Run`], which can resume from its last
//! checkpoint. A run computes on the calling thread, reports events, and slows down while an engine of the same home
//! answers requests.

pub mod source;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::{busy::Look, events::Events, home::Home, report::Kind};
use compute::{device::Device, model::Model};
use protocol::{BlobHash, event::Event as Fact};
use serde::Serialize;
use train::{CheckpointError, Event, Foreground, Output, Recipe, TrainError, Trainer};
pub use train::{Machine, Outcome, RunControl};

pub use self::source::{Datasets, Described, Source};
use crate::{
    error::JobError,
    models::{self, read_small},
};

/// Largest file of hyper-parameters or weights, in bytes; a larger one is refused.
const SETTINGS_BYTES_MAX: u64 = 16 << 20;

/// A training request. All fields except the last four decide the bits of the result.
#[derive(Clone, Debug)]
pub struct Training {
    /// Folder of the base model, or the name of a stored one.
    pub base: String,
    /// Sources of records. Their order is part of the run.
    pub data: Vec<Source>,
    /// Hyper-parameters and seed.
    pub recipe: Recipe,
    /// Weight of each contributor; 1 for those not named.
    pub weights: BTreeMap<String, f64>,
    /// `cpu`, `cuda`, `cuda:N` or `auto`. The bits of a GPU differ from those of a processor.
    pub device: String,
    /// Folder for the adapter, checkpoints and step roots.
    pub out: PathBuf,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Most checkpoints to keep; `None` keeps all.
    pub checkpoints_max: Option<usize>,
    /// Threads, and memory for activations kept from the forward to the backward pass.
    pub machine: Machine,
}

/// A run that is ready to start or resume.
pub struct Run {
    trainer: Trainer,
    output: Output,
    base: String,
    home: Home,
    events: Events,
}

/// The result of a repeated step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    pub step: u64,
    /// Root of the state after the step, in hexadecimal.
    pub root: String,
    /// Steps repeated between the checkpoint and this step.
    pub replayed: u64,
    /// True if the root equals that of the run; `None` if the run's roots are not in its folder.
    pub matches: Option<bool>,
}

impl Training {
    /// Reads the base model and every record. A second run in the same folder is refused.
    #[tracing::instrument(name = "job.open", skip_all, fields(base = self.base))]
    pub async fn open<D: Datasets>(self, home: &Home, datasets: &D, events: Events) -> Result<Run, D::Error> {
        let opened = models::open(home, &self.base)?;
        let (text, config) = (&opened.text, opened.model.config());
        let corpus = source::corpus(&self.data, datasets, text, config, &self.recipe).await?;
        let device = Device::named(&self.device).map_err(JobError::from)?;
        let trainer = Trainer::new(&opened.model, corpus, &self.weights, self.recipe, self.machine);
        let trainer = on(trainer.map_err(JobError::from)?, &opened.model, device).map_err(JobError::from)?;
        Ok(Run {
            trainer,
            output: Output {
                dir: self.out,
                base_model: opened.name,
                checkpoint_every: self.checkpoint_every,
                checkpoints_max: self.checkpoints_max,
            },
            base: self.base,
            home: home.clone(),
            events,
        })
    }
}

impl Run {
    /// Number of steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.trainer.steps()
    }

    /// Device class: all devices of a class compute the same bits.
    pub fn class(&self) -> &str {
        self.trainer.class()
    }

    /// Resumes from the last checkpoint in the folder, if there is one.
    pub fn resume_last(&mut self) -> Result<(), JobError> {
        let Some((_, last)) = self.output.checkpoints().pop() else {
            return Ok(());
        };
        let dir = self.output.dir.display();
        self.trainer.resume(&last).map_err(|error| match error {
            TrainError::Checkpoint(CheckpointError::Other { .. }) => {
                let text = format!("{dir} belongs to another run; choose another folder with --out");
                JobError::refused_because(Kind::Usage, text, error)
            }
            TrainError::Checkpoint(CheckpointError::Damaged { .. }) => {
                let text = format!(
                    "the last checkpoint in {dir} is damaged; remove it, and the run resumes from the one before"
                );
                JobError::refused_because(Kind::Failed, text, error)
            }
            other => other.into(),
        })
    }

    /// Throttles the run to `share` percent of the time, and to `beside` percent while an engine of the same home answers.
    pub fn pace(&self, control: &RunControl, share: u32, beside: u32) {
        control.share(share);
        // Without a writable home there is no lock file, and so no engine to slow down for.
        if let Ok(look) = Look::open(&self.home.busy()) {
            control.yield_to(Foreground {
                is_busy: Arc::new(move || look.is_busy()),
                share_percent: beside,
            });
        }
    }

    /// Trains to the end or until `control` stops it, and writes the adapter, or the model if it trains all weights.
    #[tracing::instrument(name = "job.train", skip_all, fields(base = self.base, out = %self.output.dir.display()))]
    pub fn train(&mut self, control: &mut RunControl, on: &mut dyn FnMut(&Event)) -> Result<Outcome, JobError> {
        let run = BlobHash(*self.trainer.run_id().as_bytes());
        let (step, steps) = (self.trainer.step_number(), self.trainer.steps());
        self.events.tell(Fact::TrainingStarted { run, step, steps });
        let outcome = train::run(&mut self.trainer, &self.output, control, on)?;
        let root = self.trainer.roots().last().map(|root| BlobHash(*root.as_bytes()));
        if let Some(root) = root.filter(|_| outcome.steps == steps) {
            self.events.tell(Fact::TrainingFinished { run, root });
        }
        if outcome.adapter.is_none() {
            models::complete(&self.home, &self.base, &outcome.dir)?;
        }
        Ok(outcome)
    }

    /// Repeats the steps from a checkpoint up to `step`, and compares its root with that of the run.
    pub fn replay(&mut self, step: u64, checkpoint: &Path) -> Result<Replayed, JobError> {
        let trainer = &mut self.trainer;
        trainer.resume(checkpoint)?;
        let have = trainer.step_number();
        if step <= have || step > trainer.steps() {
            let steps = trainer.steps();
            let text = format!(
                "step {step} cannot be repeated from a checkpoint after step {have} of {steps}; choose an earlier checkpoint"
            );
            return Err(JobError::refused(Kind::Usage, text));
        }
        while trainer.step_number() < step {
            trainer.step(&mut train::Unthrottled)?;
        }
        let root = trainer.roots().last().expect("a step was done").to_hex().to_string();
        let matches = self.known_root(step).map(|known| known == root);
        let replayed = step - have - 1;
        Ok(Replayed {
            step,
            root,
            replayed,
            matches,
        })
    }

    /// Root of a step as the run wrote it, if the file is there.
    fn known_root(&self, step: u64) -> Option<String> {
        let roots = fs::read(self.output.dir.join("step-roots.bin")).ok()?;
        let at = usize::try_from(step - 1).ok()?.checked_mul(32)?;
        Some(hex::encode(roots.get(at..at + 32)?))
    }
}

/// Moves a run to a device.
#[cfg_attr(
    not(feature = "cuda"),
    allow(unused_variables, reason = "the model is used for a GPU only")
)]
fn on(trainer: Trainer, model: &Model, device: Device) -> Result<Trainer, TrainError> {
    match device {
        Device::Cpu => Ok(trainer),
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => trainer.on_cuda(model, index),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => unreachable!("no CUDA device is found without support for it"),
    }
}

/// Reads hyper-parameters from a TOML file, or returns the defaults. `seed` overrides the file.
pub fn recipe(file: Option<&Path>, seed: Option<u64>) -> Result<Recipe, JobError> {
    let mut recipe = match file {
        None => Recipe::default(),
        Some(file) => {
            let bytes = read_small(file, SETTINGS_BYTES_MAX)?;
            let text = str::from_utf8(&bytes).map_err(|error| {
                JobError::refused_because(Kind::Failed, format!("{} is not UTF-8", file.display()), error)
            })?;
            toml::from_str(text).map_err(|error| {
                let text = format!("{} is not a valid training recipe", file.display());
                JobError::refused_because(Kind::Usage, text, error)
            })?
        }
    };
    recipe.seed = seed.unwrap_or(recipe.seed);
    Ok(recipe)
}

/// Reads hyper-parameters from JSON, with the names of the TOML file; null gives the defaults.
pub fn recipe_of(said: serde_json::Value) -> Result<Recipe, JobError> {
    if said.is_null() {
        return Ok(Recipe::default());
    }
    serde_json::from_value(said)
        .map_err(|error| JobError::refused_because(Kind::Usage, "`recipe` is not a valid training recipe", error))
}

/// Reads the weights of contributors from a JSON file; no file gives no weights.
pub fn weights(file: Option<&Path>) -> Result<BTreeMap<String, f64>, JobError> {
    let Some(file) = file else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_slice(&read_small(file, SETTINGS_BYTES_MAX)?).map_err(|error| {
        let text = format!("{} is not an object of numbers by contributor", file.display());
        JobError::refused_because(Kind::Usage, text, error)
    })
}
