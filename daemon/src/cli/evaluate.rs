//! `openledger evaluate`: compares a base model and adapters on the same records and prompts.
//!
//! Writes `report.json` and a self-contained `report.html`. The prompt template and the loss curves come from the
//! `training.json` in the folder of the first adapter.

use std::path::PathBuf;

use clap::Args;
use jobs::evaluation::Evaluation;
use serde_json::json;
use train::{Machine, comparison::CandidateScore};

use super::{Globals, exit::Exit, output};

/// Compare a base model and adapters on the same records and prompts
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger evaluate --base pico --adapter tone --data questions.jsonl --out report\n\n\
                        Each line of the data is an object as `train` takes it. Questions are also answered, by greedy decoding.\n\n\
                        JSON: {dir, base, candidates: [{name, adapter, loss, perplexity, tokens, records, questions, exact, \
                        exact_share, rouge_l}]}, the base model first"
)]
pub(crate) struct Evaluate {
    /// Folder of the base model, or the name of a stored one
    #[arg(long, value_name = "DIR|NAME")]
    base: String,
    /// Folder of an adapter; may be repeated
    #[arg(long, value_name = "DIR")]
    adapter: Vec<PathBuf>,
    /// Files with one record per line
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// File of prompts to complete: lines with a `prompt` or a `question`; may be repeated
    #[arg(long, value_name = "FILE")]
    prompts: Vec<PathBuf>,
    /// Folder for the report
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Prompt template, with {prompt} in it [default: that of the training run]
    #[arg(long)]
    template: Option<String>,
    /// Most tokens to generate for a question
    #[arg(long, default_value_t = 32, value_name = "TOKENS", value_parser = tokens())]
    answer_tokens: u32,
    /// Most tokens to generate for a prompt
    #[arg(long, default_value_t = 64, value_name = "TOKENS", value_parser = tokens())]
    prompt_tokens: u32,
    /// Number of compute threads [default: all of the machine]
    #[arg(long)]
    threads: Option<usize>,
}

fn tokens() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=65_536)
}

impl Evaluate {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let usual = Machine::default();
        let (out, evaluation) = (
            self.out,
            Evaluation {
                base: self.base,
                adapters: self.adapter,
                data: self.data,
                prompts: self.prompts,
                template: self.template,
                answer_tokens_max: self.answer_tokens as usize,
                prompt_tokens_max: self.prompt_tokens as usize,
                machine: Machine {
                    threads: self.threads.unwrap_or(usual.threads),
                    ..usual
                },
            },
        );
        let report = evaluation.run(&globals.home(), &mut |score| {
            if !globals.json {
                output::note(&format!("evaluated {}", score.name));
            }
        })?;
        evaluation.write(&report, &out)?;
        let answer = json!({ "dir": out, "base": report.base, "candidates": report.candidates });
        globals.show(&answer, || {
            let page = out.join("report.html");
            let mut lines: Vec<String> = report.candidates.iter().map(line).collect();
            lines.push(page.display().to_string());
            lines.join("\n")
        });
        Ok(Exit::Done)
    }
}

fn line(score: &CandidateScore) -> String {
    let CandidateScore {
        name,
        loss,
        perplexity,
        exact,
        questions,
        ..
    } = score;
    let mut line = format!("{name}: loss {loss:.4}, perplexity {perplexity:.2}");
    if let Some(rouge_l) = score.rouge_l {
        line += &format!(", exact {exact} of {questions}, ROUGE-L {rouge_l:.3}");
    }
    line
}
