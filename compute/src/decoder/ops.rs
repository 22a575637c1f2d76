//! What a device computes: the seam between the model's code, which is one, and kernels, of which each device has its
//! own.
//!
//! An implementor owns the weights, the pages and the adapters in their slots. `Rows` is whatever holds activations
//! there, one row for each token of a step. Calls come in the order in which the model needs them, and may be queued:
//! only [`Ops::logits`] has to wait. What `linear` adds for a row, beside the base, is
//! `weight · scale · B(A x)` for every group of the step that lists the row, in the order of the groups.

use std::sync::Arc;

use super::step::Step;
use crate::{
    forward::StepError,
    lora::{Adapter, AdapterHash, Projection},
};

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Before attention, of a block.
    Attention(usize),
    /// Before the feed-forward part, of a block.
    FeedForward(usize),
    /// Before the logits.
    Last,
}

/// A device that runs a decoder.
pub trait Ops: Send {
    /// Activations.
    type Rows;

    /// Whether a row's bits depend on its tokens, its adapters and the model alone.
    fn verifies(&self) -> bool {
        true
    }

    /// Puts an adapter into a slot.
    fn load(&mut self, slot: u32, adapter: &Arc<Adapter>) -> Result<(), StepError>;

    /// Empties a slot.
    fn unload(&mut self, slot: u32);

    /// Who sits in a slot.
    fn loaded(&self, slot: u32) -> Option<AdapterHash>;

    /// Copies the first positions of a page.
    fn copy_page(&mut self, from: u32, to: u32, tokens: usize) -> Result<(), StepError>;

    /// Makes a step's tables ready.
    fn begin(&mut self, step: &Step) -> Result<(), StepError>;

    /// The embeddings of the step's tokens.
    fn embed(&mut self, step: &Step) -> Self::Rows;

    /// A norm of each row.
    fn norm(&mut self, norm: Norm, x: &Self::Rows) -> Self::Rows;

    /// Linear layers of a block that read the same rows, with biases and adapters.
    fn linear<const N: usize>(
        &mut self,
        step: &Step,
        layer: usize,
        sites: [Projection; N],
        x: &Self::Rows,
    ) -> [Self::Rows; N];

    /// One more, added to what is there.
    fn linear_onto(&mut self, step: &Step, layer: usize, site: Projection, x: &Self::Rows, onto: &mut Self::Rows);

    /// Norms and rotates queries and keys, keeps keys and values in their pages, and attends.
    fn attend(&mut self, step: &Step, layer: usize, qkv: [Self::Rows; 3]) -> Self::Rows;

    /// `silu(gate) · up`.
    fn gate(&mut self, gate_up: [Self::Rows; 2]) -> Self::Rows;

    /// The wanted rows alone.
    fn wanted(&mut self, step: &Step, x: &Self::Rows) -> Self::Rows;

    /// The logits of rows, appended.
    fn logits(&mut self, x: &Self::Rows, logits: &mut Vec<f32>) -> Result<(), StepError>;

    /// Whether what was computed since the last call came of the model's own weights. Where they are copies, it did.
    fn unchanged(&self) -> Result<(), StepError> {
        Ok(())
    }

    /// Takes back rows that are no longer needed.
    fn free(&mut self, rows: Self::Rows);
}
