//! Adapters from directories and from their canonical form, refused with the field or tensor that is wrong.

use std::{
    collections::{BTreeMap, btree_map::Entry as MapEntry},
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
    sync::Arc,
};

use super::{
    Adapter, AdapterConfig, CONFIG_KEY, ConfigError, LowRank, PART_BYTES, RANK_MAX, Rest, Site,
    site::{Factor, of_tensor},
    write::{Canon, Outline},
};
use crate::tensors::{Buffer, Bytes, Entry, Header, HeaderError, Holder, Matrix, open, read_small, transpose};

/// More than an adapter of rank 256 for a model of 70 billion weights takes.
const ADAPTER_BYTES_MAX: u64 = 4 << 30;

const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// What the headers of an adapter say, without its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The largest rank of its sites.
    pub rank: usize,
    /// What it will take in memory.
    pub bytes: u64,
    /// How many linear layers it acts on.
    pub sites: usize,
    /// The base model's name, as the trainer called it.
    pub base_model: Option<String>,
}

/// Why an adapter was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file of it could not be read.
    #[error("could not read {file} of the adapter")]
    Read {
        /// Which.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its configuration asks for what is not supported.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its tensor file does not hold together.
    #[error("adapter_model.safetensors was refused")]
    Header(#[from] HeaderError),
    /// It is larger than any that is accepted.
    #[error("the adapter has {bytes} bytes; at most {ADAPTER_BYTES_MAX} are accepted")]
    Size {
        /// How large.
        bytes: u64,
    },
    /// One tensor is not what the configuration says.
    #[error("adapter tensor `{tensor}`: {why}")]
    Tensor {
        /// Which.
        tensor: String,
        /// What is wrong.
        why: String,
    },
    /// There is nothing in it.
    #[error("the adapter holds no tensors")]
    Empty,
    /// A canonical form without its configuration.
    #[error("the tensor file carries no `{CONFIG_KEY}`, so it is not an adapter in canonical form")]
    NotCanonical,
}

/// Reads only the two headers of a PEFT directory: cheap enough for ten thousand of them at start.
pub fn inspect(dir: &Path) -> Result<Summary, LoadError> {
    let (config, _, header) = open_dir(dir)?;
    let plan = plan(&config, &header)?;
    Ok(Summary {
        rank: plan.values().map(|pair| pair.a.1.shape[0]).max().unwrap_or(0),
        bytes: header.entries.values().map(|entry| entry.bytes.len() as u64).sum(),
        sites: plan.len(),
        base_model: config.base_model,
    })
}

impl Adapter {
    /// Reads a PEFT directory: `adapter_config.json` and `adapter_model.safetensors`.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        Self::load_resting(dir, &mut || ())
    }

    /// As [`Self::load`], in small parts, with `rest` between them.
    pub fn load_resting(dir: &Path, rest: Rest<'_>) -> Result<Self, LoadError> {
        let (config, mut file, header) = open_dir(dir)?;
        let numbers = numbers(&header);
        let mut buffer = Buffer::new(numbers.len());
        // The file is copied and never mapped: whoever owns the directory may change it at any time.
        for part in buffer.bytes().chunks_mut(PART_BYTES) {
            rest();
            file.read_exact(part)
                .map_err(|source| LoadError::Read { file: WEIGHTS, source })?;
        }
        build(&config, &header, buffer, numbers.start, rest)
    }

    /// Reads the canonical form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let header = Header::read(&mut &*bytes, bytes.len() as u64)?;
        let config = header.metadata.get(CONFIG_KEY).ok_or(LoadError::NotCanonical)?;
        let config = AdapterConfig::parse(config.as_bytes())?;
        let numbers = numbers(&header);
        let mut buffer = Buffer::new(numbers.len());
        buffer.bytes().copy_from_slice(&bytes[numbers.clone()]);
        build(&config, &header, buffer, numbers.start, &mut || ())
    }
}

/// Where the numbers of a file lie: without a gap behind its header.
fn numbers(header: &Header) -> Range<usize> {
    let start = header.entries.values().map(|entry| entry.bytes.start).min();
    let end = header.entries.values().map(|entry| entry.bytes.end).max();
    start.unwrap_or(0)..end.unwrap_or(0)
}

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

fn open_dir(dir: &Path) -> Result<(AdapterConfig, File, Header), LoadError> {
    let text =
        read_small(&dir.join(CONFIG), CONFIG_BYTES_MAX).map_err(|source| LoadError::Read { file: CONFIG, source })?;
    let config = AdapterConfig::parse(&text)?;
    let read = |source| LoadError::Read { file: WEIGHTS, source };
    let mut file = open(&dir.join(WEIGHTS)).map_err(read)?;
    let bytes = file.metadata().map_err(read)?.len();
    if bytes > ADAPTER_BYTES_MAX {
        return Err(LoadError::Size { bytes });
    }
    let header = Header::of_file(&mut file)?;
    Ok((config, file, header))
}

/// The two tensors of a site, with their names.
struct Pair<'a> {
    a: (&'a str, &'a Entry),
    b: (&'a str, &'a Entry),
}

fn tensor_error<T>(tensor: &str, why: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError::Tensor {
        tensor: tensor.to_owned(),
        why: why.into(),
    })
}

/// Pairs the tensors and checks every shape against the configuration.
fn plan<'a>(config: &AdapterConfig, header: &'a Header) -> Result<BTreeMap<Site, Pair<'a>>, LoadError> {
    let mut halves: BTreeMap<Site, [Option<(&str, &Entry)>; 2]> = BTreeMap::new();
    for (name, entry) in &header.entries {
        let Some((site, factor)) = of_tensor(name) else {
            return tensor_error(name, "is not a factor of a linear layer that takes adapters");
        };
        if entry.shape.len() != 2 || entry.shape.contains(&0) {
            return tensor_error(name, format!("has shape {:?} where a matrix is needed", entry.shape));
        }
        let halves = match halves.entry(site) {
            MapEntry::Occupied(there) => there.into_mut(),
            MapEntry::Vacant(_) if !config.targets(site) => {
                return tensor_error(name, "is not among `target_modules` and `layers_to_transform`");
            }
            MapEntry::Vacant(vacant) => vacant.insert([None, None]),
        };
        let half = &mut halves[usize::from(factor == Factor::B)];
        if half.replace((name, entry)).is_some() {
            return tensor_error(name, "is there twice under two names");
        }
    }
    if halves.is_empty() {
        return Err(LoadError::Empty);
    }
    halves
        .into_iter()
        .map(|(site, halves)| match halves {
            [Some(a), Some(b)] => Ok((site, Pair::check(config, site, a, b)?)),
            [Some((name, _)), None] | [None, Some((name, _))] => tensor_error(name, "lacks its other factor"),
            [None, None] => unreachable!("a site is entered with a factor"),
        })
        .collect()
}

impl<'a> Pair<'a> {
    fn check(
        config: &AdapterConfig,
        site: Site,
        a: (&'a str, &'a Entry),
        b: (&'a str, &'a Entry),
    ) -> Result<Self, LoadError> {
        let rank = config.rank(site);
        if rank > RANK_MAX || a.1.shape[0] != rank {
            return tensor_error(
                a.0,
                format!("has {} rows where the configured rank is {rank}", a.1.shape[0]),
            );
        }
        if b.1.shape[1] != rank {
            return tensor_error(
                b.0,
                format!("has {} columns where the configured rank is {rank}", b.1.shape[1]),
            );
        }
        Ok(Self { a, b })
    }

    fn of(&self, factor: Factor) -> &Entry {
        match factor {
            Factor::A => self.a.1,
            Factor::B => self.b.1,
        }
    }

    fn outline(&self, scale: f32) -> Outline {
        Outline {
            scale,
            rank: self.a.1.shape[0],
            inside: self.a.1.shape[1],
            out: self.b.1.shape[0],
            a: self.a.1.dtype,
            b: self.b.1.dtype,
        }
    }
}

/// Makes an adapter of a file's numbers, which begin at `start` of the file.
fn build(
    config: &AdapterConfig,
    header: &Header,
    mut buffer: Buffer,
    start: usize,
    rest: Rest<'_>,
) -> Result<Adapter, LoadError> {
    let plan = plan(config, header)?;
    let place = |entry: &Entry| entry.bytes.start - start..entry.bytes.end - start;
    for (name, entry) in plan.values().flat_map(|pair| [pair.a, pair.b]) {
        rest();
        if !entry.dtype.all_finite(&buffer.as_ref()[place(entry)]) {
            return tensor_error(name, "holds a number that is infinite or none");
        }
    }
    let outlines: BTreeMap<Site, Outline> = plan
        .iter()
        .map(|(site, pair)| (*site, pair.outline(config.scale(*site))))
        .collect();
    // Of the numbers as they were written, before B is turned.
    let hash = Canon::of(&outlines).hash(buffer.as_ref(), |site, factor| place(plan[&site].of(factor)), rest);
    let mut turned = Vec::new();
    for (_, entry) in plan.values().map(|pair| pair.b) {
        rest();
        let bytes = &mut buffer.bytes()[place(entry)];
        turned.clear();
        turned.extend_from_slice(bytes);
        transpose(entry.dtype, entry.shape[0], entry.shape[1], &turned, bytes);
    }
    let holder: Holder = Arc::new(buffer);
    let matrix = |entry: &Entry, rows, columns| {
        let bytes = Bytes::part(Arc::clone(&holder), place(entry));
        Matrix::part(rows, columns, entry.dtype, bytes)
    };
    let sites = plan.iter().map(|(site, Pair { a: (_, a), b: (_, b) })| {
        let low = LowRank {
            scale: outlines[site].scale,
            a: matrix(a, a.shape[0], a.shape[1]),
            b: matrix(b, b.shape[1], b.shape[0]),
        };
        (*site, low)
    });
    Ok(Adapter {
        sites: sites.collect(),
        hash,
    })
}
