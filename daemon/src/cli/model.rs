//! `openledger model`: base models, kept by their content in a private folder of the home.
//!
//! `--json` prints one object: `add` and `show` the model (`{"hash", "label", "files": [{"name", "hash", "bytes"}]}`),
//! `ls` a list of them, `rm` `{"hash", "removed"}`. `logits` needs no home. Its requests are a list of
//! `{"tokens": [TOKEN, …], "adapter": DIR or null}`; it runs them all as one batch and prints
//! `[{"logits": [[NUMBER, …], …]}, …]`: for each request, in order, a row for each of its tokens, which is what comes after
//! that token, of as many numbers as the vocabulary has.

mod tokenizer;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use compute::{logits::Answer, model::Stored};
use jobs::models;
use serde_json::json;

use super::{Place, exit::Exit, output};

/// Keep base models, and look into them
#[derive(Debug, Args)]
pub(crate) struct Model {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Copy a model's folder into the store, and check every number of it
    #[command(after_help = "Example: openledger model add SmolLM2-135M-Instruct")]
    Add {
        /// A folder as Hugging Face has it: config.json, tokenizer.json, safetensors
        dir: PathBuf,
    },
    /// Print the models that are kept
    #[command(after_help = "Example: openledger model ls --json")]
    Ls,
    /// Print the files of a model
    #[command(after_help = "Example: openledger model show SmolLM2-135M-Instruct")]
    Show {
        /// The name of its folder, or the first digits of its hash
        model: String,
    },
    /// Delete a model; an engine that has it keeps it until it ends
    #[command(after_help = "Example: openledger model rm SmolLM2-135M-Instruct")]
    Rm {
        /// The name of its folder, or the first digits of its hash
        model: String,
    },
    /// Print the logits of every position of a mixed batch
    #[command(
        after_help = "Example: openledger model logits SmolLM2-135M --requests requests.json --json\n\n\
                            The file holds a list such as [{\"tokens\": [1, 2], \"adapter\": null}, \
                            {\"tokens\": [3], \"adapter\": \"adapters/tone\"}]."
    )]
    Logits {
        /// The model's folder
        dir: PathBuf,
        /// What to run
        #[arg(long, value_name = "FILE")]
        requests: PathBuf,
    },
    Tokenizer(tokenizer::Tokenizer),
}

impl Model {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Add { dir } => {
                let stored = models::store(&place.home())?.add(&dir)?;
                place.show(&stored, || described(&stored));
            }
            Verb::Ls => list(place)?,
            Verb::Show { model } => {
                let stored = models::find(&models::store(&place.home())?, &model)?;
                place.show(&stored, || described(&stored));
            }
            Verb::Rm { model } => {
                let store = models::store(&place.home())?;
                let stored = models::find(&store, &model)?;
                store.remove(&stored)?;
                let answer = json!({ "hash": stored.hash, "removed": true });
                place.show(&answer, || format!("{} is removed", stored.hash));
            }
            Verb::Logits { dir, requests } => run_logits(place, &dir, &requests)?,
            Verb::Tokenizer(verb) => return verb.run(place),
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

fn list(place: &Place) -> anyhow::Result<()> {
    let models = models::store(&place.home())?.list()?;
    place.show(&models, || {
        let line = |stored: &Stored| format!("{}  {}  {} bytes", stored.hash, stored.label, stored.bytes());
        match models.is_empty() {
            true => "no models here; `openledger model add DIR` keeps one".to_owned(),
            false => models.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    });
    Ok(())
}

fn run_logits(place: &Place, dir: &Path, requests: &Path) -> anyhow::Result<()> {
    let answers = models::logits(dir, requests)?;
    place.show(&answers, || {
        let line = |(index, answer): (usize, &Answer)| {
            let last = answer.logits.last().map(Vec::as_slice).unwrap_or_default();
            let best = last.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let (token, logit) = best.map_or((0, 0.0), |(token, logit)| (token, *logit));
            format!(
                "{index}: {} rows; token {token} comes next, with {logit}",
                answer.logits.len()
            )
        };
        answers.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}
