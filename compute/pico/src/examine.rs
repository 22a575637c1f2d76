//! What a short fine-tune teaches `pico`: for each seed a world that it never heard of, what eight contributors wrote of it,
//! and the exam before and after.

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

/// Tokens of an answer at most.
const ANSWER_TOKENS_MAX: usize = 32;

/// What is examined, and on what.
pub(crate) struct Place {
    /// The model's folder.
    pub(crate) model: PathBuf,
    /// Hyper-parameters of the fine-tune.
    pub(crate) recipe: PathBuf,
    /// Where worlds and adapters go.
    pub(crate) work: PathBuf,
    /// Threads that compute.
    pub(crate) threads: usize,
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    seed: u64,
    records: usize,
    steps: u64,
    seconds: f64,
    validation: [f64; 2],
    exact: [usize; 2],
    questions: usize,
    /// Controls that were answered with not knowing.
    not_known: [usize; 2],
    adapter: String,
}

/// Fine-tunes on the world of each seed and prints what came of it.
pub(crate) fn table(place: &Place, seeds: &[u64]) -> Result<()> {
    let model = Model::read(&place.model)?;
    let text = Text::load(&place.model, model.config())?;
    let recipe = fs::read_to_string(&place.recipe)
        .with_context(|| format!("could not read {}", place.recipe.display()))
        .and_then(|text| Ok(toml::from_str::<Recipe>(&text)?))?;
    println!(
        "| seed | records | steps | seconds | validation before | after | exact before | after | controls \"{NOT_KNOWN}\" before | after | adapter |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for seed in seeds {
        let row = one(place, &model, &text, &recipe, *seed)?;
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

fn one(place: &Place, model: &Model, text: &Text, recipe: &Recipe, seed: u64) -> Result<Row> {
    let dir = place.work.join(format!("seed-{seed}"));
    let datanets = Datanets::new(seed);
    write(&datanets, &dir)?;
    let mut reading = CorpusReader::new(text, model.config(), recipe);
    for contributor in &datanets.contributors {
        reading.folder(&dir.join(contributor.folder))?;
    }
    let machine = Machine {
        threads: place.threads,
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

/// The datanets of a seed in a folder that is this program's own, without what lay there before.
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
