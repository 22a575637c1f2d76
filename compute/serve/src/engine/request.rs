//! The public types of a request: what is submitted, the events that come back, and why one is refused.

use bincode::{Decode, Encode};

use super::TextCodec;
use crate::{
    sample::{
        Params, ParamsError,
        text::{STOP_BYTES_MAX, STOPS_MAX},
    },
    schedule::{Finish, Refusal, Usage},
    tier::ResolveError,
};

/// Most stop tokens of a request; more is refused.
const STOP_TOKENS_MAX: usize = 64;
const TENANT_BYTES_MAX: usize = 256;

/// Tokens to continue from, in one of three forms.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Prompt {
    Tokens(Vec<u32>),
    Text(String),
    /// A conversation as the JSON of a chat request; the model's chat template renders it.
    Chat(String),
}

impl Prompt {
    pub(super) fn tokens(&self, codec: &dyn TextCodec) -> Result<Vec<u32>, SubmitError> {
        let refuse = |field| move |why| SubmitError::invalid(field, why);
        match self {
            Self::Tokens(tokens) => Ok(tokens.clone()),
            Self::Text(text) => codec.encode(text).map_err(refuse("prompt")),
            Self::Chat(request) => {
                let text = codec.chat(request).map_err(refuse("messages"))?;
                codec.encode_chat(&text).map_err(refuse("messages"))
            }
        }
    }
}

/// A completion request as clients make it: names of adapters, text, sampling. [`crate::schedule::ScheduleRequest`] is the
/// same request once names are resolved and text is tokenised.
///
/// ```
/// use serve::engine::{Prompt, Request};
///
/// let request = Request {
///     adapters: vec![("legal".to_owned(), 1.0)],
///     tokens_max: Some(64),
///     ..Request::new(Prompt::Text("Once upon a time".to_owned()))
/// };
/// assert_eq!(request.sampling.temperature, 0.0, "greedy unless told otherwise");
/// ```
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Request {
    /// Account or API token that the request is charged to in the fair queue; requests of one tenant share its part.
    pub tenant: String,
    /// Names of adapters (`name` or `name@hash`) with their weights, -100 to 100. Empty for the base model.
    pub adapters: Vec<(String, f32)>,
    pub prompt: Prompt,
    pub sampling: Params,
    /// Most tokens of the completion; `None` for as many as the context has room for.
    pub tokens_max: Option<u32>,
    /// The completion does not end at an end token before it has this many tokens.
    pub tokens_min: u32,
    /// Strings that end the completion.
    pub stop: Vec<String>,
    /// True if the stop string itself is part of the completion.
    pub keep_stop: bool,
    /// Tokens that end the completion, besides those of the model.
    pub stop_tokens: Vec<u32>,
    /// True if the model's own end tokens do not end the completion.
    pub ignore_eos: bool,
    /// Report log probabilities of the prompt's tokens too, with this many alternatives each.
    pub prompt_logprobs: Option<u32>,
    /// True if the bits of the result must not depend on what else is in the batch.
    pub verified: bool,
}

impl Request {
    /// A greedy request to the base model, under the anonymous tenant.
    pub fn new(prompt: Prompt) -> Self {
        Self {
            tenant: String::new(),
            adapters: Vec::new(),
            prompt,
            sampling: Params::default(),
            tokens_max: None,
            tokens_min: 0,
            stop: Vec::new(),
            keep_stop: false,
            stop_tokens: Vec::new(),
            ignore_eos: false,
            prompt_logprobs: None,
            verified: false,
        }
    }

    pub(super) fn check(&self, vocabulary: usize) -> Result<(), SubmitError> {
        self.sampling.check(vocabulary)?;
        let bound = |field, found: usize, most: usize| match found > most {
            true => Err(SubmitError::invalid(
                field,
                format!("has {found} entries or bytes, at most {most} are allowed"),
            )),
            false => Ok(()),
        };
        bound("tenant", self.tenant.len(), TENANT_BYTES_MAX)?;
        bound("stop", self.stop.len(), STOPS_MAX)?;
        for stop in &self.stop {
            bound("stop", stop.len(), STOP_BYTES_MAX)?;
        }
        bound("stop_token_ids", self.stop_tokens.len(), STOP_TOKENS_MAX)?;
        let scored = self.prompt_logprobs.unwrap_or(0);
        bound("prompt_logprobs", scored as usize, crate::sample::LOGPROBS_MAX as usize)?;
        if let Some((name, weight)) = self
            .adapters
            .iter()
            .find(|(_, weight)| !(-100.0..=100.0).contains(weight))
        {
            let why = format!("adapter `{name}` has weight {weight}, it must be between -100 and 100");
            return Err(SubmitError::invalid("model", why));
        }
        if self.tokens_max.is_some_and(|most| most < self.tokens_min) {
            return Err(SubmitError::invalid(
                "min_tokens",
                "is more than `max_tokens`".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Reason why a request is not served.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Encode, Decode)]
pub enum SubmitError {
    /// No adapter has this name.
    #[error("{why}")]
    Unknown { name: String, why: String },
    /// A field of the request is invalid.
    #[error("`{field}` {why}")]
    InvalidArgument {
        /// Name of the field as in the OpenAI API.
        field: String,
        why: String,
    },
    /// The scheduler refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the engine does not run")]
    Stopped,
    /// The engine failed to start; the supervisor keeps trying.
    #[error("the engine cannot be started: {why}")]
    CannotStart { why: String, retry_after_ms: u64 },
    /// The engine is starting or restarting.
    #[error("the engine is starting; ask again in {retry_after_ms} ms")]
    Starting { retry_after_ms: u64 },
}

impl From<ParamsError> for SubmitError {
    fn from(error: ParamsError) -> Self {
        Self::invalid(error.field, format!("is {}, it must be {}", error.found, error.range))
    }
}

impl SubmitError {
    pub(super) fn invalid(field: &str, why: String) -> Self {
        Self::InvalidArgument {
            field: field.to_owned(),
            why,
        }
    }

    pub(super) fn unknown_adapter(name: &str, error: &ResolveError) -> Self {
        Self::Unknown {
            name: name.to_owned(),
            why: error.to_string(),
        }
    }
}

/// An adapter that took part in a completion.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UsedAdapter {
    /// The name by which the request named it.
    pub name: String,
    pub generation: u64,
    /// Content hash in hex; empty if it was never read.
    pub hash: String,
}

/// A token, its text and its log probability.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct TokenLogprob {
    pub token: u32,
    /// Text of this token alone; bytes that are part of a longer character come as U+FFFD.
    pub text: String,
    /// Natural logarithm.
    pub logprob: f32,
}

/// The log probability of the token at one position, with the likeliest alternatives there.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct PositionLogprobs {
    pub token: TokenLogprob,
    /// Most likely first.
    pub top: Vec<TokenLogprob>,
}

/// An event of a request. [`Event::is_last`] tells if more follow.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Event {
    /// The request is not served. Nothing follows.
    Refused(SubmitError),
    /// Log probabilities of prompt tokens after the first, in chunks, if they were requested.
    Prompt(Vec<PositionLogprobs>),
    /// The next token. Its text may come with a later one: characters come whole, and possible stop strings are held back.
    Token {
        token: u32,
        /// Text that is final now; may be empty.
        text: String,
        logprobs: Option<PositionLogprobs>,
    },
    /// The completion ended. Nothing follows.
    Done {
        finish: Finish,
        /// Text that was held back until now.
        text: String,
        usage: Usage,
        adapters: Vec<UsedAdapter>,
    },
}

impl Event {
    /// Returns true if no event follows this one.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Done { .. })
    }
}
