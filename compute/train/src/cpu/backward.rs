//! Backward pass of a block.

use compute::{
    kernel::{
        dot::Store,
        gemm::{Left, Right},
    },
    lora::Projection,
    model::weights::Weights,
};

use super::{
    Activations, LoraBlocks, Network, at,
    attention::Attention,
    gradient_slots::{BlockSlots, LinearSlots},
    pack::Pack,
    parallel_ops::{Layer, ParallelOps},
};

/// A layer, the slots of its gradients, and the gradient of its outputs.
type Side<'a> = (Layer<'a>, LinearSlots, &'a [f32]);

/// The layers of one block.
struct BlockLayers<'a> {
    weights: &'a Weights,
    lora: &'a LoraBlocks,
    layer: usize,
    slots: &'a BlockSlots,
}

impl BlockLayers<'_> {
    fn side<'a>(&'a self, site: Projection, d: &'a [f32]) -> Side<'a> {
        (
            at(self.weights, self.lora, self.layer, site),
            self.slots.linear(site),
            d,
        )
    }
}

impl Network {
    /// Turns `d`, the gradient of the block's output, into that of its input, and adds the gradients of the block's
    /// trained parameters. The gradient of the input is computed only if `input_wanted`.
    #[allow(clippy::too_many_arguments, reason = "a block, what it had, and where gradients go")]
    pub(super) fn backward(
        &mut self,
        pack: &Pack,
        layer: usize,
        x: &[f32],
        activations: Activations,
        d: &mut [f32],
        input_wanted: bool,
        gradients: &mut [Vec<f32>],
    ) {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let (ops, epsilon) = (&mut self.ops, self.config.norm_epsilon);
        let weights = self.weights.as_ref().expect("bound before it runs");
        let (block, slots) = (&weights.blocks[layer], &self.slots.blocks[layer]);
        let layers = BlockLayers {
            weights,
            lora: &self.lora,
            layer,
            slots,
        };
        let Activations {
            q,
            k,
            v,
            attended,
            middle,
            mut gate,
            mut up,
        } = activations;

        let mut inner = ops.copy(&gate);
        ops.swiglu(&mut inner, &up);
        let d_inner = ops.linear_backward(&[layers.side(Down, d)], &inner, true, gradients);
        ops.free(inner);
        ops.swiglu_backward(&mut gate, &mut up, &d_inner);
        ops.free(d_inner);
        let normed = ops.norm(&middle, &block.feed_forward_norm, epsilon);
        let d_normed = ops.linear_backward(
            &[layers.side(Gate, &gate), layers.side(Up, &up)],
            &normed,
            true,
            gradients,
        );
        [normed, gate, up].into_iter().for_each(|buffer| ops.free(buffer));
        if let Some(slot) = slots.feed_forward_norm {
            ops.gain_backward(&middle, epsilon, &d_normed, &mut gradients[slot]);
        }
        ops.norm_backward(&middle, &block.feed_forward_norm, epsilon, &d_normed, d);
        ops.free(d_normed);
        ops.free(middle);

        let d_attended = ops.linear_backward(&[layers.side(O, d)], &attended, true, gradients);
        let attention = Attention {
            config: &self.config,
            rope: &self.rope,
            norms: block.head_norms.as_ref(),
        };
        let roped = attention.apply_rope(ops, pack, [&q, &k, &v]);
        let back = attention.backward(ops, pack, &roped, [&q, &k], &attended, &d_attended);
        roped.free(ops);
        [attended, d_attended].into_iter().for_each(|buffer| ops.free(buffer));
        if let Some(normed_gradients) = &back.normed_gradients {
            for (index, slot) in slots.head_norms.iter().flatten().enumerate() {
                ops.gain_backward(
                    [&q, &k][index],
                    epsilon,
                    &normed_gradients[index],
                    &mut gradients[*slot],
                );
            }
        }
        [q, k, v].into_iter().for_each(|buffer| ops.free(buffer));
        let normed = ops.norm(x, &block.attention_norm, epsilon);
        let input_wanted = input_wanted || slots.attention_norm.is_some();
        let sides = [
            layers.side(Q, &back.queries),
            layers.side(K, &back.keys),
            layers.side(V, &back.values),
        ];
        let d_normed = ops.linear_backward(&sides, &normed, input_wanted, gradients);
        ops.free(normed);
        if let Some(slot) = slots.attention_norm {
            ops.gain_backward(x, epsilon, &d_normed, &mut gradients[slot]);
        }
        if input_wanted {
            ops.norm_backward(x, &block.attention_norm, epsilon, &d_normed, d);
        }
        ops.free(d_normed);
        [back.queries, back.keys, back.values]
            .into_iter()
            .chain(back.normed_gradients.into_iter().flatten())
            .for_each(|buffer| ops.free(buffer));
    }
}

impl ParallelOps {
    /// Backward pass of linear layers that read the same rows: adds the gradients of their parameters, and returns
    /// that of the rows, or nothing if it is not wanted.
    pub(super) fn linear_backward(
        &mut self,
        sides: &[Side<'_>],
        x: &[f32],
        input_wanted: bool,
        gradients: &mut [Vec<f32>],
    ) -> Vec<f32> {
        let width = sides[0].0.weight.columns;
        let rows = x.len() / width;
        let mut d_x = if input_wanted { self.take(x.len()) } else { Vec::new() };
        let mut store = Store::Set;
        for (layer, slots, d) in sides {
            let out = layer.weight.rows;
            if let Some(slot) = slots.weight {
                let (left, right) = (Left::transposed(d, out), Right::Singles(x, width));
                self.multiply(left, right, rows, out, &mut gradients[slot], Store::Add);
            }
            if let Some(slot) = slots.bias {
                self.sum_rows(d, &mut gradients[slot]);
            }
            if input_wanted {
                let right = Right::Weight(layer.weight);
                self.multiply(Left::rows(d, out), right, out, rows, &mut d_x, store);
                store = Store::Add;
            }
            let Some(lora) = layer.lora else { continue };
            let rank = lora.a.rows;
            let d_b = self.shrink(d, &lora.b, lora.scale);
            if let Some((a, b)) = slots.lora {
                let x_a = self.shrink(x, &lora.a, lora.scale);
                let (left, right) = (Left::transposed(&x_a, rank), Right::Singles(d, out));
                self.multiply(left, right, rows, rank, &mut gradients[b], Store::Add);
                let (left, right) = (Left::transposed(&d_b, rank), Right::Singles(x, width));
                self.multiply(left, right, rows, rank, &mut gradients[a], Store::Add);
                self.free(x_a);
            }
            if input_wanted {
                let (left, right) = (Left::rows(&d_b, rank), Right::Weight(&lora.a));
                self.multiply(left, right, rank, rows, &mut d_x, Store::Add);
            }
            self.free(d_b);
        }
        d_x
    }
}
