//! The weights of a model directory: one tensor file or several with an index, checked against the configuration before
//! anything is computed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use super::{Config, ConfigError, mapped::Mapped};
use crate::{
    kernel::weight::Weight,
    tensors::{Bytes, Dtype, Entry, Header, HeaderError, Holder, Matrix, open, read_small},
};

const CONFIG_BYTES_MAX: u64 = 1 << 20;
const INDEX_BYTES_MAX: u64 = 16 << 20;
const SHARDS_MAX: usize = 1024;

/// How weights come into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Copied and checked for numbers that are none: the directory is somebody else's.
    Read,
    /// Mapped: the directory is ours alone, and was checked when it was filled.
    Map,
}

/// Why a model was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read.
    #[error("could not read {file} of the model")]
    Read {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is no longer what was mapped.
    #[error("{} was changed while the model was in use", file.display())]
    Changed {
        /// Which.
        file: PathBuf,
    },
    /// The configuration asks for what is not supported.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tensor file does not hold together.
    #[error("{file} was refused")]
    Header {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: HeaderError,
    },
    /// The index of the shards is wrong.
    #[error("model.safetensors.index.json: {0}")]
    Index(String),
    /// A tensor is missing, of another shape, or holds a number that is none.
    #[error("tensor `{tensor}`: {why}")]
    Tensor {
        /// Which.
        tensor: String,
        /// What is wrong.
        why: String,
    },
    /// The tokenizer is not the model's.
    #[error("tokenizer.json {0}")]
    Tokenizer(String),
    /// The chat template does not parse.
    #[error("the chat template {0}")]
    Template(String),
    /// The defaults of sampling are wrong.
    #[error("generation_config.json: `{field}` {why}")]
    Generation {
        /// Which.
        field: String,
        /// What is wrong.
        why: String,
    },
}

/// A tensor: how its numbers are written, its extents, and where it lies.
pub(crate) type Tensor = (Dtype, Vec<usize>, Bytes);

/// Weights by name.
pub(crate) struct Tensors {
    tensors: BTreeMap<String, Tensor>,
    /// The files, where they are mapped.
    mapped: Vec<Arc<Mapped>>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads the shape of the model in a directory.
pub fn read_config(dir: &Path) -> Result<Config, ModelError> {
    let text = read_small(&dir.join("config.json"), CONFIG_BYTES_MAX).map_err(|source| ModelError::Read {
        file: "config.json".to_owned(),
        source,
    })?;
    Ok(Config::parse(&text)?)
}

/// Which file each tensor is in.
pub(crate) type Placement = BTreeMap<String, String>;

/// The names of the tensor files of a directory, and which tensor the index puts where, if there is one.
pub(crate) fn shards(dir: &Path) -> Result<(Vec<String>, Option<Placement>), ModelError> {
    const INDEX: &str = "model.safetensors.index.json";
    const SINGLE: &str = "model.safetensors";
    if dir.join(SINGLE).symlink_metadata().is_ok() || dir.join(INDEX).symlink_metadata().is_err() {
        return Ok((vec![SINGLE.to_owned()], None));
    }
    let text = read_small(&dir.join(INDEX), INDEX_BYTES_MAX).map_err(|source| ModelError::Read {
        file: INDEX.to_owned(),
        source,
    })?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| ModelError::Index(error.to_string()))?;
    let files: BTreeSet<String> = index.weight_map.values().cloned().collect();
    if files.is_empty() || files.len() > SHARDS_MAX {
        return Err(ModelError::Index(format!(
            "names {} files; 1 to {SHARDS_MAX} are accepted",
            files.len()
        )));
    }
    for file in &files {
        let plain = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !plain || !file.ends_with(".safetensors") || file.starts_with('.') {
            return Err(ModelError::Index(format!(
                "`{file}` is no name of a tensor file in this directory"
            )));
        }
    }
    Ok((files.into_iter().collect(), Some(index.weight_map)))
}

impl Tensors {
    /// Tensors that are in memory.
    pub(crate) fn of(tensors: BTreeMap<String, Tensor>) -> Self {
        Self {
            tensors,
            mapped: Vec::new(),
        }
    }

    /// The files, where they are mapped: whoever reads them asks them afterwards whether they changed.
    pub(crate) fn mapped(&self) -> &[Arc<Mapped>] {
        &self.mapped
    }

    /// A file that is no longer what was mapped.
    pub(crate) fn changed(&self) -> Option<PathBuf> {
        let changed = self.mapped.iter().find(|file| file.changed())?;
        Some(changed.path().to_owned())
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.tensors.iter()
    }

    /// Reads or maps all tensor files of a directory.
    pub(crate) fn open(dir: &Path, access: Access) -> Result<Self, ModelError> {
        let (files, index) = shards(dir)?;
        let (mut tensors, mut mapped) = (BTreeMap::new(), Vec::new());
        for name in files {
            let (header, holder, map) = open_shard(dir, &name, access)?;
            mapped.extend(map);
            for (tensor, Entry { dtype, shape, bytes }) in header.entries {
                if index.as_ref().is_some_and(|index| index.get(&tensor) != Some(&name)) {
                    return Err(ModelError::Index(format!(
                        "does not put `{tensor}` into {name}, where it is"
                    )));
                }
                let bytes = Bytes::part(Arc::clone(&holder), bytes);
                tensors.insert(tensor, (dtype, shape, bytes));
            }
        }
        if let Some(missing) = index
            .iter()
            .flat_map(|index| index.keys())
            .find(|name| !tensors.contains_key(*name))
        {
            return Err(ModelError::Index(format!(
                "names `{missing}`, which is in none of the files"
            )));
        }
        let tensors = Self { tensors, mapped };
        if access == Access::Read {
            tensors.check_finite()?;
        }
        Ok(tensors)
    }

    /// Refuses numbers that are infinite or none.
    pub(crate) fn check_finite(&self) -> Result<(), ModelError> {
        match self
            .tensors
            .iter()
            .find(|(_, (dtype, _, bytes))| !dtype.all_finite(bytes.get()))
        {
            None => Ok(()),
            Some((name, _)) => refuse(name, "holds a number that is infinite or none"),
        }
    }

    /// A matrix of that name and shape.
    pub(crate) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Weight, ModelError> {
        let (dtype, bytes) = self.get(name, &[rows, columns])?;
        Ok(Weight::stored(&Matrix::part(rows, columns, dtype, bytes)))
    }

    /// A vector of that name and length, as singles.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let (dtype, bytes) = self.get(name, &[length])?;
        let mut numbers = Vec::with_capacity(length);
        dtype.read(bytes.get(), &mut numbers);
        Ok(numbers)
    }

    /// The numbers of a tensor of that name and shape.
    pub(crate) fn singles(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (dtype, bytes) = self.get(name, shape)?;
        let mut numbers = Vec::with_capacity(shape.iter().product());
        dtype.read(bytes.get(), &mut numbers);
        Ok(numbers)
    }

    /// Whether there is such a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn get(&self, name: &str, wanted: &[usize]) -> Result<(Dtype, Bytes), ModelError> {
        match self.tensors.get(name) {
            None => refuse(name, "is missing"),
            Some((_, shape, _)) if shape != wanted => refuse(
                name,
                format!("has shape {shape:?} where config.json asks for {wanted:?}"),
            ),
            Some((dtype, _, bytes)) => Ok((*dtype, bytes.clone())),
        }
    }
}

fn refuse<T>(tensor: &str, why: impl Into<String>) -> Result<T, ModelError> {
    Err(ModelError::Tensor {
        tensor: tensor.to_owned(),
        why: why.into(),
    })
}

/// A file's header and bytes, and its map if it has one.
type Shard = (Header, Holder, Option<Arc<Mapped>>);

fn open_shard(dir: &Path, name: &str, access: Access) -> Result<Shard, ModelError> {
    let read = |source| ModelError::Read {
        file: name.to_owned(),
        source,
    };
    let path = dir.join(name);
    let mut file = open(&path).map_err(read)?;
    let header = Header::of_file(&mut file).map_err(|source| ModelError::Header {
        file: name.to_owned(),
        source,
    })?;
    let (holder, map): (Holder, _) = match access {
        Access::Map => {
            let map = Arc::new(Mapped::new(file, &path).map_err(read)?);
            (Arc::clone(&map) as Holder, Some(map))
        }
        Access::Read => {
            let end = header.entries.values().map(|entry| entry.bytes.end).max().unwrap_or(0);
            let mut bytes = vec![0; end];
            file.seek(SeekFrom::Start(0)).map_err(read)?;
            file.read_exact(&mut bytes).map_err(read)?;
            (Arc::new(bytes), None)
        }
    };
    let whole = header
        .entries
        .values()
        .all(|entry| entry.bytes.end <= (*holder).as_ref().len());
    if whole {
        Ok((header, holder, map))
    } else {
        Err(read(io::Error::other("shrank while it was read")))
    }
}
