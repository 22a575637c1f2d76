//! Linear layers and adapters on a GPU, forward and backward.

use compute::{
    decoder::gpu::{count, weights::Linear},
    lora::Projection,
};
use cube::{BEGIN, CHAIN, Element, GEMM_FRAGMENTS, Kernel, MATMUL_TILE, Machine, Scalar, TrainingKernel};

use super::{GpuNetwork, fits_tensor_cores};

/// Outputs of a cube on tensor cores.
const GEMM_OUTS: usize = 64;

/// A matrix of singles in rows of `stride` numbers, beginning at column `at`.
pub(super) struct Columns<'a, B> {
    pub(super) of: &'a B,
    pub(super) at: usize,
    pub(super) stride: usize,
}

// Not derived: that would require `B: Copy`, and only the reference is copied.
impl<B> Clone for Columns<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Columns<'_, B> {}

impl<'a, B> Columns<'a, B> {
    pub(super) fn whole(of: &'a B, stride: usize) -> Self {
        Self { of, at: 0, stride }
    }
}

/// The right factor and its type.
struct Right<'a, B>(Columns<'a, B>, Element);

impl<'a, B> Right<'a, B> {
    fn singles(of: &'a B, stride: usize) -> Self {
        Self(Columns::whole(of, stride), Element::F32)
    }
}

/// The factors that are stored transposed.
#[derive(Clone, Copy)]
struct Transposed {
    left: bool,
    right: bool,
}

/// Left as `[m, k]`, right as `[k, n]`.
const NEITHER: Transposed = Transposed {
    left: false,
    right: false,
};
/// Left as `[m, k]`, right as `[n, k]`.
const RIGHT_ONLY: Transposed = Transposed {
    left: false,
    right: true,
};
/// Left as `[k, m]`, right as `[k, n]`.
const LEFT_ONLY: Transposed = Transposed {
    left: true,
    right: false,
};

/// Start and end of each sum.
enum Sum<'a, B> {
    /// Starts with zero or a bias; multiplied by a factor at the end.
    New(Option<&'a B>, f32),
    /// Continues from what is there, with a bias if given.
    Onto(Option<&'a B>),
}

impl<M: Machine> GpuNetwork<M> {
    fn matmul(
        &mut self,
        left: Columns<'_, M::Buffer>,
        right: Right<'_, M::Buffer>,
        transposed: Transposed,
        y: Columns<'_, M::Buffer>,
        [rows, inner, outs]: [usize; 3],
        sum: Sum<'_, M::Buffer>,
    ) {
        let (chain, bias, scale) = match sum {
            Sum::New(bias, scale) => (0, bias, scale),
            Sum::Onto(bias) => (CHAIN, bias, 1.0),
        };
        let mode = chain + bias.map_or(0, |_| BEGIN);
        let bias = bias.unwrap_or(&self.unbound);
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
                left_transposed: transposed.left,
                right_transposed: transposed.right,
            }),
            [count(outs.div_ceil(MATMUL_TILE)), count(rows.div_ceil(MATMUL_TILE)), 1],
            &[left.of, right.of, bias, y.of],
            &scalars,
        );
    }

    /// Multiplies on tensor cores: `W x`, or backward from the outputs of `W` to its inputs.
    fn tensor_cores(
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
        // In one part whatever the number of rows, so that a row's sums are the same in any pass.
        let scalars = [vectors, outs, rows, vectors].map(|n| Scalar::U32(count(n)));
        self.machine.launch(
            kernel,
            [count(across), count(down), 1],
            &[&linear.weight, x, &sums],
            &scalars,
        );
        let bias = linear.bias.as_ref().filter(|_| !backward);
        let mode = u32::from(add) * cube::ADD + u32::from(bias.is_some()) * cube::BIAS;
        let bias = bias.unwrap_or(&self.unbound).clone();
        let scalars = [count(outs), count(wide), count(tall), 1, mode].map(Scalar::U32);
        self.elementwise(Kernel::SumParts, rows, outs, &[&sums, &bias, y], &scalars);
    }

    /// Computes the layers of some sites on the same rows, with their adapters, into `y` or added to it.
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
                let h = self.shrink(Columns::whole(x, inside), a, inside, rank, rows);
                let onto = Columns {
                    of: y,
                    at,
                    stride: linear.outs,
                };
                let right = Right::singles(&b, out);
                self.matmul(
                    Columns::whole(&h, rank),
                    right,
                    NEITHER,
                    onto,
                    [rows, rank, out],
                    Sum::Onto(None),
                );
            }
            at += out;
        }
    }

    /// Computes a layer without adapters.
    pub(super) fn base(&mut self, linear: &Linear<M::Buffer>, x: &M::Buffer, y: &M::Buffer, rows: usize, add: bool) {
        let element = self.weights.element;
        if fits_tensor_cores(element, linear.outs, linear.columns) {
            return self.tensor_cores(linear, false, x, y, rows, add);
        }
        let bias = linear.bias.clone();
        let sum = match add {
            true => Sum::Onto(bias.as_ref()),
            false => Sum::New(bias.as_ref(), 1.0),
        };
        self.matmul(
            Columns::whole(x, linear.columns),
            Right(Columns::whole(&linear.weight, linear.columns), element),
            RIGHT_ONLY,
            Columns::whole(y, linear.outs),
            [rows, linear.columns, linear.outs],
            sum,
        );
    }

    /// Returns the gradient of a layer's input rows, without adapters.
    pub(super) fn base_backward(&mut self, linear: &Linear<M::Buffer>, d: &M::Buffer, rows: usize) -> M::Buffer {
        let (element, y) = (self.weights.element, self.rows(rows, linear.columns));
        // Small gradients would become zero as F16.
        if element == Element::BF16 && fits_tensor_cores(element, linear.outs, linear.columns) {
            self.tensor_cores(linear, true, d, &y, rows, false);
            return y;
        }
        self.matmul(
            Columns::whole(d, linear.outs),
            Right(Columns::whole(&linear.weight, linear.columns), element),
            NEITHER,
            Columns::whole(&y, linear.columns),
            [rows, linear.outs, linear.columns],
            Sum::New(None, 1.0),
        );
        y
    }

    /// Backward pass of layers that read the same rows: adds the gradients of their adapters, and returns that of the
    /// rows if it is wanted.
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
            let d_columns = Columns {
                of: d,
                at,
                stride: linear.outs,
            };
            at += out;
            let Some((a, b)) = self.slots.blocks[layer].linear(*site).lora else {
                continue;
            };
            let (rank, x) = (self.rank(a, inside), Columns::whole(x, inside));
            let value = |network: &mut Self, index| network.state.value(&mut network.machine, index);
            let gradient = |network: &mut Self, index| network.state.gradient(&mut network.machine, index);
            let h = self.shrink(x, a, inside, rank, rows);
            let b_value = value(self, b);
            let d_h = self.rows(rows, rank);
            self.matmul(
                d_columns,
                Right::singles(&b_value, out),
                RIGHT_ONLY,
                Columns::whole(&d_h, rank),
                [rows, out, rank],
                Sum::New(None, self.scale),
            );
            let onto = gradient(self, b);
            self.add_factor_gradient(Columns::whole(&h, rank), d_columns, &onto, [rank, rows, out]);
            let onto = gradient(self, a);
            self.add_factor_gradient(Columns::whole(&d_h, rank), x, &onto, [rank, rows, inside]);
            if let Some(d_x) = &d_x {
                let a_value = value(self, a);
                let right = Right::singles(&a_value, inside);
                let onto = Columns::whole(d_x, inside);
                self.matmul(
                    Columns::whole(&d_h, rank),
                    right,
                    NEITHER,
                    onto,
                    [rows, rank, inside],
                    Sum::Onto(None),
                );
            }
        }
        d_x
    }

    /// Returns the rank of a factor A.
    fn rank(&self, a: usize, inside: usize) -> usize {
        self.state.length_of(a) / inside
    }

    /// Returns `scale · A x` of each row.
    fn shrink(&mut self, x: Columns<'_, M::Buffer>, a: usize, inside: usize, rank: usize, rows: usize) -> M::Buffer {
        let (a, h) = (self.state.value(&mut self.machine, a), self.rows(rows, rank));
        let right = Right::singles(&a, inside);
        self.matmul(
            x,
            right,
            RIGHT_ONLY,
            Columns::whole(&h, rank),
            [rows, inside, rank],
            Sum::New(None, self.scale),
        );
        h
    }

    /// Adds `leftᵀ · right` to the gradient of a factor, one chain over rows.
    fn add_factor_gradient(
        &mut self,
        left: Columns<'_, M::Buffer>,
        right: Columns<'_, M::Buffer>,
        onto: &M::Buffer,
        [rank, rows, width]: [usize; 3],
    ) {
        self.matmul(
            left,
            Right(right, Element::F32),
            LEFT_ONLY,
            Columns::whole(onto, width),
            [rank, rows, width],
            Sum::Onto(None),
        );
    }
}
