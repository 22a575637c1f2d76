//! An engine of a stored model: what a child process is told to be, made real.
//!
//! The model is one of [`Store`](compute::model::Store): its files are ours alone, were checked when they came, and are
//! mapped. Which devices there are besides the processor is looked for in [`compute::device`].

mod words;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{BlobHash, error_chain};

#[cfg(feature = "cuda")]
use compute::decoder::CudaOptions;
use compute::{
    decoder::CpuOptions,
    device::Device,
    forward::Forward,
    kernel::Quantise,
    machine::MachineInfo,
    model::{Config, Generation, Model, ModelError, Stored, Text, read_config},
};

use crate::{engine::Setup, process::EngineSetup, tier::Tiers};

/// Slots there are for adapters: one is a few pointers until an adapter sits in it.
const SLOTS: u32 = 4096;
/// Of the memory that is free, this part may hold keys and values if nobody says how many pages there are.
const PAGES_SHARE: u64 = 4;

/// What is known of a stored model without its weights.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its content.
    pub hash: BlobHash,
    /// What its directory was called when it was added.
    pub label: String,
    /// Its files.
    pub(crate) stored: Stored,
    /// Its shape.
    pub config: Config,
    /// How its makers would sample it.
    pub generation: Generation,
}

/// Why a stored model cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// It is not one of the store.
    #[error("{} is no stored model; add it with `openledger model add`", dir.display())]
    NotStored {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// It was refused.
    #[error("the model in {} was refused", dir.display())]
    Refused {
        /// Where it is.
        dir: PathBuf,
        /// Why.
        #[source]
        source: ModelError,
    },
}

impl Base {
    /// Looks at a stored model by its directory.
    pub fn read(dir: &Path) -> Result<Self, BaseError> {
        let stored: Option<Stored> = fs::read(dir.join("manifest.json"))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let stored = stored.ok_or_else(|| BaseError::NotStored { dir: dir.to_owned() })?;
        let looked = read_config(dir).and_then(|config| Ok((Generation::load(dir, &config)?, config)));
        let (generation, config) = looked.map_err(|source| BaseError::Refused {
            dir: dir.to_owned(),
            source,
        })?;
        Ok(Self {
            hash: stored.hash,
            label: stored.label.clone(),
            stored,
            config,
            generation,
        })
    }
}

/// The parts of the engine that a child was told to be: what [`crate::process::child_main`] asks for.
pub fn parts(wanted: &EngineSetup, tiers: Arc<Tiers>) -> Result<Setup, String> {
    let place = Device::named(&wanted.device).map_err(|error| error.to_string())?;
    let quantise = quantise(&wanted.quantise)?;
    let dir = Path::new(&wanted.model);
    let base = Base::read(dir).map_err(|error| error_chain(&error))?;
    base.stored.check_if_touched(dir).map_err(|error| error_chain(&error))?;
    let mut model = Model::map(dir).map_err(|error| error_chain(&error))?;
    let text = Text::load(dir, model.config()).map_err(|error| error_chain(&error))?;
    let defaults = CpuOptions::default();
    let (rows_max, pages_wanted) = (wanted.limits.rows_max, wanted.pages);
    let (stored, dir) = (base.stored.clone(), dir.to_owned());
    let options = CpuOptions {
        threads: match wanted.threads {
            0 => defaults.threads,
            threads => threads,
        },
        quantise,
        pages: wanted
            .pages
            .unwrap_or_else(|| pages(&base.config, defaults.page_tokens, wanted)),
        slots: SLOTS,
        ..defaults
    };
    Ok(Setup {
        limits: wanted.limits,
        base: base.hash.0,
        ends: base.generation.end_tokens,
        words: Arc::new(text),
        tiers,
        build: Box::new(move || {
            if model.unchanged().is_err() {
                // Perhaps it is what it was again, or was only touched.
                stored.check(&dir).map_err(|error| error_chain(&error))?;
                model = Model::map(&dir).map_err(|error| error_chain(&error))?;
            }
            let built = build(&model, place, &options, rows_max, pages_wanted)?;
            model.unchanged().map_err(|error| error_chain(&error))?;
            Ok(built)
        }),
    })
}

/// A model on its device.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables, reason = "they are a GPU's"))]
fn build(
    model: &Model,
    place: Device,
    options: &CpuOptions,
    rows_max: usize,
    pages: Option<u32>,
) -> Result<Box<dyn Forward>, String> {
    match place {
        Device::Cpu => {
            let decoder = model.on_cpu(*options).map_err(|error| error_chain(&error))?;
            Ok(Box::new(decoder))
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => {
            if options.quantise != Quantise::No {
                return Err(
                    "a GPU keeps weights as they are stored; leave out --quantize, or use `--device cpu`".to_owned(),
                );
            }
            let wanted = CudaOptions {
                pages,
                slots: options.slots,
                rows_max,
            };
            Ok(Box::new(model.on_cuda(index, &wanted)?))
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => unreachable!("no CUDA device is found without support for it"),
    }
}

/// How a base is kept, by its name.
pub fn quantise(name: &str) -> Result<Quantise, String> {
    match name {
        "none" => Ok(Quantise::No),
        "int8" => Ok(Quantise::Int8),
        "int4" => Ok(Quantise::Int4),
        other => Err(format!(
            "there is no way to keep weights called `{other}`; `none`, `int8` and `int4` are accepted"
        )),
    }
}

/// As many pages as all rows fill with the longest texts, or as a part of the free memory holds.
fn pages(config: &Config, page_tokens: usize, wanted: &EngineSetup) -> u32 {
    let page_bytes = 2 * config.layers * config.kv_heads * config.head * page_tokens * size_of::<f32>();
    let context = config.context_tokens_max.div_ceil(page_tokens);
    let most = context.saturating_mul(wanted.limits.rows_max);
    let free = MachineInfo::probe()
        .memory
        .map_or(4 << 30, |memory| memory.available_bytes);
    let free = wanted.memory_bytes_max.map_or(free, |most| most.min(free)) / PAGES_SHARE;
    let held = free / page_bytes.max(1) as u64;
    // Never less than a few short texts: what is not there is told when it is wanted.
    let pages = (most as u64).min(held).max(64);
    u32::try_from(pages).unwrap_or(u32::MAX)
}
