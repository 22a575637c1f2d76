//! Kernels that learning needs beside those of serving.

use cubecl::prelude::*;
use half::{bf16, f16};

use super::{
    Element, GEMM_FRAGMENTS,
    build::{Environment, buffer, kernel, of_element},
};
use crate::kernels::{back, learn, linear, look, look_back, multiply, rows, tile};

/// A kernel of learning, in one of its variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Learn {
    /// Singles times a matrix, either of them turned perhaps; sums are one chain.
    Multiply {
        right: Element,
        left_turned: bool,
        right_turned: bool,
    },
    /// The gradient of a linear layer's rows on tensor cores, for tiles of `16 · fragments` rows.
    GemmBack { weight: Element, fragments: usize },
    /// Back through a norm.
    NormBack,
    /// Back through the gated activation.
    GateBack,
    /// Norms and rotates queries and keys.
    Turn { width: usize, normed: bool },
    /// Back through that.
    TurnBack { width: usize, normed: bool },
    /// Attention inside sequences.
    Look { width: usize },
    /// Products of what attention gave with its gradient.
    Dots,
    /// Back to queries.
    LookBackQueries { width: usize },
    /// Back to keys and values.
    LookBackKeys { width: usize },
    /// Losses, and the gradient of logits.
    Loss,
    /// Rows into their places.
    Spread,
    /// Nothing, everywhere.
    Zero,
    /// The same again.
    Copy,
    /// Sums of squares.
    Squares,
    /// The optimiser.
    Adam,
}

impl Learn {
    /// Every variant for models with heads of these widths.
    pub(super) fn every(widths: &[usize]) -> Vec<Self> {
        let mut all = vec![
            Self::NormBack,
            Self::GateBack,
            Self::Dots,
            Self::Loss,
            Self::Spread,
            Self::Zero,
            Self::Copy,
            Self::Squares,
            Self::Adam,
        ];
        for right in Element::ALL {
            all.extend([false, true].map(|right_turned| Self::Multiply {
                right,
                left_turned: false,
                right_turned,
            }));
            // Gradients may be smaller than what halves can tell from nothing.
            let fragments = GEMM_FRAGMENTS.into_iter().filter(|_| right == Element::BF16);
            all.extend(fragments.map(|fragments| Self::GemmBack {
                weight: right,
                fragments,
            }));
        }
        // Gradients of an adapter's factors.
        all.push(Self::Multiply {
            right: Element::F32,
            left_turned: true,
            right_turned: false,
        });
        for width in widths.iter().copied() {
            for normed in [false, true] {
                all.extend([Self::Turn { width, normed }, Self::TurnBack { width, normed }]);
            }
            all.extend([
                Self::Look { width },
                Self::LookBackQueries { width },
                Self::LookBackKeys { width },
            ]);
        }
        all
    }

    pub(super) fn name(self) -> String {
        let normed = |normed| if normed { "_normed" } else { "" };
        let turned = |turned| if turned { "t" } else { "n" };
        match self {
            Self::Multiply {
                right,
                left_turned,
                right_turned,
            } => format!(
                "multiply_{}_{}{}",
                right.name(),
                turned(left_turned),
                turned(right_turned)
            ),
            Self::GemmBack { weight, fragments } => format!("gemm_back_{}_m{}", weight.name(), 16 * fragments),
            Self::NormBack => "norm_back".to_owned(),
            Self::GateBack => "gate_back".to_owned(),
            Self::Turn { width, normed: is } => format!("turn_w{width}{}", normed(is)),
            Self::TurnBack { width, normed: is } => format!("turn_back_w{width}{}", normed(is)),
            Self::Look { width } => format!("look_w{width}"),
            Self::Dots => "dots".to_owned(),
            Self::LookBackQueries { width } => format!("look_back_queries_w{width}"),
            Self::LookBackKeys { width } => format!("look_back_keys_w{width}"),
            Self::Loss => "loss".to_owned(),
            Self::Spread => "spread".to_owned(),
            Self::Zero => "zero".to_owned(),
            Self::Copy => "copy_singles".to_owned(),
            Self::Squares => "squares".to_owned(),
            Self::Adam => "adam".to_owned(),
        }
    }

    pub(super) fn threads(self) -> CubeDim {
        match self {
            Self::Multiply { .. } => CubeDim::new_1d(multiply::THREADS),
            Self::GemmBack { .. } => CubeDim::new_2d(32, linear::WARPS),
            Self::NormBack | Self::Loss | Self::Squares => CubeDim::new_1d(rows::NORM_THREADS),
            Self::GateBack | Self::Spread | Self::Zero | Self::Copy | Self::Adam => {
                CubeDim::new_1d(super::ELEMENTWISE_THREADS)
            }
            Self::Turn { .. } | Self::TurnBack { .. } => CubeDim::new_2d(32, back::TURN_WARPS),
            Self::Look { .. } | Self::Dots | Self::LookBackQueries { .. } | Self::LookBackKeys { .. } => {
                CubeDim::new_2d(32, tile::WARPS)
            }
        }
    }

    pub(super) fn build(self, settings: KernelSettings, environment: &Environment) -> Box<dyn CubeKernel> {
        let on = (settings, environment);
        match self {
            Self::Multiply {
                right,
                left_turned,
                right_turned,
            } => of_element!(right, W =>
                kernel!(on, multiply::multiply::Multiply<W>, [left right bias y],
                    [left_at left_stride right_at right_stride y_at y_stride rows inner outs scale mode],
                    left_turned, right_turned)),
            Self::GemmBack { weight, fragments } => of_element!(weight, W =>
                kernel!(on, linear::gemm::Gemm<W>, [w x parts],
                    [vectors outs rows part_vectors], weight.vector(), fragments, true)),
            Self::NormBack => Box::new(kernel!(on, back::norm_back::NormBack, [x gain d onto], [width epsilon])),
            Self::GateBack => Box::new(kernel!(on, back::gate_back::GateBack, [x d y], [width])),
            Self::Turn { width, normed } => {
                Box::new(kernel!(on, back::turn::Turn, [qkv gains cos sin y], [heads kv_heads epsilon], width, normed))
            }
            Self::TurnBack { width, normed } => Box::new(
                kernel!(on, back::turn_back::TurnBack, [qkv gains cos sin d], [heads kv_heads epsilon], width, normed),
            ),
            Self::Look { width } => {
                Box::new(kernel!(on, look::look::Look, [qkv tiles out logs], [heads kv_heads], width))
            }
            Self::Dots => Box::new(kernel!(on, look::dots::Dots, [out d y], [heads width])),
            Self::LookBackQueries { width } => Box::new(
                kernel!(on, look_back::look_back_queries::LookBackQueries, [qkv d logs dots tiles y],
                    [heads kv_heads], width),
            ),
            Self::LookBackKeys { width } => Box::new(
                kernel!(on, look_back::look_back_keys::LookBackKeys, [qkv d logs dots tiles y], [heads kv_heads], width),
            ),
            Self::Loss => Box::new(kernel!(on, learn::loss::Loss, [logits tokens weights losses], [width])),
            Self::Spread => Box::new(kernel!(on, learn::spread::Spread, [x places y], [width])),
            Self::Zero => Box::new(kernel!(on, learn::zero::Zero, [y], [count])),
            Self::Copy => Box::new(kernel!(on, learn::copy::Copy, [x y], [count])),
            Self::Squares => Box::new(kernel!(on, learn::squares::Squares, [x y], [count])),
            Self::Adam => Box::new(kernel!(on, learn::adam::Adam, [values gradients first second],
                    [count by beta rest beta_square rest_square rate root epsilon kept inside])),
        }
    }
}
