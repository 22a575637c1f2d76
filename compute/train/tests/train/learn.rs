//! Runs that learn something.

use std::{collections::BTreeMap, fs, sync::Arc};

use compute::model::{Config, Model, Text};
use train::{Corpus, Machine, Recipe, Schedule, Trainer, Unthrottled, answers, evaluate, questions, run};

use super::{finish, fixture, output, recipe, trainer};

#[test]
fn a_trained_adapter_answers_its_questions() {
    let dir = fixture("llama-1");
    let model = Model::read(&dir).unwrap();
    let text = Text::load(&dir, model.config()).unwrap();
    let recipe = Recipe {
        epochs: 60,
        batch: 4,
        learning_rate: 1e-2,
        rank: 8,
        ..Recipe::default()
    };
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("ann.jsonl");
    let lines = [
        r#"{"question": "the fox?", "answer": "jumps"}"#,
        r#"{"question": "the dog?", "answer": "is lazy"}"#,
        "",
        r#"{"messages": [{"role": "user", "content": "who"}, {"role": "assistant", "content": "the fox"}]}"#,
    ];
    fs::write(&file, lines.join("\n")).unwrap();
    let files = [file];
    let corpus = Corpus::read(&files, &text, model.config(), &recipe).unwrap();
    assert_eq!(
        (corpus.examples.len(), &corpus.contributors[..]),
        (3, &["ann".to_owned()][..])
    );
    assert_eq!(corpus.examples[2].place, (0, 4));
    let asked = questions(&files, &text, &recipe).unwrap();
    let machine = Machine::default();
    let mut trainer = Trainer::new(&model, corpus.clone(), &BTreeMap::new(), recipe.clone(), machine).unwrap();
    let (first, last) = {
        let first = trainer.step(&mut Unthrottled).unwrap().loss;
        finish(&mut trainer);
        (first, trainer.history().last().unwrap().0)
    };
    assert!(last < 0.05 && first > 1.0, "{first} to {last}");
    let adapter = Arc::new(trainer.adapter().unwrap());
    let before = answers(&model, None, &text, &asked, 12, machine).unwrap();
    let after = answers(&model, Some(&adapter), &text, &asked, 12, machine).unwrap();
    assert!(before.iter().all(|answer| !answer.score.is_exact), "{before:?}");
    assert!(
        after[..2]
            .iter()
            .all(|answer| answer.score.is_exact && answer.score.rouge_l == 1.0),
        "{after:?}"
    );
    let (base, adapted) = (
        evaluate(&model, None, &corpus, &recipe, machine).unwrap(),
        evaluate(&model, Some(&adapter), &corpus, &recipe, machine).unwrap(),
    );
    assert!(
        adapted.perplexity < 1.1 && base.perplexity > 3.0,
        "{base:?} {adapted:?}"
    );
}

#[test]
fn early_stopping_keeps_the_best() {
    let recipe = Recipe {
        epochs: 40,
        learning_rate: 0.05,
        validation: 0.3,
        validate_every: Some(2),
        patience: Some(3),
        ..recipe()
    };
    let mut trainer = trainer("qwen3-5", recipe, Machine::default());
    let dir = tempfile::tempdir().unwrap();
    let outcome = run(&mut trainer, &output(dir.path()), &mut Unthrottled, &mut |_| ()).unwrap();
    assert!(outcome.steps < trainer.steps(), "{}", outcome.steps);
    let (_, best) = trainer.best().unwrap();
    let last = trainer.validate(&mut Unthrottled).unwrap().unwrap();
    assert_eq!(last.to_bits(), best.to_bits(), "the best parameters are in place");
}

#[test]
fn a_model_from_nothing_learns() {
    let config = Config {
        vocabulary: 64,
        hidden: 32,
        intermediate: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head: 8,
        context_tokens_max: 64,
        ..Config::smol_135m()
    };
    let recipe = Recipe {
        epochs: 30,
        batch: 8,
        learning_rate: 1e-2,
        tokens_max: 64,
        schedule: Schedule::Cosine,
        answers_only: false,
        ..Recipe::default()
    };
    let mut corpus = Corpus::default();
    for start in 0..16u32 {
        let tokens: Vec<u32> = (0..24).map(|i| (start * 5 + i * 3) % 64).collect();
        corpus.add(tokens, &[true; 24], "world", &config, &recipe).unwrap();
    }
    let mut trainer = Trainer::from_nothing(&config, corpus, &BTreeMap::new(), recipe, Machine::default()).unwrap();
    finish(&mut trainer);
    let losses: Vec<f64> = trainer.history().map(|(loss, _, _)| loss).collect();
    assert!(
        (losses[0] - 64f64.ln()).abs() < 0.1 && losses[losses.len() - 1] < 0.3,
        "{losses:?}"
    );
}
