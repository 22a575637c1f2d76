//! An eval_set: one set of records and prompts put to a base model and to adapters over it, side by side.
//!
//! Every candidate foretells the same records, answers the same questions with the likeliest token each time, and goes on
//! from the same prompts. The result is a function of the candidates and the exam alone: no clock is in it. Questions stand
//! before their answers as in training, by the same recipe. Sampling is left out: it would make two reports differ.

mod curve;
mod eval_set;
mod html;
mod plot;

use std::sync::Arc;

use compute::{
    lora::Adapter,
    model::{Model, Text},
};
use serde::Serialize;

pub use super::score::{Score, score};
pub use curve::{Curve, CurveError};
pub use eval_set::{EvalSet, EvalSetError, Prompt, Question};
pub use html::html_page;

use super::{
    error::TrainError,
    evaluate::{answers, evaluate},
    recipe::{Machine, Recipe},
    record::EvalPrompt,
    score::answer,
};

/// Who is examined: the base model, or an adapter over it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name, for people.
    pub name: String,
    /// The adapter, if it is one.
    pub adapter: Option<Arc<Adapter>>,
}

/// How an exam is held.
#[derive(Clone, Copy, Debug)]
pub struct CompareOptions<'a> {
    /// How records are made into tokens.
    pub recipe: &'a Recipe,
    /// What computes.
    pub machine: Machine,
    /// Tokens of an answer at most.
    pub answer_tokens_max: usize,
    /// Tokens of what is said to a prompt at most.
    pub prompt_tokens_max: usize,
}

/// What came of an eval_set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The form of this report.
    pub version: u32,
    /// The base model.
    pub base: String,
    /// The files of the eval_set.
    pub files: Vec<String>,
    /// How each candidate did, in order.
    pub candidates: Vec<CandidateScore>,
    /// Every question, with what each said.
    pub questions: Vec<QuestionResult>,
    /// Every prompt, with what each said.
    pub prompts: Vec<PromptResult>,
}

/// How a candidate did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateScore {
    /// Its name.
    pub name: String,
    /// The adapter's hash.
    pub adapter: Option<String>,
    /// The mean loss of the tokens that count.
    pub loss: f64,
    /// Its exponential.
    pub perplexity: f64,
    /// Tokens that count.
    pub tokens: u64,
    /// Records that were foretold.
    pub records: usize,
    /// Questions among them.
    pub questions: usize,
    /// Answers that are exact.
    pub exact: usize,
    /// Their part of the questions.
    pub exact_share: Option<f64>,
    /// The mean of ROUGE-L over the questions.
    pub rouge_l: Option<f64>,
}

/// A question and its answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuestionResult {
    /// Its own name, if its record has one.
    pub id: Option<String>,
    /// Its file, an index into [`Report::files`].
    pub file: u32,
    /// Its line, from 1.
    pub line: u32,
    /// What was asked.
    pub question: String,
    /// What was expected.
    pub expected: String,
    /// What each candidate said.
    pub answers: Vec<Completion>,
}

/// An answer of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Completion {
    /// What was said.
    pub said: String,
    /// How it compares.
    #[serde(flatten)]
    pub score: Score,
    /// The mean loss of what was expected.
    pub loss: f64,
}

/// A prompt and how each candidate went on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptResult {
    /// The prompt.
    pub prompt: String,
    /// What each candidate said.
    pub said: Vec<String>,
}

/// Puts an exam to candidates, one after the other. `on` is told who is done.
pub fn compare(
    model: &Model,
    text: &Text,
    base: &str,
    eval_set: &EvalSet,
    candidates: &[Candidate],
    options: &CompareOptions<'_>,
    on: &mut dyn FnMut(&CandidateScore),
) -> Result<Report, TrainError> {
    let mut report = Report {
        version: 1,
        base: base.to_owned(),
        files: eval_set.corpus.files.clone(),
        candidates: Vec::new(),
        questions: eval_set.questions.iter().map(Question::unanswered).collect(),
        prompts: eval_set.prompts.iter().map(Prompt::unanswered).collect(),
    };
    let asked: Vec<EvalPrompt> = eval_set
        .questions
        .iter()
        .map(|question| question.asked.clone())
        .collect();
    let prompted: Vec<EvalPrompt> = eval_set.prompts.iter().map(|prompt| prompt.asked.clone()).collect();
    for candidate in candidates {
        let adapter = candidate.adapter.as_ref();
        let losses = evaluate(
            model,
            adapter.map(Arc::as_ref),
            &eval_set.corpus,
            options.recipe,
            options.machine,
        )?;
        let answered = answers(model, adapter, text, &asked, options.answer_tokens_max, options.machine)?;
        for ((row, question), answered) in report.questions.iter_mut().zip(&eval_set.questions).zip(answered) {
            row.answers.push(Completion {
                score: answered.score,
                said: answer(&answered.said, &row.expected),
                loss: losses.records[question.record],
            });
        }
        let said = answers(
            model,
            adapter,
            text,
            &prompted,
            options.prompt_tokens_max,
            options.machine,
        )?;
        for (row, said) in report.prompts.iter_mut().zip(said) {
            row.said.push(said.said);
        }
        let given = report.questions.iter().filter_map(|row| row.answers.last());
        let count = report.questions.len();
        let exact = given.clone().filter(|given| given.score.is_exact).count();
        let rouge_l: f64 = given.map(|given| given.score.rouge_l).sum();
        let of_all = |sum: f64| (count > 0).then(|| sum / count as f64);
        let score = CandidateScore {
            name: candidate.name.clone(),
            adapter: adapter.map(|adapter| adapter.hash().to_string()),
            loss: losses.loss,
            perplexity: losses.perplexity,
            tokens: losses.tokens,
            records: eval_set.corpus.examples.len(),
            questions: count,
            exact,
            exact_share: of_all(exact as f64),
            rouge_l: of_all(rouge_l),
        };
        on(&score);
        report.candidates.push(score);
    }
    Ok(report)
}

impl Question {
    fn unanswered(&self) -> QuestionResult {
        QuestionResult {
            id: self.id.clone(),
            file: self.place.0,
            line: self.place.1,
            question: self.text.clone(),
            expected: self.asked.answer.trim().to_owned(),
            answers: Vec::new(),
        }
    }
}

impl Prompt {
    fn unanswered(&self) -> PromptResult {
        PromptResult {
            prompt: self.text.clone(),
            said: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
