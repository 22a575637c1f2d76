//! A base model and adapters over it, examined side by side on the same records and prompts, with a report of it.

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

/// Adapters of one report: more columns than anybody reads.
const ADAPTERS_MAX: usize = 16;
/// Most bytes of a run's description beside its adapter; a longer one is refused.
const TRAINING_BYTES_MAX: u64 = 256 << 20;

/// What is examined, on what.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// A model's folder, or the name of one that is kept.
    pub base: String,
    /// Folders of adapters.
    pub adapters: Vec<PathBuf>,
    /// Files of records, one to a line.
    pub data: Vec<PathBuf>,
    /// Files of prompts to go on from.
    pub prompts: Vec<PathBuf>,
    /// What stands before an answer; as in training if none.
    pub template: Option<String>,
    /// Tokens of an answer at most.
    pub answer_tokens_max: usize,
    /// Tokens of what follows a prompt at most.
    pub prompt_tokens_max: usize,
    /// Threads that compute.
    pub machine: Machine,
}

impl Evaluation {
    /// Examines them all, the base first, and tells of each as it is done.
    #[tracing::instrument(name = "job.evaluate", skip_all, fields(base = self.base))]
    pub fn run(&self, home: &Home, on: &mut dyn FnMut(&CandidateScore)) -> Result<Report, JobError> {
        if self.adapters.len() > ADAPTERS_MAX {
            let count = self.adapters.len();
            let text = format!("{count} adapters are too many for one report; at most {ADAPTERS_MAX}");
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

    /// Writes `report.json` and `report.html`, which needs nothing else, into a folder.
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

    /// The template that is named, or that of the first adapter's run. Others must have had the same.
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
                JobError::refused_because(Kind::Failed, format!("{} holds no adapter", dir.display()), error)
            })?;
            candidates.push(Candidate {
                name: label(dir),
                adapter: Some(Arc::new(adapter)),
            });
        }
        Ok(candidates)
    }
}

/// What a run wrote beside its adapter, if it did.
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
