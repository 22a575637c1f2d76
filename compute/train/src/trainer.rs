//! A run, step by step: the parameters, their moments, and the chain of roots.

mod start;

use std::{collections::BTreeMap, path::Path, time::Instant};

use compute::{lora::Adapter, model::Model, tensors::Dtype};
use serde::Serialize;

use super::{
    accelerator::Accelerator,
    checkpoint::{self, Best, PROCESSOR, Progress, State},
    cpu::Network,
    data::{Corpus, Example},
    error::TrainError,
    optimiser::{Factors, Moments, length, rate},
    parameters::Parameters,
    plan::{Batch, Plan, Share, passes},
    recipe::{Machine, Recipe},
    state_root::{StateRoot, run_id_on},
    throttle::{Proceed, Throttle},
};

/// A model and data, and how far it has learned.
pub struct Trainer {
    network: Network,
    /// What computes in the network's place.
    accelerator: Option<Box<dyn Accelerator>>,
    parameters: Parameters,
    moments: Moments,
    gradients: Vec<Vec<f32>>,
    corpus: Corpus,
    weights: Vec<f64>,
    plan: Plan,
    recipe: Recipe,
    machine: Machine,
    run: blake3::Hash,
    progress: Progress,
    best: Option<Vec<Vec<f32>>>,
    roots: Vec<blake3::Hash>,
}

/// A step that was done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Which, from 1.
    pub step: u64,
    /// The mean loss of the tokens that count, each as much as its contributor.
    pub loss: f64,
    /// The learning rate.
    pub rate: f64,
    /// The gradient's length before it was bounded.
    pub length: f64,
    /// Tokens that passed.
    pub tokens: u64,
    /// Seconds of hashing the state.
    pub root_seconds: f64,
}

impl Trainer {
    /// Has everything computed accelerator from now on, which makes it another run.
    #[cfg_attr(
        not(feature = "gpu"),
        allow(dead_code, reason = "there is nothing but the processor")
    )]
    pub(super) fn on_accelerator(mut self, accelerator: Box<dyn Accelerator>) -> Result<Self, TrainError> {
        assert_eq!(self.progress.step, 0, "a run is of one class from its first step");
        let accelerator = self.accelerator.insert(accelerator);
        self.run = run_id_on(accelerator.class(), self.run);
        accelerator.restore(&self.parameters, &self.moments)?;
        self.machine.pass_tokens = self.machine.pass_tokens.min(accelerator.rows_max());
        Ok(self)
    }

    /// What is trained.
    #[cfg(feature = "gpu")]
    pub(super) fn trained(&self) -> &Parameters {
        &self.parameters
    }

    /// How the machine does it.
    #[cfg(feature = "gpu")]
    pub(super) fn machine(&self) -> Machine {
        self.machine
    }

    /// What computes the run: those of one class have the same bits.
    pub fn class(&self) -> &str {
        self.accelerator
            .as_ref()
            .map_or(PROCESSOR, |accelerator| accelerator.class())
    }

    /// The run's name: a hash of its base, data, weights, seed and hyper-parameters.
    pub fn run_id(&self) -> blake3::Hash {
        self.run
    }

    /// Steps that are done.
    pub fn step_number(&self) -> u64 {
        self.progress.step
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.plan.steps
    }

    /// The root of each step that is done.
    pub fn roots(&self) -> &[blake3::Hash] {
        &self.roots
    }

    /// The data.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// A hash of the data.
    pub fn data_root(&self) -> blake3::Hash {
        self.corpus.root()
    }

    /// Records that are trained on, and records that are held back.
    pub fn records(&self) -> (usize, usize) {
        let held = self.plan.validation.len();
        (self.corpus.examples.len() - held, held)
    }

    /// The hyper-parameters.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The adapter as it is now, unless the model's own weights are trained.
    pub fn adapter(&self) -> Option<Adapter> {
        self.parameters.to_adapter()
    }

    /// The model as it is now, if its own weights are trained, each rounded to that width.
    pub fn model(&self, dtype: Dtype) -> Option<Model> {
        let by_name: BTreeMap<_, _> = self.parameters().collect();
        self.parameters
            .owns_model()
            .then(|| Model::from_f32(&self.network.config, dtype, |name| by_name[name].to_vec()))
    }

    /// All parameters as a tensor file.
    pub fn to_safetensors(&self) -> Vec<u8> {
        self.parameters.to_safetensors()
    }

    /// Every parameter by name, with its numbers.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.parameters
            .tensors()
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.values()))
    }

    /// The best validation so far: its step and its loss.
    pub fn best(&self) -> Option<(u64, f64)> {
        self.progress
            .best
            .map(|best| (best.step, f64::from_bits(best.loss_bits)))
    }

    /// Validations since the best.
    pub fn since_best(&self) -> u32 {
        self.progress.since_best
    }

    /// Of each step that is done: its mean loss, learning rate, and the gradient's length.
    pub fn history(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        self.progress.history.iter().zip(1..).map(|((loss, long), step)| {
            let rate = rate(&self.recipe, step, self.plan.steps);
            (f64::from_bits(*loss), rate, f64::from_bits(*long))
        })
    }

    /// Of each validation: its step and its loss.
    pub fn validations(&self) -> impl Iterator<Item = (u64, f64)> {
        self.progress
            .validations
            .iter()
            .map(|(step, loss)| (*step, f64::from_bits(*loss)))
    }

    /// Contributors, with their weights and how many records are theirs.
    pub fn contributors(&self) -> impl Iterator<Item = (&str, f64, usize)> {
        let owned = |index: usize| move |example: &&Example| example.contributor as usize == index;
        let count = move |index| self.corpus.examples.iter().filter(owned(index)).count();
        let named = self.corpus.contributors.iter().zip(&self.weights).enumerate();
        named.map(move |(index, (name, weight))| (name.as_str(), *weight, count(index)))
    }

    /// Whether all steps are done, or patience is over.
    pub fn is_done(&self) -> bool {
        let patience = self.recipe.patience;
        self.progress.step >= self.plan.steps || patience.is_some_and(|most| self.progress.since_best >= most)
    }

    /// Does the next step. After an error everything is as it was before.
    pub fn step(&mut self, throttle: &mut dyn Throttle) -> Result<StepReport, TrainError> {
        let step = self.progress.step + 1;
        if step > self.plan.steps {
            return Err(TrainError::Step {
                want: step,
                have: self.progress.step,
            });
        }
        let batch = self
            .plan
            .batch(step, &self.corpus, &self.weights, self.recipe.normalise);
        let (loss, mean, tokens) = self.learn(step, &batch, throttle)?;
        let long = match &mut self.accelerator {
            Some(accelerator) => accelerator.gradient_norm()?,
            None => length(&self.gradients[..self.parameters.tensors().len()]),
        };
        let not_finite = |what| {
            let places = batch
                .shares
                .iter()
                .map(|share| self.corpus.place(share.example as usize));
            TrainError::NotFinite {
                step,
                what,
                records: places.collect::<Vec<_>>().join(", "),
            }
        };
        if !loss.is_finite() {
            return Err(not_finite("loss"));
        }
        if !long.is_finite() {
            return Err(not_finite("gradient"));
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "rounded to the single that is computed with"
        )]
        let by = self
            .recipe
            .clip
            .map_or(1.0, |most| if long > most { (most / long) as f32 } else { 1.0 });
        let rate = rate(&self.recipe, step, self.plan.steps);
        let factors = Factors::of(&self.recipe, step, rate, by);
        match &mut self.accelerator {
            Some(accelerator) => accelerator.step(&mut self.parameters, &mut self.moments, &factors)?,
            None => self.moments.step(&mut self.parameters, &self.gradients, &factors),
        }
        self.progress.step = step;
        self.progress.loss_bits = loss.to_bits();
        self.progress.history.push((mean.to_bits(), long.to_bits()));
        let start = Instant::now();
        let root = self.root(&batch);
        self.roots.push(root);
        Ok(StepReport {
            step,
            loss: mean,
            rate,
            length: long,
            tokens,
            root_seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Gradients of a step: the sum of its weighted losses, their mean, and how many tokens passed.
    fn learn(&mut self, step: u64, batch: &Batch, throttle: &mut dyn Throttle) -> Result<(f64, f64, u64), TrainError> {
        match &mut self.accelerator {
            Some(accelerator) => accelerator.begin(),
            None => self.gradients.iter_mut().for_each(|gradient| gradient.fill(0.0)),
        }
        self.network.yield_to_foreground(throttle.foreground());
        let (mut loss, mut counted, mut tokens) = (0.0, 0.0, 0);
        for pass in passes(&self.corpus, &batch.shares, self.machine.pass_tokens) {
            let start = Instant::now();
            let losses = match &mut self.accelerator {
                Some(accelerator) => accelerator.losses_and_gradients(&pass)?,
                None => {
                    let (weights, lora) = self.parameters.bound();
                    self.network.bind(weights, lora);
                    let losses = self.network.losses_and_gradients(&pass, &mut self.gradients);
                    self.network.release(self.parameters.owns_model());
                    losses
                }
            };
            // One after the other in the order of records, however they were cut into passes.
            for (target, nll) in pass.targets.iter().zip(losses) {
                loss += f64::from(target.weight) * nll;
                counted += f64::from(target.weight);
            }
            tokens += pass.rows() as u64;
            if throttle.after_pass(start.elapsed()) == Proceed::Stop {
                return Err(TrainError::Stopped(step));
            }
        }
        self.parameters.join(&mut self.gradients);
        Ok((loss, if counted > 0.0 { loss / counted } else { 0.0 }, tokens))
    }

    fn root(&self, batch: &Batch) -> blake3::Hash {
        let state = StateRoot {
            step: self.progress.step,
            before: *self.roots.last().unwrap_or(&self.run),
            parameters: &self.parameters,
            moments: &self.moments,
            cursor: batch.cursor,
            batch: batch.root,
            loss_bits: self.progress.loss_bits,
        };
        state.hash()
    }

    /// The mean loss of the tokens that count in the records that are held back; nothing if there are none.
    pub fn validate(&mut self, throttle: &mut dyn Throttle) -> Result<Option<f64>, TrainError> {
        let records = self.plan.validation.clone();
        let loss = self.loss_of(&records, throttle)?;
        if let Some(loss) = loss {
            self.progress.validations.push((self.progress.step, loss.to_bits()));
            let better = self.best().is_none_or(|(_, best)| loss < best);
            if better {
                self.progress.best = Some(Best {
                    step: self.progress.step,
                    loss_bits: loss.to_bits(),
                });
                self.progress.since_best = 0;
                if self.recipe.patience.is_some() {
                    let tensors = self.parameters.tensors().iter();
                    self.best = Some(tensors.map(|tensor| tensor.values().to_vec()).collect());
                }
            } else {
                self.progress.since_best += 1;
            }
        }
        Ok(loss)
    }

    /// The mean loss of the tokens that count in some records, each as much as any other.
    fn loss_of(&mut self, records: &[u32], throttle: &mut dyn Throttle) -> Result<Option<f64>, TrainError> {
        let shares: Vec<Share> = records
            .iter()
            .map(|example| Share {
                example: *example,
                weight: 1.0,
            })
            .collect();
        let (mut sum, mut count) = (0.0, 0u64);
        self.network.yield_to_foreground(throttle.foreground());
        for pass in passes(&self.corpus, &shares, self.machine.pass_tokens) {
            let start = Instant::now();
            let losses = match &mut self.accelerator {
                Some(accelerator) => accelerator.losses(&pass)?,
                None => {
                    let (weights, lora) = self.parameters.bound();
                    self.network.bind(weights, lora);
                    let losses = self.network.losses(&pass);
                    self.network.release(self.parameters.owns_model());
                    losses
                }
            };
            for loss in losses {
                sum += loss;
                count += 1;
            }
            if throttle.after_pass(start.elapsed()) == Proceed::Stop {
                return Err(TrainError::Stopped(self.progress.step + 1));
            }
        }
        Ok((count > 0).then(|| sum / count as f64))
    }

    /// Puts the parameters of the best validation in place, if they were kept.
    pub fn take_best(&mut self) {
        for (index, best) in self.best.take().into_iter().flatten().enumerate() {
            self.parameters.change(index).copy_from_slice(&best);
        }
    }

    /// Writes everything that the run is now.
    pub fn checkpoint(&self, path: &Path) -> Result<(), TrainError> {
        let state = State {
            run: self.run,
            class: self.class(),
            progress: &self.progress,
            parameters: &self.parameters,
            moments: &self.moments,
            best: self.best.as_deref(),
            roots: &self.roots,
        };
        Ok(state.write(path)?)
    }

    /// Becomes what the run was when a checkpoint was written. One of another run is refused.
    pub fn resume(&mut self, path: &Path) -> Result<(), TrainError> {
        let restored = checkpoint::read(path, self.run, self.class(), &self.parameters)?;
        for (index, values) in restored.values.iter().enumerate() {
            self.parameters.change(index).copy_from_slice(values);
        }
        self.moments = restored.moments;
        if let Some(accelerator) = &mut self.accelerator {
            accelerator.restore(&self.parameters, &self.moments)?;
        }
        self.progress = restored.progress;
        self.best = restored.best;
        self.roots = restored.roots;
        Ok(())
    }
}
