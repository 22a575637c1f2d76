//! One record: a line of JSON, as pieces of text that count in the loss or do not.
//!
//! A record has `prompt` and `completion`, `question` and `answer`, `messages`, or `text`; an optional `contributor`;
//! other fields are ignored. Pieces are tokenised one by one, as in serving, so the tokens of a prompt never depend
//! on the answer after it.

use compute::model::{Chat, ChatInput, ChatValue, Text};
use serde::Deserialize;

use super::recipe::Recipe;

/// The fields of a record.
#[derive(Deserialize)]
pub(super) struct Line {
    prompt: Option<String>,
    completion: Option<String>,
    question: Option<String>,
    answer: Option<String>,
    messages: Option<Vec<ChatValue>>,
    text: Option<String>,
    pub(super) contributor: Option<String>,
}

/// A piece of text, and true if the model should learn to write it.
struct Piece {
    text: String,
    counts: bool,
}

/// Tokens, and true for each that counts in the loss.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) tokens: Vec<u32>,
    pub(super) counts: Vec<bool>,
}

/// A question as tokens, and the answer expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalPrompt {
    /// Tokens before the answer.
    pub prompt: Vec<u32>,
    pub answer: String,
}

/// Default template of `question` records.
const QUESTION: &str = "Question: {prompt}\nAnswer:";

impl Line {
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| format!("is no record: {error}"))
    }

    /// Tokenises the record.
    pub(super) fn tokens(&self, text: &Text, recipe: &Recipe) -> Result<Tokens, String> {
        let mut tokens = Tokens::default();
        let end = &text.generation.end_tokens;
        if let Some((pieces, chat)) = self.turns(text, recipe)? {
            for (index, piece) in pieces.iter().enumerate() {
                // A rendered chat contains its special tokens; a prompt gets those that serving adds.
                let special = !chat && index == 0;
                tokens.add(text, &piece.text, special, piece.counts || !recipe.answers_only)?;
            }
            if !chat {
                tokens.end(end);
            }
        } else if let Some(whole) = &self.text {
            if whole.trim().is_empty() {
                return Err("has an empty `text`".to_owned());
            }
            tokens.add(text, whole, true, true)?;
            tokens.end(end);
        } else {
            return Err(
                "has none of `prompt` and `completion`, `question` and `answer`, `messages`, and `text`".to_owned(),
            );
        }
        Ok(tokens)
    }

    /// Returns the last question of the record and its answer.
    pub(super) fn asked(&self, text: &Text, recipe: &Recipe) -> Result<EvalPrompt, String> {
        let Some((mut pieces, chat)) = self.turns(text, recipe)? else {
            return Err("asks nothing".to_owned());
        };
        let answer = pieces.pop().map(|piece| piece.text).unwrap_or_default();
        let mut prompt = Tokens::default();
        for (index, piece) in pieces.iter().enumerate() {
            prompt.add(text, &piece.text, !chat && index == 0, false)?;
        }
        let answer = match self.pair()? {
            Some((_, wanted, _)) => wanted.to_owned(),
            None => answer,
        };
        Ok(EvalPrompt {
            prompt: prompt.tokens,
            answer,
        })
    }

    /// Returns prompt, answer and default template; `None` if the record is of another form.
    fn pair(&self) -> Result<Option<(&str, &str, &'static str)>, String> {
        let found = match (&self.prompt, &self.completion, &self.question, &self.answer) {
            (Some(prompt), Some(completion), None, None) => (prompt, completion, "{prompt}"),
            (None, None, Some(question), Some(answer)) => (question, answer, QUESTION),
            (None, None, None, None) => return Ok(None),
            _ => return Err("has half of a pair: `prompt` and `completion`, or `question` and `answer`".to_owned()),
        };
        match found.1.trim().is_empty() {
            true => Err("has an empty answer".to_owned()),
            false => Ok(Some((found.0, found.1, found.2))),
        }
    }

    /// Returns prompts and answers in turn, and true if a chat template made them.
    fn turns(&self, text: &Text, recipe: &Recipe) -> Result<Option<(Vec<Piece>, bool)>, String> {
        if let Some((prompt, answer, usual)) = self.pair()? {
            if let (Some(chat), None) = (&text.chat, &recipe.template) {
                let message = |role: &str, content: &str| ChatValue::from_pairs([("role", role), ("content", content)]);
                let messages = [message("user", prompt), message("assistant", answer)];
                return Ok(Some((rendered(chat, &messages)?, true)));
            }
            let template = recipe.template.as_deref().unwrap_or(usual);
            let before = template.replace("{prompt}", prompt);
            // A question's template ends in a word, so its answer needs a space.
            let apart = template.ends_with(|c: char| !c.is_whitespace()) && usual == QUESTION;
            let after = format!("{}{answer}", if apart && !answer.starts_with(' ') { " " } else { "" });
            let piece = |text, counts| Piece { text, counts };
            return Ok(Some((vec![piece(before, false), piece(after, true)], false)));
        }
        let Some(messages) = &self.messages else {
            return Ok(None);
        };
        match &text.chat {
            Some(chat) => Ok(Some((rendered(chat, messages)?, true))),
            None => Err("has `messages`, and the model has no chat template; use `prompt` and `completion`".to_owned()),
        }
    }
}

/// Renders a chat and cuts it before and after every turn of the assistant.
fn rendered(chat: &Chat, messages: &[ChatValue]) -> Result<Vec<Piece>, String> {
    let render = |count: usize, add_generation_prompt| {
        chat.render(&ChatInput {
            messages: messages[..count].to_vec(),
            add_generation_prompt,
            // The same on every day: a template may print the date.
            unix_seconds: 0,
            ..ChatInput::default()
        })
        .map_err(|error| error.to_string())
    };
    let (mut pieces, mut done) = (Vec::new(), String::new());
    for (index, message) in messages.iter().enumerate() {
        if message.get_attr("role").ok().as_ref().and_then(ChatValue::as_str) != Some("assistant") {
            continue;
        }
        let (before, after) = (render(index, true)?, render(index + 1, false)?);
        let (Some(asked), Some(answered)) = (before.strip_prefix(&done), after.strip_prefix(&before)) else {
            return Err(
                "cannot be cut into turns: the chat template writes a turn differently once others follow".to_owned(),
            );
        };
        pieces.push(Piece {
            text: asked.to_owned(),
            counts: false,
        });
        pieces.push(Piece {
            text: answered.to_owned(),
            counts: true,
        });
        done = after;
    }
    match pieces.is_empty() {
        true => Err("has no message of the assistant to learn from".to_owned()),
        false => Ok(pieces),
    }
}

impl Tokens {
    fn add(&mut self, text: &Text, piece: &str, special: bool, counts: bool) -> Result<(), String> {
        let tokens = text
            .tokenizer
            .encode(piece, special)
            .map_err(|error| error.to_string())?;
        self.tokens.extend(tokens);
        self.counts.resize(self.tokens.len(), counts);
        Ok(())
    }

    /// Appends the end token, unless the text ends with one.
    fn end(&mut self, end: &[u32]) {
        let there = self.tokens.last().is_some_and(|last| end.contains(last));
        if let (Some(token), false) = (end.first(), there) {
            self.tokens.push(*token);
            self.counts.push(true);
        }
    }
}
