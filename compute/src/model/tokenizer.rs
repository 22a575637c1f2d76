//! Text to tokens and back, with the tokenizer of the model's directory.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use super::{Config, ModelError};
use crate::tensors::read_small;

const FILE: &str = "tokenizer.json";
const BYTES_MAX: u64 = 64 << 20;

/// The replacement character: what part of a longer character decodes to.
const INCOMPLETE: char = '\u{fffd}';

/// Bytes of text a tokenizer is given at once.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// A tokenizer that fits its model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

/// A text that could not be tokenized.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// It is too long.
    #[error("the text has {0} bytes; at most {TEXT_BYTES_MAX} are accepted")]
    Long(usize),
    /// The tokenizer failed.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and refuses one that knows tokens the model does not.
    pub fn load(dir: &Path, config: &Config) -> Result<Self, ModelError> {
        let text = read_small(&dir.join(FILE), BYTES_MAX).map_err(|source| ModelError::Read {
            file: FILE.to_owned(),
            source,
        })?;
        Self::parse(&text, config)
    }

    /// As [`Self::load`], of bytes.
    pub fn parse(text: &[u8], config: &Config) -> Result<Self, ModelError> {
        let refuse = |why: String| ModelError::Tokenizer(why);
        // The parser belongs to somebody else and the file to a stranger: a panic in it is a refusal.
        let parsed = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(text)));
        let inner = parsed
            .map_err(|_| refuse("cannot be read".to_owned()))?
            .map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let most = inner.get_vocab(true).values().copied().max();
        match most {
            None => Err(refuse("has no tokens".to_owned())),
            Some(token) if token as usize >= config.vocabulary => Err(refuse(format!(
                "has token {token}, and the model a vocabulary of {}: it belongs to another model",
                config.vocabulary
            ))),
            Some(_) => Ok(Self { inner }),
        }
    }

    /// The tokens of a text. `special` adds what the tokenizer puts around a text, such as the token of its beginning;
    /// a rendered chat has those in it already.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizeError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TokenizeError::Long(text.len()));
        }
        let encoded = catch_unwind(AssertUnwindSafe(|| self.inner.encode_fast(text, special)));
        match encoded {
            Ok(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
            Ok(Err(error)) => Err(TokenizeError::Failed(error.to_string())),
            Err(_) => Err(TokenizeError::Failed("it panicked".to_owned())),
        }
    }

    /// The text of some tokens, those with a special meaning left out if so wished. Tokens that it does not know are
    /// nothing.
    pub fn decode(&self, tokens: &[u32], skip_special: bool) -> String {
        let decoded = catch_unwind(AssertUnwindSafe(|| self.inner.decode(tokens, skip_special)));
        decoded.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// The token that is written so.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// How a token is written in the vocabulary, which for bytes is not how it reads.
    pub fn name(&self, token: u32) -> Option<String> {
        self.inner.id_to_token(token)
    }
}

/// Tokens to text as they come: a character is given once all its bytes are there.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    tokens: Vec<u32>,
    /// Tokens before it are given and no longer needed to decode what follows.
    settled: usize,
    /// Tokens before it are given.
    given: usize,
    skip_special: bool,
}

impl TextStream {
    /// A stream that leaves out tokens with a special meaning, or not.
    pub fn new(skip_special: bool) -> Self {
        Self {
            skip_special,
            ..Self::default()
        }
    }

    /// The text that a token completes.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        self.tokens.push(token);
        let (before, after) = self.ends(tokenizer);
        // A character of four bytes may be four tokens; what is longer is no character and is given as it is.
        let waiting = after.ends_with(INCOMPLETE) && self.tokens.len() - self.given < 8;
        if waiting || after.len() <= before.len() {
            return String::new();
        }
        self.settled = self.given;
        self.given = self.tokens.len();
        after.get(before.len()..).unwrap_or_default().to_owned()
    }

    /// What is left when nothing follows.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> String {
        let (before, after) = self.ends(tokenizer);
        self.given = self.tokens.len();
        after.get(before.len()..).unwrap_or_default().to_owned()
    }

    fn ends(&self, tokenizer: &Tokenizer) -> (String, String) {
        let from = &self.tokens[self.settled..];
        let before = tokenizer.decode(&from[..self.given - self.settled], self.skip_special);
        (before, tokenizer.decode(from, self.skip_special))
    }
}
