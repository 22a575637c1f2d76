//! A run, step by step: parameters, moments, progress, and the chain of step roots.

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

/// A run: a model, its data, and the progress so far.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use compute::model::{Config, Dimensions, Model};
/// use train::{Corpus, Machine, Recipe, Trainer, Unthrottled};
///
/// let dimensions = Dimensions {
///     vocabulary: 32, hidden: 16, intermediate: 32, layers: 1, heads: 2, kv_heads: 1, context_tokens_max: 16, tied: true,
/// };
/// let config = Config::llama(dimensions, 0).unwrap();
/// let recipe = Recipe { rank: 2, batch: 1, epochs: 2, ..Recipe::default() };
/// let mut corpus = Corpus::default();
/// corpus.add(vec![1, 2, 3], &[false, true, true], "alice", &config, &recipe).unwrap();
///
/// let base = Model::untrained(&config, 7);
/// let mut trainer = Trainer::new(&base, corpus, &BTreeMap::new(), recipe, Machine::default()).unwrap();
/// while !trainer.is_done() {
///     trainer.step(&mut Unthrottled).unwrap();
/// }
/// assert_eq!(trainer.roots().len(), 2);
/// assert_eq!(trainer.adapter().unwrap().rank(), 2);
/// ```
pub struct Trainer {
    network: Network,
    /// Computes the steps instead of `network`, if set.
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

/// The figures of a finished step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Mean loss of the tokens that count, weighted by contributor.
    pub loss: f64,
    pub rate: f64,
    /// Norm of the gradient before clipping.
    pub length: f64,
    /// Number of tokens in its passes.
    pub tokens: u64,
    /// Seconds spent on hashing the state.
    pub root_seconds: f64,
}

impl Trainer {
    /// Moves the run to an accelerator, which makes it a run of another class with another name.
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

    /// Returns the trained parameters.
    #[cfg(feature = "gpu")]
    pub(super) fn trained(&self) -> &Parameters {
        &self.parameters
    }

    /// Returns the machine settings.
    #[cfg(feature = "gpu")]
    pub(super) fn machine(&self) -> Machine {
        self.machine
    }

    /// Returns the determinism class: runs of one class on any of its devices have the same bits.
    pub fn class(&self) -> &str {
        self.accelerator
            .as_ref()
            .map_or(PROCESSOR, |accelerator| accelerator.class())
    }

    /// Returns the run's identity: a hash of base, data, weights, seed and hyper-parameters.
    pub fn run_id(&self) -> blake3::Hash {
        self.run
    }

    /// Returns the number of steps done.
    pub fn step_number(&self) -> u64 {
        self.progress.step
    }

    /// Returns the number of steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.plan.steps
    }

    /// Returns the root of each finished step.
    pub fn roots(&self) -> &[blake3::Hash] {
        &self.roots
    }

    /// Returns the records.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// Returns a hash of all records, in order.
    pub fn data_root(&self) -> blake3::Hash {
        self.corpus.root()
    }

    /// Returns the number of records that are trained on, and of those held back for validation.
    pub fn records(&self) -> (usize, usize) {
        let held = self.plan.validation.len();
        (self.corpus.examples.len() - held, held)
    }

    /// Returns the hyper-parameters.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Returns the adapter in its current state; `None` if the model's own weights are trained.
    pub fn adapter(&self) -> Option<Adapter> {
        self.parameters.to_adapter()
    }

    /// Returns the model in its current state, rounded to `dtype`; `None` if an adapter is trained.
    pub fn model(&self, dtype: Dtype) -> Option<Model> {
        let by_name: BTreeMap<_, _> = self.parameters().collect();
        self.parameters
            .owns_model()
            .then(|| Model::from_f32(&self.network.config, dtype, |name| by_name[name].to_vec()))
    }

    /// Returns all parameters as a safetensors file.
    pub fn to_safetensors(&self) -> Vec<u8> {
        self.parameters.to_safetensors()
    }

    /// Iterates over the parameters by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.parameters
            .tensors()
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.values()))
    }

    /// Returns step and loss of the best validation so far.
    pub fn best(&self) -> Option<(u64, f64)> {
        self.progress
            .best
            .map(|best| (best.step, f64::from_bits(best.loss_bits)))
    }

    /// Returns the number of validations since the best one.
    pub fn since_best(&self) -> u32 {
        self.progress.since_best
    }

    /// Iterates over the finished steps: mean loss, learning rate, gradient norm.
    pub fn history(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        self.progress.history.iter().zip(1..).map(|((loss, long), step)| {
            let rate = rate(&self.recipe, step, self.plan.steps);
            (f64::from_bits(*loss), rate, f64::from_bits(*long))
        })
    }

    /// Iterates over the validations: step and loss.
    pub fn validations(&self) -> impl Iterator<Item = (u64, f64)> {
        self.progress
            .validations
            .iter()
            .map(|(step, loss)| (*step, f64::from_bits(*loss)))
    }

    /// Iterates over the contributors: name, weight, number of records.
    pub fn contributors(&self) -> impl Iterator<Item = (&str, f64, usize)> {
        let owned = |index: usize| move |example: &&Example| example.contributor as usize == index;
        let count = move |index| self.corpus.examples.iter().filter(owned(index)).count();
        let named = self.corpus.contributors.iter().zip(&self.weights).enumerate();
        named.map(move |(index, (name, weight))| (name.as_str(), *weight, count(index)))
    }

    /// True if all steps are done, or validations have not improved for longer than the recipe's patience.
    pub fn is_done(&self) -> bool {
        let patience = self.recipe.patience;
        self.progress.step >= self.plan.steps || patience.is_some_and(|most| self.progress.since_best >= most)
    }

    /// Does the next step. After an error, a stop included, the run is as it was before.
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
        let clip_factor = self
            .recipe
            .clip
            .map_or(1.0, |most| if long > most { (most / long) as f32 } else { 1.0 });
        let rate = rate(&self.recipe, step, self.plan.steps);
        let factors = Factors::of(&self.recipe, step, rate, clip_factor);
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

    /// Adds up the gradients of a step; returns the sum of its weighted losses, their mean, and the number of tokens.
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
            // Added one by one in the order of records, however they were cut into passes.
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

    /// Validates: returns the mean loss over the records held back, and `None` if there are none. Remembers the best
    /// state if the recipe has a patience.
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

    /// Returns the mean loss of the tokens that count in some records, unweighted.
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

    /// Restores the parameters of the best validation, if they were remembered.
    pub fn take_best(&mut self) {
        for (index, best) in self.best.take().into_iter().flatten().enumerate() {
            self.parameters.change(index).copy_from_slice(&best);
        }
    }

    /// Writes a checkpoint: everything that the run needs to continue with the same bits.
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

    /// Loads a checkpoint. One of another run or another class is refused.
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
