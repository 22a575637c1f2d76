//! The set of kernels: a value for each variant that is ever launched, so that all can be listed and compiled.

mod build;
mod name;
mod training;

pub use build::Environment;
use cubecl::prelude::*;
pub use training::TrainingKernel;

use crate::kernels::{linear, lora, rows, tile};

/// The type of numbers in a machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    BF16,
}

impl Element {
    /// All types.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// Returns the number of bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Returns the numbers in sixteen bytes, the widest load.
    pub fn vector(self) -> usize {
        16 / self.bytes()
    }

    /// Returns the lower-case name, such as `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        }
    }
}

/// A kernel in one of its variants.
///
/// `vector` is the number of numbers per load: those of sixteen bytes, or 1 if a width is no multiple of that.
///
/// ```
/// use cube::{Element, Kernel};
///
/// let kernel = Kernel::Gemm { weight: Element::BF16, fragments: 2 };
/// assert_eq!(kernel.name(), "gemm_bf16_m32");
/// assert!(Kernel::every(&[64]).contains(&kernel));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kernel {
    /// Looks up rows of the embedding.
    Embed(Element),
    /// Gathers some rows.
    GatherRows,
    /// RMS norm.
    Norm,
    /// `silu(gate) · up`.
    Swiglu,
    /// A linear layer, for tiles of `tile` rows.
    Gemv {
        weight: Element,
        vector: usize,
        tile: usize,
    },
    /// A linear layer on tensor cores, for tiles of `16 · fragments` rows.
    Gemm { weight: Element, fragments: usize },
    /// Adds the parts of [`Kernel::Gemm`].
    SumParts,
    /// The product with A of adapters, for tiles of `tile` rows.
    Shrink { pool: Element, vector: usize, tile: usize },
    /// The product with B of adapters.
    Expand { pool: Element, vector: usize, tile: usize },
    /// Norms and rope of queries and keys, and keys and values to their pages.
    WriteKv { pages: Element, width: usize, normed: bool },
    /// Copies a page to another.
    CopyPage(Element),
    /// Attention over pages, for tiles of `queries` query rows.
    PagedAttention {
        pages: Element,
        vector: usize,
        width: usize,
        queries: usize,
    },
    /// Combines the parts of [`Kernel::PagedAttention`].
    Combine,
    /// A kernel that only training uses.
    Training(TrainingKernel),
}

/// Rows in a tile of [`Kernel::Gemv`], ascending.
pub const GEMV_TILES: [usize; 4] = [1, 2, 4, 8];
/// Fragments of [`Kernel::Gemm`], ascending.
pub const GEMM_FRAGMENTS: [usize; 3] = [1, 2, 4];
/// Rows in a tile of adapters, ascending.
pub const LORA_TILES: [usize; 2] = [1, 8];
/// Query rows in a tile of attention, ascending.
pub const ATTENTION_QUERIES: [usize; 4] = [1, 4, 8, 16];
/// Head widths of common models, whose kernels are compiled in advance. Others are compiled when they are met.
pub const WIDTHS: [usize; 3] = [64, 96, 128];

impl Kernel {
    /// Lists every variant that is launched for models with heads of these widths.
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

    /// Returns the threads of a cube: in a warp, and warps.
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

    /// Returns the outputs of a warp of [`Kernel::Gemv`]; fewer for few rows, so that enough warps run.
    pub fn gemv_outs(tile: usize) -> usize {
        if tile <= 2 { 2 } else { 4 }
    }
}

/// Threads of a cube for kernels whose threads are independent.
pub const ELEMENTWISE_THREADS: u32 = 256;

/// Returns the numbers per load for rows of this width.
pub fn vector_of(element: Element, width: usize) -> usize {
    if width.is_multiple_of(element.vector()) {
        element.vector()
    } else {
        1
    }
}
