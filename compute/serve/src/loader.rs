//! Opens a stored model and builds the parts of the engine that a child process was told to run.
//!
//! The model comes from a [`Store`](compute::model::Store): its files belong to us alone, were checked when they were
//! added, and are memory-mapped. [`compute::device`] finds the accelerators of the machine.

mod text_codec;

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

/// Slots for adapters. An empty slot costs a few pointers, so there are many.
const SLOTS: u32 = 4096;
/// One part in this many of the free memory may hold KV pages, if the number of pages is not configured.
const PAGES_SHARE: u64 = 4;

/// A stored model without its weights: manifest, configuration, sampling defaults.
#[derive(Clone, Debug)]
pub struct Base {
    pub hash: BlobHash,
    /// Name of the directory it was added from.
    pub label: String,
    pub(crate) stored: Stored,
    pub config: Config,
    /// Sampling defaults recommended by the model's makers.
    pub generation: Generation,
}

/// Reason why a stored model cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    #[error("{} is not a stored model; add it with `openledger model add`", dir.display())]
    NotStored { dir: PathBuf },
    #[error("the model in {} was refused", dir.display())]
    Refused {
        dir: PathBuf,
        #[source]
        source: ModelError,
    },
}

impl Base {
    /// Reads manifest and configuration of a stored model.
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

/// Makes the parts of the engine that `wanted` describes; pass it to [`crate::process::child_main`].
///
/// # Errors
///
/// If the model's files changed since they were added, the device does not exist, or the quantisation is unknown.
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
        codec: Arc::new(text),
        tiers,
        build: Box::new(move || {
            if model.unchanged().is_err() {
                // Touched or replaced: go on if the content is still the stored one.
                stored.check(&dir).map_err(|error| error_chain(&error))?;
                model = Model::map(&dir).map_err(|error| error_chain(&error))?;
            }
            let built = build(&model, place, &options, rows_max, pages_wanted)?;
            model.unchanged().map_err(|error| error_chain(&error))?;
            Ok(built)
        }),
    })
}

/// Builds a model on its device.
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

/// Parses the name of a quantisation of the base weights.
///
/// ```
/// assert!(serve::loader::quantise("int8").is_ok());
/// assert!(serve::loader::quantise("fp8").unwrap_err().contains("`int4`"));
/// ```
pub fn quantise(name: &str) -> Result<Quantise, String> {
    match name {
        "none" => Ok(Quantise::No),
        "int8" => Ok(Quantise::Int8),
        "int4" => Ok(Quantise::Int4),
        other => Err(format!(
            "quantisation `{other}` is unknown; use `none`, `int8` or `int4`"
        )),
    }
}

/// Number of KV pages: enough for all rows at full context, or what its part of the free memory holds.
fn pages(config: &Config, page_tokens: usize, wanted: &EngineSetup) -> u32 {
    let page_bytes = 2 * config.layers * config.kv_heads * config.head * page_tokens * size_of::<f32>();
    let context = config.context_tokens_max.div_ceil(page_tokens);
    let most = context.saturating_mul(wanted.limits.rows_max);
    let free = MachineInfo::probe()
        .memory
        .map_or(4 << 30, |memory| memory.available_bytes);
    let free = wanted.memory_bytes_max.map_or(free, |most| most.min(free)) / PAGES_SHARE;
    let held = free / page_bytes.max(1) as u64;
    // Never fewer than a few short texts need: if memory is short, allocation will say so.
    let pages = (most as u64).min(held).max(64);
    u32::try_from(pages).unwrap_or(u32::MAX)
}
