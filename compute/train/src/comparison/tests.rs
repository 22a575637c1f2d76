use std::{fs, path::PathBuf};

use compute::{
    model::{Chat, Config, Dimensions, Generation, Tokenizer},
    tensors::Dtype,
};

use super::*;
use crate::vocabulary::{END, Vocabulary, WordCounts, special};

/// An untrained model and its text side.
fn novice() -> (Model, Text) {
    let mut words = WordCounts::default();
    words.add("Question: Who bakes? Answer: Anivo bakes bread.").unwrap();
    let vocabulary = Vocabulary::learn(&words, 280).unwrap();
    let extents = Dimensions {
        vocabulary: vocabulary.tokens(),
        hidden: 16,
        intermediate: 32,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        context_tokens_max: 96,
        tied: true,
    };
    let config = Config::llama(extents, special(END).unwrap()).unwrap();
    let text = Text {
        tokenizer: Tokenizer::parse(&vocabulary.tokenizer_json(), &config).unwrap(),
        chat: Chat::parse(None, Some(&vocabulary.config_json(None))).unwrap(),
        generation: Generation {
            end_tokens: config.end_tokens.clone(),
            ..Generation::default()
        },
    };
    (Model::untrained(&config, 7), text)
}

fn file(dir: &tempfile::TempDir, name: &str, lines: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, lines).unwrap();
    path
}

const RECORDS: &str = "{\"id\": \"a\", \"question\": \"Who bakes?\", \"answer\": \"Anivo\"}\n\
    {\"text\": \"Anivo bakes bread.\"}\n\n\
    {\"question\": \"Who <b>sings</b>?\", \"answer\": \"Delindim\"}\n";

fn machine() -> Machine {
    Machine {
        threads: 1,
        ..Machine::default()
    }
}

#[test]
fn every_candidate_gets_every_question() {
    let (model, text) = novice();
    let dir = tempfile::tempdir().unwrap();
    let records = file(&dir, "eval_set.jsonl", RECORDS);
    let prompts = file(
        &dir,
        "prompts.jsonl",
        "{\"prompt\": \"Anivo\"}\n{\"question\": \"Who?\"}\n",
    );
    let recipe = Recipe::default();
    let eval_set = EvalSet::read(&[records], &[prompts], &text, model.config(), &recipe).unwrap();
    eval_set.check_context(model.config(), 8, 8).unwrap();
    let adapter = Arc::new(Adapter::random(model.config(), 4, Dtype::F32, 3));
    let candidates = [
        Candidate {
            name: "base".to_owned(),
            adapter: None,
        },
        Candidate {
            name: "tone".to_owned(),
            adapter: Some(Arc::clone(&adapter)),
        },
    ];
    let options = CompareOptions {
        recipe: &recipe,
        machine: machine(),
        answer_tokens_max: 8,
        prompt_tokens_max: 8,
    };
    let held = |threads| {
        let machine = Machine { threads, ..machine() };
        let options = CompareOptions { machine, ..options };
        compare(&model, &text, "novice", &eval_set, &candidates, &options, &mut |_| ()).unwrap()
    };
    let report = held(1);
    assert_eq!(report, held(2));
    // The record between the questions has losses and is no question.
    assert_eq!(report.questions.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(report.questions[0].id.as_deref(), Some("a"));
    assert!(report.questions.iter().all(|row| row.answers.len() == 2));
    assert!(report.prompts.iter().all(|row| row.said.len() == 2));
    let [base, tone] = &report.candidates[..] else {
        panic!("two were examined")
    };
    assert_eq!((base.records, base.questions, base.exact), (3, 2, 0));
    assert_eq!(tone.adapter, Some(adapter.hash().to_string()));
    // An untrained model finds every token equally likely.
    let even = (model.config().vocabulary as f64).ln();
    assert!((base.loss - even).abs() < 0.05, "{} beside {even}", base.loss);
    assert!((base.perplexity - base.loss.exp()).abs() < 1e-9);
    assert_ne!(base.loss, tone.loss);
    let own = evaluate(&model, None, &eval_set.corpus, &recipe, machine()).unwrap();
    assert_eq!(report.questions[1].answers[0].loss, own.records[2]);
}

#[test]
fn a_prompt_without_room_for_an_answer_is_refused() {
    let (model, text) = novice();
    let dir = tempfile::tempdir().unwrap();
    let records = file(&dir, "eval_set.jsonl", RECORDS);
    let eval_set = EvalSet::read(&[records], &[], &text, model.config(), &Recipe::default()).unwrap();
    eval_set.check_context(model.config(), 8, 1000).unwrap();
    let error = eval_set.check_context(model.config(), 90, 8).unwrap_err().to_string();
    assert!(error.starts_with("`Who bakes?` has"), "{error}");
}

#[test]
fn bad_lines_are_refused_by_file_and_number() {
    let (model, text) = novice();
    let dir = tempfile::tempdir().unwrap();
    let good = file(&dir, "eval_set.jsonl", RECORDS);
    let check = |lines: &str, expect: &str| {
        let prompts = file(&dir, "prompts.jsonl", lines);
        let read = EvalSet::read(
            std::slice::from_ref(&good),
            &[prompts],
            &text,
            model.config(),
            &Recipe::default(),
        );
        let error = read.unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(
        "{\"prompt\": \"a\"}\n{}\n",
        "prompts.jsonl:2: the record has not one of `prompt` and `question`",
    );
    check("{\"prompt\": 1}\n", "prompts.jsonl:1: the record is no record");
}

fn report() -> Report {
    let given = |said: &str| Completion {
        said: said.to_owned(),
        score: score(said, "Anivo"),
        loss: 1.0,
    };
    let score = |name: &str, loss: f64| CandidateScore {
        name: name.to_owned(),
        adapter: None,
        loss,
        perplexity: loss.exp(),
        tokens: 3,
        records: 1,
        questions: 1,
        exact: 1,
        exact_share: Some(1.0),
        rouge_l: Some(1.0),
    };
    Report {
        version: 1,
        base: "pico".to_owned(),
        files: vec!["a&b.jsonl".to_owned()],
        candidates: vec![score("base", 2.0), score("tone", f64::INFINITY)],
        questions: vec![QuestionResult {
            id: None,
            file: 0,
            line: 1,
            question: "Who <script>alert(1)</script>?".to_owned(),
            expected: "Anivo".to_owned(),
            answers: vec![given("\u{202e}\"><img src=x>"), given("Anivo")],
        }],
        prompts: vec![PromptResult {
            prompt: "Item:".to_owned(),
            said: vec!["a".to_owned(), "b".to_owned()],
        }],
    }
}

#[test]
fn answers_are_escaped_in_the_page() {
    let html = html_page(&report(), &[]);
    for bad in ["<script", "<img", "\u{202e}", "a&b", "http://", "https://"] {
        assert!(!html.contains(bad), "{bad}");
    }
    assert!(html.contains("Who &lt;script&gt;alert(1)&lt;/script&gt;?"));
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn a_page_shows_loss_curves_if_there_are_any() {
    let dir = tempfile::tempdir().unwrap();
    let described = "{\"steps\": [{\"loss\": 3.5, \"rate\": 0.1}, {\"loss\": 2.5}], \"validations\": [{\"step\": 2, \"loss\": 2.75}]}";
    let curve = Curve::read(&file(&dir, "training.json", described), "tone").unwrap();
    assert_eq!(
        (curve.losses.as_slice(), curve.validations.as_slice()),
        (&[3.5, 2.5][..], &[(2, 2.75)][..])
    );
    assert!(!html_page(&report(), &[]).contains("<h2>Training</h2>"));
    let html = html_page(&report(), &[curve]);
    assert!(html.contains("tone: validation 2.7500 after step 2"));
    let refused = Curve::read(&file(&dir, "training.json", "{}"), "tone").unwrap_err();
    assert!(refused.to_string().contains("`steps`"), "{refused}");
}
