//! Exams from files: the records that are foretold, the questions among them, and prompts without an answer.

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

/// Prompts of an eval_set.
const PROMPTS_MAX: usize = 10_000;

/// Everything that is asked.
#[derive(Clone, Debug)]
pub struct EvalSet {
    /// All records, questions among them.
    pub corpus: Corpus,
    /// Those that ask.
    pub questions: Vec<Question>,
    /// What is to be gone on from.
    pub prompts: Vec<Prompt>,
}

/// A record that asks.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its own name, if it has one.
    pub id: Option<String>,
    /// What it asks, without what the template puts around it.
    pub text: String,
    /// Its tokens, and what is expected.
    pub asked: EvalPrompt,
    /// Its file and line.
    pub place: (u32, u32),
    /// Which record of the corpus it is.
    pub record: usize,
}

/// A text to go on from.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// Its tokens. Nothing is expected.
    pub asked: EvalPrompt,
}

/// An exam that cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum EvalSetError {
    /// The files.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A prompt leaves no room for what is said to it.
    #[error(
        "`{text}` has {tokens} tokens; with {most} for the answer that is more than the model's context of {context}"
    )]
    ContextTooSmall {
        /// How it begins.
        text: String,
        /// Its tokens.
        tokens: usize,
        /// Tokens of an answer.
        most: usize,
        /// Tokens of the context.
        context: usize,
    },
}

/// What a line says for people.
#[derive(Deserialize)]
struct Shown {
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

impl Shown {
    fn asks(self) -> Option<String> {
        let said = |messages: Vec<Message>| messages.into_iter().rfind(|message| message.role == "user");
        let last = self.messages.and_then(said).map(|message| message.content);
        self.question.or(self.prompt).or(last)
    }
}

impl EvalSet {
    /// Reads files of records, and files of prompts: lines with a `prompt`, which is gone on from as it is, or a
    /// `question`, which gets the template of those with an answer.
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
                let shown: Shown = parsed(bytes)?;
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
        let shown: Shown = parsed(bytes)?;
        let asked = match (&shown.prompt, &shown.question) {
            (Some(prompt), None) => EvalPrompt {
                prompt: text.tokenizer.encode(prompt, true).map_err(|error| error.to_string())?,
                answer: String::new(),
            },
            (None, Some(question)) => {
                // What stands before an answer does not depend on it.
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

    /// Refuses what leaves no room for an answer in the model's context.
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

fn parsed(bytes: &[u8]) -> Result<Shown, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("is no record: {error}"))
}
