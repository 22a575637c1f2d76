//! Tiers of adapters: with a peer, on disk, in host memory. (The slots of the device belong to the scheduler.)
//!
//! A name stands for one generation of an adapter at a time. Replacing it leaves requests that began with the old one
//! alone, because they hold its [`Artifact`]. A content hash is known only once the content was read: thousands of
//! directories are registered from nothing but their names and the modification times of their files.

mod host;
mod load;
mod registry;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
};

use bincode::{Decode, Encode};

use host::Host;
use registry::Registry;
pub use registry::{Artifact, Generation, RegisterError, ResolveError, Scan, Source};

use compute::lora::{Adapter, AdapterHash};

use crate::schedule::AdapterKey;

/// A source of adapters by content hash, such as other nodes. Called on loader threads; may take its time.
pub trait Peer: Send + Sync {
    /// The canonical bytes of an adapter. The caller checks them against the hash.
    fn fetch(&self, hash: AdapterHash) -> Result<Vec<u8>, String>;
}

/// Bounds on what the tiers keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Budget {
    /// Bytes of adapters in host memory. Exceeded only while running requests use more.
    pub host_bytes: u64,
    /// Number of threads that read adapters.
    pub loaders: usize,
    /// Most registered names; a further one is refused.
    pub names_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            host_bytes: 1 << 30,
            loaders: 2,
            names_max: 1 << 20,
        }
    }
}

/// The nearest tier that has an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Tier {
    Device,
    Host,
    Disk,
    Peer,
}

/// Status of a registered adapter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    pub name: String,
    pub generation: u64,
    /// Content hash in hex, once the content was read.
    pub hash: Option<String>,
    /// The largest rank; `None` if the header cannot be read.
    pub rank: Option<usize>,
    /// Bytes in host memory; `None` if the header cannot be read.
    pub bytes: Option<u64>,
    pub tier: Tier,
    /// True if the adapter stays in host memory whatever else is used.
    pub pinned: bool,
    /// Reason why the header cannot be read.
    pub fault: Option<String>,
}

/// Counters since the start, and gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counters {
    /// Registered names.
    pub registered: usize,
    pub host_adapters: usize,
    pub host_bytes: u64,
    /// Adapters being loaded into host memory.
    pub loading: usize,
    /// Fetches of an adapter that was in host memory already.
    pub host_hits: u64,
    pub disk_loads: u64,
    pub peer_loads: u64,
    pub failed_loads: u64,
    pub host_evictions: u64,
}

/// Most loads begun before a request needs them: more would evict each other.
const PREFETCHED_MAX: usize = 8;

/// Receives a fetched adapter, on a loader's thread.
pub type Reply = Box<dyn FnOnce(Result<Arc<Adapter>, String>) + Send>;

#[derive(Default)]
struct State {
    registry: Registry,
    host: Host,
    loading: HashMap<AdapterKey, Vec<Reply>>,
    queue: std::collections::VecDeque<Arc<Artifact>>,
    on_device: HashMap<AdapterHash, usize>,
    /// Evicted adapters. A loader frees them without the lock: freeing takes long, and others wait for the lock.
    evicted: Vec<Arc<Adapter>>,
    counters: Counters,
    closed: bool,
}

struct Shared {
    budget: Budget,
    peer: Option<Arc<dyn Peer>>,
    state: Mutex<State>,
    work: Condvar,
    /// True while a step runs, which loads must not delay.
    yield_to_steps: AtomicBool,
    /// Number of loaders that are reading.
    loading: AtomicU32,
}

/// All adapters of one engine, by name and by content.
///
/// ```
/// use serve::tier::{Budget, ResolveError, Tiers};
///
/// let tiers = Tiers::new(Budget::default(), None);
/// assert!(matches!(tiers.resolve("legal"), Err(ResolveError::Unknown(name)) if name == "legal"));
/// assert_eq!(tiers.counters().registered, 0);
/// ```
pub struct Tiers {
    shared: Arc<Shared>,
    loaders: Vec<JoinHandle<()>>,
}

impl Tiers {
    /// Starts the loader threads; no adapters are registered yet.
    pub fn new(budget: Budget, peer: Option<Arc<dyn Peer>>) -> Self {
        let shared = Arc::new(Shared {
            budget,
            peer,
            state: Mutex::default(),
            work: Condvar::new(),
            yield_to_steps: AtomicBool::new(false),
            loading: AtomicU32::new(0),
        });
        let loader = |number| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("adapters-{number}"))
                .spawn(move || {
                    // A low priority delays those who wait for an adapter a little, and those who do not hardly at all. On Linux it
                    // applies to the calling thread alone. If it is not allowed, loaders run at normal priority.
                    #[cfg(target_os = "linux")]
                    let _ = rustix::process::setpriority_process(None, 10);
                    shared.load();
                })
                .expect("the system starts a thread at start-up")
        };
        let loaders = (0..budget.loaders.max(1)).map(loader).collect();
        Self { shared, loaders }
    }

    /// Registers every directory in `root` under its name, without opening a file. Unusable ones are listed in the result.
    pub fn register_all(&self, root: &Path) -> std::io::Result<Scan> {
        // Scanned without the lock: a large directory takes a while.
        let found = registry::scan(root)?;
        let mut scan = Scan {
            refused: found.refused,
            registered: 0,
        };
        let mut state = self.state();
        for (name, source) in found.named {
            match state
                .registry
                .register(&name, source, None, self.shared.budget.names_max)
            {
                Ok(_) => scan.registered += 1,
                Err(error) => scan.refused.push((name, error.to_string())),
            }
        }
        Ok(scan)
    }

    /// Gives a name to an adapter, new or replacing another. With `expected`, only if that is the name's generation; 0 stands
    /// for a name that does not exist.
    pub fn register(&self, name: &str, source: Source, expected: Option<u64>) -> Result<Generation, RegisterError> {
        registry::check(name, &source)?;
        let generation = self
            .state()
            .registry
            .register(name, source, expected, self.shared.budget.names_max)?;
        Ok(generation)
    }

    /// Removes a name. Requests that began with it go on.
    pub fn unregister(&self, name: &str, expected: Option<u64>) -> Result<(), RegisterError> {
        self.state().registry.unregister(name, expected)
    }

    /// The adapter that a client named: `name`, or `name@hash` for exactly this content. The returned artifact stays usable
    /// when the name is replaced.
    pub fn resolve(&self, wanted: &str) -> Result<Arc<Artifact>, ResolveError> {
        let can_fetch = self.shared.peer.is_some();
        self.state().registry.resolve(wanted, can_fetch)
    }

    /// Pins an adapter in host memory from its next use on, or unpins it.
    pub fn pin(&self, name: &str, pinned: bool) -> Result<(), ResolveError> {
        let mut state = self.state();
        let artifact = state.registry.resolve(name, false)?;
        state.registry.pin(&artifact, pinned);
        self.shared.trim(&mut state);
        Ok(())
    }

    /// Returns the adapter if it is in host memory. Otherwise loads it, once for all callers that ask meanwhile, and calls
    /// `reply` later.
    pub fn fetch(&self, artifact: &Arc<Artifact>, reply: Reply) -> Option<Arc<Adapter>> {
        let mut state = self.state();
        if let Some(adapter) = artifact.hash().and_then(|hash| state.host.get(hash)) {
            state.counters.host_hits += 1;
            return Some(adapter);
        }
        self.shared.queue(&mut state, artifact);
        let waiting = state.loading.get_mut(&artifact.key()).expect("queued above");
        waiting.push(reply);
        None
    }

    /// Begins to load an adapter that will be needed soon, unless the loaders are busy.
    pub fn prefetch(&self, artifact: &Arc<Artifact>) {
        let mut state = self.state();
        let there = artifact.hash().is_some_and(|hash| state.host.has(hash));
        if !there && state.loading.len() < PREFETCHED_MAX {
            self.shared.queue(&mut state, artifact);
        }
    }

    /// Evicts adapters over the budget; called when a request no longer uses its adapters.
    pub fn trim(&self) {
        self.shared.trim(&mut self.state());
    }

    /// Tells the loaders if completions are running, which loads must not delay: then each loader uses a small part of a
    /// processor's time.
    pub fn yield_to_steps(&self, yield_to_steps: bool) {
        self.shared.yield_to_steps.store(yield_to_steps, Ordering::Relaxed);
    }

    /// Records that an adapter was loaded into a slot of the device, or removed from it.
    pub fn on_device(&self, hash: AdapterHash, there: bool) {
        let mut state = self.state();
        let slots = state.on_device.entry(hash).or_default();
        *slots = if there { *slots + 1 } else { slots.saturating_sub(1) };
        if *slots == 0 {
            state.on_device.remove(&hash);
        }
    }

    /// Status of up to `limit` adapters after the name `after`, in order of names. Reads the headers of those it lists.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<Status> {
        let artifacts = self.state().registry.page(after, limit);
        artifacts.iter().map(|artifact| self.status_of(artifact)).collect()
    }

    /// Status of one adapter.
    pub fn status(&self, name: &str) -> Result<Status, ResolveError> {
        let artifact = self.state().registry.resolve(name, false)?;
        Ok(self.status_of(&artifact))
    }

    /// Names in order, after `after`, and content hashes where known. Cheaper than [`Self::list`]: reads no file.
    pub fn names(&self, after: Option<&str>, limit: usize) -> Vec<(Arc<str>, Option<AdapterHash>)> {
        let artifacts = self.state().registry.page(after, limit);
        artifacts
            .iter()
            .map(|artifact| (artifact.name(), artifact.hash()))
            .collect()
    }

    /// Counters since the start, and current gauges.
    pub fn counters(&self) -> Counters {
        let state = self.state();
        Counters {
            registered: state.registry.len(),
            host_adapters: state.host.len(),
            host_bytes: state.host.bytes(),
            loading: state.loading.len(),
            host_evictions: state.host.evictions(),
            ..state.counters
        }
    }

    fn status_of(&self, artifact: &Arc<Artifact>) -> Status {
        // The header is read once, and without the lock.
        let summary = artifact.summary();
        let state = self.state();
        let hash = artifact.hash();
        let tier = match hash {
            Some(hash) if state.on_device.contains_key(&hash) => Tier::Device,
            Some(hash) if state.host.has(hash) => Tier::Host,
            _ => artifact.source().tier(),
        };
        Status {
            name: artifact.name().to_string(),
            generation: artifact.generation().0,
            hash: hash.map(|hash| hash.to_string()),
            rank: summary.as_ref().ok().map(|summary| summary.rank),
            bytes: summary.as_ref().ok().map(|summary| summary.bytes),
            tier,
            pinned: state.registry.is_pinned(artifact),
            fault: summary.err(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for Tiers {
    fn drop(&mut self) {
        self.state().closed = true;
        self.shared.work.notify_all();
        for loader in self.loaders.drain(..) {
            // A loader's panic was reported when it happened.
            let _ = loader.join();
        }
    }
}
