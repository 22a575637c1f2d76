//! Parsing the body of a request into requests to the engine.

use axum::http::StatusCode;
use compute::model::Generation;
use serde::Deserialize;
use serde_json::Value;
use serve::{
    engine::{Prompt, Request},
    sample::Params,
};

use super::{error::ApiError, fields::Fields};
use base::entropy;

/// Most choices of one request, over all its prompts.
const CHOICES_MAX: usize = 128;
/// Default length of a text completion, as in the OpenAI API.
const COMPLETION_TOKENS: u32 = 16;
const MESSAGES_MAX: usize = 4096;

/// The endpoint that a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// A parsed and checked request, with one engine request per choice.
#[derive(Debug)]
pub(super) struct ParsedRequest {
    /// The name of the model as the client wrote it.
    pub(super) model: String,
    /// In order of choices.
    pub(super) requests: Vec<Request>,
    /// Number of choices per prompt.
    pub(super) n: usize,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// With `echo`: the text of each prompt, `None` if it came as tokens.
    pub(super) echo: Option<Vec<Option<String>>>,
    pub(super) logprobs: bool,
    pub(super) verified: bool,
    pub(super) seed: u64,
}

/// The model names that this engine answers to.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Name of the base model.
    pub(super) base: String,
}

impl Names {
    /// The adapter that a model name stands for; `None` for the base.
    pub(super) fn adapter<'a>(&self, model: &'a str) -> Option<&'a str> {
        if model == self.base {
            return None;
        }
        let own = model
            .strip_prefix(self.base.as_str())
            .and_then(|rest| rest.strip_prefix(':'));
        Some(own.unwrap_or(model))
    }
}

#[derive(Deserialize)]
struct MixEntry {
    name: String,
    #[serde(default = "whole")]
    weight: f32,
}

fn whole() -> f32 {
    1.0
}

/// Parses a request to either endpoint.
pub(super) fn read(kind: Kind, body: &[u8], names: &Names, defaults: &Generation) -> Result<ParsedRequest, ApiError> {
    let fields = Fields::read(body)?;
    unsupported(&fields)?;
    let model: String = fields
        .get("model", "the name of a model")?
        .ok_or_else(|| ApiError::field("model", "is missing; /v1/models lists what there is"))?;
    let n = fields.count("n")?.unwrap_or(1) as usize;
    if n == 0 {
        return Err(ApiError::field("n", "is 0, it must be at least 1"));
    }
    let prompts = match kind {
        Kind::Chat => vec![conversation(&fields, body)?],
        Kind::Completion => prompts(&fields)?,
    };
    if prompts.len().saturating_mul(n) > CHOICES_MAX {
        let (field, count) = if n > 1 { ("n", n) } else { ("prompt", prompts.len()) };
        let why = format!("asks for {count} and more answers, at most {CHOICES_MAX} are given to one request");
        return Err(ApiError::field(field, why));
    }
    let seed = fields.get::<i64>("seed", "a whole number")?.map(i64::cast_unsigned);
    let seed = seed.unwrap_or_else(|| u64::from_le_bytes(entropy::bytes()));
    let echo = kind == Kind::Completion && fields.flag("echo")?;
    let mut common = common(kind, &fields, defaults, echo)?;
    common.adapters = adapters(&fields, &model, names)?;
    let text = |prompt: &Prompt| match prompt {
        Prompt::Text(text) => Some(text.clone()),
        Prompt::Tokens(_) | Prompt::Chat(_) => None,
    };
    let echo = echo.then(|| prompts.iter().map(text).collect());
    let mut requests = Vec::with_capacity(prompts.len() * n);
    for prompt in prompts {
        for choice in 0..n as u64 {
            let mut request = Request {
                prompt: prompt.clone(),
                ..common.clone()
            };
            request.sampling.seed = seed.wrapping_add(choice);
            requests.push(request);
        }
    }
    Ok(ParsedRequest {
        model,
        requests,
        n,
        stream: fields.flag("stream")?,
        include_usage: include_usage(&fields)?,
        echo,
        logprobs: common.sampling.logprobs.is_some(),
        verified: common.verified,
        seed,
    })
}

/// Refuses, by name, fields that would change the completion and are not supported. Other unknown fields are ignored.
fn unsupported(fields: &Fields) -> Result<(), ApiError> {
    fields.without("best_of", |value| value == 1)?;
    fields.without("suffix", |value| value == "")?;
    fields.without("functions", |value| value.as_array().is_some_and(Vec::is_empty))?;
    fields.without("response_format", |value| value["type"] == "text")?;
    for guided in [
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "structured_outputs",
    ] {
        fields.without(guided, |_| false)?;
    }
    fields.without("modalities", |value| *value == serde_json::json!(["text"]))?;
    fields.without("tool_choice", |value| value == "auto" || value == "none")
}

fn include_usage(fields: &Fields) -> Result<bool, ApiError> {
    match fields.value("stream_options") {
        None => Ok(false),
        Some(Value::Object(options)) => match options.get("include_usage") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(wanted)) => Ok(*wanted),
            Some(_) => Err(ApiError::field("stream_options.include_usage", "must be true or false")),
        },
        Some(_) => Err(ApiError::field("stream_options", "must be an object")),
    }
}

fn conversation(fields: &Fields, body: &[u8]) -> Result<Prompt, ApiError> {
    let messages = fields
        .value("messages")
        .and_then(Value::as_array)
        .ok_or_else(|| ApiError::field("messages", "must be a list of messages"))?;
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        let why = format!("has {} messages, 1 to {MESSAGES_MAX} are accepted", messages.len());
        return Err(ApiError::field("messages", why));
    }
    // The body as it came: chat templates print fields in the order in which they were written.
    let text = std::str::from_utf8(body).map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "the body is no UTF-8"))?;
    Ok(Prompt::Chat(text.to_owned()))
}

/// One text, one list of tokens, or a list of either.
fn prompts(fields: &Fields) -> Result<Vec<Prompt>, ApiError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Tokens(Vec<u32>),
        Texts(Vec<String>),
        Lists(Vec<Vec<u32>>),
    }
    let expected = "a text, a list of tokens, or a list of texts or of such lists";
    let written = fields
        .get("prompt", expected)?
        .ok_or_else(|| ApiError::field("prompt", "is missing"))?;
    let prompts: Vec<Prompt> = match written {
        Written::Text(text) => vec![Prompt::Text(text)],
        Written::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
        Written::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
        Written::Lists(lists) => lists.into_iter().map(Prompt::Tokens).collect(),
    };
    match prompts.len() {
        0 => Err(ApiError::field("prompt", "is empty")),
        _ => Ok(prompts),
    }
}

/// An engine request with everything except prompt and adapters.
fn common(kind: Kind, fields: &Fields, defaults: &Generation, echo: bool) -> Result<Request, ApiError> {
    let mut request = Request::new(Prompt::Tokens(Vec::new()));
    request.sampling = sampling(kind, fields, defaults)?;
    request.tenant = fields.get("user", "a text")?.unwrap_or_default();
    let most = match kind {
        Kind::Chat => fields.count("max_completion_tokens")?.or(fields.count("max_tokens")?),
        Kind::Completion => Some(fields.count("max_tokens")?.unwrap_or(COMPLETION_TOKENS)),
    };
    if most == Some(0) && !echo {
        return Err(ApiError::field("max_tokens", "is 0, it must be at least 1"));
    }
    request.tokens_max = most;
    request.tokens_min = fields.count("min_tokens")?.unwrap_or(0);
    request.stop = stops(fields)?;
    request.keep_stop = fields.flag("include_stop_str_in_output")?;
    request.stop_tokens = fields.get("stop_token_ids", "a list of tokens")?.unwrap_or_default();
    request.ignore_eos = fields.flag("ignore_eos")?;
    request.verified = fields.flag("verified")?;
    request.prompt_logprobs = match (echo, request.sampling.logprobs) {
        (true, scored) => Some(scored.unwrap_or(0)),
        (false, _) => None,
    };
    Ok(request)
}

fn sampling(kind: Kind, fields: &Fields, defaults: &Generation) -> Result<Params, ApiError> {
    let greedy = defaults.sample == Some(false);
    let temperature = if greedy {
        0.0
    } else {
        defaults.temperature.unwrap_or(1.0)
    };
    // Some clients send -1 for "all".
    let top_k = fields.get::<i64>("top_k", "a whole number")?;
    let top_k = match top_k {
        Some(-1) => Some(0),
        Some(count) => Some(
            u32::try_from(count).map_err(|_| ApiError::field("top_k", format!("is {count}, it must be -1 or more")))?,
        ),
        None => defaults.top_k,
    };
    let logprobs = match kind {
        Kind::Completion => fields.count("logprobs")?,
        Kind::Chat => match (fields.flag("logprobs")?, fields.count("top_logprobs")?) {
            (true, count) => Some(count.unwrap_or(0)),
            (false, None | Some(0)) => None,
            (false, Some(_)) => return Err(ApiError::field("top_logprobs", "needs `logprobs` to be true")),
        },
    };
    Ok(Params {
        temperature: fields.number("temperature")?.unwrap_or(temperature),
        top_k: top_k.unwrap_or(0),
        top_p: fields.number("top_p")?.or(defaults.top_p).unwrap_or(1.0),
        min_p: fields.number("min_p")?.or(defaults.min_p).unwrap_or(0.0),
        repetition_penalty: fields
            .number("repetition_penalty")?
            .or(defaults.repetition_penalty)
            .unwrap_or(1.0),
        presence_penalty: fields.number("presence_penalty")?.unwrap_or(0.0),
        frequency_penalty: fields.number("frequency_penalty")?.unwrap_or(0.0),
        logit_bias: logit_bias(fields)?,
        seed: 0,
        logprobs,
    })
}

fn logit_bias(fields: &Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let biases: Option<std::collections::BTreeMap<String, f32>> =
        fields.get("logit_bias", "an object of tokens and numbers")?;
    biases
        .unwrap_or_default()
        .into_iter()
        .map(|(token, bias)| match token.parse() {
            Ok(token) => Ok((token, bias)),
            Err(_) => Err(ApiError::field(
                "logit_bias",
                format!("has `{token}`, which is no token"),
            )),
        })
        .collect()
}

fn stops(fields: &Fields) -> Result<Vec<String>, ApiError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(String),
        Many(Vec<String>),
    }
    Ok(match fields.get("stop", "a text or a list of texts")? {
        None => Vec::new(),
        Some(Written::One(stop)) => vec![stop],
        Some(Written::Many(stops)) => stops,
    })
}

/// The adapter that the model name stands for, or those to be mixed over the base.
fn adapters(fields: &Fields, model: &str, names: &Names) -> Result<Vec<(String, f32)>, ApiError> {
    let expected = "a list of objects with `name` and `weight`";
    let mixed: Vec<MixEntry> = fields.get("adapters", expected)?.unwrap_or_default();
    match (names.adapter(model), mixed.is_empty()) {
        (Some(adapter), true) => Ok(vec![(adapter.to_owned(), 1.0)]),
        (None, _) => {
            let own = |entry: MixEntry| Some((names.adapter(&entry.name)?.to_owned(), entry.weight));
            let mixed: Option<Vec<_>> = mixed.into_iter().map(own).collect();
            mixed.ok_or_else(|| ApiError::field("adapters", "names the base model; name adapters only"))
        }
        (Some(_), false) => {
            let why = format!("are mixed over the base; ask for the model `{}` then", names.base);
            Err(ApiError::field("adapters", why))
        }
    }
}

#[cfg(test)]
#[path = "request/tests.rs"]
mod tests;
