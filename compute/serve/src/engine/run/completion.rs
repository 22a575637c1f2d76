//! One completion in progress: its sampler, its text so far, and the events that its client gets.

use std::sync::Arc;

use compute::forward::{StepError, Wanted};
use protocol::Time;

use super::{
    super::{Event, Events, PositionLogprobs, TextCodec, TokenLogprob, UsedAdapter},
    Queued, Run,
};
use crate::{
    sample::{Logprobs, Position, Sampler, score, text::TextStream},
    schedule::{Finish, Input, RequestId, ScheduleRequest, Usage},
    tier::Artifact,
};

/// A request that was submitted and has not ended.
pub(super) struct Completion {
    events: Events,
    pub(super) artifacts: Vec<Arc<Artifact>>,
    prompt_logprobs: Option<u32>,
    /// Prompt positions whose log probabilities were reported.
    scored: u32,
    sampler: Sampler,
    text: TextStream,
    asked: Time,
    said: Option<Time>,
    /// Log probabilities of the token that was sampled last.
    logprobs: Option<Logprobs>,
}

impl Completion {
    pub(super) fn begin(queued: Queued, now: Time) -> (ScheduleRequest, Self) {
        let Queued {
            schedule,
            request,
            artifacts,
            events,
        } = queued;
        let completion = Completion {
            events,
            artifacts,
            prompt_logprobs: request.prompt_logprobs,
            scored: 0,
            sampler: Sampler::new(request.sampling, &schedule.prompt),
            text: TextStream::new(request.stop, request.keep_stop),
            asked: now,
            said: None,
            logprobs: None,
        };
        (schedule, completion)
    }

    /// Sends an event; returns false if nobody listens any more.
    pub(super) fn say(&self, event: Event) -> bool {
        (self.events)(event)
    }

    pub(super) fn done(&self, finish: Finish, text: String, usage: Usage) -> Event {
        let served = |artifact: &Arc<Artifact>| UsedAdapter {
            name: artifact.name().to_string(),
            generation: artifact.generation().0,
            hash: artifact.hash().map(|hash| hash.to_string()).unwrap_or_default(),
        };
        Event::Done {
            finish,
            text,
            usage,
            adapters: self.artifacts.iter().map(served).collect(),
        }
    }
}

impl Run {
    /// Samples a token for each span that wants one. Also returns the requests without one finite logit, which must fail.
    pub(super) fn choose(&mut self) -> Result<(Vec<u32>, Vec<RequestId>), StepError> {
        let width = self.forward.shape().vocabulary;
        let (mut tokens, mut mute) = (Vec::new(), Vec::new());
        let mut rows = self.logits.chunks_exact_mut(width);
        let missing = || StepError::Device("a step gave fewer logits than were wanted".to_owned());
        for planned in self.scheduler.spans() {
            let completion = self.completions.get_mut(&planned.request).expect("what runs was asked");
            let count = match planned.span.wanted {
                Wanted::Nothing => continue,
                Wanted::Last => 1,
                Wanted::All => planned.span.tokens.len(),
            };
            let mut scored = Vec::new();
            for at in 0..count {
                let row = rows.next().ok_or_else(missing)?;
                let position = planned.span.start + u32::try_from(at).expect("a span is short");
                let following = planned.span.tokens.get(at + 1).copied().or(planned.next);
                if let (Wanted::All, Some(next), Some(top)) =
                    (planned.span.wanted, following, completion.prompt_logprobs)
                    && position >= completion.scored
                {
                    completion.scored = position + 1;
                    scored.push(named(&*self.codec, next, &score(row, next, top)));
                }
                if planned.last && at + 1 == count {
                    let (index, barred) = self.scheduler.next_position(planned.request);
                    if !row.iter().any(|logit| logit.is_finite()) {
                        mute.push(planned.request);
                    }
                    let chosen = completion.sampler.choose(row, Position { index, barred });
                    completion.logprobs = chosen.logprobs;
                    tokens.push(chosen.token);
                }
            }
            if !scored.is_empty() {
                // A client that has gone is noticed at the next token.
                completion.say(Event::Prompt(scored));
            }
        }
        Ok((tokens, mute))
    }

    pub(super) fn token(&mut self, request: RequestId, token: u32) {
        let now = self.now();
        let Some(completion) = self.completions.get_mut(&request) else {
            return;
        };
        match completion.said.replace(now) {
            None => self.metrics.first_token.add(now.since(completion.asked)),
            Some(before) => self.metrics.next_token.add(now.since(before)),
        }
        let added = completion.text.push(token, &*self.codec);
        let logprobs = completion
            .logprobs
            .take()
            .map(|logprobs| named(&*self.codec, token, &logprobs));
        let event = Event::Token {
            token,
            text: added.text,
            logprobs,
        };
        if !completion.say(event) {
            self.input(Input::Cancel(request));
        } else if added.stopped {
            self.input(Input::Stopped(request));
        }
    }

    pub(super) fn finished(&mut self, request: RequestId, mut finish: Finish, usage: Usage) {
        let Some(mut completion) = self.completions.remove(&request) else {
            return;
        };
        let added = completion.text.finish(&*self.codec);
        if added.stopped && finish == Finish::Length {
            finish = Finish::Stop;
        }
        match finish {
            Finish::Stop | Finish::Length => self.metrics.finished += 1,
            Finish::Cancelled => self.metrics.cancelled += 1,
            Finish::Failed(_) => self.metrics.failed += 1,
        }
        self.metrics.prompt_tokens += usage.prompt as u64;
        self.metrics.cached_tokens += usage.cached as u64;
        self.metrics.completion_tokens += usage.completion as u64;
        self.metrics.whole.add(self.now().since(completion.asked));
        // Counted before the event is sent: a client that reads the metrics next must find its request there.
        self.show();
        // A client that has gone is of no interest any more.
        completion.say(completion.done(finish, added.text, usage));
    }
}

fn named(codec: &dyn TextCodec, token: u32, logprobs: &Logprobs) -> PositionLogprobs {
    let name = |token: u32, logprob: f32| TokenLogprob {
        token,
        text: codec.decode(&[token]),
        logprob,
    };
    PositionLogprobs {
        token: name(token, logprobs.token),
        top: logprobs
            .top
            .iter()
            .map(|(token, logprob)| name(*token, *logprob))
            .collect(),
    }
}
