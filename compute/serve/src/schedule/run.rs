//! Running sequences: taking the tokens of a step, and finishing, preempting or failing a sequence.

use compute::forward::{AdapterSlot, Mix, Wanted};
use protocol::Time;

use super::{AdapterInfo, AdapterKey, Effect, Finish, RequestId, Scheduler, Sequence, Stage};
use crate::{pages::ContentKey, schedule::Refusal};

impl Scheduler {
    pub(super) fn misfit(&mut self, now: Time, adapter: AdapterKey, why: &str, todo: &mut Vec<Effect>) {
        let slot = self.slots.find(adapter);
        let uses = |sequence: &Sequence| match sequence.stage {
            // Another name with the same content shares the slot.
            Stage::Running => sequence.mix.iter().any(|part| Some(part.slot) == slot),
            Stage::Cold | Stage::Ready => sequence.request.adapters.iter().any(|(key, _)| *key == adapter),
        };
        let users: Vec<RequestId> = self
            .sequences
            .values()
            .filter(|sequence| uses(sequence))
            .map(|sequence| sequence.request.id)
            .collect();
        for request in users {
            match self.sequences[&request].stage {
                Stage::Running => self.finish(now, request, Finish::Failed(why.to_owned()), todo),
                Stage::Cold | Stage::Ready => self.refuse(request, Refusal::Adapter(why.to_owned()), todo),
            }
        }
        self.slots.forget(adapter);
    }

    /// Ends a request in whatever stage it is. Does nothing if it already ended.
    pub(super) fn finish(&mut self, now: Time, request: RequestId, finish: Finish, todo: &mut Vec<Effect>) {
        let Some(sequence) = self.sequences.get(&request) else {
            return;
        };
        match sequence.stage {
            Stage::Running => self.yield_room(request),
            Stage::Cold | Stage::Ready => self.dequeue(request, todo),
        }
        let sequence = self.sequences.remove(&request).expect("seen above");
        self.waiting_since.remove(&sequence.order);
        let gap = u64::try_from(now.since(self.ended.0).as_micros()).unwrap_or(u64::MAX);
        self.ended = (now, (self.ended.1 * 7 + gap.min(60_000_000)) / 8);
        todo.push(Effect::Finished(request, finish, sequence.usage()));
    }

    /// Takes row, pages and slots from a running sequence.
    pub(super) fn yield_room(&mut self, request: RequestId) {
        let sequence = self.sequences.get_mut(&request).expect("who runs asked");
        let chain = sequence.chain.take().expect("what runs has pages");
        self.pages.end(chain, &sequence.tokens[..sequence.computed]);
        sequence.computed = 0;
        for part in sequence.mix.drain(..) {
            self.slots.unpin(part.slot);
        }
        self.tenants.stop(&sequence.request.tenant);
        self.running.remove(&request);
        self.batch.retain(|work| work.request != request);
    }

    /// Preempts a running sequence: it waits again, with its old arrival number.
    pub(super) fn preempt(&mut self, request: RequestId) {
        self.yield_room(request);
        self.preempted += 1;
        self.enqueue(request);
    }

    pub(super) fn ran(&mut self, now: Time, tokens: Vec<u32>, todo: &mut Vec<Effect>) {
        self.in_flight = false;
        self.step_time.ran(now);
        let mut tokens = tokens.into_iter();
        for work in std::mem::take(&mut self.batch) {
            let sequence = self
                .sequences
                .get_mut(&work.request)
                .expect("what ran was not taken back");
            sequence.computed += work.count;
            if work.wanted == Wanted::All {
                sequence.scored = sequence.computed;
            }
            let chain = sequence.chain.as_mut().expect("what runs has pages");
            self.pages.filled(chain, &sequence.tokens[..sequence.computed]);
            if !work.last {
                continue;
            }
            let token = tokens.next().expect("a token for each span that wanted one");
            if sequence.request.tokens_max == 0 {
                self.finish(now, work.request, Finish::Length, todo);
                continue;
            }
            sequence.tokens.push(token);
            let request = &sequence.request;
            if (!request.ignore_eos && self.ends.contains(&token)) || request.stop_tokens.contains(&token) {
                self.finish(now, work.request, Finish::Stop, todo);
                continue;
            }
            todo.push(Effect::Token(work.request, token));
            if sequence.completion_len() >= sequence.request.tokens_max as usize {
                self.finish(now, work.request, Finish::Length, todo);
            }
        }
        assert!(tokens.next().is_none(), "no token that nobody wanted");
    }

    /// Fails the requests in the broken step, and restarts the other running ones.
    pub(super) fn broken(&mut self, now: Time, why: &str, todo: &mut Vec<Effect>) {
        self.in_flight = false;
        let failed: Vec<RequestId> = self.batch.iter().map(|work| work.request).collect();
        for request in failed {
            self.finish(now, request, Finish::Failed(why.to_owned()), todo);
        }
        let others: Vec<RequestId> = self.running.iter().copied().collect();
        for request in &others {
            self.yield_room(*request);
        }
        self.pages.clear();
        self.slots.clear();
        for request in others {
            self.enqueue(request);
        }
        // A request that was ready because its adapter was in a slot is cold now.
        let waiting: Vec<RequestId> = self.sequences.keys().copied().collect();
        for request in waiting {
            self.demote_if_unloaded(request);
        }
    }

    /// The cache key of what a sequence computes, and its mix, both independent of the order in which adapters were named.
    pub(super) fn content(
        &self,
        sequence: &Sequence,
        parts: &[(AdapterInfo, AdapterSlot, f32)],
    ) -> (ContentKey, Vec<Mix>) {
        let mut parts = parts.to_vec();
        parts.sort_by(|a, b| a.0.hash.cmp(&b.0.hash).then(a.2.total_cmp(&b.2)));
        let named: Vec<([u8; 32], u32)> = parts.iter().map(|part| (part.0.hash.0.0, part.2.to_bits())).collect();
        let mix = parts.iter().map(|(_, slot, weight)| Mix {
            slot: *slot,
            weight: *weight,
        });
        (
            ContentKey::new(&self.base, &named, sequence.request.verified),
            mix.collect(),
        )
    }
}
