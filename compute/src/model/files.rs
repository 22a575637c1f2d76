//! The tensor files of a model's folder: one file, or several with an index, opened and checked before anything is
//! computed.

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

/// The way tensor files come into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Copied, and checked for infinite numbers and NaN: others may write the folder.
    Read,
    /// Mapped: the folder is the private store's, and was checked when the model was added.
    Map,
}

/// Refusal of a model's folder.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("could not read {file} of the model")]
    Read {
        file: String,
        #[source]
        source: io::Error,
    },
    /// A mapped file is no longer the one that was opened.
    #[error("{} was changed while the model was in use", file.display())]
    Changed { file: PathBuf },
    /// `config.json` asks for something that is not supported.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The header of a tensor file is malformed.
    #[error("{file} was refused")]
    Header {
        file: String,
        #[source]
        source: HeaderError,
    },
    /// `model.safetensors.index.json` is malformed or contradicts the files.
    #[error("model.safetensors.index.json: {0}")]
    Index(String),
    /// A tensor is missing, of another shape, or holds a number that is infinite or NaN.
    #[error("tensor `{tensor}`: {why}")]
    Tensor { tensor: String, why: String },
    /// The tokenizer is malformed, or made for another model.
    #[error("tokenizer.json {0}")]
    Tokenizer(String),
    /// The chat template is malformed.
    #[error("the chat template {0}")]
    Template(String),
    /// A sampling default is out of range.
    #[error("generation_config.json: `{field}` {why}")]
    Generation { field: String, why: String },
}

/// Type, shape and bytes of a tensor.
pub(crate) type Tensor = (Dtype, Vec<usize>, Bytes);

/// The tensors of a model by name.
pub(crate) struct Tensors {
    tensors: BTreeMap<String, Tensor>,
    /// The mapped files, empty where they were read. Users of the tensors ask them afterwards if they changed.
    mapped: Vec<Arc<Mapped>>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads `config.json` of a model's folder.
pub fn read_config(dir: &Path) -> Result<Config, ModelError> {
    let text = read_small(&dir.join("config.json"), CONFIG_BYTES_MAX).map_err(|source| ModelError::Read {
        file: "config.json".to_owned(),
        source,
    })?;
    Ok(Config::parse(&text)?)
}

/// The tensor file of each tensor.
pub(crate) type Placement = BTreeMap<String, String>;

/// Returns the names of the tensor files of a folder, and the index if there is one. Names that leave the folder are
/// refused.
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
    /// Makes tensors of memory.
    pub(crate) fn of(tensors: BTreeMap<String, Tensor>) -> Self {
        Self {
            tensors,
            mapped: Vec::new(),
        }
    }

    /// Returns the mapped files, empty where they were read.
    pub(crate) fn mapped(&self) -> &[Arc<Mapped>] {
        &self.mapped
    }

    /// Returns the path of a file that changed since it was mapped.
    pub(crate) fn changed(&self) -> Option<PathBuf> {
        let changed = self.mapped.iter().find(|file| file.changed())?;
        Some(changed.path().to_owned())
    }

    /// Iterates over the tensors by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.tensors.iter()
    }

    /// Reads or maps all tensor files of a folder.
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

    /// Fails if a number is infinite or NaN.
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

    /// Returns a matrix. Fails if it is missing or of another shape.
    pub(crate) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Weight, ModelError> {
        let (dtype, bytes) = self.get(name, &[rows, columns])?;
        Ok(Weight::stored(&Matrix::part(rows, columns, dtype, bytes)))
    }

    /// Returns a vector as singles. Fails if it is missing or of another length.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let (dtype, bytes) = self.get(name, &[length])?;
        let mut numbers = Vec::with_capacity(length);
        dtype.read(bytes.get(), &mut numbers);
        Ok(numbers)
    }

    /// Returns the numbers of a tensor as singles. Fails if it is missing or of another shape.
    pub(crate) fn singles(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (dtype, bytes) = self.get(name, shape)?;
        let mut numbers = Vec::with_capacity(shape.iter().product());
        dtype.read(bytes.get(), &mut numbers);
        Ok(numbers)
    }

    /// True if there is a tensor of that name.
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

/// Header and bytes of a tensor file, and its map if it is mapped.
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
