//! Text to tokens and back, with the `tokenizer.json` of the model's folder.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use super::{Config, ModelError};
use crate::tensors::read_small;

const FILE: &str = "tokenizer.json";
const BYTES_MAX: u64 = 64 << 20;

/// The replacement character, which a part of a longer character decodes to.
const INCOMPLETE: char = '\u{fffd}';

/// Most bytes of text that are tokenised at once; a longer text is refused.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// The tokenizer of a model, checked against its vocabulary.
///
/// ```
/// use compute::model::{Tokenizer, read_config};
///
/// let dir = std::path::Path::new("fixtures/llama-1");
/// let tokenizer = Tokenizer::load(dir, &read_config(dir).unwrap()).unwrap();
/// let tokens = tokenizer.encode("two words", false).unwrap();
/// assert_eq!(tokenizer.decode(&tokens, true), "two words");
/// ```
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

/// Failure to tokenise a text.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// The text has more than [`TEXT_BYTES_MAX`] bytes.
    #[error("the text has {0} bytes; at most {TEXT_BYTES_MAX} are accepted")]
    Long(usize),
    /// The tokenizer refused the text or panicked.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
}

impl Tokenizer {
    /// Reads `tokenizer.json`. Fails if it has a token at or above the model's vocabulary.
    pub fn load(dir: &Path, config: &Config) -> Result<Self, ModelError> {
        let text = read_small(&dir.join(FILE), BYTES_MAX).map_err(|source| ModelError::Read {
            file: FILE.to_owned(),
            source,
        })?;
        Self::parse(&text, config)
    }

    /// Parses the bytes of `tokenizer.json`, as [`Self::load`].
    pub fn parse(text: &[u8], config: &Config) -> Result<Self, ModelError> {
        let refuse = |why: String| ModelError::Tokenizer(why);
        // The parser is not this project's and the file is a stranger's: a panic in it counts as a refusal.
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

    /// Returns the tokens of a text. `special` adds what the tokenizer puts around a text, such as the begin token; a
    /// rendered chat contains those already.
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

    /// Returns the text of some tokens, without special tokens if `skip_special`. Unknown tokens decode to nothing.
    pub fn decode(&self, tokens: &[u32], skip_special: bool) -> String {
        let decoded = catch_unwind(AssertUnwindSafe(|| self.inner.decode(tokens, skip_special)));
        decoded.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Returns the token whose vocabulary entry is `text`.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// Returns the vocabulary entry of a token. For byte-level tokenizers that is not the text it decodes to.
    pub fn name(&self, token: u32) -> Option<String> {
        self.inner.id_to_token(token)
    }
}

/// Decodes tokens one by one. A character is returned once all its bytes are there, so no piece ends in half of one.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    tokens: Vec<u32>,
    /// Tokens before this index were returned and no longer influence the decoding of later ones.
    settled: usize,
    /// Tokens before this index were returned.
    given: usize,
    skip_special: bool,
}

impl TextStream {
    /// Makes a stream; `skip_special` leaves out special tokens.
    pub fn new(skip_special: bool) -> Self {
        Self {
            skip_special,
            ..Self::default()
        }
    }

    /// Adds a token and returns the text that it completes, which may be empty.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        self.tokens.push(token);
        let (before, after) = self.ends(tokenizer);
        // A character has at most four bytes, each possibly a token of its own. After eight tokens it is no character
        // but
        // invalid bytes, which are returned as they decode.
        let waiting = after.ends_with(INCOMPLETE) && self.tokens.len() - self.given < 8;
        if waiting || after.len() <= before.len() {
            return String::new();
        }
        self.settled = self.given;
        self.given = self.tokens.len();
        after.get(before.len()..).unwrap_or_default().to_owned()
    }

    /// Returns the rest of the text at the end, incomplete characters included.
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
