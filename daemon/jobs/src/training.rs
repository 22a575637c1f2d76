//! A LoRA training run, from the request to the adapter, that anybody can repeat bit by bit.
//!
//! A [`Training`] is opened into a [`Run`]: base and records are read, and a run that ended early continues from its last
//! checkpoint. A run computes on the calling thread and reports events as it goes; it slows down while an engine in the
//! same home is answering. Where the request came from and where events are shown is the caller's business.

pub mod source;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::{busy::Look, events::Events, home::Home, report::Kind};
use compute::{device::Place, model::Model};
use protocol::{BlobHash, event::Event as Fact};
use serde::Serialize;
use train::{CheckpointError, Event, Others, Output, Recipe, TrainError, Trainer};
pub use train::{Machine, Outcome, Switch};

pub use self::source::{Datasets, Described, Source};
use crate::{
    error::JobError,
    models::{self, read_small},
};

/// Largest file of hyper-parameters or weights; a longer one is refused.
const SETTINGS_BYTES_MAX: u64 = 16 << 20;

/// The request for a run. All fields but the last four determine its bits.
#[derive(Clone, Debug)]
pub struct Training {
    /// Folder of a model, or the name of a stored one.
    pub base: String,
    /// Sources of records, in order.
    pub data: Vec<Source>,
    /// Hyper-parameters and the seed.
    pub recipe: Recipe,
    /// Weight of each contributor; 1 for those not named.
    pub weights: BTreeMap<String, f64>,
    /// `cpu`, `cuda`, `cuda:N` or `auto`. Bits differ between processors and each kind of GPU.
    pub device: String,
    /// Folder for all output.
    pub out: PathBuf,
    pub checkpoint_every: u64,
    /// Checkpoints to keep; `None` for all.
    pub checkpoints_max: Option<usize>,
    /// Number of threads, and memory for activations kept between forward and backward pass.
    pub machine: Machine,
}

/// A run that can start or continue.
pub struct Run {
    trainer: Trainer,
    output: Output,
    base: String,
    home: Home,
    events: Events,
}

/// A repeated step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    pub step: u64,
    /// State root after the step, in hexadecimal.
    pub root: String,
    /// Steps repeated between the checkpoint and it.
    pub replayed: u64,
    /// True if the run recorded the same root; `None` if its roots are missing.
    pub matches: Option<bool>,
}

impl Training {
    /// Reads the base and all records.
    #[tracing::instrument(name = "job.open", skip_all, fields(base = self.base))]
    pub async fn open<D: Datasets>(self, home: &Home, datasets: &D, events: Events) -> Result<Run, D::Error> {
        let opened = models::open(home, &self.base)?;
        let (text, config) = (&opened.text, opened.model.config());
        let corpus = source::corpus(&self.data, datasets, text, config, &self.recipe).await?;
        let device = Place::named(&self.device).map_err(JobError::from)?;
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

    /// The determinism class: the kind of hardware on which a repetition gives the same bits.
    pub fn class(&self) -> &str {
        self.trainer.class()
    }

    /// Continues from the last checkpoint in its folder, if there is one.
    pub fn resume_last(&mut self) -> Result<(), JobError> {
        let Some((_, last)) = self.output.checkpoints().pop() else {
            return Ok(());
        };
        let dir = self.output.dir.display();
        self.trainer.resume(&last).map_err(|error| match error {
            TrainError::Checkpoint(CheckpointError::Other { .. }) => {
                let text = format!("{dir} has another run; name a folder of its own for this one");
                JobError::refused_because(Kind::Usage, text, error)
            }
            TrainError::Checkpoint(CheckpointError::Damaged { .. }) => {
                let text = format!(
                    "the last checkpoint in {dir} is damaged; remove it, and the run goes on from the one before"
                );
                JobError::refused_because(Kind::Failed, text, error)
            }
            other => other.into(),
        })
    }

    /// Limits the run to `share` percent of the time, and to `beside` percent while an engine in the same home is answering.
    pub fn pace(&self, switch: &Switch, share: u32, beside: u32) {
        switch.share(share);
        // Without the lock file, the run does not slow down.
        if let Ok(look) = Look::open(&self.home.busy()) {
            switch.give_way(Others {
                are_busy: Arc::new(move || look.is_busy()),
                share_percent: beside,
            });
        }
    }

    /// Trains to the end, or until the switch stops it, and writes the adapter or the model.
    #[tracing::instrument(name = "job.train", skip_all, fields(base = self.base, out = %self.output.dir.display()))]
    pub fn train(&mut self, switch: &mut Switch, on: &mut dyn FnMut(&Event)) -> Result<Outcome, JobError> {
        let run = BlobHash(*self.trainer.run_id().as_bytes());
        let (step, steps) = (self.trainer.step_number(), self.trainer.steps());
        self.events.tell(Fact::TrainingStarted { run, step, steps });
        let outcome = train::run(&mut self.trainer, &self.output, switch, on)?;
        let root = self.trainer.roots().last().map(|root| BlobHash(*root.as_bytes()));
        if let Some(root) = root.filter(|_| outcome.steps == steps) {
            self.events.tell(Fact::TrainingFinished { run, root });
        }
        if outcome.adapter.is_none() {
            models::complete(&self.home, &self.base, &outcome.dir)?;
        }
        Ok(outcome)
    }

    /// Repeats a step from an earlier checkpoint.
    pub fn replay(&mut self, step: u64, checkpoint: &Path) -> Result<Replayed, JobError> {
        let trainer = &mut self.trainer;
        trainer.resume(checkpoint)?;
        let have = trainer.step_number();
        if step <= have || step > trainer.steps() {
            let steps = trainer.steps();
            let text = format!("step {step} cannot be done from a checkpoint after step {have} of {steps}");
            return Err(JobError::refused(Kind::Usage, text));
        }
        while trainer.step_number() < step {
            trainer.step(&mut train::Open)?;
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

    /// The root that the run itself recorded for a step, if the file is there.
    fn known_root(&self, step: u64) -> Option<String> {
        let roots = fs::read(self.output.dir.join("step-roots.bin")).ok()?;
        let at = usize::try_from(step - 1).ok()?.checked_mul(32)?;
        Some(hex::encode(roots.get(at..at + 32)?))
    }
}

/// Moves a run to a device.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables, reason = "it is for a GPU"))]
fn on(trainer: Trainer, model: &Model, device: Place) -> Result<Trainer, TrainError> {
    match device {
        Place::Cpu => Ok(trainer),
        #[cfg(feature = "cuda")]
        Place::Cuda(index) => trainer.on_cuda(model, index),
        #[cfg(not(feature = "cuda"))]
        Place::Cuda(_) => unreachable!("no CUDA device is found without support for it"),
    }
}

/// Reads hyper-parameters from a TOML file, or takes the defaults. `seed` overrides the seed.
pub fn recipe(file: Option<&Path>, seed: Option<u64>) -> Result<Recipe, JobError> {
    let mut recipe = match file {
        None => Recipe::default(),
        Some(file) => {
            let bytes = read_small(file, SETTINGS_BYTES_MAX)?;
            let text = str::from_utf8(&bytes).map_err(|error| {
                JobError::refused_because(Kind::Failed, format!("{} is not UTF-8", file.display()), error)
            })?;
            toml::from_str(text).map_err(|error| {
                let text = format!("{} holds no hyper-parameters", file.display());
                JobError::refused_because(Kind::Usage, text, error)
            })?
        }
    };
    recipe.seed = seed.unwrap_or(recipe.seed);
    Ok(recipe)
}

/// Hyper-parameters from JSON, with the names of the TOML file; defaults for missing ones.
pub fn recipe_of(said: serde_json::Value) -> Result<Recipe, JobError> {
    if said.is_null() {
        return Ok(Recipe::default());
    }
    serde_json::from_value(said)
        .map_err(|error| JobError::refused_because(Kind::Usage, "`recipe` holds no hyper-parameters", error))
}

/// Reads the weight of each contributor from a JSON file; none without a file.
pub fn weights(file: Option<&Path>) -> Result<BTreeMap<String, f64>, JobError> {
    let Some(file) = file else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_slice(&read_small(file, SETTINGS_BYTES_MAX)?).map_err(|error| {
        let text = format!("{} is not an object of numbers by contributor", file.display());
        JobError::refused_because(Kind::Usage, text, error)
    })
}
