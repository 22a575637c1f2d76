//! From what the engine says to an answer in one piece.

use serde_json::{Value, json};
use serve::{
    engine::{Event, Scored, Served},
    process::Answer,
    schedule::Usage,
};

use super::{
    ask::{Asked, Kind},
    error::ApiError,
    shape::{Frame, reason, usage, with_first},
};

/// One choice when it has ended.
struct Choice {
    text: String,
    scored: Vec<Scored>,
    prompt: Vec<Scored>,
    finish: &'static str,
    usage: Usage,
    served: Vec<Served>,
}

/// Waits for all choices. Dropped half-way, it ends them.
pub(super) async fn whole(frame: &Frame, asked: &Asked, answers: Vec<Answer>) -> Result<Value, ApiError> {
    let mut choices = Vec::with_capacity(answers.len());
    let (mut took, mut served) = (Vec::new(), Vec::new());
    for (index, answer) in answers.into_iter().enumerate() {
        let choice = one(answer).await?;
        choices.push(told(frame, asked, index, &choice));
        took.push(choice.usage);
        served = choice.served;
    }
    let mut object = frame.object(false, choices);
    object.insert("usage".to_owned(), usage(&took, asked.n));
    object.insert("openledger".to_owned(), frame.extra(&served));
    Ok(Value::Object(object))
}

async fn one(mut answer: Answer) -> Result<Choice, ApiError> {
    let (mut text, mut scored, mut prompt) = (String::new(), Vec::new(), Vec::new());
    while let Some(event) = answer.next().await {
        match event {
            Event::Refused(error) => return Err(error.into()),
            Event::Prompt(more) => prompt.extend(more),
            Event::Token {
                text: more, logprobs, ..
            } => {
                text.push_str(&more);
                scored.extend(logprobs);
            }
            Event::Done {
                finish,
                text: more,
                usage,
                adapters,
            } => {
                text.push_str(&more);
                return Ok(Choice {
                    text,
                    scored,
                    prompt,
                    finish: reason(&finish).map_err(ApiError::failed)?,
                    usage,
                    served: adapters,
                });
            }
        }
    }
    Err(ApiError::failed("the engine stopped while it answered"))
}

fn told(frame: &Frame, asked: &Asked, index: usize, choice: &Choice) -> Value {
    let (before, echoed) = match &asked.echo {
        Some(prompts) => {
            let known = prompts[index / asked.n].clone();
            (known.unwrap_or_else(|| texts(&choice.prompt)), true)
        }
        None => (String::new(), false),
    };
    let logprobs = match (asked.logprobs, echoed) {
        (false, _) => Value::Null,
        (true, false) => frame.logprobs(&choice.scored, &mut 0),
        (true, true) => {
            let all: Vec<Scored> = choice.prompt.iter().chain(&choice.scored).cloned().collect();
            with_first(frame.logprobs(&all, &mut 0))
        }
    };
    frame.choice(index, &format!("{before}{}", choice.text), &logprobs, choice.finish)
}

pub(super) fn texts(scored: &[Scored]) -> String {
    scored.iter().map(|one| one.token.text.as_str()).collect()
}

/// A name for an answer that no other has.
pub(super) fn name(kind: Kind) -> String {
    let number = hex::encode(base::entropy::bytes::<12>());
    match kind {
        Kind::Chat => format!("chatcmpl-{number}"),
        Kind::Completion => format!("cmpl-{number}"),
    }
}

/// How the events of a stream end, whatever happened.
pub(super) const END: &str = "[DONE]";

/// An error as an event of a stream that has begun.
pub(super) fn failed(error: &ApiError) -> String {
    json!(error.object()).to_string()
}
