//! The effect of a short fine-tune on `pico`: for each seed a world that it has not seen, the records of eight contributors,
//! and the scores on its questions before and after.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use compute::{
    lora::Adapter,
    model::{Model, Text},
};
use train::{
    self, CorpusReader, Machine, Output, Recipe, Trainer, Unthrottled,
    comparison::{Candidate, CompareOptions, EvalSet, Report, compare},
};
use world::{Datanets, NOT_KNOWN};

/// Most tokens of an answer.
const ANSWER_TOKENS_MAX: usize = 32;

/// Folders and threads of the examination.
pub(crate) struct Paths {
    /// Folder of the base model.
    pub(crate) model: PathBuf,
    /// File with the hyper-parameters of the fine-tune.
    pub(crate) recipe: PathBuf,
    /// Folder of the generated worlds and the adapters.
    pub(crate) work: PathBuf,
    /// Number of threads that compute.
    pub(crate) threads: usize,
}

/// One row of the table.
#[derive(Debug)]
struct Row {
    seed: u64,
    records: usize,
    steps: u64,
    seconds: f64,
    validation: [f64; 2],
    exact: [usize; 2],
    questions: usize,
    /// Control questions, which nobody can answer, that were answered so.
    not_known: [usize; 2],
    adapter: String,
}

/// Fine-tunes on the world of each seed and prints a row of scores.
pub(crate) fn table(paths: &Paths, seeds: &[u64]) -> Result<()> {
    let model = Model::read(&paths.model)?;
    let text = Text::load(&paths.model, model.config())?;
    let recipe = fs::read_to_string(&paths.recipe)
        .with_context(|| format!("could not read {}", paths.recipe.display()))
        .and_then(|text| Ok(toml::from_str::<Recipe>(&text)?))?;
    println!(
        "| seed | records | steps | seconds | validation before | after | exact before | after | controls \"{NOT_KNOWN}\" before | after | adapter |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for seed in seeds {
        let row = one(paths, &model, &text, &recipe, *seed)?;
        let share = |count: usize| 100.0 * count as f64 / row.questions as f64;
        println!(
            "| {} | {} | {} | {:.1} | {:.3} | {:.3} | {:.1} % | {:.1} % | {} | {} | {} |",
            row.seed,
            row.records,
            row.steps,
            row.seconds,
            row.validation[0],
            row.validation[1],
            share(row.exact[0]),
            share(row.exact[1]),
            row.not_known[0],
            row.not_known[1],
            &row.adapter[..18]
        );
    }
    Ok(())
}

fn one(paths: &Paths, model: &Model, text: &Text, recipe: &Recipe, seed: u64) -> Result<Row> {
    let dir = paths.work.join(format!("seed-{seed}"));
    let datanets = Datanets::new(seed);
    write(&datanets, &dir)?;
    let mut reading = CorpusReader::new(text, model.config(), recipe);
    for contributor in &datanets.contributors {
        reading.folder(&dir.join(contributor.folder))?;
    }
    let machine = Machine {
        threads: paths.threads,
        ..Machine::default()
    };
    let mut trainer = Trainer::new(model, reading.finish()?, &BTreeMap::new(), recipe.clone(), machine)?;
    let records = trainer.records().0;
    let output = Output {
        dir: dir.join("adapter"),
        base_model: "pico".to_owned(),
        checkpoint_every: u64::MAX,
        checkpoints_max: Some(1),
    };
    let before = trainer.validate(&mut Unthrottled)?.unwrap_or(f64::NAN);
    let begun = Instant::now();
    let outcome = train::run(&mut trainer, &output, &mut Unthrottled, &mut |_| ())?;
    let seconds = begun.elapsed().as_secs_f64();
    let last = trainer.validations().last().map_or(f64::NAN, |(_, loss)| loss);
    let candidates = [None, Some(Adapter::load(&output.dir)?)].map(|adapter| Candidate {
        name: "pico".to_owned(),
        adapter: adapter.map(std::sync::Arc::new),
    });
    let asked = |name: &str| -> Result<Report> {
        let whole = Recipe {
            tokens_max: model.config().context_tokens_max,
            ..Recipe::default()
        };
        let exam = EvalSet::read(&[dir.join(name)], &[], text, model.config(), &whole)?;
        let options = CompareOptions {
            recipe: &whole,
            machine,
            answer_tokens_max: ANSWER_TOKENS_MAX,
            prompt_tokens_max: 1,
        };
        Ok(compare(model, text, "pico", &exam, &candidates, &options, &mut |_| ())?)
    };
    let (exam, controls) = (asked("questions.jsonl")?, asked("controls.jsonl")?);
    let not_known = |candidate: usize| {
        let given = controls.questions.iter().map(|row| &row.answers[candidate]);
        given.filter(|given| given.said == NOT_KNOWN).count()
    };
    Ok(Row {
        seed,
        records,
        steps: outcome.steps,
        seconds,
        validation: [before, last],
        exact: [0, 1].map(|candidate| exam.candidates[candidate].exact),
        questions: exam.questions.len(),
        not_known: [0, 1].map(not_known),
        adapter: outcome.adapter.unwrap_or_default(),
    })
}

/// Writes the datanets of a seed to a folder of this program, which is emptied first.
fn write(datanets: &Datanets, dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("could not clear {}", dir.display()))?;
    }
    for file in datanets.files() {
        let path = dir.join(&file.path);
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
        fs::write(&path, &file.text).with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}
