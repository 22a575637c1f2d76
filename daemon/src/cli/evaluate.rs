//! `openledger evaluate`: a base model and adapters over it, side by side on the same records and prompts.
//!
//! The folder gets `report.json` and `report.html`, which needs nothing else. `--json` prints
//! `{"dir", "base", "candidates": [{"name", "adapter", "loss", "perplexity", "tokens", "records", "questions", "exact",
//! "exact_share", "rouge_l"}]}`, the base model first. Questions are asked as the first adapter was trained on them, by
//! the `training.json` in its folder; curves of the report come from there too.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use compute::lora::Adapter;
use serde_json::{Value, json};
use train::{
    Machine, Recipe,
    exam::{Candidate, Curve, Exam, Report, Standing, Terms, examine, page},
};

use super::{
    Place,
    exit::{Exit, ended},
    output,
    train::base,
};

/// Adapters of one report: more columns than anybody reads.
const ADAPTERS_MAX: usize = 16;

/// The largest description of a run.
const TRAINING_BYTES_MAX: u64 = 256 << 20;

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
        if self.adapter.len() > ADAPTERS_MAX {
            let text = format!(
                "{} adapters are too many for one report; at most {ADAPTERS_MAX}",
                self.adapter.len()
            );
            return Err(ended(Exit::Usage, text).into());
        }
        let (model, text, name) = base(place, &self.base)?;
        let recipe = Recipe {
            template: self.template()?,
            tokens_max: model.config().context_tokens_max,
            ..Recipe::default()
        };
        recipe.check()?;
        let exam = Exam::read(&self.data, &self.prompts, &text, model.config(), &recipe)?;
        let (answer_tokens_max, prompt_tokens_max) = (self.answer_tokens as usize, self.prompt_tokens as usize);
        exam.check_room(model.config(), answer_tokens_max, prompt_tokens_max)?;
        let candidates = self.candidates(&name)?;
        let machine = Machine::default();
        let terms = Terms {
            recipe: &recipe,
            machine: Machine {
                threads: self.threads.unwrap_or(machine.threads),
                ..machine
            },
            answer_tokens_max,
            prompt_tokens_max,
        };
        let report = examine(&model, &text, &name, &exam, &candidates, &terms, &mut |standing| {
            if !place.json {
                output::note(&format!("{} is examined", standing.name));
            }
        })?;
        self.write(&report)?;
        let answer = json!({ "dir": self.out, "base": report.base, "candidates": report.candidates });
        place.show(&answer, || {
            let page = self.out.join("report.html");
            let mut lines: Vec<String> = report.candidates.iter().map(line).collect();
            lines.push(page.display().to_string());
            lines.join("\n")
        });
        Ok(Exit::Done)
    }

    /// The template that is named, or that of the first adapter's run. Others must have had the same.
    fn template(&self) -> anyhow::Result<Option<String>> {
        if self.template.is_some() {
            return Ok(self.template.clone());
        }
        let mut first: Option<(&Path, Option<String>)> = None;
        for dir in &self.adapter {
            let Some(training) = training(dir)? else { continue };
            let own = training
                .pointer("/recipe/template")
                .and_then(Value::as_str)
                .map(str::to_owned);
            match &first {
                None => first = Some((dir.as_path(), own)),
                Some((other, template)) if *template != own => {
                    let (dir, other) = (dir.display(), other.display());
                    let text =
                        format!("{dir} and {other} were trained with different templates; choose one with --template");
                    return Err(ended(Exit::Usage, text).into());
                }
                Some(_) => (),
            }
        }
        Ok(first.and_then(|(_, template)| template))
    }

    fn candidates(&self, base: &str) -> anyhow::Result<Vec<Candidate>> {
        let mut candidates = vec![Candidate {
            name: base.to_owned(),
            adapter: None,
        }];
        for dir in &self.adapter {
            let adapter = Adapter::load(dir).with_context(|| format!("{} holds no adapter", dir.display()))?;
            candidates.push(Candidate {
                name: label(dir),
                adapter: Some(Arc::new(adapter)),
            });
        }
        Ok(candidates)
    }

    fn write(&self, report: &Report) -> anyhow::Result<()> {
        let mut curves = Vec::new();
        for dir in std::iter::once(Path::new(&self.base)).chain(self.adapter.iter().map(PathBuf::as_path)) {
            let file = dir.join("training.json");
            if file.is_file() {
                curves.push(Curve::read(&file, &label(dir)).with_context(|| file.display().to_string())?);
            }
        }
        let put = |name: &str, bytes: &[u8]| {
            let path = self.out.join(name);
            fs::write(&path, bytes).with_context(|| format!("could not write {}", path.display()))
        };
        fs::create_dir_all(&self.out).with_context(|| format!("could not make {}", self.out.display()))?;
        put(
            "report.json",
            &serde_json::to_vec_pretty(report).expect("texts and numbers"),
        )?;
        put("report.html", page(report, &curves).as_bytes())
    }
}

/// What a run wrote beside its adapter, if it did.
fn training(dir: &Path) -> anyhow::Result<Option<Value>> {
    let file = dir.join("training.json");
    let Ok(length) = fs::metadata(&file).map(|found| found.len()) else {
        return Ok(None);
    };
    if length > TRAINING_BYTES_MAX {
        let text = format!(
            "{} has {length} bytes, at most {TRAINING_BYTES_MAX} are read",
            file.display()
        );
        return Err(ended(Exit::Usage, text).into());
    }
    let bytes = fs::read(&file).with_context(|| format!("could not read {}", file.display()))?;
    let described = serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", file.display()))?;
    Ok(Some(described))
}

fn label(dir: &Path) -> String {
    dir.file_name()
        .map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn line(standing: &Standing) -> String {
    let Standing {
        name,
        loss,
        perplexity,
        exact,
        questions,
        ..
    } = standing;
    let mut line = format!("{name}: loss {loss:.4}, perplexity {perplexity:.2}");
    if let Some(rouge_l) = standing.rouge_l {
        line += &format!(", exact {exact} of {questions}, ROUGE-L {rouge_l:.3}");
    }
    line
}
