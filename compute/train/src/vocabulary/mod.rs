//! Learning a vocabulary: byte-level byte-pair encoding, with the same result for the same texts on every machine.
//!
//! Counting is in integers on one thread, and pairs equally frequent are merged in the order of their tokens. The
//! result is a `tokenizer.json` that Hugging Face's libraries read. Every byte is a token, so any text can be
//! encoded; nothing is normalised.

mod count;
mod merge;
mod write;

use std::{io, path::PathBuf};

pub use count::WordCounts;

/// Token before a text.
pub const BEGIN: &str = "<|begin|>";
/// Token after a text or an answer.
pub const END: &str = "<|end|>";
/// Token that fills a batch up.
pub const PAD: &str = "<|pad|>";

/// Special tokens, by number. A text that spells one is cut there, so nothing is learned across it.
pub const SPECIAL: [&str; 3] = [BEGIN, END, PAD];

/// Smallest vocabulary: the special tokens and every byte.
pub const TOKENS_MIN: usize = SPECIAL.len() + 256;

/// Largest vocabulary.
pub const TOKENS_MAX: usize = 1 << 20;

/// Occurrences that a pair needs to become a token.
const PAIR_COUNT_MIN: u64 = 2;

/// A learned vocabulary: its tokens and merges.
///
/// ```
/// use train::vocabulary::{TOKENS_MIN, Vocabulary, WordCounts};
///
/// let mut words = WordCounts::default();
/// words.add("low lower lowest low").unwrap();
/// let vocabulary = Vocabulary::learn(&words, TOKENS_MIN + 2).unwrap();
/// assert_eq!((vocabulary.tokens(), vocabulary.merges()), (TOKENS_MIN + 2, 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Text of each token as the file spells it: a character of GPT-2's alphabet for each byte.
    tokens: Vec<String>,
    /// Merged pairs, in the order of merging.
    merges: Vec<[u32; 2]>,
}

/// Failure to learn or write a vocabulary.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// The size is below [`TOKENS_MIN`] or above [`TOKENS_MAX`].
    #[error("a vocabulary of {0} tokens cannot be: {TOKENS_MIN} to {TOKENS_MAX} are accepted")]
    Size(usize),
    #[error("could not read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A text or a record cannot be used.
    #[error("{}:{line}: the text {why}", path.display())]
    Text {
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        why: String,
    },
    /// The texts have too many different words.
    #[error("the texts hold more than {0} different words; learn from a part of them")]
    Many(usize),
    /// The texts have no words.
    #[error("the files hold no text")]
    Empty,
    #[error("could not write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Vocabulary {
    /// Learns at most `size` tokens; fewer if no pair occurs twice any more.
    pub fn learn(words: &WordCounts, size: usize) -> Result<Self, VocabularyError> {
        if !(TOKENS_MIN..=TOKENS_MAX).contains(&size) {
            return Err(VocabularyError::Size(size));
        }
        if words.is_empty() {
            return Err(VocabularyError::Empty);
        }
        let mut tokens: Vec<String> = SPECIAL.iter().map(|&special| special.to_owned()).collect();
        tokens.extend(count::alphabet().into_iter().map(String::from));
        let merges = merge::learn(words.iter(), &mut tokens, size, PAIR_COUNT_MIN);
        assert!(tokens.len() <= size);
        Ok(Self { tokens, merges })
    }

    /// Returns the number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Returns the number of merges.
    pub fn merges(&self) -> usize {
        self.merges.len()
    }
}

/// Returns the number of a special token.
pub fn special(token: &str) -> Option<u32> {
    (0..)
        .zip(SPECIAL)
        .find_map(|(number, special)| (special == token).then_some(number))
}

#[cfg(test)]
mod tests;
