//! Evaluation sets from files: records, the questions among them, and prompts without an answer.

use std::path::PathBuf;

use compute::model::{Config, Text};
use serde::Deserialize;
use serde_json::json;

use super::super::{
    corpus_reader::each_line,
    data::{Corpus, DataError},
    recipe::Recipe,
    record::{EvalPrompt, Line},
};

/// Most prompts of a set.
const PROMPTS_MAX: usize = 10_000;

/// The records, questions and prompts of a comparison.
#[derive(Clone, Debug)]
pub struct EvalSet {
    /// All records, with the questions among them.
    pub corpus: Corpus,
    /// Records that are questions.
    pub questions: Vec<Question>,
    /// Prompts to continue.
    pub prompts: Vec<Prompt>,
}

/// A record that is a question.
#[derive(Clone, Debug)]
pub struct Question {
    /// The record's own `id`.
    pub id: Option<String>,
    /// Text of the question, without its template.
    pub text: String,
    /// Question as tokens, and the answer expected.
    pub asked: EvalPrompt,
    /// Source and line.
    pub place: (u32, u32),
    /// Index of the record in the corpus.
    pub record: usize,
}

/// A prompt to continue.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub text: String,
    /// Prompt as tokens; its answer is empty.
    pub asked: EvalPrompt,
}

/// Refusal of an evaluation set.
#[derive(Debug, thiserror::Error)]
pub enum EvalSetError {
    /// The files are malformed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A prompt leaves no room in the model's context for a continuation.
    #[error(
        "`{text}` has {tokens} tokens; with {most} for the answer that is more than the model's context of {context}"
    )]
    ContextTooSmall {
        /// Beginning of the prompt.
        text: String,
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of the answer.
        most: usize,
        context: usize,
    },
}

/// The fields of a record that are shown to people.
#[derive(Deserialize)]
struct DisplayFields {
    id: Option<String>,
    prompt: Option<String>,
    question: Option<String>,
    messages: Option<Vec<Message>>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

impl DisplayFields {
    fn asks(self) -> Option<String> {
        let said = |messages: Vec<Message>| messages.into_iter().rfind(|message| message.role == "user");
        let last = self.messages.and_then(said).map(|message| message.content);
        self.question.or(self.prompt).or(last)
    }
}

impl EvalSet {
    /// Reads files of records, and files of prompts: lines with a `prompt`, which is continued as it is, or a
    /// `question`, which gets the template of questions with an answer.
    pub fn read(
        files: &[PathBuf],
        prompts: &[PathBuf],
        text: &Text,
        config: &Config,
        recipe: &Recipe,
    ) -> Result<Self, EvalSetError> {
        let corpus = Corpus::read(files, text, config, recipe)?;
        let (mut questions, mut record) = (Vec::new(), 0);
        for (file, path) in (0..).zip(files) {
            each_line(path, |line, bytes| {
                let shown: DisplayFields = parsed(bytes)?;
                let id = shown.id.clone();
                if let Some(asks) = shown.asks() {
                    questions.push(Question {
                        id,
                        text: asks,
                        asked: Line::parse(bytes)?.asked(text, recipe)?,
                        place: (file, line),
                        record,
                    });
                }
                record += 1;
                Ok(())
            })?;
        }
        let mut eval_set = Self {
            corpus,
            questions,
            prompts: Vec::new(),
        };
        for path in prompts {
            each_line(path, |_, bytes| eval_set.prompt(bytes, text, recipe))?;
        }
        Ok(eval_set)
    }

    fn prompt(&mut self, bytes: &[u8], text: &Text, recipe: &Recipe) -> Result<(), String> {
        let shown: DisplayFields = parsed(bytes)?;
        let asked = match (&shown.prompt, &shown.question) {
            (Some(prompt), None) => EvalPrompt {
                prompt: text.tokenizer.encode(prompt, true).map_err(|error| error.to_string())?,
                answer: String::new(),
            },
            (None, Some(question)) => {
                // The text before an answer does not depend on the answer, so any will do.
                let any = json!({ "question": question, "answer": "-" }).to_string();
                Line::parse(any.as_bytes())?.asked(text, recipe)?
            }
            (Some(_), Some(_)) | (None, None) => return Err("has not one of `prompt` and `question`".to_owned()),
        };
        if self.prompts.len() == PROMPTS_MAX {
            return Err(format!("is one too many: at most {PROMPTS_MAX} prompts are taken"));
        }
        if asked.prompt.is_empty() {
            return Err("has an empty prompt".to_owned());
        }
        self.prompts.push(Prompt {
            text: shown.asks().unwrap_or_default(),
            asked,
        });
        Ok(())
    }

    /// Fails if a question or prompt leaves no room for an answer in the model's context.
    pub fn check_context(&self, config: &Config, answer: usize, prompted: usize) -> Result<(), EvalSetError> {
        let questions = self
            .questions
            .iter()
            .map(|question| (&question.text, &question.asked, answer));
        let prompts = self
            .prompts
            .iter()
            .map(|prompt| (&prompt.text, &prompt.asked, prompted));
        let context = config.context_tokens_max;
        match questions
            .chain(prompts)
            .find(|(_, asked, most)| asked.prompt.len() + most > context)
        {
            None => Ok(()),
            Some((text, asked, most)) => Err(EvalSetError::ContextTooSmall {
                text: text.chars().take(60).collect(),
                tokens: asked.prompt.len(),
                most,
                context,
            }),
        }
    }
}

fn parsed(bytes: &[u8]) -> Result<DisplayFields, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("is no record: {error}"))
}
