//! The committed model: small, readable by everybody who reads such folders, at home in its world, and ignorant of the
//! sample datanets.

#![allow(clippy::unwrap_used, reason = "a test stops where it cannot")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use compute::model::{Model, Text};
use train::{
    EvalPrompt, Machine, Recipe, answers,
    comparison::{Candidate, CompareOptions, EvalSet, compare},
    vocabulary::{BEGIN, END},
};

fn compute() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn pico() -> (Model, Text) {
    let dir = compute().join("models/pico");
    let model = Model::read(&dir).unwrap();
    let text = Text::load(&dir, model.config()).unwrap();
    (model, text)
}

fn sample(name: &str) -> PathBuf {
    compute().join("world/sample").join(name)
}

#[test]
fn it_takes_at_most_ten_megabytes() {
    let files = fs::read_dir(compute().join("models/pico")).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!((1 << 20..10_000_000).contains(&bytes), "{bytes}");
}

#[test]
fn its_words_give_back_every_text() {
    let (model, text) = pico();
    let files = ["prompts.jsonl", "questions.jsonl", "2-traveller/prose.jsonl"];
    let mut texts: Vec<String> = files
        .iter()
        .map(|name| fs::read_to_string(sample(name)).unwrap())
        .collect();
    texts.push("Zoë pays 3.50 € — 12 times\t(\u{1f41f})\r\n".to_owned());
    for whole in texts {
        let tokens = text.tokenizer.encode(&whole, false).unwrap();
        assert_eq!(text.tokenizer.decode(&tokens, false), whole);
        assert!(tokens.iter().all(|token| (*token as usize) < model.config().vocabulary));
    }
    assert_eq!(text.tokenizer.token(BEGIN), Some(0));
    assert_eq!(model.config().end_tokens, [text.tokenizer.token(END).unwrap()]);
}

#[test]
fn it_was_not_told_the_facts_of_the_sample() {
    let (model, text) = pico();
    let recipe = Recipe::default();
    let eval_set = EvalSet::read(&[sample("questions.jsonl")], &[], &text, model.config(), &recipe).unwrap();
    let options = CompareOptions {
        recipe: &recipe,
        machine: Machine::default(),
        answer_tokens_max: 24,
        prompt_tokens_max: 1,
    };
    let candidate = Candidate {
        name: "pico".to_owned(),
        adapter: None,
    };
    let report = compare(&model, &text, "pico", &eval_set, &[candidate], &options, &mut |_| ()).unwrap();
    let found = &report.candidates[0];
    assert!(
        20 * found.exact <= found.questions,
        "{} of {}",
        found.exact,
        found.questions
    );
}

#[test]
fn what_it_writes_is_in_the_words_of_its_world() {
    let (model, text) = pico();
    let known: BTreeSet<String> = world::Corpus::new(1)
        .take(40_000)
        .flat_map(|document| words(&document.text))
        .collect();
    let beginnings = [
        "In the evening",
        "The harbour",
        "Before dawn",
        "At the market",
        "Question: Who",
    ];
    let asked = beginnings.map(|beginning| EvalPrompt {
        prompt: text.tokenizer.encode(beginning, true).unwrap(),
        answer: String::new(),
    });
    let said = answers(&model, None, &text, &asked, 48, Machine::default()).unwrap();
    let (mut all, mut met) = (0, 0);
    for said in &said {
        // The last may be cut off.
        let words = words(&said.said);
        assert!(words.len() >= 3, "{}", said.said);
        let whole = &words[..words.len() - 1];
        all += whole.len();
        met += whole.iter().filter(|word| known.contains(*word)).count();
    }
    assert!(100 * met >= 90 * all, "{met} of {all}: {said:?}");
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}
