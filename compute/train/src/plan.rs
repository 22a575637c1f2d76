//! The records that are held back and those of each step: functions of the seed and the step alone.

use compute::random::{Random, Stream};

use super::{
    cpu::pack::Pack,
    data::Corpus,
    recipe::{Normalise, Recipe},
};

/// The split of a corpus, and the number of steps.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    training: Vec<u32>,
    /// Records held back for validation.
    pub(crate) validation: Vec<u32>,
    batch: usize,
    /// Number of steps.
    pub(crate) steps: u64,
    seed: u64,
}

/// The position of a run in its data: all the state that its randomness has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) seed: u64,
    pub(crate) epoch: u32,
    /// Records of the epoch that earlier steps used.
    pub(crate) seen: u64,
}

/// A record of a step, and the factor of each of its tokens' losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) example: u32,
    pub(crate) weight: f32,
}

/// The records of a step.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) cursor: Cursor,
    pub(crate) shares: Vec<Share>,
    /// Hash of the records in order, with their weights.
    pub(crate) root: blake3::Hash,
}

impl Plan {
    /// Splits the records and counts steps; `None` if all would be held back.
    pub(crate) fn new(records: usize, recipe: &Recipe) -> Option<Self> {
        let mut order = Random::new(recipe.seed, Stream::Split).order(records);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a count that is not negative"
        )]
        let held = (records as f64 * recipe.validation).ceil() as usize;
        let mut validation: Vec<u32> = order.drain(..held.min(records)).collect();
        let mut training = order;
        if training.is_empty() {
            return None;
        }
        // Only the choice is random; within each part records keep their order.
        training.sort_unstable();
        validation.sort_unstable();
        let each = training.len().div_ceil(recipe.batch) as u64;
        let all = each * u64::from(recipe.epochs);
        Some(Self {
            training,
            validation,
            batch: recipe.batch,
            steps: recipe.steps.map_or(all, |most| most.min(all)),
            seed: recipe.seed,
        })
    }

    /// Returns the position at which step `step`, from 1, begins.
    pub(crate) fn cursor(&self, step: u64) -> Cursor {
        let each = self.training.len().div_ceil(self.batch) as u64;
        let (epoch, inside) = ((step - 1) / each, (step - 1) % each);
        Cursor {
            seed: self.seed,
            epoch: u32::try_from(epoch).expect("epochs are bounded by the recipe"),
            seen: inside * self.batch as u64,
        }
    }

    /// Returns the records of step `step`, from 1. The divisor of their losses is counted over all of them before
    /// weights apply, so a weight of zero removes a record's gradient and changes nothing else.
    pub(crate) fn batch(&self, step: u64, corpus: &Corpus, weights: &[f64], normalise: Normalise) -> Batch {
        let cursor = self.cursor(step);
        let order = Random::new(cursor.seed, Stream::Order(cursor.epoch)).order(self.training.len());
        let from = usize::try_from(cursor.seen).expect("records are in memory");
        let picked = &order[from..order.len().min(from + self.batch)];
        let records: Vec<u32> = picked.iter().map(|index| self.training[*index as usize]).collect();
        let counted = |record: u32| corpus.examples[record as usize].counted() as f64;
        let all: f64 = records.iter().map(|record| counted(*record)).sum();
        let mut root = blake3::Hasher::new_derive_key("openledger training batch v1");
        let shares = records.iter().map(|record| {
            let example = &corpus.examples[*record as usize];
            let weight = weights[example.contributor as usize];
            let by = match normalise {
                Normalise::Tokens => all,
                Normalise::Records => counted(*record) * records.len() as f64,
            };
            root.update(example.hash().as_bytes());
            #[allow(
                clippy::cast_possible_truncation,
                reason = "rounded to the single that is computed with"
            )]
            let weight = (weight / by) as f32;
            root.update(&weight.to_bits().to_le_bytes());
            Share {
                example: *record,
                weight,
            }
        });
        Batch {
            cursor,
            shares: shares.collect(),
            root: root.finalize(),
        }
    }
}

/// Cuts records into passes of about `tokens` tokens, in order. Records of weight zero are left out.
pub(crate) fn passes(corpus: &Corpus, shares: &[Share], tokens: usize) -> Vec<Pack> {
    let mut passes = vec![Pack::default()];
    for share in shares.iter().filter(|share| share.weight != 0.0) {
        let example = &corpus.examples[share.example as usize];
        let last = passes.last().expect("there is one from the start");
        if last.rows() > 0 && last.rows() + example.tokens.len() > tokens {
            passes.push(Pack::default());
        }
        // The last token that counts needs no row of its own, nor does anything behind it.
        let end = example.answers.last().map_or(1, |range| range.end as usize - 1);
        let targets = example.answers.iter().flat_map(|range| range.clone());
        let targets = targets.map(|token| (token as usize - 1, share.weight));
        passes
            .last_mut()
            .expect("as above")
            .push(&example.tokens[..end], &example.tokens, targets);
    }
    passes.retain(|pass| pass.rows() > 0);
    passes
}

#[cfg(test)]
mod tests {
    use super::*;
    use compute::model::Config;

    fn corpus(records: u32) -> Corpus {
        let (mut corpus, config) = (Corpus::default(), Config::smol_135m());
        for record in 0..records {
            let (tokens, counts) = (vec![1, record, 3, 4], [false, false, true, true]);
            let owner = format!("c{}", record % 3);
            corpus
                .add(tokens, &counts, &owner, &config, &Recipe::default())
                .unwrap();
        }
        corpus
    }

    fn recipe() -> Recipe {
        Recipe {
            batch: 4,
            epochs: 2,
            validation: 0.2,
            ..Recipe::default()
        }
    }

    #[test]
    fn an_epoch_sees_every_record_that_is_not_held_back_once() {
        let (corpus, plan) = (corpus(22), Plan::new(22, &recipe()).unwrap());
        assert_eq!((plan.validation.len(), plan.steps), (5, 10));
        for epoch in 0..2 {
            let steps = 1 + 5 * epoch..=5 + 5 * epoch;
            let mut seen: Vec<u32> = steps
                .flat_map(|step| plan.batch(step, &corpus, &[1.0; 3], Normalise::Tokens).shares)
                .map(|share| share.example)
                .collect();
            seen.extend(&plan.validation);
            seen.sort_unstable();
            assert_eq!(seen, (0..22).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_weight_of_zero_moves_nobody_else() {
        let (corpus, plan) = (corpus(22), Plan::new(22, &recipe()).unwrap());
        for step in 1..=plan.steps {
            for normalise in [Normalise::Tokens, Normalise::Records] {
                let all = plan.batch(step, &corpus, &[1.0; 3], normalise);
                let without = plan.batch(step, &corpus, &[1.0, 0.0, 1.0], normalise);
                let mut any = false;
                for (a, b) in all.shares.iter().zip(&without.shares) {
                    let gone = corpus.examples[a.example as usize].contributor == 1;
                    any |= gone;
                    assert_eq!((a.example, if gone { 0.0 } else { a.weight }), (b.example, b.weight));
                }
                assert_eq!(all.root != without.root, any);
            }
        }
    }

    #[test]
    fn passes_keep_the_order_and_leave_out_what_counts_nothing() {
        let (corpus, plan) = (corpus(22), Plan::new(22, &recipe()).unwrap());
        let batch = plan.batch(1, &corpus, &[1.0, 0.0, 1.0], Normalise::Tokens);
        let kept = batch.shares.iter().filter(|share| share.weight != 0.0);
        let marks: Vec<u32> = kept
            .map(|share| corpus.examples[share.example as usize].tokens[1])
            .collect();
        for tokens in [1, 7, 100] {
            let passes = passes(&corpus, &batch.shares, tokens);
            let seen: Vec<u32> = passes
                .iter()
                .flat_map(|pass| pass.spans.iter().map(|span| pass.tokens[span.row + 1]))
                .collect();
            assert_eq!(seen, marks);
        }
    }
}
