//! Weights in a GPU's memory, all of one type: that of the files if they agree, else singles.

use cube::{Element, Machine};
use half::{bf16, f16};

use crate::{
    kernel::weight::{Numbers, Weight},
    lora::Projection,
    model::{Config, Family, Model, ModelError, files::Tensors},
    tensors::Dtype,
};

/// All weights of a model.
pub struct Weights<B> {
    /// Type of all matrices.
    pub element: Element,
    /// `[vocabulary, hidden]`, one row per token.
    pub embedding: B,
    /// The blocks, first to last.
    pub blocks: Vec<Block<B>>,
    /// Gain of the last norm, in singles.
    pub norm: B,
    /// Output layer; the embedding's buffer where the two are tied.
    pub head: Linear<B>,
}

/// The weights of one block.
pub struct Block<B> {
    /// Gain of the norm before attention.
    pub attention_norm: B,
    /// Gain of the norm before the feed-forward layers.
    pub feed_forward_norm: B,
    /// Gains of the norms of queries, then of keys (Qwen3).
    pub gains: Option<B>,
    pub(crate) qkv: Linear<B>,
    pub(crate) out: Linear<B>,
    pub(crate) gate_up: Linear<B>,
    pub(crate) down: Linear<B>,
}

/// Linear layers that read the same rows, stacked to one matrix.
#[derive(Clone)]
pub struct Linear<B> {
    /// `[outs, columns]`, of the type in [`Weights::element`].
    pub weight: B,
    /// Addend of every row, in singles.
    pub bias: Option<B>,
    /// Number of outputs of all layers together.
    pub outs: usize,
    /// Number of inputs.
    pub columns: usize,
}

impl<B> Block<B> {
    /// Returns the stacked layers of some sites.
    pub fn linear(&self, sites: &[Projection]) -> &Linear<B> {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        match sites {
            [Q, K, V] => &self.qkv,
            [O] => &self.out,
            [Gate, Up] => &self.gate_up,
            [Down] => &self.down,
            _ => unreachable!("a decoder asks for the sites that read the same rows together"),
        }
    }
}

/// Returns the type in memory for a type in files.
pub(crate) fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
    }
}

/// Appends numbers of a file, converted if the types differ.
pub(crate) fn convert(from: Dtype, bytes: &[u8], to: Element, into: &mut Vec<u8>) {
    if element(from) == to {
        return into.extend_from_slice(bytes);
    }
    let mut singles = Vec::with_capacity(bytes.len() / from.bytes());
    from.read(bytes, &mut singles);
    match to {
        Element::F32 => singles.iter().for_each(|x| into.extend(x.to_le_bytes())),
        Element::F16 => singles
            .iter()
            .for_each(|x| into.extend(f16::from_f32(*x).to_le_bytes())),
        Element::BF16 => singles
            .iter()
            .for_each(|x| into.extend(bf16::from_f32(*x).to_le_bytes())),
    }
}

fn stored(weight: &Weight) -> (Dtype, &[u8]) {
    match &weight.numbers {
        Numbers::Stored(dtype, bytes) => (*dtype, bytes.get()),
        Numbers::Int8 { .. } | Numbers::Int4 { .. } => unreachable!("weights come as stored"),
    }
}

fn singles(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Uploads tensors to a machine.
struct Uploader<'a, M> {
    machine: &'a mut M,
    tensors: &'a Tensors,
    config: &'a Config,
    element: Element,
}

impl<M: Machine> Uploader<'_, M> {
    fn vector(&mut self, name: &str, length: usize) -> Result<M::Buffer, ModelError> {
        Ok(self.machine.upload(&singles(&self.tensors.vector(name, length)?)))
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<M::Buffer, ModelError> {
        let weight = self.tensors.matrix(name, rows, columns)?;
        let (dtype, bytes) = stored(&weight);
        let mut numbers = Vec::with_capacity(rows * columns * self.element.bytes());
        convert(dtype, bytes, self.element, &mut numbers);
        Ok(self.machine.upload(&numbers))
    }

    fn linear(&mut self, layer: usize, sites: &[Projection]) -> Result<Linear<M::Buffer>, ModelError> {
        let (mut numbers, mut bias, mut outs, mut columns) = (Vec::new(), Vec::new(), 0, 0);
        for site in sites {
            let [rows, inside] = self.config.linear_shape(*site);
            let path = format!("model.layers.{layer}.{}.{}", site.block(), site.name());
            let weight = self.tensors.matrix(&format!("{path}.weight"), rows, inside)?;
            let (dtype, bytes) = stored(&weight);
            convert(dtype, bytes, self.element, &mut numbers);
            match (self.config.has_bias(*site), self.tensors.has(&format!("{path}.bias"))) {
                (true, _) => bias.extend(self.tensors.vector(&format!("{path}.bias"), rows)?),
                (false, false) => bias.resize(bias.len() + rows, 0.0),
                (false, true) => {
                    return Err(ModelError::Tensor {
                        tensor: format!("{path}.bias"),
                        why: "is a bias that config.json knows nothing of".to_owned(),
                    });
                }
            }
            (outs, columns) = (outs + rows, inside);
        }
        let biased = sites.iter().any(|site| self.config.has_bias(*site));
        Ok(Linear {
            weight: self.machine.upload(&numbers),
            bias: biased.then(|| self.machine.upload(&singles(&bias))),
            outs,
            columns,
        })
    }

    fn block(&mut self, layer: usize) -> Result<Block<M::Buffer>, ModelError> {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let (hidden, head) = (self.config.hidden, self.config.head);
        let name = |rest: &str| format!("model.layers.{layer}.{rest}.weight");
        let gains = if self.config.family == Family::Qwen3 {
            let mut both = self.tensors.vector(&name("self_attn.q_norm"), head)?;
            both.extend(self.tensors.vector(&name("self_attn.k_norm"), head)?);
            Some(self.machine.upload(&singles(&both)))
        } else {
            None
        };
        Ok(Block {
            attention_norm: self.vector(&name("input_layernorm"), hidden)?,
            feed_forward_norm: self.vector(&name("post_attention_layernorm"), hidden)?,
            gains,
            qkv: self.linear(layer, &[Q, K, V])?,
            out: self.linear(layer, &[O])?,
            gate_up: self.linear(layer, &[Gate, Up])?,
            down: self.linear(layer, &[Down])?,
        })
    }
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Returns the type that all matrices share, or else singles, which hold every type exactly.
pub(crate) fn common_element(tensors: &Tensors, config: &Config) -> Result<Element, ModelError> {
    let mut names = vec![(EMBEDDING.to_owned(), [config.vocabulary, config.hidden])];
    names.extend((!config.tied).then(|| (HEAD.to_owned(), [config.vocabulary, config.hidden])));
    for layer in 0..config.layers {
        names.extend(Projection::ALL.map(|site| {
            let path = format!("model.layers.{layer}.{}.{}.weight", site.block(), site.name());
            (path, config.linear_shape(site))
        }));
    }
    let mut found = None;
    for (name, [rows, columns]) in names {
        let weight = tensors.matrix(&name, rows, columns)?;
        let this = element(stored(&weight).0);
        if *found.get_or_insert(this) != this {
            return Ok(Element::F32);
        }
    }
    Ok(found.unwrap_or(Element::F32))
}

impl<B: Clone + Send> Weights<B> {
    /// Uploads the tensors that the configuration asks for.
    pub fn take<M: Machine<Buffer = B>>(machine: &mut M, model: &Model) -> Result<Self, ModelError> {
        let (tensors, config) = (model.tensors(), model.config());
        let element = common_element(tensors, config)?;
        let mut take = Uploader {
            machine,
            tensors,
            config,
            element,
        };
        let embedding = take.matrix(EMBEDDING, config.vocabulary, config.hidden)?;
        let head = if config.tied {
            embedding.clone()
        } else {
            take.matrix(HEAD, config.vocabulary, config.hidden)?
        };
        let blocks: Result<_, _> = (0..config.layers).map(|layer| take.block(layer)).collect();
        Ok(Self {
            element,
            embedding,
            blocks: blocks?,
            norm: take.vector("model.norm.weight", config.hidden)?,
            head: Linear {
                weight: head,
                bias: None,
                outs: config.vocabulary,
                columns: config.hidden,
            },
        })
    }
}
