//! The JSON objects of the OpenAI API: responses, chunks, log probabilities and usage.

use serde_json::{Map, Value, json};
use serve::{
    engine::{PositionLogprobs, TokenLogprob, UsedAdapter},
    schedule::{Finish, Usage},
};

use super::request::Kind;

/// The fields that all objects of one response have in common.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) created_s: u64,
    pub(super) model: String,
    /// Content hash of the base model.
    pub(super) base: String,
    pub(super) verified: bool,
    pub(super) seed: u64,
}

impl Envelope {
    /// The whole response, or one chunk of it.
    pub(super) fn object(&self, piece: bool, choices: Vec<Value>) -> Map<String, Value> {
        let name = match (self.kind, piece) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Completion, _) => "text_completion",
        };
        let fields = json!({
            "id": self.id,
            "object": name,
            "created": self.created_s,
            "model": self.model,
            "system_fingerprint": self.base,
            "choices": choices,
        });
        match fields {
            Value::Object(fields) => fields,
            _ => unreachable!("an object is written above"),
        }
    }

    /// The `openledger` field: which contents answered, and the seed that reproduces the completion.
    pub(super) fn extra(&self, served: &[UsedAdapter]) -> Value {
        let adapters: Vec<Value> = served
            .iter()
            .map(|one| json!({ "name": one.name, "generation": one.generation, "hash": one.hash }))
            .collect();
        json!({ "base": self.base, "adapters": adapters, "verified": self.verified, "seed": self.seed })
    }

    /// A choice of a whole response.
    pub(super) fn choice(&self, index: usize, text: &str, logprobs: &Value, finish: &str) -> Value {
        match self.kind {
            Kind::Chat => json!({
                "index": index,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": logprobs,
                "finish_reason": finish,
            }),
            Kind::Completion => json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish }),
        }
    }

    /// The first chunk of a choice, with the role. Text completions have none.
    pub(super) fn opening(&self, index: usize) -> Option<Value> {
        match self.kind {
            Kind::Chat => Some(json!({
                "index": index,
                "delta": { "role": "assistant", "content": "" },
                "logprobs": null,
                "finish_reason": null,
            })),
            Kind::Completion => None,
        }
    }

    /// A chunk of a choice; the last one has a finish reason.
    pub(super) fn piece(&self, index: usize, text: &str, logprobs: &Value, finish: Option<&str>) -> Value {
        match self.kind {
            Kind::Chat => {
                let delta = if text.is_empty() {
                    json!({})
                } else {
                    json!({ "content": text })
                };
                json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish })
            }
            Kind::Completion => json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish }),
        }
    }

    /// Log probabilities. `offset` is the position of their text in the completion, and advances.
    pub(super) fn logprobs(&self, scored: &[PositionLogprobs], offset: &mut usize) -> Value {
        match self.kind {
            Kind::Chat => json!({ "content": scored.iter().map(chat_logprob).collect::<Vec<_>>(), "refusal": null }),
            Kind::Completion => {
                let mut offsets = Vec::with_capacity(scored.len());
                for one in scored {
                    offsets.push(*offset);
                    *offset += one.token.text.chars().count();
                }
                let top = |one: &PositionLogprobs| {
                    let top = one.top.iter().map(|one| (one.text.clone(), Value::from(one.logprob)));
                    Value::Object(top.collect())
                };
                json!({
                    "tokens": scored.iter().map(|one| one.token.text.as_str()).collect::<Vec<_>>(),
                    "token_logprobs": scored.iter().map(|one| one.token.logprob).collect::<Vec<_>>(),
                    "top_logprobs": scored.iter().map(top).collect::<Vec<_>>(),
                    "text_offset": offsets,
                })
            }
        }
    }
}

fn chat_logprob(scored: &PositionLogprobs) -> Value {
    let one = |named: &TokenLogprob| json!({ "token": named.text, "logprob": named.logprob, "bytes": named.text.as_bytes(), "token_id": named.token });
    let mut object = one(&scored.token);
    object["top_logprobs"] = scored.top.iter().map(one).collect();
    object
}

/// Inserts an entry for the first token of an echoed prompt, for which there is no prediction.
pub(super) fn with_first(mut logprobs: Value) -> Value {
    for (list, first) in [
        ("tokens", Value::from("")),
        ("token_logprobs", Value::Null),
        ("top_logprobs", Value::Null),
        ("text_offset", Value::from(0)),
    ] {
        if let Some(list) = logprobs[list].as_array_mut() {
            list.insert(0, first);
        }
    }
    logprobs
}

/// The finish reason in the API's words, or why the completion failed.
pub(super) fn reason(finish: &Finish) -> Result<&'static str, String> {
    match finish {
        Finish::Stop => Ok("stop"),
        Finish::Length => Ok("length"),
        Finish::Cancelled => Err("the request was cancelled".to_owned()),
        Finish::Failed(why) => Err(why.clone()),
    }
}

/// Usage of all choices, `n` per prompt: a prompt counts once.
pub(super) fn usage(choices: &[Usage], n: usize) -> Value {
    let prompts: Vec<&Usage> = choices.iter().step_by(n).collect();
    let prompt: usize = prompts.iter().map(|usage| usage.prompt).sum();
    let cached: usize = prompts.iter().map(|usage| usage.cached).sum();
    let completion: usize = choices.iter().map(|usage| usage.completion).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": { "cached_tokens": cached },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_counts_once_for_all_its_choices() {
        let took = |prompt, completion| Usage {
            prompt,
            cached: 1,
            completion,
        };
        let found = usage(&[took(5, 2), took(5, 3), took(7, 1), took(7, 1)], 2);
        assert_eq!(found["prompt_tokens"], 12);
        assert_eq!(found["completion_tokens"], 7);
        assert_eq!(found["prompt_tokens_details"]["cached_tokens"], 2);
    }

    #[test]
    fn an_answer_that_failed_is_never_taken_for_one_that_ended() {
        assert_eq!(reason(&Finish::Length), Ok("length"));
        assert!(reason(&Finish::Failed("gone".to_owned())).is_err());
        assert!(reason(&Finish::Cancelled).is_err());
    }
}
