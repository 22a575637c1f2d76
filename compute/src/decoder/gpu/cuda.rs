//! A model on an NVIDIA GPU: what goes where in its memory.

use cube::cuda::Cuda;

use super::{Gpu, GpuOptions, weights};
use crate::{
    decoder::Decoder,
    model::{Config, Model, ModelError},
};

/// Part of the memory beside weights that keys and values may take, the rest being for adapters and activations.
const PAGES_PERCENT: u64 = 70;
/// Part of it that adapters may take.
const ADAPTERS_PERCENT: u64 = 15;

/// What a service wants of a GPU.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Pages, or as many as the memory holds.
    pub pages: Option<u32>,
    /// Slots for adapters.
    pub slots: u32,
    /// Texts that run at once.
    pub rows_max: usize,
}

/// How the memory is parted: `bytes` of it, in pieces of at most `piece_bytes`.
fn options(config: &Config, weights: u64, bytes: u64, piece_bytes: u64, wanted: &Wanted) -> Result<GpuOptions, String> {
    let defaults = GpuOptions::default();
    let free = bytes.saturating_sub(weights);
    if free < bytes / 20 {
        return Err(format!(
            "the weights take {weights} bytes and the GPU has {bytes}; serve it with `--device cpu`, or a smaller model"
        ));
    }
    // As if pages were singles: never more than there is, whatever they are kept as.
    let layer_page = (config.kv_heads * config.head * defaults.page_tokens * size_of::<f32>()) as u64;
    let page = 2 * config.layers as u64 * layer_page;
    let most = (config.context_tokens_max.div_ceil(defaults.page_tokens) as u64).saturating_mul(wanted.rows_max as u64);
    let held = (free / 100 * PAGES_PERCENT / page).min(piece_bytes / layer_page);
    let pages = wanted.pages.map_or(most.min(held).max(64), u64::from);
    Ok(GpuOptions {
        pages: u32::try_from(pages).unwrap_or(u32::MAX),
        slots: wanted.slots,
        adapter_bytes: (free / 100 * ADAPTERS_PERCENT).min(piece_bytes),
        ..defaults
    })
}

/// What a model's weights take in a GPU's memory.
fn weight_bytes(model: &Model) -> Result<u64, ModelError> {
    let config = model.config();
    let numbers: usize = config
        .tensors()
        .values()
        .map(|shape| shape.iter().product::<usize>())
        .sum();
    Ok((numbers * weights::common(model.tensors(), config)?.bytes()) as u64)
}

impl Model {
    /// Puts it on a GPU by its number, warm.
    pub fn on_cuda(&self, index: usize, wanted: &Wanted) -> Result<Decoder<Gpu<Cuda>>, String> {
        let cuda = Cuda::open(index).map_err(|error| error.to_string())?;
        let weights = weight_bytes(self).map_err(|error| error.to_string())?;
        let options = options(self.config(), weights, cuda.bytes(), cuda.piece_bytes_max(), wanted)?;
        let mut decoder = self.on_gpu(cuda, options).map_err(|error| error.to_string())?;
        decoder.warm().map_err(|error| error.to_string())?;
        Ok(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_parted_and_never_promised_twice() {
        let (config, gib) = (Config::qwen_half_billion(), 1u64 << 30);
        let wanted = Wanted {
            pages: None,
            slots: 8,
            rows_max: 64,
        };
        let options = options(&config, gib, 24 * gib, 6 * gib, &wanted).unwrap();
        let page = 2 * (config.layers * config.kv_heads * config.head * options.page_tokens * 4) as u64;
        assert!(u64::from(options.pages) * page + options.adapter_bytes + gib <= 24 * gib);
        assert!(options.pages > 1000 && options.adapter_bytes > gib);
        let error = super::options(&config, 24 * gib, 24 * gib, 6 * gib, &wanted).unwrap_err();
        assert!(error.contains("--device cpu"), "{error}");
    }
}
