//! Backward pass of a block.

use compute::{decoder::gpu::count, lora::Projection};
use cube::{Kernel, Machine, Scalar, TrainingKernel};

use super::{Activations, GpuNetwork, HEADS_EACH, Pass};

impl<M: Machine> GpuNetwork<M> {
    /// Turns `d`, the gradient of the block's output, into that of its input, and adds the gradients of the block's
    /// adapters. The gradient of the input is computed only if `input_wanted`.
    pub(super) fn backward(
        &mut self,
        pass: &Pass<M::Buffer>,
        layer: usize,
        x: &M::Buffer,
        activations: Activations<M::Buffer>,
        d: &M::Buffer,
        input_wanted: bool,
    ) {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let rows = pass.rows;
        let [first, second] = self.norms(layer);
        let inner = self.swiglu(&activations.gate_up, rows);
        let d_inner = self.linear_backward(layer, &[Down], d, &inner, rows, true);
        drop(inner);
        let d_gate_up = self.swiglu_backward(&activations.gate_up, &d_inner.expect("it was asked for"), rows);
        let normed = self.norm(&activations.middle, &second, rows);
        let d_normed = self.linear_backward(layer, &[Gate, Up], &d_gate_up, &normed, rows, true);
        drop(d_gate_up);
        self.norm_backward(
            &activations.middle,
            &second,
            &d_normed.expect("it was asked for"),
            d,
            rows,
        );

        let d_attended = self.linear_backward(layer, &[O], d, &activations.attended, rows, true);
        let d_qkv = self.attention_backward(pass, layer, &activations, &d_attended.expect("it was asked for"));
        let normed = self.norm(x, &first, rows);
        if let Some(d_normed) = self.linear_backward(layer, &[Q, K, V], &d_qkv, &normed, rows, input_wanted) {
            self.norm_backward(x, &first, &d_normed, d, rows);
        }
    }

    fn swiglu_backward(&mut self, gate_up: &M::Buffer, d: &M::Buffer, rows: usize) -> M::Buffer {
        let width = self.config.intermediate;
        let y = self.rows(rows, 2 * width);
        let kernel = Kernel::Training(TrainingKernel::SwigluBackward);
        self.elementwise(kernel, rows, width, &[gate_up, d, &y], &[Scalar::U32(count(width))]);
        y
    }

    /// Returns the gradient of queries, keys and values before norms and rope.
    fn attention_backward(
        &mut self,
        pass: &Pass<M::Buffer>,
        layer: usize,
        activations: &Activations<M::Buffer>,
        d: &M::Buffer,
    ) -> M::Buffer {
        let (rows, heads, width) = (pass.rows, self.config.heads, self.config.head);
        let roped = self.apply_rope(pass, layer, &activations.qkv);
        let (delta, d_qkv) = (self.rows(rows, heads), self.rows(rows, self.qkv_width()));
        self.machine.launch(
            Kernel::Training(TrainingKernel::Delta),
            [count(rows), count(heads).div_ceil(HEADS_EACH), 1],
            &[&activations.attended, d, &delta],
            &[heads, width].map(|n| Scalar::U32(count(n))),
        );
        let scalars = self.heads();
        for (kernel, heads) in [
            (TrainingKernel::BackwardDq { width }, heads),
            (TrainingKernel::BackwardDkv { width }, self.config.kv_heads),
        ] {
            self.machine.launch(
                Kernel::Training(kernel),
                [count(pass.tile_count), count(heads), 1],
                &[&roped, d, &activations.lse, &delta, &pass.tiles, &d_qkv],
                &scalars,
            );
        }
        self.launch_rope(pass, layer, true, &activations.qkv, &d_qkv);
        d_qkv
    }
}
