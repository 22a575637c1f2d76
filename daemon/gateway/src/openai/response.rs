//! Collecting the events of a request into one response.

use serde_json::{Value, json};
use serve::{
    engine::{Event, PositionLogprobs, UsedAdapter},
    process::EventStream,
    schedule::Usage,
};

use super::{
    error::ApiError,
    objects::{Envelope, reason, usage, with_first},
    request::{Kind, ParsedRequest},
};

/// A choice that has ended.
struct Choice {
    text: String,
    scored: Vec<PositionLogprobs>,
    prompt: Vec<PositionLogprobs>,
    finish: &'static str,
    usage: Usage,
    served: Vec<UsedAdapter>,
}

/// Waits for all choices and returns the response. Dropping the future cancels them.
pub(super) async fn whole(
    envelope: &Envelope,
    parsed: &ParsedRequest,
    streams: Vec<EventStream>,
) -> Result<Value, ApiError> {
    let mut choices = Vec::with_capacity(streams.len());
    let (mut took, mut served) = (Vec::new(), Vec::new());
    for (index, events) in streams.into_iter().enumerate() {
        let choice = one(events).await?;
        choices.push(told(envelope, parsed, index, &choice));
        took.push(choice.usage);
        served = choice.served;
    }
    let mut object = envelope.object(false, choices);
    object.insert("usage".to_owned(), usage(&took, parsed.n));
    object.insert("openledger".to_owned(), envelope.extra(&served));
    Ok(Value::Object(object))
}

async fn one(mut events: EventStream) -> Result<Choice, ApiError> {
    let (mut text, mut scored, mut prompt) = (String::new(), Vec::new(), Vec::new());
    while let Some(event) = events.next().await {
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

fn told(envelope: &Envelope, parsed: &ParsedRequest, index: usize, choice: &Choice) -> Value {
    let (before, echoed) = match &parsed.echo {
        Some(prompts) => {
            let known = prompts[index / parsed.n].clone();
            (known.unwrap_or_else(|| texts(&choice.prompt)), true)
        }
        None => (String::new(), false),
    };
    let logprobs = match (parsed.logprobs, echoed) {
        (false, _) => Value::Null,
        (true, false) => envelope.logprobs(&choice.scored, &mut 0),
        (true, true) => {
            let all: Vec<PositionLogprobs> = choice.prompt.iter().chain(&choice.scored).cloned().collect();
            with_first(envelope.logprobs(&all, &mut 0))
        }
    };
    envelope.choice(index, &format!("{before}{}", choice.text), &logprobs, choice.finish)
}

pub(super) fn texts(scored: &[PositionLogprobs]) -> String {
    scored.iter().map(|one| one.token.text.as_str()).collect()
}

/// A unique id for a response.
pub(super) fn name(kind: Kind) -> String {
    let number = hex::encode(base::entropy::bytes::<12>());
    match kind {
        Kind::Chat => format!("chatcmpl-{number}"),
        Kind::Completion => format!("cmpl-{number}"),
    }
}

/// The last event of every stream.
pub(super) const END: &str = "[DONE]";

/// An error as an event of a stream that has begun.
pub(super) fn failed(error: &ApiError) -> String {
    json!(error.object()).to_string()
}
