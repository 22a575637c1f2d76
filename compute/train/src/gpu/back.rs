//! A block backwards.

use compute::{decoder::gpu::count, lora::Projection};
use cube::{Kernel, TrainingKernel, Machine, Scalar};

use super::{HEADS_EACH, Kept, Learner, Pass};

impl<M: Machine> Learner<M> {
    /// Takes `d` from a block's output to its input, and adds to the gradients of its adapters. The gradient of the input
    /// itself is wanted only if `onward`.
    pub(super) fn back(
        &mut self,
        pass: &Pass<M::Buffer>,
        layer: usize,
        x: &M::Buffer,
        kept: Kept<M::Buffer>,
        d: &M::Buffer,
        onward: bool,
    ) {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let rows = pass.rows;
        let [first, second] = self.norms(layer);
        let inner = self.gate(&kept.gate_up, rows);
        let d_inner = self.linear_back(layer, &[Down], d, &inner, rows, true);
        drop(inner);
        let d_gate_up = self.gate_back(&kept.gate_up, &d_inner.expect("it was asked for"), rows);
        let normed = self.norm(&kept.middle, &second, rows);
        let d_normed = self.linear_back(layer, &[Gate, Up], &d_gate_up, &normed, rows, true);
        drop(d_gate_up);
        self.norm_back(&kept.middle, &second, &d_normed.expect("it was asked for"), d, rows);

        let d_attended = self.linear_back(layer, &[O], d, &kept.attended, rows, true);
        let d_qkv = self.attention_back(pass, layer, &kept, &d_attended.expect("it was asked for"));
        let normed = self.norm(x, &first, rows);
        if let Some(d_normed) = self.linear_back(layer, &[Q, K, V], &d_qkv, &normed, rows, onward) {
            self.norm_back(x, &first, &d_normed, d, rows);
        }
    }

    fn gate_back(&mut self, gate_up: &M::Buffer, d: &M::Buffer, rows: usize) -> M::Buffer {
        let width = self.config.intermediate;
        let y = self.rows(rows, 2 * width);
        let kernel = Kernel::Training(TrainingKernel::SwigluBackward);
        self.elementwise(kernel, rows, width, &[gate_up, d, &y], &[Scalar::U32(count(width))]);
        y
    }

    /// The gradient of queries, keys and values as their layers gave them.
    fn attention_back(
        &mut self,
        pass: &Pass<M::Buffer>,
        layer: usize,
        kept: &Kept<M::Buffer>,
        d: &M::Buffer,
    ) -> M::Buffer {
        let (rows, heads, width) = (pass.rows, self.config.heads, self.config.head);
        let turned = self.turned(pass, layer, &kept.qkv);
        let (dots, d_qkv) = (self.rows(rows, heads), self.rows(rows, self.qkv_width()));
        self.machine.launch(
            Kernel::Training(TrainingKernel::Delta),
            [count(rows), count(heads).div_ceil(HEADS_EACH), 1],
            &[&kept.attended, d, &dots],
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
                &[&turned, d, &kept.logs, &dots, &pass.tiles, &d_qkv],
                &scalars,
            );
        }
        self.turning(pass, layer, true, &kept.qkv, &d_qkv);
        d_qkv
    }
}
