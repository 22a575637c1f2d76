//! Records that are refused, and runs that meet a NaN.

use std::{collections::BTreeMap, fs};

use compute::model::{Config, Model, Text};
use train::{Corpus, DataError, Machine, Overlong, Recipe, TrainError, Trainer, Unthrottled, run};

use super::{fixture, output, recipe};

#[test]
fn bad_data_is_refused_with_its_file_and_line() {
    let dir = fixture("llama-1");
    let model = Model::read(&dir).unwrap();
    let text = Text::load(&dir, model.config()).unwrap();
    let files = tempfile::tempdir().unwrap();
    let good = r#"{"prompt": "a", "completion": "b"}"#;
    let long = format!(r#"{{"text": "{}"}}"#, "fox ".repeat(2000));
    let check = |bad: &str, expect: &str| {
        let file = files.path().join("x.jsonl");
        fs::write(&file, format!("{good}\n{bad}\n")).unwrap();
        let refused = Corpus::read(&[file], &text, model.config(), &Recipe::default()).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("x.jsonl:2: ") && said.contains(expect),
            "{bad:.60}: {said}"
        );
    };
    check("{", "is no record");
    check("[1]", "is no record");
    check("{}", "has none of");
    check(r#"{"prompt": "a"}"#, "half of a pair");
    check(r#"{"prompt": "a", "completion": " "}"#, "an empty answer");
    check(r#"{"text": "  "}"#, "an empty `text`");
    check(
        r#"{"messages": [{"role": "user", "content": "a"}]}"#,
        "no message of the assistant",
    );
    check(
        r#"{"messages": [{"role": "owl", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
        "refused",
    );
    check(&long, "tokens, at most 128 are taken");
    check(r#"{"text": "a b", "contributor": ""}"#, "`contributor`");
    check(&format!(r#"{{"text": "{}"}}"#, "x".repeat(5 << 20)), "is longer than");

    let file = files.path().join("y.jsonl");
    fs::write(&file, &long).unwrap();
    let cut = Recipe {
        long: Overlong::Cut,
        ..Recipe::default()
    };
    let corpus = Corpus::read(&[file], &text, model.config(), &cut).unwrap();
    assert_eq!(corpus.examples[0].tokens.len(), 128);
    assert!(matches!(
        Corpus::read(&[files.path().join("none")], &text, model.config(), &cut),
        Err(DataError::Read { .. })
    ));
    let empty = files.path().join("empty.jsonl");
    fs::write(&empty, "\n\n").unwrap();
    assert!(matches!(
        Corpus::read(&[empty], &text, model.config(), &cut),
        Err(DataError::Empty)
    ));
    let unknown = corpus.weights(&[("who".to_owned(), 1.0)].into()).unwrap_err();
    assert!(
        unknown.to_string().contains("`who`") && unknown.to_string().contains("y"),
        "{unknown}"
    );
    assert!(corpus.weights(&[("y".to_owned(), f64::NAN)].into()).is_err());
    let mut tokens = Corpus::default();
    let outside = tokens
        .add(vec![1, 320], &[false, true], "a", model.config(), &cut)
        .unwrap_err();
    assert!(outside.to_string().contains("token 320"), "{outside}");
}

#[test]
fn a_nan_loss_stops_the_run_and_keeps_the_state() {
    let model = {
        // The embedding of one token is NaN; the output layer is intact.
        let config = Config {
            tied: false,
            ..Config::parse(&fs::read(fixture("llama-1").join("config.json")).unwrap()).unwrap()
        };
        Model::random_with(&config, 3, |name, numbers| {
            if name == "model.embed_tokens.weight" {
                numbers[7 * config.hidden..8 * config.hidden].fill(f32::NAN);
            }
        })
    };
    let (mut corpus, recipe) = (Corpus::default(), Recipe { batch: 1, ..recipe() });
    for token in [5, 6, 7, 8] {
        corpus
            .add(
                vec![token, 9, token],
                &[false, true, true],
                "ann",
                model.config(),
                &recipe,
            )
            .unwrap();
    }
    let mut trainer = Trainer::new(&model, corpus, &BTreeMap::new(), recipe, Machine::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = output(dir.path());
    let error = run(&mut trainer, &out, &mut Unthrottled, &mut |_| ()).unwrap_err();
    let TrainError::NotFinite { step, records, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(records, "tokens:3", "{error}");
    assert_eq!(trainer.step_number(), step - 1);
    let kept = out.checkpoints();
    assert_eq!(kept.last().map(|(step, _)| *step), (*step > 1).then_some(step - 1));
    let finite = trainer
        .parameters()
        .all(|(_, numbers)| numbers.iter().all(|x| x.is_finite()));
    assert!(finite);
}
