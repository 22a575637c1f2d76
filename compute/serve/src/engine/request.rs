//! What is asked of an engine, what it says, and why it may not.

use bincode::{Decode, Encode};

use super::Words;
use crate::{
    sample::{
        Params, ParamsError,
        text::{STOP_BYTES_MAX, STOPS_MAX},
    },
    schedule::{Finish, Refusal, Usage},
    tier::ResolveError,
};

/// Most stop tokens of a request.
const STOP_TOKENS_MAX: usize = 64;
const TENANT_BYTES_MAX: usize = 256;

/// What to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Prompt {
    /// As it is.
    Tokens(Vec<u32>),
    /// A text.
    Text(String),
    /// A conversation: the JSON of a chat request.
    Chat(String),
}

impl Prompt {
    pub(super) fn tokens(&self, words: &dyn Words) -> Result<Vec<u32>, AskError> {
        let refuse = |field| move |why| AskError::field(field, why);
        match self {
            Self::Tokens(tokens) => Ok(tokens.clone()),
            Self::Text(text) => words.encode(text).map_err(refuse("prompt")),
            Self::Chat(request) => {
                let text = words.chat(request).map_err(refuse("messages"))?;
                words.encode_chat(&text).map_err(refuse("messages"))
            }
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Request {
    /// For whom; who is alike shares.
    pub tenant: String,
    /// Names of adapters (`name` or `name@hash`) and their weights; none for the base model.
    pub adapters: Vec<(String, f32)>,
    /// What to go on from.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Params,
    /// Longest answer; as long as there is room if not given.
    pub tokens_max: Option<u32>,
    /// The answer does not end by itself before it is so long.
    pub tokens_min: u32,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Whether the text that ended the answer is part of it.
    pub keep_stop: bool,
    /// Tokens that end the answer.
    pub stop_tokens: Vec<u32>,
    /// The tokens of the model that end an answer do not.
    pub ignore_eos: bool,
    /// Logarithms of probabilities of the prompt's tokens too, and of so many of the likeliest.
    pub prompt_logprobs: Option<u32>,
    /// Bits must not depend on batch mates.
    pub verified: bool,
}

impl Request {
    /// A greedy request of the base model, for everyone who names no tenant.
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

    pub(super) fn check(&self, vocabulary: usize) -> Result<(), AskError> {
        self.sampling.check(vocabulary)?;
        let bound = |field, found: usize, most: usize| match found > most {
            true => Err(AskError::field(
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
            return Err(AskError::field("model", why));
        }
        if self.tokens_max.is_some_and(|most| most < self.tokens_min) {
            return Err(AskError::field("min_tokens", "is more than `max_tokens`".to_owned()));
        }
        Ok(())
    }
}

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Encode, Decode)]
pub enum AskError {
    /// There is no such adapter.
    #[error("{why}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// In words.
        why: String,
    },
    /// A field of the request is wrong.
    #[error("`{field}` {why}")]
    Field {
        /// As in the OpenAI API.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be scheduled.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The engine does not run.
    #[error("the engine does not run")]
    Stopped,
    /// The engine cannot be started. It is tried again.
    #[error("the engine cannot be started: {why}")]
    Unfit {
        /// Why not.
        why: String,
        /// When it is worth asking again.
        retry_after_ms: u64,
    },
    /// The engine starts, or starts again.
    #[error("the engine is starting; ask again in {retry_after_ms} ms")]
    Starting {
        /// When it is worth asking again.
        retry_after_ms: u64,
    },
}

impl From<ParamsError> for AskError {
    fn from(error: ParamsError) -> Self {
        Self::field(error.field, format!("is {}, it must be {}", error.found, error.range))
    }
}

impl AskError {
    pub(super) fn field(field: &str, why: String) -> Self {
        Self::Field {
            field: field.to_owned(),
            why,
        }
    }

    pub(super) fn of_name(name: &str, error: &ResolveError) -> Self {
        Self::Unknown {
            name: name.to_owned(),
            why: error.to_string(),
        }
    }
}

/// An adapter that took part in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Served {
    /// The name that it was asked for by.
    pub name: String,
    /// Which generation of the name.
    pub generation: u64,
    /// Its content, in hex.
    pub hash: String,
}

/// A token, its text, and the logarithm of its probability.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Named {
    /// Which.
    pub token: u32,
    /// Alone; bytes that are part of a character come as U+FFFD.
    pub text: String,
    /// Natural.
    pub logprob: f32,
}

/// A token beside the likeliest at its place.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Scored {
    /// The token.
    pub token: Named,
    /// The likeliest, most likely first.
    pub top: Vec<Named>,
}

/// What an engine says.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Event {
    /// It is not served. Nothing follows.
    Refused(AskError),
    /// Tokens of the prompt behind the first, some at a time, where they were wanted.
    Prompt(Vec<Scored>),
    /// The next token. Its text may come with a later one: characters come whole, and stop texts are held back.
    Token {
        /// Which.
        token: u32,
        /// Text that is certain now.
        text: String,
        /// Where they were wanted.
        logprobs: Option<Scored>,
    },
    /// It ended. Nothing follows.
    Done {
        /// How.
        finish: Finish,
        /// Text that was held back.
        text: String,
        /// What it took.
        usage: Usage,
        /// What took part.
        adapters: Vec<Served>,
    },
}

impl Event {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Done { .. })
    }
}
