//! A decoder in doubles, one position at a time, written from the papers and independent of the crate. It reads the
//! fixtures' files itself, and rounds where it is told to.

use std::{collections::BTreeMap, f64::consts::TAU, fs, path::Path};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// A matrix of doubles in row-major order.
#[derive(Clone)]
pub(crate) struct Matrix {
    pub(crate) columns: usize,
    pub(crate) numbers: Vec<f64>,
}

impl Matrix {
    fn times(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.columns);
        self.numbers
            .chunks_exact(self.columns)
            .map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
            .collect()
    }
}

/// Reads the tensors of all tensor files of a folder.
pub(crate) fn tensors(dir: &Path) -> BTreeMap<String, Matrix> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "safetensors") || path.ends_with("expected.safetensors") {
            continue;
        }
        let bytes = fs::read(path).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let half = |chunk: &[u8]| u16::from_le_bytes(chunk.try_into().unwrap());
            let numbers = match view.dtype() {
                Dtype::F32 => view
                    .data()
                    .chunks(4)
                    .map(|c| f64::from(f32::from_le_bytes(c.try_into().unwrap())))
                    .collect(),
                Dtype::F16 => view
                    .data()
                    .chunks(2)
                    .map(|c| half::f16::from_bits(half(c)).to_f64())
                    .collect(),
                Dtype::BF16 => view
                    .data()
                    .chunks(2)
                    .map(|c| half::bf16::from_bits(half(c)).to_f64())
                    .collect(),
                other => panic!("{other:?}"),
            };
            let columns = *view.shape().last().unwrap();
            all.insert(name, Matrix { columns, numbers });
        }
    }
    all
}

/// A model with adapters that all act at once: factors and scale by the path of their module.
pub(crate) struct Reference {
    config: Value,
    pub(crate) tensors: BTreeMap<String, Matrix>,
    /// Rounding of stored keys and values.
    pub(crate) kept: Round,
    /// Rounding of rows that tensor cores could multiply: those whose width is a multiple of [`CORE`].
    pub(crate) rows: Round,
}

/// A rounding of one number.
pub(crate) type Round = Box<dyn Fn(f64) -> f64>;

/// Numbers of 16 bits per load.
const CORE: usize = 8;

/// Scale, A and B by module.
pub(crate) type Adapter = BTreeMap<String, (f64, Matrix, Matrix)>;

impl Reference {
    pub(crate) fn read(dir: &Path) -> Self {
        Self {
            config: serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap(),
            tensors: tensors(dir),
            kept: Box::new(|x| x),
            rows: Box::new(|x| x),
        }
    }

    /// Returns `W x`.
    fn times(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weight = &self.tensors[name];
        match x.len() % CORE {
            0 => weight.times(&x.iter().map(|x| (self.rows)(*x)).collect::<Vec<_>>()),
            _ => weight.times(x),
        }
    }

    fn number(&self, field: &str) -> f64 {
        self.config[field].as_f64().unwrap()
    }

    fn count(&self, field: &str) -> usize {
        usize::try_from(self.config[field].as_u64().unwrap()).unwrap()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let factor = 1.0 / (mean + self.number("rms_norm_eps")).sqrt();
        x.iter()
            .zip(&self.tensors[name].numbers)
            .map(|(x, gain)| x * factor * gain)
            .collect()
    }

    fn linear(&self, path: &str, x: &[f64], adapter: &Adapter) -> Vec<f64> {
        let mut y = self.times(&format!("{path}.weight"), x);
        if let Some(bias) = self.tensors.get(&format!("{path}.bias")) {
            y.iter_mut().zip(&bias.numbers).for_each(|(y, bias)| *y += bias);
        }
        if let Some((scale, a, b)) = adapter.get(path) {
            y.iter_mut()
                .zip(b.times(&a.times(x)))
                .for_each(|(y, delta)| *y += scale * delta);
        }
        y
    }

    /// Returns radians per position of each pair, and the factor of sines and cosines.
    fn frequencies(&self, width: usize) -> (Vec<f64>, f64) {
        let rope = &self.config["rope_parameters"];
        let theta = rope["rope_theta"].as_f64().unwrap_or(10_000.0);
        let plain: Vec<f64> = (0..width / 2)
            .map(|i| theta.powf(-2.0 * i as f64 / width as f64))
            .collect();
        let (factor, trained) = (
            rope["factor"].as_f64(),
            rope["original_max_position_embeddings"].as_f64(),
        );
        match rope["rope_type"].as_str() {
            None | Some("default") => (plain, 1.0),
            Some("linear") => (plain.iter().map(|f| f / factor.unwrap()).collect(), 1.0),
            Some("llama3") => {
                let (low, high) = (
                    rope["low_freq_factor"].as_f64().unwrap(),
                    rope["high_freq_factor"].as_f64().unwrap(),
                );
                let scaled = plain.iter().map(|f| {
                    let wavelength = TAU / f;
                    if wavelength > trained.unwrap() / low {
                        f / factor.unwrap()
                    } else if wavelength < trained.unwrap() / high {
                        *f
                    } else {
                        let smooth = (trained.unwrap() / wavelength - low) / (high - low);
                        (1.0 - smooth) * f / factor.unwrap() + smooth * f
                    }
                });
                (scaled.collect(), 1.0)
            }
            Some("yarn") => {
                let (factor, trained) = (factor.unwrap(), trained.unwrap());
                let dimension = |turns: f64| width as f64 * (trained / (turns * TAU)).ln() / (2.0 * theta.ln());
                let low = dimension(32.0).floor().max(0.0);
                let high = dimension(1.0).ceil().min(width as f64 - 1.0);
                let scaled = plain.iter().enumerate().map(|(i, f)| {
                    let ramp = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    f / factor * ramp + f * (1.0 - ramp)
                });
                (scaled.collect(), 0.1 * factor.ln() + 1.0)
            }
            Some(other) => panic!("{other}"),
        }
    }

    /// Returns the logits of every position.
    pub(crate) fn logits(&self, tokens: &[u32], adapter: &Adapter) -> Vec<Vec<f64>> {
        let (heads, hidden) = (self.count("num_attention_heads"), self.count("hidden_size"));
        let groups = self.count("num_key_value_heads");
        let width = self.config["head_dim"]
            .as_u64()
            .map_or(hidden / heads, |width| usize::try_from(width).unwrap());
        let (frequencies, warmth) = self.frequencies(width);
        let turn = |x: &mut [f64], position: usize| {
            for (i, frequency) in frequencies.iter().enumerate() {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (a, b) = (x[i], x[i + width / 2]);
                x[i] = (a * cos - b * sin) * warmth;
                x[i + width / 2] = (b * cos + a * sin) * warmth;
            }
        };
        let embedding = &self.tensors["model.embed_tokens.weight"];
        let mut rows: Vec<Vec<f64>> = tokens
            .iter()
            .map(|token| embedding.numbers[*token as usize * hidden..][..hidden].to_vec())
            .collect();
        for layer in 0..self.count("num_hidden_layers") {
            let path = |rest: &str| format!("model.layers.{layer}.{rest}");
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for (position, row) in rows.iter_mut().enumerate() {
                let x = self.norm(&path("input_layernorm.weight"), row);
                let [mut q, mut k, v] =
                    ["q", "k", "v"].map(|name| self.linear(&path(&format!("self_attn.{name}_proj")), &x, adapter));
                for (name, all) in [("q", &mut q), ("k", &mut k)] {
                    for head in all.chunks_exact_mut(width) {
                        let gain = path(&format!("self_attn.{name}_norm.weight"));
                        if self.tensors.contains_key(&gain) {
                            let normed = self.norm(&gain, head);
                            head.copy_from_slice(&normed);
                        }
                        turn(head, position);
                    }
                }
                keys.push(k.into_iter().map(&self.kept).collect());
                values.push(v.into_iter().map(&self.kept).collect::<Vec<f64>>());
                let mut attended = Vec::new();
                for (head, q) in q.chunks_exact(width).enumerate() {
                    let group = head / (heads / groups) * width;
                    let score = |k: &Vec<f64>| -> f64 {
                        q.iter().zip(&k[group..]).map(|(q, k)| q * k).sum::<f64>() / (width as f64).sqrt()
                    };
                    let scores: Vec<f64> = keys.iter().map(score).collect();
                    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    attended.extend(
                        (0..width)
                            .map(|d| weights.iter().zip(&values).map(|(w, v)| w * v[group + d]).sum::<f64>() / total),
                    );
                }
                let out = self.linear(&path("self_attn.o_proj"), &attended, adapter);
                row.iter_mut().zip(out).for_each(|(x, y)| *x += y);
                let x = self.norm(&path("post_attention_layernorm.weight"), row);
                let gate = self.linear(&path("mlp.gate_proj"), &x, adapter);
                let up = self.linear(&path("mlp.up_proj"), &x, adapter);
                let inner: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                let down = self.linear(&path("mlp.down_proj"), &inner, adapter);
                row.iter_mut().zip(down).for_each(|(x, y)| *x += y);
            }
        }
        let own = self.tensors.contains_key("lm_head.weight");
        let head = if own {
            "lm_head.weight"
        } else {
            "model.embed_tokens.weight"
        };
        rows.iter()
            .map(|row| self.times(head, &self.norm("model.norm.weight", row)))
            .collect()
    }
}
