//! Where adapters are: with a peer, on disk, in memory. (Slots of the device belong to the scheduler.)
//!
//! A name stands for one generation at a time; replacing it leaves requests that began with the old one alone, because
//! they hold its [`Artifact`]. Content is known by hash once it was read, and never before: thousands of directories are
//! registered by looking at nothing but their names and the times of their files.

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

/// Others who have adapters, by content. Called on loader threads; may take its time.
pub trait Peer: Send + Sync {
    /// The canonical form of an adapter. What comes is checked against the hash.
    fn fetch(&self, hash: AdapterHash) -> Result<Vec<u8>, String>;
}

/// How much is kept where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Budget {
    /// Bytes of adapters in memory. More only while requests use more.
    pub host_bytes: u64,
    /// Threads that read adapters.
    pub loaders: usize,
    /// Names there may be.
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

/// Where an adapter is nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Tier {
    /// In a slot of the device.
    Device,
    /// In memory.
    Host,
    /// In a directory.
    Disk,
    /// With a peer.
    Peer,
}

/// What is known of a registered adapter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Counts up whenever a name is given.
    pub generation: u64,
    /// Its content, in hex, once it was read.
    pub hash: Option<String>,
    /// Its largest rank, where its header can be read.
    pub rank: Option<usize>,
    /// What it takes in memory, where its header can be read.
    pub bytes: Option<u64>,
    /// Where it is nearest.
    pub tier: Tier,
    /// Whether it is kept in memory whatever else is used.
    pub pinned: bool,
    /// Why its header cannot be read.
    pub fault: Option<String>,
}

/// What happened in the tiers since the start, and what is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counters {
    /// Names.
    pub registered: usize,
    /// Adapters in memory.
    pub host_adapters: usize,
    /// What they take.
    pub host_bytes: u64,
    /// Adapters on their way to memory.
    pub loading: usize,
    /// Asked for and in memory already.
    pub host_hits: u64,
    /// Read from disk.
    pub disk_loads: u64,
    /// Got from peers.
    pub peer_loads: u64,
    /// Asked for and not to be had.
    pub failed_loads: u64,
    /// Given up for others.
    pub host_evictions: u64,
}

/// Loads that are begun before they are asked for: more would push each other out of memory.
const PREFETCHED_MAX: usize = 8;

/// Called with what was fetched, on a loader's thread.
pub type Reply = Box<dyn FnOnce(Result<Arc<Adapter>, String>) + Send>;

#[derive(Default)]
struct State {
    registry: Registry,
    host: Host,
    loading: HashMap<AdapterKey, Vec<Reply>>,
    queue: std::collections::VecDeque<Arc<Artifact>>,
    on_device: HashMap<AdapterHash, usize>,
    /// Given up. Their memory is given back by a loader and without the lock: it takes long, and others wait for the lock.
    gone: Vec<Arc<Adapter>>,
    counters: Counters,
    closed: bool,
}

struct Shared {
    budget: Budget,
    peer: Option<Arc<dyn Peer>>,
    state: Mutex<State>,
    work: Condvar,
    /// Whether others compute meanwhile.
    gently: AtomicBool,
    /// Loaders that load.
    loading: AtomicU32,
}

/// All adapters of one engine.
pub struct Tiers {
    shared: Arc<Shared>,
    loaders: Vec<JoinHandle<()>>,
}

impl Tiers {
    /// No adapters yet.
    pub fn new(budget: Budget, peer: Option<Arc<dyn Peer>>) -> Self {
        let shared = Arc::new(Shared {
            budget,
            peer,
            state: Mutex::default(),
            work: Condvar::new(),
            gently: AtomicBool::new(false),
            loading: AtomicU32::new(0),
        });
        let loader = |number| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("adapters-{number}"))
                .spawn(move || {
                    // Those who wait for an adapter wait a little longer, and those who do not hardly notice. On Linux
                    // this is the calling thread alone; where it is not allowed, loaders are as important as others.
                    #[cfg(target_os = "linux")]
                    let _ = rustix::process::setpriority_process(None, 10);
                    shared.load();
                })
                .expect("the system starts a thread at start-up")
        };
        let loaders = (0..budget.loaders.max(1)).map(loader).collect();
        Self { shared, loaders }
    }

    /// Registers every directory in `root` under its name, without opening a file. Those that cannot be are listed.
    pub fn register_all(&self, root: &Path) -> std::io::Result<Scan> {
        // Without the lock: a large directory takes a while to read.
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

    /// Gives a name to an adapter, new or in place of the one that has it. With `expected`, only if that is the name's
    /// generation, 0 for a name that is not there.
    pub fn register(&self, name: &str, source: Source, expected: Option<u64>) -> Result<Generation, RegisterError> {
        registry::check(name, &source)?;
        let generation = self
            .state()
            .registry
            .register(name, source, expected, self.shared.budget.names_max)?;
        Ok(generation)
    }

    /// Takes a name away. Requests that began with it go on.
    pub fn unregister(&self, name: &str, expected: Option<u64>) -> Result<(), RegisterError> {
        self.state().registry.unregister(name, expected)
    }

    /// The adapter that a client means: `name`, or `name@hash` for this content and no other. What is returned keeps the
    /// generation usable.
    pub fn resolve(&self, wanted: &str) -> Result<Arc<Artifact>, ResolveError> {
        let can_fetch = self.shared.peer.is_some();
        self.state().registry.resolve(wanted, can_fetch)
    }

    /// Keeps an adapter in memory from its next use on, or no longer.
    pub fn pin(&self, name: &str, pinned: bool) -> Result<(), ResolveError> {
        let mut state = self.state();
        let artifact = state.registry.resolve(name, false)?;
        state.registry.pin(&artifact, pinned);
        self.shared.trim(&mut state);
        Ok(())
    }

    /// The adapter if it is in memory. Otherwise it is fetched, once for all who ask meanwhile, and `reply` is called.
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

    /// Begins to fetch an adapter that will be asked for soon, if the loaders are not busy with others.
    pub fn prefetch(&self, artifact: &Arc<Artifact>) {
        let mut state = self.state();
        let there = artifact.hash().is_some_and(|hash| state.host.has(hash));
        if !there && state.loading.len() < PREFETCHED_MAX {
            self.shared.queue(&mut state, artifact);
        }
    }

    /// Gives back what is over the budget, now that a request no longer uses its adapters.
    pub fn trim(&self) {
        self.shared.trim(&mut self.state());
    }

    /// Whether somebody's answer goes on meanwhile, which loads must not make later: then they take a small part of the
    /// time of a processor.
    pub fn load_gently(&self, gently: bool) {
        self.shared.gently.store(gently, Ordering::Relaxed);
    }

    /// An adapter came into a slot of the device, or left it.
    pub fn on_device(&self, hash: AdapterHash, there: bool) {
        let mut state = self.state();
        let slots = state.on_device.entry(hash).or_default();
        *slots = if there { *slots + 1 } else { slots.saturating_sub(1) };
        if *slots == 0 {
            state.on_device.remove(&hash);
        }
    }

    /// Up to `limit` adapters behind the name `after`, in order of names. Reads the headers of those it lists.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<Status> {
        let artifacts = self.state().registry.page(after, limit);
        artifacts.iter().map(|artifact| self.status_of(artifact)).collect()
    }

    /// What is known of one adapter.
    pub fn status(&self, name: &str) -> Result<Status, ResolveError> {
        let artifact = self.state().registry.resolve(name, false)?;
        Ok(self.status_of(&artifact))
    }

    /// Names, in order, behind `after`, and their contents where they are known: cheaper than [`Self::list`], nothing is
    /// read.
    pub fn names(&self, after: Option<&str>, limit: usize) -> Vec<(Arc<str>, Option<AdapterHash>)> {
        let artifacts = self.state().registry.page(after, limit);
        artifacts
            .iter()
            .map(|artifact| (artifact.name(), artifact.hash()))
            .collect()
    }

    /// What happened so far.
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
        // The header is read without the lock, once.
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
            // A loader that panicked has said so; nothing is left to save of it.
            let _ = loader.join();
        }
    }
}
