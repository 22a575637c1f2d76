//! Registered names of adapters, and the generations that they stand for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use compute::lora::{Adapter, AdapterHash, Rest, Summary, inspect};
use protocol::error_chain;

use super::{Peer, Tier};
use crate::schedule::AdapterKey;

const NAME_BYTES_MAX: usize = 200;
/// The files of an adapter whose modification times show that it was changed.
const FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// Number of a registration; 0 for an adapter that was requested by content hash alone.
///
/// Numbers count up from the wall clock in microseconds when the registry started, so that a restarted engine never
/// reuses a number: nobody registers once per microsecond. They stay below 2^53, which every JSON reader holds exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// The origin of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A PEFT directory on this machine.
    Dir(Box<Path>),
    /// Any peer that has this content.
    Peer(AdapterHash),
}

impl Source {
    /// A directory, if it lies within `root`. Symbolic links are resolved before that is decided.
    pub fn within(root: &Path, dir: &Path) -> Result<Self, RegisterError> {
        let real = |path: &Path| {
            path.canonicalize().map_err(|source| RegisterError::Dir {
                dir: path.to_owned(),
                source,
            })
        };
        let (root, real) = (real(root)?, real(&root.join(dir))?);
        match real.starts_with(&root) && real != root {
            true => Ok(Self::Dir(real.into())),
            false => Err(RegisterError::Outside { dir: dir.to_owned() }),
        }
    }

    pub(super) fn tier(&self) -> Tier {
        match self {
            Self::Dir(_) => Tier::Disk,
            Self::Peer(_) => Tier::Peer,
        }
    }
}

/// Reason why a name was not registered or removed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(
        "`{name}` is not a name for an adapter: use 1 to {NAME_BYTES_MAX} visible characters without `/`, `:` and `@`"
    )]
    Name { name: String },
    #[error("could not open the adapter directory {}", dir.display())]
    Dir {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not within the directory that adapters may come from", dir.display())]
    Outside { dir: PathBuf },
    /// Its header is invalid.
    #[error("adapter `{name}` was refused: {why}")]
    Refused { name: String, why: String },
    /// The name is at another generation: someone else changed it first.
    #[error("adapter `{name}` is at generation {found}, not {expected}")]
    Generation {
        name: String,
        /// The generation found; 0 if the name does not exist.
        found: u64,
        expected: u64,
    },
    #[error("there is no adapter `{name}`")]
    Unknown { name: String },
    #[error("{most} adapters are registered, and no more can be")]
    Full { most: usize },
}

/// Reason why a name stands for no usable adapter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("there is no adapter `{0}`")]
    Unknown(String),
    /// The part after `@` is not a hash.
    #[error("`{0}` is not the hash of an adapter; write 0x and 64 hex digits")]
    Hash(String),
    /// The name stands for other content than the hash says.
    #[error("adapter `{name}` is {found}, not {wanted}")]
    Other {
        name: String,
        found: String,
        wanted: String,
    },
}

/// Result of scanning a directory of adapters.
#[derive(Debug, Default)]
pub struct Scan {
    /// Number of adapters registered.
    pub registered: usize,
    /// Entries that were not registered, and why.
    pub refused: Vec<(String, String)>,
}

/// Modification time and length of each file in [`FILES`].
type Stamp = [Option<(SystemTime, u64)>; FILES.len()];

/// One generation of a name: where its adapter is, and what is known of it. A request holds the artifact it began with, so
/// that replacing the name does not change the weights in the middle of a completion.
#[derive(Debug)]
pub struct Artifact {
    key: AdapterKey,
    name: Arc<str>,
    generation: Generation,
    source: Source,
    stamp: Stamp,
    hash: OnceLock<AdapterHash>,
    summary: OnceLock<Result<Summary, String>>,
}

impl Artifact {
    /// Its number in this engine.
    pub fn key(&self) -> AdapterKey {
        self.key
    }

    /// The name it was registered under.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The generation of the name.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The origin of the adapter.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Content hash, once the content was read.
    pub fn hash(&self) -> Option<AdapterHash> {
        self.hash.get().copied()
    }

    /// Rank and size from the header, which is read at the first call.
    pub fn summary(&self) -> Result<Summary, String> {
        let Source::Dir(dir) = &self.source else {
            return Err("its header is with a peer".to_owned());
        };
        let summary = self
            .summary
            .get_or_init(|| inspect(dir).map_err(|error| error_chain(&error)));
        summary.clone()
    }

    /// Reads the adapter and checks that it is still what was registered.
    pub(super) fn read(&self, peer: Option<&dyn Peer>, rest: Rest<'_>) -> Result<Adapter, String> {
        let name = &self.name;
        let adapter = match &self.source {
            Source::Dir(dir) => {
                let adapter = Adapter::load_resting(dir, rest)
                    .map_err(|error| format!("adapter `{name}`: {}", error_chain(&error)))?;
                if stamp(&self.source) != self.stamp {
                    return Err(format!(
                        "the files of adapter `{name}` were changed after it was registered; register it again"
                    ));
                }
                adapter
            }
            Source::Peer(hash) => {
                let peer = peer.ok_or_else(|| format!("adapter `{name}` is with peers, and there are none"))?;
                let bytes = peer.fetch(*hash).map_err(|why| format!("adapter `{name}`: {why}"))?;
                Adapter::from_bytes(&bytes).map_err(|error| format!("adapter `{name}`: {}", error_chain(&error)))?
            }
        };
        let (wanted, found) = (*self.hash.get_or_init(|| adapter.hash()), adapter.hash());
        match wanted == found {
            true => Ok(adapter),
            false => Err(format!("adapter `{name}` is {found}, not {wanted}")),
        }
    }
}

fn stamp(source: &Source) -> Stamp {
    let Source::Dir(dir) = source else {
        return Stamp::default();
    };
    FILES.map(|file| {
        let meta = fs::metadata(dir.join(file)).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

/// Refuses an invalid name, and a directory whose header is invalid.
pub(super) fn check(name: &str, source: &Source) -> Result<(), RegisterError> {
    if !is_name(name) {
        return Err(RegisterError::Name { name: name.to_owned() });
    }
    match source {
        Source::Dir(dir) => inspect(dir).map(drop).map_err(|error| RegisterError::Refused {
            name: name.to_owned(),
            why: error_chain(&error),
        }),
        Source::Peer(_) => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !['/', ':', '@'].contains(&c);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && name.chars().all(plain)
}

/// Directory entries found by [`scan`]: usable names, and the others with the reason.
pub(super) struct Found {
    pub named: Vec<(String, Source)>,
    pub refused: Vec<(String, String)>,
}

pub(super) fn scan(root: &Path) -> io::Result<Found> {
    let (mut named, mut refused) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let shown = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            refused.push((shown, "is a symbolic link, which is not followed".to_owned()));
        } else if kind.is_dir() {
            match entry.file_name().into_string() {
                Ok(name) if is_name(&name) => named.push((name, Source::Dir(entry.path().into()))),
                _ => refused.push((shown, "is not a name for an adapter".to_owned())),
            }
        }
    }
    named.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Found { named, refused })
}

/// The registered names of one engine.
#[derive(Debug)]
pub(super) struct Registry {
    names: BTreeMap<Arc<str>, Arc<Artifact>>,
    pinned: BTreeSet<Arc<str>>,
    keys: u64,
    generations: u64,
}

impl Default for Registry {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let began = since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0));
        Self {
            names: BTreeMap::new(),
            pinned: BTreeSet::new(),
            keys: 0,
            generations: began,
        }
    }
}

impl Registry {
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn register(
        &mut self,
        name: &str,
        source: Source,
        expected: Option<u64>,
        names_max: usize,
    ) -> Result<Generation, RegisterError> {
        self.expect(name, expected)?;
        if !self.names.contains_key(name) && self.names.len() >= names_max {
            return Err(RegisterError::Full { most: names_max });
        }
        // One counter for all names: a name that is removed and registered again never repeats a generation.
        self.generations += 1;
        let generation = Generation(self.generations);
        let name: Arc<str> = name.into();
        let artifact = self.artifact(Arc::clone(&name), generation, source, None);
        self.names.insert(name, artifact);
        Ok(generation)
    }

    pub(super) fn unregister(&mut self, name: &str, expected: Option<u64>) -> Result<(), RegisterError> {
        self.expect(name, expected)?;
        if self.names.remove(name).is_none() {
            return Err(RegisterError::Unknown { name: name.to_owned() });
        }
        self.pinned.remove(name);
        Ok(())
    }

    pub(super) fn resolve(&mut self, wanted: &str, can_fetch: bool) -> Result<Arc<Artifact>, ResolveError> {
        let (name, hash) = match wanted.split_once('@') {
            None => (wanted, None),
            Some((name, hash)) => {
                let parsed: AdapterHash = hash.parse().map_err(|_| ResolveError::Hash(hash.to_owned()))?;
                (name, Some(parsed))
            }
        };
        let known = self.names.get(name);
        match (known, hash) {
            (Some(artifact), None) => Ok(Arc::clone(artifact)),
            (Some(artifact), Some(hash)) if artifact.hash() == Some(hash) => Ok(Arc::clone(artifact)),
            (Some(artifact), Some(hash)) if artifact.hash().is_none() => {
                // Its hash is not known yet; reading it will tell if it is this content.
                let (name, generation, source) = (artifact.name(), artifact.generation, artifact.source.clone());
                Ok(self.artifact(name, generation, source, Some(hash)))
            }
            (_, Some(hash)) if can_fetch => {
                Ok(self.artifact(name.into(), Generation(0), Source::Peer(hash), Some(hash)))
            }
            (Some(artifact), Some(hash)) => Err(ResolveError::Other {
                name: name.to_owned(),
                found: artifact.hash().expect("read, by the case above").to_string(),
                wanted: hash.to_string(),
            }),
            (None, _) => Err(ResolveError::Unknown(name.to_owned())),
        }
    }

    pub(super) fn page(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Artifact>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.names.range::<str, _>((from, Bound::Unbounded));
        behind.take(limit).map(|(_, artifact)| Arc::clone(artifact)).collect()
    }

    pub(super) fn pin(&mut self, artifact: &Artifact, pinned: bool) {
        match pinned {
            true => self.pinned.insert(artifact.name()),
            false => self.pinned.remove(&artifact.name),
        };
    }

    pub(super) fn is_pinned(&self, artifact: &Artifact) -> bool {
        self.pinned.contains(&artifact.name)
    }

    /// Returns true if a pinned name stands for this content.
    pub(super) fn is_content_pinned(&self, hash: AdapterHash) -> bool {
        self.pinned
            .iter()
            .any(|name| self.names.get(name).and_then(|artifact| artifact.hash()) == Some(hash))
    }

    fn expect(&self, name: &str, expected: Option<u64>) -> Result<(), RegisterError> {
        let found = self.names.get(name).map_or(0, |artifact| artifact.generation.0);
        match expected {
            Some(expected) if expected != found => Err(RegisterError::Generation {
                name: name.to_owned(),
                found,
                expected,
            }),
            _ => Ok(()),
        }
    }

    fn artifact(
        &mut self,
        name: Arc<str>,
        generation: Generation,
        source: Source,
        hash: Option<AdapterHash>,
    ) -> Arc<Artifact> {
        self.keys += 1;
        Arc::new(Artifact {
            key: AdapterKey(self.keys),
            name,
            generation,
            stamp: stamp(&source),
            source,
            hash: hash.map_or_else(OnceLock::new, OnceLock::from),
            summary: OnceLock::new(),
        })
    }
}
