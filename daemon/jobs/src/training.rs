//! A LoRA run from the request to the adapter, so that anybody can do it again to the bit.
//!
//! A [`Training`] is opened into a [`Run`]: the base is read, every record is, and a run that ended early goes on from its
//! last checkpoint. A run computes on the thread that calls it and tells what happens as it goes; it gives way to an
//! engine that answers in the same home. Leaves out who asks, and where the events are shown.

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

/// Most bytes of a file of hyper-parameters or weights; a longer one is refused.
const SETTINGS_BYTES_MAX: u64 = 16 << 20;

/// What a run is asked to be. All but the last four decide its bits.
#[derive(Clone, Debug)]
pub struct Training {
    /// A model's folder, or the name of one that is kept.
    pub base: String,
    /// Records, in the order in which they are named.
    pub data: Vec<Source>,
    /// Hyper-parameters, with the seed.
    pub recipe: Recipe,
    /// How much each contributor counts; 1 for those not named.
    pub weights: BTreeMap<String, f64>,
    /// `cpu`, `cuda`, `cuda:N` or `auto`: a kind of GPU has other bits than processors.
    pub device: String,
    /// The folder that everything goes to.
    pub out: PathBuf,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept; all if none.
    pub checkpoints_max: Option<usize>,
    /// Threads, and memory for what is kept between forward and backward pass.
    pub machine: Machine,
}

/// A run that can begin, or go on.
pub struct Run {
    trainer: Trainer,
    output: Output,
    base: String,
    home: Home,
    events: Events,
}

/// A step that was done again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// The step.
    pub step: u64,
    /// The root of the state after it, in hexadecimal.
    pub root: String,
    /// Steps between the checkpoint and it.
    pub replayed: u64,
    /// Whether the run gives the same root; none if the run's roots are not there.
    pub matches: Option<bool>,
}

impl Training {
    /// Reads the base and every record. Of two runs in one folder the second is refused.
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
    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.trainer.steps()
    }

    /// The class of processors whose bits it has.
    pub fn class(&self) -> &str {
        self.trainer.class()
    }

    /// Goes on from the last checkpoint in its folder, if there is one.
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

    /// Paces the run: `share` percent of the time, and `beside` percent while an engine answers in the same home.
    pub fn pace(&self, control: &RunControl, share: u32, beside: u32) {
        control.share(share);
        // A run in a home that cannot be written to gives way to nobody.
        if let Ok(look) = Look::open(&self.home.busy()) {
            control.yield_to(Foreground {
                is_busy: Arc::new(move || look.is_busy()),
                share_percent: beside,
            });
        }
    }

    /// Trains to the end, or until the control is told to stop, and writes the adapter or the model.
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

    /// Does a step again, after those between it and the checkpoint.
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

    /// What the run itself wrote down for a step, if that is there.
    fn known_root(&self, step: u64) -> Option<String> {
        let roots = fs::read(self.output.dir.join("step-roots.bin")).ok()?;
        let at = usize::try_from(step - 1).ok()?.checked_mul(32)?;
        Some(hex::encode(roots.get(at..at + 32)?))
    }
}

/// Has a run computed by a device.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables, reason = "it is for a GPU"))]
fn on(trainer: Trainer, model: &Model, device: Device) -> Result<Trainer, TrainError> {
    match device {
        Device::Cpu => Ok(trainer),
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => trainer.on_cuda(model, index),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => unreachable!("no CUDA device is found without support for it"),
    }
}

/// Hyper-parameters from a TOML file, or the usual ones; the seed given here holds.
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

/// Hyper-parameters from JSON, by the names that the TOML file has; the usual ones where it says nothing.
pub fn recipe_of(said: serde_json::Value) -> Result<Recipe, JobError> {
    if said.is_null() {
        return Ok(Recipe::default());
    }
    serde_json::from_value(said)
        .map_err(|error| JobError::refused_because(Kind::Usage, "`recipe` holds no hyper-parameters", error))
}

/// How much each contributor counts, from a JSON file; nobody is named if there is none.
pub fn weights(file: Option<&Path>) -> Result<BTreeMap<String, f64>, JobError> {
    let Some(file) = file else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_slice(&read_small(file, SETTINGS_BYTES_MAX)?).map_err(|error| {
        let text = format!("{} is not an object of numbers by contributor", file.display());
        JobError::refused_because(Kind::Usage, text, error)
    })
}
