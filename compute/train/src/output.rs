//! A whole run into a folder: steps, validations, checkpoints, and at the end the adapter with its description.
//!
//! The folder gets the files that PEFT reads (or `model.safetensors` after full training), `training.json`,
//! `step-roots.bin` with 32 bytes for each step, and `checkpoints/`. A run that ends early leaves its last state
//! there and continues from it with the same bits.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;
use serde_json::json;

use super::{
    checkpoint::put,
    error::TrainError,
    throttle::Throttle,
    trainer::{StepReport, Trainer},
};

/// The folder of a run, and its checkpoints.
#[derive(Clone, Debug)]
pub struct Output {
    pub dir: PathBuf,
    /// Name of the base model, for `adapter_config.json` and people.
    pub base_model: String,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Number of the newest checkpoints that are kept; all if `None`.
    pub checkpoints_max: Option<usize>,
}

/// An event of a run, for its observer. Serialised as JSON with the tag `event`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run started or continues.
    Begun {
        /// Identity of the run, in hex.
        run: String,
        /// Steps done before.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
        /// Records that are trained on.
        records: usize,
        /// Records held back for validation.
        held_back: usize,
    },
    /// A step is finished.
    Step {
        #[serde(flatten)]
        stepped: StepReport,
        /// Tokens per second since the start, forward and backward.
        tokens_per_second: f64,
        /// Seconds until the last step at this speed.
        eta_seconds: f64,
        /// Resident memory of the process, where the system tells.
        resident_bytes: Option<u64>,
    },
    /// A validation is finished.
    Validation {
        /// Last step before it.
        step: u64,
        /// Mean loss of the tokens that count.
        loss: f64,
        /// Exponential of the loss.
        perplexity: f64,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Last step in it.
        step: u64,
        path: PathBuf,
    },
}

/// The result of a finished run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Identity of the run, in hex.
    pub run: String,
    /// Number of steps done.
    pub steps: u64,
    /// Mean loss of the last step.
    pub loss: f64,
    /// Loss of the best validation.
    pub validation: Option<f64>,
    /// Root of the last step, in hex.
    pub root: String,
    /// Hash of the adapter; `None` after full training.
    pub adapter: Option<String>,
    /// Folder of the results.
    pub dir: PathBuf,
}

impl Output {
    fn checkpoint(&self, step: u64) -> PathBuf {
        self.dir.join("checkpoints").join(format!("step-{step:08}.state"))
    }

    /// Lists the checkpoints in the folder by step, oldest first.
    pub fn checkpoints(&self) -> Vec<(u64, PathBuf)> {
        let files = fs::read_dir(self.dir.join("checkpoints"))
            .into_iter()
            .flatten()
            .flatten();
        let step = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix("step-")?.strip_suffix(".state")?.parse().ok()
        };
        let mut found: Vec<(u64, PathBuf)> = files
            .filter_map(|file| Some((step(&file.path())?, file.path())))
            .collect();
        found.sort();
        found
    }
}

/// Does all remaining steps and writes the results. If it ends early for any reason, the last state is written first.
pub fn run(
    trainer: &mut Trainer,
    output: &Output,
    throttle: &mut dyn Throttle,
    on: &mut dyn FnMut(&Event),
) -> Result<Outcome, TrainError> {
    let dir = output.dir.join("checkpoints");
    fs::create_dir_all(&dir).map_err(failed(&dir))?;
    let (records, held_back) = trainer.records();
    on(&Event::Begun {
        run: trainer.run_id().to_hex().to_string(),
        step: trainer.step_number(),
        steps: trainer.steps(),
        records,
        held_back,
    });
    let ran = steps(trainer, output, throttle, on);
    // However the steps ended, the state that was reached is worth keeping.
    let step = trainer.step_number();
    let kept = match output.checkpoint(step) {
        path if step == 0 || path.exists() => Ok(()),
        path => save(trainer, output, &path, on),
    };
    ran?;
    kept?;
    trainer.take_best();
    write(trainer, output)
}

fn steps(
    trainer: &mut Trainer,
    output: &Output,
    throttle: &mut dyn Throttle,
    on: &mut dyn FnMut(&Event),
) -> Result<(), TrainError> {
    let (start, before) = (Instant::now(), trainer.step_number());
    let mut tokens = 0;
    // The run may have been stopped between a step and its validation.
    validate(trainer, throttle, on)?;
    while !trainer.is_done() {
        let stepped = trainer.step(throttle)?;
        tokens += stepped.tokens;
        let seconds = start.elapsed().as_secs_f64();
        on(&Event::Step {
            stepped,
            tokens_per_second: tokens as f64 / seconds,
            eta_seconds: seconds / (stepped.step - before) as f64 * (trainer.steps() - stepped.step) as f64,
            resident_bytes: resident_bytes(),
        });
        validate(trainer, throttle, on)?;
        if stepped.step.is_multiple_of(output.checkpoint_every) {
            save(trainer, output, &output.checkpoint(stepped.step), on)?;
        }
    }
    Ok(())
}

/// Validates if that is due after the current step and was not done yet.
fn validate(trainer: &mut Trainer, throttle: &mut dyn Throttle, on: &mut dyn FnMut(&Event)) -> Result<(), TrainError> {
    let step = trainer.step_number();
    let is_last = step == trainer.steps();
    let is_due = |every: u64| step > 0 && step.is_multiple_of(every);
    let was_done = trainer.validations().last().is_some_and(|(last, _)| last == step);
    if (is_last || trainer.recipe().validate_every.is_some_and(is_due))
        && !was_done
        && let Some(loss) = trainer.validate(throttle)?
    {
        on(&Event::Validation {
            step,
            loss,
            perplexity: loss.exp(),
        });
    }
    Ok(())
}

fn save(trainer: &Trainer, output: &Output, path: &Path, on: &mut dyn FnMut(&Event)) -> Result<(), TrainError> {
    trainer.checkpoint(path)?;
    on(&Event::Checkpoint {
        step: trainer.step_number(),
        path: path.to_owned(),
    });
    let there = output.checkpoints();
    let too_many = there
        .len()
        .saturating_sub(output.checkpoints_max.unwrap_or(usize::MAX).max(1));
    for (_, old) in &there[..too_many] {
        fs::remove_file(old).map_err(failed(old))?;
    }
    Ok(())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TrainError {
    let what = path.display().to_string();
    move |source| TrainError::Write { what, source }
}

fn write(trainer: &Trainer, output: &Output) -> Result<Outcome, TrainError> {
    let adapter = trainer.adapter();
    let put_file = |name: &str, bytes: &[u8]| {
        let path = output.dir.join(name);
        put(&path, |file| file.write_all(bytes)).map_err(failed(&path))
    };
    match &adapter {
        Some(adapter) => adapter.write(&output.dir, &output.base_model)?,
        None => put_file("model.safetensors", &trainer.to_safetensors())?,
    }
    let roots: Vec<u8> = trainer.roots().iter().flat_map(|root| *root.as_bytes()).collect();
    put_file("step-roots.bin", &roots)?;
    let root = trainer
        .roots()
        .last()
        .map_or_else(String::new, |root| root.to_hex().to_string());
    let last = trainer.history().last();
    let outcome = Outcome {
        run: trainer.run_id().to_hex().to_string(),
        steps: trainer.step_number(),
        loss: last.map_or(0.0, |(loss, _, _)| loss),
        validation: trainer.best().map(|(_, loss)| loss),
        root,
        adapter: adapter.map(|adapter| adapter.hash().to_string()),
        dir: output.dir.clone(),
    };
    let (records, held_back) = trainer.records();
    let contributors = trainer
        .contributors()
        .map(|(name, weight, records)| json!({ "name": name, "weight": weight, "records": records }));
    let steps = trainer
        .history()
        .map(|(loss, rate, length)| json!({ "loss": loss, "rate": rate, "length": length }));
    let validations = trainer
        .validations()
        .map(|(step, loss)| json!({ "step": step, "loss": loss }));
    let described = json!({
        "version": 1,
        "run": outcome.run,
        "class": trainer.class(),
        "base_model": output.base_model,
        "recipe": trainer.recipe(),
        "data": trainer.data_root().to_hex().to_string(),
        "files": trainer.corpus().files,
        "contributors": contributors.collect::<Vec<_>>(),
        "records": records,
        "held_back": held_back,
        "steps": steps.collect::<Vec<_>>(),
        "validations": validations.collect::<Vec<_>>(),
        "best": trainer.best().map(|(step, loss)| json!({ "step": step, "loss": loss })),
        "root": outcome.root,
        "adapter": outcome.adapter,
    });
    put_file(
        "training.json",
        &serde_json::to_vec_pretty(&described).expect("numbers and names"),
    )?;
    Ok(outcome)
}

/// Reads the resident memory of this process.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}
