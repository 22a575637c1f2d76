//! A decoder that learns: forth in the bits of serving, and back, block by block.
//!
//! Of each block the way back needs its input and seven things that were computed in it. Inputs are kept; the rest is kept
//! for the last blocks, as far as the memory given to it reaches, and computed again for the others. Neither that, nor
//! how sequences are cut into passes, nor threads or instructions change a bit of the gradient: rows are independent
//! forth and back, and every sum over rows is a chain in their order, which goes on from pass to pass.

pub(crate) mod attention;
mod back;
pub(crate) mod crew;
mod head;
pub(crate) mod pack;
pub(crate) mod places;

use attention::{Attention, Placed};
use crew::{Crew, Layer, Low};
use pack::Pack;
use places::Places;

use compute::{
    kernel::{Level, Quantise, dot::Store},
    lora::Projection,
    model::{Config, Model, ModelError, rope::Rope, weights::Weights},
};

use crate::way::{Others, Way};

/// Adapters by block and projection.
pub(crate) type Lows = Vec<[Option<Low>; 7]>;

/// How a net runs. Nothing here changes a bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetOptions {
    pub(crate) threads: usize,
    pub(crate) level: Level,
    /// Bytes for what the way back needs of blocks beside their inputs.
    pub(crate) keep_bytes: usize,
}

/// A model, an adapter perhaps, and the threads.
pub(crate) struct Net {
    pub(crate) config: Config,
    /// Nothing while parameters that are the model's own are being changed.
    weights: Option<Weights>,
    lows: Lows,
    places: Places,
    rope: Rope,
    crew: Crew,
    keep_bytes: usize,
}

/// What the way back needs of a block.
struct Kept {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    /// Between attention and feed-forward.
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

impl Kept {
    fn free(self, crew: &mut Crew) {
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
            .for_each(|buffer| crew.free(buffer));
    }
}

impl Net {
    /// A frozen base, on which `places` says what is trained.
    pub(crate) fn frozen(
        model: &Model,
        quantise: Quantise,
        places: Places,
        options: NetOptions,
    ) -> Result<Self, ModelError> {
        let weights = Weights::take(model, quantise)?;
        let mut net = Self::bare(model.config(), places, options);
        net.weights = Some(weights);
        Ok(net)
    }

    /// A net without weights: they come with [`Self::bind`].
    pub(crate) fn bare(config: &Config, places: Places, options: NetOptions) -> Self {
        Self {
            weights: None,
            lows: Vec::new(),
            places,
            rope: Rope::new(config),
            crew: Crew::new(options.threads, options.level),
            keep_bytes: options.keep_bytes,
            config: config.clone(),
        }
    }

    /// Gives way to those from now on.
    pub(crate) fn give_way(&mut self, others: Option<Others>) {
        self.crew.way = others.map(Way::new);
    }

    /// Reads these weights from now on.
    pub(crate) fn bind(&mut self, weights: Option<Weights>, lows: Lows) {
        if weights.is_some() {
            self.weights = weights;
        }
        self.lows = lows;
    }

    /// Lets go of parameters, so that they may be changed.
    pub(crate) fn release(&mut self, own_weights: bool) {
        self.lows = Vec::new();
        if own_weights {
            self.weights = None;
        }
    }

    /// The negative log-likelihood of each target, in order.
    pub(crate) fn losses(&mut self, pack: &Pack) -> Vec<f64> {
        let mut x = self.embed(pack);
        for layer in 0..self.config.layers {
            let kept = self.inside(pack, layer, &x);
            let next = self.finish(layer, &kept);
            kept.free(&mut self.crew);
            self.crew.free(std::mem::replace(&mut x, next));
        }
        let losses = self.head(pack, &x, None);
        self.crew.free(x);
        losses
    }

    /// The same, and adds the gradient of their weighted sum.
    pub(crate) fn learn(&mut self, pack: &Pack, gradients: &mut [Vec<f32>]) -> Vec<f64> {
        let (layers, lowest) = (self.config.layers, self.places.lowest());
        let keeps = (self.keep_bytes / self.kept_bytes(pack.rows())).max(1);
        let first_kept = layers.saturating_sub(keeps);
        let mut x = self.embed(pack);
        let (mut inputs, mut all_kept) = (Vec::new(), Vec::new());
        for layer in 0..layers {
            let kept = self.inside(pack, layer, &x);
            let next = self.finish(layer, &kept);
            let wanted = lowest.is_some_and(|lowest| lowest <= layer);
            if wanted && layer >= first_kept {
                all_kept.push(kept);
            } else {
                kept.free(&mut self.crew);
            }
            let input = std::mem::replace(&mut x, next);
            if wanted {
                inputs.push(input);
            } else {
                self.crew.free(input);
            }
        }
        let mut d = self.crew.zeros(x.len());
        let losses = self.head(pack, &x, Some((&mut d, gradients)));
        self.crew.free(x);
        for layer in (lowest.unwrap_or(layers)..layers).rev() {
            let input = inputs.pop().expect("each of these blocks had one");
            let kept = all_kept.pop().unwrap_or_else(|| self.inside(pack, layer, &input));
            // Below the lowest block nobody asks.
            let onward = lowest != Some(layer) || self.places.embedding.is_some();
            self.back(pack, layer, &input, kept, &mut d, onward, gradients);
            self.crew.free(input);
        }
        if let Some(place) = self.places.embedding {
            let width = self.config.hidden;
            for (token, d) in pack.tokens.iter().zip(d.chunks_exact(width)) {
                let onto = &mut gradients[place][*token as usize * width..][..width];
                onto.iter_mut().zip(d).for_each(|(onto, d)| *onto += d);
            }
        }
        self.crew.free(d);
        losses
    }

    /// Bytes that [`Kept`] takes.
    fn kept_bytes(&self, rows: usize) -> usize {
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
        let mut x = self.crew.take(pack.rows() * self.config.hidden);
        x.clear();
        for token in &pack.tokens {
            self.weights().embedding.row(*token as usize, &mut x);
        }
        x
    }

    /// A block up to its last layer.
    fn inside(&mut self, pack: &Pack, layer: usize, x: &[f32]) -> Kept {
        use Projection::{Gate, K, O, Q, Up, V};
        let (crew, epsilon) = (&mut self.crew, self.config.norm_epsilon);
        let weights = self.weights.as_ref().expect("bound before it runs");
        let (block, at) = (&weights.blocks[layer], |site| at(weights, &self.lows, layer, site));
        let normed = crew.norm(x, &block.attention_norm, epsilon);
        let [q, k, v] = [Q, K, V].map(|site| crew.linear_of(at(site), &normed));
        crew.free(normed);
        let attention = Attention {
            config: &self.config,
            rope: &self.rope,
            norms: block.head_norms.as_ref(),
        };
        let placed: Placed = attention.place(crew, pack, [&q, &k, &v]);
        let attended = attention.look(crew, pack, &placed);
        placed.free(crew);
        let mut middle = crew.copy(x);
        crew.linear(at(O), &attended, &mut middle, Store::Add);
        let normed = crew.norm(&middle, &block.feed_forward_norm, epsilon);
        let [gate, up] = [Gate, Up].map(|site| crew.linear_of(at(site), &normed));
        crew.free(normed);
        Kept {
            q,
            k,
            v,
            attended,
            middle,
            gate,
            up,
        }
    }

    /// The last layer of a block.
    fn finish(&mut self, layer: usize, kept: &Kept) -> Vec<f32> {
        let crew = &mut self.crew;
        let weights = self.weights.as_ref().expect("bound before it runs");
        let mut inner = crew.copy(&kept.gate);
        crew.gate(&mut inner, &kept.up);
        let mut x = crew.copy(&kept.middle);
        crew.linear(
            at(weights, &self.lows, layer, Projection::Down),
            &inner,
            &mut x,
            Store::Add,
        );
        crew.free(inner);
        x
    }
}

fn at<'a>(weights: &'a Weights, lows: &'a Lows, layer: usize, site: Projection) -> Layer<'a> {
    let (weight, bias) = weights.blocks[layer].linear(site);
    Layer {
        weight,
        bias,
        low: lows.get(layer).and_then(|block| block[site as usize].as_ref()),
    }
}

#[cfg(test)]
mod tests;
