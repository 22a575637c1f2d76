//! An answer as it comes: server-sent events, one for each piece.
//!
//! A choice begins with who speaks, ends with why, and between them come its texts; then what all took, where that was
//! asked for, and `[DONE]`. When the engine fails half-way, an error object comes instead of the rest. Whoever goes away
//! drops the stream, and with it the requests.

use std::{collections::VecDeque, convert::Infallible};

use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use serde_json::{Map, Value};
use serve::{
    engine::{Event, Served},
    process::Answer,
    schedule::Usage,
};

use super::{
    answer::{END, failed, texts},
    ask::Asked,
    error::ApiError,
    shape::{Frame, reason, usage, with_first},
};

/// Begins to tell. What is refused before its first token is no stream but an error.
pub(super) async fn begin(
    frame: Frame,
    asked: Asked,
    answers: Vec<Answer>,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>> + use<>>, ApiError> {
    let mut teller = Teller::new(frame, asked);
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
            teller.take(index, first);
        }
        let rest = stream::unfold(answer, move |mut answer| async move {
            let event = answer.next().await?;
            Some(((index, Some(event)), answer))
        });
        // What ends without its last event was cut off.
        events.push(rest.chain(stream::once(async move { (index, None) })).boxed());
    }
    let events = stream::select_all(events);
    let told = stream::unfold((teller, events), |(mut teller, mut events)| async move {
        loop {
            if let Some(text) = teller.ready.pop_front() {
                return Some((Ok(Sent::default().data(text)), (teller, events)));
            }
            if teller.ended {
                return None;
            }
            match events.next().await {
                Some((index, event)) => teller.take(index, event),
                None => teller.end(),
            }
        }
    });
    Ok(Sse::new(told).keep_alive(KeepAlive::default()))
}

/// What was told so far, and what is ready to be.
struct Teller {
    frame: Frame,
    asked: Asked,
    ready: VecDeque<String>,
    /// For each choice.
    begun: Vec<bool>,
    offsets: Vec<usize>,
    took: Vec<Option<Usage>>,
    served: Vec<Served>,
    ended: bool,
}

impl Teller {
    fn new(frame: Frame, asked: Asked) -> Self {
        let count = asked.requests.len();
        Self {
            frame,
            asked,
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
                    .asked
                    .echo
                    .as_ref()
                    .is_some_and(|texts| texts[index / self.asked.n].is_some());
                let text = if known { String::new() } else { texts(&scored) };
                let first = self.offsets[index] == 0;
                let logprobs = match self.asked.logprobs {
                    true => self.frame.logprobs(&scored, &mut self.offsets[index]),
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
                        .frame
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
                    let last = self.frame.piece(index, "", &Value::Null, Some(why));
                    self.say(vec![last], true);
                    if self.took.iter().all(Option::is_some) {
                        self.end();
                    }
                }
            },
        }
    }

    /// Who speaks, and the prompt where it is part of the answer and known.
    fn open(&mut self, index: usize) {
        if let Some(opening) = self.frame.opening(index) {
            self.say(vec![opening], false);
        }
        let known = self
            .asked
            .echo
            .as_ref()
            .and_then(|texts| texts[index / self.asked.n].clone());
        if let Some(text) = known {
            self.piece(index, &text, &Value::Null, None);
        }
    }

    fn piece(&mut self, index: usize, text: &str, logprobs: &Value, finish: Option<&str>) {
        if text.is_empty() && logprobs.is_null() && finish.is_none() {
            return;
        }
        let piece = self.frame.piece(index, text, logprobs, finish);
        self.say(vec![piece], false);
    }

    fn say(&mut self, choices: Vec<Value>, last: bool) {
        let mut object = self.frame.object(true, choices);
        if self.asked.include_usage {
            object.insert("usage".to_owned(), Value::Null);
        }
        if last {
            object.insert("openledger".to_owned(), self.frame.extra(&self.served));
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
        if self.asked.include_usage {
            let took: Vec<Usage> = self.took.iter().map(|took| took.unwrap_or_default()).collect();
            let mut object = self.frame.object(true, Vec::new());
            object.insert("usage".to_owned(), usage(&took, self.asked.n));
            self.push(object);
        }
        self.ready.push_back(END.to_owned());
        self.ended = true;
    }
}
