//! Hyper-parameters. All of [`Recipe`] is part of a run's identity; [`Machine`] says how it is computed and is not.

use serde::{Deserialize, Serialize};

use compute::{
    kernel::{Level, Quantise},
    lora::{Projection, RANK_MAX},
};

/// The hyper-parameters of a run, as a TOML file or JSON spells them.
///
/// Field names are part of that format, and their JSON is hashed into the run's name.
///
/// ```
/// use train::{Method, Recipe};
///
/// let recipe: Recipe = serde_json::from_str(r#"{"rank": 16, "epochs": 1}"#).unwrap();
/// assert_eq!((recipe.rank, recipe.method, recipe.learning_rate), (16, Method::Lora, 2e-4));
/// assert_eq!(Recipe { rank: 0, ..recipe }.check().unwrap_err().field, "rank");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Decides the validation split, the order of records, and the initial values.
    pub seed: u64,
    pub method: Method,
    /// Rank of the adapter, 1 to 512.
    pub rank: usize,
    /// Scale of the adapter times its rank: the factor is `alpha / rank`.
    pub alpha: f64,
    /// True for the factor `alpha / √rank` (rsLoRA).
    pub rank_stabilised: bool,
    /// Linear layers that get an adapter, in every block, by their names in tensor files.
    pub targets: Vec<String>,
    /// Precision of the frozen base.
    pub base: Base,
    /// Number of times that each record is used.
    pub epochs: u32,
    /// Most steps; all epochs if `None`.
    pub steps: Option<u64>,
    /// Records in a step.
    pub batch: usize,
    /// Most tokens of a record.
    pub tokens_max: usize,
    /// Handling of records with more tokens.
    pub long: Overlong,
    /// Divisor of a step's sum of losses.
    pub normalise: Normalise,
    /// Highest learning rate.
    pub learning_rate: f64,
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// Final learning rate, as a fraction of the highest.
    pub floor: f64,
    /// Decay rates of AdamW's two moments.
    pub betas: [f64; 2],
    /// Addend that keeps AdamW from dividing by zero.
    pub epsilon: f64,
    pub epsilon_place: EpsilonPlace,
    /// Weight decay per step, times the learning rate. Norms and biases do not decay.
    pub decay: f64,
    /// Largest norm of the gradient; a longer one is scaled down to it.
    pub clip: Option<f64>,
    /// Fraction of the records held back for validation.
    pub validation: f64,
    /// Steps between validations; there is always one at the end.
    pub validate_every: Option<u64>,
    /// Validations without improvement after which the run stops, with the parameters of the best one.
    pub patience: Option<u32>,
    /// True if only answers count in the loss, not prompts.
    pub answers_only: bool,
    /// Text before an answer, with `{prompt}` in it. By default the model's chat template, or the prompt alone if it
    /// has none.
    pub template: Option<String>,
}

/// The parameters that are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// LoRA adapters over a frozen base.
    #[default]
    Lora,
    /// All weights of the model.
    Full,
}

/// Precision in which the frozen base is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// As stored.
    #[default]
    Stored,
    /// Eight bits.
    Int8,
    /// Four bits.
    Int4,
}

/// Handling of records with more tokens than are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlong {
    /// Refuses the record, so that the run does not start.
    #[default]
    Refuse,
    /// Cuts off the end.
    Cut,
}

/// Divisor of a step's sum of losses. Counted before contributors' weights, so a weight of zero does not change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// The tokens of the step that count.
    #[default]
    Tokens,
    /// The counting tokens of each record, times the number of records.
    Records,
}

/// Course of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Stays the same.
    Constant,
    /// Falls linearly.
    #[default]
    Linear,
    /// Falls along half a cosine wave.
    Cosine,
}

/// The position of epsilon in AdamW's divisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpsilonPlace {
    /// Added to the root of the second moment, as PyTorch does.
    #[default]
    Outside,
    /// Added under the root: smoother in the weights of the data, as attribution needs.
    Inside,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seed: 0,
            method: Method::default(),
            rank: 8,
            alpha: 16.0,
            rank_stabilised: false,
            targets: Projection::ALL.iter().map(|site| site.name().to_owned()).collect(),
            base: Base::default(),
            epochs: 3,
            steps: None,
            batch: 8,
            tokens_max: 1024,
            long: Overlong::default(),
            normalise: Normalise::default(),
            learning_rate: 2e-4,
            schedule: Schedule::default(),
            warmup_steps: 0,
            floor: 0.0,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            epsilon_place: EpsilonPlace::default(),
            decay: 0.0,
            clip: Some(1.0),
            validation: 0.0,
            validate_every: None,
            patience: None,
            answers_only: true,
            template: None,
        }
    }
}

/// Refusal of a hyper-parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct RecipeError {
    pub field: &'static str,
    pub why: String,
}

impl Recipe {
    /// Returns the linear layers that get an adapter, sorted.
    pub(crate) fn projections(&self) -> Result<Vec<Projection>, RecipeError> {
        let mut found = Vec::new();
        for name in &self.targets {
            match Projection::ALL.into_iter().find(|site| site.name() == name) {
                Some(site) => found.push(site),
                None => {
                    return refuse(
                        "targets",
                        format!("names `{name}`, which is no linear layer of a block"),
                    );
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        match found.is_empty() {
            true => refuse("targets", "is empty: an adapter acts somewhere"),
            false => Ok(found),
        }
    }

    /// Returns the factor of an adapter's product.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "rounded to the single that is computed with"
    )]
    pub(crate) fn scale(&self) -> f32 {
        let rank = self.rank as f64;
        (self.alpha / if self.rank_stabilised { rank.sqrt() } else { rank }) as f32
    }

    /// Returns the precision of the base for the kernels.
    pub(crate) fn quantise(&self) -> Quantise {
        match self.base {
            Base::Stored => Quantise::No,
            Base::Int8 => Quantise::Int8,
            Base::Int4 => Quantise::Int4,
        }
    }

    /// Checks that every hyper-parameter is in range and does not contradict another. Fails with its field.
    pub fn check(&self) -> Result<(), RecipeError> {
        self.projections()?;
        let number = |field, value: f64, low: f64, high: f64| match value >= low && value <= high {
            true => Ok(()),
            false => refuse(field, format!("is {value}; {low} to {high} is accepted")),
        };
        number("rank", self.rank as f64, 1.0, RANK_MAX as f64)?;
        number("alpha", self.alpha, 1e-6, 1e6)?;
        number("epochs", f64::from(self.epochs), 1.0, 1e6)?;
        number("batch", self.batch as f64, 1.0, 65_536.0)?;
        number("tokens_max", self.tokens_max as f64, 2.0, 1_048_576.0)?;
        number("learning_rate", self.learning_rate, 0.0, 10.0)?;
        number("floor", self.floor, 0.0, 1.0)?;
        number("betas", self.betas[0], 0.0, 0.999_999)?;
        number("betas", self.betas[1], 0.0, 0.999_999_9)?;
        number("epsilon", self.epsilon, 1e-30, 1.0)?;
        number("decay", self.decay, 0.0, 10.0)?;
        number("clip", self.clip.unwrap_or(1.0), 1e-9, 1e9)?;
        number("validation", self.validation, 0.0, 0.9)?;
        number("steps", self.steps.unwrap_or(1) as f64, 1.0, 1e9)?;
        number("validate_every", self.validate_every.unwrap_or(1) as f64, 1.0, 1e9)?;
        if self.method == Method::Full && self.base != Base::Stored {
            return refuse(
                "base",
                "is quantised, and only a frozen base can be: `method = \"lora\"`",
            );
        }
        if self.patience.is_some() && self.validation == 0.0 {
            return refuse("patience", "needs records that are held back: set `validation`");
        }
        match &self.template {
            Some(template) if !template.contains("{prompt}") => refuse("template", "has no {prompt} in it"),
            _ => Ok(()),
        }
    }
}

fn refuse<T>(field: &'static str, why: impl Into<String>) -> Result<T, RecipeError> {
    Err(RecipeError { field, why: why.into() })
}

/// The settings of a run that change no bit of its result.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Number of threads that compute.
    pub threads: usize,
    /// Instruction level; lowered to what the processor has.
    pub level: Level,
    /// Bytes for intermediate results kept between forward and backward pass; what does not fit is computed twice.
    pub keep_bytes: usize,
    /// Most tokens in a pass, unless one record has more. A larger step takes several passes.
    pub pass_tokens: usize,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            level: Level::detect(),
            keep_bytes: 1 << 30,
            pass_tokens: 1024,
        }
    }
}
