//! Comparison of a base model and adapters over it, on one set of records and prompts.
//!
//! Every candidate gets the losses of the same records, answers the same questions greedily, and continues the same
//! prompts. Questions are formatted as in training, by the same recipe. The report is a function of candidates and
//! evaluation set alone: it has no times, and no sampling, which would make two reports differ.

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

/// A base model or an adapter over it, to be compared.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Name for people.
    pub name: String,
    /// Adapter; `None` for the base.
    pub adapter: Option<Arc<Adapter>>,
}

/// Settings of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct CompareOptions<'a> {
    /// Formats records as in training.
    pub recipe: &'a Recipe,
    pub machine: Machine,
    /// Most tokens of an answer.
    pub answer_tokens_max: usize,
    /// Most tokens of the continuation of a prompt.
    pub prompt_tokens_max: usize,
}

/// The result of a comparison. Its JSON is a file format: field names must not change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of the format.
    pub version: u32,
    /// Name of the base model.
    pub base: String,
    /// Names of the record files.
    pub files: Vec<String>,
    /// Scores of the candidates, in order.
    pub candidates: Vec<CandidateScore>,
    /// Questions with the candidates' answers.
    pub questions: Vec<QuestionResult>,
    /// Prompts with the candidates' continuations.
    pub prompts: Vec<PromptResult>,
}

/// The scores of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateScore {
    pub name: String,
    /// Hash of the adapter; `None` for the base.
    pub adapter: Option<String>,
    /// Mean loss of the tokens that count.
    pub loss: f64,
    /// Exponential of the loss.
    pub perplexity: f64,
    /// Number of tokens that count.
    pub tokens: u64,
    /// Number of records.
    pub records: usize,
    /// Number of records that are questions.
    pub questions: usize,
    /// Number of exact answers.
    pub exact: usize,
    /// Fraction of exact answers; `None` without questions.
    pub exact_share: Option<f64>,
    /// Mean ROUGE-L over the questions.
    pub rouge_l: Option<f64>,
}

/// A question and the candidates' answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuestionResult {
    /// The record's own `id`.
    pub id: Option<String>,
    /// Source, as an index into [`Report::files`].
    pub file: u32,
    /// Line, from 1.
    pub line: u32,
    pub question: String,
    /// Answer expected.
    pub expected: String,
    /// Answers in the order of the candidates.
    pub answers: Vec<Completion>,
}

/// One candidate's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Completion {
    /// Text of the answer.
    pub said: String,
    #[serde(flatten)]
    pub score: Score,
    /// Mean loss of the answer expected.
    pub loss: f64,
}

/// A prompt and the candidates' continuations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptResult {
    pub prompt: String,
    /// Continuations in the order of the candidates.
    pub said: Vec<String>,
}

/// Compares candidates one after the other. `on` is called with the scores of each as it is done.
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
