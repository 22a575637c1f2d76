//! Evaluation: compares a base model and adapters on the same records and prompts, and writes a report.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use base::{home::Home, report::Kind};
use compute::lora::Adapter;
use serde_json::Value;
use train::{
    Machine, Recipe,
    comparison::{Candidate, CandidateScore, CompareOptions, Curve, EvalSet, Report, compare, html_page},
};

use crate::{
    error::JobError,
    models::{self, read_small},
};

/// Most adapters in one report, which has a column for each.
const ADAPTERS_MAX: usize = 16;
/// Largest `training.json` beside an adapter, in bytes; a larger one is refused.
const TRAINING_BYTES_MAX: u64 = 256 << 20;

/// An evaluation to run: models, data and limits.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Folder of the base model, or the name of a stored one.
    pub base: String,
    pub adapters: Vec<PathBuf>,
    /// Files with one record per line.
    pub data: Vec<PathBuf>,
    /// Files of prompts to complete.
    pub prompts: Vec<PathBuf>,
    /// Prompt template; `None` uses that of the training run.
    pub template: Option<String>,
    /// Most tokens to generate for a question.
    pub answer_tokens_max: usize,
    /// Most tokens to generate for a prompt.
    pub prompt_tokens_max: usize,
    pub machine: Machine,
}

impl Evaluation {
    /// Evaluates the base, then each adapter, and calls `on` after each.
    #[tracing::instrument(name = "job.evaluate", skip_all, fields(base = self.base))]
    pub fn run(&self, home: &Home, on: &mut dyn FnMut(&CandidateScore)) -> Result<Report, JobError> {
        if self.adapters.len() > ADAPTERS_MAX {
            let count = self.adapters.len();
            let text = format!("{count} adapters are too many for one report; give at most {ADAPTERS_MAX}");
            return Err(JobError::refused(Kind::Usage, text));
        }
        let opened = models::open(home, &self.base)?;
        let config = opened.model.config();
        let recipe = Recipe {
            template: self.template()?,
            tokens_max: config.context_tokens_max,
            ..Recipe::default()
        };
        recipe.check()?;
        let eval_set = EvalSet::read(&self.data, &self.prompts, &opened.text, config, &recipe)?;
        eval_set.check_context(config, self.answer_tokens_max, self.prompt_tokens_max)?;
        let candidates = self.candidates(&opened.name)?;
        let options = CompareOptions {
            recipe: &recipe,
            machine: self.machine,
            answer_tokens_max: self.answer_tokens_max,
            prompt_tokens_max: self.prompt_tokens_max,
        };
        let report = compare(
            &opened.model,
            &opened.text,
            &opened.name,
            &eval_set,
            &candidates,
            &options,
            on,
        );
        Ok(report?)
    }

    /// Writes `report.json` and a self-contained `report.html` into a folder.
    pub fn write(&self, report: &Report, out: &Path) -> Result<(), JobError> {
        let mut curves = Vec::new();
        for dir in std::iter::once(Path::new(&self.base)).chain(self.adapters.iter().map(PathBuf::as_path)) {
            let file = dir.join("training.json");
            if file.is_file() {
                let curve = Curve::read(&file, &label(dir))
                    .map_err(|error| JobError::refused_because(Kind::Failed, file.display().to_string(), error))?;
                curves.push(curve);
            }
        }
        let put = |name: &str, bytes: &[u8]| {
            let path = out.join(name);
            fs::write(&path, bytes).map_err(JobError::file("write", &path))
        };
        fs::create_dir_all(out).map_err(JobError::file("make", out))?;
        put(
            "report.json",
            &serde_json::to_vec_pretty(report).expect("texts and numbers"),
        )?;
        put("report.html", html_page(report, &curves).as_bytes())
    }

    /// Returns the given template, or that of the adapters' runs, which must all have used the same one.
    fn template(&self) -> Result<Option<String>, JobError> {
        if self.template.is_some() {
            return Ok(self.template.clone());
        }
        let mut first: Option<(&Path, Option<String>)> = None;
        for dir in &self.adapters {
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
                    return Err(JobError::refused(Kind::Usage, text));
                }
                Some(_) => (),
            }
        }
        Ok(first.and_then(|(_, template)| template))
    }

    fn candidates(&self, base: &str) -> Result<Vec<Candidate>, JobError> {
        let mut candidates = vec![Candidate {
            name: base.to_owned(),
            adapter: None,
        }];
        for dir in &self.adapters {
            let adapter = Adapter::load(dir).map_err(|error| {
                JobError::refused_because(
                    Kind::Failed,
                    format!("could not load the adapter in {}", dir.display()),
                    error,
                )
            })?;
            candidates.push(Candidate {
                name: label(dir),
                adapter: Some(Arc::new(adapter)),
            });
        }
        Ok(candidates)
    }
}

/// Reads the `training.json` that a run wrote beside its adapter, if there is one.
fn training(dir: &Path) -> Result<Option<Value>, JobError> {
    let file = dir.join("training.json");
    if fs::metadata(&file).is_err() {
        return Ok(None);
    }
    let bytes = read_small(&file, TRAINING_BYTES_MAX)?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| JobError::refused_because(Kind::Failed, format!("{} is not JSON", file.display()), error))
}

fn label(dir: &Path) -> String {
    dir.file_name()
        .map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned())
}
