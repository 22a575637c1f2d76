//! The output layer and the loss on a GPU, only for rows that have a target, some rows at a time.

use compute::decoder::gpu::{count, pack::Pack as Tables};
use cube::{Kernel, Machine, Scalar, TrainingKernel};

use super::{GpuNetwork, failed};
use crate::{cpu::pack::Pack, error::TrainError};

/// Most logits in memory at once.
const LOGITS_MAX: usize = 64 << 20;

/// Losses that are not downloaded yet, with their number.
pub(super) type Losses<B> = Vec<(B, usize)>;

impl<M: Machine> GpuNetwork<M> {
    /// Computes the negative log-likelihood of each target. With `back`, writes the gradient to its rows, which must
    /// be zero.
    pub(super) fn head(&mut self, pack: &Pack, x: &M::Buffer, back: Option<&M::Buffer>) -> Losses<M::Buffer> {
        let (hidden, vocabulary) = (self.config.hidden, self.config.vocabulary);
        let (gain, head) = (self.weights.norm.clone(), self.weights.head.clone());
        let wide = Scalar::U32(count(hidden));
        let mut losses = Vec::new();
        for targets in pack.targets.chunks((LOGITS_MAX / vocabulary).max(1)) {
            let rows = targets.len();
            let mut tables = Tables::default();
            let rows_of = tables.words(targets.iter().map(|target| target.row));
            let tokens = tables.words(targets.iter().map(|target| target.token));
            let weights = tables.singles(targets.iter().map(|target| &target.weight));
            let mut part = tables.send(&mut self.machine);
            let (rows_of, tokens, weights) = (part(rows_of), part(tokens), part(weights));
            drop(part);
            let picked = self.rows(rows, hidden);
            self.elementwise(Kernel::GatherRows, rows, hidden, &[x, &rows_of, &picked], &[wide]);
            let normed = self.norm(&picked, &gain, rows);
            let (logits, each) = (self.rows(rows, vocabulary), self.rows(rows, 1));
            self.base(&head, &normed, &logits, rows, false);
            drop(normed);
            self.machine.launch(
                Kernel::Training(TrainingKernel::CrossEntropy),
                [count(rows), 1, 1],
                &[&logits, &tokens, &weights, &each],
                &[Scalar::U32(count(vocabulary))],
            );
            losses.push((each, rows));
            let Some(d) = back else { continue };
            let d_normed = self.base_backward(&head, &logits, rows);
            let d_picked = self.zeros(rows, hidden);
            self.norm_backward(&picked, &gain, &d_normed, &d_picked, rows);
            let kernel = Kernel::Training(TrainingKernel::ScatterRows);
            self.elementwise(kernel, rows, hidden, &[&d_picked, &rows_of, d], &[wide]);
        }
        losses
    }

    /// Downloads losses, waiting for everything queued before.
    pub(super) fn read_losses(&mut self, losses: Losses<M::Buffer>) -> Result<Vec<f64>, TrainError> {
        let mut all = Vec::new();
        for (buffer, rows) in losses {
            let read = self
                .machine
                .read(&buffer, (rows * size_of::<f32>()) as u64)
                .map_err(failed)?;
            let singles = read.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk));
            all.extend(singles.map(f64::from));
        }
        Ok(all)
    }
}
