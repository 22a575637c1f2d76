//! What loaders do: read one adapter after another, tell whoever waits, and keep out of the way of those who compute.

use std::{
    collections::hash_map::Entry,
    sync::{Arc, MutexGuard, atomic::Ordering},
    time::{Duration, Instant},
};

use compute::{lora::Adapter, tensors::Buffer};

use super::{Artifact, Reply, Shared, State, Tier};

/// While others compute, a load works for one part in so many of the time, and several together for less than one does: a
/// step does not wait for a processor that a loader has.
const PARTS: u32 = 10;
/// What a load may do before its first rest: a small adapter is there by then.
const FIRST_US: i64 = 1000;
/// Rests that are shorter are put off.
const REST_MIN: Duration = Duration::from_millis(2);
/// What was not rested is made up for later, and what was waited for a processor is too: within this bound, because it is
/// work in one piece that hurts.
const AHEAD_MAX_US: i64 = 10_000;

/// A load's part of the time, and what it had of it.
struct Part {
    /// When it was looked at last, and how long this thread had worked by then.
    looked: Instant,
    worked: Duration,
    /// What is left of [`FIRST_US`].
    first_us: i64,
    /// Microseconds that it should rest; below zero where it rested too long.
    due_us: i64,
}

impl Part {
    fn new() -> Self {
        Self {
            looked: Instant::now(),
            worked: worked(),
            first_us: FIRST_US,
            due_us: 0,
        }
    }

    /// How long it should rest now, if it may have one part in so many.
    fn due(&mut self, parts: u32) -> Duration {
        let (looked, worked) = (Instant::now(), worked());
        let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let passed = us(looked.duration_since(std::mem::replace(&mut self.looked, looked)));
        let took = us(worked.saturating_sub(std::mem::replace(&mut self.worked, worked)));
        let free = took.min(self.first_us);
        self.first_us -= free;
        let owed = (took - free).saturating_mul(parts.into());
        self.due_us = self
            .due_us
            .saturating_add(owed)
            .saturating_sub(passed)
            .max(-AHEAD_MAX_US);
        Duration::from_micros(u64::try_from(self.due_us).unwrap_or(0))
    }
}

/// How long this thread has had a processor.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().unwrap_or_default()
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock but by a broken invariant; then there is nothing to go on with.
        self.state.lock().expect("no thread panics with the tiers locked")
    }

    /// Queues a load, once for all who ask.
    pub(super) fn queue(&self, state: &mut State, artifact: &Arc<Artifact>) {
        if let Entry::Vacant(vacant) = state.loading.entry(artifact.key()) {
            vacant.insert(Vec::new());
            state.queue.push_back(Arc::clone(artifact));
            self.work.notify_one();
        }
    }

    /// What a loader does until the end.
    pub(super) fn load(&self) {
        while let Some(artifact) = self.next() {
            // A hostile file must not take the loader with it.
            self.loading.fetch_add(1, Ordering::Relaxed);
            let mut part = Part::new();
            let mut rest = || self.rest(&mut part);
            let read = std::panic::AssertUnwindSafe(|| artifact.read(self.peer.as_deref(), &mut rest));
            let read = std::panic::catch_unwind(read)
                .unwrap_or_else(|_| Err(format!("adapter `{}` could not be read", artifact.name())));
            self.loading.fetch_sub(1, Ordering::Relaxed);
            let (result, mut replies) = self.arrived(&artifact, read);
            let bytes = result.as_ref().map_or(0, |adapter| adapter.bytes());
            let last = replies.pop();
            for reply in replies {
                reply(result.clone());
            }
            // Handed on and not kept: what nobody uses any more must be seen as unused.
            if let Some(last) = last {
                last(result);
            }
            if self.lock().queue.is_empty() && !self.gently.load(Ordering::Relaxed) {
                // Adapters of one base are much alike: the next is as large as this one.
                Buffer::make_ready(usize::try_from(bytes).unwrap_or(0));
            }
        }
    }

    /// Called now and then by a load: rests if others compute and it had its part.
    fn rest(&self, part: &mut Part) {
        let loading = self.loading.load(Ordering::Relaxed);
        let due = part.due(PARTS.saturating_mul(loading.saturating_mul(loading)));
        if !self.gently.load(Ordering::Relaxed) {
            part.due_us = 0;
        } else if due >= REST_MIN {
            std::thread::sleep(due);
        }
    }

    fn next(&self) -> Option<Arc<Artifact>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if !state.gone.is_empty() {
                let gone = std::mem::take(&mut state.gone);
                drop(state);
                drop(gone);
                state = self.lock();
                continue;
            }
            if let Some(artifact) = state.queue.pop_front() {
                return Some(artifact);
            }
            state = self.work.wait(state).expect("no thread panics with the tiers locked");
        }
    }

    fn arrived(
        &self,
        artifact: &Artifact,
        read: Result<Adapter, String>,
    ) -> (Result<Arc<Adapter>, String>, Vec<Reply>) {
        let mut state = self.lock();
        let result = match read {
            Ok(adapter) => {
                match artifact.source().tier() {
                    Tier::Peer => state.counters.peer_loads += 1,
                    Tier::Device | Tier::Host | Tier::Disk => state.counters.disk_loads += 1,
                }
                Ok(state.host.put(adapter))
            }
            Err(why) => {
                state.counters.failed_loads += 1;
                Err(why)
            }
        };
        let replies = state.loading.remove(&artifact.key()).expect("a load is asked for");
        self.trim(&mut state);
        (result, replies)
    }

    pub(super) fn trim(&self, state: &mut State) {
        let (host, registry) = (&mut state.host, &state.registry);
        let gone = host.trim(self.budget.host_bytes, |hash| registry.keeps(hash));
        if !gone.is_empty() {
            state.gone.extend(gone);
            self.work.notify_one();
        }
    }
}
