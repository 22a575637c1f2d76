//! The three ways to start a run: on a base model, from an adapter, or with a model from nothing.

use std::collections::BTreeMap;

use compute::{
    lora::Adapter,
    model::{Config, Model},
};

use super::{
    super::{
        checkpoint::Progress,
        cpu::{Network, NetworkOptions, gradient_slots::GradientSlots},
        data::Corpus,
        error::TrainError,
        optimiser::Moments,
        parameters::Parameters,
        plan::Plan,
        recipe::{Machine, Method, Recipe, RecipeError},
        state_root::{base_hash, run_id},
    },
    Trainer,
};

/// The starting point of a run.
struct Start<'a> {
    /// `None` if every weight is trained from nothing.
    model: Option<&'a Model>,
    config: &'a Config,
    /// Identifies the starting point in the run's name.
    base: blake3::Hash,
    parameters: Parameters,
}

impl Trainer {
    /// Starts a run on a base model. Contributors that `weights` does not name have weight 1.
    pub fn new(
        model: &Model,
        corpus: Corpus,
        weights: &BTreeMap<String, f64>,
        recipe: Recipe,
        machine: Machine,
    ) -> Result<Self, TrainError> {
        recipe.check()?;
        let parameters = match recipe.method {
            Method::Lora => Parameters::adapter(model.config(), &recipe, &recipe.projections()?),
            Method::Full => Parameters::model(model)?,
        };
        let base = base_hash(model);
        let begin = Start {
            model: Some(model),
            config: model.config(),
            base,
            parameters,
        };
        Self::of(begin, corpus, weights, recipe, machine)
    }

    /// Starts a run that continues training an adapter. Fails if the adapter does not fit the model, or its sites
    /// differ in scale.
    pub fn from_adapter(
        model: &Model,
        adapter: &Adapter,
        corpus: Corpus,
        weights: &BTreeMap<String, f64>,
        recipe: Recipe,
        machine: Machine,
    ) -> Result<Self, TrainError> {
        recipe.check()?;
        let misfit = || RecipeError {
            field: "base",
            why: "is not of the shape that the adapter is for, or the adapter's sites differ in scale".to_owned(),
        };
        let parameters = Parameters::of_adapter(model.config(), adapter).ok_or_else(misfit)?;
        let mut base = blake3::Hasher::new_derive_key("openledger training base with adapter v1");
        base.update(base_hash(model).as_bytes()).update(&adapter.hash().0.0);
        let base = base.finalize();
        let begin = Start {
            model: Some(model),
            config: model.config(),
            base,
            parameters,
        };
        Self::of(begin, corpus, weights, recipe, machine)
    }

    /// Starts a run that trains every weight of a new model, whose initial weights the seed decides. Sets the method
    /// to full training.
    pub fn from_nothing(
        config: &Config,
        corpus: Corpus,
        weights: &BTreeMap<String, f64>,
        recipe: Recipe,
        machine: Machine,
    ) -> Result<Self, TrainError> {
        let recipe = Recipe {
            method: Method::Full,
            ..recipe
        };
        recipe.check()?;
        let parameters = Parameters::begin(config, recipe.seed);
        let base = blake3::hash(format!("from nothing: {config:?}").as_bytes());
        let begin = Start {
            model: None,
            config,
            base,
            parameters,
        };
        Self::of(begin, corpus, weights, recipe, machine)
    }

    fn of(
        begin: Start<'_>,
        corpus: Corpus,
        weights: &BTreeMap<String, f64>,
        recipe: Recipe,
        machine: Machine,
    ) -> Result<Self, TrainError> {
        let Start {
            model,
            config,
            base,
            parameters,
        } = begin;
        let weights = corpus.weights(weights)?;
        let plan = Plan::new(corpus.examples.len(), &recipe).ok_or(TrainError::Records(corpus.examples.len()))?;
        let options = NetworkOptions {
            threads: machine.threads,
            level: machine.level,
            keep_bytes: machine.keep_bytes,
        };
        let slots: GradientSlots = parameters.gradient_slots();
        let network = match (model, parameters.owns_model()) {
            (Some(model), false) => Network::frozen(model, recipe.quantise(), slots, options)?,
            _ => Network::bare(config, slots, options),
        };
        let run = run_id(base, &corpus, &weights, &recipe);
        Ok(Self {
            moments: Moments::new(&parameters),
            gradients: parameters.gradients(),
            progress: Progress::default(),
            best: None,
            roots: Vec::new(),
            accelerator: None,
            network,
            parameters,
            corpus,
            weights,
            plan,
            recipe,
            machine,
            run,
        })
    }
}
