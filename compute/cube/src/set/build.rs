//! From a variant to the kernel that CubeCL compiles.

use std::sync::Arc;

use cubecl::{
    ir::{AddressType, DeviceProperties},
    prelude::*,
};
use half::{bf16, f16};

use super::{Element, Kernel};
use crate::kernels::{linear, lora, paged_attention, rows};

/// The device that kernels are built for.
#[derive(Clone)]
pub struct Environment {
    /// Capabilities of the device.
    pub device: Arc<DeviceProperties>,
    /// Layout of the operands of its tensor cores.
    pub target: Arc<TargetProperties>,
}

pub(super) fn buffer() -> BufferCompilationArg {
    BufferCompilationArg { inplace: None }
}

/// Builds a kernel: its buffers and scalars by their names in the kernel, then its compile-time parameters.
///
/// `kernel!(on, Loss, [logits losses], [width], 64)` is
/// `Loss::new(settings, device, target, buffer(), buffer(), (), 64)`.
macro_rules! kernel {
    (@buffer $name:ident) => { buffer() };
    (@scalar $name:ident) => { () };
    ($on:ident, $kernel:ty, [$($buffer:ident)*], [$($scalar:ident)*] $(, $fixed:expr)*) => {
        <$kernel>::new(
            $on.0,
            $on.1.device.clone(),
            $on.1.target.clone(),
            $(kernel!(@buffer $buffer),)*
            $(kernel!(@scalar $scalar),)*
            $($fixed),*
        )
    };
}
pub(super) use kernel;

macro_rules! of_element {
    ($element:expr, $name:ident => $build:expr) => {
        match $element {
            Element::F32 => {
                type $name = f32;
                Box::new($build)
            }
            Element::F16 => {
                type $name = f16;
                Box::new($build)
            }
            Element::BF16 => {
                type $name = bf16;
                Box::new($build)
            }
        }
    };
}
pub(super) use of_element;

impl Kernel {
    /// Builds the kernel for a device.
    pub fn build(self, environment: &Environment) -> Box<dyn CubeKernel> {
        let settings = KernelSettings::new(*self.threads(), ExecutionMode::Unchecked, AddressType::U32);
        let on = (settings, environment);
        match self {
            Self::Embed(element) => of_element!(element, W =>
                kernel!(on, rows::embed::Embed<W>, [table tokens y], [width])),
            Self::GatherRows => Box::new(kernel!(on, rows::gather_rows::GatherRows, [x wanted y], [width])),
            Self::Norm => Box::new(kernel!(on, rows::norm::Norm, [x gain y], [width epsilon])),
            Self::Swiglu => Box::new(kernel!(on, rows::swiglu::Swiglu, [x y], [width])),
            Self::Gemv { weight, vector, tile } => of_element!(weight, W =>
                kernel!(on, linear::gemv::Gemv<W>, [w x bias y],
                    [vectors outs rows mode], vector, tile, Self::gemv_outs(tile))),
            Self::Gemm { weight, fragments } => of_element!(weight, W =>
                kernel!(on, linear::gemm::Gemm<W>, [w x parts],
                    [vectors outs rows part_vectors], weight.vector(), fragments, false)),
            Self::SumParts => {
                Box::new(kernel!(on, linear::sum_parts::SumParts, [parts bias y], [outs wide tall count mode]))
            }
            Self::Shrink { pool, vector, tile } => of_element!(pool, W =>
                kernel!(on, lora::shrink::Shrink<W>, [x pool factors tile_rows tile_mix mix h],
                    [vectors layer_site slot_sites most rank_max], vector, tile)),
            Self::Expand { pool, vector, tile } => of_element!(pool, W =>
                kernel!(on, lora::expand::Expand<W>, [h pool factors scales tile_rows tile_mix mix weights columns y],
                    [stride layer_site slot_sites most rank_max], vector, tile)),
            Self::WriteKv { pages, width, normed } => of_element!(pages, E =>
                kernel!(on, paged_attention::write_kv::WriteKv<E>, [qkv gains cos sin kv_slots keys values],
                    [heads kv_heads page_tokens epsilon], width, normed)),
            Self::CopyPage(element) => of_element!(element, E =>
                kernel!(on, paged_attention::copy_page::CopyPage<E>, [pool], [from to singles head_singles])),
            Self::PagedAttention {
                pages,
                vector,
                width,
                queries,
            } => of_element!(pages, E =>
                kernel!(on, paged_attention::paged_attention::PagedAttention<E>, [qkv keys values tiles pages out parts],
                    [heads kv_heads page_tokens part_tokens], vector, width, queries)),
            Self::Combine => {
                Box::new(kernel!(on, paged_attention::combine::Combine, [parts which out], [count width heads]))
            }
            Self::Training(kernel) => kernel.build(on.0, on.1),
        }
    }
}
