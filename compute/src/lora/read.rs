//! Reads adapters from PEFT folders and from their canonical form. Errors name the field or tensor that is wrong.

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

/// Largest weights file that is accepted: more than rank 256 takes for a model of 70 billion weights.
const ADAPTER_BYTES_MAX: u64 = 4 << 30;

const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The size of an adapter as its headers give it, without its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Largest rank of all sites.
    pub rank: usize,
    /// Bytes of all factors.
    pub bytes: u64,
    /// Number of linear layers that it acts on.
    pub sites: usize,
    /// Name of the base model as the trainer wrote it.
    pub base_model: Option<String>,
}

/// Refusal of an adapter.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("could not read {file} of the adapter")]
    Read {
        file: &'static str,
        #[source]
        source: io::Error,
    },
    /// The configuration is malformed or not supported.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The header of the tensor file is malformed.
    #[error("adapter_model.safetensors was refused")]
    Header(#[from] HeaderError),
    /// The tensor file is larger than is accepted.
    #[error("the adapter has {bytes} bytes; at most {ADAPTER_BYTES_MAX} are accepted")]
    Size { bytes: u64 },
    /// A tensor contradicts the configuration, or holds an infinite number or NaN.
    #[error("adapter tensor `{tensor}`: {why}")]
    Tensor { tensor: String, why: String },
    /// The file has no tensors.
    #[error("the adapter holds no tensors")]
    Empty,
    /// The bytes have no configuration in their header, so they are not the canonical form.
    #[error("the tensor file carries no `{CONFIG_KEY}`, so it is not an adapter in canonical form")]
    NotCanonical,
}

/// Reads the two headers of a PEFT folder: fast enough for ten thousand of them at start.
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
    /// Reads a PEFT folder: `adapter_config.json` and `adapter_model.safetensors`.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        Self::load_resting(dir, &mut || ())
    }

    /// Like [`Self::load`], calling `rest` before each part of the work.
    pub fn load_resting(dir: &Path, rest: Rest<'_>) -> Result<Self, LoadError> {
        let (config, mut file, header) = open_dir(dir)?;
        let numbers = numbers(&header);
        let mut buffer = Buffer::new(numbers.len());
        // Copied and never mapped: the owner of the folder may change the file at any time.
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

/// Returns the range of the numbers, which the header check left without gaps.
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

/// The two tensors of a site by name.
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

/// Pairs the tensors by site and checks every shape against the configuration.
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

/// Makes an adapter from the numbers in `buffer`, which begin at byte `start` of the file.
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
    // Hashed as written, before B is transposed.
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
