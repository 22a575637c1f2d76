//! The hashes that identify a base, a run, and its state after each step. Equal hashes mean equal bits.

use compute::model::Model;

use super::{data::Corpus, optimiser::Moments, parameters::Parameters, plan::Cursor, recipe::Recipe};

/// Returns the identity of a base model's content, however its files are cut.
///
/// It covers the `Debug` text of the configuration, so names in `compute::model::Config` must not change.
///
/// ```
/// use compute::model::{Config, Dimensions, Model};
///
/// let dimensions = Dimensions {
///     vocabulary: 32, hidden: 16, intermediate: 32, layers: 1, heads: 2, kv_heads: 1, context_tokens_max: 16, tied: true,
/// };
/// let hash = |seed| train::base_hash(&Model::untrained(&Config::llama(dimensions, 0).unwrap(), seed));
/// assert_eq!(hash(7), hash(7));
/// assert_ne!(hash(7), hash(8));
/// ```
pub fn base_hash(model: &Model) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("openledger training base v1");
    hasher.update(format!("{:?}", model.config()).as_bytes());
    for (name, dtype, shape, bytes) in model.stored() {
        hasher.update(format!("\n{name} {dtype:?} {shape:?}\n").as_bytes());
        hasher.update(bytes);
    }
    hasher.finalize()
}

/// Returns the identity of a run: base, records in order, contributors' weights, and the recipe with its seed.
pub(super) fn run_id(base: blake3::Hash, corpus: &Corpus, weights: &[f64], recipe: &Recipe) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("openledger training run v1");
    hasher.update(base.as_bytes());
    hasher.update(corpus.root().as_bytes());
    for (name, weight) in corpus.contributors.iter().zip(weights) {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&weight.to_bits().to_le_bytes());
    }
    hasher.update(&serde_json::to_vec(recipe).expect("numbers and names"));
    hasher.finalize()
}

/// Returns the identity of the same run on a device of another class, whose bits differ.
pub(super) fn run_id_on(class: &str, run: blake3::Hash) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("openledger training run elsewhere v1");
    hasher.update(run.as_bytes());
    hasher.update(class.as_bytes());
    hasher.finalize()
}

/// The state of a run after a step, for hashing.
pub(super) struct StateRoot<'a> {
    pub(super) step: u64,
    /// Root of the step before; for the first step, the run's identity.
    pub(super) before: blake3::Hash,
    pub(super) parameters: &'a Parameters,
    pub(super) moments: &'a Moments,
    /// Position in the data: all the state that randomness has.
    pub(super) cursor: Cursor,
    pub(super) batch: blake3::Hash,
    pub(super) loss_bits: u64,
}

impl StateRoot<'_> {
    /// Returns `S_i = BLAKE3(step ‖ S_{i-1} ‖ parameters ‖ moments ‖ random state ‖ batch ‖ loss)`.
    pub(super) fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_derive_key("openledger training step v1");
        hasher.update(&self.step.to_le_bytes());
        hasher.update(self.before.as_bytes());
        let mut bytes = Vec::new();
        let mut put = |numbers: &[f32]| {
            for part in numbers.chunks(1 << 16) {
                bytes.clear();
                bytes.extend(part.iter().flat_map(|number| number.to_le_bytes()));
                hasher.update(&bytes);
            }
        };
        self.parameters.tensors().iter().for_each(|tensor| put(tensor.values()));
        let moments = self.moments.first.iter().chain(&self.moments.second);
        moments.for_each(|moments| put(moments));
        hasher.update(&self.cursor.seed.to_le_bytes());
        hasher.update(&self.cursor.epoch.to_le_bytes());
        hasher.update(&self.cursor.seen.to_le_bytes());
        hasher.update(self.batch.as_bytes());
        hasher.update(&self.loss_bits.to_le_bytes());
        hasher.finalize()
    }
}
