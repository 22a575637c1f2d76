//! The operations that a device provides to a decoder.
//!
//! An implementation owns the weights, the pages of keys and values, and the adapters in their slots. Activations
//! stay on the device as [`Ops::Rows`], one row for each token of a step. Calls come in the order of the model and
//! may be queued; only [`Ops::logits`] has to wait.
//!
//! For every group of a step that lists a row, [`Ops::linear`] adds `weight · scale · B(A x)` to the row, in the
//! order of the groups.

use std::sync::Arc;

use super::step::Step;
use crate::{
    forward::StepError,
    lora::{Adapter, AdapterHash, Projection},
};

/// A norm of the model, by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Before the attention of a block.
    Attention(usize),
    /// Before the feed-forward layers of a block.
    FeedForward(usize),
    /// Before the output layer.
    Last,
}

/// The operations of a device.
pub trait Ops: Send {
    /// Activations on the device.
    type Rows;

    /// True if a row's bits depend on its tokens, its adapters and the model alone.
    fn verifies(&self) -> bool {
        true
    }

    /// Puts an adapter into a slot. Fails if it does not fit the model.
    fn load(&mut self, slot: u32, adapter: &Arc<Adapter>) -> Result<(), StepError>;

    /// Empties a slot.
    fn unload(&mut self, slot: u32);

    /// Returns the adapter in a slot.
    fn loaded(&self, slot: u32) -> Option<AdapterHash>;

    /// Copies the first `tokens` positions of a page.
    fn copy_page(&mut self, from: u32, to: u32, tokens: usize) -> Result<(), StepError>;

    /// Prepares the tables of a step. Called before its other operations.
    fn begin(&mut self, step: &Step) -> Result<(), StepError>;

    /// Returns the embeddings of the step's tokens.
    fn embed(&mut self, step: &Step) -> Self::Rows;

    /// Returns the norm of each row.
    fn norm(&mut self, norm: Norm, x: &Self::Rows) -> Self::Rows;

    /// Runs linear layers of a block that read the same rows, with biases and adapters.
    fn linear<const N: usize>(
        &mut self,
        step: &Step,
        layer: usize,
        sites: [Projection; N],
        x: &Self::Rows,
    ) -> [Self::Rows; N];

    /// Runs one linear layer and adds its outputs to `onto`, the residual stream.
    fn linear_onto(&mut self, step: &Step, layer: usize, site: Projection, x: &Self::Rows, onto: &mut Self::Rows);

    /// Applies norms and rope to queries and keys, writes keys and values to their pages, and returns attention's
    /// outputs.
    fn attend(&mut self, step: &Step, layer: usize, qkv: [Self::Rows; 3]) -> Self::Rows;

    /// Returns `silu(gate) · up`.
    fn swiglu(&mut self, gate_up: [Self::Rows; 2]) -> Self::Rows;

    /// Returns only the rows whose logits are wanted.
    fn wanted(&mut self, step: &Step, x: &Self::Rows) -> Self::Rows;

    /// Appends the logits of some rows. Waits for everything that was queued.
    fn logits(&mut self, x: &Self::Rows, logits: &mut Vec<f32>) -> Result<(), StepError>;

    /// Fails if the model's mapped files changed since the last call; always succeeds where weights are copies.
    fn unchanged(&self) -> Result<(), StepError> {
        Ok(())
    }

    /// Takes back rows that are no longer needed.
    fn free(&mut self, rows: Self::Rows);
}
