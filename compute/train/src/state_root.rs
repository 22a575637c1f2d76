//! Names: of a base, of a run, and of its state after each step. Whoever has the same names has the same bits.

use compute::model::Model;

use super::{data::Corpus, optimiser::Moments, parameters::Parameters, plan::Cursor, recipe::Recipe};

/// A name for a base model's content, however its files are cut.
pub fn base_hash(model: &Model) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("openledger training base v1");
    hasher.update(format!("{:?}", model.config()).as_bytes());
    for (name, dtype, shape, bytes) in model.stored() {
        hasher.update(format!("\n{name} {dtype:?} {shape:?}\n").as_bytes());
        hasher.update(bytes);
    }
    hasher.finalize()
}

/// A run's name: its base, its records in their order, the weight of each contributor, and the recipe with its seed.
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

/// The name of the same run where something else computes it, whose bits are others.
pub(super) fn run_id_on(class: &str, run: blake3::Hash) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("openledger training run elsewhere v1");
    hasher.update(run.as_bytes());
    hasher.update(class.as_bytes());
    hasher.finalize()
}

/// All that a run is after a step.
pub(super) struct StateRoot<'a> {
    pub(super) step: u64,
    /// The root of the step before; of the first, the run's name.
    pub(super) before: blake3::Hash,
    pub(super) parameters: &'a Parameters,
    pub(super) moments: &'a Moments,
    /// All the state that random numbers have.
    pub(super) cursor: Cursor,
    pub(super) batch: blake3::Hash,
    pub(super) loss_bits: u64,
}

impl StateRoot<'_> {
    /// `S_i = BLAKE3(step ‖ S_{i-1} ‖ parameters ‖ moments ‖ random state ‖ batch ‖ loss)`.
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
