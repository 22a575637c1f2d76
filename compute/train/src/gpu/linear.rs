//! Linear layers, forth and back, and what adapters add to both.

use compute::{
    decoder::gpu::{count, weights::Linear},
    lora::Projection,
};
use cube::{BEGIN, CHAIN, Element, GEMM_FRAGMENTS, Kernel, MATMUL_TILE, Machine, Scalar, TrainingKernel};

use super::{GpuNetwork, on_cores};

/// Outputs of a cube on tensor cores.
const GEMM_OUTS: usize = 64;

/// Singles that lie in rows of some width: all of it, or columns from one on.
pub(super) struct Side<'a, B> {
    pub(super) of: &'a B,
    pub(super) at: usize,
    pub(super) stride: usize,
}

// Whatever the memory is, a reference to it is copied.
impl<B> Clone for Side<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Side<'_, B> {}

impl<'a, B> Side<'a, B> {
    pub(super) fn whole(of: &'a B, stride: usize) -> Self {
        Self { of, at: 0, stride }
    }
}

/// A matrix to multiply with, and how its numbers are activations.
struct Right<'a, B>(Side<'a, B>, Element);

impl<'a, B> Right<'a, B> {
    fn singles(of: &'a B, stride: usize) -> Self {
        Self(Side::whole(of, stride), Element::F32)
    }
}

/// Which of both is roped.
#[derive(Clone, Copy)]
struct Turned {
    left: bool,
    right: bool,
}

/// As they lie: `[m, k]` and `[k, n]`.
const AS_THEY_LIE: Turned = Turned {
    left: false,
    right: false,
};
/// The right as `[n, k]`.
const RIGHT: Turned = Turned {
    left: false,
    right: true,
};
/// The left as `[k, m]`.
const LEFT: Turned = Turned {
    left: true,
    right: false,
};

/// How a sum begins and ends.
enum Sum<'a, B> {
    /// With nothing, or a bias; it is multiplied in the end.
    New(Option<&'a B>, f32),
    /// With what is there.
    Onto(Option<&'a B>),
}

impl<M: Machine> GpuNetwork<M> {
    fn multiply(
        &mut self,
        left: Side<'_, M::Buffer>,
        right: Right<'_, M::Buffer>,
        roped: Turned,
        y: Side<'_, M::Buffer>,
        [rows, inner, outs]: [usize; 3],
        sum: Sum<'_, M::Buffer>,
    ) {
        let (chain, bias, scale) = match sum {
            Sum::New(bias, scale) => (0, bias, scale),
            Sum::Onto(bias) => (CHAIN, bias, 1.0),
        };
        let mode = chain + bias.map_or(0, |_| BEGIN);
        let bias = bias.unwrap_or(&self.nothing);
        let Right(right, element) = right;
        let sizes = [
            left.at,
            left.stride,
            right.at,
            right.stride,
            y.at,
            y.stride,
            rows,
            inner,
            outs,
        ];
        let mut scalars: Vec<Scalar> = sizes.iter().map(|n| Scalar::U32(count(*n))).collect();
        scalars.extend([Scalar::F32(scale), Scalar::U32(mode)]);
        self.machine.launch(
            Kernel::Training(TrainingKernel::Matmul {
                right: element,
                left_transposed: roped.left,
                right_transposed: roped.right,
            }),
            [count(outs.div_ceil(MATMUL_TILE)), count(rows.div_ceil(MATMUL_TILE)), 1],
            &[left.of, right.of, bias, y.of],
            &scalars,
        );
    }

    /// On tensor cores: `W x`, or back from `W`'s outputs to its columns.
    fn cores(
        &mut self,
        linear: &Linear<M::Buffer>,
        backward: bool,
        x: &M::Buffer,
        y: &M::Buffer,
        rows: usize,
        add: bool,
    ) {
        let element = self.weights.element;
        let (inner, outs) = match backward {
            true => (linear.outs, linear.columns),
            false => (linear.columns, linear.outs),
        };
        let most = GEMM_FRAGMENTS[GEMM_FRAGMENTS.len() - 1];
        let fragments = GEMM_FRAGMENTS.into_iter().find(|n| n * 16 >= rows).unwrap_or(most);
        let (across, down) = (outs.div_ceil(GEMM_OUTS), rows.div_ceil(16 * fragments));
        let (wide, tall) = (across * GEMM_OUTS, down * 16 * fragments);
        let sums = self.rows(tall, wide);
        let weight = element;
        let kernel = match backward {
            true => Kernel::Training(TrainingKernel::GemmBackward { weight, fragments }),
            false => Kernel::Gemm { weight, fragments },
        };
        let vectors = inner / element.vector();
        // In one part, whatever the rows: their sums are the same in any pass.
        let scalars = [vectors, outs, rows, vectors].map(|n| Scalar::U32(count(n)));
        self.machine.launch(
            kernel,
            [count(across), count(down), 1],
            &[&linear.weight, x, &sums],
            &scalars,
        );
        let bias = linear.bias.as_ref().filter(|_| !backward);
        let mode = u32::from(add) * cube::ADD + u32::from(bias.is_some()) * cube::BIAS;
        let bias = bias.unwrap_or(&self.nothing).clone();
        let scalars = [count(outs), count(wide), count(tall), 1, mode].map(Scalar::U32);
        self.elementwise(Kernel::SumParts, rows, outs, &[&sums, &bias, y], &scalars);
    }

    /// The layers of some sites on the same rows, with their adapters, into `y` or added to it.
    pub(super) fn linear(
        &mut self,
        layer: usize,
        sites: &[Projection],
        x: &M::Buffer,
        y: &M::Buffer,
        rows: usize,
        add: bool,
    ) {
        let linear = self.weights.blocks[layer].linear(sites).clone();
        self.base(&linear, x, y, rows, add);
        let mut at = 0;
        for site in sites {
            let [out, inside] = self.config.linear_shape(*site);
            if let Some((a, b)) = self.slots.blocks[layer].linear(*site).lora {
                let (b, rank) = (self.state.value(&mut self.machine, b), self.rank(a, inside));
                let h = self.shrink(Side::whole(x, inside), a, inside, rank, rows);
                let onto = Side {
                    of: y,
                    at,
                    stride: linear.outs,
                };
                let right = Right::singles(&b, out);
                self.multiply(
                    Side::whole(&h, rank),
                    right,
                    AS_THEY_LIE,
                    onto,
                    [rows, rank, out],
                    Sum::Onto(None),
                );
            }
            at += out;
        }
    }

    /// A layer without adapters.
    pub(super) fn base(&mut self, linear: &Linear<M::Buffer>, x: &M::Buffer, y: &M::Buffer, rows: usize, add: bool) {
        let element = self.weights.element;
        if on_cores(element, linear.outs, linear.columns) {
            return self.cores(linear, false, x, y, rows, add);
        }
        let bias = linear.bias.clone();
        let sum = match add {
            true => Sum::Onto(bias.as_ref()),
            false => Sum::New(bias.as_ref(), 1.0),
        };
        self.multiply(
            Side::whole(x, linear.columns),
            Right(Side::whole(&linear.weight, linear.columns), element),
            RIGHT,
            Side::whole(y, linear.outs),
            [rows, linear.columns, linear.outs],
            sum,
        );
    }

    /// The gradient of a layer's rows, without adapters.
    pub(super) fn base_backward(&mut self, linear: &Linear<M::Buffer>, d: &M::Buffer, rows: usize) -> M::Buffer {
        let (element, y) = (self.weights.element, self.rows(rows, linear.columns));
        // Gradients may be smaller than what halves can tell from nothing.
        if element == Element::BF16 && on_cores(element, linear.outs, linear.columns) {
            self.cores(linear, true, d, &y, rows, false);
            return y;
        }
        self.multiply(
            Side::whole(d, linear.outs),
            Right(Side::whole(&linear.weight, linear.columns), element),
            AS_THEY_LIE,
            Side::whole(&y, linear.columns),
            [rows, linear.outs, linear.columns],
            Sum::New(None, 1.0),
        );
        y
    }

    /// Layers that read the same rows, backwards: adds to the gradients of their adapters, and gives that of the rows if
    /// it is wanted.
    pub(super) fn linear_backward(
        &mut self,
        layer: usize,
        sites: &[Projection],
        d: &M::Buffer,
        x: &M::Buffer,
        rows: usize,
        input_wanted: bool,
    ) -> Option<M::Buffer> {
        let linear = self.weights.blocks[layer].linear(sites).clone();
        let d_x = input_wanted.then(|| self.base_backward(&linear, d, rows));
        let mut at = 0;
        for site in sites {
            let [out, inside] = self.config.linear_shape(*site);
            let side = Side {
                of: d,
                at,
                stride: linear.outs,
            };
            at += out;
            let Some((a, b)) = self.slots.blocks[layer].linear(*site).lora else {
                continue;
            };
            let (rank, x) = (self.rank(a, inside), Side::whole(x, inside));
            let value = |network: &mut Self, index| network.state.value(&mut network.machine, index);
            let gradient = |network: &mut Self, index| network.state.gradient(&mut network.machine, index);
            let h = self.shrink(x, a, inside, rank, rows);
            let b_value = value(self, b);
            let d_h = self.rows(rows, rank);
            self.multiply(
                side,
                Right::singles(&b_value, out),
                RIGHT,
                Side::whole(&d_h, rank),
                [rows, out, rank],
                Sum::New(None, self.scale),
            );
            let onto = gradient(self, b);
            self.onto_factor(Side::whole(&h, rank), side, &onto, [rank, rows, out]);
            let onto = gradient(self, a);
            self.onto_factor(Side::whole(&d_h, rank), x, &onto, [rank, rows, inside]);
            if let Some(d_x) = &d_x {
                let a_value = value(self, a);
                let right = Right::singles(&a_value, inside);
                let onto = Side::whole(d_x, inside);
                self.multiply(
                    Side::whole(&d_h, rank),
                    right,
                    AS_THEY_LIE,
                    onto,
                    [rows, rank, inside],
                    Sum::Onto(None),
                );
            }
        }
        d_x
    }

    /// The rank of a first factor.
    fn rank(&self, a: usize, inside: usize) -> usize {
        self.state.length_of(a) / inside
    }

    /// `scale · A x` of each row.
    fn shrink(&mut self, x: Side<'_, M::Buffer>, a: usize, inside: usize, rank: usize, rows: usize) -> M::Buffer {
        let (a, h) = (self.state.value(&mut self.machine, a), self.rows(rows, rank));
        let right = Right::singles(&a, inside);
        self.multiply(
            x,
            right,
            RIGHT,
            Side::whole(&h, rank),
            [rows, inside, rank],
            Sum::New(None, self.scale),
        );
        h
    }

    /// Adds `leftᵀ · right` to the gradient of a factor, row after row.
    fn onto_factor(
        &mut self,
        left: Side<'_, M::Buffer>,
        right: Side<'_, M::Buffer>,
        onto: &M::Buffer,
        [rank, rows, width]: [usize; 3],
    ) {
        self.multiply(
            left,
            Right(right, Element::F32),
            LEFT,
            Side::whole(onto, width),
            [rank, rows, width],
            Sum::Onto(None),
        );
    }
}
