//! What loaders do: read one adapter after another, tell whoever waits, and keep out of the way of those who compute.

use std::{
    collections::hash_map::Entry,
    sync::{Arc, MutexGuard, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Artifact, Reply, Shared, State, Tier};
use crate::{lora::Adapter, tensors::Buffer};

/// While others compute, a loader works so long, and then rests so many times as long: a step of theirs does not wait for
/// a processor that a loader has. A small adapter is there before its first rest.
const WORK_FIRST: Duration = Duration::from_millis(1);
const WORK: Duration = Duration::from_micros(250);
const RESTS: u32 = 9;
/// Work that took longer was waiting.
const WORK_MAX: Duration = Duration::from_millis(1);
/// A load that takes so long by then goes on without rest: where processors are scarce, rests take longer than they should.
const GENTLE_MAX: Duration = Duration::from_millis(100);

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
            let began = Instant::now();
            let mut since = began;
            let mut rest = || since = self.rest(began, since);
            let read = std::panic::AssertUnwindSafe(|| artifact.read(self.peer.as_deref(), &mut rest));
            let read = std::panic::catch_unwind(read)
                .unwrap_or_else(|_| Err(format!("adapter `{}` could not be read", artifact.name())));
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

    /// Called now and then by a load that began once and works since then; since when it works after that.
    fn rest(&self, began: Instant, since: Instant) -> Instant {
        let worked = since.elapsed();
        let due = if since == began { WORK_FIRST } else { WORK };
        if worked < due || !self.gently.load(Ordering::Relaxed) || began.elapsed() > GENTLE_MAX {
            return since;
        }
        std::thread::sleep(worked.min(WORK_MAX) * RESTS);
        Instant::now()
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
