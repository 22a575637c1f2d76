//! `openledger model tokenizer`: a vocabulary learned from files.
//!
//! `--json` prints `{"tokens", "merges", "file", "config", "hash"}`; the hash is that of `tokenizer.json`, which is the
//! same for the same texts on every machine. It needs no home.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use train::vocabulary::{Vocabulary, Words};

use super::super::{Place, exit::Exit, output};

/// Learn a tokenizer from texts
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger model tokenizer --data corpus.txt --vocabulary 4096 --out pico/tokenizer.json\n\n\
                        Of files named .jsonl, the texts of the record on each line are read: `text`, `prompt` and \
                        `completion`, `question` and `answer`, or `messages`. Others are text."
)]
pub(super) struct Tokenizer {
    /// Texts to learn from
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Tokens at most, the special ones and every byte included
    #[arg(long, value_name = "TOKENS")]
    vocabulary: usize,
    /// Where it goes; tokenizer_config.json, with the chat template, is written beside it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Tokens that the model takes at once, for those who read the configuration
    #[arg(long, value_name = "TOKENS")]
    context: Option<usize>,
}

impl Tokenizer {
    pub(super) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let words = Words::read(&self.data)?;
        let vocabulary = Vocabulary::learn(&words, self.vocabulary)?;
        if let Some(dir) = self.out.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
        }
        let config = vocabulary.write(&self.out, self.context)?;
        let hash = blake3::hash(&vocabulary.tokenizer_json()).to_hex().to_string();
        let (tokens, merges) = (vocabulary.tokens(), vocabulary.merges());
        let answer = json!({ "tokens": tokens, "merges": merges, "file": self.out, "config": config, "hash": hash });
        place.show(&answer, || {
            output::columns(&[
                ("Tokens", tokens.to_string()),
                ("File", self.out.display().to_string()),
                ("Beside it", config.display().to_string()),
                ("Hash", hash.clone()),
            ])
        });
        Ok(Exit::Done)
    }
}
