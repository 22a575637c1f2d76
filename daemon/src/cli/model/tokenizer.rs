//! `openledger model tokenizer`: trains a byte-pair encoding on files. It needs no home.
//!
//! The same texts give the same `tokenizer.json` on every machine, and so the same hash.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use train::vocabulary::{Vocabulary, WordCounts};

use super::super::{Globals, exit::Exit, output};

/// Train a tokenizer on texts
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger model tokenizer --data corpus.txt --vocabulary 4096 --out pico/tokenizer.json\n\n\
                        In files named .jsonl each line is a record, whose texts are read: `text`, `prompt` and \
                        `completion`, `question` and `answer`, or `messages`. Other files are plain text.\n\n\
                        JSON: {tokens, merges, file, config, hash}; hash is that of tokenizer.json"
)]
pub(super) struct Tokenizer {
    /// Files to train on
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Size of the vocabulary, with the special tokens and all bytes
    #[arg(long, value_name = "TOKENS")]
    vocabulary: usize,
    /// File to write; tokenizer_config.json, with the chat template, is written beside it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Context length of the model, to write into tokenizer_config.json
    #[arg(long, value_name = "TOKENS")]
    context: Option<usize>,
}

impl Tokenizer {
    pub(super) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let words = WordCounts::read(&self.data)?;
        let vocabulary = Vocabulary::learn(&words, self.vocabulary)?;
        if let Some(dir) = self.out.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
        }
        let config = vocabulary.write(&self.out, self.context)?;
        let hash = blake3::hash(&vocabulary.tokenizer_json()).to_hex().to_string();
        let (tokens, merges) = (vocabulary.tokens(), vocabulary.merges());
        let answer = json!({ "tokens": tokens, "merges": merges, "file": self.out, "config": config, "hash": hash });
        globals.show(&answer, || {
            output::columns(&[
                ("Tokens", tokens.to_string()),
                ("File", self.out.display().to_string()),
                ("Configuration", config.display().to_string()),
                ("Hash", hash.clone()),
            ])
        });
        Ok(Exit::Done)
    }
}
