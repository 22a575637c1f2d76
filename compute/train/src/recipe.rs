//! What a run is asked to do. Everything here is part of the run's identity; how a machine does it is [`Machine`], and is
//! not.

use serde::{Deserialize, Serialize};

use compute::{
    kernel::{Level, Quantise},
    lora::{Projection, RANK_MAX},
};

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Decides what is held back, the order of records, and what adapters begin as.
    pub seed: u64,
    /// What is trained.
    pub method: Method,
    /// The adapter's rank.
    pub rank: usize,
    /// The adapter counts `alpha / rank` times.
    pub alpha: f64,
    /// `alpha / √rank` instead.
    pub rank_stabilised: bool,
    /// The linear layers that get an adapter, in every block.
    pub targets: Vec<String>,
    /// Bits of the frozen base.
    pub base: Base,
    /// Times each record is seen.
    pub epochs: u32,
    /// Steps at most.
    pub steps: Option<u64>,
    /// Records of a step.
    pub batch: usize,
    /// Tokens of a record at most.
    pub tokens_max: usize,
    /// What happens to a longer one.
    pub long: Overlong,
    /// What a step's sum of losses is divided by.
    pub normalise: Normalise,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// How it falls.
    pub schedule: Schedule,
    /// Steps over which it rises.
    pub warmup_steps: u64,
    /// What it falls to, as a part of the highest.
    pub floor: f64,
    /// `AdamW`'s averages.
    pub betas: [f64; 2],
    /// Keeps its division away from zero.
    pub epsilon: f64,
    /// Where that is added.
    pub epsilon_place: EpsilonPlace,
    /// What parameters lose in a step, times the learning rate. Vectors lose nothing.
    pub decay: f64,
    /// The longest gradient that is used as it is.
    pub clip: Option<f64>,
    /// The part of records that is held back.
    pub validation: f64,
    /// Steps between validations; at the end there is one in any case.
    pub validate_every: Option<u64>,
    /// Validations without gain after which the run stops, with the parameters of the best.
    pub patience: Option<u32>,
    /// Whether only answers count in the loss.
    pub answers_only: bool,
    /// What stands before an answer, with `{prompt}` in it. Without one it is the model's chat template, and without that
    /// the prompt alone.
    pub template: Option<String>,
}

/// What is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// LoraFactors-rank adapters over a frozen base.
    #[default]
    Lora,
    /// Every weight.
    Full,
}

/// How the frozen base is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// As stored.
    #[default]
    Stored,
    /// In eight bits.
    Int8,
    /// In four.
    Int4,
}

/// What happens to records that are too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlong {
    /// The run does not begin.
    #[default]
    Refuse,
    /// Their end is cut off.
    Cut,
}

/// What a step's sum of losses is divided by: what was planned, whether or not somebody's weight is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// All tokens of the step that count.
    #[default]
    Tokens,
    /// Each record's own tokens, and then the records.
    Records,
}

/// How the learning rate falls after it has risen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It does not.
    Constant,
    /// Evenly.
    #[default]
    Linear,
    /// Along half a wave.
    Cosine,
}

/// Where epsilon is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpsilonPlace {
    /// To the root of the second moment: as others do.
    #[default]
    Outside,
    /// Under the root: smoother in the data's weights, which attribution likes.
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

/// A hyper-parameter that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct RecipeError {
    /// Which.
    pub field: &'static str,
    /// What is wrong, or what would do.
    pub why: String,
}

impl Recipe {
    /// The linear layers that get an adapter.
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

    /// What the product of an adapter's factors is multiplied by.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "rounded to the single that is computed with"
    )]
    pub(crate) fn scale(&self) -> f32 {
        let rank = self.rank as f64;
        (self.alpha / if self.rank_stabilised { rank.sqrt() } else { rank }) as f32
    }

    /// How the base is kept.
    pub(crate) fn quantise(&self) -> Quantise {
        match self.base {
            Base::Stored => Quantise::No,
            Base::Int8 => Quantise::Int8,
            Base::Int4 => Quantise::Int4,
        }
    }

    /// Refuses what makes no run.
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

/// How a machine does it. Nothing here changes a bit of the result.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Threads that compute.
    pub threads: usize,
    /// Instructions to use, at most what the processor has.
    pub level: Level,
    /// Bytes for what is kept between the way forth and the way back; what does not fit is computed twice.
    pub keep_bytes: usize,
    /// Tokens that pass at once, unless one record has more. A step of more takes several passes.
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
