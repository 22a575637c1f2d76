//! A model on an NVIDIA GPU: the division of its memory.

use cube::cuda::Cuda;

use super::{Gpu, GpuOptions, weights};
use crate::{
    decoder::Decoder,
    model::{Config, Model, ModelError},
};

/// Percentage of the memory left by the weights for keys and values; the rest is for adapters and activations.
const PAGES_PERCENT: u64 = 70;
/// Percentage of the memory left by the weights for adapters.
const ADAPTERS_PERCENT: u64 = 15;

/// The needs of a service.
#[derive(Clone, Copy, Debug)]
pub struct CudaOptions {
    /// Number of pages; `None` for as many as are useful and fit.
    pub pages: Option<u32>,
    /// Number of slots for adapters.
    pub slots: u32,
    /// Most sequences in one step.
    pub rows_max: usize,
}

/// Divides `bytes` of memory, which comes in pieces of at most `piece_bytes`. Fails if the weights leave less than 5
/// %.
fn options(
    config: &Config,
    weights: u64,
    bytes: u64,
    piece_bytes: u64,
    wanted: &CudaOptions,
) -> Result<GpuOptions, String> {
    let defaults = GpuOptions::default();
    let free = bytes.saturating_sub(weights);
    if free < bytes / 20 {
        return Err(format!(
            "the weights take {weights} bytes and the GPU has {bytes}; serve it with `--device cpu`, or a smaller model"
        ));
    }
    // Counted as if pages were singles, so that they fit whatever their type is.
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

/// Returns the bytes that the weights take on a GPU.
fn weight_bytes(model: &Model) -> Result<u64, ModelError> {
    let config = model.config();
    let numbers: usize = config
        .tensors()
        .values()
        .map(|shape| shape.iter().product::<usize>())
        .sum();
    Ok((numbers * weights::common_element(model.tensors(), config)?.bytes()) as u64)
}

impl Model {
    /// Puts the model on the CUDA device of this number and compiles all kernels.
    pub fn on_cuda(&self, index: usize, wanted: &CudaOptions) -> Result<Decoder<Gpu<Cuda>>, String> {
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
        let wanted = CudaOptions {
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
