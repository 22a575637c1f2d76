//! The output layer and the loss, only for rows that have a target, some rows at a time: a row of logits is as long
//! as the vocabulary.

#![allow(unsafe_code, reason = "threads write disjoint rows of the same buffers")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use compute::kernel::{
    backward::cross_entropy,
    dot::Store,
    gemm::{Left, Right},
    thread_pool::DisjointMut,
};

use super::{Network, pack::Pack};

/// Most logits in memory at once.
const LOGITS_MAX: usize = 8 << 20;

impl Network {
    /// Returns the negative log-likelihood of each target. With `back`, writes the gradient to its rows, which must
    /// be zero, and adds that of the output layer.
    pub(super) fn head(&mut self, pack: &Pack, x: &[f32], mut back: Option<(&mut [f32], &mut [Vec<f32>])>) -> Vec<f64> {
        let weights = self.weights.as_ref().expect("bound before it runs");
        let (ops, slots, epsilon) = (&mut self.ops, &self.slots, self.config.norm_epsilon);
        let (width, vocabulary) = (self.config.hidden, self.config.vocabulary);
        let losses: Vec<AtomicU64> = pack.targets.iter().map(|_| AtomicU64::new(0)).collect();
        let each = (LOGITS_MAX / vocabulary).max(1);
        for first in (0..pack.targets.len()).step_by(each) {
            let targets = &pack.targets[first..pack.targets.len().min(first + each)];
            let row = |index: usize| targets[index].row as usize * width;
            let mut picked = ops.take(targets.len() * width);
            for (index, to) in picked.chunks_exact_mut(width).enumerate() {
                to.copy_from_slice(&x[row(index)..][..width]);
            }
            let normed = ops.norm(&picked, &weights.norm, epsilon);
            let mut logits = ops.take(targets.len() * vocabulary);
            ops.product(&normed, &weights.head, None, &mut logits, Store::Set);
            let (level, parts) = (ops.level, DisjointMut::of(&mut logits));
            ops.each(targets.len(), &|index| {
                let target = &targets[index];
                // SAFETY: each task has its own row.
                let logits = unsafe { parts.get(index * vocabulary, vocabulary) };
                let loss = cross_entropy(level, logits, target.token as usize, target.weight);
                losses[first + index].store(loss.to_bits(), Relaxed);
            });
            if let Some((d, gradients)) = &mut back {
                if let Some(slot) = slots.head {
                    let (left, right) = (Left::transposed(&logits, vocabulary), Right::Singles(&normed, width));
                    ops.multiply(left, right, targets.len(), vocabulary, &mut gradients[slot], Store::Add);
                }
                let mut d_normed = ops.take(normed.len());
                let (left, right) = (Left::rows(&logits, vocabulary), Right::Weight(&weights.head));
                ops.multiply(left, right, vocabulary, targets.len(), &mut d_normed, Store::Set);
                if let Some(slot) = slots.norm {
                    ops.gain_backward(&picked, epsilon, &d_normed, &mut gradients[slot]);
                }
                let mut d_picked = ops.zeros(picked.len());
                ops.norm_backward(&picked, &weights.norm, epsilon, &d_normed, &mut d_picked);
                for (index, from) in d_picked.chunks_exact(width).enumerate() {
                    d[row(index)..][..width].copy_from_slice(from);
                }
                ops.free(d_normed);
                ops.free(d_picked);
            }
            [picked, normed, logits].into_iter().for_each(|buffer| ops.free(buffer));
        }
        losses
            .into_iter()
            .map(|bits| f64::from_bits(bits.into_inner()))
            .collect()
    }
}
