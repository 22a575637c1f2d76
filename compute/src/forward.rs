//! The seam between deciding and computing: the scheduler fills a step with [`Span`]s, a model runs it.
//!
//! A step is stateless but for the pages of keys and values and the adapters in their slots, both of which the
//! scheduler owns by number. So the scheduler is tested without a model, and a model without a scheduler.

use std::sync::Arc;

use crate::lora::Adapter;

/// One page of keys and values, of [`Shape::page_tokens`] positions, in every layer at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

/// Where an adapter sits on the device while it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterSlot(pub u32);

/// An adapter and how much of it, beside its own scale. A request may mix several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Which.
    pub slot: AdapterSlot,
    /// 1.0 is the adapter as it was trained.
    pub weight: f32,
}

/// For which positions of a span logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: a chunk of a prompt that goes on.
    Nothing,
    /// The last position: what comes next.
    Last,
    /// Every position.
    All,
}

/// Consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// What to run, at least one.
    pub tokens: &'a [u32],
    /// The position of the first of them.
    pub start: u32,
    /// Pages of positions `0 .. start + tokens.len()`, in order. Those before `start` are filled.
    pub pages: &'a [PageId],
    /// Empty for the base model.
    pub adapters: &'a [Mix],
    /// What comes back.
    pub wanted: Wanted,
    /// Whether the bits must not depend on threads, batch mates or the processor.
    pub verified: bool,
}

/// What a scheduler has to know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens there are; logits come in rows of this length.
    pub vocabulary: usize,
    /// Positions there are.
    pub context_tokens_max: usize,
    /// Positions in a page.
    pub page_tokens: usize,
    /// Pages there are.
    pub pages: u32,
    /// Slots for adapters there are.
    pub slots: u32,
}

/// A model with its pages and slots on one device.
pub trait Forward: Send {
    /// Its bounds.
    fn shape(&self) -> Shape;

    /// Whether it does [`Span::verified`] work.
    fn verifies(&self) -> bool {
        true
    }

    /// Puts an adapter into a slot, replacing what was there.
    fn load(&mut self, slot: AdapterSlot, adapter: &Arc<Adapter>) -> Result<(), StepError>;

    /// Empties a slot.
    fn unload(&mut self, slot: AdapterSlot);

    /// Copies the first `tokens` positions of a page, for a sequence that parts from a shared prefix within a page.
    fn copy_page(&mut self, from: PageId, to: PageId, tokens: usize) -> Result<(), StepError>;

    /// Runs the spans as one batch. `logits` is cleared and filled with one row per wanted position, in order.
    fn step(&mut self, spans: &[Span<'_>], logits: &mut Vec<f32>) -> Result<(), StepError>;
}

/// Why a step gave nothing. Its pages hold nothing that may be relied on.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The device failed; it must be set up again.
    #[error("the device failed: {0}")]
    Device(String),
    /// The model's files are no longer what they were.
    #[error("{0}")]
    Changed(String),
    /// The adapter is for another base model.
    #[error("adapter {adapter} does not fit the base model: {why}")]
    Misfit {
        /// Which.
        adapter: String,
        /// What differs.
        why: String,
    },
}
