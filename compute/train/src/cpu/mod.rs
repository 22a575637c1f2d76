//! Forward and backward pass of a decoder on the processor.
//!
//! The forward pass gives each row the same bits as the serving path. The backward pass needs the input of each block
//! and seven intermediate results. Inputs are always kept; intermediate results are kept for the last blocks, as far
//! as `keep_bytes` reaches, and computed again for the others.
//!
//! Neither that, nor the cut into passes, nor threads or instructions change a bit of the gradient: rows are
//! independent, and a sum over rows is one chain in their order that continues from pass to pass.

pub(crate) mod attention;
mod backward;
pub(crate) mod gradient_slots;
mod head;
pub(crate) mod pack;
pub(crate) mod parallel_ops;

use attention::{Attention, RopedQkv};
use gradient_slots::GradientSlots;
use pack::Pack;
use parallel_ops::{Layer, LoraFactors, ParallelOps};

use compute::{
    kernel::{Level, Quantise, dot::Store},
    lora::Projection,
    model::{Config, Model, ModelError, rope::Rope, weights::Weights},
};

use crate::throttle::{Foreground, ForegroundYield};

/// Adapter factors by block and projection.
pub(crate) type LoraBlocks = Vec<[Option<LoraFactors>; 7]>;

/// Settings of a network; none of them changes a bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkOptions {
    pub(crate) threads: usize,
    pub(crate) level: Level,
    /// Bytes for intermediate results kept for the backward pass.
    pub(crate) keep_bytes: usize,
}

/// A model with its adapter, if it has one, and the threads that compute it.
pub(crate) struct Network {
    pub(crate) config: Config,
    /// `None` while the optimiser changes weights that are themselves trained.
    weights: Option<Weights>,
    lora: LoraBlocks,
    slots: GradientSlots,
    rope: Rope,
    ops: ParallelOps,
    keep_bytes: usize,
}

/// The intermediate results of a block that its backward pass needs.
struct Activations {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    /// Residual stream between attention and the feed-forward layers.
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

impl Activations {
    fn free(self, ops: &mut ParallelOps) {
        let Self {
            q,
            k,
            v,
            attended,
            middle,
            gate,
            up,
        } = self;
        [q, k, v, attended, middle, gate, up]
            .into_iter()
            .for_each(|buffer| ops.free(buffer));
    }
}

impl Network {
    /// Makes a network on a frozen base. `slots` says which parameters are trained.
    pub(crate) fn frozen(
        model: &Model,
        quantise: Quantise,
        slots: GradientSlots,
        options: NetworkOptions,
    ) -> Result<Self, ModelError> {
        let weights = Weights::take(model, quantise)?;
        let mut net = Self::bare(model.config(), slots, options);
        net.weights = Some(weights);
        Ok(net)
    }

    /// Makes a network without weights; [`Self::bind`] provides them.
    pub(crate) fn bare(config: &Config, slots: GradientSlots, options: NetworkOptions) -> Self {
        Self {
            weights: None,
            lora: Vec::new(),
            slots,
            rope: Rope::new(config),
            ops: ParallelOps::new(options.threads, options.level),
            keep_bytes: options.keep_bytes,
            config: config.clone(),
        }
    }

    /// Sets the foreground work that later passes yield to.
    pub(crate) fn yield_to_foreground(&mut self, foreground: Option<Foreground>) {
        self.ops.foreground = foreground.map(ForegroundYield::new);
    }

    /// Uses these weights and adapters from now on; `None` keeps the weights.
    pub(crate) fn bind(&mut self, weights: Option<Weights>, lora: LoraBlocks) {
        if weights.is_some() {
            self.weights = weights;
        }
        self.lora = lora;
    }

    /// Drops references to parameters, so that the optimiser may change them.
    pub(crate) fn release(&mut self, own_weights: bool) {
        self.lora = Vec::new();
        if own_weights {
            self.weights = None;
        }
    }

    /// Returns the negative log-likelihood of each target, in order.
    pub(crate) fn losses(&mut self, pack: &Pack) -> Vec<f64> {
        let mut x = self.embed(pack);
        for layer in 0..self.config.layers {
            let activations = self.block_activations(pack, layer, &x);
            let next = self.block_output(layer, &activations);
            activations.free(&mut self.ops);
            self.ops.free(std::mem::replace(&mut x, next));
        }
        let losses = self.head(pack, &x, None);
        self.ops.free(x);
        losses
    }

    /// Returns the same losses, and adds the gradient of their weighted sum.
    pub(crate) fn losses_and_gradients(&mut self, pack: &Pack, gradients: &mut [Vec<f32>]) -> Vec<f64> {
        let (layers, lowest) = (self.config.layers, self.slots.lowest());
        let keeps = (self.keep_bytes / self.activation_bytes(pack.rows())).max(1);
        let first_kept = layers.saturating_sub(keeps);
        let mut x = self.embed(pack);
        let (mut inputs, mut all_activations) = (Vec::new(), Vec::new());
        for layer in 0..layers {
            let activations = self.block_activations(pack, layer, &x);
            let next = self.block_output(layer, &activations);
            let wanted = lowest.is_some_and(|lowest| lowest <= layer);
            if wanted && layer >= first_kept {
                all_activations.push(activations);
            } else {
                activations.free(&mut self.ops);
            }
            let input = std::mem::replace(&mut x, next);
            if wanted {
                inputs.push(input);
            } else {
                self.ops.free(input);
            }
        }
        let mut d = self.ops.zeros(x.len());
        let losses = self.head(pack, &x, Some((&mut d, gradients)));
        self.ops.free(x);
        for layer in (lowest.unwrap_or(layers)..layers).rev() {
            let input = inputs.pop().expect("each of these blocks had one");
            let activations = all_activations
                .pop()
                .unwrap_or_else(|| self.block_activations(pack, layer, &input));
            // Nothing below the lowest trained block needs a gradient.
            let input_wanted = lowest != Some(layer) || self.slots.embedding.is_some();
            self.backward(pack, layer, &input, activations, &mut d, input_wanted, gradients);
            self.ops.free(input);
        }
        if let Some(slot) = self.slots.embedding {
            let width = self.config.hidden;
            for (token, d) in pack.tokens.iter().zip(d.chunks_exact(width)) {
                let onto = &mut gradients[slot][*token as usize * width..][..width];
                onto.iter_mut().zip(d).for_each(|(onto, d)| *onto += d);
            }
        }
        self.ops.free(d);
        losses
    }

    /// Returns the bytes that [`Activations`] of this many rows take.
    fn activation_bytes(&self, rows: usize) -> usize {
        let Config {
            hidden,
            intermediate,
            heads,
            kv_heads,
            head,
            ..
        } = self.config;
        4 * rows * (hidden + 2 * intermediate + 2 * (heads + kv_heads) * head)
    }

    fn weights(&self) -> &Weights {
        self.weights.as_ref().expect("bound before it runs")
    }

    fn embed(&mut self, pack: &Pack) -> Vec<f32> {
        self.rope.reach(pack.longest());
        let mut x = self.ops.take(pack.rows() * self.config.hidden);
        x.clear();
        for token in &pack.tokens {
            self.weights().embedding.row(*token as usize, &mut x);
        }
        x
    }

    /// Computes a block up to, but without, its down projection.
    fn block_activations(&mut self, pack: &Pack, layer: usize, x: &[f32]) -> Activations {
        use Projection::{Gate, K, O, Q, Up, V};
        let (ops, epsilon) = (&mut self.ops, self.config.norm_epsilon);
        let weights = self.weights.as_ref().expect("bound before it runs");
        let (block, at) = (&weights.blocks[layer], |site| at(weights, &self.lora, layer, site));
        let normed = ops.norm(x, &block.attention_norm, epsilon);
        let [q, k, v] = [Q, K, V].map(|site| ops.linear_of(at(site), &normed));
        ops.free(normed);
        let attention = Attention {
            config: &self.config,
            rope: &self.rope,
            norms: block.head_norms.as_ref(),
        };
        let roped: RopedQkv = attention.apply_rope(ops, pack, [&q, &k, &v]);
        let attended = attention.attend(ops, pack, &roped);
        roped.free(ops);
        let mut middle = ops.copy(x);
        ops.linear(at(O), &attended, &mut middle, Store::Add);
        let normed = ops.norm(&middle, &block.feed_forward_norm, epsilon);
        let [gate, up] = [Gate, Up].map(|site| ops.linear_of(at(site), &normed));
        ops.free(normed);
        Activations {
            q,
            k,
            v,
            attended,
            middle,
            gate,
            up,
        }
    }

    /// Computes the down projection of a block and adds it to the residual stream.
    fn block_output(&mut self, layer: usize, activations: &Activations) -> Vec<f32> {
        let ops = &mut self.ops;
        let weights = self.weights.as_ref().expect("bound before it runs");
        let mut inner = ops.copy(&activations.gate);
        ops.swiglu(&mut inner, &activations.up);
        let mut x = ops.copy(&activations.middle);
        ops.linear(
            at(weights, &self.lora, layer, Projection::Down),
            &inner,
            &mut x,
            Store::Add,
        );
        ops.free(inner);
        x
    }
}

fn at<'a>(weights: &'a Weights, lora: &'a LoraBlocks, layer: usize, site: Projection) -> Layer<'a> {
    let (weight, bias) = weights.blocks[layer].linear(site);
    Layer {
        weight,
        bias,
        lora: lora.get(layer).and_then(|block| block[site as usize].as_ref()),
    }
}

#[cfg(test)]
mod tests;
