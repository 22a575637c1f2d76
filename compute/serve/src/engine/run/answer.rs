//! What a request is told: the tokens that are chosen for it, their text, and how it ended.

use std::sync::Arc;

use compute::forward::{StepError, Wanted};
use protocol::Time;

use super::{
    super::{Event, Events, Named, Scored, Served, Words},
    Queued, Run,
};
use crate::{
    sample::{Logprobs, Place, Sampler, score, text::Text},
    schedule::{Ask, Finish, Input, RequestId, Usage},
    tier::Artifact,
};

/// A request as far as it is said.
pub(super) struct Answer {
    events: Events,
    pub(super) artifacts: Vec<Arc<Artifact>>,
    prompt_logprobs: Option<u32>,
    /// Prompt positions whose logits were told already.
    scored: u32,
    sampler: Sampler,
    text: Text,
    asked: Time,
    said: Option<Time>,
    /// Of the token that was chosen last.
    logprobs: Option<Logprobs>,
}

impl Answer {
    pub(super) fn begin(queued: Queued, now: Time) -> (Ask, Self) {
        let Queued {
            ask,
            request,
            artifacts,
            events,
        } = queued;
        let answer = Answer {
            events,
            artifacts,
            prompt_logprobs: request.prompt_logprobs,
            scored: 0,
            sampler: Sampler::new(request.sampling, &ask.prompt),
            text: Text::new(request.stop, request.keep_stop),
            asked: now,
            said: None,
            logprobs: None,
        };
        (ask, answer)
    }

    /// Whether anyone still listens.
    pub(super) fn say(&self, event: Event) -> bool {
        (self.events)(event)
    }

    pub(super) fn done(&self, finish: Finish, text: String, usage: Usage) -> Event {
        let served = |artifact: &Arc<Artifact>| Served {
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
    /// The tokens that follow from the logits of a step, and the requests whose logits are no numbers.
    pub(super) fn choose(&mut self) -> Result<(Vec<u32>, Vec<RequestId>), StepError> {
        let width = self.forward.shape().vocabulary;
        let (mut tokens, mut mute) = (Vec::new(), Vec::new());
        let mut rows = self.logits.chunks_exact_mut(width);
        let missing = || StepError::Device("a step gave fewer logits than were wanted".to_owned());
        for planned in self.scheduler.spans() {
            let answer = self.answers.get_mut(&planned.request).expect("what runs was asked");
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
                if let (Wanted::All, Some(next), Some(top)) = (planned.span.wanted, following, answer.prompt_logprobs)
                    && position >= answer.scored
                {
                    answer.scored = position + 1;
                    scored.push(named(&*self.words, next, &score(row, next, top)));
                }
                if planned.last && at + 1 == count {
                    let (index, barred) = self.scheduler.next_place(planned.request);
                    if !row.iter().any(|logit| logit.is_finite()) {
                        mute.push(planned.request);
                    }
                    let chosen = answer.sampler.choose(row, Place { index, barred });
                    answer.logprobs = chosen.logprobs;
                    tokens.push(chosen.token);
                }
            }
            if !scored.is_empty() {
                // Whoever has gone is noticed at the next token.
                answer.say(Event::Prompt(scored));
            }
        }
        Ok((tokens, mute))
    }

    pub(super) fn token(&mut self, request: RequestId, token: u32) {
        let now = self.now();
        let Some(answer) = self.answers.get_mut(&request) else {
            return;
        };
        match answer.said.replace(now) {
            None => self.metrics.first_token.add(now.since(answer.asked)),
            Some(before) => self.metrics.next_token.add(now.since(before)),
        }
        let added = answer.text.push(token, &*self.words);
        let logprobs = answer
            .logprobs
            .take()
            .map(|logprobs| named(&*self.words, token, &logprobs));
        let event = Event::Token {
            token,
            text: added.text,
            logprobs,
        };
        if !answer.say(event) {
            self.input(Input::Cancel(request));
        } else if added.stopped {
            self.input(Input::Stopped(request));
        }
    }

    pub(super) fn finished(&mut self, request: RequestId, mut finish: Finish, usage: Usage) {
        let Some(mut answer) = self.answers.remove(&request) else {
            return;
        };
        let added = answer.text.finish(&*self.words);
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
        self.metrics.answer_tokens += usage.answer as u64;
        self.metrics.whole.add(self.now().since(answer.asked));
        // Whoever is told may look at once.
        self.show();
        // Whoever has gone does not want to know.
        answer.say(answer.done(finish, added.text, usage));
    }
}

fn named(words: &dyn Words, token: u32, logprobs: &Logprobs) -> Scored {
    let name = |token: u32, logprob: f32| Named {
        token,
        text: words.decode(&[token]),
        logprob,
    };
    Scored {
        token: name(token, logprobs.token),
        top: logprobs
            .top
            .iter()
            .map(|(token, logprob)| name(*token, *logprob))
            .collect(),
    }
}
