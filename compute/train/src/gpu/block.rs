//! Forward pass of a block.

use compute::{decoder::gpu::count, lora::Projection};
use cube::{Kernel, Machine, Scalar, TrainingKernel};

use super::{GpuNetwork, HEADS_EACH, Pass};

/// The intermediate results of a block that its backward pass needs.
pub(super) struct Activations<B> {
    /// Queries, keys and values side by side, before norms and rope.
    pub(super) qkv: B,
    pub(super) attended: B,
    /// Log-sum-exp of each query's scores.
    pub(super) lse: B,
    /// Residual stream between attention and the feed-forward layers.
    pub(super) middle: B,
    /// Gate and up side by side.
    pub(super) gate_up: B,
}

impl<M: Machine> GpuNetwork<M> {
    /// Returns the width of a row of queries, keys and values.
    pub(super) fn qkv_width(&self) -> usize {
        (self.config.heads + 2 * self.config.kv_heads) * self.config.head
    }

    /// Returns the numbers of query heads and of key heads, as kernels take them.
    pub(super) fn heads(&self) -> [Scalar; 2] {
        [self.config.heads, self.config.kv_heads].map(|n| Scalar::U32(count(n)))
    }

    /// Launches norms and rope of queries and keys, or their backward pass.
    pub(super) fn launch_rope(
        &mut self,
        pass: &Pass<M::Buffer>,
        layer: usize,
        backward: bool,
        qkv: &M::Buffer,
        y: &M::Buffer,
    ) {
        let width = self.config.head;
        let gains = self.weights.blocks[layer].gains.clone();
        let normed = gains.is_some();
        let kernel = match backward {
            true => TrainingKernel::RopeBackward { width, normed },
            false => TrainingKernel::Rope { width, normed },
        };
        let gains = gains.unwrap_or_else(|| self.unbound.clone());
        let [heads, kv_heads] = self.heads();
        let all = count(self.config.heads + 2 * self.config.kv_heads);
        self.machine.launch(
            Kernel::Training(kernel),
            [count(pass.rows), all.div_ceil(HEADS_EACH), 1],
            &[qkv, &gains, &pass.cos, &pass.sin, y],
            &[heads, kv_heads, Scalar::F32(self.config.norm_epsilon)],
        );
    }

    /// Returns queries, keys and values after norms and rope.
    pub(super) fn apply_rope(&mut self, pass: &Pass<M::Buffer>, layer: usize, qkv: &M::Buffer) -> M::Buffer {
        let y = self.rows(pass.rows, self.qkv_width());
        self.launch_rope(pass, layer, false, qkv, &y);
        y
    }

    /// Computes a block up to, but without, its down projection.
    pub(super) fn block_activations(
        &mut self,
        pass: &Pass<M::Buffer>,
        layer: usize,
        x: &M::Buffer,
    ) -> Activations<M::Buffer> {
        use Projection::{Gate, K, O, Q, Up, V};
        let (rows, hidden, heads) = (pass.rows, self.config.hidden, self.config.heads);
        let [first, second] = self.norms(layer);
        let normed = self.norm(x, &first, rows);
        let qkv = self.rows(rows, self.qkv_width());
        self.linear(layer, &[Q, K, V], &normed, &qkv, rows, false);
        let roped = self.apply_rope(pass, layer, &qkv);
        let attended = self.rows(rows, heads * self.config.head);
        let lse = self.rows(rows, heads);
        let kernel = TrainingKernel::SelfAttention {
            width: self.config.head,
        };
        let scalars = self.heads();
        self.machine.launch(
            Kernel::Training(kernel),
            [count(pass.tile_count), count(heads), 1],
            &[&roped, &pass.tiles, &attended, &lse],
            &scalars,
        );
        let middle = self.copy(x, rows, hidden);
        self.linear(layer, &[O], &attended, &middle, rows, true);
        let normed = self.norm(&middle, &second, rows);
        let gate_up = self.rows(rows, 2 * self.config.intermediate);
        self.linear(layer, &[Gate, Up], &normed, &gate_up, rows, false);
        Activations {
            qkv,
            attended,
            lse,
            middle,
            gate_up,
        }
    }

    /// Computes the down projection of a block and adds it to the residual stream.
    pub(super) fn block_output(
        &mut self,
        pass: &Pass<M::Buffer>,
        layer: usize,
        activations: &Activations<M::Buffer>,
    ) -> M::Buffer {
        let inner = self.swiglu(&activations.gate_up, pass.rows);
        let x = self.copy(&activations.middle, pass.rows, self.config.hidden);
        self.linear(layer, &[Projection::Down], &inner, &x, pass.rows, true);
        x
    }

    /// Returns the gains of a block's two norms.
    pub(super) fn norms(&self, layer: usize) -> [M::Buffer; 2] {
        let block = &self.weights.blocks[layer];
        [block.attention_norm.clone(), block.feed_forward_norm.clone()]
    }

    pub(super) fn swiglu(&mut self, gate_up: &M::Buffer, rows: usize) -> M::Buffer {
        let width = self.config.intermediate;
        let inner = self.rows(rows, width);
        self.elementwise(
            Kernel::Swiglu,
            rows,
            width,
            &[gate_up, &inner],
            &[Scalar::U32(count(width))],
        );
        inner
    }

    fn copy(&mut self, x: &M::Buffer, rows: usize, width: usize) -> M::Buffer {
        let y = self.rows(rows, width);
        let kernel = Kernel::Training(TrainingKernel::Copy);
        self.elementwise(kernel, 1, rows * width, &[x, &y], &[Scalar::U32(count(rows * width))]);
        y
    }
}
