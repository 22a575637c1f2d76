//! From logits to a token: what the client asked for, applied to one row.
//!
//! The draw depends on the logits, the seed and the place of the token in the answer, and on nothing else: not on batch
//! mates, not on the machine. Exponentials are our own for that reason; sums have a fixed order.

#![allow(clippy::float_arithmetic, reason = "logits are floats; what leaves is a token")]

mod draw;
mod math;
pub mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

/// Most alternatives that are reported beside a token.
pub const LOGPROBS_MAX: u32 = 20;
/// Most entries of a logit bias.
pub const BIAS_MAX: usize = 1024;

/// How tokens are chosen. The default is greedy.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Params {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Only so many of the likeliest; 0 is all.
    pub top_k: u32,
    /// Only the likeliest that together reach this probability.
    pub top_p: f32,
    /// Only those at least so likely, as a share of the likeliest.
    pub min_p: f32,
    /// Divides the logits of what is in prompt or answer; 1 does nothing.
    pub repetition_penalty: f32,
    /// Taken off the logits of what is in the answer.
    pub presence_penalty: f32,
    /// Taken off the logits of what is in the answer, as often as it is.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// What the draws follow from.
    pub seed: u64,
    /// Report logarithms of probabilities: of the token, and of so many of the likeliest.
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

/// A parameter out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {found}, it must be {range}")]
pub struct ParamsError {
    /// As in the OpenAI API.
    pub field: &'static str,
    /// What came.
    pub found: String,
    /// What may come.
    pub range: String,
}

impl Params {
    /// Checks every field against its range and the vocabulary.
    pub fn check(&self, vocabulary: usize) -> Result<(), ParamsError> {
        let within = |field, value: f32, low: f32, high: f32| {
            // A NaN is in no range.
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

/// A token and how likely it was, before temperature, penalties and bias.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Chosen {
    /// Which.
    pub token: u32,
    /// Where logarithms of probabilities are wanted.
    pub logprobs: Option<Logprobs>,
}

/// Natural logarithms of probabilities at one position.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Logprobs {
    /// Of the token itself.
    pub token: f32,
    /// The likeliest, most likely first.
    pub top: Vec<(u32, f32)>,
}

/// One answer's sampler: its parameters and what it has said so far.
#[derive(Debug)]
pub struct Sampler {
    params: Params,
    /// Only kept where something is penalised: how often in the answer, and whether in the prompt.
    seen: BTreeMap<u32, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    in_answer: u32,
}

/// Which token of an answer is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its number in the answer, from 0.
    pub index: u32,
    /// Tokens that may not come here, such as the end of an answer that must go on.
    pub barred: &'a [u32],
}

impl Sampler {
    /// A sampler at the start of an answer to `prompt`. The parameters were checked.
    pub fn new(params: Params, prompt: &[u32]) -> Self {
        let mut seen = BTreeMap::new();
        if params.penalises() {
            for token in prompt {
                seen.entry(*token).or_insert_with(Seen::default);
            }
        }
        Self { params, seen }
    }

    /// Chooses a token by a row of logits, which is used up. A row without one finite logit gives token 0.
    pub fn choose(&mut self, logits: &mut [f32], place: Place<'_>) -> Chosen {
        let before = self.params.logprobs.map(|count| {
            let total = math::log_sum_exp(logits);
            let top = draw::likeliest(logits, count as usize);
            (
                total,
                top.into_iter().map(|(token, logit)| (token, logit - total)).collect(),
                logits.to_vec(),
            )
        });
        self.bend(logits, place.barred);
        let token = match self.params.temperature > 0.0 {
            true => draw::draw(&self.params, logits, place.index),
            false => draw::greedy(logits),
        };
        if self.params.penalises() {
            self.seen.entry(token).or_default().in_answer += 1;
        }
        let logprobs = before.map(|(total, top, row): (f32, _, Vec<f32>)| Logprobs {
            token: row[token as usize] - total,
            top,
        });
        Chosen { token, logprobs }
    }

    /// Puts penalties, bias and bars into the logits.
    fn bend(&self, logits: &mut [f32], barred: &[u32]) {
        let params = &self.params;
        for (token, seen) in &self.seen {
            let Some(logit) = logits.get_mut(*token as usize) else {
                continue;
            };
            *logit = match *logit > 0.0 {
                true => *logit / params.repetition_penalty,
                false => *logit * params.repetition_penalty,
            };
            if seen.in_answer > 0 {
                *logit -= params.presence_penalty + params.frequency_penalty * seen.in_answer as f32;
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

/// How likely `token` was by a row of logits, and what was likeliest: for the tokens of a prompt.
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
