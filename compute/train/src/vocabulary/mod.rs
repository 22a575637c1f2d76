//! A vocabulary learned from text: byte-level byte-pair encoding, the same to the byte for the same texts on every
//! machine.
//!
//! Everything is counted in integers on one thread, and where two pairs are met equally often the one of the smaller
//! tokens is joined first. What is written is `tokenizer.json` as Hugging Face has it, so whoever reads such files encodes
//! as we do. Any text can be written in it, since every byte is a token; nothing is normalised.

mod count;
mod merge;
mod write;

use std::{io, path::PathBuf};

pub use count::Words;

/// The token before a text.
pub const BEGIN: &str = "<|begin|>";
/// The token after a text or an answer.
pub const END: &str = "<|end|>";
/// The token that fills a batch up.
pub const PAD: &str = "<|pad|>";

/// Tokens with a meaning of their own, by number. None of them is learned from, and text that spells one is cut there.
pub const SPECIAL: [&str; 3] = [BEGIN, END, PAD];

/// Tokens at least: the special ones and every byte.
pub const TOKENS_MIN: usize = SPECIAL.len() + 256;

/// Tokens at most.
pub const TOKENS_MAX: usize = 1 << 20;

/// A pair met less often is not worth a token.
const MET_MIN: u64 = 2;

/// Tokens, and the pairs that make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Each token as the file writes it, by number: a character of GPT-2's alphabet stands for each byte.
    tokens: Vec<String>,
    /// What is joined, first things first.
    merges: Vec<[u32; 2]>,
}

/// Why there is no vocabulary.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// A size that cannot be.
    #[error("a vocabulary of {0} tokens cannot be: {TOKENS_MIN} to {TOKENS_MAX} are accepted")]
    Size(usize),
    /// A file could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record or a text that cannot be learned from.
    #[error("{}:{line}: the text {why}", path.display())]
    Text {
        /// Its file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// There are more words than can be counted.
    #[error("the texts hold more than {0} different words; learn from a part of them")]
    Many(usize),
    /// There is nothing.
    #[error("the files hold no text")]
    Empty,
    /// A file could not be written.
    #[error("could not write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Vocabulary {
    /// Learns at most that many tokens. There are fewer when no pair of them is met twice any more.
    pub fn learn(words: &Words, size: usize) -> Result<Self, VocabularyError> {
        if !(TOKENS_MIN..=TOKENS_MAX).contains(&size) {
            return Err(VocabularyError::Size(size));
        }
        if words.is_empty() {
            return Err(VocabularyError::Empty);
        }
        let mut tokens: Vec<String> = SPECIAL.iter().map(|&special| special.to_owned()).collect();
        tokens.extend(count::alphabet().into_iter().map(String::from));
        let merges = merge::learn(words.iter(), &mut tokens, size, MET_MIN);
        assert!(tokens.len() <= size);
        Ok(Self { tokens, merges })
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// How many pairs are joined.
    pub fn merges(&self) -> usize {
        self.merges.len()
    }
}

/// The number of a special token.
pub fn special(token: &str) -> Option<u32> {
    (0..)
        .zip(SPECIAL)
        .find_map(|(number, special)| (special == token).then_some(number))
}

#[cfg(test)]
mod tests;
