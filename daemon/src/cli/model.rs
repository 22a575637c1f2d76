//! `openledger model`: stores base models by the hash of their content, and runs them on token batches.
//!
//! `logits` needs no home. It runs all requests as one batch. For each request, in order, it prints a row of logits per
//! token: the prediction of the token after it, with one number for each token of the vocabulary.

mod tokenizer;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use compute::{logits::Answer, model::Stored};
use jobs::models;
use serde_json::json;

use super::{Globals, exit::Exit, output};

/// Store base models, and inspect them
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger model ls")]
pub(crate) struct Model {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Copy a model into the store, and check its weights
    #[command(after_help = "Example: openledger model add SmolLM2-135M-Instruct\n\n\
                      JSON: {hash, label, files: [{name, hash, bytes}]}")]
    Add {
        /// Folder in the format of Hugging Face: config.json, tokenizer.json, safetensors
        dir: PathBuf,
    },
    /// List the stored models
    #[command(
        after_help = "Example: openledger model ls --json\n\nJSON: [{hash, label, files: [{name, hash, bytes}]}]"
    )]
    Ls,
    /// List the files of a stored model
    #[command(after_help = "Example: openledger model show SmolLM2-135M-Instruct\n\n\
                      JSON: {hash, label, files: [{name, hash, bytes}]}")]
    Show {
        /// Name of its folder, or the first digits of its hash
        model: String,
    },
    /// Delete a stored model; an engine that serves it continues until it stops
    #[command(after_help = "Example: openledger model rm SmolLM2-135M-Instruct\n\nJSON: {hash, removed}")]
    Rm {
        /// Name of its folder, or the first digits of its hash
        model: String,
    },
    /// Print the logits of every position of a batch
    #[command(
        after_help = "Example: openledger model logits SmolLM2-135M --requests requests.json --json\n\n\
                            The file holds a list such as [{\"tokens\": [1, 2], \"adapter\": null}, \
                            {\"tokens\": [3], \"adapter\": \"adapters/tone\"}].\n\n\
                            JSON: [{logits: [[NUMBER]]}]"
    )]
    Logits {
        /// Folder of the model
        dir: PathBuf,
        /// File with the requests
        #[arg(long, value_name = "FILE")]
        requests: PathBuf,
    },
    Tokenizer(tokenizer::Tokenizer),
}

impl Model {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Add { dir } => {
                let stored = models::store(&globals.home())?.add(&dir)?;
                globals.show(&stored, || described(&stored));
            }
            Verb::Ls => list(globals)?,
            Verb::Show { model } => {
                let stored = models::find(&models::store(&globals.home())?, &model)?;
                globals.show(&stored, || described(&stored));
            }
            Verb::Rm { model } => {
                let store = models::store(&globals.home())?;
                let stored = models::find(&store, &model)?;
                store.remove(&stored)?;
                let answer = json!({ "hash": stored.hash, "removed": true });
                globals.show(&answer, || format!("removed {}", stored.hash));
            }
            Verb::Logits { dir, requests } => run_logits(globals, &dir, &requests)?,
            Verb::Tokenizer(verb) => return verb.run(globals),
        }
        Ok(Exit::Done)
    }
}

fn described(stored: &Stored) -> String {
    let mut rows = vec![
        ("Hash", stored.hash.to_string()),
        ("Name", stored.label.clone()),
        ("Bytes", stored.bytes().to_string()),
    ];
    rows.extend(
        stored
            .files
            .iter()
            .map(|file| ("File", format!("{}  {}  {} bytes", file.hash, file.name, file.bytes))),
    );
    output::columns(&rows)
}

fn list(globals: &Globals) -> anyhow::Result<()> {
    let models = models::store(&globals.home())?.list()?;
    globals.show(&models, || {
        let line = |stored: &Stored| format!("{}  {}  {} bytes", stored.hash, stored.label, stored.bytes());
        match models.is_empty() {
            true => "no models in this home; `openledger model add DIR` stores one".to_owned(),
            false => models.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(())
}

fn run_logits(globals: &Globals, dir: &Path, requests: &Path) -> anyhow::Result<()> {
    let answers = models::logits(dir, requests)?;
    globals.show(&answers, || {
        let line = |(index, answer): (usize, &Answer)| {
            let last = answer.logits.last().map(Vec::as_slice).unwrap_or_default();
            let best = last.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let (token, logit) = best.map_or((0, 0.0), |(token, logit)| (token, *logit));
            format!(
                "{index}: {} rows; the most likely next token is {token}, with logit {logit}",
                answer.logits.len()
            )
        };
        answers.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}
