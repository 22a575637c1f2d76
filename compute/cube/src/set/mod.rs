//! The set of kernels: every variant that is ever launched has a value, and every value can be listed.

mod build;
mod name;
mod training;

pub use build::Environment;
use cubecl::prelude::*;
pub use training::TrainingKernel;

use crate::kernels::{linear, lora, rows, tile};

/// How a number lies in a machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of a single.
    BF16,
}

impl Element {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Numbers in sixteen bytes: the widest load.
    pub fn vector(self) -> usize {
        16 / self.bytes()
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        }
    }
}

/// A kernel, in one of its variants. `vector` is how many numbers are loaded at once: those of sixteen bytes, or one
/// where a width is no multiple of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kernel {
    /// Rows of the embedding.
    Embed(Element),
    /// Some rows of many.
    GatherRows,
    /// Root mean square norm.
    Norm,
    /// The gated activation.
    Swiglu,
    /// A linear layer for tiles of so many rows.
    Gemv {
        weight: Element,
        vector: usize,
        tile: usize,
    },
    /// A linear layer on tensor cores, for tiles of `16 · fragments` rows.
    Gemm { weight: Element, fragments: usize },
    /// What sums the parts of the former.
    SumParts,
    /// The first factor of adapters, for tiles of so many rows.
    Shrink { pool: Element, vector: usize, tile: usize },
    /// The second factor.
    Expand { pool: Element, vector: usize, tile: usize },
    /// Keys and values into their pages.
    WriteKv { pages: Element, width: usize, normed: bool },
    /// A page into another.
    CopyPage(Element),
    /// Attention for tiles of so many queries.
    PagedAttention {
        pages: Element,
        vector: usize,
        width: usize,
        queries: usize,
    },
    /// What puts parts of attention together.
    Combine,
    /// What learning needs beside these.
    Training(TrainingKernel),
}

/// Rows of a tile of [`Kernel::Gemv`], ascending.
pub const GEMV_TILES: [usize; 4] = [1, 2, 4, 8];
/// Fragments of [`Kernel::Gemm`], ascending.
pub const GEMM_FRAGMENTS: [usize; 3] = [1, 2, 4];
/// Rows of a tile of adapters, ascending.
pub const LORA_TILES: [usize; 2] = [1, 8];
/// Queries of a tile of attention, ascending.
pub const ATTENTION_QUERIES: [usize; 4] = [1, 4, 8, 16];
/// Widths of heads in models that are about; others work too and are compiled where they are met.
pub const WIDTHS: [usize; 3] = [64, 96, 128];

impl Kernel {
    /// Every variant that an engine launches for models with heads of these widths.
    pub fn every(widths: &[usize]) -> Vec<Self> {
        let mut all = vec![
            Self::GatherRows,
            Self::Norm,
            Self::Swiglu,
            Self::SumParts,
            Self::Combine,
        ];
        for element in Element::ALL {
            all.extend([Self::Embed(element), Self::CopyPage(element)]);
            let fragments = GEMM_FRAGMENTS.into_iter().filter(|_| element != Element::F32);
            all.extend(fragments.map(|fragments| Self::Gemm {
                weight: element,
                fragments,
            }));
            for vector in [1, element.vector()] {
                all.extend(GEMV_TILES.map(|tile| Self::Gemv {
                    weight: element,
                    vector,
                    tile,
                }));
                all.extend(LORA_TILES.map(|tile| Self::Shrink {
                    pool: element,
                    vector,
                    tile,
                }));
                all.extend(LORA_TILES.map(|tile| Self::Expand {
                    pool: element,
                    vector,
                    tile,
                }));
            }
            for width in widths.iter().copied() {
                all.extend([false, true].map(|normed| Self::WriteKv {
                    pages: element,
                    width,
                    normed,
                }));
                let vector = vector_of(element, width);
                all.extend(ATTENTION_QUERIES.map(|queries| Self::PagedAttention {
                    pages: element,
                    vector,
                    width,
                    queries,
                }));
            }
        }
        all.extend(TrainingKernel::every(widths).into_iter().map(Self::Training));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Threads of a cube: in a warp, and warps.
    pub fn threads(self) -> CubeDim {
        match self {
            Self::Embed(_) | Self::GatherRows | Self::Swiglu | Self::SumParts | Self::CopyPage(_) | Self::Combine => {
                CubeDim::new_1d(ELEMENTWISE_THREADS)
            }
            Self::Norm => CubeDim::new_1d(rows::NORM_THREADS),
            Self::Gemv { .. } | Self::Gemm { .. } => CubeDim::new_2d(32, linear::WARPS),
            Self::Shrink { .. } => CubeDim::new_2d(32, lora::SHRINK_WARPS),
            Self::Expand { .. } => CubeDim::new_1d(lora::EXPAND_THREADS),
            Self::WriteKv { .. } | Self::PagedAttention { .. } => CubeDim::new_2d(32, tile::WARPS),
            Self::Training(kernel) => kernel.threads(),
        }
    }

    /// Outputs of a warp of [`Kernel::Gemv`]: more where there are few rows would leave too few warps.
    pub fn gemv_outs(tile: usize) -> usize {
        if tile <= 2 { 2 } else { 4 }
    }
}

/// Threads of a cube of kernels whose threads have nothing to do with each other.
pub const ELEMENTWISE_THREADS: u32 = 256;

/// How many numbers are loaded at once from rows of so many.
pub fn vector_of(element: Element, width: usize) -> usize {
    if width.is_multiple_of(element.vector()) {
        element.vector()
    } else {
        1
    }
}
