//! A block backwards.

use compute::{
    kernel::{
        dot::Store,
        gemm::{Left, Right},
    },
    lora::Projection,
    model::weights::Weights,
};

use super::{
    Kept, Lows, Net, at,
    attention::Attention,
    crew::{Crew, Layer},
    pack::Pack,
    places::{BlockPlaces, LinearPlaces},
};

/// A layer, where its gradients go, and the gradient of its outputs.
type Side<'a> = (Layer<'a>, LinearPlaces, &'a [f32]);

/// A block's layers.
struct Here<'a> {
    weights: &'a Weights,
    lows: &'a Lows,
    layer: usize,
    places: &'a BlockPlaces,
}

impl Here<'_> {
    fn side<'a>(&'a self, site: Projection, d: &'a [f32]) -> Side<'a> {
        (
            at(self.weights, self.lows, self.layer, site),
            self.places.linear(site),
            d,
        )
    }
}

impl Net {
    /// Takes `d` from a block's output to its input, and adds to the gradients of what is trained in it. The gradient of
    /// the input itself is wanted only if `onward`.
    #[allow(clippy::too_many_arguments, reason = "a block, what it had, and where gradients go")]
    pub(super) fn back(
        &mut self,
        pack: &Pack,
        layer: usize,
        x: &[f32],
        kept: Kept,
        d: &mut [f32],
        onward: bool,
        gradients: &mut [Vec<f32>],
    ) {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let (crew, epsilon) = (&mut self.crew, self.config.norm_epsilon);
        let weights = self.weights.as_ref().expect("bound before it runs");
        let (block, places) = (&weights.blocks[layer], &self.places.blocks[layer]);
        let here = Here {
            weights,
            lows: &self.lows,
            layer,
            places,
        };
        let Kept {
            q,
            k,
            v,
            attended,
            middle,
            mut gate,
            mut up,
        } = kept;

        let mut inner = crew.copy(&gate);
        crew.gate(&mut inner, &up);
        let d_inner = crew.through(&[here.side(Down, d)], &inner, true, gradients);
        crew.free(inner);
        crew.gate_back(&mut gate, &mut up, &d_inner);
        crew.free(d_inner);
        let normed = crew.norm(&middle, &block.feed_forward_norm, epsilon);
        let d_normed = crew.through(&[here.side(Gate, &gate), here.side(Up, &up)], &normed, true, gradients);
        [normed, gate, up].into_iter().for_each(|buffer| crew.free(buffer));
        if let Some(place) = places.feed_forward_norm {
            crew.gain_back(&middle, epsilon, &d_normed, &mut gradients[place]);
        }
        crew.norm_back(&middle, &block.feed_forward_norm, epsilon, &d_normed, d);
        crew.free(d_normed);
        crew.free(middle);

        let d_attended = crew.through(&[here.side(O, d)], &attended, true, gradients);
        let attention = Attention {
            config: &self.config,
            rope: &self.rope,
            norms: block.head_norms.as_ref(),
        };
        let placed = attention.place(crew, pack, [&q, &k, &v]);
        let back = attention.back(crew, pack, &placed, [&q, &k], &attended, &d_attended);
        placed.free(crew);
        [attended, d_attended].into_iter().for_each(|buffer| crew.free(buffer));
        if let Some(turned) = &back.turned {
            for (index, place) in places.head_norms.iter().flatten().enumerate() {
                crew.gain_back([&q, &k][index], epsilon, &turned[index], &mut gradients[*place]);
            }
        }
        [q, k, v].into_iter().for_each(|buffer| crew.free(buffer));
        let normed = crew.norm(x, &block.attention_norm, epsilon);
        let onward = onward || places.attention_norm.is_some();
        let sides = [
            here.side(Q, &back.queries),
            here.side(K, &back.keys),
            here.side(V, &back.values),
        ];
        let d_normed = crew.through(&sides, &normed, onward, gradients);
        crew.free(normed);
        if let Some(place) = places.attention_norm {
            crew.gain_back(x, epsilon, &d_normed, &mut gradients[place]);
        }
        if onward {
            crew.norm_back(x, &block.attention_norm, epsilon, &d_normed, d);
        }
        crew.free(d_normed);
        [back.queries, back.keys, back.values]
            .into_iter()
            .chain(back.turned.into_iter().flatten())
            .for_each(|buffer| crew.free(buffer));
    }
}

impl Crew {
    /// Linear layers that read the same rows, backwards: adds to the gradients of their parameters, and gives that of the
    /// rows if it is wanted, else nothing.
    pub(super) fn through(
        &mut self,
        sides: &[Side<'_>],
        x: &[f32],
        onward: bool,
        gradients: &mut [Vec<f32>],
    ) -> Vec<f32> {
        let width = sides[0].0.weight.columns;
        let rows = x.len() / width;
        let mut d_x = if onward { self.take(x.len()) } else { Vec::new() };
        let mut store = Store::Set;
        for (layer, places, d) in sides {
            let out = layer.weight.rows;
            if let Some(place) = places.weight {
                let (left, right) = (Left::turned(d, out), Right::Singles(x, width));
                self.multiply(left, right, rows, out, &mut gradients[place], Store::Add);
            }
            if let Some(place) = places.bias {
                self.sum_rows(d, &mut gradients[place]);
            }
            if onward {
                let right = Right::Weight(layer.weight);
                self.multiply(Left::rows(d, out), right, out, rows, &mut d_x, store);
                store = Store::Add;
            }
            let Some(low) = layer.low else { continue };
            let rank = low.a.rows;
            let d_shrunk = self.shrink(d, &low.b, low.scale);
            if let Some((a, b)) = places.low {
                let shrunk = self.shrink(x, &low.a, low.scale);
                let (left, right) = (Left::turned(&shrunk, rank), Right::Singles(d, out));
                self.multiply(left, right, rows, rank, &mut gradients[b], Store::Add);
                let (left, right) = (Left::turned(&d_shrunk, rank), Right::Singles(x, width));
                self.multiply(left, right, rows, rank, &mut gradients[a], Store::Add);
                self.free(shrunk);
            }
            if onward {
                let (left, right) = (Left::rows(&d_shrunk, rank), Right::Weight(&low.a));
                self.multiply(left, right, rank, rows, &mut d_x, Store::Add);
            }
            self.free(d_shrunk);
        }
        d_x
    }
}
