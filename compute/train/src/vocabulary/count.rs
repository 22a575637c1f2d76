//! Word counts of a text, from which a vocabulary is learned.
//!
//! A word is a string that no token crosses: GPT-2's runs of letters, punctuation or spaces, with the space before
//! them, and each digit by itself. The tokenizer library cuts them, so learning and encoding cut alike.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _,
    pre_tokenizers::{PreTokenizerWrapper, byte_level::ByteLevel, digits::Digits, sequence::Sequence},
};

use super::{SPECIAL, VocabularyError};

/// Most bytes of a line of records, or of one text.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Bytes that are cut into words at once.
const PIECE_BYTES: usize = 1 << 16;

/// Most bytes of a word; a longer one is data rather than language, and is skipped.
const WORD_BYTES_MAX: usize = 256;

/// Most different words.
const WORDS_MAX: usize = 1 << 24;

/// WordCounts, and how often each occurs.
#[derive(Clone, Debug)]
pub struct WordCounts {
    cut: Sequence,
    counts: BTreeMap<String, u64>,
}

impl Default for WordCounts {
    fn default() -> Self {
        let cut = Sequence::new(vec![
            PreTokenizerWrapper::Digits(Digits::new(true)),
            PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
        ]);
        Self {
            cut,
            counts: BTreeMap::new(),
        }
    }
}

/// The text fields of a record.
#[derive(Deserialize)]
struct Record {
    text: Option<String>,
    prompt: Option<String>,
    completion: Option<String>,
    question: Option<String>,
    answer: Option<String>,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

impl WordCounts {
    /// Counts the words of files: in `.jsonl` those of each record's text fields, in others those of the whole file.
    pub fn read(files: &[PathBuf]) -> Result<Self, VocabularyError> {
        let mut words = Self::default();
        for path in files {
            let is_records = path.extension().is_some_and(|extension| extension == "jsonl");
            if is_records {
                words.records(path)
            } else {
                words.whole(path)
            }?;
        }
        match words.is_empty() {
            true => Err(VocabularyError::Empty),
            false => Ok(words),
        }
    }

    fn whole(&mut self, path: &Path) -> Result<(), VocabularyError> {
        let read = |source| VocabularyError::Read {
            path: path.to_owned(),
            source,
        };
        let refused = |why| VocabularyError::Text {
            path: path.to_owned(),
            line: 1,
            why,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(read)?;
        let count = file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
        if count as u64 > TEXT_BYTES_MAX {
            return Err(refused(format!("has more than {TEXT_BYTES_MAX} bytes; split the file")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            refused(format!("is not UTF-8 from byte {at} on"))
        })?;
        self.add(&text)
    }

    fn records(&mut self, path: &Path) -> Result<(), VocabularyError> {
        let read = |source| VocabularyError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = BufReader::new(File::open(path).map_err(read)?);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            number += 1;
            let refused = |why| VocabularyError::Text {
                path: path.to_owned(),
                line: number,
                why,
            };
            let count = file
                .by_ref()
                .take(TEXT_BYTES_MAX + 1)
                .read_until(b'\n', &mut line)
                .map_err(read)?;
            match count {
                0 => return Ok(()),
                _ if count as u64 > TEXT_BYTES_MAX => {
                    return Err(refused(format!("has more than {TEXT_BYTES_MAX} bytes")));
                }
                _ if line.trim_ascii().is_empty() => continue,
                _ => (),
            }
            let record: Record =
                serde_json::from_slice(&line).map_err(|error| refused(format!("is no record: {error}")))?;
            let texts = record.texts();
            if texts.is_empty() {
                return Err(refused(
                    "has none of `text`, `prompt`, `question`, and `messages`".to_owned(),
                ));
            }
            for text in &texts {
                self.add(text)?;
            }
        }
    }

    /// Counts the words of a text.
    pub fn add(&mut self, text: &str) -> Result<(), VocabularyError> {
        for part in parts(text) {
            let mut rest = part;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(seam(rest));
                self.count(piece)?;
                rest = after;
            }
        }
        Ok(())
    }

    fn count(&mut self, piece: &str) -> Result<(), VocabularyError> {
        let mut cut = PreTokenizedString::from(piece);
        self.cut
            .pre_tokenize(&mut cut)
            .expect("cutting a text that is UTF-8 does not fail");
        for (word, _, _) in cut.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if let Some(met) = self.counts.get_mut(word) {
                *met += 1;
                continue;
            }
            if self.counts.len() == WORDS_MAX {
                return Err(VocabularyError::Many(WORDS_MAX));
            }
            // Each character stands for one byte.
            if word.chars().count() <= WORD_BYTES_MAX {
                self.counts.insert(word.to_owned(), 1);
            }
        }
        Ok(())
    }

    /// True if no word was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Iterates over the words in order, with their counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(word, met)| (word.as_str(), *met))
    }
}

impl Record {
    /// Returns the texts as training writes them, with the space before an answer.
    fn texts(self) -> Vec<String> {
        let mut texts: Vec<String> = self.text.into_iter().collect();
        texts.extend(self.prompt);
        texts.extend(self.completion);
        texts.extend(self.question.map(|question| format!("Question: {question}\nAnswer:")));
        texts.extend(self.answer.map(|answer| format!(" {answer}")));
        texts.extend(self.messages.into_iter().map(|message| message.content));
        texts
    }
}

/// Splits a text at special tokens.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = vec![text];
    for special in SPECIAL {
        parts = parts.into_iter().flat_map(|part| part.split(special)).collect();
    }
    parts
}

/// Returns an offset at which a long text can be cut without cutting a word: before a space between two letters.
fn seam(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let bytes = &text.as_bytes()[..PIECE_BYTES];
    let is_seam =
        |at: &usize| bytes[*at] == b' ' && bytes[at - 1].is_ascii_alphabetic() && bytes[at + 1].is_ascii_alphabetic();
    let found = (1..PIECE_BYTES - 1).rev().find(is_seam);
    found.unwrap_or_else(|| text.floor_char_boundary(PIECE_BYTES))
}

/// Returns the characters that stand for bytes, sorted.
pub(super) fn alphabet() -> Vec<char> {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    assert_eq!(alphabet.len(), 256);
    alphabet
}
