//! A decoder of the Llama family: the sequence of operations of a step, written once for all devices.
//!
//! - `step`: a batch of spans, checked and flattened. `ops`: the operations that a device provides.
//! - `cpu`: the processor's operations. `gpu`: those of a GPU, built with the feature `gpu`.
//!
//! To support another device, implement [`Ops`]; to support another family of models, change `Decoder::block` and the
//! configuration.

mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
mod ops;
mod step;

use std::sync::Arc;

pub use cpu::{Cpu, CpuOptions};
#[cfg(feature = "cuda")]
pub use gpu::CudaOptions;
#[cfg(feature = "gpu")]
pub use gpu::{Gpu, GpuError, GpuOptions};
pub use ops::{Norm, Ops};
pub use step::{Group, SpanRows, Step};

use crate::{
    forward::{AdapterSlot, Forward, PageId, Shape, Span, StepError},
    lora::{Adapter, Projection},
};

/// A model on a device. Its only interface to callers is [`Forward`].
pub struct Decoder<O> {
    ops: O,
    layers: usize,
    shape: Shape,
}

impl<O: Ops> Decoder<O> {
    /// Makes a decoder of `layers` blocks over the operations of a device.
    pub fn new(ops: O, layers: usize, shape: Shape) -> Self {
        Self { ops, layers, shape }
    }

    fn block(&mut self, step: &Step, layer: usize, x: &mut O::Rows) {
        use Projection::{Down, Gate, K, O as Out, Q, Up, V};
        let ops = &mut self.ops;
        let normed = ops.norm(Norm::Attention(layer), x);
        let qkv = ops.linear(step, layer, [Q, K, V], &normed);
        ops.free(normed);
        let attended = ops.attend(step, layer, qkv);
        ops.linear_onto(step, layer, Out, &attended, x);
        ops.free(attended);
        let normed = ops.norm(Norm::FeedForward(layer), x);
        let gate_up = ops.linear(step, layer, [Gate, Up], &normed);
        ops.free(normed);
        let inner = ops.swiglu(gate_up);
        ops.linear_onto(step, layer, Down, &inner, x);
        ops.free(inner);
    }
}

impl<O: Ops> Forward for Decoder<O> {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn verifies(&self) -> bool {
        self.ops.verifies()
    }

    fn load(&mut self, slot: AdapterSlot, adapter: &Arc<Adapter>) -> Result<(), StepError> {
        if slot.0 >= self.shape.slots {
            return Err(StepError::Device(format!("slot {} of {}", slot.0, self.shape.slots)));
        }
        self.ops.load(slot.0, adapter)
    }

    fn unload(&mut self, slot: AdapterSlot) {
        self.ops.unload(slot.0);
    }

    fn copy_page(&mut self, from: PageId, to: PageId, tokens: usize) -> Result<(), StepError> {
        let fits = from.0 < self.shape.pages && to.0 < self.shape.pages && tokens <= self.shape.page_tokens;
        if fits && from != to {
            self.ops.copy_page(from.0, to.0, tokens)
        } else {
            Err(StepError::Device(format!(
                "copy of {tokens} positions of page {} to {}",
                from.0, to.0
            )))
        }
    }

    fn step(&mut self, spans: &[Span<'_>], logits: &mut Vec<f32>) -> Result<(), StepError> {
        logits.clear();
        if !self.ops.verifies() && spans.iter().any(|span| span.verified) {
            return Err(StepError::Device("it does no verified work; processors do".to_owned()));
        }
        let step = Step::of(spans, &self.shape, |slot| self.ops.loaded(slot))?;
        if step.tokens.is_empty() {
            return Ok(());
        }
        self.ops.begin(&step)?;
        let mut x = self.ops.embed(&step);
        for layer in 0..self.layers {
            self.block(&step, layer, &mut x);
        }
        if !step.wanted.is_empty() {
            let wanted = self.ops.wanted(&step, &x);
            let last = self.ops.norm(Norm::Last, &wanted);
            self.ops.logits(&last, logits)?;
            self.ops.free(wanted);
            self.ops.free(last);
        }
        self.ops.free(x);
        self.ops.unchanged()
    }
}
