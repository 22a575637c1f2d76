//! Sampling: from one row of logits to a token, with the penalties, filters and seed that the client chose.
//!
//! A draw depends on the logits, the seed and the index of the token in the completion, and on nothing else: not on the
//! rest of the batch, not on the machine. For that the exponential is our own, and sums have a fixed order.

#![allow(clippy::float_arithmetic, reason = "logits are floats; what leaves is a token")]

mod draw;
mod math;
pub mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

/// Most alternatives reported beside a token.
pub const LOGPROBS_MAX: u32 = 20;
/// Most entries of a logit bias.
pub const BIAS_MAX: usize = 1024;

/// Sampling parameters, with the meaning they have in the OpenAI API and vLLM. The default is greedy.
///
/// ```
/// use serve::sample::{Params, Position, Sampler};
///
/// let logits = [0.1, 2.0, 0.3];
/// let mut sampler = Sampler::new(Params::default(), &[]);
/// let chosen = sampler.choose(&mut logits.clone(), Position { index: 0, barred: &[] });
/// assert_eq!(chosen.token, 1, "greedy takes the likeliest");
/// let chosen = sampler.choose(&mut logits.clone(), Position { index: 1, barred: &[1] });
/// assert_eq!(chosen.token, 2, "a barred token is never chosen");
/// ```
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Params {
    /// 0 takes the likeliest token; at most 2.
    pub temperature: f32,
    /// Keeps only this many of the likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps only the smallest set of likeliest tokens whose probabilities reach this sum.
    pub top_p: f32,
    /// Keeps only tokens with at least this fraction of the likeliest one's probability.
    pub min_p: f32,
    /// Divides positive logits, and multiplies negative ones, of tokens in the prompt or the completion; 1 does nothing.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens in the completion.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens in the completion, once per occurrence.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// The random draws are a function of this seed and the index of the token.
    pub seed: u64,
    /// Report the log probability of each token, and of this many of the likeliest.
    pub logprobs: Option<u32>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
            logprobs: None,
        }
    }
}

/// A sampling parameter out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {found}, it must be {range}")]
pub struct ParamsError {
    /// Name of the parameter as in the OpenAI API.
    pub field: &'static str,
    pub found: String,
    pub range: String,
}

impl Params {
    /// Checks every parameter against its range and the vocabulary.
    pub fn check(&self, vocabulary: usize) -> Result<(), ParamsError> {
        let within = |field, value: f32, low: f32, high: f32| {
            // NaN is in no range, so it is refused here too.
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(ParamsError {
                field,
                found: value.to_string(),
                range: format!("between {low} and {high}"),
            })
        };
        within("temperature", self.temperature, 0.0, 2.0)?;
        within("top_p", self.top_p, f32::MIN_POSITIVE, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("repetition_penalty", self.repetition_penalty, 0.01, 100.0)?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        let refuse = |field, found: String, range: String| Err(ParamsError { field, found, range });
        if let Some(count) = self.logprobs.filter(|count| *count > LOGPROBS_MAX) {
            return refuse("top_logprobs", count.to_string(), format!("at most {LOGPROBS_MAX}"));
        }
        if self.logit_bias.len() > BIAS_MAX {
            let found = format!("{} entries", self.logit_bias.len());
            return refuse("logit_bias", found, format!("at most {BIAS_MAX} entries"));
        }
        for (token, bias) in &self.logit_bias {
            within("logit_bias", *bias, -100.0, 100.0)?;
            if *token as usize >= vocabulary {
                let range = format!("a token below {vocabulary}");
                return refuse("logit_bias", format!("for token {token}"), range);
            }
        }
        Ok(())
    }

    fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

/// A sampled token; log probabilities are those before temperature, penalties and bias.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Chosen {
    pub token: u32,
    pub logprobs: Option<Logprobs>,
}

/// Natural logarithms of probabilities at one position.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Logprobs {
    /// Of the token itself.
    pub token: f32,
    /// The likeliest tokens, most likely first.
    pub top: Vec<(u32, f32)>,
}

/// The sampler of one completion: its parameters, and the tokens that penalties apply to.
#[derive(Debug)]
pub struct Sampler {
    params: Params,
    /// Tokens of prompt and completion; empty if nothing is penalised.
    seen: BTreeMap<u32, Occurrences>,
}

#[derive(Debug, Default)]
struct Occurrences {
    in_completion: u32,
}

/// The position in a completion for which a token is sampled.
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    /// Index in the completion, from 0.
    pub index: u32,
    /// Tokens that are forbidden here, such as the end token before the least length is reached.
    pub barred: &'a [u32],
}

impl Sampler {
    /// A sampler at the start of the completion of `prompt`. The parameters must have passed [`Params::check`].
    pub fn new(params: Params, prompt: &[u32]) -> Self {
        let mut seen = BTreeMap::new();
        if params.penalises() {
            for token in prompt {
                seen.entry(*token).or_insert_with(Occurrences::default);
            }
        }
        Self { params, seen }
    }

    /// Samples a token from a row of logits, which is overwritten. A row without one finite logit gives token 0.
    pub fn choose(&mut self, logits: &mut [f32], position: Position<'_>) -> Chosen {
        let before = self.params.logprobs.map(|count| {
            let total = math::log_sum_exp(logits);
            let top = draw::likeliest(logits, count as usize);
            (
                total,
                top.into_iter().map(|(token, logit)| (token, logit - total)).collect(),
                logits.to_vec(),
            )
        });
        self.adjust(logits, position.barred);
        let token = match self.params.temperature > 0.0 {
            true => draw::draw(&self.params, logits, position.index),
            false => draw::greedy(logits),
        };
        if self.params.penalises() {
            self.seen.entry(token).or_default().in_completion += 1;
        }
        let logprobs = before.map(|(total, top, row): (f32, _, Vec<f32>)| Logprobs {
            token: row[token as usize] - total,
            top,
        });
        Chosen { token, logprobs }
    }

    /// Applies penalties, bias and forbidden tokens to the logits.
    fn adjust(&self, logits: &mut [f32], barred: &[u32]) {
        let params = &self.params;
        for (token, seen) in &self.seen {
            let Some(logit) = logits.get_mut(*token as usize) else {
                continue;
            };
            *logit = match *logit > 0.0 {
                true => *logit / params.repetition_penalty,
                false => *logit * params.repetition_penalty,
            };
            if seen.in_completion > 0 {
                *logit -= params.presence_penalty + params.frequency_penalty * seen.in_completion as f32;
            }
        }
        for (token, bias) in &params.logit_bias {
            logits[*token as usize] += bias;
        }
        for token in barred {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

/// Log probability of `token` in a row of logits, and of the `count` likeliest: for scoring the tokens of a prompt.
pub fn score(logits: &[f32], token: u32, count: u32) -> Logprobs {
    let total = math::log_sum_exp(logits);
    Logprobs {
        token: logits
            .get(token as usize)
            .map_or(f32::NEG_INFINITY, |logit| logit - total),
        top: draw::likeliest(logits, count as usize)
            .into_iter()
            .map(|(token, logit)| (token, logit - total))
            .collect(),
    }
}
