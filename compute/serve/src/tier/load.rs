//! The loader threads: read one adapter after another, hand it to those who wait, and yield to running steps.

use std::{
    collections::hash_map::Entry,
    sync::{Arc, MutexGuard, atomic::Ordering},
    time::{Duration, Instant},
};

use compute::{lora::Adapter, tensors::Buffer};

use super::{Artifact, Reply, Shared, State, Tier};

/// While a step runs, a loader works 1/10 of the time, and several together less than one would: a step must not wait for
/// a processor that a loader occupies.
const PARTS: u32 = 10;
/// CPU time in microseconds before a load's first rest; a small adapter is read within it.
const FIRST_US: i64 = 1000;
/// Shorter rests are postponed.
const REST_MIN: Duration = Duration::from_millis(2);
/// A load that rested too long, for want of a processor, may make up for at most this much: long uninterrupted work is what
/// hurts steps.
const AHEAD_MAX_US: i64 = 10_000;

/// The CPU share of one load.
struct CpuShare {
    /// Wall time of the last check, and CPU time of this thread then.
    looked: Instant,
    worked: Duration,
    /// Remainder of [`FIRST_US`].
    first_us: i64,
    /// Microseconds this load should rest; negative if it rested too long.
    due_us: i64,
}

impl CpuShare {
    fn new() -> Self {
        Self {
            looked: Instant::now(),
            worked: worked(),
            first_us: FIRST_US,
            due_us: 0,
        }
    }

    /// Time to rest now, if the load may use one part in `parts` of the time.
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

/// CPU time of this thread.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().unwrap_or_default()
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic with the lock held means a broken invariant: there is nothing to go on with.
        self.state.lock().expect("no thread panics with the tiers locked")
    }

    /// Queues a load, once for all callers.
    pub(super) fn queue(&self, state: &mut State, artifact: &Arc<Artifact>) {
        if let Entry::Vacant(vacant) = state.loading.entry(artifact.key()) {
            vacant.insert(Vec::new());
            state.queue.push_back(Arc::clone(artifact));
            self.work.notify_one();
        }
    }

    /// Main loop of a loader thread.
    pub(super) fn load(&self) {
        while let Some(artifact) = self.next() {
            // A panic while reading a malformed file must not end the loader.
            self.loading.fetch_add(1, Ordering::Relaxed);
            let mut share = CpuShare::new();
            let mut rest = || self.rest(&mut share);
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
            // The last reply takes the adapter itself: a clone kept here would make it look in use.
            if let Some(last) = last {
                last(result);
            }
            if self.lock().queue.is_empty() && !self.yield_to_steps.load(Ordering::Relaxed) {
                // Adapters of one base have similar sizes, so the buffer for the next is prepared now.
                Buffer::make_ready(usize::try_from(bytes).unwrap_or(0));
            }
        }
    }

    /// Called from time to time during a load: rests if a step runs and the load used its share.
    fn rest(&self, share: &mut CpuShare) {
        let loading = self.loading.load(Ordering::Relaxed);
        let due = share.due(PARTS.saturating_mul(loading.saturating_mul(loading)));
        if !self.yield_to_steps.load(Ordering::Relaxed) {
            share.due_us = 0;
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
            if !state.evicted.is_empty() {
                let evicted = std::mem::take(&mut state.evicted);
                drop(state);
                drop(evicted);
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
        let evicted = host.trim(self.budget.host_bytes, |hash| registry.is_content_pinned(hash));
        if !evicted.is_empty() {
            state.evicted.extend(evicted);
            self.work.notify_one();
        }
    }
}
