//! The kernels that only training uses.

use cubecl::prelude::*;
use half::{bf16, f16};

use super::{
    Element, GEMM_FRAGMENTS,
    build::{Environment, buffer, kernel, of_element},
};
use crate::kernels::{backward, linear, matmul, rows, self_attention, self_attention_backward, tile, training};

/// A kernel of training in one of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrainingKernel {
    /// A matrix product whose sums are one chain, with either factor transposed if asked.
    Matmul {
        right: Element,
        left_transposed: bool,
        right_transposed: bool,
    },
    /// The gradient of a linear layer's input rows on tensor cores, for tiles of `16 · fragments` rows.
    GemmBackward { weight: Element, fragments: usize },
    /// Backward pass of [`Kernel::Norm`](super::Kernel::Norm).
    NormBackward,
    /// Backward pass of [`Kernel::Swiglu`](super::Kernel::Swiglu).
    SwigluBackward,
    /// Norms and rope of queries and keys.
    Rope { width: usize, normed: bool },
    /// Backward pass of [`TrainingKernel::Rope`].
    RopeBackward { width: usize, normed: bool },
    /// Causal attention inside the sequences of a pass.
    SelfAttention { width: usize },
    /// Dot products of attention's outputs with their gradients ("delta" of FlashAttention-2).
    Delta,
    /// Gradient of the queries.
    BackwardDq { width: usize },
    /// Gradients of keys and values.
    BackwardDkv { width: usize },
    /// Losses, and the gradient of the logits.
    CrossEntropy,
    /// Scatters rows among others.
    ScatterRows,
    /// Fills with zeros.
    Zero,
    /// Copies singles.
    Copy,
    /// Sums of squares of equal parts.
    SumOfSquares,
    /// AdamW.
    Adam,
}

impl TrainingKernel {
    /// Lists every variant for models with heads of these widths.
    pub(super) fn every(widths: &[usize]) -> Vec<Self> {
        let mut all = vec![
            Self::NormBackward,
            Self::SwigluBackward,
            Self::Delta,
            Self::CrossEntropy,
            Self::ScatterRows,
            Self::Zero,
            Self::Copy,
            Self::SumOfSquares,
            Self::Adam,
        ];
        for right in Element::ALL {
            all.extend([false, true].map(|right_transposed| Self::Matmul {
                right,
                left_transposed: false,
                right_transposed,
            }));
            // Not for F16, in which small gradients would become zero.
            let fragments = GEMM_FRAGMENTS.into_iter().filter(|_| right == Element::BF16);
            all.extend(fragments.map(|fragments| Self::GemmBackward {
                weight: right,
                fragments,
            }));
        }
        // For the gradients of an adapter's factors.
        all.push(Self::Matmul {
            right: Element::F32,
            left_transposed: true,
            right_transposed: false,
        });
        for width in widths.iter().copied() {
            for normed in [false, true] {
                all.extend([Self::Rope { width, normed }, Self::RopeBackward { width, normed }]);
            }
            all.extend([
                Self::SelfAttention { width },
                Self::BackwardDq { width },
                Self::BackwardDkv { width },
            ]);
        }
        all
    }

    pub(super) fn name(self) -> String {
        let normed = |normed| if normed { "_normed" } else { "" };
        let transposed = |transposed| if transposed { "t" } else { "n" };
        match self {
            Self::Matmul {
                right,
                left_transposed,
                right_transposed,
            } => format!(
                "matmul_{}_{}{}",
                right.name(),
                transposed(left_transposed),
                transposed(right_transposed)
            ),
            Self::GemmBackward { weight, fragments } => format!("gemm_backward_{}_m{}", weight.name(), 16 * fragments),
            Self::NormBackward => "norm_backward".to_owned(),
            Self::SwigluBackward => "swiglu_backward".to_owned(),
            Self::Rope { width, normed: is } => format!("rope_w{width}{}", normed(is)),
            Self::RopeBackward { width, normed: is } => format!("rope_backward_w{width}{}", normed(is)),
            Self::SelfAttention { width } => format!("self_attention_w{width}"),
            Self::Delta => "delta".to_owned(),
            Self::BackwardDq { width } => format!("self_attention_dq_w{width}"),
            Self::BackwardDkv { width } => format!("self_attention_dkv_w{width}"),
            Self::CrossEntropy => "cross_entropy".to_owned(),
            Self::ScatterRows => "scatter_rows".to_owned(),
            Self::Zero => "zero".to_owned(),
            Self::Copy => "copy_singles".to_owned(),
            Self::SumOfSquares => "sum_of_squares".to_owned(),
            Self::Adam => "adam".to_owned(),
        }
    }

    pub(super) fn threads(self) -> CubeDim {
        match self {
            Self::Matmul { .. } => CubeDim::new_1d(matmul::THREADS),
            Self::GemmBackward { .. } => CubeDim::new_2d(32, linear::WARPS),
            Self::NormBackward | Self::CrossEntropy | Self::SumOfSquares => CubeDim::new_1d(rows::NORM_THREADS),
            Self::SwigluBackward | Self::ScatterRows | Self::Zero | Self::Copy | Self::Adam => {
                CubeDim::new_1d(super::ELEMENTWISE_THREADS)
            }
            Self::Rope { .. } | Self::RopeBackward { .. } => CubeDim::new_2d(32, backward::ROPE_WARPS),
            Self::SelfAttention { .. } | Self::Delta | Self::BackwardDq { .. } | Self::BackwardDkv { .. } => {
                CubeDim::new_2d(32, tile::WARPS)
            }
        }
    }

    pub(super) fn build(self, settings: KernelSettings, environment: &Environment) -> Box<dyn CubeKernel> {
        let on = (settings, environment);
        match self {
            Self::Matmul {
                right,
                left_transposed,
                right_transposed,
            } => of_element!(right, W =>
                kernel!(on, matmul::matmul::Matmul<W>, [left right bias y],
                    [left_at left_stride right_at right_stride y_at y_stride rows inner outs scale mode],
                    left_transposed, right_transposed)),
            Self::GemmBackward { weight, fragments } => of_element!(weight, W =>
                kernel!(on, linear::gemm::Gemm<W>, [w x parts],
                    [vectors outs rows part_vectors], weight.vector(), fragments, true)),
            Self::NormBackward => {
                Box::new(kernel!(on, backward::norm_backward::NormBackward, [x gain d onto], [width epsilon]))
            }
            Self::SwigluBackward => Box::new(kernel!(on, backward::swiglu_backward::SwigluBackward, [x d y], [width])),
            Self::Rope { width, normed } => Box::new(
                kernel!(on, backward::rope::Rope, [qkv gains cos sin y], [heads kv_heads epsilon], width, normed),
            ),
            Self::RopeBackward { width, normed } => Box::new(
                kernel!(on, backward::rope_backward::RopeBackward, [qkv gains cos sin d], [heads kv_heads epsilon], width, normed),
            ),
            Self::SelfAttention { width } => Box::new(
                kernel!(on, self_attention::self_attention::SelfAttention, [qkv tiles out lse], [heads kv_heads], width),
            ),
            Self::Delta => Box::new(kernel!(on, self_attention::delta::Delta, [out d y], [heads width])),
            Self::BackwardDq { width } => Box::new(
                kernel!(on, self_attention_backward::backward_dq::BackwardDq, [qkv d lse delta tiles y],
                    [heads kv_heads], width),
            ),
            Self::BackwardDkv { width } => Box::new(
                kernel!(on, self_attention_backward::backward_dkv::BackwardDkv, [qkv d lse delta tiles y], [heads kv_heads], width),
            ),
            Self::CrossEntropy => {
                Box::new(kernel!(on, training::cross_entropy::CrossEntropy, [logits tokens weights losses], [width]))
            }
            Self::ScatterRows => Box::new(kernel!(on, training::scatter_rows::ScatterRows, [x targets y], [width])),
            Self::Zero => Box::new(kernel!(on, training::zero::Zero, [y], [count])),
            Self::Copy => Box::new(kernel!(on, training::copy::Copy, [x y], [count])),
            Self::SumOfSquares => Box::new(kernel!(on, training::sum_of_squares::SumOfSquares, [x y], [count])),
            Self::Adam => Box::new(kernel!(on, training::adam::Adam, [values gradients first second],
                    [count clip_factor beta1 one_minus_beta1 beta2 one_minus_beta2 rate second_correction epsilon decay_factor epsilon_inside])),
        }
    }
}
