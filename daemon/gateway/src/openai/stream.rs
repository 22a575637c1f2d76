//! Streaming a response as server-sent events.
//!
//! A choice begins with the role and ends with the finish reason; between them come its chunks of text. Then the usage
//! follows, if requested, and `[DONE]`. If the engine fails half-way, an error object takes the place of the rest. A client
//! that disconnects drops the stream, which cancels its requests.

use std::{collections::VecDeque, convert::Infallible};

use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use serde_json::{Map, Value};
use serve::{
    engine::{Event, UsedAdapter},
    process::EventStream,
    schedule::Usage,
};

use super::{
    error::ApiError,
    objects::{Envelope, reason, usage, with_first},
    request::ParsedRequest,
    response::{END, failed, texts},
};

/// Starts a stream. A request that is refused before its first token gets an error response instead.
pub(super) async fn begin(
    envelope: Envelope,
    parsed: ParsedRequest,
    answers: Vec<EventStream>,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>> + use<>>, ApiError> {
    let mut writer = ChunkWriter::new(envelope, parsed);
    let mut events: Vec<BoxStream<'static, (usize, Option<Event>)>> = Vec::new();
    for (index, mut answer) in answers.into_iter().enumerate() {
        if index == 0 {
            let first = answer.next().await;
            match &first {
                Some(Event::Refused(error)) => return Err(error.clone().into()),
                Some(Event::Done { finish, .. }) => {
                    reason(finish).map_err(ApiError::failed)?;
                }
                Some(Event::Prompt(_) | Event::Token { .. }) | None => (),
            }
            writer.take(index, first);
        }
        let rest = stream::unfold(answer, move |mut answer| async move {
            let event = answer.next().await?;
            Some(((index, Some(event)), answer))
        });
        // A stream without a last event was cut off.
        events.push(rest.chain(stream::once(async move { (index, None) })).boxed());
    }
    let events = stream::select_all(events);
    let told = stream::unfold((writer, events), |(mut writer, mut events)| async move {
        loop {
            if let Some(text) = writer.ready.pop_front() {
                return Some((Ok(Sent::default().data(text)), (writer, events)));
            }
            if writer.ended {
                return None;
            }
            match events.next().await {
                Some((index, event)) => writer.take(index, event),
                None => writer.end(),
            }
        }
    });
    Ok(Sse::new(told).keep_alive(KeepAlive::default()))
}

/// State of a stream: events so far, and chunks ready to be sent.
struct ChunkWriter {
    envelope: Envelope,
    parsed: ParsedRequest,
    ready: VecDeque<String>,
    /// One entry per choice, as in the next two fields.
    begun: Vec<bool>,
    offsets: Vec<usize>,
    took: Vec<Option<Usage>>,
    served: Vec<UsedAdapter>,
    ended: bool,
}

impl ChunkWriter {
    fn new(envelope: Envelope, parsed: ParsedRequest) -> Self {
        let count = parsed.requests.len();
        Self {
            envelope,
            parsed,
            ready: VecDeque::new(),
            begun: vec![false; count],
            offsets: vec![0; count],
            took: vec![None; count],
            served: Vec::new(),
            ended: false,
        }
    }

    fn take(&mut self, index: usize, event: Option<Event>) {
        if self.ended || self.took[index].is_some() {
            return;
        }
        if !std::mem::replace(&mut self.begun[index], true) {
            self.open(index);
        }
        match event {
            None => self.fail(&ApiError::failed("the engine stopped while it answered")),
            Some(Event::Refused(error)) => self.fail(&error.into()),
            Some(Event::Prompt(scored)) => {
                let known = self
                    .parsed
                    .echo
                    .as_ref()
                    .is_some_and(|texts| texts[index / self.parsed.n].is_some());
                let text = if known { String::new() } else { texts(&scored) };
                let first = self.offsets[index] == 0;
                let logprobs = match self.parsed.logprobs {
                    true => self.envelope.logprobs(&scored, &mut self.offsets[index]),
                    false => Value::Null,
                };
                let logprobs = if first && !logprobs.is_null() {
                    with_first(logprobs)
                } else {
                    logprobs
                };
                self.piece(index, &text, &logprobs, None);
            }
            Some(Event::Token { text, logprobs, .. }) => {
                let logprobs = match &logprobs {
                    Some(scored) => self
                        .envelope
                        .logprobs(std::slice::from_ref(scored), &mut self.offsets[index]),
                    None => Value::Null,
                };
                self.piece(index, &text, &logprobs, None);
            }
            Some(Event::Done {
                finish,
                text,
                usage,
                adapters,
            }) => match reason(&finish) {
                Err(why) => self.fail(&ApiError::failed(why)),
                Ok(why) => {
                    self.piece(index, &text, &Value::Null, None);
                    self.took[index] = Some(usage);
                    self.served = adapters;
                    let last = self.envelope.piece(index, "", &Value::Null, Some(why));
                    self.say(vec![last], true);
                    if self.took.iter().all(Option::is_some) {
                        self.end();
                    }
                }
            },
        }
    }

    /// Starts a choice: the role, and the prompt if it is echoed and known.
    fn open(&mut self, index: usize) {
        if let Some(opening) = self.envelope.opening(index) {
            self.say(vec![opening], false);
        }
        let known = self
            .parsed
            .echo
            .as_ref()
            .and_then(|texts| texts[index / self.parsed.n].clone());
        if let Some(text) = known {
            self.piece(index, &text, &Value::Null, None);
        }
    }

    fn piece(&mut self, index: usize, text: &str, logprobs: &Value, finish: Option<&str>) {
        if text.is_empty() && logprobs.is_null() && finish.is_none() {
            return;
        }
        let piece = self.envelope.piece(index, text, logprobs, finish);
        self.say(vec![piece], false);
    }

    fn say(&mut self, choices: Vec<Value>, last: bool) {
        let mut object = self.envelope.object(true, choices);
        if self.parsed.include_usage {
            object.insert("usage".to_owned(), Value::Null);
        }
        if last {
            object.insert("openledger".to_owned(), self.envelope.extra(&self.served));
        }
        self.push(object);
    }

    fn push(&mut self, object: Map<String, Value>) {
        self.ready.push_back(Value::Object(object).to_string());
    }

    fn fail(&mut self, error: &ApiError) {
        self.ready.push_back(failed(error));
        self.ready.push_back(END.to_owned());
        self.ended = true;
    }

    fn end(&mut self) {
        if self.ended {
            return;
        }
        if self.parsed.include_usage {
            let took: Vec<Usage> = self.took.iter().map(|took| took.unwrap_or_default()).collect();
            let mut object = self.envelope.object(true, Vec::new());
            object.insert("usage".to_owned(), usage(&took, self.parsed.n));
            self.push(object);
        }
        self.ready.push_back(END.to_owned());
        self.ended = true;
    }
}
