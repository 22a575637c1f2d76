//! `openledger evaluate`: a base model and adapters over it, side by side on the same records and prompts.
//!
//! The folder gets `report.json` and `report.html`, which needs nothing else. `--json` prints
//! `{"dir", "base", "candidates": [{"name", "adapter", "loss", "perplexity", "tokens", "records", "questions", "exact",
//! "exact_share", "rouge_l"}]}`, the base model first. Questions are asked as the first adapter was trained on them, by
//! the `training.json` in its folder; curves of the report come from there too.

use std::path::PathBuf;

use clap::Args;
use jobs::evaluation::Evaluation;
use serde_json::json;
use train::{Machine, comparison::CandidateScore};

use super::{Place, exit::Exit, output};

/// Examine a model and adapters over it, side by side
#[derive(Debug, Args)]
#[command(
    after_help = "Example: openledger evaluate --base pico --adapter tone --data questions.jsonl --out report\n\n\
                        Each line of the data is an object as `train` takes it. Those with a question are answered too, \
                        with the likeliest token each time."
)]
pub(crate) struct Evaluate {
    /// A model's folder, or the name of one that is kept
    #[arg(long, value_name = "DIR|NAME")]
    base: String,
    /// An adapter's folder; may be given several times
    #[arg(long, value_name = "DIR")]
    adapter: Vec<PathBuf>,
    /// Files of records, one to a line
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// A file of prompts to go on from: lines with a `prompt` or a `question`
    #[arg(long, value_name = "FILE")]
    prompts: Vec<PathBuf>,
    /// Where the report goes
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What stands before an answer, with {prompt} in it; as in training if not given
    #[arg(long)]
    template: Option<String>,
    /// Tokens of an answer at most
    #[arg(long, default_value_t = 32, value_name = "TOKENS", value_parser = tokens())]
    answer_tokens: u32,
    /// Tokens of what follows a prompt at most
    #[arg(long, default_value_t = 64, value_name = "TOKENS", value_parser = tokens())]
    prompt_tokens: u32,
    /// Threads that compute
    #[arg(long)]
    threads: Option<usize>,
}

fn tokens() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=65_536)
}

impl Evaluate {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
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
        let report = evaluation.run(&place.home(), &mut |score| {
            if !place.json {
                output::note(&format!("{} is examined", score.name));
            }
        })?;
        evaluation.write(&report, &out)?;
        let answer = json!({ "dir": out, "base": report.base, "candidates": report.candidates });
        place.show(&answer, || {
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
