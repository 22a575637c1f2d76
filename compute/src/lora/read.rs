//! Adapters from directories and from their canonical form, refused with the field or tensor that is wrong.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{
    Adapter, AdapterConfig, ConfigError, LowRank, RANK_MAX, Site,
    site::{Factor, of_tensor},
};
use crate::tensors::{Entry, Header, HeaderError, Matrix, open, read_small};

/// More than an adapter of rank 256 for a model of 70 billion weights takes.
const ADAPTER_BYTES_MAX: u64 = 4 << 30;

const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The key under which the canonical form keeps its configuration.
pub(super) const CONFIG_KEY: &str = "adapter_config";

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
        let (config, mut file, header) = open_dir(dir)?;
        let length = header.entries.values().map(|entry| entry.bytes.end).max().unwrap_or(0);
        let start = header
            .entries
            .values()
            .map(|entry| entry.bytes.start)
            .min()
            .unwrap_or(0);
        let mut bytes = vec![0; length - start];
        // The file is copied and never mapped: whoever owns the directory may change it at any time.
        file.read_exact(&mut bytes)
            .map_err(|source| LoadError::Read { file: WEIGHTS, source })?;
        build(&config, &header, &bytes, start)
    }

    /// Reads the canonical form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let header = Header::read(&mut &*bytes, bytes.len() as u64)?;
        let config = header.metadata.get(CONFIG_KEY).ok_or(LoadError::NotCanonical)?;
        build(&AdapterConfig::parse(config.as_bytes())?, &header, bytes, 0)
    }
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
        if !config.targets(site) {
            return tensor_error(name, "is not among `target_modules` and `layers_to_transform`");
        }
        if entry.shape.len() != 2 || entry.shape.contains(&0) {
            return tensor_error(name, format!("has shape {:?} where a matrix is needed", entry.shape));
        }
        let half = &mut halves.entry(site).or_default()[usize::from(factor == Factor::B)];
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
}

fn build(config: &AdapterConfig, header: &Header, bytes: &[u8], start: usize) -> Result<Adapter, LoadError> {
    let matrix = |(name, entry): (&str, &Entry)| {
        let bytes = &bytes[entry.bytes.start - start..entry.bytes.end - start];
        if entry.dtype.all_finite(bytes) {
            Ok(Matrix::new(entry.shape[0], entry.shape[1], entry.dtype, bytes.into()))
        } else {
            tensor_error(name, "holds a number that is infinite or none")
        }
    };
    let mut sites = BTreeMap::new();
    for (site, pair) in plan(config, header)? {
        let low = LowRank {
            scale: config.scale(site),
            a: matrix(pair.a)?,
            b: matrix(pair.b)?.transposed(),
        };
        sites.insert(site, low);
    }
    Ok(Adapter::new(sites))
}
